"""``Stream``: the linear form token by token, in time and memory that do not depend on how many came before."""

import json
import zipfile

import numpy as np

from .. import quaternion as _quaternion
from .._runtime import devices
from .._runtime.jit import kernel
from .._runtime.vectors import LANES, broadcast, fma, load, store
from ..states import _files
from . import _labels
from ._linear import FLOOR, divide_cpu, pad, sum_up
from ._march import add_one, read_one, weigh_one
from ._options import state_arrays
from ._prepare import as_precision
from ._profiles import Profile, StateArrays, frozen, profile
from ._request import check_attention_form, check_heads, check_value
from ._rotation import BASE, STRIDE, base_cpu, coefficients
from ._rotor import check_order, rotors, turn
from ._scalars import ROOT_MASS

FORMAT, VERSION = "primeattn.Stream", 1


@kernel
def step_rows(
    start, stop, heads, vectors, key, key_slot, key_base, query, query_slot, query_base, c, value, state, sums, out,
    totals, mass,
):  # fmt: skip
    """Token after token: its key is added, then its query reads. Slot -1: a prime that no key had."""
    indptr_b, indptr = key[0], query[0]
    stride, size = vectors * LANES, BASE * LANES
    coefficient, products = np.empty(STRIDE, value.dtype), np.zeros(STRIDE, value.dtype)
    one = broadcast(type(c[0])(1))
    for i in range(start, stop):
        for t in range(indptr_b[i], indptr_b[i + 1]):
            slot = key_slot[t]
            for f in range(0, STRIDE, LANES):
                z = STRIDE * slot + f
                store(sums, z, fma(one, load(key_base, STRIDE * t + f), load(sums, z)))
            for w in range(vectors):
                add_one(i * stride + w * LANES, STRIDE * t, key_base, value, state, (slot * vectors + w) * size)
        for s in range(indptr[i], indptr[i + 1]):
            slot = query_slot[s]
            if slot < 0:
                continue
            for f in range(0, STRIDE, LANES):
                read = fma(load(query_base, STRIDE * s + f), load(sums, STRIDE * slot + f), load(products, f))
                store(products, f, read)
            for h in range(heads):
                weigh_one(s, query_base, h, c, coefficient)
                for w in range(h * vectors // heads, (h + 1) * vectors // heads):
                    read_one(i * stride + w * LANES, 0, coefficient, state, (slot * vectors + w) * size, out)
        sum_up(i, heads, c, 0, products, totals, mass)


class Stream:
    """Causal linear attention over a sequence that arrives in pieces.

    Parameters
    ----------
    width : int
        Columns d of the values.
    heads, weights
        As in `attention`.
    amplitude : bool
        The amplitude kernel in place of the "sqrt" one.
    order : {"rotor"}, optional
        As in `attention`: the rotors' product is carried along.
    dtype : {"float64", "float32"}
        Of the sums and the output; all input is converted.

    Raises
    ------
    ValueError
        As in `attention`.

    Notes
    -----
    Holds 12 (d + 1) numbers for every prime seen so far and, with rotors, one quaternion. A token costs O(k d),
    however many came before. `step` gives what ``attention(..., form="linear", causal=True)`` gives on the whole
    sequence; the sums run in the same order.

    Examples
    --------
    >>> import primeattn as pa
    >>> s = pa.PrimeStates.from_dicts([{2: 1}, {2: 1, 3: 1}])
    >>> stream = pa.resonance.Stream(1)
    >>> stream.step(s[:1], [[1.0]]), stream.step(s[1:], [[2.0]]).round(3)
    (array([[1.]]), array([[1.586]]))
    """

    def __init__(self, width, *, heads=1, weights=None, amplitude=False, order=None, dtype="float64") -> None:
        if isinstance(width, bool) or not isinstance(width, (int, np.integer)) or width < 1:
            raise ValueError(f"width is {width!r}: the number of columns of the values, at least 1, is wanted")
        self.dtype = np.dtype(dtype)
        if self.dtype not in (np.float32, np.float64):
            raise TypeError(f"dtype is {self.dtype}: pass 'float32' or 'float64'")
        self._form = check_attention_form("linear", "kernel", None, None, "jaccard", amplitude)
        self._heads = check_heads(heads, weights, "kernel", int(width))
        self._rotors = check_order(order, 0, 0)
        self.width = int(width)
        self._c = coefficients(self._heads.weights).astype(self.dtype).reshape(-1)
        self._slots: dict[int, int] = {}
        self._rotor = np.array([1, 0, 0, 0], self.dtype)
        self._tokens = 0
        whole = -(-self._heads.width // LANES) * LANES
        self._vectors = len(self._heads.weights) * whole // LANES
        self._state = np.zeros((8, self._vectors * BASE * LANES), self.dtype)
        self._sums = np.zeros((8, STRIDE), self.dtype)

    def __len__(self) -> int:
        return self._tokens

    def __repr__(self) -> str:
        return f"Stream(tokens={len(self)}, primes={len(self._slots)}, width={self.width}, {self.dtype})"

    @property
    def nbytes(self) -> int:
        """Bytes of the sums; grows with the number of distinct primes, not of tokens."""
        return self._state.nbytes + self._sums.nbytes

    def step(self, key, value, *, query=None) -> np.ndarray:
        """Append tokens; each attends everything before it and itself.

        Parameters
        ----------
        key : PrimeStates of t states
        value : array_like of float, shape (t, width)
        query : PrimeStates of t states, optional
            Default ``key``.

        Returns
        -------
        ndarray of float, shape (t, width)

        Raises
        ------
        TypeError
            For CUDA arrays.
        ValueError
            For other shapes; the stream is then as it was.

        Examples
        --------
        >>> import primeattn as pa
        >>> s = pa.PrimeStates.from_dicts([{2: 1}, {2: 1}])
        >>> pa.resonance.Stream(2).step(s, [[1, 0], [0, 1]])
        array([[1. , 0. ],
               [0.5, 0.5]])
        """
        (key, query), _ = _labels.unwrap(key, query)
        y = as_precision(state_arrays("key", key), self.dtype)
        x = y if query is None or query is key else as_precision(state_arrays("query", query), self.dtype)
        if devices.is_device_array(y.primes) or devices.is_device_array(x.primes):
            raise TypeError("Stream runs on the CPU: pass host states")
        n = y.indptr.size - 1
        if x.indptr.size - 1 != n:
            raise ValueError(f"query has {x.indptr.size - 1} states and key {n}: one query for each key is wanted")
        value = check_value(value, n)
        if value.shape[1] != self.width:
            raise ValueError(f"value has {value.shape[1]} columns: this stream has width {self.width}")
        value = frozen(pad(value.astype(self.dtype, copy=False), len(self._heads.weights)))
        if n and self._rotors:
            turns = _quaternion.multiply(self._rotor, rotors(y).reshape(n, 4))
            self._rotor = _quaternion.normalize(turns[-1])
            flat = frozen(turns)
            x, y = (turn(x, flat), turn(y, flat)) if x is not y else (turn(y, flat),) * 2
        return self._advance(x, y, n, value)

    def _advance(self, x: StateArrays, y: StateArrays, n: int, value: np.ndarray) -> np.ndarray:
        heads, width = len(self._heads.weights), self._heads.width
        b, slot_b, base_b = self._side(y, new=True)
        a, slot, base = (b, slot_b, base_b) if x is y else self._side(x, new=False)
        sums = np.zeros(n * self._vectors * LANES, self.dtype)
        totals, mass = np.zeros(n * heads, self.dtype), np.zeros(n, self.dtype)
        step_rows(
            0, n, heads, self._vectors, b, slot_b, base_b, a, slot, base, self._c, value, self._state.reshape(-1),
            self._sums.reshape(-1), sums, totals, mass,
        )  # fmt: skip
        out = np.ascontiguousarray(sums.reshape(n, heads, self._vectors * LANES // heads)[:, :, :width])
        floor = self.dtype.type(FLOOR * np.finfo(self.dtype).eps)
        flat = out.reshape(-1)
        divide_cpu(0, n, heads, width, floor, totals, mass, flat, flat)
        self._tokens += n
        return out.reshape(n, self.width)

    def _side(self, states: StateArrays, new: bool) -> tuple[Profile, np.ndarray, np.ndarray]:
        """Profile, slot of every entry (new primes get one, or -1), and bases."""
        found = profile(states, self._form.mass)
        slots = self._slots
        if new:
            numbers = [slots.setdefault(p, len(slots)) for p in states.primes.tolist()]
            self._grow(len(slots))
        else:
            numbers = [slots.get(p, -1) for p in states.primes.tolist()]
        base = np.empty(STRIDE * len(numbers), self.dtype)
        base_cpu(0, len(numbers), np.arange(len(numbers)), found.entries, base)
        return found, np.array(numbers, dtype=np.int64), base

    def _grow(self, primes: int) -> None:
        """Room for ``primes`` slots; doubled, so that a token costs a constant on average."""
        have = self._state.shape[0]
        if primes > have:
            rows = max(primes, 2 * have) - have
            self._state = np.concatenate([self._state, np.zeros((rows, self._state.shape[1]), self.dtype)])
            self._sums = np.concatenate([self._sums, np.zeros((rows, STRIDE), self.dtype)])

    def copy(self) -> "Stream":
        """An independent stream in the same state: to try a continuation and come back.

        Examples
        --------
        >>> import primeattn as pa
        >>> len(pa.resonance.Stream(1).copy())
        0
        """
        twin = object.__new__(Stream)
        twin.__dict__.update(self.__dict__)
        twin._slots, twin._state, twin._sums = dict(self._slots), self._state.copy(), self._sums.copy()
        return twin

    def save(self, path) -> None:
        """Write the stream to one .npz file, atomically; no pickle.

        Parameters
        ----------
        path : path-like
        """
        used = len(self._slots)
        options = {
            "weights": self._heads.weights.tolist(),
            "amplitude": bool(self._form.mass != ROOT_MASS),
            "order": "rotor" if self._rotors else None,
            "dtype": str(self.dtype),
            "width": self.width,
            "tokens": self._tokens,
        }
        state = self._state[:used].reshape(used, self._vectors, BASE, LANES)
        heads = len(self._heads.weights)
        columns = state.transpose(0, 2, 1, 3).reshape(used, BASE, heads, -1)[..., : self._heads.width]
        _files.write(
            path,
            {
                "format": np.array(FORMAT),
                "version": np.array(VERSION, "<i8"),
                "options": np.array(json.dumps(options, sort_keys=True)),
                "primes": np.array(list(self._slots), dtype=np.int64),
                "state": np.ascontiguousarray(columns).reshape(used, BASE, self.width),
                "sums": self._sums[:used, :BASE].copy(),
                "rotor": self._rotor,
            },
        )

    @classmethod
    def load(cls, path) -> "Stream":
        """Read what `save` wrote; the file does not depend on this machine's vectors.

        Parameters
        ----------
        path : path-like

        Raises
        ------
        ValueError
            If the file is damaged, or of another kind or version.
        """
        return _files.read(path, _parse, "Stream.save")


def _parse(file) -> Stream:
    if not zipfile.is_zipfile(file):
        raise _files.Refused("this is no .npz file, or its end is missing: pass a file that Stream.save wrote")
    names = ("format", "version", "options", "primes", "state", "sums", "rotor")
    with zipfile.ZipFile(file) as archive:
        if sorted(archive.namelist()) != sorted(f"{name}.npy" for name in names):
            raise _files.Refused("this .npz file has other members than those that Stream.save writes")
        content = {name: _files.member_of(archive, name) for name in names}
    if str(content["format"]) != FORMAT or content["version"] != VERSION:
        raise _files.Refused(f"this holds {content['format']} {content['version']}: {FORMAT} {VERSION} is wanted")
    options = json.loads(str(content["options"]))
    stream = Stream(
        options["width"],
        weights=options["weights"],
        amplitude=options["amplitude"],
        order=options["order"],
        dtype=options["dtype"],
    )
    primes, state, sums, rotor = (content[name] for name in ("primes", "state", "sums", "rotor"))
    used, heads = primes.size, len(stream._heads.weights)
    shapes = ((used, BASE, stream.width), (used, BASE), (4,))
    for name, shape in zip(("state", "sums", "rotor"), shapes, strict=True):
        if content[name].shape != shape or content[name].dtype != stream.dtype:
            raise _files.Refused(f"{name} is {content[name].dtype} {content[name].shape}, not {stream.dtype} {shape}")
    if primes.dtype != np.int64 or primes.ndim != 1 or np.unique(primes).size != used:
        raise _files.Refused("primes are not distinct 64-bit integers")
    stream._grow(used)
    stream._slots = {p: slot for slot, p in enumerate(primes.tolist())}
    whole = np.zeros((used, BASE, heads, stream._vectors * LANES // heads), stream.dtype)
    whole[..., : stream._heads.width] = state.reshape(used, BASE, heads, -1)
    vectors = whole.reshape(used, BASE, stream._vectors, LANES).transpose(0, 2, 1, 3)
    stream._state[:used] = vectors.reshape(used, -1)
    stream._sums[:used, :BASE] = sums
    stream._rotor, stream._tokens = rotor, int(options["tokens"])
    return stream
