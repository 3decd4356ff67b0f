"""The container below `PrimeStates`: four read-only arrays, cut and joined by states."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Self

import numpy as np

from ..encode.arrays import precision
from ..primes.integers import refuse_masked
from . import _validate


class Batch:
    """Rows of unequal length over flat arrays, as CSR has; immutable. Knows nothing of what the numbers mean."""

    __slots__ = ("__weakref__", "amplitude", "indptr", "labels", "orientation", "primes")

    indptr: np.ndarray
    primes: np.ndarray
    amplitude: np.ndarray
    orientation: np.ndarray
    labels: np.ndarray | None

    @classmethod
    def _adopt(cls, arrays, labels=None) -> Self:
        """Wrap four arrays that are known to be valid and that nobody else will write to."""
        self = object.__new__(cls)
        self._set(arrays, labels)
        return self

    def _set(self, arrays, labels) -> None:
        for name, x in zip(("indptr", "primes", "amplitude", "orientation"), arrays, strict=True):
            object.__setattr__(self, name, _validate.sealed(x))
        object.__setattr__(self, "labels", checked_labels(labels, len(self)))

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"PrimeStates is immutable: build a new one instead of setting {name!r}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"PrimeStates is immutable: {name!r} cannot be deleted")

    def __len__(self) -> int:
        return len(self.indptr) - 1

    @property
    def nnz(self) -> int:
        """Number of entries (active primes of all states together)."""
        return len(self.primes)

    @property
    def n_active(self) -> np.ndarray:
        """Number of active primes of each state, int64, shape (n,)."""
        return np.diff(self.indptr)

    @property
    def dtype(self) -> np.dtype:
        """float32 or float64: the precision of the orientation, and of each part of the amplitude."""
        return self.orientation.dtype

    @property
    def nbytes(self) -> int:
        """Bytes that the arrays take. A slice shares the memory of what it was cut from."""
        arrays = (self.indptr, self.primes, self.amplitude, self.orientation, self.labels)
        return sum(x.nbytes for x in arrays if x is not None)

    def __repr__(self) -> str:
        span = f", primes {self.primes.min()}..{self.primes.max()}" if self.nnz else ""
        return f"PrimeStates(n={len(self)}, entries={self.nnz}{span}, {self.dtype})"

    def equals(self, other: Batch) -> bool:
        """True if both hold the same states: equal primes, amplitudes and orientations.

        The precision and the labels may differ. ``==`` is the same.

        Examples
        --------
        >>> import primeattn as pa
        >>> s = pa.PrimeStates.from_dicts([{2: 1}])
        >>> s == s.astype("float32")
        True
        """
        return isinstance(other, Batch) and all(
            np.array_equal(getattr(self, name), getattr(other, name))
            for name in ("indptr", "primes", "amplitude", "orientation")
        )

    def __eq__(self, other) -> bool:
        return self.equals(other) if isinstance(other, Batch) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # equal states of two precisions would need equal hashes

    def __reduce__(self):
        return _restore, (type(self), self.indptr, self.primes, self.amplitude, self.orientation, self.labels)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo) -> Self:
        return self

    def __getitem__(self, index) -> Self:
        """Some of the states, always as a batch: ``s[3]``, ``s[10:20]``, ``s[mask]``, ``s[[4, 4, 0]]``.

        ``s[3]`` is a batch of one state. A slice of step 1 shares memory; the others copy.
        """
        n = len(self)
        if isinstance(index, (int, np.integer)) and not isinstance(index, (bool, np.bool_)):
            i = int(index) + (n if index < 0 else 0)
            if not 0 <= i < n:
                raise IndexError(f"state {index} was asked for but there are {n} states")
            index = slice(i, i + 1)
        if isinstance(index, slice):
            start, stop, step = index.indices(n)
            if step == 1:
                return self._contiguous(start, max(start, stop))
            index = np.arange(start, stop, step)
        return self._gather(self._positions(index))

    def _contiguous(self, start: int, stop: int) -> Self:
        indptr = self.indptr[start : stop + 1]
        first, last = int(indptr[0]), int(indptr[-1])
        labels = None if self.labels is None else self.labels[start:stop]
        return self._adopt(
            (indptr - first, self.primes[first:last], self.amplitude[first:last], self.orientation[first:last]), labels
        )

    def _positions(self, index) -> np.ndarray:
        n = len(self)
        index = np.asarray(index)
        if index.ndim != 1:
            raise IndexError(f"index has shape {index.shape}: an integer, a slice, or a vector is wanted")
        if index.dtype.kind == "b":
            if len(index) != n:
                raise IndexError(f"the mask has {len(index)} entries but there are {n} states: one for each is wanted")
            return np.flatnonzero(index)
        if index.size == 0:
            return np.zeros(0, np.int64)
        if index.dtype.kind not in "iu":
            raise IndexError(f"index has dtype {index.dtype}: integers or booleans are wanted")
        wrong = (index < -n) | (index >= n)
        if wrong.any():
            raise IndexError(f"state {index[wrong][0]} was asked for but there are {n} states")
        index = index.astype(np.int64)
        return np.where(index < 0, index + n, index)

    def _gather(self, positions: np.ndarray) -> Self:
        counts = self.n_active[positions]
        indptr = np.concatenate([[0], np.cumsum(counts)])
        entries = np.arange(indptr[-1]) + np.repeat(self.indptr[positions] - indptr[:-1], counts)
        labels = None if self.labels is None else self.labels[positions]
        return self._adopt((indptr, self.primes[entries], self.amplitude[entries], self.orientation[entries]), labels)

    def __iter__(self) -> Iterator[Self]:
        return (self._contiguous(i, i + 1) for i in range(len(self)))

    def astype(self, dtype) -> Self:
        """The same states in float32 or float64; self if nothing changes.

        Raises
        ------
        ValueError
            If an amplitude is too large for float32.

        Examples
        --------
        >>> import primeattn as pa
        >>> pa.PrimeStates.random(2, 3).astype("float32").amplitude.dtype
        dtype('complex64')
        """
        real = precision(dtype)
        if real == self.dtype:
            return self
        with np.errstate(over="ignore"):
            arrays = (
                self.indptr,
                self.primes,
                self.amplitude.astype(_validate.complex_dtype(real)),
                self.orientation.astype(real),
            )
        _validate.check_amplitude(*arrays[:3])
        unit = _validate.unit(arrays[0], arrays[1], arrays[3])
        return self._adopt((*arrays[:3], unit), self.labels)

    def with_labels(self, labels) -> Self:
        """The same states with other labels (None: with none)."""
        return self._adopt((self.indptr, self.primes, self.amplitude, self.orientation), labels)


def checked_labels(labels, n: int) -> np.ndarray | None:
    """Labels as a read-only vector of n; refuses objects."""
    if labels is None:
        return None
    refuse_masked("labels", labels, '""' if getattr(labels, "dtype", None) and labels.dtype.kind == "U" else "0")
    given, labels = labels, np.asarray(labels)
    if labels.dtype.kind == "O" and all(isinstance(x, str) for x in labels.flat):
        labels = labels.astype(np.str_)
    if labels.dtype.kind not in "biufUmM":
        raise TypeError(
            f"labels have dtype {labels.dtype}: text, numbers or dates are wanted; pass [str(x) for x in labels]"
        )
    if labels.shape != (n,):
        raise ValueError(f"labels have shape {labels.shape}: one for each of the {n} states is wanted")
    if isinstance(given, np.ndarray) and np.may_share_memory(labels, given) and not _validate.is_frozen(labels):
        labels = labels.copy()
    return _validate.frozen(labels)


def joined_labels(parts: list[np.ndarray | None]) -> np.ndarray | None:
    """The labels of all batches one after the other, if all have some."""
    labels = [x for x in parts if x is not None]
    if len(labels) < len(parts):
        return None
    try:
        return np.concatenate(labels)
    except TypeError:  # NumPy's DTypePromotionError is one
        kinds = ", ".join(sorted({str(x.dtype) for x in labels}))
        raise TypeError(
            f"labels of the batches have dtypes {kinds}, which do not go together: pass batch.with_labels(...) of one "
            f"kind, or with_labels(None)"
        ) from None


def _restore(kind, indptr, primes, amplitude, orientation, labels) -> Batch:
    return kind._adopt((indptr, primes, amplitude, orientation), labels)
