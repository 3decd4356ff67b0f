"""`PrimeStates`, the batch of sparse prime states that every other room takes and gives."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise

import numpy as np

from . import _construct, _validate


class PrimeStates:
    """An immutable batch of sparse prime states.

    A state is a finite set of primes; each of its primes p carries a complex amplitude a_p and a unit
    quaternion q_p = (w, x, y, z). The batch is stored row after row, as CSR is: state ``i`` owns the entries
    ``indptr[i]:indptr[i + 1]`` of the three other arrays.

    Parameters
    ----------
    indptr : array_like of int, shape (n + 1,)
        Starts with 0, never decreases, ends with nnz.
    primes : array_like of int, shape (nnz,)
        The primes themselves (not their positions). Sorted within each state if they are not.
    amplitude : array_like of complex, shape (nnz,), optional
        Default 1.
    orientation : array_like of float, shape (nnz, 4), optional
        Quaternions, w first; brought to unit length. Default the identity (1, 0, 0, 0).
    labels : array_like, shape (n,), optional
        A name or number for each state, carried along by slicing, `concatenate`, `save` and `to_xarray`.

    Attributes
    ----------
    indptr : ndarray of int64, shape (n + 1,)
    primes : ndarray of int64, shape (nnz,)
        Strictly ascending within a state.
    amplitude : ndarray of complex64 or complex128, shape (nnz,)
    orientation : ndarray of float32 or float64, shape (nnz, 4)
        Unit length.
    labels : ndarray of shape (n,), or None

    Raises
    ------
    TypeError
        For arrays of a wrong kind: float primes, object or text data, complex orientation.
    ValueError
        For composites, numbers below 2, a prime twice in one state, NaN or infinity, a zero quaternion, wrong
        shapes, an indptr that falls or has wrong ends. The message names the state and the entry as they were given.

    Notes
    -----
    The arrays are read-only. They are checked once, here; everything else relies on that. Input that could still be
    written to is copied. float32 and complex64 input gives float32 and complex64 states; everything else (also
    integers, and one array of each precision) gives float64 and complex128. Non-contiguous, read-only and
    big-endian input is converted. Quaternions within 8 eps of unit squared length are kept bit for bit.

    Examples
    --------
    >>> import primeattn as pa
    >>> s = pa.PrimeStates([0, 2, 3], [2, 3, 2], [0.6, 0.8j, 1])
    >>> s
    PrimeStates(n=2, entries=3, primes 2..3, float64)
    >>> s[0].amplitude
    array([0.6+0.j , 0. +0.8j])
    """

    __slots__ = ("__weakref__", "amplitude", "indptr", "labels", "orientation", "primes")

    indptr: np.ndarray
    primes: np.ndarray
    amplitude: np.ndarray
    orientation: np.ndarray
    labels: np.ndarray | None

    def __init__(self, indptr, primes, amplitude=None, orientation=None, *, labels=None):
        _set(self, _validate.validate(indptr, primes, amplitude, orientation), labels)

    def __setattr__(self, name, value):
        raise AttributeError(f"PrimeStates is immutable: build a new one instead of setting {name!r}")

    def __delattr__(self, name):
        raise AttributeError(f"PrimeStates is immutable: {name!r} cannot be deleted")

    @classmethod
    def _adopt(cls, arrays, labels=None) -> PrimeStates:
        """Wrap four arrays that are known to be valid and that nobody else will write to."""
        self = object.__new__(cls)
        _set(self, [_validate.frozen(x) for x in arrays], labels)
        return self

    # Constructors

    @classmethod
    def from_arrays(cls, indptr, primes, amplitude=None, orientation=None, *, labels=None) -> PrimeStates:
        """Build from flat arrays; the same as calling the class, where parameters and errors are described.

        Examples
        --------
        >>> import primeattn as pa
        >>> pa.PrimeStates.from_arrays([0, 2], [5, 3]).primes  # sorted within the state
        array([3, 5])
        """
        return cls(indptr, primes, amplitude, orientation, labels=labels)

    @classmethod
    def from_dicts(cls, states: Iterable[Mapping], *, labels=None) -> PrimeStates:
        """Build from one mapping per state.

        Parameters
        ----------
        states : iterable of mapping
            ``{prime: (amplitude, (w, x, y, z))}``, or ``{prime: amplitude}`` with the identity orientation.
        labels : array_like, shape (n,), optional

        Raises
        ------
        TypeError, ValueError
            As the class does, with the state and the entry.

        Examples
        --------
        >>> import primeattn as pa
        >>> s = pa.PrimeStates.from_dicts([{2: 0.6, 3: (0.8j, (0, 1, 0, 0))}, {}])
        >>> len(s), s.n_active
        (2, array([2, 0]))
        """
        return cls._adopt(_construct.from_dicts(states), labels)

    @classmethod
    def random(
        cls, n: int, k, n_primes: int = 4096, rng=0, *, dtype="float64", distribution: str = "uniform"
    ) -> PrimeStates:
        """Random normalised states with ``k`` of the first ``n_primes`` primes each.

        Parameters
        ----------
        n : int
            Number of states.
        k : int or array_like of int, shape (n,)
            Active primes of each state.
        n_primes : int
            Primes are drawn without repetition from the first ``n_primes``.
        rng : int or numpy.random.Generator
        dtype : {"float64", "float32"}
            The complex dtypes of the same precision are understood too.
        distribution : {"uniform", "zipf"}
            How primes are drawn: all alike, or the m-th prime with weight 1/m, as words are in text.

        Returns
        -------
        PrimeStates
            Amplitudes are complex normal, then normalised; orientations are uniform on the sphere S^3.

        Examples
        --------
        >>> import primeattn as pa
        >>> pa.PrimeStates.random(100, 8, n_primes=50)
        PrimeStates(n=100, entries=800, primes 2..229, float64)
        """
        return cls._adopt(_construct.random(n, k, n_primes, rng, dtype, distribution))

    @classmethod
    def empty(cls, n: int = 0, *, dtype="float64") -> PrimeStates:
        """``n`` states with no active prime: the identity of composition.

        Examples
        --------
        >>> import primeattn as pa
        >>> pa.PrimeStates.empty(2)
        PrimeStates(n=2, entries=0, float64)
        """
        real = _validate.real_dtype(dtype)
        return cls._adopt(
            (
                np.zeros(n + 1, np.int64),
                np.zeros(0, np.int64),
                np.zeros(0, _validate.complex_dtype(real)),
                np.zeros((0, 4), real),
            )
        )

    @classmethod
    def concatenate(cls, batches: Sequence[PrimeStates]) -> PrimeStates:
        """One batch of all states, in order.

        Mixed precisions promote to float64. Labels are kept if every batch has them, and dropped otherwise.

        Examples
        --------
        >>> import primeattn as pa
        >>> s = pa.PrimeStates.from_dicts([{2: 1}, {3: 1}])
        >>> pa.PrimeStates.concatenate([s, s[::-1]]).primes
        array([2, 3, 3, 2])
        """
        batches = [_wanted(b, f"batches[{i}]") for i, b in enumerate(batches)]
        if not batches:
            return cls.empty()
        shifts = np.cumsum([0, *(b.nnz for b in batches)])
        labels = [b.labels for b in batches]
        arrays = (
            np.concatenate([[0], *(b.indptr[1:] + s for b, s in zip(batches, shifts, strict=False))]),
            *(np.concatenate([getattr(b, name) for b in batches]) for name in ("primes", "amplitude", "orientation")),
        )
        return cls._adopt(arrays, None if any(x is None for x in labels) else np.concatenate(labels))

    # What it is

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

    def equals(self, other: PrimeStates) -> bool:
        """True if both hold the same states: equal primes, amplitudes and orientations.

        The precision and the labels may differ. ``==`` is the same.

        Examples
        --------
        >>> import primeattn as pa
        >>> s = pa.PrimeStates.from_dicts([{2: 1}])
        >>> s == s.astype("float32")
        True
        """
        return isinstance(other, PrimeStates) and all(
            np.array_equal(getattr(self, name), getattr(other, name))
            for name in ("indptr", "primes", "amplitude", "orientation")
        )

    def __eq__(self, other) -> bool:
        return self.equals(other) if isinstance(other, PrimeStates) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # equal states of two precisions would need equal hashes

    def __reduce__(self):
        return _restore, (self.indptr, self.primes, self.amplitude, self.orientation, self.labels)

    def __copy__(self) -> PrimeStates:
        return self

    def __deepcopy__(self, memo) -> PrimeStates:
        return self

    # Parts

    def __getitem__(self, index) -> PrimeStates:
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

    def _contiguous(self, start: int, stop: int) -> PrimeStates:
        indptr = self.indptr[start : stop + 1]
        first, last = int(indptr[0]), int(indptr[-1])
        labels = None if self.labels is None else self.labels[start:stop]
        return PrimeStates._adopt(
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

    def _gather(self, positions: np.ndarray) -> PrimeStates:
        counts = self.n_active[positions]
        indptr = np.concatenate([[0], np.cumsum(counts)])
        entries = np.arange(indptr[-1]) + np.repeat(self.indptr[positions] - indptr[:-1], counts)
        labels = None if self.labels is None else self.labels[positions]
        return PrimeStates._adopt(
            (indptr, self.primes[entries], self.amplitude[entries], self.orientation[entries]), labels
        )

    def __iter__(self) -> Iterator[PrimeStates]:
        return (self._contiguous(i, i + 1) for i in range(len(self)))

    def astype(self, dtype) -> PrimeStates:
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
        real = _validate.real_dtype(dtype)
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
        return PrimeStates._adopt((*arrays[:3], unit), self.labels)

    def with_labels(self, labels) -> PrimeStates:
        """The same states with other labels (None: with none)."""
        return PrimeStates._adopt((self.indptr, self.primes, self.amplitude, self.orientation), labels)

    def to_dicts(self) -> list[dict]:
        """One ``{prime: (amplitude, (w, x, y, z))}`` per state, in Python numbers; `from_dicts` takes them back.

        Examples
        --------
        >>> import primeattn as pa
        >>> pa.PrimeStates.from_dicts([{2: 1}]).to_dicts()
        [{2: ((1+0j), (1.0, 0.0, 0.0, 0.0))}]
        """
        primes, amplitude = self.primes.tolist(), self.amplitude.tolist()
        orientation = [tuple(q) for q in self.orientation.tolist()]
        edges = self.indptr.tolist()
        return [
            {primes[e]: (amplitude[e], orientation[e]) for e in range(start, stop)} for start, stop in pairwise(edges)
        ]


def _set(states: PrimeStates, arrays, labels) -> None:
    for name, x in zip(("indptr", "primes", "amplitude", "orientation"), arrays, strict=True):
        object.__setattr__(states, name, x)
    object.__setattr__(states, "labels", _checked_labels(labels, len(states)))


def _checked_labels(labels, n: int) -> np.ndarray | None:
    if labels is None:
        return None
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


def _restore(indptr, primes, amplitude, orientation, labels) -> PrimeStates:
    return PrimeStates._adopt((indptr, primes, amplitude, orientation), labels)


def _wanted(states, name: str) -> PrimeStates:
    if not isinstance(states, PrimeStates):
        raise TypeError(
            f"{name} is a {type(states).__name__}: PrimeStates are wanted; build them with PrimeStates.from_dicts, "
            f".from_arrays, .from_dense, .from_integers or .from_text"
        )
    return states
