r"""Layer normalisation, per token.

    m = mean_k x_k,    r = (mean_k (x_k - m)^2 + eps)^(-1/2),    h_j = (x_j - m) r,    y_j = h_j s_j + b_j

A change of x moves h only across the ones and across h itself, the directions that m and r take out. With G = dL/dy and
H_j = G_j s_j:

    dL/dx_k = r (H_k - mean_j H_j - h_k mean_j H_j h_j),
    dL/ds_j = sum over tokens of G_j h_j,    dL/db_j = sum over tokens of G_j

J. Ba, J. Kiros, G. Hinton, "Layer Normalization", arXiv:1607.06450.
"""

import math

from .._runtime.disjoint import disjoint
from .._runtime.jit import bare_kernel, nonnegative, piece, summing
from .._runtime.owners import Owner
from .._runtime.width import full_width
from .elementwise import COLUMNS
from .layer import Layer, flat
from .parameters import Parameter, constant


@summing
def total(x, at, n):
    sum_ = type(x[0])(0)
    for c in range(n):
        sum_ += x[nonnegative(at + c)]
    return sum_


@summing
def squares_about(x, at, n, mean):
    sum_ = type(mean)(0)
    for c in range(n):
        d = x[nonnegative(at + c)] - mean
        sum_ += d * d
    return sum_


@summing
def two_sums(x, dy, at, scale, n, mean):
    """sum H and sum H (x - mean)."""
    first, second = type(mean)(0), type(mean)(0)
    for c in range(n):
        h = dy[nonnegative(at + c)] * scale[nonnegative(c)]
        first += h
        second += h * (x[nonnegative(at + c)] - mean)
    return first, second


@piece
def center_row(row, x, scale, shift, width, eps, y, means, r):
    at, real = row * width, type(eps)
    mean = total(x, at, width) / real(width)
    factor = real(1) / math.sqrt(squares_about(x, at, width, mean) / real(width) + eps)
    means[row], r[row] = mean, factor
    for c in range(width):
        i = nonnegative(at + c)
        y[i] = (x[i] - mean) * factor * scale[nonnegative(c)] + shift[nonnegative(c)]


@bare_kernel
def center_cpu(start, stop, x, scale, shift, width, eps, y, means, r):
    full_width()
    disjoint()
    for row in range(start, stop):
        center_row(row, x, scale, shift, width, eps, y, means, r)


@piece
def center_pull_row(row, x, scale, width, means, r, dy, dx):
    at, mean, factor = row * width, means[row], r[row]
    first, second = two_sums(x, dy, at, scale, width, mean)
    first, second = first / type(mean)(width), second / type(mean)(width) * factor * factor
    for c in range(width):
        i = nonnegative(at + c)
        dx[i] = factor * (dy[i] * scale[nonnegative(c)] - first - (x[i] - mean) * second)


@bare_kernel
def center_pull_cpu(start, stop, x, scale, width, means, r, dy, dx):
    full_width()
    disjoint()
    for row in range(start, stop):
        center_pull_row(row, x, scale, width, means, r, dy, dx)


@piece
def center_scale_row(c, x, width, means, r, dy, dscale):
    """Column c of the gradient of the scale."""
    sum_ = dscale[c]
    for row in range(r.size):
        sum_ += dy[row * width + c] * (x[row * width + c] - means[row]) * r[row]
    dscale[c] = sum_


@bare_kernel
def center_scale_cpu(start, stop, x, width, means, r, dy, dscale):
    full_width()
    disjoint()
    for row in range(r.size):
        mean, factor = means[row], r[row]
        for c in range(start, stop):
            i = nonnegative(row * width + c)
            dscale[nonnegative(c)] += dy[i] * (x[i] - mean) * factor


CENTER = Owner(center_row, center_cpu, "F1 F1 F1 i F F1 F1 F1", grain=256)
CENTER_PULL = Owner(center_pull_row, center_pull_cpu, "F1 F1 i F1 F1 F1 F1", grain=256)
CENTER_SCALE = Owner(center_scale_row, center_scale_cpu, "F1 i F1 F1 F1 F1", grain=1024)


class LayerNorm(Layer):
    """Every token shifted to mean 0 and divided by its deviation, times a learned scale, plus a learned shift.

    Parameters
    ----------
    width : int
    eps : float
        Added to the variance.
    """

    def __init__(self, width: int, eps: float = 1e-5):
        self.width, self.eps = width, eps

    def parameters(self):
        return {"scale": Parameter((self.width,), constant(1.0)), "shift": Parameter((self.width,), constant(0.0))}

    def forward(self, p, x, tape):
        n = x.size // self.width
        y, means, r = tape.empty(*x.shape), tape.empty(n), tape.empty(n)
        CENTER(n, flat(x), p["scale"], p["shift"], self.width, x.dtype.type(self.eps), flat(y), means, r)
        tape.save(x, means, r)
        return y

    def backward(self, p, dy, tape, g):
        x, means, r = tape.load()
        dx = tape.empty(*x.shape)
        CENTER_SCALE(self.width, flat(x), self.width, means, r, flat(dy), g["scale"])
        COLUMNS(self.width, flat(dy), r.size, self.width, g["shift"])
        CENTER_PULL(r.size, flat(x), p["scale"], self.width, means, r, flat(dy), flat(dx))
        return dx
