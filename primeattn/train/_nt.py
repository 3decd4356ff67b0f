"""NT(N, tau): the next symbol is the last one plus that of tau symbols ago, modulo N.

    x_t = (x_{t-1} + x_{t-tau}) mod N,    x_0 .. x_{tau-1} uniform

N = 2 is a delayed exclusive or. There are N^tau sequences, and from tau symbols on the rule is certain, so that an
accuracy of 1 can be reached. The task of Expressive Attention (Gros 2025); the sizes are ours.
"""

from typing import Any

import numpy as np

from .._runtime.arguments import whole_number
from ._task import Sequences


class NT(Sequences):
    """Predict x_t = (x_{t-1} + x_{t-tau}) mod N.

    Parameters
    ----------
    n : int
        N, the number of symbols.
    delay : int
        tau.
    context : int, optional
        Tokens of a sequence, by default tau + 8; the predictions from the tau-th token on count.

    Examples
    --------
    >>> from primeattn import train
    >>> inputs, targets, weights = train.NT(n=2, delay=3).batch(0, 1)
    >>> inputs[0], weights[0, :4]
    (array([0, 1, 1, 1, 0, 1, 0, 0, 1, 1, 1]), array([0., 0., 1., 1.], dtype=float32))
    >>> bool((targets[0, 2:] == (inputs[0, 2:] + inputs[0, :-2]) % 2).all())
    True
    """

    name = "nt"

    def __init__(self, n: int = 2, delay: int = 5, *, context: int | None = None):
        self.vocabulary, self.delay = whole_number("n", n, 2), whole_number("delay", delay, 1)
        self.context = whole_number("context", self.delay + 8 if context is None else context, self.delay)

    @property
    def config(self) -> dict[str, Any]:
        return {"task": self.name, "n": self.vocabulary, "delay": self.delay, "context": self.context}

    def draw(self, rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Sequences from random beginnings."""
        tokens = np.empty((size, self.context + 1), np.int64)
        tokens[:, : self.delay] = rng.integers(0, self.vocabulary, (size, self.delay))
        for t in range(self.delay, self.context + 1):
            tokens[:, t] = (tokens[:, t - 1] + tokens[:, t - self.delay]) % self.vocabulary
        weights = np.zeros((size, self.context), np.float32)
        weights[:, self.delay - 1 :] = 1
        return tokens, weights
