"""Sums over tokens, as gradients of what all tokens share need them."""

from ..._runtime import devices
from ..._runtime.disjoint import disjoint
from ..._runtime.jit import nonnegative
from ..._runtime.owners import Owner
from .._cores.tiles import kernel, scalar
from .._inputs import _read_only
from .call import ones

CHUNK = 256  # tokens added one after the other: a tree of such sums loses less than one long sum


@scalar
def sum_row(i, x, weights, period, rows, columns, out):
    """Sums of chunk i of the rows of x, times the weight of their token."""
    first, last = i * CHUNK, min(i * CHUNK + CHUNK, rows)
    for c in range(columns):
        out[nonnegative(i * columns + c)] = type(x[0])(0)
    for r in range(first, last):
        weight = weights[r % period]
        for c in range(columns):
            out[nonnegative(i * columns + c)] += weight * x[nonnegative(r * columns + c)]


@kernel
def sum_cpu(start, stop, x, weights, period, rows, columns, out):
    disjoint()
    for i in range(start, stop):
        sum_row(i, x, weights, period, rows, columns, out)


SUM = Owner(sum_row, sum_cpu, "F1 F1 i i i F1", grain=16)


def column_sums(x, columns: int, weights=None):
    """Sums of the columns of flat rows, plain or weighted by token."""
    one = ones(1, x)
    weights, rows = _read_only(one if weights is None else weights), x.size // columns
    while True:
        chunks = max(1, -(-rows // CHUNK))
        out = devices.empty(chunks * columns, x.dtype, like=x)
        SUM(chunks, _read_only(x), weights, weights.size, rows, columns, out)
        if chunks == 1:
            return out
        x, weights, rows = out, one, chunks
