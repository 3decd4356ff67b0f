"""Position-only attention as a layer: values, and one learned weight a lag, or a pair of positions, of every head."""

import numpy as np

from ..._runtime import devices
from .._cache import Cache
from .._trainable import Learned, Place, Plan, Projected, Trainable, normal
from .stream import position_only_step


def plan(place: Place, *, lags: bool | None = None, softmax: bool = False) -> Plan:
    """v, and alpha: (heads, context) by lag, the default if causal, or (heads, context, context)."""
    lags = place.causal if lags is None else lags
    if lags and not place.causal:
        raise ValueError("lags=True gives weights to the past alone, but causal is False: pass lags=False")
    shape = (place.heads, place.context) if lags else (place.heads, place.context, place.context)
    learned = {"alpha": Learned(shape, normal(place.context**-0.5))}
    options = {"causal": place.causal, "symmetry": "shift" if lags else None, "softmax": softmax, "form": "table"}
    return Plan({"v": Projected(place.columns, place.heads)}, learned, place.columns, options)


def attend(vjp, plan: Plan, arrays, learned, before):
    """A sequence shorter than the context uses the first rows and columns of a table of pairs."""
    v, alpha = arrays["v"], learned["alpha"]
    tokens, context = tuple(v.shape)[-2], tuple(alpha.shape)[-1]
    check_length(tokens, context)
    if plan.options["symmetry"] == "shift" or tokens == context:
        return vjp(v, alpha=alpha, **plan.options)
    part = np.ascontiguousarray(devices.to_host(alpha)[:, :tokens, :tokens])
    on_device = devices.is_device_array(v)
    out, pull = vjp(v, alpha=devices.to_device(part) if on_device else part, **plan.options)

    def pullback(dout):
        grads = pull(dout)
        full = np.zeros(alpha.shape, alpha.dtype)
        full[:, :tokens, :tokens] = devices.to_host(grads["alpha"])
        return grads | {"alpha": devices.to_device(full) if on_device else full}

    return out, pullback


def check_length(tokens: int, context: int) -> None:
    if tokens > context:
        raise ValueError(f"{tokens} tokens came but weights are learned for {context} positions: pass fewer")


def step(plan: Plan, arrays, learned, memory, before):
    options = {name: plan.options[name] for name in ("symmetry", "softmax")}
    return position_only_step(arrays["v"], memory.setdefault("past", Cache()), alpha=learned["alpha"], **options)


TRAINABLE = Trainable(plan, order="own", attend=attend, step=step)
