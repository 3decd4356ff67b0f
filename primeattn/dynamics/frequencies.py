"""Natural frequencies: drawn at random, or by quantiles, which have the distribution without its sampling noise.

Every function returns a float64 array of shape (n,), radians per unit of time. ``rng=None`` takes the quantiles
F^{-1}((i + 1/2) / n), ascending; a number or a Generator draws.
"""

import math
from typing import Any

import numpy as np

from .._runtime.checks import as_generator

__all__ = ["bimodal", "by_degree", "gaussian", "lorentzian", "rotations", "uniform"]


def lorentzian(
    n: int, width: float = 1.0, center: float = 0.0, *, limit: float | None = None, rng: Any = None
) -> np.ndarray:
    r"""Cauchy frequencies of half width at half maximum ``width``.

    Parameters
    ----------
    n : int
    width : float
        gamma > 0.
    center : float
    limit : float, optional
        Leave out what is further than this from the center: the quantiles of the distribution between the limits.
        Without it the largest of n quantiles is about 0.64 n gamma, and steps with error control crawl.
    rng : int or numpy.random.Generator, optional
        Draw; quantiles by default.

    Returns
    -------
    ndarray of float, shape (n,)

    Raises
    ------
    ValueError
        If n < 1, width or limit is not positive, or center is not finite.

    Notes
    -----
    .. math:: g(\omega) = \frac{\gamma / \pi}{(\omega - \omega_0)^2 + \gamma^2}

    Examples
    --------
    >>> import primeattn as pa
    >>> pa.dynamics.frequencies.lorentzian(3).round(3)
    array([-1.732,  0.   ,  1.732])
    """
    p = _probabilities(n, rng)
    width = _positive("width", width)
    half = 0.5 if limit is None else math.atan(_positive("limit", limit) / width) / math.pi
    return _finite(center) + width * np.tan(2 * math.pi * half * (p - 0.5))


def gaussian(n: int, width: float = 1.0, center: float = 0.0, *, rng: Any = None) -> np.ndarray:
    """Normal frequencies of standard deviation ``width``; arguments and errors as `lorentzian`.

    Examples
    --------
    >>> import primeattn as pa
    >>> pa.dynamics.frequencies.gaussian(3).round(3)
    array([-0.967,  0.   ,  0.967])
    """
    from scipy.special import ndtri

    return _finite(center) + _positive("width", width) * ndtri(_probabilities(n, rng))


def uniform(n: int, width: float = 1.0, center: float = 0.0, *, rng: Any = None) -> np.ndarray:
    """Frequencies equally likely in [center - width, center + width]; arguments and errors as `lorentzian`.

    Examples
    --------
    >>> import primeattn as pa
    >>> pa.dynamics.frequencies.uniform(4)
    array([-0.75, -0.25,  0.25,  0.75])
    """
    return _finite(center) + _positive("width", width) * (2 * _probabilities(n, rng) - 1)


def bimodal(
    n: int, width: float = 1.0, separation: float = 2.0, center: float = 0.0, *, rng: Any = None, **options: Any
) -> np.ndarray:
    """Half of a `lorentzian` at ``center - separation / 2``, half at ``center + separation / 2``.

    Parameters
    ----------
    n, width, center, rng
        As `lorentzian`; also ``limit``, about each peak.
    separation : float
        Distance of the peaks.

    Returns
    -------
    ndarray of float, shape (n,)
        The lower peak first.

    Examples
    --------
    >>> import primeattn as pa
    >>> pa.dynamics.frequencies.bimodal(2, separation=3.0)
    array([-1.5,  1.5])
    """
    rng = None if rng is None else as_generator(rng)
    low = lorentzian(n - n // 2, width, center - separation / 2, rng=rng, **options)
    return np.concatenate(
        [low, lorentzian(n // 2, width, center + separation / 2, rng=rng, **options)] if n > 1 else [low]
    )


def by_degree(network: Any, scale: float = 1.0) -> np.ndarray:
    r"""Frequencies equal to ``scale`` times the in-degree of every node (sum of the \|weights\| that it hears).

    Parameters
    ----------
    network : sparse or dense matrix (N, N), or NetworkX graph
        As in `Kuramoto`.
    scale : float

    Returns
    -------
    ndarray of float, shape (N,)

    Examples
    --------
    >>> import numpy as np, primeattn as pa
    >>> pa.dynamics.frequencies.by_degree(np.array([[0, 1, 1], [1, 0, 0], [1, 0, 0]]))
    array([2., 1., 1.])
    """
    from ._network import as_edges

    n = network.number_of_nodes() if hasattr(network, "number_of_nodes") else np.shape(network)[0]
    return scale * as_edges(network, n).in_degree


def rotations(n: int, dimension: int = 3, width: float = 1.0, *, rng: Any) -> np.ndarray:
    """Antisymmetric matrices with independent normal entries above the diagonal: isotropic, for `Spheres`.

    Parameters
    ----------
    n, dimension : int
    width : float
        Standard deviation of an entry.
    rng : int or numpy.random.Generator
        Seed or generator; there are no quantiles here.

    Returns
    -------
    ndarray of float, shape (n, dimension, dimension)

    Examples
    --------
    >>> import primeattn as pa
    >>> pa.dynamics.frequencies.rotations(2, 2, rng=0).round(2)[0] + 0
    array([[ 0.  ,  0.13],
           [-0.13,  0.  ]])
    """
    if not isinstance(dimension, int | np.integer) or dimension < 2:
        raise ValueError(f"dimension is {dimension!r}: a whole number, 2 or more, is wanted")
    rows, columns = np.triu_indices(int(dimension), 1)
    drawn = as_generator(rng).normal(0.0, _positive("width", width), (len(_probabilities(n, None)), len(rows)))
    found = np.zeros((n, dimension, dimension))
    found[:, rows, columns], found[:, columns, rows] = drawn, -drawn
    return found


def _probabilities(n, rng) -> np.ndarray:
    if not isinstance(n, int | np.integer) or n < 1:
        raise ValueError(f"n is {n!r}: a number of oscillators, 1 or more, is wanted")
    return (np.arange(n) + 0.5) / n if rng is None else as_generator(rng).uniform(size=n)


def _positive(name, x) -> float:
    if not math.isfinite(x) or x <= 0:
        raise ValueError(f"{name} is {x!r}: a positive number is wanted")
    return float(x)


def _finite(center) -> float:
    if not math.isfinite(center):
        raise ValueError(f"center is {center!r}: a finite number is wanted")
    return float(center)
