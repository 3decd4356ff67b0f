r"""Interactions of three, over listed triangles: what i feels of each pair (j, k) that is listed for it.

    p sum w_ijk sin(2 theta_j - theta_k - theta_i) = Im conj(e_i) p sum w_ijk e_j^2 conj(e_k)
    q sum w_ijk sin(theta_j + theta_k - 2 theta_i) = Im conj(e_i)^2 q sum w_ijk e_j e_k

P. S. Skardal and A. Arenas, "Higher order interactions in complex networks of phase oscillators promote abrupt
synchronization switching", Communications Physics 3, 218 (2020), has the first form; the second is that of the same
authors, Phys. Rev. Lett. 122, 248301 (2019).
"""

from typing import Any, NamedTuple

import numpy as np

from .._runtime.checks import unmasked
from .._runtime.jit import apart, nonnegative


class Triangles(NamedTuple):
    """Triangles by the oscillator that feels them, in compressed rows; the order within a row is the user's.

    Attributes
    ----------
    at : ndarray of int64, shape (N + 1,)
    pairs : ndarray of int32, shape (T, 2)
        j and k.
    weight : ndarray of float64, shape (T,)
    """

    at: np.ndarray
    pairs: np.ndarray
    weight: np.ndarray

    def arrays(self, p: float, q: float) -> tuple[np.ndarray, np.ndarray]:
        """``corners`` and ``corner_weight`` of Phases."""
        corners = np.concatenate([self.at, self.pairs.reshape(-1).astype(np.int64)])
        return corners, np.multiply.outer(self.weight, [p, q]).reshape(-1)


def as_rows(triangles: Any, n: int) -> np.ndarray:
    """(T, 3) of int64: i, j, k.

    Raises
    ------
    ValueError
        For another shape or dtype, or oscillators that there are not.
    """
    rows = np.asarray(unmasked("triangles", triangles))
    if not rows.size:
        return np.zeros((0, 3), np.int64)
    if rows.ndim != 2 or rows.shape[1] != 3 or rows.dtype.kind not in "iu":
        raise ValueError(f"triangles has shape {rows.shape} and dtype {rows.dtype}: (T, 3) integers i, j, k are wanted")
    if rows.size and not (rows.min() >= 0 and rows.max() < n):
        raise ValueError(f"triangles names oscillators {rows.min()} to {rows.max()}: 0 to {n - 1} are wanted")
    return rows.astype(np.int64)


def as_triangles(rows: np.ndarray, weights: np.ndarray | None, n: int) -> Triangles:
    """Triangles of `as_rows` and their weights, 1 by default.

    Raises
    ------
    ValueError
        For weights that do not fit.
    """
    weight = np.ones(len(rows)) if weights is None else weights
    if weight.shape != (len(rows),):
        raise ValueError(
            f"triangle_weights has shape {weight.shape}: ({len(rows)},) numbers, one a triangle, are wanted"
        )
    order = np.argsort(rows[:, 0], kind="stable")
    at = np.concatenate([[0], np.cumsum(np.bincount(rows[:, 0], minlength=n))])
    return Triangles(at.astype(np.int64), rows[order, 1:].astype(np.int32), weight[order])


@apart
def add_triangles(first, last, corners, weight, features, c, n, out, force):
    """Both sums of rows first to last - 1; cosines of theta stand at c in ``features``, sines n further."""
    for i in range(first, last):
        a = b = u = v = weight[0] - weight[0]
        for e in range(corners[i], corners[i + 1]):
            pair = nonnegative(n + 1 + 2 * e)
            j, k = nonnegative(c + corners[pair]), nonnegative(c + corners[nonnegative(pair + 1)])
            cj, sj, ck, sk = features[j], features[nonnegative(j + n)], features[k], features[nonnegative(k + n)]
            p, q = weight[nonnegative(2 * e)], weight[nonnegative(2 * e + 1)]
            c2, s2 = cj * cj - sj * sj, sj * cj + sj * cj
            a += p * (c2 * ck + s2 * sk)
            b += p * (s2 * ck - c2 * sk)
            u += q * (cj * ck - sj * sk)
            v += q * (cj * sk + sj * ck)
        ci, si = features[c + i], features[c + n + i]
        c2, s2 = ci * ci - si * si, si * ci + si * ci
        out[force + i] += (b * ci - a * si) + (v * c2 - u * s2)
