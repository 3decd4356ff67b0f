"""Self-consistency on the real frequency axis: what each oscillator does in the mean field, then a plain sum."""

import numpy as np


def mean_unit_vector(u, a, diffusion):
    """<e^{i psi}> of psi' = u - a sin psi + sqrt(2 D) xi."""
    if diffusion == 0:
        x = u / a
        if abs(x) <= 1:
            return np.sqrt(1 - x**2) + 1j * x
        return 1j * x * (1 - np.sqrt(1 - 1 / x**2))
    modes = 200  # n (n D - i u) w_n = n (a/2) (w_{n-1} - w_{n+1}), w_0 = 1
    n = np.arange(1, modes + 1)
    matrix = np.diag(n * diffusion - 1j * u) + a / 2 * (np.eye(modes, k=1) - np.eye(modes, k=-1))
    right = np.zeros(modes, complex)
    right[0] = a / 2
    return np.linalg.solve(matrix, right)[0]


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
