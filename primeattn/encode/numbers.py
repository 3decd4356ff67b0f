"""Integers and dense vectors to the arrays of prime states."""

import numpy as np

from .. import primes as _primes
from .._runtime import devices
from ..primes.integers import as_integers
from .arrays import StateArrays, as_numbers, identities, moduli, polar, precision, strongest

_BLOCK = 1 << 22  # entries of X looked at at a time


def integers(ns, *, dtype=np.float64) -> StateArrays:
    """The prime states of integers: their prime factors.

    Parameters
    ----------
    ns : int or array_like of int, shape (n,)
        At least 1; 1 is the empty state.
    dtype : float32 or float64

    Returns
    -------
    StateArrays
        Amplitude sqrt(e) exp(2 pi i frac(e g)) for a prime with exponent e, g the golden ratio; orientation 1.

    Raises
    ------
    TypeError
        For floats, booleans and text, and for another dtype.
    ValueError
        For numbers below 1, and for those with a prime factor beyond int64.

    Examples
    --------
    >>> import primeattn as pa
    >>> a = pa.encode.integers([12, 1])
    >>> a.indptr, a.primes, abs(a.amplitude).round(3)
    (array([0, 2, 2]), array([2, 3]), array([1.414, 1.   ]))
    """
    dtype = precision(dtype)
    indptr, primes, exponents = _primes.factorize(ns)
    if primes.dtype == object:
        raise ValueError(f"the prime factor {max(primes)} exceeds int64, the type of primes in states")
    turns = np.modf(exponents * ((1 + np.sqrt(5)) / 2))[0]
    return StateArrays(
        indptr, primes, polar(np.sqrt(exponents), 2 * np.pi * turns, dtype), identities(len(primes), dtype)
    )


def dense(X, k: int | None = None, energy: float | None = None, orientation=None, primes=None) -> StateArrays:
    """The prime states of dense vectors: their largest entries.

    Parameters
    ----------
    X : array_like of float or complex, shape (n, n_primes)
        An entry is the amplitude at its column's prime (a negative one has phase pi). Zeros are never active.
    k : int, optional
        At most so many entries of a row: the largest, of equal ones the lower column.
    energy : float in (0, 1], optional
        The fewest entries whose squared magnitudes sum to this part of the row's. With ``k``, whichever is fewer;
        with neither all entries but zeros.
    orientation : array_like of float, shape (n, n_primes, 4), optional
        Quaternions, normalised here; 1 everywhere by default.
    primes : array_like of int, shape (n_primes,), optional
        The prime of each column, in any order; by default the first ``n_primes``.

    Returns
    -------
    StateArrays
        In float32 and complex64 if ``X`` is float32, complex64 or narrower, else in float64 and complex128.

    Raises
    ------
    TypeError
        For data that are not numbers.
    ValueError
        For wrong shapes, NaN and infinities, zero quaternions at active entries, and repeated or composite primes.

    Examples
    --------
    >>> import primeattn as pa
    >>> a = pa.encode.dense([[0.0, 3.0, -4.0, 1.0], [0.0, 0.0, 0.0, 0.0]], k=2)
    >>> a.indptr, a.primes, a.amplitude
    (array([0, 2, 2]), array([3, 5]), array([ 3.+0.j, -4.+0.j]))
    """
    X = _numbers(X)
    primes = _columns(primes, X.shape[1])
    dtype = np.empty(0, X.dtype).real.dtype
    if primes is not None:
        order = np.argsort(primes)
        X, primes = X[:, order], primes[order]
    else:
        order, primes = None, _primes.first(X.shape[1])
    rows_at_once = max(1, _BLOCK // max(1, X.shape[1]))
    kept = [_active(X[i : i + rows_at_once], i, k, energy) for i in range(0, max(len(X), 1), rows_at_once)]
    row, column = (np.concatenate(part) for part in zip(*kept, strict=True))
    indptr = np.concatenate(([0], np.cumsum(np.bincount(row, minlength=len(X)))))
    amplitude = X[row, column].astype(np.result_type(dtype, np.complex64))
    if orientation is None:
        return StateArrays(indptr, primes[column], amplitude, identities(len(row), dtype))
    orientation = as_numbers("orientation", orientation, "biuf")
    if orientation.shape != (*X.shape, 4):
        raise ValueError(f"orientation has shape {orientation.shape}: {(*X.shape, 4)} is wanted, a quaternion an entry")
    q = orientation[row, column if order is None else order[column]].astype(np.float64)
    largest = np.abs(q).max(axis=-1, keepdims=True)
    bad = np.flatnonzero(~((largest > 0) & np.isfinite(largest))[:, 0])
    if bad.size:
        where = (int(row[bad[0]]), int(column[bad[0]] if order is None else order[column[bad[0]]]))
        raise ValueError(f"orientation{list(where)} is {q[bad[0]]}: a finite quaternion other than 0 is wanted")
    q = np.ldexp(q, -np.frexp(largest)[1])  # exact: squares neither overflow nor vanish
    q /= np.linalg.norm(q, axis=-1, keepdims=True)
    return StateArrays(indptr, primes[column], amplitude, q.astype(dtype))


def _active(X, first_row: int, k, energy):
    """Rows and columns of the entries that stay."""
    indptr = np.arange(len(X) + 1) * X.shape[1]
    keep = strongest(indptr, moduli(indptr, X.ravel()), k=k, energy=energy)
    row, column = np.divmod(np.flatnonzero(keep), max(1, X.shape[1]))
    return row + first_row, column


def _numbers(X) -> np.ndarray:
    """X as float32, float64, complex64 or complex128, finite, of two axes."""
    if devices.is_device_array(X):
        raise TypeError("X is a CUDA array: states are made on the host; pass pa.to_host(X)")
    X = as_numbers("X", X, "biufc")
    if X.ndim != 2:
        raise ValueError(f"X has shape {X.shape}: (n, n_primes) is wanted; pass X[None] for one vector")
    narrow = X.dtype.kind in "fc" and np.empty(0, X.dtype).real.dtype.itemsize <= 4
    real = np.float32 if narrow else np.float64
    X = X.astype(np.result_type(real, np.complex64) if X.dtype.kind == "c" else real, copy=False)
    if not np.isfinite(X).all():
        i, j = np.argwhere(~np.isfinite(X))[0]
        raise ValueError(
            f"X[{i}, {j}] is {X[i, j]}: finite amplitudes are wanted; use numpy.nan_to_num or drop the row"
        )
    return X


def _columns(primes, n: int) -> np.ndarray | None:
    if primes is None:
        return None
    primes = as_integers("primes", primes)
    if primes.shape != (n,):
        raise ValueError(f"primes has shape {primes.shape}: ({n},) is wanted, one prime a column")
    valid = _primes.is_prime(primes)
    if not valid.all():
        raise ValueError(f"primes holds {primes[~valid][0]}, which is not prime; primeattn.primes.first({n}) gives {n}")
    if len(np.unique(primes)) < n:
        raise ValueError("primes names a prime twice: every column needs its own")
    return primes
