r"""Learned positions: y_t = x_t + P_t, hence dL/dx = dL/dy and dL/dP_t = sum over sequences of dL/dy_t."""

from .._runtime.jit import bare_kernel, nonnegative, piece
from .._runtime.owners import Owner
from .._runtime.width import full_width
from .elementwise import COLUMNS
from .layer import Layer, flat
from .parameters import Parameter, normal


@piece
def place_row(i, x, table, period, y):
    y[i] = x[i] + table[i % period]


@bare_kernel
def place_cpu(start, stop, x, table, period, y):
    full_width()
    i = start
    while i < stop:
        at = i % period
        n = min(period - at, stop - i)
        for c in range(n):
            y[nonnegative(i + c)] = x[nonnegative(i + c)] + table[nonnegative(at + c)]
        i += n


#: y = x + table, sequence by sequence
PLACE = Owner(place_row, place_cpu, "F1 F1 i F1")


class Positions(Layer):
    """Adds a learned vector for each position of a sequence.

    Parameters
    ----------
    context : int
        Positions there are; a longer sequence is refused.
    width : int
    deviation : float
        Of the first vectors.
    """

    def __init__(self, context: int, width: int, deviation: float = 0.02):
        self.context, self.width, self.deviation = context, width, deviation

    def parameters(self):
        return {"table": Parameter((self.context, self.width), normal(self.deviation))}

    def forward(self, p, x, tape):
        return self._placed(p, x, tape, 0)

    def _placed(self, p, x, tape, first):
        tokens = x.shape[1]
        if first + tokens > self.context:
            raise ValueError(f"{first + tokens} tokens came but positions are learned up to {self.context}: pass fewer")
        y, size = tape.empty(*x.shape), tokens * self.width
        PLACE(x.size, flat(x), flat(p["table"])[first * self.width : first * self.width + size], size, flat(y))
        return y

    def backward(self, p, dy, tape, g):
        size = dy.shape[1] * self.width
        COLUMNS(size, flat(dy), dy.shape[0], size, flat(g["table"])[:size])
        return dy

    def memory(self):
        return {"position": 0}

    def step(self, p, x, memory, tape):
        y = self._placed(p, x, tape, memory["position"])
        memory["position"] += x.shape[1]
        return y
