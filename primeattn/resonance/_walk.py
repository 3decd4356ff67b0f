r"""The walk behind the linear form: prime by prime, readers meet the sum of what the adders before them left.

Every prime p keeps a state S[p]: one row of value columns for each of its twelve features. An adder j (a key) that
has p adds b_j v_j to it; a reader i (a query) that has p reads c b_i . S[p]. The sum of what a reader reads over its
primes is sum_j K_ij v_j over all adders before it, in time that does not depend on their number.

Backwards the same walk runs the other way, with the gradients in place of the values and the roles exchanged.
So places are counted along the walk: a side that is walked backwards has its last row at place 0. Reader i meets
the adders at places below ``limit[i]``, which never falls.

Here are the plain rows: a row owns one prime and one column, or one prime and one feature. They are the
specification and the CUDA form; ``_march`` holds the fast walk of the CPU.
"""

from typing import NamedTuple

import numpy as np

from .._runtime import devices
from .._runtime.jit import kernel, scalar
from .._runtime.owners import Owner
from ._profiles import Profile
from ._rotation import BASE, BASES, PULL_BASES, STRIDE


class Side(NamedTuple):
    """The entries of some rows, sorted by prime and, within a prime, along the walk."""

    offset: np.ndarray  # int64 (P + 1,): prime p has the numbers offset[p] .. offset[p + 1] - 1
    place: np.ndarray  # int64: the row's place along the walk
    entry: np.ndarray  # int64: which entry of the profile
    base: np.ndarray  # (STRIDE entries,)


@scalar
def row_at(place, last):
    """The row at a place: ``last`` is -1 for a forward walk, else the number of the last row."""
    return place if last < 0 else last - place


@scalar
def read_row(r, heads, width, readers, adders, last, last_adder, limit, c, value, state, terms):
    """Column r % (heads width) of prime r // (heads width): what each of its readers reads, into ``terms``."""
    columns = heads * width
    p, column = r // columns, r % columns
    h = column // width
    offset, place, entry, base = readers
    offset_b, place_b, _, base_b = adders
    zero = type(value[0])(0)
    for f in range(BASE):
        state[BASE * r + f] = zero
    t = offset_b[p]
    for s in range(offset[p], offset[p + 1]):
        while t < offset_b[p + 1] and place_b[t] < limit[place[s]]:
            v = value[row_at(place_b[t], last_adder) * columns + column]
            for f in range(BASE):
                state[BASE * r + f] += base_b[STRIDE * t + f] * v
            t += 1
        total = zero
        for f in range(BASE):
            total += c[STRIDE * h + f] * base[STRIDE * s + f] * state[BASE * r + f]
        terms[entry[s] * columns + column] = total


@kernel
def read_cpu(start, stop, heads, width, readers, adders, last, last_adder, limit, c, value, state, terms):
    for r in range(start, stop):
        read_row(r, heads, width, readers, adders, last, last_adder, limit, c, value, state, terms)


READ = Owner(read_row, read_cpu, "i i (I1,I1,I1,F1) (I1,I1,I1,F1) i i I1 F1 F1 F1 F1", grain=64, chunks_per_thread=8)


@scalar
def collect_row(r, columns, indptr, terms, out):
    """Column r % columns of row r // columns: the sum over its primes."""
    i, column = r // columns, r % columns
    out[r] = 0
    for e in range(indptr[i], indptr[i + 1]):
        out[r] += terms[e * columns + column]


@kernel
def collect_cpu(start, stop, columns, indptr, terms, out):
    for r in range(start, stop):
        collect_row(r, columns, indptr, terms, out)


COLLECT = Owner(collect_row, collect_cpu, "i I1 F1 F1", grain=1024)


@scalar
def pull_row(r, heads, width, readers, adders, last, last_adder, limit, c, value, other, state, dbase, dc):
    """Feature r % BASE of prime r // BASE: with S its row of the state, a reader's dbase is sum_h c_h S_h . other_h.

    ``dc`` gets, for each head, sum over readers of base S_h . other_h; both are the gradient of
    sum_i other_i . (what i reads).
    """
    p, f = r // BASE, r % BASE
    offset, place, _, base = readers
    offset_b, place_b, _, base_b = adders
    columns = heads * width
    zero = type(value[0])(0)
    start = r * columns
    for column in range(columns):
        state[start + column] = zero
    for h in range(heads):
        dc[r * heads + h] = zero
    t = offset_b[p]
    for s in range(offset[p], offset[p + 1]):
        while t < offset_b[p + 1] and place_b[t] < limit[place[s]]:
            v = row_at(place_b[t], last_adder) * columns
            for column in range(columns):
                state[start + column] += base_b[STRIDE * t + f] * value[v + column]
            t += 1
        v = row_at(place[s], last) * columns
        dbase[STRIDE * s + f] = zero
        for h in range(heads):
            total = zero
            for column in range(h * width, (h + 1) * width):
                total += state[start + column] * other[v + column]
            dbase[STRIDE * s + f] += c[STRIDE * h + f] * total
            dc[r * heads + h] += base[STRIDE * s + f] * total


@kernel
def pull_cpu(start, stop, heads, width, readers, adders, last, last_adder, limit, c, value, other, state, dbase, dc):
    for r in range(start, stop):
        pull_row(r, heads, width, readers, adders, last, last_adder, limit, c, value, other, state, dbase, dc)


PULL = Owner(
    pull_row,
    pull_cpu,
    "i i (I1,I1,I1,F1) (I1,I1,I1,F1) i i I1 F1 F1 F1 F1 F1 F1",
    grain=64,
    chunks_per_thread=8,
)


def sorted_side(profile: Profile, column: np.ndarray, primes: int, last: int) -> Side:
    """All entries of a batch by prime and place, on its device; ``column`` on the host, ``primes`` for absent ones."""
    indptr = devices.to_host(profile.indptr)
    row = np.repeat(np.arange(profile.n), np.diff(indptr))
    place = row if last < 0 else last - row
    entry = np.flatnonzero(column < primes)
    entry = entry[np.lexsort((place[entry], column[entry]))]
    offset = np.concatenate([[0], np.cumsum(np.bincount(column[entry], minlength=primes))])
    numbers = [np.ascontiguousarray(x, dtype=np.int64) for x in (offset, place[entry], entry)]
    if devices.is_device_array(profile.entries):
        numbers = [devices.to_device(x) for x in numbers]
    offset, place, entry = numbers
    base = devices.empty(STRIDE * entry.size, profile.entries.dtype, like=profile.entries)
    BASES(entry.size, entry, profile.entries, base)
    return Side(offset, place, entry, base)


def read_plainly(walk, value, c, heads: int):
    """What every reader reads of ``value`` (flat), flat; ``c`` flat (H STRIDE), on the device of the profiles."""
    (readers, own, last), (adders, other, last_b), limit, primes = walk
    columns = value.size // max(adders.n, 1)
    side, side_b = sorted_side(readers, own, primes, last), sorted_side(adders, other, primes, last_b)
    state = devices.empty(primes * columns * BASE, value.dtype, like=value)
    terms = _zeros(own.size * columns, value)
    out = devices.empty(readers.n * columns, value.dtype, like=value)
    READ(primes * columns, heads, columns // heads, side, side_b, last, last_b, limit, c, value, state, terms)
    COLLECT(readers.n * columns, columns, readers.indptr, terms, out)
    return out


def pull_plainly(walk, value, other, c, heads: int):
    """``(dentries, dc (H, STRIDE))`` of sum_i other_i . (what i reads of ``value``); dc on the host, float64."""
    (readers, own, last), (adders, theirs, last_b), limit, primes = walk
    columns = value.size // max(adders.n, 1)
    side, side_b = sorted_side(readers, own, primes, last), sorted_side(adders, theirs, primes, last_b)
    state = devices.empty(primes * columns * BASE, value.dtype, like=value)
    dbase = _zeros(side.base.size, value)
    dc = devices.empty(primes * BASE * heads, value.dtype, like=value)
    dx = _zeros(readers.entries.size, value)
    PULL(primes * BASE, heads, columns // heads, side, side_b, last, last_b, limit, c, value, other, state, dbase, dc)
    PULL_BASES(side.entry.size, side.entry, readers.entries, dbase, dx)
    sums = devices.to_host(dc).reshape(primes, BASE, heads).sum(axis=0, dtype=np.float64)
    return dx, np.concatenate([sums.T, np.zeros((heads, STRIDE - BASE))], axis=1)


def _zeros(size: int, like):
    zeros = np.zeros(size, like.dtype)
    return devices.to_device(zeros) if devices.is_device_array(like) else zeros
