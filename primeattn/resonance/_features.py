"""The finite feature map of the kernel: 13 numbers an active prime."""

from typing import Any

import numpy as np

from .. import primes as _primes
from .._runtime import devices
from .._runtime.jit import kernel, scalar
from .._runtime.owners import Owner
from ..primes.integers import COUNT, one_count
from . import _labels
from ._options import check_form, state_arrays
from ._profiles import profile
from ._scalars import ENTRY, FEATURES, feature


@scalar
def feature_row(s, x, weights, out):
    """The features of entry s."""
    psi = feature(x, ENTRY * s, weights)
    for f in range(FEATURES):
        out[FEATURES * s + f] = psi[f]


@kernel
def feature_cpu(start, stop, x, weights, out):
    for s in range(start, stop):
        feature_row(s, x, weights, out)


FEATURE = Owner(feature_row, feature_cpu, "F1 F1 F1", grain=4096)


def features(a, *, weights=None, n_primes=None, amplitude=False) -> Any:
    r"""The feature map of the kernel with ``normalizer="sqrt"``: F @ F.T is its matrix.

    Parameters
    ----------
    a : PrimeStates of n states
    weights : three floats >= 0 that sum to 1, optional
        As in `score`.
    n_primes : int, optional
        Length of the prime table; batches that are to be compared need the same. Default: up to the largest prime.
    amplitude : bool
        Give the map of the amplitude kernel instead: F @ F.T is ``matrix(a, amplitude=True)``.

    Returns
    -------
    scipy.sparse.csr_array of float, shape (n, 13 n_primes)
        Columns 13 c to 13 c + 12 belong to the prime of index c. All 13 are stored, zeros included.

    Raises
    ------
    TypeError
        If ``a`` is not a batch of states, or lives on CUDA.
    ValueError
        If a prime of ``a`` lies beyond the table, or for wrong weights.

    Notes
    -----
    For each active prime, with the mass m = 1/sqrt(k), or \|a\| / \|\|a\|\| for the amplitude kernel,

    .. math:: \psi = m \Big[\sqrt{\alpha + \gamma/2},\ \sqrt\beta\, w^2, \ldots, \sqrt{2\beta}\, y z,\
              \sqrt{\gamma/2} \cos\varphi,\ \sqrt{\gamma/2} \sin\varphi\Big]

    because :math:`(q \cdot q')^2 = \langle q q^T, q' q'^T \rangle`: four squares and six products that count twice.

    Examples
    --------
    >>> import primeattn as pa
    >>> s = pa.PrimeStates.from_dicts([{2: 1}, {2: 1, 3: 1}])
    >>> F = pa.resonance.features(s)
    >>> F.shape, (F @ F.T).toarray().round(3).tolist()
    ((2, 26), [[1.0, 0.707], [0.707, 1.0]])
    """
    from scipy.sparse import csr_array

    (a, _), _ = _labels.unwrap(a, None)
    form = check_form("kernel", weights, "union" if amplitude else "sqrt", "jaccard", amplitude)
    arrays = state_arrays("a", a)
    if devices.is_device_array(arrays.primes):
        raise TypeError("features runs on the CPU: pass host states")
    column = _primes.index(arrays.primes)
    needed = int(column.max(initial=-1)) + 1
    if n_primes is not None:
        n_primes = one_count("n_primes", n_primes, most=COUNT)
    if n_primes is not None and n_primes < needed:
        raise ValueError(
            f"n_primes is {n_primes} but prime {arrays.primes.max()} is number {needed}: pass n_primes >= {needed}"
        )
    own = profile(arrays, form.mass)
    data = np.empty(FEATURES * column.size, own.entries.dtype)
    FEATURE(column.size, own.entries, form.weights.astype(data.dtype), data)
    columns = (FEATURES * column[:, None] + np.arange(FEATURES)).reshape(-1)
    width = FEATURES * (needed if n_primes is None else n_primes)
    return csr_array((data, columns, FEATURES * own.indptr), shape=(own.n, width))
