"""`PrimeStates`, the batch of sparse prime states that every other room takes and gives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from .. import encode
from ..encode.arrays import StateArrays, precision
from ..primes.integers import one_count
from . import _construct, _convert, _files, _html, _validate
from ._algebra import Algebra, wanted
from ._batch import joined_labels


class PrimeStates(Algebra):
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
    written to is copied; read-only input is taken as it is, so whoever owns it must not make it writable again.
    float32 and complex64 input gives float32 and complex64 states; everything else (also integers, and one array of
    each precision) gives float64 and complex128. Non-contiguous, read-only and big-endian input is converted.
    Quaternions within 8 eps of unit squared length are kept bit for bit.

    Examples
    --------
    >>> import primeattn as pa
    >>> s = pa.PrimeStates([0, 2, 3], [2, 3, 2], [0.6, 0.8j, 1])
    >>> s
    PrimeStates(n=2, entries=3, primes 2..3, float64)
    >>> s[0].amplitude
    array([0.6+0.j , 0. +0.8j])
    """

    __slots__ = ()

    def __init__(self, indptr, primes, amplitude=None, orientation=None, *, labels=None) -> None:
        self._set(_validate.validate(indptr, primes, amplitude, orientation), labels)

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
    def from_dense(
        cls, x, *, k: int | None = None, energy: float | None = None, orientation=None, primes=None
    ) -> PrimeStates:
        """One state per row of a matrix, one prime per column.

        Parameters
        ----------
        x : array_like of float or complex, shape (n, n_primes)
            The amplitudes; a negative number has phase pi. Zeros are not active.
        k : int, optional
            Keep at most the ``k`` largest magnitudes of each row.
        energy : float, optional
            In (0, 1]: keep the fewest entries that hold this fraction of the row's sum of squares, so that the
            number of active primes adapts to the row.
        orientation : array_like of float, shape (n, n_primes, 4), optional
            Default the identity.
        primes : array_like of int, shape (n_primes,), optional
            Default the first ``n_primes``: column c is ``primeattn.primes.nth(c)``.

        Raises
        ------
        TypeError, ValueError
            For data that are not finite numbers, wrong shapes, and zero quaternions at active entries.

        See Also
        --------
        primeattn.encode.dense : the same as flat arrays.

        Examples
        --------
        >>> import primeattn as pa
        >>> pa.PrimeStates.from_dense([[0.0, 3.0, -4.0, 0.1]], k=2).to_dicts()
        [{3: ((3+0j), (1.0, 0.0, 0.0, 0.0)), 5: ((-4+0j), (1.0, 0.0, 0.0, 0.0))}]
        """
        return cls._encoded(encode.dense(x, k=k, energy=energy, orientation=orientation, primes=primes))

    @classmethod
    def from_integers(cls, numbers, *, dtype="float64") -> PrimeStates:
        """The factorisation of each number: its primes, with amplitudes from the exponents.

        Parameters
        ----------
        numbers : array_like of int, shape (n,)
            At least 1; 1 gives the empty state.
        dtype : {"float64", "float32"}

        Returns
        -------
        PrimeStates
            A prime with exponent e has magnitude sqrt(e), phase 2 pi frac(e g) with the golden ratio g, and the
            identity orientation.

        Raises
        ------
        TypeError, ValueError
            For numbers that are not integers from 1 on.

        See Also
        --------
        primeattn.encode.integers : the same as flat arrays.

        Examples
        --------
        >>> import primeattn as pa
        >>> s = pa.PrimeStates.from_integers([12, 1])
        >>> s.primes, s.n_active
        (array([2, 3]), array([2, 0]))
        """
        return cls._encoded(encode.integers(numbers, dtype=dtype))

    @classmethod
    def from_text(
        cls,
        strings: Iterable[str],
        *,
        scheme: str = "ngram",
        encoder: encode.TextEncoder | None = None,
        n_primes: int | None = None,
        k: int | None = None,
        dtype="float64",
    ) -> PrimeStates:
        """One state per string; similar strings share primes.

        Parameters
        ----------
        strings : iterable of str
        scheme : {"ngram", "original"}
            Words and character n-grams; or the hash of the source, where similar strings share nothing.
        encoder : primeattn.encode.TextEncoder, optional
            A fitted encoder, in place of one fitted to ``strings``.
        n_primes : int, optional
            How many primes are used: 16,384 for "ngram", 4096 for "original".
        k : int, optional
            Most primes in a state: 64 for "ngram", 32 for "original".
        dtype : {"float64", "float32"}

        Raises
        ------
        TypeError, ValueError
            As `primeattn.encode.text`.

        See Also
        --------
        primeattn.encode.text : the same as flat arrays, and the equations.

        Examples
        --------
        >>> import primeattn as pa
        >>> a, b = pa.PrimeStates.from_text(["resonance", "resonant"])
        >>> len(set(a.primes.tolist()) & set(b.primes.tolist())) > 0
        True
        """
        options = {"scheme": scheme, "encoder": encoder, "n_primes": n_primes, "k": k, "dtype": dtype}
        return cls._encoded(encode.text(strings, **options))

    @classmethod
    def _encoded(cls, arrays: encode.StateArrays) -> PrimeStates:
        return cls._adopt(_validate.validate(*arrays, copy=False))

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
        real, n = precision(dtype), one_count("n", n)
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
        batches = [wanted(b, f"batches[{i}]", cls) for i, b in enumerate(batches)]
        if not batches:
            return cls.empty()
        shifts = np.cumsum([0, *(b.nnz for b in batches)])
        labels = joined_labels([b.labels for b in batches])
        arrays = (
            np.concatenate([[0], *(b.indptr[1:] + s for b, s in zip(batches, shifts, strict=False))]),
            *(np.concatenate([getattr(b, name) for b in batches]) for name in ("primes", "amplitude", "orientation")),
        )
        return cls._adopt(arrays, labels)

    # Other forms

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

    def to_dense(
        self, n_primes: int | None = None, *, component: str = "amplitude", max_bytes: int = 2**32
    ) -> np.ndarray:
        """A dense array with one column for each prime of the table.

        Parameters
        ----------
        n_primes : int, optional
            Number of columns; default up to the largest prime that occurs. Column c is ``primes.nth(c)``.
        component : {"amplitude", "orientation"}
        max_bytes : int
            Refuse to build a larger array.

        Returns
        -------
        ndarray, shape (n, n_primes) or (n, n_primes, 4)
            Complex amplitudes, or quaternions; zeros where a prime is not active (the zero quaternion is no
            orientation, so absence stays visible).

        Raises
        ------
        ValueError
            If ``n_primes`` does not reach the largest prime.
        MemoryError
            If the array would take more than ``max_bytes``.

        Examples
        --------
        >>> import primeattn as pa
        >>> pa.PrimeStates.from_dicts([{2: 1, 5: 1j}]).to_dense().shape
        (1, 3)
        """
        return _convert.to_dense(self, n_primes, component, max_bytes)

    def to_scipy(self, n_primes: int | None = None) -> dict:
        """One SciPy CSR array per component: "amplitude" (complex), "w", "x", "y", "z".

        Parameters
        ----------
        n_primes : int, optional
            Number of columns, as in `to_dense`.

        Returns
        -------
        dict of scipy.sparse.csr_array, shape (n, n_primes)
            All with the same structure; zeros of active primes are stored.

        Examples
        --------
        >>> import primeattn as pa
        >>> sorted(pa.PrimeStates.from_dicts([{2: 1}]).to_scipy())
        ['amplitude', 'w', 'x', 'y', 'z']
        """
        return _convert.to_scipy(self, n_primes)

    def to_xarray(self) -> Any:
        """An xarray.Dataset in the contiguous ragged array representation of the CF conventions.

        Returns
        -------
        xarray.Dataset
            ``count(state)`` says how many of the entries ``prime(active)``, ``amplitude(active)`` and
            ``orientation(active, component)`` belong to each state. Labels become the coordinate ``state``.

        References
        ----------
        CF Conventions 1.11, section 9.3.3, contiguous ragged array representation.

        Examples
        --------
        >>> import primeattn as pa
        >>> s = pa.PrimeStates.from_dicts([{2: 1, 3: 1}, {5: 1}], labels=["a", "b"])
        >>> dict(s.to_xarray().sizes)
        {'state': 2, 'active': 3, 'component': 4}
        >>> pa.PrimeStates.from_xarray(s.to_xarray()) == s
        True
        """
        return _convert.to_xarray(self)

    @classmethod
    def from_xarray(cls, dataset) -> PrimeStates:
        """The states of a Dataset that `to_xarray` made; checked again, unchanged otherwise.

        Parameters
        ----------
        dataset : xarray.Dataset

        Raises
        ------
        TypeError
            If it is no Dataset.
        ValueError
            If a variable is missing, and as the class does.
        """
        arrays, labels = _convert.from_xarray(dataset)
        return cls._adopt(arrays, labels)

    def save(self, path) -> None:
        """Write one .npz file; see `load`.

        Parameters
        ----------
        path : str or path-like
            Taken literally: no suffix is added. An existing file is replaced, at once and as a whole, and keeps its
            permissions; a symbolic link stays, and the file it leads to is replaced.

        Raises
        ------
        OSError
            If the folder does not exist, the path is a folder, or the file cannot be written.
        ValueError
            If the path names no file.

        Notes
        -----
        Format 1: an uncompressed zip of .npy members ``format``, ``version``, ``labelled``, ``indptr``, ``primes``,
        ``amplitude``, ``orientation``, and ``labels`` if there are any; little-endian, no pickle. The same states
        give the same bytes.
        """
        arrays = StateArrays(self.indptr, self.primes, self.amplitude, self.orientation)
        _files.save(path, arrays, self.labels)

    @classmethod
    def load(cls, path) -> PrimeStates:
        """Read what `save` wrote, bit for bit.

        Parameters
        ----------
        path : str or path-like

        Raises
        ------
        OSError
            If the file cannot be opened.
        ValueError
            If it is truncated, damaged, of another program or of another version, or if what it holds is not
            valid. Pickled objects are never loaded.

        Examples
        --------
        >>> import primeattn as pa, tempfile, pathlib
        >>> s = pa.PrimeStates.random(3, 4)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     s.save(pathlib.Path(folder) / "states.npz")
        ...     pa.PrimeStates.load(pathlib.Path(folder) / "states.npz") == s
        True
        """
        return cls._adopt(*_files.load(path))

    def _repr_html_(self) -> str:
        return _html.table(self)
