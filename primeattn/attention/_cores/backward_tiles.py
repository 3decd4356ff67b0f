"""Softmax attention by tiles, on the CPU: gradients. As `forward_tiles`; the scores are computed again from lse.

A tile is ``rows`` queries against a tile of keys: block by block of queries come weights, gradients of the scores and
dq, then, keys by ``ROWS``, dk and dv, which stay in packed memory until the tile of keys is done.
"""

from typing import Any, NamedTuple

import numpy as np

from ..._runtime.elementary.decay import decay
from ..._runtime.jit import nonnegative, not_inlined
from ..._runtime.strips import ROWS, strip, strip_turned
from ..._runtime.vectors import LANES, load, store
from ..._runtime.width import full_width
from .layout import DISTANCE, PLAIN, Layout, Problem, query_range
from .packing import Plan, block_of, lift_of, pack_keys, pack_rows, pack_turned, score_block, weight_at
from .tiles import Gradients, fill, finite_unit, kernel, prepare, scalar, share_of, slope_gradient, tile_range


class Space(NamedTuple):
    """Keys turned and as they are, values turned, their gradients; queries and upstream gradients of a tile, weights,
    gradients of the scores; gradients of a block's queries; sums of the gradients of the scores of a key."""

    turned: Any
    keys: Any
    values: Any
    dk: Any
    dv: Any
    q: Any
    dout: Any
    s: Any
    ds: Any
    dq: Any
    sums: Any


@scalar
def space_of(work, g, plan):
    extra = plan.columns + ROWS
    a = plan.columns * (g.width + lift_of(g))
    b = a + plan.columns * plan.wide
    c = b + plan.columns * g.depth
    d = c + extra * plan.wide
    e = d + extra * plan.deep
    f = e + plan.rows * plan.wide
    h = f + plan.rows * plan.deep
    i = h + plan.rows * plan.span
    j = i + plan.rows * plan.span
    k = j + ROWS * plan.wide
    return Space(
        work[:a], work[a:b], work[b:c], work[c:d], work[d:e], work[e:f], work[f:h], work[h:i], work[i:j], work[j:k],
        work[k:],
    )  # fmt: skip


class Saved(NamedTuple):
    """What forward left, and the upstream gradient."""

    lse: Any
    delta: Any
    dout: Any


@scalar
def gradient_row(s, ds, at, n, lse, delta):
    """From scores to weights in s, from gradients of weights to gradients of scores in ds."""
    full_width()
    for c in range(n):
        p = decay(s[nonnegative(at + c)] - lse)
        s[nonnegative(at + c)] = p
        ds[nonnegative(at + c)] = p * (ds[nonnegative(at + c)] - delta)


@scalar
def gradient_block(b, x, g, plan, w, f, r0):
    """Weights in w.s and gradients of the scores in w.ds, from row r0 on; zeros for the other keys of the
    first and last ROWS of keys."""
    row, chunk, zero = b.head * g.queries + b.query, b.left - b.start, type(x.scale)(0)
    score_block(b, w.q, r0 * plan.wide, plan.wide, x, g, plan, w.turned, w.s, r0)
    strip(
        g.depth, (b.right - b.left) // plan.grain, w.dout, r0 * plan.deep, plan.deep, w.values, chunk * g.depth,
        plan.panel, plan.panel * g.depth, w.ds, r0 * plan.span + chunk, plan.span, 0,
    )  # fmt: skip
    for r in range(b.rows):
        # without a key lse is -inf, and so are all scores: any finite number in its place makes the weights 0
        level = f.lse[row + r] if f.lse[row + r] != -np.inf else zero
        at = (r0 + r) * plan.span
        gradient_row(w.s, w.ds, at + chunk, b.right - b.left, level, f.delta[row + r])
        above = b.right - b.start
        below, beyond = chunk % ROWS, -above % ROWS
        fill(w.s, at + chunk - below, below, zero)
        fill(w.ds, at + chunk - below, below, zero)
        fill(w.s, at + above, beyond, zero)
        fill(w.ds, at + above, beyond, zero)


@scalar
def gather_queries(b, x, g, plan, w, d, r0):
    """dq += scale ds k, times the metric, and the slope's share of every query if that is wanted."""
    row, low = b.head * g.queries + b.query, b.low - b.start
    strip(
        b.high - b.low, plan.wide // plan.grain, w.ds, r0 * plan.span + low, plan.span, w.keys, low * plan.wide,
        plan.wide, plan.panel, w.dq, 0, plan.wide, 0,
    )  # fmt: skip
    for r in range(b.rows):
        at = (row + r) * g.width
        if g.metric == PLAIN:
            for c in range(g.width):
                d.dq[nonnegative(at + c)] += x.scale * w.dq[nonnegative(r * plan.wide + c)]
        else:
            for c in range(g.width):
                d.dq[nonnegative(at + c)] += weight_at(b.head, c, x, g) * w.dq[nonnegative(r * plan.wide + c)]
        if d.dslope.size and g.metric == PLAIN:
            distance = b.query + r + g.keys - g.queries - b.low
            d.dslope[row + r] += slope_gradient(w.ds, (r0 + r) * plan.span + low, b.high - b.low, distance)


@scalar
def gather_sums(b, plan, w, r0):
    """Sums of ds += those of a block's queries. In vectors: LLVM would add number by number, 4% at 256 tokens."""
    n, to = b.right - b.left, b.left - b.start
    first = r0 * plan.span + to
    for r in range(b.rows, ROWS):
        fill(w.ds, first + r * plan.span, n, type(w.ds[0])(0))
    for c in range(0, n, LANES):
        total = load(w.sums, to + c)
        for r in range(ROWS):
            total = total + load(w.ds, first + r * plan.span + c)
        store(w.sums, to + c, total)


@scalar
def gather_keys(query, count, j0, low, high, g, plan, w):
    """dk += ds' q, dv += weights' dout, of a tile whose queries meet the keys [low, high)."""
    for j in range(j0 + (low - j0) // ROWS * ROWS, high, ROWS):
        first, _ = query_range(j, g)
        _, last = query_range(min(j + ROWS, high) - 1, g)
        first, last, key = max(first - query, 0), min(last - query, count), j - j0
        if first < last:
            strip_turned(
                last - first, plan.wide // plan.grain, w.ds, first * plan.span + key, plan.span, w.q,
                first * plan.wide, plan.wide, plan.panel, w.dk, key * plan.wide, plan.wide, 1,
            )  # fmt: skip
            strip_turned(
                last - first, plan.deep // plan.grain, w.s, first * plan.span + key, plan.span, w.dout,
                first * plan.deep, plan.deep, plan.panel, w.dv, key * plan.deep, plan.deep, 1,
            )  # fmt: skip


@scalar
def load_queries(row, count, dout, x, g, plan, w):
    """Pack queries and their upstream gradients, from row ``row`` of all heads on."""
    room = (count + ROWS - 1) // ROWS * ROWS
    pack_rows(x.q, row * g.width, count, g.width, w.q, plan.wide, room)
    pack_rows(dout, row * g.depth, count, g.depth, w.dout, plan.deep, room)


@scalar
def backward_tile(head, query, count, j0, of_queries, of_keys, x, g, plan, w, f, d):
    low, high = tile_range(query, count, j0, plan.columns, g)
    if low >= high:
        return
    load_queries(head * g.queries + query, count, f.dout, x, g, plan, w)
    for r in range(0, count, ROWS):
        b = block_of(head, query + r, min(ROWS, count - r), j0, g, plan)
        if b.low < b.high:
            gradient_block(b, x, g, plan, w, f, r)
            if of_queries:
                gather_queries(b, x, g, plan, w, d, r)
            if of_keys and g.metric == DISTANCE:
                gather_sums(b, plan, w, r)
    if of_keys:
        gather_keys(query, count, j0, low, high, g, plan, w)


@scalar
def unpack_rows(x, wide, count, width, scale, out, at):
    """Rows of x, ``wide`` apart, times scale, as they lie in out."""
    for r in range(count):
        for c in range(width):
            out[nonnegative(at + r * width + c)] = x[nonnegative(r * wide + c)] * scale


@scalar
def unit_of(part, parts, sides, g, plan):
    """Queries [first, last) and keys [left, right) of a share of a key head."""
    first, last, left, right = 0, g.queries, 0, g.keys
    if sides == 1:
        first, last = share_of(part, parts, plan.rows, g.queries)
    if sides == 2:
        left, right = share_of(part, parts, plan.columns, g.keys)
    return first, last, left, right


@scalar
def metric_rows(g, plan):
    """Rows of a head in the table of shares of dm: one a tile of keys."""
    return (g.keys + plan.columns - 1) // plan.columns


@scalar
def clear_metric(key_head, left, right, g, plan, d):
    """Zeros in the rows of the key tiles in [left, right): a tile that no query meets is not opened."""
    first, last = left // plan.columns, (right + plan.columns - 1) // plan.columns
    for head in range(key_head * g.group, (key_head + 1) * g.group):
        row = head * metric_rows(g, plan) + first
        fill(d.dslope, row * g.width, (last - first) * g.width, type(d.dq[0])(0))


@scalar
def open_keys(key, count, of_queries, of_keys, x, g, plan, w):
    """Pack a tile of keys and values, from row ``key`` on, and clear the sums of its gradients; with a metric all but
    what `open_metric` does."""
    one = type(x.scale)(1)
    if g.metric == PLAIN:
        pack_keys(key, count, 0, x, g, plan, w.turned)
    pack_turned(x.v, key * g.depth, count, g.depth, one, w.values, plan.panel, plan.side, 0)
    if of_queries or g.metric:
        pack_rows(x.k, key * g.width, count, g.width, w.keys, plan.wide, count)
    if of_keys and g.metric == PLAIN:
        fill(w.dk, 0, (count + ROWS) * plan.wide, one - one)
    if of_keys:
        fill(w.dv, 0, (count + ROWS) * plan.deep, one - one)


@scalar
def close_keys(key, count, x, g, plan, w, d):
    """Store the gradients of a tile of keys and values, from row ``key`` on."""
    if g.metric == PLAIN:
        unpack_rows(w.dk, plan.wide, count, g.width, x.scale, d.dk, key * g.width)
    unpack_rows(w.dv, plan.deep, count, g.depth, type(x.scale)(1), d.dv, key * g.depth)


@scalar
def open_metric(key, count, head, x, g, plan, w):
    """Keys in the metric of a head, and zeros for what they gather: heads that share them have metrics of their own."""
    zero = x.scale - x.scale
    pack_keys(key, count, head, x, g, plan, w.turned)
    fill(w.dk, 0, (count + ROWS) * plan.wide, zero)
    fill(w.sums, 0, plan.columns, zero)


@scalar
def close_metric(key, j0, count, head, x, g, plan, w, d):
    """dk += the share of a head, and the share of a tile of keys in its dm."""
    half, row = type(x.scale)(0.5), (head * metric_rows(g, plan) + j0 // plan.columns) * g.width
    for j in range(count):
        total = w.sums[j]
        for c in range(g.width):
            k, found = w.keys[nonnegative(j * plan.wide + c)], w.dk[nonnegative(j * plan.wide + c)]
            d.dk[nonnegative((key + j) * g.width + c)] += weight_at(head, c, x, g) * (found - total * k)
            d.dslope[nonnegative(row + c)] += x.scale * k * (found - half * total * k)


@kernel
def backward(start, stop, problem, layout, sizes, parts, sides, work, saved, gradients, clean):
    """Units [start, stop): what one key head owns, or one of ``parts`` shares of it.

    ``sides``: 0 all gradients (parts must be 1), 1 those of queries (shares of the query tiles), 2 those of keys
    and values (shares of the key tiles). dslope belongs to the queries; it is empty if it is not wanted. With a metric
    the shares of key tiles in its gradient take its place, and belong to the keys.
    """
    not_inlined()
    full_width()
    x, g, plan, f, d = Problem(*problem), Layout(*layout), Plan(*sizes), Saved(*saved), Gradients(*gradients)
    w = space_of(work, g, plan)
    of_queries, of_keys = sides != 2, sides != 1
    for unit in range(start, stop):
        unit_head, part = unit // parts, unit % parts
        first, last, left, right = unit_of(part, parts, sides, g, plan)
        prepare(unit_head, first, last, left, right, of_queries, of_keys, g, d)
        if of_keys and g.metric != PLAIN:
            clear_metric(unit_head, left, right, g, plan, d)
        low, high = tile_range(first, last - first, left, right - left, g)
        for j0 in range(low // plan.columns * plan.columns, high, plan.columns):
            key, count = unit_head * g.room + j0, min(plan.columns, high - j0)
            open_keys(key, count, of_queries, of_keys, x, g, plan, w)
            for head in range(unit_head * g.group, (unit_head + 1) * g.group):
                if g.metric != PLAIN:
                    open_metric(key, count, head, x, g, plan, w)
                for i in range(first, last, plan.rows):
                    backward_tile(head, i, min(plan.rows, last - i), j0, of_queries, of_keys, x, g, plan, w, f, d)
                if of_keys and g.metric != PLAIN:
                    close_metric(key, j0, count, head, x, g, plan, w, d)
            if of_keys:
                close_keys(key, count, x, g, plan, w, d)
        clean[unit] = finite_unit(unit_head, first, last, left, right, of_queries, of_keys, g, d)
