"""Networks in the order in which a processor likes to read them: four rows at once.

A row of a sparse matrix is a loop of unknown length with one chain of sums: a mispredicted jump a row, and waiting.
Here the rows of a block of oscillators are sorted by length, and four neighbours in that order make a slice, which is
stored edge by edge across the four (SELL-4-sigma, M. Kreutzer et al. 2014, SIAM J. Sci. Comput. 36, C401). A row of
more than ``LONG`` edges is first dealt out into four strands. Slices are padded with a neighbour, number n, that is
zero: at most ``4 LONG`` edges a block and 3 a slice.

Neighbours are read as pairs (cos, sin), one cache line each, which `pair_up` makes of a block. Where the pairs of all
oscillators do not fit the second-level cache, columns are cut, too, into ranges of oscillators whose pairs do: a pass
over all blocks for each range, which adds to the sums of the rows.
"""

from typing import NamedTuple

import numpy as np

from .._runtime.disjoint import disjoint
from .._runtime.jit import apart, nonnegative, piece, scalar
from .._runtime.vectors import load_pair, store, twice

LONG = 64  # edges
NEAR = 34_000  # oscillators whose pairs, half a megabyte, stay in a second-level cache beside what streams by
FEW = 1.25  # edges of a row and range: fewer cost more to add up than they save


class Slices(NamedTuple):
    """Strands in fours.

    Attributes
    ----------
    strands : ndarray of int32, shape (4 slices,)
        The row to which the sum of a strand is added.
    starts : ndarray of int64, shape (slices + 1,)
        Where slices begin in ``heard``.
    heard : ndarray of int32, shape (padded edges,)
        Where the pairs of neighbours stand, 2 j; edge e of strand l of a slice is at start + 4 e + l.
    strength : ndarray of float64, shape (padded edges,) or (0,)
    first : ndarray of int64, shape (ranges * blocks + 1,)
        The first slice of each block, range of columns by range.
    """

    strands: np.ndarray
    starts: np.ndarray
    heard: np.ndarray
    strength: np.ndarray
    first: np.ndarray


def ranges(n: int, edges: int) -> int:
    """Into how many ranges columns are cut: none of more than ``NEAR`` oscillators, but ``FEW`` edges a row in each."""
    return max(1, min(-(-n // NEAR), int(edges / (FEW * n))))


def slices(indptr: np.ndarray, indices: np.ndarray, weight: np.ndarray, edges: np.ndarray, cuts: int = 1) -> Slices:
    """Slices of a network in compressed sparse rows whose blocks end at ``edges``, its columns cut into ranges."""
    n = len(indptr) - 1
    if cuts == 1:
        return _slices(indptr, indices, weight, edges, n)
    # rows once for each range, one range after the other
    part = indices // -(-n // cuts) * np.int64(n) + np.repeat(np.arange(n), np.diff(indptr))
    order = np.argsort(part, kind="stable")
    long = np.concatenate([[0], np.cumsum(np.bincount(part, minlength=cuts * n))])
    ends = np.concatenate([(edges[:-1] + n * np.arange(cuts)[:, None]).reshape(-1), [cuts * n]])
    found = _slices(long, indices[order], weight[order] if len(weight) else weight, ends, n)
    return found._replace(strands=found.strands % n)


def _slices(indptr, indices, weight, edges, nobody) -> Slices:
    """Padded with the neighbour ``nobody``."""
    n, blocks = len(indptr) - 1, len(edges) - 1
    degree = np.diff(indptr)
    dealt = np.where(degree > LONG, 4, np.minimum(degree, 1))  # strands of each row
    row = np.repeat(np.arange(n), dealt)
    lane = np.arange(len(row)) - np.repeat(np.cumsum(dealt) - dealt, dealt)
    step = dealt[row]
    length = (degree[row] - lane + step - 1) // step
    block = np.searchsorted(edges, row, side="right") - 1
    order = np.lexsort((-length, block))
    count = np.bincount(block, minlength=blocks)
    first = np.concatenate([[0], np.cumsum((count + 3) // 4)])
    # place of each strand: blocks start at multiples of four
    place = np.arange(len(row)) + np.repeat(4 * first[:-1] - (np.cumsum(count) - count), count)
    strands = np.repeat(edges[:-1], 4 * np.diff(first))
    strands[place] = row[order]
    longest = np.zeros(4 * first[-1], np.int64)
    longest[place] = length[order]
    starts = np.concatenate([[0], np.cumsum(4 * longest.reshape(-1, 4).max(axis=1, initial=0))])
    heard = np.full(starts[-1], 2 * nobody, np.int32)
    # edge k of row i is the (k // step)th of strand k % step
    begin = np.empty(len(row), np.int64)
    begin[order] = starts[place // 4] + place % 4
    head = (np.cumsum(dealt) - dealt)[np.repeat(np.arange(n), degree)]
    k = np.arange(len(indices)) - np.repeat(indptr[:-1], degree)
    step = np.repeat(dealt, degree)
    to = begin[head + k % np.maximum(step, 1)] + 4 * (k // np.maximum(step, 1))
    heard[to] = 2 * indices
    strength = np.zeros(len(heard) if len(weight) else 0)
    if len(weight):
        strength[to] = weight
    return Slices(strands.astype(np.int32), starts, heard, strength, first)


def memory(harmonics: int, n: int) -> int:
    """Numbers that pairs and sums need behind the features, zero where nothing is written."""
    return harmonics * (4 * (n + 1) + 2 * n)


@scalar
def pairs_at(parity, harmonic, g):
    """Where the pairs of a harmonic start in ``features``."""
    return 4 * g.harmonics * g.n + (parity * g.harmonics + harmonic) * 2 * (g.n + 1)


@scalar
def heard_at(harmonic, g):
    """Where what the rows hear of a harmonic, (n, 2), starts in ``features``."""
    return pairs_at(2, 0, g) + harmonic * 2 * g.n


@scalar
def pair_up(first, last, c, n, to, features):
    """(cos, sin) side by side."""
    for i in range(first, last):
        features[nonnegative(to + 2 * i)] = features[nonnegative(c + i)]
        features[nonnegative(to + 2 * i + 1)] = features[nonnegative(c + n + i)]


@piece
def hear(run, low, high, x, g, features, parity):
    """What the rows of some blocks hear: sum_j w_ij e_j^m, of every harmonic that couples."""
    for m in range(g.harmonics):
        h = run * g.link_step + 2 * m
        if x.link[h] != 0 or x.link[h + 1] != 0:
            add_strands(
                low, high, x.edges, x.strands, x.starts, x.heard, x.strength, x.first, features, pairs_at(parity, m, g),
                heard_at(m, g),
            )  # fmt: skip


@apart
def add_strands(low, high, edges, strands, starts, heard, strength, first, features, pairs, to):
    """`hear` of one harmonic, from the pairs at ``pairs``: range of columns by range, four rows at once."""
    blocks, shown = len(edges) - 1, features[pairs:]
    for part in range(0, len(first) - 1, blocks):
        for block in range(low, high):
            if part == 0:
                for i in range(2 * edges[block], 2 * edges[block + 1]):
                    features[nonnegative(to + i)] = 0.0
            for s in range(first[nonnegative(part + block)], first[nonnegative(part + block + 1)]):
                start, stop = starts[nonnegative(s)], starts[nonnegative(s + 1)]
                p = q = r = t = twice(0.0)
                if len(strength):
                    for e in range(start, stop, 4):
                        p = p + twice(strength[nonnegative(e)]) * load_pair(shown, heard[nonnegative(e)])
                        q = q + twice(strength[nonnegative(e + 1)]) * load_pair(shown, heard[nonnegative(e + 1)])
                        r = r + twice(strength[nonnegative(e + 2)]) * load_pair(shown, heard[nonnegative(e + 2)])
                        t = t + twice(strength[nonnegative(e + 3)]) * load_pair(shown, heard[nonnegative(e + 3)])
                else:
                    for e in range(start, stop, 4):
                        p = p + load_pair(shown, heard[nonnegative(e)])
                        q = q + load_pair(shown, heard[nonnegative(e + 1)])
                        r = r + load_pair(shown, heard[nonnegative(e + 2)])
                        t = t + load_pair(shown, heard[nonnegative(e + 3)])
                put(to + 2 * np.int64(strands[nonnegative(4 * s)]), p, features)
                put(to + 2 * np.int64(strands[nonnegative(4 * s + 1)]), q, features)
                put(to + 2 * np.int64(strands[nonnegative(4 * s + 2)]), r, features)
                put(to + 2 * np.int64(strands[nonnegative(4 * s + 3)]), t, features)


@scalar
def put(to, pair, features):
    """Adds the sums of a strand to those of its row."""
    store(features, to, load_pair(features, to) + pair)


@piece
def feel(first, last, re, im, scale, heard, c, n, features, out, force):
    """out_i += Im h scale_i (p + i q) e_i^{-m} with what was heard."""
    disjoint()
    if len(scale):
        for i in range(first, last):
            factor = scale[nonnegative(i)]
            p, q = factor * features[nonnegative(heard + 2 * i)], factor * features[nonnegative(heard + 2 * i + 1)]
            cosine, sine = features[nonnegative(c + i)], features[nonnegative(c + n + i)]
            out[nonnegative(force + i)] += (re * q + im * p) * cosine - (re * p - im * q) * sine
    else:
        for i in range(first, last):
            p, q = features[nonnegative(heard + 2 * i)], features[nonnegative(heard + 2 * i + 1)]
            cosine, sine = features[nonnegative(c + i)], features[nonnegative(c + n + i)]
            out[nonnegative(force + i)] += (re * q + im * p) * cosine - (re * p - im * q) * sine
