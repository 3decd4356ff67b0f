"""Sums over tokens, as gradients of what all tokens share need them."""

import numpy as np

from ..._runtime import devices
from ..._runtime.disjoint import disjoint
from ..._runtime.jit import kernel, nonnegative, scalar
from ..._runtime.owners import Owner
from .features import SIZES, Sizes, angles_of, head_of

CHUNK = 64  # tokens added one after the other: a tree of such sums loses less than one long sum


@scalar
def sum_row(i, x, weights, period, rows, columns, out):
    """Sums of chunk i of the rows of x, times the weight of their token or, if there are as many, of their numbers."""
    first, last = i * CHUNK, min(i * CHUNK + CHUNK, rows)
    for c in range(columns):
        out[nonnegative(i * columns + c)] = type(x[0])(0)
    for r in range(first, last):
        if period > 0:
            weight = weights[r % period]
            for c in range(columns):
                out[nonnegative(i * columns + c)] += weight * x[nonnegative(r * columns + c)]
        else:
            for c in range(columns):
                at = nonnegative(r * columns + c)
                out[nonnegative(i * columns + c)] += weights[at] * x[at]


@kernel
def sum_cpu(start, stop, x, weights, period, rows, columns, out):
    disjoint()
    for i in range(start, stop):
        sum_row(i, x, weights, period, rows, columns, out)


@scalar
def scale_row(r, sizes, factor, x):
    """Angles of row r times the factor of their head."""
    z = Sizes(*sizes)
    for at in range(angles_of(r, z), angles_of(r, z) + z.width):
        x[at] *= factor[head_of(r, z)]


@kernel
def scale_cpu(start, stop, sizes, factor, x):
    for r in range(start, stop):
        scale_row(r, sizes, factor, x)


SUM = Owner(sum_row, sum_cpu, "F1 F1 i i i F1", grain=16)
SCALE = Owner(scale_row, scale_cpu, f"{SIZES} F1 F1", grain=1024)


def column_sums(x, columns: int, weights=None):
    """Sums of the columns of flat rows: plain, weighted by token (fewer weights than numbers), or by a like array."""
    ones = _one(x)
    period = 0 if weights is not None and weights.size == x.size else 1 if weights is None else weights.size
    weights = ones if weights is None else weights
    rows = x.size // columns
    while True:
        chunks = max(1, -(-rows // CHUNK))
        out = devices.empty(chunks * columns, x.dtype, like=x)
        SUM(chunks, x, weights, period, rows, columns, out)
        if chunks == 1:
            return out
        x, weights, period, rows = out, ones, 1, chunks


def _one(like):
    one = np.ones(1, like.dtype)
    return devices.to_device(one) if devices.is_device_array(like) else one
