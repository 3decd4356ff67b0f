"""A time step in pieces: `_rows` in order, on one device and in one precision."""

import math
from itertools import pairwise
from typing import Any

import numpy as np

from .._runtime import devices
from . import _rows
from ._methods import Method
from ._phases import Phases, Sizes


class Engine:
    """The pieces of a step on one device and in one precision, with memory for ``runs`` states.

    Parameters
    ----------
    phases, sizes : Phases, Sizes
        In host memory; moved and converted here.
    runs, stages : int
    like : array
        NumPy or CUDA, float32 or float64: which device and precision.

    Attributes
    ----------
    y : array of float, shape (runs * N,)
        The state that `step` moves.
    """

    def __init__(self, phases: Phases, sizes: Sizes, runs: int, stages: int, like: Any):
        g = sizes
        self.sizes, self.runs, self.stages = sizes, runs, stages
        self.real: Any = np.dtype(like.dtype).type
        self.states = g.states
        fine = coarse = phases
        if devices.is_device_array(like):
            fine, coarse = _in_blocks(phases, 1), _in_blocks(phases, max(32, math.isqrt(g.n)))
        self._blocks, self._coarse_blocks = len(fine.group), len(coarse.group)
        moved = {name: self._move(x, like) for name, x in fine._asdict().items()}
        self._fine = tuple(moved.values())
        cut = {name: self._move(getattr(coarse, name), like) for name in ("edges", "group")}
        self._coarse = tuple((moved | cut).values())
        self._sizes, self._senseless = tuple(g), tuple(g._replace(mean=0))

        def room(size):
            x = devices.empty(size, self.real, like=like)
            return devices.device_view(x) if devices.is_device_array(x) else x

        each = runs * g.groups * g.harmonics * 2
        self.y, self.stage = room(runs * self.states), room(runs * self.states)
        self._slopes = room(runs * stages * self.states)
        self._features = room(runs * g.harmonics * 2 * g.n)
        self._sums = room(runs * self._coarse_blocks * g.harmonics * 2)
        self._moments, self._field = room(each), room(each)
        self._noise = room(runs * 2 * g.kicked * g.n if g.noisy else 1)

    def _move(self, x: np.ndarray, like: Any) -> Any:
        x = np.ascontiguousarray(x, self.real if x.dtype.kind == "f" else x.dtype)
        if not devices.is_device_array(like):
            return x
        return devices.to_device(x if x.size else np.zeros(0, x.dtype))

    def replace_omega(self, omega: Any) -> None:
        """Frequencies that are on the device already, flat."""
        at = Phases._fields.index("omega")
        self._fine = (*self._fine[:at], omega, *self._fine[at + 1 :])
        self._coarse = (*self._coarse[:at], omega, *self._coarse[at + 1 :])

    def replace_network(self, phases: Phases, like: Any) -> None:
        """Another network of as many oscillators."""
        names = ("indptr", "indices", "weight", "scale")
        moved = {name: self._move(getattr(phases, name), like) for name in names}
        self._fine = tuple(Phases(*self._fine)._replace(**moved))
        self._coarse = tuple(Phases(*self._coarse)._replace(**moved))

    def slope(self, state: Any, t: float, number: int, slopes: Any) -> None:
        """The derivative at ``state``, as slope ``number``."""
        rows, g = self.runs * self._blocks, self._sizes
        _rows.SENSE(rows, self._fine, self._senseless, state, self._features)
        if self.sizes.mean:
            _rows.ADD_UP(self.runs * self._coarse_blocks, self._coarse, g, self._features, self._sums)
        _rows.FIELDS(self.runs, self._coarse, g, self.real(t), self._sums, self._moments, self._field)
        stages = len(slopes) // (self.runs * self.states)
        _rows.SLOPE(rows, self._fine, g, self.real(t), self._field, self._features, state, stages, number, slopes)

    def step(self, method: "Tableau", h: float, t: float, seed: int, count: int) -> None:
        """Move ``y`` from t to t + h; ``count`` numbers the noise."""
        rows, fine, g, real = self.runs * self._blocks, self._fine, self._sizes, self.real
        if self.sizes.noisy:
            _rows.DRAW(rows, fine, g, real(h), seed, count, self._noise)
        state = self.y
        for number, (coefficients, w, z) in enumerate(method.passes):
            self.slope(state, t + method.c[number] * h, number, self._slopes)
            state = self.stage
            _rows.COMBINE(rows, fine, g, self.y, self.stages, self._slopes, real(h), coefficients, state)
            if method.swings[number] is not None:
                _rows.SWING(rows, fine, g, self.stages, self._slopes, real(h), method.swings[number], state)
            if self.sizes.noisy and (w or z):
                _rows.KICK(rows, fine, g, self._noise, real(w), real(z), state)
        self.y, self.stage = self.stage, self.y


class Tableau:
    """A method of fixed steps in the precision and on the device of an array."""

    def __init__(self, method: Method, like: Any):
        self.c = method.c
        rows = [*(method.a[i, :i] for i in range(1, method.stages)), method.b]
        kicks = [*method.noise[1:], (1.0, 0.0)]
        real = np.dtype(like.dtype).type
        move = devices.to_device if devices.is_device_array(like) else np.asarray
        self.swings = [move(row.astype(real)) if row.any() else None for row in method.nystrom[1:]]
        self.passes = [(move(row.astype(real)), float(w), float(z)) for row, (w, z) in zip(rows, kicks, strict=True)]


def _in_blocks(phases: Phases, size: int) -> Phases:
    """The same oscillators, cut anew within each block."""
    parts = [np.arange(a, b, size) for a, b in pairwise(phases.edges)]
    group = np.repeat(phases.group, [len(part) for part in parts])
    return phases._replace(edges=np.concatenate([*parts, phases.edges[-1:]]), group=group)


def copy(source: Any, to: Any) -> None:
    """Flat array to flat array, wherever they are."""
    if devices.is_device_array(to):
        to.copy_to_device(source)
    elif devices.is_device_array(source):
        to[...] = source.copy_to_host()
    else:
        to[...] = source


def flat(x: Any) -> Any:
    return (devices.device_view(x) if devices.is_device_array(x) else x).reshape(-1)


def placed(x: np.ndarray, like: Any) -> Any:
    """A copy of the kind, the device and the precision of an array."""
    out = devices.empty(x.shape, like.dtype, like=like)
    copy(x.astype(like.dtype).reshape(-1), flat(out))
    return out
