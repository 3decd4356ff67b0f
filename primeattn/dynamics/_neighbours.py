"""Networks without indices: rings, whose sums slide from one oscillator to the next, and matrices that are full."""

from typing import NamedTuple

import numpy as np
from numba import njit

from .._runtime.jit import MATH, apart, nonnegative

_FULL = 0.5  # of all entries: from here on a matrix is read without indices


class Ring(NamedTuple):
    """Every oscillator hears the nearest ones on each side, cyclically, in time that does not grow with their number.

    Parameters
    ----------
    neighbours : int
        On each side; less than N / 2.

    Notes
    -----
    As ``network`` of a `Kuramoto` model the same as ``networks.ring(N, neighbours)``, to rounding: the sum over 2 R
    neighbours becomes that of the next oscillator by one addition and one subtraction, and there is no list of edges.

    Examples
    --------
    >>> import numpy as np, primeattn as pa
    >>> pa.Kuramoto(np.zeros(10**6), 1.0, pa.dynamics.Ring(1000), normalize="degree")
    Kuramoto(N=1000000, coupling=1.0, ring of 2000 neighbours)
    """

    neighbours: int


@apart
def add_ring(first, last, reach, re, im, features, c, heard, n, out, force):
    """Im h conj(e_i) sum_{0 < |k| <= reach} e_{i + k} for oscillators of a block; e_i at c, others at ``heard``."""
    if re == 0 and im == 0:
        return
    p = q = re - re
    old = first - reach if first >= reach else first - reach + n
    new = old - 1
    for _ in range(2 * reach + 1):
        new = new + 1 if new + 1 < n else 0
        j = nonnegative(heard + new)
        p += features[j]
        q += features[nonnegative(j + n)]
    for i in range(first, last):
        own = nonnegative(heard + i)
        x, y = p - features[own], q - features[nonnegative(own + n)]
        cosine, sine = features[nonnegative(c + i)], features[nonnegative(c + n + i)]
        out[nonnegative(force + i)] += (re * y + im * x) * cosine - (re * x - im * y) * sine
        new = new + 1 if new + 1 < n else 0
        a, b = nonnegative(heard + new), nonnegative(heard + old)
        p += features[a] - features[b]
        q += features[nonnegative(a + n)] - features[nonnegative(b + n)]
        old = old + 1 if old + 1 < n else 0


@njit(
    _nrt=False, no_cpython_wrapper=True, no_cfunc_wrapper=True, **{**MATH, "fastmath": {"contract", "reassoc", "nsz"}}
)
def add_rows(first, last, re, im, matrix, scale, features, c, heard, n, out, force):
    """Im h conj(e_i) sum_j scale_i w_ij e_j for rows of a full matrix; e_i at c, e_j at ``heard``."""
    if re == 0 and im == 0:
        return
    for i in range(first, last):
        p = q = re - re
        row = i * n
        for j in range(n):
            w = matrix[nonnegative(row + j)]
            p += w * features[nonnegative(heard + j)]
            q += w * features[nonnegative(heard + n + j)]
        if len(scale):
            p, q = p * scale[i], q * scale[i]
        out[nonnegative(force + i)] += (re * q + im * p) * features[c + i] - (re * p - im * q) * features[c + n + i]


def is_full(indptr: np.ndarray, indices: np.ndarray) -> bool:
    """Whether more than half of all edges are there."""
    return len(indices) > _FULL * (len(indptr) - 1) ** 2


def matrix(indptr: np.ndarray, indices: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """(n, n), flat, of compressed sparse rows."""
    n = len(indptr) - 1
    found = np.zeros((n, n))
    found[np.repeat(np.arange(n), np.diff(indptr)), indices] = weight if len(weight) else 1.0
    return found.reshape(-1)


def reach_of(ring: Ring, n: int) -> int:
    """Its neighbours on each side, if n oscillators have so many.

    Raises
    ------
    ValueError
    """
    reach = ring.neighbours
    if isinstance(reach, bool) or not isinstance(reach, int | np.integer) or not 1 <= reach <= (n - 1) // 2:
        raise ValueError(
            f"network is a ring of {reach!r} neighbours on each side but omega has {n} entries: 1 to "
            f"{(n - 1) // 2} are wanted"
        )
    return int(reach)
