"""Associative recall: pairs of a key and a value, then one of the keys again; which value belongs to it?"""

from typing import Any

import numpy as np

from .._runtime.arguments import whole_number
from ._task import Sequences


class AssociativeRecall(Sequences):
    """Find the value that stood behind a key.

    Parameters
    ----------
    keys, values : int
        How many different ones; keys are tokens 0 .. keys - 1, values follow.
    pairs : int
        Pairs of a sequence; the keys of one sequence differ.

    Examples
    --------
    >>> from primeattn import train
    >>> inputs, targets, weights = train.AssociativeRecall(keys=4, values=4, pairs=2).batch(1, 1)
    >>> inputs[0], int(targets[0, -1])
    (array([3, 4, 0, 5, 0]), 5)
    """

    name = "recall"

    def __init__(self, keys: int = 16, values: int = 16, pairs: int = 8):
        self.keys, self.values, self.pairs = (
            whole_number("keys", keys, 1),
            whole_number("values", values, 2),
            whole_number("pairs", pairs, 1),
        )
        if self.pairs > self.keys:
            raise ValueError(f"pairs is {pairs} and keys is {keys}: the keys of a sequence differ, so pairs <= keys")
        self.vocabulary, self.context = self.keys + self.values, 2 * self.pairs + 1

    @property
    def config(self) -> dict[str, Any]:
        return {"task": self.name, "keys": self.keys, "values": self.values, "pairs": self.pairs}

    @property
    def chance(self) -> float:
        return 1 / self.values

    def draw(self, rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Pairs, a key, its value."""
        keys = np.argsort(rng.random((size, self.keys)), axis=1)[:, : self.pairs]
        values = self.keys + rng.integers(0, self.values, (size, self.pairs))
        asked = rng.integers(0, self.pairs, (size, 1))
        tokens = np.empty((size, self.context + 1), np.int64)
        tokens[:, 0:-2:2], tokens[:, 1:-2:2] = keys, values
        tokens[:, -2:-1] = np.take_along_axis(keys, asked, 1)
        tokens[:, -1:] = np.take_along_axis(values, asked, 1)
        weights = np.zeros((size, self.context), np.float32)
        weights[:, -1] = 1
        return tokens, weights
