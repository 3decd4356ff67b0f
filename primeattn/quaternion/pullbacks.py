"""Hand-derived gradients of one quaternion, for use inside your own compiled loops.

``name(inputs..., g)`` takes the inputs of ``scalars.name`` and the gradient ``g`` of a real loss with respect to
its result, and returns the gradients with respect to the inputs (a tuple if there are several). Quaternions are
tuples of four; the gradient is that of R^4. The derivations stand in docs/theory/quaternion.md.

Where the function has a kink the gradient is a choice: ``norm``, ``normalize`` and ``inverse`` give NaN at zero,
``power`` too unless ``t >= 1``, ``log`` gives NaN on negative reals, ``angular_distance`` gives 0 between equal
rotations, ``slerp`` treats ``b`` and ``-b`` as fixed choices.
"""

import math

from .._runtime import elementary as el
from .._runtime.jit import scalar
from . import scalars as s

__all__ = [
    "angular_distance",
    "commutator",
    "conjugate",
    "dot",
    "exp",
    "from_axis_angle",
    "inverse",
    "log",
    "multiply",
    "norm",
    "normalize",
    "power",
    "rotate",
    "slerp",
    "to_matrix",
]


@scalar
def multiply(a, b, g):
    """``<g, da b + a db> = <g b*, da> + <a* g, db>``."""
    return s.multiply(g, s.conjugate(b)), s.multiply(s.conjugate(a), g)


@scalar
def commutator(a, b, g):
    """``<g_v, 2 da_v x b_v> = <2 b_v x g_v, da_v>``, and likewise for b."""
    zero = type(g[0])(0)
    x, y, z = s.cross(b[1:], g[1:])
    u, v, w = s.cross(g[1:], a[1:])
    return (zero, x + x, y + y, z + z), (zero, u + u, v + v, w + w)


@scalar
def dot(a, b, g):
    return s.scale(g, b), s.scale(g, a)


@scalar
def conjugate(a, g):
    return s.conjugate(g)


@scalar
def norm(a, g):
    """``d|a| = <a, da> / |a|``."""
    return s.scale(g, s.normalize(a))


@scalar
def tangent(u, g):
    """Part of ``g`` orthogonal to unit ``u``."""
    return s.add(g, s.scale(-s.dot(u, g), u))


@scalar
def normalize(a, g):
    """``d(a / |a|) = (da - u <u, da>) / |a|``, a symmetric map."""
    return s.divide_by_norm(tangent(s.normalize(a), g), a)


@scalar
def inverse(a, g):
    """``d(a^-1) = -a^-1 da a^-1``; the adjoint of ``c -> p c q`` is ``g -> p* g q*``."""
    p = s.conjugate(s.inverse(a))
    return s.scale(-type(g[0])(1), s.multiply(s.multiply(p, g), p))


@scalar
def exp(a, g):
    """With ``f = e^w (c, u s)``, ``u = v / n``: along ``u`` the rotation (c, -s), across it ``s / n``."""
    w, x, y, z = a
    n, ux, uy, uz = s.direction(x, y, z)
    sine, cosine = el.sincos(n)
    e = el.exp(w)
    gw, gx, gy, gz = g
    one, zero = type(w)(1), type(w)(0)
    across = sine / n if n > zero else one
    along = ux * gx + uy * gy + uz * gz
    k = along * (cosine - across) - sine * gw
    return (
        e * (cosine * gw + sine * along) if n > zero else e * gw,
        e * (across * gx + k * ux),
        e * (across * gy + k * uy),
        e * (across * gz + k * uz),
    )


@scalar
def log(a, g):
    """With ``a = r (cos phi, u sin phi)``: along ``u`` a rotation by -phi over ``r``, across it ``phi / n``."""
    w, x, y, z = s.normalize(a)
    sine, ux, uy, uz = s.direction(x, y, z)
    one, zero = type(w)(1), type(w)(0)
    gw, gx, gy, gz = g
    across = el.atan2(sine, w) / sine
    if sine == zero:
        across = one if w > zero else type(w)(math.nan)
    along = ux * gx + uy * gy + uz * gz
    k = sine * gw + along * (w - across)
    return s.divide_by_norm(
        (w * gw - sine * along, across * gx + k * ux, across * gy + k * uy, across * gz + k * uz), a
    )


@scalar
def power(a, t, g):
    """Chain rule through ``exp(t log a)``; at ``a = 0``: 0 for ``t > 1``, ``g`` for ``t = 1``, none below."""
    one, zero = type(t)(1), type(t)(0)
    m = s.log(a)
    dm = exp(s.scale(t, m), g)
    dt = s.dot(m, dm)
    da = log(a, s.scale(t, dm))
    nan = type(dt)(math.nan)
    if a[0] == zero and a[1] == zero and a[2] == zero and a[3] == zero:
        dt = type(dt)(0) if t > zero else nan
        da = s.scale(type(dt)(0) if t > one else (one if t == one else nan), g)
    if t == zero:  # a^0 = 1 for every a
        da = zero, zero, zero, zero
    return da, dt * one


@scalar
def slerp(a, b, t, g):
    """Along the arc both ends drag the point linearly; across it they act by the sine weights.

    ``dr = rho ((1 - t) <e, du> + t <h, dv>) + P (alpha du + beta dv)``: ``e`` and ``h`` are the unit tangents of the
    arc at its ends, ``rho`` at the point itself, ``P`` projects on what is orthogonal to the arc's plane.
    """
    one, zero = type(t)(1), type(t)(0)
    u, sign, angle, sine, cosine, e = s.shorter_arc(a, b)
    e = s.scale(one / sine if sine > zero else zero, e)
    st, ct = el.sincos(t * angle)
    beta = st / sine if sine > zero else t
    alpha = ct - cosine * beta
    rho = s.add(s.scale(-st, u), s.scale(ct, e))
    h = s.add(s.scale(-sine, u), s.scale(cosine, e))
    along = s.dot(rho, g)
    across = tangent(e, tangent(u, g))
    du = s.add(s.scale((one - t) * along, e), s.scale(alpha, across))
    dv = s.add(s.scale(t * along, h), s.scale(beta, across))
    return s.divide_by_norm(du, a), s.divide_by_norm(s.scale(sign, dv), b), angle * along


@scalar
def rotate(a, v, g):
    """``r = a v a* / |a|^2``: ``-2 (g u v + u <g, r>) / |a|`` with ``u = a / |a|``; ``v`` gets ``g`` turned back."""
    u = s.normalize(a)
    zero = type(g[0])(0)
    p = s.multiply(s.multiply((zero, g[0], g[1], g[2]), u), (zero, v[0], v[1], v[2]))
    rx, ry, rz = s.rotate(a, v)
    da = s.add(p, s.scale(g[0] * rx + g[1] * ry + g[2] * rz, u))
    return s.divide_by_norm(s.scale(-type(zero)(2), da), a), s.rotate(s.conjugate(a), g)


@scalar
def angular_distance(a, b, g):
    """Twice the angle of the arc: ``a`` moves against its tangent, ``b`` along it."""
    one, zero, two = type(g)(1), type(g)(0), type(g)(2)
    u, sign, _, sine, cosine, e = s.shorter_arc(a, b)
    e = s.scale(one / sine if sine > zero else zero, e)
    h = s.add(s.scale(-sine, u), s.scale(cosine, e))
    h = s.scale(one if sine > zero else zero, h)
    return s.divide_by_norm(s.scale(-two * g, e), a), s.divide_by_norm(s.scale(two * sign * g, h), b)


@scalar
def to_matrix(a, g):
    """Column ``k`` of the matrix is the rotated basis vector ``k``."""
    one, zero = type(g[0])(1), type(g[0])(0)
    dx, _ = rotate(a, (one, zero, zero), (g[0], g[3], g[6]))
    dy, _ = rotate(a, (zero, one, zero), (g[1], g[4], g[7]))
    dz, _ = rotate(a, (zero, zero, one), (g[2], g[5], g[8]))
    return s.add(dx, s.add(dy, dz))


@scalar
def from_axis_angle(axis, angle, g):
    """``q = (cos h, sin h n)``, ``h = angle / 2``."""
    one, zero, two = type(angle)(1), type(angle)(0), type(angle)(2)
    a = (zero, axis[0], axis[1], axis[2])
    _, nx, ny, nz = s.normalize(a)
    sine, cosine = el.sincos(angle / two)
    along = nx * g[1] + ny * g[2] + nz * g[3]
    _, x, y, z = normalize(a, (zero, sine * g[1], sine * g[2], sine * g[3]))
    return (x, y, z), (cosine * along - sine * g[0]) * (one / two)
