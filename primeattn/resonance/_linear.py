r"""The linear form: out_i = sum_j K_ij v_j / sum_j K_ij in O(n k), exactly, whole sequences on the CPU.

``_rotation`` has the feature map, ``_walk`` the specification and the CUDA form, ``_march`` the compiled blocks; here
they are put together: who reads whom, block by block, and the division at the end. A row whose keys share no prime
with it, or only primes on which the kernel vanishes (mean over them <= ``FLOOR`` eps), is zero.
"""

from typing import NamedTuple

import numpy as np
from numba import get_num_threads

from .._runtime.jit import kernel, nonnegative, scalar
from .._runtime.memory import Scratch
from .._runtime.owners import Owner, share
from .._runtime.vectors import LANES, broadcast, fma, load, store, total
from ._inverted import columns
from ._march import GROUP, RUN, Block, Grid, blocks_of, read_block, sort_block
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

    def itself(self) -> bool:
        """True if readers and adders are the same entries, and each reader meets all adders up to itself."""
        same = self.readers.profile is self.adders.profile and self.readers.last == self.adders.last
        return same and bool((self.limit == np.arange(1, self.limit.size + 1)).all())

    def blocks(self) -> list[Block]:
        """Blocks that hold about ``RUN`` entries of a prime; one block if there are few entries."""
        nnz = self.readers.profile.primes.size + self.adders.profile.primes.size
        rows = self.readers.profile.n + self.adders.profile.n
        size = max(1024, -(-RUN * self.primes * rows // max(nnz, 1)))
        return blocks_of(self.limit, size if 3 * size < 2 * rows else rows)

    def most_entries(self) -> int:
        """Entries of the readers of one block, at most."""
        return max((self.readers.entries(b.start, b.stop) for b in self.blocks()), default=0)


def walk(a: Profile, b: Profile, limit: np.ndarray) -> Walk:
    """Queries ``a`` read what keys ``b`` add, key j before query i if j < limit[i]."""
    own, other, primes = columns(a.primes, b.primes)
    return Walk(Rows(a, own, -1), Rows(b, other, -1), limit, primes)


class Slot:
    """Room for the two sorted sides of one block, used again and again."""

    def __init__(self, primes: int, readers: int, adders: int, dtype, take):
        self.readers, self.adders = (
            Side(take(primes + 2, np.int64), take(n, np.int64), take(n, np.int64), take(STRIDE * n, dtype))
            for n in (readers, adders)
        )

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


def batches(walk: Walk, take):
    """Batches of sorted blocks, one for each thread, as ``[(block, readers, adders), ...]``; room from ``take``."""
    found, itself = walk.blocks(), walk.itself()
    most_b = max((walk.adders.entries(b.start_b, b.stop_b) for b in found), default=0)
    dtype = walk.readers.profile.entries.dtype
    at_once = max(1, min(get_num_threads(), len(found)))
    slots = [Slot(walk.primes, walk.most_entries(), 0 if itself else most_b, dtype, take) for _ in range(at_once)]
    for first in range(0, len(found), at_once):
        batch = found[first : first + at_once]
        sorted_sides: list = [None] * len(batch)

        def sort(start, stop, batch=batch, sorted_sides=sorted_sides):
            for r in range(start, stop):
                sorted_sides[r] = batch[r], *slots[r].fill(walk, batch[r])

        share(sort, len(batch), 1, len(batch))
        yield sorted_sides


@scalar
def sum_up(i, heads, c, row, products, totals, mass):
    """``totals`` and ``mass`` of reader i from its ``products``, which are zeroed for the next one."""
    mass[i] = products[row]
    for h in range(heads):
        read = broadcast(type(c[0])(0))
        for f in range(0, STRIDE, LANES):
            read = fma(load(c, STRIDE * h + f), load(products, row + f), read)
        totals[i * heads + h] = total(read)
    for f in range(row, row + STRIDE):
        products[f] = 0


@kernel
def total_block(heads, block, keep, readers, adders, last, limit, c, state, products, totals, mass):
    """``totals[i heads + h]`` = sum_j K_ij = sum_f c_hf sum_p b_ipf Z_pf, ``mass[i]`` = sum_j |overlap|.

    The state of a prime is Z_p = sum_j b_jp; ``products`` holds sum_p b_ipf Z_pf for each reader and feature, and is
    left zeroed.
    """
    offset, place, _, base = readers
    offset_b, place_b, _, base_b = adders
    first, until = block[0], block[1]
    nothing, one = broadcast(type(c[0])(0)), broadcast(type(c[0])(1))
    for p in range(offset.size - 2):
        z = STRIDE * p if keep else 0
        if not keep:
            for f in range(0, STRIDE, LANES):
                store(state, z + f, nothing)
        t, t_stop = offset_b[p], offset_b[p + 1]
        for s in range(offset[p], offset[p + 1]):
            reach, row = limit[place[s]], STRIDE * (place[s] - first)
            while t < t_stop and place_b[t] < reach:
                for f in range(0, STRIDE, LANES):
                    store(state, z + f, fma(one, load(base_b, STRIDE * t + f), load(state, z + f)))
                t += 1
            for f in range(0, STRIDE, LANES):
                store(products, row + f, fma(load(base, STRIDE * s + f), load(state, z + f), load(products, row + f)))
        while keep and t < t_stop:
            for f in range(0, STRIDE, LANES):
                store(state, z + f, fma(one, load(base_b, STRIDE * t + f), load(state, z + f)))
            t += 1
    for at in range(first, until):
        sum_up(row_at(at, last), heads, c, STRIDE * (at - first), products, totals, mass)


@scalar
def inverse_of(total, mass, floor):
    """1 / sum_j K_ij, 0 where the sum is rounding."""
    one = type(floor)(1)
    return one / total if total > floor * mass else one - one


@scalar
def divide_row(i, heads, width, floor, totals, mass, sums, out):
    """Row i of the result; ``totals`` becomes its inverse."""
    for r in range(i * heads, (i + 1) * heads):
        totals[r] = inverse_of(totals[r], mass[i], floor)
        for c in range(r * width, (r + 1) * width):
            out[c] = sums[c] * totals[r]


@kernel
def divide_cpu(start, stop, heads, width, floor, totals, mass, sums, out):
    for i in range(start, stop):
        for r in range(i * heads, (i + 1) * heads):
            inverse = totals[r] = inverse_of(totals[r], mass[i], floor)
            first = nonnegative(r * width)
            for c in range(width):
                out[first + c] = sums[first + c] * inverse


DIVIDE = Owner(divide_row, divide_cpu, "i i F F1 F1 F1 F1", grain=4096)


def pad(value: np.ndarray, heads: int, vectors: int = 1) -> np.ndarray:
    """Columns of every head filled up with zeros to a multiple of ``vectors`` vectors; no copy where they are."""
    n, width = value.shape[0], value.shape[1] // heads
    whole = -(-width // (vectors * LANES)) * vectors * LANES
    if whole == width:
        return value
    out = np.zeros((n, heads, whole), value.dtype)
    out[:, :, :width] = value.reshape(n, heads, width)
    return out.reshape(n, heads * whole)


class Room(NamedTuple):
    """What ``read_block`` works in, for all vectors."""

    near: np.ndarray  # values of the block's adders, vector after vector
    sums: np.ndarray  # what its readers have read
    coefficient: np.ndarray  # bases of four readers times c
    state: np.ndarray

    @classmethod
    def of(cls, grid: Grid, rows: int, primes: int, dtype, take) -> "Room":
        """``primes``: how many have a state at the same time."""
        rows = rows + 1  # a power of two would bring all vectors of a row into one set of the cache
        sizes = (rows * LANES, rows * LANES, GROUP * STRIDE, primes * BASE * LANES)
        return cls(*(take(grid.vectors * size, dtype) for size in sizes))


def read_all(walk: Walk, value: np.ndarray, c: np.ndarray, heads: int, with_totals: bool):
    """``(sums, totals, mass)``: sum_j K_ij v_j, sum_j K_ij by head, and the overlap masses."""
    n, dtype = walk.readers.profile.n, value.dtype
    grid, blocks, flat, itself = Grid.of(value.shape[1], heads), walk.blocks(), frozen(value), walk.itself()
    keep, vectors, last, last_b = len(blocks) > 1, grid.vectors, walk.readers.last, walk.adders.last
    out = np.empty((n, value.shape[1]), dtype)
    totals, mass = np.empty(n * heads, dtype), np.empty(n, dtype)
    rows = max((b.stop - b.start for b in blocks), default=0)
    rows_b = max((b.stop_b - b.start_b for b in blocks), default=0)
    primes = walk.primes if keep else 1
    with Scratch() as take:
        room = Room.of(grid, max(rows, rows_b), primes, dtype, take)
        small, products = take(primes * STRIDE, dtype), take(rows * STRIDE, dtype)
        for zeroed in (room.state, small, products):
            zeroed[:] = 0
        for batch in batches(walk, take):

            def read(start, stop, batch=batch):
                for block, readers, adders in batch:
                    if stop > vectors and with_totals:
                        total_block(
                            heads, block, keep, readers, adders, last, walk.limit, c, small, products, totals, mass
                        )
                    read_block(
                        start, min(stop, vectors), grid, block, keep, itself, readers, adders, last, last_b,
                        walk.limit, c, flat, *room, out.reshape(-1),
                    )  # fmt: skip

            share(read, vectors + 1, 1)
    return out, totals, mass


def by_walking(walk: Walk, c: np.ndarray, value: np.ndarray):
    """``(out, inverse)``: the attention, and 1 / sum_j K_ij by head, 0 for zero rows; ``c`` (H, STRIDE)."""
    heads, n = len(c), walk.readers.profile.n
    out, totals, mass = read_all(walk, value, c.reshape(-1), heads, True)
    width = value.shape[1] // heads
    floor = value.dtype.type(FLOOR * np.finfo(value.dtype).eps)
    flat = out.reshape(-1)
    DIVIDE(n, heads, width, floor, totals, mass, flat, flat)
    return out, totals
