"""Expressive attention from its equation: one query, one key, one number at a time; real or complex."""

import numpy as np

from .dot_product import turned


def reference(q, k, v, *, causal=False, mask=None, scale=None, window=None, eps=1e-6, rope=None, return_weights=False):
    """q (..., Tq, D), k (..., Tk, D), v (..., Tk, Dv); complex inputs are differentiated by the complex step."""
    lead, (queries, width), (keys, depth) = q.shape[:-2], q.shape[-2:], v.shape[-2:]
    if rope is not None:
        q = turned(q, [i + keys - queries for i in range(queries)], rope)
        k = turned(k, list(range(keys)), rope)
    scale = width**-0.5 if scale is None else scale
    allowed = np.broadcast_to(True if mask is None else mask, (*lead, queries, keys))
    kind = np.result_type(q, k, v, float)
    out, weights = np.zeros((*lead, queries, depth), kind), np.zeros((*lead, queries, keys), kind)
    share = 1 if len(lead) == 0 else lead[-1] // max(k.shape[-3], 1) if lead[-1] else 1
    for head in np.ndindex(*lead):
        source = (*head[:-1], head[-1] // share) if head else ()
        for i in range(queries):
            place, row = i + keys - queries, {}
            for j in range(keys):
                if causal and j > place:
                    continue
                if window is not None and abs(j - place) >= window:
                    continue
                if not allowed[(*head, i, j)]:
                    continue
                z = scale * sum(q[(*head, i, c)] * k[(*source, j, c)] for c in range(width))
                row[j] = z * z / (1 + z * z)
            total = sum(row.values()) + eps
            for j, w in row.items():
                weights[(*head, i, j)] = w / total if total != 0 else 0
                out[(*head, i)] += weights[(*head, i, j)] * v[(*source, j)]
    return (out, weights) if return_weights else out
