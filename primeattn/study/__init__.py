"""Every mechanism as a mathematical object: properties, counter-examples, spectra, formulas, dynamics."""

from ._certificates import Certificate, certify
from ._gram import gram
from ._properties import properties

__all__ = ["Certificate", "certify", "gram", "properties"]
