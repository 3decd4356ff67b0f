"""Levels of the states of a segment for one query: how many primes they share with it, or how far they overlap."""

import numpy as np
from numba import config, types
from numba.extending import intrinsic

from .._runtime.jit import nonnegative, scalar
from ._index_segment import BLOCK, COMMON
from ._scalars import ENTRY, MASS

LEVELS = 64  # of the overlap
THIN = 32  # numbers cleared in a row while one is found by its list

if config.DISABLE_JIT:

    def ones(word):
        """How many bits are set."""
        return int(word).bit_count()

else:

    @intrinsic
    def ones(typing, word):
        """How many bits are set."""

        def codegen(context, builder, signature, arguments):
            return builder.ctpop(arguments[0])

        return (word(word), codegen) if isinstance(word, types.Integer) else None


@scalar
def visits(i, query, lists):
    """``(together, common)``: how long the lists of the primes of query i are, and those of the common ones."""
    indptr, column, first = query[0], query[1], lists[4]
    together, common = 0, 0
    for s in range(indptr[i], indptr[i + 1]):
        c = column[s]
        length = first[c + 1] - first[c]
        together += length
        common += length if c < COMMON else 0
    return together, common


@scalar
def count(i, query, lists, level, several):
    """Count the primes that each state shares with query i; lists the states that share two, returns how many do."""
    indptr, column, first, state = query[0], query[1], lists[4], lists[5]
    found = 0
    for s in range(indptr[i], indptr[i + 1]):
        c = column[s]
        for u in range(first[c], first[c + 1]):
            j = state[nonnegative(u)]
            shared = np.uint16(level[j] + 1)
            level[j] = shared
            several[nonnegative(found)] = j
            found += shared == 2
    return found


@scalar
def forget(i, query, lists, together, level):
    """Undo ``count``, which made so many steps together."""
    indptr, column, first, state = query[0], query[1], lists[4], lists[5]
    if THIN * together > level.size:
        for j in range(level.size):
            level[j] = 0
        return
    for s in range(indptr[i], indptr[i + 1]):
        c = column[s]
        for u in range(first[c], first[c + 1]):
            level[state[nonnegative(u)]] = 0


@scalar
def meet(i, query, lists, met):
    """Flag the blocks with a state that shares a prime with query i."""
    indptr, column, first, state = query[0], query[1], lists[4], lists[5]
    for s in range(indptr[i], indptr[i + 1]):
        c = column[s]
        for u in range(first[c], first[c + 1]):
            met[state[nonnegative(u)] // BLOCK] = 1


@scalar
def count_rare(i, query, lists, level, met):
    """Count the rare primes that each state shares with query i; returns the word of the common ones, for later."""
    indptr, column, first, state = query[0], query[1], lists[4], lists[5]
    later = np.uint64(0)
    for s in range(indptr[i], indptr[i + 1]):
        c = column[s]
        if c < COMMON:
            later |= np.uint64(1) << np.uint64(c)
        else:
            for u in range(first[c], first[c + 1]):
                j = state[nonnegative(u)]
                level[j] += 1
                met[j // BLOCK] = 1
    return later


@scalar
def weigh(i, query, lists, overlap, met):
    """Sum the overlaps of query i with all states that share a prime."""
    indptr, column, x = query[0], query[1], query[2]
    first, state, impact = lists[4], lists[5], lists[6]
    for s in range(indptr[i], indptr[i + 1]):
        c = column[s]
        mass = x[ENTRY * s + MASS]
        for u in range(first[c], first[c + 1]):
            j = state[u]
            overlap[j] += mass * impact[u]
            met[j // BLOCK] = 1


@scalar
def highest(start, stop, level):
    """The highest of some levels."""
    peak = np.uint16(0)
    for j in range(start, stop):
        peak = max(peak, level[nonnegative(j)])
    return peak


@scalar
def highest_below(b, c, level):
    """The highest level of a block that is below c > 0; 0 if there is none.

    Modulo 2^16, level - c is largest for just that one. With a comparison in the loop LLVM does not vectorise it
    (measured: 23 ns a block, 1 ns with this).
    """
    peak = np.uint16(0)
    shift = np.uint16(65536 - c)
    start = BLOCK * b
    for j in range(start, start + BLOCK):
        peak = max(peak, np.uint16(level[nonnegative(j)] + shift))
    peak = np.uint16(peak - shift)
    return peak if peak < c else np.uint16(0)


@scalar
def count_block(b, later, mask, level):
    """Add the common primes to the levels of a block; returns the highest."""
    peak = np.uint16(0)
    start = BLOCK * b
    for j in range(start, start + BLOCK):
        found = np.uint16(level[nonnegative(j)] + ones(mask[nonnegative(j)] & later))
        level[nonnegative(j)] = found
        peak = max(peak, found)
    return peak


@scalar
def weigh_block(b, overlap, level):
    """Levels of a block from its overlaps; returns the highest."""
    peak = np.uint16(0)
    start = BLOCK * b
    for j in range(start, start + BLOCK):
        x = overlap[nonnegative(j)]
        found = np.uint16(min(LEVELS, int(x * LEVELS) + (x > 0)))
        level[nonnegative(j)] = found
        peak = max(peak, found)
    return peak


@scalar
def clear(met, peak, level, overlap):
    """Back to zeros: all at once if most blocks were met, which is three times as fast a block."""
    some = 0
    for b in range(met.size):
        some += met[b]
    if 4 * some > met.size:
        for j in range(level.size):
            level[j] = 0
        for j in range(overlap.size):
            overlap[j] = 0
    else:
        for b in range(met.size):
            if met[b]:
                for j in range(BLOCK * b, BLOCK * b + BLOCK):
                    level[j] = 0
                if overlap.size:
                    for j in range(BLOCK * b, BLOCK * b + BLOCK):
                        overlap[j] = 0
    for b in range(met.size):
        met[b] = 0
        peak[b] = 0


@scalar
def pick(b, c, level, flags, words, picked):
    """List the states of a block that have level c, ascending; returns how many. ``words`` are the flags, 8 a word."""
    start = BLOCK * b
    wanted = np.uint16(c)
    for t in range(BLOCK):
        flags[t] = level[nonnegative(start + t)] == wanted
    size = 0
    for w in range(BLOCK // 8):
        if words[w]:
            for t in range(8 * w, 8 * w + 8):
                picked[size] = start + t
                size += flags[t]
    return size
