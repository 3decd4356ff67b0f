"""The backward pass of `scan_blocks`: queries with the sums over keys, then keys and values with those over queries.

Pairs within a block are met once, in the scan over queries, which leaves their share in dk and dv.
"""

from typing import Any, NamedTuple

import numpy as np

from ..._runtime.jit import nonnegative
from ..._runtime.strips import ROWS, strip
from ..._runtime.width import full_width
from .layout import Layout, Problem
from .scan import power, present
from .scan_blocks import (
    Task,
    absorb_keys,
    absorb_range,
    block_unit,
    load_keys,
    load_queries,
    local_scores,
    multiply_local,
    norms_before,
    rescale,
    to_rows,
)
from .scan_features import absorb, pull, pull_moments, read
from .scan_room import Plan, Space, clear, part, transpose, woven
from .tiles import all_finite, fill, kernel, scalar


class Saved(NamedTuple):
    """What forward left, and the upstream gradient."""

    inverse: Any
    delta: Any
    dout: Any


class Gradients(NamedTuple):
    """dq and dk have one copy for every part; dv has none."""

    dq: Any
    dk: Any
    dv: Any


@part
def load_saved(saved, task, key_head, head, i, n, u, g, first_column, columns, w, p):
    """1 / r_i in the unit of the block, g_i row by row, and c_i in place of the change of units."""
    full_width()
    to_rows(task, key_head, i, n, u, g, True, w, p)
    row = head * g.queries + i
    zero = w.room[0] - w.room[0]
    for t in range(n):
        inverse = saved.inverse[row + t]  # 0 where nothing weighs, even where units are infinitely far apart
        inverse = inverse * w.room[p.change + t] if inverse != 0 else zero
        w.room[p.inverse + t] = inverse
        w.room[p.change + t] = -saved.delta[row + t] * inverse if first_column == 0 else zero
        at = (row + t) * g.depth + first_column
        for c in range(columns):
            w.room[nonnegative(p.upstream_rows + t * p.deep + c)] = saved.dout[nonnegative(at + c)] * inverse


@part
def local_gradients(w, p, n):
    """From scores and gradients of kernel values to kernel values and gradients of scores; 0 for later keys."""
    full_width()
    zero = w.room[0] - w.room[0]
    for j in range(n):
        s, ds = p.scores + j * p.span, p.dscores + j * p.span
        fill(w.room, s, j, zero)
        fill(w.room, ds, j, zero)
        for i in range(j, n):
            z = w.room[nonnegative(s + i)]
            d = w.room[nonnegative(ds + i)] + w.room[nonnegative(p.change + i)]
            w.room[nonnegative(ds + i)] = d * (z + z) if p.degree == 2 else d
            w.room[nonnegative(s + i)] = power(z, p.degree)


@woven
def local_block(w, p, n, columns):
    """Pairs within a block: their shares of w.pulled, and of the rows of dkeys and dvalues."""
    local_scores(w, p, n)
    for j in range(0, n, ROWS):
        i = j // p.panel * p.panel
        strip(
            columns, (p.span - i) // p.grain, w.room, p.value_rows + j * p.deep, p.deep, w.room, p.upstream + i,
            p.span, p.panel, w.room, p.dscores + j * p.span + i, p.span, 0,
        )  # fmt: skip
    local_gradients(w, p, n)
    multiply_local(w, p, p.keys, p.span, 1, p.width, p.dscores, n, p.pulled)
    for j in range(0, n, ROWS):
        strip(
            n - j, p.wide // p.grain, w.room, p.dscores + j * p.span + j, p.span, w.room, p.query_rows + j * p.wide,
            p.wide, p.panel, w.room, p.dkey_rows + j * p.wide, p.wide, 1,
        )  # fmt: skip
        strip(
            n - j, p.deep // p.grain, w.room, p.scores + j * p.span + j, p.span, w.room,
            p.upstream_rows + j * p.deep, p.deep, p.panel, w.room, p.dvalue_rows + j * p.deep, p.deep, 1,
        )  # fmt: skip


@woven
def norm_gradients(w, p, n, eps):
    """The share of eps |q_i|^2 sum_j |k_j|^2 in w.pulled, and c_i |q_i|^2 of the block's queries."""
    full_width()
    two = type(eps)(2) * eps
    for a in range(p.width):
        for t in range(n):
            factor = two * w.room[nonnegative(p.change + t)] * type(eps)(w.wide[nonnegative(2 * p.span + t)])
            at = a * p.span + t
            w.room[nonnegative(p.pulled + at)] += factor * w.room[nonnegative(p.queries + at)]
    for t in range(n):
        w.wide[3 * p.span + t] += np.float64(w.room[p.change + t]) * w.wide[p.span + t]


@woven
def store_queries(w, p, at, n, dq):
    full_width()
    for a in range(p.width):
        for t in range(n):
            d = w.room[nonnegative(p.pulled + a * p.span + t)] * w.room[nonnegative(p.own + t)]
            kept = w.room[nonnegative(p.inverse + t)] != 0
            w.room[nonnegative(p.pulled + a * p.span + t)] = d if kept else d - d
    transpose(w.room, p.pulled, p.span, p.width, n, p.side, dq, at, p.width)


@scalar
def store_rows(w, p, rows, apart, width, x, g, key_head, j, n, u, out, at, step, add):
    """Rows of n keys, times u; 0 for keys that are not there."""
    masked, zero = x.mask.size > 1 or x.mask[0] == 0, u - u
    for t in range(n):
        if masked and not present(key_head * g.group, j + t, x, g):
            if not add:
                fill(out, at + t * step, width, zero)
        else:
            for a in range(width):
                d = w.room[nonnegative(rows + t * apart + a)] * u
                old = out[nonnegative(at + t * step + a)] if add else zero
                out[nonnegative(at + t * step + a)] = old + d


@woven
def store_local(w, p, x, g, task, key_head, j, n, u, key_at, value_at, columns, dk, dv):
    """What pairs within the block leave in dk and dv."""
    full_width()
    later, two = 0.0, type(u)(2) * task.eps
    for t in range(n - 1, -1, -1):
        later += w.wide[3 * p.span + t]
        factor = two * type(u)(later)
        for a in range(p.width if task.eps != 0 else 0):
            key = w.room[nonnegative(p.key_rows + t * p.wide + a)]
            w.room[nonnegative(p.dkey_rows + t * p.wide + a)] += factor * key
    store_rows(w, p, p.dkey_rows, p.wide, p.width, x, g, key_head, j, n, u, dk, key_at, p.width, False)
    one = type(u)(1)
    for t in range(n):
        for c in range(columns):
            dv[nonnegative(value_at + t * g.depth + c)] = w.room[nonnegative(p.dvalue_rows + t * p.deep + c)] * one


@woven
def query_block(x, g, task, saved, key_head, head, i, n, low, count, u, first_column, columns, dq, at, w, p):
    """dq of queries [i, i + n) after ``low`` keys, and what their block leaves in the rows of dkeys and dvalues."""
    one, row = type(u)(1), head * g.queries + i
    load_queries(x.q, row * g.width, n, w, p)
    load_saved(saved, task, key_head, head, i, n, u, g, first_column, columns, w, p)
    transpose(w.room, p.upstream_rows, p.deep, n, columns, p.side, w.room, p.upstream, p.span)
    norms_before(w, p, n, count)
    if low > 0:
        pull_moments(w, p, p.queries)
        pull(w, p, p.queries, columns, one + one)
    else:  # the first block: nothing before it
        fill(w.room, p.pulled, p.width * p.span, one - one)
    if count:
        local_block(w, p, n, columns)
    if task.eps != 0:
        norm_gradients(w, p, n, task.eps)
    store_queries(w, p, at + row * g.width, n, dq)


@kernel
def backward_queries(start, stop, problem, layout, options, plan, space, saved, gradients, clean):
    """dq, and in dk and dv the pairs within blocks; zeros where there are none."""
    full_width()
    x, g, task, p = Problem(*problem), Layout(*layout), Task(*options), Plan(*plan)
    f, d, w = Saved(*saved), Gradients(*gradients), Space(*space)
    zero, offset, causal = type(x.scale)(0), g.keys - g.queries, g.after == 0
    copy_q, copy_k = d.dq.size // task.parts, d.dk.size // task.parts
    for unit in range(start, stop):
        key_head, part = unit // task.parts, unit % task.parts
        first_column = part * p.columns
        columns = min(p.columns, g.depth - first_column)
        clear(w, p)
        first, fine, done = min(max(0, -offset), g.queries) if causal else 0, True, 0
        inside = min(max(offset, 0), g.keys) if causal else g.keys  # keys before it are in no block of queries
        fill(d.dk, part * copy_k + key_head * g.room * g.width, inside * g.width, zero)
        for j in range(inside):
            fill(d.dv, (key_head * g.room + j) * g.depth + first_column, columns, zero)
        for head in range(key_head * g.group, (key_head + 1) * g.group):
            fill(d.dq, part * copy_q + head * g.queries * g.width, first * g.width, zero)
        for i in range(first, g.queries, p.block):
            n = min(p.block, g.queries - i)
            low, count = (i + offset, n) if causal else (g.keys, 0)
            absorb_range(x, g, task, key_head, done, low, first_column, columns, w, p)
            u = type(zero)(w.sums[p.scalars + 1])
            if count:
                u, _ = block_unit(task, key_head, low, count, g)
                rescale(w, p, u, False)
                load_keys(x, g, key_head, low, count, first_column, columns, u, w, p)
                fill(w.room, p.dkey_rows, n * p.wide, zero)
                fill(w.room, p.dvalue_rows, n * p.deep, zero)
                fill(w.wide, 3 * p.span, n, 0.0)
            for head in range(key_head * g.group, (key_head + 1) * g.group):
                query_block(
                    x, g, task, f, key_head, head, i, n, low, count, u, first_column, columns, d.dq, part * copy_q, w, p
                )
                at = part * copy_q + (head * g.queries + i) * g.width
                fine = fine and all_finite(d.dq, at, n * g.width)
            if count:
                row = key_head * g.room + low
                store_local(
                    w, p, x, g, task, key_head, low, count, u, part * copy_k + row * g.width,
                    row * g.depth + first_column, columns, d.dk, d.dv,
                )  # fmt: skip
                if i + n < g.queries:
                    absorb_keys(w, p, count, columns)
            done = low + count
        clean[unit] = fine


@woven
def absorb_queries(x, g, task, saved, key_head, head, i, n, u, first_column, columns, w, p):
    """Queries [i, i + n) of a head join the sums over queries."""
    full_width()
    one = type(u)(1)
    load_queries(x.q, (head * g.queries + i) * g.width, n, w, p)
    load_saved(saved, task, key_head, head, i, n, u, g, first_column, columns, w, p)
    for t in range(n):
        c = w.room[p.change + t]
        for a in range(p.width):
            w.room[nonnegative(p.query_rows + t * p.wide + a)] *= c
        w.sums[p.scalars] += np.float64(c) * w.wide[p.span + t]
    absorb(w, p, p.queries, p.query_rows, p.upstream_rows, n, columns, one + one)


@woven
def read_queries(x, g, task, key_head, j, n, u, part, first_column, columns, d, w, p):
    """Keys [j, j + n) take their share of the sums over queries."""
    full_width()
    one, row = type(u)(1), key_head * g.room + j
    load_keys(x, g, key_head, j, n, first_column, columns, u, w, p)
    transpose(w.room, p.value_rows, p.deep, n, columns, p.side, w.room, p.upstream, p.span)
    fill(w.room, p.change, n, one)
    pull_moments(w, p, p.keys)  # 0 in all parts but the first
    pull(w, p, p.keys, columns, one)
    if task.eps != 0:
        factor = (one + one) * task.eps * type(u)(w.sums[p.scalars])
        for f in range(p.width * p.span):
            w.room[nonnegative(p.pulled + f)] += factor * w.room[nonnegative(p.keys + f)]
    transpose(w.room, p.pulled, p.span, p.width, n, p.side, w.room, p.dkey_rows, p.wide)
    at = part * (d.dk.size // task.parts) + row * g.width
    store_rows(w, p, p.dkey_rows, p.wide, p.width, x, g, key_head, j, n, u, d.dk, at, p.width, True)
    read(w, p, p.keys, columns, one)
    transpose(w.room, p.out, p.span, columns, n, p.side, w.room, p.dvalue_rows, p.deep)
    at = row * g.depth + first_column
    store_rows(w, p, p.dvalue_rows, p.deep, columns, x, g, key_head, j, n, one, d.dv, at, g.depth, True)


@kernel
def backward_keys(start, stop, problem, layout, options, plan, space, saved, gradients, clean):
    """The shares of dk and dv that come from queries of later blocks, added to what is there."""
    full_width()
    x, g, task, p = Problem(*problem), Layout(*layout), Task(*options), Plan(*plan)
    f, d, w = Saved(*saved), Gradients(*gradients), Space(*space)
    offset, causal = g.keys - g.queries, g.after == 0
    for unit in range(start, stop):
        key_head, part = unit // task.parts, unit % task.parts
        first_column = part * p.columns
        columns = min(p.columns, g.depth - first_column)
        clear(w, p)
        first = min(max(0, -offset), g.queries) if causal else 0
        u = task.unit[key_head * g.keys + g.keys - 1]
        inside = min(max(offset, 0), g.keys) if causal else g.keys
        blocks = (g.queries - first + p.block - 1) // p.block
        for b in range(blocks - 1, -2, -1):  # the last step is for keys that are in no block of queries
            i = first + b * p.block
            n = min(p.block, g.queries - i) if b >= 0 else 0
            low, high = (0, inside) if b < 0 else (i + offset, i + offset + n)
            if causal and b >= 0:
                u = task.unit[key_head * g.keys + high - 1]
            if b >= 0 and (not causal or b == blocks - 1):
                high = low
            elif b >= 0:
                rescale(w, p, u, True)
            for j in range(low, high, p.block):
                count = min(p.block, high - j)
                read_queries(x, g, task, key_head, j, count, u, part, first_column, columns, d, w, p)
            w.sums[p.scalars + 1] = u
            followed = n > 0 and (b > 0 or inside > 0)  # by keys that are to read the sums
            for head in range(key_head * g.group, (key_head + 1) * g.group if followed else 0):
                absorb_queries(x, g, task, f, key_head, head, i, n, u, first_column, columns, w, p)
        at = part * (d.dk.size // task.parts) + key_head * g.room * g.width
        fine = all_finite(d.dk, at, g.keys * g.width)
        for j in range(g.keys):
            fine = fine and all_finite(d.dv, (key_head * g.room + j) * g.depth + first_column, columns)
        clean[unit] = fine
