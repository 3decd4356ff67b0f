r"""Softmax attention at the cost of the overlaps, exactly.

All keys that share no prime with the query score 0, so they share one weight. With the row's maximum m, the weight
of the background is b = exp(-m/tau), and over overlapping keys only,

    u_j = exp((K_j - m) / tau) - b,      out = (sum_j u_j v_j + b V) / (sum_j u_j + b N)

where V is the sum of the N values that the query may attend, overlapping or not: a running sum along the queries.
For K_j < tau the difference is taken as b expm1(K_j/tau), which keeps its digits however high the temperature.
"""

import numpy as np

from .._runtime import elementary as el
from .._runtime.jit import kernel, scalar
from .._runtime.owners import share
from ._inverted import BLOCK, CHUNKS, GRAIN, Postings
from ._profiles import Profile
from ._scalars import components, shared_terms
from ._softmax import mix

AHEAD = 64  # rows between two stored sums of values


@scalar
def gather_before(i, end, a, index, choice, sums, met):
    """Walk the postings of query i up to key ``end``: ``sums[4 j:4 j + 4]`` as in ``_inverted.gather``."""
    indptr, x = a[0], a[2]
    begin, until, state, y = index
    form, ruzicka = choice
    for s in range(indptr[i], indptr[i + 1]):
        for u in range(begin[s], until[s]):
            j = state[u]
            if j >= end:
                break
            o, al, co = shared_terms(x, 8 * s, y, 8 * u, form, ruzicka)
            sums[4 * j] += type(o)(1)
            sums[4 * j + 1] += o
            sums[4 * j + 2] += al
            sums[4 * j + 3] += co
            met[j // BLOCK] = 1


@scalar
def overlapping(i, end, a, b, choice, sums, met, ids, found):
    """Compact the met keys: ``ids`` ascending, ``found[3 t:3 t + 3]`` their components; clears sums and met."""
    indptr, totals = a[0], a[3]
    indptr_b, totals_b = b[0], b[3]
    form, ruzicka = choice
    k, count = indptr[i + 1] - indptr[i], 0
    for block in range((end + BLOCK - 1) // BLOCK):
        if met[block]:
            met[block] = 0
            for j in range(block * BLOCK, min(end, (block + 1) * BLOCK)):
                e = 4 * j
                if sums[e] > 0:
                    ids[count] = j
                    found[3 * count], found[3 * count + 1], found[3 * count + 2] = components(
                        sums[e], sums[e + 1], sums[e + 2], sums[e + 3], k, indptr_b[j + 1] - indptr_b[j],
                        totals[i], totals_b[j], form, ruzicka,
                    )  # fmt: skip
                    count += 1
                    for c in range(4):
                        sums[e + c] = 0
    return count


@scalar
def excess(score, top, background, tau):
    """u = exp((K - m)/tau) - b."""
    x = score / tau
    return background * el.expm1(x) if x < type(x)(1) else el.exp((score - top) / tau) - background


@scalar
def add_rows(count, ids, u, value, stride, offset, width, out, start):
    """out[start:start + width] = sum_t u_t value row ids[t], four rows at a time."""
    for c in range(width):
        out[start + c] = 0
    t = 0
    while t + 4 <= count:
        u0, u1, u2, u3 = u[t], u[t + 1], u[t + 2], u[t + 3]
        p, q = ids[t] * stride + offset, ids[t + 1] * stride + offset
        r, s = ids[t + 2] * stride + offset, ids[t + 3] * stride + offset
        for c in range(width):
            out[start + c] += u0 * value[p + c] + u1 * value[q + c] + (u2 * value[r + c] + u3 * value[s + c])
        t += 4
    while t < count:
        u0, p = u[t], ids[t] * stride + offset
        for c in range(width):
            out[start + c] += u0 * value[p + c]
        t += 1


@kernel
def attend_overlaps(
    start, stop, heads, width, tau, limit, a, b, index, choice, weights, value, sums_before, out, stats
):
    """Queries [start, stop); ``sums_before`` row r is the sum of the values before key limit[AHEAD r], float64."""
    m = b[3].size
    stride = heads * width
    sums = np.zeros(4 * m, weights.dtype)
    met = np.zeros(m // BLOCK + 1, np.uint8)
    ids = np.empty(m, np.int64)
    found = np.empty(3 * m, weights.dtype)
    u = np.empty(m, weights.dtype)
    running = np.zeros(stride)
    zero = type(tau)(0)
    end = 0
    for i in range(start, stop):
        if i == start or i % AHEAD == 0:
            end = limit[i // AHEAD * AHEAD]
            for c in range(stride):
                running[c] = sums_before[i // AHEAD * stride + c]
        while end < limit[i]:
            for c in range(stride):
                running[c] += value[end * stride + c]
            end += 1
        gather_before(i, end, a, index, choice, sums, met)
        count = overlapping(i, end, a, b, choice, sums, met, ids, found)
        for h in range(heads):
            r = i * heads + h
            top = zero
            for t in range(count):
                u[t] = mix(weights, h, (found[3 * t], found[3 * t + 1], found[3 * t + 2]))
                top = max(top, u[t])
            background = el.exp(-top / tau)
            total = float(background) * end
            for t in range(count):
                u[t] = excess(u[t], top, background, tau)
                total += u[t]
            add_rows(count, ids, u, value, stride, h * width, width, out, r * width)
            inverse = 1 / total if total > 0 else 0.0
            shared = background * inverse
            for c in range(width):
                out[r * width + c] = out[r * width + c] * inverse + shared * running[h * width + c]
            stats[2 * r] = top
            stats[2 * r + 1] = total


def running_sums(value: np.ndarray, limit: np.ndarray) -> np.ndarray:
    """Sums of the value rows before key ``limit[r]``, for every ``AHEAD``-th query, float64."""
    edges = np.concatenate([[0], limit[::AHEAD]])
    parts = np.zeros((edges.size - 1, value.shape[1]))
    for r in np.flatnonzero(np.diff(edges)):
        parts[r] = value[edges[r] : edges[r + 1]].sum(axis=0, dtype=np.float64)
    return np.cumsum(parts, axis=0, out=parts)


def by_overlaps(a: Profile, b: Profile, index: Postings, choice, weights, tau, limit, value):
    """``(out, stats)``; value (m, H d), weights flat."""
    heads = weights.size // 3
    out = np.empty((a.n, value.shape[1]), value.dtype)
    stats = np.empty(2 * a.n * heads, value.dtype)
    before = running_sums(value, limit).reshape(-1)
    width = value.shape[1] // heads
    share(
        lambda start, stop: attend_overlaps(
            start, stop, heads, width, tau, limit, a, b, index, choice, weights, value.reshape(-1), before,
            out.reshape(-1), stats,
        ),
        a.n,
        GRAIN,
        CHUNKS,
    )  # fmt: skip
    return out, stats
