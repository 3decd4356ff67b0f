"""The flat arrays that become prime states, and which entries of a row are worth keeping."""

from typing import NamedTuple

import numpy as np

from .._runtime.jit import kernel, scalar
from .._runtime.owners import Owner


class StateArrays(NamedTuple):
    """What `PrimeStates.from_arrays` takes: row ``i`` owns the entries ``indptr[i]:indptr[i + 1]``.

    Attributes
    ----------
    indptr : ndarray of int64, shape (n + 1,)
    primes : ndarray of int64, shape (nnz,)
        Ascending within a row.
    amplitude : ndarray of complex, shape (nnz,)
    orientation : ndarray of float, shape (nnz, 4)
        Unit quaternions, real part first.
    """

    indptr: np.ndarray
    primes: np.ndarray
    amplitude: np.ndarray
    orientation: np.ndarray


def precision(dtype) -> np.dtype:
    """float32 or float64 from any spelling of the two or of their complex types."""
    try:
        real = np.empty(0, dtype).real.dtype
    except TypeError:
        real = None
    if real not in (np.float32, np.float64):
        raise TypeError(f"dtype is {dtype!r}: numpy.float32 or numpy.float64 is wanted")
    return real


def polar(modulus, phase, dtype) -> np.ndarray:
    """``modulus e^{i phase}`` in the complex type of ``dtype``."""
    out = np.empty(len(modulus), np.result_type(dtype, np.complex64))
    out.real, out.imag = modulus * np.cos(phase), modulus * np.sin(phase)
    return out


def identities(n: int, dtype) -> np.ndarray:
    """n times the quaternion 1."""
    out = np.zeros((n, 4), dtype)
    out[:, 0] = 1
    return out


def row_numbers(indptr) -> np.ndarray:
    """The row of every entry."""
    return np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))


def taken(indptr, keep) -> np.ndarray:
    """``indptr`` of what is left when only the entries with ``keep`` stay."""
    return np.concatenate(([0], np.cumsum(keep, dtype=np.int64)))[indptr]


@scalar
def outranks(magnitude, a, b):
    """Larger magnitude first; of two equal ones the earlier entry."""
    return magnitude[a] > magnitude[b] or (magnitude[a] == magnitude[b] and a < b)


@scalar
def sink(magnitude, heap, start, node, size):
    """Restore the heap order of ``heap[start : start + size]`` (the highest ranked on top) below ``node``."""
    value = heap[start + node]
    child = 2 * node + 1
    while child < size:
        if child + 1 < size and outranks(magnitude, heap[start + child + 1], heap[start + child]):
            child += 1
        if outranks(magnitude, heap[start + child], value):
            heap[start + node] = heap[start + child]
            node, child = child, 2 * child + 1
        else:
            child = size
    heap[start + node] = value


@scalar
def strongest_row(i, indptr, magnitude, k, energy, heap, keep):
    """Pop a heap of the row's entries until ``k`` are kept or they hold ``energy`` of the row's sum of squares."""
    start, size = indptr[i], indptr[i + 1] - indptr[i]
    for e in range(size):
        heap[start + e] = start + e
        keep[start + e] = 0
    for node in range(size // 2 - 1, -1, -1):
        sink(magnitude, heap, start, node, size)
    if size > 0 and magnitude[heap[start]] > 0:
        largest = magnitude[heap[start]]
        total = type(energy)(0)
        for e in range(size):
            ratio = magnitude[start + e] / largest
            total += ratio * ratio
        held, count = type(energy)(0), 0
        while size > 0 and count < k and magnitude[heap[start]] > 0 and (count == 0 or held < energy * total):
            ratio = magnitude[heap[start]] / largest
            held += ratio * ratio
            keep[heap[start]] = 1
            count += 1
            size -= 1
            heap[start] = heap[start + size]
            sink(magnitude, heap, start, 0, size)


@kernel
def strongest_cpu(start, stop, indptr, magnitude, k, energy, heap, keep):
    for i in range(start, stop):
        strongest_row(i, indptr, magnitude, k, energy, heap, keep)


STRONGEST = Owner(strongest_row, strongest_cpu, "I1 F1 i F I1 I1", grain=64, chunks_per_thread=4)


def strongest(indptr, magnitude, *, k: int | None = None, energy: float | None = None) -> np.ndarray:
    """Mark the largest entries of every row: at most ``k``, and no more than hold the fraction ``energy``.

    Parameters
    ----------
    indptr : ndarray of int64, shape (n + 1,)
    magnitude : ndarray of float, shape (nnz,)
        At least 0, finite. Zeros are never kept.
    k : int, optional
        At least 1.
    energy : float, optional
        In (0, 1]: the fewest entries whose squares sum to that part of the row's; 1 keeps all but zeros.

    Returns
    -------
    ndarray of bool, shape (nnz,)
        Of equal entries the earlier one is kept.

    Raises
    ------
    TypeError, ValueError
        For ``k`` that is not an integer from 1 on, and for ``energy`` outside (0, 1].

    Examples
    --------
    >>> import numpy as np, primeattn as pa
    >>> pa.encode.strongest(np.array([0, 4]), np.array([1.0, 3.0, 3.0, 0.0]), k=2)
    array([False,  True,  True, False])
    >>> pa.encode.strongest(np.array([0, 4]), np.array([1.0, 3.0, 3.0, 0.0]), energy=0.4)
    array([False,  True, False, False])
    """
    if k is not None:
        if not isinstance(k, int | np.integer) or isinstance(k, bool):
            raise TypeError(f"k is {k!r}: an integer is wanted")
        if k < 1:
            raise ValueError(f"k is {k}: at least one entry is kept; leave k out to keep them all")
    if energy is not None and not 0 < energy <= 1:
        raise ValueError(f"energy is {energy}: a fraction above 0 and up to 1 is wanted, such as 0.95")
    indptr = np.ascontiguousarray(indptr, np.int64)
    magnitude = np.ascontiguousarray(magnitude, np.float64)
    if (k is None or k >= np.diff(indptr).max(initial=0)) and energy in (None, 1):
        return magnitude > 0
    n = len(indptr) - 1
    heap, keep = np.empty((2, magnitude.size), np.int64)
    limit = magnitude.size if k is None else int(k)
    fraction = 2.0 if energy in (None, 1) else float(energy)  # 2: rounding must not end the row early
    STRONGEST(n, indptr, magnitude, limit, fraction, heap, keep)
    return keep.astype(bool)
