"""Scores of given pairs: the plain merge of two sorted prime lists, one thread a pair.

This is the specification of every score and its CUDA form; ``_inverted`` holds the fast all-pairs path of the CPU.
``a`` and ``b`` are profiles, ``choice`` is ``(form, ruzicka)``.
"""

import numpy as np

from .._runtime import devices
from .._runtime.jit import kernel, scalar
from .._runtime.owners import Owner
from ._profiles import Profile
from ._scalars import ENTRY, components, shared_terms


@scalar
def merge_sums(i, j, a, b, choice):
    """``(shared, overlap, alignment, coherence)`` summed over the primes that state i of a and state j of b share."""
    indptr, primes, x, totals = a
    indptr_b, primes_b, y, _ = b
    form, ruzicka = choice
    zero = type(totals[i])(0)
    one = type(totals[i])(1)
    shared, overlap, alignment, coherence = zero, zero, zero, zero
    s, s_stop, t, t_stop = indptr[i], indptr[i + 1], indptr_b[j], indptr_b[j + 1]
    while s < s_stop and t < t_stop:
        p, p_b = primes[s], primes_b[t]
        if p == p_b:
            o, al, co = shared_terms(x, ENTRY * s, y, ENTRY * t, form, ruzicka)
            shared += one
            overlap += o
            alignment += al
            coherence += co
        s += p <= p_b
        t += p_b <= p
    return shared, overlap, alignment, coherence


@scalar
def pair_components(i, j, a, b, choice):
    """(overlap, alignment, coherence) of state i of a and state j of b."""
    indptr, totals = a[0], a[3]
    indptr_b, totals_b = b[0], b[3]
    form, ruzicka = choice
    shared, o, al, co = merge_sums(i, j, a, b, choice)
    k, k_b = indptr[i + 1] - indptr[i], indptr_b[j + 1] - indptr_b[j]
    return components(shared, o, al, co, k, k_b, totals[i], totals_b[j], form, ruzicka)


@scalar
def score_row(r, width, step, step_b, a, b, choice, weights, out):
    """Score of pair r: row r // width, column r % width of a table; the steps make other pairings (see ``pairing``)."""
    row = r // width
    o, al, co = pair_components(row * step, r - row * width + row * step_b, a, b, choice)
    out[r] = weights[0] * o + weights[1] * al + weights[2] * co


@kernel
def score_cpu(start, stop, width, step, step_b, a, b, choice, weights, out):
    for r in range(start, stop):
        score_row(r, width, step, step_b, a, b, choice, weights, out)


SCORE = Owner(score_row, score_cpu, "i i i (I1,I1,F1,F1) (I1,I1,F1,F1) (i,i) F1 F1", grain=512)


@scalar
def components_row(r, step, step_b, a, b, choice, out):
    """The three components of pair r, row by row."""
    o, al, co = pair_components(r * step, r * step_b, a, b, choice)
    out[3 * r] = o
    out[3 * r + 1] = al
    out[3 * r + 2] = co


@kernel
def components_cpu(start, stop, step, step_b, a, b, choice, out):
    for r in range(start, stop):
        components_row(r, step, step_b, a, b, choice, out)


COMPONENTS = Owner(components_row, components_cpu, "i i (I1,I1,F1,F1) (I1,I1,F1,F1) (i,i) F1", grain=512)


@scalar
def shared_row(r, entry, entry_b, x, y, form, ruzicka, out):
    """The three terms of the r-th shared prime of one pair."""
    o, al, co = shared_terms(x, ENTRY * entry[r], y, ENTRY * entry_b[r], form, ruzicka)
    out[3 * r] = o
    out[3 * r + 1] = al
    out[3 * r + 2] = co


@kernel
def shared_cpu(start, stop, entry, entry_b, x, y, form, ruzicka, out):
    for r in range(start, stop):
        shared_row(r, entry, entry_b, x, y, form, ruzicka, out)


SHARED = Owner(shared_row, shared_cpu, "I1 I1 F1 F1 i i F1")


def pairing(n: int, m: int) -> tuple[int, int, int]:
    """``(pairs, step, step_b)`` of row-by-row work: equal lengths, or one batch of a single state."""
    if n == m:
        return n, 1, 1
    if n == 1:
        return m, 0, 1
    if m == 1:
        return n, 1, 0
    raise ValueError(
        f"a has {n} states and b has {m}: row by row needs equal lengths, or one state on one side; "
        f"for all pairs use resonance.matrix(a, b)"
    )


def score_pairs(a: Profile, b: Profile, choice: tuple[int, int], weights):
    """Scores row by row, on the device of the profiles."""
    n, step, step_b = pairing(a.n, b.n)
    out = devices.empty(n, a.entries.dtype, like=a.entries)
    SCORE(n, 1, step, step_b, a, b, choice, weights, out)
    return out


def score_table(a: Profile, b: Profile, choice: tuple[int, int], weights):
    """Scores of all pairs by merging, shape (n, m)."""
    out = devices.empty(a.n * b.n, a.entries.dtype, like=a.entries)
    SCORE(a.n * b.n, max(b.n, 1), 1, 0, a, b, choice, weights, out)
    return out.reshape((a.n, b.n))


def component_pairs(a: Profile, b: Profile, choice: tuple[int, int]):
    """Components row by row, shape (n, 3)."""
    n, step, step_b = pairing(a.n, b.n)
    out = devices.empty(3 * n, a.entries.dtype, like=a.entries)
    COMPONENTS(n, step, step_b, a, b, choice, out)
    return out.reshape((n, 3))


def shared_primes(a: Profile, b: Profile, choice: tuple[int, int]):
    """``(primes, terms)`` of one state each: the shared primes, ascending, and their three terms, shape (shared, 3)."""
    common, at, at_b = np.intersect1d(a.primes, b.primes, assume_unique=True, return_indices=True)
    out = np.empty(3 * common.size, a.entries.dtype)
    SHARED(common.size, at, at_b, a.entries, b.entries, *choice, out)
    return common, out.reshape(-1, 3)
