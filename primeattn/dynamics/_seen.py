"""What observables are: a value at every sample, or one value from all samples; and what they are shown.

An observable is shown consecutive samples of all runs, as many at a time as memory and patience allow. What it returns
must not depend on how the samples are cut: a `Reduction` adds up sample by sample.
"""

from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from .. import circle
from .._runtime.elementary.arrays import SINCOS


class Seen:
    """Consecutive samples.

    Attributes
    ----------
    model : Kuramoto
    t : ndarray of float, shape (samples,)
    theta : ndarray of float, shape (runs, samples, N)
        Phases, not wrapped.
    velocity : ndarray of float, shape (runs, samples, N), or None
        theta' of a model with inertia.
    before : (float, ndarray of float, shape (runs, N)), or None
        Time and phases of the sample before; None at the first of all.
    parts : dict of ndarray, shapes (runs, samples, ...)
        All that a state is, by name: "theta", "velocity", "weights" of coupling that learns, "z" of amplitudes, "x" of
        points on spheres.
    """

    def __init__(self, model: Any, t: np.ndarray, states: np.ndarray, before: Any = None):
        self.model, self.t, self.before = model, t, before
        self.parts = model.unpack(states)
        self.theta = np.ascontiguousarray(self.parts.get("theta", states[..., :0]))
        self.velocity = self.parts.get("velocity")
        self._states = states
        self._moments: dict[int, np.ndarray] = {}

    def since(self, first: int) -> "Seen":
        """Without the samples before number ``first``."""
        if first == 0:
            return self
        return Seen(self.model, self.t[first:], self._states[:, first:], (self.t[first - 1], self.theta[:, first - 1]))

    def moment(self, m: int) -> np.ndarray:
        """Z_m = mean of exp(i m theta), complex, shape (runs, samples)."""
        if m not in self._moments:
            self._moments[m] = circle.order_parameter(self.theta, m)
        return self._moments[m]

    @cached_property
    def directions(self) -> np.ndarray:
        """exp(i theta), complex, shape (runs, samples, N)."""
        sine, cosine = np.empty(self.theta.size), np.empty(self.theta.size)
        SINCOS(self.theta.size, self.theta.reshape(-1), sine, cosine)
        return (cosine + 1j * sine).reshape(self.theta.shape)


class Observable(NamedTuple):
    """A value at every sample.

    Attributes
    ----------
    name, says, unit : str
    dims : tuple of str
        Axes beyond (run, time), such as "oscillator".
    compute : callable
        ``compute(seen)`` returns an array of shape (runs, samples, ...).
    """

    name: str
    says: str
    unit: str
    dims: tuple[str, ...]
    compute: Callable[[Seen], np.ndarray]


class Reduction(NamedTuple):
    """One value from all samples after the transient.

    Attributes
    ----------
    name, says, unit : str
    dims : tuple of str
        Axes beyond (run,).
    start : callable
        ``start(model, runs)`` returns a dict of arrays, which a checkpoint can hold.
    update : callable
        ``update(state, seen)`` changes those arrays, sample by sample.
    finish : callable
        ``finish(state)`` returns an array of shape (runs, ...); NaN where there were too few samples.
    """

    name: str
    says: str
    unit: str
    dims: tuple[str, ...]
    start: Callable[[Any, int], dict[str, np.ndarray]]
    update: Callable[[dict[str, np.ndarray], Seen], None]
    finish: Callable[[dict[str, np.ndarray]], np.ndarray]
