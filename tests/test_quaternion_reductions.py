"""Mean and scan; labelled arrays; the scalars in the user's own code; the on-disk cache."""

import os
import subprocess
import sys

import numba
import numpy as np
import pytest

from primeattn import quaternion as q
from primeattn.quaternion import scalars
from primeattn.quaternion._scan import BLOCK

from .naive import quaternion as naive

# ---- mean ----


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_mean(dtype, rng):
    for n in (1, 2, 5, 33):
        a = rng.standard_normal((n, 4)).astype(dtype)
        weights = rng.random(n).astype(dtype)
        for w in (None, weights):
            got = q.mean(a, weights=w)
            assert got.dtype == dtype
            # the eigenvector's error is eps over the relative gap of eigenvalues, which is about 0.1 here
            tolerance = 1e-13 if dtype == np.float64 else 1e-4
            np.testing.assert_allclose(got, naive.mean(a.astype(float), w), rtol=0, atol=tolerance)


def test_mean_axes_and_weights(rng):
    a, w = rng.standard_normal((3, 5, 2, 4)), rng.random((3, 5, 2))
    for axis in (0, 1, 2, -1):
        got = q.mean(a, weights=w, axis=axis)
        moved_a, moved_w = np.moveaxis(a, axis % 3, 0), np.moveaxis(w, axis % 3, 0)
        for index in np.ndindex(got.shape[:-1]):
            want = naive.mean(moved_a[(slice(None), *index)], moved_w[(slice(None), *index)])
            np.testing.assert_allclose(got[index], want, rtol=0, atol=1e-12)
    along = rng.random(5)
    np.testing.assert_array_equal(
        q.mean(a, along, axis=1), q.mean(a, np.broadcast_to(along[:, None], (3, 5, 2)), axis=1)
    )
    np.testing.assert_allclose(q.mean(a, w, axis=None), naive.mean(a.reshape(-1, 4), w.ravel()), rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_only_ratios_of_weights_matter(dtype, rng):
    a, w = q.random((2, 5), rng, dtype), rng.random((2, 5))
    want = q.mean(a, w, axis=1)
    for size in (2.0**1000, 2.0**-1000, 2.0**160):
        np.testing.assert_array_equal(q.mean(a, w * size, axis=1), want)
        np.testing.assert_array_equal(q.mean(a, w * [[1], [size]], axis=1), want)  # each line for itself
    # 1e308 is no power of two: the weights sum with other roundings, which the gap of eigenvalues (0.1) amplifies
    np.testing.assert_allclose(q.mean(a[0], [1e308] * 5), q.mean(a[0]), rtol=0, atol=100 * np.finfo(dtype).eps)
    np.testing.assert_array_equal(q.mean(a, w * 2.0**1000, axis=None), q.mean(a, w, axis=None))
    a[0, 3] = np.nan  # a weight that float32, or the scale, cannot hold still is not 0
    assert np.isnan(q.mean(a[0], [1e300, 1, 1, 1e-300, 1])).all()


def test_mean_ignores_order_signs_and_lengths(rng):
    a, w = q.random(20, rng), rng.random(20)
    want = q.mean(a, w)
    order, signs = rng.permutation(20), rng.choice([-1, 1], 20)[:, None] * rng.uniform(0.1, 9, (20, 1))
    np.testing.assert_allclose(q.mean((a * signs)[order], w[order]), want, rtol=0, atol=1e-13)
    b = q.random((), rng)
    moved = q.mean(q.multiply(b, a), w)
    np.testing.assert_allclose(q.angular_distance(moved, q.multiply(b, want)), 0, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_ties(dtype):
    basis = np.eye(4, dtype=dtype)
    np.testing.assert_array_equal(q.mean(basis), basis[0])  # all four tied: the first of the heaviest
    np.testing.assert_array_equal(q.mean(basis[[2, 1]]), basis[2])
    slanted = q.normalize(np.array([[1, 1, 0, 0], [1, -1, 0, 0], [0, 0, 1, 1], [0, 0, -1, 1]], dtype))
    np.testing.assert_allclose(q.mean(slanted[[1, 0]]), slanted[1], rtol=0, atol=4 * np.finfo(dtype).eps)
    # i and j weigh 2 each in two parts, 1 weighs 3 x 0.5: the tie is between i and j, the heaviest single value is k
    a = basis[[1, 1, 2, 2, 3]]
    got = q.mean(a, np.array([1, 1, 1, 1, 1.5], dtype))
    assert got[3] == 0
    np.testing.assert_allclose(np.linalg.norm(got), 1, rtol=1e-6)


def test_mean_of_awkward_values():
    assert np.isnan(q.mean(np.zeros((0, 4)))).all()
    assert q.mean(np.zeros((3, 0, 4)), axis=0).shape == (0, 4)
    assert np.isnan(q.mean(np.eye(4), weights=np.zeros(4))).all()
    assert np.isnan(q.mean([[1, 0, 0, 0], [0, 0, 0, 0]])).all()
    nan = np.array([[1, 0, 0, 0], [np.nan, 0, 0, 0.0]])
    assert np.isnan(q.mean(nan)).all()
    np.testing.assert_array_equal(q.mean(nan, weights=[1, 0]), [1, 0, 0, 0])
    np.testing.assert_array_equal(q.mean([[-2, 0, 0, 0]]), [1, 0, 0, 0])


# ---- scan ----


@pytest.mark.parametrize("length", [1, 2, 33, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 7])
def test_cumprod(length, rng):
    a = q.random(length, rng)
    got = q.cumprod(a)
    # roundings add up like a random walk at worst linearly: length eps
    np.testing.assert_allclose(got, naive.cumprod(a), rtol=0, atol=length * 2.0**-52 * 4)
    assert q.cumprod(a.astype(np.float32)).dtype == np.float32


def test_cumprod_axes_and_out(rng):
    a = q.random((3, BLOCK + 5, 2), rng)
    for axis in (0, 1, 2, -1):
        want = np.moveaxis(np.empty_like(a), axis % 3, 0)
        moved = np.moveaxis(a, axis % 3, 0)
        for index in np.ndindex(moved.shape[1:-1]):
            want[(slice(None), *index)] = naive.cumprod(moved[(slice(None), *index)])
        np.testing.assert_allclose(np.moveaxis(q.cumprod(a, axis), axis % 3, 0), want, rtol=0, atol=1e-13)
    want = q.cumprod(a, 1)
    again = a.copy()
    assert q.cumprod(again, 1, out=again) is again
    np.testing.assert_array_equal(again, want)
    assert q.cumprod(np.empty((0, 4))).shape == (0, 4)
    broken = a[0, :, 0].copy()
    broken[7] = np.nan
    got = q.cumprod(broken)
    assert np.isfinite(got[:7]).all()
    assert np.isnan(got[7:]).all()


def test_cumprod_does_not_depend_on_threads(rng):
    a = q.random(50_000, rng)
    threads = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        alone = q.cumprod(a)
    finally:
        numba.set_num_threads(threads)
    np.testing.assert_array_equal(alone, q.cumprod(a))


# ---- labelled ----


def test_labelled(rng):
    xarray = pytest.importorskip("xarray")
    a = xarray.DataArray(rng.standard_normal((3, 4)), dims=("run", "c"), coords={"run": [10, 20, 30]})
    b = xarray.DataArray(rng.standard_normal((2, 4)), dims=("time", "c"), coords={"time": [0.0, 0.1]})
    got = q.multiply(a, b)
    assert got.dims == ("run", "time", "c")
    np.testing.assert_array_equal(got.values, q.multiply(a.values[:, None], b.values))
    np.testing.assert_array_equal(got.run, [10, 20, 30])
    np.testing.assert_array_equal(q.multiply(a, [0, 1, 0, 0]).values, q.multiply(a.values, [0, 1, 0, 0]))
    assert q.norm(a).dims == ("run",)
    assert q.to_matrix(a).dims == ("run", "row", "column")
    assert q.rotate(a, xarray.DataArray(np.ones((5, 3)), dims=("n", "c"))).dims == ("run", "n", "c")
    assert q.from_axis_angle(xarray.DataArray(np.ones(3), dims="xyz"), 0.5).dims == ("component",)
    axis, angle = q.to_axis_angle(a)
    assert axis.dims == ("run", "xyz")
    assert angle.dims == ("run",)
    assert q.slerp(a, a, xarray.DataArray([0, 0.5], dims="t")).dims == ("run", "t", "c")
    assert q.to_euler(a, "zyx").dims == ("run", "xyz")
    assert q.cumprod(a, axis="run").dims == a.dims
    mean = q.mean(a, xarray.DataArray([1.0, 2, 3], dims="run", coords={"run": [10, 20, 30]}), axis="run")
    assert mean.dims == ("c",)
    np.testing.assert_array_equal(mean.values, q.mean(a.values, [1.0, 2, 3]))
    with pytest.raises(TypeError, match="out="):
        q.norm(a, out=np.empty(3))
    with pytest.raises(TypeError, match=r"x\.values"):
        q.vjp("norm", a)
    with pytest.raises(ValueError, match=r"align|exact"):
        q.multiply(a, a.assign_coords(run=[1, 2, 3]))
    with pytest.raises(ValueError, match="leading dimensions are"):
        q.mean(a, axis="nowhere")


# ---- the scalars in the user's own code ----


@numba.njit
def _turn_all(rotations, vectors):
    out = np.empty_like(vectors)
    for i in range(len(vectors)):
        r, v = rotations[i], vectors[i]
        turned = scalars.rotate((r[0], r[1], r[2], r[3]), (v[0], v[1], v[2]))
        out[i, 0], out[i, 1], out[i, 2] = turned
    return out


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_scalars_in_njit(dtype, rng):
    a, v = rng.standard_normal((6, 4)).astype(dtype), rng.standard_normal((6, 3)).astype(dtype)
    np.testing.assert_allclose(_turn_all(a, v), q.rotate(a, v), rtol=0, atol=4 * np.finfo(dtype).eps * 4)


def test_every_scalar_compiles():
    a, v, t = (0.5, 0.1, 0.2, 0.3), (1.0, 2.0, 3.0), 0.5
    arguments = {"cross": (v, v), "power": (a, t), "slerp": (a, a, t), "rotate": (a, v), "from_axis_angle": (v, t)}
    arguments |= {"from_matrix": ((1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0),)}
    pairs = {"multiply", "dot", "commutator", "angular_distance"}
    for name in scalars.__all__:
        result = getattr(scalars, name)(*arguments.get(name, (a, a) if name in pairs else (a,)))
        flat = np.hstack(result) if isinstance(result, tuple) else np.array(result)
        assert np.isfinite(flat).all(), name


# ---- cache ----

_FIRST = """
import numpy as np, primeattn as pa
from primeattn.quaternion import _algebra
pa.quaternion.multiply(np.ones((3, 4)), np.ones(4))
stats = _algebra.multiply_cpu.stats
print(sum(stats.cache_hits.values()), sum(stats.cache_misses.values()))
"""


def test_a_second_process_hits_the_cache(tmp_path):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "PRIMEATTN_CACHE": "1"}
    runs = [
        subprocess.run(
            [sys.executable, "-c", _FIRST], env=environment, capture_output=True, text=True, check=True
        ).stdout
        for _ in range(2)
    ]
    assert runs[0].split() == ["0", "1"]
    assert runs[1].split() == ["1", "0"]


def test_component_dimensions_come_last():
    xr = pytest.importorskip("xarray")
    a = xr.DataArray(np.ones((5, 4)), dims=("xyz", "component"))
    with pytest.raises(ValueError, match=r"'xyz' holds components.*x\.rename"):
        q.rotate(a, np.ones(3))
    with pytest.raises(ValueError, match=r"dimensions \(\)"):
        q.norm(xr.DataArray(1.0))
