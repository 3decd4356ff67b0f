r"""The fast walk of the CPU: blocks of places, sorted by prime, four entries at a time, vectors of columns.

A state S[p] of 12 x d numbers moves through the cache for each entry if tokens are taken one by one. So places are
cut into blocks; within a block the entries are sorted by prime, and a prime's state is fetched once for all of its
entries. A group of four is the unit: its adders and readers alternate, one adder before each reader (a token that
attends itself and what came before), or it has adders only, or readers only. Each number of S is then loaded and
stored once for four multiply-adds in and four out.

Where readers and adders are the same entries, the last group of a prime is filled up with entries of base 0: one by
one they would wait for each other's sums. And what the next group and the next prime need is asked for in time: 60 ms
in place of 74 for 65,536 tokens of 16 primes and 64 columns on two threads.

Threads share vectors of columns for the values, and primes for the gradients of features: nobody writes where another
one writes, and the sums do not depend on the number of threads.
"""

from typing import NamedTuple

import numpy as np

from .._runtime.jit import kernel, scalar
from .._runtime.vectors import LANES, broadcast, fma, load, prefetch, store
from ._rotation import BASE, STRIDE, lay_base
from ._walk import row_at

GROUP = 4
AHEAD = 32  # entries between a base and the one whose place is fetched
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
            prefetch(base, STRIDE * offset[column[min(e + AHEAD, column.size - 1)]])
            s = offset[column[e]]
            offset[column[e]] += 1
            place[s] = at
            entry[s] = e
            lay_base(s, e, x, base)
    for p in range(offset.size - 1, 0, -1):
        offset[p] = offset[p - 1]
    offset[0] = 0


@scalar
def weigh(s, base, h, c, coefficient):
    """coefficient[STRIDE g:] = c_h base of reader s + g, for the four of a group."""
    nothing = broadcast(type(c[0])(0))
    for f in range(0, STRIDE, LANES):
        w = load(c, STRIDE * h + f)
        for g in range(GROUP):
            store(coefficient, STRIDE * g + f, fma(w, load(base, STRIDE * (s + g) + f), nothing))


@scalar
def weigh_one(s, base, h, c, coefficient):
    """coefficient = c_h base of reader s."""
    for f in range(0, STRIDE, LANES):
        store(coefficient, f, fma(load(c, STRIDE * h + f), load(base, STRIDE * s + f), broadcast(type(c[0])(0))))


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
def meet(b, v, q, s, a):
    """One adder, then one reader: S += b v, and a += q S."""
    s = fma(b, v, s)
    return s, fma(q, s, a)


@scalar
def meet_four(v, b, base_b, near, o, coefficient, state, z, sums):
    """Adder, reader, adder, reader ...: S is loaded and stored once for all eight."""
    v0, v1, v2, v3 = load(near, v[0]), load(near, v[1]), load(near, v[2]), load(near, v[3])
    a0, a1, a2, a3 = load(sums, o[0]), load(sums, o[1]), load(sums, o[2]), load(sums, o[3])
    for f in range(BASE):
        s = load(state, z + f * LANES)
        s, a0 = meet(broadcast(base_b[b + f]), v0, broadcast(coefficient[f]), s, a0)
        s, a1 = meet(broadcast(base_b[b + STRIDE + f]), v1, broadcast(coefficient[STRIDE + f]), s, a1)
        s, a2 = meet(broadcast(base_b[b + 2 * STRIDE + f]), v2, broadcast(coefficient[2 * STRIDE + f]), s, a2)
        s, a3 = meet(broadcast(base_b[b + 3 * STRIDE + f]), v3, broadcast(coefficient[3 * STRIDE + f]), s, a3)
        store(state, z + f * LANES, s)
    store(sums, o[0], a0)
    store(sums, o[1], a1)
    store(sums, o[2], a2)
    store(sums, o[3], a3)


@scalar
def meet_four_twice(v, w, b, base_b, near, o, u, coefficient, state, z, y, sums):
    """``meet_four`` for two vectors of columns at once, so that a number of a base is fetched once for both."""
    v0, v1, v2, v3 = load(near, v[0]), load(near, v[1]), load(near, v[2]), load(near, v[3])
    w0, w1, w2, w3 = load(near, w[0]), load(near, w[1]), load(near, w[2]), load(near, w[3])
    a0, a1, a2, a3 = load(sums, o[0]), load(sums, o[1]), load(sums, o[2]), load(sums, o[3])
    e0, e1, e2, e3 = load(sums, u[0]), load(sums, u[1]), load(sums, u[2]), load(sums, u[3])
    for f in range(BASE):
        s, r = load(state, z + f * LANES), load(state, y + f * LANES)
        b0, q0 = broadcast(base_b[b + f]), broadcast(coefficient[f])
        b1, q1 = broadcast(base_b[b + STRIDE + f]), broadcast(coefficient[STRIDE + f])
        b2, q2 = broadcast(base_b[b + 2 * STRIDE + f]), broadcast(coefficient[2 * STRIDE + f])
        b3, q3 = broadcast(base_b[b + 3 * STRIDE + f]), broadcast(coefficient[3 * STRIDE + f])
        s, a0 = meet(b0, v0, q0, s, a0)
        r, e0 = meet(b0, w0, q0, r, e0)
        s, a1 = meet(b1, v1, q1, s, a1)
        r, e1 = meet(b1, w1, q1, r, e1)
        s, a2 = meet(b2, v2, q2, s, a2)
        r, e2 = meet(b2, w2, q2, r, e2)
        s, a3 = meet(b3, v3, q3, s, a3)
        r, e3 = meet(b3, w3, q3, r, e3)
        store(state, z + f * LANES, s)
        store(state, y + f * LANES, r)
    store(sums, o[0], a0)
    store(sums, o[1], a1)
    store(sums, o[2], a2)
    store(sums, o[3], a3)
    store(sums, u[0], e0)
    store(sums, u[1], e1)
    store(sums, u[2], e2)
    store(sums, u[3], e3)


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
def vectors_at(s, place, origin):
    """Where one vector of columns of four entries lies, in rows that stand in the order of the walk."""
    return (
        origin + place[s] * LANES,
        origin + place[s + 1] * LANES,
        origin + place[s + 2] * LANES,
        origin + place[s + 3] * LANES,
    )


class Grid(NamedTuple):
    """How columns make vectors: ``width`` columns of a head fill ``per_head`` vectors, zeros at the end."""

    heads: int
    width: int
    per_head: int

    @classmethod
    def of(cls, columns: int, heads: int) -> "Grid":
        """``columns`` shared by ``heads``."""
        return cls(heads, columns // heads, -(-columns // (heads * LANES)))

    @property
    def vectors(self) -> int:
        """Vectors of all heads."""
        return self.heads * self.per_head

    def pairs(self) -> list[tuple[int, int]]:
        """Vectors [start, stop) of each task: two of one head, or the last one."""
        starts = [h * self.per_head + w for h in range(self.heads) for w in range(0, self.per_head, 2)]
        return [(w, min(w + 2, (w // self.per_head + 1) * self.per_head)) for w in starts]


@scalar
def span(w, grid):
    """First column of vector w, and how many columns it holds."""
    first = w % grid.per_head * LANES
    return w // grid.per_head * grid.width + first, min(LANES, grid.width - first)


@scalar
def bring_rows(w, start, stop, last, grid, value, near, origin):
    """Vector w of the values at places [start, stop), one after another from ``near[origin]`` on."""
    first, columns = span(w, grid)
    for place in range(start, stop):
        row, to = row_at(place, last) * grid.heads * grid.width + first, origin + (place - start) * LANES
        if columns == LANES:
            store(near, to, load(value, row))
        else:
            store(near, to, broadcast(type(near[0])(0)))
            for x in range(columns):
                near[to + x] = value[row + x]


@scalar
def return_rows(w, start, stop, last, grid, sums, origin, out):
    """The way back: the sums of places [start, stop) into their rows."""
    first, columns = span(w, grid)
    for place in range(start, stop):
        row, at = row_at(place, last) * grid.heads * grid.width + first, origin + (place - start) * LANES
        if columns == LANES:
            store(out, row, load(sums, at))
        else:
            for x in range(columns):
                out[row + x] = sums[at + x]


@scalar
def read_vector(z, near_at, sums_at, step, keep, readers, adders, limit, h, c, near, state, sums, coefficient):
    """One block for one vector of columns, whoever meets whom; the state of prime p starts at ``z + p step``."""
    offset, place, _, base = readers
    offset_b, place_b, _, base_b = adders
    nothing = broadcast(type(near[0])(0))
    for p in range(offset.size - 2):
        s, s_stop, t, t_stop = offset[p], offset[p + 1], offset_b[p], offset_b[p + 1]
        if not keep and s < s_stop:
            for x in range(z, z + BASE * LANES, LANES):
                store(state, x, nothing)
        while s < s_stop or (keep and t < t_stop):
            reach = limit[place[s]] if s < s_stop else place_b[t_stop - 1] + 1
            if alternate(s, s_stop, t, t_stop, place, place_b, limit):
                weigh(s, base, h, c, coefficient)
                v, o = vectors_at(t, place_b, near_at), vectors_at(s, place, sums_at)
                meet_four(v, STRIDE * t, base_b, near, o, coefficient, state, z, sums)
                s += GROUP
                t += GROUP
            elif t < t_stop and place_b[t] < reach:
                if t + GROUP <= t_stop and place_b[t + 3] < reach:
                    add_four(vectors_at(t, place_b, near_at), STRIDE * t, base_b, near, state, z)
                    t += GROUP
                else:
                    add_one(near_at + place_b[t] * LANES, STRIDE * t, base_b, near, state, z)
                    t += 1
            elif s + GROUP <= s_stop and (t == t_stop or place_b[t] >= limit[place[s + 3]]):
                weigh(s, base, h, c, coefficient)
                read_four(vectors_at(s, place, sums_at), coefficient, state, z, sums)
                s += GROUP
            else:
                weigh_one(s, base, h, c, coefficient)
                read_one(sums_at + place[s] * LANES, 0, coefficient, state, z, sums)
                s += 1
        z += step


@scalar
def lay_group(s, s_stop, base, h, c, group):
    """Bases of four readers from ``group[0]`` on and c_h times them after that; zeros from number ``s_stop`` on."""
    nothing = broadcast(type(c[0])(0))
    for f in range(0, STRIDE, LANES):
        w = load(c, STRIDE * h + f)
        for g in range(GROUP):
            b = load(base, STRIDE * (s + g) + f) if s + g < s_stop else nothing
            store(group, STRIDE * g + f, b)
            store(group, STRIDE * (GROUP + g) + f, fma(w, b, nothing))


@scalar
def places_of(s, s_stop, place, idle):
    """Places of four entries, in vectors; ``idle`` from number ``s_stop`` on."""
    return (
        (place[s] if s < s_stop else idle) * LANES,
        (place[s + 1] if s + 1 < s_stop else idle) * LANES,
        (place[s + 2] if s + 2 < s_stop else idle) * LANES,
        (place[s + 3] if s + 3 < s_stop else idle) * LANES,
    )


@scalar
def moved(places, origin):
    """The four places from ``origin`` on."""
    return places[0] + origin, places[1] + origin, places[2] + origin, places[3] + origin


@scalar
def ask_for(places, origin, array):
    """Ask for the vectors at four places: they lie anywhere, and the next group would wait for each."""
    for place in moved(places, origin):
        prefetch(array, place)


@scalar
def ask_for_state(z, y, first, state):
    """Ask for three vectors of a prime's state, from number ``first`` on, at ``z`` and, unless < 0, ``y``."""
    for x in range(first * LANES, min(first + 3, BASE) * LANES, LANES):
        prefetch(state, z + x)
        if y >= 0:
            prefetch(state, y + x)


@scalar
def read_itself(z, y, near_at, sums_at, next_at, idle, step, keep, side, h, c, near, state, sums, group):
    """One block where each reader meets all adders up to itself: vectors of columns at ``z`` and, unless < 0, ``y``.

    The last group of a prime is filled up with entries of base 0 at place ``idle``, which nobody looks at.
    """
    offset, place, _, base = side
    nothing = broadcast(type(near[0])(0))
    coefficient, entries = group[GROUP * STRIDE :], offset[offset.size - 2]
    for p in range(offset.size - 2):
        s_stop, asked = offset[p + 1], 0
        if not keep and offset[p] < s_stop:
            for x in range(0, BASE * LANES, LANES):
                store(state, z + x, nothing)
                store(state, max(y, z) + x, nothing)
        for s in range(offset[p], s_stop, GROUP):
            lay_group(s, s_stop, base, h, c, group)
            places = places_of(s, s_stop, place, idle)
            v, o = moved(places, near_at), moved(places, sums_at)
            following = places_of(min(s + GROUP, s_stop), entries, place, idle)
            ask_for(following, near_at, near)
            ask_for(following, sums_at, sums)
            if keep:
                ask_for_state(z + step, y + step, asked, state)
                asked += 3
            if y < 0:
                meet_four(v, 0, group, near, o, coefficient, state, z, sums)
            else:
                ask_for(following, near_at + next_at, near)
                ask_for(following, sums_at + next_at, sums)
                w, u = moved(places, near_at + next_at), moved(places, sums_at + next_at)
                meet_four_twice(v, w, 0, group, near, o, u, coefficient, state, z, y, sums)
        z += step
        y += step


@kernel
def read_block(
    start, stop, grid, block, keep, itself, readers, adders, last, last_b, limit, c, value, near, sums, group, state,
    out,
):  # fmt: skip
    """One block for the vectors of columns [start, stop): what its readers read, into their rows of ``out``.

    ``keep``: states live on in later blocks, state[((vector P + p) BASE + f) LANES + lane]; else there is one block
    only, and one state serves all primes. ``itself``: readers and adders are the same entries, and each reader meets
    all adders up to itself. ``near``, ``sums`` and ``group`` (four bases) are room for each vector; ``itself`` needs
    one row more in ``near`` and ``sums``, which is nobody's, and twice the ``group``.
    """
    first, until, first_b, until_b = block
    size, vectors = BASE * LANES, grid.heads * grid.per_head
    step, room = size if keep else 0, near.size // vectors
    nothing = broadcast(type(near[0])(0))
    for w in range(start, stop):
        bring_rows(w, first_b, until_b, last_b, grid, value, near, w * room)
        for z in range(w * room, w * room + (until - first) * LANES, LANES):
            store(sums, z, nothing)
        if itself:
            store(near, (w + 1) * room - LANES, nothing)
            store(sums, (w + 1) * room - LANES, nothing)
    w, apart = start, ((readers[0].size - 2) if keep else 1) * size
    while w < stop:
        h, two = w // grid.per_head, itself and w + 1 < stop and (w + 1) % grid.per_head != 0
        near_at, sums_at = w * room - first_b * LANES, w * room - first * LANES
        own = group[w * (1 + itself) * GROUP * STRIDE :]
        z = w * apart
        if itself:
            y = z + apart if two else -1 - step * (readers[0].size - 2)
            idle = first + room // LANES - 1
            read_itself(z, y, near_at, sums_at, room, idle, step, keep, readers, h, c, near, state, sums, own)
        else:
            read_vector(z, near_at, sums_at, step, keep, readers, adders, limit, h, c, near, state, sums, own)
        w += 1 + two
    for w in range(start, stop):
        return_rows(w, first, until, last, grid, sums, w * room, out)
