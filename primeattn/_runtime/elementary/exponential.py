"""exp and log, and what is made of them."""

import numpy as np

from ..jit import scalar
from .constants import binade, exp_range, expm1_range, log2, power_of_two, rounder, tanh_range
from .machine import bits, fma
from .polynomials import exponential, logarithm


@scalar
def reduced(x):
    """x = n log 2 + r + rest: r, rest, and 2**a, 2**b, 2**-b with a + b = n, a = rint(n/2)."""
    per, high, low = log2(x)
    magic = rounder(x)
    n = fma(x, per, magic) - magic
    exact = fma(-n, high, x)
    r = fma(-n, low, exact)
    rest = fma(-n, low, exact - r)
    shifted = fma(n, type(x)(0.5), magic)
    b = n - (shifted - magic)
    return r, rest, power_of_two(shifted), power_of_two(b + magic), power_of_two(magic - b)


@scalar
def exp(x):
    """e^x; 0, by way of subnormal numbers, and inf where the result leaves the range."""
    low, high = exp_range(x)
    x = low if x < low else (high if x > high else x)
    r, rest, scale, rescale, _ = reduced(x)
    one = type(x)(1)
    head = one + r
    tail = (one - head) + r + fma(r * r, exponential(r), rest)
    return (head + tail) * scale * rescale


@scalar
def expm1(x):
    """e^x - 1, accurate near 0."""
    low, high = expm1_range(x)
    bounded = low if x < low else (high if x > high else x)
    r, rest, scale, rescale, unscale = reduced(bounded)
    shift = scale - unscale
    head = fma(scale, r, shift)
    tail = fma(scale, fma(r * r, exponential(r), rest), fma(scale, r, shift - head))
    result = (head + tail) * rescale
    return result if x != 0 else x


@scalar
def log(x):
    one, half, inf = type(x)(1), type(x)(0.5), type(x)(np.inf)
    _, high, low = log2(x)
    k, m = binade(x)
    f = m - one
    s = f / (f + type(x)(2))
    z = s * s
    square = half * f * f
    result = fma(k, high, f - (square - fma(s, fma(z, logarithm(z), square), k * low)))
    result = x if x == inf else result
    result = -inf if x == 0 else result
    return result if x >= 0 else type(x)(np.nan)


@scalar
def tanh(x):
    """u / (u + 2) for u = expm1(2 |x|), with the sign of x."""
    half, one, two = type(x)(0.5), type(x)(1), type(x)(2)
    a, limit = abs(x), tanh_range(x)
    u = expm1(two * (limit if a > limit else a))
    total = u + two
    lost = (two - total) + u  # in rounding; a small quotient makes up for it, with 2 / total = 1 - t
    t = u / total
    t = t - half * t * lost * (one - t) if u < two else t
    return -t if bits(x) < 0 else t


@scalar
def sigmoid(x):
    """1 / (1 + e^-x), from e^-|x| so that nothing overflows."""
    one = type(x)(1)
    e = exp(-abs(x))
    total = one + e
    lost = (one - total) + e  # in rounding; the quotient q makes up for it, with 1 / total = q or 1 - q
    q = (e if x < 0 else one) / total
    return q - q * lost * (one - q if x < 0 else q)
