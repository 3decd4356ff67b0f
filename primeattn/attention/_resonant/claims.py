"""What resonant attention claims, and how far each claim is from true on a sample.

Queries and keys here are logits with phases and quaternions, so most measures are its own. The kernel matrix is read
from the weights of one sequence with itself: K_ii = 1, so K = W / diag W.
"""

import numpy as np

from .._mechanism import Claim, Fails, Holds, Property, Sample

_TOKENS = ("q_phase", "k_phase", "q_orientation", "k_orientation")


def _weights(mechanism, sample):
    return mechanism.forward(*sample.inputs, **sample.options, return_weights=True)[1]


def _changed(sample, inputs=(), **options) -> Sample:
    """The sample with other inputs (by position) and options."""
    return Sample(tuple(dict(inputs).get(i, x) for i, x in enumerate(sample.inputs)), sample.options | options)


def _change(mechanism, sample, other) -> float:
    return float(abs(_weights(mechanism, sample) - _weights(mechanism, other)).max())


def _kernel(mechanism, sample):
    """K of the keys with themselves, in the linear form."""
    fields = {f"q_{name}": sample.options.get(f"k_{name}") for name in ("phase", "orientation")}
    same = _changed(sample, {0: sample.inputs[1]}, form="linear", causal=False, mask=None, **fields)
    table = _weights(mechanism, same)
    return table / np.diagonal(table, axis1=-2, axis2=-1)[..., None]


def _asymmetry(mechanism, sample) -> float:
    kernel = _kernel(mechanism, sample)
    return float(abs(kernel - np.swapaxes(kernel, -1, -2)).max())


def _negativity(mechanism, sample) -> float:
    kernel = _kernel(mechanism, sample)
    return float(max(0, -np.linalg.eigvalsh((kernel + np.swapaxes(kernel, -1, -2)) / 2).min()))


def _by_sign(mechanism, sample) -> float:
    return _change(mechanism, sample, _changed(sample, q_orientation=-sample.options["q_orientation"]))


def _by_phase(mechanism, sample) -> float:
    moved = {name: sample.options[name] + 1.0 for name in ("q_phase", "k_phase")}
    return _change(mechanism, sample, _changed(sample, **moved))


def _by_length(mechanism, sample) -> float:
    return _change(mechanism, sample, _changed(sample, {0: 2 * sample.inputs[0]}))


def _by_shift(mechanism, sample) -> float:
    k = sample.inputs[1]
    return _change(mechanism, sample, _changed(sample, {1: k + np.arange(k.shape[-1], dtype=k.dtype)}))


def _by_order(mechanism, sample) -> float:
    """How far outputs are from following tokens that come in reverse."""
    back = {i: x[..., ::-1, :] for i, x in enumerate(sample.inputs)}
    fields = {n: np.flip(sample.options[n], axis=-3 if n.endswith("orientation") else -2) for n in _TOKENS}
    out = mechanism.forward(*sample.inputs, **sample.options)
    moved = _changed(sample, back, **fields)
    return float(abs(out[..., ::-1, :] - mechanism.forward(*moved.inputs, **moved.options)).max())


def _rank_beyond(mechanism, sample) -> float:
    """The largest eigenvalue of K beyond 13 a prime: 30 tokens on 2 primes have at most 26."""
    rng, tokens = np.random.default_rng(0), 30
    q = rng.standard_normal((tokens, 2))
    fields = {f"k_{n}": rng.standard_normal((tokens, 2, *tail)) for n, tail in (("phase", ()), ("orientation", (4,)))}
    kernel = _kernel(mechanism, Sample((q, q, q), {**fields, "active": 2}))
    return float(abs(np.sort(np.linalg.eigvalsh((kernel + kernel.T) / 2))[: tokens - 26]).max())


def claims(sample) -> dict[Property, Claim]:
    """One claim for every property; ``sample`` is the mechanism's own."""

    def generic() -> Sample:
        return sample(np.random.default_rng(0), batch=(), heads=1)

    return {
        Property.ROW_STOCHASTIC: Holds("K >= 0, and rows are divided by their sums; a linear row without K is 0"),
        Property.BOUNDED: Holds("a row of weights is a convex combination; a linear row without any K is zero"),
        Property.SYMMETRIC: Holds("every factor of K is symmetric, and rotors act on both sides", _asymmetry),
        Property.PSD: Holds(
            "squares of inner products, Re z z'* and constants are PSD, and so are sums and products", _negativity
        ),
        Property.SIGN_INVARIANT: Holds("the alignment is squared: q and -q are the same quaternion", _by_sign),
        Property.SCALE_INVARIANT: Fails("larger logits concentrate a state on fewer primes", generic, 0.01, _by_length),
        Property.KEY_SHIFT_INVARIANT: Fails(
            "it moves amplitudes from prime to prime; only a number for each token does not matter", generic, 0.05,
            _by_shift,
        ),
        Property.PHASE_SHIFT_INVARIANT: Holds("only differences of phases enter", _by_phase),
        Property.PERMUTATION_EQUIVARIANT: Fails("rotors: that is what they are for", generic, 0.05, _by_order),
        Property.EXACT_LINEAR_FORM: Holds("13 features a prime: 1, q q^T, cos phi, sin phi", _rank_beyond),
    }  # fmt: skip
