"""Sums over tokens, as gradients of what all tokens share need them."""

import numpy as np

from ..._runtime import devices
from ..._runtime.disjoint import disjoint
from ..._runtime.jit import nonnegative
from ..._runtime.owners import Owner
from .._cores.tiles import kernel, scalar
from .._inputs import _placed, flat

PIECE = 32  # tokens of a head that have one owner
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
    one = flat(_placed(np.ones(1, x.dtype), x))
    weights, rows = one if weights is None else flat(weights), x.size // columns
    while True:
        chunks = max(1, -(-rows // CHUNK))
        out = devices.empty(chunks * columns, x.dtype, like=x)
        SUM(chunks, flat(x), weights, weights.size, rows, columns, out)
        if chunks == 1:
            return out
        x, weights, rows = out, one, chunks


@kernel
def pieces_cpu(start, stop, x, heads, pieces, numbers, out):
    """Heads [start, stop): out (2, heads, numbers) = sums over sequences and pieces, and over these times their number.

    In float64 and on the host for both devices: a few thousand additions.
    """
    for head in range(start, stop):
        plain, late = head * numbers, (heads + head) * numbers
        for c in range(numbers):
            out[plain + c] = out[late + c] = 0.0
        for line in range(head, x.size // max(pieces * numbers, 1), heads):
            for p in range(pieces):
                at = (line * pieces + p) * numbers
                for c in range(numbers):
                    out[nonnegative(plain + c)] += x[nonnegative(at + c)]
                    out[nonnegative(late + c)] += p * x[nonnegative(at + c)]


def over_pieces(sums, side, numbers: int) -> np.ndarray:
    """(2, heads, numbers, width) of a side: sums over the pieces of every head, and over piece times its number."""
    z = side.sizes
    out = np.empty((2, z.heads, numbers, z.width))
    x = flat(devices.to_host(sums))
    pieces_cpu(0, z.heads, x, z.heads, -(-z.tokens // PIECE), numbers * z.width, out.reshape(out.size))
    return out
