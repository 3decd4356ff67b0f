"""Formulas that several mechanisms share."""

from collections.abc import Callable

from .._runtime import elementary as el
from ._cores import ratio
from ._mechanism import Formula, Score

SCALE = {"scale": "1 / sqrt(D) by default"}
#: Softmax: rows of exp z over their sum.
EXPONENTIAL = Formula("exp(z)", ("z",), el.exp, {"z": ("exp(z)", el.exp)})


def of_kind(text: str, slope_text: str, params) -> Formula:
    """The weight f(z) that `ratio.register` knows by the record ``params``, and f'(z), as formulas."""
    value, slope = ratio.KINDS[type(params)]

    def bound(function: Callable) -> Callable[..., float]:
        return lambda z: function(params, z)

    return Formula(text, ("z",), bound(value), {"z": (slope_text, bound(slope))})


def of_dot_product(weight: Formula) -> Score:
    """f of the scaled dot product of q and k."""
    return Score(weight, "scale*q*k", {"q": "scale*k", "k": "scale*q"}, sides=(("q", "k"),), constants=SCALE)
