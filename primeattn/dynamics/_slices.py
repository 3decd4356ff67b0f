"""Networks in the order in which a processor likes to read them: four rows at once.

A row of a sparse matrix is a loop of unknown length with one chain of sums: a mispredicted jump a row, and waiting.
Here the rows of a block of oscillators are sorted by length, and four neighbours in that order make a slice, which is
stored edge by edge across the four (SELL-4-sigma, M. Kreutzer et al. 2014, SIAM J. Sci. Comput. 36, C401). A row of
more than ``LONG`` edges is a slice of its own: its edges are dealt out to the four. Slices are padded with a neighbour
that is zero: at most ``4 LONG`` edges a block and 3 a slice.

Neighbours are read as pairs (cos, sin), one cache line each, which `pair_up` makes of a block. Where the pairs of all
oscillators do not fit the second-level cache, columns are cut, too, into ranges of oscillators whose pairs do: a pass
over all blocks for each range, of which the first writes the sums of the rows, and the others add to them. Such a range
is short enough to number its oscillators by 16 bits, so that two edges fit a word: half of what a pass reads.
"""

from typing import NamedTuple

import numpy as np

from .._runtime.disjoint import disjoint
from .._runtime.jit import apart, nonnegative, piece, scalar
from .._runtime.vectors import load_pair, store, twice

LONG = 64  # edges
NEAR = 50_000  # oscillators whose pairs, 0.8 MB, stay in a second-level cache beside what streams by
PACKED = (1 << 16) - 1  # oscillators of a range that 16 bits tell apart, and from nobody
FEW = 1.25  # edges of a row and range: fewer cost more to add up than they save


class Slices(NamedTuple):
    """Strands in fours, and ranges of columns, each of some blocks.

    Attributes
    ----------
    begins : ndarray of int64, shape (ranges,)
        The first oscillator of each range.
    part : ndarray of int64, shape (blocks,)
        The range that holds a block.
    strands : ndarray of int32, shape (4 slices,)
        The row whose edges a strand holds; n where there is none, and four times the same if it is long.
    starts : ndarray of int64, shape (slices + 1,)
        Where slices begin, in edges.
    heard : ndarray of int32, shape (padded edges,) or (padded edges / 2,)
        Neighbours, counted from 1 in their range; 0 is nobody. Edge e of strand l of a slice is at start + 4 e + l, or
        in half a word, the lower one first.
    strength : ndarray of float64, shape (padded edges,) or (0,)
    first : ndarray of int64, shape (ranges * blocks + 1,)
        The first slice of each block, range of columns by range. In the first range all rows have a strand.
    """

    begins: np.ndarray
    part: np.ndarray
    strands: np.ndarray
    starts: np.ndarray
    heard: np.ndarray
    strength: np.ndarray
    first: np.ndarray


def ranges(n: int, edges: int) -> int:
    """Into how many ranges columns are cut: none of more than ``NEAR`` oscillators, but ``FEW`` edges a row in each."""
    return max(1, min(-(-n // NEAR), int(edges / (FEW * n))))


def slices(indptr: np.ndarray, indices: np.ndarray, weight: np.ndarray, edges: np.ndarray, cuts: int = 1) -> Slices:
    """Slices of a network in compressed sparse rows whose blocks end at ``edges``, in up to ``cuts`` ranges."""
    n, blocks = len(indptr) - 1, len(edges) - 1
    _, opening, part = np.unique(edges[:-1] * cuts // n, return_index=True, return_inverse=True)
    begins, cuts = edges[opening], len(opening)
    where = np.searchsorted(begins, indices, side="right") - 1
    # rows once for each range, one range after the other
    rows = where * n + np.repeat(np.arange(n), np.diff(indptr))
    order = np.argsort(rows, kind="stable")
    degree = np.bincount(rows, minlength=cuts * n)
    dealt = np.where(degree > LONG, 4, np.where(np.arange(cuts * n) < n, 1, np.minimum(degree, 1)))  # strands of a row
    row = np.repeat(np.arange(cuts * n), dealt)
    lane = np.arange(len(row)) - np.repeat(np.cumsum(dealt) - dealt, dealt)
    length = (degree[row] - lane + dealt[row] - 1) // dealt[row]
    block = row // n * blocks + np.searchsorted(edges, row % n, side="right") - 1
    ordered = np.lexsort((-degree[row], block))  # strands of a long row stay together, at multiples of four
    count = np.bincount(block, minlength=cuts * blocks)
    first = np.concatenate([[0], np.cumsum((count + 3) // 4)])
    place = np.arange(len(row)) + np.repeat(4 * first[:-1] - (np.cumsum(count) - count), count)
    strands = np.full(4 * first[-1], n, np.int32)
    strands[place] = row[ordered] % n
    longest = np.zeros(4 * first[-1], np.int64)
    longest[place] = length[ordered]
    starts = np.concatenate([[0], np.cumsum(4 * longest.reshape(-1, 4).max(axis=1, initial=0))])
    # edge k of a row is the (k // step)th of strand k % step
    begin = np.empty(len(row), np.int64)
    begin[ordered] = starts[place // 4] + place % 4
    head = np.repeat(np.cumsum(dealt) - dealt, degree)
    k = np.arange(len(indices)) - np.repeat(np.cumsum(degree) - degree, degree)
    step = np.repeat(dealt, degree)
    to = begin[head + k % step] + 4 * (k // step)
    packed = np.diff(begins, append=n).max() <= PACKED
    heard = np.zeros(starts[-1], np.uint16 if packed else np.int32)
    heard[to] = (1 + indices - begins[where])[order]
    strength = np.zeros(len(heard) if len(weight) else 0)
    if len(weight):
        strength[to] = weight[order]
    return Slices(begins, part, strands, starts, heard.view(np.int32), strength, first)


def memory(harmonics: int, n: int, cuts: int) -> int:
    """Numbers that pairs and sums need behind the features, zero where nothing is written."""
    return harmonics * (4 * (n + cuts) + 2 * (n + 1))


@scalar
def pairs_at(parity, harmonic, cuts, g):
    """Where the pairs of a harmonic start in ``features``; those of a range follow a pair of zeros."""
    return 4 * g.harmonics * g.n + (parity * g.harmonics + harmonic) * 2 * (g.n + cuts)


@scalar
def heard_at(harmonic, cuts, g):
    """Where what the rows hear of a harmonic, (n + 1, 2), starts in ``features``."""
    return pairs_at(2, 0, cuts, g) + harmonic * 2 * (g.n + 1)


@scalar
def own_pairs(block, parity, harmonic, x, g):
    """Where the pair of an oscillator 0 would stand, if it were of this block."""
    return pairs_at(parity, harmonic, len(x.begins), g) + 2 * (x.part[block] + 1)


@piece
def pair_up(first, last, c, apart, to, features):
    """(cos, sin) side by side."""
    for i in range(first, last):
        features[nonnegative(to + 2 * i)] = features[nonnegative(c + i)]
        features[nonnegative(to + 2 * i + 1)] = features[nonnegative(c + apart + i)]


@piece
def hear(run, low, high, x, g, features, parity):
    """What the rows of some blocks hear: sum_j w_ij e_j^m, of every harmonic that couples."""
    for m in range(g.harmonics):
        h = run * g.link_step + 2 * m
        if x.link[h] != 0 or x.link[h + 1] != 0:
            add_strands(
                low, high, len(x.part), x.begins, x.strands, x.starts, x.heard, x.strength, x.first, features,
                pairs_at(parity, m, len(x.begins), g), heard_at(m, len(x.begins), g),
            )  # fmt: skip


@scalar
def four(heard, e, packed):
    """Where the pairs of the neighbours of edges e to e + 3 stand."""
    if packed:
        a, b = np.int64(heard[nonnegative(e >> 1)]), np.int64(heard[nonnegative((e >> 1) + 1)])
        return 2 * (a & 65535), 2 * (a >> 16 & 65535), 2 * (b & 65535), 2 * (b >> 16 & 65535)
    a, b = np.int64(heard[nonnegative(e)]), np.int64(heard[nonnegative(e + 1)])
    c, d = np.int64(heard[nonnegative(e + 2)]), np.int64(heard[nonnegative(e + 3)])
    return 2 * a, 2 * b, 2 * c, 2 * d


@scalar
def row_at(strand, strands, to):
    """Where the sums of a strand belong."""
    return to + 2 * np.int64(strands[nonnegative(strand)])


@apart
def add_strands(low, high, blocks, begins, strands, starts, heard, strength, first, features, pairs, to):
    """`hear` of one harmonic, from the pairs at ``pairs``: range of columns by range, four rows at once."""
    packed = len(heard) < starts[len(starts) - 1]
    for part in range(len(begins)):
        shown = features[pairs + 2 * (begins[part] + part) :]
        for s in range(first[part * blocks + low], first[part * blocks + high]):
            start, stop = starts[nonnegative(s)], starts[nonnegative(s + 1)]
            p = q = r = t = twice(0.0)
            if len(strength):
                for e in range(start, stop, 4):
                    a, b, c, d = four(heard, e, packed)
                    p = p + twice(strength[nonnegative(e)]) * load_pair(shown, a)
                    q = q + twice(strength[nonnegative(e + 1)]) * load_pair(shown, b)
                    r = r + twice(strength[nonnegative(e + 2)]) * load_pair(shown, c)
                    t = t + twice(strength[nonnegative(e + 3)]) * load_pair(shown, d)
            else:
                for e in range(start, stop, 4):
                    a, b, c, d = four(heard, e, packed)
                    p = p + load_pair(shown, a)
                    q = q + load_pair(shown, b)
                    r = r + load_pair(shown, c)
                    t = t + load_pair(shown, d)
            a, b = row_at(4 * s, strands, to), row_at(4 * s + 1, strands, to)
            if a == b:  # a long row
                p = (p + q) + (r + t)
                store(features, a, load_pair(features, a) + p if part else p)
                continue
            c, d = row_at(4 * s + 2, strands, to), row_at(4 * s + 3, strands, to)
            if part:
                p, q = load_pair(features, a) + p, load_pair(features, b) + q
                r, t = load_pair(features, c) + r, load_pair(features, d) + t
            store(features, a, p)
            store(features, b, q)
            store(features, c, r)
            store(features, d, t)


@piece
def feel(first, last, re, im, scale, heard, own, features, out, force):
    """out_i += Im h scale_i (p + i q) e_i^{-m} with what was heard, and the pairs of the block itself."""
    disjoint()
    if len(scale):
        for i in range(first, last):
            factor = scale[nonnegative(i)]
            p, q = factor * features[nonnegative(heard + 2 * i)], factor * features[nonnegative(heard + 2 * i + 1)]
            cosine, sine = features[nonnegative(own + 2 * i)], features[nonnegative(own + 2 * i + 1)]
            out[nonnegative(force + i)] += (re * q + im * p) * cosine - (re * p - im * q) * sine
    else:
        for i in range(first, last):
            p, q = features[nonnegative(heard + 2 * i)], features[nonnegative(heard + 2 * i + 1)]
            cosine, sine = features[nonnegative(own + 2 * i)], features[nonnegative(own + 2 * i + 1)]
            out[nonnegative(force + i)] += (re * q + im * p) * cosine - (re * p - im * q) * sine
