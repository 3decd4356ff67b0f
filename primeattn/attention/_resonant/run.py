"""Attention of prepared states on the device of its arrays, and its gradients by entry."""

from typing import Any, NamedTuple

import numpy as np

from ..._runtime import devices
from .._cores import softmax
from . import pairs, tiles, walk
from .call import Call


class Result(NamedTuple):
    """``out`` (heads, queries, depth), and for every query row the largest score and 1 / W, all flat."""

    out: Any
    stats: Any


def floor_of(dtype):
    return dtype.type(pairs.FLOOR * np.finfo(dtype).eps)


def forward(call: Call) -> Result:
    a, g = call.problem, call.sizes
    rows = call.heads * g.queries
    out = devices.empty(rows * g.depth, a.value.dtype, like=a.value)
    stats = devices.empty(2 * rows, a.value.dtype, like=a.value)
    if rows and call.sizes.keys and walk.fits(call):
        inverse = np.empty(rows, out.dtype)
        walk.forward(call, out, inverse)
        stats[0::2], stats[1::2] = 0, inverse
    elif rows and call.sizes.keys and tiles.fits(call):
        tiles.forward(call, out, stats)
    elif rows:
        pairs.FORWARD(rows, tuple(a), tuple(g), floor_of(a.value.dtype), out, stats)
    return Result(out, stats)


def weights(call: Call, result: Result):
    """(heads, queries, keys), flat."""
    g = call.sizes
    rows = call.heads * g.queries
    table = devices.empty(rows * g.keys, result.out.dtype, like=result.out)
    if table.size:
        pairs.TABLE(rows, tuple(call.problem), tuple(g), result.stats, table)
    return table


def backward(call: Call, result: Result, dout):
    """``(dvalue, dentries, dentries_b, dmix)``; the last (heads, 4) on the host: weights and temperature."""
    a, g = call.problem, call.sizes
    rows = call.heads * g.queries
    if rows and g.keys and walk.fits(call):
        inverse = np.ascontiguousarray(result.stats[1::2])
        *gradients, dweights = walk.backward(call, inverse, result.out, dout)
        return *gradients, np.concatenate([dweights, np.zeros((call.heads, 1))], axis=1)
    if rows and g.keys and tiles.fits(call, dout):
        return tiles.backward(call, result.stats, result.out, dout)

    def empty(size):
        return devices.empty(size, a.value.dtype, like=a.value)

    delta, dmix = empty(rows), empty(4 * rows)
    dvalue, dx, dy = empty(a.value.size), empty(a.x.size), empty(a.y.size)
    if rows:
        softmax.DELTA(rows, result.out, dout, g.depth, delta)
        pairs.PULL_QUERY(rows, tuple(a), tuple(g), result.stats, delta, dout, dx, dmix)
    if call.heads * g.keys:
        pairs.PULL_KEY(call.heads * g.keys, tuple(a), tuple(g), result.stats, delta, dout, dvalue, dy)
    each = devices.to_host(dmix).reshape(call.heads, g.queries, 4) if call.heads else np.zeros((0, 0, 4))
    return dvalue, dx, dy, each.sum(axis=1, dtype=np.float64)
