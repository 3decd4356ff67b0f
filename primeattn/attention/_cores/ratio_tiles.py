"""Ratio-normalised attention by tiles, on the CPU: the same numbers as `ratio`, from matrix products.

Tiles, units and the order of sums are those of `tiles`. A weight needs no maximum, so a query carries one sum. Weights
of a row are computed within its band only; the mask sets its keys to 0 afterwards. What a product makes of 0 * inf is
reported, and the caller falls back to rows.
"""

from typing import Any, NamedTuple

from ..._runtime.jit import nonnegative
from ..._runtime.linalg import gemm_nn
from ..._runtime.width import full_width
from .layout import Layout, Problem, key_range
from .ratio import dweight, weight
from .tiles import (
    Gradients,
    Space,
    Tile,
    all_finite,
    fill,
    finite_unit,
    gather_keys,
    gather_queries,
    kernel,
    prepare,
    scalar,
    share_of,
    summing,
    tile_range,
    transpose,
)


class Saved(NamedTuple):
    """What forward left, and the upstream gradient."""

    total: Any
    delta: Any
    dout: Any


@summing
def weights_of(params, s, at, n):
    """s = f(s) in place; the sum."""
    full_width()
    total = type(s[0])(0)
    for c in range(n):
        w = weight(params, s[nonnegative(at + c)])
        s[nonnegative(at + c)] = w
        total += w
    return total


@summing
def masked_sum(s, at, n, mask, first, step):
    """s = 0 in place for the keys that the mask forbids; the sum of the rest."""
    zero = type(s[0])(0)
    total = zero
    if step == 1:  # a step known to the compiler lets it vectorise
        for c in range(n):
            w = s[nonnegative(at + c)] if mask[nonnegative(first + c)] != 0 else zero
            s[nonnegative(at + c)] = w
            total += w
    else:
        for c in range(n):
            w = s[nonnegative(at + c)] if mask[first + c * step] != 0 else zero
            s[nonnegative(at + c)] = w
            total += w
    return total


@scalar
def gradient_row(params, s, ds, at, n, inverse, delta):
    """From scores to W / r in s, from gradients of W / r to gradients of scores in ds."""
    full_width()
    for c in range(n):
        z = s[nonnegative(at + c)]
        ds[nonnegative(at + c)] = dweight(params, z) * (ds[nonnegative(at + c)] - delta) * inverse
        s[nonnegative(at + c)] = weight(params, z) * inverse


@scalar
def fill_products(blas, t, x, g, turned, columns, s):
    """z of a tile, row after row, from the transposed keys of its key tile."""
    wide, first, zero = t.high - t.low, (t.head * g.queries + t.query) * g.width, type(x.scale)(0)
    gemm_nn(
        blas, t.rows, wide, g.width, x.scale, x.q, first, g.width, turned, t.low - t.start, columns, zero, s, 0, wide
    )


@scalar
def span(i, t, g):
    """The columns [a, b) of a tile that the band leaves to query i."""
    low, high = key_range(i, g)
    a = min(max(low, t.low), t.high) - t.low
    return a, max(min(high, t.high) - t.low, a)


@scalar
def is_masked(x):
    return x.mask.size > 1 or x.mask[0] == 0


@scalar
def forward_tile(blas, params, t, x, g, turned, columns, s, out, total):
    """out += W v, total += sum of W."""
    one, wide, row = type(x.scale)(1), t.high - t.low, t.head * g.queries + t.query
    fill_products(blas, t, x, g, turned, columns, s)
    masked, zero = is_masked(x), one - one
    for r in range(t.rows):
        at, i = r * wide, t.query + r
        a, b = span(i, t, g)
        fill(s, at, a, zero)
        fill(s, at + b, wide - b, zero)
        weighed = weights_of(params, s, at + a, b - a)
        if masked:
            first = x.mask_at[t.head] + i * g.mask_row + (t.low + a) * g.mask_key
            weighed = masked_sum(s, at + a, b - a, x.mask, first, g.mask_key)
        total[row + r] += weighed
    value = (t.head // g.group * g.room + t.low) * g.depth
    gemm_nn(blas, t.rows, g.depth, wide, one, s, 0, wide, x.v, value, g.depth, one, out, row * g.depth, g.depth)


@scalar
def finish_rows(start, stop, depth, eps, out, total):
    """Add eps, divide by the sums. True if all is finite."""
    clean = True
    for row in range(start, stop):
        r = total[row] + eps[row if eps.size > 1 else 0]
        total[row] = r
        if r != 0:
            inverse = type(r)(1) / r
            for c in range(depth):
                out[nonnegative(row * depth + c)] *= inverse
        clean = clean and all_finite(out, row * depth, depth)
    return clean


@kernel
def forward(start, stop, blas, params, problem, layout, rows, columns, parts, work, eps, out, total, clean):
    """Units [start, stop): a unit is one of ``parts`` shares of the query tiles of one key head."""
    full_width()
    x, g = Problem(*problem), Layout(*layout)
    turned, s, zero = work[: columns * g.width], work[columns * g.width :], type(x.scale)(0)
    for unit in range(start, stop):
        key_head = unit // parts
        first, last = share_of(unit % parts, parts, rows, g.queries)
        heads = range(key_head * g.group, (key_head + 1) * g.group)
        for head in heads:
            row, count = head * g.queries + first, last - first
            fill(out, row * g.depth, count * g.depth, zero)
            fill(total, row, count, zero)
        low, high = tile_range(first, last - first, 0, g.keys, g)
        for j0 in range(low // columns * columns, high, columns):
            transpose(x.k, (key_head * g.room + j0) * g.width, min(columns, high - j0), g.width, turned, columns)
            for head in heads:
                for i in range(first, last, rows):
                    count = min(rows, last - i)
                    a, b = tile_range(i, count, j0, columns, g)
                    if a < b:
                        t = Tile(head, i, count, a, b, j0)
                        forward_tile(blas, params, t, x, g, turned, columns, s, out, total)
        clean[unit] = 1
        for head in heads:
            row = head * g.queries
            if not finish_rows(row + first, row + last, g.depth, eps, out, total):
                clean[unit] = 0


@scalar
def gradient_tile(blas, params, t, x, g, columns, w, f):
    """W / r in w.s and gradients of the scores in w.ds."""
    one, wide, row = type(x.scale)(1), t.high - t.low, t.head * g.queries + t.query
    fill_products(blas, t, x, g, w.keys, columns, w.s)
    s, ds, zero, masked = w.s, w.ds, one - one, is_masked(x)
    gemm_nn(
        blas, t.rows, wide, g.depth, one, f.dout, row * g.depth, g.depth, w.values, t.low - t.start, columns,
        zero, ds, 0, wide,
    )  # fmt: skip
    for r in range(t.rows):
        at, i, sum_ = r * wide, t.query + r, f.total[row + r]
        a, b = span(i, t, g)
        if sum_ == 0:
            b = a
        for table in (s, ds):
            fill(table, at, a, zero)
            fill(table, at + b, wide - b, zero)
        gradient_row(params, s, ds, at + a, b - a, one / sum_, f.delta[row + r])
        if masked:
            first = x.mask_at[t.head] + i * g.mask_row + (t.low + a) * g.mask_key
            masked_sum(s, at + a, b - a, x.mask, first, g.mask_key)
            masked_sum(ds, at + a, b - a, x.mask, first, g.mask_key)


@kernel
def backward(start, stop, blas, params, problem, layout, rows, columns, parts, sides, work, saved, gradients, clean):
    """Units [start, stop) and ``sides`` as in `tiles.backward`."""
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
                        gradient_tile(blas, params, t, x, g, columns, w, f)
                        if of_queries:
                            gather_queries(blas, t, x, g, w, d)
                        if of_keys:
                            gather_keys(blas, t, x, g, w, f.dout, d)
        clean[unit] = finite_unit(unit_head, first, last, left, right, of_queries, of_keys, g, d)
