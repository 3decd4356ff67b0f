"""Modular addition: a + b = ? modulo p, learned from some of the p^2 sums and asked about the others."""

from typing import Any

import numpy as np

from .._runtime.arguments import whole_number
from ._task import TRAINING, Batch, Sequences, fits, generator, parted, stream_of


class ModularAddition(Sequences):
    """Add modulo p.

    Parameters
    ----------
    modulus : int
        p; tokens 0 .. p - 1 are numbers, token p is the sign.
    fraction : float
        Share of all p^2 sums that is there to learn from; the rest is halved into validation and test.

    Examples
    --------
    >>> from primeattn import train
    >>> task = train.ModularAddition(modulus=5, fraction=0.6)
    >>> inputs, targets, weights = task.batch(0, 1)
    >>> inputs[0], int(targets[0, -1])
    (array([1, 0, 5]), 1)
    >>> {split: len(task.held(split).inputs) for split in ("validation", "test")}
    {'validation': 5, 'test': 5}
    """

    name = "modular"

    def __init__(self, modulus: int = 59, fraction: float = 0.5):
        if isinstance(fraction, bool) or not isinstance(fraction, int | float | np.number) or not 0 <= fraction <= 1:
            raise ValueError(f"fraction is {fraction!r}: a share between 0 and 1 is wanted, such as 0.5")
        self.modulus, self.fraction = whole_number("modulus", modulus, 2), float(fraction)
        self.vocabulary, self.context = self.modulus + 1, 3
        order = generator(0, 3, self.modulus).permutation(self.modulus**2)
        known = round(self.fraction * len(order))
        rest = (len(order) - known + 1) // 2
        if not 0 < known < known + rest < len(order):
            raise ValueError(
                f"fraction is {fraction!r} of {len(order)} sums: a share is wanted that leaves some to learn from "
                "and two to ask, such as 0.5"
            )
        self._parts = order[:known], order[known : known + rest], order[known + rest :]

    @property
    def config(self) -> dict[str, Any]:
        return {"task": self.name, "modulus": self.modulus, "fraction": self.fraction}

    @property
    def chance(self) -> float:
        return 1 / self.modulus

    def draw(self, rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Some of the known sums."""
        return self._sums(rng.choice(self._parts[TRAINING], size))

    def batch(self, counter: int, size: int, *, seed: int = 0, context: int | None = None) -> Batch:
        """Batch number ``counter`` of a seed."""
        fits(self, context)
        return parted(*self.draw(generator(seed, TRAINING, counter), size))

    def held(self, split: str) -> Batch:
        """All sums of a split."""
        return parted(*self._sums(self._parts[stream_of(split)]))

    def _sums(self, which: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        a, b = np.divmod(which, self.modulus)
        sign = np.full_like(a, self.modulus)
        weights = np.zeros((len(a), 3), np.float32)
        weights[:, -1] = 1
        return np.stack([a, b, sign, (a + b) % self.modulus], axis=1), weights
