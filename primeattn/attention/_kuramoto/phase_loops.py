"""Loops of the maps in ``phases``: SwiGLU with its derivative; points of the circle and softplus are elementary."""

from ..._runtime import devices
from ..._runtime import elementary as el
from ..._runtime.elementary.maps import POINTS, PULL_POINTS
from ..._runtime.jit import kernel, nonnegative, scalar
from ..._runtime.owners import Owner
from .._inputs import flat
from .sums import column_sums


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


SWIGLU = Owner(swiglu_row, swiglu_cpu, "F1 F1 F1")
SWIGLU_PULL = Owner(swiglu_pull_row, swiglu_pull_cpu, "F1 F1 F1 F1 F1")


def _like(x, n: int | None = None):
    return devices.empty(x.size if n is None else n, x.dtype, like=x)


def each(owner: Owner, *inputs, results: int = 1):
    """New arrays of an elementwise owner, of the size of its first input."""
    made = [_like(inputs[0]) for _ in range(results)]
    if inputs[0].size:
        owner(inputs[0].size, *(flat(x) for x in inputs), *made)
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
            x.size // (2 * width), width, factor, flat(x), flat(dx), flat(before), dtheta, dfactor
        )  # fmt: skip
    return dtheta, column_sums(dfactor, width) if factors else None
