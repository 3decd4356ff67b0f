r"""Tables of weights from parameters, and what a table does: the specification, and the CUDA kernels.

    A_ij = alpha_{n(i, j)}, or its softmax over the allowed j;  0 where i may not attend j;      y_i = sum_j A_ij v_j
    dL/dv_j = sum_i A_ij G_i,   dL/dA_ij = <G_i, v_j>,   dL/dalpha_n = sum over n(i, j) = n of dL/dA_ij (free), or of
    A_ij (dL/dA_ij - sum_l A_il dL/dA_il) (softmax).

n(i, j) numbers the pairs themselves (free weights), or is the number of i j^-1 (weights that a group leaves as they
are). K tables serve (tokens, columns) tables of values each: what shares a table lies side by side in its columns.
"""

from typing import Any, NamedTuple

import numpy as np

from ..._runtime import elementary as el
from ..._runtime.jit import kernel, nonnegative, scalar
from ..._runtime.owners import Owner


class Shape(NamedTuple):
    """Sizes of a call. ``parameters`` a table; ``softmax`` and ``causal`` are 0 or 1; steps of the mask by row, key."""

    queries: Any
    keys: Any
    columns: Any
    parameters: Any
    softmax: Any
    causal: Any
    mask_row: Any
    mask_key: Any


@scalar
def end_of(i, s):
    """The positions [0, end) that position i may attend, but for the mask."""
    return min(max(i + s.keys - s.queries + 1, 0), s.keys) if s.causal else s.keys


@scalar
def unmasked(t, i, j, mask, mask_at, s):
    return mask[mask_at[t] + i * s.mask_row + j * s.mask_key] != 0


@scalar
def table_row(row, alpha, alpha_at, number, mask, mask_at, shape, table):
    """Row i of table t."""
    s = Shape(*shape)
    t, i = row // s.queries, row % s.queries
    end, at, first = end_of(i, s), row * s.keys, i * s.keys
    zero, nothing = type(alpha[0])(0), type(alpha[0])(-np.inf)
    masked = mask.size > 1 or mask[0] == 0
    for j in range(end):
        table[at + j] = alpha[alpha_at[t] + number[first + j]]
    for j in range(end, s.keys):
        table[at + j] = zero
    if masked:
        for j in range(end):
            if not unmasked(t, i, j, mask, mask_at, s):
                table[at + j] = nothing if s.softmax else zero
    if s.softmax:
        top, total = nothing, zero
        for j in range(end):
            top = table[at + j] if not table[at + j] <= top else top
        for j in range(end):
            table[at + j] = el.exp(table[at + j] - top) if table[at + j] != nothing else zero
            total += table[at + j]
        for j in range(end):
            table[at + j] = table[at + j] / total if total != 0 else zero


@kernel
def table_cpu(start, stop, alpha, alpha_at, number, mask, mask_at, shape, table):
    for row in range(start, stop):
        table_row(row, alpha, alpha_at, number, mask, mask_at, shape, table)


@scalar
def scores_row(row, mask, mask_at, shape, table, d):
    """From dL/dA to the gradient of what stands in row i of table t, in place."""
    s = Shape(*shape)
    t, i, at = row // s.queries, row % s.queries, row * s.keys
    end, mean = end_of(i, s), type(d[0])(0)
    if s.softmax:
        for j in range(end):
            mean += table[at + j] * d[at + j] if table[at + j] != 0 else type(mean)(0)
        for j in range(end):
            d[at + j] = table[at + j] * (d[at + j] - mean) if table[at + j] != 0 else type(mean)(0)
    elif mask.size > 1 or mask[0] == 0:
        for j in range(end):
            if not unmasked(t, i, j, mask, mask_at, s):
                d[at + j] = type(mean)(0)
    for j in range(end, s.keys):
        d[at + j] = type(mean)(0)


@kernel
def scores_cpu(start, stop, mask, mask_at, shape, table, d):
    for row in range(start, stop):
        scores_row(row, mask, mask_at, shape, table, d)


@scalar
def gather_row(row, shape, partner, d, out):
    """dL/dalpha_n of table t: the sum over i of its pairs (i, partner(n, i)); -1 is none."""
    s = Shape(*shape)
    t, n = row // s.parameters, row % s.parameters
    total = type(d[0])(0)
    for i in range(s.queries):
        j = partner[n * s.queries + i]
        if j >= 0:
            total += d[(t * s.queries + i) * s.keys + j]
    out[row] = total


@kernel
def gather_cpu(start, stop, shape, partner, d, out):
    for row in range(start, stop):
        gather_row(nonnegative(row), shape, partner, d, out)


@scalar
def mix_row(row, shape, table, v, out):
    """y_i of table t."""
    s = Shape(*shape)
    t = row // s.queries
    for c in range(s.columns):
        total = type(v[0])(0)
        for j in range(s.keys):
            if table[row * s.keys + j] != 0:
                total += table[row * s.keys + j] * v[(t * s.keys + j) * s.columns + c]
        out[row * s.columns + c] = total


@kernel
def mix_cpu(start, stop, shape, table, v, out):
    for row in range(start, stop):
        mix_row(row, shape, table, v, out)


@scalar
def mix_back_row(row, shape, table, dout, dv):
    """dL/dv_j of table t."""
    s = Shape(*shape)
    t, j = row // s.keys, row % s.keys
    for c in range(s.columns):
        total = type(dout[0])(0)
        for i in range(s.queries):
            weight = table[(t * s.queries + i) * s.keys + j]
            if weight != 0:
                total += weight * dout[(t * s.queries + i) * s.columns + c]
        dv[row * s.columns + c] = total


@kernel
def mix_back_cpu(start, stop, shape, table, dout, dv):
    for row in range(start, stop):
        mix_back_row(row, shape, table, dout, dv)


@scalar
def outer_row(row, mask, mask_at, shape, dout, v, d):
    """dL/dA_ij of table t for all j; 0 where i may not attend j."""
    s = Shape(*shape)
    t, i = row // s.queries, row % s.queries
    end = end_of(i, s)
    for j in range(s.keys):
        total = type(v[0])(0)
        if j < end and unmasked(t, i, j, mask, mask_at, s):
            for c in range(s.columns):
                total += dout[row * s.columns + c] * v[(t * s.keys + j) * s.columns + c]
        d[row * s.keys + j] = total


@kernel
def outer_cpu(start, stop, mask, mask_at, shape, dout, v, d):
    for row in range(start, stop):
        outer_row(row, mask, mask_at, shape, dout, v, d)


_SHAPE, _MASK = f"({','.join('i' * len(Shape._fields))})", "U1 I1"
TABLE = Owner(table_row, table_cpu, f"F1 I1 I1 {_MASK} {_SHAPE} F1", grain=64)
SCORES = Owner(scores_row, scores_cpu, f"{_MASK} {_SHAPE} F1 F1", grain=64)
GATHER = Owner(gather_row, gather_cpu, f"{_SHAPE} I1 F1 F1", grain=64)
MIX = Owner(mix_row, mix_cpu, f"{_SHAPE} F1 F1 F1", grain=16)
MIX_BACK = Owner(mix_back_row, mix_back_cpu, f"{_SHAPE} F1 F1 F1", grain=16)
OUTER = Owner(outer_row, outer_cpu, f"{_MASK} {_SHAPE} F1 F1 F1", grain=16)
