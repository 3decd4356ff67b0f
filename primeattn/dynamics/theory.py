r"""What theory says of the infinite system: thresholds, stationary states, and the Ott-Antonsen equations.

Throughout theta_i' = omega_i + (K/N) sum_j sin(theta_j - theta_i - alpha) + sqrt(2 D) xi_i with omega_i from a density g:

    "lorentzian"  g = (gamma / pi) / (omega^2 + gamma^2), width gamma
    "gaussian"    standard deviation sigma = width
    "uniform"     on [-width, width]
    "identical"   all frequencies equal

Incoherence: a perturbation exp(lambda t) of it obeys 1 = (K/2) e^{-i alpha} A(Omega), where at onset lambda = i Omega and

    A(Omega) = int g(omega) / (D + i (Omega - omega)) domega      (D -> 0+ without noise).

So Omega is where arg A = alpha, and K_c = 2 / |A|. Without lag and noise this is 2 / (pi g(0)).

Locking: in the frame of the mean field, with a = K r and x = (omega - Omega) / a, an oscillator contributes

    e^{i (theta + alpha)} = sqrt(1 - x^2) + i x   (|x| <= 1, locked),    i x (1 - sqrt(1 - 1/x^2))   (drifting, mean),

and r e^{i alpha} is the mean of it over g.
"""

import math
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

__all__ = [
    "critical_coupling",
    "ott_antonsen",
    "poisson_phases",
    "relaxation",
    "stationary_order_parameter",
    "twisted_state_rate",
]

_DISTRIBUTIONS = ("lorentzian", "gaussian", "uniform", "identical")


def critical_coupling(
    distribution: str, width: float = 1.0, *, phase_lag: float = 0.0, diffusion: float = 0.0
) -> float:
    r"""The coupling at which the incoherent state loses its stability.

    Parameters
    ----------
    distribution : {"lorentzian", "gaussian", "uniform", "identical"}
    width : float
        As in the module; no meaning for "identical".
    phase_lag : float
        alpha in (-pi/2, pi/2), radians.
    diffusion : float
        D >= 0.

    Returns
    -------
    float
        K_c; the threshold of linear stability (for "uniform" r jumps there).

    Raises
    ------
    ValueError
        For another distribution, a width or diffusion out of range, |alpha| >= pi/2.

    Notes
    -----
    Lorentzian :math:`2(\gamma + D)/\cos\alpha`, Gaussian :math:`\sigma\sqrt{8/\pi}` and uniform :math:`4G/\pi` without lag and
    noise, identical :math:`2D/\cos\alpha`.

    References
    ----------
    Y. Kuramoto (1984); H. Sakaguchi, "Cooperative phenomena in coupled oscillator systems under external fields" (1988);
    H. Sakaguchi and Y. Kuramoto (1986).

    Examples
    --------
    >>> from primeattn.dynamics import theory
    >>> theory.critical_coupling("lorentzian"), round(theory.critical_coupling("gaussian"), 7)
    (2.0, 1.5957691)
    """
    width = _checked(distribution, width, phase_lag, diffusion)
    if distribution == "identical":
        return 2 * diffusion / math.cos(phase_lag)
    if distribution == "lorentzian":
        return 2 * (width + diffusion) / math.cos(phase_lag)
    if phase_lag == 0:
        return 2 / _susceptibility(distribution, width, diffusion, 0.0).real
    from scipy.optimize import brentq

    def excess(frequency):
        return float(np.angle(_susceptibility(distribution, width, diffusion, frequency) * np.exp(-1j * phase_lag)))

    sign = -math.copysign(1.0, phase_lag)  # a positive lag slows the field down
    reach = width * 1e-3
    while excess(sign * reach) * excess(0.0) > 0:
        reach *= 1.5
        if distribution == "uniform" and diffusion == 0 and reach >= width:
            reach = width * (1 - 1e-12)
            break
    onset = brentq(excess, 0.0, sign * reach, xtol=1e-14, rtol=1e-14)
    return 2 / abs(_susceptibility(distribution, width, diffusion, onset))


def _susceptibility(distribution, width, diffusion, frequency) -> complex:
    """A(Omega)."""
    if distribution == "gaussian":
        from scipy.special import wofz

        s = width * math.sqrt(2)
        return complex(np.conj(math.sqrt(math.pi) / s * wofz((frequency + 1j * diffusion) / s)))
    below, above = (np.log(complex(diffusion, frequency + edge)) for edge in (-width, width))
    return complex(1j / (2 * width) * (below - above))


def stationary_order_parameter(
    distribution: str, coupling: Any, width: float = 1.0, *, phase_lag: float = 0.0, diffusion: float = 0.0
) -> Any:
    r"""r of the partially synchronised state, 0 below the threshold.

    Parameters
    ----------
    distribution : {"lorentzian", "gaussian", "uniform", "identical"}
    coupling : float or array_like of float
        K >= 0.
    width, phase_lag : float
        As `critical_coupling`.
    diffusion : float
        D >= 0, for "identical" oscillators only.

    Returns
    -------
    float or ndarray of float
        The shape of ``coupling``.

    Raises
    ------
    ValueError
        As `critical_coupling`, for a negative coupling, or diffusion with frequencies that differ (no closed equation in r
        alone).

    Notes
    -----
    Lorentzian :math:`r = \sqrt{1 - 2\gamma/(K\cos\alpha)}`; identical with noise
    :math:`r = I_1(Kr\cos\alpha/D)/I_0(Kr\cos\alpha/D)` for :math:`\alpha = 0`; otherwise the self-consistent equation of the
    module, solved for a = K r.

    Examples
    --------
    >>> from primeattn.dynamics import theory
    >>> theory.stationary_order_parameter("gaussian", [1.0, 2.0, 4.0]).round(6)
    array([0.      , 0.715174, 0.964247])
    """
    width = _checked(distribution, width, phase_lag, diffusion)
    k = np.asarray(coupling, float)
    if not (k >= 0).all():
        raise ValueError(f"coupling is {coupling!r}: K >= 0 is wanted")
    if diffusion and distribution != "identical":
        raise ValueError("diffusion goes with 'identical' oscillators here: with both, simulate")
    if diffusion and phase_lag:
        raise ValueError("diffusion and phase_lag together have no equation in r alone: simulate")
    threshold = critical_coupling(distribution, width, phase_lag=phase_lag, diffusion=diffusion)
    if distribution == "identical" and not diffusion:
        r = np.where(k > 0, 1.0, 0.0)
    elif distribution == "lorentzian":
        r = np.sqrt(np.maximum(1 - threshold / np.where(k > 0, k, 1.0), 0)) * (k > threshold)
    else:
        solve = _noisy_root if distribution == "identical" else _locked_root
        r = np.vectorize(lambda one: solve(distribution, one, width, phase_lag, diffusion) if one > threshold else 0.0)(
            k
        )
    return float(r) if k.ndim == 0 else np.asarray(r, float)


def _noisy_root(distribution, coupling, width, lag, diffusion):
    from scipy.optimize import brentq
    from scipy.special import i0e, i1e

    def excess(r):
        x = coupling * r / diffusion
        return i1e(x) / i0e(x) - r

    return brentq(excess, 1e-9, 1.0, xtol=1e-15)


def _locked_root(distribution, coupling, width, lag, diffusion):
    """r = |mean| at the largest a = K r that is consistent."""
    from scipy.optimize import brentq

    def excess(a):
        return coupling * abs(_field_mean(distribution, a, width, lag)) - a

    high = coupling * (1 + 1e-9)
    for low in coupling * np.concatenate([np.linspace(0.99, 0.02, 98), np.geomspace(0.02, 1e-3, 8)]):
        if excess(low) > 0:
            return brentq(excess, low, high, xtol=1e-14, rtol=1e-13) / coupling
        high = low
    return 0.0


def _field_mean(distribution, a, width, lag) -> complex:
    """The mean of e^{i (theta + alpha)} with the frame in which its argument is alpha."""
    if lag == 0:
        return _contribution(distribution, a, width, 0.0)
    from scipy.optimize import brentq

    def excess(frame):
        return float(np.angle(_contribution(distribution, a, width, frame) * np.exp(-1j * lag)))

    sign, reach = -math.copysign(1.0, lag), 0.1 * a
    for _ in range(60):
        if excess(sign * reach) * excess(0.0) <= 0:
            break
        reach *= 1.3
    return _contribution(distribution, a, width, brentq(excess, 0.0, sign * reach, xtol=1e-13, rtol=1e-13))


_NODES = 400


def _contribution(distribution, a, width, frame) -> complex:
    """The mean over g of what an oscillator contributes. Locked: x = sin phi, smooth; drifting: x = 1 / sin phi."""
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)

    def density(omega):
        if distribution == "gaussian":
            return np.exp(-0.5 * (omega / width) ** 2) / (width * math.sqrt(2 * math.pi))
        return np.where(np.abs(omega) <= width, 0.5 / width, 0.0)

    def over(low, high, integrand):
        half = (high - low) / 2
        return half * float(np.sum(weights * integrand(low + half * (nodes + 1))))

    def locked(phi, by):
        return a * np.cos(phi) * by(phi) * density(frame + a * np.sin(phi))

    def drifting(side, phi):
        jacobian = np.cos(phi) / np.sin(phi) ** 2
        return a * jacobian * (1 - np.cos(phi)) / np.sin(phi) * density(frame + side * a / np.sin(phi))

    # where the density jumps, or is narrow, the intervals of phi end
    edges = [-width, width] if distribution == "uniform" else [k * width for k in (-38, -8, -4, -2, 0, 2, 4, 8, 38)]
    cuts = sorted({min(max((e - frame) / a, -1.0), 1.0) for e in edges} | {-1.0, 1.0})
    angles = np.arcsin(cuts)
    real, imaginary = (sum(over(p, q, partial(locked, by=f)) for p, q in pairwise(angles)) for f in (np.cos, np.sin))
    for side in (-1.0, 1.0):  # drifting, x = side / sin phi, dx = cos phi / sin^2 phi dphi
        beyond = [side * (e - frame) / a for e in edges]
        ends = [math.asin(1 / x) for x in beyond if x > 1]
        if not ends:
            continue
        ends = sorted({*ends, math.pi / 2, *np.geomspace(min(ends), math.pi / 2, 8)[1:-1]})
        imaginary += side * sum(over(p, q, partial(drifting, side)) for p, q in pairwise(ends))
    return complex(real, imaginary)


def relaxation(t: Any, r0: float, coupling: float, width: float = 1.0, *, phase_lag: float = 0.0) -> np.ndarray:
    r"""r(t) of a Lorentzian system that starts on the Ott-Antonsen manifold, in closed form.

    Parameters
    ----------
    t : array_like of float
        Times since r was r0.
    r0 : float
        In [0, 1].
    coupling, width, phase_lag : float
        K, gamma > 0 and alpha.

    Returns
    -------
    ndarray of float
        The shape of ``t``.

    Notes
    -----
    :math:`(r^2)' = 2\mu r^2 - 2\beta r^4` with :math:`\beta = K\cos\alpha/2`, :math:`\mu = \beta - \gamma`.

    References
    ----------
    E. Ott and T. M. Antonsen, "Low dimensional behavior of large systems of globally coupled oscillators", Chaos 18 (2008).

    Examples
    --------
    >>> from primeattn.dynamics import theory
    >>> theory.relaxation([0.5, 1, 2, 4], 0.1, 4.0).round(6)
    array([0.16211 , 0.255966, 0.513332, 0.701366])
    """
    if not 0 <= r0 <= 1:
        raise ValueError(f"r0 is {r0!r}: a number from 0 to 1 is wanted")
    _checked("lorentzian", width, phase_lag, 0.0)
    t = np.asarray(t, float)
    beta = 0.5 * coupling * math.cos(phase_lag)
    mu = beta - width
    # r^2 = r0^2 / (e^{-2 mu t} + 2 beta r0^2 (1 - e^{-2 mu t}) / (2 mu)); the last fraction is t at mu = 0
    grown = t if mu == 0 else -np.expm1(-2 * mu * t) / (2 * mu)
    return np.sqrt(r0**2 / (np.exp(-2 * mu * t) + 2 * beta * r0**2 * grown))


def ott_antonsen(
    t: Any, z0: Any, coupling: Any, *, width: Any = 0.0, center: Any = 0.0, phase_lag: Any = 0.0
) -> np.ndarray:
    r"""Complex order parameters of Lorentzian populations on the Ott-Antonsen manifold.

    Parameters
    ----------
    t : array_like of float, shape (samples,)
        Ascending times; z0 holds at the first.
    z0 : array_like of complex, shape (G,)
        Order parameters of the populations, \|z\| <= 1.
    coupling : float or array_like of float, shape (G, G)
        What population a feels of b; a number is divided among equal populations: K / G.
    width, center : float or array_like of float, shape (G,)
        gamma and centre of the frequencies of every population.
    phase_lag : float or array_like of float, shape (G, G)

    Returns
    -------
    ndarray of complex, shape (samples, G)

    Raises
    ------
    ValueError
        For shapes that do not fit, or \|z\| > 1.

    Notes
    -----
    .. math:: z_a' = (i\Omega_a - \gamma_a) z_a + \tfrac12 (H_a - \bar H_a z_a^2), \qquad
              H_a = \sum_b K_{ab} e^{-i\alpha_{ab}} z_b.

    One population is the Sakaguchi model, two with centres apart the bimodal one, two with lag and width 0 the chimera of
    Abrams et al. (2008).

    Examples
    --------
    >>> import numpy as np
    >>> from primeattn.dynamics import theory
    >>> abs(theory.ott_antonsen([0, 40], [0.1], 4.0, width=1.0))[-1].round(6)
    array([0.707107])
    """
    from scipy.integrate import solve_ivp

    z0, t = np.atleast_1d(np.asarray(z0, complex)), np.asarray(t, float)
    if z0.ndim != 1 or (np.abs(z0) > 1 + 1e-12).any():
        raise ValueError(f"z0 is {z0!r}: one number of size at most 1 a population is wanted")
    if t.ndim != 1 or len(t) < 1 or (np.diff(t) <= 0).any():
        raise ValueError("t must be a list of ascending times")
    g = len(z0)
    matrix = np.full((g, g), coupling / g) if np.ndim(coupling) == 0 else np.asarray(coupling, float)
    if matrix.shape != (g, g):
        raise ValueError(f"coupling has shape {matrix.shape}: a number or ({g}, {g}) is wanted")
    h = matrix * np.exp(-1j * np.broadcast_to(np.asarray(phase_lag, float), (g, g)))
    rate = 1j * np.broadcast_to(np.asarray(center, float), (g,)) - np.broadcast_to(np.asarray(width, float), (g,))

    def derivative(_, z):
        field = h @ z
        return rate * z + 0.5 * (field - np.conj(field) * z**2)

    if len(t) == 1:
        return z0[None]
    found = solve_ivp(derivative, (t[0], t[-1]), z0, method="DOP853", t_eval=t, rtol=1e-11, atol=1e-13)
    return found.y.T


def poisson_phases(n: int, r: float, psi: float = 0.0, *, rng: Any = None) -> np.ndarray:
    """Phases on the Ott-Antonsen manifold: quantiles of the Poisson kernel, in random order (so that they do not depend on omega).

    Parameters
    ----------
    n : int
    r : float
        Order parameter, 0 <= r < 1.
    psi : float
        Mean phase.
    rng : int or numpy.random.Generator, optional
        The order; None keeps them ascending.

    Returns
    -------
    ndarray of float, shape (n,)

    Examples
    --------
    >>> from primeattn import circle
    >>> from primeattn.dynamics import theory
    >>> abs(circle.order_parameter(theory.poisson_phases(1000, 0.5))).round(6)
    np.float64(0.5)
    """
    from .._runtime.checks import as_generator

    if not 0 <= r < 1:
        raise ValueError(f"r is {r!r}: 0 <= r < 1 is wanted")
    p = (np.arange(n) + 0.5) / n
    theta = psi + 2 * np.arctan((1 - r) / (1 + r) * np.tan(math.pi * (p - 0.5)))
    return theta if rng is None else as_generator(rng).permutation(theta)


def twisted_state_rate(n: int, neighbours: int, winding: int = 1) -> float:
    r"""The largest growth rate of a perturbation of theta_j = 2 pi q j / n on a ring, per unit of g; below 0: stable.

    Parameters
    ----------
    n : int
    neighbours : int
        R, on either side.
    winding : int
        q.

    Returns
    -------
    float

    Notes
    -----
    The Jacobian is circulant: :math:`\lambda_m = 2 \sum_{d=1}^R \cos(2\pi q d/n) (\cos(2\pi m d/n) - 1)`, m = 1 .. n - 1.

    References
    ----------
    D. A. Wiley, S. H. Strogatz, M. Girvan, "The size of the sync basin", Chaos 16 (2006).

    Examples
    --------
    >>> from primeattn.dynamics import theory
    >>> theory.twisted_state_rate(300, 100) < 0, theory.twisted_state_rate(300, 105) < 0
    (True, False)
    """
    if not 1 <= neighbours <= (n - 1) // 2:
        raise ValueError(
            f"neighbours is {neighbours!r}: 1 to {(n - 1) // 2} on either side of a ring of {n} are wanted"
        )
    d = np.arange(1, neighbours + 1)
    m = np.arange(1, n)[:, None]
    weight = np.cos(2 * math.pi * winding * d / n)
    return float((2 * weight * (np.cos(2 * math.pi * m * d / n) - 1)).sum(axis=1).max())


def _checked(distribution, width, phase_lag, diffusion) -> float:
    if distribution not in _DISTRIBUTIONS:
        raise ValueError(f"distribution is {distribution!r}: one of {', '.join(map(repr, _DISTRIBUTIONS))} is wanted")
    if not (math.isfinite(width) and width > 0):
        raise ValueError(f"width is {width!r}: a positive number is wanted")
    if not abs(phase_lag) < math.pi / 2:
        raise ValueError(f"phase_lag is {phase_lag!r}: between -pi/2 and pi/2 is wanted, where coupling attracts")
    if not (math.isfinite(diffusion) and diffusion >= 0):
        raise ValueError(f"diffusion is {diffusion!r}: D >= 0 is wanted")
    return float(width)
