"""All passes of one head after the other, on the CPU: what they hand on stays in the cache, and one call does it all.

The passes are those of ``run`` and ``gradients``, over the rows of one head of one sequence: angles to rows, softmax
attention, update, and back. For tokens that attend one another by tangent steps without a delay; a head that met inf or
NaN is reported, and the caller takes the passes one by one.
"""

import numpy as np
from numba import config

from ..._runtime import devices, memory
from ..._runtime.width import full_width
from .._cores import backward_tiles, forward_tiles, run, tiles
from .._cores.layout import Layout
from .._cores.tiles import kernel
from .._inputs import flat
from .angles import SUMS, pull_cpu
from .features import Sizes, features_cpu
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


@kernel
def backward_cpu(
    start, stop, sizes, spins, queries, keys, upstream, problem, layout, plan, work, kappa, one, kept, flowing, found,
    clean, dtheta,
):  # fmt: skip
    """Heads [start, stop). ``kept``: v, moments, lse; ``flowing``: delta, gradients of the moments (to be written, and
    to be read), of q, k and v, and two empty arrays; ``found``: sums over pieces, and gradients of gates of tokens."""
    full_width()
    v, m, lse = kept
    delta, dm, upstream_m, dq, dk, dv, nothing = flowing
    dreal, dimag, sums, dgate_q, dgate_k = found
    z, parts, sides, step = Sizes(*sizes), np.int64(1), np.int64(0), np.int64(0)
    pieces = (z.tokens + PIECE - 1) // PIECE
    for line in range(start, stop):
        first, last = line * pieces, (line + 1) * pieces
        pull_update_cpu(
            first, last, sizes, upstream, upstream, v, m, one, step, kappa[0], kappa[1], dm, dtheta, dreal, dimag
        )
        tiles.deltas(line * z.tokens, (line + 1) * z.tokens, m, upstream_m, z.depth, delta)
        backward_tiles.backward(
            line, line + 1, problem, layout, plan, parts, sides, work, (lse, delta, upstream_m), (dq, dk, dv, nothing),
            clean,
        )  # fmt: skip
        pull_cpu(
            first, last, sizes, spins, queries, keys, problem[2], dq, dk, dv, nothing, dtheta, dgate_q, dgate_k, sums
        )


def serves(call, g: Layout) -> bool:
    """Whether the passes by head do this call, and keep all threads busy."""
    x = call.queries.theta
    if not call.own or call.form or call.delayed or config.DISABLE_JIT or devices.is_device_array(x):
        return False
    if g.queries <= forward_tiles.FEW:  # another kernel
        return False
    return x.size > 0 and run.backward_plan(g, call.queries.rows // g.queries, x.dtype)[1] == [(0, 1)]


def forward(call, x, g: Layout, rows, one):
    """Angles, moments and lse of a problem whose arrays ``rows`` are written here; None if a head was not finite."""
    side, lines, dtype = call.queries, call.queries.rows // g.queries, call.queries.theta.dtype
    plan, _, threads, room = run.forward_plan(g, lines, dtype)
    out, m = np.empty(side.theta.size, dtype), np.empty(lines * g.queries * g.depth, dtype)
    lse, total, clean = np.empty(side.rows, dtype), np.empty(side.rows, dtype), np.empty(lines, np.bool_)
    settings = tuple(map(tuple, (side.sizes, side.shown, side.spins, call.query, call.key)))
    problem, layout, sizes, kappa = tuple(x), tuple(g), tuple(plan), (call.real, call.imag)

    def work(start, stop):
        space = memory.workspace(room, dtype)
        forward_cpu(
            start, stop, *settings, side.theta, problem, layout, sizes, space, kappa, one, rows, (m, lse, total), clean,
            out,
        )  # fmt: skip

    run._shared(work, lines, threads)
    return (out, m, lse) if all(clean.tolist()) else None


def backward(call, main, v, upstream, room_of_gradients, one):
    """dtheta, sums over pieces of the gradients of coupling (real, imaginary) and of the rest, and gradients of gates
    of tokens; None if a head was not finite. ``room_of_gradients``: for moments, q, k and v."""
    side, g, dtype = call.queries, main.layout, upstream.dtype
    lines, (dm, dq, dk, dv) = side.rows // g.queries, room_of_gradients
    plan, _, threads, room = run.backward_plan(g, lines, dtype)
    n = side.pieces * side.sizes.width
    dreal, dimag, sums = np.empty(n * side.sizes.harmonics, dtype), np.empty(0, dtype), np.empty(SUMS * n, dtype)
    if call.is_complex:
        dimag = np.empty(dreal.size, dtype)
    dgate_q, dgate_k = (np.empty(side.theta.size * gate.token, dtype) for gate in (call.query, call.key))
    dtheta, delta, clean = np.empty(side.theta.size, dtype), np.empty(side.rows, dtype), np.empty(lines, np.bool_)
    settings = tuple(map(tuple, (side.sizes, side.spins, call.query, call.key)))
    problem, layout, sizes, kappa = tuple(main.problem), tuple(g), tuple(plan), (call.real, call.imag)
    flowing = delta, dm, flat(dm), dq, dk, dv, np.empty(0, dtype)

    def work(start, stop):
        space = memory.workspace(room, dtype)
        backward_cpu(
            start, stop, *settings, upstream, problem, layout, sizes, space, kappa, one, (v, main.moments, main.lse),
            flowing, (dreal, dimag, sums, dgate_q, dgate_k), clean, dtheta,
        )  # fmt: skip

    run._shared(work, lines, threads)
    return (dtheta, (dreal, dimag), sums, dgate_q, dgate_k) if all(clean.tolist()) else None
