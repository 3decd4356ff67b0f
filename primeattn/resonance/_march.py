r"""The fast walk of the CPU: blocks of places, sorted by prime, four entries at a time, vectors of columns.

A state S[p] of 12 x d numbers moves through the cache for each entry if tokens are taken one by one. So places are
cut into blocks; within a block the entries are sorted by prime, and a prime's state is fetched once for all of its
entries. A group of four is the unit: its adders and readers alternate, one adder before each reader (a token that
attends itself and what came before), or it has adders only, or readers only. Each number of S is then loaded and
stored once for four multiply-adds in and four out.

Threads share vectors of columns for the values, and primes for the gradients of features: nobody writes where
another one writes, and the sums do not depend on the number of threads.
"""

from typing import NamedTuple

import numpy as np

from .._runtime.jit import kernel, scalar
from .._runtime.vectors import LANES, broadcast, fma, load, prefetch, store
from ._rotation import BASE, STRIDE, base_row
from ._walk import row_at

GROUP = 4
RUN = 16  # entries of one prime that a block should hold


class Block(NamedTuple):
    """Places of readers [start, stop) and of adders [start_b, stop_b) that are walked together."""

    start: int
    stop: int
    start_b: int
    stop_b: int


def blocks_of(limit: np.ndarray, size: int) -> list[Block]:
    """Cut the walk so that no reader comes before one of its adders; adders that nobody meets are left out."""
    n, start, start_b, found = limit.size, 0, 0, []
    while start < n:
        while limit[start] - start_b > size:
            found.append(Block(start, start, start_b, start_b + size))
            start_b += size
        full = int(np.searchsorted(limit, start_b + 2 * size, side="right"))
        stop = max(start + 1, min(start + size, n, full))
        found.append(Block(start, stop, start_b, int(limit[stop - 1])))
        start, start_b = stop, int(limit[stop - 1])
    return found


@kernel
def sort_block(start, stop, last, indptr, column, x, offset, place, entry, base):
    """Counting sort of the entries of places [start, stop) by prime; ``offset`` has one more prime, for absent ones."""
    for p in range(offset.size):
        offset[p] = 0
    for at in range(start, stop):
        i = row_at(at, last)
        for e in range(indptr[i], indptr[i + 1]):
            offset[column[e] + 1] += 1
    for p in range(offset.size - 1):
        offset[p + 1] += offset[p]
    for at in range(start, stop):
        i = row_at(at, last)
        for e in range(indptr[i], indptr[i + 1]):
            s = offset[column[e]]
            offset[column[e]] += 1
            place[s] = at
            entry[s] = e
    for p in range(offset.size - 1, 0, -1):
        offset[p] = offset[p - 1]
    offset[0] = 0
    for s in range(offset[offset.size - 1]):
        base_row(s, entry, x, base)


@scalar
def weigh(s, base, h, c, coefficient):
    """coefficient[STRIDE g:] = c_h base of reader s + g, for the four of a group."""
    nothing = broadcast(c[0] - c[0])
    for f in range(0, STRIDE, LANES):
        w = load(c, STRIDE * h + f)
        for g in range(GROUP):
            store(coefficient, STRIDE * g + f, fma(w, load(base, STRIDE * (s + g) + f), nothing))


@scalar
def add_one(v, b, base_b, value, state, z):
    """S += b v for one adder and one vector of columns."""
    x = load(value, v)
    for f in range(BASE):
        store(state, z + f * LANES, fma(broadcast(base_b[b + f]), x, load(state, z + f * LANES)))


@scalar
def read_one(o, q, coefficient, state, z, out):
    """out += c b . S for one reader and one vector of columns."""
    a = load(out, o)
    for f in range(BASE):
        a = fma(broadcast(coefficient[q + f]), load(state, z + f * LANES), a)
    store(out, o, a)


@scalar
def add_four(v, b, base_b, value, state, z):
    """S += sum of b v over four adders."""
    v0, v1, v2, v3 = load(value, v[0]), load(value, v[1]), load(value, v[2]), load(value, v[3])
    for f in range(BASE):
        s = load(state, z + f * LANES)
        s = fma(broadcast(base_b[b + f]), v0, s)
        s = fma(broadcast(base_b[b + STRIDE + f]), v1, s)
        s = fma(broadcast(base_b[b + 2 * STRIDE + f]), v2, s)
        store(state, z + f * LANES, fma(broadcast(base_b[b + 3 * STRIDE + f]), v3, s))


@scalar
def read_four(o, coefficient, state, z, out):
    """out += c b . S for four readers."""
    a0, a1, a2, a3 = load(out, o[0]), load(out, o[1]), load(out, o[2]), load(out, o[3])
    for f in range(BASE):
        s = load(state, z + f * LANES)
        a0 = fma(broadcast(coefficient[f]), s, a0)
        a1 = fma(broadcast(coefficient[STRIDE + f]), s, a1)
        a2 = fma(broadcast(coefficient[2 * STRIDE + f]), s, a2)
        a3 = fma(broadcast(coefficient[3 * STRIDE + f]), s, a3)
    store(out, o[0], a0)
    store(out, o[1], a1)
    store(out, o[2], a2)
    store(out, o[3], a3)


@scalar
def add_and_read_four(v, b, base_b, value, o, coefficient, state, z, out):
    """Adder, reader, adder, reader ...: S is loaded and stored once for all eight."""
    v0, v1, v2, v3 = load(value, v[0]), load(value, v[1]), load(value, v[2]), load(value, v[3])
    a0, a1, a2, a3 = load(out, o[0]), load(out, o[1]), load(out, o[2]), load(out, o[3])
    for f in range(BASE):
        s = load(state, z + f * LANES)
        s = fma(broadcast(base_b[b + f]), v0, s)
        a0 = fma(broadcast(coefficient[f]), s, a0)
        s = fma(broadcast(base_b[b + STRIDE + f]), v1, s)
        a1 = fma(broadcast(coefficient[STRIDE + f]), s, a1)
        s = fma(broadcast(base_b[b + 2 * STRIDE + f]), v2, s)
        a2 = fma(broadcast(coefficient[2 * STRIDE + f]), s, a2)
        s = fma(broadcast(base_b[b + 3 * STRIDE + f]), v3, s)
        a3 = fma(broadcast(coefficient[3 * STRIDE + f]), s, a3)
        store(state, z + f * LANES, s)
    store(out, o[0], a0)
    store(out, o[1], a1)
    store(out, o[2], a2)
    store(out, o[3], a3)


@scalar
def alternate(s, s_stop, t, t_stop, place, place_b, limit):
    """True if the next four readers have exactly one new adder each."""
    if s + GROUP > s_stop or t + GROUP > t_stop:
        return False
    for g in range(GROUP):
        reach = limit[place[s + g]]
        if place_b[t + g] >= reach or (t + g + 1 < t_stop and place_b[t + g + 1] < reach):
            return False
    return True


@scalar
def rows_at(s, place, last, stride):
    """Where the rows of four entries start."""
    return (
        row_at(place[s], last) * stride,
        row_at(place[s + 1], last) * stride,
        row_at(place[s + 2], last) * stride,
        row_at(place[s + 3], last) * stride,
    )


@scalar
def shifted(rows, column):
    """The same rows, ``column`` further right."""
    return rows[0] + column, rows[1] + column, rows[2] + column, rows[3] + column


@scalar
def fetch_rows(s, place, last, stride, start, stop, x):
    """Prefetch the vectors [start, stop) of the rows of four entries."""
    for g in range(GROUP):
        row = row_at(place[s + g], last) * stride
        for w in range(start, stop):
            prefetch(x, row + w * LANES)


@kernel
def read_block(start, stop, vectors, per_head, keep, readers, adders, last, last_adder, limit, c, value, state, out):
    """One block for the vectors of columns [start, stop) out of ``vectors``; ``per_head`` of them make a head.

    ``keep``: states live on in later blocks, state[((p vectors + vector) BASE + f) LANES + lane]; else there is one
    block only, and one state serves all primes.
    """
    offset, place, _, base = readers
    offset_b, place_b, _, base_b = adders
    stride = vectors * LANES
    size = BASE * LANES
    coefficient = np.empty(GROUP * STRIDE, value.dtype)
    nothing = broadcast(value[0] - value[0])
    filled, filled_b = offset[offset.size - 1], offset_b[offset_b.size - 1]
    for p in range(offset.size - 2):
        s, s_stop, t, t_stop = offset[p], offset[p + 1], offset_b[p], offset_b[p + 1]
        origin = p * vectors * size if keep else 0
        if not keep:
            if s == s_stop:
                continue
            for z in range(origin + start * size, origin + stop * size, LANES):
                store(state, z, nothing)
        while s < s_stop or (keep and t < t_stop):
            reach = limit[place[s]] if s < s_stop else place_b[t_stop - 1] + 1
            if alternate(s, s_stop, t, t_stop, place, place_b, limit):
                v, o = rows_at(t, place_b, last_adder, stride), rows_at(s, place, last, stride)
                if s + 2 * GROUP <= filled and t + 2 * GROUP <= filled_b:  # rows lie far apart: 1.5 times as fast
                    fetch_rows(t + GROUP, place_b, last_adder, stride, start, stop, value)
                    fetch_rows(s + GROUP, place, last, stride, start, stop, out)
                for w in range(start, stop):
                    if w == start or w % per_head == 0:
                        weigh(s, base, w // per_head, c, coefficient)
                    x = w * LANES
                    add_and_read_four(
                        shifted(v, x), STRIDE * t, base_b, value, shifted(o, x), coefficient, state,
                        origin + w * size, out,
                    )  # fmt: skip
                s += GROUP
                t += GROUP
            elif t < t_stop and place_b[t] < reach:
                if t + GROUP <= t_stop and place_b[t + 3] < reach:
                    v = rows_at(t, place_b, last_adder, stride)
                    for w in range(start, stop):
                        add_four(shifted(v, w * LANES), STRIDE * t, base_b, value, state, origin + w * size)
                    t += GROUP
                else:
                    one = row_at(place_b[t], last_adder) * stride
                    for w in range(start, stop):
                        add_one(one + w * LANES, STRIDE * t, base_b, value, state, origin + w * size)
                    t += 1
            elif s + GROUP <= s_stop and (t == t_stop or place_b[t] >= limit[place[s + 3]]):
                o = rows_at(s, place, last, stride)
                for w in range(start, stop):
                    if w == start or w % per_head == 0:
                        weigh(s, base, w // per_head, c, coefficient)
                    read_four(shifted(o, w * LANES), coefficient, state, origin + w * size, out)
                s += GROUP
            else:
                one = row_at(place[s], last) * stride
                for w in range(start, stop):
                    if w == start or w % per_head == 0:
                        for f in range(BASE):
                            coefficient[f] = c[STRIDE * (w // per_head) + f] * base[STRIDE * s + f]
                    read_one(one + w * LANES, 0, coefficient, state, origin + w * size, out)
                s += 1
