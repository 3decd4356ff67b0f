"""What loops over tiles share, on the CPU: rows of a tile, shares of the tiles, gradients of a tile by BLAS.

Tile borders lie at multiples of the tile sizes, and every sum runs in the order of the tiles, so the split into units,
hence the number of threads, does not change a bit of a result.
"""

from typing import Any, NamedTuple

import numpy as np

from ..._runtime.elementary.decay import decay
from ..._runtime.elementary.machine import bits, by_type, from_bits
from ..._runtime.jit import bare_kernel, nonnegative, not_inlined, piece, summing
from ..._runtime.linalg import gemm_nn, gemm_tn
from ..._runtime.vectors import LANES, broadcast, load, total
from ..._runtime.width import full_width
from .layout import PLAIN, key_range


class Tile(NamedTuple):
    """``rows`` queries of a head, from ``query`` on, against the keys [low, high) of the key tile at ``start``."""

    head: int
    query: int
    rows: int
    low: int
    high: int
    start: int


# Nothing is allocated here, and counting references (atomically, several times a row) took 7% at 256 tokens.
scalar, kernel = piece, bare_kernel


def _swap32(i):
    return np.int32(i ^ ((i >> np.int32(31)) & np.int32(0x7FFFFFFF)))


def _swap64(i):
    return np.int64(i ^ ((i >> np.int64(63)) & np.int64(0x7FFFFFFFFFFFFFFF)))


#: From bit patterns of floats to integers in the order of the floats, and back: a maximum of integers vectorises.
swap = by_type(_swap32, _swap64)


@scalar
def largest(x, at, n, top):
    """The maximum of ``top`` and n numbers; NaN may or may not count."""
    full_width()
    best = swap(bits(top))
    for c in range(n):
        i = swap(bits(x[nonnegative(at + c)]))
        best = i if i > best else best
    return from_bits(swap(best))


@scalar
def sum_of(x, at, n):
    """The sum of n numbers, in an order of its own.

    Vectors, since a sum in any order (`summing`) may run in another one where a kernel is compiled into a caller.
    """
    a = b = broadcast(type(x[0])(0))
    whole = n // (2 * LANES) * (2 * LANES)
    for c in range(0, whole, 2 * LANES):
        a = a + load(x, at + c)
        b = b + load(x, at + c + LANES)
    found = total(a + b)
    for c in range(whole, n):
        found += x[nonnegative(at + c)]
    return found


@scalar
def exponentials(x, at, n, top):
    """x = exp(x - top) in place; the sum."""
    full_width()
    for c in range(n):
        x[nonnegative(at + c)] = decay(x[nonnegative(at + c)] - top)
    return sum_of(x, at, n)


@scalar
def dot(a, b, at, n):
    """<a, b>, in an order of its own, as `sum_of`."""
    s = t = broadcast(type(a[0])(0))
    whole = n // (2 * LANES) * (2 * LANES)
    for c in range(0, whole, 2 * LANES):
        s = s + load(a, at + c) * load(b, at + c)
        t = t + load(a, at + c + LANES) * load(b, at + c + LANES)
    found = total(s + t)
    for c in range(whole, n):
        found += a[nonnegative(at + c)] * b[nonnegative(at + c)]
    return found


@kernel
def deltas(start, stop, out, dout, depth, delta):
    """delta_i = <G_i, y_i> of rows [start, stop)."""
    not_inlined()
    for row in range(start, stop):
        delta[row] = dot(out, dout, row * depth, depth)


@scalar
def all_finite(x, at, n):
    bad = 0
    for c in range(n):
        bad |= 0 if x[nonnegative(at + c)] - x[nonnegative(at + c)] == 0 else 1
    return bad == 0


@scalar
def fill(x, at, n, value):
    for c in range(n):
        x[nonnegative(at + c)] = value


@scalar
def transpose(x, at, rows, width, out, columns):
    """``rows`` rows of x, as the columns of out (width, columns). Column by column: half the time of row by row."""
    for c in range(width):
        for row in range(rows):
            out[nonnegative(c * columns + row)] = x[nonnegative(at + row * width + c)]


@scalar
def tile_range(i, n, start, columns, g):
    """The keys [low, high) of a key tile that queries i to i + n - 1 may meet; none if low >= high."""
    low, _ = key_range(i, g)
    _, high = key_range(i + n - 1, g)
    return max(low, start), min(high, start + columns)


@scalar
def share_of(part, parts, size, n):
    """[first, last) of n things that lie in part ``part`` of their tiles of ``size``."""
    tiles = (n + size - 1) // size
    return tiles * part // parts * size, min(tiles * (part + 1) // parts * size, n)


class Space(NamedTuple):
    """Room for a key tile and a tile: keys and values transposed, weights, gradients of the scores."""

    keys: Any
    values: Any
    s: Any
    ds: Any


class Gradients(NamedTuple):
    """``dslope``: shares of queries in the gradients of slopes; or shares of key tiles in that of the metric."""

    dq: Any
    dk: Any
    dv: Any
    dslope: Any


@summing
def slope_gradient(ds, at, n, distance):
    """- sum ds |distance|, where the distance falls by 1 a key."""
    total = type(ds[0])(0)
    for c in range(n):
        total -= ds[nonnegative(at + c)] * type(total)(abs(distance - c))
    return total


@scalar
def gather_queries(blas, t, x, g, w, d):
    """dq += scale ds k, and the slope's share of every query if that is wanted."""
    one, wide, row = type(x.scale)(1), t.high - t.low, t.head * g.queries + t.query
    key = (t.head // g.group * g.room + t.low) * g.width
    gemm_nn(blas, t.rows, g.width, wide, x.scale, w.ds, 0, wide, x.k, key, g.width, one, d.dq, row * g.width, g.width)
    if d.dslope.size:
        for r in range(t.rows):
            distance = t.query + r + g.keys - g.queries - t.low
            d.dslope[row + r] += slope_gradient(w.ds, r * wide, wide, distance)


@scalar
def gather_keys(blas, t, x, g, w, dout, d):
    """dk += scale ds' q, dv += weights' dout."""
    one, wide, row = type(x.scale)(1), t.high - t.low, t.head * g.queries + t.query
    key = t.head // g.group * g.room + t.low
    gemm_tn(
        blas, wide, g.width, t.rows, x.scale, w.ds, 0, wide, x.q, row * g.width, g.width, one,
        d.dk, key * g.width, g.width,
    )  # fmt: skip
    gemm_tn(
        blas, wide, g.depth, t.rows, one, w.s, 0, wide, dout, row * g.depth, g.depth, one,
        d.dv, key * g.depth, g.depth,
    )  # fmt: skip


@scalar
def prepare(unit_head, first, last, left, right, of_queries, of_keys, g, d):
    """Zeros where a unit adds."""
    zero = type(d.dq[0])(0)
    if of_queries:
        for head in range(unit_head * g.group, (unit_head + 1) * g.group):
            fill(d.dq, (head * g.queries + first) * g.width, (last - first) * g.width, zero)
            if d.dslope.size and g.metric == PLAIN:
                fill(d.dslope, head * g.queries + first, last - first, zero)
    if of_keys:
        fill(d.dk, (unit_head * g.room + left) * g.width, (right - left) * g.width, zero)
        fill(d.dv, (unit_head * g.room + left) * g.depth, (right - left) * g.depth, zero)


@scalar
def finite_unit(unit_head, first, last, left, right, of_queries, of_keys, g, d):
    clean = True
    if of_queries:
        for head in range(unit_head * g.group, (unit_head + 1) * g.group):
            clean = clean and all_finite(d.dq, (head * g.queries + first) * g.width, (last - first) * g.width)
    if of_keys:
        clean = clean and all_finite(d.dk, (unit_head * g.room + left) * g.width, (right - left) * g.width)
        clean = clean and all_finite(d.dv, (unit_head * g.room + left) * g.depth, (right - left) * g.depth)
    return clean
