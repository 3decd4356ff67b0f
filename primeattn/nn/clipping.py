r"""Gradients of bounded length: g -> g min(1, bound / |g|).

The norm is summed over blocks of numbers, one after the other, and the blocks by `math.fsum`: no bit depends on the
number of threads.
"""

import math
from typing import Any

import numpy as np

from .._runtime import devices
from .._runtime.jit import bare_kernel, nonnegative, scalar
from .._runtime.owners import Owner

_BLOCK = 256  # numbers: what float32 adds up without losing more than a few units in the last place


@scalar
def squares_row(i, x, n, block, out):
    """Sum of squares of block i; four sums at once, because each addition waits for the one before."""
    first = i * block
    stop = min(first + block, n)
    a = b = c = d = x[first] - x[first]
    last = first + (stop - first) // 4 * 4
    for j in range(first, last, 4):
        a += x[j] * x[j]
        b += x[j + 1] * x[j + 1]
        c += x[j + 2] * x[j + 2]
        d += x[j + 3] * x[j + 3]
    for j in range(last, stop):
        a += x[j] * x[j]
    out[i] = (a + b) + (c + d)


@bare_kernel
def squares_cpu(start, stop, x, n, block, out):
    for i in range(start, stop):
        squares_row(nonnegative(i), x, n, block, out)


SQUARES = Owner(squares_row, squares_cpu, "F1 i i F1", grain=1024)


@scalar
def scale_row(i, factor, x):
    x[i] *= factor


@bare_kernel
def scale_cpu(start, stop, factor, x):
    for i in range(start, stop):
        scale_row(nonnegative(i), factor, x)


SCALE = Owner(scale_row, scale_cpu, "F F1", grain=65_536)


def clip(gradient: Any, bound: float) -> float:
    """Shorten a gradient in place, if it is too long.

    Parameters
    ----------
    gradient : ndarray or CUDA array of float, shape (P,)
    bound : float
        Largest norm; infinity: only measure.

    Returns
    -------
    float
        The Euclidean norm before. If it is not finite, nothing is changed.

    Examples
    --------
    >>> import numpy as np
    >>> from primeattn import nn
    >>> gradient = np.array([3.0, 4.0])
    >>> nn.clip(gradient, 1.0), gradient
    (5.0, array([0.6, 0.8]))
    """
    if not bound >= 0:
        raise ValueError(f"bound is {bound!r}: a norm of 0 or more is wanted; infinity only measures")
    n = gradient.size
    if n == 0:
        return 0.0
    blocks = -(-n // _BLOCK)
    sums = devices.empty(blocks, gradient.dtype, like=gradient)
    SQUARES(blocks, gradient, n, _BLOCK, sums)
    found = np.asarray(devices.to_host(sums), np.float64)
    if not np.isfinite(found).all():
        return math.nan if np.isnan(found).any() else math.inf
    norm = math.sqrt(math.fsum(found))
    if norm > bound:
        SCALE(n, gradient.dtype.type(bound / norm), gradient)
    return norm
