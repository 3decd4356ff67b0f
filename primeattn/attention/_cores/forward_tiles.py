"""Softmax attention by tiles, on the CPU: outputs. The same numbers as `softmax`, from products of small matrices.

Keys are the outer loop. A tile of them, and of their values, is packed once (`packing`), and serves all queries of the
heads of its group, ``ROWS`` at a time: a block of queries has its scores, weights and outputs in the first-level cache.
Nothing of size queries x keys exists; a query carries its running maximum and sum (online softmax).

Tile borders lie at multiples of the tile sizes, and every sum runs in the order of the tiles, so the split into units,
hence the number of threads, does not change a bit of the result.

A product over a block also touches keys that a query may not attend, with weight 0; since 0 * inf is NaN, a unit
reports whether all it wrote is finite, and the caller falls back to the rows of `softmax` if not.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from ..._runtime.elementary.decay import decay
from ..._runtime.jit import nonnegative, not_inlined
from ..._runtime.strips import ROWS, strip
from ..._runtime.vectors import LANES, broadcast, load, prefetch_rows, store
from ..._runtime.vectors import total as sum_lanes
from ..._runtime.width import full_width
from .layout import PLAIN, Layout, Problem
from .packing import Plan, block_of, lift_of, limit_row, pack_keys, pack_rows, score_block
from .tiles import all_finite, exponentials, fill, kernel, largest, scalar, share_of, tile_range

#: So many queries a head, as in streaming, are faster without packing.
FEW = 2


class Space(NamedTuple):
    """Keys turned, values, a block's queries (where there are fewer than ROWS), scores, outputs, and shrinkage."""

    keys: Any
    values: Any
    queries: Any
    s: Any
    y: Any
    shrink: Any


@scalar
def space_of(work, g, plan):
    a = plan.columns * (g.width + lift_of(g))
    b = a + plan.columns * plan.deep
    c = b + ROWS * plan.wide
    d = c + ROWS * plan.span
    e = d + ROWS * plan.deep
    return Space(work[:a], work[a:b], work[b:c], work[c:d], work[d:e], work[e:])


@scalar
def online_row(s, at, n, row, top, total):
    """Fold n more scores into the running maximum and sum of a query, and turn them into weights relative to it.

    Returns the factor that earlier weights shrink by.
    """
    old = top[row]
    new = largest(s, at, n, old)
    if new == -np.inf:  # nothing allowed so far, or only NaN
        for c in range(n):
            total[row] += s[at + c] - s[at + c] if s[at + c] != new else type(new)(0)
        fill(s, at, n, type(new)(0))
        return type(new)(1)
    weight = exponentials(s, at, n, new)
    shrink = decay(old - new)
    top[row] = new
    total[row] = total[row] * shrink + weight
    return shrink


@scalar
def forward_block(b, x, g, plan, w, out, top, total):
    """out = shrinkage times out + relative weights times values."""
    first = b.head * g.queries + b.query
    if b.rows == ROWS:
        score_block(b, x.q, first * g.width, g.width, x, g, plan, w.keys, w.s, 0)
    else:
        pack_rows(x.q, first * g.width, b.rows, g.width, w.queries, plan.wide, ROWS)
        score_block(b, w.queries, 0, plan.wide, x, g, plan, w.keys, w.s, 0)
    for r in range(b.rows):
        w.shrink[r] = online_row(w.s, r * plan.span + b.left - b.start, b.right - b.left, first + r, top, total)
    low = b.low - b.start
    strip(
        b.high - b.low, plan.deep // plan.grain, w.s, low, plan.span, w.values, low * plan.deep, plan.deep,
        plan.panel, w.y, 0, plan.deep, 0,
    )  # fmt: skip
    for r in range(b.rows):
        at, shrink = (first + r) * g.depth, w.shrink[r]
        for c in range(g.depth):
            out[nonnegative(at + c)] = out[nonnegative(at + c)] * shrink + w.y[nonnegative(r * plan.deep + c)]


@scalar
def products(a, at, b, first, second, third, fourth, n):
    """<a, b> for four places of b. Vectors: LLVM made rows of 32 numbers, one by one, as long as rows of 100."""
    s = t = u = w = broadcast(type(a[0])(0))
    whole = n // LANES * LANES
    for c in range(0, whole, LANES):
        x = load(a, at + c)
        s = s + x * load(b, first + c)
        t = t + x * load(b, second + c)
        u = u + x * load(b, third + c)
        w = w + x * load(b, fourth + c)
    sums = sum_lanes(s), sum_lanes(t), sum_lanes(u), sum_lanes(w)
    for c in range(whole, n):
        x = a[nonnegative(at + c)]
        sums = (
            sums[0] + x * b[nonnegative(first + c)], sums[1] + x * b[nonnegative(second + c)],
            sums[2] + x * b[nonnegative(third + c)], sums[3] + x * b[nonnegative(fourth + c)],
        )  # fmt: skip
    return sums


@scalar
def few_scores(b, row, x, g, s):
    """Scores of query ``row`` (of all heads), four keys at a time; at the end some of them again."""
    key_head, last = b.head // g.group * g.room, b.high - 1
    for j in range(b.low, b.high, 4):
        k, l, m = min(j + 1, last), min(j + 2, last), min(j + 3, last)  # noqa: E741
        first, second, third, fourth = (key_head + j, key_head + k, key_head + l, key_head + m)
        prefetch_rows(x.v, first * g.depth, (first + 4) * g.depth)
        found = products(
            x.q, row * g.width, x.k, first * g.width, second * g.width, third * g.width, fourth * g.width, g.width
        )
        s[nonnegative(j - b.start)] = x.scale * found[0]
        s[nonnegative(k - b.start)] = x.scale * found[1]
        s[nonnegative(l - b.start)] = x.scale * found[2]
        s[nonnegative(m - b.start)] = x.scale * found[3]


@scalar
def few_values(b, x, g, plan, s, y):
    """y += weights times values, four keys at a time; at the end some of them again, with weight 0.

    Meanwhile the keys of the next tile are asked for, as these values were while their scores were taken. Without, a
    core had two thirds of the bytes a second (32,768 keys of 32 numbers).
    """
    whole = g.depth // LANES * LANES
    key_head, last, zero = b.head // g.group * g.room, b.high - 1, type(x.scale)(0)
    for j in range(b.low, b.high, 4):
        k, l, m = min(j + 1, last), min(j + 2, last), min(j + 3, last)  # noqa: E741
        w0, w1 = s[nonnegative(j - b.start)], s[nonnegative(k - b.start)] if k == j + 1 else zero
        w2 = s[nonnegative(l - b.start)] if l == j + 2 else zero
        w3 = s[nonnegative(m - b.start)] if m == j + 3 else zero
        first, second = (key_head + j) * g.depth, (key_head + k) * g.depth
        third, fourth = (key_head + l) * g.depth, (key_head + m) * g.depth
        ahead = key_head + j + plan.columns
        prefetch_rows(x.k, ahead * g.width, (ahead + 4) * g.width)
        u0, u1, u2, u3 = broadcast(w0), broadcast(w1), broadcast(w2), broadcast(w3)
        for c in range(0, whole, LANES):
            early = u0 * load(x.v, first + c) + u1 * load(x.v, second + c)
            late = u2 * load(x.v, third + c) + u3 * load(x.v, fourth + c)
            store(y, c, load(y, c) + (early + late))
        for c in range(whole, g.depth):
            near = w0 * x.v[nonnegative(first + c)] + w1 * x.v[nonnegative(second + c)]
            far = w2 * x.v[nonnegative(third + c)] + w3 * x.v[nonnegative(fourth + c)]
            y[nonnegative(c)] += near + far


@scalar
def forward_few(b, x, g, plan, w, out, top, total):
    """`forward_block` for a query or two, from keys and values as they lie: each is read once, so none is packed."""
    for r in range(b.rows):
        row = b.head * g.queries + b.query + r
        few_scores(b, row, x, g, w.s)
        limit_row(b, r, 0, x, g, w.s)
        shrink = online_row(w.s, b.left - b.start, b.right - b.left, row, top, total)
        for c in range(g.depth):
            w.y[nonnegative(c)] = out[nonnegative(row * g.depth + c)] * shrink
        few_values(b, x, g, plan, w.s, w.y)
        for c in range(g.depth):
            out[nonnegative(row * g.depth + c)] = w.y[nonnegative(c)]


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
        else:
            fill(out, row * depth, depth, type(total[row])(0))  # of 0 times values that may be NaN
    return clean


@scalar
def load_keys(key, count, x, g, plan, w):
    """Pack a tile of keys and values, from row ``key`` on; a query or two read them as they lie."""
    if g.queries > FEW:
        if g.metric == PLAIN:
            pack_keys(key, count, 0, x, g, plan, w.keys)
        pack_rows(x.v, key * g.depth, count, g.depth, w.values, plan.deep, count)


@scalar
def open_unit(key_head, first, last, g, out, lse, total):
    """Nothing seen yet by queries [first, last) of the heads of a key head."""
    for head in range(key_head * g.group, (key_head + 1) * g.group):
        row, count, zero = head * g.queries + first, last - first, type(out[0])(0)
        fill(out, row * g.depth, count * g.depth, zero)
        fill(lse, row, count, type(zero)(-np.inf))
        fill(total, row, count, zero)


@scalar
def close_unit(key_head, first, last, g, out, lse, total):
    clean = True
    for head in range(key_head * g.group, (key_head + 1) * g.group):
        row = head * g.queries
        clean = finish_rows(row + first, row + last, g.depth, out, lse, total) and clean
    return clean


@kernel
def forward(start, stop, problem, layout, sizes, parts, work, out, lse, total, clean):
    """Units [start, stop): a unit is one of ``parts`` shares of the query tiles of one key head."""
    not_inlined()
    full_width()
    x, g, plan = Problem(*problem), Layout(*layout), Plan(*sizes)
    w = space_of(work, g, plan)
    for unit in range(start, stop):
        key_head = unit // parts
        first, last = share_of(unit % parts, parts, plan.rows, g.queries)
        open_unit(key_head, first, last, g, out, lse, total)
        low, high = tile_range(first, last - first, 0, g.keys, g)
        for j0 in range(low // plan.columns * plan.columns, high, plan.columns):
            load_keys(key_head * g.room + j0, min(plan.columns, high - j0), x, g, plan, w)
            for head in range(key_head * g.group, (key_head + 1) * g.group):
                if g.metric != PLAIN:
                    pack_keys(key_head * g.room + j0, min(plan.columns, high - j0), head, x, g, plan, w.keys)
                for i in range(first, last, ROWS):
                    b = block_of(head, i, min(ROWS, last - i), j0, g, plan)
                    if b.low < b.high:
                        forward_block(b, x, g, plan, w, out, lse, total)
        clean[unit] = close_unit(key_head, first, last, g, out, lse, total)


@kernel
def forward_streaming(start, stop, problem, layout, sizes, parts, work, out, lse, total, clean):
    """`forward` where a head has at most FEW queries, and no metric: a kernel of its own, so that a model in training,
    which never calls it, need not compile it."""
    full_width()
    x, g, plan = Problem(*problem), Layout(*layout), Plan(*sizes)
    w = space_of(work, g, plan)
    for unit in range(start, stop):
        key_head = unit // parts
        first, last = share_of(unit % parts, parts, plan.rows, g.queries)
        open_unit(key_head, first, last, g, out, lse, total)
        low, high = tile_range(first, last - first, 0, g.keys, g)
        for j0 in range(low // plan.columns * plan.columns, high, plan.columns):
            for head in range(key_head * g.group, (key_head + 1) * g.group):
                for i in range(first, last, ROWS):
                    b = block_of(head, i, min(ROWS, last - i), j0, g, plan)
                    if b.low < b.high:
                        forward_few(b, x, g, plan, w, out, lse, total)
        clean[unit] = close_unit(key_head, first, last, g, out, lse, total)
