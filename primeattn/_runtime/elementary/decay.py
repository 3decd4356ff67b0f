"""e^x for x <= 0, as weights need it: half the work of `exp`, and never a subnormal number."""

import numpy as np

from ..jit import scalar
from .constants import log2, power_of_two, rounder
from .machine import by_type, fma
from .polynomials import exponential


def _smallest32(x):
    return np.float32(-87.33654)


def _smallest64(x):
    return -708.3964185322641


#: log of the smallest normal number.
smallest = by_type(_smallest32, _smallest64)


@scalar
def decay(x):
    """e^x for x <= 0; 0 where it would be subnormal, since products with those are a hundred times slower."""
    low, magic = smallest(x), rounder(x)
    per, high, rest = log2(x)
    bounded = low if x < low else x
    shifted = fma(bounded, per, magic)
    n = shifted - magic
    r = fma(-n, rest, fma(-n, high, bounded))
    value = (type(x)(1) + fma(r * r, exponential(r), r)) * power_of_two(shifted)
    return type(x)(0) if x < low else value
