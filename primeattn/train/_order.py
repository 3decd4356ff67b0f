"""Order discrimination: different symbols in a row, then two of them; did the first of these come before the second?

The answer is a function of order alone: a model that sees a bag of tokens is right half of the time.
"""

from typing import Any

import numpy as np

from .._runtime.arguments import whole_number
from ._task import Sequences


class OrderDiscrimination(Sequences):
    """Say which of two symbols came first.

    Parameters
    ----------
    symbols : int
        How many different ones; the answers "later" and "earlier" are two more tokens.
    length : int
        Symbols in a row, all different.

    Examples
    --------
    >>> from primeattn import train
    >>> inputs, targets, weights = train.OrderDiscrimination(symbols=6, length=4).batch(0, 1)
    >>> inputs[0], int(targets[0, -1])
    (array([2, 0, 4, 3, 3, 0]), 6)
    """

    name = "order"

    def __init__(self, symbols: int = 16, length: int = 10):
        self.symbols, self.length = whole_number("symbols", symbols, 2), whole_number("length", length, 2)
        if self.length > self.symbols:
            raise ValueError(f"length is {length} and symbols is {symbols}: all of a row differ, so length <= symbols")
        self.vocabulary, self.context = self.symbols + 2, self.length + 2

    @property
    def config(self) -> dict[str, Any]:
        return {"task": self.name, "symbols": self.symbols, "length": self.length}

    @property
    def chance(self) -> float:
        return 0.5

    def draw(self, rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows, two of each, and the answer: ``symbols + 1`` if the first of the two came first."""
        row = np.argsort(rng.random((size, self.symbols)), axis=1)[:, : self.length]
        places = np.argsort(rng.random((size, self.length)), axis=1)[:, :2]
        two = np.take_along_axis(row, places, 1)
        answer = self.symbols + (places[:, :1] < places[:, 1:])
        weights = np.zeros((size, self.context), np.float32)
        weights[:, -1] = 1
        return np.concatenate([row, two, answer], axis=1), weights
