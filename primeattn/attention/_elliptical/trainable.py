"""Elliptical attention as a layer: the metric comes from the values of the layer before, carried with the tokens."""

from typing import Any

import numpy as np

from ..._runtime import devices
from ..._runtime.jit import kernel, nonnegative, scalar
from ..._runtime.owners import Owner
from .._cache import Cache
from .._trainable import Place, Plan, Trainable, given, queries_keys_values
from .relevance import layer_relevance_vjp
from .stream import elliptical_step


@scalar
def pair_row(row, width, m):
    """Both of each pair (c, c + width / 2) of row ``row`` become their mean: a map that is its own transpose."""
    half = width // 2
    for c in range(half):
        first, second = row * width + c, row * width + half + c
        mean = (m[first] + m[second]) / type(m[0])(2)
        m[first], m[second] = mean, mean


@kernel
def pair_cpu(start, stop, width, m):
    for row in range(start, stop):
        pair_row(nonnegative(row), width, m)


PAIR = Owner(pair_row, pair_cpu, "i F1", grain=1024)


def plan(
    place: Place,
    *,
    metric: str = "dot",
    normalize: str | None = "max",
    stop_gradient: bool = True,
    window: int | None = None,
    scale: float | None = None,
) -> Plan:
    """q, k, v; the relevance is that of the changes of v since the layer before, 1 in the first layer.

    Causal: of the changes up to a token. With rotary positions it is made equal within the pairs that turn together.
    With ``stop_gradient`` (the published rule) the relevance is data.
    """
    options = given(causal=place.causal, metric=metric, window=window, scale=scale)
    projected = queries_keys_values(place)
    own = {"normalize": normalize, "stop_gradient": stop_gradient, "paired": projected["q"].rotary}
    return Plan(projected, {}, place.columns, options, carried=("v",), own=own)


def attend(vjp, plan: Plan, arrays, learned, before):
    q, k, v = (arrays[name] for name in "qkv")
    if not before:
        out, pull = vjp(q, k, v, relevance=everything_counts(v), **plan.options)
        return out, lambda dout: {name: x for name, x in pull(dout).items() if name != "relevance"}
    m, pull_m = layer_relevance_vjp(v, before["v"], normalize=plan.own["normalize"], causal=plan.options["causal"])
    m = paired(m) if plan.own["paired"] else m
    out, pull = vjp(q, k, v, relevance=m, **plan.options)

    def pullback(dout) -> dict[str, Any]:
        grads = pull(dout)
        dm = grads.pop("relevance")
        if plan.own["stop_gradient"]:
            return grads
        through = pull_m(paired(dm) if plan.own["paired"] else dm)
        return grads | {"v": added(grads["v"], through["v_now"]), "previous_v": through["v_previous"]}

    return out, pullback


def everything_counts(v):
    ones = np.ones(tuple(v.shape)[-1], v.dtype)
    return devices.to_device(ones) if devices.is_device_array(v) else ones


def paired(m):
    """In place."""
    width = tuple(m.shape)[-1]
    PAIR(m.size // width, width, m.reshape(m.size))
    return m


def added(a, b):
    if devices.is_device_array(a):
        return devices.to_device(devices.to_host(a) + devices.to_host(b))
    return a + b


def step(plan: Plan, arrays, learned, memory, before):
    """Changes are summed in float64 over all tokens so far."""
    q, k, v = (arrays[name] for name in "qkv")
    options = {name: x for name, x in plan.options.items() if name not in ("causal", "window")}
    past = memory.setdefault("past", Cache(plan.options.get("window")))
    if not before:
        return elliptical_step(q, k, v, past, relevance=everything_counts(v), **options)
    changes = memory.get("changes", 0) + np.cumsum(abs(v - before["v"]), axis=-2, dtype=np.float64)
    memory["changes"] = changes[..., -1:, :]
    mean = changes / (past.position + np.arange(1, v.shape[-2] + 1)[:, None])
    m = normalized(mean, plan.own["normalize"]).astype(v.dtype)
    return elliptical_step(q, k, v, past, relevance=paired(m) if plan.own["paired"] else m, **options)


def normalized(u, normalize: str | None):
    """As in `layer_relevance`: 1 where nothing changed."""
    if normalize is None:
        return u
    unit = u.max(axis=-1, keepdims=True) if normalize == "max" else u.mean(axis=-1, keepdims=True)
    return np.where(unit == 0, 1.0, u / np.where(unit == 0, 1.0, unit))


TRAINABLE = Trainable(plan, attend=attend, step=step)
