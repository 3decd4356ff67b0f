r"""The feed-forward map with one hidden layer.

    u = x W + b,    h = gelu(u),    y = h V + c,    gelu(a) = a s(2 t(a)),    t(a) = sqrt(2 / pi) (a + 0.044715 a^3)

with s the logistic function, which is GELU in the usual form with tanh, since (1 + tanh t) / 2 = s(2 t). Hence

    gelu'(a) = s + a s (1 - s) 2 t'(a),    t'(a) = sqrt(2 / pi) (1 + 0.134145 a^2)

and, with dL/dh = dL/dy V',    dL/du = dL/dh gelu'(u),    dL/dV = h' dL/dy,    dL/dW = x' dL/du,    dL/dx = dL/du W'.

h is not kept: backward makes it again beside the gradient of u, from the same s.

D. Hendrycks and K. Gimpel, "Gaussian Error Linear Units", arXiv:1606.08415.
"""

import math

from .._runtime import elementary as el
from .._runtime import linalg
from .._runtime.disjoint import disjoint
from .._runtime.jit import bare_kernel, nonnegative, piece
from .._runtime.owners import Owner
from .._runtime.width import full_width
from .elementwise import COLUMNS, SHIFT
from .feed_forward import FeedForward
from .layer import flat, rows
from .parameters import Parameter, constant, normal

_SLOPE = 2 * math.sqrt(2 / math.pi)
_CUBE = 0.044715


@piece
def gelu(a):
    """gelu(a) and its derivative."""
    real = type(a)
    s = el.sigmoid(real(_SLOPE) * a * (real(1) + real(_CUBE) * a * a))
    value = a * s
    return value, s + value * (real(1) - s) * real(_SLOPE) * (real(1) + real(3 * _CUBE) * a * a)


@piece
def bend_row(i, u, h):
    h[i], _ = gelu(u[i])


@bare_kernel
def bend_cpu(start, stop, u, h):
    full_width()
    disjoint()
    for i in range(start, stop):
        bend_row(nonnegative(i), u, h)


@piece
def bend_pull_row(i, u, dh):
    """In place: u becomes its gradient, and dh becomes h."""
    h, slope = gelu(u[i])
    u[i], dh[i] = dh[i] * slope, h


@bare_kernel
def bend_pull_cpu(start, stop, u, dh):
    full_width()
    disjoint()
    for i in range(start, stop):
        bend_pull_row(nonnegative(i), u, dh)


BEND = Owner(bend_row, bend_cpu, "F1 F1")
BEND_PULL = Owner(bend_pull_row, bend_pull_cpu, "F1 F1")


class GeluMLP(FeedForward):
    """y = gelu(x W + b) V + c.

    Parameters
    ----------
    width, hidden : int
    out : int, optional
        Width of the output, that of the input by default.
    gain : float
        Factor of the first deviation of V, 1 / sqrt(hidden).
    """

    def parameters(self):
        return {
            "up": Parameter((self.width, self.hidden), normal(1 / math.sqrt(self.width)), decay=True),
            "up_bias": Parameter((self.hidden,), constant(0.0)),
            "down": Parameter((self.hidden, self.out), normal(self.gain / math.sqrt(self.hidden)), decay=True),
            "down_bias": Parameter((self.out,), constant(0.0)),
        }

    def forward(self, p, x, tape):
        lead, hidden = x.shape[:-1], self.hidden
        u, h, y = tape.empty(*lead, hidden), tape.empty(*lead, hidden), tape.empty(*lead, self.out)
        linalg.multiply(rows(x), p["up"], rows(u))
        SHIFT(u.size, flat(u), p["up_bias"], hidden, flat(u))
        BEND(u.size, flat(u), flat(h))
        linalg.multiply(rows(h), p["down"], rows(y))
        SHIFT(y.size, flat(y), p["down_bias"], self.out, flat(y))
        tape.drop(h)
        tape.save(x, u)
        return y

    def backward(self, p, dy, tape, g):
        x, u = tape.load()
        n, hidden = x.size // self.width, self.hidden
        dh = tape.empty(*u.shape)
        linalg.multiply(rows(dy), p["down"], rows(dh), turn_b=True)
        BEND_PULL(dh.size, flat(u), flat(dh))
        h, du = dh, u
        linalg.multiply(rows(h), rows(dy), g["down"], turn_a=True, add=True)
        tape.drop(h)
        COLUMNS(self.out, flat(dy), n, self.out, g["down_bias"])
        COLUMNS(hidden, flat(du), n, hidden, g["up_bias"])
        dx = tape.empty(*x.shape)
        linalg.multiply(rows(x), rows(du), g["up"], turn_a=True, add=True)
        linalg.multiply(rows(du), p["up"], rows(dx), turn_b=True)
        tape.drop(du)
        return dx
