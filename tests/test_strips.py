"""Strips against NumPy, in both types; on a CPU with shorter registers, too."""

import os
import subprocess
import sys

import numpy as np
import pytest

from primeattn._runtime import memory, strips
from primeattn._runtime.jit import kernel


@kernel
def product(turned, k, grains, a, ao, a_stride, b, bo, b_step, b_panel, c, co, c_row, add):
    if turned:
        strips.strip_turned(k, grains, a, ao, a_stride, b, bo, b_step, b_panel, c, co, c_row, add)
    else:
        strips.strip(k, grains, a, ao, a_stride, b, bo, b_step, b_panel, c, co, c_row, add)


def check(turned, dtype, k, grains, add, packed):
    """A strip inside larger arrays of NaN; B by panels or by rows, with a row above it that is added where add is 2."""
    rng = np.random.default_rng(k)
    rows, wide, panel = strips.ROWS, grains * strips.grain(dtype), strips.panel(dtype)
    whole = -(-wide // panel) * panel
    a, b = rng.standard_normal((rows, k)).astype(dtype), rng.standard_normal((k + add // 2, whole)).astype(dtype)
    left = np.full((k if turned else rows, 40), np.nan, dtype)
    left[:, 3 : 3 + (rows if turned else k)] = a.T if turned else a
    right = memory.aligned(b.size + 1, dtype)
    right[1:] = b.reshape(len(b), -1, panel).swapaxes(0, 1).reshape(-1) if packed else b.reshape(-1)
    out = np.full((rows, wide + 9), np.nan, dtype)
    before = rng.standard_normal((rows, wide)).astype(dtype)
    expected = out.copy()
    expected[:, 5 : 5 + wide] = (0, before, b[0, :wide])[add] + a.astype(float) @ b[add // 2 :, :wide].astype(float)
    if add == 1:
        out[:, 5 : 5 + wide] = before
    steps = (panel, len(b) * panel) if packed else (whole, panel)
    product(turned, k, grains, left.reshape(-1), 3, 40, right, 1, *steps, out.reshape(-1), 5, wide + 9, add)
    # k additions of products of size about 1: k eps, with room
    np.testing.assert_allclose(out, expected, rtol=0, atol=8 * (k + 1) * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(("k", "grains"), [(1, 1), (3, 2), (4, 3), (9, 4), (32, 1)])
def test_strips_equal_numpy(dtype, turned, k, grains):
    for add in (0, 1, 2):
        for packed in (False, True):
            check(turned, dtype, k, grains, add, packed)


@kernel
def turn(x, at, stride, scale, out, to, step):
    strips.square(x, at, stride, scale, out, to, step)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_squares_are_turned(dtype):
    n = strips.side(dtype)
    x, out = np.random.default_rng(0).standard_normal((2, n, 40)).astype(dtype)
    expected = out.copy()
    expected[:, 5 : 5 + n] = 2 * x[:, 3 : 3 + n].T
    turn(x.reshape(-1), 3, 40, out.dtype.type(2), out.reshape(-1), 5, 40)
    np.testing.assert_array_equal(out, expected)


def test_nothing_to_do_changes_nothing():
    c = np.ones(400, np.float32)
    product(False, 3, 0, c[:0], 0, 3, c[:0], 0, 3, 3, c, 0, 3, 0)
    assert (c == 1).all()


def test_aligned_arrays_start_on_cache_lines():
    for dtype in (np.float32, np.float64):
        for n in (1, 1000):
            x = memory.aligned(n, dtype)
            assert (x.size, x.dtype, x.ctypes.data % 64) == (n, dtype, 0)


SCRIPT = """
import numpy as np
from tests import test_strips
from primeattn._runtime import strips
assert (strips._BYTES, strips._COUNT) == (32, 16), (strips._BYTES, strips._COUNT)
for turned in (False, True):
    for add in (0, 1, 2):
        test_strips.check(turned, np.float32, 9, 3, add, True)
"""


@pytest.mark.skipif(strips._BYTES != 64, reason="a CPU with AVX-512 compiles for one without")
def test_a_cpu_without_avx512_gets_shorter_registers(tmp_path):
    environment = dict(os.environ, NUMBA_CPU_NAME="haswell", NUMBA_CPU_FEATURES="+avx,+avx2,+fma,+bmi,+bmi2")
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
