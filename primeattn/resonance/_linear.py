r"""The linear form: out_i = sum_j K_ij v_j / sum_j K_ij in O(n k), exactly, whole sequences on the CPU.

``_rotation`` has the feature map, ``_walk`` the specification and the CUDA form, ``_march`` the compiled blocks; here
they are put together: who reads whom, block by block, and the division at the end. A row whose keys share no prime
with it, or only primes on which the kernel vanishes (mean over them <= ``FLOOR`` eps), is zero.
"""

from functools import partial
from typing import NamedTuple

import numpy as np

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


def perform(tasks: list) -> None:
    """Call every task, on all threads, the first ones first; no two write the same."""

    def call(start, stop):
        for task in tasks[start:stop]:
            task()

    share(call, len(tasks), 1, len(tasks))


class Slot:
    """Room for the two sorted sides of one block, used again and again."""

    def __init__(self, primes: int, readers: int, adders: int, dtype, take):
        self.readers, self.adders = (
            Side(take(primes + 2, np.int64), take(n, np.int64), take(n, np.int64), take(STRIDE * n, dtype))
            for n in (readers, adders)
        )

    def sides(self, walk: Walk, block: Block) -> tuple[Side, Side]:
        """Readers and adders; a block that reads just what it adds is sorted once."""
        same = walk.readers.profile is walk.adders.profile and block[:2] == block[2:]
        return self.readers, self.readers if same else self.adders

    def sorts(self, walk: Walk, block: Block) -> list:
        """Tasks that fill the sides."""
        readers, adders = self.sides(walk, block)
        found = [(walk.readers, block[:2], readers)]
        if adders is not readers:
            found.append((walk.adders, block[2:], adders))
        return [
            partial(sort_block, *places, rows.last, rows.profile.indptr, rows.column, rows.profile.entries, *side)
            for rows, places, side in found
        ]


def sorted_blocks(walk: Walk, take):
    """``(block, readers, adders, ahead)`` one after another, in room from ``take``.

    ``ahead`` are tasks that sort the next block: to be performed beside the work on this one.
    """
    found = walk.blocks()
    most_b = 0 if walk.itself() else max((walk.adders.entries(b.start_b, b.stop_b) for b in found), default=0)
    most, dtype = walk.most_entries(), walk.readers.profile.entries.dtype
    slots = [Slot(walk.primes, most, most_b, dtype, take) for _ in found[:2]]
    for number, block in enumerate(found):
        own, other = slots[number % 2], slots[(number + 1) % len(slots)]
        if number == 0:
            perform(own.sorts(walk, block))
        ahead = other.sorts(walk, found[number + 1]) if number + 1 < len(found) else []
        yield block, *own.sides(walk, block), ahead


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
    group: np.ndarray  # bases of four entries, and c times them
    state: np.ndarray

    @classmethod
    def of(cls, grid: Grid, rows: int, primes: int, dtype, take) -> "Room":
        """``primes``: how many have a state at the same time."""
        rows = rows + 1  # a power of two would bring all vectors of a row into one set of the cache
        sizes = (rows * LANES, rows * LANES, 2 * GROUP * STRIDE, primes * BASE * LANES)
        return cls(*(take(grid.vectors * size, dtype) for size in sizes))


class Sums(NamedTuple):
    """What the rows of a result are divided by, to be filled in: sum_j K_ij by head, and the overlap masses."""

    totals: np.ndarray
    mass: np.ndarray
    floor: np.floating


def read_all(walk: Walk, value: np.ndarray, c: np.ndarray, heads: int, sums: Sums | None = None) -> np.ndarray:
    """sum_j K_ij v_j, divided by sum_j K_ij if there is room for ``sums``, which then become their inverse."""
    n, dtype = walk.readers.profile.n, value.dtype
    grid, blocks, flat, itself = Grid.of(value.shape[1], heads), walk.blocks(), frozen(value), walk.itself()
    keep, last, last_b, limit = len(blocks) > 1, walk.readers.last, walk.adders.last, walk.limit
    out = np.empty(n * value.shape[1], dtype)
    rows = max((b.stop - b.start for b in blocks), default=0)
    rows_b = max((b.stop_b - b.start_b for b in blocks), default=0)
    primes = walk.primes if keep else 1

    def divide(start, stop):
        if sums is not None:
            divide_cpu(start, stop, heads, grid.width, sums.floor, sums.totals, sums.mass, out, out)

    with Scratch() as take:
        room = Room.of(grid, max(rows, rows_b), primes, dtype, take)
        small, products = take(primes * STRIDE, dtype), take(rows * STRIDE, dtype)
        for zeroed in (room.state, small, products):
            zeroed[:] = 0
        done = 0  # rows whose sums are known and divided
        for block, readers, adders, ahead in sorted_blocks(walk, take):
            tasks = [
                partial(
                    read_block, start, stop, grid, block, keep, itself, readers, adders, last, last_b, limit, c, flat,
                    *room, out,
                )
                for start, stop in grid.pairs()
            ]  # fmt: skip
            tasks += ahead
            if sums is not None:
                tasks.append(
                    partial(
                        total_block, heads, block, keep, readers, adders, last, limit, c, small, products, sums.totals,
                        sums.mass,
                    )
                )  # fmt: skip
            perform([*tasks, partial(divide, done, block.start)])
            done = block.start
        share(lambda start, stop: divide(done + start, done + stop), n - done, DIVIDE.grain)
    return out.reshape(n, value.shape[1])


def by_walking(walk: Walk, c: np.ndarray, value: np.ndarray):
    """``(out, inverse)``: the attention, and 1 / sum_j K_ij by head, 0 for zero rows; ``c`` (H, STRIDE)."""
    heads, n, dtype = len(c), walk.readers.profile.n, value.dtype
    floor = dtype.type(FLOOR * np.finfo(dtype).eps)
    sums = Sums(np.empty(n * heads, dtype), np.empty(n, dtype), floor)
    return read_all(walk, value, c.reshape(-1), heads, sums), sums.totals
