"""The best k states of a segment for each query, found from the most promising down until no other can be better.

Every state gets a *level*, from which an upper bound of its score follows:

    by count     the number c of shared primes       K <= c / Z (Ruzicka: see ``ceiling``)
    by overlap   the overlap O = sum m m', in 1/64    K <= w O, because alpha + beta f + gamma g <= w, their sum

Levels are visited downwards. The states of a level are scored (by merging with the query, in ascending order of
primes), and as soon as k states are kept and the bound of the level is below the worst of them, nothing is left that
could enter. Bounds are raised by what rounding can add to a score, so the result is exact.

Counting walks the lists of the primes, and lists the states that it meets twice: if they are few, the best are mostly
among them, and only if they are not the states met once are looked for. The 64 most common primes come last, if their
lists are long: a word a state says which it has. A block of 64 states that no rare prime met shares at most those, and
is looked at only once the levels have come down to that number.

The original score is an average over the shared primes: no count bounds it below beta + gamma, so its sums are
gathered for all states that share a prime.
"""

import math
from typing import NamedTuple

import numpy as np

from .._runtime.jit import bare_kernel, kernel, scalar
from ._index_heap import offer, threshold, worse
from ._index_levels import (
    LEVELS,
    clear,
    count,
    count_block,
    count_rare,
    forget,
    highest,
    highest_below,
    meet,
    ones,
    pick,
    visits,
    weigh,
    weigh_block,
)
from ._index_segment import BLOCK, BY_COUNT, BY_OVERLAP_THEN_SCORE, Segment
from ._inverted import finish
from ._scalars import ENTRY, MAGNITUDE, MASSES, components, shared_terms

FEW = 256  # states that are gone through once a level; of more, blocks are
ROUNDING = 64  # eps beside one for each prime: see docs/theory/index_search.md


@scalar
def ceiling(c, k, k_other, reach, total, total_other, choice, weights):
    """The largest score of two states with k and k' primes, c of them shared, and sums T and T' of magnitudes.

    ``reach`` bounds the sum of min(|a|, |a'|) over shared primes. R = O / (T + T' - O) grows with O.
    """
    form, ruzicka = choice
    shared = type(reach)(c)
    if form == MASSES:
        base = shared / type(reach)(math.sqrt(type(reach)(k) * type(reach)(k_other)))
    else:
        base = shared / type(reach)(k + k_other - c)
    if not ruzicka:
        return (weights[0] + weights[1] + weights[2]) * base
    overlap = min(reach, total_other)
    union = total + total_other - overlap
    first = overlap / union if union > 0 else type(reach)(0)
    return weights[0] * first + (weights[1] + weights[2]) * base


@scalar
def fill(i, indptr, column, slot):
    """Note for each prime of query i where its entry is, from 1."""
    for s in range(indptr[i], indptr[i + 1]):
        slot[column[s]] = s - indptr[i] + 1


@scalar
def empty(i, indptr, column, slot):
    """Undo ``fill``."""
    for s in range(indptr[i], indptr[i + 1]):
        slot[column[s]] = 0


@scalar
def rescore(i, j, query, lists, slot, hits, choice, weights):
    """The score of query i and state j; ``slot`` finds the entry of the query by the number of its prime.

    Shared primes are listed first: whether one is shared is hard to predict, and a list needs no branch.
    """
    indptr, x, totals = query[0], query[2], query[3]
    indptr_b, column, y, totals_b = lists[0], lists[1], lists[2], lists[3]
    form, ruzicka = choice
    zero = type(weights[0])(0)
    overlap, alignment, coherence = zero, zero, zero
    before = indptr[i] - 1
    size = 0
    for t in range(indptr_b[j], indptr_b[j + 1]):
        hits[size] = t
        size += slot[column[t]] != 0
    for h in range(size):
        t = hits[h]
        o, al, co = shared_terms(x, ENTRY * (before + slot[column[t]]), y, ENTRY * t, form, ruzicka)
        overlap += o
        alignment += al
        coherence += co
    shared = type(zero)(size)
    k, k_b = indptr[i + 1] - indptr[i], indptr_b[j + 1] - indptr_b[j]
    o, al, co = components(shared, overlap, alignment, coherence, k, k_b, totals[i], totals_b[j], form, ruzicka)
    return weights[0] * o + weights[1] * al + weights[2] * co


@scalar
def largest(start, stop, x):
    """The largest magnitude of entries [start, stop)."""
    top = type(x[0])(0)
    for s in range(start, stop):
        top = max(top, x[ENTRY * s + MAGNITUDE])
    return top


@scalar
def best_of(c, task, method, score):
    """``(the largest score of a state on level c, the largest sum of min(|a|, |a'|) over its shared primes)``."""
    k, fewest, total, each = task[1], task[2], task[5], task[6]
    choice, weights = score
    reach = min(total, type(total)(c) * each)
    if method == BY_OVERLAP_THEN_SCORE:
        return (weights[0] + weights[1] + weights[2]) * type(total)(c) / type(total)(LEVELS), reach
    return ceiling(c, k, max(c, fewest), reach, total, reach, choice, weights), reach


@scalar
def consider(j, c, reach, size, task, query, part, method, score, overlap, room, scores, ids):
    """Offer state j, on level c, unless its own bound keeps it out; returns how many are kept."""
    i, k, limit, margin, total = task[0], task[1], task[3], task[4], task[5]
    lists, alive, names = part
    choice, weights = score
    if not alive[j]:
        return size
    base = i * limit
    if method == BY_OVERLAP_THEN_SCORE:
        value = (weights[0] + weights[1] + weights[2]) * overlap[j]
    else:
        other = lists[3][j] if choice[1] else reach
        value = ceiling(c, k, lists[0][j + 1] - lists[0][j], reach, total, other, choice, weights)
    if method != BY_COUNT:  # by count it is the score: the other weights are 0
        if value * margin < threshold(base, size, limit, scores):
            return size
        value = rescore(i, j, query, lists, room[0], room[1], choice, weights)
    return offer(base, size, limit, value, names[j], scores, ids) if value > 0 else size


@scalar
def search_listed(found, several, level, size, task, query, part, method, score, overlap, room, scores, ids):
    """Offer the states listed, which share two primes or more; ``(how many are kept, whether one is too few)``."""
    limit, margin = task[3], task[4]
    base = task[0] * limit
    c = np.int64(1)
    for t in range(found):
        c = max(c, np.int64(level[several[t]]))
    while True:
        best, reach = best_of(c, task, method, score)
        done = best * margin < threshold(base, size, limit, scores)
        if done or c == 1:
            return size, done
        below = np.int64(1)
        for t in range(found):
            j = np.int64(several[t])
            here = np.int64(level[j])
            if here < c:
                below = max(below, here)
            elif here == c:
                size = consider(j, c, reach, size, task, query, part, method, score, overlap, room, scores, ids)
        c = below


@scalar
def search_blocks(unmet, later, blocks, level, size, task, query, part, method, score, overlap, room, scores, ids):
    """Offer the states of all blocks, level by level; returns how many are kept. ``unmet``: the level of the rest."""
    lists, _, names = part
    limit, margin = task[3], task[4]
    base, mask = task[0] * limit, lists[7]
    met, peak, picked, flags, words = blocks
    while True:
        c = max(unmet, np.int64(highest(0, peak.size, peak)))
        if c == 0:
            return size
        best, reach = best_of(c, task, method, score)
        if best * margin < threshold(base, size, limit, scores):
            return size
        if c <= unmet:
            for b in range(peak.size):
                if not met[b]:
                    met[b] = 1
                    peak[b] = count_block(b, later, mask, level)
            unmet = np.int64(0)
        for b in range(peak.size):
            if peak[b] != c:
                continue
            if method == BY_COUNT and size == limit and worse(best, names[BLOCK * b], scores[base], ids[base]):
                return size  # all that follow have larger ids and no larger scores
            peak[b] = highest_below(b, c, level)
            for t in range(pick(b, c, level, flags, words, picked)):
                j = picked[t]
                size = consider(j, c, reach, size, task, query, part, method, score, overlap, room, scores, ids)


class Scratch(NamedTuple):
    """What a thread writes in while it searches a segment; zeros, but for ``several``, ``picked`` and ``hits``."""

    level: np.ndarray  # uint16 (n rounded up to a block,)
    overlap: np.ndarray  # float, the same, for BY_OVERLAP_THEN_SCORE
    met: np.ndarray  # uint8, one a block
    peak: np.ndarray  # uint16, one a block
    several: np.ndarray  # uint32, one a state and one more
    picked: np.ndarray  # int64 (BLOCK + 1,)
    flags: np.ndarray  # uint8 (BLOCK,)
    words: np.ndarray  # the same as uint64
    slot: np.ndarray  # uint32, one a prime
    hits: np.ndarray  # int64, one an active prime of the largest state and one more

    @classmethod
    def of(cls, segment: Segment) -> "Scratch":
        """For a segment. Not in the kernel: then it counts references, which threads contend for (twice the time)."""
        lists = segment.lists
        n, blocks = lists.mask.size, lists.mask.size // BLOCK
        flags = np.empty(BLOCK, np.uint8)
        return cls(
            np.zeros(n, np.uint16),
            np.zeros(n if segment.method == BY_OVERLAP_THEN_SCORE else 0, segment.states.amplitude.dtype),
            np.zeros(blocks, np.uint8),
            np.zeros(blocks, np.uint16),
            np.empty(n + 1, np.uint32),
            np.empty(BLOCK + 1, np.int64),
            flags,
            flags.view(np.uint64),
            np.zeros(lists.first.size, np.uint32),
            np.empty(segment.span[1] + 1, np.int64),
        )


@bare_kernel
def search_rows(
    start, stop, query, lists, alive, names, method, fewest, scratch, choice, weights, limit, sizes, scores, ids
):
    """Offer the states of a segment to the heaps of queries [start, stop)."""
    indptr, column, x, totals = query
    level, overlap, met, peak, several, picked, flags, words, slot, hits = scratch
    blocks, room = (met, peak, picked, flags, words), (slot, hits)
    mask = lists[7]
    zero = type(weights[0])(0)
    one = type(weights[0])(1)
    eps = type(weights[0])(np.finfo(weights.dtype).eps)
    part, score = (lists, alive, names), (choice, weights)
    for i in range(start, stop):
        k = indptr[i + 1] - indptr[i]
        if k == 0:
            continue
        total, each = zero, zero
        if choice[1]:
            total, each = totals[i], largest(indptr[i], indptr[i + 1], x)
        size = sizes[i]
        task = i, k, fewest, limit, one + type(one)(k + ROUNDING) * eps, total, each
        if method != BY_COUNT:
            fill(i, indptr, column, slot)
        later = np.uint64(0)
        done, few = False, False
        if method == BY_OVERLAP_THEN_SCORE:
            weigh(i, query, lists, overlap, met)
        else:
            together, common = visits(i, query, lists)
            if 2 * common > level.size:
                later = count_rare(i, query, lists, level, met)
            else:
                found = count(i, query, lists, level, several)
                few = found <= FEW
                if few:
                    size, done = search_listed(
                        found, several, level, size, task, query, part, method, score, overlap, room, scores, ids
                    )
                if done:
                    forget(i, query, lists, together, level)
                else:
                    meet(i, query, lists, met)
        if not done:
            for b in range(met.size):
                if met[b]:
                    if method == BY_OVERLAP_THEN_SCORE:
                        peak[b] = weigh_block(b, overlap, level)
                    elif later:
                        peak[b] = count_block(b, later, mask, level)
                    else:
                        peak[b] = 1 if few else highest(BLOCK * b, BLOCK * b + BLOCK, level)
            unmet = np.int64(ones(later))  # most primes that a state of a block not met can share
            size = search_blocks(
                unmet, later, blocks, level, size, task, query, part, method, score, overlap, room, scores, ids
            )
            clear(met, peak, level, overlap)
        if method != BY_COUNT:
            empty(i, indptr, column, slot)
        sizes[i] = size


@kernel
def gather_rows(start, stop, query, lists, alive, names, choice, weights, limit, sizes, scores, ids):
    """As ``search_rows``, by the sums over shared primes of all states that share one; for every score."""
    indptr, column, x, totals = query
    indptr_b, _, y, totals_b, first, state, _, mask = lists
    form, ruzicka = choice
    sums = np.zeros(4 * mask.size, weights.dtype)
    met = np.zeros(mask.size // BLOCK, np.uint8)
    a, b = (indptr, column, x, totals), (indptr_b, column, y, totals_b)
    for i in range(start, stop):
        base, size = i * limit, sizes[i]
        for s in range(indptr[i], indptr[i + 1]):
            c = column[s]
            for u in range(first[c], first[c + 1]):
                j = state[u]
                o, al, co = shared_terms(x, ENTRY * s, y, ENTRY * u, form, ruzicka)
                sums[4 * j] += type(o)(1)
                sums[4 * j + 1] += o
                sums[4 * j + 2] += al
                sums[4 * j + 3] += co
                met[j // BLOCK] = 1
        for block in range(met.size):
            if met[block]:
                met[block] = 0
                for j in range(block * BLOCK, (block + 1) * BLOCK):
                    if sums[4 * j] > 0:
                        value = finish(i, j, a, b, choice, weights, sums)
                        if alive[j] and value > 0:
                            size = offer(base, size, limit, value, names[j], scores, ids)
        sizes[i] = size
