"""Resonant attention, trainable. ``mechanism`` has the equations; states: ``tokens``, ``rotors``; attention: ``pairs``
(specification, CUDA), ``walk`` (linear form) and ``tiles`` (softmax form) on the CPU; ``stream`` decodes."""

from .mechanism import MECHANISM, resonant
from .stream import ResonantState, resonant_step

__all__ = ["MECHANISM", "ResonantState", "resonant", "resonant_step"]
