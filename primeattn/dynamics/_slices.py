"""Networks in the order in which a processor likes to read them: four rows at once.

A row of a sparse matrix is a loop of unknown length with one chain of sums: a mispredicted jump a row, and waiting.
Here the rows of a block of oscillators are sorted by length, and four neighbours in that order make a slice, which is
stored edge by edge across the four (SELL-4-sigma, M. Kreutzer et al. 2014, SIAM J. Sci. Comput. 36, C401). A row of
more than ``LONG`` edges is first dealt out into four strands. Slices are padded with a neighbour, number n, that is
zero: at most ``4 LONG`` edges a block and 3 a slice.

Neighbours are read as pairs (cos, sin), one cache line each, which `pair_up` makes of a block.
"""

from typing import NamedTuple

import numpy as np

from .._runtime.jit import nonnegative, piece, scalar

LONG = 64  # edges


class Slices(NamedTuple):
    """Strands in fours.

    Attributes
    ----------
    strands : ndarray of int64, shape (4 slices,)
        The row to which the sum of a strand is added.
    starts : ndarray of int64, shape (slices + 1,)
        Where slices begin in ``heard``.
    heard : ndarray of int32, shape (padded edges,)
        Neighbours; edge e of strand l of a slice stands at start + 4 e + l.
    strength : ndarray of float64, shape (padded edges,) or (0,)
    first : ndarray of int64, shape (blocks + 1,)
        The first slice of each block.
    """

    strands: np.ndarray
    starts: np.ndarray
    heard: np.ndarray
    strength: np.ndarray
    first: np.ndarray


def slices(indptr: np.ndarray, indices: np.ndarray, weight: np.ndarray, edges: np.ndarray) -> Slices:
    """Slices of a network in compressed sparse rows whose blocks end at ``edges``."""
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
    heard = np.full(starts[-1], n, np.int32)
    # edge k of row i is the (k // step)th of strand k % step
    begin = np.empty(len(row), np.int64)
    begin[order] = starts[place // 4] + place % 4
    head = (np.cumsum(dealt) - dealt)[np.repeat(np.arange(n), degree)]
    k = np.arange(len(indices)) - np.repeat(indptr[:-1], degree)
    step = np.repeat(dealt, degree)
    to = begin[head + k % np.maximum(step, 1)] + 4 * (k // np.maximum(step, 1))
    heard[to] = indices
    strength = np.zeros(len(heard) if len(weight) else 0)
    if len(weight):
        strength[to] = weight
    return Slices(strands, starts, heard, strength, first)


def memory(harmonics: int, n: int) -> int:
    """Numbers that pairs need behind the features, zero where nothing is written."""
    return 4 * harmonics * (n + 1)


@scalar
def pairs_at(parity, harmonic, g):
    """Where the pairs of a harmonic start in ``features``."""
    return 4 * g.harmonics * g.n + (parity * g.harmonics + harmonic) * 2 * (g.n + 1)


@scalar
def pair_up(first, last, c, n, to, features):
    """(cos, sin) side by side."""
    for i in range(first, last):
        features[nonnegative(to + 2 * i)] = features[nonnegative(c + i)]
        features[nonnegative(to + 2 * i + 1)] = features[nonnegative(c + n + i)]


@piece
def add_slices(block, re, im, x, features, pairs, out, force):
    """What `_phases.add_edges` does, four rows at once."""
    zero, heard, strength = re - re, x.heard, x.strength
    weighted, scaled = len(x.strength) > 0, len(x.scale) > 0
    for s in range(x.first[block], x.first[block + 1]):
        p0 = q0 = p1 = q1 = p2 = q2 = p3 = q3 = zero
        start, stop = x.starts[nonnegative(s)], x.starts[nonnegative(s + 1)]
        if weighted:
            for e in range(start, stop, 4):
                a = nonnegative(pairs + 2 * np.int64(heard[nonnegative(e)]))
                b = nonnegative(pairs + 2 * np.int64(heard[nonnegative(e + 1)]))
                c = nonnegative(pairs + 2 * np.int64(heard[nonnegative(e + 2)]))
                d = nonnegative(pairs + 2 * np.int64(heard[nonnegative(e + 3)]))
                u, v = strength[nonnegative(e)], strength[nonnegative(e + 1)]
                w, z = strength[nonnegative(e + 2)], strength[nonnegative(e + 3)]
                p0, q0 = p0 + u * features[a], q0 + u * features[nonnegative(a + 1)]
                p1, q1 = p1 + v * features[b], q1 + v * features[nonnegative(b + 1)]
                p2, q2 = p2 + w * features[c], q2 + w * features[nonnegative(c + 1)]
                p3, q3 = p3 + z * features[d], q3 + z * features[nonnegative(d + 1)]
        else:
            for e in range(start, stop, 4):
                a = nonnegative(pairs + 2 * np.int64(heard[nonnegative(e)]))
                b = nonnegative(pairs + 2 * np.int64(heard[nonnegative(e + 1)]))
                c = nonnegative(pairs + 2 * np.int64(heard[nonnegative(e + 2)]))
                d = nonnegative(pairs + 2 * np.int64(heard[nonnegative(e + 3)]))
                p0, q0 = p0 + features[a], q0 + features[nonnegative(a + 1)]
                p1, q1 = p1 + features[b], q1 + features[nonnegative(b + 1)]
                p2, q2 = p2 + features[c], q2 + features[nonnegative(c + 1)]
                p3, q3 = p3 + features[d], q3 + features[nonnegative(d + 1)]
        feel(4 * s, p0, q0, re, im, scaled, x, features, pairs, out, force)
        feel(4 * s + 1, p1, q1, re, im, scaled, x, features, pairs, out, force)
        feel(4 * s + 2, p2, q2, re, im, scaled, x, features, pairs, out, force)
        feel(4 * s + 3, p3, q3, re, im, scaled, x, features, pairs, out, force)


@piece
def feel(strand, p, q, re, im, scaled, x, features, pairs, out, force):
    """out_i += Im h (p + i q) e_i^{-m} for the row of a strand."""
    i = x.strands[nonnegative(strand)]
    if scaled:
        p, q = p * x.scale[nonnegative(i)], q * x.scale[nonnegative(i)]
    cosine, sine = features[nonnegative(pairs + 2 * i)], features[nonnegative(pairs + 2 * i + 1)]
    out[nonnegative(force + i)] += (re * q + im * p) * cosine - (re * p - im * q) * sine
