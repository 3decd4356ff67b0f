"""States of an index taken, joined and brought to one precision."""

import numpy as np

from ._index_segment import Segment
from ._profiles import StateArrays, frozen


def converted(arrays: StateArrays, dtype) -> StateArrays:
    """In another precision."""
    if arrays.amplitude.dtype == dtype:
        return arrays
    with np.errstate(over="ignore"):
        amplitude, orientation = (frozen(x.astype(dtype)) for x in (arrays.amplitude, arrays.orientation))
    if not np.isfinite(amplitude).all():
        raise ValueError(f"an amplitude is too large for the {dtype} of this index: pass states.normalize()")
    return arrays._replace(amplitude=amplitude, orientation=orientation)


def none(dtype) -> StateArrays:
    """No states."""
    empty = np.empty(0, dtype)
    return StateArrays(*(frozen(x) for x in (np.zeros(1, np.int64), np.empty(0, np.int64), empty, empty)))


def take(arrays: StateArrays, rows: np.ndarray) -> StateArrays:
    """Some states, in the given order."""
    starts, lengths = arrays.indptr[rows], np.diff(arrays.indptr)[rows]
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    entry = np.arange(indptr[-1]) + np.repeat(starts - indptr[:-1], lengths)
    return StateArrays(
        *(
            frozen(x)
            for x in (
                indptr,
                arrays.primes[entry],
                arrays.amplitude.reshape(-1, 2)[entry],
                arrays.orientation.reshape(-1, 4)[entry],
            )
        )
    )


def alive(segment: Segment) -> tuple[StateArrays, np.ndarray]:
    """The states of a segment that were not removed, and their ids."""
    if segment.alive.all():
        return segment.states, segment.ids
    rows = np.flatnonzero(segment.alive)
    return take(segment.states, rows), segment.ids[rows]


def joined(parts: list[tuple[StateArrays, np.ndarray]]) -> tuple[StateArrays, np.ndarray]:
    """All parts as one, in order of the ids."""
    if len(parts) == 1:
        return parts[0]
    ids = np.concatenate([ids for _, ids in parts])
    shifts = np.cumsum([0, *(x.primes.size for x, _ in parts)])
    indptr = np.concatenate([[0], *(x.indptr[1:] + s for (x, _), s in zip(parts, shifts, strict=False))])
    arrays = StateArrays(indptr, *(np.concatenate([x[c] for x, _ in parts]) for c in range(1, 4)))
    order = np.argsort(ids)
    return take(arrays, order), ids[order]
