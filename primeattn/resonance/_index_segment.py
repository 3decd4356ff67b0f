"""An immutable part of an index: some states, and for each prime the list of those that have it.

Primes are numbered by how many states have them, the most common first. So the first 64 fit a word a state, and one
AND with a population count tells how many of them two states share.
"""

from typing import NamedTuple

import numpy as np

from .._runtime.jit import bare_kernel, nonnegative
from ._options import Form
from ._profiles import StateArrays, frozen, profile
from ._scalars import AMPLITUDE_MASS, ENTRY, MASS, ORIGINAL

BLOCK = 64  # states behind one flag
COMMON = 64  # primes behind one word

# How the best states are found; see _index_search.
BY_COUNT, BY_COUNT_THEN_SCORE, BY_OVERLAP_THEN_SCORE, BY_SUMS = range(4)
MOST = 65_535  # shared primes that a counter holds


@bare_kernel
def tally(primes, counts):
    """How often each integer occurs; a third of the time of `numpy.bincount`."""
    for s in range(primes.size):
        counts[primes[nonnegative(s)]] += np.uint32(1)


@bare_kernel
def look_up(primes, table, column):
    """The number of each prime, the last of the table for those beyond it."""
    last = table.size - 1
    for s in range(primes.size):
        column[nonnegative(s)] = table[nonnegative(min(primes[nonnegative(s)], last))]


class Primes(NamedTuple):
    """Numbers of the primes of a segment; an unknown prime has the number ``size``."""

    size: int
    table: np.ndarray  # number of each integer, or of each entry of ``sorted``
    sorted: np.ndarray | None

    @classmethod
    def of(cls, primes: np.ndarray) -> tuple["Primes", np.ndarray, np.ndarray]:
        """``(numbering, number of each of the given primes, how often each number occurs)``."""
        top = int(primes.max(initial=1))
        if top <= max(8 * primes.size, 1 << 20):  # a table: an unsorted search costs 20 times as much
            each = np.zeros(top + 2, np.uint32)
            tally(primes, each)
            values = np.flatnonzero(each)
            counts = each[values].astype(np.int64)
            table = np.empty(top + 2, np.uint32)
            table.fill(values.size)
        else:
            values, counts = np.unique(primes, return_counts=True)
            table = None
        order = np.argsort(-counts, kind="stable")
        number = np.empty(values.size, np.uint32)
        number[order] = np.arange(values.size, dtype=np.uint32)
        if table is None:
            found = cls(values.size, np.append(number, np.uint32(values.size)), values)
        else:
            table[values] = number
            found = cls(values.size, table, None)
        return found, found.numbers(primes), counts[order]

    def numbers(self, primes: np.ndarray) -> np.ndarray:
        """uint32 number of each prime."""
        if self.sorted is None:
            column = np.empty(primes.size, np.uint32)
            look_up(frozen(primes), self.table, column)
            return column
        at = np.searchsorted(self.sorted, primes)
        at[self.sorted[np.minimum(at, self.size - 1)] != primes] = self.size
        return self.table[at]

    @property
    def nbytes(self) -> int:
        """Bytes of the tables."""
        return self.table.nbytes + (0 if self.sorted is None else self.sorted.nbytes)


@bare_kernel
def invert(indptr, column, first, state, place, mask):
    """Counting sort of the entries by column, stable, so that states ascend; and the words of the common primes.

    ``first[c + 1]`` comes as the beginning of column c, and leaves as its end, the beginning of column c + 1. ``place``
    is written unless it is empty.
    """
    for i in range(indptr.size - 1):
        word = np.uint64(0)
        for s in range(indptr[i], indptr[i + 1]):
            c = column[nonnegative(s)]
            u = first[nonnegative(np.int64(c) + 1)]
            first[nonnegative(np.int64(c) + 1)] = u + 1
            state[nonnegative(u)] = i
            if place.size:
                place[nonnegative(u)] = s
            if c < COMMON:
                word |= np.uint64(1) << np.uint64(c)
        mask[i] = word


class Lists(NamedTuple):
    """What the kernels read of a segment of n states with nnz active primes, P of them distinct."""

    indptr: np.ndarray  # int64 (n + 1,)
    column: np.ndarray  # uint32 (nnz,) number of each prime, in ascending order of the primes of a state
    entries: np.ndarray  # float (8 nnz,) by state, by prime for BY_SUMS; empty for BY_COUNT
    totals: np.ndarray  # float (n,)
    first: np.ndarray  # int64 (P + 2,) the list of prime c is [first[c], first[c + 1]); the last one is empty
    state: np.ndarray  # uint32 (nnz,) lists of states, ascending
    impact: np.ndarray  # float (nnz,) masses beside them for BY_OVERLAP_THEN_SCORE, else empty
    mask: np.ndarray  # uint64 (n rounded up to a block,)


class Segment(NamedTuple):
    """States, their numbers, which of them are still there, and their lists."""

    states: StateArrays
    ids: np.ndarray  # int64, ascending
    alive: np.ndarray  # uint8, the only array that changes
    method: int
    span: tuple[int, int]  # primes of the smallest state that is not empty, and of the largest
    primes: Primes
    lists: Lists

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        arrays = (*self.states, self.ids, self.alive, *self.lists)
        return sum(x.nbytes for x in arrays) + self.primes.nbytes


def method_of(form: Form, most: int) -> int:
    """How to search states with up to ``most`` primes by this score."""
    if most > MOST:
        return BY_SUMS
    if form.mass == AMPLITUDE_MASS:
        return BY_OVERLAP_THEN_SCORE
    if not form.ruzicka and not form.weights[1:].any():
        return BY_COUNT
    return BY_SUMS if form.form == ORIGINAL else BY_COUNT_THEN_SCORE


def build(states: StateArrays, ids: np.ndarray, form: Form) -> Segment:
    """Sort the primes of some states into lists."""
    n, nnz = states.indptr.size - 1, states.primes.size
    if max(n, nnz) >= 1 << 32:
        raise ValueError(f"{n:,} states with {nnz:,} active primes: one batch holds fewer than 2^32; add several")
    dtype = states.amplitude.dtype
    lengths = np.diff(states.indptr)
    span = int(lengths[lengths > 0].min(initial=MOST)), int(lengths.max(initial=0))
    method = method_of(form, span[1])
    primes, column, counts = Primes.of(frozen(states.primes))
    first = np.zeros(primes.size + 2, np.int64)
    np.cumsum(counts, out=first[2:])
    state = np.empty(nnz, np.uint32)
    place = np.empty(nnz if method in (BY_SUMS, BY_OVERLAP_THEN_SCORE) else 0, np.uint32)
    mask = np.zeros(-(-n // BLOCK) * BLOCK, np.uint64)
    invert(frozen(states.indptr), column, first, state, place, mask)
    entries = totals = impact = np.empty(0, dtype)
    if method != BY_COUNT:
        _, _, entries, totals = profile(states, form.mass)
        if method == BY_SUMS:
            entries = entries.reshape(-1, ENTRY)[place].reshape(-1)
        elif method == BY_OVERLAP_THEN_SCORE:
            impact = entries[MASS::ENTRY][place]
    arrays = (states.indptr, column, entries, totals, first, state, impact, mask)
    alive = np.ones(n, np.uint8)
    return Segment(states, frozen(ids), alive, method, span, primes, Lists(*(frozen(x) for x in arrays)))
