"""What a call of attention asks for, checked: heads, weights, temperature, and which keys a query may attend.

Causality, key padding and queries that are fewer than the keys all become one array, ``limit``: query i may attend
the first ``limit[i]`` keys. Padded keys are left out of the batch first (``kept``). Only a mask that differs from
query to query remains a mask.
"""

from typing import Any, NamedTuple

import numpy as np

from .._runtime import checks, devices
from ._options import Form, check_form, check_weights
from ._scalars import MASSES


class Heads(NamedTuple):
    """Mixing weights (H, 3), float64, and how many columns of the values a head owns."""

    weights: np.ndarray
    width: int


class Allowed(NamedTuple):
    """Which keys the queries may attend."""

    limit: np.ndarray  # int64 (n,), in 0 .. number of kept keys, never falling
    kept: np.ndarray | None  # int64, ascending: the keys that no key mask leaves out; None: all
    mask: np.ndarray | None  # bool (n, m): a mask that differs between queries


def check_attention_form(form: str, kind, weights, normalizer, overlap, amplitude) -> Form:
    """The score that attention uses; ``normalizer`` None is "union" for softmax and "sqrt" for the linear form."""
    if form not in ("softmax", "linear"):
        raise ValueError(f"form is {form!r}: pass 'softmax' or 'linear'")
    if normalizer is None:
        normalizer = "sqrt" if form == "linear" and kind == "kernel" and not amplitude else "union"
    found = check_form(kind, weights, normalizer, overlap, amplitude)
    if form == "linear" and (found.form != MASSES or found.ruzicka):
        raise ValueError(
            'form="linear" needs a finite feature map: pass kind="kernel" with normalizer="sqrt" or amplitude=True, '
            'and overlap="jaccard"; or form="softmax", which is exact for every kind'
        )
    return found


def schedule(heads: int) -> np.ndarray:
    """The original's weights of each head: from overlap to coherence, (.5 - .3 t, .3, .2 + .3 t), t = h / (H - 1)."""
    t = np.arange(heads) / max(heads - 1, 1)
    return np.stack([0.5 - 0.3 * t, np.full(heads, 0.3), 0.2 + 0.3 * t], axis=1)


def check_heads(heads, weights, kind: str, width: int) -> Heads:
    """Weights of each head. One head without weights has the default of its kind."""
    if isinstance(heads, bool) or not isinstance(heads, (int, np.integer)) or heads < 1:
        raise ValueError(f"heads is {heads!r}: a whole number >= 1 is wanted")
    w = None if weights is None else np.asarray(weights, dtype=np.float64)
    if w is not None and w.ndim == 2:
        if heads not in (1, len(w)) or not len(w):
            raise ValueError(f"heads is {heads} but weights has shape {w.shape}: one row of three for each head")
        w = np.array([check_weights(row, kind) for row in w])
    elif w is not None or heads == 1:
        w = np.tile(check_weights(w, kind), (int(heads), 1))
    else:
        w = schedule(int(heads))
    if width % len(w):
        raise ValueError(f"value has {width} columns, which {len(w)} heads cannot share: pad value, or change heads")
    return Heads(w, width // len(w))


def check_temperature(temperature) -> float:
    """A positive, finite number."""
    tau = float(temperature)
    if not (np.isfinite(tau) and tau > 0):
        raise ValueError(f"temperature is {temperature!r}: a finite number > 0 is wanted")
    return tau


def check_value(value, m: int) -> Any:
    """Dense values (m, d), contiguous, float32 or float64."""
    value = checks.as_floating("value", value)
    if value.ndim != 2 or value.shape[0] != m:
        raise ValueError(f"value has shape {value.shape}: ({m}, d) is wanted, one row for each of the {m} keys")
    return value


def check_allowed(n: int, m: int, causal: bool, mask, linear: bool) -> Allowed:
    """Turn ``causal`` and ``mask`` into limits, kept keys, and, only where it must be, a mask."""
    limit = np.clip(np.arange(n) + (m - n) + 1, 0, m) if causal else np.full(n, m)
    limit = limit.astype(np.int64)
    if mask is None:
        return Allowed(limit, None, None)
    mask = np.asarray(devices.to_host(mask))
    if mask.dtype != bool:
        raise TypeError(f"mask has dtype {mask.dtype}: booleans are wanted, True = may attend; pass mask.astype(bool)")
    if mask.ndim <= 1 or (mask.ndim == 2 and mask.shape[0] == 1):
        if mask.size not in (1, m):
            raise ValueError(f"mask has shape {mask.shape}: ({m},), one for each key, or ({n}, {m}) is wanted")
        keys = np.broadcast_to(mask.reshape(-1), (m,))
        kept = np.flatnonzero(keys)
        before = np.concatenate([[0], np.cumsum(keys, dtype=np.int64)])
        return Allowed(before[limit], kept, None)
    if mask.ndim > 2 or mask.shape[0] not in (1, n) or mask.shape[1] not in (1, m):
        raise ValueError(f"mask has shape {mask.shape}: ({m},), one for each key, or ({n}, {m}) is wanted")
    if linear:
        raise ValueError(
            f"mask has shape {mask.shape}: the linear form knows key padding only; pass a mask of shape ({m},), "
            f'or form="softmax"'
        )
    return Allowed(limit, None, np.broadcast_to(mask, (n, m)))
