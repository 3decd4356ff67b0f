"""`scan` on the device of its arrays: blocks on the CPU, rows on CUDA and wherever a block met inf or NaN."""

from typing import Any, NamedTuple

import numpy as np
from numba import config, get_num_threads

from ..._runtime import devices
from ..._runtime.owners import share
from . import scan, scan_blocks, scan_gradients, scan_room, softmax, tiles
from .layout import Layout, Problem

BLOCK = 64
_COLUMNS, _ENOUGH = 32, 8  # fewer key heads than that are split by columns of the values


class Forward(NamedTuple):
    """What backward needs: the output, 1 / r and units of the keys, flat, and whether blocks were enough."""

    out: Any
    inverse: Any
    unit: Any
    by_blocks: bool


def possible(g: Layout, mask_at) -> bool:
    """Whether sums over keys serve all queries: no window, and one mask for all queries of a key head.

    The first query stands queries - 1 before the last key, which may be before the first one.
    """
    if g.mask_row or g.before < g.keys or 0 < g.after < max(g.keys, g.queries - 1):
        return False
    if g.group == 1:
        return True
    at = devices.to_host(mask_at).reshape(-1, g.group)
    return bool((at == at[:, :1]).all())


def forward(x: Problem, g: Layout, heads: int, degree: int, eps) -> Forward:
    out = devices.empty(heads * g.queries * g.depth, x.q.dtype, like=x.q)
    inverse = devices.empty(heads * g.queries, x.q.dtype, like=x.q)
    unit = devices.empty(heads // g.group * g.keys, x.q.dtype, like=x.q)
    if not out.size:
        return Forward(out, inverse, unit, False)
    scan.UNITS(heads // g.group, tuple(x), tuple(g), unit)
    by_rows = config.DISABLE_JIT or devices.is_device_array(x.q)
    if not by_rows and g.keys and _forward_blocks(x, g, heads, degree, eps, unit, out, inverse):
        return Forward(out, inverse, unit, True)
    state = devices.empty(heads * (g.depth + 1) * scan_room.feature_count(g.width, degree), out.dtype, like=out)
    scan.FORWARD(heads * (g.depth + 1), tuple(x), tuple(g), degree, eps, unit, state, out, inverse)
    scan.FINISH(inverse.size, g.depth, out, inverse)
    return Forward(out, inverse, unit, False)


def _split(g: Layout, key_heads: int) -> tuple[int, int]:
    """Columns of a part, and how many parts: a matter of the problem, not of the threads."""
    columns = g.depth if key_heads >= _ENOUGH else min(g.depth, _COLUMNS)
    return columns, -(-g.depth // columns)


def _task(g, key_heads, degree, eps, unit):
    columns, parts = _split(g, key_heads)
    plan = scan_room.plan_of(g.width, columns, degree, min(BLOCK, max(g.queries, 1)), unit.dtype)
    return scan_blocks.Task(eps, unit, parts), plan


def shared(work, n: int) -> None:
    if get_num_threads() == 1:
        work(0, n)
    else:
        share(work, n, 1, 2)


def _forward_blocks(x, g, heads, degree, eps, unit, out, inverse) -> bool:
    task, plan = _task(g, heads // g.group, degree, eps, unit)
    clean = np.empty(heads // g.group * task.parts, np.bool_)
    call = tuple(x), tuple(g), tuple(task), tuple(plan), True

    def work(start, stop):
        scan_blocks.forward(start, stop, *call, tuple(scan_room.space(plan, out.dtype)), out, inverse, clean)

    shared(work, clean.size)
    return bool(clean.all())


def weights(x: Problem, g: Layout, degree: int, done: Forward):
    """(heads, queries, keys), flat."""
    table = devices.empty(done.inverse.size * g.keys, x.q.dtype, like=x.q)
    if table.size:
        scan.WEIGHTS(done.inverse.size, tuple(x), tuple(g), degree, done.unit, done.inverse, table)
    return table


def backward(x: Problem, g: Layout, heads: int, degree: int, eps, done: Forward, dout):
    """dq, dk, dv, flat."""
    dq, dk, dv = (devices.empty(a.size, a.dtype, like=a) for a in (x.q, x.k, x.v))
    delta = devices.empty(heads * g.queries, dq.dtype, like=dq)
    if done.by_blocks:
        tiles.deltas(0, delta.size, done.out, dout, g.depth, delta)
        fine, dq, dk = _backward_blocks(x, g, heads, degree, eps, done, (done.inverse, delta, dout), (dq, dk, dv))
        if fine:
            return dq, dk, dv
    if delta.size:
        softmax.DELTA(delta.size, done.out, dout, g.depth, delta)
    task, saved = (tuple(x), tuple(g), degree), (done.unit, done.inverse)
    key_heads, per_entry = heads // g.group, g.width**degree * (g.depth + 1)

    def room(n):
        return devices.empty(n, dq.dtype, like=dq)

    if dq.size:
        scan.BACKWARD_QUERY(heads * g.width, *task, eps, *saved, delta, dout, room(heads * per_entry), dq)
    if dk.size:
        scan.BACKWARD_KEY(key_heads * g.width, *task, eps, *saved, delta, dout, room(key_heads * per_entry), dk)
        state = room(key_heads * g.depth * scan_room.feature_count(g.width, degree))
        scan.BACKWARD_VALUE(key_heads * g.depth, *task, *saved, dout, state, dv)
    return dq, dk, dv


def _backward_blocks(x, g, heads, degree, eps, done, saved, gradients):
    dq, dk, dv = gradients
    task, plan = _task(g, heads // g.group, degree, eps, done.unit)
    clean, fine = np.empty(heads // g.group * task.parts, np.bool_), True
    if task.parts > 1:
        dq, dk = (np.empty(task.parts * a.size, a.dtype) for a in (dq, dk))
    call = tuple(x), tuple(g), tuple(task), tuple(plan)
    for loop in (scan_gradients.backward_queries, scan_gradients.backward_keys):

        def work(start, stop, loop=loop):
            loop(start, stop, *call, tuple(scan_room.space(plan, dq.dtype)), saved, (dq, dk, dv), clean)

        shared(work, clean.size)
        fine = fine and bool(clean.all())
    if task.parts > 1:
        dq, dk = (a.reshape(task.parts, -1).sum(axis=0) for a in (dq, dk))
    return fine, dq, dk
