"""Masks that any mechanism takes: the nearest positions, the heaviest keys.

With an RBF score these are the attention of Krause models (Liu, Yue, Welling, Song, "Krause Synchronization
Transformers", arXiv:2602.11534): bounded confidence, a query listens to few who think alike.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import _labelled
from .._runtime import devices
from ._inputs import check_band


def window_mask(queries: int, keys: int, window: int, *, causal: bool = False) -> np.ndarray:
    """Which keys lie less than ``window`` positions away, for mechanisms that take no ``window`` themselves.

    Parameters
    ----------
    queries, keys : int
        Tokens. Query i stands at position i + keys - queries.
    window : int
        Only keys less than this many positions away.
    causal : bool
        None ahead.

    Returns
    -------
    mask : ndarray of bool, shape (queries, keys)

    Raises
    ------
    ValueError
        For a window below 1, or numbers of tokens that are none.

    Examples
    --------
    >>> import primeattn as pa
    >>> pa.attention.window_mask(3, 3, 2, causal=True).astype(int)
    array([[1, 0, 0],
           [1, 1, 0],
           [0, 1, 1]])
    """
    for name, value in (("queries", queries), ("keys", keys)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 0:
            raise ValueError(f"{name} is {value!r}: a number of tokens, 0 or more, is wanted")
    before, after = check_band(causal, window, queries, keys)
    distance = np.arange(keys) - np.arange(keys - queries, keys)[:, None]
    return (-before <= distance) & (distance <= after)


def heaviest(forward: Callable[..., Any], *inputs: Any, keep: int, **options: Any) -> np.ndarray:
    """`top_k_mask` of a mechanism's function."""
    if isinstance(keep, bool) or not isinstance(keep, int | np.integer) or keep < 1:
        raise ValueError(f"keep is {keep!r}: how many keys a query keeps, 1 or more, is wanted")
    if "return_weights" in options:
        raise TypeError("top_k_mask takes no return_weights: the mask is all that it gives; leave it out")
    _, weights = forward(*inputs, **options, return_weights=True)
    weights = abs(devices.to_host(weights.values if _labelled.is_labelled(weights) else weights))
    if not weights.size:
        return weights.astype(bool)
    broken = np.isnan(weights).any(axis=-1, keepdims=True)
    order = np.argsort(-weights, axis=-1, kind="stable")[..., :keep]
    mask = np.zeros(weights.shape, bool)
    np.put_along_axis(mask, order, True, axis=-1)
    return (mask & (weights > 0)) | broken
