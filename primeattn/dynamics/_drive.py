"""Runs the kernels: memory, threads, pieces short enough to be interrupted."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numba import get_num_threads

from .._runtime.memory import zeros
from .._runtime.owners import share
from .._runtime.team import barrier, march
from ._methods import Method
from ._phases import Phases, Sizes
from ._slices import memory, slices
from ._walk import GOING, Space, Steps, controlled, fixed

_TEAM_FROM = 16_384  # oscillators: below that, meeting costs more than a second thread brings
_PIECE = 2.0e7  # derivative evaluations of one oscillator or edge between two looks at Ctrl-C: about 0.2 s


class Position(NamedTuple):
    """Where runs are: with the states, all that is needed to go on to the same bits.

    Attributes
    ----------
    y : ndarray of float, shape (runs, N)
    place : ndarray of int, shape (3,)
        Next sample, steps taken towards it, steps taken in all (fixed steps).
    clock : ndarray of float, shape (runs, 3)
        Time, next step, 1 after a rejection (error control).
    cursor : ndarray of int, shape (runs, 4)
        Next sample, accepted steps, rejected steps, status (error control).
    """

    y: np.ndarray
    place: np.ndarray
    clock: np.ndarray
    cursor: np.ndarray


def start(y: np.ndarray, t0: float) -> Position:
    runs = len(y)
    clock = np.zeros((runs, 3))
    clock[:, 0] = t0
    return Position(np.array(y, float), np.zeros(3, np.int64), clock, np.zeros((runs, 4), np.int64))


class Drive:
    """One model, one method, one set of tolerances."""

    def __init__(self, phases: Phases, sizes: Sizes, method: Method, *, dt, rtol, atol, seed, longest=math.inf):
        if len(phases.indices):
            found = slices(phases.indptr, phases.indices, phases.weight, phases.edges)
            phases = phases._replace(**found._asdict())
        self.phases, self.sizes, self.method = phases, sizes, method
        self.dt, self.rtol, self.atol, self.seed, self.longest = dt, rtol, atol, seed, longest
        m = method
        self._steps = tuple(Steps(m.a, m.b, m.c, m.noise, m.errors, m.extra_a, m.extra_c, m.dense))

    def pieces(self, position: Position, t0: float, times: np.ndarray, saved: np.ndarray) -> Iterator[int]:
        """Fill ``saved`` (runs, samples, N) from ``position``, which moves; yields how many samples all runs have."""
        runs, g = len(position.y), self.sizes
        work = (g.n * g.variables + len(self.phases.indices)) * self.method.stages
        threads = get_num_threads()
        team = min(threads, len(self.phases.group)) if runs == 1 and g.n >= _TEAM_FROM else 1
        together = min(runs, threads) if team == 1 else 1
        budget = max(1, int(_PIECE * together / (work * runs)))
        while True:
            if team > 1:
                self._as_team(team, position, t0, times, saved, budget)
            else:
                self._by_runs(runs, position, t0, times, saved, budget)
            done = int(position.cursor[:, 0].min() if self.method.adaptive else position.place[0])
            yield done
            if done == len(times) or position.cursor[:, 3].any():
                return

    def _space(self, team: int) -> Space:
        g, m = self.sizes, self.method
        states, rows = g.n * g.variables, m.stages + 1 + len(m.extra_c)
        blocks, each = len(self.phases.group), g.groups * g.harmonics * 2
        pairs = memory(g.harmonics, g.n) if len(self.phases.starts) else 0
        return Space(
            *zeros(
                (rows if m.adaptive else m.stages) * states, states, states if m.adaptive else 0,
                4 * g.harmonics * g.n + pairs, 4 * g.harmonics * blocks, 2 * blocks, 2 * g.n if g.noisy else 0,
                team * each, team * each,
            )
        )  # fmt: skip

    def _owned(self, team: int) -> np.ndarray:
        """Blocks of each thread, of equal cost."""
        x = self.phases
        cost = np.diff(x.edges) * 8.0
        if len(x.indptr):
            cost += np.diff(x.indptr[x.edges])
        passed = np.concatenate([[0.0], np.cumsum(cost)])
        return np.searchsorted(passed, np.linspace(0, passed[-1], team + 1) * (1 - 1e-12)).astype(np.int64)

    def _call(self, me, team, state, first, last, space, owned, position, place, t0, times, saved, budget):
        common = (me, team, state, first, last, tuple(self.phases), tuple(self.sizes), self._steps, tuple(space), owned)
        y = position.y.reshape(-1)
        if self.method.adaptive:
            controlled(
                *common, y, times, saved.reshape(-1), self.rtol, self.atol, 1 / (self.method.error_order + 1),
                self.longest, position.clock.reshape(-1), position.cursor.reshape(-1), budget,
            )  # fmt: skip
        else:
            fixed(*common, y, t0, times, saved.reshape(-1), self.dt, self.seed, place, budget)

    def _as_team(self, team, position, t0, times, saved, budget):
        space, owned, state = self._space(team), self._owned(team), barrier()

        def work(me):
            self._call(me, team, state, 0, 1, space, owned, position, position.place, t0, times, saved, budget)

        march(work, team, state)

    def _by_runs(self, runs, position, t0, times, saved, budget):
        reached = position.place.copy()

        def work(first, last):
            place = position.place.copy()
            space, state = self._space(1), barrier()
            self._call(0, 1, state, first, last, space, self._owned(1), position, place, t0, times, saved, budget)
            reached[:] = place  # the same for all runs

        share(work, runs, 1, 4)
        position.place[:] = reached


__all__ = ["GOING", "Drive", "Position", "start"]
