"""Trainable resonant attention of one head, from its equations, in loops. Complex inputs work: what is kept is decided
by real parts, and nothing is conjugated."""

import cmath

import numpy as np


def kept_primes(logits, active):
    """Indices of the largest logits; of equal ones the smaller index; never -inf; ascending."""
    order = sorted(range(len(logits)), key=lambda p: (-np.real(logits[p]), p))
    return sorted(p for p in order[:active] if np.real(logits[p]) > -np.inf)


def hamilton(a, b):
    return [
        a[0] * b[0] - a[1] * b[1] - a[2] * b[2] - a[3] * b[3],
        a[0] * b[1] + a[1] * b[0] + a[2] * b[3] - a[3] * b[2],
        a[0] * b[2] - a[1] * b[3] + a[2] * b[0] + a[3] * b[1],
        a[0] * b[3] + a[1] * b[2] - a[2] * b[1] + a[3] * b[0],
    ]


def state(logits, phase, orientation, active):
    """{prime: (amplitude, phase, unit quaternion)} of one token."""
    primes = kept_primes(logits, active)
    total = 0
    for p in primes:
        total = total + cmath.exp(logits[p])
    found = {}
    for p in primes:
        length = cmath.sqrt(sum(c * c for c in orientation[p]))
        found[p] = (cmath.sqrt(cmath.exp(logits[p]) / total), phase[p], [c / length for c in orientation[p]])
    return found


def kernel(a, b, weights):
    total = 0
    for p in a:
        if p in b:
            dot = sum(x * y for x, y in zip(a[p][2], b[p][2], strict=True))
            kappa = weights[0] + weights[1] * dot * dot + weights[2] * (1 + cmath.cos(a[p][1] - b[p][1])) / 2
            total = total + a[p][0] * b[p][0] * kappa
    return total


def turned(token, rotor):
    return {p: (a, phase, hamilton(rotor, q)) for p, (a, phase, q) in token.items()}


def resonant(
    q, k, v, q_phase, k_phase, q_orientation, k_orientation, weights, temperature, active, form, rotors, causal, mask
):
    """(out, weights) of one head: q (Tq, P), k (Tk, P), v (Tk, d); everything else of full shape; mask (Tq, Tk)."""
    n, m = len(q), len(k)
    query = [state(q[i], q_phase[i], q_orientation[i], active) for i in range(n)]
    key = [state(k[j], k_phase[j], k_orientation[j], active) for j in range(m)]
    if rotors:
        product, prefix = [1, 0, 0, 0], []
        for j in range(m):
            if n == 0 or any(mask[i][j] for i in range(n)):
                for p in sorted(key[j]):
                    product = hamilton(product, key[j][p][2])
            prefix.append(product)
        key = [turned(key[j], prefix[j]) for j in range(m)]
        query = [turned(query[i], prefix[i + m - n]) if i + m - n >= 0 else query[i] for i in range(n)]
    out, table = np.zeros((n, v.shape[1]), complex), np.zeros((n, m), complex)
    for i in range(n):
        for j in range(m):
            if mask[i][j] and not (causal and j > i + m - n):
                score = kernel(query[i], key[j], weights)
                table[i, j] = cmath.exp(score / temperature) if form == "softmax" else score
        total = table[i].sum()
        if total != 0:
            table[i] /= total
        for j in range(m):
            out[i] += table[i, j] * v[j]
    return out, table


def reference(
    q, k, v, *, q_phase=None, k_phase=None, q_orientation=None, k_orientation=None, active=8, weights=None,
    temperature=None, form="linear", rotors=True, causal=False, mask=None, return_weights=False,
):  # fmt: skip
    """All heads, with the arguments of the public function."""
    lead, queries, keys, primes = q.shape[:-2], q.shape[-2], k.shape[-2], q.shape[-1]

    def full(x, default, *shape):
        return np.broadcast_to(default if x is None else x, (*lead, *shape))

    one = np.array([1.0, 0, 0, 0])
    given = (
        q, k, v, full(q_phase, 0.0, queries, primes), full(k_phase, 0.0, keys, primes),
        full(q_orientation, one, queries, primes, 4), full(k_orientation, one, keys, primes, 4),
        full(weights, 1 / 3, 3), full(temperature, 1.0),
    )  # fmt: skip
    allowed = full(mask, True, queries, keys)
    out, table = (np.zeros((*lead, queries, width), complex) for width in (v.shape[-1], keys))
    for h in np.ndindex(*lead):
        out[h], table[h] = resonant(*(x[h] for x in given), active, form, rotors, causal, allowed[h])
    if not any(np.iscomplexobj(x) for x in given):
        out, table = out.real, table.real
    return (out, table) if return_weights else out
