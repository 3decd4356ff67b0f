"""Scores between prime states as a linear map, for eigenvalues of a hundred thousand states without their matrix."""

from typing import Any

import numpy as np
from scipy.sparse.linalg import LinearOperator

from .. import resonance
from .._runtime import devices
from ..resonance import _labels
from ..resonance._options import check_form, profiles, state_arrays
from ..resonance._product import ScoreProduct
from ..resonance._scalars import MASSES
from ._certificates import UNIT


class ScoreOperator(LinearOperator):
    """A symmetric matrix of scores, applied to vectors. Made by `operator`.

    Attributes
    ----------
    norm : float
        At least the 2-norm of the matrix, and of that of its absolute values: the largest row sum.
    terms : int
        The most numbers that one entry of a product sums up.
    matrix_error : float
        How far, in 2-norm, rounding may have moved the matrix from the scores of the stored states.
    """

    def __init__(self, apply, n: int, active: int, row_sums, terms: int):
        super().__init__(np.dtype(np.float64), (n, n))
        self._apply = apply
        self.norm = 1.01 * float(row_sums.max(initial=0))
        self.terms = terms
        # a score in [0, 1] sums up to `active` products of a few rounded factors, and divides them: see _scalars
        self.matrix_error = n * (active + 32) * UNIT

    def _matmat(self, x):
        return self._apply(np.asarray(x, np.float64))

    def _matvec(self, x):
        return self._matmat(np.reshape(x, (-1, 1)))

    def _adjoint(self):
        return self


def operator(
    states: Any, *, kind="kernel", weights=None, normalizer="union", overlap="jaccard", amplitude=False
) -> Any:
    r"""The matrix of all scores between states as a SciPy ``LinearOperator``, in float64, never stored.

    Parameters
    ----------
    states : PrimeStates of n states
        float32 states are widened first.
    kind, weights, normalizer, overlap, amplitude
        As in `resonance.score`.

    Returns
    -------
    ScoreOperator
        Of shape (n, n), symmetric, with bounds for certificates; what `spectrum` and ``scipy.sparse.linalg`` take.

    Raises
    ------
    ValueError
        If there are no states, or the options do not go together.
    TypeError
        For CUDA arrays, or what is no batch of states.

    Notes
    -----
    A product costs the overlaps, :math:`n^2 k^2 / P` pairs for k of P primes drawn uniformly, about 25 ns each and
    thread for up to 8 vectors at once, and O(n k) memory. The kernels that have a feature map F
    (``normalizer="sqrt"``, ``amplitude=True``; not Ruzicka) are F (F^T x): O(n k).

    Examples
    --------
    >>> import numpy as np, primeattn as pa
    >>> s = pa.PrimeStates.from_dicts([{2: 1}, {2: 1, 3: 1}, {3: 1}])
    >>> (pa.study.operator(s, kind="original") @ np.array([1.0, -1.0, 1.0])).round(3)
    array([0.165, 0.67 , 0.165])
    """
    (states, _), _ = _labels.unwrap(states, None)
    form = check_form(kind, weights, normalizer, overlap, amplitude)
    arrays = state_arrays("states", states)
    if devices.is_device_array(arrays.primes):
        raise TypeError("states are on CUDA: pass host states")
    arrays = arrays._replace(
        amplitude=arrays.amplitude.astype(np.float64), orientation=arrays.orientation.astype(np.float64)
    )
    sizes = np.diff(arrays.indptr)
    n, active = sizes.size, int(sizes.max(initial=0))
    if not n:
        raise ValueError("states are empty: at least one state is wanted")
    ones = np.ones((n, 1))
    if form.form == MASSES and not form.ruzicka:
        feature = resonance.features(states, weights=form.weights, amplitude=amplitude).astype(np.float64)
        turned, size = feature.T.tocsr(), abs(feature)
        widest = int(np.bincount(feature.indices).max(initial=0))
        return ScoreOperator(
            lambda x: feature @ (turned @ x), n, 13 * active, size @ (size.T @ ones), 13 * active + widest
        )
    x, y, w = profiles(arrays, arrays, form)
    product = ScoreProduct(x, y, form[:2], w)
    return ScoreOperator(product, n, active, product(ones), n)
