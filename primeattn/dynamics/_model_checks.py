"""What models check, and the flat arrays that they make of it."""

from itertools import pairwise

import numpy as np

from .._runtime.checks import unmasked
from ._phases import BLOCK


def flat(x) -> np.ndarray:
    return np.ascontiguousarray(x, float).reshape(-1)


def pairs(z) -> np.ndarray:
    """Complex numbers as real and imaginary parts."""
    return np.ascontiguousarray(z, complex).view(float).reshape(-1)


def blocks(groups):
    """Edges of blocks of at most BLOCK oscillators, none across two groups, and the group of each."""
    sizes = np.bincount(groups)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    edges = np.concatenate([np.arange(a, b, BLOCK) for a, b in pairwise(starts)] + [starts[-1:]])
    return edges.astype(np.int64), groups[edges[:-1]]


def finite(name, x) -> np.ndarray:
    try:
        x = np.asarray(unmasked(name, x))
    except ValueError:
        raise ValueError(f"{name} is ragged: rows of one length are wanted") from None
    if x.dtype.kind not in "biuf":
        raise TypeError(f"{name} has dtype {x.dtype}: real numbers are wanted")
    x = x.astype(np.float64)
    if not np.isfinite(x).all():
        raise ValueError(f"{name} has entries that are NaN or infinite: finite numbers are wanted")
    return x


def numbers(name, x, lengths):
    if x is None:
        return None
    x = finite(name, x)
    if x.ndim != 1 or len(x) not in lengths:
        raise ValueError(f"{name} has shape {x.shape}: {' or '.join(map(str, lengths))} numbers are wanted")
    return tuple(map(float, x))


def checked_schedule(schedule) -> np.ndarray:
    """(2, k): times and factors."""
    if callable(schedule):
        raise TypeError("schedule is a function: its values s at times t, schedule=(t, s(t)), are wanted")
    try:
        x = finite("schedule", schedule)
    except ValueError as error:
        raise ValueError(f"schedule must be times and factors of one length ({error})") from None
    if x.ndim != 2 or len(x) != 2 or not x.size or (np.diff(x[0]) <= 0).any():
        raise ValueError(f"schedule has shape {x.shape}: (2, k), ascending times and factors, is wanted")
    return x


def checked_harmonics(harmonics):
    """{m: (strength, lag)}."""
    if not isinstance(harmonics or {}, dict):
        raise TypeError(f"harmonics is {harmonics!r}: a dict, {{2: strength}} or {{2: (strength, lag)}}, is wanted")
    checked = {}
    for m, value in (harmonics or {}).items():
        if not isinstance(m, int | np.integer) or not 2 <= m <= 64:
            raise ValueError(
                f"harmonics has the key {m!r}: whole numbers from 2 to 64 are wanted; the first is coupling="
            )
        pair = finite("harmonics", value).reshape(-1)
        if len(pair) not in (1, 2):
            raise ValueError(f"harmonics[{m}] is {value!r}: a strength, or (strength, lag), is wanted")
        checked[int(m)] = (float(pair[0]), float(pair[1]) if len(pair) == 2 else 0.0)
    return checked


def short(x) -> str:
    if isinstance(x, np.ndarray):
        return repr(float(x)) if x.ndim == 0 else f"array of shape {x.shape}"
    return repr(x)
