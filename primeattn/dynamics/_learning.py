r"""Weights that learn: every edge of the network has one, and it is part of the state.

    w_ij' = rate (strength cos(theta_j - theta_i - shift) - w_ij)

Shift 0 is Hebb's rule: those who agree strengthen what binds them (P. Seliger, S. C. Young, L. S. Tsimring, "Plasticity
and learning in a network of coupled phase oscillators", Phys. Rev. E 65 (2002) 041906). The rule -sin(theta_i - theta_j
+ beta) of T. Aoki and T. Aoyagi (Phys. Rev. Lett. 102 (2009) 034101) and R. Berner, E. Schöll, S. Yanchuk
("Multiclusters in networks of adaptively coupled phase oscillators", SIAM J. Appl. Dyn. Syst. 18 (2019) 2227) is
shift = beta + pi / 2.
"""

import math
from typing import Any

import numpy as np

from .._runtime.jit import apart, nonnegative


@apart
def add_learning(first, last, re, im, indptr, indices, scale, state, weights, features, c, n, out, force):
    """`_slope.add_edges` with the weights of the state, which stand at ``weights``."""
    if re == 0 and im == 0:
        return
    for i in range(first, last):
        p = q = re - re
        for e in range(indptr[i], indptr[i + 1]):
            w, j = state[nonnegative(weights + e)], nonnegative(c + indices[nonnegative(e)])
            p += w * features[j]
            q += w * features[nonnegative(j + n)]
        if len(scale):
            p, q = p * scale[i], q * scale[i]
        out[nonnegative(force + i)] += (re * q + im * p) * features[c + i] - (re * p - im * q) * features[c + n + i]


@apart
def learn(first, last, learning, indptr, indices, state, features, c, n, out, to, weights):
    """The derivatives of the weights that rows first to last - 1 own."""
    rate, along, across = learning[0], learning[1], learning[2]
    for i in range(first, last):
        cosine, sine = features[c + i], features[c + n + i]
        p, q = along * cosine - across * sine, along * sine + across * cosine
        for e in range(indptr[i], indptr[i + 1]):
            j = nonnegative(c + indices[nonnegative(e)])
            wanted = p * features[j] + q * features[nonnegative(j + n)]
            e = weights + e
            out[nonnegative(to + e)] = rate * (wanted - state[nonnegative(e)])


def rule(rate: float, shift: float, strength: float) -> np.ndarray:
    """What the kernels read."""
    return np.array([rate, strength * math.cos(shift), strength * math.sin(shift)])


def as_rule(given: Any) -> tuple[float, float, float]:
    """Rate, shift and strength of one to three finite numbers.

    Raises
    ------
    ValueError
        For more or fewer, or a negative rate.
    """
    x = np.atleast_1d(np.asarray(given, float))
    if x.ndim > 1 or not 1 <= len(x) <= 3 or x[0] < 0:
        raise ValueError(f"adaptation is {given!r}: a rate >= 0, (rate, shift) or (rate, shift, strength) is wanted")
    rate, shift, strength = np.concatenate([x, (0.0, 1.0)[len(x) - 1 :]]).tolist()
    return rate, shift, strength
