r"""Formulas as formulas: scores, derivatives, series, proofs and derivations in SymPy.

A mechanism brings its score as text beside the compiled scalars that compute it (`primeattn.attention.Score`). Here it
becomes a SymPy expression, of which everything else follows: `score` has derivatives, series, primitives and LaTeX,
`derivation` the gradients step by step, `prove_psd` a proof from positive coefficients and Schur products, or why there
is none. `kuramoto_jacobian`, `ott_antonsen`, `two_populations` and `attention_synchrony` do the same for oscillators.
"""

from ._derivation import Derivation, Step
from ._gradients import derivation
from ._oscillators import (
    OscillatorJacobian,
    TwoPopulations,
    attention_synchrony,
    kuramoto_jacobian,
    ott_antonsen,
    two_populations,
)
from ._proofs import Coefficients, coefficients, prove_psd
from ._scores import SCORES, ScalarScore, score

__all__ = [
    "SCORES",
    "Coefficients",
    "Derivation",
    "OscillatorJacobian",
    "ScalarScore",
    "Step",
    "TwoPopulations",
    "attention_synchrony",
    "coefficients",
    "derivation",
    "kuramoto_jacobian",
    "ott_antonsen",
    "prove_psd",
    "score",
    "two_populations",
]
