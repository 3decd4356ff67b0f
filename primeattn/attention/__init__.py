"""Attention mechanisms: one file each, one line each in ``MECHANISMS``, all of the same shape.

Arrays are (..., tokens, width); leading axes are batch and heads. NumPy arrays run on the CPU, CUDA arrays on CUDA,
DataArrays keep their labels.
"""

from collections.abc import Callable
from typing import Any

from . import (
    _dot_product,
    _eigen,
    _elliptical,
    _expressive,
    _kuramoto,
    _linear,
    _position_only,
    _resonant,
    _squared,
    _uniform,
)
from ._cache import Cache, dot_product_step
from ._dot_product import dot_product
from ._eigen import (
    EigenBases,
    EigenCache,
    EigenErrorBound,
    eigen,
    eigen_bases,
    eigen_error_bound,
    eigen_step,
    grassmann_gradient,
)
from ._elliptical import elliptical, elliptical_step, layer_relevance, layer_relevance_vjp, random_relevance
from ._expressive import expressive, expressive_step
from ._kuramoto import (
    collective_modes,
    kuramoto,
    kuramoto_step,
    phase_feed_forward,
    phase_gate,
    rotary_drift,
    von_mises_readout,
)
from ._linear import LinearState, linear, linear_step
from ._masks import heaviest, window_mask
from ._mechanism import Claim, DoesNotApply, Fails, Formula, Holds, Mechanism, Property, Sample, Score
from ._position_only import Symmetry, position_only, position_only_step, square_patches
from ._properties import violation
from ._resonant import ResonantState, resonant, resonant_step
from ._rope import alibi_slopes, rope
from ._squared import SquaredState, squared, squared_step
from ._uniform import UniformState, uniform, uniform_step

MECHANISMS: dict[str, Mechanism] = {
    m.name: m
    for m in (
        _dot_product.MECHANISM,
        _eigen.MECHANISM,
        _elliptical.MECHANISM,
        _expressive.MECHANISM,
        _kuramoto.MECHANISM,
        _linear.MECHANISM,
        _position_only.MECHANISM,
        _resonant.MECHANISM,
        _squared.MECHANISM,
        _uniform.MECHANISM,
    )
}

__all__ = [
    "MECHANISMS",
    "Cache",
    "Claim",
    "DoesNotApply",
    "EigenBases",
    "EigenCache",
    "EigenErrorBound",
    "Fails",
    "Formula",
    "Holds",
    "LinearState",
    "Mechanism",
    "Property",
    "ResonantState",
    "Sample",
    "Score",
    "SquaredState",
    "Symmetry",
    "UniformState",
    "alibi_slopes",
    "collective_modes",
    "dot_product",
    "dot_product_step",
    "eigen",
    "eigen_bases",
    "eigen_error_bound",
    "eigen_step",
    "elliptical",
    "elliptical_step",
    "expressive",
    "expressive_step",
    "grassmann_gradient",
    "kuramoto",
    "kuramoto_step",
    "layer_relevance",
    "layer_relevance_vjp",
    "linear",
    "linear_step",
    "phase_feed_forward",
    "phase_gate",
    "position_only",
    "position_only_step",
    "random_relevance",
    "resonant",
    "resonant_step",
    "rope",
    "rotary_drift",
    "square_patches",
    "squared",
    "squared_step",
    "top_k_mask",
    "uniform",
    "uniform_step",
    "violation",
    "vjp",
    "von_mises_readout",
    "window_mask",
]


def vjp(name: str, *inputs: Any, **options: Any) -> tuple[Any, Callable[[Any], dict[str, Any]]]:
    r"""Output and pullback of a mechanism, or of another function of this room: gradients derived by hand.

    Parameters
    ----------
    name : str
        A key of ``MECHANISMS``; or "collective_modes", "phase_feed_forward", "phase_gate", "von_mises_readout".
    *inputs, **options
        As of the mechanism's function, without ``return_weights``.

    Returns
    -------
    out : ndarray of float
        What the function returns.
    pullback : callable
        ``pullback(dout)``, with dout of the shape of out, gives a dict of gradients by the names of the inputs and of
        the parameters that were given. It reads the inputs and out again: change none of them in place before.

    Raises
    ------
    ValueError
        For another name, or a dout of another shape.
    TypeError, ValueError
        As the function.

    Examples
    --------
    >>> import numpy as np, primeattn as pa
    >>> q, k, v = np.zeros((1, 2)), np.eye(2), np.array([[1.0], [3.0]])
    >>> out, pullback = pa.attention.vjp("dot_product", q, k, v)
    >>> out, pullback([[1.0]])["v"].tolist()
    (array([[2.]]), [[0.5], [0.5]])
    """
    if not isinstance(name, str) or (name not in MECHANISMS and name not in _kuramoto.PULLBACKS):
        names = ", ".join(map(repr, [*MECHANISMS, *_kuramoto.PULLBACKS]))
        raise ValueError(f"name is {name!r}: one of {names} is wanted")
    function = MECHANISMS[name].vjp if name in MECHANISMS else _kuramoto.PULLBACKS[name]
    try:
        return function(*inputs, **options)
    except TypeError:
        _check_arguments(name, function, inputs, options)
        raise


def _check_arguments(name: str, function: Callable, inputs: tuple, options: dict) -> None:
    """Say what ``vjp(name, ...)`` takes, where that is what is wrong."""
    from inspect import Parameter, signature

    takes = signature(function)
    try:
        takes.bind(*inputs, **options)
    except TypeError as error:
        positional = [n for n, p in takes.parameters.items() if p.kind is Parameter.POSITIONAL_OR_KEYWORD]
        optional = [n for n, p in takes.parameters.items() if p.kind is Parameter.KEYWORD_ONLY]
        options_too = f", with options among {', '.join(optional)}" if optional else ""
        wanted = f"vjp({name!r}, {', '.join(positional)}) is wanted{options_too}"
        raise TypeError(f"{error}: {wanted}") from None


def top_k_mask(name: str, *inputs: Any, keep: int, **options: Any) -> Any:
    r"""The mask of the ``keep`` heaviest keys of every query: top-k as a mask on any score.

    Parameters
    ----------
    name : str
        A key of ``MECHANISMS``.
    *inputs, **options
        As of the mechanism's function, without ``return_weights``. A mask or a window comes first: of what it
        leaves, the heaviest are kept.
    keep : int
        So many keys a query, or all it has; of equal weights the earlier key, of signed weights by magnitude.

    Returns
    -------
    mask : ndarray of bool, shape (..., Tq, Tk)
        On the host, of the shape of the weights. A key of weight 0 is not kept; a row with NaN keeps all its keys, so
        that NaN is not lost. Pass it as ``mask=``, in place of the one that was given here.

    Raises
    ------
    ValueError
        For another name, or a ``keep`` below 1.
    TypeError, ValueError
        As the function.

    Notes
    -----
    .. math:: M_{ij} = [\,j \text{ is among the first keep of } A_{i\cdot} \text{ in falling order}\,]

    Here, and only here, the weights exist as a table. Which keys are kept is constant almost everywhere, so gradients
    of the call with this mask are those of top-k attention. Mechanisms that normalise do so over the kept keys.

    References
    ----------
    Liu, Yue, Welling, Song, "Krause Synchronization Transformers", arXiv:2602.11534: window and top-k after an RBF
    score, which is `elliptical` with ``metric="distance"`` and a relevance of 1 / sigma^2.

    Examples
    --------
    >>> import numpy as np, primeattn as pa
    >>> x = np.array([[1.0], [2.0], [3.0]])
    >>> mask = pa.attention.top_k_mask("dot_product", x, x, x, keep=1, causal=True)
    >>> mask.astype(int)
    array([[1, 0, 0],
           [0, 1, 0],
           [0, 0, 1]])
    >>> pa.attention.dot_product(x, x, x, mask=mask).ravel()
    array([1., 2., 3.])
    """
    if name not in MECHANISMS:
        raise ValueError(f"name is {name!r}: one of {', '.join(map(repr, MECHANISMS))} is wanted")
    return heaviest(MECHANISMS[name].forward, *inputs, keep=keep, **options)
