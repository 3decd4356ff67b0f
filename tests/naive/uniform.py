"""Uniform attention from its equation: one query, one key at a time; real or complex."""

import numpy as np


def reference(v, *, causal=False, mask=None, window=None, return_weights=False):
    """v (..., T, Dv)."""
    lead, tokens = v.shape[:-2], v.shape[-2]
    allowed = np.broadcast_to(True if mask is None else mask, (*lead, tokens, tokens))
    out, weights = np.zeros(v.shape, np.result_type(v, float)), np.zeros((*lead, tokens, tokens))
    for head in np.ndindex(*lead):
        for i in range(tokens):
            seen = [
                j
                for j in range(tokens)
                if allowed[(*head, i, j)]
                and not (causal and j > i)
                and not (window is not None and abs(i - j) >= window)
            ]
            for j in seen:
                weights[(*head, i, j)] = 1 / len(seen)
                out[(*head, i)] += v[(*head, j)] / len(seen)
    return (out, weights) if return_weights else out
