r"""Coloured noise: an Ornstein-Uhlenbeck process eta of correlation time tau in place of white noise, drawn exactly.

    eta' = -eta / tau + (sqrt(2 D) / tau) xi,    <eta(t) eta(s)> = (D / tau) exp(-|t - s| / tau),

which tends to white noise sqrt(2 D) xi as tau -> 0. With z = h / tau, e = exp(-z), independent standard normals u, v,
sigma = sqrt(2 D) and s = sqrt(2 tau) eta, of variance sigma^2, the value at the end of a step and the integral over it
are

    s'      = e s + a sigma u,                                          a^2 = 1 - e^2
    int eta = sqrt(tau / 2) ((1 - e) s + sigma (b u + c v)),        b = (1 - e)^2 / a,    c^2 = 2 z - 4 tanh(z / 2).

The integral takes the place of W of white noise, and h int eta / 2 - (h^2 / 12) (eta' - eta), the mean of the double
integral given both, over h, that of Z: its spread about that costs an error of order h^2 after a fixed time. D. T.
Gillespie, "Exact numerical simulation of the Ornstein-Uhlenbeck process and its integral", Phys. Rev. E 54 (1996) 2084.
"""

import math
from typing import Any

import numpy as np

from .._runtime.jit import apart, nonnegative, scalar


@scalar
def spread(z):
    """2 z - 4 tanh(z / 2), to 12 digits; it begins with z^3 / 6."""
    if z > 0.05:
        return 2 * z - 4 * math.tanh(z / 2)
    y = z * z
    return z * y * (1 / 6 - y * (1 / 60 - y * (17 / 10080 - y * (31 / 181440))))


@apart
def tint(first, last, h, tau, noise, n, colour, row):
    """White sigma W and sigma Z, which hold two normal numbers, become those of coloured noise; its state moves on."""
    z, root, half = h / tau, math.sqrt(h), math.sqrt(tau / 2)
    e, a = math.exp(-z), math.sqrt(-math.expm1(-2 * z))
    b, c, rest = math.expm1(-z) ** 2 / a, math.sqrt(spread(z)), -math.expm1(-z)
    change = h / (12 * math.sqrt(2 * tau))
    for i in range(first, last):
        u = noise[nonnegative(i)] / root
        v = (noise[nonnegative(n + i)] / root - u / 2) * math.sqrt(12.0)
        s = colour[nonnegative(row + i)]
        new = e * s + a * u
        total = half * (rest * s + b * u + c * v)
        noise[nonnegative(i)] = total
        noise[nonnegative(n + i)] = total / 2 - change * (new - s)
        colour[nonnegative(row + i)] = new


def stationary(sigma: np.ndarray, runs: int, n: int, seed: int, streams: Any) -> np.ndarray:
    """A first state of all runs, (runs, N), that depends on a run's stream alone; ``sigma`` is (1 or runs, 1 or N)."""
    drawn = [np.random.Generator(np.random.Philox(key=[seed, int(s)])).standard_normal(n) for s in streams]
    return np.stack(drawn) * np.broadcast_to(sigma, (runs, n))
