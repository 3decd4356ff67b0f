"""Squared attention from its equation: one query, one key, one number at a time; real or complex."""

import numpy as np

from tests.naive.dot_product import turned


def reference(
    q, k, v, *, causal=False, mask=None, scale=None, window=None, eps=1e-6, rope=None, form=None, return_weights=False
):
    """q (..., Tq, D), k (..., Tk, D), v (..., Tk, Dv); complex inputs are differentiated by the complex step."""
    queries, keys, width = q.shape[-2], k.shape[-2], q.shape[-1]
    if rope is not None:
        q = turned(q, [i + keys - queries for i in range(queries)], rope)
        k = turned(k, list(range(keys)), rope)
    scale = width**-0.5 if scale is None else scale
    return ratio(q, k, v, lambda a, b: (scale * dot(a, b)) ** 2, causal, mask, window, eps * scale**2, return_weights)


def dot(a, b):
    return sum(a[c] * b[c] for c in range(len(a)))


def ratio(q, k, v, kernel, causal, mask, window, eps, return_weights):
    """Kernel values over their row sum plus eps |q_i|^2 sum_j |k_j|^2, which is 0 only if all are."""
    lead, (queries, keys), depth = q.shape[:-2], (q.shape[-2], k.shape[-2]), v.shape[-1]
    allowed = np.broadcast_to(True if mask is None else mask, (*lead, queries, keys))
    kind = np.result_type(q, k, v, float)
    out, weights = np.zeros((*lead, queries, depth), kind), np.zeros((*lead, queries, keys), kind)
    share = lead[-1] // max(k.shape[-3], 1) if lead and lead[-1] else 1
    for head in np.ndindex(*lead):
        source = (*head[:-1], head[-1] // share) if head else ()
        for i in range(queries):
            place, row, total = i + keys - queries, q[(*head, i)], 0
            for j in range(keys):
                near = window is None or abs(j - place) < window
                if near and allowed[(*head, i, j)] and not (causal and j > place):
                    key = k[(*source, j)]
                    weights[(*head, i, j)] = kernel(row, key)
                    total += weights[(*head, i, j)] + eps * dot(row, row) * dot(key, key)
            if total != 0:
                weights[(*head, i)] /= total
            for j in range(keys):
                if weights[(*head, i, j)] != 0:
                    out[(*head, i)] += weights[(*head, i, j)] * v[(*source, j)]
    return (out, weights) if return_weights else out
