"""Kuramoto attention from its equation: double sums of sines, one pair of tokens and one angle at a time.

Real or complex: nothing is conjugated, so the complex step differentiates it. A complex coupling is then given as the
pair (real part, imaginary part).
"""

import numpy as np


def reference(
    theta, *, memory=None, heads=1, gate_query=None, gate_key=None, beta=1.0, drift=None, drift_values=False, step=1.0,
    coupling=None, update="tangent", causal=False, strict=False, mask=None, window=None, return_weights=False,
):  # fmt: skip
    """theta (..., Tq, d), memory (..., Tk, d)."""
    source = theta if memory is None else memory
    lead, (queries, d), keys = theta.shape[:-2], theta.shape[-2:], source.shape[-2]
    own = d // heads
    omega = frequencies(drift, own, d)
    a = np.broadcast_to(1.0 if gate_query is None else gate_query, theta.shape)
    b = np.broadcast_to(1.0 if gate_key is None else gate_key, source.shape)
    beta, eta = np.broadcast_to(beta, heads), np.broadcast_to(step, d)
    real, imag = kernel(coupling, d)
    allowed = np.broadcast_to(True if mask is None else mask, (*lead, heads, queries, keys))
    kind = np.result_type(theta, source, a, b, beta, eta, omega, real, imag, float)
    out, weights = np.array(theta, dtype=kind), np.zeros((*lead, heads, queries, keys), kind)
    for batch in np.ndindex(*lead):
        for h in range(heads):
            coordinates = range(h * own, (h + 1) * own)
            for t in range(queries):
                place = t + keys - queries

                def difference(u, c, drifts, batch=batch, t=t, place=place):
                    """theta_u - theta_t, and what has drifted between the two."""
                    turn = omega[c] * (u - place) if drifts else 0.0
                    return source[(*batch, u, c)] - theta[(*batch, t, c)] + turn

                def may(u, batch=batch, h=h, t=t, place=place):
                    if not 0 <= u < keys or not allowed[(*batch, h, t, u)]:
                        return False
                    if causal and (u > place or (strict and u == place)):
                        return False
                    return window is None or abs(u - place) < window

                scores = {
                    u: beta[h]
                    * sum(a[(*batch, t, c)] * b[(*batch, u, c)] * np.cos(difference(u, c, True)) for c in coordinates)
                    for u in range(keys)
                    if may(u)
                }
                share = softmax(scores)
                for u, w in share.items():
                    weights[(*batch, h, t, u)] = w
                for c in coordinates:
                    if update != "tangent":
                        out[(*batch, t, c)] += eta[c] * ablated(
                            update, share, lambda u, c=c: difference(u, c, drift_values)
                        )
                        continue
                    for delay in range(len(real)):
                        for k in range(1, real.shape[1] + 1):
                            for u, w in share.items():
                                if delay and (u >= place or not allowed[(*batch, h, t, u + 1)]):
                                    continue
                                x = k * difference(u + delay, c, drift_values)
                                kr, ki = real[delay, k - 1, c], imag[delay, k - 1, c]
                                out[(*batch, t, c)] += eta[c] * w * (kr * np.sin(x) + ki * np.cos(x))
    return (out, weights) if return_weights else out


def frequencies(drift, own, d):
    """Radians a token of every coordinate."""
    if drift is None:
        return np.zeros(d)
    omega = np.array([10000.0 ** (-c / own) for c in range(own)]) if isinstance(drift, str) else np.asarray(drift)
    return np.array([omega[c % len(omega)] for c in range(d)])


def kernel(coupling, d):
    """Real and imaginary parts, (delays, harmonics, d)."""
    if coupling is None:
        coupling = np.ones((1, 1, 1))
    parts = coupling if isinstance(coupling, tuple) else (np.real(coupling), np.imag(coupling))
    parts = [np.asarray(x).reshape((1,) * (3 - np.ndim(x)) + np.shape(x)) for x in parts]
    return [np.broadcast_to(x, (*x.shape[:2], d)) for x in parts]


def softmax(scores):
    if not scores:
        return {}
    top = max(s.real for s in scores.values())
    total = sum(np.exp(s - top) for s in scores.values())
    return {u: np.exp(s - top) / total for u, s in scores.items()}


def ablated(update, share, difference):
    """The increment from z = sum of w exp(i difference) = p + i q."""
    if not share:
        return 0.0
    p = sum(w * np.cos(difference(u)) for u, w in share.items())
    q = sum(w * np.sin(difference(u)) for u, w in share.items())
    size = np.sqrt(p * p + q * q)
    return q / size if update == "direction" else 2 * np.arctan(q / (size + p))  # the half-angle formula is analytic


def points(theta):
    """[cos theta; sin theta]."""
    return np.concatenate([np.cos(theta), np.sin(theta)], axis=-1)


def phase_gate(theta, weight, bias):
    out = np.zeros((*theta.shape[:-1], len(weight)), np.result_type(theta, weight, bias))
    for at in np.ndindex(*theta.shape[:-1]):
        for m in range(len(weight)):
            out[(*at, m)] = np.log(1 + np.exp(sum(weight[m] * points(theta[at])) + bias[m]))
    return out


def phase_feed_forward(theta, W1, W2, W3):
    out = np.array(theta, np.result_type(theta, W1, W2, W3))
    for at in np.ndindex(*theta.shape[:-1]):
        x = points(theta[at])
        u, v = [sum(row * x) for row in W1], [sum(row * x) for row in W2]
        h = [a / (1 + np.exp(-a)) * b for a, b in zip(u, v, strict=True)]
        out[at] += [sum(w * y for w, y in zip(row, h, strict=True)) for row in W3]
    return out


def von_mises_readout(theta, embedding, kappa, bias):
    out = np.zeros((*theta.shape[:-1], len(embedding)), np.result_type(theta, embedding, kappa, bias))
    for at in np.ndindex(*theta.shape[:-1]):
        for v, target in enumerate(embedding):
            out[(*at, v)] = sum(kappa * np.cos(theta[at] - target)) + bias[v]
    return out


def collective_modes(theta, modes, gate, beta, step):
    out = np.array(theta, np.result_type(theta, modes, gate, beta, step))
    for at in np.ndindex(*theta.shape[:-1]):
        scores = {j: beta * sum(gate[j] * np.cos(theta[at] - modes[j])) for j in range(len(modes))}
        for j, w in softmax(scores).items():
            out[at] += step * w * np.sin(modes[j] - theta[at])
    return out
