"""Position-only attention from its equation: one pair of positions at a time; real or complex."""

import numpy as np


def reference(v, *, alpha, symmetry=None, softmax=False, form=None, causal=False, mask=None, return_weights=False):
    """v (..., T, Dv); symmetry None, "shift", or the lengths of a periodic lattice."""
    lead, keys, alpha = v.shape[:-2], v.shape[-2], np.asarray(alpha)
    queries = alpha.shape[-2] if symmetry is None else keys
    tail = 2 if symmetry is None else 1
    alpha = np.broadcast_to(alpha, (*lead, *alpha.shape[alpha.ndim - tail :]))
    allowed = np.broadcast_to(True if mask is None else mask, (*lead, queries, keys))
    kind = np.result_type(v, alpha, float)
    out, weights = np.zeros((*lead, queries, v.shape[-1]), kind), np.zeros((*lead, queries, keys), kind)
    axes = (symmetry,) if isinstance(symmetry, int) else symmetry
    for head in np.ndindex(*lead):
        for i in range(queries):
            row = {}
            for j in range(keys):
                if not allowed[(*head, i, j)] or (causal and j > i + keys - queries):
                    continue
                if symmetry is None:
                    row[j] = alpha[(*head, i, j)]
                elif symmetry == "shift":
                    row[j] = alpha[(*head, i - j)]
                else:
                    a, b = np.unravel_index(i, axes), np.unravel_index(j, axes)
                    apart = [(x - y) % n for x, y, n in zip(a, b, axes, strict=True)]
                    row[j] = alpha[(*head, np.ravel_multi_index(apart, axes))]
            if softmax and row:
                top = max(a.real for a in row.values())
                total = sum(np.exp(a - top) for a in row.values())
                row = {j: np.exp(a - top) / total for j, a in row.items()}
            for j, a in row.items():
                weights[(*head, i, j)] = a
                out[(*head, i)] += a * v[(*head, j)]
    return (out, weights) if return_weights else out
