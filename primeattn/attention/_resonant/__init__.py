"""Resonant attention, trainable: the mechanism in `mechanism`, rows in `tokens`, `rotors` and `pairs`."""

from .mechanism import MECHANISM, resonant

__all__ = ["MECHANISM", "resonant"]
