r"""Random features: dot products of short vectors that estimate a kernel, and how fast the estimate gets better.

**MinHash** (Broder). A hash function h orders all primes at random. P[min h(A) = min h(B)] is the Jaccard index of A
and B, so the share of D hash functions whose minima agree has this mean and the variance J (1 - J) / D.

**Positive features** (Choromanski et al., FAVOR+). With w Gaussian, E exp(<w, x> - |x|^2 / 2) exp(<w, y> - |y|^2 / 2) =
exp <x, y>, and the variance of a mean of D of them is exp(2 <x, y>) (exp(|x + y|^2) - 1) / D. Rows of w that are
orthogonal within blocks of d have the same mean and less variance.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from .._runtime.checks import as_generator
from ..states import PrimeStates
from ._counts import check_count
from ._subjects import check_points

_MIX = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)  # SplitMix64


def _hashed(primes: np.ndarray, seed: np.uint64) -> np.ndarray:
    """SplitMix64 of the primes, from a random start."""
    x = primes.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + seed
    for shift, factor in zip((30, 27), _MIX, strict=True):
        x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
    return x ^ (x >> np.uint64(31))


def minhash(states: PrimeStates, n: int, rng: Any = 0) -> np.ndarray:
    r"""MinHash signatures of sets of primes: the share of equal numbers estimates the Jaccard index.

    Parameters
    ----------
    states : PrimeStates of m states
    n : int
        Hash functions: numbers of a signature.
    rng : int or Generator
        Batches that are to be compared need the same seed.

    Returns
    -------
    ndarray of uint64, shape (m, n)
        An empty state has 2**64 - 1 everywhere.

    Raises
    ------
    TypeError
        If ``states`` are no prime states.
    ValueError
        For n below 1.

    Notes
    -----
    :math:`P[\min h(A) = \min h(B)] = |A \cap B| / |A \cup B|`, up to collisions of 64 bits; the standard error is
    :math:`\sqrt{J(1 - J)/n}`.

    References
    ----------
    Broder, "On the resemblance and containment of documents", SEQUENCES 1997.

    Examples
    --------
    >>> import primeattn as pa
    >>> s = pa.PrimeStates.from_dicts([{2: 1, 3: 1}, {3: 1, 5: 1}])
    >>> a, b = pa.study.minhash(s, 10_000)
    >>> bool(abs((a == b).mean() - 1 / 3) < 0.02)
    True
    """
    if not isinstance(states, PrimeStates):
        raise TypeError(f"states is a {type(states).__name__}: PrimeStates are wanted")
    seeds = as_generator(rng).integers(0, 2**64, check_count("n", n), dtype=np.uint64)
    table, inverse = np.unique(states.primes, return_inverse=True)
    filled = np.flatnonzero(np.diff(states.indptr))
    out = np.full((len(states), n), np.iinfo(np.uint64).max)
    if filled.size:
        starts = states.indptr[:-1][filled]
        for i, seed in enumerate(seeds):
            out[filled, i] = np.minimum.reduceat(_hashed(table, seed)[inverse], starts)
    return out


def positive_features(
    x: Any, n: int, rng: Any = 0, *, scale: float | None = None, orthogonal: bool = True
) -> np.ndarray:
    r"""Positive random features of the softmax kernel: ``F(q) @ F(k).T`` estimates ``exp(scale * q @ k.T)``.

    Parameters
    ----------
    x : array_like of float, shape (m, d)
        Queries or keys.
    n : int
        Features.
    rng : int or Generator
        Queries and keys need the same seed.
    scale : float, optional
        Above 0; 1 / sqrt(d) by default, as in `attention.dot_product`.
    orthogonal : bool
        Draw directions that are orthogonal within blocks of d: the same mean, less variance.

    Returns
    -------
    ndarray of float64, shape (m, n)
        Above 0, so that estimated attention weights are, too.

    Raises
    ------
    ValueError
        For n below 1, a scale that is not positive, vectors that are not finite.

    Notes
    -----
    .. math:: \phi(x) = n^{-1/2} \exp\big(W x' - |x'|^2/2\big), \quad x' = \sqrt{s}\,x, \qquad
              E\,\phi(q) \cdot \phi(k) = e^{s\,q \cdot k}

    with the variance :math:`e^{2 s\,q \cdot k} (e^{s |q + k|^2} - 1)/n` for independent rows of W: exact for opposite
    vectors, hopeless for long parallel ones.

    References
    ----------
    Choromanski et al., "Rethinking Attention with Performers", arXiv:2009.14794.

    Examples
    --------
    >>> import numpy as np, primeattn as pa
    >>> x = np.array([[0.5, 0.0], [0.0, 0.5]])
    >>> F = pa.study.positive_features(x, 4096)
    >>> bool(abs(F @ F.T - np.exp(x @ x.T / np.sqrt(2))).max() < 0.05)
    True
    """
    x = check_points(x)
    if isinstance(x, PrimeStates):
        raise TypeError("x are prime states: vectors (n, d) are wanted; minhash is for states")
    n, d = check_count("n", n), x.shape[1]
    factor = d**-0.5 if scale is None else scale
    if isinstance(factor, bool) or not isinstance(factor, (int, float, np.floating)) or not 0 < factor < np.inf:
        raise ValueError(f"scale is {scale!r}: a finite number above 0 is wanted")
    rng = as_generator(rng)
    directions = rng.standard_normal((n, d))
    if orthogonal:
        blocks = [_rotation(rng, d) for _ in range(-(-n // d))]
        directions = np.concatenate(blocks)[:n] * np.linalg.norm(directions, axis=1, keepdims=True)
    x = np.sqrt(factor) * x
    return np.exp(x @ directions.T - (x**2).sum(axis=1, keepdims=True) / 2) / np.sqrt(n)


def _rotation(rng, d: int) -> np.ndarray:
    """Uniform on the orthogonal group: without the signs of R, LAPACK's Q prefers a half space."""
    q, r = np.linalg.qr(rng.standard_normal((d, d)))
    return q * np.sign(np.diagonal(r))


def feature_error(
    kernel: str, points: Any, sizes: Sequence[int] = (16, 64, 256, 1024), rng: Any = 0, *, repeats: int = 10
) -> Any:
    r"""How far random features are from their kernel, by their number: measured, and as theory has it.

    Parameters
    ----------
    kernel : {"jaccard", "softmax"}
        `minhash` of prime states; `positive_features` of vectors with independent directions.
    points : PrimeStates, or array_like of float, shape (m, d)
        At least two.
    sizes : sequence of int
        Numbers of features.
    rng : int or Generator
    repeats : int
        Draws of features for each size.

    Returns
    -------
    xarray.Dataset
        ``error`` (size, repeat): root mean square over all pairs of different points; for softmax relative to the
        exact value. ``expected`` (size): :math:`\sqrt{\langle J(1-J) \rangle/n}`, and
        :math:`\sqrt{\langle e^{|x + y|^2} - 1 \rangle/n}` with the scale in x and y. Attribute ``slope``: of log error
        over log size.

    Raises
    ------
    ValueError
        For another kernel, fewer than two points, sizes or repeats below 1.
    TypeError
        For points of the other kind.

    Examples
    --------
    >>> import primeattn as pa
    >>> curve = pa.study.feature_error("jaccard", pa.PrimeStates.random(20, 5, n_primes=12))
    >>> bool(abs(curve.attrs["slope"] + 0.5) < 0.1)  # error ~ 1 / sqrt(n)
    True
    """
    import xarray

    if not isinstance(kernel, str) or kernel not in ("jaccard", "softmax"):
        raise ValueError(f"kernel is {kernel!r}: pass 'jaccard' or 'softmax'")
    points = check_points(points, least=2)
    if isinstance(points, PrimeStates) != (kernel == "jaccard"):
        raise TypeError(f"points do not go with {kernel!r}: PrimeStates for 'jaccard', vectors (n, d) for 'softmax'")
    sizes = [check_count("sizes", size) for size in sizes]
    if not sizes:
        raise ValueError("sizes is empty: at least one number of features is wanted")
    rng = as_generator(rng)
    exact, variance, estimate = (_jaccard if kernel == "jaccard" else _softmax)(points)
    pairs = np.triu_indices(len(points), 1)
    error = np.array(
        [
            [
                np.sqrt(((estimate(size, rng) - exact)[pairs] ** 2).mean())
                for _ in range(check_count("repeats", repeats))
            ]
            for size in sizes
        ]
    )
    typical = np.sqrt((error**2).mean(axis=1))
    slope = float(np.polyfit(np.log(sizes), np.log(typical), 1)[0]) if len(set(sizes)) > 1 else np.nan
    return xarray.Dataset(
        {
            "error": (("size", "repeat"), error, {"long_name": "root mean square error"}),
            "expected": ("size", np.sqrt(variance[pairs].mean() / np.array(sizes)), {"long_name": "by theory"}),
        },
        {"size": sizes, "repeat": np.arange(repeats)},
        {"kernel": kernel, "slope": slope},
    )


def _jaccard(states: PrimeStates):
    """``(exact, variance of one feature, estimate(n, rng))``."""
    from scipy.sparse import csr_array

    inverse = np.unique(states.primes, return_inverse=True)[1]
    on = csr_array(
        (np.ones(inverse.size), inverse, states.indptr), shape=(len(states), int(inverse.max(initial=0)) + 1)
    )
    common, sizes = (on @ on.T).toarray(), np.diff(states.indptr)
    union = sizes[:, None] + sizes - common
    exact = common / np.where(union > 0, union, 1)

    def estimate(n, rng):
        marks = minhash(states, n, rng)
        both_filled = (sizes[:, None] > 0) & (sizes > 0)
        return np.stack([(row == marks).mean(axis=1) for row in marks]) * both_filled

    return exact, exact * (1 - exact), estimate


def _softmax(x: np.ndarray):
    """The same, relative to the exact value."""
    scale = x.shape[1] ** -0.5
    both = scale * ((x[:, None] + x) ** 2).sum(axis=-1)
    exact = np.exp(scale * x @ x.T)

    def estimate(n, rng):
        features = positive_features(x, n, rng, orthogonal=False)
        return features @ features.T / exact

    return np.ones_like(exact), np.expm1(both), estimate
