"""SciPy's integrators behind the same call: slower, and written by others, which is what an oracle is for."""

import time
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ._flow import Flow
from ._model import Kuramoto
from ._stops import Course, Position
from ._walk import TOO_SMALL

PREFIX = "scipy:"
NAMES = ("RK45", "DOP853", "Radau", "BDF", "LSODA")
_PIECE = 0.2  # seconds between two looks at Ctrl-C


class ScipyMethod(NamedTuple):
    """What the driver asks of a method."""

    name: str
    adaptive: bool = True


def scipy_method(name: str) -> ScipyMethod:
    """Of "scipy:DOP853" and its like.

    Raises
    ------
    ValueError
        For another name.
    """
    if name.removeprefix(PREFIX) not in NAMES:
        raise ValueError(f"method is {name!r}: {', '.join(repr(PREFIX + one) for one in NAMES)} are wanted")
    return ScipyMethod(name.removeprefix(PREFIX))


class ScipyDrive(Course):
    """One model and one of SciPy's solvers; all runs are one system to it, with one step."""

    def __init__(self, model: Kuramoto, method: ScipyMethod, *, dt: float, rtol: float, atol: float, seed: int):
        super().__init__(method, dt)
        self.seed = seed
        self._flow, self._tolerances = Flow(model), {"rtol": rtol, "atol": atol}

    def pieces(self, position: Position, t0: float, times: np.ndarray, saved: np.ndarray) -> Iterator[int]:
        """As of `_drive.Drive`, from a sample on."""
        from scipy import integrate

        shape, sample, begun = position.y.shape, 0, time.monotonic()

        def slope(t, y):
            return self._flow(t, y.reshape(shape)).reshape(-1)

        while sample < len(times) and times[sample] == t0:
            saved[:, sample] = position.y
            sample += 1
        solver = None
        if sample < len(times):
            make = getattr(integrate, self.method.name)
            solver = make(slope, t0, position.y.reshape(-1), float(times[-1]), **self._tolerances)
        while solver is not None and sample < len(times):
            solver.step()
            if solver.status == "failed":
                position.cursor[:, 3] = TOO_SMALL
                break
            inside = solver.dense_output()
            while sample < len(times) and solver.direction * (solver.t - times[sample]) >= 0:
                saved[:, sample] = (solver.y if times[sample] == solver.t else inside(times[sample])).reshape(shape)
                sample += 1
            position.y[...] = solver.y.reshape(shape)
            position.clock[:, 0] = solver.t
            position.cursor[:, 1] += 1
            if time.monotonic() - begun > _PIECE and sample < len(times):
                yield sample
                begun = time.monotonic()
        yield sample
