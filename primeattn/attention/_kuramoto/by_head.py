"""All passes of one head after the other, on the CPU: what they hand on stays in the cache, and one call does it all.

The passes are those of ``run`` and ``gradients``, over the rows of one head of one sequence: angles to rows, softmax
attention, update, and back. For tokens that attend one another by tangent steps without a delay; a head that met inf or
NaN is reported, and the caller takes the passes one by one.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numba import config

from ..._runtime import memory
from ..._runtime.width import full_width
from .._cores import backward_tiles, forward_tiles, run, tiles
from .._cores.layout import Layout, Problem
from .._cores.tiles import kernel, scalar
from .._inputs import flat
from .angles import SUMS, pull_cpu
from .call import ones
from .features import Side, Sizes, Turn, features_cpu, place
from .sums import PIECE
from .update import pull_update_cpu, update_cpu


@kernel
def forward_cpu(
    start, stop, sizes, shown, spins, queries, keys, theta, problem, layout, plan, work, kappa, one, rows, kept, clean,
    out,
):  # fmt: skip
    """Heads [start, stop). ``rows``: v, q, k to be written, which ``problem`` reads; ``kept``: moments, lse, sums."""
    full_width()
    v, q, k = rows
    m, lse, total = kept
    tokens, parts, step = Sizes(*sizes).tokens, np.int64(1), np.int64(0)  # literals would compile their callees anew
    for line in range(start, stop):
        first, last = line * tokens, (line + 1) * tokens
        features_cpu(first, last, theta, sizes, shown, spins, queries, keys, v, q, k)
        forward_tiles.forward(line, line + 1, problem, layout, plan, parts, work, m, lse, total, clean)
        update_cpu(first, last, sizes, theta, v, m, one, step, kappa[0], kappa[1], out)


@scalar
def side_of(x, head, angles, n):
    """The gates of a head, whose angles start at ``angles``, as if it were the first."""
    gate = x.gate[angles if x.token else head * n :]
    return gate, x.token, x.factor[head:]


@kernel
def backward_cpu(
    start, stop, sizes, spins, queries, keys, upstream, problem, layout, plan, work, kappa, one, kept, flowing, found,
    clean, dtheta,
):  # fmt: skip
    """Heads [start, stop). ``kept``: v, moments, lse; ``flowing``, room for one head: delta, gradients of the moments
    (to be written, and to be read), of q, k and v, and two empty arrays; ``found``: sums over pieces, and gradients of
    gates of tokens. Each head is handed on as if it were the first and only one."""
    full_width()
    q, k, values, mask, mask_at, slopes, scale = problem
    v, m, lse = kept
    delta, dm, upstream_m, dq, dk, dv, nothing = flowing
    dreal, dimag, sums, dgate_q, dgate_k = found
    z, spin, query, key = Sizes(*sizes), Turn(*spins), Side(*queries), Side(*keys)
    n, pieces, zero, unit = z.width, (z.tokens + PIECE - 1) // PIECE, np.int64(0), np.int64(1)  # as above
    for line in range(start, stop):
        row, one_piece = line * z.tokens, line * pieces * n
        wide, wide_end = row * 2 * n, (row + z.tokens) * 2 * n
        deep, deep_end = row * z.depth, (row + z.tokens) * z.depth
        _, head, angles = place(row, z)
        v_own, m_own, lse_own, dtheta_own = v[deep:deep_end], m[deep:deep_end], lse[row:], dtheta[angles:]
        values_own, upstream_own = values[deep:deep_end], upstream[angles:]
        pull_update_cpu(
            zero, pieces, sizes, upstream_own, upstream_own, v_own, m_own, one, zero, kappa[0][head * n :],
            kappa[1][head * n :], dm, dtheta_own, dreal[one_piece * z.harmonics :], dimag[one_piece * z.harmonics :],
        )  # fmt: skip
        tiles.deltas(zero, z.tokens, m_own, upstream_m, z.depth, delta)
        own = (q[wide:wide_end], k[wide:wide_end], values_own, mask, mask_at[line:], slopes[line:], scale)
        backward_tiles.backward(
            zero, unit, own, layout, plan, unit, zero, work, (lse_own, delta, upstream_m),
            (dq, dk, dv, nothing), clean[line:],
        )  # fmt: skip
        spun = spin.head * head
        pull_cpu(
            zero, pieces, sizes, (spin.cosine[spun:], spin.sine[spun:], spin.token, spin.head),
            side_of(query, head, angles, n), side_of(key, head, angles, n), values_own, dq, dk, dv, nothing, dtheta_own,
            dgate_q[angles:], dgate_k[angles:], sums[one_piece * SUMS :],
        )  # fmt: skip


class Plan(NamedTuple):
    """What the two kernels are called with that depends on sizes only: plans of tiles, numbers of working memory, and
    where arrays lie in the memory that forward keeps, that backward needs for a head, and for sums."""

    lines: int
    threads: int
    layout: tuple
    forward: tuple
    forward_room: int
    backward: tuple
    backward_room: int
    kept: tuple
    flowing: tuple
    found: tuple


class Saved(NamedTuple):
    """What backward reads of forward: arguments that its kernel has, too, and v, moments and lse."""

    settings: tuple
    problem: tuple
    kept: tuple
    plan: Plan


def serves(call, g: Layout) -> Plan | None:
    """The plan if the passes by head do this call, and keep all threads busy; or None."""
    x = call.queries.theta
    if not call.own or call.form or call.delayed or config.DISABLE_JIT or type(x) is not np.ndarray:
        return None
    return _plan(call.queries.sizes, x.size, g, x.dtype, call.is_complex, run.get_num_threads(), run.strip_sizes(g))


@lru_cache(256)
def _plan(z, size, g, dtype, is_complex, *threads_and_tiles) -> Plan | None:
    if g.queries <= forward_tiles.FEW or not size:  # another kernel, or none
        return None
    rows, lines = size // z.width, size // z.width // z.tokens
    forward, _, threads, forward_room = run._forward_plan(g, lines, dtype, *threads_and_tiles)
    backward, passes, _, backward_room = run._backward_plan(g, lines, dtype, *threads_and_tiles)
    if passes != [(0, 1)]:
        return None
    wide, deep, terms = z.tokens * 2 * z.width, z.tokens * z.depth, lines * -(-z.tokens // PIECE) * z.width
    kept = _places(dtype, lines * deep, lines * wide, lines * wide, lines * deep, rows, rows)
    found = _places(dtype, terms * z.harmonics, terms * z.harmonics * is_complex, SUMS * terms)
    return Plan(
        lines, threads, tuple(g), tuple(forward), forward_room, tuple(backward), backward_room, kept,
        _places(dtype, z.tokens, deep, wide, wide, deep), found,
    )  # fmt: skip


def _places(dtype, *sizes) -> tuple:
    """Where pieces of a room start and stop, each at the start of a cache line, and the size of it all."""
    found, start = [], 0
    for size in sizes:
        found.append(slice(start, start + size))
        start += memory.total_size((size,), dtype)
    return found, start


@lru_cache(64)
def _nothing(dtype):
    return np.empty(0, dtype)


def forward(call, limits, plan: Plan):
    """Angles, the problem of the rows of all heads, phasors, moments and lse, and `Saved`; None if a head was not
    finite. ``limits``: what follows q, k, v in the problem."""
    side, theta = call.queries, call.queries.theta
    dtype, one, (places, size) = theta.dtype, ones(1, theta), plan.kept
    whole = memory.aligned(size, dtype)
    v, q, k, m, lse, total = [whole[place] for place in places]
    out, clean = np.empty(theta.size, dtype), np.empty(plan.lines, np.bool_)
    sizes, spins, query, key = tuple(side.sizes), tuple(side.spins), tuple(call.query), tuple(call.key)
    shown, problem, kappa = tuple(side.shown), (flat(q), flat(k), flat(v), *limits), (call.real, call.imag)

    def work(start, stop):
        space = memory.workspace(plan.forward_room, dtype)
        forward_cpu(
            start, stop, sizes, shown, spins, query, key, theta, problem, plan.layout, plan.forward, space, kappa, one,
            (v, q, k), (m, lse, total), clean, out,
        )  # fmt: skip

    run._shared(work, plan.lines, plan.threads)
    if not all(clean.tolist()):
        return None
    return out, Problem(*problem), v, m, lse, Saved((sizes, spins, query, key), problem, (v, m, lse), plan)


def backward(call, saved: Saved, upstream):
    """dtheta, sums over pieces of the gradients of coupling (real, imaginary) and of the rest, and gradients of gates
    of tokens; None if a head was not finite."""
    settings, problem, kept, plan = saved
    dtype, none, one, (places, size) = upstream.dtype, _nothing(upstream.dtype), ones(1, upstream), plan.found
    whole, kappa = np.empty(size, dtype), (call.real, call.imag)
    dreal, dimag, sums = [whole[place] for place in places]
    dtheta, clean = np.empty(upstream.size, dtype), np.empty(plan.lines, np.bool_)
    dgate_q, dgate_k = [np.empty(upstream.size, dtype) if x.token else none for x in (call.query, call.key)]

    def work(start, stop):
        with memory.Scratch() as take:
            flowing = take(plan.flowing[1], dtype)
            delta, dm, dq, dk, dv = [flowing[place] for place in plan.flowing[0]]
            space = memory.workspace(plan.backward_room, dtype)
            backward_cpu(
                start, stop, *settings, upstream, problem, plan.layout, plan.backward, space, kappa, one, kept,
                (delta, dm, flat(dm), dq, dk, dv, none), (dreal, dimag, sums, dgate_q, dgate_k), clean, dtheta,
            )  # fmt: skip

    run._shared(work, plan.lines, plan.threads)
    return (dtheta, (dreal, dimag), sums, dgate_q, dgate_k) if all(clean.tolist()) else None
