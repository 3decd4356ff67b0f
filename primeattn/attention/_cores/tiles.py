"""Softmax attention by tiles, on the CPU: the same numbers as `softmax`, from matrix products.

A tile is ``rows`` queries against ``columns`` keys. Keys are the outer loop: a tile of them is transposed once, so that
every product is row-major times row-major (BLAS is up to twice as slow on A B'), and serves all query heads of its
group. Nothing of size queries x keys exists; a query carries its running maximum and sum (online softmax). Backward
recomputes the scores from lse.

Tile borders lie at multiples of the tile sizes, and every sum runs in the order of the tiles, so the split into units,
hence the number of threads, does not change a bit of the result.

A product over a tile also touches keys that a query may not attend, with weight 0; since 0 * inf is NaN, a unit reports
whether all it wrote is finite, and the caller falls back to the rows of `softmax` if not.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from ..._runtime.elementary.decay import decay
from ..._runtime.elementary.machine import bits, by_type, from_bits
from ..._runtime.jit import CACHE, MATH, nonnegative
from ..._runtime.linalg import gemm_nn, gemm_tn
from ..._runtime.width import full_width
from .layout import Layout, Problem, key_range


class Tile(NamedTuple):
    """``rows`` queries of a head, from ``query`` on, against the keys [low, high) of the key tile at ``start``."""

    head: int
    query: int
    rows: int
    low: int
    high: int
    start: int


# Nothing is allocated here, and counting references (atomically, several times a row) took 7% at 256 tokens.
_UNCOUNTED = {**MATH, "_nrt": False}


def scalar(function):
    return njit(function, forceinline=True, **_UNCOUNTED)


def kernel(function):
    return njit(function, nogil=True, cache=CACHE, **_UNCOUNTED)


def summing(function):
    """A scalar whose sums may be taken in any order, so that they vectorise. What it calls keeps its own order."""
    return njit(function, forceinline=True, **{**_UNCOUNTED, "fastmath": {"contract", "reassoc", "nsz"}})


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


@summing
def exponentials(x, at, n, top):
    """x = exp(x - top) in place; the sum."""
    full_width()
    total = type(top)(0)
    for c in range(n):
        e = decay(x[nonnegative(at + c)] - top)
        x[nonnegative(at + c)] = e
        total += e
    return total


@summing
def dot(a, b, at, n):
    full_width()
    total = type(a[0])(0)
    for c in range(n):
        total += a[nonnegative(at + c)] * b[nonnegative(at + c)]
    return total


@kernel
def deltas(start, stop, out, dout, depth, delta):
    """delta_i = <G_i, y_i> of rows [start, stop)."""
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
def add_distance(s, at, n, slope, distance):
    """ALiBi: scores fall by slope times |distance|, which is given for the first key and falls by 1 a key."""
    for c in range(n):
        s[nonnegative(at + c)] -= slope * type(slope)(abs(distance - c))


@scalar
def apply_mask(s, at, n, mask, first, step):
    """-inf for the keys that the mask forbids."""
    nothing = type(s[0])(-np.inf)
    if step == 1:  # a step known to the compiler lets it vectorise
        for c in range(n):
            s[nonnegative(at + c)] = s[nonnegative(at + c)] if mask[nonnegative(first + c)] != 0 else nothing
    else:
        for c in range(n):
            s[nonnegative(at + c)] = s[nonnegative(at + c)] if mask[first + c * step] != 0 else nothing


@scalar
def apply_band(s, at, i, t, g):
    """-inf for the keys outside the band of query i."""
    low, high = key_range(i, g)
    nothing = type(s[0])(-np.inf)
    fill(s, at, min(low, t.high) - t.low, nothing)
    high = max(high, t.low)
    fill(s, at + high - t.low, t.high - high, nothing)


@scalar
def tile_range(i, n, start, columns, g):
    """The keys [low, high) of a key tile that queries i to i + n - 1 may meet; none if low >= high."""
    low, _ = key_range(i, g)
    _, high = key_range(i + n - 1, g)
    return max(low, start), min(high, start + columns)


@scalar
def fill_scores(blas, t, x, g, turned, columns, s):
    """Scores of a tile, row after row, from the transposed keys of its key tile."""
    wide, first, zero = t.high - t.low, (t.head * g.queries + t.query) * g.width, type(x.scale)(0)
    gemm_nn(
        blas, t.rows, wide, g.width, x.scale, x.q, first, g.width, turned, t.low - t.start, columns, zero, s, 0, wide
    )
    slope, mask, mask_at = x.slopes[t.head], x.mask, x.mask_at[t.head]
    masked = mask.size > 1 or mask[0] == 0
    for r in range(t.rows):
        i = t.query + r
        if slope != 0:
            add_distance(s, r * wide, wide, slope, i + g.keys - g.queries - t.low)
        if masked:
            apply_mask(s, r * wide, wide, mask, mask_at + i * g.mask_row + t.low * g.mask_key, g.mask_key)
        apply_band(s, r * wide, i, t, g)


@scalar
def online_row(s, at, n, row, depth, out, top, total):
    """Fold n more scores into the running maximum and sum of a query; s becomes their weights relative to it."""
    old = top[row]
    new = largest(s, at, n, old)
    if new == -np.inf:  # nothing allowed so far, or only NaN
        for c in range(n):
            total[row] += s[at + c] - s[at + c] if s[at + c] != new else type(new)(0)
        fill(s, at, n, type(new)(0))
        return
    weight = exponentials(s, at, n, new)
    if new != old:
        top[row] = new
        if old > -np.inf:
            shrink = decay(old - new)
            total[row] *= shrink
            for c in range(depth):
                out[nonnegative(row * depth + c)] *= shrink
    total[row] += weight


@scalar
def forward_tile(blas, t, x, g, turned, columns, s, out, top, total):
    """out += relative weights times values."""
    one, wide, row = type(x.scale)(1), t.high - t.low, t.head * g.queries + t.query
    fill_scores(blas, t, x, g, turned, columns, s)
    for r in range(t.rows):
        online_row(s, r * wide, wide, row + r, g.depth, out, top, total)
    value = (t.head // g.group * g.room + t.low) * g.depth
    gemm_nn(blas, t.rows, g.depth, wide, one, s, 0, wide, x.v, value, g.depth, one, out, row * g.depth, g.depth)


@scalar
def finish_rows(start, stop, depth, out, top, total):
    """Divide by the sums; top becomes lse. A query without a key keeps 0 and -inf. True if all is finite."""
    clean = True
    for row in range(start, stop):
        if total[row] != 0:
            inverse = type(total[row])(1) / total[row]
            for c in range(depth):
                out[nonnegative(row * depth + c)] *= inverse
            top[row] += math.log(total[row])
            clean = clean and all_finite(out, row * depth, depth)
    return clean


@scalar
def share_of(part, parts, size, n):
    """[first, last) of n things that lie in part ``part`` of their tiles of ``size``."""
    tiles = (n + size - 1) // size
    return tiles * part // parts * size, min(tiles * (part + 1) // parts * size, n)


@kernel
def forward(start, stop, blas, problem, layout, rows, columns, parts, work, out, lse, total, clean):
    """Units [start, stop): a unit is one of ``parts`` shares of the query tiles of one key head."""
    full_width()
    x, g = Problem(*problem), Layout(*layout)
    turned, s = work[: columns * g.width], work[columns * g.width :]
    for unit in range(start, stop):
        key_head = unit // parts
        first, last = share_of(unit % parts, parts, rows, g.queries)
        heads = range(key_head * g.group, (key_head + 1) * g.group)
        for head in heads:
            row, count = head * g.queries + first, last - first
            fill(out, row * g.depth, count * g.depth, type(x.scale)(0))
            fill(lse, row, count, type(x.scale)(-np.inf))
            fill(total, row, count, type(x.scale)(0))
        low, high = tile_range(first, last - first, 0, g.keys, g)
        for j0 in range(low // columns * columns, high, columns):
            transpose(x.k, (key_head * g.room + j0) * g.width, min(columns, high - j0), g.width, turned, columns)
            for head in heads:
                for i in range(first, last, rows):
                    count = min(rows, last - i)
                    a, b = tile_range(i, count, j0, columns, g)
                    if a < b:
                        forward_tile(
                            blas, Tile(head, i, count, a, b, j0), x, g, turned, columns, s, out, lse, total
                        )  # fmt: skip
        clean[unit] = 1
        for head in heads:
            row = head * g.queries
            if not finish_rows(row + first, row + last, g.depth, out, lse, total):
                clean[unit] = 0


class Space(NamedTuple):
    """Room for a key tile and a tile: keys and values transposed, weights, gradients of the scores."""

    keys: Any
    values: Any
    s: Any
    ds: Any


class Saved(NamedTuple):
    """What forward left, and the upstream gradient."""

    lse: Any
    delta: Any
    dout: Any


class Gradients(NamedTuple):
    dq: Any
    dk: Any
    dv: Any
    dslope: Any


@scalar
def gradient_row(s, ds, at, n, lse, delta):
    """From scores to weights in s, from gradients of weights to gradients of scores in ds."""
    full_width()
    for c in range(n):
        p = decay(s[nonnegative(at + c)] - lse)
        s[nonnegative(at + c)] = p
        ds[nonnegative(at + c)] = p * (ds[nonnegative(at + c)] - delta)


@summing
def slope_gradient(ds, at, n, distance):
    """- sum ds |distance|, where the distance falls by 1 a key."""
    total = type(ds[0])(0)
    for c in range(n):
        total -= ds[nonnegative(at + c)] * type(total)(abs(distance - c))
    return total


@scalar
def gradient_tile(blas, t, x, g, columns, w, f):
    """Weights in w.s and gradients of the scores in w.ds."""
    one, wide, row = type(x.scale)(1), t.high - t.low, t.head * g.queries + t.query
    fill_scores(blas, t, x, g, w.keys, columns, w.s)
    s, ds, lse, delta, zero = w.s, w.ds, f.lse, f.delta, one - one
    gemm_nn(
        blas, t.rows, wide, g.depth, one, f.dout, row * g.depth, g.depth, w.values, t.low - t.start, columns,
        zero, ds, 0, wide,
    )  # fmt: skip
    for r in range(t.rows):
        # without a key lse is -inf, and so are all scores: any finite number in its place makes the weights 0
        level = lse[row + r] if lse[row + r] != -np.inf else zero
        gradient_row(s, ds, r * wide, wide, level, delta[row + r])


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
            if d.dslope.size:
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


@kernel
def backward(start, stop, blas, problem, layout, rows, columns, parts, sides, work, saved, gradients, clean):
    """Units [start, stop): what one key head owns, or one of ``parts`` shares of it.

    ``sides``: 0 all gradients (parts must be 1), 1 those of queries (shares of the query tiles), 2 those of keys
    and values (shares of the key tiles). dslope belongs to the queries; it is empty if it is not wanted.
    """
    full_width()
    x, g, f, d = Problem(*problem), Layout(*layout), Saved(*saved), Gradients(*gradients)
    wide, deep, area = columns * g.width, columns * (g.width + g.depth), rows * columns
    w = Space(work[:wide], work[wide:deep], work[deep : deep + area], work[deep + area :])
    of_queries, of_keys = sides != 2, sides != 1
    for unit in range(start, stop):
        unit_head, part = unit // parts, unit % parts
        first, last, left, right = 0, g.queries, 0, g.keys
        if sides == 1:
            first, last = share_of(part, parts, rows, g.queries)
        if sides == 2:
            left, right = share_of(part, parts, columns, g.keys)
        prepare(unit_head, first, last, left, right, of_queries, of_keys, g, d)
        low, high = tile_range(first, last - first, left, right - left, g)
        for j0 in range(low // columns * columns, high, columns):
            key, count = unit_head * g.room + j0, min(columns, high - j0)
            transpose(x.k, key * g.width, count, g.width, w.keys, columns)
            transpose(x.v, key * g.depth, count, g.depth, w.values, columns)
            for head in range(unit_head * g.group, (unit_head + 1) * g.group):
                for i in range(first, last, rows):
                    count = min(rows, last - i)
                    a, b = tile_range(i, count, j0, columns, g)
                    if a < b:
                        t = Tile(head, i, count, a, b, j0)
                        gradient_tile(blas, t, x, g, columns, w, f)
                        if of_queries:
                            gather_queries(blas, t, x, g, w, d)
                        if of_keys:
                            gather_keys(blas, t, x, g, w, f.dout, d)
        clean[unit] = finite_unit(unit_head, first, last, left, right, of_queries, of_keys, g, d)
