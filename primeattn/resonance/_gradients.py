"""Gradients of ``score`` and ``matrix``: two gathers, by state of a and by state of b, and no atomics.

State i of one side owns the gradient of its entries. It meets each partner j twice: the first time to know the sums
over shared primes, which say how a score changes with each of them; the second time to pass that on to its entries.
``pull_profile`` then carries entries back to amplitudes and orientations. The formulas are in ``_scalars``.
"""

import numpy as np

from .._runtime import devices
from .._runtime.jit import kernel, scalar
from .._runtime.owners import Owner, share
from ._inverted import BLOCK, CHUNKS, GRAIN, gather, postings
from ._pairs import merge_sums
from ._profiles import Profile
from ._scalars import ENTRY, MAGNITUDE, components, dcomponents, dshared_terms


@scalar
def add_shared(x, s, y, t, doverlap, dalignment, dcoherence, choice, dx):
    """Add the gradient of one shared prime to the eight numbers of entry s."""
    form, ruzicka = choice
    g = dshared_terms(x, ENTRY * s, y, ENTRY * t, doverlap, dalignment, dcoherence, form, ruzicka)
    for c in range(ENTRY):
        dx[ENTRY * s + c] += g[c]


@scalar
def gradient_row(i, paired, step, step_b, a, b, choice, weights, dscore, dx, dweights):
    """Gradient of the entries of state i, and its share of the gradient of the weights, by merging.

    ``paired``: only j = i is met; otherwise all states of b. The upstream gradient of (i, j) is
    ``dscore[i * step + j * step_b]``.
    """
    indptr, primes, x, totals = a
    indptr_b, primes_b, y, totals_b = b
    form, ruzicka = choice
    zero = type(totals[i])(0)
    start, stop = indptr[i], indptr[i + 1]
    dw0, dw1, dw2, dtotals = zero, zero, zero, zero
    for c in range(ENTRY * start, ENTRY * stop):
        dx[c] = zero
    first = i if paired else 0
    last = i + 1 if paired else indptr_b.size - 1
    for j in range(first, last):
        k, k_b = stop - start, indptr_b[j + 1] - indptr_b[j]
        upstream = dscore[i * step + j * step_b]
        shared, o, al, co = merge_sums(i, j, a, b, choice)
        c0, c1, c2 = components(shared, o, al, co, k, k_b, totals[i], totals_b[j], form, ruzicka)
        dw0 += upstream * c0
        dw1 += upstream * c1
        dw2 += upstream * c2
        do, dal, dco, dtotal = dcomponents(upstream, shared, o, k, k_b, totals[i], totals_b[j], form, ruzicka, weights)
        dtotals += dtotal
        s, t, t_stop = start, indptr_b[j], indptr_b[j + 1]
        if shared == zero:
            t = t_stop
        while s < stop and t < t_stop:
            p, p_b = primes[s], primes_b[t]
            if p == p_b:
                add_shared(x, s, y, t, do, dal, dco, choice, dx)
            s += p <= p_b
            t += p_b <= p
    for s in range(start, stop):
        dx[ENTRY * s + MAGNITUDE] += dtotals
    dweights[3 * i] = dw0
    dweights[3 * i + 1] = dw1
    dweights[3 * i + 2] = dw2


@kernel
def gradient_cpu(start, stop, paired, step, step_b, a, b, choice, weights, dscore, dx, dweights):
    for i in range(start, stop):
        gradient_row(i, paired, step, step_b, a, b, choice, weights, dscore, dx, dweights)


GRADIENT = Owner(
    gradient_row, gradient_cpu, "i i i (I1,I1,F1,F1) (I1,I1,F1,F1) (i,i) F1 F1 F1 F1", grain=64, chunks_per_thread=8
)


@kernel
def indexed_gradient_rows(start, stop, a, b, index, choice, weights, dscore, dx, dweights):
    """``gradient_row`` for a whole row-major matrix ``dscore``, by the inverted index: only overlaps cost."""
    indptr, _, x, totals = a
    indptr_b, totals_b = b[0], b[3]
    begin, until, state, y = index
    form, ruzicka = choice
    m = totals_b.size
    sums = np.zeros(4 * m, weights.dtype)
    met = np.zeros(m // BLOCK + 1, np.uint8)
    for i in range(start, stop):
        k = indptr[i + 1] - indptr[i]
        dtotals = weights[0] - weights[0]
        for c in range(3):
            dweights[3 * i + c] = 0
        gather(i, a, index, choice, sums, met)
        for block in range(met.size):
            if met[block]:
                for j in range(block * BLOCK, min(m, (block + 1) * BLOCK)):
                    e = 4 * j
                    if sums[e] > 0:  # the four sums make room for the gradient with respect to them
                        shared, o, upstream = sums[e], sums[e + 1], dscore[i * m + j]
                        k_b = indptr_b[j + 1] - indptr_b[j]
                        found = components(
                            shared, o, sums[e + 2], sums[e + 3], k, k_b, totals[i], totals_b[j], form, ruzicka
                        )
                        for c in range(3):
                            dweights[3 * i + c] += upstream * found[c]
                        sums[e + 1], sums[e + 2], sums[e + 3], dtotal = dcomponents(
                            upstream, shared, o, k, k_b, totals[i], totals_b[j], form, ruzicka, weights
                        )
                        dtotals += dtotal
        for s in range(indptr[i], indptr[i + 1]):
            for c in range(ENTRY):
                dx[ENTRY * s + c] = 0
            dx[ENTRY * s + MAGNITUDE] = dtotals
            for u in range(begin[s], until[s]):
                e = 4 * state[u]
                add_shared(x, s, y, u, sums[e + 1], sums[e + 2], sums[e + 3], choice, dx)
        for block in range(met.size):
            if met[block]:
                met[block] = 0
                for c in range(4 * block * BLOCK, min(4 * m, 4 * (block + 1) * BLOCK)):
                    sums[c] = 0


def by_merging(a: Profile, b: Profile, choice, weights, dscore, paired: bool, step: int, step_b: int):
    """``(dentries, dweights)`` of side a, on the device of the profiles; ``dscore`` is flat."""
    dentries = devices.empty(a.entries.size, a.entries.dtype, like=a.entries)
    dweights = devices.empty(3 * a.n, a.entries.dtype, like=a.entries)
    GRADIENT(a.n, int(paired), step, step_b, a, b, choice, weights, dscore, dentries, dweights)
    return dentries, dweights


def by_index(a: Profile, b: Profile, choice, weights, dscore: np.ndarray):
    """The same for all pairs on the CPU, at the cost of the overlaps; ``dscore`` is flat, row-major by a."""
    dentries, dweights = np.empty_like(a.entries), np.empty(3 * a.n, a.entries.dtype)
    index = postings(a, b)
    share(
        lambda start, stop: indexed_gradient_rows(
            start, stop, a, b, index, choice, weights, dscore, dentries, dweights
        ),
        a.n,
        GRAIN,
        CHUNKS,
    )
    return dentries, dweights
