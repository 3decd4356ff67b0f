"""How fast a model moves, and the steps that follow it."""

import math
import warnings
from typing import Any

import numpy as np

from ._body_models import Bodies

_COARSE = 3.0  # dt times rate; 2.8 is where decay at that rate explodes in rk4, 2 where it does in euler and heun
_NANOSECONDS, _STEP = 15, 500  # an oscillator and step; a step of few oscillators
_PATIENCE = 20.0  # seconds without a word
_COUNTED = 2.0**53  # steps


def default_step(model: Any) -> float:
    """A twentieth of the time in which the fastest oscillator could turn by a radian, at most 0.05 and any delay."""
    if isinstance(model, Bodies):
        rate = model.fastest()
        return min(0.05, 0.05 / rate if rate > 0 else math.inf)
    strength = _strength(model)
    rate = float(np.max(np.abs(model.omega))) + strength + (0.0 if model.adaptation is None else model.adaptation[0])
    if model.inertia is not None:
        settles, swings = _of_velocities(model, strength)
        rate = max(rate / max(float(np.min(model.friction)), 1.0), settles / 4, swings)
    return min(0.05, 0.05 / rate if rate > 0 else math.inf, _shortest(model))


def _shortest(model: Any) -> float:
    """The smallest delay, which no step may exceed."""
    return math.inf if isinstance(model, Bodies) else float(model.delays[model.delays > 0].min(initial=math.inf))


def fastest(model: Any) -> float:
    """The rate that steps must resolve: of coupling, or at which half of the phases drift from the median one.

    Not that of the fastest oscillator: a few that turn by radians a step do no harm, as their steps are exact without
    coupling, and a turn of all is none.
    """
    if isinstance(model, Bodies):
        return model.fastest()
    middle = np.median(model.omega, axis=-1, keepdims=True)
    drift, strength = float(np.max(np.median(np.abs(model.omega - middle), axis=-1))), _strength(model)
    learns = 0.0 if model.adaptation is None else model.adaptation[0]
    if model.inertia is None:
        return max(drift, strength, learns)
    friction = max(float(np.min(model.friction)), 1.0)
    return max(drift / friction, *_of_velocities(model, strength), learns)


def is_fine(dt: float, model: Any) -> bool:
    """Whether ``dt`` is no coarse step, told by the default one: sooner than by `fastest`, at most 4 times its rate."""
    return (isinstance(model, Bodies) or model.adaptation is None) and dt <= _COARSE / 0.2 * default_step(model)


def warn_if_coarse(dt: float, rate: float) -> None:
    """A RuntimeWarning if a step passes over what the model does."""
    if dt * rate > _COARSE:
        says = (
            f"dt is {dt:g}, but the model moves at rates up to {rate:.3g}: steps pass over that, and results may look "
            f"well and be wrong; dt={0.05 / rate:.1g} follows it"
        )
        warnings.warn(says, RuntimeWarning, stacklevel=3)


def check_count(model: Any, step: float, span: float, given: bool) -> None:
    """Refuses more steps than float64 counts.

    Raises
    ------
    ValueError
    """
    steps = span / step if step > 0 else math.inf
    if not steps <= _COUNTED:
        wanted = "pass a larger dt" if given else f"pass dt={span / 1000:.1g}, or smaller couplings and frequencies"
        if step >= _shortest(model):
            wanted = "no step may be longer than the smallest delay; pass 0 or a larger one"
        raise ValueError(f"simulate needs {steps:.2g} steps of {step:.2g} for a time of {span:g}: {wanted}")


def warn_of_tails(model: Any, step: float, span: float, runs: int) -> None:
    """Says what costs the time where a few oscillators make the default step much smaller than others need."""
    steps = span / step
    seconds = steps * runs * max(model.size * _NANOSECONDS, _STEP) * 1e-9
    if step >= _shortest(model) and step < 0.01 and seconds >= _PATIENCE:
        says = (
            f"simulate takes {steps:.2g} steps of {step:.2g}, as no step may be longer than the smallest delay: pass 0 "
            "or a larger one"
        )
        warnings.warn(says, UserWarning, stacklevel=3)
        return
    if isinstance(model, Bodies):
        if step < 0.01 and seconds >= _PATIENCE:
            says = (
                f"simulate takes {steps:.2g} steps of {step:.2g}, as the model moves at rates up to "
                f"{model.fastest():.3g}: pass a larger dt, or smaller couplings"
            )
            warnings.warn(says, UserWarning, stacklevel=3)
        return
    speed = np.abs(model.omega)
    quickest, usual = float(speed.max()), float(np.quantile(speed, 0.95))
    if quickest < 4 * usual or seconds < _PATIENCE:
        return
    advice = min(0.05, 0.05 / usual if usual else 0.05)
    says = (
        f"simulate takes {steps:.2g} steps of {step:.2g}, as the fastest oscillator turns at {quickest:.3g} and 95 % "
        f"of all at {usual:.3g} or less: pass dt={advice:.2g}, which does not resolve the fastest ones, or leave them "
        "out, frequencies.lorentzian(n, limit=...)"
    )
    warnings.warn(says, UserWarning, stacklevel=3)


def _of_velocities(model: Any, strength: float) -> tuple[float, float]:
    """Rates at which friction stops them, and of a swing about the locked state."""
    friction, inertia = np.broadcast_arrays(model.friction, model.inertia)
    return float((friction / inertia).max()), math.sqrt(strength / inertia.min())


def _strength(model: Any) -> float:
    """The largest sum of couplings that a phase feels."""
    strength = float(np.max(np.abs(model.coupling))) + sum(m * abs(k) for m, (k, _) in model.harmonics.items())
    if model.edges is not None and model.normalize != "degree":
        degree = max(float(edges.in_degree.max(initial=0)) for _, edges in model.networks)
        strength *= degree / model.size if model.normalize == "size" else degree
    elif model.edges is None and model.normalize != "degree" and model.ring:
        strength *= 2 * model.ring / (model.size if model.normalize == "size" else 1)
    elif model.edges is None and model.normalize is None:
        strength *= model.size
    if model.schedule is not None:
        strength *= float(np.abs(model.schedule[1]).max())
    triads = sum(map(abs, model.triadic or (0.0, 1.0)))
    if model.corners is not None:
        rows = np.repeat(np.arange(model.size), np.diff(model.corners.at))
        triads *= float(np.bincount(rows, np.abs(model.corners.weight)).max(initial=0))
    elif model.triadic is None:
        triads = 0.0
    if model.adaptation is not None:  # weights that have learned are at most so large
        strength *= max(1.0, abs(model.adaptation[2]) / (float(np.abs(model.edges.weight).max(initial=0)) or 1.0))
    return strength + triads + sum(map(abs, (model.forcing or ())[:2]))
