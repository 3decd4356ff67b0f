r"""Root-mean-square normalisation, per token.

    y_j = r x_j s_j,    r = (mean_k x_k^2 + eps)^(-1/2)

Since dr/dx_k = -r^3 x_k / D, with G = dL/dy:

    dL/dx_k = r (G_k s_k - x_k (r^2 / D) sum_j G_j s_j x_j),    dL/ds_j = sum over tokens of G_j x_j r

B. Zhang and R. Sennrich, "Root Mean Square Layer Normalization", arXiv:1910.07467.
"""

import math

from .._runtime.disjoint import disjoint
from .._runtime.jit import bare_kernel, nonnegative, piece, summing
from .._runtime.owners import Owner
from .._runtime.width import full_width
from .layer import Layer, flat
from .parameters import Parameter, constant


@summing
def squares(x, at, n):
    total = type(x[0])(0)
    for c in range(n):
        total += x[nonnegative(at + c)] * x[nonnegative(at + c)]
    return total


@summing
def triple(x, y, at, z, n):
    """sum x y z, where z is the same for all rows."""
    total = type(x[0])(0)
    for c in range(n):
        total += x[nonnegative(at + c)] * y[nonnegative(at + c)] * z[nonnegative(c)]
    return total


@piece
def normalise_row(row, x, scale, width, eps, y, r):
    at = row * width
    r[row] = type(eps)(1) / math.sqrt(squares(x, at, width) / type(eps)(width) + eps)
    for c in range(width):
        y[nonnegative(at + c)] = x[nonnegative(at + c)] * r[row] * scale[nonnegative(c)]


@bare_kernel
def normalise_cpu(start, stop, x, scale, width, eps, y, r):
    full_width()
    disjoint()
    for row in range(start, stop):
        normalise_row(row, x, scale, width, eps, y, r)


@piece
def normalise_pull_row(row, x, scale, width, r, dy, dx):
    at, factor = row * width, r[row]
    mean = triple(dy, x, at, scale, width) * factor * factor / type(factor)(width)
    for c in range(width):
        i = nonnegative(at + c)
        dx[i] = factor * (dy[i] * scale[nonnegative(c)] - x[i] * mean)


@bare_kernel
def normalise_pull_cpu(start, stop, x, scale, width, r, dy, dx):
    full_width()
    disjoint()
    for row in range(start, stop):
        normalise_pull_row(row, x, scale, width, r, dy, dx)


@piece
def scale_pull_row(c, x, width, r, dy, dscale):
    """Column c of the gradient of the scale."""
    total = dscale[c]
    for row in range(r.size):
        total += dy[row * width + c] * x[row * width + c] * r[row]
    dscale[c] = total


@bare_kernel
def scale_pull_cpu(start, stop, x, width, r, dy, dscale):
    full_width()
    disjoint()
    for row in range(r.size):
        for c in range(start, stop):
            i = nonnegative(row * width + c)
            dscale[nonnegative(c)] += dy[i] * x[i] * r[row]


NORMALISE = Owner(normalise_row, normalise_cpu, "F1 F1 i F F1 F1", grain=256)
NORMALISE_PULL = Owner(normalise_pull_row, normalise_pull_cpu, "F1 F1 i F1 F1 F1", grain=256)
SCALE_PULL = Owner(scale_pull_row, scale_pull_cpu, "F1 i F1 F1 F1", grain=1024)


class RMSNorm(Layer):
    """Every token divided by its root mean square, times a learned scale.

    Parameters
    ----------
    width : int
    eps : float
        Added to the mean of the squares.
    """

    def __init__(self, width: int, eps: float = 1e-5):
        self.width, self.eps = width, eps

    def parameters(self):
        return {"scale": Parameter((self.width,), constant(1.0))}

    def forward(self, p, x, tape):
        y, r = tape.empty(*x.shape), tape.empty(x.size // self.width)
        NORMALISE(r.size, flat(x), p["scale"], self.width, x.dtype.type(self.eps), flat(y), r)
        tape.save(x, r)
        return y

    def backward(self, p, dy, tape, g):
        x, r = tape.load()
        dx = tape.empty(*x.shape)
        SCALE_PULL(self.width, flat(x), self.width, r, flat(dy), g["scale"])
        NORMALISE_PULL(r.size, flat(x), p["scale"], self.width, r, flat(dy), flat(dx))
        return dx
