"""The best k of many offers: a binary heap a query, its root the worst offer kept.

Query i owns ``scores[base:base + limit]`` and ``ids`` likewise, base = i * limit. Of equal scores the larger id is
the worse one, so the result does not depend on the order of the offers.
"""

import math

from .._runtime.jit import kernel, scalar


@scalar
def worse(score, identity, other, other_identity):
    """True if the first pair stands below the second."""
    return score < other or (score == other and identity > other_identity)


@scalar
def sink(base, place, size, score, identity, scores, ids):
    """Put the offer at ``place`` or, below it, where no child is worse."""
    child = 2 * place + 1
    while child < size:
        other = child + 1
        if other < size and worse(scores[base + other], ids[base + other], scores[base + child], ids[base + child]):
            child = other
        if not worse(scores[base + child], ids[base + child], score, identity):
            break
        scores[base + place] = scores[base + child]
        ids[base + place] = ids[base + child]
        place = child
        child = 2 * place + 1
    scores[base + place] = score
    ids[base + place] = identity


@scalar
def offer(base, size, limit, score, identity, scores, ids):
    """Keep the offer if it is among the best ``limit`` so far; returns how many are kept."""
    if size == limit:
        if worse(scores[base], ids[base], score, identity):
            sink(base, 0, size, score, identity, scores, ids)
        return size
    place = size
    while place > 0:
        parent = (place - 1) >> 1
        if not worse(score, identity, scores[base + parent], ids[base + parent]):
            break
        scores[base + place] = scores[base + parent]
        ids[base + place] = ids[base + parent]
        place = parent
    scores[base + place] = score
    ids[base + place] = identity
    return size + 1


@scalar
def threshold(base, size, limit, scores):
    """The score below which an offer is refused; minus infinity while there is room."""
    return scores[base] if size == limit else type(scores[0])(-math.inf)


@kernel
def settle_rows(start, stop, limit, sizes, scores, ids):
    """Turn each heap into a list, best first."""
    for i in range(start, stop):
        base = i * limit
        for last in range(sizes[i] - 1, 0, -1):
            score, identity = scores[base + last], ids[base + last]
            scores[base + last], ids[base + last] = scores[base], ids[base]
            sink(base, 0, last, score, identity, scores, ids)
