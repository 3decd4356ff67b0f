"""Attention as coupling: is the state in which all tokens are alike stable?"""

from typing import Any, NamedTuple

import numpy as np

from .._runtime.checks import as_floating


class Synchrony(NamedTuple):
    """What small differences between tokens do where all are alike.

    Attributes
    ----------
    eigenvalues : ndarray of complex, shape (T,)
        Of A - 1, by descending real part; the first is 0, for moving all tokens together.
    rate : float
        At which the slowest difference decays: minus the real part of the second; inf for a single token.
    transient : float
        Largest rate at which differences can grow at first, the numerical abscissa of A - 1 on vectors of mean 0: where
        A is not normal, as with causal attention, it may exceed ``-rate``.
    """

    eigenvalues: np.ndarray
    rate: float
    transient: float

    @property
    def stable(self) -> bool:
        """Whether every difference decays."""
        return bool(self.rate > 10 * len(self.eigenvalues) * np.finfo(float).eps)


def synchrony(weights: Any) -> Synchrony:
    r"""Linear stability of the state in which all tokens are alike, from the attention matrix there.

    Parameters
    ----------
    weights : array_like of float, shape (T, T)
        A; row t has the weights of token t. Causal ones are triangular.

    Returns
    -------
    Synchrony

    Raises
    ------
    ValueError
        For another shape, numbers that are not finite, or rows that do not sum to 1 within 1e-6.

    Notes
    -----
    :math:`\theta_t' = \sum_u A_{tu} \sin(\theta_u - \theta_t)` has the Jacobian :math:`A - 1` at equal phases, whatever
    A depends on, and attention on the sphere or in free space has the same (`symbolic.attention_synchrony`). Rows of
    weights at least 0 put all eigenvalues into the unit disc around -1: nothing grows. Eigenvalue 0 twice means tokens
    that do not hear one another, and weights below 0 can make it unstable.

    Examples
    --------
    >>> import numpy as np, primeattn as pa
    >>> round(pa.study.synchrony(np.full((4, 4), 0.25)).rate, 6)
    1.0
    >>> causal = np.tril(np.ones((3, 3))) / [[1], [2], [3]]
    >>> pa.study.synchrony(causal).eigenvalues.real.round(3)  # 1/t - 1: the second token is slowest
    array([ 0.   , -0.5  , -0.667])
    """
    a = as_floating("weights", weights, dtype=np.float64)
    if a.ndim != 2 or a.shape[0] != a.shape[1] or not a.size:
        raise ValueError(f"weights has shape {a.shape}: (T, T) is wanted; pass one head of one sequence")
    if not np.isfinite(a).all():
        raise ValueError("weights has entries that are NaN or infinite: finite ones are wanted")
    off = float(np.abs(a.sum(axis=1) - 1).max())
    if off > 1e-6:
        raise ValueError(
            f"rows of weights sum to 1 only within {off:.3g}: pass weights / weights.sum(axis=1, keepdims=True), "
            "or there is no state of equal tokens to be stable"
        )
    jacobian = a - np.eye(len(a))
    triangular = not np.triu(a, 1).any()
    found = np.diagonal(jacobian).astype(complex) if triangular else np.linalg.eigvals(jacobian).astype(complex)
    place = int(np.argmin(np.abs(found)))  # of the vector of ones
    rest = np.delete(found, place)
    found = np.concatenate([[0], rest[np.argsort(-rest.real, kind="stable")]])
    if len(a) == 1:
        return Synchrony(found, np.inf, -np.inf)
    centred = np.eye(len(a)) - 1 / len(a)
    basis = np.linalg.svd(centred)[0][:, :-1]
    inner = basis.T @ (jacobian + jacobian.T) @ basis / 2
    return Synchrony(found, float(-found[1].real) + 0.0, float(np.linalg.eigvalsh(inner)[-1]))
