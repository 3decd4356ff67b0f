"""Layers of a language model, token by token, from their equations; for real or complex numbers."""

import numpy as np


def linear(p, x):
    y = np.zeros((*x.shape[:-1], p["weight"].shape[1]), np.result_type(x, *p.values()))
    for place in np.ndindex(x.shape[:-1]):
        for j in range(y.shape[-1]):
            y[place][j] = sum(x[place][k] * p["weight"][k, j] for k in range(x.shape[-1]))
            if "bias" in p:
                y[place][j] += p["bias"][j]
    return y


def embedding(p, ids):
    return np.array([[p["table"][i] for i in row] for row in ids])


def tied_head(p, x):
    return np.array([[[row @ word for word in p["table"]] for row in sequence] for sequence in x])


def rms_norm(p, x, eps=1e-5):
    y = np.empty(x.shape, np.result_type(x, p["scale"]))
    for place in np.ndindex(x.shape[:-1]):
        mean = sum(a * a for a in x[place]) / x.shape[-1]
        y[place] = x[place] / np.sqrt(mean + eps) * p["scale"]
    return y


def layer_norm(p, x, eps=1e-5):
    y = np.empty(x.shape, np.result_type(x, p["scale"], p["shift"]))
    for place in np.ndindex(x.shape[:-1]):
        mean = sum(x[place]) / x.shape[-1]
        variance = sum((a - mean) * (a - mean) for a in x[place]) / x.shape[-1]
        y[place] = (x[place] - mean) / np.sqrt(variance + eps) * p["scale"] + p["shift"]
    return y


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def swiglu(p, x):
    u = linear({"weight": p["up"]}, x)
    a, b = np.split(u, 2, axis=-1)
    return linear({"weight": p["down"]}, a * sigmoid(a) * b)


def gelu(a):
    return a / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (a + 0.044715 * a**3)))


def gelu_mlp(p, x):
    u = linear({"weight": p["up"], "bias": p["up_bias"]}, x)
    return linear({"weight": p["down"], "bias": p["down_bias"]}, gelu(u))


def rope(x, base=10000.0):
    """x of shape (tokens, width): pairs (c, c + width / 2) of token t turned by t base^(-2 c / width)."""
    y, half = x.copy(), x.shape[-1] // 2
    for t in range(x.shape[0]):
        for c in range(half):
            angle = t * base ** (-c / half)
            a, b = x[t, c], x[t, c + half]
            y[t, c], y[t, c + half] = a * np.cos(angle) - b * np.sin(angle), b * np.cos(angle) + a * np.sin(angle)
    return y


def attention(p, x, heads):
    """Causal softmax attention with rotary positions."""
    out = np.empty(x.shape, np.result_type(x, *p.values()))
    width = x.shape[-1] // heads
    for s, sequence in enumerate(x):
        q, k, v = np.split(sequence @ p["project"], 3, axis=-1)
        mixed = np.empty(sequence.shape, out.dtype)
        for h in range(heads):
            at = slice(h * width, (h + 1) * width)
            turned_q, turned_k = rope(q[:, at]), rope(k[:, at])
            for i in range(len(sequence)):
                scores = np.array([turned_q[i] @ turned_k[j] for j in range(i + 1)]) / np.sqrt(width)
                weights = np.exp(scores - scores.real.max())
                mixed[i, at] = weights / weights.sum() @ v[: i + 1, at]
        out[s] = mixed @ p["out"]
    return out


def cross_entropy(logits, targets):
    losses = np.empty(targets.shape, logits.dtype)
    for place in np.ndindex(targets.shape):
        z = logits[place]
        top = z.real.max()
        losses[place] = top + np.log(np.exp(z - top).sum()) - z[targets[place]]
    return losses


def transformer(p, ids, layers, heads):
    """Logits of the usual decoder from its parameters by name."""

    def of(prefix):
        return {n.removeprefix(prefix): v for n, v in p.items() if n.startswith(prefix)}

    x = embedding(of("embedding."), ids)
    for i in range(layers):
        x = x + attention(of(f"{i}.mixing.inner."), rms_norm(of(f"{i}.mixing.norm."), x), heads)
        x = x + swiglu(of(f"{i}.feed_forward.inner."), rms_norm(of(f"{i}.feed_forward.norm."), x))
    return tied_head(of("embedding."), rms_norm(of("norm."), x))


def adamw(x, g, m, v, step, rate, b1, b2, eps, decay):
    """One step, number by number; step counts from 1."""
    for i in np.ndindex(x.shape):
        m[i] = b1 * m[i] + (1 - b1) * g[i]
        v[i] = b2 * v[i] + (1 - b2) * g[i] ** 2
        x[i] -= rate * decay * x[i] + rate * (m[i] / (1 - b1**step)) / (np.sqrt(v[i] / (1 - b2**step)) + eps)
