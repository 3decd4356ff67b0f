r"""Resonant attention as a layer: every token gets amplitudes, phases and quaternions; rotors know the order.

Mixing weights are w = softmax(m) and the temperature is tau = exp(u) of learned numbers, so that they stay what the
mechanism allows:  dL/dm = w (dL/dw - sum w dL/dw),   dL/du = tau dL/dtau.

Where a token's quaternion is 0, as where all parameters are, it counts as 1, with the gradient that is there: a layer
has no 0/0, and training leaves the place.
"""

from typing import Any

import numpy as np

from ..._runtime import devices
from ..._runtime.jit import kernel, scalar
from ..._runtime.owners import Owner
from .._trainable import Learned, Place, Plan, Projected, Trainable, constant
from .stream import ResonantState, resonant_step

FIELDS = ("primes", "token", None)


def plan(
    place: Place,
    *,
    primes: int | None = None,
    active: int | None = None,
    phase: str | None = "primes",
    orientation: str | None = "token",
    form: str = "linear",
    rotors: bool = True,
) -> Plan:
    """Logits of ``primes`` primes a head, the width of a head by default, of which ``active`` are kept, 8 or half.

    ``phase`` and ``orientation``: of each prime of a token ("primes"), one for all primes of a token ("token"), or
    None. Quaternions start near 1. ``form`` and ``rotors`` as in `resonant`.
    """
    primes = place.columns if primes is None else primes
    active = max(min(8, primes // 2), 1) if active is None else active
    for name, value in (("phase", phase), ("orientation", orientation)):
        if value not in FIELDS:
            raise ValueError(f"{name} is {value!r}: one of {', '.join(map(repr, FIELDS))} is wanted")
    if not 1 <= active <= primes:
        raise ValueError(f"active is {active} of {primes} primes: 1 to {primes} are wanted")
    heads, count = place.heads, {"primes": primes, "token": 1}
    projected = {"q": Projected(primes, heads), "k": Projected(primes, heads), "v": Projected(place.columns, heads)}
    for side in "qk":
        if phase:
            projected[f"{side}_phase"] = Projected(count[phase], heads)
        if orientation:
            n = count[orientation]
            projected[f"{side}_orientation"] = Projected(4 * n, heads, bias=(1.0, 0.0, 0.0, 0.0) * n, gain=0.1)
    learned = {"mix": Learned((heads, 3), constant(0.0))}
    if form == "softmax":
        learned["log_temperature"] = Learned((heads,), constant(np.log(0.25)))
    options = {"causal": place.causal, "active": active, "form": form, "rotors": rotors}
    return Plan(projected, learned, place.columns, options, recomputes=form != "linear")


@scalar
def direct_row(i, q):
    """A quaternion of zeros, which has no direction, becomes 1, in place."""
    at = 4 * i
    if q[at] == 0 and q[at + 1] == 0 and q[at + 2] == 0 and q[at + 3] == 0:
        q[at] = 1


@kernel
def direct_cpu(start, stop, q):
    for i in range(start, stop):
        direct_row(i, q)


DIRECT = Owner(direct_row, direct_cpu, "F1", grain=4096)


def arguments(arrays, learned) -> dict[str, Any]:
    """Of `resonant`, by name."""
    named = {name: x for name, x in arrays.items() if name not in ("q", "k", "v")}
    for name, x in named.items():
        if name.endswith("orientation"):
            shape = tuple(x.shape)
            DIRECT(x.size // 4, x.reshape(x.size))
            named[name] = x.reshape((*shape[:-1], shape[-1] // 4, 4))
    mix = devices.to_host(learned["mix"]).astype(np.float64)
    w = np.exp(mix - mix.max(axis=-1, keepdims=True))
    named["weights"] = w / w.sum(axis=-1, keepdims=True)
    if "log_temperature" in learned:
        named["temperature"] = np.exp(devices.to_host(learned["log_temperature"]).astype(np.float64))
    return named


def attend(vjp, plan: Plan, arrays, learned, before):
    given = arguments(arrays, learned)
    out, pull = vjp(arrays["q"], arrays["k"], arrays["v"], **given, **plan.options)
    own = {"weights": "mix", "temperature": "log_temperature"}

    def pullback(dout) -> dict[str, Any]:
        grads = {name: x if name in own else x.reshape(tuple(arrays[name].shape)) for name, x in pull(dout).items()}
        w = given["weights"]
        dw = devices.to_host(grads.pop("weights"))
        small = {"mix": w * (dw - (w * dw).sum(axis=-1, keepdims=True))}
        if "temperature" in grads:
            small["log_temperature"] = given["temperature"] * devices.to_host(grads.pop("temperature"))
        for name, x in small.items():
            x = np.ascontiguousarray(x, dtype=out.dtype)
            grads[name] = devices.to_device(x) if devices.is_device_array(out) else x
        return grads

    return out, pullback


def step(plan: Plan, arrays, learned, memory, before):
    """The linear form, which keeps sums."""
    given = {name: x for name, x in plan.options.items() if name not in ("causal", "form")}
    past = memory.setdefault("past", ResonantState())
    return resonant_step(arrays["q"], arrays["k"], arrays["v"], past, **arguments(arrays, learned), **given)


TRAINABLE = Trainable(plan, order="own", attend=attend, step=step)
