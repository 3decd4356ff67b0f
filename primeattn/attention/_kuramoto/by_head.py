"""All passes of one head after the other, on the CPU: what they hand on stays in the cache, and one call does it all.

The passes are those of ``run`` and ``gradients``, over the rows of one head of one sequence: angles to rows, softmax
attention, update, and back. For tokens that attend one another by tangent steps without a delay; a head that met inf or
NaN is reported, and the caller takes the passes one by one.

From forward to backward only values, moments and the logarithms of sums are kept: queries and keys are values turned
and scaled, and are made again.
"""

import math
from functools import lru_cache
from itertools import accumulate
from typing import NamedTuple

import numpy as np
from numba import config

from ..._runtime import memory
from ..._runtime.jit import read_only
from ..._runtime.vectors import before_line
from ..._runtime.width import full_width
from .._cores import backward_tiles, forward_tiles, run, tiles
from .._cores.layout import Layout
from .._cores.tiles import kernel, scalar
from .._inputs import flat
from .angles import SUMS, pull_cpu
from .features import Side, Sizes, Turn, features_cpu, match_rows, place
from .sums import PIECE
from .update import pull_update_cpu, update_cpu


@scalar
def turn_of_head(x, head):
    """How far tokens turn a head, as if it were the first."""
    return x.cosine[x.head * head :], x.sine[x.head * head :], x.token, x.head


@scalar
def side_of_head(x, head, angles, n):
    """The gates of a head, whose angles start at ``angles``, as if it were the first."""
    gate = x.gate[angles if x.token else head * n :]
    return gate, x.token, x.factor[head:]


@scalar
def problem_of_head(line, q, k, v, limits):
    """Queries, keys and values of one head, and what limits them."""
    mask, mask_at, slopes, scale = limits
    return read_only(q), read_only(k), read_only(v), mask, mask_at[line:], slopes[line:], scale


@kernel
def forward_cpu(start, stop, numbers, limits, settings, theta, kappa, one, room, kept, clean, out):
    """Heads [start, stop), each handed on as if it were the first and only one.

    ``numbers``: sizes, layout and plan of tiles, and where lie in ``room``, behind queries, keys, sums and working
    memory, and in ``kept``, behind values, moments and lse.
    """
    full_width()
    sizes, layout, plan, (k_at, total_at, work_at), (m_at, lse_at) = numbers
    shown, spins, queries, keys = settings
    kept = kept[before_line(kept) :]
    z, turn, spin, query, key = Sizes(*sizes), Turn(*shown), Turn(*spins), Side(*queries), Side(*keys)
    q, k, total, work = room[:k_at], room[k_at:total_at], room[total_at:work_at], room[work_at:]
    n, zero, unit = z.width, np.int64(0), np.int64(1)  # literals would compile their callees anew
    for line in range(start, stop):
        row, deep, deep_end = line * z.tokens, line * z.tokens * z.depth, (line + 1) * z.tokens * z.depth
        _, head, angles = place(row, z)
        v, m, lse = kept[deep:deep_end], kept[m_at + deep : m_at + deep_end], kept[lse_at + row :]
        theta_own = theta[angles:]
        features_cpu(
            zero, z.tokens, theta_own, sizes, turn_of_head(turn, head), turn_of_head(spin, head),
            side_of_head(query, head, angles, n), side_of_head(key, head, angles, n), v, q, k,
        )  # fmt: skip
        own = problem_of_head(line, q, k, v, limits)
        forward_tiles.forward(zero, unit, own, layout, plan, unit, work, m, lse, total, clean[line:])
        real, imag = kappa[0][head * n :], kappa[1][head * n :]
        update_cpu(zero, z.tokens, sizes, theta_own, v, m, one, zero, real, imag, out[angles:])


@kernel
def backward_cpu(
    start, stop, numbers, limits, settings, upstream, kappa, one, kept, room, found, dgates, clean, dtheta
):  # fmt: skip
    """Heads [start, stop), as `forward_cpu`.

    ``room``: queries, keys, gradients of queries, keys, values and moments, delta, working memory. ``found``: sums over
    pieces of the gradients of a real and an imaginary coupling and of the rest. ``dgates``: gradients of gates of
    tokens, and an empty array.
    """
    full_width()
    sizes, layout, plan, (m_at, lse_at), (k_at, dq_at, dk_at, dv_at, dm_at, delta_at, work_at), terms = numbers
    _, spins, queries, keys = settings
    dgate_q, dgate_k, nothing = dgates
    kept = kept[before_line(kept) :]
    z, spin, query, key = Sizes(*sizes), Turn(*spins), Side(*queries), Side(*keys)
    q, k, dq, dk = room[:k_at], room[k_at:dq_at], room[dq_at:dk_at], room[dk_at:dv_at]
    dv, dm, delta, work = room[dv_at:dm_at], room[dm_at:delta_at], room[delta_at:work_at], room[work_at:]
    dreal, dimag, sums = found[: terms[0]], found[terms[0] : terms[1]], found[terms[1] :]
    n, pieces, zero, unit = z.width, (z.tokens + PIECE - 1) // PIECE, np.int64(0), np.int64(1)
    for line in range(start, stop):
        row, first_piece = line * z.tokens, line * pieces * n
        deep, deep_end = row * z.depth, (row + z.tokens) * z.depth
        _, head, angles = place(row, z)
        v, m, lse = kept[deep:deep_end], kept[m_at + deep : m_at + deep_end], kept[lse_at + row :]
        upstream_own, dtheta_own = upstream[angles:], dtheta[angles:]
        pull_update_cpu(
            zero, pieces, sizes, upstream_own, upstream_own, v, m, one, zero, kappa[0][head * n :],
            kappa[1][head * n :], dm, dtheta_own, dreal[first_piece * z.harmonics :],
            dimag[first_piece * z.harmonics :],
        )  # fmt: skip
        tiles.deltas(zero, z.tokens, m, read_only(dm), z.depth, delta)
        spun = turn_of_head(spin, head)
        of_query, of_key = side_of_head(query, head, angles, n), side_of_head(key, head, angles, n)
        match_rows(zero, z.tokens, (zero, zero, zero), z, Turn(*spun), Side(*of_query), Side(*of_key), v, q, k)
        own = problem_of_head(line, q, k, v, limits)
        backward_tiles.backward(
            zero, unit, own, layout, plan, unit, zero, work, (lse, delta, read_only(dm)), (dq, dk, dv, nothing),
            clean[line:],
        )  # fmt: skip
        pull_cpu(
            zero, pieces, sizes, spun, of_query, of_key, read_only(v), dq, dk, dv, nothing, dtheta_own,
            dgate_q[angles:], dgate_k[angles:], sums[first_piece * SUMS :],
        )  # fmt: skip


class Plan(NamedTuple):
    """What depends on sizes only: the numbers of the two kernels, and how much room they need, keep and find."""

    lines: int
    threads: int
    forward: tuple
    forward_room: int
    kept: int
    backward: tuple
    backward_room: int
    found: int
    one: np.ndarray
    nothing: np.ndarray


class Saved(NamedTuple):
    """What backward reads of forward."""

    plan: Plan
    limits: tuple
    settings: tuple
    kept: np.ndarray


def suits(call) -> bool:
    """Whether tokens attend one another, by tangent steps without a delay, on the CPU."""
    return call.own and not (call.form or call.delayed or config.DISABLE_JIT) and type(call.queries.theta) is np.ndarray


@lru_cache(256)
def plan_of(z: Sizes, g: Layout, lead, dtype, is_complex: bool, threads: int, sizes_of) -> Plan | None:
    """The plan of a call that suits, or None if passes by head would not keep all threads busy.

    ``sizes_of``: gives the sizes of tiles for a layout.
    """
    lines = math.prod(lead) * z.heads
    if g.queries <= forward_tiles.FEW or not lines:  # another kernel, or none
        return None
    tiles_forward, _, _, work_forward = run._forward_plan(g, lines, dtype, threads, sizes_of(g))
    tiles_backward, passes, _, work_backward = run._backward_plan(g, lines, dtype, threads, sizes_of(g))
    if passes != [(0, 1)]:
        return None
    wide, deep, terms = z.tokens * 2 * z.width, z.tokens * z.depth, lines * -(-z.tokens // PIECE) * z.width
    kept, kept_size = _places(dtype, lines * deep, lines * deep, lines * z.tokens)
    forward, forward_room = _places(dtype, wide, wide, z.tokens, work_forward)
    backward, backward_room = _places(dtype, wide, wide, wide, wide, deep, deep, z.tokens, work_backward)
    real = terms * z.harmonics
    imaginary = real + real * is_complex
    sizes, layout = tuple(z), tuple(g)
    return Plan(
        lines, threads, (sizes, layout, tuple(tiles_forward), forward, kept), forward_room,
        kept_size + memory.LINE // dtype.itemsize,  # kernels find the line: to look for it from Python took 8 us
        (sizes, layout, tuple(tiles_backward), kept, backward, (real, imaginary)), backward_room,
        imaginary + SUMS * terms, flat(np.ones(1, dtype)), np.empty(0, dtype),
    )  # fmt: skip


def _places(dtype, *sizes: int) -> tuple[tuple[int, ...], int]:
    """Where all but the first of these pieces start in a room, each on a cache line, and the size of it all."""
    *starts, size = accumulate(memory.total_size((n,), dtype) for n in sizes)
    return tuple(starts), size


def forward(call, limits, plan: Plan):
    """Angles, and `Saved`; None if a head was not finite. ``limits``: what follows q, k, v in the problem."""
    side, theta = call.queries, call.queries.theta
    dtype, one, kappa = theta.dtype, plan.one, (call.real, call.imag)
    settings = tuple(side.shown), tuple(side.spins), tuple(call.query), tuple(call.key)
    kept, out, clean = np.empty(plan.kept, dtype), np.empty(theta.size, dtype), np.empty(plan.lines, np.bool_)

    def work(start, stop):
        room = memory.workspace(plan.forward_room, dtype)
        forward_cpu(start, stop, plan.forward, limits, settings, theta, kappa, one, room, kept, clean, out)

    run._shared(work, plan.lines, plan.threads)
    return (out, Saved(plan, limits, settings, kept)) if all(clean.tolist()) else None


def backward(call, saved: Saved, upstream):
    """dtheta, sums over pieces of the gradients of coupling (real, imaginary) and of the rest, and gradients of gates
    of tokens; None if a head was not finite."""
    plan, limits, settings, kept = saved
    dtype, nothing, one, kappa = upstream.dtype, plan.nothing, plan.one, (call.real, call.imag)
    found, dtheta = np.empty(plan.found, dtype), np.empty(upstream.size, dtype)
    clean = np.empty(plan.lines, np.bool_)
    dgate_q, dgate_k = [np.empty(upstream.size, dtype) if x.token else nothing for x in (call.query, call.key)]

    def work(start, stop):
        room, dgates = memory.workspace(plan.backward_room, dtype), (dgate_q, dgate_k, nothing)
        backward_cpu(
            start, stop, plan.backward, limits, settings, upstream, kappa, one, kept, room, found, dgates, clean, dtheta
        )  # fmt: skip

    run._shared(work, plan.lines, plan.threads)
    real, imaginary = plan.backward[-1]
    parts = (found[:real], found[real:imaginary]), found[imaginary:]
    return (dtheta, *parts, dgate_q, dgate_k) if all(clean.tolist()) else None
