"""What a forward pass leaves for the backward pass, and the memory that both of them use."""

from typing import Any

import numpy as np

from .._runtime import devices, memory


class Room:
    """Arrays of one thread, used again and again: fresh memory costs page faults, and lies in no cache."""

    def __init__(self, dtype, like=None):
        self.dtype, self.like = np.dtype(dtype), like
        self._free: dict[int, list[Any]] = {}

    def take(self, size: int) -> Any:
        free = self._free.get(size)
        if free:
            return free.pop()
        if self.like is None:
            return memory.aligned(size, self.dtype)
        return devices.empty(size, self.dtype, like=self.like)

    def give(self, x) -> None:
        if self.like is None:  # on CUDA the driver's own pool does this
            self._free.setdefault(x.size, []).append(x)


class Tape:
    """The tape of one pass over some sequences.

    Attributes
    ----------
    saving : bool
        Whether a backward pass follows; `save` keeps nothing otherwise.
    training : bool
        Whether dropout drops.
    seed, step, first : int
        What random numbers depend on: the seed, the step of training, and the place of the first sequence in the batch.
    shared : dict
        State that travels across layers. Arrays in it must not come from `empty`.
    """

    def __init__(
        self, room: Room, *, saving: bool, training: bool = False, seed: int = 0, step: int = 0, first: int = 0
    ):
        self.room, self.saving, self.training = room, saving, training
        self.seed, self.step, self.first = seed, step, first
        self.shared: dict[Any, Any] = {}
        self._saved: list[tuple] = []
        self._taken: list[Any] = []
        self._marks: list[list[Any]] = []

    def empty(self, *shape: int) -> Any:
        """Uninitialised numbers of the model, valid until the backward pass of this layer is through."""
        size = 1
        for n in shape:
            size *= n
        x = self.room.take(size)
        self._taken.append(x)
        return x.reshape(shape)

    def drop(self, *arrays: Any) -> None:
        """Give back what `empty` gave and nobody will look at again: the next array then lies in a cache already."""
        for x in arrays:
            where = _base(x)
            for i in range(len(self._taken) - 1, -1, -1):
                if _base(self._taken[i]) is where:
                    self.room.give(self._taken.pop(i))
                    break

    def save(self, *things: Any) -> None:
        """Keep things for the backward pass of this layer."""
        if self.saving:
            self._saved.append(things)

    def load(self) -> tuple:
        """What was saved last and not loaded yet."""
        return self._saved.pop()

    def branch(self, *, saving: bool) -> "Tape":
        """Another tape of the same pass, with the same room and shared state."""
        tape = Tape(self.room, saving=saving, training=self.training, seed=self.seed, step=self.step, first=self.first)
        tape.shared = self.shared
        return tape

    def adopt(self, branch: "Tape", kept) -> None:
        """A branch is through: only ``kept`` is still needed of what it took, by this tape."""
        branch._release(kept)
        self._taken += branch._taken
        branch._taken = []

    def close_layer(self, out) -> None:
        """The forward pass of a layer is through. Without a backward pass, only its output is still needed."""
        if self.saving:
            self._marks.append(self._taken)
            self._taken = []
        else:
            self._release(out)

    def open_layer(self) -> None:
        """The backward pass of the last layer begins whose has not."""
        self._taken += self._marks.pop()

    def shut_layer(self, out) -> None:
        """The backward pass of a layer is through: only what it returned is still needed."""
        self._release(out)

    def _release(self, kept) -> None:
        """Give everything back but ``kept``, which the next layer may give back."""
        still, where = [], _base(kept)
        for x in self._taken:
            if _base(x) is where:
                still.append(x)
            else:
                self.room.give(x)
        self._taken = still


def _base(x):
    """The array that owns the memory."""
    if type(x) is np.ndarray:  # views of views name it themselves
        return x if x.base is None else x.base
    while getattr(x, "base", None) is not None and hasattr(x.base, "dtype"):
        x = x.base
    return x
