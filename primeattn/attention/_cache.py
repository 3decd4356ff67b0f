"""Streaming decode: keys and values of the past, and attention of new tokens to them."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from .._runtime import devices
from .._runtime.jit import kernel, scalar
from .._runtime.owners import Owner
from ._cores import run
from ._inputs import Call, check_arrays, check_call
from ._labels import unwrap
from ._rope import rope as rotate


@scalar
def place_row(i, x, rows, room, start, out, out_room, first, width):
    """Row i of ``rows`` rows a head, from row ``start`` of x on to row ``first`` of out on; a head has so much room."""
    head, row = i // rows, i % rows
    source, target = (head * room + start + row) * width, (head * out_room + first + row) * width
    for c in range(width):
        out[target + c] = x[source + c]


@kernel
def place_cpu(start_row, stop, x, rows, room, start, out, out_room, first, width):
    for i in range(start_row, stop):
        place_row(i, x, rows, room, start, out, out_room, first, width)


PLACE = Owner(place_row, place_cpu, "F1 i i i F1 i i i")


def _place(x, start, rows, out, first) -> None:
    """``out[..., first : first + rows, :] = x[..., start : start + rows, :]``."""
    if not devices.is_device_array(x):
        out[..., first : first + rows, :] = x[..., start : start + rows, :]
    elif rows and tuple(x.shape)[-1]:
        (*lead, room, width), out_room = tuple(x.shape), tuple(out.shape)[-2]
        flat, target = x.reshape(math.prod(lead) * room * width), out.reshape(math.prod(lead) * out_room * width)
        PLACE(math.prod(lead) * rows, flat, rows, room, start, target, out_room, first, width)


def no_keys(v):
    """Keys of width 0, for mechanisms that have values alone."""
    return devices.empty((*tuple(v.shape)[:-1], 0), v.dtype, like=v)


class Cache:
    """Keys and values of the tokens so far, in buffers that double when full, where the first of them were.

    Parameters
    ----------
    window : int, optional
        Keep only as many positions as a sliding window can still see.

    Attributes
    ----------
    position : int
        Tokens seen in all; the position of the next one.
    keys, values : ndarray of float, shape (..., kept, D) and (..., kept, Dv)
        Views of what is kept, None before the first step; on CUDA copies. Keys carry their rotary positions, if any.
    nbytes : int
        Size of the buffers.

    Examples
    --------
    >>> import numpy as np, primeattn as pa
    >>> cache = pa.attention.Cache(window=2)
    >>> for x in np.ones((5, 1, 4)):
    ...     y = pa.attention.dot_product_step(x, x, x, cache)
    >>> cache.position, len(cache)
    (5, 2)
    """

    def __init__(self, window: int | None = None):
        if window is not None and (not isinstance(window, int | np.integer) or isinstance(window, bool) or window < 1):
            raise ValueError(f"window is {window!r}: 1 or more positions are wanted; None keeps all")
        self.window = window
        self.position = 0
        self._kept = 0
        self._start = 0
        self._buffers: tuple[Any, ...] = ()  # of keys and of values

    def __len__(self) -> int:
        return self._kept

    def __repr__(self) -> str:
        return f"Cache({self._kept} of {self.position} tokens kept, {self.nbytes:,} bytes)"

    @property
    def nbytes(self) -> int:
        return sum(b.nbytes for b in self._buffers)

    @property
    def keys(self) -> Any:
        return self._kept_of(self._buffers[0]) if self._buffers else None

    @property
    def values(self) -> Any:
        return self._kept_of(self._buffers[1]) if self._buffers else None

    def _kept_of(self, buffer):
        if devices.is_device_array(buffer):
            return self._moved(buffer, self._kept)
        return buffer[..., self._start : self._start + self._kept, :]

    def append(self, k: Any, v: Any) -> None:
        """Add the keys and values of the next tokens, as they are."""
        if not self._buffers:
            self._buffers = tuple(self._empty(x, 16) for x in (k, v))
        if devices.is_device_array(k) != devices.is_device_array(self._buffers[0]):
            here, there = ("CUDA", "host") if devices.is_device_array(k) else ("host", "CUDA")
            raise TypeError(f"k and v are {here} arrays but the cache is in {there} memory: start another Cache")
        for name, x, buffer in zip("kv", (k, v), self._buffers, strict=True):
            given, held = tuple(x.shape), tuple(buffer.shape)
            if (given[:-2], given[-1], x.dtype) != (held[:-2], held[-1], buffer.dtype):
                raise ValueError(
                    f"{name} is {x.dtype} {given} but the cache holds {buffer.dtype} "
                    f"{(*held[:-2], self._kept, held[-1])}: only the number of tokens may change"
                )
        new = tuple(k.shape)[-2]
        wanted = self._kept + new
        if self._start + wanted > tuple(self._buffers[0].shape)[-2]:
            self._buffers = tuple(self._moved(b, 2 * wanted) for b in self._buffers)  # so that moving stays rare
            self._start = 0
        first = self._start + self._kept
        for x, buffer in zip((k, v), self._buffers, strict=True):
            _place(x, 0, new, buffer, first)
        self._kept = wanted
        self.position += new

    def _moved(self, buffer, room):
        """What is kept, at the front of a new buffer."""
        new = self._empty(buffer, room)
        _place(buffer, self._start, self._kept, new, 0)
        return new

    @staticmethod
    def _empty(like, room):
        """A buffer for ``room`` tokens."""
        *lead, _, width = tuple(like.shape)
        return devices.empty((*lead, room, width), like.dtype, like=like)

    @contextmanager
    def unchanged_on_error(self) -> Iterator[None]:
        """Whatever ends the block early, an interrupt included, leaves the cache as it was."""
        before = dict(vars(self))  # buffers are only written beyond what is kept
        try:
            yield
        except BaseException:
            vars(self).update(before)
            raise

    def trim(self) -> None:
        """Forget what the window no longer sees."""
        if self.window is not None and self._kept > self.window:
            self._start += self._kept - self.window
            self._kept = self.window


def check_cache(cache) -> None:
    if not isinstance(cache, Cache):
        raise TypeError(f"cache is {type(cache).__name__}: a Cache is wanted; start with pa.attention.Cache()")


def dot_product_step(
    q: Any,
    k: Any,
    v: Any,
    cache: Cache,
    *,
    mask: Any = None,
    scale: float | None = None,
    alibi: Any = None,
    rope: float | None = None,
) -> Any:
    """Causal `dot_product` of new tokens to all tokens so far; their keys and values join the cache.

    Step by step it gives what ``dot_product(..., causal=True, window=cache.window)`` gives for the whole sequence.

    Parameters
    ----------
    q : ndarray of float, shape (..., t, D)
        Queries of the next t tokens, usually 1.
    k, v : ndarray of float, shape (..., t, D) and (..., t, Dv)
        Their keys and values; heads as in `dot_product`.
    cache : Cache
        Changed in place.
    mask : ndarray of bool, broadcastable to (..., t, kept + t), optional
    scale, alibi, rope
        As in `dot_product`; the same at every step.

    Returns
    -------
    ndarray of float, shape (..., t, Dv)

    Raises
    ------
    ValueError
        As `dot_product`, or if the arrays do not continue the cache. The cache is then as it was.
    TypeError
        If the arrays are not where the cache is, on CUDA or on the host.

    Examples
    --------
    >>> import numpy as np, primeattn as pa
    >>> x = np.eye(3)
    >>> cache = pa.attention.Cache()
    >>> steps = [pa.attention.dot_product_step(x[i : i + 1], x[i : i + 1], x[i : i + 1], cache) for i in range(3)]
    >>> bool(np.allclose(np.concatenate(steps), pa.attention.dot_product(x, x, x, causal=True)))
    True
    """
    return step(
        lambda call: run.forward(call.problem, call.layout, call.heads)[0],
        q,
        k,
        v,
        cache,
        mask=mask,
        scale=scale,
        alibi=alibi,
        rope=rope,
    )


def step(
    attend: Callable[[Call], Any],
    q: Any,
    k: Any,
    v: Any,
    cache: Cache,
    *,
    mask: Any = None,
    scale: float | None = None,
    alibi: Any = None,
    rope: float | None = None,
    compact: bool = False,
) -> Any:
    """A step of any mechanism: new tokens join the cache, and ``attend(call)`` gives their outputs, flat.

    The call is causal, on the keys and values of the cache. If it is refused, the cache is as it was. ``compact``: on
    a copy of what is kept, for loops that look beyond the keys in use.
    """
    check_cache(cache)
    (q, k, v), wrap = unwrap(q, k, v)
    q, k, v, _ = check_arrays(q, k, v)
    queries, new = tuple(q.shape)[-2], tuple(k.shape)[-2]
    if queries != new:
        raise ValueError(f"q has {queries} tokens but k has {new}: a step brings a query for every key")
    if rope is not None:
        positions = np.arange(cache.position, cache.position + new)
        q, k = rotate(q, positions, rope), rotate(k, positions, rope)
    with cache.unchanged_on_error():
        cache.append(k, v)
        keys, values = (cache.keys, cache.values) if compact else cache._buffers
        call = check_call(
            q, keys, values, keys=cache._kept, causal=True, mask=mask, scale=scale, window=cache.window, alibi=alibi
        )
        x, g, start = call.problem, call.layout, 0 if compact else cache._start
        x = x._replace(k=x.k[start * g.width :], v=x.v[start * g.depth :])
        out = attend(call._replace(problem=x))
        cache.trim()
    return wrap.out(call.shaped(out, g.queries, g.depth))
