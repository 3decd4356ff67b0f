r"""Attention of one row at a time over all its keys: the specification of both forms, and the CUDA kernels.

With K_ij = sum over shared primes of |a||a'| (alpha + beta (q.q')^2 + gamma (1 + cos(phi - phi'))/2), and

    w_ij = K_ij (linear)  or  exp((K_ij - max_j K_ij) / tau) (softmax),
    y_i  = sum_j w_ij v_j / W_i,   W_i = sum_j w_ij

over the keys that i may attend, the gradient G of y gives

    dv_j = sum_i (w_ij / W_i) G_i,    dw_ij = (<G_i, v_j> - <G_i, y_i>) / W_i,
    dK_ij = dw_ij  or  dw_ij w_ij / tau,    dtau = -sum_ij dK_ij K_ij / tau (softmax; the maximum cancels),

and dK times the three sums is the gradient of (alpha, beta, gamma). A linear row is zero if W_i vanishes against the
overlap sum |a||a'| (up to ``FLOOR`` roundings); a row without keys is zero.
"""

from typing import Any, NamedTuple

import numpy as np

from ..._runtime import elementary as el
from ..._runtime.jit import kernel, scalar
from ..._runtime.owners import Owner
from ...resonance._scalars import ENTRY, MASSES, dshared_terms, shared_terms

FLOOR = 64  # the fast form sums 12 products that may cancel to 0: their rounding, with room


class Sizes(NamedTuple):
    """Integers of a call. ``linear``: 1 for the linear form; the mask's steps are 0 where it is broadcast."""

    queries: int
    keys: int
    active: int
    primes: int
    depth: int
    causal: int
    linear: int
    mask_row: int
    mask_key: int


class Problem(NamedTuple):
    """What the rows read, flat: slots and entries of queries and keys, values, three weights and tau for every head."""

    prime: Any
    x: Any
    prime_b: Any
    y: Any
    value: Any
    weights: Any
    tau: Any
    mask: Any
    mask_at: Any


@scalar
def allowed(head, i, j, a, g):
    """May query i attend key j?"""
    if g.causal and j > i + g.keys - g.queries:
        return False
    return a.mask[a.mask_at[head] + i * g.mask_row + j * g.mask_key] != 0


@scalar
def shared(r, c, a, g):
    """(overlap, alignment, coherence) of query row r and key row c of all heads."""
    s, s_stop, t, t_stop = r * g.active, (r + 1) * g.active, c * g.active, (c + 1) * g.active
    overlap = alignment = coherence = type(a.tau[0])(0)
    while s < s_stop and t < t_stop:
        p, p_b = a.prime[s], a.prime_b[t]
        if p == p_b and p < g.primes:
            terms = shared_terms(a.x, ENTRY * s, a.y, ENTRY * t, MASSES, 0)
            overlap += terms[0]
            alignment += terms[1]
            coherence += terms[2]
        s += p <= p_b
        t += p_b <= p
    return overlap, alignment, coherence


@scalar
def mix(head, terms, a):
    """The score of a head."""
    w = 3 * head
    return a.weights[w] * terms[0] + a.weights[w + 1] * terms[1] + a.weights[w + 2] * terms[2]


@scalar
def weight(score, top, tau, linear):
    """w of a score."""
    return score if linear else el.exp((score - top) / tau)


@scalar
def dscore(dweight, weight, tau, linear):
    """Gradient of the score from that of its w."""
    return dweight if linear else dweight * weight / tau


@scalar
def dot_rows(x, s, y, t, width):
    """x[s:s + width] . y[t:t + width]."""
    total = x[s] - x[s]
    for c in range(width):
        total += x[s + c] * y[t + c]
    return total


@scalar
def forward_row(r, problem, sizes, floor, out, stats):
    """Query row r: its output; ``stats[2 r:2 r + 2]`` become the largest score and 1 / W."""
    a, g = Problem(*problem), Sizes(*sizes)
    head, i = r // g.queries, r % g.queries
    zero = type(floor)(0)
    top, total, mass = type(floor)(-np.inf), zero, zero
    if not g.linear:
        for j in range(g.keys):
            if allowed(head, i, j, a, g):
                top = max(top, mix(head, shared(r, head * g.keys + j, a, g), a))
    for c in range(r * g.depth, (r + 1) * g.depth):
        out[c] = zero
    for j in range(g.keys):
        if allowed(head, i, j, a, g):
            terms = shared(r, head * g.keys + j, a, g)
            w = weight(mix(head, terms, a), top, a.tau[head], g.linear)
            if not g.linear or w != zero:
                total += w
                mass += terms[0]
                for c in range(g.depth):
                    out[r * g.depth + c] += w * a.value[(head * g.keys + j) * g.depth + c]
    vanishes = total <= floor * mass if g.linear else total == zero
    inverse = zero if vanishes else type(floor)(1) / total
    for c in range(r * g.depth, (r + 1) * g.depth):
        out[c] = zero if vanishes else out[c] * inverse
    stats[2 * r] = top
    stats[2 * r + 1] = inverse


@kernel
def forward_cpu(start, stop, problem, sizes, floor, out, stats):
    for r in range(start, stop):
        forward_row(r, problem, sizes, floor, out, stats)


@scalar
def table_row(r, problem, sizes, stats, table):
    """The weights of query row r, (keys,)."""
    a, g = Problem(*problem), Sizes(*sizes)
    head, i = r // g.queries, r % g.queries
    for j in range(g.keys):
        w = type(a.tau[0])(0)
        if stats[2 * r + 1] != w and allowed(head, i, j, a, g):
            score = mix(head, shared(r, head * g.keys + j, a, g), a)
            w = weight(score, stats[2 * r], a.tau[head], g.linear) * stats[2 * r + 1]
        table[r * g.keys + j] = w


@kernel
def table_cpu(start, stop, problem, sizes, stats, table):
    for r in range(start, stop):
        table_row(r, problem, sizes, stats, table)


@scalar
def pull_pair(r, c, head, terms, a, g, stats, delta, dout):
    """``(w / W, dK, K)`` of a pair."""
    score, tau, inverse = mix(head, terms, a), a.tau[head], stats[2 * r + 1]
    w = weight(score, stats[2 * r], tau, g.linear)
    along = dot_rows(dout, r * g.depth, a.value, c * g.depth, g.depth)
    return w * inverse, dscore((along - delta[r]) * inverse, w, tau, g.linear), score


@scalar
def pull_shared(s, s_stop, prime, x, t, t_stop, prime_b, y, primes, upstream, dx):
    """Add the gradients of the three sums to the entries of the slots [s, s_stop)."""
    while s < s_stop and t < t_stop:
        p, p_b = prime[s], prime_b[t]
        if p == p_b and p < primes:
            found = dshared_terms(x, ENTRY * s, y, ENTRY * t, upstream[0], upstream[1], upstream[2], MASSES, 0)
            for c in range(ENTRY):
                dx[ENTRY * s + c] += found[c]
        s += p <= p_b
        t += p_b <= p


@scalar
def upstream_of(dk, head, a):
    """dK times the weights of a head."""
    w = 3 * head
    return dk * a.weights[w], dk * a.weights[w + 1], dk * a.weights[w + 2]


@scalar
def pull_query_row(r, problem, sizes, stats, delta, dout, dx, dmix):
    """What query row r owns: the gradient of its entries, and its share of that of (weights, tau)."""
    a, g = Problem(*problem), Sizes(*sizes)
    head, i, zero = r // g.queries, r % g.queries, type(a.tau[0])(0)
    for c in range(ENTRY * r * g.active, ENTRY * (r + 1) * g.active):
        dx[c] = zero
    for c in range(4):
        dmix[4 * r + c] = zero
    for j in range(g.keys if stats[2 * r + 1] != zero else 0):
        if allowed(head, i, j, a, g):
            key = head * g.keys + j
            terms = shared(r, key, a, g)
            if terms[0] != zero:
                _, dk, score = pull_pair(r, key, head, terms, a, g, stats, delta, dout)
                for c in range(3):
                    dmix[4 * r + c] += dk * terms[c]
                if not g.linear:
                    dmix[4 * r + 3] -= dk * score / a.tau[head]
                pull_shared(
                    r * g.active, (r + 1) * g.active, a.prime, a.x, key * g.active, (key + 1) * g.active, a.prime_b,
                    a.y, g.primes, upstream_of(dk, head, a), dx,
                )  # fmt: skip


@kernel
def pull_query_cpu(start, stop, problem, sizes, stats, delta, dout, dx, dmix):
    for r in range(start, stop):
        pull_query_row(r, problem, sizes, stats, delta, dout, dx, dmix)


@scalar
def pull_key_row(c, problem, sizes, stats, delta, dout, dvalue, dy):
    """What key row c owns: the gradients of its value and of its entries."""
    a, g = Problem(*problem), Sizes(*sizes)
    head, j, zero = c // g.keys, c % g.keys, type(a.tau[0])(0)
    for z in range(c * g.depth, (c + 1) * g.depth):
        dvalue[z] = zero
    for z in range(ENTRY * c * g.active, ENTRY * (c + 1) * g.active):
        dy[z] = zero
    for i in range(g.queries):
        r = head * g.queries + i
        if stats[2 * r + 1] != zero and allowed(head, i, j, a, g):
            terms = shared(r, c, a, g)
            if not g.linear or terms[0] != zero:
                share, dk, _ = pull_pair(r, c, head, terms, a, g, stats, delta, dout)
                for z in range(g.depth):
                    dvalue[c * g.depth + z] += share * dout[r * g.depth + z]
                pull_shared(
                    c * g.active, (c + 1) * g.active, a.prime_b, a.y, r * g.active, (r + 1) * g.active, a.prime, a.x,
                    g.primes, upstream_of(dk, head, a), dy,
                )  # fmt: skip


@kernel
def pull_key_cpu(start, stop, problem, sizes, stats, delta, dout, dvalue, dy):
    for c in range(start, stop):
        pull_key_row(c, problem, sizes, stats, delta, dout, dvalue, dy)


_PROBLEM = "(I1,F1,I1,F1,F1,F1,F1,U1,I1) (i,i,i,i,i,i,i,i,i)"
FORWARD = Owner(forward_row, forward_cpu, f"{_PROBLEM} F F1 F1", grain=4, chunks_per_thread=8)
TABLE = Owner(table_row, table_cpu, f"{_PROBLEM} F1 F1", grain=4, chunks_per_thread=8)
PULL_QUERY = Owner(pull_query_row, pull_query_cpu, f"{_PROBLEM} F1 F1 F1 F1 F1", grain=4, chunks_per_thread=8)
PULL_KEY = Owner(pull_key_row, pull_key_cpu, f"{_PROBLEM} F1 F1 F1 F1 F1", grain=4, chunks_per_thread=8)
