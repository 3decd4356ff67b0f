"""Numbers that each width needs. A sum such as ``A + B`` below is one number in two or three roundings."""

import numpy as np

from .machine import bits, by_type, from_bits

F = np.float32


def _rounder32(x):
    return F(12582912.0)


def _rounder64(x):
    return 6755399441055744.0


#: 1.5 * 2**23 or 2**52: the sum ``x + rounder`` has the integer nearest x in its last bits.
rounder = by_type(_rounder32, _rounder64)


def _half_pi32(x):
    return F(0.63661975), F(1.5707964), F(-4.371139e-08), F(-1.7151245e-15)


def _half_pi64(x):
    return 0.6366197723675814, 1.5707963267948966, 6.123233995736766e-17, -1.4973849048591698e-33


#: 2 / pi, and pi / 2 as a sum of three.
half_pi = by_type(_half_pi32, _half_pi64)


def _near_limit32(x):
    return F(131072.0)


def _near_limit64(x):
    return 1073741824.0


#: Below it |x| is reduced with pi / 2 as a sum of three; from it on, with the digits of 2 / pi.
near_limit = by_type(_near_limit32, _near_limit64)


def _quarter_pi32(x):
    return F(0.7853982), F(-2.1855694e-08)


def _quarter_pi64(x):
    return 0.7853981633974483, 3.061616997868383e-17


#: pi / 4 as a sum of two.
quarter_pi = by_type(_quarter_pi32, _quarter_pi64)


def _log2_32(x):
    return F(1.442695), F(0.6931472), F(-1.9046542e-09)


def _log2_64(x):
    return 1.4426950408889634, 0.6931471805599453, 2.3190468138462996e-17


#: 1 / log 2, and log 2 as a sum of two.
log2 = by_type(_log2_32, _log2_64)


def _exp_range32(x):
    return F(-104.0), F(89.0)


def _exp_range64(x):
    return -746.0, 710.0


#: Beyond these exp is 0 and inf.
exp_range = by_type(_exp_range32, _exp_range64)


def _expm1_range32(x):
    return F(-20.0), F(89.0)


def _expm1_range64(x):
    return -40.0, 710.0


#: Beyond these expm1 is -1 and inf.
expm1_range = by_type(_expm1_range32, _expm1_range64)


def _tanh_range32(x):
    return F(10.0)


def _tanh_range64(x):
    return 20.0


#: Beyond it tanh is 1.
tanh_range = by_type(_tanh_range32, _tanh_range64)


def _power_of_two32(x):
    return from_bits(np.int32((bits(x) + np.int32(127)) << np.int32(23)))


def _power_of_two64(x):
    return from_bits((bits(x) + np.int64(1023)) << np.int64(52))


#: 2**n from ``n + rounder``, for n of a normal number.
power_of_two = by_type(_power_of_two32, _power_of_two64)


def _binade32(x):
    subnormal = x < F(1.1754944e-38)
    i = np.int32(bits(x * F(16777216.0) if subnormal else x) - np.int32(0x3F3504F3) + np.int32(0x3F000000))
    biased = np.int32(i >> np.int32(23)) & np.int32(0x1FF)
    exponent = from_bits(np.int32(biased + np.int32(0x4B400000))) - F(12583038.0)
    mantissa = from_bits(np.int32((i & np.int32(0x7FFFFF)) + np.int32(0x3F3504F3)))
    return exponent - F(24.0) if subnormal else exponent, mantissa


def _binade64(x):
    subnormal = x < 2.2250738585072014e-308
    i = bits(x * 18014398509481984.0 if subnormal else x) - np.int64(0x3FE6A09E667F3BCD) + np.int64(0x3FE0000000000000)
    biased = (i >> np.int64(52)) & np.int64(0xFFF)
    exponent = from_bits(biased + np.int64(0x4338000000000000)) - 6755399441056766.0
    mantissa = from_bits((i & np.int64(0xFFFFFFFFFFFFF)) + np.int64(0x3FE6A09E667F3BCD))
    return exponent - 54.0 if subnormal else exponent, mantissa


#: x > 0 as 2**exponent * mantissa, with the mantissa in [sqrt(1/2), sqrt(2)).
binade = by_type(_binade32, _binade64)
