r"""Jacobians of attention, never formed: products with vectors on both sides, and the largest singular value.

J^T u is the pullback, derived by hand. J w has no code of its own: it is the complex step on the mechanism's reference,
Im f(x + i h w) / h with h = 1e-30, which is exact to rounding because nothing is subtracted (f is analytic in its
arguments). So the two sides come from two programs, and <J w, u> = <w, J^T u> checks both.
"""

import numpy as np

from ..attention import Mechanism, Sample

_STEP = 1e-30


def pushforward(mechanism: Mechanism, sample: Sample, directions) -> np.ndarray:
    """J w: how the output moves when input i moves along ``directions[i]``."""
    moved = [x + 1j * _STEP * w for x, w in zip(sample.inputs, directions, strict=True)]
    return mechanism.reference(*moved, **sample.options).imag / _STEP


def pullback_of(mechanism: Mechanism, sample: Sample):
    """``(out, f)``; f(u) lists the gradients of <u, out> by every input."""
    out, pull = mechanism.vjp(*sample.inputs, **sample.options)

    def gradients(dout):
        found = pull(dout)
        return [found[name] for name in mechanism.inputs]

    return out, gradients


def _norm(arrays) -> float:
    return float(np.sqrt(sum((x**2).sum() for x in arrays)))


def jacobian_norm(mechanism: Mechanism, sample: Sample, rng, *, steps: int = 40, tol: float = 1e-3) -> float:
    """Largest singular value of the Jacobian by all inputs together: power iteration on J^T J, from below."""
    _, gradients = pullback_of(mechanism, sample)
    w = [rng.standard_normal(x.shape) for x in sample.inputs]
    before = 0.0
    for _ in range(steps):
        size = _norm(w)
        if size == 0:
            return before
        image = pushforward(mechanism, sample, [x / size for x in w])
        found = float(np.linalg.norm(image))
        if abs(found - before) <= tol * found:
            return found
        before, w = found, gradients(image)
    return before
