r"""The gated feed-forward map.

    (a, b) = x W,    h = silu(a) b,    silu(a) = a sigmoid(a),    y = h V

With s = sigmoid(a), silu'(a) = s (1 + a (1 - s)), and H = dL/dh = dL/dy V':

    dL/da = H b s (1 + a (1 - s)),    dL/db = H a s,    dL/dV = h' dL/dy,    dL/dW = x' (dL/da, dL/db),
    dL/dx = (dL/da, dL/db) W'

h is not kept: backward makes it again beside the gradients of a and b, from the same sigmoid.

N. Shazeer, "GLU Variants Improve Transformer", arXiv:2002.05202.
"""

import math

from .._runtime import elementary as el
from .._runtime import linalg
from .._runtime.disjoint import disjoint
from .._runtime.jit import bare_kernel, nonnegative, piece
from .._runtime.owners import Owner
from .._runtime.width import full_width
from .feed_forward import FeedForward
from .layer import flat, rows
from .parameters import Parameter, normal


@piece
def gate_row(row, u, hidden, h):
    for c in range(hidden):
        a, b = u[nonnegative(2 * row * hidden + c)], u[nonnegative((2 * row + 1) * hidden + c)]
        h[nonnegative(row * hidden + c)] = a * el.sigmoid(a) * b


@bare_kernel
def gate_cpu(start, stop, u, hidden, h):
    full_width()
    disjoint()
    for row in range(start, stop):
        gate_row(row, u, hidden, h)


@piece
def gate_pull_row(row, u, hidden, dh):
    """In place: u becomes its gradient, and dh becomes h."""
    for c in range(hidden):
        i, j = nonnegative(2 * row * hidden + c), nonnegative((2 * row + 1) * hidden + c)
        k = nonnegative(row * hidden + c)
        a, b, d = u[i], u[j], dh[k]
        s = el.sigmoid(a)
        silu = a * s
        u[i] = d * b * (s + silu * (type(s)(1) - s))
        u[j] = d * silu
        dh[k] = silu * b


@bare_kernel
def gate_pull_cpu(start, stop, u, hidden, dh):
    full_width()
    disjoint()
    for row in range(start, stop):
        gate_pull_row(row, u, hidden, dh)


GATE = Owner(gate_row, gate_cpu, "F1 i F1", grain=64)
GATE_PULL = Owner(gate_pull_row, gate_pull_cpu, "F1 i F1", grain=64)


class SwiGLU(FeedForward):
    """y = (silu(a) b) V, (a, b) = x W.

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
            "up": Parameter((self.width, 2 * self.hidden), normal(1 / math.sqrt(self.width)), decay=True),
            "down": Parameter((self.hidden, self.out), normal(self.gain / math.sqrt(self.hidden)), decay=True),
        }

    def forward(self, p, x, tape):
        lead, hidden = x.shape[:-1], self.hidden
        u, h, y = tape.empty(*lead, 2 * hidden), tape.empty(*lead, hidden), tape.empty(*lead, self.out)
        linalg.multiply(rows(x), p["up"], rows(u))
        GATE(h.size // hidden, flat(u), hidden, flat(h))
        linalg.multiply(rows(h), p["down"], rows(y))
        tape.drop(h)
        tape.save(x, u)
        return y

    def backward(self, p, dy, tape, g):
        x, u = tape.load()
        hidden = self.hidden
        dh = tape.empty(*x.shape[:-1], hidden)
        linalg.multiply(rows(dy), p["down"], rows(dh), turn_b=True)
        GATE_PULL(dh.size // hidden, flat(u), hidden, flat(dh))
        h, du = dh, u
        linalg.multiply(rows(h), rows(dy), g["down"], turn_a=True, add=True)
        tape.drop(dh)
        dx = tape.empty(*x.shape)
        linalg.multiply(rows(x), rows(du), g["up"], turn_a=True, add=True)
        linalg.multiply(rows(du), p["up"], rows(dx), turn_b=True)
        tape.drop(u)
        return dx
