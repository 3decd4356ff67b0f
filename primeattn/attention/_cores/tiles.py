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

import numpy as np
from numba import njit

from ..._runtime import elementary as el
from ..._runtime.elementary.machine import bits, by_type, from_bits
from ..._runtime.jit import kernel, scalar
from ..._runtime.linalg import gemm_nn, gemm_tn
from .layout import Layout, Problem, key_range


def _summing(function):
    """A scalar whose sums may be taken in any order, so that they vectorise. What it calls keeps its own order."""
    return njit(function, forceinline=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"})


def _swap32(i):
    return np.int32(i ^ ((i >> np.int32(31)) & np.int32(0x7FFFFFFF)))


def _swap64(i):
    return np.int64(i ^ ((i >> np.int64(63)) & np.int64(0x7FFFFFFFFFFFFFFF)))


#: From bit patterns of floats to integers in the order of the floats, and back: a maximum of integers vectorises.
swap = by_type(_swap32, _swap64)


@scalar
def largest(x, at, n, top):
    """The maximum of ``top`` and n numbers; NaN may or may not count."""
    best = swap(bits(top))
    for c in range(n):
        i = swap(bits(x[at + c]))
        best = i if i > best else best
    return from_bits(swap(best))


@_summing
def exponentials(x, at, n, top):
    """x = exp(x - top) in place; the sum."""
    total = type(top)(0)
    for c in range(n):
        e = el.exp(x[at + c] - top)
        x[at + c] = e
        total += e
    return total


@scalar
def all_finite(x, at, n):
    bad = 0
    for c in range(n):
        bad |= 0 if x[at + c] - x[at + c] == 0 else 1
    return bad == 0


@scalar
def fill(x, at, n, value):
    for c in range(n):
        x[at + c] = value


@scalar
def transpose(x, at, rows, width, out, columns):
    """``rows`` rows of x, as the columns of out (width, columns)."""
    for row in range(rows):
        for c in range(width):
            out[c * columns + row] = x[at + row * width + c]


@scalar
def tile_range(i, n, j0, columns, g):
    """The part [a, b) of key tile j0 that queries i to i + n - 1 may meet; empty if a >= b."""
    low, _ = key_range(i, g)
    _, high = key_range(i + n - 1, g)
    return max(low, j0), min(high, j0 + columns)


@scalar
def biased(s, at, head, i, low, high, x, g):
    """ALiBi and the mask on the scores of query i and keys [low, high), which start at s[at]."""
    slope = x.slopes[head]
    if slope != 0:
        position = i + g.keys - g.queries
        for j in range(low, high):
            s[at + j - low] -= slope * type(slope)(abs(position - j))
    if x.mask.size > 1 or x.mask[0] == 0:
        start = x.mask_at[head] + i * g.mask_row
        nothing = type(slope)(-np.inf)
        if g.mask_key == 1:
            for j in range(low, high):
                s[at + j - low] = s[at + j - low] if x.mask[start + j] != 0 else nothing
        else:
            for j in range(low, high):
                s[at + j - low] = s[at + j - low] if x.mask[start + j * g.mask_key] != 0 else nothing


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
        shrink = el.exp(old - new)
        total[row] *= shrink
        for c in range(depth):
            out[row * depth + c] *= shrink
        top[row] = new
    total[row] += weight


@scalar
def forward_tile(blas, head, i, n, a, b, j0, columns, x, g, turned, s, out, top, total):
    """Queries i to i + n - 1 against keys [a, b) of key tile j0, whose transpose is ``turned``."""
    one, wide, row = type(x.scale)(1), b - a, head * g.queries + i
    gemm_nn(blas, n, wide, g.width, x.scale, x.q, row * g.width, g.width, turned, a - j0, columns, one - one, s, 0, wide)
    for r in range(n):
        low, high = key_range(i + r, g)
        low, high = max(low, a), max(min(high, b), max(low, a))
        at = r * wide
        fill(s, at, min(low, b) - a, one - one)
        fill(s, at + high - a, b - high, one - one)
        if low < high:
            biased(s, at + low - a, head, i + r, low, high, x, g)
            online_row(s, at + low - a, high - low, row + r, g.depth, out, top, total)
    value = (head // g.group * g.room + a) * g.depth
    gemm_nn(blas, n, g.depth, wide, one, s, 0, wide, x.v, value, g.depth, one, out, row * g.depth, g.depth)


@scalar
def finish_rows(start, stop, depth, out, top, total):
    """Divide by the sums; top becomes lse. A query without a key keeps 0 and -inf. True if all is finite."""
    clean = True
    for row in range(start, stop):
        if total[row] != 0:
            inverse = type(total[row])(1) / total[row]
            for c in range(depth):
                out[row * depth + c] *= inverse
            top[row] += math.log(total[row])
            clean = clean and all_finite(out, row * depth, depth)
    return clean


@kernel
def forward(start, stop, blas, problem, layout, rows, columns, parts, work, out, lse, total, clean):
    """Units [start, stop): a unit is one of ``parts`` shares of the query tiles of one key head."""
    x, g = Problem(*problem), Layout(*layout)
    tiles = (g.queries + rows - 1) // rows
    turned, s = work[: columns * g.width], work[columns * g.width :]
    for unit in range(start, stop):
        key_head, part = unit // parts, unit % parts
        first, last = tiles * part // parts * rows, min(tiles * (part + 1) // parts * rows, g.queries)
        heads = range(key_head * g.group, (key_head + 1) * g.group)
        for head in heads:
            row, count = head * g.queries + first, last - first
            fill(out, row * g.depth, count * g.depth, type(x.scale)(0))
            fill(lse, row, count, type(x.scale)(-np.inf))
            fill(total, row, count, type(x.scale)(0))
        low, high = tile_range(first, last - first, 0, g.keys, g)
        for j0 in range(low // columns * columns, high, columns):
            key = key_head * g.room + j0
            transpose(x.k, key * g.width, min(columns, high - j0), g.width, turned, columns)
            for head in heads:
                for i in range(first, last, rows):
                    n = min(rows, last - i)
                    a, b = tile_range(i, n, j0, columns, g)
                    if a < b:
                        forward_tile(blas, head, i, n, a, b, j0, columns, x, g, turned, s, out, lse, total)
        clean[unit] = 1
        for head in heads:
            row = head * g.queries
            if not finish_rows(row + first, row + last, g.depth, out, lse, total):
                clean[unit] = 0


@scalar
def gradient_row(s, ds, at, n, lse, delta):
    """Scores to weights in s, gradients of weights to gradients of scores in ds."""
    for c in range(n):
        p = el.exp(s[at + c] - lse)
        s[at + c] = p
        ds[at + c] = p * (ds[at + c] - delta)


@scalar
def slope_gradient(ds, at, n, distance):
    """- sum ds |distance|, where the distance falls by 1 a key."""
    total = ds[at] - ds[at]
    for c in range(n):
        total -= ds[at + c] * type(total)(abs(distance - c))
    return total


@scalar
def score_tile(blas, head, i, n, a, b, j0, columns, x, g, turned, values, s, ds, lse, delta, dout, dslope, slopes):
    """Weights in s and gradients of the scores in ds, for queries i to i + n - 1 and keys [a, b) of key tile j0."""
    one, wide, row = type(x.scale)(1), b - a, head * g.queries + i
    zero = one - one
    gemm_nn(blas, n, wide, g.width, x.scale, x.q, row * g.width, g.width, turned, a - j0, columns, zero, s, 0, wide)
    gemm_nn(blas, n, wide, g.depth, one, dout, row * g.depth, g.depth, values, a - j0, columns, zero, ds, 0, wide)
    for r in range(n):
        low, high = key_range(i + r, g)
        low, high = max(low, a), max(min(high, b), max(low, a))
        if lse[row + r] == -np.inf:
            low, high = b, b
        at = r * wide
        fill(s, at, min(low, b) - a, zero)
        fill(ds, at, min(low, b) - a, zero)
        fill(s, at + high - a, b - high, zero)
        fill(ds, at + high - a, b - high, zero)
        if low < high:
            biased(s, at + low - a, head, i + r, low, high, x, g)
            gradient_row(s, ds, at + low - a, high - low, lse[row + r], delta[row + r])
            if slopes:
                dslope[row + r] += slope_gradient(ds, at + low - a, high - low, i + r + g.keys - g.queries - low)


@kernel
def backward(
    start, stop, blas, problem, layout, rows, columns, parts, sides, work, lse, delta, dout, dq, dk, dv, dslope, clean
):
    """Units [start, stop): what one key head owns, or one of ``parts`` shares of it.

    ``sides``: 0 all gradients (parts must be 1), 1 those of queries (shares of the query tiles), 2 those of keys
    and values (shares of the key tiles). The ALiBi gradient comes with sides 0 and 1, where dslope is not empty.
    """
    x, g = Problem(*problem), Layout(*layout)
    one = type(x.scale)(1)
    tiles, key_tiles = (g.queries + rows - 1) // rows, (g.keys + columns - 1) // columns
    turned, values = work[: columns * g.width], work[columns * g.width :]
    s, ds = values[columns * g.depth :], values[columns * g.depth + rows * columns :]
    of_queries, of_keys = sides != 2, sides != 1
    for unit in range(start, stop):
        key_head, part = unit // parts, unit % parts
        first, last, left, right = 0, g.queries, 0, g.keys
        if sides == 1:
            first, last = tiles * part // parts * rows, min(tiles * (part + 1) // parts * rows, g.queries)
        if sides == 2:
            left, right = key_tiles * part // parts * columns, min(key_tiles * (part + 1) // parts * columns, g.keys)
        heads, key = range(key_head * g.group, (key_head + 1) * g.group), key_head * g.room
        if of_queries:
            for head in heads:
                fill(dq, (head * g.queries + first) * g.width, (last - first) * g.width, one - one)
                if dslope.size:
                    fill(dslope, head * g.queries + first, last - first, one - one)
        if of_keys:
            fill(dk, (key + left) * g.width, (right - left) * g.width, one - one)
            fill(dv, (key + left) * g.depth, (right - left) * g.depth, one - one)
        low, high = tile_range(first, last - first, 0, g.keys, g)
        low, high = max(low, left), min(high, right)
        for j0 in range(low // columns * columns, high, columns):
            count = min(columns, high - j0)
            transpose(x.k, (key + j0) * g.width, count, g.width, turned, columns)
            transpose(x.v, (key + j0) * g.depth, count, g.depth, values, columns)
            for head in heads:
                for i in range(first, last, rows):
                    n = min(rows, last - i)
                    a, b = tile_range(i, n, j0, columns, g)
                    if a >= b:
                        continue
                    score_tile(
                        blas, head, i, n, a, b, j0, columns, x, g, turned, values, s, ds, lse, delta, dout, dslope,
                        of_queries and dslope.size > 0,
                    )
                    wide, q, o = b - a, (head * g.queries + i) * g.width, (head * g.queries + i) * g.depth
                    k, v = (key + a) * g.width, (key + a) * g.depth
                    if of_keys:
                        gemm_tn(blas, wide, g.depth, n, one, s, 0, wide, dout, o, g.depth, one, dv, v, g.depth)
                        gemm_tn(blas, wide, g.width, n, x.scale, ds, 0, wide, x.q, q, g.width, one, dk, k, g.width)
                    if of_queries:
                        gemm_nn(blas, n, g.width, wide, x.scale, ds, 0, wide, x.k, k, g.width, one, dq, q, g.width)
        fine = True
        if of_queries:
            for head in heads:
                fine = fine and all_finite(dq, (head * g.queries + first) * g.width, (last - first) * g.width)
        if of_keys:
            fine = fine and all_finite(dk, (key + left) * g.width, (right - left) * g.width)
            fine = fine and all_finite(dv, (key + left) * g.depth, (right - left) * g.depth)
        clean[unit] = 1 if fine else 0
