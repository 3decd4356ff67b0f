r"""Thresholds and stationary states of the infinite all-to-all system, for any of the densities, with lag and noise.

In the frame of the mean field R e^{i Omega t}, with a = K r, the phase psi = theta - Omega t + alpha of an oscillator
of frequency omega = Omega + u obeys psi' = u - a sin psi + sqrt(2 D) xi. The Fourier modes w_n = <e^{i n psi}> of its
stationary density satisfy (n D - i u) w_n = (a/2) (w_{n-1} - w_{n+1}), so that w_1 is a continued fraction,

    w_1 = rho_1,    rho_n = (a/2) / (n D - i u + (a/2) rho_{n+1}),    (1)

and without noise its fixed point,

    w_1 = a / (q - i u),    q = sqrt(a^2 - u^2):    locked for |u| < a, drifting beyond.    (2)

The field is consistent if r e^{i alpha} = <w_1>, the mean over g. With F(a, Omega) = <w_1> / a,

    K F(a, Omega) = e^{i alpha}:    Omega is where arg F = alpha, then K = 1 / |F|, r = a |F|.    (3)

At a = 0 this is the threshold of incoherence: F = <1 / (D - i u)> / 2.

Both (1) and (2) are analytic and bounded in the upper half of the omega plane (the real part of every denominator is
positive there), so that the mean over g is an integral along a path above the real axis, where nothing is singular: one
residue for the Lorentzian (omega = i gamma), a shifted line for the Gaussian, a half circle for the uniform density. A
density is a few complex frequencies with weights: `_nodes`.
"""

import math
from functools import cache
from typing import Any

import numpy as np

_DISTRIBUTIONS = ("lorentzian", "gaussian", "uniform", "identical")


def critical_coupling(
    distribution: str, width: float = 1.0, *, phase_lag: float = 0.0, diffusion: float = 0.0
) -> float:
    r"""The coupling at which the incoherent state loses its stability.

    Parameters
    ----------
    distribution : {"lorentzian", "gaussian", "uniform", "identical"}
    width : float
        gamma, sigma or half width (see `theory`), radians per unit of time; no meaning for "identical".
    phase_lag : float
        alpha in (-pi/2, pi/2), radians.
    diffusion : float
        D >= 0, rad^2 per unit of time.

    Returns
    -------
    float
        K_c. For "uniform" r jumps there.

    Raises
    ------
    ValueError
        For another distribution, a width or diffusion out of range, \|alpha\| >= pi/2.

    Notes
    -----
    .. math:: K_c = 2 / |A(\Omega)|, \qquad A(\Omega) = \int \frac{g(\omega)\,d\omega}{D - i(\omega - \Omega)}, \qquad
              \arg A(\Omega) = \alpha.

    Lorentzian :math:`2(\gamma + D)/\cos\alpha`, identical :math:`2D/\cos\alpha`; without lag and noise
    :math:`2/(\pi g(0))`: Gaussian :math:`\sigma\sqrt{8/\pi}`. Uniform without noise :math:`4G\cos\alpha/\pi`.

    References
    ----------
    Y. Kuramoto, "Chemical Oscillations, Waves, and Turbulence" (1984); H. Sakaguchi and Y. Kuramoto, Prog. Theor. Phys.
    76 (1986); H. Sakaguchi, Prog. Theor. Phys. 79 (1988).

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
    if (
        distribution == "uniform" and diffusion == 0
    ):  # Re A = pi / (2 G) for |Omega| < G; Omega may be too near G for numbers
        return 4 * width * math.cos(phase_lag) / math.pi
    return float(_consistent(distribution, np.zeros(1), width, phase_lag, diffusion)[0][0])


def stationary_order_parameter(
    distribution: str, coupling: Any, width: float = 1.0, *, phase_lag: float = 0.0, diffusion: float = 0.0
) -> Any:
    r"""r of the partially synchronised state, 0 where there is none.

    Parameters
    ----------
    distribution : {"lorentzian", "gaussian", "uniform", "identical"}
    coupling : float or array_like of float
        K >= 0.
    width, phase_lag, diffusion : float
        As `critical_coupling`.

    Returns
    -------
    float or ndarray of float
        The shape of ``coupling``. Where several states exist (some lags), the one of largest r.

    Raises
    ------
    ValueError
        As `critical_coupling`; for a coupling that is negative or not finite.

    Notes
    -----
    With a = K r and :math:`\langle\cdot\rangle` the mean over frequencies,

    .. math:: r e^{i\alpha} = \Big\langle \sqrt{1 - x^2} + i x \Big\rangle, \quad x = (\omega - \Omega)/a,

    without noise (for :math:`|x| > 1` the root is :math:`-i\,\mathrm{sign}(x)\sqrt{x^2 - 1}`), a continued fraction
    with it. Lorentzian :math:`r = \sqrt{1 - 2\gamma/(K\cos\alpha)}`, identical with noise :math:`r =
    I_1(Kr/D)/I_0(Kr/D)`.

    References
    ----------
    As `critical_coupling`; D. Pazó, "Thermodynamic limit of the first-order phase transition in the Kuramoto model",
    Phys. Rev. E 72 (2005) (uniform).

    Examples
    --------
    >>> from primeattn.dynamics import theory
    >>> theory.stationary_order_parameter("gaussian", [1.0, 2.0, 4.0]).round(6)
    array([0.      , 0.715174, 0.964247])
    >>> round(theory.stationary_order_parameter("uniform", 4.0, phase_lag=0.5), 6)
    0.98577
    """
    k = np.asarray(coupling, float)
    r, _ = _states(distribution, k.reshape(-1), width, phase_lag, diffusion)
    return r.reshape(k.shape) if k.ndim else float(r[0])


def stationary_frequency(
    distribution: str, coupling: Any, width: float = 1.0, *, phase_lag: float = 0.0, diffusion: float = 0.0
) -> Any:
    r"""Omega, the frequency of the mean field, relative to the centre of the distribution; NaN where r is 0.

    Parameters
    ----------
    distribution, coupling, width, phase_lag, diffusion
        As `stationary_order_parameter`.

    Returns
    -------
    float or ndarray of float
        Radians per unit of time, the shape of ``coupling``.

    Raises
    ------
    ValueError
        As `stationary_order_parameter`.

    Notes
    -----
    Lorentzian :math:`\Omega = (\gamma - K\cos\alpha)\tan\alpha`, identical :math:`-K \sin\alpha` (both at D = 0).

    Examples
    --------
    >>> from primeattn.dynamics import theory
    >>> round(theory.stationary_frequency("lorentzian", 4.0, phase_lag=0.5), 6)
    -1.3714
    """
    k = np.asarray(coupling, float)
    _, frequency = _states(distribution, k.reshape(-1), width, phase_lag, diffusion)
    return frequency.reshape(k.shape) if k.ndim else float(frequency[0])


def _states(distribution, k, width, lag, diffusion):
    """r and Omega for a list of couplings."""
    width = _checked(distribution, width, lag, diffusion)
    if distribution == "identical":
        width = 0.0
    if not (np.isfinite(k) & (k >= 0)).all():
        raise ValueError(f"coupling has entries that are negative or not finite: {k!r}; K >= 0 is wanted")
    if diffusion == 0 and distribution in ("lorentzian", "identical"):
        spread = 2 * width / math.cos(lag)
        on = k > spread
        r = np.where(on, np.sqrt(np.maximum(1 - spread / np.where(on, k, 1.0), 0)), 0.0)
        return r, np.where(on, (width - k * math.cos(lag)) * math.tan(lag), math.nan)
    r, frequency = np.zeros(len(k)), np.full(len(k), math.nan)
    if not k.size:
        return r, frequency
    # r <= 1, so that a = K r lies below K, where a state of a needs more than a: right of the last a that needs less
    least, most = 1e-6 * (width + diffusion), max(k.max(), width + diffusion) * (1 + 1e-9)
    grid = np.geomspace(least, most, 20 + int(16 * math.log10(most / least)))
    needed, turning = _consistent(distribution, grid, width, lag, diffusion, accuracy=1e-6)
    below = needed <= k[:, None]
    on = below.any(axis=1)
    if not on.any():
        return r, frequency
    last = np.minimum(len(grid) - 1 - below[on, ::-1].argmax(axis=1), len(grid) - 2)
    left, right = last, last + 1
    part = np.clip((k[on] - needed[left]) / (needed[right] - needed[left] + 1e-300), 0, 1)
    a, omega = _newton(
        distribution, k[on], grid[left], grid[right], part, turning[left] + part * (turning[right] - turning[left]),
        width, lag, diffusion,
    )  # fmt: skip
    lost = ~np.isfinite(a)
    if lost.any():  # at a fold, or where a threshold is not smooth
        a[lost] = _root(
            lambda a: _consistent(distribution, a, width, lag, diffusion)[0] - k[on][lost],
            grid[left[lost]], grid[right[lost]], 1e-14,
        )  # fmt: skip
        omega[lost] = _consistent(distribution, a[lost], width, lag, diffusion)[1]
    r[on], frequency[on] = np.minimum(a / k[on], 1.0), omega
    return r, frequency


def _newton(distribution, k, low, high, part, frequency, width, lag, diffusion):
    """The roots a in [low, high] and Omega of log(K F) = i alpha, a complex equation; NaN where they are lost."""
    nodes, weight = _nodes(distribution)
    a, done = low + part * (high - low), np.zeros(len(k), bool)
    for _ in range(25):
        parts = _response_slopes(a[:, None], width * nodes - frequency[:, None], diffusion)
        f, by_a, by_u = ((part * weight).sum(axis=1) for part in parts)
        miss, by_a, by_u = np.log(k * f) - 1j * lag, by_a / f, -by_u / f
        bend = by_a.real * by_u.imag - by_a.imag * by_u.real
        with np.errstate(divide="ignore", invalid="ignore"):
            step = (miss.imag * by_u.real - miss.real * by_u.imag) / bend
            turn = (miss.real * by_a.imag - miss.imag * by_a.real) / bend
        done = (np.abs(step) <= 1e-13 * a) & (np.abs(turn) <= 1e-13 * (a + np.abs(frequency)))
        if done.all():
            break
        moves = ~done & (np.abs(step) < high) & (np.abs(turn) < 4 * high + width)  # others are lost
        a, frequency = np.where(moves, np.clip(a + step, low, high), a), np.where(moves, frequency + turn, frequency)
    return np.where(done, a, np.nan), np.where(done, frequency if lag else 0.0, np.nan)


def _consistent(distribution, a, width, lag, diffusion, accuracy=1e-15):
    """K and Omega of the states with K r = a, an array: equation (3)."""
    nodes, weight = _nodes(distribution)

    def mean(frequency):
        each = _response(a[:, None], width * nodes - frequency[:, None], diffusion)
        return (each * weight).sum(axis=1)  # no BLAS: its threads cost more than they bring here

    frequency = np.zeros(len(a))
    if lag != 0:  # without one, the symmetry of g says Omega = 0
        turn = np.exp(-1j * lag)
        reach = 2 * (a + 12 * width + (width + diffusion) * abs(math.tan(lag)))  # all drift, arg F is +-pi/2
        frequency = _root(lambda x: np.angle(mean(x) * turn), -reach, reach, accuracy)
    return 1 / np.abs(mean(frequency)), frequency


def _response(a, u, diffusion):
    """w_1 / a for u above the real axis: equations (1) and (2)."""
    if diffusion == 0:
        return 1 / (np.sqrt(a**2 - u**2) - 1j * u)
    levels, rho = _deep(a, u, diffusion)
    x, square = 2 * (diffusion - 1j * u), a**2
    for n in range(levels - 1, 0, -1):
        rho = 1 / (x + (2 * diffusion * (n - 1) + square * rho))
    return rho


def _response_slopes(a, u, diffusion):
    """w_1 / a and its derivatives by a and u."""
    if diffusion == 0:
        q = np.sqrt(a**2 - u**2)
        w = 1 / (q - 1j * u)
        return w, -(w**2) * a / q, 1j * w / q
    levels, rho = _deep(a, u, diffusion)
    by_a, by_u = np.zeros_like(rho), np.zeros_like(rho)
    for n in range(levels - 1, 0, -1):
        new = 1 / (2 * (n * diffusion - 1j * u) + a**2 * rho)
        by_a, by_u = -(new**2) * (2 * a * rho + a**2 * by_a), -(new**2) * (a**2 * by_u - 2j)
        rho = new
    return rho, by_a, by_u


def _deep(a, u, diffusion):
    r"""How many levels of the fraction, and rho_n / a there, to second order in what it differs from its neighbours by.

    Errors shrink by \|w\|^2 a level: by noise as exp(-levels^2 D / a), by the height of u as exp(-2 levels asinh(Im u /
    a)). Where 600 levels were too few, noise is so weak that the start is good to 1e-9.
    """
    strongest = max(a.max(), 1e-300)
    height = max(float(np.arcsinh(u.imag.min() / strongest)), 1e-300)
    levels = 12 + int(min(6 * math.sqrt(strongest / diffusion), 18 / height, 600))
    x = levels * diffusion - 1j * u
    q = np.sqrt(x**2 + a**2)
    x = x - diffusion * a**2 / (2 * q * (x + q))  # rho_{n+1} = rho_n + D d rho / dx
    return levels, 1 / (x + np.sqrt(x**2 + a**2))


@cache
def _nodes(distribution):
    """Frequencies above the real axis and weights: the mean over g, width 1, of what is analytic and bounded there."""
    if distribution == "identical":
        return np.zeros(1, complex), np.ones(1)
    if distribution == "lorentzian":
        return np.array([1j]), np.ones(1)
    if distribution == "gaussian":  # trapezoids on the line Im omega = 2: the error is e^{-2 pi 2 / step}
        step = 0.32
        omega = step * np.arange(-31, 32) + 2j
        return omega, step * np.exp(-(omega**2) / 2) / math.sqrt(2 * math.pi)
    # uniform: e^{i beta} from beta = pi to 0, beta = pi (1 + tanh(pi/2 sinh s)) / 2 for the sake of the end points
    step = 0.07
    s = step * np.arange(-46, 47)
    fraction = 1 / (1 + np.exp(math.pi * np.sinh(s)))
    beta = math.pi * fraction
    speed = math.pi**2 * np.cosh(s) * fraction / (1 + np.exp(-math.pi * np.sinh(s)))
    omega = np.exp(1j * beta)
    return omega, step * speed * (-1j) * omega / 2


def _root(function, low, high, accuracy):
    """Roots of a function of an array, one in each interval with a change of sign (T. R. Chandrupatla, 1997)."""
    a, b = np.array(high, float), np.array(low, float)
    fa, fb = function(a), function(b)
    c, fc = a.copy(), fa.copy()
    t = np.full(a.shape, 0.5)
    best = np.where(np.abs(fa) < np.abs(fb), a, b)
    for _ in range(100):
        x = a + t * (b - a)
        fx = function(x)
        same = np.sign(fx) == np.sign(fa)
        c, fc = np.where(same, a, b), np.where(same, fa, fb)
        b, fb = np.where(same, b, a), np.where(same, fb, fa)
        a, fa = x, fx
        best = np.where(np.abs(fa) < np.abs(fb), a, b)
        least = accuracy * (np.abs(best) + np.abs(high) * 1e-3) / np.maximum(np.abs(b - a), 1e-300) + 1e-300
        if ((least > 0.5) | (fa == 0) | (fb == 0)).all():
            break
        with np.errstate(all="ignore"):  # inverse quadratic interpolation where it is monotone, else halves
            xi, phi = (a - b) / (c - b), (fa - fb) / (fc - fb)
            smooth = (phi**2 < xi) & ((1 - phi) ** 2 < 1 - xi)
            guess = fa / (fb - fa) * fc / (fb - fc) + (c - a) / (b - a) * fa / (fc - fa) * fb / (fc - fb)
        t = np.clip(
            np.where(smooth & np.isfinite(guess), guess, 0.5), np.minimum(least, 0.5), 1 - np.minimum(least, 0.5)
        )
    return best


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
