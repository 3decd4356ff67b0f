"""Parameters in one buffer, and what updates them."""

import numpy as np
import pytest

import primeattn as pa
from primeattn import nn
from primeattn.nn.parameters import constant, normal

from .naive import layers as naive

DECLARED = {
    "a": {"w": nn.Parameter((3, 2), normal(1.0), decay=True), "b": nn.Parameter((5,), constant(0.5))},
    "angle": nn.Parameter((4,), normal(1.0), manifold="torus"),
    "point": nn.Parameter((3, 4), normal(1.0), manifold="sphere"),
    "m": nn.Parameter((2, 2), normal(1.0), decay=True),
}


def test_parameters_are_views_of_one_buffer_by_kind():
    p = nn.Parameters(DECLARED, rng=3, dtype="float64")
    assert p.names == ["a.w", "a.b", "angle", "point", "m"]
    assert len(p) == p.values.size == 6 + 5 + 4 + 12 + 4
    assert {k: (s.start, s.stop) for k, s in p.segments.items()} == {
        "decayed": (0, 10), "free": (10, 15), "torus": (15, 19), "sphere": (19, 31),
    }  # fmt: skip
    for name in p.names:
        assert np.shares_memory(p.view(name), p.values)
        assert p.view(name).shape == p.shapes[name]
    np.testing.assert_allclose(np.linalg.norm(p.view("point"), axis=-1), 1, rtol=1e-15)
    again = nn.Parameters(DECLARED, rng=3, dtype="float32")
    np.testing.assert_allclose(again.values, p.values, rtol=1e-6)  # the type does not change what is drawn
    with pytest.raises(ValueError, match=r"no parameter is named 'x': one of a\.w, a\.b, angle, point, m is wanted"):
        p.view("x")


def test_adamw_equals_the_loop(rng):
    p = nn.Parameters(DECLARED, rng=3, dtype="float64")
    opt = nn.AdamW(p, rate=0.1, betas=(0.8, 0.9), eps=1e-6, decay=0.3, turn=3.0)
    expected = p.copy()
    moments = {n: (np.zeros(s), np.zeros(s)) for n, s in p.shapes.items()}
    for step in range(1, 4):
        g = rng.standard_normal(len(p))
        for name in ("a.w", "a.b", "m", "angle"):
            decay, rate = 0.3 if name in ("a.w", "m") else 0.0, 0.3 if name == "angle" else 0.1
            naive.adamw(expected[name], p.view(name, g), *moments[name], step, rate, 0.8, 0.9, 1e-6, decay)
        opt.update(g)
    for name in ("a.w", "a.b", "m"):
        np.testing.assert_allclose(p.view(name), expected[name], rtol=1e-13)
    np.testing.assert_allclose(np.exp(1j * p.view("angle")), np.exp(1j * expected["angle"]), rtol=1e-13)


def test_sgd_equals_its_formula(rng):
    p = nn.Parameters(DECLARED, rng=3, dtype="float64")
    opt, expected, m = nn.SGD(p, rate=0.1, momentum=0.5, decay=0.2), p.copy(), 0
    for _ in range(3):
        g = rng.standard_normal(len(p))
        m = 0.5 * m + p.view("a.w", g)
        expected["a.w"] = expected["a.w"] * (1 - 0.02) - 0.1 * m
        opt.update(g)
    np.testing.assert_allclose(p.view("a.w"), expected["a.w"], rtol=1e-13)


@pytest.mark.parametrize("make", [nn.AdamW, nn.SGD])
def test_points_stay_on_their_manifold_and_go_down(make, rng):
    p = nn.Parameters(DECLARED, rng=3, dtype="float64")
    targets = rng.standard_normal((3, 4))
    targets /= np.linalg.norm(targets, axis=-1, keepdims=True)
    opt = make(p, rate=0.05)
    for _ in range(300):
        g = np.zeros(len(p))
        p.view("point", g)[...] = -targets  # L = - <x, target>
        p.view("angle", g)[...] = -1.0  # angles turn for ever
        opt.update(g)
        np.testing.assert_allclose(np.linalg.norm(p.view("point"), axis=-1), 1, rtol=1e-14)
        assert (abs(p.view("angle")) <= np.pi).all()
    np.testing.assert_allclose(p.view("point"), targets, atol=1e-2)


def test_a_step_on_a_sphere_agrees_with_the_geodesic_to_second_order():
    declared = {"x": nn.Parameter((2,), lambda rng, shape: np.array([1.0, 0.0]), manifold="sphere")}
    errors = []
    for rate in (1e-2, 5e-3):
        p = nn.Parameters(declared, dtype="float64")
        nn.SGD(p, rate=rate, momentum=0).update(np.array([7.0, -1.0]))  # 7 is not tangent
        errors.append(abs(np.arctan2(*p.values[::-1]) - rate))
    assert errors[0] < 1e-6
    assert 7 < errors[0] / errors[1] < 9  # third order: halved, an eighth


def test_an_angle_is_wrapped_without_loss():
    declared = {"x": nn.Parameter((3,), lambda rng, shape: np.array([3.0, -3.0, 0.5]), manifold="torus")}
    p = nn.Parameters(declared, dtype="float32")
    nn.SGD(p, rate=1.0, momentum=0).update(np.array([-1, 1, 0], np.float32))
    exact = np.array([4 - 2 * np.pi, -4 + 2 * np.pi, 0.5])
    np.testing.assert_allclose(p.values, exact, rtol=2e-7)


@pytest.mark.parametrize("make", [nn.AdamW, nn.SGD])
def test_a_state_goes_on_to_the_same_bits(make, rng):
    g = rng.standard_normal((4, 31)).astype("f4")
    p, q = (nn.Parameters(DECLARED, rng=3) for _ in range(2))
    whole, half = make(p), make(q)
    for row in g[:2]:
        whole.update(row)
        half.update(row)
    rest = make(q)
    rest.load_state({n: np.array(v) for n, v in half.state().items()})
    for row in g[2:]:
        whole.update(row, rate=0.02)
        rest.update(row, rate=0.02)
    assert np.array_equal(p.values, q.values)


@pytest.mark.cudasim
@pytest.mark.parametrize("make", [nn.AdamW, nn.SGD])
def test_updates_are_equal_on_both_devices(make, rng):
    g = rng.standard_normal((2, 31))
    p, q = (nn.Parameters(DECLARED, rng=3, dtype="float64") for _ in range(2))
    q.values = pa.to_device(q.values)
    here, there = make(p, rate=0.1), make(q, rate=0.1)
    for row in g:
        here.update(row)
        there.update(pa.to_device(row))
    np.testing.assert_allclose(pa.to_host(q.values), p.values, rtol=1e-14)
