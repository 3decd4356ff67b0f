r"""Sums over the keys that a query may attend, and over the queries that may attend a key.

    keys:     out_i = sum_{j in J_i} x_j            queries:  out_j = sum_{i: j in J_i} y_i

with J_i what band and mask leave to query i. Each is the transpose of the other, so each is the other's gradient.

Rows are the specification and the CUDA kernels. On the CPU, where the mask is the same for all queries, both take
linear time (van Herk, Gil and Werman): cut the sequence into blocks as long as the band and sum each from both ends; a
window of that length is the end of one block and the start of the next. Nothing is subtracted, so nothing cancels, and
what a query may not attend is never touched.
"""

from typing import NamedTuple

import numpy as np
from numba import config

from ..._runtime import devices
from ..._runtime.jit import kernel, nonnegative, scalar
from ..._runtime.owners import Owner, share
from .layout import Layout, key_range, query_range
from .tiles import kernel as uncounted_kernel
from .tiles import scalar as uncounted_scalar


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


_REACH = f"U1 I1 ({','.join('i' * len(Layout._fields))})"
SUM_KEYS = Owner(sum_keys_row, sum_keys_cpu, f"{_REACH} i F1 F1", grain=64, chunks_per_thread=8)
SUM_QUERIES = Owner(sum_queries_row, sum_queries_cpu, f"{_REACH} i F1 F1", grain=64, chunks_per_thread=8)


class Window(NamedTuple):
    """Output ``i`` of ``outputs`` sums the inputs of ``inputs`` from i + shift - back to i + shift + ahead."""

    inputs: int
    outputs: int
    shift: int
    back: int
    ahead: int


@uncounted_scalar
def of_keys(g):
    """The keys that each query may attend."""
    return Window(g.keys, g.queries, g.keys - g.queries, g.before, g.after)


@uncounted_scalar
def of_queries(g):
    """The queries that may attend each key."""
    return Window(g.queries, g.keys, g.queries - g.keys, g.after, g.before)


@uncounted_scalar
def limits(i, w):
    """[low, high) of output i."""
    place = i + w.shift
    return max(0, place - w.back), min(w.inputs, place + w.ahead + 1)


@uncounted_scalar
def add_up(x, at, n, size, depth, masked, mask, first, step, head, tail):
    """Sums of n rows of x within blocks of ``size``: head_j from the start of the block of j, tail_j to its end.

    If ``masked``, rows that the mask forbids count as 0.
    """
    zero = type(head[0])(0)
    for block in range(0, n, size):
        end = min(block + size, n)
        for j in range(block, end):
            kept = not masked or mask[nonnegative(first + j * step)] != 0
            for c in range(depth):
                here = x[nonnegative(at + j * depth + c)] if kept else zero
                head[nonnegative(j * depth + c)] = here + (
                    head[nonnegative((j - 1) * depth + c)] if j > block else zero
                )
        for j in range(end - 1, block - 1, -1):
            kept = not masked or mask[nonnegative(first + j * step)] != 0
            for c in range(depth):
                here = x[nonnegative(at + j * depth + c)] if kept else zero
                tail[nonnegative(j * depth + c)] = here + (
                    tail[nonnegative((j + 1) * depth + c)] if j < end - 1 else zero
                )


@uncounted_scalar
def add_window(low, high, block, size, depth, head, tail, out, at):
    """out_at += sum of rows [low, high), where low lies in the block at ``block``.

    These are as many rows as a block has, unless an end of the sequence cuts them off.
    """
    last = (high - 1) * depth
    if high > block + size:
        for c in range(depth):
            out[nonnegative(at + c)] += tail[nonnegative(low * depth + c)] + head[nonnegative(last + c)]
    elif low == block:
        for c in range(depth):
            out[nonnegative(at + c)] += head[nonnegative(last + c)]
    else:  # cut off
        for c in range(depth):
            out[nonnegative(at + c)] += tail[nonnegative(low * depth + c)]


@uncounted_scalar
def sums_of_head(w, transposed, depth, x, source, mask, first, step, out, target, head, tail):
    """The windows of one head: from x at ``source``, added to out at ``target``."""
    size = max(1, min(w.back + w.ahead + 1, w.inputs))
    add_up(x, source, w.inputs, size, depth, not transposed, mask, first, step, head, tail)
    block = limits(0, w)[0] // size * size
    for i in range(w.outputs):
        low, high = limits(i, w)
        block += size if low >= block + size else 0
        if low < high and (not transposed or mask[nonnegative(first + i * step)] != 0):
            add_window(low, high, block, size, depth, head, tail, out, target + i * depth)


@uncounted_kernel
def sums_by_blocks(start, stop, mask, mask_at, layout, transposed, depth, x, out, space):
    """Key heads [start, stop) of either sum, for a mask that is the same for all queries."""
    g = Layout(*layout)
    w = of_queries(g) if transposed else of_keys(g)
    head_sums, tail_sums = space[: w.inputs * depth], space[w.inputs * depth :]
    for key_head in range(start, stop):
        for head in range(key_head * g.group, (key_head + 1) * g.group):
            of_head, of_key_head, first = head * g.queries * depth, key_head * g.room * depth, mask_at[head]
            source, target = (of_head, of_key_head) if transposed else (of_key_head, of_head)
            if head == key_head * g.group or not transposed:
                for c in range(w.outputs * depth):
                    out[nonnegative(target + c)] = type(out[0])(0)
            sums_of_head(w, transposed, depth, x, source, mask, first, g.mask_key, out, target, head_sums, tail_sums)


def by_rows(x, g: Layout) -> bool:
    """Whether the mask differs between queries, or the device is CUDA."""
    return bool(g.mask_row) or config.DISABLE_JIT or devices.is_device_array(x.mask)


def _sums(owner, n, x, g, heads, transposed, depth, values, out) -> None:
    if by_rows(x, g):
        owner(n, x.mask, x.mask_at, tuple(g), depth, values, out)
        return

    def work(start, stop):
        space = np.empty(2 * depth * (g.queries if transposed else g.keys), out.dtype)
        sums_by_blocks(start, stop, x.mask, x.mask_at, tuple(g), transposed, depth, values, out, space)

    share(work, heads // g.group, 1)


def sum_keys(x, g: Layout, heads: int, depth: int, values, out) -> None:
    """out (heads, queries, depth) from values (key heads, room, depth), flat. Of x, only the mask is read."""
    _sums(SUM_KEYS, heads * g.queries, x, g, heads, False, depth, values, out)


def sum_queries(x, g: Layout, heads: int, depth: int, values, out) -> None:
    """out (key heads, room, depth) from values (heads, queries, depth), flat. Of x, only the mask is read."""
    _sums(SUM_QUERIES, heads // g.group * g.keys, x, g, heads, True, depth, values, out)
