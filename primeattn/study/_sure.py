"""Numbers that are right: a fraction, or an interval that holds the value; what proofs about witnesses compute with.

NumPy object arrays of them pass through plain NumPy formulas, references of mechanisms included: ``numpy.exp`` calls
their ``exp``, comparisons decide or raise, and a float that joins is the fraction that it is.
"""

from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np

DIGITS = 50


class Undecided(ArithmeticError):
    """Two intervals overlap: neither order nor equality can be told."""


@cache
def _intervals():
    from mpmath.ctx_iv import MPIntervalContext

    context = MPIntervalContext()
    context.dps = DIGITS
    return context


def _fraction(x: Any) -> Fraction:
    if isinstance(x, (float, np.floating)):
        return Fraction(float(x))
    return Fraction(int(x)) if isinstance(x, (int, np.integer)) else Fraction(x)


class Sure:
    """A real number: a Fraction, or an interval of mpmath."""

    __slots__ = ("value",)

    value: Any

    def __init__(self, value: Any):
        if isinstance(value, Sure):
            value = value.value
        self.value = value if type(value) is _intervals().mpf else _fraction(value)

    @property
    def exact(self) -> bool:
        return isinstance(self.value, Fraction)

    @property
    def interval(self):
        """The value as an interval."""
        if not self.exact:
            return self.value
        iv = _intervals()
        return iv.mpf(self.value.numerator) / iv.mpf(self.value.denominator)

    @property
    def bounds(self) -> tuple[Any, Any]:
        """Lower and upper bound, to be compared with numbers."""
        return (self.value, self.value) if self.exact else (self.value.a, self.value.b)

    def __float__(self) -> float:
        return float(self.value if self.exact else self.value.mid)

    def __repr__(self) -> str:
        says = str(self.value) if self.exact else ""
        return says if 0 < len(says) <= 16 else f"{float(self):.6g}"

    def _with(self, other, of_fractions, of_intervals):
        if isinstance(other, (complex, str, np.ndarray)):
            return NotImplemented
        other = other if isinstance(other, Sure) else Sure(other)
        if self.exact and other.exact:
            return Sure(of_fractions(self.value, other.value))
        return Sure(of_intervals(self.interval, other.interval))

    def __add__(self, other):
        return self._with(other, lambda a, b: a + b, lambda a, b: a + b)

    def __sub__(self, other):
        return self._with(other, lambda a, b: a - b, lambda a, b: a - b)

    def __rsub__(self, other):
        return self._with(other, lambda a, b: b - a, lambda a, b: b - a)

    def __mul__(self, other):
        return self._with(other, lambda a, b: a * b, lambda a, b: a * b)

    def __truediv__(self, other):
        return self._with(other, lambda a, b: a / b, lambda a, b: a / b)

    def __rtruediv__(self, other):
        return self._with(other, lambda a, b: b / a, lambda a, b: b / a)

    __radd__, __rmul__ = __add__, __mul__

    def __pow__(self, power):
        power = _fraction(power)
        if power.denominator == 1:
            return Sure(self.value**power.numerator)
        if power.denominator == 2:
            return self.sqrt() ** power.numerator
        return (self.log() * power).exp()

    def __neg__(self):
        return Sure(-self.value)

    def __abs__(self):
        return Sure(abs(self.value))

    def _compare(self, other) -> int:
        """-1, 0 or 1; an infinity is beyond everything."""
        if isinstance(other, (float, np.floating)) and np.isinf(other):
            return -1 if other > 0 else 1
        rest = self - other
        low, high = rest.bounds
        if low > 0:
            return 1
        if high < 0:
            return -1
        if low == 0 and high == 0:
            return 0
        raise Undecided(f"{self!r} and {other!r} are equal to {DIGITS} digits")

    def __lt__(self, other):
        return self._compare(other) < 0

    def __le__(self, other):
        return self._compare(other) <= 0

    def __gt__(self, other):
        return self._compare(other) > 0

    def __ge__(self, other):
        return self._compare(other) >= 0

    def __eq__(self, other):
        return self._compare(other) == 0

    def __ne__(self, other):
        return self._compare(other) != 0

    __hash__ = None  # type: ignore[assignment]

    def __bool__(self) -> bool:
        return self != 0

    @property
    def real(self):
        return self

    def _function(self, name: str):
        return Sure(getattr(_intervals(), name)(self.interval))

    def exp(self):
        return Sure(1) if self.exact and self.value == 0 else self._function("exp")

    def log(self):
        return Sure(0) if self.exact and self.value == 1 else self._function("ln")

    def cos(self):
        return Sure(1) if self.exact and self.value == 0 else self._function("cos")

    def sin(self):
        return Sure(0) if self.exact and self.value == 0 else self._function("sin")

    def sqrt(self):
        if self.exact and self.value >= 0:
            from math import isqrt

            top, under = isqrt(self.value.numerator), isqrt(self.value.denominator)
            if top * top == self.value.numerator and under * under == self.value.denominator:
                return Sure(Fraction(top, under))
        return self._function("sqrt")


def sure(x: Any) -> np.ndarray:
    """An object array of the fractions that these numbers are."""
    x = np.asarray(x)
    out = np.empty(x.shape, object)
    out.reshape(-1)[:] = [Sure(v) for v in x.reshape(-1)]
    return out


def is_sure(x: Any) -> bool:
    """Whether an array holds sure numbers only."""
    x = np.asarray(x, object)
    return all(isinstance(v, Sure) or type(v) is int for v in x.reshape(-1))
