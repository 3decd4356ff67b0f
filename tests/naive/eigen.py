"""Eigen attention from its equations, one query and one key at a time; real or complex."""

import numpy as np

from .dot_product import turned


def reference(
    q, k, v, *, basis_key, basis_value, basis_query=None, causal=False, mask=None, scale=None, window=None, rope=None,
    return_weights=False,
):  # fmt: skip
    """q (..., Tq, D), k (..., Tk, D), v (..., Tk, Dv); bases (..., D, r) and (..., Dv, rv), one a key head."""
    lead, (queries, width), (keys, depth) = q.shape[:-2], q.shape[-2:], v.shape[-2:]
    basis_query = basis_key if basis_query is None else basis_query
    of_query, of_key, of_value = (
        np.broadcast_to(b, (*k.shape[:-2], *b.shape[-2:])) for b in (basis_query, basis_key, basis_value)
    )
    scale = width**-0.5 if scale is None else scale
    allowed = np.broadcast_to(True if mask is None else mask, (*lead, queries, keys))
    kind = np.result_type(q, k, v, of_query, of_key, of_value, float)
    out, weights = np.zeros((*lead, queries, depth), kind), np.zeros((*lead, queries, keys), kind)
    share = 1 if not lead or not lead[-1] else lead[-1] // max(k.shape[-3], 1)
    for head in np.ndindex(*lead):
        source = (*head[:-1], head[-1] // share) if head else ()
        lifted = np.array([of_query[source] @ (of_key[source].T @ k[(*source, j)]) for j in range(keys)], kind)
        lifted, asked = lifted.reshape(keys, width), q[head]
        if rope is not None:
            lifted = turned(lifted, list(range(keys)), rope)
            asked = turned(asked, [i + keys - queries for i in range(queries)], rope)
        for i in range(queries):
            scores, place = {}, i + keys - queries
            for j in range(keys):
                outside = (causal and j > place) or (window is not None and abs(j - place) >= window)
                if not outside and allowed[(*head, i, j)]:
                    scores[j] = scale * sum(asked[i] * lifted[j])
            top = max((s.real for s in scores.values()), default=0)
            total = sum(np.exp(s - top) for s in scores.values())
            for j, s in scores.items():
                weights[(*head, i, j)] = np.exp(s - top) / total
                value = of_value[source] @ (of_value[source].T @ v[(*source, j)])
                out[(*head, i)] += weights[(*head, i, j)] * value
    return (out, weights) if return_weights else out
