"""Self-consistency on the real frequency axis: what each oscillator does in the mean field, then a plain sum."""

import numpy as np


def mean_unit_vector(u, a, diffusion):
    """<e^{i psi}> of psi' = u - a sin psi + sqrt(2 D) xi."""
    if diffusion == 0:
        x = u / a
        if abs(x) <= 1:
            return np.sqrt(1 - x**2) + 1j * x
        return 1j * x * (1 - np.sqrt(1 - 1 / x**2))
    # n (n D - i u) w_n = n (a/2) (w_{n-1} - w_{n+1}) with w_0 = 1 and w_201 = 0: elimination from the last row up
    modes, diagonal = 200, {}
    for n in range(modes, 0, -1):
        diagonal[n] = n * (n * diffusion - 1j * u)
        if n < modes:  # row n + 1 says w_{n+1} = (n + 1) (a/2) w_n / diagonal_{n+1}
            diagonal[n] += n * a / 2 * (n + 1) * a / 2 / diagonal[n + 1]
    return a / 2 / diagonal[1]


def density(distribution, omega):
    if distribution == "gaussian":
        return np.exp(-(omega**2) / 2) / np.sqrt(2 * np.pi)
    if distribution == "lorentzian":
        return 1 / np.pi / (1 + omega**2)
    return 0.5 * (abs(omega) <= 1)


def field(distribution, a, frequency, diffusion, reach, count):
    """Mean of <e^{i psi}> over g, width 1: midpoints in [-reach, reach]."""
    step = 2 * reach / count
    total = 0
    for i in range(count):
        omega = -reach + (i + 0.5) * step
        total += step * density(distribution, omega) * mean_unit_vector(omega - frequency, a, diffusion)
    return total
