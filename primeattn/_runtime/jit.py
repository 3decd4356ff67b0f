"""The two ways a function of this package is compiled.

``scalar``: mathematics and rows; inlined into its caller, on the CPU and, recompiled by Numba, in
CUDA device code. ``kernel``: a CPU loop over ``[start, stop)``; releases the GIL so that threads can
share the range, and is kept in Numba's on-disk cache unless ``PRIMEATTN_CACHE=0``.

``fastmath`` is only ``contract``: a fused multiply-add rounds once instead of twice. ``reassoc``
would break range reduction and compensated sums; ``nnan`` and ``ninf`` would change what NaN does.
"""

import os

from numba import njit

CACHE = os.environ.get("PRIMEATTN_CACHE", "1") != "0"
MATH = {"error_model": "numpy", "fastmath": {"contract"}}


def scalar(function):
    """Compile a scalar or a row: always inlined, never cached on its own."""
    return njit(function, forceinline=True, **MATH)


def kernel(function):
    """Compile a CPU loop ``function(start, stop, *arrays)``: cached on disk, runs without the GIL."""
    return njit(function, nogil=True, cache=CACHE, **MATH)
