r"""The kernel behind a table of weights.

Weights are W = K / r: a kernel divided by its row sums, w_ij = k_ij / r_i. If K is symmetric, then

    s_ij = sign(w_ij) sqrt(w_ij w_ji) = k_ij / sqrt(r_i r_j)             S = D^(-1/2) K D^(-1/2), D = diag r
    u_ij = s_ij / sqrt(s_ii s_jj)     = k_ij / sqrt(k_ii k_jj)

so both are known from the weights alone, which fix K only up to a factor. S has the eigenvalues of W, the largest
being 1 where rows sum to 1, and as many negative ones as K (Sylvester). U has a diagonal of 1 and does not depend on
which other points are there: it is *the* kernel of a mechanism in this room.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import resonance
from .._runtime.checks import as_floating
from ..attention import DoesNotApply, Mechanism, Property, Sample
from ..states import PrimeStates
from ._subjects import check_points, is_of_states, of_points, subject

#: Relative, of entries of S: roots of weights that are right to a few units in the last place, as they are while scores
#: are of moderate size; what rounding does to larger ones is not covered.
ENTRY_ERROR = 32 * 2.0**-53


def weights_of(which: Mechanism, sample: Sample) -> np.ndarray:
    """(heads, T, T)."""
    table = which.forward(*sample.inputs, **sample.options, return_weights=True)[1]
    return table.reshape(-1, *table.shape[-2:])


def balanced(weights) -> np.ndarray:
    """S, exactly symmetric."""
    turned = np.swapaxes(weights, -1, -2)
    return np.sign(weights + turned) * np.sqrt(np.maximum(weights * turned, 0))


def with_unit_diagonal(weights) -> np.ndarray:
    """U; a point whose kernel with itself is 0 has zeros."""
    s = balanced(weights)
    diagonal = np.diagonal(s, axis1=-2, axis2=-1)
    root = np.sqrt(np.where(diagonal > 0, diagonal, np.inf))
    return s / (root[..., :, None] * root[..., None, :])


def has_no_kernel(which: Mechanism) -> str:
    """Why there is none; empty if there is one."""
    claim = which.properties[Property.SYMMETRIC]
    return claim.why if isinstance(claim, DoesNotApply) else ""


def check_kernel(kernel: Any) -> "Mechanism | Callable":
    """A subject with a kernel, or a callable."""
    if callable(kernel):
        return kernel
    which = subject(kernel)
    why = has_no_kernel(which)
    if why:
        raise ValueError(f"{which.name} has no kernel: {why}")
    return which


def gram(kernel: Any, a: Any, b: Any = None) -> np.ndarray:
    r"""The kernel between all points of one or two batches, in the form that scikit-learn takes as "precomputed".

    Parameters
    ----------
    kernel : str or callable
        A mechanism's name, "resonance:original", "resonance:kernel", or a function of two batches that gives the table.
    a : array_like of float, shape (n, d), or PrimeStates of n states
        States for the kernels between states only; vectors are read there as one prime a coordinate.
    b : the same with m points, optional
        Default ``a``; the result is then exactly symmetric.

    Returns
    -------
    ndarray of float64, shape (n, m)
        For a mechanism :math:`k(x, y) / \sqrt{k(x, x)\,k(y, y)}`.

    Raises
    ------
    ValueError
        For another name, a mechanism without a kernel, or points that are not finite or whose kernel is not.
    TypeError
        For states where vectors are wanted.

    Notes
    -----
    A mechanism's weights, :math:`w_{ij} = k_{ij} / r_i` without mask, fix its kernel up to a factor:
    :math:`k_{ij}^2 / (k_{ii} k_{jj}) = w_{ij} w_{ji} / (w_{ii} w_{jj})`. Mechanisms that learn something of their
    inputs (a basis, a relevance) take it from a and b together.

    Examples
    --------
    >>> import numpy as np, primeattn as pa
    >>> pa.study.gram("dot_product", [[0.0], [1.0]]).round(4)
    array([[1.    , 0.6065],
           [0.6065, 1.    ]])
    >>> bool(np.isclose(np.exp(-0.5), 0.6065, atol=1e-4))  # exp(x y) with unit diagonal is the Gaussian
    True
    """
    which = check_kernel(kernel)
    table = table_of(which, a, b)
    if isinstance(which, Mechanism) and not np.isfinite(table).all():
        i, j = np.argwhere(~np.isfinite(table))[0]
        raise ValueError(
            f"the kernel of {which.name} at points {i} and {j} is {table[i, j]}: float64 does not hold their scores or "
            f"weights; divide the points by their largest length"
        )
    return table


def table_of(which: "Mechanism | Callable", a: Any, b: Any = None) -> np.ndarray:
    """`gram` of what `check_kernel` gives; NaN where the kernel is undefined."""
    if not isinstance(which, Mechanism):
        return _called(which, a, b)
    x = check_points(a)
    y = None if b is None else check_points(b)
    if y is not None and isinstance(x, PrimeStates) != isinstance(y, PrimeStates):
        raise TypeError("one of a and b is a batch of states and the other is not: pass two of a kind")
    if is_of_states(which):
        (states,), options = of_points(which, x)
        others = None if y is None else of_points(which, y).inputs[0]
        return resonance.matrix(states, others, **options).astype(np.float64)
    if y is not None and x.shape[1] != y.shape[1]:
        raise ValueError(f"a has width {x.shape[1]} but b has {y.shape[1]}: pass vectors of one width")
    both = x if y is None else np.concatenate([x, y])
    table = with_unit_diagonal(weights_of(which, of_points(which, both)).mean(axis=0))
    return table if y is None else table[: len(x), len(x) :]


def _called(kernel: Callable, a, b) -> np.ndarray:
    own, other = (np.copy(x) if type(x) is np.ndarray else x for x in (a, a if b is None else b))  # it may write there
    table = as_floating("the kernel's table", kernel(own, other), dtype=np.float64)
    shape = (len(a), len(a if b is None else b))
    if table.shape != shape:
        raise ValueError(
            f"the kernel gave shape {table.shape} for batches of {shape[0]} and {shape[1]}: {shape} is wanted"
        )
    return table
