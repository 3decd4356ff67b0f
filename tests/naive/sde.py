"""Additive noise on one Brownian path, coarse and fine: what a coarse step's increments leave open, and fine steps."""

import numpy as np


def refine(coarse_w, coarse_z, h, parts, rng):
    """Increments (w, z) of ``parts`` equal pieces of a step h, given W and Z of the step; arrays (parts, n).

    W = B(h), Z = (1/h) int_0^h B; a piece has the same of its own. Drawn freely, then moved by the regression on what
    their W and Z came to: the law of Gaussian numbers given two linear functions of them.
    """
    n, piece = len(coarse_w), h / parts
    w = rng.standard_normal((parts, n)) * np.sqrt(piece)
    z = w / 2 + rng.standard_normal((parts, n)) * np.sqrt(piece / 12)
    covariance = np.kron([[1.0, 0.5], [0.5, 1 / 3]], np.eye(parts)) * piece
    to_w = np.concatenate([np.ones(parts), np.zeros(parts)])
    to_z = np.concatenate([parts - 1 - np.arange(parts), np.ones(parts)]) / parts
    both = np.array([to_w, to_z])
    gain = covariance @ both.T @ np.linalg.inv(both @ covariance @ both.T)
    x = np.concatenate([w, z])
    x = x + gain @ (np.array([coarse_w, coarse_z]) - both @ x)
    return x[:parts], x[parts:]


def strong_three_halves(y, t, drift, h, w, z):
    """A step of Rößler's SRA1, its noise already multiplied by sigma."""
    first = drift(t, y)
    second = drift(t + 0.75 * h, y + 0.75 * h * first + 1.5 * z)
    return y + h * (first + 2 * second) / 3 + w
