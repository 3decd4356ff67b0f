"""Runs the kernels: memory, threads, pieces short enough to be interrupted."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numba import get_num_threads

from .._runtime.memory import physical_memory, zeros
from .._runtime.owners import share
from .._runtime.team import barrier, march
from . import _delay
from ._colour import stationary
from ._methods import Method
from ._model import Kuramoto
from ._neighbours import is_full, matrix
from ._phases import Phases
from ._slices import memory, ranges, slices
from ._stops import Course, Position, Stops, active, beginning, near
from ._walk import GOING, Space, Steps, controlled, fixed

_TEAM_FROM = 32_768  # oscillators: below that, meeting takes too much of what a second thread brings
_SMALL = 1 << 17  # numbers of all stages: 1 MB, which stays with the model
_KNOTS = 64  # of a schedule; more of them draw a curve, whose bends are small
_PIECE = 2.0e7  # derivative evaluations of one oscillator or edge between two looks at Ctrl-C: about 0.2 s


class Drive(Course):
    """One model, one method, one set of tolerances."""

    def __init__(self, model: Kuramoto, method: Method, *, dt, rtol, atol, seed, longest=math.inf, streams=None):
        super().__init__(method, dt)
        ready = _READY.get(model)
        if ready is None:
            ready = _READY[model] = _Ready(model)
        self.sizes, self._networks, self._changes, self.kinks = ready.sizes, ready.networks, ready.changes, ready.kinks
        self.phases = self._networks[0]
        if streams is not None:
            self.sizes = self.sizes._replace(stream=streams.start, streams=len(streams))
        self.rtol, self.atol, self.seed, self.longest = rtol, atol, seed, longest
        self._spaces: dict[tuple, list[Space]] = {}
        self._small = ready.spaces
        self._delays, self._correlation = model.delays, model.correlation_time
        m = method
        a, noise = np.concatenate([m.a, m.b[None]]), np.concatenate([m.noise, [[1.0, 0.0]]])
        self._steps = tuple(Steps(a, m.b, m.c, noise, m.nystrom, m.errors, m.extra_a, m.extra_c, m.dense))

    def start(self, y: np.ndarray, t0: float, times: np.ndarray, history: Any = None, count: int = 0) -> Position:
        position, g = beginning(y, t0, count), self.sizes
        runs, n = len(y), g.n
        if g.noisy == 2:
            sigma = self.phases.sigma.reshape(-1, n if g.sigma_each else 1)
            streams = [g.stream + run % g.streams for run in range(runs)]
            position = position._replace(colour=stationary(sigma, runs, n, self.seed, streams))
        if g.delayed:
            self.kinks = np.union1d(self.kinks, _delay.kinks(self._jumps(t0, times), self._delays))
            shortest, longest = float(self._delays[self._delays > 0].min()), float(self._delays.max())
            if self.dt > shortest * (1 + 1e-12):
                raise ValueError(
                    f"dt is {self.dt:g} but the smallest delay is {shortest:g}: dt={shortest:g} or less is wanted"
                )
            _refuse_beyond_memory(runs, longest / self.dt, n, longest)
            before = _delay.history_grid(t0, longest, self.dt)
            theta, velocity = _delay.history_values(history, before, y[:, :n], self.phases.omega.reshape(-1, n))
            stops = np.concatenate([[t0], self.stops(t0, times).times])
            parts = np.array([self.parts(span) for span in np.diff(stops)])
            switches = near(stops[1:], self._changes[1:], self.dt)
            parts[1:] += switches[:-1]  # two grid points
            known = len(before)
            slots = max(_delay.slots_for(longest, stops, parts, before), known + 2)
            _refuse_beyond_memory(runs, slots, n, longest)
            self._first, self._switches = known - count, stops[1:][switches]
            self.sizes = g._replace(slots=slots, first=self._first)
            path = _delay.room(runs, slots, n, g.delayed == 2)
            position = position._replace(path=path, when=np.zeros((runs, slots)))
            position.path[:, :known, 0], position.path[:, :known, 1] = theta, velocity
            position.path[:, known, 0] = y[:, :n]  # the same time again: the derivative jumps
            position.when[:, :known], position.when[:, known] = before, t0
        return position

    def pieces(self, position: Position, t0: float, times: np.ndarray, saved: np.ndarray) -> Iterator[int]:
        """Fill ``saved`` (runs, samples, N) from ``position``, which moves; yields how many samples all runs have."""
        runs, g = len(position.y), self.sizes
        work = (g.n * g.variables + len(self.phases.indices) + len(self.phases.matrix)) * self.method.stages
        threads = get_num_threads()
        team = min(threads, len(self.phases.group)) if runs == 1 and g.n >= _TEAM_FROM else 1
        together = min(runs, threads) if team == 1 else 1
        budget = max(1, int(_PIECE * together / (work * runs)))
        stops = self.stops(t0, times)
        begin = 0
        for end in stops.ends:
            here = Stops(stops.times[:end], stops.keep[:end], [])
            before = stops.times[begin - 1] if begin else t0
            which = active(self._changes, before, stops.times[end - 1])
            self.phases = self._networks[which]
            if g.delayed and len(self._networks) > 1:
                self._double(position, float(before), position.place[0] == begin and position.place[1] == 0)
            begin = end
            while self._done(position) < end:
                if team > 1:
                    self._as_team(team, position, t0, here, saved, budget)
                else:
                    self._by_runs(runs, position, t0, here, saved, budget)
                done = self._done(position)
                yield stops.samples(done)
                if position.cursor[:, 3].any():
                    return
                if done == end:  # the caller may have begun to count anew
                    break

    def _jumps(self, t0: float, times: np.ndarray) -> np.ndarray:
        """Times from which delays bring jumps back: the start, switches, and knots of a schedule that are no curve."""
        knots = self.phases.schedule[: len(self.phases.schedule) // 2]
        inside = [x[(x > t0) & (x < times[-1])] for x in (self._changes[1:], knots)]
        return np.concatenate([[t0], inside[0], inside[1] if len(inside[1]) <= _KNOTS else knots[:0]])

    def _double(self, position: Position, t: float, fresh: bool) -> None:
        """Where networks switch, theta' jumps: that of the step before stays, the next gets another point."""
        here = int(np.searchsorted(self._switches, t, side="right"))
        self.sizes = self.sizes._replace(first=self._first + here)
        if fresh and here and self._switches[here - 1] == t:
            newest, slots = self.sizes.first + int(position.place[2]), self.sizes.slots
            last, new = (newest - 1) % slots, newest % slots
            position.path[:, new, 0], position.when[:, new] = position.path[:, last, 0], position.when[:, last]

    def _done(self, position: Position) -> int:
        return int(position.cursor[:, 0].min() if self.method.adaptive else position.place[0])

    @contextmanager
    def _lent(self, team: int) -> Iterator[Space]:
        """A space of an earlier piece, or a new one: to clear 20 MB costs as much as a step of 10^6 edges.

        Small ones serve the next simulation of the model, too.
        """
        m, g = self.method, self.sizes
        kept = self._small if g.states * m.stages <= _SMALL and not g.delayed else self._spaces
        key = team, len(self.phases.begins), g._replace(first=0), m.stages, m.adaptive, len(m.extra_c)
        spaces = kept.setdefault(key, [])
        try:
            space = spaces.pop()  # several threads come here
        except IndexError:
            space = self._space(team)
        try:
            yield space
        finally:
            spaces.append(space)

    def _space(self, team: int) -> Space:
        g, m = self.sizes, self.method
        states, rows = g.states, m.stages + 1 + len(m.extra_c)
        blocks, each = len(self.phases.group), g.groups * g.harmonics * 2
        pairs = memory(g.harmonics, g.n, len(self.phases.begins)) if len(self.phases.starts) else 0
        copies, recalled = (8, g.n) if g.delayed == 1 else (4, 0)
        return Space(
            *zeros(
                (rows if m.adaptive else m.stages) * states, states, states if m.adaptive else 0, recalled,
                copies * g.harmonics * g.n + pairs, copies * g.harmonics * blocks, 2 * blocks,
                2 * g.kicked * g.n if g.noisy else 0, team * each, team * each,
            )
        )  # fmt: skip

    def _owned(self, team: int) -> np.ndarray:
        """Blocks of each thread, of equal cost."""
        x = self.phases
        if team == 1:
            return np.array([0, len(x.group)])
        cost = np.diff(x.edges) * 8.0
        if len(x.indptr):
            cost += np.diff(x.indptr[x.edges])
        passed = np.concatenate([[0.0], np.cumsum(cost)])
        return np.searchsorted(passed, np.linspace(0, passed[-1], team + 1) * (1 - 1e-12)).astype(np.int64)

    def _call(self, me, team, state, first, last, space, owned, position, place, t0, stops, saved, budget):
        common = (me, team, state, first, last, tuple(self.phases), tuple(self.sizes), self._steps, tuple(space), owned)
        y, samples, times, keep = position.y.reshape(-1), saved.shape[1], stops.times, stops.keep
        if self.method.adaptive:
            controlled(
                *common, y, times, keep, samples, saved.reshape(-1), self.rtol, self.atol,
                1 / (self.method.error_order + 1), self.longest, position.clock.reshape(-1),
                position.cursor.reshape(-1), budget,
            )  # fmt: skip
        else:
            path = position.path.transpose(0, 3, 1, 2) if self.sizes.delayed == 2 else position.path
            flat = (x.reshape(-1) for x in (path, position.when, position.colour))
            past = (*flat, self._delays, np.full(1, self._correlation or 0.0))  # as in Past
            fixed(*common, y, past, t0, times, keep, samples, saved.reshape(-1), self.dt, self.seed, place, budget)

    def _as_team(self, team, position, t0, stops, saved, budget):
        owned, state = self._owned(team), barrier()
        with self._lent(team) as space:

            def work(me):
                self._call(me, team, state, 0, 1, space, owned, position, position.place, t0, stops, saved, budget)

            march(work, team, state)

    def _by_runs(self, runs, position, t0, stops, saved, budget):
        reached = position.place.copy()

        def work(first, last):
            place = position.place.copy()
            with self._lent(1) as space:
                args = 0, 1, barrier(), first, last, space, self._owned(1), position, place, t0, stops, saved, budget
                self._call(*args)
            reached[:] = place  # the same for all runs

        share(work, runs, 1, 4)
        position.place[:] = reached


class _Ready:
    """What the kernels read of a model; networks in the order that they read best."""

    def __init__(self, model: Kuramoto):
        phases, self.sizes = model.arrays()
        self.changes, networks = model.changes(phases)
        ordered = not (self.sizes.delayed or self.sizes.kind or len(phases.learning))
        self.networks = [x._replace(**_in_order(x)) for x in networks] if ordered else networks
        among = self.sizes.ring or len(phases.corners) or any(len(x.matrix) for x in self.networks)
        fields = self.sizes.mean or len(phases.triads) or len(phases.forcing)
        self.sizes = self.sizes._replace(
            turns=1 if among or not ordered else 0,
            paired=1 if all(len(x.starts) for x in self.networks) and not (fields or among) else 0,
        )
        self.kinks = np.union1d(self.changes[1:], phases.schedule[: len(phases.schedule) // 2])
        self.spaces: dict[tuple, list[Space]] = {}


#: Of models that are still in use: to sort 10^6 edges costs as much as 15 time steps.
_READY: WeakKeyDictionary[Kuramoto, _Ready] = WeakKeyDictionary()


def _in_order(phases: Phases) -> dict[str, Any]:
    """The network as the kernels read it best: a full matrix without indices, others in slices."""
    if not len(phases.indices):
        return {}
    if is_full(phases.indptr, phases.indices):
        rows = matrix(phases.indptr, phases.indices, phases.weight)
        return {"matrix": rows, "indptr": phases.indptr[:0], "indices": phases.indices[:0], "weight": rows[:0]}
    cuts = ranges(len(phases.indptr) - 1, len(phases.indices))
    return slices(phases.indptr, phases.indices, phases.weight, phases.edges, cuts)._asdict()


def _refuse_beyond_memory(runs: int, slots: float, n: int, delay: float) -> None:
    wanted, there = 16 * runs * slots * n, physical_memory()
    if wanted > 0.8 * there:
        raise ValueError(
            f"a delay of {delay:g} takes {wanted / 2**30:.3g} GiB ({runs} runs, {slots:.3g} steps to remember, {n} "
            f"oscillators) but this machine has {there / 2**30:.3g} GiB: a larger dt, or fewer runs, are wanted"
        )


__all__ = ["GOING", "Drive", "Position"]
