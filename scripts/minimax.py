"""Regenerate the polynomial coefficients of ``primeattn/_runtime/elementary/polynomials.py``.

    python scripts/minimax.py

Remez exchange in 60-digit arithmetic (mpmath). Each fit prints log2 of its largest weighted error after rounding
the coefficients: its share of the relative error of the function, where 2**-53 is half a unit in the
last place of float64 and 2**-24 of float32.
"""

import numpy as np
from mpmath import mp, mpf

mp.dps = 60
GRID = 600


def fit(function, weight, low, high, degree):
    """Coefficients, lowest degree first, that minimise the largest weighted error on [low, high]."""
    middle, radius = (high + low) / 2, (high - low) / 2
    grid = [middle - radius * mp.cos(mp.pi * (k + mpf(1) / 2) / GRID) for k in range(GRID)]
    values, scale = [function(x) for x in grid], [weight(x) for x in grid]
    nodes = [round((GRID - 1) * (k + 0.5) / (degree + 2)) for k in range(degree + 2)]
    for _ in range(30):
        rows = [[grid[i] ** j for j in range(degree + 1)] + [(-1) ** k / scale[i]] for k, i in enumerate(nodes)]
        *coefficients, level = mp.lu_solve(mp.matrix(rows), mp.matrix([values[i] for i in nodes]))
        error = [s * (f - evaluate(coefficients, x)) for x, f, s in zip(grid, values, scale, strict=True)]
        if max(map(abs, error)) < abs(level) * mpf("1.001"):
            break
        runs = [[0]]  # stretches of one sign; the largest error of each is a node of the next round
        for i in range(1, GRID):
            if (error[i] > 0) == (error[i - 1] > 0):
                runs[-1].append(i)
            else:
                runs.append([i])
        nodes = [max(run, key=lambda i: abs(error[i])) for run in runs]
        while len(nodes) > degree + 2:
            nodes.pop(0 if abs(error[nodes[0]]) < abs(error[nodes[-1]]) else -1)
    return coefficients


def evaluate(coefficients, x):
    return mp.polyval(coefficients[::-1], x)


def odd(x):
    return mp.sqrt(x)


QUARTER = mp.pi / 4 * mpf("1.03")  # a margin: n = rint(x * 2 / pi) is inexact for large x
HALF_LOG2 = mp.log(2) / 2 * mpf("1.0001")
S_MAX = ((mp.sqrt(2) - 1) / (mp.sqrt(2) + 1)) ** 2

# name: function of z (or r), weight, interval, degree in float32, degree in float64
FITS = {
    "sine": (lambda z: (mp.sin(odd(z)) / odd(z) - 1) / z, lambda z: z, "1e-12", QUARTER**2, 2, 5),
    "cosine": (lambda z: (mp.cos(odd(z)) - 1 + z / 2) / z**2, lambda z: z**2, "1e-10", QUARTER**2, 2, 5),
    "exponential": (lambda r: (mp.expm1(r) - r) / r**2, lambda r: mpf("0.35"), -HALF_LOG2, HALF_LOG2, 5, 10),
    "logarithm": (lambda z: (2 * mp.atanh(odd(z)) / odd(z) - 2) / z, lambda z: z / 2, "1e-12", S_MAX, 2, 6),
    "arctangent": (lambda z: (mp.atan(odd(z)) / odd(z) - 1) / z, lambda z: z, "1e-12", mpf(1) / 4, 4, 11),
}


def main():
    for name, (function, weight, low, high, *degrees) in FITS.items():
        low, high = mpf(low), mpf(high)
        for real, degree in zip((np.float32, np.float64), degrees, strict=True):
            rounded = [real(float(c)) for c in fit(function, weight, low, high, degree)]
            exact = [mpf(float(c)) for c in rounded]
            error = max(abs(weight(x) * (function(x) - evaluate(exact, x))) for x in mp.linspace(low, high, 2000))
            print(f"{name}, {real.__name__}: error 2**{mp.nstr(mp.log(error, 2), 4)}")
            print(*(f"    {c!s}" for c in rounded), sep="\n")


if __name__ == "__main__":
    main()
