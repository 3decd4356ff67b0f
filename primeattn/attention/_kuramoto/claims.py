"""What Kuramoto attention claims, and how far each claim is from true on a sample.

Queries and keys are phases with gates. Of the kernel exp s the claims are those of equal gates on both sides.
"""

import numpy as np

from .._mechanism import Claim, DoesNotApply, Fails, Holds, Property, Sample


def _weights(mechanism, theta, options):
    return mechanism.forward(theta, **options, return_weights=True)[1]


def _change(mechanism, sample, theta=None, **options) -> float:
    """How far the weights move with other angles or options."""
    theta = sample.inputs[0] if theta is None else theta
    moved = _weights(mechanism, theta, sample.options | options)
    return float(abs(moved - _weights(mechanism, sample.inputs[0], sample.options)).max(initial=0))


def _kernel_weights(mechanism, sample):
    return _weights(mechanism, sample.inputs[0], sample.options | {"gate_key": sample.options.get("gate_query")})


def _asymmetry(mechanism, sample) -> float:
    """Kolmogorov's criterion: around a triangle the product of weights is the same both ways."""
    w = _kernel_weights(mechanism, sample)
    one_way = np.einsum("...ij,...jk,...ki->...ijk", w, w, w)
    return float(abs(one_way - np.einsum("...ik,...kj,...ji->...ijk", w, w, w)).max(initial=0))


def _negativity(mechanism, sample) -> float:
    return float(-np.linalg.eigvals(_kernel_weights(mechanism, sample)).real.min(initial=0))


def _by_sign(mechanism, sample) -> float:
    return _change(mechanism, sample, gate_query=-sample.options["gate_query"])


def _by_length(mechanism, sample) -> float:
    return _change(mechanism, sample, gate_query=3 * sample.options["gate_query"])


def _by_turned_keys(mechanism, sample) -> float:
    theta = sample.inputs[0]
    before, after = (_weights(mechanism, theta, sample.options | {"memory": m}) for m in (theta, theta + 1))
    return float(abs(after - before).max())


def _by_phase(mechanism, sample) -> float:
    """Weights, and outputs that turn by the same angles."""
    theta = sample.inputs[0]
    angles = np.linspace(-1, 1, theta.shape[-1]).astype(theta.dtype)
    out, moved = (mechanism.forward(x, **sample.options) for x in (theta, theta + angles))
    return max(_change(mechanism, sample, theta + angles), float(abs(moved - out - angles).max(initial=0)))


def _by_order(mechanism, sample) -> float:
    theta, options = sample.inputs[0], sample.options | {"drift": None}
    out, back = mechanism.forward(theta, **options), mechanism.forward(theta[..., ::-1, :], **options)
    return float(abs(out[..., ::-1, :] - back).max(initial=0))


def _rank(mechanism, sample) -> float:
    """Features of degree 2 in the 2 w numbers of a head of w angles are (w + 1)(2 w + 1)."""
    w = _weights(mechanism, sample.inputs[0], sample.options)
    width = sample.inputs[0].shape[-1] // sample.options["heads"]
    values = np.linalg.svd(w, compute_uv=False)
    return float((values[..., (width + 1) * (2 * width + 1) :] / values[..., :1]).max(initial=0))


def _on_a_circle() -> Sample:
    """Twelve phases around the circle and a sharp score: weights close to the identity, of rank 12 > 6."""
    return Sample((2 * np.pi * np.arange(12)[:, None] / 12,), {"heads": 1, "beta": 36.0})


def claims(sample) -> dict[Property, Claim]:
    """One claim for every property; ``sample`` is the mechanism's own."""

    def generic() -> Sample:
        return sample(np.random.default_rng(0), batch=(), heads=1)

    return {
        Property.ROW_STOCHASTIC: Holds("exp is positive, and each row is divided by its sum"),
        Property.BOUNDED: DoesNotApply("a circle has no smallest angle; the order parameter lies in the unit disc"),
        Property.SYMMETRIC: Holds("with equal gates: cos is even", _asymmetry),
        Property.PSD: Holds("with equal gates: cos (x - y) is a dot product, and exp keeps that", _negativity),
        Property.SIGN_INVARIANT: Fails("a gate of the other sign repels what it attracted", generic, 0.1, _by_sign),
        Property.SCALE_INVARIANT: Fails("larger gates have sharper weights", generic, 0.05, _by_length),
        Property.KEY_SHIFT_INVARIANT: Fails(
            "turning all keys, and not the queries, changes every difference", generic, 0.1, _by_turned_keys
        ),
        Property.PHASE_SHIFT_INVARIANT: Holds("only differences of phases enter; outputs turn along", _by_phase),
        Property.PERMUTATION_EQUIVARIANT: Holds("without drift, which is there to tell positions", _by_order),
        Property.EXACT_LINEAR_FORM: Fails("exp is no polynomial", _on_a_circle, 0.1, _rank),
    }
