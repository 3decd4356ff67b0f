"""Streaming decode of eigen attention: a cache of compressed keys and values."""

from typing import Any

import numpy as np

from .._cache import Cache, check_cache, dot_product_step
from .._cores import run
from .._inputs import check_call
from .._labels import unwrap
from .._rope import rope as rotate
from .project import check_bases, down, up


class EigenCache(Cache):
    """Compressed keys and values of the tokens so far: a `Cache` of r and rv numbers a token.

    Parameters
    ----------
    window : int, optional
        As in `Cache`.

    Attributes
    ----------
    position, keys, values, nbytes
        As in `Cache`; keys and values compressed, keys without rotary positions.
    full_nbytes : int
        Size of the buffers of a `Cache` of the same tokens.
    ratio : float
        nbytes over full_nbytes, (r + rv) / (D + Dv); 1 while empty. The bases, D r + Dv rv numbers a head, are not
        counted: they are shared by all sequences.

    Examples
    --------
    >>> import numpy as np, primeattn as pa
    >>> cache, basis = pa.attention.EigenCache(), np.eye(8)[:, :2]
    >>> for x in np.ones((5, 1, 8)):
    ...     y = pa.attention.eigen_step(x, x, x, cache, basis_key=basis, basis_value=basis)
    >>> cache.keys.shape, cache.nbytes, cache.full_nbytes, cache.ratio
    ((5, 2), 512, 2048, 0.25)
    """

    def __init__(self, window: int | None = None):
        super().__init__(window)
        self._widths = (0, 0)

    def __repr__(self) -> str:
        return f"Eigen{super().__repr__()[:-1]}, {self.ratio:.0%} of the full cache)"

    @property
    def full_nbytes(self) -> int:
        return sum(b.nbytes // tuple(b.shape)[-1] * w for b, w in zip(self._buffers, self._widths, strict=False))

    @property
    def ratio(self) -> float:
        return self.nbytes / self.full_nbytes if self.full_nbytes else 1.0


def eigen_step(
    q: Any,
    k: Any,
    v: Any,
    cache: EigenCache,
    *,
    basis_key: Any,
    basis_value: Any,
    basis_query: Any = None,
    mask: Any = None,
    scale: float | None = None,
    rope: float | None = None,
) -> Any:
    """Causal `eigen` of new tokens to all tokens so far; their compressed keys and values join the cache.

    Step by step it gives what ``eigen(..., causal=True, window=cache.window)`` gives for the whole sequence.

    Parameters
    ----------
    q, k, v : ndarray of float, shapes (..., t, D), (..., t, D), (..., t, Dv)
        Of the next t tokens, usually 1; heads as in `eigen`.
    cache : EigenCache
        Changed in place.
    basis_key, basis_value, basis_query, scale, rope
        As in `eigen`; the same at every step. With rope all cached keys are lifted back to D dimensions at every
        step, in a buffer of that size: memory between steps is saved, time is not.
    mask : ndarray of bool, broadcastable to (..., t, kept + t), optional

    Returns
    -------
    ndarray of float, shape (..., t, Dv)

    Raises
    ------
    TypeError, ValueError
        As `eigen`, or if the arrays do not continue the cache, which is then as it was.

    Examples
    --------
    >>> import numpy as np, primeattn as pa
    >>> x, cache = np.eye(4), pa.attention.EigenCache()
    >>> bases = {"basis_key": np.eye(4)[:, :3], "basis_value": np.eye(4)}
    >>> steps = [pa.attention.eigen_step(*[x[i : i + 1]] * 3, cache, **bases) for i in range(4)]
    >>> bool(np.allclose(np.concatenate(steps), pa.attention.eigen(x, x, x, causal=True, **bases)))
    True
    """
    check_cache(cache)
    (q, k, v), wrap = unwrap(q, k, v)
    q, k, v, of_key, of_value, of_query = check_bases(q, k, v, basis_key, basis_value, basis_query)
    queries, keys = (tuple(x.shape)[-2] for x in (q, k))
    if queries != keys:
        raise ValueError(f"q has {queries} tokens but k has {keys}: a step brings a query for every key")
    scale = of_key.width**-0.5 if scale is None else scale
    narrow_k, narrow_v = down(k, of_key), down(v, of_value)
    if rope is None:
        narrow = dot_product_step(down(q, of_query or of_key), narrow_k, narrow_v, cache, mask=mask, scale=scale)
    else:
        narrow = _turned_step(q, narrow_k, narrow_v, cache, of_query or of_key, mask, scale, rope)
    cache._widths = (of_key.width, of_value.width)
    return wrap.out(up(narrow, of_value))


def _turned_step(q, k, v, cache, lifting, mask, scale, base):
    """The step with keys lifted and then turned, which the cache must not hold: it keeps what a basis can compress."""
    with cache.unchanged_on_error():
        cache.append(k, v)
        positions = np.arange(cache.position - cache._kept, cache.position)
        keys = rotate(up(cache.keys, lifting), positions, base)
        call = check_call(
            rotate(q, positions[len(positions) - tuple(q.shape)[-2] :], base), keys, cache.values, causal=True,
            mask=mask, scale=scale, window=cache.window, alibi=None,
        )  # fmt: skip
        out, _ = run.forward(call.problem, call.layout, call.heads)
        cache.trim()
    return call.shaped(out, call.layout.queries, call.layout.depth)
