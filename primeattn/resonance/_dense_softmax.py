r"""Softmax attention where most pairs overlap, or where every query has a mask of its own: tables and matrix products.

Queries are taken some hundred at a time, each thread its own: their scores with all keys, exp, and one product with the
values. Scores that are sums of products of features (the kernels, but for Ruzicka) come from products, too, as far as
primes are common: a prime that two states share with probability f^2 costs 24 operations a pair in a product, and a
walk along its postings f^2 times some nanoseconds. Rare primes are walked, and so is every prime of the other kinds.
"""

from typing import NamedTuple

import numpy as np
from numba import get_num_threads

from .._runtime import elementary as el
from .._runtime.jit import kernel, scalar
from .._runtime.linalg import gemm_address, gemm_nn, gemm_nt, single_threaded
from .._runtime.owners import share
from .._runtime.vectors import LANES, broadcast, fma, load, total
from ._inverted import Postings, columns
from ._overlaps import finish_components, gather_before
from ._profiles import Profile, frozen
from ._rotation import BASE, STRIDE, base_row, coefficients
from ._scalars import ENTRY, ORIGINAL, UNION, shared_terms
from ._softmax import mix

LEAST, TABLE = 32, 1 << 22  # queries whose weights a thread holds at once: at least, and as numbers of the table
COMMON = 0.08  # f^2 from which a product is cheaper
MOST = 48  # common primes, so that the tables of features stay small


class Features(NamedTuple):
    """The common primes of one side, dense."""

    base: np.ndarray  # (rows, 12 c) flat
    holds: np.ndarray  # (rows, c) flat: 1 where a state has the prime


@kernel
def spread_rows(start, stop, indptr, rank, x, primes, base, holds):
    """The bases of the entries with rank[e] >= 0, at the place of their prime; tables come zeroed."""
    place, one = np.zeros(1, np.int64), np.empty(STRIDE, base.dtype)
    for i in range(start, stop):
        for e in range(indptr[i], indptr[i + 1]):
            if rank[e] >= 0:
                place[0] = e
                base_row(0, place, x, one)
                at = i * primes + rank[e]
                holds[at] = 1
                for f in range(BASE):
                    base[BASE * at + f] = one[f]


@scalar
def largest(x, stop, lanes):
    """max(0, x[:stop]), lane by lane so that it vectorises; ``lanes`` is room for ``LANES`` numbers."""
    for lane in range(LANES):
        lanes[lane] = 0
    whole = stop - stop % LANES
    for j in range(0, whole, LANES):
        for lane in range(LANES):
            lanes[lane] = x[j + lane] if x[j + lane] > lanes[lane] else lanes[lane]
    top = lanes[0]
    for lane in range(LANES):
        top = max(top, lanes[lane])
    for j in range(whole, stop):
        top = max(top, x[j])
    return top


@scalar
def sum_of(x, stop):
    """The sum of x[:stop], lane by lane."""
    one = type(x[0])(1)
    parts, ones = broadcast(one - one), broadcast(one)
    whole = stop - stop % LANES
    for j in range(0, whole, LANES):
        parts = fma(ones, load(x, j), parts)
    found = total(parts)
    for j in range(whole, stop):
        found += x[j]
    return found


@scalar
def walk_rare(i, row, end, heads, most, columns, a, index, choice, weights, table, shared):
    """Add the rare primes of query i to its scores for all heads, and to the counts of shared primes."""
    indptr, x = a[0], a[2]
    begin, until, state, y = index
    form, ruzicka = choice
    for s in range(indptr[i], indptr[i + 1]):
        for u in range(begin[s], until[s]):
            j = state[u]
            if j >= end:
                break
            terms = shared_terms(x, ENTRY * s, y, ENTRY * u, form, ruzicka)
            for h in range(heads):
                table[(h * most + row) * columns + j] += mix(weights, h, terms)
            shared[row * columns + j] += type(terms[0])(1)


@kernel
def finish_row(end, union, k, counts, shared, tau, mask, step_b, lanes, row):
    """Sums up to ``end`` to weights exp((K - top) / tau), zeros from there on; returns (top, their sum).

    A kernel of its own, on views that start at 0: inlined into the long one none of these loops is vectorised.
    """
    zero, one = type(tau)(0), type(tau)(1)
    if union:
        for j in range(end):
            both = k + counts[j] - shared[j]
            row[j] /= max(both, one)
    if step_b:
        for j in range(end):
            if not mask[j * step_b]:
                row[j] = -one
    top = largest(row, end, lanes)
    for j in range(end):
        row[j] = el.exp((row[j] - top) / tau)
    if step_b:
        for j in range(end):
            if not mask[j * step_b]:
                row[j] = zero
    for j in range(end, row.size):
        row[j] = zero
    return top, sum_of(row, end) if end > 0 else zero


@kernel
def table_rows(
    start, stop, most, blas, heads, width, tau, limit, mask, step, step_b, a, b, index, choice, weights, c, primes,
    base, holds, base_b, holds_b, value, out, stats,
):  # fmt: skip
    """Tiles [start, stop) of ``most`` queries; ``primes`` common ones, -1 where scores are no sums of products."""
    indptr, indptr_b = a[0], b[0]
    union = choice[0] == UNION and primes >= 0
    n, m = limit.size, b[3].size
    stride = heads * width
    zero, one = type(tau)(0), type(tau)(1)
    table, shared = np.empty(heads * most * m, value.dtype), np.empty(most * m, value.dtype)
    scaled, lanes = np.empty(most * BASE * max(primes, 1), value.dtype), np.empty(LANES, value.dtype)
    sums, ids, found = np.zeros(4 * m, value.dtype), np.empty(m + 1, np.int64), np.empty(3 * m, value.dtype)
    counts = np.empty(m, value.dtype)
    for j in range(m):
        counts[j] = indptr_b[j + 1] - indptr_b[j]
    for tile in range(start, stop):
        first = tile * most
        rows = min(most, n - first)
        size = limit[first + rows - 1]
        if primes >= 0:
            for at in range(most * size):
                shared[at] = zero
            for at in range(heads * most * size):
                table[at] = zero
        if primes > 0 and size > 0:
            if union:
                gemm_nt(blas, rows, size, primes, one, holds, first * primes, primes, holds_b, 0, primes, zero,
                        shared, 0, size)  # fmt: skip
            inner = BASE * primes
            for h in range(heads):
                for row in range(rows):
                    for at in range(inner):
                        scaled[row * inner + at] = c[h * STRIDE + at % BASE] * base[(first + row) * inner + at]
                gemm_nt(blas, rows, size, inner, one, scaled, 0, inner, base_b, 0, inner, zero, table,
                        h * most * size, size)  # fmt: skip
        for row in range(rows):
            i, end = first + row, limit[first + row]
            if primes >= 0:
                walk_rare(i, row, end, heads, most, size, a, index, choice, weights, table, shared)
            else:
                met = gather_before(i, end, a, index, choice, sums, ids)
                finish_components(i, met, a, b, choice, sums, ids, 0, found)
                for h in range(heads):
                    at = (h * most + row) * size
                    for j in range(end):
                        table[at + j] = zero
                    for t in range(met):
                        score = mix(weights, h, (found[3 * t], found[3 * t + 1], found[3 * t + 2]))
                        table[at + ids[t]] = score
            k = type(tau)(indptr[i + 1] - indptr[i])
            for h in range(heads):
                r = i * heads + h
                at = (h * most + row) * size
                stats[2 * r], stats[2 * r + 1] = finish_row(
                    end, union, k, counts, shared[row * size :], tau, mask[i * step :], step_b, lanes,
                    table[at : at + size],
                )  # fmt: skip
        for h in range(heads):
            place = first * stride + h * width
            if size > 0:
                gemm_nn(blas, rows, width, size, one, table, h * most * size, size, value, h * width, stride, zero, out,
                        place, stride)  # fmt: skip
            for row in range(rows):
                whole = stats[2 * ((first + row) * heads + h) + 1]
                inverse = one / whole if whole > zero else zero
                for x in range(place + row * stride, place + row * stride + width):
                    out[x] = out[x] * inverse if size > 0 else zero


def common_primes(a: Profile, b: Profile, index: Postings, choice):
    """``(count, features, features_b, rest)``: dense tables of the common primes, and the postings of the others."""
    nothing = Features(np.zeros(1, a.entries.dtype), np.zeros(1, a.entries.dtype))
    form, ruzicka = choice
    if form == ORIGINAL or ruzicka:
        return -1, nothing, nothing, index
    own, other, distinct = columns(a.primes, b.primes)
    chance = np.bincount(own, minlength=distinct + 1)[:distinct] / max(a.n, 1)
    chance = chance * (np.bincount(other, minlength=distinct)[:distinct] / max(b.n, 1))
    chosen = np.argsort(-chance, kind="stable")[:MOST]
    chosen = chosen[chance[chosen] > COMMON]
    rank = np.full(distinct + 1, -1)
    rank[chosen] = np.arange(chosen.size)
    if not chosen.size:
        return 0, nothing, nothing, index
    features = [_spread(side, rank[at], chosen.size) for side, at in ((a, own), (b, other))]
    return chosen.size, *features, index._replace(until=np.where(rank[own] >= 0, index.begin, index.until))


def _spread(side: Profile, rank: np.ndarray, primes: int) -> Features:
    found = Features(*(np.zeros(side.n * size, side.entries.dtype) for size in (BASE * primes, primes)))
    share(lambda start, stop: spread_rows(start, stop, side.indptr, rank, side.entries, primes, *found), side.n, 1024)
    return found


def by_table(a: Profile, b: Profile, index: Postings, choice, weights, tau, limit, mask, value):
    """``(out, stats)``; ``mask`` bool (n, m) or None, value (m, H d), weights flat."""
    heads = weights.size // 3
    width = value.shape[1] // heads
    out = np.empty((a.n, value.shape[1]), value.dtype)
    stats = np.empty(2 * a.n * heads, value.dtype)
    flags = frozen(np.ones(1, np.uint8) if mask is None else np.ascontiguousarray(mask).view(np.uint8))
    steps = (0, 0) if mask is None else (b.n, 1)
    c = coefficients(weights.reshape(heads, 3)).reshape(-1)
    primes, features, features_b, rest = common_primes(a, b, index, choice)
    flat, blas = frozen(value), gemm_address(value.dtype)
    most = max(LEAST, min(TABLE // max(heads * b.n, 1), -(-a.n // (2 * get_num_threads()))))
    with single_threaded():
        share(
            lambda start, stop: table_rows(
                start, stop, most, blas, heads, width, tau, limit, flags, *steps, a, b, rest, choice, weights, c,
                primes, *features, *features_b, flat, out.reshape(-1), stats,
            ),
            -(-a.n // most),
            1,
            a.n,
        )  # fmt: skip
    return out, stats
