"""Softmax attention from its equation: one query, one key, one number at a time; real or complex."""

import numpy as np


def reference(
    q, k, v, *, causal=False, mask=None, scale=None, window=None, alibi=None, rope=None, return_weights=False
):
    """q (..., Tq, D), k (..., Tk, D), v (..., Tk, Dv); complex inputs are differentiated by the complex step."""
    lead, (queries, width), (keys, depth) = q.shape[:-2], q.shape[-2:], v.shape[-2:]
    if rope is not None:
        q = turned(q, [i + keys - queries for i in range(queries)], rope)
        k = turned(k, list(range(keys)), rope)
    scale = width**-0.5 if scale is None else scale
    allowed = np.broadcast_to(True if mask is None else mask, (*lead, queries, keys))
    slopes = np.broadcast_to(0.0 if alibi is None else alibi, lead)
    kind = np.result_type(q, k, v, slopes, float)
    out, weights = np.zeros((*lead, queries, depth), kind), np.zeros((*lead, queries, keys), kind)
    share = 1 if len(lead) == 0 else lead[-1] // max(k.shape[-3], 1) if lead[-1] else 1
    for head in np.ndindex(*lead):
        source = (*head[:-1], head[-1] // share) if head else ()
        for i in range(queries):
            place = i + keys - queries
            scores = {}
            for j in range(keys):
                if causal and j > place:
                    continue
                if window is not None and abs(j - place) >= window:
                    continue
                if not allowed[(*head, i, j)]:
                    continue
                dot = sum(q[(*head, i, c)] * k[(*source, j, c)] for c in range(width))
                scores[j] = scale * dot - slopes[head] * abs(place - j)
            if not scores:
                continue
            top = max(s.real for s in scores.values())
            total = sum(np.exp(s - top) for s in scores.values())
            for j, s in scores.items():
                weights[(*head, i, j)] = np.exp(s - top) / total
                out[(*head, i)] += weights[(*head, i, j)] * v[(*source, j)]
    return (out, weights) if return_weights else out


def turned(x, positions, base, interleaved=False):
    """Rotary embedding of x (..., T, D), pair by pair."""
    out, half = np.array(x), x.shape[-1] // 2
    for t, position in enumerate(positions):
        for c in range(half):
            a, b = (2 * c, 2 * c + 1) if interleaved else (c, c + half)
            angle = position * base ** (-c / half)
            out[..., t, a] = x[..., t, a] * np.cos(angle) - x[..., t, b] * np.sin(angle)
            out[..., t, b] = x[..., t, b] * np.cos(angle) + x[..., t, a] * np.sin(angle)
    return out
