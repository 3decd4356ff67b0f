"""Attention over states by loops, from the equations; scores come from ``resonance``.

Analytic in amplitudes, quaternions, values, weights and the temperature wherever the score is, so a complex step
through these functions is an exact derivative.
"""

import numpy as np

from .resonance import score, unit


def multiply(a, b):
    return np.array(
        [
            a[0] * b[0] - a[1] * b[1] - a[2] * b[2] - a[3] * b[3],
            a[0] * b[1] + a[1] * b[0] + a[2] * b[3] - a[3] * b[2],
            a[0] * b[2] - a[1] * b[3] + a[2] * b[0] + a[3] * b[1],
            a[0] * b[3] + a[1] * b[2] - a[2] * b[1] + a[3] * b[0],
        ]
    )


def rotors(key):
    """R_j = r_0 r_1 ... r_j, r_j the product of the quaternions of state j in order of increasing prime."""
    total, found = np.array([1.0, 0, 0, 0]), []
    for state in key:
        for p in sorted(state):
            total = multiply(total, unit(state[p][2]))
        found.append(total)
    return found


def turn(state, rotor):
    return {p: (re, im, multiply(rotor, unit(q))) for p, (re, im, q) in state.items()}


def turned(query, key):
    """Both sides composed with the rotors of the keys; query i stands at key i + Tk - Tq."""
    found = rotors(key)
    shift = len(key) - len(query)
    return (
        [turn(state, found[i + shift]) for i, state in enumerate(query)],
        [turn(state, found[j]) for j, state in enumerate(key)],
    )


def allowed_pairs(n, m, causal=False, mask=None):
    allowed = np.ones((n, m), bool) if mask is None else np.broadcast_to(mask, (n, m)).copy()
    for i in range(n):
        for j in range(m):
            if causal and j > i + m - n:
                allowed[i, j] = False
    return allowed


def head_weights(heads):
    """The schedule of tinyaleph."""
    found = []
    for h in range(heads):
        t = h / (heads - 1) if heads > 1 else 0
        found.append((0.5 - 0.3 * t, 0.3, 0.2 + 0.3 * t))
    return np.array(found)


def attention(
    query, key, value, weights, *, form="softmax", temperature=1.0, causal=False, mask=None, order=None, **options
):
    """``weights`` (H, 3): head h owns the columns h d / H to (h + 1) d / H - 1 of the values."""
    if order == "rotor":
        query, key = turned(query, key)
    n, m, heads, width = len(query), len(key), len(weights), value.shape[1] // len(weights)
    allowed = allowed_pairs(n, m, causal, mask)
    kind = np.result_type(
        value,
        np.asarray(weights),
        np.asarray(temperature),
        *[x for s in (*query, *key) for e in s.values() for x in e],
        float,
    )
    out = np.zeros((n, value.shape[1]), kind)
    for h in range(heads):
        columns = slice(h * width, (h + 1) * width)
        for i in range(n):
            total = 0
            for j in range(m):
                if allowed[i, j]:
                    w = score(query[i], key[j], weights[h], **options)
                    if form == "softmax":
                        w = np.exp(w / temperature)
                    total = total + w
                    out[i, columns] = out[i, columns] + w * value[j, columns]
            if abs(total) > 1e-9:
                out[i, columns] = out[i, columns] / total
            else:
                out[i, columns] = 0
    return out


def attend_states_original(query, keys, values, weights, temperature):
    """tinyaleph's attention of one query over lists of states, dictionaries in order of insertion."""
    scores = [score(query, k, weights, kind="original") for k in keys]
    w = np.exp((np.array(scores) - max(scores)) / temperature)
    w /= w.sum()
    return scores, w
