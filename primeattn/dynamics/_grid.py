"""Points of a sweep times runs, as many at a time as memory holds. A run's numbers depend on nothing but its number."""

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numba import get_num_threads

from ._collect import Collector
from ._drives import drive_for
from ._model import Kuramoto
from ._run import FINISHED, INTERRUPTED, Run
from ._seen import Reduction, Seen

_BY_RUN = ("coupling", "phase_lag", "diffusion")  # one kernel takes another number for each run
_NUMBERS = 1 << 22  # of states in a batch: 32 MiB, a few times
_WORK = 4.0e9  # derivative evaluations of one oscillator or edge in a batch: about ten seconds


class Axis(NamedTuple):
    """A parameter and its values: an array of numbers, or a list of anything."""

    name: str
    values: Any

    @property
    def by_run(self) -> bool:
        return self.name in _BY_RUN and isinstance(self.values, np.ndarray)


class Protocol(NamedTuple):
    """What is done at every point: the same for all, so that no result depends on what else is computed."""

    model: Kuramoto
    method: str
    stages: int
    dt: float
    rtol: float
    atol: float
    transient: float
    duration: float
    samples: int
    wanted: tuple[Reduction, ...]
    seed: int
    states: np.ndarray  # (runs, N or 2 N): initial states of all runs
    omega: np.ndarray | None  # (runs, N) where runs differ
    like: Any  # a CUDA array that says where and in which precision, or None
    directions: tuple[str, ...]  # in which the first axis is walked; () if its points are independent


def evaluate(
    protocol: Protocol, axes: Sequence[Axis], runs: range, progress: Callable[[float], None] = lambda share: None
) -> tuple[dict[str, np.ndarray], str]:
    """Arrays ([direction,] axes, run, ...) by name, NaN where nothing is known, and how it ended."""
    path = axes[0] if protocol.directions else None
    rest = axes[1:] if protocol.directions else axes
    outer, inner = [x for x in rest if not x.by_run], [x for x in rest if x.by_run]
    walk = _Walk(protocol, path, outer, inner, runs, progress)
    status = walk.go()
    ordered = [x for x in (path, *outer, *inner) if x is not None]
    lengths = [len(x.values) for x in ordered]
    names = [x.name for x in ordered]
    move = [1 + names.index(x.name) for x in axes]
    found = {}
    for name, x in walk.results.items():
        split = x.reshape(x.shape[0], *lengths, *x.shape[3:])
        moved = split.transpose(0, *move, *range(1 + len(axes), split.ndim))
        found[name] = moved if len(protocol.directions) > 1 else moved[0]
    return found, status


def shapes(protocol: Protocol) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """Axes beyond (run,) and dtype of every result, from a look at one sample of nothing."""
    model, found = protocol.model, {}
    with np.errstate(all="ignore"):
        for o in protocol.wanted:
            state = o.start(model, 1)
            o.update(state, Seen(model, np.zeros(1), np.ones((1, 1, model.states))))
            value = o.finish(state)
            found[o.name] = value.shape[1:], np.result_type(value.dtype, float)
    return found


class _Walk:
    """Batches of points and runs, each along the whole path of a continuation."""

    def __init__(self, protocol, path, outer, inner, runs, progress):
        self.protocol, self.path, self.inner, self.runs, self._progress = protocol, path, inner, runs, progress
        self.outer = [dict(zip([x.name for x in outer], v, strict=True)) for v in product(*(x.values for x in outer))]
        count = math.prod(len(x.values) for x in inner)
        self.points = np.array(list(product(*(x.values for x in inner))), float).reshape(count, len(inner))
        count = 1 if path is None else len(path.values)
        forth = range(count)
        self.steps = [
            (d, k)
            for d, direction in enumerate(protocol.directions or ("forward",))
            for k in (forth if direction == "forward" else reversed(forth))
        ]
        shape = len(self.steps) // count, count, len(self.outer), len(self.points), len(runs)
        self.results = {
            name: np.full((*shape[:2], shape[2] * shape[3], shape[4], *more), math.nan, dtype)
            for name, (more, dtype) in shapes(protocol).items()
        }
        self._done, self._whole = 0, math.prod(shape)
        self._lost: list[str] = []

    def go(self) -> str:
        try:
            status = self._go()
        except KeyboardInterrupt:
            status = INTERRUPTED
        if self._lost:
            says = "; ".join(self._lost[:3]) + ("; ..." if len(self._lost) > 3 else "")
            warnings.warn(f"sweep lost {len(self._lost)} runs: {says}", RuntimeWarning, stacklevel=4)
        return status

    def _go(self) -> str:
        for number in range(len(self.outer)):
            for points, runs in self._batches():
                if self._batch(number, points, runs) == INTERRUPTED:
                    return INTERRUPTED
        return FINISHED

    def _batches(self) -> Iterator[tuple[range, range]]:
        p, threads = self.protocol, get_num_threads()
        edges = 0 if p.model.edges is None else len(p.model.edges.indices)
        work = p.stages * (p.transient + p.duration) / p.dt * (p.model.states + edges)
        size = max(threads, min(_NUMBERS // p.model.states, int(_WORK / work)))
        abreast = min(size, len(self.runs))
        for points in _cut(range(len(self.points)), max(1, size // len(self.runs))):
            for runs in _cut(range(len(self.runs)), abreast):
                yield points, runs

    def _batch(self, number: int, points: range, runs: range) -> str:
        """Along the path; where a run breaks down, again in halves, until only that one is lost."""
        p, cells, before = self.protocol, len(points) * len(runs), self._done
        numbers = self.runs[runs.start : runs.stop]
        state, t, count = np.tile(p.states[numbers.start : numbers.stop], (len(points), 1)), 0.0, 0
        for direction, k in self.steps:
            changes = dict(self.outer[number])
            if self.path is not None:
                changes[self.path.name] = self.path.values[k]
            model = self._model(changes, points, numbers)
            values, state, count, status = _simulate(p, model, state, t, count, numbers, self._say(cells))
            if status == INTERRUPTED:
                return status
            if status != FINISHED:
                self._done = before
                if cells > 1:
                    return self._in_halves(number, points, runs)
                self._lost.append(f"run {numbers[0]} {status}")
                break
            at = number * len(self.points) + points.start
            for name, x in values.items():
                to = self.results[name][direction, k, at : at + len(points), runs.start : runs.stop]
                to[...] = x.reshape(to.shape)
            t += p.transient + p.duration
            self._done += cells
        self._done = before + cells * len(self.steps)
        return FINISHED

    def _in_halves(self, number: int, points: range, runs: range) -> str:
        half = len(points) // 2 or len(runs) // 2
        parts = [(a, runs) for a in (points[:half], points[half:])]
        if len(points) == 1:
            parts = [(points, a) for a in (runs[:half], runs[half:])]
        for part in parts:
            if self._batch(number, *part) == INTERRUPTED:
                return INTERRUPTED
        return FINISHED

    def _model(self, changes: dict[str, Any], points: range, numbers: range) -> Kuramoto:
        """The model of all points and runs of a batch; runs vary fastest."""
        p, many = self.protocol, len(points) * len(numbers)
        model = p.model if not changes else p.model.replace(**changes)
        each = np.repeat(self.points[points.start : points.stop], len(numbers), axis=0)
        by_run: dict[str, Any] = {x.name: as_runs(model, x.name, each[:, k]) for k, x in enumerate(self.inner)}
        if p.omega is not None:
            by_run["omega"] = np.tile(p.omega[numbers.start : numbers.stop], (len(points), 1))
        return model.replace(**by_run) if by_run and many else model

    def _say(self, cells: int) -> Callable[[float, float], None]:
        return lambda share, t: self._progress((self._done + share * cells) / self._whole)


def as_runs(model: Any, name: str, values: np.ndarray) -> np.ndarray:
    """Numbers, one a run, in the shape that the model wants."""
    if name == "diffusion":
        return values[:, None]
    if model.groups is None:
        return values
    number = int(model.groups[-1]) + 1
    return np.broadcast_to(values[:, None, None], (len(values), number, number))


def _cut(whole: range, size: int) -> Iterator[range]:
    for first in range(0, len(whole), size):
        yield whole[first : first + size]


def _simulate(p: Protocol, model: Kuramoto, state, t: float, count: int, numbers: range, progress):
    """Values, last state, steps taken in all, how it ended."""
    times = t + p.transient + np.linspace(0.0, p.duration, p.samples)
    drive = drive_for(
        model, p.method, dt=p.dt, rtol=p.rtol, atol=p.atol, seed=p.seed, device=p.like, streams=numbers
    )  # fmt: skip
    collector = Collector(model, p.wanted, times, t, state, save_theta=False, transient=0.0)
    position = drive.start(state, t, times, count=count)
    status = Run(drive, position, t, collector).go(None, progress)
    values = collector.observables() if status == FINISHED else {}
    return values, collector.last, int(position.place[2]), status
