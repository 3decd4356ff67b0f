"""Softmax attention on the device of its arrays: tiles on the CPU, rows on CUDA and wherever a tile met inf or NaN."""

from functools import lru_cache

import numpy as np
from numba import config, get_num_threads

from ..._runtime import devices, memory, strips
from ..._runtime.owners import share
from . import backward_tiles, forward_tiles, softmax, tiles
from .layout import PLAIN, Layout, Problem
from .packing import CHUNK, START, Plan

_PACKED = 24576  # numbers in a packed tile of keys: with its like, and tiles of scores, it fits a second-level cache


def strip_sizes(g: Layout) -> tuple[int, int]:
    """Queries and keys in a tile: multiples of `strips.ROWS` and `packing.START`."""
    return 16 * strips.ROWS, max(_PACKED // max(g.width, g.depth, 64) // START * START, START)


def _plan(g: Layout, dtype, sizes) -> Plan:
    (rows, columns), grain = sizes, strips.grain(dtype)
    wide, deep = (-(-n // grain) * grain for n in (g.width, g.depth))
    return Plan(rows, columns, grain, strips.panel(dtype), strips.side(dtype), wide, deep, columns + CHUNK)


def forward_plan(g: Layout, heads: int, dtype) -> tuple[Plan, int, int, int]:
    """Sizes, shares of a key head, threads, and numbers of room that a thread needs."""
    return _forward_plan(g, heads, dtype, get_num_threads(), strip_sizes(g))


@lru_cache(256)  # the plans of a call took 8 us
def _forward_plan(g, heads, dtype, threads, sizes):
    plan = _plan(g, dtype, sizes)
    parts = 1 if threads == 1 else min(-(-4 * threads // (heads // g.group)), -(-g.queries // plan.rows))
    room = plan.columns * (g.width + (g.metric > 0) + plan.deep) + strips.ROWS * (plan.wide + plan.span + plan.deep + 1)
    return plan, parts, threads, room


def backward_plan(g: Layout, key_heads: int, dtype) -> tuple[Plan, list[tuple[int, int]], int, int]:
    """Sizes, passes as (sides, shares), threads, and numbers of room that a thread needs.

    One unit a key head, or, where that leaves threads idle, two gathers: the scores twice, the same bits.
    """
    return _backward_plan(g, key_heads, dtype, get_num_threads(), strip_sizes(g))


@lru_cache(256)
def _backward_plan(g, key_heads, dtype, threads, sizes):
    plan = _plan(g, dtype, sizes)
    busy = key_heads / (-(-key_heads // threads) * threads)
    passes = [(0, 1)]
    if busy < 0.75 and g.queries > plan.rows:
        wanted = -(-4 * threads // key_heads)
        passes = [(1, min(wanted, -(-g.queries // plan.rows))), (2, min(wanted, -(-g.keys // plan.columns)))]
    both = plan.wide + plan.deep
    room = plan.columns * (g.width + 2 * (g.metric > 0) + g.depth + plan.wide) + (plan.columns + strips.ROWS) * both
    room += plan.rows * (both + 2 * plan.span) + strips.ROWS * plan.wide
    return plan, passes, threads, room


def _by_rows(x: Problem) -> bool:
    return config.DISABLE_JIT or devices.is_device_array(x.q)


def forward(x: Problem, g: Layout, heads: int):
    """out (heads, queries, depth) and lse (heads, queries), flat."""
    out = devices.empty(heads * g.queries * g.depth, x.q.dtype, like=x.q)
    lse = devices.empty(heads * g.queries, x.q.dtype, like=x.q)
    if not out.size:
        return out, lse
    if _by_rows(x) or not _forward_tiles(x, g, heads, out, lse):
        softmax.FORWARD(lse.size, tuple(x), tuple(g), out, lse)
    return out, lse


def _forward_tiles(x, g, heads, out, lse) -> bool:
    plan, parts, threads, room = forward_plan(g, heads, lse.dtype)
    clean, total = np.empty(heads // g.group * parts, np.bool_), np.empty_like(lse)

    kernel = forward_tiles.forward_streaming if g.queries <= forward_tiles.FEW else forward_tiles.forward

    def work(start, stop):
        space = memory.workspace(room, lse.dtype)
        kernel(start, stop, tuple(x), tuple(g), tuple(plan), parts, space, out, lse, total, clean)

    _shared(work, clean.size, threads)
    return all(clean.tolist())


def _shared(work, n, threads) -> None:
    if threads == 1:  # asking for the threads again takes 3 us, half a percent at 256 tokens
        work(0, n)
    else:
        share(work, n, 1, 4)


def weights(x: Problem, g: Layout, lse):
    """exp(s - lse), (heads, queries, keys), flat."""
    table = devices.empty(lse.size * g.keys, lse.dtype, like=lse)
    if table.size:
        softmax.WEIGHTS(lse.size, tuple(x), tuple(g), lse, table)
    return table


def backward(x: Problem, g: Layout, out, lse, dout, slopes: bool, into=None):
    """dq, dk, dv (in ``into`` if given) and the rows of the ALiBi gradient (empty unless wanted), flat.

    With a metric, in place of the last, rows of every head that add up to its gradient.
    """
    delta = devices.empty(lse.size, lse.dtype, like=lse)
    dq, dk, dv = into or [devices.empty(a.size, a.dtype, like=a) for a in (x.q, x.k, x.v)]
    if not _by_rows(x) and g.keys and lse.size:
        dslope = np.empty(_limit_gradients(x, g, lse, slopes, -(-g.keys // strip_sizes(g)[1])), lse.dtype)
        tiles.deltas(0, lse.size, out, dout, g.depth, delta)
        if _backward_tiles(x, g, (lse, delta, dout), (dq, dk, dv, dslope)):
            return dq, dk, dv, dslope
    dslope = devices.empty(_limit_gradients(x, g, lse, slopes, g.keys), lse.dtype, like=lse)
    if lse.size:
        softmax.DELTA(lse.size, out, dout, g.depth, delta)
        softmax.BACKWARD_QUERY(lse.size, tuple(x), tuple(g), lse, delta, dout, dq, dslope)
    if dk.size:
        softmax.BACKWARD_KEY(dk.size // g.width, tuple(x), tuple(g), lse, delta, dout, dk, dv, dslope)
    return dq, dk, dv, dslope


def _limit_gradients(x: Problem, g: Layout, lse, slopes: bool, owners: int) -> int:
    """Numbers of the last gradient: one a query, if slopes are wanted; or a row of every head and owner of keys."""
    if g.metric != PLAIN:
        return x.slopes.size * owners
    return lse.size if slopes else 0


def _backward_tiles(x, g, saved, gradients) -> bool:
    key_heads = x.k.size // (g.room * g.width)
    (plan, passes, threads, room), fine = backward_plan(g, key_heads, x.q.dtype), True
    for sides, parts in passes:
        clean = np.empty(key_heads * parts, np.bool_)

        def work(start, stop, sides=sides, parts=parts, clean=clean):
            space = memory.workspace(room, x.q.dtype)
            backward_tiles.backward(
                start, stop, tuple(x), tuple(g), tuple(plan), parts, sides, space, saved, gradients, clean
            )

        _shared(work, clean.size, threads)
        fine = fine and all(clean.tolist())
    return fine
