"""Reduction of huge angles: x - n pi/2 for any finite x, with the digits of 2/pi (Payne and Hanek 1983).

Write |x| = M 2**shift 2**(24 j), 0 <= shift < 24, with an integer M of three digits in base 2**24, and the
digits of 2**shift 2/pi in the same base. Of their product, by columns as on paper, only the last two bits of
column 2**0 (the quadrant) and six columns of the fraction are wanted: integers below 2**51, nothing rounded,
and what is left out is below 2**-120. The nearest that a float64 comes to a multiple of pi/2 is about 2**-61.
"""

import numpy as np

from ..jit import scalar
from .constants import half_pi
from .machine import bits, by_type, fma

# 2/pi = sum over k of DIGITS[k] 2**(-24 (k + 1)), after two zeros for small exponents; the last
# is the last that the largest float64 asks for.
HEXADECIMAL = """
    000000 000000 a2f983 6e4e44 1529fc 2757d1 f534dd c0db62 95993c 439041 fe5163 abdebb c561b7
    246e3a 424dd2 e00649 2eea09 d1921c fe1deb 1cb129 a73ee8 8235f5 2ebb44 84e99c 7026b4 5f7e41
    3991d6 398353 39f49c 845f8b bdf928 3b1ff8 97ffde 05980f ef2f11 8b5a0a 6d1f6d 367ecf 27cb09
    b74f46 3f669e 5fea2d 7527ba c7ebe5 f17b3d 0739f7 8a5292 ea6bfb 5fb11f 8d5d08 560330
"""
DIGITS = np.array([int(digit, 16) for digit in HEXADECIMAL.split()], np.int64)


def _integer32(x):
    i = np.int64(bits(x))
    exponent = ((i >> np.int64(23)) & np.int64(0xFF)) - np.int64(150)
    return (i & np.int64(0x7FFFFF)) | np.int64(0x800000), exponent


def _integer64(x):
    i = bits(x)
    exponent = ((i >> np.int64(52)) & np.int64(0x7FF)) - np.int64(1075)
    return (i & np.int64(0xFFFFFFFFFFFFF)) | np.int64(0x10000000000000), exponent


#: |x| as an integer times 2**exponent, x normal.
integer = by_type(_integer32, _integer64)


@scalar
def digit(k, shift):
    """Digit k of 2**shift * 2/pi in base 2**24."""
    return ((DIGITS[k] << shift) | (DIGITS[k + 1] >> (np.int64(24) - shift))) & np.int64(0xFFFFFF)


@scalar
def column(x, k, shift, carry):
    """What the three digits of x and three of 2/pi add to one column of the product."""
    mask, width = np.int64(0xFFFFFF), np.int64(24)
    total = carry + (x & mask) * digit(k, shift)
    total += ((x >> width) & mask) * digit(k + 1, shift)
    return total + (x >> (width + width)) * digit(k + 2, shift)


@scalar
def far(x):
    """x - n pi/2 as ``r + rest``, and n; x finite, |x| >= 2**17 (float32) or 2**30 (float64)."""
    real, mask, width = type(x), np.int64(0xFFFFFF), np.int64(24)
    i, exponent = integer(x)
    k = (exponent + width) // width
    shift = exponent + width - width * k
    c6 = column(i, k + 6, shift, np.int64(0))
    c5 = column(i, k + 5, shift, c6 >> width)
    c4 = column(i, k + 4, shift, c5 >> width)
    c3 = column(i, k + 3, shift, c4 >> width)
    c2 = column(i, k + 2, shift, c3 >> width)
    c1 = column(i, k + 1, shift, c2 >> width)
    n = column(i, k, shift, c1 >> width)
    # The fraction in [-1/2, 1/2) as three integers of 48 bits, then as the sum turn + rest.
    up = (c1 >> np.int64(23)) & np.int64(1)
    first = (((c1 & mask) - (up << width)) << width) + (c2 & mask)
    second = ((c3 & mask) << width) + (c4 & mask)
    third = ((c5 & mask) << width) + (c6 & mask)
    unit = real(3.552713678800501e-15)  # 2**-48
    head = real(first) * unit
    tail = real(second) * unit * unit
    turn = head + tail
    rest = (head - turn) + tail + real(first - np.int64(real(first))) * unit + real(third) * unit * unit * unit
    _, pi, pi_rest, _ = half_pi(x)
    r = fma(turn, pi, turn * pi_rest)
    rest = fma(turn, pi, -r) + turn * pi_rest + rest * pi
    n += up
    r, rest, n = (-r, -rest, -n) if x < 0 else (r, rest, n)
    undefined = x - x  # NaN if x is infinite
    return r + undefined, rest, n
