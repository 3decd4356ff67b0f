"""The Ott-Antonsen manifold: ordinary differential equations for the order parameters of Lorentzian populations."""

import math
from typing import Any, NamedTuple

import numpy as np

from ..._runtime.checks import as_generator
from ._stationary import _checked


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
    E. Ott and T. M. Antonsen, "Low dimensional behavior of large systems of globally coupled oscillators", Chaos 18
    (2008).

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

    One population is the Sakaguchi model, two with centres apart the bimodal one, two with lag and width 0 the chimera
    of Abrams et al. (2008).

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
    """Phases on the Ott-Antonsen manifold: quantiles of the Poisson kernel.

    Parameters
    ----------
    n : int
    r : float
        Order parameter, 0 <= r < 1.
    psi : float
        Mean phase.
    rng : int or numpy.random.Generator, optional
        Draws their order, which must not depend on omega on the manifold; None leaves them ascending.

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
    if not 0 <= r < 1:
        raise ValueError(f"r is {r!r}: 0 <= r < 1 is wanted")
    p = (np.arange(n) + 0.5) / n
    theta = psi + 2 * np.arctan((1 - r) / (1 + r) * np.tan(math.pi * (p - 0.5)))
    return theta if rng is None else as_generator(rng).permutation(theta)


class Chimera(NamedTuple):
    """A population in step beside one that is not, at rest in a rotating frame.

    Attributes
    ----------
    r : float
        Order parameter of the population that is not in step.
    psi : float
        Phase of the other less that of this one, radians.
    eigenvalues : ndarray of complex, shape (2,)
        Of the linearised equations for (r, psi).
    """

    r: float
    psi: float
    eigenvalues: np.ndarray

    @property
    def stable(self) -> bool:
        """Whether both eigenvalues have negative real parts."""
        return bool((self.eigenvalues.real < 0).all())


def chimera_states(disparity: float, beta: float) -> list[Chimera]:
    r"""The stationary chimeras of two populations of identical oscillators.

    Parameters
    ----------
    disparity : float
        A in (0, 1]: coupling (1 + A)/2 within a population, (1 - A)/2 across.
    beta : float
        pi/2 - alpha, radians, in (0, pi/2).

    Returns
    -------
    list of Chimera
        By ascending r; empty where there is none.

    Raises
    ------
    ValueError
        For arguments out of range.

    Notes
    -----
    With :math:`\mu, \nu = (1 \pm A)/2`,

    .. math:: r' &= \tfrac{1 - r^2}{2} [\mu r \cos\alpha + \nu \cos(\psi - \alpha)] \\
              \psi' &= \tfrac{1 + r^2}{2r} [\mu r \sin\alpha - \nu \sin(\psi - \alpha)]
                       - \mu \sin\alpha - \nu r \sin(\psi + \alpha).

    The first vanishes for :math:`\psi = \alpha \pm \arccos(-\mu r \cos\alpha/\nu)`; the roots of the second along these
    two curves are sought on a grid of 4000 values of r.

    References
    ----------
    D. M. Abrams, R. Mirollo, S. H. Strogatz, D. A. Wiley, "Solvable model for chimera states of coupled oscillators",
    Phys. Rev. Lett. 101 (2008).

    Examples
    --------
    >>> from primeattn.dynamics import theory
    >>> [(round(s.r, 5), round(s.psi, 5), s.stable) for s in theory.chimera_states(0.2, 0.1)]
    [(0.72915, -0.20941, True), (0.88342, -0.23268, False), (0.99602, -3.09188, False)]
    """
    from scipy.optimize import brentq

    if not 0 < disparity <= 1:
        raise ValueError(f"disparity is {disparity!r}: 0 < A <= 1 is wanted")
    if not 0 < beta < math.pi / 2:
        raise ValueError(f"beta is {beta!r}: 0 < beta < pi/2 is wanted")
    mu, nu, alpha = (1 + disparity) / 2, (1 - disparity) / 2, math.pi / 2 - beta
    reach = min(1.0, nu / (mu * math.cos(alpha)))
    grid = reach * np.linspace(1e-6, 1 - 1e-6, 4000)
    found = []
    for sign in (-1, 1):

        def psi(r, sign=sign):
            return alpha + sign * np.arccos(-mu * r * math.cos(alpha) / nu)

        def turning(r, psi=psi):
            p = psi(r)
            pull = mu * r * math.sin(alpha) - nu * np.sin(p - alpha)
            return (1 + r**2) / (2 * r) * pull - mu * math.sin(alpha) - nu * r * np.sin(p + alpha)

        values = turning(grid)
        for at in np.flatnonzero(values[:-1] * values[1:] < 0):
            r = brentq(turning, grid[at], grid[at + 1], xtol=1e-15, rtol=1e-14)
            found.append(_chimera(r, float(psi(r)), mu, nu, alpha))
    return sorted(found, key=lambda chimera: chimera.r)


def _chimera(r, psi, mu, nu, alpha) -> Chimera:
    """With its eigenvalues; the bracket of r' is 0 here."""
    sine, cosine = math.sin(psi - alpha), math.cos(psi - alpha)
    jacobian = [
        [(1 - r**2) / 2 * mu * math.cos(alpha), -(1 - r**2) / 2 * nu * sine],
        [
            mu * r * math.sin(alpha) + nu * sine * (1 - r**2) / (2 * r**2) - nu * math.sin(psi + alpha),
            -(1 + r**2) / (2 * r) * nu * cosine - nu * r * math.cos(psi + alpha),
        ],
    ]
    return Chimera(r, (psi + math.pi) % (2 * math.pi) - math.pi, np.linalg.eigvals(np.array(jacobian)))
