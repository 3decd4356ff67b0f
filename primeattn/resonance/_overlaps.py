r"""Softmax attention at the cost of the overlaps, exactly.

All keys that share no prime with the query score 0, so they share one weight. With the row's maximum m, the weight
of the background is b = exp(-m/tau), and over overlapping keys only,

    u_j = exp((K_j - m) / tau) - b,      out = (sum_j u_j v_j + b V) / (sum_j u_j + b N)

where V is the sum of the N values that the query may attend, overlapping or not: a running sum along the queries.
For K_j < tau the difference is taken as b expm1(K_j/tau), which keeps its digits however high the temperature.

Queries are taken ``TILE`` at a time: first the weights of all their overlaps, then the values, slice after slice. A
slice is ``PAIR`` vectors of columns of all keys, stored side by side, so that it stays in the cache.
"""

import numpy as np

from .._runtime import elementary as el
from .._runtime.jit import kernel, scalar
from .._runtime.owners import share
from .._runtime.vectors import LANES, broadcast, fma, load, store
from ._inverted import CHUNKS, Postings
from ._linear import pad
from ._profiles import Profile, frozen
from ._scalars import ENTRY, components, shared_terms
from ._softmax import mix

TILE = 64  # queries whose weights are held at once, and rows between two stored sums of values
PAIR = 2  # vectors of columns that are summed at once
WIDE = PAIR * LANES


@scalar
def gather_before(i, end, a, index, choice, sums, ids):
    """Walk the postings of query i up to key ``end``; returns how many keys were met, in ``ids``.

    ``sums[4 j:4 j + 4]`` are (shared, overlap, alignment, coherence) with key j.
    """
    indptr, x = a[0], a[2]
    begin, until, state, y = index
    form, ruzicka = choice
    count = 0
    for s in range(indptr[i], indptr[i + 1]):
        for u in range(begin[s], until[s]):
            j = state[u]
            if j >= end:
                break
            o, al, co = shared_terms(x, ENTRY * s, y, ENTRY * u, form, ruzicka)
            ids[count] = j
            count += sums[4 * j] == 0
            sums[4 * j] += type(o)(1)
            sums[4 * j + 1] += o
            sums[4 * j + 2] += al
            sums[4 * j + 3] += co
    return count


@scalar
def finish_components(i, count, a, b, choice, sums, ids, at, found):
    """``found[3 t:3 t + 3]``: the components of the key ``ids[at + t]``; clears the sums."""
    indptr, totals = a[0], a[3]
    indptr_b, totals_b = b[0], b[3]
    form, ruzicka = choice
    k = indptr[i + 1] - indptr[i]
    for t in range(count):
        j = ids[at + t]
        e = 4 * j
        found[3 * t], found[3 * t + 1], found[3 * t + 2] = components(
            sums[e], sums[e + 1], sums[e + 2], sums[e + 3], k, indptr_b[j + 1] - indptr_b[j], totals[i], totals_b[j],
            form, ruzicka,
        )  # fmt: skip
        for c in range(4):
            sums[e + c] = 0


@scalar
def excess(score, top, background, tau):
    """u = exp((K - m)/tau) - b."""
    x = score / tau
    return background * el.expm1(x) if x < type(x)(1) else el.exp((score - top) / tau) - background


@kernel
def weigh(count, h, weights, found, tau, u):
    """u of one row and head from its components; returns (top, background, sum of u).

    A kernel of its own, on a view that starts at 0: inlined into the long one these loops are not vectorised.
    """
    top = type(tau)(0)
    total = 0.0
    for t in range(count):
        u[t] = mix(weights, h, (found[3 * t], found[3 * t + 1], found[3 * t + 2]))
    for t in range(count):
        top = max(top, u[t])
    background = el.exp(-top / tau)
    for t in range(count):
        u[t] = excess(u[t], top, background, tau)
    for t in range(count):
        total += u[t]
    return top, background, total


@scalar
def add_rows(first, last, ids, u, shift, slices, slice_start, out, start):
    """out = sum_t u_t row ids[t] of one slice of the values."""
    a0 = a1 = broadcast(type(slices[0])(0))
    for t in range(first, last):
        v = slice_start + ids[t] * WIDE
        w = broadcast(u[shift + t])
        a0 = fma(w, load(slices, v), a0)
        a1 = fma(w, load(slices, v + LANES), a1)
    store(out, start, a0)
    store(out, start + LANES, a1)


@kernel
def attend_overlaps(
    start, stop, heads, width, padded, tau, limit, a, b, index, choice, weights, slices, sums_before, out, stats
):
    """Tiles [start, stop); ``sums_before`` of tile r is the sum of the values before key limit[TILE r], float64.

    ``slices[(slice m + j) WIDE + column]``: a head has ``padded`` columns, whole slices, and ``width`` in ``out``.
    """
    n, m = limit.size, b[3].size
    stride = heads * padded
    sums = np.zeros(4 * m, weights.dtype)
    found = np.empty(3 * m, weights.dtype)
    ids, u = np.empty(TILE * 8, np.int64), np.empty(heads * TILE * 8, weights.dtype)
    before = np.zeros(TILE + 1, np.int64)
    running = np.zeros(stride)
    line = np.empty(WIDE, weights.dtype)
    zero = type(tau)(0)
    for tile in range(start, stop):
        first = tile * TILE
        rows = min(TILE, n - first)
        for row in range(rows):
            i, at = first + row, before[row]
            if at + m > ids.size:  # room for one more row, whatever it meets
                more, more_u = np.empty(2 * (at + m), np.int64), np.empty(2 * heads * (at + m), weights.dtype)
                more[:at] = ids[:at]
                for h in range(heads):
                    more_u[2 * h * (at + m) : 2 * h * (at + m) + at] = u[h * ids.size : h * ids.size + at]
                ids, u = more, more_u
            count = gather_before(i, limit[i], a, index, choice, sums, ids[at:])
            finish_components(i, count, a, b, choice, sums, ids, at, found)
            before[row + 1] = at + count
            for h in range(heads):
                r, w = i * heads + h, h * ids.size + at
                top, background, total = weigh(count, h, weights, found, tau, u[w : w + count])
                stats[2 * r] = top
                stats[2 * r + 1] = float(background) * limit[i] + total
        for column in range(0, stride, WIDE):
            h = column // padded
            own = column - h * padded
            for row in range(rows):
                place = ((first + row) * heads + h) * width + own
                if own + WIDE <= width:
                    add_rows(before[row], before[row + 1], ids, u, h * ids.size, slices, column * m, out, place)
                else:
                    add_rows(before[row], before[row + 1], ids, u, h * ids.size, slices, column * m, line, 0)
                    for c in range(width - own):
                        out[place + c] = line[c]
        end = limit[first]
        for c in range(stride):
            running[c] = sums_before[tile * stride + c]
        for i in range(first, first + rows):
            while end < limit[i]:
                for column in range(0, stride, WIDE):
                    for c in range(WIDE):
                        running[column + c] += slices[column * m + end * WIDE + c]
                end += 1
            for h in range(heads):
                r = i * heads + h
                background, total = el.exp(-stats[2 * r] / tau), stats[2 * r + 1]
                inverse = type(tau)(1) / total if total > zero else zero
                for c in range(width):
                    out[r * width + c] = inverse * (out[r * width + c] + background * running[h * padded + c])


def running_sums(value: np.ndarray, limit: np.ndarray) -> np.ndarray:
    """Sums of the value rows before key ``limit[r]``, for every ``TILE``-th query, float64."""
    edges = np.concatenate([[0], limit[::TILE]])
    parts = np.zeros((edges.size - 1, value.shape[1]))
    for r in np.flatnonzero(np.diff(edges)):
        parts[r] = value[edges[r] : edges[r + 1]].sum(axis=0, dtype=np.float64)
    return np.cumsum(parts, axis=0, out=parts)


def by_overlaps(a: Profile, b: Profile, index: Postings, choice, weights, tau, limit, value):
    """``(out, stats)``; value (m, H d), weights flat."""
    heads = weights.size // 3
    out = np.empty((a.n, value.shape[1]), value.dtype)
    stats = np.empty(2 * a.n * heads, value.dtype)
    whole = pad(value, heads, PAIR)
    before = running_sums(whole, limit).reshape(-1)
    width = value.shape[1] // heads
    slices = frozen(whole.reshape(b.n, whole.shape[1] // WIDE, WIDE).transpose(1, 0, 2))
    share(
        lambda start, stop: attend_overlaps(
            start, stop, heads, width, whole.shape[1] // heads, tau, limit, a, b, index, choice, weights, slices,
            before, out.reshape(-1), stats,
        ),
        -(-a.n // TILE),
        1,
        CHUNKS,
    )  # fmt: skip
    return out, stats
