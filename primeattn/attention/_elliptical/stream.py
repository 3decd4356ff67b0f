"""Streaming decode of elliptical attention."""

from typing import Any

import numpy as np

from ..._runtime.checks import common_floating
from .._cache import Cache, check_cache, dot_product_step
from .._inputs import check_arrays
from .._labels import unwrap
from .._rope import rope as rotate
from .metric import changed_key, changed_query, check_pairs, check_relevance, unlabelled


def elliptical_step(
    q: Any,
    k: Any,
    v: Any,
    cache: Cache,
    *,
    relevance: Any,
    metric: str = "dot",
    mask: Any = None,
    scale: float | None = None,
    rope: float | None = None,
) -> Any:
    """Causal `elliptical` of new tokens to all tokens so far; their keys and values join the cache.

    Step by step it gives what ``elliptical(..., causal=True, window=cache.window)`` gives for the whole sequence.

    Parameters
    ----------
    q, k, v : ndarray of float, shapes (..., t, D), (..., t, D), (..., t, Dv)
        Of the next t tokens, usually 1; heads as in `elliptical`.
    cache : Cache
        Changed in place. With the distance its keys have width 2 D: squares stand beside them, so that the relevance
        may change from step to step.
    relevance : ndarray of float, shape (..., D) or (..., t, D)
        As in `elliptical`, of the new queries: past keys know nothing of it.
    metric, scale, rope
        As in `elliptical`; the same at every step.
    mask : ndarray of bool, broadcastable to (..., t, kept + t), optional

    Returns
    -------
    ndarray of float, shape (..., t, Dv)

    Raises
    ------
    TypeError, ValueError
        As `elliptical`, or if the arrays do not continue the cache, which is then as it was.

    Examples
    --------
    >>> import numpy as np, primeattn as pa
    >>> x, m, cache = np.eye(3), [1.0, 0.5, 0.0], pa.attention.Cache()
    >>> steps = [pa.attention.elliptical_step(*[x[i : i + 1]] * 3, cache, relevance=m) for i in range(3)]
    >>> bool(np.allclose(np.concatenate(steps), pa.attention.elliptical(x, x, x, relevance=m, causal=True)))
    True
    """
    check_cache(cache)
    (q, k, v), wrap = unwrap(q, k, v)
    q, k, v, m = common_floating({}, q=q, k=k, v=v, relevance=unlabelled(relevance, wrap.q))
    q, k, v, _ = check_arrays(q, k, v)
    chosen = check_relevance(m, q, metric)
    if rope is not None:
        check_pairs(m)
        positions = np.arange(cache.position, cache.position + tuple(k.shape)[-2])
        q, k = rotate(q, positions[: tuple(q.shape)[-2]], rope), rotate(k, positions, rope)
    scale = chosen.width**-0.5 if scale is None else scale
    out = dot_product_step(changed_query(q, chosen), changed_key(k, chosen), v, cache, mask=mask, scale=scale)
    return wrap.out(out)
