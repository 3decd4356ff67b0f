r"""The linear form: out_i = sum_j K_ij v_j / sum_j K_ij in O(n k), exactly, whole sequences on the CPU.

``_rotation`` has the feature map, ``_walk`` the specification and the CUDA form, ``_march`` the compiled blocks; here
they are put together: who reads whom, block by block, and the division at the end. A row whose keys share no prime
with it, or only primes on which the kernel vanishes (mean over them <= ``FLOOR`` eps), is zero.
"""

from typing import NamedTuple

import numpy as np
from numba import get_num_threads

from .._runtime.jit import kernel, scalar
from .._runtime.owners import Owner, share
from .._runtime.vectors import LANES, broadcast, fma, load, store, total
from ._inverted import columns
from ._march import RUN, Block, blocks_of, read_block, sort_block
from ._profiles import Profile, frozen
from ._rotation import BASE, STRIDE
from ._walk import Side, row_at

FLOOR = 64  # the kernel is a sum of 12 products that may cancel to 0: their rounding, with room


class Rows(NamedTuple):
    """One side of a walk: its profile, the number of each entry's prime, and the last row if it walks backwards."""

    profile: Profile
    column: np.ndarray
    last: int

    def entries(self, start: int, stop: int) -> int:
        """How many entries the places [start, stop) hold."""
        indptr = self.profile.indptr
        if self.last >= 0:
            start, stop = self.last + 1 - stop, self.last + 1 - start
        return int(indptr[stop] - indptr[start])


class Walk(NamedTuple):
    """Who reads whom: the reader at place i meets the adders at places below ``limit[i]``."""

    readers: Rows
    adders: Rows
    limit: np.ndarray
    primes: int

    def reversed(self) -> "Walk":
        """The same pairs with the roles exchanged, walked backwards: what the gradients need."""
        n, m = self.readers.profile.n, self.adders.profile.n
        before = np.searchsorted(self.limit, np.arange(m), side="right")  # readers that do not meet adder j
        return Walk(
            self.adders._replace(last=m - 1),
            self.readers._replace(last=n - 1),
            np.ascontiguousarray((n - before)[::-1]).astype(np.int64),
            self.primes,
        )

    def blocks(self) -> list[Block]:
        """Blocks that hold about ``RUN`` entries of a prime; one block if there are few entries."""
        nnz = self.readers.profile.primes.size + self.adders.profile.primes.size
        rows = self.readers.profile.n + self.adders.profile.n
        size = max(1024, -(-RUN * self.primes * rows // max(nnz, 1)))
        return blocks_of(self.limit, size if 3 * size < 2 * rows else rows)


def walk(a: Profile, b: Profile, limit: np.ndarray) -> Walk:
    """Queries ``a`` read what keys ``b`` add, key j before query i if j < limit[i]."""
    own, other, primes = columns(a.primes, b.primes)
    return Walk(Rows(a, own, -1), Rows(b, other, -1), limit, primes)


def _room(primes: int, entries: int, dtype) -> Side:
    numbers = np.empty((2, entries), np.int64)
    return Side(np.empty(primes + 2, np.int64), numbers[0], numbers[1], np.empty(STRIDE * entries, dtype))


class Slot:
    """Room for the two sorted sides of one block, used again and again."""

    def __init__(self, primes: int, readers: int, adders: int, dtype):
        self.readers, self.adders = _room(primes, readers, dtype), _room(primes, adders, dtype)

    def fill(self, walk: Walk, block: Block) -> tuple[Side, Side]:
        """Sort a block; a block that reads just what it adds is sorted once."""
        readers, adders = walk.readers, walk.adders
        sort_block(block.start, block.stop, readers.last, readers.profile.indptr, readers.column,
                   readers.profile.entries, *self.readers)  # fmt: skip
        if readers.profile is adders.profile and block[:2] == block[2:]:
            return self.readers, self.readers
        sort_block(block.start_b, block.stop_b, adders.last, adders.profile.indptr, adders.column,
                   adders.profile.entries, *self.adders)  # fmt: skip
        return self.readers, self.adders


def batches(walk: Walk):
    """Batches of sorted blocks, one for each thread, as ``[(readers, adders), ...]``."""
    found = walk.blocks()
    most = max((walk.readers.entries(b.start, b.stop) for b in found), default=0)
    most_b = max((walk.adders.entries(b.start_b, b.stop_b) for b in found), default=0)
    dtype = walk.readers.profile.entries.dtype
    at_once = max(1, min(get_num_threads(), len(found)))
    slots = [Slot(walk.primes, most, most_b, dtype) for _ in range(at_once)]
    for first in range(0, len(found), at_once):
        batch = found[first : first + at_once]
        sorted_sides: list = [None] * len(batch)

        def sort(start, stop, batch=batch, sorted_sides=sorted_sides):
            for r in range(start, stop):
                sorted_sides[r] = slots[r].fill(walk, batch[r])

        share(sort, len(batch), 1, len(batch))
        yield sorted_sides


@kernel
def total_block(heads, keep, readers, adders, last, limit, c, state, totals, mass):
    """``totals[i heads + h]`` += sum_j K_ij, ``mass[i]`` += sum_j |overlap|; the state of a prime is sum_j b_j."""
    offset, place, _, base = readers
    offset_b, place_b, _, base_b = adders
    nothing, one = broadcast(c[0] - c[0]), broadcast(type(c[0])(1))
    for p in range(offset.size - 2):
        z = STRIDE * p if keep else 0
        if not keep:
            for f in range(0, STRIDE, LANES):
                store(state, z + f, nothing)
        t, t_stop = offset_b[p], offset_b[p + 1]
        for s in range(offset[p], offset[p + 1]):
            reach = limit[place[s]]
            while t < t_stop and place_b[t] < reach:
                for f in range(0, STRIDE, LANES):
                    store(state, z + f, fma(one, load(base_b, STRIDE * t + f), load(state, z + f)))
                t += 1
            i = row_at(place[s], last)
            mass[i] += base[STRIDE * s] * state[z]
            for h in range(heads):
                read = nothing
                for f in range(0, STRIDE, LANES):
                    w = fma(load(c, STRIDE * h + f), load(base, STRIDE * s + f), nothing)
                    read = fma(w, load(state, z + f), read)
                totals[i * heads + h] += total(read)
        while keep and t < t_stop:
            for f in range(0, STRIDE, LANES):
                store(state, z + f, fma(one, load(base_b, STRIDE * t + f), load(state, z + f)))
            t += 1


@scalar
def divide_row(i, heads, width, padded, floor, totals, mass, sums, out):
    """Row i of the result; ``totals`` becomes its inverse, 0 for a row that is zero."""
    one = type(floor)(1)
    for h in range(heads):
        r = i * heads + h
        inverse = one / totals[r] if totals[r] > floor * mass[i] else one - one
        totals[r] = inverse
        for c in range(width):
            out[r * width + c] = sums[r * padded + c] * inverse


@kernel
def divide_rows(start, stop, heads, width, padded, floor, totals, mass, sums, out):
    for i in range(start, stop):
        divide_row(i, heads, width, padded, floor, totals, mass, sums, out)


DIVIDE = Owner(divide_row, divide_rows, "i i i F F1 F1 F1 F1", grain=256)


def pad(value: np.ndarray, heads: int, vectors: int = 1) -> np.ndarray:
    """Columns of every head filled up with zeros to a multiple of ``vectors`` vectors; no copy where they are."""
    n, width = value.shape[0], value.shape[1] // heads
    whole = -(-width // (vectors * LANES)) * vectors * LANES
    if whole == width:
        return value
    out = np.zeros((n, heads, whole), value.dtype)
    out[:, :, :width] = value.reshape(n, heads, width)
    return out.reshape(n, heads * whole)


def read_all(walk: Walk, value: np.ndarray, c: np.ndarray, heads: int, with_totals: bool):
    """``(sums, totals, mass)``: sum_j K_ij v_j (padded), sum_j K_ij by head, and the overlap masses."""
    n, dtype = walk.readers.profile.n, value.dtype
    vectors, flat = value.shape[1] // LANES, frozen(value)
    sums = np.zeros((n, value.shape[1]), dtype)
    totals, mass = np.zeros(n * heads, dtype), np.zeros(n, dtype)
    keep = len(walk.blocks()) > 1
    state = np.zeros((walk.primes if keep else 1) * vectors * BASE * LANES, dtype)
    small = np.zeros((walk.primes if keep else 1) * STRIDE, dtype)
    last, last_b = walk.readers.last, walk.adders.last
    for batch in batches(walk):

        def read(start, stop, batch=batch):
            for readers, adders in batch:
                if stop > vectors and with_totals:
                    total_block(heads, keep, readers, adders, last, walk.limit, c, small, totals, mass)
                read_block(
                    start, min(stop, vectors), vectors, vectors // heads, keep, readers, adders, last, last_b,
                    walk.limit, c, flat, state, sums.reshape(-1),
                )  # fmt: skip

        share(read, vectors + 1, 1)
    return sums, totals, mass


def by_walking(walk: Walk, c: np.ndarray, value: np.ndarray):
    """``(out, inverse)``: the attention, and 1 / sum_j K_ij by head, 0 for zero rows; ``c`` (H, STRIDE)."""
    heads, n = len(c), walk.readers.profile.n
    padded = pad(value, heads)
    sums, totals, mass = read_all(walk, padded, c.reshape(-1), heads, True)
    width, whole = value.shape[1] // heads, padded.shape[1] // heads
    out = np.empty((n, value.shape[1]), value.dtype)
    floor = value.dtype.type(FLOOR * np.finfo(value.dtype).eps)
    DIVIDE(n, heads, width, whole, floor, totals, mass, sums.reshape(-1), out.reshape(-1))
    return out, totals
