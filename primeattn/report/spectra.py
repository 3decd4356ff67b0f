"""Is a score positive semi-definite on these passages? Eigenvalues, a rounding bound, and a witness.

Eigenvalues and the bound on their error are those of `study.certify`, with one unit in the last place for every entry:
a value below minus the bound is a negative eigenvalue and no accident of rounding. The search for a witness decides
hundreds of small matrices by the customary ``n eps max|eigenvalue|``.
"""

from dataclasses import dataclass

import numpy as np

NEGATIVE, ROUNDING, POSITIVE = "negative", "zero within rounding", "positive"


@dataclass(frozen=True)
class Witness:
    """A few passages on which the score already fails: ``coefficients @ matrix @ coefficients = value < 0``."""

    members: np.ndarray
    coefficients: np.ndarray
    matrix: np.ndarray
    value: float


@dataclass(frozen=True)
class Spectrum:
    """Eigenvalues in rising order, the bound on their error, and what follows for positive semi-definiteness."""

    eigenvalues: np.ndarray
    bound: float
    verdict: str
    witness: Witness | None

    @property
    def smallest(self) -> float:
        return float(self.eigenvalues[0])

    @property
    def largest(self) -> float:
        return float(self.eigenvalues[-1])

    @property
    def negative(self) -> int:
        """How many eigenvalues lie below minus the bound."""
        return int((self.eigenvalues < -self.bound).sum())


def rounding_bound(eigenvalues: np.ndarray) -> float:
    """n eps max |eigenvalue|."""
    return len(eigenvalues) * np.finfo(float).eps * float(np.abs(eigenvalues).max(initial=0.0))


def spectrum(matrix: np.ndarray) -> Spectrum:
    """Judge a symmetric matrix.

    Raises
    ------
    ValueError
        If the matrix is empty, not square, not finite, or not symmetric to 1e-12 of its largest entry.
    """
    matrix = np.asarray(matrix, dtype=float)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not matrix.size:
        raise ValueError(f"matrix has shape {matrix.shape}: a square one with at least one row is wanted")
    if not np.isfinite(matrix).all():
        raise ValueError("matrix has NaN or infinite entries: it has no spectrum")
    if np.abs(matrix - matrix.T).max() > 1e-12 * np.abs(matrix).max():
        raise ValueError(
            "matrix is not symmetric: eigenvalues may be complex; pass (matrix + matrix.T) / 2 if you mean it"
        )
    from ..study import certify

    unit = np.finfo(float).eps * float(np.abs(matrix).max())
    found = certify((matrix + matrix.T) / 2, entry_error=unit)
    values, bound = found.eigenvalues, found.error
    if values[0] < -bound:
        return Spectrum(values, bound, NEGATIVE, witness(matrix, found.vector))
    return Spectrum(values, bound, POSITIVE if values[0] > bound else ROUNDING, None)


def _fails(matrix: np.ndarray, members: np.ndarray, margin: float = 1.0) -> bool:
    """Whether the matrix has an eigenvalue below minus its bound on these members alone."""
    values = np.linalg.eigvalsh(matrix[np.ix_(members, members)])
    return bool(values[0] < -margin * rounding_bound(values))


def worst_triple(matrix: np.ndarray) -> np.ndarray:
    """The three members whose 3 x 3 determinant is least (all triples; n**3 / 6 of them)."""
    n, diagonal = len(matrix), np.diag(matrix)
    best, members = np.inf, np.arange(3)
    for i in range(n - 2):
        a = matrix[i, i + 1 :]  # i with j, and i with k
        block = matrix[i + 1 :, i + 1 :]
        d = diagonal[i + 1 :]
        det = (
            diagonal[i] * (np.multiply.outer(d, d) - block**2)
            + 2 * np.multiply.outer(a, a) * block
            - np.multiply.outer(d, a**2)
            - np.multiply.outer(a**2, d)
        )
        np.fill_diagonal(det, np.inf)
        flat = int(np.argmin(det))
        if det.flat[flat] < best:
            best = float(det.flat[flat])
            j, k = divmod(flat, len(d))
            members = np.sort([i, i + 1 + j, i + 1 + k])
    return members


def witness(matrix: np.ndarray, eigenvector: np.ndarray, *, triples_of: int = 200) -> Witness:
    """A small set of members on which the matrix has a negative eigenvalue.

    First every triple of the members that are heaviest in the eigenvector of the smallest eigenvalue (two
    members never fail when the diagonal dominates). Otherwise: as many members as it takes, heaviest first,
    and then without each one that is not needed. The set is minimal (no member can be left out), not always
    the smallest.
    """
    order = np.argsort(-np.abs(eigenvector), kind="stable")
    heaviest = np.sort(order[:triples_of])
    if len(heaviest) >= 3:
        members = heaviest[worst_triple(matrix[np.ix_(heaviest, heaviest)])]
        if _fails(matrix, members, 4.0):
            return _as_witness(matrix, members)
    size = 2
    while size < len(order) and not _fails(matrix, order[:size]):
        size += 1 + size // 4
    members, block = order[:size], size // 2
    while block:  # leave out blocks of the lightest, then smaller ones, then single members
        stop = len(members)
        while stop > 0:
            rest = np.delete(members, slice(max(0, stop - block), stop))
            if len(rest) > 1 and _fails(matrix, rest):
                members = rest
            stop -= block
        block //= 2
    return _as_witness(matrix, np.sort(members))


def _as_witness(matrix: np.ndarray, members: np.ndarray) -> Witness:
    part = matrix[np.ix_(members, members)]
    values, vectors = np.linalg.eigh(part)
    vector = vectors[:, 0]
    return Witness(members, vector * np.sign(vector[np.argmax(np.abs(vector))]), part, float(values[0]))
