"""Position-only attention as a layer: values, and one learned weight a lag, or a pair of positions, of every head."""

import numpy as np

from ..._runtime import devices
from .._trainable import Learned, Place, Plan, Projected, Trainable, normal, recomputed


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
    """Weights of the next rows, times all values so far."""
    alpha = learned["alpha"]

    def rows(x):
        v, new = x["v"], arrays["v"].shape[-2]
        keys = v.shape[-2]
        check_length(keys, alpha.shape[-1])
        places = np.arange(keys - new, keys)
        if alpha.ndim == 2:
            table = alpha[:, np.maximum(places[:, None] - np.arange(keys), 0)]
        else:
            table = alpha[:, places, :keys]
        return position_rows(v, table, plan.options["softmax"])

    return recomputed(rows, arrays, memory)


def position_rows(v, table, softmax: bool):
    """The last rows of causal attention with these weights; columns beyond a row's own position do not count."""
    keys, new = v.shape[-2], table.shape[-2]
    allowed = np.arange(keys) <= np.arange(keys - new, keys)[:, None]
    if softmax:
        scores = np.where(allowed, table, -np.inf)
        table = np.exp(scores - scores.max(axis=-1, keepdims=True))
        table = table / table.sum(axis=-1, keepdims=True)
    return np.where(allowed, table, table.dtype.type(0)) @ v


TRAINABLE = Trainable(plan, order="own", attend=attend, step=step)
