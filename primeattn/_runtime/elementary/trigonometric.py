"""sin and cos, alone and together, and the angle of a point."""

import numpy as np

from ..jit import nonnegative, scalar
from .constants import half_pi, near_limit, quarter_pi, rounder
from .machine import bits, fma, rare
from .payne_hanek import far
from .polynomials import arctangent, cosine, sine

BLOCK = 512  # angles looked at before they are computed: they stay in the first-level cache


@scalar
def near(x):
    """x - n pi/2 as ``r + rest``, and the bit pattern whose last two bits are those of n."""
    per, high, middle, low = half_pi(x)
    shifted = fma(x, per, rounder(x))
    n = shifted - rounder(x)
    exact = fma(-n, high, x)  # representable: its last bit is at worst that of ``high``
    r = fma(-n, middle, exact)
    difference = exact - r
    lost = (exact - difference) - r
    return r, fma(-n, low, fma(-n, middle, difference) + lost), bits(shifted)


@scalar
def octant(r, rest):
    """(sin, cos) of r + rest, |r| <= pi/4."""
    half, one = type(r)(0.5), type(r)(1)
    z = r * r
    w = one - half * z
    s = r + fma(z * r, sine(z), rest * w)
    c = w + (((one - w) - half * z) + (z * z * cosine(z) - r * rest))
    return s, c


@scalar
def turned(x, r, rest, n):
    """(sin, cos) of x = n pi/2 + r + rest."""
    s, c = octant(r, rest)
    odd, lower, left = (n & 1) != 0, (n & 2) != 0, ((n + 1) & 2) != 0
    s, c = c if odd else s, s if odd else c
    s, c = -s if lower else s, -c if left else c
    return s if x != 0 else x, c  # keeps the sign of zero


@scalar
def sincos_near(x):
    """(sin x, cos x) for |x| < 2**17 (float32) or 2**30 (float64), NaN beyond: vectorises."""
    x = x if abs(x) < near_limit(x) else type(x)(np.nan)
    r, rest, n = near(x)
    return turned(x, r, rest, n)


@rare
@scalar
def sincos_far(x):
    """(sin x, cos x) for the rest."""
    r, rest, n = far(x)
    return turned(x, r, rest, n)


@scalar
def sincos(x):
    """(sin x, cos x) of any x, with a rare branch that keeps a loop from being vectorised."""
    if abs(x) >= near_limit(x):
        return sincos_far(x)
    r, rest, n = near(x)
    return turned(x, r, rest, n)


@scalar
def all_near(x, start, stop):
    """Whether ``sincos_near`` serves x[start:stop], and the norm of up to four of its elements."""
    bound = near_limit(x[0]) * type(x[0])(0.5)
    far_ones = 0
    for i in range(start, stop):
        far_ones += abs(x[nonnegative(i)]) >= bound
    return far_ones == 0


@scalar
def sin(x):
    """sin x of any x; a rare branch."""
    return sincos(x)[0]


@scalar
def cos(x):
    """cos x of any x; a rare branch."""
    return sincos(x)[1]


@scalar
def atan2(y, x):
    """The angle of (x, y) in [-pi, pi], with every special case of IEEE 754.

    With u = small / big, or (small - big) / (small + big) beside the diagonal, |u| <= 1/2, and the
    angle is a multiple of pi/4, plus or minus arctan u.
    """
    zero, half, one, inf = type(x)(0), type(x)(0.5), type(x)(1), type(x)(np.inf)
    quarter, quarter_rest = quarter_pi(x)
    left = bits(x) < 0
    a, b = abs(y), abs(x)
    diagonal = a == inf and b == inf
    a, b = (one, one) if diagonal else (a, b)
    steep = a > b
    big, small = (a, b) if steep else (b, a)
    scale = half if big > one else one  # the sum below must not overflow
    big, small = scale * big, scale * small
    beside = small + small > big  # then the difference below is exact
    numerator = small - big if beside else small
    denominator = small + big if beside else big
    u = numerator / (denominator if denominator > zero else one)
    u = -u if steep != left else u
    z = u * u
    turns = type(x)(2) if steep else (type(x)(4) if left else zero)
    step = (one if steep == left else -one) if beside else zero
    turns = turns + step
    angle = fma(turns, quarter, u + fma(turns, quarter_rest, u * z * arctangent(z)))
    angle = angle if x == x else x
    return -angle if bits(y) < 0 else angle
