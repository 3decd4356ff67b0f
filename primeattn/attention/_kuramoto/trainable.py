"""Kuramoto attention as a layer of angles: nothing is projected but gates, and nothing is projected back."""

from typing import Any

import numpy as np

from ..._runtime import devices
from .._cache import Cache
from .._trainable import Learned, Place, Plan, Projected, Trainable, constant, exactly, given, normal
from .call import rotary_drift
from .stream import kuramoto_step

GATES = ("tokens", "static", None)


def plan(
    place: Place,
    *,
    gates: str | None = "tokens",
    signed: bool = False,
    drift: str | None = "rotary",
    drift_values: bool = False,
    harmonics: int = 1,
    delay: bool = False,
    frustrated: bool = False,
    update: str = "tangent",
    strict: bool = False,
    window: int | None = None,
) -> Plan:
    """Gates, sharpness and step of the coupling between phases.

    ``gates``: log(1 + e^u) of u = W [cos theta; sin theta] + b, or u itself if ``signed``; "static" learns one number
    an angle for all tokens; None has none. ``drift``: "rotary", "learned" or None. ``harmonics``, ``delay`` (to the
    successor of the attended token) and ``frustrated`` (a phase lag; complex coupling) make the step a learned kernel
    (delays, harmonics, d), which starts as the plain step.
    """
    if gates not in GATES:
        raise ValueError(f"gates is {gates!r}: one of {', '.join(map(repr, GATES))} is wanted")
    if drift not in ("rotary", "learned", None):
        raise ValueError(f"drift is {drift!r}: 'rotary', 'learned' or None is wanted")
    d, width, (learned, projected) = place.width, place.columns, ({}, {})
    for name in ("gate_query", "gate_key") if gates else ():
        if gates == "tokens":
            bias = None if signed else (0.0,) * d
            projected[name] = Projected(d, 1, positive=not signed, bias=bias)
        else:
            learned[name] = Learned((d,), normal(1.0) if signed else constant(np.log(2)))
    learned["beta"] = Learned((place.heads,), constant(2 * (2 / width) ** 0.5))
    if drift == "learned":
        learned["drift"] = Learned((width,), exactly(rotary_drift(width)))
    if harmonics == 1 and not delay and not frustrated:
        learned["step"] = Learned((d,), constant(0.5))
    else:
        shape = (1 + delay, harmonics, d)
        learned["coupling"] = Learned(shape, plain_step)
        if frustrated:
            learned["coupling_imag"] = Learned(shape, constant(0.0))
    options = given(
        heads=place.heads, causal=place.causal, drift="rotary" if drift == "rotary" else None, update=update,
        drift_values=drift_values, strict=strict, window=window,
    )  # fmt: skip
    return Plan(projected, learned, d, options)


def plain_step(rng, shape):
    """A start: half a step along the first harmonic, no delay."""
    kappa = np.zeros(shape)
    kappa[0, 0] = 0.5
    return kappa


def kernel_of(learned) -> dict[str, Any]:
    """The arguments of the mechanism: the two parts of a complex coupling are learned as real numbers."""
    if "coupling_imag" not in learned:
        return dict(learned)
    rest = {name: x for name, x in learned.items() if not name.startswith("coupling")}
    real, imag = (devices.to_host(learned[name]) for name in ("coupling", "coupling_imag"))
    return rest | {"coupling": real + 1j * imag}


def attend(vjp, plan: Plan, arrays, learned, before):
    gates = {name: x for name, x in arrays.items() if name != "theta"}
    out, pull = vjp(arrays["theta"], **gates, **kernel_of(learned), **plan.options)
    if "coupling_imag" not in learned:
        return out, pull

    def pullback(dout) -> dict[str, Any]:
        """The loss changes by Re(conj(g) dkappa): by the parts of g."""
        grads = pull(dout)
        g = devices.to_host(grads["coupling"])
        parts = [np.ascontiguousarray(x) for x in (g.real, g.imag)]
        if devices.is_device_array(arrays["theta"]):
            parts = [devices.to_device(x) for x in parts]
        return grads | dict(zip(("coupling", "coupling_imag"), parts, strict=True))

    return out, pullback


def step(plan: Plan, arrays, learned, memory, before):
    gates = {name: x for name, x in arrays.items() if name != "theta"}
    options = {name: x for name, x in plan.options.items() if name not in ("causal", "window")}
    past = memory.setdefault("past", Cache(plan.options.get("window")))
    return kuramoto_step(arrays["theta"], past, **gates, **kernel_of(learned), **options)


TRAINABLE = Trainable(plan, space="angles", order="own", attend=attend, step=step)
