"""Maps that networks take element by element, with their derivatives: points of the circle, softplus."""

from ..jit import kernel, nonnegative, scalar
from ..owners import Owner
from .exponential import exp, log, sigmoid
from .trigonometric import all_near, sincos, sincos_near


@scalar
def points_row(r, theta, width, factor, out):
    """factor times (cos theta, sin theta) of row r, first all cosines."""
    for j in range(width):
        s, c = sincos(theta[r * width + j])
        out[2 * r * width + j], out[(2 * r + 1) * width + j] = factor[j] * c, factor[j] * s


@kernel
def points_cpu(start, stop, theta, width, factor, out):
    for r in range(start, stop):
        if all_near(theta, r * width, (r + 1) * width):
            for j in range(width):
                s, c = sincos_near(theta[nonnegative(r * width + j)])
                out[nonnegative(2 * r * width + j)] = factor[nonnegative(j)] * c
                out[nonnegative((2 * r + 1) * width + j)] = factor[nonnegative(j)] * s
        else:
            points_row(r, theta, width, factor, out)


@scalar
def pull_points_row(r, width, factor, x, dx, before, dtheta, dfactor):
    """Row r of dtheta = factor (Xs cos theta - Xc sin theta), for dx = [Xc; Xs], plus ``before`` unless that is empty;
    and Xc cos theta + Xs sin theta, the row's part of dfactor, unless that is."""
    for j in range(width):
        c, s = x[2 * r * width + j], x[(2 * r + 1) * width + j]
        along, across, at = dx[2 * r * width + j], dx[(2 * r + 1) * width + j], r * width + j
        moved = factor[j] * (across * c - along * s)
        dtheta[at] = before[at] + moved if before.size else moved
        if dfactor.size:
            dfactor[at] = along * c + across * s


@kernel
def pull_points_cpu(start, stop, width, factor, x, dx, before, dtheta, dfactor):
    for r in range(start, stop):
        pull_points_row(nonnegative(r), width, factor, x, dx, before, dtheta, dfactor)


@scalar
def softplus_row(i, u, out):
    """log(1 + e^u) = max(u, 0) + log(1 + e), e = e^-|u|; what rounding took from 1 + e is given back."""
    e = exp(-abs(u[i]))
    total, zero = type(e)(1) + e, e - e
    kept = total - type(e)(1)
    rest = log(total) * (e / kept) if kept > 0 else e
    out[i] = (u[i] if u[i] > 0 else zero) + rest


@kernel
def softplus_cpu(start, stop, u, out):
    for i in range(start, stop):
        softplus_row(nonnegative(i), u, out)


@scalar
def softplus_pull_row(i, u, g, du):
    du[i] = g[i] * sigmoid(u[i])


@kernel
def softplus_pull_cpu(start, stop, u, g, du):
    for i in range(start, stop):
        softplus_pull_row(nonnegative(i), u, g, du)


POINTS = Owner(points_row, points_cpu, "F1 i F1 F1", grain=256)
PULL_POINTS = Owner(pull_points_row, pull_points_cpu, "i F1 F1 F1 F1 F1 F1", grain=256)
SOFTPLUS = Owner(softplus_row, softplus_cpu, "F1 F1")
SOFTPLUS_PULL = Owner(softplus_pull_row, softplus_pull_cpu, "F1 F1 F1")
