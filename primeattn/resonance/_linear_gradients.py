r"""Gradients of the linear form in O(n k): one walk forwards, two backwards.

With N_i = sum_j K_ij v_j, D_i = sum_j K_ij, out_i = N_i / D_i and the gradient g of out,

    dN_i = g_i / D_i,      dD_i = -(g_i.out_i) / D_i

so L = sum_ij K_ij (dN_i.v_j + dD_i): append dD to dN, and a 1 to every value, and it is sum_ij K_ij (x_i.y_j). Hence

    dv_j = sum_i K_ij dN_i                    the walk of the forward pass, backwards, roles exchanged
    dbase of query i = c S_i x_i              S_i the state of the keys before i, with the values y
    dbase of key j = c T_j y_j                T_j the state of the queries after j, with the values x
    dc = sum_i base_i (S_i x_i)

A state is stored here with the features side by side, S[p][column][feature], so that S x is a sum of vectors.
"""

from functools import partial

import numpy as np
from numba import get_num_threads

from .._runtime.jit import kernel, scalar
from .._runtime.memory import Scratch
from .._runtime.vectors import LANES, broadcast, fma, load, store
from ._inverted import CHUNKS
from ._linear import Walk, perform, read_all, sorted_blocks
from ._march import GROUP, alternate, rows_at
from ._profiles import frozen
from ._rotation import STRIDE, pull_base_row, pull_coefficients
from ._softmax import DELTA
from ._walk import row_at


@scalar
def pull_reader(s, h, f, a, c, base, dbase, dc, z):
    """dbase of reader s += c_h a and dc_h += base a, for one vector of features."""
    b = STRIDE * s + f
    store(dbase, b, fma(load(c, STRIDE * h + f), a, load(dbase, b)))
    store(dc, z, fma(load(base, b), a, load(dc, z)))


@scalar
def pull_four(s, t, h, f, first, last, v, o, base, base_b, value, other, c, state, z, dbase, dc, at):
    """Adder, reader, adder, reader ... for the columns [first, last) of a head, and one vector of features."""
    b0, b1 = load(base_b, STRIDE * t + f), load(base_b, STRIDE * (t + 1) + f)
    b2, b3 = load(base_b, STRIDE * (t + 2) + f), load(base_b, STRIDE * (t + 3) + f)
    a0 = a1 = a2 = a3 = broadcast(type(value[0])(0))
    for x in range(first, last):
        w = z + STRIDE * x
        s_x = fma(broadcast(value[v[0] + x]), b0, load(state, w))
        a0 = fma(broadcast(other[o[0] + x]), s_x, a0)
        s_x = fma(broadcast(value[v[1] + x]), b1, s_x)
        a1 = fma(broadcast(other[o[1] + x]), s_x, a1)
        s_x = fma(broadcast(value[v[2] + x]), b2, s_x)
        a2 = fma(broadcast(other[o[2] + x]), s_x, a2)
        s_x = fma(broadcast(value[v[3] + x]), b3, s_x)
        a3 = fma(broadcast(other[o[3] + x]), s_x, a3)
        store(state, w, s_x)
    pull_reader(s, h, f, a0, c, base, dbase, dc, at)
    pull_reader(s + 1, h, f, a1, c, base, dbase, dc, at)
    pull_reader(s + 2, h, f, a2, c, base, dbase, dc, at)
    pull_reader(s + 3, h, f, a3, c, base, dbase, dc, at)


@scalar
def add_one(t, v, columns, base_b, value, state, z):
    """S[column] += value base for one adder."""
    for f in range(0, STRIDE, LANES):
        b = load(base_b, STRIDE * t + f)
        for x in range(columns):
            w = z + STRIDE * x + f
            store(state, w, fma(broadcast(value[v + x]), b, load(state, w)))


@kernel
def pull_block(
    start, stop, heads, columns, keep, readers, adders, last, last_b, limit, c, value, other, state, dbase, dc, x, dx
):
    """One block for the primes [start, stop): gradients ``dx`` of the readers' entries, and ``dc`` of each prime."""
    offset, place, entry, base = readers
    offset_b, place_b, _, base_b = adders
    width = columns // heads
    nothing = broadcast(type(value[0])(0))
    for p in range(start, stop):
        s, s_stop, t, t_stop = offset[p], offset[p + 1], offset_b[p], offset_b[p + 1]
        z = p * columns * STRIDE if keep else start * columns * STRIDE
        if not keep and s < s_stop:
            for w in range(z, z + columns * STRIDE, LANES):
                store(state, w, nothing)
        while s < s_stop or (keep and t < t_stop):
            reach = limit[place[s]] if s < s_stop else place_b[t_stop - 1] + 1
            if alternate(s, s_stop, t, t_stop, place, place_b, limit):
                v, o = rows_at(t, place_b, last_b, columns), rows_at(s, place, last, columns)
                for w in range(STRIDE * s, STRIDE * (s + GROUP), LANES):
                    store(dbase, w, nothing)
                for h in range(heads):
                    for f in range(0, STRIDE, LANES):
                        pull_four(
                            s, t, h, f, h * width, (h + 1) * width, v, o, base, base_b, value, other, c, state, z + f,
                            dbase, dc, (p * heads + h) * STRIDE + f,
                        )  # fmt: skip
                for g in range(GROUP):
                    pull_base_row(s + g, entry, x, dbase, dx)
                s += GROUP
                t += GROUP
            elif t < t_stop and place_b[t] < reach:
                add_one(t, row_at(place_b[t], last_b) * columns, columns, base_b, value, state, z)
                t += 1
            else:
                o = row_at(place[s], last) * columns
                for f in range(0, STRIDE, LANES):
                    store(dbase, STRIDE * s + f, nothing)
                    for h in range(heads):
                        a = nothing
                        for y in range(h * width, (h + 1) * width):
                            a = fma(broadcast(other[o + y]), load(state, z + STRIDE * y + f), a)
                        pull_reader(s, h, f, a, c, base, dbase, dc, (p * heads + h) * STRIDE + f)
                pull_base_row(s, entry, x, dbase, dx)
                s += 1


def pull_all(walk: Walk, value: np.ndarray, other: np.ndarray, c: np.ndarray, heads: int):
    """``(dentries, dc)`` of the readers of sum_i other_i . (what i reads of ``value``); dc (H, STRIDE), float64."""
    dtype, columns = value.dtype, value.shape[1]
    dx = np.zeros(walk.readers.profile.entries.size, dtype)
    keep = len(walk.blocks()) > 1
    last, last_b, x = walk.readers.last, walk.adders.last, walk.readers.profile.entries
    with Scratch() as take:
        state, dc = take(walk.primes * columns * STRIDE, dtype), take(walk.primes * heads * STRIDE, dtype)
        state[:], dc[:] = 0, 0
        room = take(STRIDE * walk.most_entries(), dtype)
        step = max(16, -(-walk.primes // (CHUNKS * get_num_threads())))
        for _, readers, adders, ahead in sorted_blocks(walk, take):
            pulls = [
                partial(
                    pull_block, start, min(start + step, walk.primes), heads, columns, keep, readers, adders, last,
                    last_b, walk.limit, c, value.reshape(-1), other.reshape(-1), state, room, dc, x, dx,
                )
                for start in range(0, walk.primes, step)
            ]  # fmt: skip
            perform(ahead + pulls)
        return dx, dc.reshape(-1, heads, STRIDE).sum(axis=0, dtype=np.float64)


def with_last_column(x: np.ndarray, heads: int, column) -> np.ndarray:
    """The columns of every head, and one more."""
    n, width = x.shape[0], x.shape[1] // heads
    out = np.empty((n, heads, width + 1), x.dtype)
    out[:, :, :-1] = x.reshape(n, heads, width)
    out[:, :, -1] = column
    return out.reshape(n, heads * (width + 1))


def pull_by_walking(walk: Walk, c: np.ndarray, value, inverse, out, dout):
    """``(dvalue, dentries, dentries_b, dweights (H, 3))`` from the result and 1/D of ``by_walking``."""
    heads, n, dtype = len(c), dout.shape[0], value.dtype
    width = value.shape[1] // heads
    flat = c.reshape(-1)
    delta = np.empty(n * heads, dtype)
    DELTA(n * heads, width, frozen(dout), frozen(out), delta)
    dsums = (dout.reshape(n, heads, width) * inverse.reshape(n, heads, 1)).reshape(dout.shape)
    x = with_last_column(dsums, heads, -(delta * inverse).reshape(n, heads))
    y = with_last_column(value, heads, 1)
    back = walk.reversed()
    dx, dc = pull_all(walk, y, x, flat, heads)
    dy, _ = pull_all(back, x, y, flat, heads)
    dvalue = read_all(back, dsums, flat, heads)
    return dvalue, dx, dy, pull_coefficients(dc)
