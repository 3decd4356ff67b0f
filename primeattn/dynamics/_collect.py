"""What a simulation keeps of the samples that go by."""

from typing import Any

import numpy as np

from .._runtime.memory import physical_memory
from ._seen import Observable, Reduction, Seen

MEANINGFUL = 1e15  # radians: beyond that, float64 has no digits left for the direction

Wanted = tuple[Observable | Reduction, ...]


class Collector:
    """Observables, reductions and, if wanted, states of the samples so far.

    Attributes
    ----------
    count : int
        Samples so far.
    last : ndarray of float, shape (runs, states)
        The state at the last of them; the initial one before the first.
    """

    def __init__(self, model: Any, wanted: Wanted, times, t0: float, y0, *, save_theta: bool, transient: float):
        self.model, self.wanted, self.times, self.t0 = model, wanted, times, t0
        self.count: int = 0
        self.last: np.ndarray = y0  # not written to
        self._from = int(np.searchsorted(np.abs(times - t0), transient))  # the first sample of reductions
        self._taken: dict[str, list[np.ndarray]] = {o.name: [] for o in wanted if isinstance(o, Observable)}
        self._sums = {o.name: o.start(model, len(y0)) for o in wanted if isinstance(o, Reduction)}
        self.states = _room(len(y0), len(times), y0.shape[1]) if save_theta else None

    def add(self, states: np.ndarray) -> bool:
        """Take the next samples, (runs, samples, N or 2 N); False if one of them means nothing, which ends it all."""
        count = _good(states, self.model.size)
        if count:
            seen = self._seen(states[:, :count])
            new = {o.name: _apart(o.compute(seen), states) for o in self.wanted if isinstance(o, Observable)}
            skipped = max(0, self._from - self.count)
            for o in self.wanted:
                if isinstance(o, Reduction) and skipped < count:
                    sums = self._sums[o.name]
                    o.update(sums, seen.since(skipped))
                    sums |= {key: _apart(value, states) for key, value in sums.items()}
            for name, value in new.items():
                self._taken[name].append(value)
            if self.states is not None:
                self.states[:, self.count : self.count + count] = states[:, :count]
            self.count += count
            self.last = states[:, count - 1].copy()
        return count == states.shape[1]

    def _seen(self, states):
        first = self.count
        before = None
        if first:
            before = float(self.times[first - 1]), self.model.unpack(self.last).get("theta")
        return Seen(self.model, self.times[first : first + states.shape[1]], states, before)

    @property
    def t_end(self) -> float:
        """The time of ``last``."""
        return float(self.times[self.count - 1]) if self.count else self.t0

    def observables(self) -> dict[str, np.ndarray]:
        """(runs, samples, ...) by name; (runs, ...) of reductions."""
        found = {}
        for o in self.wanted:
            if isinstance(o, Reduction):
                found[o.name] = o.finish(self._sums[o.name])
            elif self._taken[o.name]:
                found[o.name] = np.concatenate(self._taken[o.name], axis=1)
            else:
                found[o.name] = o.compute(self._seen(np.ones((len(self.last), 1, self.model.states))))[:, :0]
        return found

    def to_arrays(self) -> dict[str, np.ndarray]:
        """All of it, for a checkpoint."""
        arrays = {"count": np.array(self.count), "last": self.last}
        for name, values in self._taken.items():
            if values:
                self._taken[name] = values = [np.concatenate(values, axis=1)]
                arrays[f"taken.{name}"] = values[0]
        for name, state in self._sums.items():
            arrays |= {f"sums.{name}.{key}": value for key, value in state.items()}
        if self.states is not None:
            arrays["states"] = self.states[:, : self.count]
        return arrays

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """The opposite of `to_arrays`."""
        self.count, self.last = int(arrays["count"]), arrays["last"]
        for name in self._taken:
            self._taken[name] = [arrays[f"taken.{name}"]] if self.count else []
        for name, state in self._sums.items():
            prefix = f"sums.{name}."
            state |= {key.removeprefix(prefix): x for key, x in arrays.items() if key.startswith(prefix)}
        if self.states is not None:
            self.states[:, : self.count] = arrays["states"]


def _apart(x: np.ndarray, states: np.ndarray) -> np.ndarray:
    """x, whose memory may not be that of samples, which is soon used for others."""
    return x.copy() if np.may_share_memory(x, states) else x


def _good(states: np.ndarray, n: int) -> int:
    """How many samples there are before the first that is not finite, or whose phases have no direction."""
    if states.size and max(states.max(), -states.min()) < MEANINGFUL:  # NaN is neither
        return states.shape[1]
    good = (np.isfinite(states).all(axis=-1) & (np.abs(states[..., :n]) < MEANINGFUL).all(axis=-1)).all(axis=0)
    return len(good) if good.all() else int(np.argmin(good))


def _room(runs: int, samples: int, states: int) -> np.ndarray:
    wanted, there = 8 * runs * samples * states, physical_memory()
    if wanted > 0.8 * there:
        raise ValueError(
            f"save_theta would keep {wanted / 2**30:.3g} GiB ({runs} runs, {samples} samples, {states} numbers each) "
            f"but this machine has {there / 2**30:.3g} GiB: fewer samples, or observables instead, are wanted"
        )
    return np.empty((runs, samples, states))
