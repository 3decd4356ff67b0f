r"""Two other steps along the torus, to compare the tangent step with; rows as in ``update``.

With z = exp(-i theta_t) m_t = p + i q as in ``update``, the increments and their derivatives by p and q are

    direction:  eta q / |z|,    -eta p q / |z|^3,    eta p^2 / |z|^3        (the length of the mean is dropped)
    geodesic:   eta arg z,      -eta q / |z|^2,      eta p / |z|^2          (the angle to the mean)

and all 0 where z = 0.
"""

import math

from ..._runtime import elementary as el
from ..._runtime.owners import Owner
from .._cores.tiles import fill, kernel, scalar
from .angles import piece
from .features import SIZES, Sizes, place

DIRECTION, GEODESIC = 1, 2


@scalar
def frame(r, j, z, u, m):
    """cos, sin of the angle, and p, q."""
    at = r * z.depth + j
    c, s, x, y = u[at], u[at + z.width], m[at], m[at + z.width]
    return c, s, c * x + s * y, c * y - s * x


@scalar
def increment(form, p, q):
    if form == 2:
        return el.atan2(q, p) if p != 0 or q != 0 else p - p
    size = math.sqrt(p * p + q * q)
    return q if size == 0 else q / size


@scalar
def slopes(form, p, q):
    """Derivatives of the increment by p and q."""
    square = p * p + q * q
    inverse = square if square == 0 else type(p)(1) / square
    if form == 2:
        return -q * inverse, p * inverse
    cube = inverse * math.sqrt(inverse)
    return -p * q * cube, p * p * cube


@scalar
def ablated_row(r, sizes, form, theta, u, m, eta, out):
    z = Sizes(*sizes)
    _, head, angles = place(r, z)
    for j in range(z.width):
        _, _, p, q = frame(r, j, z, u, m)
        out[angles + j] = theta[angles + j] + eta[head * z.width + j] * increment(form, p, q)


@kernel
def ablated_cpu(start, stop, sizes, form, theta, u, m, eta, out):
    for r in range(start, stop):
        ablated_row(r, sizes, form, theta, u, m, eta, out)


@scalar
def pull_ablated_row(i, sizes, form, g, u, m, eta, dm, dtheta, deta):
    """Piece i: dM, dtheta = G + dphi, and its sums of deta."""
    z = Sizes(*sizes)
    first, last, (_, head, angles) = piece(i, z)
    fill(deta, i * z.width, z.width, type(g[0])(0))
    for r in range(first, last):
        for j in range(z.width):
            c, s, p, q = frame(r, j, z, u, m)
            upstream, at = g[angles + j], r * z.depth + j
            by_p, by_q = slopes(form, p, q)
            dp, dq = upstream * eta[head * z.width + j] * by_p, upstream * eta[head * z.width + j] * by_q
            dm[at], dm[at + z.width] = dp * c - dq * s, dp * s + dq * c
            dtheta[angles + j] = upstream + dp * q - dq * p
            deta[i * z.width + j] += upstream * increment(form, p, q)
        angles += z.heads * z.width


@kernel
def pull_ablated_cpu(start, stop, sizes, form, g, u, m, eta, dm, dtheta, deta):
    for i in range(start, stop):
        pull_ablated_row(i, sizes, form, g, u, m, eta, dm, dtheta, deta)


ABLATED = Owner(ablated_row, ablated_cpu, f"{SIZES} i F1 F1 F1 F1 F1", grain=1024)
PULL_ABLATED = Owner(pull_ablated_row, pull_ablated_cpu, f"{SIZES} i F1 F1 F1 F1 F1 F1 F1", grain=32)
