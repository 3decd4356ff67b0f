"""Language models from their equations: the loss of named parameters, whatever mechanism mixes the tokens.

Loops of the mechanisms' own oracles; real or complex, so that the complex step differentiates the whole model.
"""

import importlib

import numpy as np

from . import dot_product as rotary
from . import kuramoto as phases

#: Arrays that a layer projects, in the order of the columns, where it is not q, k, v; "+": with a bias.
FIELDS = {
    "uniform": ["v"],
    "position_only": ["v"],
    "resonant": ["q", "k", "v", "q_phase", "k_phase", "q_orientation+", "k_orientation+"],
}
UNTURNED = ("uniform", "position_only", "resonant", "eigen")


def loss(values, config, inputs, targets, weights):
    """sum of weights times -log softmax(z)_target, over sum of weights."""
    z = logits(values, config, inputs)
    total = 0
    for at in np.ndindex(*targets.shape):
        top = max(z[at].real)
        total += weights[at] * (np.log(sum(np.exp(z[at] - top))) + top - z[(*at, targets[at])])
    return total / weights.sum()


def logits(values, config, inputs):
    if config["mechanism"] == "kuramoto":
        return angles(values, config, inputs)
    x = values["embedding.table"][inputs]
    if "positions.table" in values:
        x = x + values["positions.table"][: inputs.shape[1]]
    carried = None
    for i in range(config["layers"]):
        own = {n.removeprefix(f"{i}.mixing.inner."): a for n, a in values.items() if n.startswith(f"{i}.mixing.inner.")}
        y, carried = mixing(own, config, rms(x, values[f"{i}.mixing.norm.scale"]), carried)
        x = x + y
        up, down = (values[f"{i}.feed_forward.inner.{n}"] for n in ("up", "down"))
        x = x + swiglu(rms(x, values[f"{i}.feed_forward.norm.scale"]), up, down)
    return rms(x, values["norm.scale"]) @ values["embedding.table"].T


def rms(x, scale, eps=1e-5):
    return x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + eps) * scale


def swiglu(x, up, down):
    a, b = np.split(x @ up, 2, axis=-1)
    return (a / (1 + np.exp(-a)) * b) @ down


def mixing(own, config, x, carried):
    """The output, and the values that the next layer may look at."""
    name, heads = config["mechanism"], config["heads"]
    arrays, at, biased = {}, 0, 0
    u = x @ own["project"]
    for field in FIELDS.get(name, ["q", "k", "v"]):
        columns = 4 * heads if "orientation" in field else x.shape[-1]
        block = u[..., at : at + columns]
        if field.endswith("+"):
            block, biased = block + own["bias"][biased : biased + columns], biased + columns
        arrays[field.rstrip("+")] = by_head(block, heads)
        at += columns
    if name not in UNTURNED and config["positions"] in (None, "rotary"):
        for side in "qk":
            arrays[side] = rotary.turned(arrays[side], list(range(x.shape[1])), 10000.0)
    y = attend(name, config, arrays, own, carried)
    return np.swapaxes(y, 1, 2).reshape(*x.shape[:2], -1) @ own["out"], arrays["v"]


def by_head(x, heads):
    b, tokens, columns = x.shape
    return np.swapaxes(x.reshape(b, tokens, heads, columns // heads), 1, 2)


def attend(name, config, arrays, own, carried):
    reference = importlib.import_module(f"tests.naive.{name}").reference
    learned = {n: a for n, a in own.items() if n not in ("project", "out", "bias")}
    options = {n: config[n] for n in ("window", "scale", "eps", "form", "metric", "softmax") if n in config}
    if name == "elliptical":
        options["relevance"] = relevance(arrays["v"], carried, config)
    if name == "eigen":
        options["rope"] = 10000.0
    if name == "position_only":
        options["symmetry"] = "shift"
    if name == "resonant":
        mix = np.exp(learned.pop("mix"))
        options |= {"weights": mix / mix.sum(axis=-1, keepdims=True), "active": min(8, arrays["q"].shape[-1] // 2)}
        for side in "qk":
            arrays[f"{side}_orientation"] = arrays[f"{side}_orientation"][..., None, :]
        if "log_temperature" in learned:
            options["temperature"] = np.exp(learned.pop("log_temperature"))
        options |= {n: a for n, a in arrays.items() if n not in ("q", "k", "v")}
    inputs = [arrays[n] for n in "qkv" if n in arrays]
    return reference(*inputs, causal=True, **learned, **options)


def relevance(now, before, config):
    """Equal within pairs that turn together; data, unless the gradient goes through it."""
    if before is None:
        return np.ones(now.shape[-1])
    if config.get("stop_gradient", True):
        now, before = now.real, before.real
    change = now - before
    change = np.where(change.real < 0, -change, change)
    u = np.cumsum(change, axis=-2) / np.arange(1, now.shape[-2] + 1)[:, None]
    largest = np.take_along_axis(u, u.real.argmax(axis=-1)[..., None], axis=-1)
    m = u / (u.mean(axis=-1, keepdims=True) if config.get("normalize") == "mean" else largest)
    half = m.shape[-1] // 2
    mean = (m[..., :half] + m[..., half:]) / 2
    return np.concatenate([mean, mean], axis=-1)


def angles(values, config, inputs):
    theta, heads = values["embedding.table"][inputs], config["heads"]
    for i in range(config["layers"]):
        own = {n.removeprefix(f"{i}.mixing."): a for n, a in values.items() if n.startswith(f"{i}.mixing.")}
        learned = {n: a for n, a in own.items() if n not in ("project", "bias")}
        if "project" in own:
            u = phases.points(theta) @ own["project"] + own.get("bias", 0)
            u = u if config.get("signed") else np.log(1 + np.exp(u))
            learned["gate_query"], learned["gate_key"] = np.split(u, 2, axis=-1)
        if "coupling_imag" in learned:
            learned["coupling"] = learned["coupling"], learned.pop("coupling_imag")
        elif "coupling" in learned:
            learned["coupling"] = learned["coupling"], np.zeros(learned["coupling"].shape)
        if config.get("drift", "rotary") == "rotary":
            learned["drift"] = "rotary"
        options = {n: config[n] for n in ("update", "strict", "window", "drift_values") if n in config}
        theta = phases.reference(theta, heads=heads, causal=True, **learned, **options)
        feed_forward = config.get("feed_forward", "swiglu")
        own = [values[n] for n in values if n.startswith(f"{i}.feed_forward.")]
        if feed_forward == "swiglu":
            theta = theta + swiglu(phases.points(theta), *own)
        elif feed_forward == "modes":
            theta = modes(theta, heads, *own)
    table = values["embedding.table"] if config.get("tied", True) else values["head.table"]
    return phases.von_mises_readout(theta, table, values["head.concentration"], values["head.bias"])


def modes(theta, heads, psi, gate, beta, step):
    parts = [np.split(x, heads, axis=-1) for x in (theta, psi, gate, step)]
    out = [phases.collective_modes(t, p, g, beta[h], s) for h, (t, p, g, s) in enumerate(zip(*parts, strict=True))]
    return np.concatenate(out, axis=-1)
