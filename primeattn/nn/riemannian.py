r"""Steps of parameters that live on a torus or on spheres.

On a torus, which is flat, a step is that of free numbers, and angles come back to [-pi, pi).

On the unit sphere the gradient at x is the part of g that is tangent, g - <g, x> x. A step against a direction d goes
from x to (x - d) / |x - d|, which agrees with the geodesic to second order, and a momentum of the step before is
tangent at another point: it loses the part that is not tangent here (the projection as vector transport).

P.-A. Absil, R. Mahony, R. Sepulchre, "Optimization Algorithms on Matrix Manifolds", 2008; Adam with one second moment a
point, so that the direction stays: G. Becigneul and O. Ganea, "Riemannian Adaptive Optimization Methods", ICLR 2019.
"""

import math

from .._runtime.jit import bare_kernel, nonnegative, piece
from .._runtime.owners import Owner


@piece
def wrapped(x):
    """x - 2 pi k in [-pi, pi), in two parts of 2 pi, so that float32 loses nothing while |x| is a few turns."""
    real = type(x)
    turns = math.floor(x / real(2 * math.pi) + real(0.5))
    near = (x - turns * real(6.28125)) - turns * real(2 * math.pi - 6.28125)
    return near if near < real(math.pi) else -real(math.pi)


@piece
def wrap_row(i, x):
    x[i] = wrapped(x[i])


@bare_kernel
def wrap_cpu(start, stop, x):
    for i in range(start, stop):
        wrap_row(nonnegative(i), x)


@piece
def dot_of(x, y, at, n):
    total = x[at] * y[at]
    for c in range(1, n):
        total += x[at + c] * y[at + c]
    return total


@piece
def retract(x, at, n):
    """Back to the unit sphere. A point at the centre, which no step of finite length reaches, stays."""
    length = math.sqrt(dot_of(x, x, at, n))
    if length > 0:
        for c in range(n):
            x[at + c] /= length


@piece
def sphere_sgd_row(row, x, g, m, width, rate, momentum):
    at = row * width
    along, across = dot_of(g, x, at, width), dot_of(m, x, at, width)
    for c in range(width):
        i = at + c
        m[i] = momentum * (m[i] - across * x[i]) + (g[i] - along * x[i])
    for c in range(width):
        x[at + c] -= rate * m[at + c]
    retract(x, at, width)


@bare_kernel
def sphere_sgd_cpu(start, stop, x, g, m, width, rate, momentum):
    for row in range(start, stop):
        sphere_sgd_row(row, x, g, m, width, rate, momentum)


@piece
def sphere_adam_row(row, x, g, m, v, width, rate, b1, a1, b2, a2, eps, root):
    """The second moment of a point, the mean over its numbers, stands at each of them."""
    at = row * width
    along, across = dot_of(g, x, at, width), dot_of(m, x, at, width)
    square = type(rate)(0)
    for c in range(width):
        i = at + c
        tangent = g[i] - along * x[i]
        square += tangent * tangent
        m[i] = b1 * (m[i] - across * x[i]) + a1 * tangent
    v[at] = b2 * v[at] + a2 * square / type(rate)(width)
    step = rate / (math.sqrt(v[at]) * root + eps)
    for c in range(width):
        v[at + c] = v[at]
        x[at + c] -= step * m[at + c]
    retract(x, at, width)


@bare_kernel
def sphere_adam_cpu(start, stop, x, g, m, v, width, rate, b1, a1, b2, a2, eps, root):
    for row in range(start, stop):
        sphere_adam_row(row, x, g, m, v, width, rate, b1, a1, b2, a2, eps, root)


WRAP = Owner(wrap_row, wrap_cpu, "F1")
SPHERE_SGD = Owner(sphere_sgd_row, sphere_sgd_cpu, "F1 F1 F1 i F F", grain=1024)
SPHERE_ADAM = Owner(sphere_adam_row, sphere_adam_cpu, "F1 F1 F1 F1 i F F F F F F F", grain=1024)
