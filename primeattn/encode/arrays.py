"""The flat arrays that become prime states, and which entries of a row are worth keeping."""

from numbers import Real
from typing import NamedTuple

import numpy as np

from .._runtime.jit import kernel, scalar
from .._runtime.owners import Owner
from ..primes.integers import refuse_masked


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


def as_int64(name: str, x) -> np.ndarray:
    """A native int64 vector; refuses floats, booleans, text and numbers past int64."""
    refuse_masked(name, x)
    x = np.asarray(x)
    if x.size == 0 and x.dtype.kind == "f":  # np.asarray([]) is float64
        x = x.astype(np.int64)
    if x.dtype.kind not in "iu":
        raise TypeError(f"{name} has dtype {x.dtype}: integers are wanted; pass np.asarray({name}, dtype=np.int64)")
    if x.ndim != 1:
        raise ValueError(f"{name} has shape {x.shape}: one axis is wanted; pass {name}.ravel()")
    if x.dtype.kind == "u" and x.dtype.itemsize == 8 and x.size and x.max() > np.iinfo(np.int64).max:
        raise ValueError(f"{name} holds {x.max()}: numbers below 2**63 are wanted")
    return np.ascontiguousarray(x, dtype=np.int64)


def as_numbers(name: str, x, kinds: str) -> np.ndarray:
    """A numeric array of at most double precision, as it came."""
    refuse_masked(name, x)
    try:
        x = np.asarray(x)
    except ValueError as error:
        raise ValueError(f"{name} is ragged: rows must have equal lengths ({error})") from None
    wide = x.dtype.itemsize > (16 if x.dtype.kind == "c" else 8)
    if x.dtype.kind not in kinds or wide:
        wanted = "real or complex" if "c" in kinds else "real"
        target = "complex" if "c" in kinds else "float"
        raise TypeError(f"{name} has dtype {x.dtype}: {wanted} numbers are wanted; pass {name}.astype({target})")
    return x


def check_number(name: str, value: object, wanted: str = "a number is wanted") -> None:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} is {value!r}: {wanted}")


def check_indptr(indptr, nnz: int, what: str = "primes") -> np.ndarray:
    """Row pointers that cover ``nnz`` entries: no kernel checks them again."""
    indptr = as_int64("indptr", indptr)
    if len(indptr) == 0:
        raise ValueError("indptr is empty: n states need n + 1 numbers, so no states is [0]")
    if indptr[0] != 0:
        raise ValueError(
            f"indptr starts with {indptr[0]}: it must start with 0; pass indptr - indptr[0] and the entries from there"
        )
    falls = np.flatnonzero(indptr[1:] < indptr[:-1])
    if falls.size:
        i = int(falls[0])
        raise ValueError(
            f"indptr falls from {indptr[i]} to {indptr[i + 1]} at state {i}: state i owns the entries "
            f"indptr[i]:indptr[i + 1], so indptr never decreases; pass np.r_[0, np.cumsum(counts)]"
        )
    if indptr[-1] != nnz:
        raise ValueError(
            f"indptr ends with {indptr[-1]} but there are {nnz} {what}: the last number must be len({what})"
        )
    return indptr


def moduli(indptr: np.ndarray, amplitude: np.ndarray) -> np.ndarray:
    """|a| in float64, finite; a row where it would overflow is halved, which keeps its order and proportions."""
    wide = amplitude.astype(np.complex128 if amplitude.dtype.kind == "c" else np.float64, copy=False)
    with np.errstate(over="ignore"):
        out = np.abs(wide)
    over = np.flatnonzero(np.isinf(out))
    if over.size:
        for i in np.unique(np.searchsorted(indptr, over, side="right") - 1):
            row = slice(indptr[i], indptr[i + 1])
            least = np.where(out[row] > 0, np.finfo(np.float64).smallest_subnormal, 0)
            out[row] = np.maximum(np.abs(wide[row] / 2), least)
    return out


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
        For ``k`` that is not an integer from 1 on, for ``energy`` outside (0, 1], for magnitudes that are negative or
        not finite, and for an indptr that falls or does not go from 0 to nnz.

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
    if energy is not None:
        check_number("energy", energy, "a fraction above 0 and up to 1 is wanted, such as 0.95")
    if energy is not None and not 0 < energy <= 1:
        raise ValueError(f"energy is {energy}: a fraction above 0 and up to 1 is wanted, such as 0.95")
    magnitude = np.ascontiguousarray(as_numbers("magnitude", magnitude, "biuf"), np.float64)
    if magnitude.ndim != 1:
        raise ValueError(f"magnitude has shape {magnitude.shape}: one axis is wanted; pass magnitude.ravel()")
    indptr = check_indptr(indptr, len(magnitude), "magnitude")
    if magnitude.size and not 0 <= magnitude.min() <= magnitude.max() < np.inf:  # NaN compares false
        at = int(np.flatnonzero(~((magnitude >= 0) & (magnitude < np.inf)))[0])
        raise ValueError(f"magnitude[{at}] is {magnitude[at]}: finite numbers >= 0 are wanted; pass np.abs(amplitude)")
    if (k is None or k >= np.diff(indptr).max(initial=0)) and energy in (None, 1):
        return magnitude > 0
    n = len(indptr) - 1
    heap, keep = np.empty((2, magnitude.size), np.int64)
    limit = magnitude.size if k is None else int(k)
    fraction = 2.0 if energy in (None, 1) else float(energy)  # 2: rounding must not end the row early
    STRONGEST(n, indptr, magnitude, limit, fraction, heap, keep)
    return keep.astype(bool)
