"""What a simulation leaves behind."""

import dataclasses
from typing import Any

import numpy as np

from ._model import Kuramoto


@dataclasses.dataclass(frozen=True, eq=False)
class Trajectory:
    """Times, observables, and the phases if they were wanted.

    Attributes
    ----------
    t : ndarray of float, shape (samples,)
        Times reached: fewer than asked for if the run was interrupted or broke down.
    observables : dict of ndarray, shapes ([runs,] samples, ...)
    theta : ndarray of float, shape ([runs,] samples, N), or None
        Phases, not wrapped; with ``save_theta``.
    velocity : ndarray of float, shape ([runs,] samples, N), or None
        theta' of a model with inertia; with ``save_theta``.
    theta_end, velocity_end : ndarray of float, shape ([runs,] N)
        The last good state; what the next call can start from.
    model : Kuramoto
    settings : dict
        Method, tolerances, seed, steps taken.
    status : str
        "finished", "interrupted", or what went wrong.
    """

    t: np.ndarray
    observables: dict[str, np.ndarray]
    theta: np.ndarray | None
    velocity: np.ndarray | None
    theta_end: np.ndarray
    velocity_end: np.ndarray | None
    model: Kuramoto
    settings: dict[str, Any]
    status: str

    @property
    def R(self) -> np.ndarray:
        """The order parameter, shape ([runs,] samples)."""
        return self.observables["R"]

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.theta_end.shape))
        names = ", ".join(self.observables) or "no observables"
        return f"Trajectory({len(self.t)} samples of {shape} oscillators, {names}; {self.status})"
