"""Linear attention from its equation: one query, one key, one number at a time; real or complex."""

import numpy as np

from tests.naive.squared import dot, ratio


def reference(q, k, v, *, causal=False, mask=None, window=None, return_weights=False):
    """q (..., Tq, D), k (..., Tk, D), v (..., Tk, Dv); complex inputs are differentiated by the complex step."""

    def kernel(a, b):
        return dot([feature(x) for x in a], [feature(x) for x in b])

    return ratio(q, k, v, kernel, causal, mask, window, 0.0, return_weights)


def feature(x):
    """elu(x) + 1."""
    return x + 1 if x.real > 0 else np.exp(x)
