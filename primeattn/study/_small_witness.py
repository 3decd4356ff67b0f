"""Smaller witnesses than a mechanism's own: few tokens, narrow, of small integers."""

import numpy as np

from ..attention import Mechanism, Property, Sample, violation

_SIZES = ((1, 1), (2, 1), (1, 2), (2, 2), (3, 1), (3, 2), (2, 4))
_SEEDS = 6
_STEPS = 400


def small_witness(which: Mechanism, prop: Property, by: float) -> tuple[Sample, float] | None:
    """A sample of integer inputs that violates the property by as much, and by how much; None if none is found."""
    for tokens, width in _SIZES:
        for seed in range(_SEEDS):
            drawn = which.sample(np.random.default_rng(seed), batch=(), heads=1, tokens=tokens, width=width)
            if not all(_is_numbers(x) for x in drawn.inputs):
                return None
            sample = Sample(tuple(np.round(2 * x) for x in drawn.inputs), drawn.options)
            if _violation(which, prop, sample) >= by:
                sample = _simplified(which, prop, sample, by)
                return sample, _violation(which, prop, sample)
    return None


def count(sample: Sample) -> int:
    """Numbers of a sample."""
    return sum(x.size for x in (*sample.inputs, *sample.options.values()) if _is_numbers(x))


def _violation(which: Mechanism, prop: Property, sample: Sample) -> float:
    """0 where the sample is none."""
    try:
        with np.errstate(all="ignore"):
            found = violation(prop, which, sample)
    except (ValueError, TypeError, ZeroDivisionError, IndexError):
        return 0.0
    return found if np.isfinite(found) else 0.0


def _is_numbers(x) -> bool:
    return isinstance(x, np.ndarray) and x.dtype.kind == "f"


def _simplified(which: Mechanism, prop: Property, sample: Sample, by: float) -> Sample:
    """Numbers of inputs one after the other to 0, to 1, or nearer to it, while the violation stays."""
    steps, changed = 0, True
    while changed and steps < _STEPS:
        changed = False
        for which_input, x in enumerate(sample.inputs):
            for at, value in np.ndenumerate(x):
                for simpler in (0.0, 1.0, value - np.sign(value)):
                    if (abs(simpler), simpler < 0) >= (abs(value), value < 0):
                        continue
                    y = x.copy()
                    y[at] = simpler
                    inputs = (*sample.inputs[:which_input], y, *sample.inputs[which_input + 1 :])
                    steps += 1
                    if _violation(which, prop, Sample(inputs, sample.options)) >= by:
                        sample, x, changed = Sample(inputs, sample.options), y, True
                        break
    return sample
