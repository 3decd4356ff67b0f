r"""A linear map.

y = x W + b,    dL/dx = dL/dy W',    dL/dW = sum over tokens of x' dL/dy,    dL/db = sum over tokens of dL/dy
"""

import math

from .._runtime import linalg
from .elementwise import COLUMNS, SHIFT
from .layer import Layer, flat, rows
from .parameters import Parameter, constant, normal


class Linear(Layer):
    """y = x W + b.

    Parameters
    ----------
    width, out : int
        Numbers of a token before and after.
    bias : bool
    gain : float
        Factor of the usual first deviation, 1 / sqrt(width).
    """

    def __init__(self, width: int, out: int, *, bias: bool = False, gain: float = 1.0):
        self.width, self.out, self.bias, self.gain = width, out, bias, gain

    def parameters(self):
        weight = Parameter((self.width, self.out), normal(self.gain / math.sqrt(self.width)), decay=True)
        return {"weight": weight, "bias": Parameter((self.out,), constant(0.0))} if self.bias else {"weight": weight}

    def forward(self, p, x, tape):
        y = tape.empty(*x.shape[:-1], self.out)
        linalg.multiply(rows(x), p["weight"], rows(y))
        if self.bias:
            SHIFT(y.size, flat(y), p["bias"], self.out, flat(y))
        tape.save(x)
        return y

    def backward(self, p, dy, tape, g):
        (x,) = tape.load()
        dx = tape.empty(*x.shape)
        linalg.multiply(rows(x), rows(dy), g["weight"], turn_a=True, add=True)
        if self.bias:
            COLUMNS(self.out, flat(dy), dy.size // self.out, self.out, g["bias"])
        linalg.multiply(rows(dy), p["weight"], rows(dx), turn_b=True)
        return dx
