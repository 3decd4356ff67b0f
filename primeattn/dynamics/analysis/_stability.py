"""Eigenvalues of the linearised model."""

from typing import Any

import numpy as np

from .._model import Kuramoto
from ._jacobian import jacobian

_DENSE = 800  # up to here all eigenvalues at once are quicker than a few by iteration


def eigenvalues(model: Kuramoto, theta: Any, k: int | None = None, *, t: float = 0.0) -> np.ndarray:
    r"""The rightmost eigenvalues of the Jacobian at theta: growth rates and frequencies of small perturbations.

    Parameters
    ----------
    model : Kuramoto
        One run.
    theta : array_like of float, shape (N,)
        Phases, a locked state as a rule; see `locked_state`.
    k : int, optional
        How many; all by default.
    t : float
        Time, which matters with forcing, a schedule, and a network that switches.

    Returns
    -------
    ndarray of complex, shape (k,)
        By descending real part. Without forcing one of them is 0, for rotation: the state is stable if the others have
        negative real parts.

    Raises
    ------
    ValueError
        As `jacobian`, or for k below 1 or above their number.
    RuntimeError
        If the iteration for a few eigenvalues of a large model does not converge.

    Notes
    -----
    Up to 800 states, or if more than a quarter are wanted, all are computed. Beyond, Arnoldi's method: for mean fields
    on J, for networks on the inverse of J - s with s a little right of the rightmost eigenvalue, which a rough first
    pass finds; pairs whose imaginary parts are far larger than the differences of real parts may then be missed.

    Examples
    --------
    >>> import numpy as np, primeattn as pa
    >>> model = pa.Kuramoto([-0.5, 0.5], coupling=2.0)
    >>> pa.dynamics.analysis.eigenvalues(model, [0.0, np.arcsin(0.5)]).real.round(6) + 0  # 0, -sqrt(K^2 - dw^2)
    array([ 0.      , -1.732051])
    """
    j = jacobian(model, theta, t)
    n = j.shape[0]
    k = n if k is None else k
    if not 1 <= k <= n:
        raise ValueError(f"k is {k!r}: 1 to {n} eigenvalues are wanted")
    if n <= _DENSE or k > n // 4:
        found = np.linalg.eigvals(j.toarray()).astype(complex)
    else:
        found = _some(j, k)
    return found[np.argsort(-found.real, kind="stable")][:k]


def _some(j, k) -> np.ndarray:
    from scipy.sparse.linalg import ArpackError, ArpackNoConvergence, eigs

    options = {"return_eigenvectors": False, "v0": np.random.default_rng(0).standard_normal(j.shape[0])}
    try:
        if j.left.shape[1]:
            return eigs(j.operator(), k, which="LR", ncv=max(4 * k, 60), **options)
        try:
            first = float(eigs(j.local, 1, which="LR", tol=1e-2, maxiter=50, **options)[0].real)
        except ArpackNoConvergence:
            first = 0.0
        shift = first + 1e-3 * float(np.abs(j.local.diagonal()).max()) + 1e-12
        return eigs(j.local.tocsc(), k, sigma=shift, which="LM", **options)
    except ArpackError as error:
        raise RuntimeError(f"the iteration for {k} eigenvalues of {j.shape[0]} did not converge: {error}") from None
