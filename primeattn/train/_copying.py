"""Copy: some random symbols, a sign, and the same symbols again."""

from typing import Any

import numpy as np

from .._runtime.arguments import whole_number
from ._task import Sequences


class Copy(Sequences):
    """Repeat what stood before the sign.

    Parameters
    ----------
    symbols : int
        How many different ones; the sign is one more token.
    length : int
        How many are to be repeated.

    Examples
    --------
    >>> from primeattn import train
    >>> inputs, targets, weights = train.Copy(symbols=8, length=3).batch(0, 1)
    >>> inputs[0], targets[0]
    (array([0, 4, 7, 8, 0, 4]), array([4, 7, 8, 0, 4, 7]))
    """

    name = "copy"

    def __init__(self, symbols: int = 8, length: int = 12):
        self.symbols, self.length = whole_number("symbols", symbols, 2), whole_number("length", length, 1)
        self.vocabulary, self.context = self.symbols + 1, 2 * self.length

    @property
    def config(self) -> dict[str, Any]:
        return {"task": self.name, "symbols": self.symbols, "length": self.length}

    @property
    def chance(self) -> float:
        return 1 / self.symbols

    def draw(self, rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Random symbols twice."""
        first = rng.integers(0, self.symbols, (size, self.length))
        sign = np.full((size, 1), self.symbols)
        weights = np.zeros((size, self.context), np.float32)
        weights[:, self.length :] = 1
        return np.concatenate([first, sign, first], axis=1), weights
