"""Every mechanism as a mathematical object: properties, counter-examples, spectra, formulas, dynamics."""

from importlib import import_module as _import_module

from ._certificates import Certificate, certify
from ._counterexample import Witness, counterexample
from ._depth import Depth, dynamics_of
from ._gram import gram
from ._operator import ScoreOperator, operator
from ._properties import properties
from ._random_features import feature_error, minhash, positive_features
from ._spectrum import Spectrum, spectrum
from ._synchrony import Synchrony, synchrony

_LAZY = ("symbolic",)  # SymPy takes a second to import

__all__ = [
    "Certificate",
    "Depth",
    "ScoreOperator",
    "Spectrum",
    "Synchrony",
    "Witness",
    "certify",
    "counterexample",
    "dynamics_of",
    "feature_error",
    "gram",
    "minhash",
    "operator",
    "positive_features",
    "properties",
    "spectrum",
    "symbolic",
    "synchrony",
]


def __getattr__(name: str):
    if name in _LAZY:
        return _import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
