"""Every mechanism as a mathematical object: properties, counter-examples, spectra, formulas, dynamics."""

from ._certificates import Certificate, certify
from ._counterexample import Witness, counterexample
from ._gram import gram
from ._operator import ScoreOperator, operator
from ._properties import properties
from ._random_features import feature_error, minhash, positive_features
from ._spectrum import Spectrum, spectrum

__all__ = [
    "Certificate",
    "ScoreOperator",
    "Spectrum",
    "Witness",
    "certify",
    "counterexample",
    "feature_error",
    "gram",
    "minhash",
    "operator",
    "positive_features",
    "properties",
    "spectrum",
]
