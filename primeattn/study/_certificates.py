r"""Eigenvalues of symmetric matrices with rigorous error bounds, computed in float64.

**All of them** (`certify`). Let V be computed eigenvectors, L the diagonal of computed eigenvalues, R = A V - V L. If
the smallest singular value of V is s > 0, then in ascending order

    |lambda_i(A) - L_ii| <= ||R||_2 / s                                                  (Kahan; Cao, Xie and Li)

and s^2 >= 1 - ||V^T V - I||. Both norms are bounded by Frobenius norms of what was computed plus what rounding may
have added: a product of inner length n is off by at most gamma_n |A||V|, gamma_n = n u / (1 - n u), u = 2^-53, in any
order of summation.

**One of them** (`residual_bound`). Some eigenvalue of A lies within ||A v - t v|| / ||v|| of t; and for any v the
smallest is at most the Rayleigh quotient. Neither says that nothing lies below.
"""

from dataclasses import dataclass

import numpy as np

from .._runtime import devices
from .._runtime.checks import as_floating
from ..attention._inputs import is_number

UNIT = 2.0**-53
_ROOM = 1.01  # for the rounding of the bounds themselves: a few thousand sums of positive numbers


def gamma(n: int) -> float:
    """n u / (1 - n u)."""
    return n * UNIT / (1 - n * UNIT)


@dataclass(frozen=True)
class Certificate:
    """Eigenvalues of a symmetric matrix, each known to within ``error``.

    Attributes
    ----------
    eigenvalues : ndarray of float64, shape (n,)
        Ascending.
    error : float
        Every exact eigenvalue lies within this distance of its computed one.
    vector : ndarray of float64, shape (n,)
        Of the smallest eigenvalue.
    """

    eigenvalues: np.ndarray
    error: float
    vector: np.ndarray

    @property
    def smallest(self) -> float:
        return float(self.eigenvalues[0])

    @property
    def largest(self) -> float:
        return float(self.eigenvalues[-1])

    @property
    def verdict(self) -> str:
        """Of the smallest eigenvalue: "negative", "positive", or "zero within the error"."""
        if self.smallest + self.error < 0:
            return "negative"
        return "positive" if self.smallest - self.error > 0 else "zero within the error"


def certify(matrix, *, entry_error: float = 0.0) -> Certificate:
    r"""All eigenvalues of a symmetric matrix, and a bound on their error that holds whatever rounding did.

    Parameters
    ----------
    matrix : array_like of float, shape (n, n)
        Symmetric, finite, n at least 1.
    entry_error : float
        How far its entries may be from those of the matrix that is meant; n times this joins the bound.

    Returns
    -------
    Certificate

    Raises
    ------
    ValueError
        If the matrix is empty, not square, not finite or not exactly symmetric; if entry_error is negative or not
        finite; if an eigenvalue or the bound lies beyond float64.

    Notes
    -----
    With computed pairs :math:`(V, \Lambda)` and :math:`R = A V - V \Lambda`,

    .. math:: |\lambda_i(A) - \Lambda_{ii}| \le \frac{\|R\|_F}{\sqrt{1 - \|V^T V - I\|_F}}

    where both norms are taken of the computed matrices and enlarged by what their own rounding may have hidden. It
    costs a full eigendecomposition and five products; use `spectrum` for large matrices.

    References
    ----------
    Cao, Xie and Li, "A sharp version of Kahan's theorem on clustered eigenvalues", Linear Algebra Appl. 245 (1996);
    Higham, *Accuracy and Stability of Numerical Algorithms*, section 3.5 (rounding of products).

    Examples
    --------
    >>> import primeattn as pa
    >>> found = pa.study.certify([[1.0, 2.0], [2.0, 1.0]])
    >>> found.eigenvalues.round(12).tolist(), found.error < 1e-14, found.verdict
    ([-1.0, 3.0], True, 'negative')
    """
    a = symmetric(matrix)
    if not is_number(entry_error) or entry_error < 0:
        raise ValueError(f"entry_error is {entry_error!r}: a finite number, 0 or more, is wanted")
    scale, meant = float(abs(a).max()), _above(len(a) * float(entry_error)) if entry_error else 0.0
    if scale == 0:
        return _finite(np.zeros(len(a)), meant, np.eye(len(a))[0])
    exponent = int(np.frexp(scale)[1])  # by a power of two: what underflows here is below what is added as tiny
    a = np.ldexp(a, -exponent)
    values, vectors = np.linalg.eigh(a)
    n = len(a)
    size = abs(vectors)
    residual = a @ vectors - vectors * values
    hidden = gamma(n + 2) * (abs(a) @ size + size * abs(values))
    defect = np.linalg.norm(vectors.T @ vectors - np.eye(n)) + gamma(n + 1) * (np.linalg.norm(size.T @ size) + 1)
    if not defect < 0.5:
        raise ValueError("the eigenvectors came out far from orthogonal: the matrix is beyond what float64 can certify")
    tiny = n * float(np.finfo(float).tiny)  # what underflow may have taken
    error = _ROOM * (np.linalg.norm(residual) + np.linalg.norm(hidden) + tiny) / np.sqrt(1 - _ROOM * defect)
    with np.errstate(over="ignore", under="ignore"):  # eigenvalues and bound may be rounded where they are subnormal
        values, error = np.ldexp(values, exponent), _above(_above(float(np.ldexp(error, exponent))))
    return _finite(values, _above(error + meant) if meant else error, vectors[:, 0])


def _above(x: float) -> float:
    """The next larger number."""
    return float(np.nextafter(x, np.inf))


def _finite(values: np.ndarray, error: float, vector: np.ndarray) -> Certificate:
    if not (np.isfinite(values).all() and np.isfinite(error)):
        raise ValueError("an eigenvalue or its bound lies beyond float64: divide the matrix and entry_error by 2**64")
    return Certificate(values, error, vector)


def symmetric(matrix) -> np.ndarray:
    """A checked float64 copy-free view of a symmetric matrix."""
    if devices.is_device_array(matrix):
        raise TypeError("matrix is a CUDA array: certificates run on the CPU; pass pa.to_host(matrix)")
    a = as_floating("matrix", matrix, dtype=np.float64)
    if a.ndim != 2 or a.shape[0] != a.shape[1] or not a.size:
        raise ValueError(f"matrix has shape {a.shape}: a square one with at least one row is wanted")
    if not np.isfinite(a).all():
        raise ValueError("matrix has NaN or infinite entries: it has no eigenvalues; drop those rows and columns")
    if (a != a.T).any():
        i, j = np.argwhere(a != a.T)[0]
        raise ValueError(
            f"matrix is not symmetric, as entries ({i}, {j}) and ({j}, {i}) show: its eigenvalues may be complex; "
            f"pass (matrix + matrix.T) / 2 if that is meant"
        )
    return a


def rounding_bound(n: int, *, norm: float, terms: int, matrix_error: float = 0.0) -> float:
    """How far a computed Rayleigh quotient of A may be from the exact one; arguments as of `residual_bound`."""
    return _ROOM * (gamma(2 * n + 8) * norm + gamma(terms + 2) * norm + matrix_error)


def residual_bound(value, vector, image, *, norm: float, terms: int, matrix_error: float = 0.0) -> float:
    """Some eigenvalue of A lies within this distance of ``value``; ``image`` is the computed A v.

    ``norm`` bounds the 2-norm of abs(A), ``terms`` the length of its sums, ``matrix_error`` the 2-norm of what is wrong
    with the entries.
    """
    length = float(np.linalg.norm(vector))
    found = float(np.linalg.norm(image - value * vector)) / length
    n = vector.size
    own = gamma(n + 4) * found + gamma(4) * (abs(value) + norm)  # of this very computation
    return _ROOM * (found + own + gamma(terms + 2) * norm + matrix_error)
