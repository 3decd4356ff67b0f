"""The mathematics of one quaternion, for use inside your own compiled loops.

Every function here is compiled by Numba and may be called from ``@numba.njit`` and from
``@numba.cuda.jit`` code. A quaternion is a tuple ``(w, x, y, z)``, a vector a tuple ``(x, y, z)``, of
float32 or of float64; a result has the type of the arguments. Nothing is checked and nothing raises.

>>> import numpy as np
>>> from numba import njit
>>> from primeattn.quaternion import scalars
>>> @njit
... def turn_twice(q, v):
...     return scalars.rotate(q, scalars.rotate(q, v))
>>> turn_twice((0.0, 0.0, 0.0, 1.0), (1.0, 2.0, 3.0))  # a half turn about z, twice
(1.0, 2.0, 3.0)

The functions are free of branches where they can be, so that LLVM runs several quaternions in one
instruction. Their conventions and degenerate cases are those of the array functions of the same
name: see ``primeattn.quaternion``.
"""

import math

from .._runtime import elementary as el
from .._runtime.elementary.machine import fma
from .._runtime.jit import scalar
from ._scaling import log_scaling, scaling

__all__ = [
    "angular_distance",
    "commutator",
    "conjugate",
    "cross",
    "dot",
    "exp",
    "from_axis_angle",
    "from_matrix",
    "inverse",
    "log",
    "multiply",
    "norm",
    "normalize",
    "power",
    "rotate",
    "slerp",
    "to_axis_angle",
    "to_matrix",
]


@scalar
def multiply(a, b):
    """Hamilton product ``a b``."""
    aw, ax, ay, az = a
    bw, bx, by, bz = b
    return (
        aw * bw - ax * bx - ay * by - az * bz,
        aw * bx + ax * bw + ay * bz - az * by,
        aw * by - ax * bz + ay * bw + az * bx,
        aw * bz + ax * by - ay * bx + az * bw,
    )


@scalar
def conjugate(a):
    """``(w, -x, -y, -z)``."""
    w, x, y, z = a
    return w, -x, -y, -z


@scalar
def scale(s, a):
    """``s a`` for a real ``s``."""
    w, x, y, z = a
    return s * w, s * x, s * y, s * z


@scalar
def add(a, b):
    """``a + b``."""
    return a[0] + b[0], a[1] + b[1], a[2] + b[2], a[3] + b[3]


@scalar
def dot(a, b):
    """Euclidean inner product of two quaternions: the real part of ``a* b``."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2] + a[3] * b[3]


@scalar
def cross(u, v):
    """Cross product of two 3-vectors."""
    return u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]


@scalar
def commutator(a, b):
    """``a b - b a = (0, 2 a_v x b_v)``."""
    x, y, z = cross(a[1:], b[1:])
    return type(x)(0), x + x, y + y, z + z


@scalar
def vector_norm(x, y, z):
    """Length of a 3-vector; no overflow and no underflow on the way."""
    m = max(max(abs(x), abs(y)), abs(z))
    up, down = scaling(m)
    x, y, z = up * x, up * y, up * z
    return down * math.sqrt(x * x + y * y + z * z)


@scalar
def scaled_direction(x, y, z):
    """``(n, s, u)`` of a 3-vector of length ``s n``, ``s`` a power of two; the zero vector has direction 0."""
    m = max(max(abs(x), abs(y)), abs(z))
    up, down = scaling(m)
    x, y, z = up * x, up * y, up * z
    n = math.sqrt(x * x + y * y + z * z)
    one, zero = type(n)(1), type(n)(0)
    r = one / n if n > zero else zero
    return n, down, r * x, r * y, r * z


@scalar
def direction(x, y, z):
    """``(n, x / n, y / n, z / n)`` of a 3-vector of length ``n``; the zero vector has direction 0."""
    n, down, x, y, z = scaled_direction(x, y, z)
    return down * n, x, y, z


@scalar
def scaled_norm(a):
    """``(n, s, 1 / s)``, ``|a| = n / s``: ``s`` a power of two, ``n`` far from overflow and underflow."""
    w, x, y, z = a
    m = max(max(abs(w), abs(x)), max(abs(y), abs(z)))
    up, down = scaling(m)
    w, x, y, z = up * w, up * x, up * y, up * z
    return math.sqrt(w * w + x * x + y * y + z * z), up, down


@scalar
def norm(a):
    """``|a|``; no overflow and no underflow on the way."""
    n, _, down = scaled_norm(a)
    return down * n


@scalar
def divide_by_norm(q, a):
    """``q / |a|``, though ``|a|`` or its reciprocal overflow; NaN for zero and infinite ``a``."""
    n, up, _ = scaled_norm(a)
    zero, inf = type(n)(0), type(n)(math.inf)
    r = type(n)(1) / n if n > zero and n < inf else type(n)(math.nan)
    return scale(up, scale(r, q))


@scalar
def unit(a):
    """``a / |a|``; zero and infinity give NaN in some component, which is enough where all are mixed after."""
    n, up, _ = scaled_norm(a)
    return scale(type(n)(1) / n, scale(up, a))


@scalar
def normalize(a):
    """``a / |a|``; zero and infinity give NaN."""
    n, up, _ = scaled_norm(a)
    r = type(n)(1) / n if n < type(n)(math.inf) else type(n)(math.nan)
    return scale(r, scale(up, a))


@scalar
def inverse(a):
    """``a* / |a|^2``; zero and infinity give NaN."""
    return divide_by_norm(conjugate(unit(a)), a)


@scalar
def exp(a):
    """``e^w (cos n, v sin n / n)``, ``n = |v|``."""
    n = vector_norm(a[1], a[2], a[3])
    s, c = el.sincos(n)
    return polar(a, n, s, c)


@scalar
def exp_near(a):
    """The same for ``n`` below 2^17 (float32) or 2^30 (float64), NaN beyond: without a branch."""
    n = vector_norm(a[1], a[2], a[3])
    s, c = el.sincos_near(n)
    return polar(a, n, s, c)


@scalar
def polar(a, n, s, c):
    """``exp a`` from the length of its vector part, and that length's sine and cosine."""
    w, x, y, z = a
    e = el.exp(w)
    one, zero = type(w)(1), type(w)(0)
    k = e * (s / n) if n > zero else one  # n = 0: v is zero, so k is free; 1 keeps (inf, 0, 0, 0) for w = inf
    return e * c, k * x, k * y, k * z


@scalar
def log(a):
    """``(log |a|, u atan2(n, w))``, ``v = n u``; a negative real gives ``(log |w|, pi, 0, 0)``."""
    w, x, y, z = a
    one, zero = type(w)(1), type(w)(0)
    length, up, _ = scaled_norm(a)
    n, down, ux, uy, uz = scaled_direction(x, y, z)
    shrink = type(w)(0.25) if up < one else one  # then the length of the vector part cannot overflow
    angle = el.atan2(down * shrink * n, shrink * w)
    ux = one if n == zero and w < zero else ux
    return el.log(length) - log_scaling(up), angle * ux, angle * uy, angle * uz


@scalar
def power(a, t):
    """``exp(t log a)``; ``t = 0`` gives 1 for every ``a``, zero and NaN included."""
    return unless_zero(t, exp(scale(t, log(a))))


@scalar
def power_near(a, t):
    """The same for ``|t| < 2^15``, without a branch."""
    return unless_zero(t, exp_near(scale(t, log(a))))


@scalar
def unless_zero(t, q):
    """``q``, or 1 where ``t`` is zero."""
    one, zero = type(t)(1), type(t)(0)
    w, x, y, z = q
    return (
        one if t == zero else w,
        zero if t == zero else x,
        zero if t == zero else y,
        zero if t == zero else z,
    )


@scalar
def arc(u, v):
    """The geodesic of S^3 from unit ``u`` to unit ``v``: ``(angle, sine, cosine, e)``, ``e = v - u cosine``."""
    c = dot(u, v)
    e = add(v, scale(-c, u))
    s = norm(e)
    return el.atan2(s, c), s, c, e


@scalar
def shorter_arc(a, b):
    """Unit ``u`` along ``a``, and the arc from it to ``b`` or ``-b``, whichever is nearer."""
    u, v = unit(a), unit(b)
    one, zero = type(u[0])(1), type(u[0])(0)
    sign = -one if dot(u, v) < zero else one
    angle, s, c, e = arc(u, scale(sign, v))
    return u, sign, angle, s, c, e


@scalar
def slerp(a, b, t):
    """Point at fraction ``t`` of the shorter great arc from ``a/|a|`` to ``b/|b|`` or its negative."""
    u, _, angle, s, _, e = shorter_arc(a, b)
    sine, cosine = el.sincos(t * angle)
    return along_arc(u, e, s, t, sine, cosine)


@scalar
def slerp_near(a, b, t):
    """The same for ``|t| < 2^16``, without a branch."""
    u, _, angle, s, _, e = shorter_arc(a, b)
    sine, cosine = el.sincos_near(t * angle)
    return along_arc(u, e, s, t, sine, cosine)


@scalar
def along_arc(u, e, s, t, sine, cosine):
    """``u cos + (e / s) sin`` of the angle gone; the limit ``sin(t angle) / s -> t`` where the ends coincide."""
    k = sine / s if s > type(s)(0) else t
    real = type(k)
    c = real(cosine)
    return (  # fused by name: left to the compiler, single rows and packed ones are fused differently
        fma(c, real(u[0]), real(k * e[0])),
        fma(c, real(u[1]), real(k * e[1])),
        fma(c, real(u[2]), real(k * e[2])),
        fma(c, real(u[3]), real(k * e[3])),
    )


@scalar
def rotate(a, v):
    """Vector part of ``a v a^-1``."""
    w, x, y, z = a
    m = max(max(abs(w), abs(x)), max(abs(y), abs(z)))
    up, _ = scaling(m)
    a = scale(up, a)
    return turn(a, type(w)(2) / dot(a, a), v)


@scalar
def turn(a, k, v):
    """The same from ``k = 2 / |a|^2``, by ``u = k x cross v``, ``v + w u + x cross u``, ``a = (w, x)``."""
    w, x, y, z = a
    ux, uy, uz = cross((x, y, z), v)
    ux, uy, uz = k * ux, k * uy, k * uz
    cx, cy, cz = cross((x, y, z), (ux, uy, uz))
    return v[0] + (w * ux + cx), v[1] + (w * uy + cy), v[2] + (w * uz + cz)


@scalar
def angular_distance(a, b):
    """Angle in [0, pi] of the rotation that takes ``a`` to ``b``: ``2 atan2(|v|, |w|)`` of ``a* b``."""
    w, x, y, z = multiply(conjugate(normalize(a)), normalize(b))
    angle = el.atan2(vector_norm(x, y, z), abs(w))
    return angle + angle


@scalar
def to_matrix(a):
    """Rotation matrix of ``a / |a|``: nine numbers, row by row."""
    w, x, y, z = normalize(a)
    one, two = type(w)(1), type(w)(2)
    return (
        one - two * (y * y + z * z),
        two * (x * y - w * z),
        two * (x * z + w * y),
        two * (x * y + w * z),
        one - two * (x * x + z * z),
        two * (y * z - w * x),
        two * (x * z - w * y),
        two * (y * z + w * x),
        one - two * (x * x + y * y),
    )


@scalar
def positive(a):
    """``a`` or ``-a``, whichever has its first nonzero component positive."""
    w, x, y, z = a
    one, zero = type(w)(1), type(w)(0)
    lead = w if w != zero else (x if x != zero else (y if y != zero else z))
    return scale(-one if lead < zero else one, a)


@scalar
def from_matrix(m):
    """Unit quaternion with ``w >= 0`` of a rotation matrix (nine numbers, row by row); NaN if det <= 0.

    Of four proportional columns the longest is taken (Shepperd), so that nothing cancels.
    """
    m00, m01, m02, m10, m11, m12, m20, m21, m22 = m
    one, zero = type(m00)(1), type(m00)(0)
    if m22 < zero:
        if m00 > m11:
            q = m21 - m12, one + m00 - m11 - m22, m01 + m10, m20 + m02
        else:
            q = m02 - m20, m01 + m10, one - m00 + m11 - m22, m12 + m21
    elif m00 < -m11:
        q = m10 - m01, m20 + m02, m12 + m21, one - m00 - m11 + m22
    else:
        q = one + m00 + m11 + m22, m21 - m12, m02 - m20, m10 - m01
    det = m00 * (m11 * m22 - m12 * m21) - m01 * (m10 * m22 - m12 * m20) + m02 * (m10 * m21 - m11 * m20)
    return scale(one if det > zero else zero / zero, positive(normalize(q)))


@scalar
def to_axis_angle(a):
    """``(axis, angle)``, angle in [0, pi]; the identity turns about (1, 0, 0) by 0."""
    w, x, y, z = positive(normalize(a))
    n, x, y, z = direction(x, y, z)
    half = el.atan2(n, w)
    x = type(w)(1) if n == type(w)(0) else x
    return (x, y, z), half + half


@scalar
def from_axis_angle(axis, angle):
    """``(cos(angle / 2), sin(angle / 2) axis / |axis|)``; a zero axis gives NaN."""
    x, y, z = axis
    zero = type(angle)(0)
    _, x, y, z = normalize((zero, x, y, z))
    s, c = el.sincos(angle / type(angle)(2))
    return c, s * x, s * y, s * z
