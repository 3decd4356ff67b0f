"""Loops of the maps in ``phases``: points of the circle, softplus and SwiGLU, each with its derivative."""

from ..._runtime import devices
from ..._runtime import elementary as el
from ..._runtime.jit import kernel, nonnegative, scalar
from ..._runtime.owners import Owner
from .._inputs import _read_only
from .sums import column_sums


@scalar
def points_row(r, theta, width, factor, out):
    """factor times (cos theta, sin theta) of row r, first all cosines."""
    for j in range(width):
        s, c = el.sincos(theta[r * width + j])
        out[2 * r * width + j], out[(2 * r + 1) * width + j] = factor[j] * c, factor[j] * s


@kernel
def points_cpu(start, stop, theta, width, factor, out):
    for r in range(start, stop):
        if el.all_near(theta, r * width, (r + 1) * width):
            for j in range(width):
                s, c = el.sincos_near(theta[nonnegative(r * width + j)])
                out[nonnegative(2 * r * width + j)] = factor[nonnegative(j)] * c
                out[nonnegative((2 * r + 1) * width + j)] = factor[nonnegative(j)] * s
        else:
            points_row(r, theta, width, factor, out)


@scalar
def pull_points_row(r, width, factor, x, dx, before, dtheta, dfactor):
    """(1) of ``phases`` times factor, for row r, added to ``before`` unless empty; dfactor unless empty."""
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
    e = el.exp(-abs(u[i]))
    total, zero = type(e)(1) + e, e - e
    kept = total - type(e)(1)
    rest = el.log(total) * (e / kept) if kept > 0 else e
    out[i] = (u[i] if u[i] > 0 else zero) + rest


@kernel
def softplus_cpu(start, stop, u, out):
    for i in range(start, stop):
        softplus_row(nonnegative(i), u, out)


@scalar
def softplus_pull_row(i, u, g, du):
    du[i] = g[i] * el.sigmoid(u[i])


@kernel
def softplus_pull_cpu(start, stop, u, g, du):
    for i in range(start, stop):
        softplus_pull_row(nonnegative(i), u, g, du)


@scalar
def swiglu_row(i, u, v, h):
    h[i] = u[i] * el.sigmoid(u[i]) * v[i]


@kernel
def swiglu_cpu(start, stop, u, v, h):
    for i in range(start, stop):
        swiglu_row(nonnegative(i), u, v, h)


@scalar
def swiglu_pull_row(i, u, v, dh, du, dv):
    s = el.sigmoid(u[i])
    du[i] = dh[i] * v[i] * s * (type(s)(1) + u[i] * (type(s)(1) - s))
    dv[i] = dh[i] * u[i] * s


@kernel
def swiglu_pull_cpu(start, stop, u, v, dh, du, dv):
    for i in range(start, stop):
        swiglu_pull_row(nonnegative(i), u, v, dh, du, dv)


POINTS = Owner(points_row, points_cpu, "F1 i F1 F1", grain=256)
PULL_POINTS = Owner(pull_points_row, pull_points_cpu, "i F1 F1 F1 F1 F1 F1", grain=256)
SOFTPLUS = Owner(softplus_row, softplus_cpu, "F1 F1")
SOFTPLUS_PULL = Owner(softplus_pull_row, softplus_pull_cpu, "F1 F1 F1")
SWIGLU = Owner(swiglu_row, swiglu_cpu, "F1 F1 F1")
SWIGLU_PULL = Owner(swiglu_pull_row, swiglu_pull_cpu, "F1 F1 F1 F1 F1")


def _like(x, n: int | None = None):
    return devices.empty(x.size if n is None else n, x.dtype, like=x)


def each(owner: Owner, *inputs, results: int = 1):
    """New arrays of an elementwise owner, of the size of its first input."""
    made = [_like(inputs[0]) for _ in range(results)]
    if inputs[0].size:
        owner(inputs[0].size, *(_read_only(x) for x in inputs), *made)
    return made if results > 1 else made[0]


def points_of(theta, width: int, factor):
    out = _like(theta, 2 * theta.size)
    if theta.size:
        POINTS(theta.size // width, theta, width, factor, out)
    return out


def pull_points(x, dx, width: int, factor, *, before=None, factors: bool = False):
    """dtheta, and the gradient of the factor if it is wanted."""
    before = _like(x, 0) if before is None else before
    dtheta, dfactor = _like(x, x.size // 2), _like(x, x.size // 2 if factors else 0)
    if x.size:
        PULL_POINTS(
            x.size // (2 * width), width, factor, _read_only(x), _read_only(dx), _read_only(before), dtheta, dfactor
        )  # fmt: skip
    return dtheta, column_sums(dfactor, width) if factors else None
