"""Gradients of softmax attention at the cost of the overlaps: two gathers, by query and by key; formulas in _softmax.

Only overlapping pairs have a derivative by the states. A value also receives, from every query that may attend it,
the background weight b_i / Z_i: a sum that runs along the queries.
"""

import numpy as np

from .._runtime import elementary as el
from .._runtime.jit import kernel, scalar
from .._runtime.owners import share
from ._gradients import add_shared
from ._inverted import BLOCK, CHUNKS, GRAIN, postings
from ._overlaps import excess
from ._profiles import Profile, frozen
from ._scalars import ENTRY, MAGNITUDE, components, dcomponents, shared_terms
from ._softmax import DELTA, dot_rows, mix, pull_score


@scalar
def gather_meeting(r, by_key, limit, a, index, choice, sums, met):
    """Walk the postings of row r of a, for pairs that may meet: query r and keys, or key r and queries."""
    indptr, x = a[0], a[2]
    begin, until, state, y = index
    form, ruzicka = choice
    for s in range(indptr[r], indptr[r + 1]):
        for u in range(begin[s], until[s]):
            t = state[u]
            if (r if by_key else t) < (limit[t] if by_key else limit[r]):
                o, al, co = shared_terms(x, ENTRY * s, y, ENTRY * u, form, ruzicka)
                sums[4 * t] += type(o)(1)
                sums[4 * t + 1] += o
                sums[4 * t + 2] += al
                sums[4 * t + 3] += co
                met[t // BLOCK] = 1


@scalar
def scatter_back(r, a, index, choice, sums, by_total, dx):
    """Pass the gradients of the sums, left in ``sums[4 t + 1:4 t + 4]``, on to the entries of row r."""
    indptr, x = a[0], a[2]
    begin, until, state, y = index
    for s in range(indptr[r], indptr[r + 1]):
        for c in range(ENTRY):
            dx[ENTRY * s + c] = 0
        dx[ENTRY * s + MAGNITUDE] = by_total
        for u in range(begin[s], until[s]):
            e = 4 * state[u]
            add_shared(x, s, y, u, sums[e + 1], sums[e + 2], sums[e + 3], choice, dx)


@kernel
def pull_overlaps(
    start, stop, by_key, heads, width, tau, limit, mask, step, step_b, a, b, index, choice, weights, value, stats,
    delta, dout, dvalue, dx, dweights, dtau,
):  # fmt: skip
    """Rows [start, stop) of side a, which met side b: queries and keys, or, ``by_key``, keys and queries.

    ``dvalue`` (by key) comes with the background's part and gets that of the overlaps.
    """
    indptr, totals = a[0], a[3]
    indptr_b, totals_b = b[0], b[3]
    form, ruzicka = choice
    m = totals_b.size
    zero, one = type(tau)(0), type(tau)(1)
    sums = np.zeros(4 * m, weights.dtype)
    met = np.zeros(m // BLOCK + 1, np.uint8)
    for row in range(start, stop):
        k, by_total = indptr[row + 1] - indptr[row], type(tau)(0)
        gather_meeting(row, by_key, limit, a, index, choice, sums, met)
        for block in range(met.size):
            if met[block]:
                for t in range(block * BLOCK, min(m, (block + 1) * BLOCK)):
                    e = 4 * t
                    if sums[e] > 0:
                        i, j = (t, row) if by_key else (row, t)
                        shared, o, k_b = sums[e], sums[e + 1], indptr_b[t + 1] - indptr_b[t]
                        found = components(
                            shared, o, sums[e + 2], sums[e + 3], k, k_b, totals[row], totals_b[t], form, ruzicka
                        )
                        upstream = (zero, zero, zero)
                        if mask[i * step + j * step_b]:
                            for h in range(heads):
                                r, v = i * heads + h, (j * heads + h) * width
                                score = mix(weights, h, found)
                                product = dot_rows(dout, r * width, value, v, width)
                                upstream, _, dt = pull_score(
                                    r, h, score, found, tau, weights, stats, product, delta[r], upstream, dweights,
                                    row if by_key else r,
                                )  # fmt: skip
                                if by_key:
                                    top = stats[2 * r]
                                    u = excess(score, top, el.exp(-top / tau), tau) / stats[2 * r + 1]
                                    for c in range(width):
                                        dvalue[v + c] += u * dout[r * width + c]
                                else:
                                    dtau[i] += dt
                        sums[e + 1], sums[e + 2], sums[e + 3], dtotal = dcomponents(
                            one, shared, o, k, k_b, totals[row], totals_b[t], form, ruzicka, upstream
                        )
                        by_total += dtotal
        scatter_back(row, a, index, choice, sums, by_total, dx)
        for block in range(met.size):
            if met[block]:
                met[block] = 0
                for c in range(4 * block * BLOCK, min(4 * m, 4 * (block + 1) * BLOCK)):
                    sums[c] = 0


def background_gradient(stats, heads: int, tau, limit, mask, dout, m: int) -> np.ndarray:
    """dvalue (m, d) from the background: key j receives sum of b_i / Z_i g_i over the queries i that may attend it."""
    n = dout.shape[0]
    top, z = stats.reshape(n, heads, 2).astype(np.float64).transpose(2, 0, 1)
    share_of_all = np.divide(np.exp(-top / tau), z, out=np.zeros_like(z), where=z > 0)
    parts = (share_of_all[:, :, None] * dout.reshape(n, heads, dout.shape[1] // heads)).reshape(dout.shape)
    if mask is not None:
        reached = mask & (np.arange(m) < limit[:, None])
        return (reached.T.astype(dout.dtype) @ parts.astype(dout.dtype)).astype(dout.dtype)
    suffix = np.zeros((n + 1, parts.shape[1]))
    suffix[:-1] = np.cumsum(parts[::-1], axis=0)[::-1]
    first = np.searchsorted(limit, np.arange(m), side="right")
    return np.ascontiguousarray(suffix[first], dtype=dout.dtype)


def pull_by_overlaps(a: Profile, b: Profile, choice, weights, tau, limit, mask, value, stats, out, dout):
    """``(dvalue, dentries, dentries_b, dweights, dtau)``; ``mask`` bool (n, m) or None. The last two per query."""
    heads = weights.size // 3
    width = value.shape[1] // heads
    dtype = value.dtype
    delta, flat, flat_dout = np.empty(a.n * heads, dtype), frozen(value), frozen(dout)
    DELTA(a.n * heads, width, flat_dout, frozen(out), delta)
    dvalue = background_gradient(stats, heads, float(tau), limit, mask, dout, b.n)
    dx, dy = np.empty_like(a.entries), np.empty_like(b.entries)
    dweights, dtau, unused = np.zeros(3 * a.n * heads, dtype), np.zeros(a.n, dtype), np.zeros(3 * b.n, dtype)
    flags = frozen(np.ones(1, np.uint8) if mask is None else np.ascontiguousarray(mask).view(np.uint8))
    steps = (0, 0) if mask is None else (b.n, 1)
    for by_key, x, y, index, dentries, by_weights in (
        (False, a, b, postings(a, b), dx, dweights),
        (True, b, a, postings(b, a), dy, unused),
    ):

        def work(start, stop, by_key=by_key, x=x, y=y, index=index, dentries=dentries, by_weights=by_weights):
            pull_overlaps(
                start, stop, by_key, heads, width, tau, limit, flags, *steps, x, y, index, choice, weights,
                flat, stats, delta, flat_dout, dvalue.reshape(-1), dentries, by_weights, dtau,
            )  # fmt: skip

        share(work, x.n, GRAIN, CHUNKS)
    return dvalue.reshape(-1), dx, dy, dweights, dtau
