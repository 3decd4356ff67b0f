"""Witnesses in words: short enough for a cell of a table."""

from typing import Any

import numpy as np

from ..attention import Property, Sample
from ..states import PrimeStates

_MOST = 9  # numbers of an array that are written out, and states of a batch


def describe(sample: Sample, inputs, prop: Property) -> str:
    """``q = [[1], [3]], k = ..., scale = 1``; arrays of many numbers by their shape."""
    # keys are the queries themselves, and values do not matter, where the kernel of one batch is judged
    used = len(inputs) if prop not in (Property.SYMMETRIC, Property.PSD) else 1
    named = [*list(zip(inputs, sample.inputs, strict=True))[:used], *sample.options.items()]
    says = [f"{name} = {_value(x)}" for name, x in named]
    if prop is Property.KEY_SHIFT_INVARIANT and inputs[:2] == ("q", "k"):
        says.append(f"k + {_value(np.linspace(-1, 1, sample.inputs[1].shape[-1]))}")  # the shift that is measured
    return ", ".join(says)


def _value(x: Any) -> str:
    if isinstance(x, PrimeStates):
        return states_in_words(x) if len(x) <= _MOST else f"{len(x)} states"
    if isinstance(x, np.ndarray):
        return _numbers(x) if x.size <= _MOST else f"array {x.shape}"
    return f"{x:g}" if isinstance(x, (float, np.floating)) else str(x)


def _numbers(x: np.ndarray) -> str:
    if x.ndim == 0:
        return f"{float(x) + 0.0:.4g}"
    if x.ndim > 2 and len(x) == 1:  # one head
        return _numbers(x[0])
    return "[" + ", ".join(_numbers(row) for row in x) + "]"


def states_in_words(states: PrimeStates) -> str:
    """Sets of primes; an amplitude's phase and an orientation where they are not the usual ones."""
    return ", ".join("{" + ", ".join(_entry(p, *entry) for p, entry in s.items()) + "}" for s in states.to_dicts())


def _entry(prime: int, amplitude: complex, orientation) -> str:
    says = [f"{int(prime)}"]
    phase = float(np.degrees(np.angle(amplitude)))
    if abs(phase) > 1e-9:
        says.append(f"phase {phase:.4g} deg")
    q = np.asarray(orientation)
    if abs(abs(q[0]) - 1) > 1e-9:
        says.append("q = (" + ", ".join(f"{v:.4g}" for v in q) + ")")
    return says[0] if len(says) == 1 else f"{says[0]} [{'; '.join(says[1:])}]"
