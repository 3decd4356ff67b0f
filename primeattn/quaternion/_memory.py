"""Rows of flat arrays: how a kernel loads and stores the i-th quaternion, vector or matrix.

Indices are unsigned: Numba then omits its test for negative indices, which would keep LLVM from
vectorising a loop over ``range(start, stop)``.
"""

import numpy as np

from .._runtime import packed
from .._runtime.jit import scalar

_1, _2, _3, _4, _5, _6, _7, _8, _9 = (np.uint64(k) for k in range(1, 10))


@scalar
def load1(a, i):
    return a[np.uint64(i)]


@scalar
def load3(a, i):
    j = _3 * np.uint64(i)
    return a[j], a[j + _1], a[j + _2]


@scalar
def load4(a, i):
    j = _4 * np.uint64(i)
    return a[j], a[j + _1], a[j + _2], a[j + _3]


@scalar
def load9(a, i):
    j = _9 * np.uint64(i)
    return a[j], a[j + _1], a[j + _2], a[j + _3], a[j + _4], a[j + _5], a[j + _6], a[j + _7], a[j + _8]


@scalar
def pack3(a, i, step):
    """Three columns of the rows ``i`` to ``i + 7``, or with step 0 of the one row there is, eight times."""
    if step == 1:
        return packed.load3(a, i)
    x, y, z = load3(a, 0)
    return packed.repeat(x), packed.repeat(y), packed.repeat(z)


@scalar
def pack4(a, i, step):
    """Four columns of the rows ``i`` to ``i + 7``, or with step 0 of the one row there is, eight times."""
    if step == 1:
        return packed.load4(a, i)
    w, x, y, z = load4(a, 0)
    return packed.repeat(w), packed.repeat(x), packed.repeat(y), packed.repeat(z)


@scalar
def store1(a, i, x):
    a[np.uint64(i)] = x


@scalar
def store3(a, i, v):
    j = _3 * np.uint64(i)
    a[j], a[j + _1], a[j + _2] = v


@scalar
def store4(a, i, q):
    j = _4 * np.uint64(i)
    a[j], a[j + _1], a[j + _2], a[j + _3] = q


@scalar
def store9(a, i, m):
    j = _9 * np.uint64(i)
    a[j], a[j + _1], a[j + _2], a[j + _3] = m[:4]
    a[j + _4], a[j + _5], a[j + _6], a[j + _7], a[j + _8] = m[4:]
