"""CUDA twins against the CPU: in the simulator, or on a device."""

import numpy as np
import pytest
from numba import cuda

import primeattn as pa
from primeattn import circle
from primeattn import quaternion as q
from primeattn.quaternion import pullbacks, scalars
from primeattn.quaternion._gradient import PULLBACKS

from .naive import quaternion as naive
from .test_quaternion import FUNCTIONS, draw

# In the simulator scalars are NumPy's, which warn where compiled code overflows silently.
pytestmark = [pytest.mark.cudasim, pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")]

# The device contracts other multiply-adds than the CPU: a few eps of the intermediate values.
TOLERANCE = {np.float64: 64 * 2.0**-52, np.float32: 64 * 2.0**-23}


def to_device(*inputs):
    return [pa.to_device(x) for x in inputs]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_twins(name, dtype, rng):
    inputs = draw(rng, name, [(3,)] * len(FUNCTIONS[name]), dtype)
    got = pa.to_host(getattr(q, name)(*to_device(*inputs)))
    assert got.dtype == dtype
    want = naive.rows(getattr(naive, name), FUNCTIONS[name], *(x.astype(np.float64) for x in inputs))
    np.testing.assert_allclose(got, want, rtol=0, atol=TOLERANCE[dtype] * max(1, np.abs(want).max()))


def test_broadcasting_and_out(rng):
    a, b = rng.standard_normal((2, 1, 4)), rng.standard_normal((3, 4))
    da, db = to_device(a, b)
    want = naive.rows(naive.multiply, (1, 1), a, b)
    np.testing.assert_allclose(pa.to_host(q.multiply(da, db)), want, rtol=0, atol=1e-14)
    out = pa.to_device(np.empty((2, 3, 4)))
    assert q.multiply(da, db, out=out) is out
    np.testing.assert_allclose(pa.to_host(out), want, rtol=0, atol=1e-14)
    np.testing.assert_allclose(
        pa.to_host(q.power(db, 0.5)), naive.rows(naive.power, (1, 0), b, 0.5), rtol=0, atol=1e-13
    )
    with pytest.raises(TypeError, match="b is a host array"):
        q.multiply(da, b)
    with pytest.raises(TypeError, match="out is a host array"):
        q.multiply(da, db, out=np.empty((2, 3, 4)))
    with pytest.raises(TypeError, match="differ in dtype"):
        q.multiply(da, pa.to_device(b.astype(np.float32)))


@pytest.mark.parametrize("name", PULLBACKS)
def test_gradients(name, rng):
    """Each pullback against central differences of the naive forward, broadcast axes summed."""
    count = len(FUNCTIONS[name])
    inputs = draw(rng, name, [((2, 1), (2,))[k % 2] for k in range(count)])
    out, pullback = q.vjp(name, *to_device(*inputs))
    dout = rng.standard_normal(out.shape)
    grads = pullback(pa.to_device(dout))

    def loss(*xs):
        return np.sum(dout * naive.rows(getattr(naive, name), FUNCTIONS[name], *xs))

    for k, key in enumerate(PULLBACKS[name][0].inputs):
        want = np.zeros_like(inputs[k])
        for index in np.ndindex(want.shape):
            moved = [x.copy() for x in inputs]
            moved[k][index] += 1e-6
            up = loss(*moved)
            moved[k][index] -= 2e-6
            want[index] = (up - loss(*moved)) / 2e-6
        got = pa.to_host(grads[key])
        assert got.shape == want.shape
        # central differences: step squared times third derivatives, and 1e-16 / 1e-6
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-7 * max(1, np.abs(want).max()))


@pytest.mark.filterwarnings("error")
def test_the_mean_of_all_but_equal_rotations_stays_in_range():
    """Matrices whose entries off the diagonal are as good as zero."""
    for tiny in (1e-150, 1e-170, 1e-300):
        a = np.array([[1, tiny, -3 * tiny, 0], [1, tiny, tiny, 2 * tiny]])
        np.testing.assert_array_equal(pa.to_host(q.mean(pa.to_device(a)))[0], 1)


def test_euler_mean_and_scan(rng):
    angles = rng.uniform(-1, 1, (3, 3))
    for sequence in ("zyx", "XYX"):
        a = q.from_euler(pa.to_device(angles), sequence)
        want = naive.rows(lambda x, s=sequence: naive.from_euler(x, s), (1,), angles)
        np.testing.assert_allclose(pa.to_host(a), want, rtol=0, atol=1e-15)
        back = naive.rows(lambda x, s=sequence: naive.from_euler(x, s), (1,), pa.to_host(q.to_euler(a, sequence)))
        np.testing.assert_allclose(np.abs(np.sum(back * want, axis=-1)), 1, rtol=0, atol=1e-14)
    a, w = rng.standard_normal((5, 2, 4)), rng.random((5, 2))
    mean = pa.to_host(q.mean(*to_device(a, w), axis=0))
    for k in range(2):
        np.testing.assert_allclose(mean[k], naive.mean(a[:, k], w[:, k]), rtol=0, atol=1e-13)
    scan = pa.to_host(q.cumprod(pa.to_device(a), axis=0))
    for k in range(2):
        np.testing.assert_allclose(scan[:, k], naive.cumprod(a[:, k]), rtol=0, atol=1e-13)


def test_scan_over_blocks(rng, monkeypatch):
    monkeypatch.setattr("primeattn.quaternion._scan.BLOCK", 3)
    a = rng.standard_normal((2, 8, 4))
    scan = pa.to_host(q.cumprod(pa.to_device(a), axis=1))
    for k in range(2):
        np.testing.assert_allclose(scan[k], naive.cumprod(a[k]), rtol=0, atol=1e-12)


def test_circle(rng, monkeypatch):
    monkeypatch.setattr(circle, "BLOCK", 16)
    theta, w = rng.uniform(-9, 9, (2, 21)), rng.random((2, 21))
    on_device, weights = to_device(theta, w)
    np.testing.assert_allclose(np.exp(1j * pa.to_host(circle.wrap(on_device))), np.exp(1j * theta), rtol=0, atol=4e-15)
    z = pa.to_host(circle.order_parameter(on_device))
    np.testing.assert_allclose(z, np.exp(1j * theta).mean(axis=-1), rtol=0, atol=1e-14)
    mean = pa.to_host(circle.mean(on_device, weights))
    np.testing.assert_allclose(mean, np.angle((w * np.exp(1j * theta)).sum(axis=-1)), rtol=0, atol=1e-13)


def test_scalars_in_the_users_kernel(rng):
    @cuda.jit
    def turn(rotations, vectors, out):
        i = cuda.grid(1)
        if i < out.shape[0]:
            r, v = rotations[i], vectors[i]
            x, y, z = scalars.rotate((r[0], r[1], r[2], r[3]), (v[0], v[1], v[2]))
            out[i, 0] = x
            out[i, 1] = y
            out[i, 2] = z

    @cuda.jit
    def turn_gradient(rotations, vectors, out):
        i = cuda.grid(1)
        if i < out.shape[0]:
            r, v = rotations[i], vectors[i]
            _, g = pullbacks.rotate((r[0], r[1], r[2], r[3]), (v[0], v[1], v[2]), (v[0], v[1], v[2]))
            out[i, 0] = g[0]

    a, v = rng.standard_normal((3, 4)), rng.standard_normal((3, 3))
    out = pa.to_device(np.zeros((3, 3)))
    turn[1, 4](pa.to_device(a), pa.to_device(v), out)
    np.testing.assert_allclose(pa.to_host(out), naive.rows(naive.rotate, (1, 1), a, v), rtol=0, atol=1e-13)
    turn_gradient[1, 4](pa.to_device(a), pa.to_device(v), out)
    back = naive.rows(naive.rotate, (1, 1), naive.rows(naive.conjugate, (1,), a), v)
    np.testing.assert_allclose(pa.to_host(out)[:, 0], back[:, 0], rtol=0, atol=1e-13)
