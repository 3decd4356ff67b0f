r"""The softmax form on the CPU: rows of queries by all their keys, with matrix products inside the loop.

A tile is ``ROWS`` queries by the keys up to the last that one of them may attend. Its scores are sums over primes: the
queries that keep p, (n, 12), times the keys that keep p, (12, m), are scattered into the tile, so that only overlaps
cost anything. Then

    w = exp(K - top),  y = w V / W                    dP = G V^T,  dV += P^T G,  dK = P (dP - <G, y>)

and back: of a prime's part D of dK, queries get D B, keys D^T B (B: bases, c B for queries), and dc = sum base (D B).
Here K is the score over tau, and c the coefficients over tau; so dtau = -sum dK K / tau.
Masked pairs are set to 0 after the products; so NaN and inf in values would leak (0 NaN), and go by rows instead.
"""

import numpy as np
from numba import config, get_num_threads

from ..._runtime import linalg
from ..._runtime.jit import kernel, nonnegative, scalar
from ..._runtime.linalg import gemm_nn, gemm_nt, gemm_tn
from ..._runtime.owners import share
from ...resonance._march import sort_block
from ...resonance._rotation import BASE, STRIDE, coefficients, pull_base_row, pull_coefficients
from .._cores import softmax
from .._cores.tiles import dot, exponentials, fill, largest
from .call import Call
from .pairs import Problem, Sizes, allowed
from .tokens import ENTRY

ROWS = 32
PARTS = 8


def fits(call: Call, dout=None) -> bool:
    """Softmax form, host arrays, nothing that a product by 0 would spread."""
    a, g = call.problem, call.sizes
    if g.linear or not isinstance(a.x, np.ndarray) or config.DISABLE_JIT:
        return False
    return bool(np.isfinite(a.value).all()) and (dout is None or bool(np.isfinite(dout).all()))


@scalar
def high_of(i, g):
    """Keys below this one may be attended by queries up to i."""
    return max(0, min(g.keys, i + 1 + g.keys - g.queries)) if g.causal else g.keys


@scalar
def score_tile(blas, first, high, g, readers, adders, reach, own, coefficient, part, scores):
    """K of the queries from ``first`` on and keys below ``high``; ``reach[p]`` moves up to the postings below it."""
    offset, place, _, base = readers
    offset_b, place_b, _, base_b = adders
    one = type(base[0])(1)
    for z in range(ROWS * high):
        scores[z] = one - one
    for p in range(g.primes):
        s, n, t, stop = offset[p], offset[p + 1] - offset[p], offset_b[p], reach[p]
        while stop < offset_b[p + 1] and place_b[stop] < high:
            stop += 1
        reach[p] = stop
        m = stop - t
        if n == 0 or m == 0:
            continue
        for z in range(n):
            for f in range(BASE):
                coefficient[STRIDE * (s + z) + f] = own[f] * base[STRIDE * (s + z) + f]
        gemm_nt(
            blas, n, m, BASE, one, coefficient, STRIDE * s, STRIDE, base_b, STRIDE * t, STRIDE, one - one, part, 0, m
        )
        for z in range(n):
            row, at = (place[s + z] - first) * high, z * m
            for c in range(m):
                scores[nonnegative(row + place_b[t + c])] += part[at + c]


@scalar
def masks(head, a, g):
    """False if there is no mask at all."""
    return g.mask_key != 0 or g.mask_row != 0 or a.mask[a.mask_at[head]] == 0


@scalar
def weigh_row(head, i, start, high, a, g, scores):
    """exp(K - top) in place of the scores of query i, 0 where it may not attend; ``(top, sum)``."""
    own, nothing = high_of(i, g), type(scores[0])(-np.inf)
    if masks(head, a, g):
        for j in range(own):
            if not allowed(head, i, j, a, g):
                scores[start + j] = nothing
    top, total = largest(scores, start, own, nothing), type(scores[0])(0)
    if top != nothing:
        total = exponentials(scores, start, own, top)
        fill(scores, start + own, high - own, type(top)(0))
    else:
        fill(scores, start, high, type(top)(0))
    return top, total


@kernel
def forward_tiles(start, stop, blas, problem, sizes, parts, starts, starts_b, c, out, stats):
    """Unit u: every ``parts``-th tile, from u % parts on, of head u // parts."""
    a, g = Problem(*problem), Sizes(*sizes)
    n, m, dtype = ROWS * g.active, g.keys * g.active, a.x.dtype
    offset, place, entry = np.empty(g.primes + 2, np.int64), np.empty(n, np.int64), np.empty(n, np.int64)
    offset_b, place_b, entry_b = np.empty(g.primes + 2, np.int64), np.empty(m, np.int64), np.empty(m, np.int64)
    base, base_b, coefficient = np.empty(STRIDE * n, dtype), np.empty(STRIDE * m, dtype), np.empty(STRIDE * n, dtype)
    part, scores, reach = np.empty(ROWS * g.keys, dtype), np.empty(ROWS * g.keys, dtype), np.empty(g.primes, np.int64)
    readers, adders = (offset, place, entry, base), (offset_b, place_b, entry_b, base_b)
    one = type(a.tau[0])(1)
    for u in range(start, stop):
        h = u // parts
        prime, x = a.prime[h * g.queries * g.active :], a.x[h * g.queries * g.active * ENTRY :]
        sort_block(0, g.keys, -1, starts_b, a.prime_b[h * m : (h + 1) * m],
                   a.y[h * m * ENTRY : (h + 1) * m * ENTRY], *adders)  # fmt: skip
        for p in range(g.primes):
            reach[p] = offset_b[p]
        for first in range(u % parts * ROWS, g.queries, parts * ROWS):
            last = min(first + ROWS, g.queries)
            high = high_of(last - 1, g)
            sort_block(first, last, -1, starts, prime, x, *readers)
            score_tile(
                blas,
                first,
                high,
                g,
                readers,
                adders,
                reach,
                c[STRIDE * h : STRIDE * (h + 1)],
                coefficient,
                part,
                scores,
            )
            for i in range(first, last):
                r, at = h * g.queries + i, (i - first) * high
                top, total = weigh_row(h, i, at, high, a, g, scores)
                stats[2 * r], stats[2 * r + 1] = top, (one - one if total == one - one else one / total)
            where = (h * g.queries + first) * g.depth
            gemm_nn(blas, last - first, g.depth, high, one, scores, 0, high, a.value, h * g.keys * g.depth, g.depth,
                    one - one, out, where, g.depth)  # fmt: skip
            for i in range(first, last):
                r = h * g.queries + i
                for z in range(r * g.depth, (r + 1) * g.depth):
                    out[z] = out[z] * stats[2 * r + 1] if stats[2 * r + 1] != 0 else one - one


@scalar
def dscore_row(h, i, first, high, a, g, stats, delta, scores, weights, upstream):
    """dK of query i in place of dP; ``weights`` becomes P. Returns sum dK K."""
    r, at = h * g.queries + i, (i - first) * high
    inverse, own = stats[2 * r + 1], delta[r]
    for j in range(high):
        weights[nonnegative(at + j)] = scores[nonnegative(at + j)]
    weigh_row(h, i, at, high, a, g, weights)
    for j in range(high):
        z = nonnegative(at + j)
        p = weights[z] * inverse
        weights[z] = p
        upstream[z] = p * (upstream[z] - own)
    return dot(upstream, scores, at, high)


@kernel
def backward_tiles(
    start, stop, blas, problem, sizes, parts, starts, starts_b, c, stats, delta, dout, dvalue, dx, dy, dc, dtau
):
    """Every ``parts``-th tile of a head makes a part; ``dvalue``, ``dy``, ``dc`` and ``dtau`` have room for each."""
    a, g = Problem(*problem), Sizes(*sizes)
    n, m, dtype = ROWS * g.active, g.keys * g.active, a.x.dtype
    offset, place, entry = np.empty(g.primes + 2, np.int64), np.empty(n, np.int64), np.empty(n, np.int64)
    offset_b, place_b, entry_b = np.empty(g.primes + 2, np.int64), np.empty(m, np.int64), np.empty(m, np.int64)
    base, base_b, coefficient = np.empty(STRIDE * n, dtype), np.empty(STRIDE * m, dtype), np.empty(STRIDE * n, dtype)
    dbase, dbase_b = np.empty(STRIDE * n, dtype), np.empty(STRIDE * m, dtype)
    part, scores, reach = np.empty(ROWS * g.keys, dtype), np.empty(ROWS * g.keys, dtype), np.empty(g.primes, np.int64)
    weights, upstream = np.empty(ROWS * g.keys, dtype), np.empty(ROWS * g.keys, dtype)
    readers, adders = (offset, place, entry, base), (offset_b, place_b, entry_b, base_b)
    one = type(a.tau[0])(1)
    zero = one - one
    for u in range(start, stop):
        h = u // parts
        own, values = c[STRIDE * h : STRIDE * (h + 1)], h * g.keys * g.depth
        prime, x = a.prime[h * g.queries * g.active :], a.x[h * g.queries * g.active * ENTRY :]
        y, down = a.y[h * m * ENTRY : (h + 1) * m * ENTRY], dx[h * g.queries * g.active * ENTRY :]
        sort_block(0, g.keys, -1, starts_b, a.prime_b[h * m : (h + 1) * m], y, *adders)
        for p in range(g.primes):
            reach[p] = offset_b[p]
        for z in range(dbase_b.size):
            dbase_b[z] = zero
        for first in range(u % parts * ROWS, g.queries, parts * ROWS):
            last = min(first + ROWS, g.queries)
            high, rows, above = high_of(last - 1, g), last - first, (h * g.queries + first) * g.depth
            sort_block(first, last, -1, starts, prime, x, *readers)
            score_tile(blas, first, high, g, readers, adders, reach, own, coefficient, part, scores)
            gemm_nt(blas, rows, high, g.depth, one, dout, above, g.depth, a.value, values, g.depth, zero, upstream, 0,
                    high)  # fmt: skip
            for i in range(first, last):
                dtau[u] -= dscore_row(h, i, first, high, a, g, stats, delta, scores, weights, upstream)
            gemm_tn(blas, high, g.depth, rows, one, weights, 0, high, dout, above, g.depth, one, dvalue,
                    u * g.keys * g.depth, g.depth)  # fmt: skip
            for p in range(g.primes):
                s, count, t, met = offset[p], offset[p + 1] - offset[p], offset_b[p], reach[p] - offset_b[p]
                for z in range(STRIDE * s, STRIDE * (s + count)):
                    dbase[z] = zero
                if count == 0 or met == 0:
                    continue
                for z in range(count):
                    row, at = (place[s + z] - first) * high, z * met
                    for k in range(met):
                        part[at + k] = upstream[nonnegative(row + place_b[t + k])]
                gemm_nn(blas, count, BASE, met, one, part, 0, met, base_b, STRIDE * t, STRIDE, zero, dbase, STRIDE * s,
                        STRIDE)  # fmt: skip
                gemm_tn(blas, met, BASE, count, one, part, 0, met, coefficient, STRIDE * s, STRIDE, one, dbase_b,
                        STRIDE * t, STRIDE)  # fmt: skip
            for s in range(offset[g.primes]):
                for f in range(BASE):
                    dc[STRIDE * u + f] += base[STRIDE * s + f] * dbase[STRIDE * s + f]
                    dbase[STRIDE * s + f] *= own[f]
                pull_base_row(s, entry, x, dbase, down)
        for t in range(offset_b[g.primes]):
            pull_base_row(t, entry_b, y, dbase_b, dy[u * m * ENTRY : (u + 1) * m * ENTRY])


def _arguments(call: Call):
    a, g = call.problem, call.sizes
    c = (coefficients(a.weights.reshape(-1, 3)) / a.tau[:, None]).reshape(-1)
    return tuple(a), tuple(g), np.arange(g.queries + 1) * g.active, np.arange(g.keys + 1) * g.active, c


def forward(call: Call, out, stats) -> None:
    """Fill ``out`` and ``stats`` as `pairs.FORWARD` does."""
    problem, sizes, starts, starts_b, c = _arguments(call)
    threads, heads = get_num_threads(), call.heads
    tiles = -(-call.sizes.queries // ROWS)
    parts = 1 if heads % threads == 0 or heads >= 4 * threads else min(4 * threads, tiles)
    blas = linalg.gemm_address(out.dtype)
    with linalg.single_threaded():
        share(
            lambda start, stop: forward_tiles(
                start, stop, blas, problem, sizes, parts, starts, starts_b, c, out, stats
            ),
            heads * parts, 1, 4,
        )  # fmt: skip
    stats[0::2] *= np.repeat(call.problem.tau, call.sizes.queries)


def backward(call: Call, stats, out, dout):
    """``(dvalue, dentries, dentries_b, dmix (heads, 4))``."""
    a, g, dtype = call.problem, call.sizes, out.dtype
    problem, sizes, starts, starts_b, c = _arguments(call)
    delta = np.empty(call.heads * g.queries, dtype)
    softmax.DELTA(delta.size, out, dout, g.depth, delta)
    heads, parts = call.heads, _parts(call.heads, g.queries)
    dvalue, dy = (np.zeros((heads, parts, x.size // heads), dtype) for x in (a.value, a.y))
    dx, dc, dtau = np.zeros(a.x.size, dtype), np.zeros((heads, parts, STRIDE)), np.zeros((heads, parts))
    blas = linalg.gemm_address(dtype)
    with linalg.single_threaded():
        share(
            lambda start, stop: backward_tiles(
                start, stop, blas, problem, sizes, parts, starts, starts_b, c, stats, delta, dout,
                dvalue.reshape(-1), dx, dy.reshape(-1), dc.reshape(-1), dtau.reshape(-1),
            ),
            heads * parts, 1, 4,
        )  # fmt: skip
    dvalue, dy, dc, dtau = (x[:, 0] if parts == 1 else x.sum(axis=1) for x in (dvalue, dy, dc, dtau))
    tau = a.tau[:, None]
    dweights = pull_coefficients(dc / tau)
    return dvalue.reshape(-1), dx, dy.reshape(-1), np.concatenate([dweights, dtau[:, None] / tau], axis=1)


def _parts(heads: int, queries: int) -> int:
    """Parts of a head's gradients: few heads are shared between threads, whose number must not change a sum."""
    return 1 if heads >= PARTS else max(1, min(PARTS // heads, -(-queries // ROWS)))
