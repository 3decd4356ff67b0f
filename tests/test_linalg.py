"""Matrix products inside kernels: against NumPy, by BLAS and by plain loops, and the threads of BLAS."""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from primeattn._runtime import linalg
from primeattn._runtime.jit import kernel

KINDS = ("nn", "nt", "tn")


@kernel
def product(start, stop, blas, kind, m, n, k, alpha, a, ao, lda, b, bo, ldb, beta, c, co, ldc):
    if kind == 0:
        linalg.gemm_nn(blas, m, n, k, alpha, a, ao, lda, b, bo, ldb, beta, c, co, ldc)
    elif kind == 1:
        linalg.gemm_nt(blas, m, n, k, alpha, a, ao, lda, b, bo, ldb, beta, c, co, ldc)
    else:
        linalg.gemm_tn(blas, m, n, k, alpha, a, ao, lda, b, bo, ldb, beta, c, co, ldc)


@pytest.fixture(params=["blas", "loops"])
def provider(request, monkeypatch):
    monkeypatch.setenv("PRIMEATTN_BLAS", "0" if request.param == "loops" else "1")
    return request.param


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 7, 3), (64, 33, 17), (2, 0, 3), (3, 2, 0)])
@pytest.mark.parametrize("beta", [0, 1, -0.5])
def test_products_of_blocks_equal_numpy(provider, kind, dtype, shape, beta, rng):
    m, n, k = shape
    real = np.dtype(dtype).type
    a, b, c = (rng.standard_normal((100, 90)).astype(dtype) for _ in range(3))
    if beta == 0:
        c[...] = np.nan  # beta = 0 must not read C
    left = a[2:, 3:][:k, :m].T if kind == "tn" else a[2:, 3:][:m, :k]
    right = b[1:, 4:][:n, :k].T if kind == "nt" else b[1:, 4:][:k, :n]
    expected = c.copy()
    block = expected[5:, 6:][:m, :n]
    block[...] = 1.5 * left.astype(float) @ right.astype(float) + (beta * block if beta else 0)
    blas = linalg.gemm_address(dtype)
    product(
        0, 1, blas, KINDS.index(kind), m, n, k, real(1.5), a.ravel(), 183, 90, b.ravel(), 94, 90, real(beta),
        c.reshape(-1), 456, 90,
    )  # fmt: skip
    # k additions of products of size about 1: k eps, with room
    np.testing.assert_allclose(c, expected, rtol=0, atol=8 * (k + 1) * np.finfo(dtype).eps)


def test_the_switch_chooses_the_loops(monkeypatch):
    monkeypatch.setenv("PRIMEATTN_BLAS", "0")
    assert linalg.library().name == "plain loops"
    monkeypatch.delenv("PRIMEATTN_BLAS")
    assert linalg.library() == (linalg.scipy_blas() or linalg.plain_loops())


def test_without_scipy_blas_the_loops_serve(monkeypatch):
    monkeypatch.setattr(linalg, "scipy_blas", lambda: None)
    assert linalg.library().name == "plain loops"


def test_threads_of_blas_are_one_inside_and_restored_after():
    blas = linalg.library()
    if blas.set_threads is None:
        pytest.skip(f"{blas.name}: this BLAS offers no control of its threads")
    before = blas.get_threads()
    blas.set_threads(2)
    try:
        with linalg.single_threaded():
            assert blas.get_threads() == 1
            with linalg.single_threaded():
                assert blas.get_threads() == 1
            assert blas.get_threads() == 1
        assert blas.get_threads() == 2
        with pytest.raises(KeyError), linalg.single_threaded():
            raise KeyError
        assert blas.get_threads() == 2
        inside, leave = threading.Event(), threading.Event()

        def other():
            with linalg.single_threaded():
                inside.set()
                leave.wait(10)

        thread = threading.Thread(target=other)
        thread.start()
        inside.wait(10)
        with linalg.single_threaded():
            pass
        assert blas.get_threads() == 1  # the other block is still open
        leave.set()
        thread.join()
        assert blas.get_threads() == 2
    finally:
        blas.set_threads(before)


MODULE = """
import numpy as np
from primeattn._runtime import linalg
from primeattn._runtime.jit import kernel

@kernel
def square(start, stop, blas, n, a, c):
    linalg.gemm_nn(blas, n, n, n, 1.0, a, 0, n, a, 0, n, 0.0, c, 0, n)

a = np.random.default_rng(0).standard_normal((70, 70))
c = np.empty_like(a)
square(0, 1, linalg.gemm_address(a.dtype), 70, a.reshape(-1), c.reshape(-1))
"""
SCRIPT = """
import products
from products import square
print(sum(square.stats.cache_hits.values()), sum(square.stats.cache_misses.values()))
print(repr(float(products.c.sum())), repr(float(abs(products.c).sum())))
"""


def test_cached_kernels_call_blas_in_a_second_process(tmp_path):
    """The address of BLAS differs from process to process; a cached kernel must not remember it."""
    (tmp_path / "products.py").write_text(MODULE)
    paths = os.pathsep.join([str(tmp_path), *sys.path])
    environment = dict(os.environ, NUMBA_CACHE_DIR=str(tmp_path), PRIMEATTN_CACHE="1", PYTHONPATH=paths)

    def run(**more):
        command = [sys.executable, "-c", SCRIPT]
        done = subprocess.run(command, env={**environment, **more}, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        counts, values = done.stdout.splitlines()
        return tuple(map(int, counts.split())), list(map(float, values.split()))

    counts, first = run()
    assert counts == (0, 1)
    counts, second = run()
    assert counts == (1, 0)
    assert second == first
    counts, loops = run(PRIMEATTN_BLAS="0")  # the same cached kernel, another routine
    assert counts == (1, 0)
    np.testing.assert_allclose(loops, first, rtol=1e-12)  # float64, sums of about a thousand terms


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("turn_a", [False, True])
@pytest.mark.parametrize("turn_b", [False, True])
@pytest.mark.parametrize("shape", [(24, 64, 5), (31, 33, 7), (25, 129, 600), (40, 1, 1), (3, 65, 9), (1, 1, 1)])
def test_multiply_equals_numpy(dtype, turn_a, turn_b, shape, rng):
    """Strips from 24 rows on, whole and not, more steps than a block; a BLAS below. Rows with anything between them."""
    m, n, k = shape
    a, b, out = (rng.standard_normal((700, 700)).astype(dtype) for _ in range(3))
    left = a[1:, 2:][:k, :m] if turn_a else a[1:, 2:][:m, :k]
    right = b[3:, 1:][:n, :k] if turn_b else b[3:, 1:][:k, :n]
    product = (left.T if turn_a else left).astype(float) @ (right.T if turn_b else right).astype(float)
    before = out.copy()
    for add in (False, True):
        expected = before.copy()
        block = expected[5:, 6:][:m, :n]
        block[...] = product + (2 * product if add else 0)
        if add:
            out[5:, 6:][:m, :n] = 2 * product
        linalg.multiply(left, right, out[5:, 6:][:m, :n], turn_a=turn_a, turn_b=turn_b, add=add)
        np.testing.assert_allclose(out, expected, rtol=0, atol=24 * (k + 1) * np.finfo(dtype).eps)


@pytest.mark.parametrize("shape", [(0, 3, 2), (30, 0, 2), (30, 3, 0), (3, 2, 0)])
def test_multiply_without_rows_columns_or_steps(shape):
    m, n, k = shape
    out = np.ones((m, n))
    linalg.multiply(np.ones((m, k)), np.ones((k, n)), out, add=True)
    assert (out == 1).all()
    linalg.multiply(np.ones((m, k)), np.ones((k, n)), out)
    assert not out.any()


def test_multiply_keeps_what_is_not_finite_in_its_rows():
    a, out = np.ones((30, 4)), np.empty((30, 70))
    a[29, 0], a[3, 1] = np.nan, np.inf
    linalg.multiply(a, np.ones((4, 70)), out)
    assert np.isnan(out[29]).all()
    assert np.isinf(out[3]).all()
    assert np.isfinite(np.delete(out, [3, 29], axis=0)).all()


@pytest.mark.cudasim
@pytest.mark.parametrize("turn_a", [False, True])
@pytest.mark.parametrize("turn_b", [False, True])
def test_multiply_is_equal_on_both_devices(turn_a, turn_b, rng):
    from primeattn import to_device, to_host

    a, b = rng.standard_normal((2, 3)[:: 1 - 2 * turn_a]), rng.standard_normal((3, 4)[:: 1 - 2 * turn_b])
    here = np.ones((2, 4))
    there = to_device(here.copy())
    linalg.multiply(a, b, here, turn_a=turn_a, turn_b=turn_b, add=True)
    linalg.multiply(to_device(a), to_device(b), there, turn_a=turn_a, turn_b=turn_b, add=True)
    np.testing.assert_allclose(to_host(there), here, rtol=1e-14)
