"""Wrapping, mean directions, order parameters."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from primeattn import circle

from .naive import circle as naive


@settings(deadline=None, max_examples=200)
@given(st.floats(-1e6, 1e6))
def test_wrap(theta):
    got = circle.wrap(theta)
    assert -np.pi <= got < np.pi
    # both reduce by the true 2 pi and round an angle of size pi: 4 units in its last place, on the circle
    apart = abs(got - naive.wrap(theta))
    assert min(apart, 2 * np.pi - apart) <= 4 * 4.5e-16
    assert circle.wrap(got) == got


def test_wrap_at_the_edges():
    for x in (-np.pi, 0.0, 1e-300, np.nextafter(np.pi, 0)):
        assert circle.wrap(x) == x
    assert circle.wrap(np.pi) == -np.pi
    assert np.isnan(circle.wrap([np.nan, np.inf, -np.inf])).all()
    for x in (1e15, 1e22, -1e300):
        np.testing.assert_allclose(circle.wrap(x), naive.wrap(x), rtol=0, atol=2e-15)
    single = circle.wrap(np.linspace(-50, 50, 9001, dtype=np.float32))
    assert single.dtype == np.float32
    assert (single >= -np.float32(np.pi)).all()
    assert (single < np.float32(np.pi)).all()


def test_wrap_arrays(rng):
    theta = rng.uniform(-20, 20, (7, 5))
    want = circle.wrap(theta)
    np.testing.assert_array_equal(circle.wrap(theta.T), want.T)
    assert circle.wrap(np.empty((0, 3))).shape == (0, 3)
    assert circle.wrap([7]).dtype == np.float64
    mixed = theta.ravel().copy()
    mixed[3] = 1e300  # one huge angle puts its block on the slow path: the others do not move
    np.testing.assert_array_equal(np.delete(circle.wrap(mixed), 3), np.delete(want.ravel(), 3))
    out = np.empty_like(theta)
    assert circle.wrap(theta, out=out) is out
    np.testing.assert_array_equal(circle.wrap(theta, out=theta), want)
    for wrong in (np.empty(3), np.empty((7, 5), np.float32), np.empty((5, 7)).T):
        with pytest.raises(ValueError, match="out"):
            circle.wrap(theta, out=wrong)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_reductions(dtype, rng):
    eps = np.finfo(dtype).eps
    for shape in ((1,), (2,), (33,), (4097,), (3, 5), (2, 3, 17)):
        theta = rng.uniform(-1, 2, shape).astype(dtype)  # half the circle: the resultant is long
        weights = rng.random(shape).astype(dtype)
        for axis in range(-len(shape), len(shape)):
            lines = np.moveaxis(theta, axis, -1)
            loads = np.moveaxis(weights, axis, -1)
            for m in (1, 2, 3, -1, 0):
                got = circle.order_parameter(theta, m, axis)
                assert got.dtype == np.dtype(np.complex64 if dtype == np.float32 else np.complex128)
                want = np.array([naive.order_parameter(x.tolist(), m) for x in lines.reshape(-1, lines.shape[-1])])
                # 4 lanes of at most 256 terms in a block, each term with an error eps |m theta|: 64 eps
                np.testing.assert_allclose(np.ravel(got), want, rtol=0, atol=64 * eps)
            for w in (None, weights):
                got = circle.mean(theta, w, axis)
                assert got.dtype == dtype
                pairs = zip(lines.reshape(-1, lines.shape[-1]), loads.reshape(-1, lines.shape[-1]), strict=True)
                want = [naive.mean(x.tolist(), np.ones(len(x)) if w is None else y.tolist()) for x, y in pairs]
                np.testing.assert_allclose(np.ravel(got), want, rtol=0, atol=256 * eps)
    theta = rng.uniform(-1, 2, (3, 5))
    np.testing.assert_allclose(circle.mean(theta, axis=None), naive.mean(theta.ravel(), np.ones(15)), atol=1e-14)
    along = rng.random(3)
    np.testing.assert_array_equal(
        circle.mean(theta, along, axis=0), circle.mean(theta, np.repeat(along[:, None], 5, 1), axis=0)
    )


def test_theorems(rng):
    theta, shift = rng.uniform(-np.pi, np.pi, 500), 1.234
    z = circle.order_parameter(theta)
    np.testing.assert_allclose(circle.order_parameter(theta + shift), z * np.exp(1j * shift), rtol=0, atol=1e-14)
    np.testing.assert_allclose(circle.order_parameter(-theta), np.conj(z), rtol=0, atol=1e-15)
    assert circle.order_parameter(theta, m=0) == 1
    splay = 2 * np.pi * np.arange(12) / 12
    for m in range(1, 12):  # splay states: Z_m = 0 unless 12 divides m
        assert abs(circle.order_parameter(splay, m)) < 1e-14
    assert abs(abs(circle.order_parameter(splay, 12)) - 1) < 1e-14


def test_degenerate_values():
    assert np.isnan(circle.mean(np.empty(0)))
    assert np.isnan(circle.order_parameter(np.empty(0)))
    assert circle.mean(np.empty((0, 3)), axis=1).shape == (0,)
    assert np.isnan(circle.mean([1.0, np.nan]))
    assert np.isnan(circle.mean([1.0, np.inf]))
    assert circle.mean([1.0, np.nan], weights=[1, 0]) == pytest.approx(1.0, abs=1e-15)
    assert np.isnan(circle.mean([1.0, 2.0], weights=[0, 0]))
    assert np.isnan(circle.mean([1.0], weights=[0]))
    assert circle.mean([np.pi, np.pi]) == -np.pi
    assert circle.mean(1.0 + np.zeros(1)) == pytest.approx(1.0, abs=1e-15)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: circle.mean([1.0, 2], weights=[1, -1]), ValueError, "negative"),
        (lambda: circle.mean([1.0, 2], weights=[1, 1, 1]), ValueError, "weights have shape"),
        (lambda: circle.mean([1.0, 2], axis=1), ValueError, "axis is 1"),
        (lambda: circle.order_parameter([1.0], m=0.5), TypeError, "integer"),
        (lambda: circle.wrap(np.array([1j])), TypeError, "complex"),
    ],
)
def test_refusals(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_labelled(rng):
    xarray = pytest.importorskip("xarray")
    theta = xarray.DataArray(rng.uniform(-9, 9, (3, 5)), dims=("time", "oscillator"), coords={"time": [0, 1, 2]})
    assert circle.wrap(theta).dims == theta.dims
    z = circle.order_parameter(theta, axis="oscillator")
    assert z.dims == ("time",)
    np.testing.assert_array_equal(z.values, circle.order_parameter(theta.values))
    weights = xarray.DataArray(rng.random(5), dims="oscillator")
    np.testing.assert_array_equal(
        circle.mean(theta, weights, axis="oscillator").values, circle.mean(theta.values, weights.values)
    )


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_only_ratios_of_weights_matter(dtype):
    theta = np.array([0.1, 0.2, 0.4], dtype)
    weights = np.array([1.0, 2.0, 1.5])
    for size in (2.0**1020, 2.0**-1000):
        np.testing.assert_array_equal(circle.mean(theta, weights * size), circle.mean(theta, weights))
    theta[1] = np.nan  # a weight that float32 cannot hold still is not 0
    assert np.isnan(circle.mean(theta, [1e300, 1e-300, 1]))


def test_numbers_of_numpy_and_messages():
    np.testing.assert_allclose(circle.mean(np.ones((2, 3)), np.ones(2), np.int64(0)), np.ones(3), rtol=4e-16)
    for m in (-(2**63), 2**63, 2**53 + 1):
        with pytest.raises(ValueError, match=f"m is {m}: an integer in"):
            circle.order_parameter([0.1], m)
    np.testing.assert_allclose(abs(circle.order_parameter([0.1], -(2**53))), 1, rtol=4e-16)
    with pytest.raises(TypeError, match="out is a list"):
        circle.wrap([1.0], out=[0.0])
    with pytest.raises(TypeError, match=r"theta\.filled"):
        circle.wrap(np.ma.array([1.0, 2.0], mask=[True, False]))
