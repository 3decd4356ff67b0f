"""The ends of the spectrum of a large symmetric matrix, each eigenvalue with a certified residual."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .._runtime.checks import as_generator
from .._runtime.progress import Bar
from ._certificates import residual_bound, rounding_bound, symmetric
from ._counts import check_count

METHODS = ("krylov", "randomized", "nystrom")


class _Matrix(NamedTuple):
    """A symmetric matrix by its products, and what certificates want of it."""

    n: int
    apply: Callable[[np.ndarray], np.ndarray]  # (n, m) -> (n, m)
    norm: float  # of its absolute values; NaN: unknown
    terms: int
    error: float


class _Pairs(NamedTuple):
    """Ritz values, ascending, and their vectors as columns."""

    values: np.ndarray
    vectors: np.ndarray


@dataclass(frozen=True)
class Spectrum:
    """Eigenvalues at both ends of a spectrum.

    Attributes
    ----------
    smallest, largest : ndarray of float64, shape (k,)
        From the end inwards: ascending and descending; empty for an end that was not asked for.
    smallest_error, largest_error : ndarray of float64, shape (k,)
        An eigenvalue lies within this distance of each of them.
    smallest_vectors, largest_vectors : ndarray of float64, shape (n, k)
    rounding : float
        How far rounding may have moved a value from the Rayleigh quotient of its vector: no eigenvalue is further out
        than the outermost one, so the smallest is at most ``smallest[0] + rounding``. 0 if that is not known.
    products : int
        How often the matrix was applied to a block of vectors.
    converged : bool
        Whether all errors are within the tolerance.
    rounding_covered : bool
        False for operators of unknown norm: errors then are residuals as computed.
    """

    smallest: np.ndarray
    smallest_error: np.ndarray
    smallest_vectors: np.ndarray
    largest: np.ndarray
    largest_error: np.ndarray
    largest_vectors: np.ndarray
    rounding: float
    products: int
    converged: bool
    rounding_covered: bool
    method: str

    @property
    def negative(self) -> bool:
        """Whether the matrix has a negative eigenvalue for certain."""
        margin = self.rounding if self.rounding_covered else self.smallest_error
        return bool((self.smallest + margin < 0).any())

    def to_xarray(self) -> Any:
        """Dataset over ``end`` and ``order``; the vectors over ``point``, too."""
        import xarray

        ends = [e for e in ("smallest", "largest") if len(getattr(self, e))]

        def both(suffix):
            return np.stack([getattr(self, e + suffix) for e in ends])

        return xarray.Dataset(
            {
                "eigenvalue": (("end", "order"), both("")),
                "error": (("end", "order"), both("_error"), {"long_name": "an eigenvalue lies within this distance"}),
                "vector": (("end", "point", "order"), both("_vectors")),
            },
            {"end": ends, "order": np.arange(len(getattr(self, ends[0])))},
            {"method": self.method, "products": self.products, "converged": int(self.converged)},
        )


def spectrum(
    matrix: Any,
    *,
    k: int = 1,
    ends: str = "both",
    method: str = "krylov",
    tol: float = 1e-2,
    most: int = 60,
    width: int = 8,
    rng: Any = 0,
    progress: bool | None = None,
) -> Spectrum:
    r"""Extreme eigenvalues of a large symmetric matrix, each with a bound on the distance to an exact one.

    Parameters
    ----------
    matrix : ndarray (n, n), SciPy sparse array, or LinearOperator
        Symmetric: a Gram matrix of `gram`, ``resonance.sparse_matrix(states)``, or `operator`, which stores nothing.
    k : int
        Eigenvalues at each end.
    ends : {"both", "smallest", "largest"}
    method : {"krylov", "randomized", "nystrom"}
        Block Lanczos, for both ends; or the largest ones only, by subspace iteration from a random start, or from
        ``k + width`` sampled columns of a positive semidefinite matrix.
    tol : float
        Stop when every residual is below this fraction of its eigenvalue.
    most : int
        Products with blocks of vectors at most; errors say what was reached.
    width : int
        Vectors of a block.
    rng : int or Generator
    progress : bool, optional
        Show a bar; by default on a terminal, after a second.

    Returns
    -------
    Spectrum

    Raises
    ------
    ValueError
        If the matrix is empty, not square, not finite, not symmetric, smaller than k; for other names; for "nystrom"
        with a matrix that its sample shows to be indefinite, or with ends other than "largest".

    Notes
    -----
    For a unit vector v and :math:`\theta = v^T A v`, some eigenvalue lies within :math:`\|A v - \theta v\|` of
    :math:`\theta`; and the smallest one is at most :math:`\theta`, so that a negative one proves that the matrix is
    not positive semidefinite. A last product computes this residual anew, and the bound adds what rounding may have
    hidden, :math:`\gamma_m \||A|\|_2` for sums of m terms and the distance between stored scores and exact ones. That
    no eigenvalue lies further out is not certified: it is what a converged Krylov space makes likely; `certify` proves
    it for a matrix that fits.

    References
    ----------
    Parlett, *The Symmetric Eigenvalue Problem* (block Lanczos, residual bounds); Halko, Martinsson and Tropp,
    arXiv:0909.4061; Williams and Seeger, "Using the Nystroem method to speed up kernel machines", NIPS 2000.

    Examples
    --------
    >>> import primeattn as pa
    >>> s = pa.PrimeStates.from_dicts([{2: 1}, {2: 1, 3: 1}, {3: 1}])
    >>> found = pa.study.spectrum(pa.study.operator(s, kind="original"))
    >>> found.smallest.round(4), found.negative
    (array([-0.1809]), True)
    """
    a = _matrix(matrix)
    _check(a, k, ends, method, tol, most, width)
    rng = as_generator(rng)
    block = min(a.n, max(width, k))
    with Bar(progress) as bar:
        if method == "krylov":
            pairs, products = _krylov(a, k, ends, tol, most, block, rng, bar)
        elif method == "randomized":
            pairs, products = _randomized(a, k, tol, most, min(a.n, k + width), rng, bar)
        else:
            pairs, products = _nystrom(a, k, min(a.n, k + width), rng)
    return _certified(a, pairs, k, ends, method, tol, products)


def _matrix(matrix: Any) -> _Matrix:
    from scipy import sparse
    from scipy.sparse.linalg import LinearOperator

    if isinstance(matrix, LinearOperator):
        if matrix.shape[0] != matrix.shape[1] or not matrix.shape[0]:
            raise ValueError(f"matrix has shape {matrix.shape}: a square one with at least one row is wanted")
        norm, terms = getattr(matrix, "norm", np.nan), getattr(matrix, "terms", 0)
        return _Matrix(matrix.shape[0], matrix.matmat, norm, terms, getattr(matrix, "matrix_error", 0.0))
    if sparse.issparse(matrix):
        a = sparse.csr_array(matrix, dtype=np.float64)
        if a.shape[0] != a.shape[1] or not a.shape[0]:
            raise ValueError(f"matrix has shape {a.shape}: a square one with at least one row is wanted")
        if not np.isfinite(a.data).all():
            raise ValueError("matrix has NaN or infinite entries: it has no eigenvalues; drop those rows and columns")
        if (a != a.T).nnz:
            raise ValueError("matrix is not symmetric: pass (matrix + matrix.T) / 2 if that is meant")
        terms = int(np.diff(a.indptr).max(initial=0))
        return _Matrix(a.shape[0], lambda x: a @ x, 1.01 * float(abs(a).sum(axis=1).max()), terms, 0.0)
    dense = symmetric(matrix)
    return _Matrix(len(dense), lambda x: dense @ x, 1.01 * float(abs(dense).sum(axis=1).max()), len(dense), 0.0)


def _check(a: _Matrix, k, ends, method, tol, most, width) -> None:
    for name, value in (("k", k), ("most", most), ("width", width)):
        check_count(name, value)
    if k > a.n:
        raise ValueError(f"k is {k}, but the matrix has {a.n} eigenvalues: pass k <= {a.n}")
    if ends not in ("both", "smallest", "largest"):
        raise ValueError(f"ends is {ends!r}: pass 'both', 'smallest' or 'largest'")
    if method not in METHODS:
        raise ValueError(f"method is {method!r}: pass one of {', '.join(map(repr, METHODS))}")
    if method != "krylov" and ends != "largest":
        raise ValueError(
            f"ends is {ends!r}: {method!r} finds the largest only; pass ends='largest', or method='krylov'"
        )
    if not (isinstance(tol, (int, float)) and 0 < tol < np.inf):
        raise ValueError(f"tol is {tol!r}: a finite number above 0 is wanted")


def _wanted(values: np.ndarray, k: int, ends: str) -> np.ndarray:
    """Positions of the k outermost values of ascending ones, at the ends that are asked for."""
    n = len(values)
    at = np.arange(n)
    low, high = at[:k], at[n - min(k, n) :]
    return {"smallest": low, "largest": high, "both": np.union1d(low, high)}[ends]


def _orthonormal(x: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """An orthonormal basis of what x adds to the span of ``basis``; directions that add nothing are dropped."""
    size = np.linalg.norm(x, axis=0)
    x = x[:, size > 0] / size[size > 0]
    for _ in range(2):  # once is not enough (Kahan, Parlett)
        x = x - basis @ (basis.T @ x)
        q, r = np.linalg.qr(x)
        keep = abs(np.diagonal(r)) > 1e-12
        x = q[:, keep]
    return x


def _krylov(a: _Matrix, k, ends, tol, most, width, rng, bar) -> tuple[_Pairs, int]:
    """Block Lanczos with full orthogonalisation, without restarts."""
    start = np.concatenate([np.ones((a.n, 1)), rng.standard_normal((a.n, width - 1))], axis=1)
    room = min(a.n, width * most)
    basis = np.empty((a.n, room))
    table = np.zeros((room, room))
    block, filled, products = _orthonormal(start, basis[:, :0]), 0, 0
    while True:
        m = block.shape[1]
        basis[:, filled : filled + m] = block
        image = a.apply(block)
        products += 1
        own = basis[:, : filled + m].T @ image
        table[: filled + m, filled : filled + m] = own
        table[filled : filled + m, : filled + m] = own.T
        filled += m
        bar(products / most, f"{products} products")
        rest = image - basis[:, :filled] @ own
        block = _orthonormal(rest, basis[:, :filled])[:, : room - filled]
        last = products >= most or not block.shape[1]
        if not last and (filled < k or (products > 12 and products % 4)):
            continue
        values, y = np.linalg.eigh(table[:filled, :filled])
        at = _wanted(values, k, ends)
        residuals = np.linalg.norm(rest @ y[filled - m : filled, at], axis=0)
        if last or (residuals <= tol * abs(values[at])).all():
            return _Pairs(values[at], basis[:, :filled] @ y[:, at]), products


def _randomized(a: _Matrix, k, tol, most, width, rng, bar) -> tuple[_Pairs, int]:
    """Subspace iteration with Rayleigh-Ritz: what is large in magnitude comes first."""
    empty = np.empty((a.n, 0))
    q = _orthonormal(rng.standard_normal((a.n, width)), empty)
    for products in range(1, most + 1):
        image = a.apply(q)
        values, y = np.linalg.eigh(q.T @ image)
        at = _wanted(values, k, "largest")
        vectors = q @ y[:, at]
        residuals = np.linalg.norm(image @ y[:, at] - vectors * values[at], axis=0)
        bar(products / most, f"{products} products")
        if (residuals <= tol * abs(values[at])).all() or q.shape[1] < width:
            break
        q = _orthonormal(image, empty)
    return _Pairs(values[at], vectors), products


def _nystrom(a: _Matrix, k, count, rng) -> tuple[_Pairs, int]:
    """A = C W^+ C^T of sampled columns C; W the rows of C that were sampled."""
    sample = np.sort(rng.choice(a.n, count, replace=False))
    columns = a.apply(_unit_vectors(a.n, sample))
    inner = columns[sample]
    values, u = np.linalg.eigh((inner + inner.T) / 2)
    if values[0] < -1e-9 * max(values[-1], 0):
        raise ValueError(
            f"a sample of {count} points has the eigenvalue {values[0]:.3g}: the matrix is not positive semidefinite; "
            f"pass method='krylov'"
        )
    keep = values > 1e-12 * values[-1]
    vectors = np.linalg.svd(columns @ (u[:, keep] / np.sqrt(values[keep])), full_matrices=False)[0][:, :k]
    return _Pairs((vectors * a.apply(vectors)).sum(axis=0)[::-1], vectors[:, ::-1]), 2


def _unit_vectors(n: int, at: np.ndarray) -> np.ndarray:
    x = np.zeros((n, at.size))
    x[at, np.arange(at.size)] = 1
    return x


def _certified(a: _Matrix, pairs: _Pairs, k, ends, method, tol, products) -> Spectrum:
    """Rayleigh quotients and residuals from one more product."""
    vectors = pairs.vectors / np.linalg.norm(pairs.vectors, axis=0)
    image = a.apply(vectors)
    values = (vectors * image).sum(axis=0)
    covered = np.isfinite(a.norm)
    norm = a.norm if covered else 0.0
    errors = np.array(
        [
            residual_bound(t, v, w, norm=norm, terms=a.terms, matrix_error=a.error)
            for t, v, w in zip(values, vectors.T, image.T, strict=True)
        ]
    )
    order = np.argsort(values, kind="stable")
    k = min(k, order.size)
    low = order[:k] if ends != "largest" else order[:0]
    high = order[::-1][:k] if ends != "smallest" else order[:0]
    chosen = np.union1d(low, high)
    # the product of a residual at the tolerance may round to just above it
    converged = bool((errors[chosen] <= 1.02 * tol * abs(values[chosen])).all())
    rounding = rounding_bound(a.n, norm=norm, terms=a.terms, matrix_error=a.error)
    return Spectrum(
        values[low], errors[low], vectors[:, low], values[high], errors[high], vectors[:, high], rounding, products + 1,
        converged, bool(covered), method,
    )  # fmt: skip
