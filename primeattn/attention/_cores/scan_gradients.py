"""The backward pass of `scan_blocks`: queries with the sums over keys, then keys and values with those over queries.

Pairs within a block are met once, in the scan over queries, which leaves their share in dk and dv.
"""

from typing import Any, NamedTuple

from ..._runtime.jit import nonnegative
from ..._runtime.linalg import gemm_nn, gemm_nt, gemm_tn
from ..._runtime.width import full_width
from .layout import Layout, Problem
from .scan import present
from .scan_blocks import (
    Task,
    absorb,
    absorb_moments,
    absorb_range,
    absorb_table,
    block_unit,
    clear,
    contract,
    cut,
    first_feature,
    kernel_row,
    load_keys,
    load_queries,
    load_upstream,
    local_scores,
    norms_before,
    part,
    read_table,
    rescale,
    stripe_end,
    stripe_of,
    to_rows,
    turn,
    weighted_total,
)
from .tiles import all_finite, fill, kernel


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
def load_saved(w, saved, row, n, u, task, key_head, i, g, depth, first_column, columns):
    """1 / r_i in the unit of the block, g_i, and c_i in w.change."""
    to_rows(w, task, key_head, i, n, u, g, True)
    for t in range(n):
        inverse = saved.inverse[row + t]  # 0 where nothing weighs, even where units are infinitely far apart
        w.inverse[t] = inverse * w.change[t] if inverse != 0 else inverse
        w.change[t] = -saved.delta[row + t] * w.inverse[t] if first_column == 0 else w.inverse[t] - w.inverse[t]
    load_upstream(saved.dout, row * depth + first_column, n, depth, columns, w)


@part
def pull_table(blas, state, w, x, upstream, n, width, task, columns, off, out):
    """out += gradient of x from what table' features of x gives to ``upstream`` (n, columns)."""
    one, a = type(w.own[0])(1), 0
    stripe = stripe_of(width, task.block, task.columns, task.degree)
    while a < width:
        end = stripe_end(a, width, task.degree, stripe)
        first = first_feature(a, task.degree)
        count = first_feature(end, task.degree) - first
        gemm_nt(
            blas, count, n, columns, one, state.near, first * columns, columns, upstream, 0, columns, one - one,
            w.features, 0, task.block,
        )  # fmt: skip
        contract(w.features, x, n, a, end, task.block, task.degree, off, out)
        a = end


@part
def pull_moments(blas, state, w, x, n, width, block, degree, out):
    """out = degree c M x."""
    full_width()
    turn(blas, state, w, x, n, width, block, degree)
    for a in range(width):
        for t in range(n):
            d = w.change[nonnegative(t)] * w.turned[nonnegative(a * block + t)]
            out[nonnegative(a * block + t)] = d + d if degree == 2 else d


@part
def local_gradients(w, n, degree):
    """From scores and gradients of kernel values to kernel values and gradients of scores; 0 for later keys."""
    full_width()
    zero = w.own[0] - w.own[0]
    for t in range(n):
        c, at = w.change[t], t * n
        for j in range(t + 1):
            d, z = w.dscores[nonnegative(at + j)] + c, w.scores[nonnegative(at + j)]
            w.dscores[nonnegative(at + j)] = d * (z + z) if degree == 2 else d
        kernel_row(w.scores, at, t + 1, degree)
        fill(w.scores, at + t + 1, n - t - 1, zero)
        fill(w.dscores, at + t + 1, n - t - 1, zero)


@part
def local_block(blas, w, n, row, key, g, task, first_column, columns, first_head, dv):
    """Pairs within a block: their shares of dqueries, dkeys and dv."""
    one, block = type(w.own[0])(1), task.block
    zero = one - one
    local_scores(blas, w, n, g.width, block)
    gemm_nt(blas, n, n, columns, one, w.dout, 0, columns, w.values, 0, columns, zero, w.dscores, 0, n)
    local_gradients(w, n, task.degree)
    gemm_nt(blas, g.width, n, n, one, w.keys, 0, block, w.dscores, 0, n, one, w.dqueries, 0, block)
    gemm_nn(blas, g.width, n, n, one, w.queries, 0, block, w.dscores, 0, n, one, w.dkeys, 0, block)
    at = key * g.depth + first_column
    beta = zero if first_head else one
    gemm_tn(blas, n, columns, n, one, w.scores, 0, n, w.dout, 0, columns, beta, dv, at, g.depth)


@part
def norm_gradients(w, n, count, width, block, eps):
    """The share of eps |q_i|^2 sum_j |k_j|^2, in dqueries and, within the block, in dkeys."""
    full_width()
    two = type(eps)(2) * eps
    for a in range(width):
        for t in range(n):
            factor = two * w.change[nonnegative(t)] * type(eps)(w.before[nonnegative(t)])
            w.dqueries[nonnegative(a * block + t)] += factor * w.queries[nonnegative(a * block + t)]
    later = 0.0
    for t in range(n - 1, -1, -1):
        later += w.change[t] * w.square[t]
        w.total[t] = later
    for a in range(width if count else 0):
        for t in range(n):
            factor = two * type(eps)(w.total[nonnegative(t)])
            w.dkeys[nonnegative(a * block + t)] += factor * w.keys[nonnegative(a * block + t)]


@part
def store_queries(w, at, n, width, block, dq):
    full_width()
    for t in range(n):
        for a in range(width):
            d = w.dqueries[nonnegative(a * block + t)] * w.own[nonnegative(t)]
            dq[nonnegative(at + t * width + a)] = d if w.inverse[nonnegative(t)] != 0 else d - d


@part
def store_keys(w, x, g, key_head, j, n, u, block, at, add, dk):
    """dk of n keys; 0 for those that are not there."""
    full_width()
    for t in range(n):
        here = present(key_head * g.group, j + t, x, g)
        for a in range(g.width):
            d = w.dkeys[nonnegative(a * block + t)] * u if here else u - u
            old = dk[nonnegative(at + t * g.width + a)] if add else u - u
            dk[nonnegative(at + t * g.width + a)] = old + d


@part
def query_block(blas, state, w, x, g, task, saved, unit_head, head, i, n, count, u, first_column, columns, dq, dv, at):
    """dq of queries [i, i + n), and what their block leaves in dkeys and dv."""
    one, row, block = type(u)(1), head * g.queries + i, task.block
    load_queries(x.q, row * g.width, n, g.width, block, w)
    load_saved(w, saved, row, n, u, task, unit_head, i, g, g.depth, first_column, columns)
    norms_before(state, w, n, count, block, g.width)
    pull_moments(blas, state, w, w.queries, n, g.width, block, task.degree, w.dqueries)
    pull_table(blas, state, w, w.queries, w.dout, n, g.width, task, columns, one + one, w.dqueries)
    if count:
        key = unit_head * g.room + i + g.keys - g.queries
        local_block(blas, w, n, row, key, g, task, first_column, columns, head == unit_head * g.group, dv)
    if task.eps != 0:
        norm_gradients(w, n, count, g.width, block, task.eps)
    store_queries(w, at + row * g.width, n, g.width, block, dq)


@kernel
def backward_queries(start, stop, blas, problem, layout, options, work, wide, sums, saved, gradients, clean):
    """dq, and in dk and dv the pairs within blocks; zeros where there are none."""
    full_width()
    x, g, task = Problem(*problem), Layout(*layout), Task(*options)
    f, d = Saved(*saved), Gradients(*gradients)
    zero, offset, causal = type(x.scale)(0), g.keys - g.queries, g.after == 0
    copy_q, copy_k = d.dq.size // task.parts, d.dk.size // task.parts
    for unit in range(start, stop):
        key_head, part = unit // task.parts, unit % task.parts
        first_column = part * task.columns
        columns = min(task.columns, g.depth - first_column)
        state, w = cut(work, wide, sums, g.width, task.block, task.columns, task.degree)
        clear(state)
        first, fine, done = min(max(0, -offset), g.queries) if causal else 0, True, 0
        fill(d.dk, part * copy_k + key_head * g.room * g.width, g.keys * g.width, zero)
        for j in range(g.keys):
            fill(d.dv, (key_head * g.room + j) * g.depth + first_column, columns, zero)
        for head in range(key_head * g.group, (key_head + 1) * g.group):
            fill(d.dq, part * copy_q + head * g.queries * g.width, first * g.width, zero)
        if not causal:
            absorb_range(blas, state, w, x, g, task, key_head, 0, g.keys, first_column, columns)
        for i in range(first, g.queries, task.block):
            n, count, low = min(task.block, g.queries - i), 0, i + offset
            if causal:
                absorb_range(blas, state, w, x, g, task, key_head, done, low, first_column, columns)
                count = n
            u = type(zero)(state.scalars[1])
            if count:
                u, _ = block_unit(task, key_head, low, count, g)
                rescale(state, u, task.degree, False)
                load_keys(x, g, key_head, low, count, task.block, first_column, columns, u, w)
                fill(w.dkeys, 0, w.dkeys.size, zero)
            for head in range(key_head * g.group, (key_head + 1) * g.group):
                query_block(
                    blas, state, w, x, g, task, f, key_head, head, i, n, count, u, first_column, columns, d.dq, d.dv,
                    part * copy_q,
                )  # fmt: skip
                at = part * copy_q + (head * g.queries + i) * g.width
                fine = fine and all_finite(d.dq, at, n * g.width)
            if count:
                at = part * copy_k + (key_head * g.room + low) * g.width
                store_keys(w, x, g, key_head, low, count, u, task.block, at, False, d.dk)
                if i + n < g.queries:
                    absorb(blas, state, w, count, g, task, columns)
                done = low + count
        clean[unit] = fine


@part
def absorb_queries(blas, state, w, x, g, task, saved, key_head, head, i, n, u, first_column, columns):
    """Queries [i, i + n) of a head join the sums over queries."""
    full_width()
    one, row, block = type(u)(1), head * g.queries + i, task.block
    load_queries(x.q, row * g.width, n, g.width, block, w)
    load_saved(w, saved, row, n, u, task, key_head, i, g, g.depth, first_column, columns)
    absorb_table(blas, state, w, w.queries, w.dout, n, g.width, task, columns, one + one)
    if first_column == 0:
        for a in range(g.width):
            for t in range(n):
                entry = w.queries[nonnegative(a * block + t)]
                w.turned[nonnegative(a * block + t)] = entry * w.change[nonnegative(t)]
        absorb_moments(blas, state, w, w.queries, w.turned, n, g.width, block, task.degree)
        state.scalars[0] += weighted_total(w.square, 0, w.change, n)


@part
def read_queries(blas, state, w, x, g, task, key_head, j, n, u, part, first_column, columns, d):
    """Keys [j, j + n) in ``w`` take their share of the sums over queries."""
    full_width()
    one, block = type(u)(1), task.block
    at = (key_head * g.room + j) * g.depth + first_column
    read_table(blas, state, w, w.keys, n, g.width, task, columns, one, one, d.dv, at, g.depth)
    fill(w.change, 0, n, one)
    pull_moments(blas, state, w, w.keys, n, g.width, block, task.degree, w.dkeys)  # 0 in all parts but the first
    pull_table(blas, state, w, w.keys, w.values, n, g.width, task, columns, one, w.dkeys)
    if task.eps != 0:
        factor = (one + one) * task.eps * type(u)(state.scalars[0])
        for a in range(g.width):
            for t in range(n):
                w.dkeys[nonnegative(a * block + t)] += factor * w.keys[nonnegative(a * block + t)]
    copy = d.dk.size // task.parts
    store_keys(w, x, g, key_head, j, n, u, block, part * copy + (key_head * g.room + j) * g.width, True, d.dk)


@kernel
def backward_keys(start, stop, blas, problem, layout, options, work, wide, sums, saved, gradients, clean):
    """The shares of dk and dv that come from queries of later blocks, added to what is there."""
    full_width()
    x, g, task = Problem(*problem), Layout(*layout), Task(*options)
    f, d = Saved(*saved), Gradients(*gradients)
    offset, causal, block = g.keys - g.queries, g.after == 0, task.block
    for unit in range(start, stop):
        key_head, part = unit // task.parts, unit % task.parts
        first_column = part * task.columns
        columns = min(task.columns, g.depth - first_column)
        state, w = cut(work, wide, sums, g.width, block, task.columns, task.degree)
        clear(state)
        first = min(max(0, -offset), g.queries) if causal else 0
        heads = range(key_head * g.group, (key_head + 1) * g.group)
        u = task.unit[key_head * g.keys + g.keys - 1]
        blocks = (g.queries - first + block - 1) // block
        for b in range(blocks - 1, -1, -1):
            i = first + b * block
            n = min(block, g.queries - i)
            if causal:
                u = task.unit[key_head * g.keys + i + n + offset - 1]
                if b < blocks - 1:
                    rescale(state, u, task.degree, True)
                    load_keys(x, g, key_head, i + offset, n, block, first_column, columns, u, w)
                    read_queries(
                        blas, state, w, x, g, task, key_head, i + offset, n, u, part, first_column, columns, d
                    )  # fmt: skip
            state.scalars[1] = u
            for head in heads:
                absorb_queries(blas, state, w, x, g, task, f, key_head, head, i, n, u, first_column, columns)
        for j in range(0, min(max(offset, 0), g.keys) if causal else g.keys, block):
            n = min(block, (offset if causal else g.keys) - j)
            load_keys(x, g, key_head, j, n, block, first_column, columns, u, w)
            read_queries(blas, state, w, x, g, task, key_head, j, n, u, part, first_column, columns, d)
        at = part * (d.dk.size // task.parts) + key_head * g.room * g.width
        fine = all_finite(d.dk, at, g.keys * g.width)
        for j in range(g.keys):
            fine = fine and all_finite(d.dv, (key_head * g.room + j) * g.depth + first_column, columns)
        clean[unit] = fine
