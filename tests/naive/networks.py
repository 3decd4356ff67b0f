"""Derivatives on networks and the networks themselves, by loops."""

import itertools
import math


def slopes(theta, omega, coupling, W, normalize="size", lag=0.0):
    """theta_i' = omega_i + g_i sum_j W_ij sin(theta_j - theta_i - lag)."""
    n = len(theta)
    found = []
    for i in range(n):
        pull = 0.0
        for j in range(n):
            if W[i][j] != 0:
                pull += W[i][j] * math.sin(theta[j] - theta[i] - lag)
        degree = sum(abs(w) for w in W[i])
        g = {"size": coupling / n, "degree": coupling / degree if degree else 0.0, None: coupling}[normalize]
        found.append(omega[i] + g * pull)
    return found


def grid(shape, periodic, diagonal):
    """{(i, j)}: grid point i hears j."""
    points = list(itertools.product(*map(range, shape)))
    edges = set()
    for i, a in enumerate(points):
        for j, b in enumerate(points):
            gaps = [abs(x - y) for x, y in zip(a, b, strict=True)]
            if periodic:
                gaps = [min(gap, side - gap) for gap, side in zip(gaps, shape, strict=True)]
            if i != j and max(gaps) <= 1 and (diagonal or sum(gaps) == 1):
                edges.add((i, j))
    return edges
