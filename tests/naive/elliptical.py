"""Elliptical attention and layer relevance from their equations, one number at a time; real or complex."""

import numpy as np

from .dot_product import turned


def reference(
    q, k, v, *, relevance, metric="dot", causal=False, mask=None, scale=None, window=None, rope=None,
    return_weights=False,
):  # fmt: skip
    """q (..., Tq, D), k (..., Tk, D), v (..., Tk, Dv); relevance (..., D) by head or (..., Tq, D) by query."""
    lead, (queries, width), (keys, depth) = q.shape[:-2], q.shape[-2:], v.shape[-2:]
    relevance = np.asarray(relevance)
    by_query = relevance.ndim == q.ndim
    m = np.broadcast_to(relevance if by_query else relevance[..., None, :], q.shape)
    if rope is not None:
        q = turned(q, [i + keys - queries for i in range(queries)], rope)
        k = turned(k, list(range(keys)), rope)
    scale = width**-0.5 if scale is None else scale
    allowed = np.broadcast_to(True if mask is None else mask, (*lead, queries, keys))
    kind = np.result_type(q, k, v, m, float)
    out, weights = np.zeros((*lead, queries, depth), kind), np.zeros((*lead, queries, keys), kind)
    share = 1 if not lead or not lead[-1] else lead[-1] // max(k.shape[-3], 1)
    for head in np.ndindex(*lead):
        source = (*head[:-1], head[-1] // share) if head else ()
        for i in range(queries):
            scores, place = {}, i + keys - queries
            for j in range(keys):
                outside = (causal and j > place) or (window is not None and abs(j - place) >= window)
                if outside or not allowed[(*head, i, j)]:
                    continue
                s = 0
                for c in range(width):
                    a, b = q[(*head, i, c)], k[(*source, j, c)]
                    s += m[(*head, i, c)] * (a * b if metric == "dot" else -((a - b) ** 2) / 2)
                scores[j] = scale * s
            top = max((s.real for s in scores.values()), default=0)
            total = sum(np.exp(s - top) for s in scores.values())
            for j, s in scores.items():
                weights[(*head, i, j)] = np.exp(s - top) / total
                out[(*head, i)] += weights[(*head, i, j)] * v[(*source, j)]
    return (out, weights) if return_weights else out


def layer_relevance(v_now, v_previous, *, normalize="max", causal=False, mask=None, delta=1.0):
    """(..., D), or (..., T, D) if causal."""
    *lead, tokens, width = v_now.shape
    present = np.broadcast_to(True if mask is None else mask, (*lead, tokens))
    u = np.zeros((*lead, tokens, width) if causal else (*lead, width))
    for head in np.ndindex(*lead):
        for last in range(tokens) if causal else [tokens - 1]:
            seen = [t for t in range(last + 1) if present[(*head, t)]]
            for c in range(width):
                changes = [abs(v_now[(*head, t, c)] - v_previous[(*head, t, c)]) / delta for t in seen]
                u[(*head, last, c) if causal else (*head, c)] = sum(changes) / max(len(changes), 1)
    if normalize is None:
        return u
    for row in np.ndindex(*u.shape[:-1]):
        unit = max(u[row]) if normalize == "max" else sum(u[row]) / width
        u[row] = u[row] / unit if unit else 1
    return u
