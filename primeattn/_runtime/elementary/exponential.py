"""exp and log, and what is made of them."""

import numpy as np

from ..jit import scalar
from .constants import binade, exp_range, expm1_range, log2, power_of_two, rounder, tanh_range
from .machine import bits, fma
from .polynomials import exponential, logarithm


@scalar
def reduced(x):
    """x = n log 2 + r: r, and 2**a, 2**b, 2**-b with a + b = n, a = rint(n/2)."""
    per, high, low = log2(x)
    magic = rounder(x)
    n = fma(x, per, magic) - magic
    r = fma(-n, low, fma(-n, high, x))
    shifted = fma(n, type(x)(0.5), magic)
    b = n - (shifted - magic)
    return r, power_of_two(shifted), power_of_two(b + magic), power_of_two(magic - b)


@scalar
def exp(x):
    low, high = exp_range(x)
    x = low if x < low else (high if x > high else x)
    r, scale, rescale, _ = reduced(x)
    return (type(x)(1) + fma(r * r, exponential(r), r)) * scale * rescale


@scalar
def expm1(x):
    low, high = expm1_range(x)
    bounded = low if x < low else (high if x > high else x)
    r, scale, rescale, unscale = reduced(bounded)
    grown = fma(r * r, exponential(r), r)
    result = fma(scale, grown, scale - unscale) * rescale
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
    """expm1(2a) / (expm1(2a) + 2) for a = |x|, with the sign of x."""
    a, limit, two = abs(x), tanh_range(x), type(x)(2)
    a = limit if a > limit else a
    u = expm1(two * a)
    t = u / (u + two)
    return -t if bits(x) < 0 else t


@scalar
def sigmoid(x):
    """1 / (1 + e^-x), from e^-|x| so that nothing overflows."""
    one = type(x)(1)
    e = exp(-abs(x))
    return (e if x < 0 else one) / (one + e)
