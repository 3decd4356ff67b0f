r"""Sums over the keys that a query may attend, and over the queries that may attend a key.

    keys:     out_i = sum_{j in J_i} x_j            queries:  out_j = sum_{i: j in J_i} y_i

with J_i what band and mask leave to query i. Each is the transpose of the other, so each is the other's gradient.

Rows are the specification and the CUDA kernels. On the CPU, where the mask is the same for all queries, both take
linear time (van Herk, Gil and Werman): cut the sequence into blocks as long as the band and sum each from both ends; a
window of that length is the end of one block and the start of the next. Nothing is subtracted, so nothing cancels, and
what a query may not attend is never touched.
"""

from ..._runtime.jit import kernel, nonnegative, scalar
from ..._runtime.owners import Owner
from .layout import Layout, key_range, query_range


@scalar
def sum_keys_row(row, mask, mask_at, layout, depth, x, out):
    """Row ``row`` of out (heads, queries, depth), of x (key heads, room, depth)."""
    g = Layout(*layout)
    head, i = row // g.queries, row % g.queries
    low, high = key_range(i, g)
    for c in range(depth):
        out[row * depth + c] = type(x[0])(0)
    for j in range(low, high):
        if mask[mask_at[head] + i * g.mask_row + j * g.mask_key] != 0:
            for c in range(depth):
                out[row * depth + c] += x[(head // g.group * g.room + j) * depth + c]


@kernel
def sum_keys_cpu(start, stop, mask, mask_at, layout, depth, x, out):
    for row in range(start, stop):
        sum_keys_row(row, mask, mask_at, layout, depth, x, out)


@scalar
def sum_queries_row(row, mask, mask_at, layout, depth, y, out):
    """Row ``row`` of out (key heads, room, depth), of y (heads, queries, depth); all heads that share the key."""
    g = Layout(*layout)
    key_head, j = row // g.keys, row % g.keys
    low, high = query_range(j, g)
    at = (key_head * g.room + j) * depth
    for c in range(depth):
        out[at + c] = type(y[0])(0)
    for head in range(key_head * g.group, (key_head + 1) * g.group):
        for i in range(low, high):
            if mask[mask_at[head] + i * g.mask_row + j * g.mask_key] != 0:
                for c in range(depth):
                    out[at + c] += y[(head * g.queries + i) * depth + c]


@kernel
def sum_queries_cpu(start, stop, mask, mask_at, layout, depth, y, out):
    for row in range(start, stop):
        sum_queries_row(row, mask, mask_at, layout, depth, y, out)


@scalar
def norm_row(row, x, width, out):
    """|x_row|^2."""
    total = type(x[0])(0)
    for c in range(width):
        total += x[row * width + c] * x[row * width + c]
    out[row] = total


@kernel
def norm_cpu(start, stop, x, width, out):
    for row in range(start, stop):
        norm_row(nonnegative(row), x, width, out)


@scalar
def multiple_row(row, keep, factor, a, x, width, out):
    """out_row = keep out_row + factor a_row x_row; with keep = 0 out is not read."""
    by = factor * a[row]
    for c in range(width):
        at = row * width + c
        out[at] = by * x[at] + (keep * out[at] if keep != 0 else keep)


@kernel
def multiple_cpu(start, stop, keep, factor, a, x, width, out):
    for row in range(start, stop):
        multiple_row(nonnegative(row), keep, factor, a, x, width, out)


_REACH = f"U1 I1 ({','.join('i' * len(Layout._fields))})"
SUM_KEYS = Owner(sum_keys_row, sum_keys_cpu, f"{_REACH} i F1 F1", grain=64, chunks_per_thread=8)
SUM_QUERIES = Owner(sum_queries_row, sum_queries_cpu, f"{_REACH} i F1 F1", grain=64, chunks_per_thread=8)
NORM = Owner(norm_row, norm_cpu, "F1 i F1", grain=4096)
MULTIPLE = Owner(multiple_row, multiple_cpu, "F F F1 F1 i F1", grain=4096)


def sum_keys(x, g: Layout, heads: int, depth: int, values, out) -> None:
    """out (heads, queries, depth) from values (key heads, room, depth), flat."""
    SUM_KEYS(heads * g.queries, x.mask, x.mask_at, tuple(g), depth, values, out)


def sum_queries(x, g: Layout, heads: int, depth: int, values, out) -> None:
    """out (key heads, room, depth) from values (heads, queries, depth), flat."""
    SUM_QUERIES(heads // g.group * g.keys, x.mask, x.mask_at, tuple(g), depth, values, out)
