"""Where runs are, and where their steps must end: samples, and times at which the derivative is not smooth."""

import math
from typing import Any, NamedTuple

import numpy as np

_NEAR = 1e-9  # of a step: a kink so near to a sample is the sample


class Position(NamedTuple):
    """Where runs are: with the states, all that is needed to go on to the same bits.

    Attributes
    ----------
    y : ndarray of float, shape (runs, N)
    place : ndarray of int, shape (3,)
        Next stop, steps taken towards it, steps taken in all (fixed steps).
    clock : ndarray of float, shape (runs, 3)
        Time, next step, 1 after a rejection (error control).
    cursor : ndarray of int, shape (runs, 4)
        Next stop, accepted steps, rejected steps, status (error control).
    path : ndarray of float, shape (runs, slots, 2, N)
        With a delay: phases and derivatives of the past; no slots otherwise.
    when : ndarray of float, shape (runs, slots)
        Their times.
    colour : ndarray of float, shape (runs, N)
        Coloured noise; (runs, 0) without.
    """

    y: np.ndarray
    place: np.ndarray
    clock: np.ndarray
    cursor: np.ndarray
    path: np.ndarray
    when: np.ndarray
    colour: np.ndarray


def beginning(y: np.ndarray, t0: float, count: int = 0) -> Position:
    """Without a past."""
    runs = len(y)
    clock = np.zeros((runs, 3))
    clock[:, 0] = t0
    nothing = np.zeros((runs, 0))
    return Position(
        np.array(y, float), np.array([0, 0, count], np.int64), clock, np.zeros((runs, 4), np.int64),
        np.zeros((runs, 0, 2, 0)), nothing, nothing,
    )  # fmt: skip


class Stops(NamedTuple):
    """Where steps end.

    Attributes
    ----------
    times : ndarray of float, shape (stops,)
    keep : ndarray of int, shape (stops,)
        Which sample a stop is; -1 for none.
    ends : list of int
        Stretches between kinks end before these stops.
    """

    times: np.ndarray
    keep: np.ndarray
    ends: list[int]

    def samples(self, stop: int) -> int:
        """How many samples the first ``stop`` stops hold."""
        return int(np.count_nonzero(self.keep[:stop] >= 0))


def merge(t0: float, times: np.ndarray, kinks: np.ndarray, dt: float) -> Stops:
    """Samples and the kinks between t0 and the last of them, either way in time; kinks ascend."""
    if not len(kinks):
        return Stops(times, np.arange(len(times)), [len(times)])
    sign, small = (1.0 if times[-1] >= t0 else -1.0), _NEAR * dt
    inside = kinks[(sign * (kinks - t0) > small) & (sign * (times[-1] - kinks) > small)]
    inside = inside[~near(inside, np.sort(times), dt)]
    merged = np.concatenate([times, inside])
    order = np.argsort(sign * merged, kind="stable")
    merged, keep = merged[order], np.where(order < len(times), order, -1)
    ends = np.flatnonzero(near(merged[:-1], kinks, dt)) + 1
    return Stops(merged, keep, [*ends.tolist(), len(merged)])


def near(x: np.ndarray, points: np.ndarray, dt: float) -> np.ndarray:
    """Whether there is one of some points, which ascend, so near that no step goes between."""
    return _distance(x, points) <= _NEAR * dt if len(points) else np.zeros(len(x), bool)


def _distance(x: np.ndarray, points: np.ndarray) -> np.ndarray:
    """To the nearest of some points, which ascend."""
    after = np.searchsorted(points, x)
    return np.minimum(
        np.abs(points[np.minimum(after, len(points) - 1)] - x), np.abs(points[np.maximum(after - 1, 0)] - x)
    )


def active(changes: Any, before: float, after: float) -> int:
    """Which of the networks that hold from given times on holds between two times; the first holds before, too."""
    return max(0, int(np.searchsorted(changes, (before + after) / 2, side="right")) - 1)


class Course:
    """What drives have in common: a method, its step, and where steps must end.

    ``position`` is that of `_drive`, ``times`` the samples after t0 that its stops are counted among.
    """

    def __init__(self, method: Any, dt: float):
        self.method, self.dt = method, dt
        self.kinks = np.zeros(0)

    def start(self, y: np.ndarray, t0: float, times: np.ndarray, history: Any = None, count: int = 0) -> Position:
        """At t0 with the states y, ``count`` steps having been taken; ``times`` are all samples to come."""
        return beginning(y, t0, count)

    def stops(self, t0: float, times: np.ndarray) -> Stops:
        return merge(t0, times, self.kinks, self.dt)

    def parts(self, span: float) -> int:
        """Into how many steps a time is cut."""
        return math.ceil(abs(span) / self.dt * (1 - 1e-12))

    def reached(self, position: Any, t0: float, times: np.ndarray) -> tuple[int, int]:
        """How many of the samples all runs have, and how many some have."""
        stops = self.stops(t0, times)
        now = position.cursor[:, 0] if self.method.adaptive else position.place[:1]
        return stops.samples(int(now.min())), stops.samples(int(now.max()))

    def time(self, position: Any, t0: float, times: np.ndarray) -> float:
        """How far it is; the mean over runs."""
        if self.method.adaptive:
            return float(position.clock[:, 0].mean())
        stops, stop, step = self.stops(t0, times).times, int(position.place[0]), int(position.place[1])
        if stop == len(stops):
            return float(stops[-1])
        before = float(stops[stop - 1]) if stop else t0
        span = float(stops[stop]) - before
        return before + span * step / max(self.parts(span), 1)
