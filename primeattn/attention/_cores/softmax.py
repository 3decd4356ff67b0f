r"""Softmax attention one row at a time: the specification, and the CUDA kernels.

    s_ij = scale <q_i, k_j> - slope |i + keys - queries - j|,   lse_i = log sum_j exp s_ij,   p_ij = exp(s_ij - lse_i)
    y_i  = sum_j p_ij v_j,

where j runs over the keys that band and mask allow. With G = dL/dy,

    dL/dv_j  = sum_i p_ij G_i
    dL/ds_ij = p_ij (<G_i, v_j> - delta_i),   delta_i = sum_j p_ij <G_i, v_j> = <G_i, y_i>
    dL/dq_i  = scale sum_j dL/ds_ij k_j,      dL/dk_j = scale sum_i dL/ds_ij q_i
    dL/dslope = -sum_ij dL/ds_ij |i + keys - queries - j|.

A metric M = diag m of a head has <q, M k> in place of <q, k>, for a distance less <k, M k> / 2 (t = 1; else t = 0), and

    dL/dq_i = scale m sum_j dL/ds_ij k_j,       dL/dk_j = scale m sum_i dL/ds_ij (q_i - t k_j),
    dL/dm = scale sum_ij dL/ds_ij k_j (q_i - t k_j / 2)        by entry.

The backward pass is two gathers, by query and by key, which recompute s from the stored lse. A score of -inf weighs
nothing, like a masked key. A query without a key gets y = 0 and lse = -inf.
"""

import math

import numpy as np

from ..._runtime import elementary as el
from ..._runtime.jit import kernel, scalar
from ..._runtime.owners import Owner
from .layout import DISTANCE, PLAIN, Layout, Problem, key_range, query_range


@scalar
def dot(a, at, b, bt, n):
    total = a[0] - a[0] if n == 0 else a[at] * b[bt]
    for c in range(1, n):
        total += a[at + c] * b[bt + c]
    return total


@scalar
def shifted(q, k, part, g):
    """q, or q - part k if distances count."""
    return q - type(q)(part) * k if g.metric == DISTANCE else q


@scalar
def weighed(m, mt, q, qt, k, kt, g):
    """<q, M k>, less <k, M k> / 2 for a distance."""
    total = type(m[0])(0)
    for c in range(g.width):
        total += m[mt + c] * k[kt + c] * shifted(q[qt + c], k[kt + c], 0.5, g)
    return total


@scalar
def weight_of(head, c, x, g):
    """scale, times the metric if there is one."""
    return x.scale if g.metric == PLAIN else x.scale * x.slopes[head * g.width + c]


@scalar
def score(head, i, j, x, g):
    """s_ij of a head; -inf where the mask forbids."""
    if x.mask[x.mask_at[head] + i * g.mask_row + j * g.mask_key] == 0:
        return type(x.scale)(-np.inf)
    query, key = (head * g.queries + i) * g.width, (head // g.group * g.room + j) * g.width
    if g.metric != PLAIN:
        return weighed(x.slopes, head * g.width, x.q, query, x.k, key, g) * x.scale
    product = dot(x.q, query, x.k, key, g.width)
    return product * x.scale - x.slopes[head] * type(x.scale)(abs(i + g.keys - g.queries - j))


@scalar
def forward_row(row, problem, layout, out, lse):
    """Query row ``row`` of all heads: out and lse."""
    x, g = Problem(*problem), Layout(*layout)
    head, i = row // g.queries, row % g.queries
    low, high = key_range(i, g)
    nothing = type(x.scale)(-np.inf)
    top, total = nothing, type(x.scale)(0)
    for j in range(low, high):
        s = score(head, i, j, x, g)
        top = s if s > top else top
    at = row * g.depth
    for c in range(g.depth):
        out[at + c] = total
    for j in range(low, high):
        s = score(head, i, j, x, g)
        if s != nothing:
            weight = el.exp(s - top)
            total += weight
            value = (head // g.group * g.room + j) * g.depth
            for c in range(g.depth):
                out[at + c] += weight * x.v[value + c]
    if total == 0:
        lse[row] = nothing
    else:
        lse[row] = top + math.log(total)
        for c in range(g.depth):
            out[at + c] /= total


@kernel
def forward_cpu(start, stop, problem, layout, out, lse):
    for row in range(start, stop):
        forward_row(row, problem, layout, out, lse)


@scalar
def weights_row(row, problem, layout, lse, weights):
    """Row ``row`` of the (queries, keys) tables of weights."""
    x, g = Problem(*problem), Layout(*layout)
    head, i = row // g.queries, row % g.queries
    low, high = key_range(i, g)
    nothing = type(x.scale)(-np.inf)
    for j in range(g.keys):
        weights[row * g.keys + j] = type(x.scale)(0)
    for j in range(low, high):
        s = score(head, i, j, x, g)
        if s != nothing:
            weights[row * g.keys + j] = el.exp(s - lse[row])


@kernel
def weights_cpu(start, stop, problem, layout, lse, weights):
    for row in range(start, stop):
        weights_row(row, problem, layout, lse, weights)


@scalar
def delta_row(row, out, dout, depth, delta):
    """delta_i = <G_i, y_i>."""
    delta[row] = dot(out, row * depth, dout, row * depth, depth)


@kernel
def delta_cpu(start, stop, out, dout, depth, delta):
    for row in range(start, stop):
        delta_row(row, out, dout, depth, delta)


@scalar
def backward_query_row(row, problem, layout, lse, delta, dout, dq, dslope):
    """Query row ``row``: its dq, and its share of the slope's gradient, if there are slopes and dslope is not empty."""
    x, g = Problem(*problem), Layout(*layout)
    head, i = row // g.queries, row % g.queries
    low, high = key_range(i, g)
    nothing, slope = type(x.scale)(-np.inf), type(x.scale)(0)
    at, value_at = row * g.width, row * g.depth
    for c in range(g.width):
        dq[at + c] = slope
    for j in range(low, high):
        s = score(head, i, j, x, g)
        if s != nothing:
            key = head // g.group * g.room + j
            ds = el.exp(s - lse[row]) * (dot(dout, value_at, x.v, key * g.depth, g.depth) - delta[row])
            slope -= ds * type(x.scale)(abs(i + g.keys - g.queries - j))
            for c in range(g.width):
                dq[at + c] += ds * weight_of(head, c, x, g) * x.k[key * g.width + c]
    if dslope.size and g.metric == PLAIN:
        dslope[row] = slope


@kernel
def backward_query_cpu(start, stop, problem, layout, lse, delta, dout, dq, dslope):
    for row in range(start, stop):
        backward_query_row(row, problem, layout, lse, delta, dout, dq, dslope)


@scalar
def backward_key_row(row, problem, layout, lse, delta, dout, dk, dv, dmetric):
    """Key row ``row``: its dk and dv, from all query heads that share it, and its share in the metric's gradient."""
    x, g = Problem(*problem), Layout(*layout)
    key_head, j = row // g.keys, row % g.keys
    low, high = query_range(j, g)
    nothing, zero = type(x.scale)(-np.inf), type(x.scale)(0)
    at, value_at = (key_head * g.room + j) * g.width, (key_head * g.room + j) * g.depth
    for c in range(g.width):
        dk[at + c] = zero
    for c in range(g.depth):
        dv[value_at + c] = zero
    for head in range(key_head * g.group, (key_head + 1) * g.group):
        metric = (head * g.keys + j) * g.width
        for c in range(0 if g.metric == PLAIN else g.width):
            dmetric[metric + c] = zero
        for i in range(low, high):
            s = score(head, i, j, x, g)
            if s != nothing:
                query = head * g.queries + i
                weight = el.exp(s - lse[query])
                ds = weight * (dot(dout, query * g.depth, x.v, value_at, g.depth) - delta[query])
                for c in range(g.width):
                    a, b = x.q[query * g.width + c], x.k[at + c]
                    dk[at + c] += ds * weight_of(head, c, x, g) * shifted(a, b, 1.0, g)
                    if g.metric != PLAIN:
                        dmetric[metric + c] += ds * x.scale * b * shifted(a, b, 0.5, g)
                for c in range(g.depth):
                    dv[value_at + c] += weight * dout[query * g.depth + c]


@kernel
def backward_key_cpu(start, stop, problem, layout, lse, delta, dout, dk, dv, dmetric):
    for row in range(start, stop):
        backward_key_row(row, problem, layout, lse, delta, dout, dk, dv, dmetric)


_PROBLEM = "(F1,F1,F1,U1,I1,F1,F)"
_LAYOUT = f"({','.join('i' * len(Layout._fields))})"
FORWARD = Owner(forward_row, forward_cpu, f"{_PROBLEM} {_LAYOUT} F1 F1", grain=64, chunks_per_thread=8)
WEIGHTS = Owner(weights_row, weights_cpu, f"{_PROBLEM} {_LAYOUT} F1 F1", grain=64, chunks_per_thread=8)
DELTA = Owner(delta_row, delta_cpu, "F1 F1 i F1", grain=4096)
BACKWARD_QUERY = Owner(
    backward_query_row,
    backward_query_cpu,
    f"{_PROBLEM} {_LAYOUT} F1 F1 F1 F1 F1",
    grain=64,
    chunks_per_thread=8,
)
BACKWARD_KEY = Owner(
    backward_key_row,
    backward_key_cpu,
    f"{_PROBLEM} {_LAYOUT} F1 F1 F1 F1 F1 F1",
    grain=64,
    chunks_per_thread=8,
)
