"""All pairs at the cost of the overlaps: an inverted index of b, and one pass over it for each state of a.

The postings of a prime are the entries of b that hold it, in order of their states, packed side by side. Row i
walks the postings of its primes and adds to four sums for each state j that it meets; then it visits the met
states in ascending order, finishes their scores and clears their sums. States that share no prime cost nothing
but a flag for each block of 64.
"""

from typing import NamedTuple

import numpy as np

from .._runtime.jit import kernel, nonnegative, scalar
from .._runtime.owners import share
from ._options import check_fits
from ._profiles import Profile
from ._scalars import ENTRY, components, shared_terms

BLOCK = 64  # states behind one flag
CHUNKS = 8  # per thread: rows differ in cost
GRAIN = 16


class Postings(NamedTuple):
    """Entries of b by prime, and for each entry of a the postings it meets."""

    begin: np.ndarray  # (nnz of a,) postings [begin, until) hold the prime of this entry
    until: np.ndarray
    state: np.ndarray  # (nnz of b,) ascending within a prime
    entries: np.ndarray  # (8 nnz of b,)


@kernel
def mark(start, stop, primes, seen):
    """``seen[p]`` = 1 for each prime; others may mark at the same time."""
    for s in range(start, stop):
        seen[nonnegative(primes[s])] = 1


@kernel
def number(seen):
    """Number the marked primes, ascending; the others get the number of the marked ones, which is returned."""
    count = 0
    for p in range(seen.size):
        marked = seen[p]
        seen[p] = count if marked else -1
        count += marked
    for p in range(seen.size):
        if seen[p] < 0:
            seen[p] = count
    return count


@kernel
def look_up(start, stop, primes, table, found):
    """``found`` = the number of each prime; the last of the table for those beyond it."""
    beyond = table.size - 1
    for s in range(start, stop):
        found[s] = table[nonnegative(min(primes[s], beyond))]


def columns(own: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Number the primes of ``other`` 0..P-1, ascending; ``own`` gets the same numbers, P where ``other`` lacks it."""
    top = int(other.max()) if other.size else 0
    if top <= max(8 * other.size, 1 << 20):  # a table: 30 times as fast as sorting 10^7 entries
        table = np.zeros(top + 2, np.int32)
        share(lambda start, stop: mark(start, stop, other, table), other.size, 1 << 17)
        distinct = number(table)

        def numbers(primes):
            found = np.empty(primes.size, np.int64)
            share(lambda start, stop: look_up(start, stop, primes, table, found), primes.size, 1 << 17)
            return found

        found = numbers(other)
        return found if own is other else numbers(own), found, distinct
    table, inverse = np.unique(other, return_inverse=True)
    at = np.searchsorted(table, own)
    at[table[np.minimum(at, table.size - 1)] != own] = table.size
    return at, inverse, table.size


@kernel
def invert(column, indptr, x, first, state, entries, place):
    """Counting sort of the entries by column, stable, so that states ascend within a prime."""
    for s in range(column.size):
        first[column[s] + 1] += 1
    for c in range(first.size - 1):
        first[c + 1] += first[c]
    for i in range(indptr.size - 1):
        for s in range(indptr[i], indptr[i + 1]):
            u = first[column[s]]
            first[column[s]] += 1
            state[u] = i
            place[s] = u
            for c in range(ENTRY):
                entries[ENTRY * u + c] = x[ENTRY * s + c]


def postings(a: Profile, b: Profile, half: bool = False) -> Postings:
    """The inverted index of b as a meets it; ``half`` (b is a): state i meets only states j <= i."""
    column, column_b, distinct = columns(a.primes, b.primes)
    nnz = b.primes.size
    # first[c] starts at the beginning of column c and ends, after the sort, at its end: the beginning of column c + 1
    first = np.zeros(distinct + 2, np.int64)
    state, place = np.empty(nnz, np.int64), np.empty(nnz, np.int64)
    entries = np.empty(ENTRY * nnz, b.entries.dtype)
    invert(column_b, b.indptr, b.entries, first, state, entries, place)
    edges = np.concatenate(
        [[0], first[:distinct], [nnz]]
    )  # column c: [edges[c], edges[c + 1]); the absent one is empty
    begin = edges[column]
    return Postings(begin, place + 1 if half else edges[column + 1], state, entries)


@scalar
def gather(i, a, index, choice, sums, met):
    """Walk the postings of state i: ``sums[4 j:4 j + 4]`` are (shared, overlap, alignment, coherence) with state j."""
    indptr, x = a[0], a[2]
    begin, until, state, y = index
    form, ruzicka = choice
    for s in range(indptr[i], indptr[i + 1]):
        for u in range(begin[s], until[s]):
            j = state[u]
            o, al, co = shared_terms(x, ENTRY * s, y, ENTRY * u, form, ruzicka)
            sums[4 * j] += type(o)(1)
            sums[4 * j + 1] += o
            sums[4 * j + 2] += al
            sums[4 * j + 3] += co
            met[j // BLOCK] = 1


@scalar
def finish(i, j, a, b, choice, weights, sums):
    """The score of a met pair; clears its sums."""
    indptr, totals = a[0], a[3]
    indptr_b, totals_b = b[0], b[3]
    form, ruzicka = choice
    k, k_b = indptr[i + 1] - indptr[i], indptr_b[j + 1] - indptr_b[j]
    o, al, co = components(
        sums[4 * j],
        sums[4 * j + 1],
        sums[4 * j + 2],
        sums[4 * j + 3],
        k,
        k_b,
        totals[i],
        totals_b[j],
        form,
        ruzicka,
    )
    for c in range(4):
        sums[4 * j + c] = 0
    return weights[0] * o + weights[1] * al + weights[2] * co


@kernel
def dense_rows(start, stop, a, b, index, choice, weights, half, out):
    """Rows of the matrix; ``out`` comes zeroed. ``half``: entry (i, j), j <= i, is computed once and stored twice."""
    m = b[3].size
    sums = np.zeros(4 * m, weights.dtype)
    met = np.zeros(m // BLOCK + 1, np.uint8)
    for i in range(start, stop):
        gather(i, a, index, choice, sums, met)
        for block in range(met.size):
            if met[block]:
                met[block] = 0
                for j in range(block * BLOCK, min(m, (block + 1) * BLOCK)):
                    if sums[4 * j] > 0:
                        value = finish(i, j, a, b, choice, weights, sums)
                        out[i * m + j] = value
                        if half:
                            out[j * m + i] = value


@kernel
def count_rows(start, stop, m, a, index, counts):
    """How many of the m states of b each state of a overlaps."""
    indptr = a[0]
    begin, until, state, _ = index
    last = np.full(m, -1, np.int64)
    for i in range(start, stop):
        count = 0
        for s in range(indptr[i], indptr[i + 1]):
            for u in range(begin[s], until[s]):
                j = state[u]
                if last[j] != i:
                    last[j] = i
                    count += 1
        counts[i] = count


@kernel
def sparse_rows(start, stop, a, b, index, choice, weights, row_start, column, data):
    """Rows of the CSR matrix, columns ascending; row i fills [row_start[i], row_start[i + 1])."""
    m = b[3].size
    sums = np.zeros(4 * m, weights.dtype)
    met = np.zeros(m // BLOCK + 1, np.uint8)
    for i in range(start, stop):
        gather(i, a, index, choice, sums, met)
        at = row_start[i]
        for block in range(met.size):
            if met[block]:
                met[block] = 0
                for j in range(block * BLOCK, min(m, (block + 1) * BLOCK)):
                    if sums[4 * j] > 0:
                        column[at] = j
                        data[at] = finish(i, j, a, b, choice, weights, sums)
                        at += 1


def score_matrix(a: Profile, b: Profile, choice: tuple[int, int], weights, half: bool) -> np.ndarray:
    """Scores of all pairs, dense, shape (n, m); ``half`` where b is a."""
    index = postings(a, b, half)
    out = np.zeros(a.n * b.n, a.entries.dtype)
    share(lambda start, stop: dense_rows(start, stop, a, b, index, choice, weights, half, out), a.n, GRAIN, CHUNKS)
    return out.reshape(a.n, b.n)


def least_pairs(a: Profile, index: Postings) -> int:
    """No fewer pairs overlap: row i has at least the longest postings that it meets. O(nnz), counting is not."""
    starts = a.indptr[:-1][np.diff(a.indptr) > 0]
    return int(np.maximum.reduceat(index.until - index.begin, starts).sum()) if starts.size else 0


def _check_pairs(pairs: int, about: str, itemsize: int) -> None:
    check_fits(
        pairs * (8 + itemsize),
        f"the sparse matrix of {about}{pairs:,} overlapping pairs",
        "thin the states with sparsify(k=...), or take fewer rows at a time",
    )


def score_csr(a: Profile, b: Profile, choice: tuple[int, int], weights):
    """``(data, column, row_start)`` of the overlapping pairs: count, sum up, fill."""
    index = postings(a, b)
    _check_pairs(least_pairs(a, index), "at least ", a.entries.itemsize)
    row_start = np.zeros(a.n + 1, np.int64)
    share(lambda start, stop: count_rows(start, stop, b.n, a, index, row_start[1:]), a.n, GRAIN, CHUNKS)
    np.cumsum(row_start, out=row_start)
    nnz = int(row_start[-1])
    _check_pairs(nnz, "", a.entries.itemsize)
    column, data = np.empty(nnz, np.int64), np.empty(nnz, a.entries.dtype)
    share(
        lambda start, stop: sparse_rows(start, stop, a, b, index, choice, weights, row_start, column, data),
        a.n,
        GRAIN,
        CHUNKS,
    )
    return data, column, row_start
