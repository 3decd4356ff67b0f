"""Fixed steps on CUDA, piece by piece: what `_drive.Drive` is on the CPU, to rounding the same numbers.

The state stays on the device; samples are copied to host memory, where observables are computed.
"""

import math
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from ._drive import Position
from ._engine import Engine, Tableau, copy
from ._methods import Method
from ._phases import Phases, Sizes

_PIECE = 0.2  # seconds between two looks at Ctrl-C


class DeviceDrive:
    """One model and one method of fixed steps, where ``like`` is and in its precision."""

    def __init__(self, phases: Phases, sizes: Sizes, method: Method, *, dt: float, seed: int, like: Any):
        self.phases, self.sizes, self.method = phases, sizes, method
        self.dt, self.seed = dt, seed
        self._like = like
        self._tableau = Tableau(method, like)
        self._engine: Engine | None = None

    def pieces(self, position: Position, t0: float, times: np.ndarray, saved: np.ndarray) -> Iterator[int]:
        """As of `_drive.Drive`."""
        if self._engine is None:
            self._engine = Engine(self.phases, self.sizes, len(position.y), self.method.stages, self._like)
        engine, y = self._engine, position.y
        copy(y.reshape(-1).astype(engine.real), engine.y)
        sample, step, count = (int(k) for k in position.place)
        begun = time.monotonic()
        while sample < len(times):
            start = float(times[sample - 1]) if sample else t0
            span = float(times[sample]) - start
            parts = math.ceil(abs(span) / self.dt * (1 - 1e-12))
            h = span / max(parts, 1)
            while step < parts:
                engine.step(self._tableau, h, start + step * h, self.seed, count)
                step, count = step + 1, count + 1
                if time.monotonic() - begun > _PIECE and step < parts:
                    y[...] = engine.y.copy_to_host().reshape(y.shape)
                    position.place[:] = sample, step, count
                    yield sample
                    begun = time.monotonic()
            y[...] = engine.y.copy_to_host().reshape(y.shape)
            saved[:, sample] = y
            sample, step = sample + 1, 0
            if time.monotonic() - begun > _PIECE or sample == len(times):
                position.place[:] = sample, step, count
                yield sample
                begun = time.monotonic()
