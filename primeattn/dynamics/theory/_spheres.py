"""Unit vectors in three dimensions, infinitely many, with isotropic rotations."""

import math
from typing import Any

import numpy as np


def sphere_order_parameter(coupling: Any, *, width: float = 1.0) -> Any:
    r"""R of the stationary state of `Spheres` in D = 3, whose rotations have independent normal entries.

    Parameters
    ----------
    coupling : float or array_like
        K > 0; at 0 the limit from above, 1/2, is returned, and 0 below.
    width : float
        Standard deviation of an entry of Omega.

    Returns
    -------
    float or ndarray of float, shape of ``coupling``

    Raises
    ------
    ValueError
        For a width that is not positive, couplings that are not finite.

    Notes
    -----
    Omega x is the cross product of a vector w and x. Under the field :math:`a = K R` along z an oscillator rests at
    :math:`x = a (\lambda - \Omega)^{-1} e_z`, whose z is :math:`\lambda / a` with the root
    :math:`2\lambda^2 = a^2 - w^2 + \sqrt{(a^2 - w^2)^2 + 4 a^2 w_z^2}` that is stable, and
    :math:`R = \langle \lambda \rangle / a` over w. As a goes to 0 it becomes the mean of :math:`|w_z| / |w|`, 1/2.

    References
    ----------
    S. Chandra, M. Girvan, E. Ott, Phys. Rev. X 9 (2019) 011002.

    Examples
    --------
    >>> from primeattn.dynamics import theory
    >>> theory.sphere_order_parameter([1.0, 2.0]).round(5)
    array([0.53401, 0.67001])
    """
    from scipy.optimize import brentq

    if not (math.isfinite(width) and width > 0):
        raise ValueError(f"width is {width!r}: a positive number is wanted")
    k = np.asarray(coupling, float) / width
    if not np.isfinite(k).all():
        raise ValueError("coupling has entries that are NaN or infinite: finite numbers are wanted")

    def solve(k):
        if k <= 0:
            return 0.5 if k == 0 else 0.0
        return brentq(lambda r: _mean(k * r) - r, 0.4, 1.0, xtol=1e-12)

    found = np.array([solve(x) for x in k.reshape(-1)]).reshape(k.shape)
    return float(found) if found.ndim == 0 else found


def _nodes(a: float, b: float, count: int) -> tuple[np.ndarray, np.ndarray]:
    x, weight = np.polynomial.legendre.leggauss(count)
    return (a + b) / 2 + (b - a) / 2 * x, (b - a) / 2 * weight


def _mean(a: float) -> float:
    """<lambda> / a; the integrand bends where w = a, w_z = 0, so w is cut there and w_z / w = v^2."""
    total = 0.0
    v, cosines = _nodes(0.0, 1.0, 64)
    u, weight = (v * v)[:, None], (2 * v * cosines)[:, None]
    for low, high in ((0.0, min(a, 9.0)), (min(a, 9.0), 9.0)):
        y, lengths = _nodes(0.0, 1.0, 64)
        # w = a -+ (...)^2: nodes crowd where the pieces meet
        w = high - (high - low) * y**2 if high <= a else low + (high - low) * y**2
        density = math.sqrt(2 / math.pi) * w**2 * np.exp(-(w**2) / 2) * 2 * (high - low) * y * lengths
        b = (a - w) * (a + w)
        root = np.hypot(b, 2 * a * w * u)
        square = np.where(b > 0, (b + root) / 2, 2 * (a * w * u) ** 2 / np.where(root > b, root - b, 1.0))
        total += float((np.sqrt(square) / a * density * weight).sum())
    return total
