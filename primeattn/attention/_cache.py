"""Streaming decode: keys and values of the past, and attention of new tokens to them."""

from collections.abc import Callable
from typing import Any

import numpy as np

from .._runtime import devices
from ._cores import run
from ._inputs import Call, check_arrays, check_call
from ._rope import rope as rotate


class Cache:
    """Keys and values of the tokens so far, in buffers that double when full.

    Parameters
    ----------
    window : int, optional
        Keep only as many positions as a sliding window can still see.

    Attributes
    ----------
    position : int
        Tokens seen in all; the position of the next one.
    keys, values : ndarray of float, shape (..., kept, D) and (..., kept, Dv)
        Views of what is kept, None before the first step. Keys carry their rotary positions, if any.
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
        if window is not None and (not isinstance(window, int | np.integer) or window < 1):
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
        return buffer[..., self._start : self._start + self._kept, :]

    def append(self, k: np.ndarray, v: np.ndarray) -> None:
        """Add the keys and values of the next tokens, as they are."""
        if not self._buffers:
            self._buffers = tuple(np.empty((*x.shape[:-2], 16, x.shape[-1]), x.dtype) for x in (k, v))
        for name, x, buffer in zip("kv", (k, v), self._buffers, strict=True):
            if (x.shape[:-2], x.shape[-1]) != (buffer.shape[:-2], buffer.shape[-1]) or x.dtype != buffer.dtype:
                raise ValueError(
                    f"{name} is {x.dtype} {x.shape} but the cache holds {buffer.dtype} "
                    f"{(*buffer.shape[:-2], self._kept, buffer.shape[-1])}: only the number of tokens may change"
                )
        wanted = self._kept + k.shape[-2]
        if self._start + wanted > self._buffers[0].shape[-2]:
            self._buffers = tuple(self._moved(b, wanted) for b in self._buffers)
            self._start = 0
        first = self._start + self._kept
        for x, buffer in zip((k, v), self._buffers, strict=True):
            buffer[..., first : first + k.shape[-2], :] = x
        self._kept = wanted
        self.position += k.shape[-2]

    def _moved(self, buffer, wanted):
        """What is kept, at the front of a buffer with room to grow; half empty, so that moving stays rare."""
        new = np.empty((*buffer.shape[:-2], 2 * wanted, buffer.shape[-1]), buffer.dtype)
        new[..., : self._kept, :] = self._kept_of(buffer)
        return new

    def trim(self) -> None:
        """Forget what the window no longer sees."""
        if self.window is not None and self._kept > self.window:
            self._start += self._kept - self.window
            self._kept = self.window


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
        For CUDA arrays: the cache is in host memory.

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
) -> Any:
    """A step of any mechanism: new tokens join the cache, and ``attend(call)`` gives their outputs, flat.

    The call is causal, on the keys and values of the cache. If it is refused, the cache is as it was.
    """
    if devices.on_cuda(q=q, k=k, v=v):
        raise TypeError("q, k, v are CUDA arrays but the cache is in host memory: pass pa.to_host of them")
    q, k, v, _ = check_arrays(q, k, v)
    if q.shape[-2] != k.shape[-2]:
        raise ValueError(f"q has {q.shape[-2]} tokens but k has {k.shape[-2]}: a step brings a query for every key")
    if rope is not None:
        positions = np.arange(cache.position, cache.position + k.shape[-2])
        q, k = rotate(q, positions, rope), rotate(k, positions, rope)
    kept, position = cache._kept, cache.position
    cache.append(k, v)
    try:
        keys, values = cache._buffers
        call = check_call(
            q, keys, values, keys=cache._kept, causal=True, mask=mask, scale=scale, window=cache.window, alibi=alibi
        )
    except (TypeError, ValueError):
        cache._kept, cache.position = kept, position
        raise
    x, g = call.problem, call.layout
    x = x._replace(k=x.k[cache._start * g.width :], v=x.v[cache._start * g.depth :])
    out = attend(call._replace(problem=x))
    cache.trim()
    return call.shaped(out, g.queries, g.depth)
