"""``Index``: the states that resonate most with a query, exactly, out of a collection that may grow and shrink."""

from __future__ import annotations

from operator import index as as_integer
from typing import Any

import numpy as np

from .._runtime import devices
from .._runtime.owners import share
from . import _index_files, _labels
from ._index_heap import settle_rows
from ._index_rows import alive, converted, joined, none
from ._index_search import Scratch, gather_rows, search_rows
from ._index_segment import BY_COUNT, BY_SUMS, Segment, build
from ._options import check_fits, check_form, state_arrays
from ._profiles import StateArrays, frozen, profile

GRAIN = 8  # queries worth a thread
CHUNKS = 8  # per thread: queries differ in cost
SETTLE = 1024  # lists worth a thread


class Index:
    r"""Exact search for the k states that resonate most with a query.

    Parameters
    ----------
    states : PrimeStates or labelled Dataset, optional
        They get the ids 0, 1, ... Default none. Their precision is that of the index.
    kind, weights, normalizer, overlap, amplitude
        The score, as in `primeattn.resonance.score`.

    Raises
    ------
    TypeError
        If ``states`` is no batch of states, or is on CUDA.
    ValueError
        For options of the score that do not go together.

    Notes
    -----
    An inverted index: for each prime the list of states that have it, 4 bytes an activation. A query walks the lists
    of its primes, the rare ones first; for the 64 most common primes every state has a word of 64 bits. The counts of
    shared primes bound every score from above (Jaccard: :math:`K \le c / |A \cup B|`, since no shared prime adds more
    than 1), states are scored from the highest bound down, and the search ends when no bound reaches the k-th best
    score. Proofs and costs: docs/theory/index_search.md.

    The result is that of sorting `primeattn.resonance.matrix`: scores agree with it to rounding, and equal scores are
    ordered by id. The index is not meant to be changed by one thread while another queries it.

    Memory for each activation: the state itself (32 bytes in float32, 56 in float64), 8 bytes of lists, and, unless
    weights are (1, 0, 0), eight numbers that the scores read; see `nbytes`.

    References
    ----------
    H. Turtle, J. Flood, *Query evaluation: strategies and optimizations*, 1995 (upper bounds). R. Bayardo, Y. Ma,
    R. Srikant, *Scaling up all pairs similarity search*, 2007 (rare features first).

    Examples
    --------
    >>> import primeattn as pa
    >>> states = pa.PrimeStates.from_dicts([{2: 1, 3: 1}, {3: 1, 5: 1}, {7: 1}])
    >>> index = pa.resonance.Index(states)
    >>> scores, ids = index.query(states[:1], k=3)
    >>> ids, scores.round(3)
    (array([[ 0,  1, -1]]), array([[1.   , 0.333, 0.   ]]))
    """

    def __init__(
        self, states=None, *, kind="kernel", weights=None, normalizer="union", overlap="jaccard", amplitude=False
    ) -> None:
        self._form = check_form(kind, weights, normalizer, overlap, amplitude)
        self._options = {
            "kind": kind,
            "weights": tuple(self._form.weights.tolist()),
            "normalizer": normalizer,
            "overlap": overlap,
            "amplitude": bool(amplitude),
        }
        self._segments: list[Segment] = []
        self._next = 0
        self._dtype = np.dtype(np.float64)
        if states is not None:
            arrays = _host("states", states)
            self._dtype = arrays.amplitude.dtype
            self.add(states)

    def add(self, states) -> np.ndarray:
        """Add states.

        Parameters
        ----------
        states : PrimeStates or labelled Dataset
            Brought to the precision of the index.

        Returns
        -------
        ndarray of int64
            Their ids: consecutive, and never those of a removed state.

        Raises
        ------
        TypeError
            If ``states`` is no batch of states, or is on CUDA.

        Notes
        -----
        New states form a part of their own, and parts of similar size are joined: adding n states one by one sorts
        each of them O(log n) times.

        Examples
        --------
        >>> import primeattn as pa
        >>> index = pa.resonance.Index(pa.PrimeStates.from_dicts([{2: 1}]))
        >>> index.add(pa.PrimeStates.from_dicts([{2: 1, 3: 1}, {5: 1}]))
        array([1, 2])
        """
        arrays = converted(_host("states", states), self._dtype)
        ids = np.arange(self._next, self._next + arrays.indptr.size - 1)
        self._next += ids.size
        if ids.size:
            self._append(arrays, ids)
        return ids

    def remove(self, ids) -> None:
        """Remove states.

        Parameters
        ----------
        ids : int or array_like of int

        Raises
        ------
        KeyError
            If an id was never given, or its state is gone already; nothing is removed then.
        TypeError
            If the ids are no integers.

        Examples
        --------
        >>> import primeattn as pa
        >>> index = pa.resonance.Index(pa.PrimeStates.from_dicts([{2: 1}, {2: 1, 3: 1}]))
        >>> index.remove(0)
        >>> len(index), index.ids
        (1, array([1]))
        """
        wanted = np.atleast_1d(np.asarray(ids))
        if wanted.size and (wanted.dtype.kind not in "iu" or wanted.ndim != 1):
            raise TypeError(f"ids is an array of {wanted.dtype} of shape {wanted.shape}: a list of integers is wanted")
        gone = np.setdiff1d(wanted, self.ids)
        if gone.size:
            raise KeyError(f"id {gone[0]} is not in the index: pass some of index.ids")
        for segment in self._segments:
            segment.alive[np.isin(segment.ids, wanted)] = 0
        thin = [s for s in self._segments if 2 * int(s.alive.sum()) < s.alive.size]
        self._segments = [s for s in self._segments if not any(s is other for other in thin)]
        for segment in thin:
            self._append(*alive(segment))
        self._segments.sort(key=lambda s: -s.ids.size)

    def query(self, states, k: int = 10) -> tuple[Any, Any]:
        """The k best states for each query.

        Parameters
        ----------
        states : PrimeStates or labelled Dataset of n queries
            Brought to the precision of the index.
        k : int
            At least 1.

        Returns
        -------
        scores : ndarray of float, shape (n, k)
            Descending. Only scores above 0 count, so only states that share a prime with the query; where there are
            fewer than k, the rest is 0.
        ids : ndarray of int64, shape (n, k)
            Of equal scores the smaller id first; -1 in the rest. Both are DataArrays for a labelled query.

        Raises
        ------
        TypeError
            If ``states`` is no batch of states, is on CUDA, or ``k`` is no integer.
        ValueError
            If ``k`` is below 1.

        Examples
        --------
        >>> import primeattn as pa
        >>> states = pa.PrimeStates.random(1000, 8, n_primes=64, rng=0)
        >>> scores, ids = pa.resonance.Index(states, normalizer="sqrt").query(states[500:502], k=2)
        >>> ids[:, 0]
        array([500, 501])
        """
        (states, _), wrap = _labels.unwrap(states, None)
        arrays = converted(_host("states", states), self._dtype)
        try:
            k = as_integer(k)
        except TypeError:
            raise TypeError(f"k is {k!r}: an integer is wanted") from None
        if k < 1:
            raise ValueError(f"k is {k}: at least 1 is wanted")
        n = arrays.indptr.size - 1
        instead = "ask for fewer states, or take fewer queries at a time"
        check_fits(n * k * (8 + self._dtype.itemsize), f"a result of {n:,} x {k:,} scores and ids", instead)
        scores, ids = self._search(arrays, k)
        if wrap.labelled:
            import xarray

            coords = {} if wrap.a is None else {"state": wrap.a}
            dims = ("state", "rank")
            return (
                xarray.DataArray(scores, dims=dims, coords=coords, name="score"),
                xarray.DataArray(ids, dims=dims, coords=coords, name="id"),
            )
        return scores, ids

    def _search(self, arrays: StateArrays, k: int) -> tuple[np.ndarray, np.ndarray]:
        n = arrays.indptr.size - 1
        limit = min(k, max(len(self), 1))
        scores, ids = np.zeros(n * limit, self._dtype), np.full(n * limit, -1, np.int64)
        sizes = np.zeros(n, np.int64)
        weights = frozen(self._form.weights.astype(self._dtype))
        choice = self._form[:2]
        entries = totals = np.empty(0, self._dtype)
        if any(s.method != BY_COUNT for s in self._segments):
            _, _, entries, totals = profile(arrays, self._form.mass)
        for segment in self._segments:
            same = _same(arrays.primes, segment.states.primes)
            column = segment.lists.column if same else segment.primes.numbers(arrays.primes)
            query = tuple(frozen(x) for x in (arrays.indptr, column, entries, totals))
            common = (choice, weights, limit, sizes, scores, ids)
            place = (query, tuple(segment.lists), segment.alive, segment.ids)

            def work(start, stop, segment=segment, place=place):
                if segment.method == BY_SUMS:
                    gather_rows(start, stop, *place, *common)  # noqa: B023 (common is the same for all)
                else:
                    scratch = tuple(Scratch.of(segment))
                    search_rows(start, stop, *place, segment.method, segment.span[0], scratch, *common)  # noqa: B023

            share(work, n, GRAIN, CHUNKS)
        share(lambda start, stop: settle_rows(start, stop, limit, sizes, scores, ids), n, SETTLE)
        shape, short = (n, limit), ((0, 0), (0, k - limit))
        if k == limit:
            return scores.reshape(shape), ids.reshape(shape)
        return np.pad(scores.reshape(shape), short), np.pad(ids.reshape(shape), short, constant_values=-1)

    def _append(self, arrays: StateArrays, ids: np.ndarray) -> None:
        """Put a part behind the others, joined with those that are not more than twice as large."""
        parts = [(arrays, ids)]
        size = ids.size
        while self._segments and self._segments[-1].ids.size <= 2 * size:
            parts.append(alive(self._segments.pop()))
            size += parts[-1][1].size
        arrays, ids = joined(parts)
        if ids.size:
            self._segments.append(build(arrays, ids, self._form))

    # What is in it

    @property
    def ids(self) -> np.ndarray:
        """The ids of all states, int64, ascending."""
        parts = [s.ids[s.alive == 1] for s in self._segments]
        return np.sort(np.concatenate(parts)) if parts else np.empty(0, np.int64)

    @property
    def states(self):
        """All states as `PrimeStates`, in order of their ids; without labels."""
        from ..states import PrimeStates

        return PrimeStates._adopt(_index_files.complex_arrays(self._compact()[0]))

    @property
    def options(self) -> dict[str, Any]:
        """The options of the score, for `primeattn.resonance.score` and `primeattn.resonance.explain`."""
        return dict(self._options)

    @property
    def dtype(self) -> np.dtype:
        """float32 or float64."""
        return self._dtype

    @property
    def nbytes(self) -> int:
        """Bytes of memory, the states included."""
        return sum(s.nbytes for s in self._segments)

    def __len__(self) -> int:
        return sum(int(s.alive.sum()) for s in self._segments)

    def __contains__(self, identity) -> bool:
        return bool(np.isin(identity, self.ids))

    def __repr__(self) -> str:
        entries = sum(s.states.primes.size for s in self._segments)
        score = f"kind={self._options['kind']!r}"
        if self._options["amplitude"]:
            score += ", amplitude=True"
        elif self._options["kind"] == "kernel":
            score += f", normalizer={self._options['normalizer']!r}"
            score += ", overlap='ruzicka'" if self._form.ruzicka else ""
        return f"Index(n={len(self)}, entries={entries}, {score}, {self._dtype.name}, {self.nbytes / 1e6:,.1f} MB)"

    # Files

    def save(self, path) -> None:
        """Write one .npz file; see `load`.

        Parameters
        ----------
        path : str or path-like
            Taken literally. An existing file is replaced, at once and as a whole.

        Notes
        -----
        Format 1: an uncompressed zip of .npy members without pickle: ``format``, ``version``, the options of the
        score, ``next``, ``ids``, and the states as `primeattn.PrimeStates.save` writes them. The lists are not in
        it: they are sorted again, so that nothing derived must be trusted. Equal indexes give equal bytes.
        """
        _index_files.save(path, self._members())

    @classmethod
    def load(cls, path) -> Index:
        """Read what `save` wrote.

        Parameters
        ----------
        path : str or path-like

        Raises
        ------
        OSError
            If the file cannot be opened.
        ValueError
            If it is truncated, damaged, of another program or of another version, or if what it holds is not valid.

        Examples
        --------
        >>> import primeattn as pa, tempfile, pathlib
        >>> index = pa.resonance.Index(pa.PrimeStates.random(3, 4))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     index.save(pathlib.Path(folder) / "index.npz")
        ...     len(pa.resonance.Index.load(pathlib.Path(folder) / "index.npz"))
        3
        """
        return cls._of_members(_index_files.load(path))

    def _members(self) -> dict[str, np.ndarray]:
        arrays, ids = self._compact()
        return _index_files.members(self._options, self._next, ids, arrays)

    @classmethod
    def _of_members(cls, content: _index_files.Content) -> Index:
        found = cls(**content.options)
        found._dtype = content.states.amplitude.dtype
        found._next = content.next
        if content.ids.size:
            found._append(content.states, content.ids)
        return found

    def _compact(self) -> tuple[StateArrays, np.ndarray]:
        """All states that are there and their ids."""
        parts = [alive(s) for s in self._segments]
        return joined(parts) if parts else (none(self._dtype), np.empty(0, np.int64))


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two flat arrays are the same memory: an index knows the numbers of the primes of its own states."""
    return a.size == b.size and a.__array_interface__["data"] == b.__array_interface__["data"]


def _host(name: str, states) -> StateArrays:
    (states, _), _ = _labels.unwrap(states, None)
    arrays = state_arrays(name, states)
    if devices.is_device_array(arrays.primes):
        raise TypeError(f"{name} are on CUDA: Index runs on the CPU; pass host states, or use resonance.matrix there")
    return arrays
