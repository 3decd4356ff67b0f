"""Vectors inside kernels: eight rows as columns and back, and arithmetic that rounds as single numbers do."""

import os
import subprocess
import sys

import numpy as np
import pytest

from primeattn._runtime import memory, packed, vectors
from primeattn._runtime.jit import kernel


@kernel
def columns(start, stop, four, three, out_four, out_three):
    for i in range(start, stop, packed.ROWS):
        packed.prefetch4(four, i)
        packed.prefetch3(three, i)
        w, x, y, z = packed.load4(four, i)
        packed.store4(out_four, i, (z, w, y, x))
        u, v, t = packed.load3(three, i)
        packed.store3(out_three, i, (v, t, u))


@kernel
def inside(start, stop, four, low, high):
    found = 0
    for i in range(start, stop, packed.ROWS):
        found += packed.all_between(low, packed.load4(four, i)[2], high)
    return found


@kernel
def arithmetic(start, stop, four, out):
    for i in range(start, stop, packed.ROWS):
        w, x, y, z = packed.load4(four, i)
        s = packed.repeat(four[0])
        packed.store4(out, i, (w + s * x, x - y, y / z, (w * x - y * z) / s))


@kernel
def arithmetic_of_rows(start, stop, four, out):
    for i in range(start, stop):
        w, x, y, z = four[4 * i], four[4 * i + 1], four[4 * i + 2], four[4 * i + 3]
        s = four[0]
        out[4 * i], out[4 * i + 1], out[4 * i + 2], out[4 * i + 3] = w + s * x, x - y, y / z, (w * x - y * z) / s


@kernel
def from_the_line(start, stop, x, out):
    vectors.prefetch_rows(x, start, stop)
    first = vectors.before_line(x)
    for i in range(start, stop):
        out[i] = x[first + i]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("skipped", [0, 1, 5])
def test_a_kernel_finds_the_first_cache_line_of_an_array(dtype, skipped):
    x = np.arange(300, dtype=dtype)[skipped:]
    gap = -x.ctypes.data % memory.LINE // x.itemsize
    out = np.empty(100, dtype)
    from_the_line(0, 100, x, out)
    np.testing.assert_array_equal(out, x[gap : gap + 100])


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_eight_rows_as_columns(dtype, rng):
    n = 3 * packed.ROWS
    four, three = rng.standard_normal((n, 4)).astype(dtype), rng.standard_normal((n, 3)).astype(dtype)
    got, got3 = np.empty_like(four), np.empty_like(three)
    columns(0, n, four.ravel(), three.ravel(), got.ravel(), got3.ravel())
    np.testing.assert_array_equal(got, four[:, [3, 0, 2, 1]])
    np.testing.assert_array_equal(got3, three[:, [1, 2, 0]])


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_all_between(dtype, rng):
    four = rng.standard_normal((3 * packed.ROWS, 4)).astype(dtype)
    low, high = four[:, 2].min(), four[:, 2].max()
    assert inside(0, len(four), four.ravel(), low, high) == 3
    assert inside(0, len(four), four.ravel(), np.nextafter(low, high), high) == 2
    assert inside(0, len(four), four.ravel(), low, np.nextafter(high, low)) == 2
    four[9, 2] = np.nan
    assert inside(0, len(four), four.ravel(), dtype(-np.inf), dtype(np.inf)) == 2


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_vectors_round_as_numbers_do(dtype, rng):
    four = rng.standard_normal((3 * packed.ROWS, 4)).astype(dtype)
    got, want = np.empty_like(four), np.empty_like(four)
    arithmetic(0, len(four), four.ravel(), got.ravel())
    arithmetic_of_rows(0, len(four), four.ravel(), want.ravel())
    np.testing.assert_array_equal(got, want)


PLAIN = """
import numpy as np
from primeattn import quaternion as q
a, b = np.random.default_rng(0).standard_normal((2, 19, 4))
a[3] *= 1e-300
print(*map(float.hex, np.concatenate([q.multiply(a, b), q.rotate(a, b[:, :3])], axis=1).ravel()))
"""


def test_slices_stand_in_for_vectors_without_the_jit():
    runs = [
        subprocess.run(
            [sys.executable, "-c", PLAIN],
            env={**os.environ, "NUMBA_DISABLE_JIT": off},
            capture_output=True, text=True, check=True,
        ) for off in "01"
    ]  # fmt: skip
    compiled, plain = (np.array([float.fromhex(x) for x in run.stdout.split()]) for run in runs)
    # nothing is fused without the JIT: a dozen roundings of numbers up to 20
    np.testing.assert_allclose(plain, compiled, rtol=0, atol=64 * 2.0**-52 * np.abs(compiled).max())
