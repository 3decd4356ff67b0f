"""Sums over tokens, as gradients of what all tokens share need them."""

from ..._runtime import devices
from ..._runtime.disjoint import disjoint
from ..._runtime.jit import nonnegative
from ..._runtime.owners import Owner
from .._cores.tiles import kernel, scalar
from .._inputs import _read_only
from .call import ones
from .features import SIZES, Sizes, place

CHUNK = 256  # tokens added one after the other: a tree of such sums loses less than one long sum


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
    _, head, angles = place(r, z)
    for at in range(angles, angles + z.width):
        x[at] *= factor[head]


@kernel
def scale_cpu(start, stop, sizes, factor, x):
    for r in range(start, stop):
        scale_row(r, sizes, factor, x)


SUM = Owner(sum_row, sum_cpu, "F1 F1 i i i F1", grain=16)
SCALE = Owner(scale_row, scale_cpu, f"{SIZES} F1 F1", grain=1024)


def column_sums(x, columns: int, weights=None):
    """Sums of the columns of flat rows: plain, weighted by token (fewer weights than numbers), or by a like array."""
    one = ones(1, x)
    period = 0 if weights is not None and weights.size == x.size else 1 if weights is None else weights.size
    weights, rows = _read_only(one if weights is None else weights), x.size // columns
    while True:
        chunks = max(1, -(-rows // CHUNK))
        out = devices.empty(chunks * columns, x.dtype, like=x)
        SUM(chunks, _read_only(x), weights, period, rows, columns, out)
        if chunks == 1:
            return out
        x, weights, period, rows = out, one, 1, chunks
