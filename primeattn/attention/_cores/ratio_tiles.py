"""Ratio-normalised attention by tiles, on the CPU: the same numbers as `ratio`, from products of small matrices.

Tiles, blocks, packing and the order of sums are those of `forward_tiles` and `backward_tiles`. A weight needs no
maximum, so a query carries one sum, and earlier outputs never shrink. Weights of a row are computed within its band
only; the mask sets its keys to 0 afterwards. What a product makes of 0 * inf is reported, and the caller falls back to
rows.
"""

from typing import Any, NamedTuple

from ..._runtime.jit import nonnegative
from ..._runtime.strips import ROWS, strip
from ..._runtime.width import full_width
from . import backward_tiles, forward_tiles
from .backward_tiles import close_keys, gather_keys, gather_queries, load_queries, open_keys, unit_of
from .forward_tiles import FEW, few_scores, few_values, load_keys
from .layout import Layout, Problem, key_range
from .packing import Plan, block_of, pack_rows
from .ratio import dweight, weight
from .tiles import Gradients, all_finite, fill, finite_unit, kernel, prepare, scalar, share_of, summing, tile_range

forward_space, backward_space = forward_tiles.space_of, backward_tiles.space_of


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
def span(b, r, g):
    """The keys [low, high) that the band leaves to row r of a block, counted from the start of its tile."""
    low, high = key_range(b.query + r, g)
    low = min(max(low, b.low), b.high)
    return low - b.start, max(min(high, b.high), low) - b.start


@scalar
def is_masked(x):
    return x.mask.size > 1 or x.mask[0] == 0


@scalar
def mask_start(b, r, low, x, g):
    """Where the mask speaks of row r of a block and key ``low`` of its tile."""
    return x.mask_at[b.head] + (b.query + r) * g.mask_row + (b.start + low) * g.mask_key


@scalar
def score_block(b, a, at, step, g, plan, keys, s, to):
    """Scores of a block into s, from row ``to`` on, from its queries in a, ``step`` apart."""
    chunk = b.left - b.start
    strip(
        g.width, (b.right - b.left) // plan.grain, a, at, step, keys, chunk * g.width, plan.panel,
        plan.panel * g.width, s, to * plan.span + chunk, plan.span, 0,
    )  # fmt: skip


@scalar
def weigh_row(params, b, r, at, x, g, s):
    """Weights of row r of a block, whose score of the tile's first key lies at ``at``; their sum."""
    low, high = span(b, r, g)
    zero = type(x.scale)(0)
    fill(s, at + b.low - b.start, low - (b.low - b.start), zero)
    fill(s, at + high, b.high - b.start - high, zero)
    total = weights_of(params, s, at + low, high - low)
    if is_masked(x):
        total = masked_sum(s, at + low, high - low, x.mask, mask_start(b, r, low, x, g), g.mask_key)
    return total


@scalar
def forward_block(params, b, x, g, plan, w, out, total):
    """out += W v, total += sum of W."""
    first, low = b.head * g.queries + b.query, b.low - b.start
    if b.rows == ROWS:
        score_block(b, x.q, first * g.width, g.width, g, plan, w.keys, w.s, 0)
    else:
        pack_rows(x.q, first * g.width, b.rows, g.width, w.queries, plan.wide, ROWS)
        score_block(b, w.queries, 0, plan.wide, g, plan, w.keys, w.s, 0)
    for r in range(b.rows):
        total[first + r] += weigh_row(params, b, r, r * plan.span, x, g, w.s)
    strip(
        b.high - b.low, plan.deep // plan.grain, w.s, low, plan.span, w.values, low * plan.deep, plan.deep,
        plan.panel, w.y, 0, plan.deep, 0,
    )  # fmt: skip
    for r in range(b.rows):
        for c in range(g.depth):
            out[nonnegative((first + r) * g.depth + c)] += w.y[nonnegative(r * plan.deep + c)]


@scalar
def forward_few(params, b, x, g, plan, w, out, total):
    """`forward_block` for a query or two, from keys and values as they lie."""
    zero = type(x.scale)(0)
    for r in range(b.rows):
        row = b.head * g.queries + b.query + r
        few_scores(b, row, x, g, w.s)
        total[row] += weigh_row(params, b, r, 0, x, g, w.s)
        fill(w.y, 0, g.depth, zero)
        few_values(b, x, g, plan, w.s, w.y)
        for c in range(g.depth):
            out[nonnegative(row * g.depth + c)] += w.y[nonnegative(c)]


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
def forward(start, stop, params, problem, layout, sizes, parts, work, eps, out, total, clean):
    """Units [start, stop): a unit is one of ``parts`` shares of the query tiles of one key head."""
    full_width()
    x, g, plan = Problem(*problem), Layout(*layout), Plan(*sizes)
    w = forward_space(work, g, plan)
    for unit in range(start, stop):
        key_head = unit // parts
        first, last = share_of(unit % parts, parts, plan.rows, g.queries)
        heads = range(key_head * g.group, (key_head + 1) * g.group)
        for head in heads:
            row, count = head * g.queries + first, last - first
            fill(out, row * g.depth, count * g.depth, type(x.scale)(0))
            fill(total, row, count, type(x.scale)(0))
        low, high = tile_range(first, last - first, 0, g.keys, g)
        for j0 in range(low // plan.columns * plan.columns, high, plan.columns):
            load_keys(key_head * g.room + j0, min(plan.columns, high - j0), x, g, plan, w)
            for head in heads:
                for i in range(first, last, ROWS):
                    b = block_of(head, i, min(ROWS, last - i), j0, g, plan)
                    if b.low < b.high and g.queries <= FEW:
                        forward_few(params, b, x, g, plan, w, out, total)
                    elif b.low < b.high:
                        forward_block(params, b, x, g, plan, w, out, total)
        clean[unit] = 1
        for head in heads:
            row = head * g.queries
            if not finish_rows(row + first, row + last, g.depth, eps, out, total):
                clean[unit] = 0


@scalar
def gradient_block(params, b, x, g, plan, w, f, r0):
    """W / r in w.s and gradients of the scores in w.ds, from row r0 on; zeros for the other keys of the first and last
    ROWS of keys."""
    row, chunk, one = b.head * g.queries + b.query, b.left - b.start, type(x.scale)(1)
    score_block(b, w.q, r0 * plan.wide, plan.wide, g, plan, w.turned, w.s, r0)
    strip(
        g.depth, (b.right - b.left) // plan.grain, w.dout, r0 * plan.deep, plan.deep, w.values, chunk * g.depth,
        plan.panel, plan.panel * g.depth, w.ds, r0 * plan.span + chunk, plan.span, 0,
    )  # fmt: skip
    above = b.right - b.start
    start, stop = chunk - chunk % ROWS, above + -above % ROWS
    for r in range(b.rows):
        at, r_i = (r0 + r) * plan.span, f.total[row + r]
        low, high = span(b, r, g)
        high = low if r_i == 0 else high
        for table in (w.s, w.ds):
            fill(table, at + start, low - start, one - one)
            fill(table, at + high, stop - high, one - one)
        gradient_row(params, w.s, w.ds, at + low, high - low, one / r_i, f.delta[row + r])
        if is_masked(x):
            first = mask_start(b, r, low, x, g)
            masked_sum(w.s, at + low, high - low, x.mask, first, g.mask_key)
            masked_sum(w.ds, at + low, high - low, x.mask, first, g.mask_key)


@scalar
def backward_tile(params, head, query, count, j0, of_queries, of_keys, x, g, plan, w, f, d):
    low, high = tile_range(query, count, j0, plan.columns, g)
    if low >= high:
        return
    load_queries(head * g.queries + query, count, f.dout, x, g, plan, w)
    for r in range(0, count, ROWS):
        b = block_of(head, query + r, min(ROWS, count - r), j0, g, plan)
        if b.low < b.high:
            gradient_block(params, b, x, g, plan, w, f, r)
            if of_queries:
                gather_queries(b, x, g, plan, w, d, r)
    if of_keys:
        gather_keys(query, count, j0, low, high, g, plan, w)


@kernel
def backward(start, stop, params, problem, layout, sizes, parts, sides, work, saved, gradients, clean):
    """Units [start, stop) and ``sides`` as in `backward_tiles.backward`."""
    full_width()
    x, g, plan, f, d = Problem(*problem), Layout(*layout), Plan(*sizes), Saved(*saved), Gradients(*gradients)
    w = backward_space(work, g, plan)
    of_queries, of_keys = sides != 2, sides != 1
    for unit in range(start, stop):
        unit_head, part = unit // parts, unit % parts
        first, last, left, right = unit_of(part, parts, sides, g, plan)
        prepare(unit_head, first, last, left, right, of_queries, of_keys, g, d)
        low, high = tile_range(first, last - first, left, right - left, g)
        for j0 in range(low // plan.columns * plan.columns, high, plan.columns):
            key, count = unit_head * g.room + j0, min(plan.columns, high - j0)
            open_keys(key, count, of_queries, of_keys, x, g, plan, w)
            for head in range(unit_head * g.group, (unit_head + 1) * g.group):
                for i in range(first, last, plan.rows):
                    rows = min(plan.rows, last - i)
                    backward_tile(params, head, i, rows, j0, of_queries, of_keys, x, g, plan, w, f, d)
            if of_keys:
                close_keys(key, count, x, g, plan, w, d)
        clean[unit] = finite_unit(unit_head, first, last, left, right, of_queries, of_keys, g, d)
