"""Layers: forward against naive loops, gradients against a complex step of those, both types, both devices."""

import numpy as np
import pytest

import primeattn as pa
from primeattn import nn
from primeattn.nn.tape import Room, Tape

from .naive import layers as naive

# name -> layer, oracle, width of the input
CASES = {
    "linear": (lambda: nn.Linear(5, 7), naive.linear, 5),
    "linear with bias": (lambda: nn.Linear(5, 33, bias=True), naive.linear, 5),
    "rms_norm": (lambda: nn.RMSNorm(6), naive.rms_norm, 6),
    "layer_norm": (lambda: nn.LayerNorm(6), naive.layer_norm, 6),
    "swiglu": (lambda: nn.SwiGLU(5, 9), naive.swiglu, 5),
    "swiglu to another width": (lambda: nn.SwiGLU(4, 6, 3), naive.swiglu, 4),
    "gelu_mlp": (lambda: nn.GeluMLP(5, 9), naive.gelu_mlp, 5),
    "attention": (lambda: nn.Mixing("dot_product", 8, 2), lambda p, x: naive.attention(p, x, 2), 8),
}
SHAPE = (2, 3)


def draw(layer, rng, dtype=float):
    declared = layer.parameters()
    return {n: (rng.standard_normal(p.shape) * 0.5 + 0.1).astype(dtype) for n, p in declared.items()}


def tape_of(dtype, saving=True, **options):
    return Tape(Room(dtype), saving=saving, **options)


def passes(layer, p, x, dy):
    """Output, gradient of x and gradients of the parameters."""
    tape = tape_of(x.dtype)
    y = layer.forward(p, x, tape)
    g = {n: np.zeros_like(v) for n, v in p.items()}
    kept, before = y.copy(), x.copy()
    dx = layer.backward(p, dy, tape, g)
    assert np.array_equal(x, before)  # forward and backward leave their inputs alone
    return kept, dx, g


def slope(oracle, p, x, dy, name, direction):
    """d/dt sum dy y along a direction of x (name None) or of a parameter, by a complex step."""
    h = 1e-30
    if name is None:
        y = oracle(p, x + 1j * h * direction)
    else:
        y = oracle({**p, name: p[name] + 1j * h * direction}, x)
    return float(np.sum(dy * y.imag) / h)


@pytest.mark.parametrize("name", CASES)
def test_forward_and_gradients_equal_the_equations(name, rng):
    make, oracle, width = CASES[name]
    layer = make()
    p, x = draw(layer, rng), rng.standard_normal((*SHAPE, width))
    expected = oracle(p, x)
    dy = rng.standard_normal(expected.shape)
    y, dx, g = passes(layer, p, x, dy.copy())
    np.testing.assert_allclose(y, expected, rtol=1e-13, atol=1e-13)  # sums of a few dozen products
    for which, found in {None: dx, **g}.items():
        for _ in range(3):
            d = rng.standard_normal(found.shape)
            wanted, got = slope(oracle, p, x, dy, which, d), float(np.sum(found * d))
            size = np.linalg.norm(found) + 1
            assert abs(wanted - got) < 1e-12 * size, which
            assert abs(wanted - got * (1 + 1e-6)) > 1e-12 * size or abs(got) < 1e-5  # a wrong one would be seen


@pytest.mark.parametrize("name", ["linear with bias", "rms_norm", "layer_norm", "swiglu", "gelu_mlp", "attention"])
def test_float32_is_float64_rounded(name, rng):
    make, _, width = CASES[name]
    layer = make()
    p, x = draw(layer, rng), rng.standard_normal((*SHAPE, width))
    y, _, _ = passes(layer, p, x, np.zeros_like(layer.forward(p, x, tape_of(float))))
    dy = rng.standard_normal(y.shape)
    exact = passes(layer, p, x, dy)
    single = passes(layer, *({n: v.astype("f4") for n, v in p.items()}, x.astype("f4"), dy.astype("f4")))
    for a, b in zip([*exact[:2], *exact[2].values()], [*single[:2], *single[2].values()], strict=True):
        assert b.dtype == np.float32
        np.testing.assert_allclose(b, a, rtol=0, atol=3e-6 * abs(a).max())  # a few dozen roundings of 6e-8


def test_gradients_are_added(rng):
    layer = nn.SwiGLU(5, 9)
    p, x, dy = draw(layer, rng), rng.standard_normal((1, 3, 5)), rng.standard_normal((1, 3, 5))
    _, _, once = passes(layer, p, x, dy)
    tape, g = tape_of(float), {n: v.copy() for n, v in once.items()}
    layer.forward(p, x, tape)
    layer.backward(p, dy, tape, g)
    for n in g:
        np.testing.assert_allclose(g[n], 2 * once[n], rtol=1e-14)


def test_embedding_and_tied_head(rng):
    table, ids = rng.standard_normal((7, 4)), rng.integers(0, 7, (2, 5))
    ids[0, :2] = 3  # a token that comes twice
    tape, g = tape_of(float), {"table": np.zeros((7, 4))}
    layer, dx = nn.Embedding(7, 4), rng.standard_normal((2, 5, 4))
    x = layer.forward({"table": table}, ids, tape)
    assert np.array_equal(x, naive.embedding({"table": table}, ids))
    assert layer.backward({"table": table}, dx, tape, g) is None
    expected = np.zeros((7, 4))
    np.add.at(expected, ids, dx)
    np.testing.assert_allclose(g["table"], expected, rtol=1e-14)

    head, dz = nn.TiedHead(7, "embedding.table"), rng.standard_normal((2, 5, 7))
    assert head.parameters() == {}
    g["table"][...] = 0
    z = head.forward({"table": table}, x, tape)
    np.testing.assert_allclose(z, naive.tied_head({"table": table}, x), rtol=1e-13)
    np.testing.assert_allclose(head.backward({"table": table}, dz, tape, g), dz @ table, rtol=1e-13)
    np.testing.assert_allclose(g["table"], np.einsum("btv,btd->vd", dz, x), rtol=1e-13)


def test_what_is_not_finite_stays_in_its_token(rng):
    for make, _, width in (CASES[n] for n in ("rms_norm", "layer_norm", "swiglu", "gelu_mlp", "linear")):
        layer = make()
        p, x = draw(layer, rng), rng.standard_normal((1, 3, width))
        x[0, 1, 0] = np.nan
        y = layer.forward(p, x, tape_of(float, saving=False))
        assert np.isnan(y[0, 1]).any()
        assert np.isfinite(y[0, [0, 2]]).all()


def test_a_token_of_zeros_is_normalised_to_zeros():
    for layer in (nn.RMSNorm(4), nn.LayerNorm(4)):
        p = {n: np.array(v.start(None, v.shape)) for n, v in layer.parameters().items()}
        y, dx, _ = passes(layer, p, np.zeros((1, 1, 4)), np.ones((1, 1, 4)))
        assert np.array_equal(y, np.zeros((1, 1, 4)))
        assert np.isfinite(dx).all()


@pytest.mark.parametrize("width", [1, 4, 6])
def test_dropout_keeps_its_share_and_its_mean(width):
    layer, x = nn.Dropout(0.25, stream=3), np.ones((50, 400 // width, width))
    y = layer.forward({}, x, tape_of(float, training=True, seed=1, step=2))
    assert set(np.unique(y)) == {0, 1 / 0.75}
    share = np.mean(y == 0)
    assert abs(share - 0.25) < 4 * np.sqrt(0.25 * 0.75 / y.size)
    assert np.array_equal(layer.backward({}, x, tape_of(float, training=True, seed=1, step=2), {}), y)
    assert layer.forward({}, x, tape_of(float)) is x  # not while evaluating


def test_dropout_is_a_function_of_seed_stream_step_and_place():
    x = np.ones((6, 5, 8))

    def dropped(stream=1, **place):
        options = {"training": True, "seed": 4, "step": 9, **place}
        return nn.Dropout(0.5, stream).forward({}, x, tape_of(float, **options))

    whole = dropped()
    for other in (dropped(stream=2), dropped(seed=5), dropped(step=10), dropped(first=1)):
        assert 0.3 < np.mean(other == whole) < 0.7  # independent masks agree at half of the places
    assert np.array_equal(dropped(first=2)[:4], whole[2:])  # the chunk that starts at sequence 2
    with pytest.raises(ValueError, match=r"rate is 1: a probability is wanted, 0 <= rate < 1"):
        nn.Dropout(1, 0)


def test_memory_of_a_layer_is_used_again_and_never_shared(rng):
    tape = tape_of(float)
    x, y = tape.empty(2, 3), tape.empty(2, 3)
    x[...], y[...] = 1, 2
    tape.drop(x)
    z = tape.empty(3, 2)
    z[...] = 3
    assert np.shares_memory(x, z)
    assert not np.shares_memory(y, z)
    tape.close_layer(y)
    tape.open_layer()
    dx = tape.empty(4)
    tape.shut_layer(dx)
    first, second = tape.empty(6), tape.empty(6)  # those of the layer, no longer in use
    assert {np.shares_memory(first, a) for a in (y, z)} == {True, False}
    assert not np.shares_memory(first, second)
    assert not any(np.shares_memory(dx, a) for a in (first, second, tape.empty(4)))


@pytest.mark.cudasim
@pytest.mark.parametrize("name", [*CASES, "dropout"])
def test_layers_are_equal_on_both_devices(name, rng):
    make, _, width = CASES.get(name, (lambda: nn.Dropout(0.5, 1), None, 5))
    layer = make()
    p, x = draw(layer, rng), rng.standard_normal((1, 2, width))

    def run(place):
        tape = Tape(Room(float, place(x) if place is pa.to_device else None), saving=True, training=True)
        on = {n: place(v) for n, v in p.items()}
        y = layer.forward(on, place(x), tape)
        host = pa.to_host(y).copy()
        g = {n: place(np.zeros_like(v)) for n, v in p.items()}
        dx = layer.backward(on, place(np.ones(host.shape)), tape, g)
        return [host, pa.to_host(dx), *(pa.to_host(v) for v in g.values())]

    for here, there in zip(run(np.asarray), run(pa.to_device), strict=True):
        np.testing.assert_allclose(there, here, rtol=1e-12, atol=1e-13)  # the order of sums differs
