"""Softmax attention on the device of its arrays: tiles on the CPU, rows on CUDA and wherever a tile met inf or NaN."""

import numpy as np
from numba import config, get_num_threads

from ..._runtime import devices, linalg
from ..._runtime.owners import share
from . import softmax, tiles
from .layout import Layout, Problem

_ROWS = 64
_SMALL = 900_000  # OpenBLAS multiplies without packing, up to twice as fast, while m n k <= 10^6


def tile_columns(g: Layout) -> int:
    """Keys in a tile: as many as the fast product of a tile allows."""
    return int(np.clip(_SMALL // (_ROWS * max(g.width, g.depth)) // 32 * 32, 64, 512))


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
    columns, key_heads = tile_columns(g), heads // g.group
    threads = get_num_threads()
    parts = 1 if threads == 1 else min(-(-4 * threads // key_heads), -(-g.queries // _ROWS))
    clean, total = np.empty(key_heads * parts, np.uint8), np.empty_like(lse)
    blas = linalg.gemm_address(lse.dtype)

    def work(start, stop):
        space = np.empty(columns * (g.width + _ROWS), lse.dtype)
        tiles.forward(start, stop, blas, tuple(x), tuple(g), _ROWS, columns, parts, space, out, lse, total, clean)

    with linalg.single_threaded():
        share(work, clean.size, 1, 4)
    return bool(clean.all())


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
    if lse.size:
        softmax.DELTA(lse.size, out, dout, g.depth, delta)
    by_rows = _by_rows(x)
    dslope = devices.empty(lse.size if slopes or by_rows else 0, lse.dtype, like=lse)
    if not by_rows and _backward_tiles(x, g, lse, delta, dout, dq, dk, dv, dslope):
        return dq, dk, dv, dslope
    if dslope.size < lse.size:
        dslope = devices.empty(lse.size, lse.dtype, like=lse)
    if lse.size:
        softmax.BACKWARD_QUERY(lse.size, tuple(x), tuple(g), lse, delta, dout, dq, dslope)
    if g.keys:
        softmax.BACKWARD_KEY(dk.size // g.width, tuple(x), tuple(g), lse, delta, dout, dk, dv)
    return dq, dk, dv, dslope


def _backward_tiles(x, g, lse, delta, dout, dq, dk, dv, dslope) -> bool:
    """One unit a key head, or, where that leaves threads idle, two gathers: the scores twice, the same bits."""
    columns, key_heads, threads = tile_columns(g), dk.size // (g.room * g.width) if g.room else 0, get_num_threads()
    query_tiles, key_tiles = -(-g.queries // _ROWS), -(-g.keys // columns)
    rounds = -(-key_heads // threads)
    if rounds * threads * 4 <= 5 * key_heads or query_tiles * key_tiles < 4:
        passes = [(0, 1)]
    else:
        wanted = -(-4 * threads // key_heads)
        passes = [(1, min(wanted, query_tiles)), (2, min(wanted, key_tiles))]
    blas, fine = linalg.gemm_address(lse.dtype), True
    with linalg.single_threaded():
        for sides, parts in passes:
            clean = np.ones(key_heads * parts, np.uint8)

            def work(start, stop, sides=sides, parts=parts, clean=clean):
                space = np.empty(columns * (g.width + g.depth + 2 * _ROWS), lse.dtype)
                tiles.backward(
                    start, stop, blas, tuple(x), tuple(g), _ROWS, columns, parts, sides, space,
                    lse, delta, dout, dq, dk, dv, dslope, clean,
                )  # fmt: skip

            share(work, clean.size, 1, 4)
            fine = fine and bool(clean.all())
    return fine
