"""How far a mechanism is from each property, measured from its outputs and weights alone; 0 means it holds.

The measures here are for inputs q, k, v. A mechanism of other inputs gives its own with its claims.
"""

from collections.abc import Callable

import numpy as np

from ._mechanism import DoesNotApply, Mechanism, Property, Sample


def violation(which: Property, mechanism: Mechanism, sample: Sample) -> float:
    """How far a mechanism is from a property at one sample.

    Parameters
    ----------
    which : Property
    mechanism : Mechanism
    sample : Sample
        ``mechanism.sample(rng)``, or the witness of a claim.

    Returns
    -------
    float
        In units of the weights or outputs; 0, up to rounding, where the property holds.

    Raises
    ------
    ValueError
        If the mechanism claims that the property does not apply.

    Examples
    --------
    >>> import primeattn as pa
    >>> from primeattn.attention import Property, violation
    >>> softmax = pa.attention.MECHANISMS["dot_product"]
    >>> violation(Property.SIGN_INVARIANT, softmax, softmax.sample(0)) > 0.1
    True
    """
    claim = mechanism.properties[which]
    if isinstance(claim, DoesNotApply):
        raise ValueError(f"{which.name} does not apply to {mechanism.name}: {claim.why}")
    return (claim.measure or _MEASURES[which])(mechanism, sample)


def _weights(mechanism, inputs, options):
    return mechanism.forward(*inputs, **options, return_weights=True)[1]


def _largest(x) -> float:
    return float(np.abs(x).max(initial=0))


def _row_stochastic(mechanism, sample):
    weights = _weights(mechanism, *sample)
    return max(_largest(weights.sum(axis=-1) - 1), float(-weights.min(initial=0)))


def _bounded(mechanism, sample):
    out, v = mechanism.forward(*sample.inputs, **sample.options), sample.inputs[-1]
    low, high = v.min(axis=-2, keepdims=True), v.max(axis=-2, keepdims=True)
    return float(max((out - high).max(initial=0), (low - out).max(initial=0)))


def _self_weights(mechanism, sample):
    """Weights with the queries as keys."""
    q, _, v = sample.inputs
    return _weights(mechanism, (q, q, v), sample.options)


def _symmetric(mechanism, sample):
    """W = K / r with K symmetric: around every triangle, W_ij W_jk W_ki = W_ik W_kj W_ji (Kolmogorov's criterion)."""
    w = _self_weights(mechanism, sample)
    one_way = np.einsum("...ij,...jk,...ki->...ijk", w, w, w)
    return _largest(one_way - np.einsum("...ik,...kj,...ji->...ijk", w, w, w))


def _psd(mechanism, sample):
    """With r = row sums > 0, W = K / r has the signs of the eigenvalues of K (Sylvester)."""
    return float(-np.linalg.eigvals(_self_weights(mechanism, sample)).real.min(initial=0))


def _under(change: Callable) -> Callable:
    """Change of the weights when the inputs change."""

    def measure(mechanism, sample):
        before = _weights(mechanism, *sample)
        return _largest(_weights(mechanism, change(*sample.inputs), sample.options) - before)

    return measure


def _shift_keys(q, k, v):
    return q, k + np.linspace(-1, 1, k.shape[-1]).astype(k.dtype), v


def _permutation_equivariant(mechanism, sample):
    order = np.random.default_rng(0).permutation(sample.inputs[0].shape[-2])
    out = mechanism.forward(*sample.inputs, **sample.options)
    moved = mechanism.forward(*(x[..., order, :] for x in sample.inputs), **sample.options)
    return _largest(out[..., order, :] - moved)


def _exact_linear_form(mechanism, sample):
    """Degree 2 in d numbers means (d + 1)(d + 2) / 2 features: no kernel of these has a higher rank."""
    w = _weights(mechanism, *sample)
    width = sample.inputs[0].shape[-1]
    features = (width + 1) * (width + 2) // 2
    values = np.linalg.svd(w, compute_uv=False)
    return float((values[..., features:] / values[..., :1]).max(initial=0))


_MEASURES: dict[Property, Callable[[Mechanism, Sample], float]] = {
    Property.ROW_STOCHASTIC: _row_stochastic,
    Property.BOUNDED: _bounded,
    Property.SYMMETRIC: _symmetric,
    Property.PSD: _psd,
    Property.SIGN_INVARIANT: _under(lambda q, k, v: (-q, k, v)),
    Property.SCALE_INVARIANT: _under(lambda q, k, v: (3 * q, k, v)),
    Property.KEY_SHIFT_INVARIANT: _under(_shift_keys),
    Property.PERMUTATION_EQUIVARIANT: _permutation_equivariant,
    Property.EXACT_LINEAR_FORM: _exact_linear_form,
}
