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

from ..._runtime import devices, linalg
from . import ratio, ratio_tiles, run, softmax, tiles
from .layout import Layout, Problem
from .ratio_eps import constant_eps, relative_eps, relative_eps_backward

__all__ = ["backward", "constant_eps", "forward", "relative_eps", "relative_eps_backward", "weights"]


_PANEL = 8192  # numbers in a tile of keys: fits the first-level cache, and OpenBLAS multiplies without packing


def tile_sizes(g: Layout) -> tuple[int, int]:
    """Queries and keys in a tile. A causal tile wastes half its square, so short sequences get flat ones."""
    columns = min(max(_PANEL // max(g.width, g.depth) // 32 * 32, 64), 256)
    return (32 if g.queries <= 512 else 64), columns


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
    rows, columns = tile_sizes(g)
    parts, threads = run.forward_parts(g, heads // g.group, rows)
    clean, blas = np.empty(heads // g.group * parts, np.bool_), linalg.gemm_address(out.dtype)

    def work(start, stop):
        space = np.empty(columns * (g.width + rows), out.dtype)
        ratio_tiles.forward(
            start, stop, blas, params, tuple(x), tuple(g), rows, columns, parts, space, eps, out, total, clean
        )

    with linalg.single_threaded():
        run._shared(work, clean.size, threads)
    return bool(clean.all())


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
    rows, columns = tile_sizes(g)
    passes, threads = run.backward_passes(g, key_heads, rows, columns)
    blas, dtype, fine = linalg.gemm_address(x.q.dtype), x.q.dtype, True
    with linalg.single_threaded():
        for sides, parts in passes:
            clean = np.empty(key_heads * parts, np.bool_)

            def work(start, stop, sides=sides, parts=parts, clean=clean):
                space = np.empty(columns * (g.width + g.depth + 2 * rows), dtype)
                ratio_tiles.backward(
                    start, stop, blas, params, tuple(x), tuple(g), rows, columns, parts, sides, space, saved,
                    gradients, clean,
                )  # fmt: skip

            run._shared(work, clean.size, threads)
            fine = fine and bool(clean.all())
    return fine
