"""An immutable part of an index: some states, and for each prime the list of those that have it.

Primes are numbered by how many states have them, the most common first. So the first 64 fit a word a state, and one
AND with a population count tells how many of them two states share.
"""

from typing import NamedTuple

import numpy as np

from .._runtime.jit import kernel
from ._options import Form
from ._profiles import StateArrays, frozen, profile
from ._scalars import AMPLITUDE_MASS, ENTRY, MASS, ORIGINAL

BLOCK = 64  # states behind one flag
COMMON = 64  # primes behind one word

# How the best states are found; see _index_search.
BY_COUNT, BY_COUNT_THEN_SCORE, BY_OVERLAP_THEN_SCORE, BY_SUMS = range(4)
MOST = 65_535  # shared primes that a counter holds


class Primes(NamedTuple):
    """Numbers of the primes of a segment; an unknown prime has the number ``size``."""

    size: int
    table: np.ndarray  # number of each integer, or of each entry of ``sorted``
    sorted: np.ndarray | None

    @classmethod
    def of(cls, primes: np.ndarray) -> tuple["Primes", np.ndarray]:
        """``(numbering, number of each of the given primes)``."""
        top = int(primes.max(initial=1))
        if top <= max(8 * primes.size, 1 << 20):  # a table: an unsorted search costs 20 times as much
            counts = np.bincount(primes, minlength=top + 2)
            values = np.flatnonzero(counts)
            counts = counts[values]
            table = np.empty(top + 2, np.uint32)
            table.fill(values.size)
        else:
            values, counts = np.unique(primes, return_counts=True)
            table = None
        number = np.empty(values.size, np.uint32)
        number[np.argsort(-counts, kind="stable")] = np.arange(values.size, dtype=np.uint32)
        if table is None:
            found = cls(values.size, np.append(number, np.uint32(values.size)), values)
        else:
            table[values] = number
            found = cls(values.size, table, None)
        return found, found.numbers(primes)

    def numbers(self, primes: np.ndarray) -> np.ndarray:
        """uint32 number of each prime."""
        if self.sorted is None:
            return self.table[np.minimum(primes, self.table.size - 1)]
        at = np.searchsorted(self.sorted, primes)
        at[self.sorted[np.minimum(at, self.size - 1)] != primes] = self.size
        return self.table[at]

    @property
    def nbytes(self) -> int:
        """Bytes of the tables."""
        return self.table.nbytes + (0 if self.sorted is None else self.sorted.nbytes)


@kernel
def invert(indptr, column, first, state, place, mask):
    """Counting sort of the entries by column, stable, so that states ascend; and the words of the common primes.

    ``first[c]`` comes as 0 and leaves as the end of column c - 1, the beginning of column c.
    """
    for s in range(column.size):
        first[column[s] + 2] += 1
    for c in range(2, first.size):
        first[c] += first[c - 1]
    for i in range(indptr.size - 1):
        word = np.uint64(0)
        for s in range(indptr[i], indptr[i + 1]):
            c = column[s]
            u = first[c + 1]
            first[c + 1] += 1
            state[u] = i
            place[u] = s
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
    primes, column = Primes.of(states.primes)
    first = np.zeros(primes.size + 3, np.int64)
    state, place = np.empty(nnz, np.uint32), np.empty(nnz, np.uint32)
    mask = np.zeros(-(-n // BLOCK) * BLOCK, np.uint64)
    invert(states.indptr, column, first, state, place, mask)
    entries = totals = impact = np.empty(0, dtype)
    if method != BY_COUNT:
        _, _, entries, totals = profile(states, form.mass)
        if method == BY_SUMS:
            entries = entries.reshape(-1, ENTRY)[place].reshape(-1)
        elif method == BY_OVERLAP_THEN_SCORE:
            impact = entries[MASS::ENTRY][place]
    arrays = (states.indptr, column, entries, totals, first[: primes.size + 2], state, impact, mask)
    alive = np.ones(n, np.uint8)
    return Segment(states, frozen(ids), alive, method, span, primes, Lists(*(frozen(x) for x in arrays)))
