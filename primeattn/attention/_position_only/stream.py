"""Streaming decode of position-only attention: a row of weights a token, on the values so far."""

from typing import Any

import numpy as np

from ..._runtime import devices
from ..._runtime.checks import common_floating
from .._cache import Cache, check_cache, no_keys
from .._inputs import check_mask
from .._labels import plain, unwrap
from . import run
from .call import check_call, check_symmetry


def position_only_step(
    v: Any, cache: Cache, *, alpha: Any, symmetry: Any = None, softmax: bool = False, mask: Any = None
) -> Any:
    """Causal `position_only` attention of new tokens to all tokens so far; their values join the cache.

    Step by step it gives what ``position_only(..., causal=True)`` gives for the whole sequence, with the weights of
    positions outside the window of the cache left out.

    Parameters
    ----------
    v : ndarray of float, shape (..., t, Dv)
        Values of the next t tokens, usually 1.
    cache : Cache
        Changed in place; its keys have width 0.
    alpha : ndarray of float, shape (..., T, T) or (..., T)
        As in `position_only`, for all T positions that will come; the same at every step.
    symmetry, softmax
        As in `position_only`; the same at every step.
    mask : ndarray of bool, broadcastable to (..., t, kept + t), optional

    Returns
    -------
    ndarray of float, shape (..., t, Dv)

    Raises
    ------
    ValueError
        As `position_only`, for more tokens than alpha has weights for, or if v does not continue the cache, which is
        then as it was.
    TypeError
        If the arrays are not where the cache is, on CUDA or on the host.

    Examples
    --------
    >>> import numpy as np, primeattn as pa
    >>> v, alpha, cache = np.array([[1.0], [2.0], [4.0]]), np.array([1.0, 0.5, 0.25]), pa.attention.Cache()
    >>> steps = [pa.attention.position_only_step(x[None], cache, alpha=alpha, symmetry="shift") for x in v]
    >>> np.concatenate(steps).ravel()
    array([1.  , 2.5 , 5.25])
    """
    check_cache(cache)
    (v, _, _), wrap = unwrap(v, v, v)
    v, alpha = common_floating({}, v=v, alpha=plain(alpha))
    symmetry = check_symmetry(symmetry, tuple(alpha.shape)[-1], True)
    with cache.unchanged_on_error():
        cache.append(no_keys(v), v)
        rows = rows_of(alpha, symmetry, cache.position, tuple(v.shape)[-2], len(cache))
        call = check_call(cache.values, rows, None, softmax, True, within(mask, v, len(cache), cache.window))
        out, *_ = run.forward(call, "table")
        cache.trim()
    return wrap.out(call.unpacked(out, call.shape.queries))


def rows_of(alpha, symmetry, position: int, new: int, kept: int):
    """Weights (..., new, kept) of the last positions."""
    *_, context = shape = tuple(alpha.shape)
    if symmetry is None and shape[-2:] != (context, context):
        raise ValueError(f"alpha has shape {shape}: (..., {context}, {context}), all pairs of positions, is wanted")
    if position > context:
        raise ValueError(f"{position} tokens came but alpha has weights for {context} positions: pass fewer")
    here, there = np.arange(position - new, position)[:, None], np.arange(position - kept, position)
    host = devices.to_host(alpha)
    if symmetry is None:
        rows = host[..., here, there]
    elif symmetry == "shift":
        rows = host[..., np.maximum(here - there, 0)]
    else:
        rows = host[..., symmetry.table[here, symmetry.inverse[there]]]
    rows = np.ascontiguousarray(rows)
    return devices.to_device(rows) if devices.is_device_array(alpha) else rows


def within(mask, v, kept: int, window: int | None):
    """The mask, and the window as one."""
    if window is None:
        return mask
    *lead, new, _ = tuple(v.shape)
    near = np.arange(kept - new, kept)[:, None] - np.arange(kept) < window
    if mask is not None:
        check_mask(mask, tuple(lead), new, kept, v)
        near = near & devices.to_host(mask)
    return devices.to_device(near) if devices.is_device_array(v) else near
