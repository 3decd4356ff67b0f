"""Ratio-normalised attention on the device of its arrays: tiles on the CPU, rows on CUDA or after inf or NaN.

For a checked call ``x, g, heads = call.problem, call.layout, call.heads`` and a registered record ``params`` (see
`ratio`), all results flat:

    eps = constant_eps(1e-6, x)                                   one number for all rows, or
    eps = relative_eps(1e-6, x, g, heads)                         eps scale^2 |q_i|^2 sum_j |k_j|^2, j allowed
    out, total = forward(params, x, g, heads, eps)                y and r
    table = weights(params, x, g, total)                          W / r
    dq, dk, dv, deps = backward(params, x, g, out, total, dout)   deps: one a row, dL/deps_i
    relative_eps_backward(1e-6, x, g, heads, deps, dq, dk)        adds the share of `relative_eps` to dq and dk
"""

import numpy as np
from numba import config

from ..._runtime import devices, memory
from . import ratio, ratio_tiles, run, softmax, tiles
from .layout import Layout, Problem
from .ratio_eps import constant_eps, relative_eps, relative_eps_backward

__all__ = ["backward", "constant_eps", "forward", "relative_eps", "relative_eps_backward", "weights"]


def _like(n: int, x):
    return devices.empty(n, x.dtype, like=x)


def _products(a, b, width: int, out) -> None:
    """<a_row, b_row> of every row."""
    if config.DISABLE_JIT or devices.is_device_array(a):
        softmax.DELTA(out.size, a, b, width, out)
    else:
        tiles.deltas(0, out.size, a, b, width, out)


def forward(params, x: Problem, g: Layout, heads: int, eps):
    """out (heads, queries, depth) and r (heads, queries), flat."""
    out, total = _like(heads * g.queries * g.depth, x.q), _like(heads * g.queries, x.q)
    if out.size and (run._by_rows(x) or not _forward_tiles(params, x, g, heads, eps, out, total)):
        ratio.FORWARD(total.size, params, tuple(x), tuple(g), eps, out, total)
    return out, total


def _forward_tiles(params, x, g, heads, eps, out, total) -> bool:
    plan, parts, threads, room = run.forward_plan(g, heads, out.dtype)
    clean = np.empty(heads // g.group * parts, np.bool_)

    def work(start, stop):
        space = memory.workspace(room, out.dtype)
        ratio_tiles.forward(start, stop, params, tuple(x), tuple(g), tuple(plan), parts, space, eps, out, total, clean)

    run._shared(work, clean.size, threads)
    return all(clean.tolist())


def weights(params, x: Problem, g: Layout, total):
    """W / r, (heads, queries, keys), flat."""
    table = _like(total.size * g.keys, total)
    if table.size:
        ratio.WEIGHTS(total.size, params, tuple(x), tuple(g), total, table)
    return table


def backward(params, x: Problem, g: Layout, out, total, dout):
    """dq, dk, dv, and dL/deps_i of every row, flat."""
    delta, deps = _like(total.size, total), _like(total.size, total)
    dq, dk, dv = (_like(a.size, a) for a in (x.q, x.k, x.v))
    if total.size:
        _products(out, dout, g.depth, delta)
        ratio.EPS(total.size, total, delta, deps)
    saved, gradients = (total, delta, dout), (dq, dk, dv, _like(0, x.q))
    by_tiles = total.size and g.keys and not run._by_rows(x)
    if by_tiles and _backward_tiles(params, x, g, saved, gradients):
        return dq, dk, dv, deps
    if total.size:
        ratio.BACKWARD_QUERY(total.size, params, tuple(x), tuple(g), total, delta, dout, dq)
    if dk.size:
        ratio.BACKWARD_KEY(dk.size // g.width, params, tuple(x), tuple(g), total, delta, dout, dk, dv)
    return dq, dk, dv, deps


def _backward_tiles(params, x, g, saved, gradients) -> bool:
    key_heads = x.k.size // (g.room * g.width)
    (plan, passes, threads, room), fine = run.backward_plan(g, key_heads, x.q.dtype), True
    for sides, parts in passes:
        clean = np.empty(key_heads * parts, np.bool_)

        def work(start, stop, sides=sides, parts=parts, clean=clean):
            space = memory.workspace(room, x.q.dtype)
            ratio_tiles.backward(
                start, stop, params, tuple(x), tuple(g), tuple(plan), parts, sides, space, saved, gradients, clean
            )

        run._shared(work, clean.size, threads)
        fine = fine and all(clean.tolist())
    return fine
