"""What the plain NumPy references of mechanisms share; analytic, so complex scores work, too."""

import numpy as np


def allowed_keys(shape, *, causal=False, mask=None, window=None):
    """Which keys band and mask leave to which query: booleans of this shape, (..., Tq, Tk)."""
    queries, keys = shape[-2:]
    ahead = np.arange(keys) - np.arange(keys - queries, keys)[:, None]
    allowed = np.broadcast_to(True if mask is None else mask, shape)
    if causal:
        allowed = allowed & (ahead <= 0)
    if window is not None:
        allowed = allowed & (abs(ahead) < window)
    return allowed


def softmax(scores, **band):
    """Weights (..., Tq, Tk) of a table of scores; zeros for a query without a key."""
    allowed = allowed_keys(scores.shape, **band)
    top = np.where(allowed, scores.real, -np.inf).max(axis=-1, keepdims=True, initial=np.finfo(float).min)
    weights = np.where(allowed, np.exp(np.where(allowed, scores - top, 0)), 0)
    return ratio(weights)


def ratio(weights, eps=0.0):
    """A table of weights over its row sums plus eps; zeros where that is 0."""
    total = weights.sum(axis=-1, keepdims=True) + eps
    return weights / np.where(total == 0, 1, total)


def turned(x, positions, base):
    """Rotary positions, pairs (c, c + D / 2)."""
    half = x.shape[-1] // 2
    turn = np.exp(1j * np.asarray(positions)[:, None] * base ** (-np.arange(half) / half))
    a, b = x[..., :half], x[..., half:]
    return np.concatenate([a * turn.real - b * turn.imag, b * turn.real + a * turn.imag], axis=-1)


def grouped(x, heads: int):
    """Keys or values (..., Hk, T, D), repeated for the query heads that share them."""
    return x if x.ndim < 3 or x.shape[-3] == heads else np.repeat(x, heads // x.shape[-3], axis=-3)


def joined(q, k, v, rope=None):
    """q and k turned to their positions, the last query beside the last key; k and v repeated for the heads of q."""
    queries, keys, heads = q.shape[-2], k.shape[-2], q.shape[-3] if q.ndim > 2 else 1
    if rope is not None:
        q, k = turned(q, np.arange(keys - queries, keys), rope), turned(k, np.arange(keys), rope)
    return q, grouped(k, heads), grouped(v, heads)
