"""A derivation: steps that SymPy takes, each beside the formula that was derived by hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import sympy


def latex(expression: Any) -> str:
    r"""LaTeX of an expression, with :math:`\alpha` for the scale."""
    symbols = getattr(expression, "free_symbols", ())
    return sympy.latex(expression, symbol_names={x: r"\alpha" for x in symbols if x.name == "scale"})


@dataclasses.dataclass(frozen=True)
class Step:
    """One line of a derivation.

    Attributes
    ----------
    says : str
        What is done.
    left : str
        LaTeX of what is derived.
    right : sympy expression
        The formula by hand.
    rest : sympy expression
        What SymPy derives minus the formula by hand, simplified; 0 where they agree, and in definitions.
    """

    says: str
    left: str
    right: Any
    rest: Any = sympy.S.Zero

    @property
    def holds(self) -> bool:
        """Whether nothing is left."""
        return bool(self.rest == 0)

    @property
    def latex(self) -> str:
        """left = right."""
        return f"{self.left} = {self.right if isinstance(self.right, str) else latex(self.right)}"


@dataclasses.dataclass(frozen=True)
class Derivation:
    """Steps in order; Jupyter shows them as text and formulas.

    Attributes
    ----------
    title : str
    steps : tuple of Step
    verdict : str
        "holds", "fails" or "open" of a proof; of a derivation "holds" if every step does.
    """

    title: str
    steps: tuple[Step, ...]
    verdict: str

    @property
    def holds(self) -> bool:
        """Whether every step holds, which says nothing of the verdict of a proof."""
        return all(step.holds for step in self.steps)

    def __iter__(self):
        return iter(self.steps)

    def __len__(self) -> int:
        return len(self.steps)

    def __str__(self) -> str:
        lines = [f"{self.title}: {self.verdict}"]
        for number, step in enumerate(self.steps, 1):
            mark = "" if step.holds else f"  NOT 0: {step.rest}"
            lines.append(f"{number}. {step.says}: {step.left} = {step.right}{mark}")
        return "\n".join(lines)

    def _repr_markdown_(self) -> str:
        lines = [f"**{self.title}** ({self.verdict})", ""]
        for number, step in enumerate(self.steps, 1):
            mark = "" if step.holds else " **(does not hold)**"
            lines += [f"{number}. {step.says}{mark}", "", f"$$\n{step.latex}\n$$", ""]
        return "\n".join(lines)


class Notebook:
    """Takes steps as they are made."""

    def __init__(self, title: str):
        self.title = title
        self.steps: list[Step] = []

    def define(self, says: str, left: str, right: Any) -> Any:
        """A formula that is taken as it is."""
        self.steps.append(Step(says, left, right))
        return right

    def derive(self, says: str, left: str, derived: Any, by_hand: Any, shown: Any = None) -> Any:
        """What SymPy derives, beside the formula by hand, perhaps in shorter letters."""
        self.steps.append(Step(says, left, by_hand if shown is None else shown, difference(derived, by_hand)))
        return by_hand

    def done(self, verdict: str = "") -> Derivation:
        """The derivation; without a verdict it holds if every step does."""
        holds = all(step.holds for step in self.steps)
        return Derivation(self.title, tuple(self.steps), verdict or ("holds" if holds else "fails"))


def difference(derived: Any, by_hand: Any) -> Any:
    """derived - by_hand, simplified; of matrices and lists the largest that is left."""
    if isinstance(derived, sympy.MatrixBase | Sequence):
        pairs = zip(sympy.flatten(derived), sympy.flatten(by_hand), strict=True)
        left = [difference(a, b) for a, b in pairs]
        return next((x for x in left if x != 0), sympy.S.Zero)
    rest = sympy.expand(sympy.sympify(derived) - sympy.sympify(by_hand))
    return rest if rest == 0 else sympy.simplify(rest)
