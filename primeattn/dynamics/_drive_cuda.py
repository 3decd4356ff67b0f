"""Fixed steps on CUDA, piece by piece: what `_drive.Drive` is on the CPU, to rounding the same numbers.

The state stays on the device; samples are copied to host memory, where observables are computed.
"""

import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from ._engine import Engine, Tableau, copy
from ._methods import Method
from ._phases import Phases, Sizes
from ._stops import Course, Position, active

_PIECE = 0.2  # seconds between two looks at Ctrl-C


class DeviceDrive(Course):
    """One model and one method of fixed steps, where ``like`` is and in its precision.

    ``networks`` are the model's arrays, once for each network, and ``changes`` the times from which on each holds.
    """

    def __init__(
        self,
        networks: list[Phases],
        changes: np.ndarray,
        sizes: Sizes,
        method: Method,
        *,
        dt: float,
        seed: int,
        like: Any,
    ):
        super().__init__(method, dt)
        self.phases, self.sizes, self.seed = networks[0], sizes, seed
        self._networks, self._changes, self._held = networks, changes, 0
        schedule = self.phases.schedule
        self.kinks = np.union1d(changes[1:], schedule[: len(schedule) // 2])
        self._like = like
        self._tableau = Tableau(method, like)
        self._engine: Engine | None = None

    def pieces(self, position: Position, t0: float, times: np.ndarray, saved: np.ndarray) -> Iterator[int]:
        """As of `_drive.Drive`."""
        if self._engine is None:
            self._engine = Engine(self._networks[0], self.sizes, len(position.y), self.method.stages, self._like)
        engine, y = self._engine, position.y
        copy(y.reshape(-1).astype(engine.real), engine.y)
        stop, step, count = (int(k) for k in position.place)
        stops = self.stops(t0, times)
        begun, last = time.monotonic(), len(stops.times)
        while stop < last:
            start = float(stops.times[stop - 1]) if stop else t0
            span = float(stops.times[stop]) - start
            parts = self.parts(span)
            h = span / max(parts, 1)
            which = active(self._changes, start, float(stops.times[stop]))
            if which != self._held:
                engine.replace_network(self._networks[which], self._like)
                self._held = which
            while step < parts:
                engine.step(self._tableau, h, start + step * h, self.seed, count)
                step, count = step + 1, count + 1
                if time.monotonic() - begun > _PIECE and step < parts:
                    y[...] = engine.y.copy_to_host().reshape(y.shape)
                    position.place[:] = stop, step, count
                    yield stops.samples(stop)
                    begun = time.monotonic()
            y[...] = engine.y.copy_to_host().reshape(y.shape)
            if stops.keep[stop] >= 0:
                saved[:, stops.keep[stop]] = y
            stop, step = stop + 1, 0
            if time.monotonic() - begun > _PIECE or stop == last:
                position.place[:] = stop, step, count
                yield stops.samples(stop)
                begun = time.monotonic()
