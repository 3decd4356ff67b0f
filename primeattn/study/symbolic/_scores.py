"""The score of a mechanism as a SymPy expression, from the text that stands in its file."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import sympy

from ...attention import MECHANISMS, Formula, Mechanism, Score
from ...attention._resonant.formulas import AGREE, ALIGN, ALIGN_ORIGINAL, WEIGHTS
from ._derivation import latex

_IDENTITY = Formula("z", ("z",), lambda z: z, {"z": ("1", lambda z: 1.0)})


def _resonance(align: Formula, term: str, slopes: dict[str, str], constants: dict[str, str]) -> Score:
    kernels = {"d": "an inner product of unit quaternions", "u": "1 / |A u B|, a geometric series of inner products"}
    parts = {"align": align, "agree": AGREE}
    return Score(_IDENTITY, term, slopes, (("g", "h"), ("phi", "chi")), kernels, constants, parts)


#: Scores that are no mechanism's, by name as in `study.counterexample`: what one prime of two states adds; g and h are
#: 1 where the state has the prime, else 0.
SCORES: dict[str, Score] = {
    "resonance:original": _resonance(
        ALIGN_ORIGINAL,
        "g*h*(alpha*u + (beta*align(d) + gamma*agree(phi, chi))/s)",
        {"d": "g*h*beta*dalign(d)/s", "phi": "-g*h*gamma*sin(phi - chi)/(2*s)", "alpha": "g*h*u"},
        WEIGHTS | {"s": "the number of shared primes"},
    ),
    "resonance:kernel": _resonance(
        ALIGN,
        "g*h*(alpha + beta*align(d) + gamma*agree(phi, chi))*u",
        {"d": "g*h*u*beta*dalign(d)", "phi": "-g*h*u*gamma*sin(phi - chi)/2", "alpha": "g*h*u"},
        WEIGHTS,
    ),
}


@dataclasses.dataclass(frozen=True)
class ScalarScore:
    """What a query gives a key before the row is divided by its sum: f(z), z the sum of a term over coordinates.

    Attributes
    ----------
    name : str
    record : Score
        The text that it was made of, and the compiled scalars.
    z : Symbol
    weight : Expr
        f(z).
    term : Expr
        One coordinate's share of z.
    slopes : dict of str to Expr
        Its derivatives by hand.
    letters : dict of str to Symbol

    Examples
    --------
    >>> import primeattn as pa
    >>> expressive = pa.study.symbolic.score("expressive")
    >>> expressive.weight, expressive.derivative()
    (z**2/(z**2 + 1), 2*z/(z**2 + 1)**2)
    >>> expressive.series(8)
    z**2 - z**4 + z**6 + O(z**8)
    >>> expressive.latex()
    'f(z) = \\\\frac{z^{2}}{z^{2} + 1}, \\\\quad z = \\\\sum_c k q \\\\alpha'
    """

    name: str
    record: Score
    z: Any
    weight: Any
    term: Any
    slopes: dict[str, Any]
    letters: dict[str, Any]

    def derivative(self, by: str = "z") -> Any:
        """f'(z), or the derivative of the term by one of its letters.

        Parameters
        ----------
        by : str

        Returns
        -------
        Expr
        """
        if by == "z":
            return sympy.factor(sympy.diff(self.weight, self.z))
        if by not in self.letters:
            raise ValueError(f"by is {by!r}: one of {', '.join(map(repr, ('z', *self.letters)))} is wanted")
        return sympy.diff(self.term, self.letters[by])

    def series(self, order: int = 6) -> Any:
        """f around 0 up to z^order."""
        return sympy.series(self.weight, self.z, 0, order)

    def primitive(self) -> Any:
        """F with F' = f: the sum of F(z) over pairs is what particles that attend one another climb."""
        return sympy.integrate(self.weight, self.z)

    def limit(self, to: Any = sympy.oo) -> Any:
        """f as z grows without bound, by default."""
        return sympy.limit(self.weight, self.z, to)

    def numeric(self, expression: Any = None) -> Callable[..., Any]:
        """A NumPy function of z: of f by default, or of another expression in z."""
        expression = self.weight if expression is None else expression
        plain = sympy.lambdify(self.z, expression, "numpy")
        return (lambda z: plain(z) + 0 * z) if self.z not in expression.free_symbols else plain

    def latex(self) -> str:
        """f and z."""
        return f"f(z) = {latex(self.weight)}, \\quad z = \\sum_c {latex(self.term)}"

    def _repr_latex_(self) -> str:
        return f"${self.latex()}$"


def score(name: str | Mechanism | Score) -> ScalarScore:
    r"""The score of a mechanism as a formula.

    Parameters
    ----------
    name : str, Mechanism or Score
        A key of `attention.MECHANISMS`, or "resonance:original", "resonance:kernel".

    Returns
    -------
    ScalarScore

    Raises
    ------
    ValueError
        For another name, or a mechanism whose weights are parameters.

    Notes
    -----
    A row of attention is :math:`w_{ij} = f(z_{ij}) / (\sum_l f(z_{il}) + \varepsilon_i)` with
    :math:`z_{ij} = \sum_c \mathrm{term}_c`.

    Examples
    --------
    >>> import primeattn as pa
    >>> pa.study.symbolic.score("kuramoto").derivative("phi")
    -a*b*beta*sin(phi - psi)
    """
    record, label = _record(name)
    z = sympy.Symbol("z", real=True)
    letters: dict[str, Any] = {letter: sympy.Symbol(letter, real=True) for pair in record.sides for letter in pair}
    letters |= {letter: sympy.Symbol(letter, real=True) for letter in record.kernels}
    letters |= {letter: sympy.Symbol(letter, positive=True) for letter in record.constants}
    names = {**letters, **{name: _function(part) for name, part in record.parts.items()}}
    for call, part in record.parts.items():
        names[f"d{call}"] = _function(part, part.letters[0])
    weight = sympy.sympify(record.weight.text, locals={"z": z})
    slopes = {letter: sympy.sympify(text, locals=names) for letter, text in record.slopes.items()}
    return ScalarScore(label, record, z, weight, sympy.sympify(record.term, locals=names), slopes, letters)


def _record(name: str | Mechanism | Score) -> tuple[Score, str]:
    if isinstance(name, Score):
        return name, "score"
    mechanism = MECHANISMS.get(name) if isinstance(name, str) else name
    if mechanism is None and name in SCORES:
        return SCORES[str(name)], str(name)
    if not isinstance(mechanism, Mechanism):
        raise ValueError(f"name is {name!r}: one of {', '.join(map(repr, (*MECHANISMS, *SCORES)))} is wanted")
    if mechanism.score is None:
        raise ValueError(f"{mechanism.name} has no score: its weights do not depend on queries and keys")
    return mechanism.score, mechanism.name


def formula(part: Formula, by: str | None = None) -> tuple[Any, tuple[Any, ...]]:
    """The expression of a formula, or of its derivative by hand, and its letters."""
    letters = tuple(sympy.Symbol(letter, real=True) for letter in part.letters)
    text = part.text if by is None else part.slopes[by][0]
    return sympy.sympify(text, locals=dict(zip(part.letters, letters, strict=True))), letters


def _function(part: Formula, by: str | None = None) -> Callable[..., Any]:
    expression, letters = formula(part, by)
    return lambda *given: expression.subs(dict(zip(letters, given, strict=True)), simultaneous=True)
