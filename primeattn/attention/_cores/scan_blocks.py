"""`scan` by blocks, on the CPU: the same numbers from matrix products.

A block is up to ``block`` queries. What lies before it comes from the state, which holds the d (d + 1) / 2 products of
two entries (degree 2) or the d entries (degree 1) of all keys so far; pairs within the block are taken one by one:
O(T b d) + O(T d^2 d_v) in all. Entries and features lie feature by feature, tokens side by side, so that making
features and pulling gradients back are long vector loops; they come in stripes small enough for the first-level cache
and for the kernels of OpenBLAS that do not pack. Off-diagonal features of queries carry the factor 2, those of keys 1:
no square root is rounded. The normaliser needs no features: r_i = <q_i, M q_i> with M = sum_j k_j k_j'.

The sums live in float64, and a copy in the data's type enters the products: in float32 a sum over thousands of blocks
would lose what eps protects. A unit of work is one key head and ``columns`` columns of its values; nothing but the
problem decides the split, so results do not depend on the number of threads. Gradients of q and k are sums over column
parts, which the caller adds up.

A unit reports whether all it wrote is finite, and whether no key sees its size change too much within its block; if
not, the caller falls back to the rows of `scan`.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from ..._runtime.elementary.machine import by_type
from ..._runtime.jit import nonnegative
from ..._runtime.linalg import gemm_nn, gemm_nt, gemm_tn
from ..._runtime.width import full_width
from .layout import Layout, Problem
from .scan import power, present, size, unit_of
from .tiles import _UNCOUNTED, all_finite, fill, kernel, scalar, summing


def part(function):
    """A function of its own in machine code: a call costs nothing beside a block, inlining costs compile time."""
    return njit(function, **_UNCOUNTED)


class Task(NamedTuple):
    """What is computed: the degree and eps of the kernel, units of the keys, tokens a block, columns a part."""

    degree: int
    eps: Any
    unit: Any
    block: int
    columns: int
    parts: int


class State(NamedTuple):
    """Sums over keys or over queries, and the same rounded to the type of the data.

    ``table`` (features, columns); ``moments`` M (width, width), or the sum of entries (width,) if the degree is 1.
    ``scalars``: 0 the sum of norms, 1 the unit that all is in, 0 when nothing is in it yet.
    """

    table: Any
    near: Any
    moments: Any
    near_moments: Any
    scalars: Any


class Space(NamedTuple):
    """Room of one block."""

    features: Any  # (stripe, block)
    product: Any  # (stripe, columns), and (width, width)
    queries: Any  # (width, block)
    keys: Any  # (width, block)
    turned: Any  # (width, block): M q, later c q
    dqueries: Any
    dkeys: Any
    values: Any  # (block, columns)
    dout: Any  # (block, columns)
    scores: Any  # (block, block)
    dscores: Any
    own: Any  # (block,): units of the queries
    inverse: Any  # (block,)
    change: Any  # (block,): c_i
    total: Any  # (block,) float64: r_i
    square: Any  # (block,) float64: |q_i|^2
    before: Any  # (block,) float64: norms of keys up to query i


def _limit32(x):
    return np.float32(2.0**32)


def _limit64(x):
    return 2.0**400


#: How much larger a key may be than those before it in its block.
limit = by_type(_limit32, _limit64)


@scalar
def first_feature(a, degree):
    """Features come entry by entry: those of entry a are its products with entries 0 to a."""
    return a * (a + 1) // 2 if degree == 2 else a


@scalar
def stripe_of(width, block, columns, degree):
    """Features to take at once: products below 10^6 are those that OpenBLAS does not pack. At least one entry's."""
    few = max(999_999 // (block * columns), width if degree == 2 else 1)
    return min(few, first_feature(width, degree))


@scalar
def stripe_end(a, width, degree, stripe):
    """The last entry, exclusive, whose features join those of entry a."""
    end = a + 1
    while end < width and first_feature(end + 1, degree) - first_feature(a, degree) <= stripe:
        end += 1
    return end


@kernel
def sizes(width, block, columns, degree):
    """Numbers in the room of a block, and in the sums of a state."""
    table, stripe = first_feature(width, degree) * columns, stripe_of(width, block, columns, degree)
    moments, area = power(width, degree), width * block
    room = table + moments + stripe * block + max(stripe * columns, moments) + 5 * area
    return room + 2 * block * (columns + block) + 3 * block, table + moments + 2


@scalar
def cut(work, wide, sums, width, block, columns, degree):
    """`State` and `Space` from three flat arrays."""
    table, stripe = first_feature(width, degree) * columns, stripe_of(width, block, columns, degree)
    moments, area, tile, square = power(width, degree), width * block, block * columns, block * block
    a = table + moments
    state = State(sums[:table], work[:table], sums[table:a], work[table:a], sums[a : a + 2])
    b = a + stripe * block
    c = b + max(stripe * columns, moments)
    e = c + 5 * area
    f = e + 2 * tile
    h = f + 2 * square
    return state, Space(
        work[a:b], work[b:c],
        work[c : c + area], work[c + area : c + 2 * area], work[c + 2 * area : c + 3 * area],
        work[c + 3 * area : c + 4 * area], work[c + 4 * area : e],
        work[e : e + tile], work[e + tile : f], work[f : f + square], work[f + square : h],
        work[h : h + block], work[h + block : h + 2 * block], work[h + 2 * block : h + 3 * block],
        wide[:block], wide[block : 2 * block], wide[2 * block : 3 * block],
    )  # fmt: skip


@part
def clear(state):
    zero = type(state.near[0])(0)
    fill(state.table, 0, state.table.size, 0.0)
    fill(state.near, 0, state.near.size, zero)
    fill(state.moments, 0, state.moments.size, 0.0)
    fill(state.near_moments, 0, state.moments.size, zero)
    fill(state.scalars, 0, 2, 0.0)


@part
def round_off(state):
    """The copies of the sums that enter products."""
    full_width()
    for f in range(state.table.size):
        state.near[nonnegative(f)] = state.table[nonnegative(f)]
    for f in range(state.moments.size):
        state.near_moments[nonnegative(f)] = state.moments[nonnegative(f)]


@part
def rescale(state, unit, degree, backward):
    """Bring the sums from their unit to another, exactly."""
    old = state.scalars[1]
    state.scalars[1] = unit
    if old == 0 or old == unit:
        return
    ratio = old / unit if backward else unit / old
    factor = power(ratio, degree)
    for f in range(state.table.size):
        state.table[f] *= factor
    for f in range(state.moments.size):
        state.moments[f] *= factor
    state.scalars[0] *= factor
    round_off(state)


@scalar
def add_product(table, near, at, n, product):
    """table and its rounded copy, from ``at`` on, after a block's share."""
    full_width()
    for f in range(n):
        total = table[nonnegative(at + f)] + product[nonnegative(f)]
        table[nonnegative(at + f)] = total
        near[nonnegative(at + f)] = total


@summing
def weighted_total(x, at, weight, n):
    """sum x weight, in float64."""
    full_width()
    total = 0.0
    for t in range(n):
        total += np.float64(x[nonnegative(at + t)]) * np.float64(weight[nonnegative(t)])
    return total


@summing
def total_of_squares(x, at, n):
    full_width()
    total = 0.0
    for t in range(n):
        total += np.float64(x[nonnegative(at + t)]) * np.float64(x[nonnegative(at + t)])
    return total


@part
def load_queries(x, at, n, width, block, w):
    """Queries in their own units, entry by entry."""
    full_width()
    for t in range(n):
        largest = size(x[nonnegative(at + t * width)])
        for a in range(width):
            i = size(x[nonnegative(at + t * width + a)])
            largest = i if i > largest else largest
        w.own[t] = unit_of(largest)
        w.square[t] = 0.0
    for a in range(width):
        for t in range(n):
            entry = x[nonnegative(at + t * width + a)] * w.own[nonnegative(t)]
            w.queries[nonnegative(a * block + t)] = entry
            w.square[nonnegative(t)] += np.float64(entry) * np.float64(entry)


@part
def load_keys(x, g, key_head, j, n, block, first_column, columns, u, w):
    """Keys in unit u, entry by entry, and columns of their values; zeros for those that are not there."""
    full_width()
    row = key_head * g.room + j
    for a in range(g.width):
        for t in range(n):
            w.keys[nonnegative(a * block + t)] = x.k[nonnegative((row + t) * g.width + a)] * u
    for t in range(n):
        at = (row + t) * g.depth + first_column
        for c in range(columns):
            w.values[nonnegative(t * columns + c)] = x.v[nonnegative(at + c)]
    if x.mask.size > 1 or x.mask[0] == 0:
        for t in range(n):
            if not present(key_head * g.group, j + t, x, g):
                for a in range(g.width):
                    w.keys[a * block + t] = u - u
                fill(w.values, t * columns, columns, u - u)


@part
def load_upstream(dout, at, n, depth, columns, w):
    """g_i, from 1 / r_i in the block's unit."""
    full_width()
    for t in range(n):
        for c in range(columns):
            w.dout[nonnegative(t * columns + c)] = dout[nonnegative(at + t * depth + c)] * w.inverse[nonnegative(t)]


@part
def expand(x, n, start, stop, block, degree, off, out):
    """Features (.., block) of entries [start, stop) of n tokens; products of two different entries times ``off``."""
    full_width()
    f = 0
    for a in range(start, stop):
        for b in range(a if degree == 2 else 0):
            for t in range(n):
                product = x[nonnegative(a * block + t)] * x[nonnegative(b * block + t)]
                out[nonnegative(f * block + t)] = product * off
            f += 1
        for t in range(n):
            z = x[nonnegative(a * block + t)]
            out[nonnegative(f * block + t)] = power(z, degree)
        f += 1


@part
def contract(dfeatures, x, n, start, stop, block, degree, off, out):
    """out += gradient of the entries from that of the features of entries [start, stop)."""
    full_width()
    f = 0
    for a in range(start, stop):
        for b in range(a if degree == 2 else 0):
            for t in range(n):
                d = dfeatures[nonnegative(f * block + t)] * off
                out[nonnegative(a * block + t)] += d * x[nonnegative(b * block + t)]
                out[nonnegative(b * block + t)] += d * x[nonnegative(a * block + t)]
            f += 1
        for t in range(n):
            d, z = dfeatures[nonnegative(f * block + t)], x[nonnegative(a * block + t)]
            out[nonnegative(a * block + t)] += d * (z + z) if degree == 2 else d
        f += 1


@part
def absorb_table(blas, state, w, x, values, n, width, task, columns, off):
    """sum_t features of x_t times values_t joins the table."""
    one, a = type(w.keys[0])(1), 0
    stripe = stripe_of(width, task.block, task.columns, task.degree)
    while a < width:
        end = stripe_end(a, width, task.degree, stripe)
        at = first_feature(a, task.degree)
        count = first_feature(end, task.degree) - at
        expand(x, n, a, end, task.block, task.degree, off, w.features)
        gemm_nn(
            blas, count, columns, n, one, w.features, 0, task.block, values, 0, columns, one - one,
            w.product, 0, columns,
        )  # fmt: skip
        add_product(state.table, state.near, at * columns, count * columns, w.product)
        a = end


@part
def absorb_moments(blas, state, w, x, weighted, n, width, block, degree):
    """sum_t x_t weighted_t' joins the moments, or sum_t weighted_t."""
    one = type(w.keys[0])(1)
    if degree == 2:
        gemm_nt(blas, width, width, n, one, x, 0, block, weighted, 0, block, one - one, w.product, 0, width)
    else:
        fill(w.own, 0, n, one)
        for a in range(width):
            w.product[a] = weighted_total(weighted, a * block, w.own, n)
    add_product(state.moments, state.near_moments, 0, state.moments.size, w.product)


@part
def turn(blas, state, w, x, n, width, block, degree):
    """w.turned = M x, or the sum of entries: the gradient of r, up to the factor ``degree``."""
    one = type(w.keys[0])(1)
    if degree == 2:
        gemm_nn(blas, width, n, width, one, state.near_moments, 0, width, x, 0, block, one - one, w.turned, 0, block)
    else:
        for a in range(width):
            fill(w.turned, a * block, n, state.near_moments[a])


@part
def absorb(blas, state, w, n, g, task, columns):
    """Keys in ``w`` join the sums."""
    absorb_table(blas, state, w, w.keys, w.values, n, g.width, task, columns, type(w.keys[0])(1))
    absorb_moments(blas, state, w, w.keys, w.keys, n, g.width, task.block, task.degree)
    for a in range(g.width):
        state.scalars[0] += total_of_squares(w.keys, a * task.block, n)


@part
def block_unit(task, key_head, j, n, g):
    """The unit of the last of n keys, and whether none before it that is not 0 is too small beside it."""
    u = task.unit[key_head * g.keys + j + n - 1]
    nothing, fine = unit_of(size(u - u)), True
    for t in range(n):
        other = task.unit[key_head * g.keys + j + t]
        fine = fine and (other == nothing or other <= u * limit(u))
    return u, fine


@part
def absorb_range(blas, state, w, x, g, task, key_head, start, stop, first_column, columns):
    """Keys [start, stop), seen by all that follow."""
    for j in range(start, stop, task.block):
        n = min(task.block, stop - j)
        u = task.unit[key_head * g.keys + stop - 1]
        rescale(state, u, task.degree, False)
        load_keys(x, g, key_head, j, n, task.block, first_column, columns, u, w)
        absorb(blas, state, w, n, g, task, columns)


@part
def read_sums(blas, state, w, n, width, block, degree):
    """r_i of the keys before the block: never below 0, whatever rounding does."""
    full_width()
    turn(blas, state, w, w.queries, n, width, block, degree)
    fill(w.total, 0, n, 0.0)
    for a in range(width):
        for t in range(n):
            entry = np.float64(w.queries[nonnegative(a * block + t)])
            w.total[nonnegative(t)] += entry * np.float64(w.turned[nonnegative(a * block + t)])
    for t in range(n):
        r = w.total[nonnegative(t)]
        w.total[nonnegative(t)] = 0.0 if r < 0 else r


@part
def read_table(blas, state, w, x, n, width, task, columns, off, beta, out, at, apart):
    """out_t = beta out_t + table' features of x_t."""
    one, a = type(w.keys[0])(1), 0
    stripe = stripe_of(width, task.block, task.columns, task.degree)
    while a < width:
        end = stripe_end(a, width, task.degree, stripe)
        first = first_feature(a, task.degree)
        count = first_feature(end, task.degree) - first
        expand(x, n, a, end, task.block, task.degree, off, w.features)
        gemm_tn(
            blas, n, columns, count, one, w.features, 0, task.block, state.near, first * columns, columns,
            beta if a == 0 else one, out, at, apart,
        )  # fmt: skip
        a = end


@part
def norms_before(state, w, n, count, block, width):
    """For each query the norms of the keys it sees: those of the state, and in the block those up to its own place."""
    full_width()
    fill(w.before, 0, n, 0.0)
    for a in range(width if count else 0):
        for t in range(n):
            entry = np.float64(w.keys[nonnegative(a * block + t)])
            w.before[nonnegative(t)] += entry * entry
    total = state.scalars[0]
    for t in range(n):
        total += w.before[t]
        w.before[t] = total


@scalar
def local_scores(blas, w, n, width, block):
    """<q_i, k_j> within the block, (n, n)."""
    one = type(w.keys[0])(1)
    gemm_tn(blas, n, n, width, one, w.queries, 0, block, w.keys, 0, block, one - one, w.scores, 0, n)


@summing
def kernel_row(s, at, n, degree):
    """Kernel values in place of n scores; their sum."""
    full_width()
    total = s[0] - s[0]
    if degree == 2:
        for j in range(n):
            z = s[nonnegative(at + j)]
            s[nonnegative(at + j)] = z * z
            total += z * z
    else:
        for j in range(n):
            total += s[nonnegative(at + j)]
    return total


@part
def local_weights(w, n, degree):
    """Kernel values in place of scores, 0 for keys that come later; their sums join r."""
    for t in range(n):
        w.total[t] += kernel_row(w.scores, t * n, t + 1, degree)
        fill(w.scores, t * n + t + 1, n - t - 1, w.own[0] - w.own[0])


@part
def forward_block(blas, state, w, x, g, task, head, i, n, count, first_column, columns, ratio, out, inverse):
    """Queries [i, i + n) of a head; the part of column 0 keeps 1 / r, in the units of the rows."""
    full_width()
    one, row = type(w.keys[0])(1), head * g.queries + i
    at = row * g.depth + first_column
    load_queries(x.q, row * g.width, n, g.width, task.block, w)
    if state.scalars[1] != 0:
        read_sums(blas, state, w, n, g.width, task.block, task.degree)
        read_table(
            blas, state, w, w.queries, n, g.width, task, columns, one + one, one - one, out, at, g.depth
        )  # fmt: skip
    else:
        fill(w.total, 0, n, 0.0)
        for t in range(n):
            fill(out, at + t * g.depth, columns, one - one)
    norms_before(state, w, n, count, task.block, g.width)
    if count:
        local_scores(blas, w, n, g.width, task.block)
        local_weights(w, n, task.degree)
        gemm_nn(
            blas, n, columns, count, one, w.scores, 0, count, w.values, 0, columns, one, out, at, g.depth
        )  # fmt: skip
    for t in range(n):
        r = w.total[t] + task.eps * w.square[t] * w.before[t]
        turned = type(one)(1.0 / r) if r != 0 else one - one
        if r == 0:
            fill(out, at + t * g.depth, columns, one - one)
        for c in range(columns):
            out[nonnegative(at + t * g.depth + c)] *= turned
        if first_column == 0:
            inverse[row + t] = turned * ratio[t]


@part
def to_rows(w, task, key_head, i, n, u, g, backward):
    """w.change = what turns 1 / r from the unit of the block into those of its queries, or back."""
    for t in range(n):
        high = min(max(i + t + g.keys - g.queries + 1, 1), g.keys) if g.after == 0 else g.keys
        seen = task.unit[key_head * g.keys + high - 1]
        ratio = power(u / seen, task.degree)
        w.change[t] = type(u)(1) / ratio if backward else ratio


@kernel
def forward(start, stop, blas, problem, layout, options, fresh, work, wide, sums, out, inverse, clean):
    """Units [start, stop) of parts of key heads.

    ``fresh``: start from nothing, with ``sums`` as room; else ``sums`` holds the states of all units, and goes on.
    """
    full_width()
    x, g, task = Problem(*problem), Layout(*layout), Task(*options)
    zero, offset = type(x.scale)(0), g.keys - g.queries
    step = 0 if fresh else sums.size // clean.size
    for unit in range(start, stop):
        key_head, first_column = unit // task.parts, unit % task.parts * task.columns
        columns = min(task.columns, g.depth - first_column)
        state, w = cut(work, wide, sums[unit * step :], g.width, task.block, task.columns, task.degree)
        if fresh:
            clear(state)
        else:
            round_off(state)
        fine, done, causal = True, 0, g.after == 0
        first = min(max(0, -offset), g.queries) if causal else 0
        for head in range(key_head * g.group, (key_head + 1) * g.group):
            for i in range(first):
                fill(out, (head * g.queries + i) * g.depth + first_column, columns, zero)
                inverse[head * g.queries + i] = zero
        if not causal:
            absorb_range(blas, state, w, x, g, task, key_head, 0, g.keys, first_column, columns)
            done = g.keys
        for i in range(first, g.queries, task.block):
            n, count, low = min(task.block, g.queries - i), 0, done
            if causal:
                low = i + offset
                absorb_range(blas, state, w, x, g, task, key_head, done, low, first_column, columns)
                count = n
            u = type(zero)(state.scalars[1])
            if count:
                u, ok = block_unit(task, key_head, low, count, g)
                fine = fine and ok
                if state.scalars[1] != 0:
                    rescale(state, u, task.degree, False)
                load_keys(x, g, key_head, low, count, task.block, first_column, columns, u, w)
            for head in range(key_head * g.group, (key_head + 1) * g.group):
                if g.keys:
                    to_rows(w, task, key_head, i, n, u, g, False)
                forward_block(
                    blas, state, w, x, g, task, head, i, n, count, first_column, columns, w.change, out, inverse
                )
                for t in range(n):
                    at = (head * g.queries + i + t) * g.depth + first_column
                    fine = fine and all_finite(out, at, columns)
            if count and (i + n < g.queries or not fresh):
                state.scalars[1] = u
                absorb(blas, state, w, count, g, task, columns)
            done = low + count
        clean[unit] = fine
