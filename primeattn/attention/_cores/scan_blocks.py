"""`scan` by blocks, on the CPU: the same numbers from products of small matrices.

A block is up to ``block`` queries. What lies before it comes from the state, which holds the d (d + 1) / 2 products of
two entries (degree 2) or the d entries (degree 1) of all keys so far; pairs within the block are taken one by one:
O(T b d) + O(T d^2 d_v) in all. Entries and features lie feature by feature, tokens side by side, so that tokens are the
columns of products (`strips`), and making features and pulling gradients back run along vectors. Features come in
stripes that stay in the first-level cache. Off-diagonal features of queries carry the factor 2, those of keys 1: no
square root is rounded. The normaliser needs no features: r_i = <q_i, M q_i> with M = sum_j k_j k_j'.

The sums live in float64, and a copy in the data's type enters the products: in float32 a sum over thousands of blocks
would lose what eps protects. A unit of work is one key head and ``columns`` columns of its values; nothing but the
problem decides the split, so results do not depend on the number of threads. Gradients of q and k are sums over column
parts, which the caller adds up.

A unit reports whether all it wrote is finite, and whether no key sees its size change too much within its block; if
not, the caller falls back to the rows of `scan`.
"""

from typing import Any, NamedTuple

import numpy as np

from ..._runtime.elementary.machine import by_type
from ..._runtime.jit import nonnegative
from ..._runtime.strips import ROWS, strip, strip_turned
from ..._runtime.width import full_width
from .layout import Layout, Problem
from .scan import power, present, size, unit_of
from .scan_features import absorb, read, read_moments
from .scan_room import Plan, Space, clear, part, round_off, transpose, woven
from .tiles import all_finite, fill, kernel, scalar, summing


class Task(NamedTuple):
    """eps of the kernel, units of the keys, and how many parts the columns of the values have."""

    eps: Any
    unit: Any
    parts: int


def _limit32(x):
    return np.float32(2.0**32)


def _limit64(x):
    return 2.0**400


#: How much larger a key may be than those before it in its block.
limit = by_type(_limit32, _limit64)


@part
def rescale(w, p, unit, backward):
    """Bring the sums from their unit to another, exactly."""
    old = w.sums[p.scalars + 1]
    w.sums[p.scalars + 1] = unit
    if old == 0 or old == unit:
        return
    factor = power(old / unit if backward else unit / old, p.degree)
    for f in range(p.scalars + 1):
        w.sums[nonnegative(f)] *= factor
    round_off(w, p)


@summing
def total_of_squares(x, at, n):
    full_width()
    total = 0.0
    for t in range(n):
        total += np.float64(x[nonnegative(at + t)]) * np.float64(x[nonnegative(at + t)])
    return total


@part
def load_queries(x, at, n, w, p):
    """Queries in their own units, entry by entry and row by row; |q_i|^2 in w.wide, from ``span`` on."""
    full_width()
    zero = w.room[0] - w.room[0]
    transpose(x, at, p.width, n, p.width, p.side, w.room, p.queries, p.span)
    fill(w.room, p.own, n, zero)
    fill(w.wide, p.span, n, 0.0)
    for a in range(p.width):
        for t in range(n):  # NaN shows up in the results
            entry, best = abs(w.room[nonnegative(p.queries + a * p.span + t)]), w.room[nonnegative(p.own + t)]
            w.room[nonnegative(p.own + t)] = entry if entry > best else best
    for t in range(n):
        w.room[nonnegative(p.own + t)] = unit_of(size(w.room[nonnegative(p.own + t)]))
    for a in range(p.width):
        for t in range(n):
            entry = w.room[nonnegative(p.queries + a * p.span + t)] * w.room[nonnegative(p.own + t)]
            w.room[nonnegative(p.queries + a * p.span + t)] = entry
            w.wide[nonnegative(p.span + t)] += np.float64(entry) * np.float64(entry)
    for t in range(n):
        for a in range(p.width):
            entry = x[nonnegative(at + t * p.width + a)] * w.room[nonnegative(p.own + t)]
            w.room[nonnegative(p.query_rows + t * p.wide + a)] = entry


@part
def load_keys(x, g, key_head, j, n, first_column, columns, u, w, p):
    """Keys in unit u, row by row and entry by entry, and columns of their values; zeros for those not there."""
    full_width()
    row, masked = key_head * g.room + j, x.mask.size > 1 or x.mask[0] == 0
    for t in range(n):
        key, value = p.key_rows + t * p.wide, p.value_rows + t * p.deep
        if masked and not present(key_head * g.group, j + t, x, g):
            fill(w.room, key, g.width, u - u)
            fill(w.room, value, columns, u - u)
        else:
            for a in range(g.width):
                w.room[nonnegative(key + a)] = x.k[nonnegative((row + t) * g.width + a)] * u
            for c in range(columns):
                w.room[nonnegative(value + c)] = x.v[nonnegative((row + t) * g.depth + first_column + c)]
    transpose(w.room, p.key_rows, p.wide, n, p.width, p.side, w.room, p.keys, p.span)


@woven
def absorb_keys(w, p, n, columns):
    """Keys in ``w`` join the sums."""
    absorb(w, p, p.keys, p.key_rows, p.value_rows, n, columns, type(w.room[0])(1))
    for a in range(p.width):
        w.sums[p.scalars] += total_of_squares(w.room, p.keys + a * p.span, n)


@part
def block_unit(task, key_head, j, n, g):
    """The unit of the last of n keys, and whether none before it that is not 0 is too small beside it."""
    u = task.unit[key_head * g.keys + j + n - 1]
    nothing, fine = unit_of(size(u - u)), True
    for t in range(n):
        other = task.unit[key_head * g.keys + j + t]
        fine = fine and (other == nothing or other <= u * limit(u))
    return u, fine


@woven
def absorb_range(x, g, task, key_head, start, stop, first_column, columns, w, p):
    """Keys [start, stop), seen by all that follow."""
    for j in range(start, stop, p.block):
        n = min(p.block, stop - j)
        u = task.unit[key_head * g.keys + stop - 1]
        rescale(w, p, u, False)
        load_keys(x, g, key_head, j, n, first_column, columns, u, w, p)
        absorb_keys(w, p, n, columns)


@part
def norms_before(w, p, n, count):
    """For each query the norms of the keys it sees: those of the state, and in the block those up to its own place."""
    full_width()
    before = 2 * p.span
    fill(w.wide, before, n, 0.0)
    for a in range(p.width if count else 0):
        for t in range(n):
            entry = np.float64(w.room[nonnegative(p.keys + a * p.span + t)])
            w.wide[nonnegative(before + t)] += entry * entry
    total = w.sums[p.scalars]
    for t in range(n):
        total += w.wide[nonnegative(before + t)]
        w.wide[nonnegative(before + t)] = total


@scalar
def local_scores(w, p, n):
    """<q_i, k_j> within the block, key by key, from the grain of query j on."""
    for j in range(0, n, ROWS):
        i = j // p.panel * p.panel
        strip_turned(
            p.width, (p.span - i) // p.grain, w.room, p.keys + j, p.span, w.room, p.queries + i, p.span, p.panel,
            w.room, p.scores + j * p.span + i, p.span, 0,
        )  # fmt: skip


@scalar
def multiply_local(w, p, x, a_row, a_step, rows, table, n, out):
    """out += X table' of a block, table of keys by queries: a query meets the keys up to its own."""
    for i in range(0, n, p.panel):
        grains, steps = min(p.panel, p.span - i) // p.grain, min(n, i + p.panel)
        for r in range(0, rows, ROWS):
            to = out + r * p.span + i
            if a_step == 1:
                strip(
                    steps, grains, w.room, x + r * a_row, a_row, w.room, table + i, p.span, p.panel, w.room, to,
                    p.span, 1,
                )  # fmt: skip
            else:
                strip_turned(
                    steps, grains, w.room, x + r, a_step, w.room, table + i, p.span, p.panel, w.room, to, p.span, 1
                )


@part
def local_weights(w, p, n):
    """Kernel values in place of scores, 0 for keys that come later; their sums in w.inverse."""
    full_width()
    zero = w.room[0] - w.room[0]
    fill(w.room, p.inverse, n, zero)
    for j in range(n):
        at = p.scores + j * p.span
        fill(w.room, at, j, zero)
        for i in range(j, n):
            z = power(w.room[nonnegative(at + i)], p.degree)
            w.room[nonnegative(at + i)] = z
            w.room[nonnegative(p.inverse + i)] += z


@woven
def forward_block(x, g, task, head, i, n, count, first_column, columns, out, inverse, w, p):
    """Queries [i, i + n) of a head; the part of column 0 keeps 1 / r, in the units of the rows."""
    full_width()
    one, row = type(w.room[0])(1), head * g.queries + i
    at = row * g.depth + first_column
    load_queries(x.q, row * g.width, n, w, p)
    if w.sums[p.scalars + 1] != 0:
        read_moments(w, p, n)
        read(w, p, p.queries, columns, one + one)
    else:
        fill(w.wide, 0, n, 0.0)
        fill(w.room, p.out, columns * p.span, one - one)
    norms_before(w, p, n, count)
    fill(w.room, p.inverse, n, one - one)
    if count:
        local_scores(w, p, n)
        local_weights(w, p, n)
        multiply_local(w, p, p.value_rows, 1, p.deep, columns, p.scores, n, p.out)
    for t in range(n):
        r = w.wide[t] + np.float64(w.room[p.inverse + t])
        r += task.eps * w.wide[p.span + t] * w.wide[2 * p.span + t]
        turned = type(one)(1.0 / r) if r != 0 else one - one
        w.room[p.inverse + t] = turned
        if first_column == 0:
            inverse[row + t] = turned * w.room[p.change + t]
    for c in range(columns):
        for t in range(n):
            factor = w.room[nonnegative(p.inverse + t)]
            w.room[nonnegative(p.out + c * p.span + t)] *= factor
    transpose(w.room, p.out, p.span, columns, n, p.side, out, at, g.depth)


@part
def to_rows(task, key_head, i, n, u, g, backward, w, p):
    """w.change = what turns 1 / r from the unit of the block into those of its queries, or back."""
    for t in range(n):
        high = min(max(i + t + g.keys - g.queries + 1, 1), g.keys) if g.after == 0 else g.keys
        seen = task.unit[key_head * g.keys + high - 1]
        ratio = power(u / seen, p.degree)
        w.room[p.change + t] = type(u)(1) / ratio if backward else ratio


@kernel
def forward(start, stop, problem, layout, options, plan, fresh, space, out, inverse, clean):
    """Units [start, stop) of parts of key heads.

    ``fresh``: start from nothing, with ``sums`` as room; else ``sums`` holds the states of all units, and goes on.
    """
    full_width()
    x, g, task, p = Problem(*problem), Layout(*layout), Task(*options), Plan(*plan)
    room, near, wide, sums = space
    zero, offset = type(x.scale)(0), g.keys - g.queries
    step = 0 if fresh else sums.size // clean.size
    for unit in range(start, stop):
        key_head, first_column = unit // task.parts, unit % task.parts * p.columns
        columns = min(p.columns, g.depth - first_column)
        w = Space(room, near, wide, sums[unit * step :])
        if fresh:
            clear(w, p)
        else:
            round_off(w, p)
        fine, done, causal = True, 0, g.after == 0
        first = min(max(0, -offset), g.queries) if causal else 0
        for head in range(key_head * g.group, (key_head + 1) * g.group):
            for i in range(first):
                fill(out, (head * g.queries + i) * g.depth + first_column, columns, zero)
                inverse[head * g.queries + i] = zero
        for i in range(first, g.queries, p.block):
            n = min(p.block, g.queries - i)
            low, count = (i + offset, n) if causal else (g.keys, 0)
            absorb_range(x, g, task, key_head, done, low, first_column, columns, w, p)
            u = type(zero)(w.sums[p.scalars + 1])
            if count:
                u, ok = block_unit(task, key_head, low, count, g)
                fine = fine and ok
                if w.sums[p.scalars + 1] != 0:
                    rescale(w, p, u, False)
                load_keys(x, g, key_head, low, count, first_column, columns, u, w, p)
            for head in range(key_head * g.group, (key_head + 1) * g.group):
                if g.keys:
                    to_rows(task, key_head, i, n, u, g, False, w, p)
                forward_block(x, g, task, head, i, n, count, first_column, columns, out, inverse, w, p)
                for t in range(n):
                    at = (head * g.queries + i + t) * g.depth + first_column
                    fine = fine and all_finite(out, at, columns)
            if count and (i + n < g.queries or not fresh):
                w.sums[p.scalars + 1] = u
                absorb_keys(w, p, count, columns)
            done = low + count
        clean[unit] = fine
