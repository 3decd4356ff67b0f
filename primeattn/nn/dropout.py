r"""Dropout: y_j = x_j m_j / (1 - p), m_j = 0 with probability p, else 1; hence dL/dx_j = dL/dy_j m_j / (1 - p).

The masks are no state: number j of a token is a function of (seed, layer, step, place in the batch, j), made again in
the backward pass. So neither threads nor chunks nor recomputation change it.

N. Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from Overfitting", JMLR 15, 2014.
"""

import numpy as np

from .._runtime.jit import bare_kernel, piece
from .._runtime.owners import Owner
from .._runtime.random import words
from .layer import Layer, flat

_ALL = 2.0**32


@piece
def kept(word, bound, x, factor):
    return x * factor if word >= bound else type(x)(0)


@piece
def drop_row(row, x, first, width, seed, stream, step, limit, factor, y):
    """Token ``row``, which is number ``first + row`` of the batch; four numbers for each counter."""
    groups, at, bound = (width + 3) // 4, row * width, np.uint64(limit)
    for group in range(groups):
        a, b, c, d = words(seed, stream, step, (first + row) * groups + group)
        i, left = at + 4 * group, width - 4 * group
        y[i] = kept(a, bound, x[i], factor)
        if left > 1:
            y[i + 1] = kept(b, bound, x[i + 1], factor)
        if left > 2:
            y[i + 2] = kept(c, bound, x[i + 2], factor)
        if left > 3:
            y[i + 3] = kept(d, bound, x[i + 3], factor)


@bare_kernel
def drop_cpu(start, stop, x, first, width, seed, stream, step, limit, factor, y):
    for row in range(start, stop):
        drop_row(row, x, first, width, seed, stream, step, limit, factor, y)


DROP = Owner(drop_row, drop_cpu, "F1 i i i i i i F F1", grain=64)


class Dropout(Layer):
    """Numbers set to 0 at random while training, and the others scaled so that the mean stays.

    Parameters
    ----------
    rate : float
        Probability of 0, from 0 on, below 1.
    stream : int
        Layers with different streams drop independently.
    """

    def __init__(self, rate: float, stream: int):
        if not 0 <= rate < 1:
            raise ValueError(f"rate is {rate!r}: a probability is wanted, 0 <= rate < 1")
        self.rate, self.stream = float(rate), stream

    def _drop(self, x, tape):
        if not tape.training or self.rate == 0:
            return x
        y, (_, tokens, width) = tape.empty(*x.shape), x.shape
        limit, factor = round(self.rate * _ALL), x.dtype.type(1 / (1 - self.rate))
        first = tape.first * tokens
        DROP(x.size // width, flat(x), first, width, tape.seed, self.stream, tape.step, limit, factor, flat(y))
        return y

    def forward(self, p, x, tape):
        return self._drop(x, tape)

    def backward(self, p, dy, tape, g):
        return self._drop(dy, tape)
