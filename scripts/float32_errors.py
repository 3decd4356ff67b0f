"""The largest error of each float32 elementary function of one argument, over all 2**32 arguments.

    python scripts/float32_errors.py [FUNCTION ...]

About a minute a function on one core. The reference is the platform's float64 function, which is wrong by
2**-29 of a float32 unit. Fails if a bound of tests/test_elementary.py does not hold, or if NaN or infinity
comes where it should not, or does not come where it should.
"""

import argparse
import math
import sys

import numpy as np
from numba import njit

from primeattn._runtime import elementary as el
from primeattn._runtime.elementary.machine import bits, from_bits
from primeattn._runtime.jit import MATH

LARGEST = 3.4028235677973366e38  # the largest float32 and half a unit: what rounds to infinity


@njit(**MATH)
def sigmoid(x):
    return 1 / (1 + math.exp(-x))


@njit(**MATH)
def ulps(got, exact):
    """The distance in units in the last place of the exact result; -1 if the kinds of number differ."""
    if math.isnan(exact) or math.isnan(got):
        return 0.0 if math.isnan(exact) and math.isnan(got) else -1.0
    if abs(exact) >= LARGEST or math.isinf(got):
        return 0.0 if abs(exact) >= LARGEST * (1 - 1e-7) and math.copysign(math.inf, exact) == got else -1.0
    exponent = max(((bits(exact) >> np.int64(52)) & np.int64(0x7FF)) - np.int64(1023), np.int64(-126))
    return abs(np.float64(got) - exact) * from_bits((np.int64(1023 + 23) - exponent) << np.int64(52))


def search(name):
    ours, exact = getattr(el, name), sigmoid if name == "sigmoid" else getattr(math, name)

    @njit(**MATH)
    def loop(start, stop):
        worst, where, wrong = 0.0, start, 0
        for i in range(start, stop):
            x = from_bits(np.int32(i))
            error = ulps(ours(x), reference(np.float64(x)))
            if error < 0:
                wrong += 1
            if error > worst:
                worst, where = error, i
        return worst, where, wrong

    @njit(**MATH)
    def reference(x):
        if math.isinf(x) and name in ("sin", "cos"):
            return math.nan
        if name == "log" and not x > 0:
            return -math.inf if x == 0 else math.nan
        return exact(x)

    parts = [loop(start, start + 2**28) for start in range(-(2**31), 2**31, 2**28)]
    worst, where, _ = max(parts)
    return worst, np.int32(where).view(np.float32), sum(part[2] for part in parts)


BOUNDS = {"sin": 1.0, "cos": 1.0, "exp": 1.0, "expm1": 1.5, "log": 1.0, "tanh": 2.0, "sigmoid": 2.0}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("functions", nargs="*", default=list(BOUNDS))
    failed = False
    for name in parser.parse_args().functions:
        worst, where, wrong = search(name)
        failed |= worst > BOUNDS[name] or wrong > 0
        print(f"{name:8} {worst:.3f} units in the last place at {where!r}, {wrong} of another kind", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
