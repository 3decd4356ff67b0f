"""sin and cos, alone and together, and the angle of a point."""

import numpy as np

from ..jit import scalar
from .constants import half_pi, quarter_pi, rounder, tan_eighth
from .machine import bits, fma
from .polynomials import arctangent, cosine, sine


@scalar
def reduced(x):
    """x - n pi/2 as ``r + rest``, and the bit pattern whose last two bits are those of n."""
    per, high, middle, low = half_pi(x)
    shifted = fma(x, per, rounder(x))
    n = shifted - rounder(x)
    exact = fma(-n, high, x)  # representable: its last bit is at worst that of ``high``
    r = fma(-n, middle, exact)
    rest = fma(-n, low, fma(-n, middle, exact - r))
    return r, rest, bits(shifted)


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
def sincos(x):
    r, rest, n = reduced(x)
    s, c = octant(r, rest)
    s, c = (c, s) if n & 1 else (s, c)
    s = -s if n & 2 else s
    c = -c if (n + 1) & 2 else c
    return s if x != 0 else x, c


@scalar
def sin(x):
    return sincos(x)[0]


@scalar
def cos(x):
    return sincos(x)[1]


@scalar
def atan2(y, x):
    """The angle of (x, y) in [-pi, pi], with every special case of IEEE 754.

    With u = small / big, or (small - big) / (small + big) beside the diagonal, |u| <= tan(pi/8), and
    the angle is a multiple of pi/4, plus or minus arctan u.
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
    beside = small > tan_eighth(x) * big
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
