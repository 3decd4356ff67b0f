"""Amplitudes, unit vectors and weights that learn, one pair at a time: the equations as they are written on paper."""

import cmath
import math


def amplitudes(z, omega, weight, growth, shear, lag, diffusive):
    """z' of Stuart-Landau oscillators; ``weight[i][j]`` holds g W_ij."""
    n, slope = len(z), []
    for i in range(n):
        total = (growth[i] + 1j * omega[i]) * z[i] - (1 + 1j * shear[i]) * abs(z[i]) ** 2 * z[i]
        for j in range(n):
            total += weight[i][j] * cmath.exp(-1j * lag) * (z[j] - (z[i] if diffusive else 0))
        slope.append(total)
    return slope


def vectors(x, rotation, weight):
    """x' of unit vectors of any dimension."""
    n, size, slope = len(x), len(x[0]), []
    for i in range(n):
        field = [sum(weight[i][j] * x[j][a] for j in range(n)) for a in range(size)]
        along = sum(x[i][a] * field[a] for a in range(size))
        turned = [sum(rotation[i][a][b] * x[i][b] for b in range(size)) for a in range(size)]
        slope.append([turned[a] + field[a] - along * x[i][a] for a in range(size)])
    return slope


def learning(theta, w, omega, g, lag, rate, shift, strength, edges):
    """theta', and w' of a list of edges (i, j), j acting on i."""
    slope, change = list(omega), []
    for (i, j), weight in zip(edges, w, strict=True):
        slope[i] += g * weight * math.sin(theta[j] - theta[i] - lag)
        change.append(rate * (strength * math.cos(theta[j] - theta[i] - shift) - weight))
    return slope, change


def ring(theta, omega, g, reach, lag):
    """theta' on a ring."""
    n = len(theta)
    return [
        omega[i] + g * sum(math.sin(theta[(i + k) % n] - theta[i] - lag) for k in range(-reach, reach + 1) if k)
        for i in range(n)
    ]
