"""From the first sample to the last: pieces, samples, progress, checkpoints, Ctrl-C."""

import signal
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager

import numpy as np

from .._runtime.memory import Scratch
from ._checkpoint import Checkpoint
from ._collect import Collector
from ._drive import Drive, Position
from ._drive_cuda import DeviceDrive
from ._drive_scipy import ScipyDrive

_CHUNK = 1 << 22  # numbers of saved states in memory at a time: 32 MiB

FINISHED, INTERRUPTED = "finished", "interrupted"


class Interruption(AbstractContextManager):
    """Ctrl-C asks for a stop between two pieces, so that no state is torn; a second one does not wait.

    Only where Python's own handler is in place and this is the main thread; a handler of the user's is left alone.
    """

    def __init__(self) -> None:
        self.asked = False
        self._ours = False

    def __enter__(self):
        main = threading.current_thread() is threading.main_thread()
        if main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._ask)
            self._ours = True
        return self

    def __exit__(self, *_):
        if self._ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _ask(self, number, frame):
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


class Run:
    """A drive, where it is, and what is kept."""

    def __init__(self, drive: Drive | DeviceDrive | ScipyDrive, position: Position, t0: float, collector: Collector):
        self.drive, self.position, self.t0, self.collector = drive, position, t0, collector
        self.times = collector.times
        runs, states = position.y.shape
        self._chunk = max(1, _CHUNK // (runs * states))
        self._ahead = np.empty((runs, 0, states))  # samples that only some runs have reached

    def to_arrays(self, saved: np.ndarray, done: int, ahead: int) -> dict[str, np.ndarray]:
        """All of it, for a checkpoint; ``saved`` holds the samples of the chunk, of which ``done`` are collected.

        Some runs are ``ahead``.
        """
        arrays = {f"position.{name}": value for name, value in self.position._asdict().items()}
        arrays["ahead"] = saved[:, done : max(done, ahead)]
        arrays["seed"] = np.array(self.drive.seed)
        return arrays | {f"collector.{name}": value for name, value in self.collector.to_arrays().items()}

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        for name, value in self.position._asdict().items():
            value[...] = arrays[f"position.{name}"]
        self.drive.seed = int(arrays["seed"])
        self._ahead = arrays["ahead"]
        prefix = "collector."
        self.collector.restore({k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)})

    def steps(self) -> dict[str, np.ndarray | int]:
        """How many were taken, and with error control refused; by run then."""
        if not self.drive.method.adaptive:
            return {"steps": int(self.position.place[2])}
        return {"steps": self.position.cursor[:, 1].copy(), "rejected": self.position.cursor[:, 2].copy()}

    def go(self, checkpoint: Checkpoint | None, progress: Callable[[float, float], None] | None) -> str:
        """To the last sample, or as far as it goes; how it ended."""
        try:
            with Interruption() as interruption, Scratch() as take:
                runs, states = self.position.y.shape
                room = take(runs * min(self._chunk, len(self.times)) * states, np.float64)
                return self._chunks(room, interruption, checkpoint, progress)
        except KeyboardInterrupt:  # from elsewhere: the state may be torn, so the last checkpoint stays
            return INTERRUPTED

    def _chunks(self, room, interruption, checkpoint, progress) -> str:
        collector, position = self.collector, self.position
        runs, states = position.y.shape
        while collector.count < len(self.times):
            first = collector.count // self._chunk * self._chunk
            here, done = self.times[first : first + self._chunk], collector.count - first
            saved = room[: runs * len(here) * states].reshape(runs, len(here), states)
            saved[:, done : done + self._ahead.shape[1]] = self._ahead
            self._ahead = saved[:, :0]
            start = self.t0 if first == 0 else float(self.times[first - 1])
            for reached in self.drive.pieces(position, start, here, saved):
                good = collector.add(saved[:, done:reached])
                done = reached
                if not good or not np.isfinite(position.y).all():
                    at = self._time(start, here) if good else float(self.times[collector.count])
                    return f"stopped after t = {collector.t_end:g}: {self._why(at)}"
                if position.cursor[:, 3].any():
                    return f"stopped after t = {collector.t_end:g}: {self._too_small()}"
                if done == len(here):  # go on with the next chunk
                    position.place[:2] = 0
                    position.cursor[:, 0] = 0
                finished = collector.count == len(self.times)
                if checkpoint is not None and (checkpoint.due or interruption.asked or finished):
                    ahead = done if done == len(here) else self.drive.reached(position, start, here)[1]
                    checkpoint.write(self.to_arrays(saved, done, ahead))
                if progress is not None:
                    t = self._time(start, here) if done < len(here) else float(here[-1])
                    progress(abs(t - self.t0) / (abs(self.times[-1] - self.t0) or 1.0), t)
                if interruption.asked and not finished:
                    return INTERRUPTED
        return FINISHED

    def _time(self, start: float, here: np.ndarray) -> float:
        """How far it is, between samples, too; the mean over runs."""
        return self.drive.time(self.position, start, here)

    def _why(self, at: float) -> str:
        bad = np.flatnonzero(~np.isfinite(self.position.y).all(axis=1))
        which = f" of run {bad[0]}" if len(bad) and len(self.position.y) > 1 else ""
        what = "no longer finite" if len(bad) else "beyond 1e15 rad, where phases have no direction"
        advice = "smaller tolerances" if self.drive.method.adaptive else f"a dt below {self.drive.dt:g}"
        return f"by t = {at:g} the state{which} is {what}; try {advice}"

    def _too_small(self) -> str:
        run = int(np.argmax(self.position.cursor[:, 3]))
        which = f" of run {run}" if len(self.position.y) > 1 else ""
        at = self.position.clock[run, 0]
        return f"the step{which} fell below the resolution of time at t = {at:g}; try larger tolerances"
