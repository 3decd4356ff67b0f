"""Arguments of mechanisms whose inputs are q, k, v, to try them on."""

import numpy as np

from .._runtime.checks import as_generator
from ._mechanism import Sample


def gaussian(rng, *, batch=(2,), heads=2, tokens=5, width=4, dtype=np.float64) -> Sample:
    """Unit Gaussian q, k, v."""
    rng = as_generator(rng)
    shape = (*batch, heads, tokens, width)
    return Sample(tuple(rng.standard_normal(shape).astype(dtype) for _ in range(3)), {})


def itself(x) -> Sample:
    """q = k = v = x."""
    return Sample((x, x, x), {})


def generic() -> Sample:
    """One head of Gaussians, the witness of what fails nearly everywhere."""
    return gaussian(0, batch=(), heads=1)
