"""Softmax attention on the device of its arrays: tiles on the CPU, rows on CUDA and wherever a tile met inf or NaN."""

import numpy as np
from numba import config, get_num_threads

from ..._runtime import devices, linalg
from ..._runtime.owners import share
from . import softmax, tiles
from .layout import Layout, Problem

_PANEL = 8192  # numbers in a tile of keys: fits the first-level cache, and OpenBLAS multiplies without packing


def tile_sizes(g: Layout) -> tuple[int, int]:
    """Queries and keys in a tile. A causal tile wastes half its square, so short sequences get flat ones."""
    columns = min(max(_PANEL // max(g.width, g.depth) // 32 * 32, 64), 256)
    return (32 if g.queries <= 512 else 64), columns


def forward_plan(g: Layout, heads: int) -> tuple[int, int, int, int]:
    """Queries and keys in a tile, shares of a key head, threads."""
    (rows, columns), threads = tile_sizes(g), get_num_threads()
    parts = 1 if threads == 1 else min(-(-4 * threads // (heads // g.group)), -(-g.queries // rows))
    return rows, columns, parts, threads


def backward_plan(g: Layout, key_heads: int) -> tuple[int, int, list[tuple[int, int]], int]:
    """Queries and keys in a tile, passes as (sides, shares), threads.

    One unit a key head, or, where that leaves threads idle, two gathers: the scores twice, the same bits.
    """
    (rows, columns), threads = tile_sizes(g), get_num_threads()
    busy = key_heads / (-(-key_heads // threads) * threads)
    passes = [(0, 1)]
    if busy < 0.75 and g.queries > rows:
        wanted = -(-4 * threads // key_heads)
        passes = [(1, min(wanted, -(-g.queries // rows))), (2, min(wanted, -(-g.keys // columns)))]
    return rows, columns, passes, threads


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
    rows, columns, parts, threads = forward_plan(g, heads)
    clean, total = np.empty(heads // g.group * parts, np.bool_), np.empty_like(lse)
    blas = linalg.gemm_address(lse.dtype)

    def work(start, stop):
        space = np.empty(columns * (g.width + rows), lse.dtype)
        tiles.forward(start, stop, blas, tuple(x), tuple(g), rows, columns, parts, space, out, lse, total, clean)

    with linalg.single_threaded():
        _shared(work, clean.size, threads)
    return bool(clean.all())


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


def backward(x: Problem, g: Layout, out, lse, dout, slopes: bool):
    """dq, dk, dv and the rows of the ALiBi gradient (empty unless wanted), flat."""
    delta = devices.empty(lse.size, lse.dtype, like=lse)
    dq, dk, dv = (devices.empty(a.size, a.dtype, like=a) for a in (x.q, x.k, x.v))
    dslope = devices.empty(lse.size if slopes else 0, lse.dtype, like=lse)
    if not _by_rows(x) and g.keys and lse.size:
        tiles.deltas(0, lse.size, out, dout, g.depth, delta)
        if _backward_tiles(x, g, (lse, delta, dout), (dq, dk, dv, dslope)):
            return dq, dk, dv, dslope
    if lse.size:
        softmax.DELTA(lse.size, out, dout, g.depth, delta)
        softmax.BACKWARD_QUERY(lse.size, tuple(x), tuple(g), lse, delta, dout, dq, dslope)
    if dk.size:
        softmax.BACKWARD_KEY(dk.size // g.width, tuple(x), tuple(g), lse, delta, dout, dk, dv)
    return dq, dk, dv, dslope


def _backward_tiles(x, g, saved, gradients) -> bool:
    key_heads = x.k.size // (g.room * g.width)
    rows, columns, passes, threads = backward_plan(g, key_heads)
    blas, dtype, fine = linalg.gemm_address(x.q.dtype), x.q.dtype, True
    with linalg.single_threaded():
        for sides, parts in passes:
            clean = np.empty(key_heads * parts, np.bool_)

            def work(start, stop, sides=sides, parts=parts, clean=clean):
                space = np.empty(columns * (g.width + g.depth + 2 * rows), dtype)
                tiles.backward(
                    start, stop, blas, tuple(x), tuple(g), rows, columns, parts, sides, space, saved, gradients, clean
                )

            _shared(work, clean.size, threads)
            fine = fine and bool(clean.all())
    return fine
