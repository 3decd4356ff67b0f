"""The best k states of a segment for each query, found from the most promising down until no other can be better.

Every state gets a *level*, from which an upper bound of its score follows:

    by count     the number c of shared primes       K <= c / Z (Ruzicka: see ``ceiling``)
    by overlap   the overlap O = sum m m', in 1/64    K <= w O, because alpha + beta f + gamma g <= w, their sum

Levels are visited downwards. The states of a level are scored (by merging with the query, in ascending order of
primes), and as soon as k states are kept and the bound of the level is below the worst of them, nothing is left that
could enter. Bounds are raised by what rounding can add to a score, so the result is exact.

Counting walks the lists of the rare primes first. The 64 most common primes come last, if their lists are long: a
word a state says which it has. A block of 64 states that no rare prime met shares at most those, and is looked at only
once the levels have come down to that number.

The original score is an average over the shared primes: no count bounds it below beta + gamma, so its sums are
gathered for all states that share a prime.
"""

import math

import numpy as np
from numba import config, types
from numba.extending import intrinsic

from .._runtime.jit import kernel, nonnegative, scalar
from ._index_heap import offer, threshold, worse
from ._index_segment import BLOCK, BY_COUNT, BY_OVERLAP_THEN_SCORE, COMMON
from ._inverted import finish
from ._scalars import ENTRY, MAGNITUDE, MASS, MASSES, components, shared_terms

LEVELS = 64  # of the overlap
ROUNDING = 64  # eps beside one for each prime: see docs/theory/index_search.md

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
def count(i, query, lists, level, met):
    """Count the primes that each state shares with query i; returns the word of those left for later."""
    indptr, column = query[0], query[1]
    first, state = lists[4], lists[5]
    visits = 0
    for s in range(indptr[i], indptr[i + 1]):
        c = column[s]
        if c < COMMON:
            visits += first[c + 1] - first[c]
    later = np.uint64(0)
    defer = 2 * visits > level.size
    for s in range(indptr[i], indptr[i + 1]):
        c = column[s]
        if defer and c < COMMON:
            later |= np.uint64(1) << np.uint64(c)
        else:
            for u in range(first[c], first[c + 1]):
                j = state[u]
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


@kernel
def search_rows(start, stop, query, lists, alive, names, method, span, choice, weights, limit, sizes, scores, ids):
    """Offer the states of a segment to the heaps of queries [start, stop)."""
    indptr, column, x, totals = query
    indptr_b, totals_b, first, mask = lists[0], lists[3], lists[4], lists[7]
    blocks = mask.size // BLOCK
    level = np.zeros(mask.size, np.uint16)
    peak = np.zeros(blocks, np.uint16)
    met = np.zeros(blocks, np.uint8)
    picked = np.zeros(BLOCK + 1, np.int64)
    flags = np.zeros(BLOCK, np.uint8)
    words = flags.view(np.uint64)
    slot = np.zeros(first.size, np.uint32)
    fewest, most = span
    hits = np.zeros(most + 1, np.int64)
    overlap = np.zeros(mask.size if method == BY_OVERLAP_THEN_SCORE else 0, weights.dtype)
    zero = type(weights[0])(0)
    one = type(weights[0])(1)
    eps = type(weights[0])(np.finfo(weights.dtype).eps)
    most_each = weights[0] + weights[1] + weights[2]  # of one shared prime; 1 up to what check_weights allows
    for i in range(start, stop):
        k = indptr[i + 1] - indptr[i]
        if k == 0:
            continue
        base, size = i * limit, sizes[i]
        margin = one + type(one)(k + ROUNDING) * eps
        total, each = zero, zero
        if choice[1]:
            total, each = totals[i], largest(indptr[i], indptr[i + 1], x)
        later = np.uint64(0)
        if method == BY_OVERLAP_THEN_SCORE:
            weigh(i, query, lists, overlap, met)
        else:
            later = count(i, query, lists, level, met)
        fill(i, indptr, column, slot)
        unmet = np.int64(ones(later))  # most primes that a state of a block not met can share
        for b in range(blocks):
            if met[b]:
                if method == BY_OVERLAP_THEN_SCORE:
                    peak[b] = weigh_block(b, overlap, level)
                elif later:
                    peak[b] = count_block(b, later, mask, level)
                else:
                    peak[b] = highest(BLOCK * b, BLOCK * b + BLOCK, level)
        done = False
        while not done:
            c = np.int64(max(unmet, np.int64(highest(0, blocks, peak))))
            if c == 0:
                break
            reach = min(total, type(one)(c) * each)
            if method == BY_OVERLAP_THEN_SCORE:
                best = most_each * type(one)(c) / type(one)(LEVELS)
            else:
                best = ceiling(c, k, max(c, fewest), reach, total, reach, choice, weights)
            if best * margin < threshold(base, size, limit, scores):
                break
            if c <= unmet:
                for b in range(blocks):
                    if not met[b]:
                        met[b] = 1
                        peak[b] = count_block(b, later, mask, level)
                unmet = np.int64(0)
            for b in range(blocks):
                if peak[b] != c:
                    continue
                if method == BY_COUNT and size == limit and worse(best, names[BLOCK * b], scores[base], ids[base]):
                    done = True  # all that follow have larger ids and no larger scores
                    break
                peak[b] = highest_below(b, c, level)
                for found in range(pick(b, c, level, flags, words, picked)):
                    j = picked[found]
                    if not alive[j]:
                        continue
                    if method == BY_OVERLAP_THEN_SCORE:
                        bound = most_each * overlap[j]
                    else:
                        other = totals_b[j] if choice[1] else zero
                        bound = ceiling(c, k, indptr_b[j + 1] - indptr_b[j], reach, total, other, choice, weights)
                    value = bound  # by count it is the score: the other weights are 0
                    if method != BY_COUNT:
                        if bound * margin < threshold(base, size, limit, scores):
                            continue
                        value = rescore(i, j, query, lists, slot, hits, choice, weights)
                    if value > zero:
                        size = offer(base, size, limit, value, names[j], scores, ids)
        sizes[i] = size
        clear(met, peak, level, overlap)
        empty(i, indptr, column, slot)


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
