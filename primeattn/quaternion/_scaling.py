"""Exact powers of two that keep a sum of squares inside the range of its type."""

import numpy as np
from numba import types
from numba.extending import overload

from .._runtime import packed
from .._runtime.jit import scalar

# (small, large, factor, 1 / factor, log factor): between small and large, squares neither overflow nor lose digits;
# below small multiply by factor, above large divide by it.
_FLOAT32 = (*(np.float32(2.0**e) for e in (-50, 60, 90, -90)), np.float32(90 * np.log(2.0)))
_FLOAT64 = (*(np.float64(2.0**e) for e in (-480, 510, 600, -600)), np.float64(600 * np.log(2.0)))


def limits(x):
    return _FLOAT32 if isinstance(x, np.float32) else _FLOAT64


@overload(limits)
def _limits(x):
    # a constant chosen by type: a literal would put float64 into float32 device code
    if x == types.float32:
        return lambda x: _FLOAT32
    return lambda x: _FLOAT64


@scalar
def scaling(m):
    """Return ``(s, 1 / s)`` such that ``s * m`` can be squared safely, for ``m >= 0``."""
    small, large, factor, inverse, _ = limits(m)
    one = type(m)(1)
    s = factor if m < small else one
    s = inverse if m > large else s
    r = inverse if m < small else one
    r = factor if m > large else r
    return s, r


@scalar
def packed_scaling(columns, one):
    """The first of `scaling` for the largest number of each of eight rows."""
    small, large, factor, inverse, _ = limits(one)
    return packed.by_size(packed.largest(columns), small, large, factor, one, inverse)


@scalar
def safe_squares(x):
    """``(low, high)``: where the squares of up to four numbers sum to between them, `scaling` would give 1."""
    small, large, _, _, _ = limits(x)
    low = type(x)(4) * small
    return low * low, large * large


@scalar
def log_scaling(s):
    """``log s`` of a factor ``s`` that :func:`scaling` returned."""
    _, _, _, _, log_factor = limits(s)
    one, zero = type(s)(1), type(s)(0)
    return log_factor if s > one else (-log_factor if s < one else zero)
