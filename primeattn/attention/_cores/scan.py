r"""Attention with a kernel that is a power of a dot product, in time linear in tokens, one row at a time: the
specification, and the CUDA kernels.

    k(q, k) = <q, k>^p,  p = degree = 1 or 2,        r_i = sum_j k(q_i, k_j) + eps |q_i|^2 sum_j |k_j|^2
    y_i = sum_j k(q_i, k_j) v_j / r_i

where j runs over the keys up to query i's position (causal) or over all, without those that a mask hides from every
query. Since <q, k>^2 = sum_ab q_a q_b k_a k_b, sums over keys are read off states that do not depend on the query:

    S_ab = sum_j k_ja k_jb v_j,    M_ab = sum_j k_ja k_jb,    y_i r_i = sum_ab q_a q_b S_ab,
    r_i = sum_ab q_a q_b M_ab + eps |q_i|^2 N,    N = sum_j |k_j|^2           (p = 1: one index, and 1 for q_b and k_b).

With G = dL/dy, g_i = G_i / r_i and c_i = -<G_i, y_i> / r_i, dL/d(numerator) = g_i and dL/dr_i = c_i, so

    dL/dq_ia = p sum_b q_b (<S_ab, g_i> + c_i M_ab) + 2 eps c_i N q_ia                   forward scan, state of key a
    dL/dk_ja = p sum_b k_b (<R_ab, v_j> + C_ab) + 2 eps C k_ja                           reverse scan
    dL/dv_j  = sum_ab k_a k_b R_ab
    R_ab = sum_i q_ia q_ib g_i,    C_ab = sum_i c_i q_ia q_ib,    C = sum_i c_i |q_i|^2,

the latter over the queries that see key j.

A row owns one column of a result, so it needs the part of the state with its own index only, and nothing is summed
over rows. Sizes: y does not change when q_i or all keys are multiplied by a number, so q_i counts in units of its own
largest entry and keys in units of the largest that a query sees, powers of two both. Squares neither overflow nor
vanish, and a later key, however large, changes nothing before it. A query that meets only zeros gets zeros.
"""

import numpy as np

from ..._runtime.elementary.machine import bits, by_type, from_bits
from ..._runtime.jit import kernel, scalar
from ..._runtime.owners import Owner
from .layout import Layout, Problem


def _size32(x):
    return np.int32(bits(x) & np.int32(0x7FFFFFFF))


def _size64(x):
    return np.int64(bits(x) & np.int64(0x7FFFFFFFFFFFFFFF))


#: The bit pattern of |x|, an integer in the order of |x|: a maximum of integers vectorises.
size = by_type(_size32, _size64)


def _unit32(i):
    return from_bits(max(np.int32(np.int32(0x7F000000) - np.int32(i & np.int32(0x7F800000))), np.int32(0x00800000)))


def _unit64(i):
    return from_bits(
        max(
            np.int64(np.int64(0x7FE0000000000000) - np.int64(i & np.int64(0x7FF0000000000000))),
            np.int64(0x0010000000000000),
        )
    )


#: The power of two that brings a number of this size into [1, 2); the largest there is for 0.
unit_of = by_type(_unit32, _unit64)


@scalar
def own_unit(x, at, n):
    """The unit of n numbers, that of the largest."""
    largest = size(x[at] - x[at]) if n == 0 else size(x[at])
    for c in range(1, n):
        i = size(x[at + c])
        largest = i if i > largest else largest
    return unit_of(largest)


@scalar
def present(head, j, x, g):
    """Whether key j counts for a head; the mask is the same for all queries."""
    return x.mask[x.mask_at[head] + j * g.mask_key] != 0


@scalar
def seen(i, g):
    """The keys [0, high) that query i meets: there is no window here."""
    return g.keys if g.after else min(max(i + g.keys - g.queries + 1, 0), g.keys)


@scalar
def first_seer(j, g):
    """The first query that meets key j; ``queries`` if none does."""
    return 0 if g.after else min(max(j - g.keys + g.queries, 0), g.queries)


@scalar
def power(z, degree):
    return z * z if degree == 2 else z


@scalar
def partners(width, degree):
    """How many entries each entry is multiplied with: itself and all others, or only the number 1."""
    return width if degree == 2 else 1


@scalar
def partner(x, at, b, unit, degree):
    return x[at + b] * unit if degree == 2 else type(unit)(1)


@scalar
def units_row(h, problem, layout, unit):
    """Key head h: for every key the unit of the largest up to it (causal), or of all."""
    x, g = Problem(*problem), Layout(*layout)
    u = unit_of(size(x.scale - x.scale))
    for j in range(g.keys):
        if present(h * g.group, j, x, g):
            own = own_unit(x.k, (h * g.room + j) * g.width, g.width)
            u = own if own < u else u
        unit[h * g.keys + j] = u
    if g.after:
        for j in range(g.keys):
            unit[h * g.keys + j] = u


@kernel
def units_cpu(start, stop, problem, layout, unit):
    for h in range(start, stop):
        units_row(h, problem, layout, unit)


@scalar
def norm(x, at, n, unit):
    total = unit - unit
    for c in range(n):
        total += x[at + c] * unit * (x[at + c] * unit)
    return total


@scalar
def shrink(state, at, n, factor):
    for f in range(n):
        state[at + f] *= factor


@scalar
def add_features(state, at, x, row, width, unit, degree, weight):
    """state_ab += weight x_a x_b for b <= a."""
    f = at
    for a in range(width):
        first = weight * (x[row + a] * unit)
        for b in range(a + 1 if degree == 2 else 1):
            state[f] += first * partner(x, row, b, unit, degree)
            f += 1


@scalar
def read_features(state, at, x, row, width, unit, degree):
    """sum_ab x_a x_b state_ab."""
    total, f = unit - unit, at
    for a in range(width):
        line = unit - unit
        for b in range(a if degree == 2 else 0):
            line += x[row + b] * unit * state[f] * type(unit)(2)
            f += 1
        total += x[row + a] * unit * (line + partner(x, row, a, unit, degree) * state[f])
        f += 1
    return total


@scalar
def scan_row(row, x, g, degree, eps, unit, state, norms, u, out, inverse):
    """Head and column of the values: numerators into out; the column after the last is r, into inverse.

    Goes on from a state, its N, and its unit (0 if there is nothing in it yet); returns the latter two.
    """
    head, c = row // (g.depth + 1), row % (g.depth + 1)
    key_head, zero = head // g.group, x.scale - x.scale
    features = g.width * (g.width + 1) // 2 if degree == 2 else g.width
    at, done = row * features, 0
    for i in range(g.queries):
        high = seen(i, g)
        total, query = zero, (head * g.queries + i) * g.width
        if high > 0:
            new = unit[key_head * g.keys + high - 1]
            new = new if new < u or u == 0 else u
            if new != u and u != 0:
                ratio = power(new / u, degree)
                shrink(state, at, features, ratio)
                norms *= ratio
            u = new
            for j in range(done, high):
                if present(head, j, x, g):
                    key, value = (key_head * g.room + j) * g.width, (key_head * g.room + j) * g.depth
                    weight = x.v[value + c] if c < g.depth else type(u)(1)
                    add_features(state, at, x.k, key, g.width, u, degree, weight)
                    norms += norm(x.k, key, g.width, u)
            done = high
            own = own_unit(x.q, query, g.width)
            total = read_features(state, at, x.q, query, g.width, own, degree)
            if c == g.depth:
                total = max(total, zero) if total == total else total
                total += eps * norm(x.q, query, g.width, own) * norms
        if c < g.depth:
            out[(head * g.queries + i) * g.depth + c] = total
        else:
            inverse[head * g.queries + i] = total
    return norms, u


@scalar
def forward_row(row, problem, layout, degree, eps, unit, state, out, inverse):
    """`scan_row` from nothing."""
    x, g = Problem(*problem), Layout(*layout)
    features, zero = g.width * (g.width + 1) // 2 if degree == 2 else g.width, x.scale - x.scale
    for f in range(features):
        state[row * features + f] = zero
    scan_row(row, x, g, degree, eps, unit, state, zero, zero, out, inverse)


@kernel
def forward_cpu(start, stop, problem, layout, degree, eps, unit, state, out, inverse):
    for row in range(start, stop):
        forward_row(row, problem, layout, degree, eps, unit, state, out, inverse)


@scalar
def stream_row(row, problem, layout, degree, eps, unit, before, known, state, kept, out, inverse):
    """`scan_row` on from the state ``before`` to ``state``; N and unit of each row from ``known`` to ``kept``."""
    x, g = Problem(*problem), Layout(*layout)
    features = g.width * (g.width + 1) // 2 if degree == 2 else g.width
    for f in range(features):
        state[row * features + f] = before[row * features + f]
    norms, u = known[2 * row], known[2 * row + 1]
    kept[2 * row], kept[2 * row + 1] = scan_row(row, x, g, degree, eps, unit, state, norms, u, out, inverse)


@kernel
def stream_cpu(start, stop, problem, layout, degree, eps, unit, before, known, state, kept, out, inverse):
    for row in range(start, stop):
        stream_row(row, problem, layout, degree, eps, unit, before, known, state, kept, out, inverse)


@scalar
def finish_row(row, depth, out, inverse):
    """Divide by r, which becomes 1 / r; 0 where nothing weighs."""
    r = inverse[row]
    inverse[row] = type(r)(1) / r if r != 0 else r
    for c in range(depth):
        out[row * depth + c] = out[row * depth + c] * inverse[row] if r != 0 else r


@kernel
def finish_cpu(start, stop, depth, out, inverse):
    for row in range(start, stop):
        finish_row(row, depth, out, inverse)


@scalar
def weights_row(row, problem, layout, degree, unit, inverse, weights):
    """Row of the (queries, keys) tables of weights, pair by pair."""
    x, g = Problem(*problem), Layout(*layout)
    head, i = row // g.queries, row % g.queries
    key_head, query = head // g.group, row * g.width
    high = seen(i, g)
    for j in range(g.keys):
        weights[row * g.keys + j] = x.scale - x.scale
    if high > 0:
        u, own = unit[key_head * g.keys + high - 1], own_unit(x.q, query, g.width)
        for j in range(high):
            if present(head, j, x, g) and inverse[row] != 0:
                z, key = x.scale - x.scale, (key_head * g.room + j) * g.width
                for a in range(g.width):
                    z += x.q[query + a] * own * (x.k[key + a] * u)
                weights[row * g.keys + j] = power(z, degree) * inverse[row]


@kernel
def weights_cpu(start, stop, problem, layout, degree, unit, inverse, weights):
    for row in range(start, stop):
        weights_row(row, problem, layout, degree, unit, inverse, weights)


@scalar
def backward_query_row(row, problem, layout, degree, eps, unit, inverse, delta, dout, state, dq):
    """Head and entry a of the queries: dq_a from S_ab and M_ab, b = 0, 1, ..."""
    x, g = Problem(*problem), Layout(*layout)
    head, a = row // g.width, row % g.width
    key_head, zero, columns = head // g.group, x.scale - x.scale, g.depth + 1
    others = partners(g.width, degree)
    at, done, norms, u = row * others * columns, 0, zero, zero
    for f in range(others * columns):
        state[at + f] = zero
    for i in range(g.queries):
        high = seen(i, g)
        r = head * g.queries + i
        query, total = r * g.width, zero
        if high > 0:
            new = unit[key_head * g.keys + high - 1]
            if new != u and done > 0:
                ratio = power(new / u, degree)
                shrink(state, at, others * columns, ratio)
                norms *= ratio
            u = new
            for j in range(done, high):
                if present(head, j, x, g):
                    key, value = (key_head * g.room + j) * g.width, (key_head * g.room + j) * g.depth
                    norms += norm(x.k, key, g.width, u)
                    for b in range(others):
                        factor = x.k[key + a] * u * partner(x.k, key, b, u, degree)
                        for c in range(g.depth):
                            state[at + b * columns + c] += factor * x.v[value + c]
                        state[at + b * columns + g.depth] += factor
            done = high
            own, c_i = own_unit(x.q, query, g.width), -delta[r] * inverse[r]
            for b in range(others):
                line = c_i * state[at + b * columns + g.depth]
                for c in range(g.depth):
                    line += state[at + b * columns + c] * (dout[r * g.depth + c] * inverse[r])
                total += type(u)(degree) * partner(x.q, query, b, own, degree) * line
            total += type(u)(2) * eps * c_i * norms * (x.q[query + a] * own)
            total = total * own if inverse[r] != 0 else zero
        dq[query + a] = total


@kernel
def backward_query_cpu(start, stop, problem, layout, degree, eps, unit, inverse, delta, dout, state, dq):
    for row in range(start, stop):
        backward_query_row(row, problem, layout, degree, eps, unit, inverse, delta, dout, state, dq)


@scalar
def seen_unit(i, key_head, unit, g):
    """The unit in which query i counts its keys."""
    return unit[key_head * g.keys + max(seen(i, g), 1) - 1]


@scalar
def backward_key_row(row, problem, layout, degree, eps, unit, inverse, delta, dout, state, dk):
    """Key head and entry a of the keys: dk_a from R_ab and C_ab; the queries come in from the last."""
    x, g = Problem(*problem), Layout(*layout)
    key_head, a = row // g.width, row % g.width
    zero, columns, others = x.scale - x.scale, g.depth + 1, partners(g.width, degree)
    at = row * others * columns
    for j in range(g.keys):
        dk[(key_head * g.room + j) * g.width + a] = zero
    for head in range(key_head * g.group, (key_head + 1) * g.group):
        todo, u, norms = g.queries, type(x.scale)(0), zero
        for f in range(others * columns):
            state[at + f] = zero
        for j in range(g.keys - 1, -1, -1):
            first = first_seer(j, g)
            for i in range(todo - 1, first - 1, -1):
                r = head * g.queries + i
                query, new = r * g.width, seen_unit(i, key_head, unit, g)
                if new != u and u != 0:
                    ratio = power(u / new, degree)
                    shrink(state, at, others * columns, ratio)
                    norms *= ratio
                u = new
                if inverse[r] != 0:
                    own = own_unit(x.q, query, g.width)
                    norms -= delta[r] * inverse[r] * norm(x.q, query, g.width, own)
                    for b in range(others):
                        factor = x.q[query + a] * own * partner(x.q, query, b, own, degree) * inverse[r]
                        for c in range(g.depth):
                            state[at + b * columns + c] += factor * dout[r * g.depth + c]
                        state[at + b * columns + g.depth] -= factor * delta[r]
            todo = min(first, todo)
            if todo < g.queries and present(head, j, x, g):
                key, value, total = (key_head * g.room + j) * g.width, (key_head * g.room + j) * g.depth, zero
                for b in range(others):
                    line = state[at + b * columns + g.depth]
                    for c in range(g.depth):
                        line += state[at + b * columns + c] * x.v[value + c]
                    total += type(u)(degree) * partner(x.k, key, b, u, degree) * line
                total += type(u)(2) * eps * norms * (x.k[key + a] * u)
                dk[key + a] += total * u


@kernel
def backward_key_cpu(start, stop, problem, layout, degree, eps, unit, inverse, delta, dout, state, dk):
    for row in range(start, stop):
        backward_key_row(row, problem, layout, degree, eps, unit, inverse, delta, dout, state, dk)


@scalar
def backward_value_row(row, problem, layout, degree, unit, inverse, dout, state, dv):
    """Key head and column c of the values: dv_c from column c of R."""
    x, g = Problem(*problem), Layout(*layout)
    key_head, c = row // g.depth, row % g.depth
    zero = x.scale - x.scale
    features = g.width * (g.width + 1) // 2 if degree == 2 else g.width
    at = row * features
    for j in range(g.keys):
        dv[(key_head * g.room + j) * g.depth + c] = zero
    for head in range(key_head * g.group, (key_head + 1) * g.group):
        todo, u = g.queries, type(x.scale)(0)
        for f in range(features):
            state[at + f] = zero
        for j in range(g.keys - 1, -1, -1):
            first = first_seer(j, g)
            for i in range(todo - 1, first - 1, -1):
                r = head * g.queries + i
                new = seen_unit(i, key_head, unit, g)
                if new != u and u != 0:
                    shrink(state, at, features, power(u / new, degree))
                u = new
                if inverse[r] != 0:
                    own = own_unit(x.q, r * g.width, g.width)
                    weight = dout[r * g.depth + c] * inverse[r]
                    add_features(state, at, x.q, r * g.width, g.width, own, degree, weight)
            todo = min(first, todo)
            if todo < g.queries and present(head, j, x, g):
                key = (key_head * g.room + j) * g.width
                read = read_features(state, at, x.k, key, g.width, u, degree)
                dv[(key_head * g.room + j) * g.depth + c] += read


@kernel
def backward_value_cpu(start, stop, problem, layout, degree, unit, inverse, dout, state, dv):
    for row in range(start, stop):
        backward_value_row(row, problem, layout, degree, unit, inverse, dout, state, dv)


_PROBLEM = "(F1,F1,F1,U1,I1,F1,F)"
_LAYOUT = f"({','.join('i' * len(Layout._fields))})"
_TASK = f"{_PROBLEM} {_LAYOUT} i"
UNITS = Owner(units_row, units_cpu, f"{_PROBLEM} {_LAYOUT} F1", grain=1)
FORWARD = Owner(forward_row, forward_cpu, f"{_TASK} F F1 F1 F1 F1", grain=1, chunks_per_thread=4)
STREAM = Owner(stream_row, stream_cpu, f"{_TASK} F F1 F1 F1 F1 F1 F1 F1", grain=1, chunks_per_thread=4)
FINISH = Owner(finish_row, finish_cpu, "i F1 F1", grain=4096)
WEIGHTS = Owner(weights_row, weights_cpu, f"{_TASK} F1 F1 F1", grain=64, chunks_per_thread=8)
BACKWARD_QUERY = Owner(
    backward_query_row, backward_query_cpu, f"{_TASK} F F1 F1 F1 F1 F1 F1", grain=1, chunks_per_thread=4
)
BACKWARD_KEY = Owner(backward_key_row, backward_key_cpu, f"{_TASK} F F1 F1 F1 F1 F1 F1", grain=1, chunks_per_thread=4)
BACKWARD_VALUE = Owner(backward_value_row, backward_value_cpu, f"{_TASK} F1 F1 F1 F1 F1", grain=1, chunks_per_thread=4)
