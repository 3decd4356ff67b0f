"""Oscillators: the Jacobian, the Ott-Antonsen reduction, the chimera of two populations, attention near synchrony."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import sympy

from .._counts import check_count
from ._derivation import Derivation, Notebook

_PLACES = 30  # digits of what is solved numerically


class OscillatorJacobian(NamedTuple):
    """The Kuramoto model of a few oscillators as formulas.

    Attributes
    ----------
    theta, omega : tuple of Symbol
    coupling, phase_lag : Symbol
    rates : Matrix, shape (n, 1)
        theta'.
    jacobian : Matrix, shape (n, n)
        What SymPy derives of them.
    derivation : Derivation
        The same beside the formulas by hand, and the state in step.
    """

    theta: tuple[Any, ...]
    omega: tuple[Any, ...]
    coupling: Any
    phase_lag: Any
    rates: Any
    jacobian: Any
    derivation: Derivation

    def numeric(self) -> Callable[..., Any]:
        """A NumPy function (theta, coupling, phase_lag) -> ndarray (n, n)."""
        return sympy.lambdify([self.theta, self.coupling, self.phase_lag], self.jacobian, "numpy")


def kuramoto_jacobian(oscillators: int = 3) -> OscillatorJacobian:
    r"""Jacobian of the Kuramoto model, all to all, with a phase lag.

    Parameters
    ----------
    oscillators : int
        2 or more; SymPy takes seconds from 8 on.

    Returns
    -------
    OscillatorJacobian

    Raises
    ------
    ValueError
        For fewer than 2.

    Notes
    -----
    .. math:: J_{ij} = \tfrac KN \cos(\theta_j - \theta_i - \alpha) \;(i \ne j), \qquad
              J_{ii} = -\sum_{j \ne i} J_{ij}

    Examples
    --------
    >>> from primeattn.study import symbolic
    >>> model = symbolic.kuramoto_jacobian(2)
    >>> model.jacobian[0, 1], model.derivation.holds
    (K*cos(alpha + theta_1 - theta_2)/2, True)
    """
    n = check_count("oscillators", oscillators, 2)
    theta = sympy.symbols(f"theta_1:{n + 1}", real=True)
    omega = sympy.symbols(f"omega_1:{n + 1}", real=True)
    k, lag = sympy.symbols("K alpha", real=True)
    pulls = [[sympy.sin(b - a - lag) for b in theta] for a in theta]
    rates = sympy.Matrix([w + k / n * sum(row) for w, row in zip(omega, pulls, strict=True)])
    jacobian = rates.jacobian(theta)
    by_hand = sympy.Matrix(n, n, lambda i, j: k / n * sympy.cos(theta[j] - theta[i] - lag))
    for i in range(n):
        by_hand[i, i] = -sum(by_hand[i, j] for j in range(n) if j != i)
    book = Notebook(f"Kuramoto model of {n} oscillators: Jacobian")
    book.define("the rate of the first oscillator", r"\theta_1'", rates[0])
    book.derive("entry of row i and column j", "J", jacobian, by_hand)
    book.derive("a turn of all phases changes no rate: rows sum to 0", r"\sum_j J_{ij}", jacobian * sympy.ones(n, 1),
                sympy.zeros(n, 1))  # fmt: skip
    together = jacobian.subs(dict.fromkeys(theta, 0))
    rate = -k * sympy.cos(lag)
    book.derive("in step", "J", together, rate / n * (n * sympy.eye(n) - sympy.ones(n, n)))
    difference = sympy.Matrix([1, -1] + [0] * (n - 2))
    says = "every difference of phases decays at one rate: in step is stable where K cos(alpha) > 0"
    book.derive(says, "J u", together * difference, rate * difference, rate * sympy.Symbol("u"))
    return OscillatorJacobian(theta, omega, k, lag, rates, jacobian, book.done())


def ott_antonsen() -> Derivation:
    r"""The Ott-Antonsen reduction: from the density of infinitely many oscillators to the equation of r, step by step.

    Returns
    -------
    Derivation

    Notes
    -----
    The density of the oscillators of frequency omega is a Fourier series with coefficients a^n; SymPy checks that the
    equation of continuity is then the same for every n, and that the order parameter of Lorentzian frequencies obeys
    :math:`r' = -\gamma r + \tfrac K2 \cos\alpha\, r (1 - r^2)`.

    References
    ----------
    E. Ott and T. M. Antonsen, Chaos 18, 037113 (2008).

    Examples
    --------
    >>> from primeattn.study import symbolic
    >>> symbolic.ott_antonsen().holds
    True
    """
    book = Notebook("Ott-Antonsen reduction")
    omega, field, bar, a = sympy.symbols("omega H Hbar a")
    n = sympy.Symbol("n", integer=True, positive=True)
    i = sympy.I
    book.define("the density of frequency omega has the Fourier coefficients", "c_n", "a^n")
    book.define("an oscillator moves as", r"\theta'", r"\omega + (H e^{-i\theta} - \bar H e^{i\theta}) / 2i")
    rate = i * omega * a + (field - bar * a**2) / 2
    book.define("every harmonic asks for one equation", "a'", r"i\omega a + (H - \bar H a^2)/2")
    flux = omega * a**n + (field * a ** (n - 1) - bar * a ** (n + 1)) / (2 * i)
    book.derive("continuity of harmonic n: c_n' = i n (flux)_n", r"n a^{n-1} a'", i * n * flux, n * a ** (n - 1) * rate)
    gamma, k, r = sympy.symbols("gamma K r", positive=True)
    lag, psi, centre, t = sympy.symbols("alpha psi Omega t", real=True)
    z = r * sympy.exp(i * psi)
    book.define("Lorentzian frequencies: the residue puts z = a at the frequency", r"\omega", centre + i * gamma)
    own = k * sympy.exp(-i * lag) * z
    moved = rate.subs({a: z, omega: centre + i * gamma, field: own, bar: sympy.conjugate(own)}) / sympy.exp(i * psi)
    moved = sympy.expand(sympy.expand(moved), complex=True)
    falls = -gamma * r + k * sympy.cos(lag) / 2 * r * (1 - r**2)
    book.derive("its modulus", "r'", sympy.re(moved), falls)
    turns = centre - k * sympy.sin(lag) / 2 * (1 + r**2)
    book.derive("its argument", r"\psi'", sympy.im(moved) / r, turns)
    pull = k * sympy.cos(lag)
    book.derive("at r = 0 it grows at the rate, so K cos(alpha) = 2 gamma is critical", r"\partial r'/\partial r",
                sympy.diff(falls, r).subs(r, 0), pull / 2 - gamma)  # fmt: skip
    rest = sympy.sqrt(1 - 2 * gamma / pull)
    book.derive("rest", "r'", falls.subs(r, rest), sympy.S.Zero, r"0 \text{ at } r^2 = 1 - 2\gamma/(K\cos\alpha)")
    book.derive("which is approached at the rate", r"\partial r'/\partial r", sympy.diff(falls, r).subs(r, rest),
                2 * gamma - pull)  # fmt: skip
    start, mu = sympy.Symbol("r_0", positive=True), sympy.Symbol("mu", nonzero=True)
    grows = sympy.exp(-2 * mu * t)
    square = start**2 / (grows + (mu + gamma) * start**2 * (1 - grows) / mu)
    says = "all of its way, with mu = K cos(alpha) / 2 - gamma"
    speed = 2 * mu * square - 2 * (mu + gamma) * square**2
    book.derive(says, "(r^2)'", sympy.diff(square, t), speed, r"2\mu r^2 - 2(\mu + \gamma) r^4")
    return book.done()


class TwoPopulations(NamedTuple):
    r"""Two populations on the Ott-Antonsen manifold, the first in step: equations of the second.

    Attributes
    ----------
    r, psi : Symbol
        Order parameter of the second population, and the phase by which the first is ahead of it.
    A, beta : Symbol
        Coupling within less coupling between, mu - nu; pi / 2 less the lag.
    rates : Matrix, shape (2, 1)
        (r', psi').
    jacobian : Matrix, shape (2, 2)
    derivation : Derivation
    """

    r: Any
    psi: Any
    A: Any
    beta: Any
    rates: Any
    jacobian: Any
    derivation: Derivation

    def numeric(self) -> Callable[..., Any]:
        """A NumPy function (r, psi, A, beta) -> (r', psi'), for phase portraits."""
        plain = sympy.lambdify([self.r, self.psi, self.A, self.beta], list(self.rates), "numpy")
        return lambda r, psi, A, beta: np.stack(np.broadcast_arrays(*plain(r, psi, A, beta)))

    def chimera(self, A: float, beta: float, start: tuple[float, float]) -> tuple[Any, Any, list[Any]]:
        """The state of rest near a start, to 30 digits: r, psi and the eigenvalues there.

        Parameters
        ----------
        A, beta : float
        start : (float, float)
            r and psi; `dynamics.theory.chimera_states` finds all of them.

        Returns
        -------
        r, psi : mpmath float
        eigenvalues : list of SymPy number
        """
        # 0.2 is meant as 2/10, not as the double beside it
        given = {self.A: sympy.Rational(str(A)), self.beta: sympy.Rational(str(beta))}
        found = sympy.nsolve(self.rates.subs(given), (self.r, self.psi), start, prec=_PLACES)
        there = self.jacobian.subs(given).subs({self.r: found[0], self.psi: found[1]}).evalf(_PLACES)
        half, determinant = there.trace() / 2, there.det()
        root = sympy.sqrt(half**2 - determinant)
        return found[0], found[1], [sympy.N(half + root, _PLACES), sympy.N(half - root, _PLACES)]

    def hopf(self, beta: float, start: tuple[float, float, float]) -> tuple[Any, Any, Any]:
        """Where a state of rest begins to breathe: rates and the trace of the Jacobian are 0.

        Parameters
        ----------
        beta : float
        start : (float, float, float)
            r, psi and A.

        Returns
        -------
        r, psi, A : mpmath float
        """
        system = [*self.rates, self.jacobian.trace()]
        fixed = [equation.subs(self.beta, sympy.Rational(str(beta))) for equation in system]
        found = sympy.nsolve(fixed, (self.r, self.psi, self.A), start, prec=_PLACES)
        return found[0], found[1], found[2]


def two_populations() -> TwoPopulations:
    r"""Two populations of identical oscillators, one in step: what the other does, and the stability of its chimera.

    Returns
    -------
    TwoPopulations

    Notes
    -----
    .. math:: r' = \tfrac{1 - r^2}2 \big(\mu r \cos\alpha + \nu \cos(\psi - \alpha)\big), \qquad
              \psi' = \tfrac{1 + r^2}{2r} \big(\mu r \sin\alpha - \nu \sin(\psi - \alpha)\big) - \mu\sin\alpha
              - \nu r \sin(\psi + \alpha)

    with :math:`\mu, \nu = (1 \pm A)/2` and :math:`\alpha = \pi/2 - \beta`.

    References
    ----------
    D. M. Abrams, R. Mirollo, S. H. Strogatz and D. A. Wiley, Phys. Rev. Lett. 101, 084103 (2008).

    Examples
    --------
    >>> from primeattn.study import symbolic
    >>> pair = symbolic.two_populations()
    >>> r, psi, eigenvalues = pair.chimera(0.2, 0.1, (0.73, -0.2))
    >>> r.round(5), psi.round(5), [complex(x).real.__round__(4) for x in eigenvalues]
    (0.72915, -0.20941, [-0.0145, -0.0145])
    """
    r = sympy.Symbol("r", positive=True)
    psi, A, beta, first, second = sympy.symbols("psi A beta phi_1 phi_2", real=True)
    lag = sympy.Symbol("alpha", real=True)
    mu, nu = sympy.symbols("mu nu", positive=True)
    i = sympy.I
    book = Notebook("two populations, one in step")
    z = [sympy.exp(i * first), r * sympy.exp(i * second)]
    book.define("the populations", "z_1, z_2", r"e^{i\phi_1},\ r e^{i\phi_2}")
    fields = [(mu * z[a] + nu * z[1 - a]) * sympy.exp(-i * lag) for a in (0, 1)]
    moved = [
        sympy.expand((h - sympy.conjugate(h) * z[a] ** 2) / 2 * sympy.exp(-i * turn), complex=True)
        for a, (h, turn) in enumerate(zip(fields, (first, second), strict=True))
    ]
    book.define("the Ott-Antonsen equation, without frequencies", "z_a'", r"(H_a - \bar H_a z_a^2)/2")
    ahead = {first: psi, second: 0}
    book.derive("in step stays in step", "r_1'", sympy.re(moved[0]).subs(ahead), sympy.S.Zero)
    inner = mu * r * sympy.cos(lag) + nu * sympy.cos(psi - lag)
    falls = (1 - r**2) / 2 * inner
    book.derive("the second population", "r'", sympy.re(moved[1]).subs(ahead), falls)
    turns = (
        (1 + r**2) / (2 * r) * (mu * r * sympy.sin(lag) - nu * sympy.sin(psi - lag))
        - mu * sympy.sin(lag)
        - nu * r * sympy.sin(psi + lag)
    )
    difference = (sympy.im(moved[0]) - sympy.im(moved[1]) / r).subs(ahead)
    book.derive("the first is ahead by psi = phi_1 - phi_2", r"\psi'", difference, turns)
    rates = sympy.Matrix([falls, turns])
    jacobian = rates.jacobian([r, psi])
    sine, cosine = sympy.sin(psi - lag), sympy.cos(psi - lag)
    by_hand = sympy.Matrix(
        [
            [(1 - r**2) / 2 * mu * sympy.cos(lag) - r * inner, -(1 - r**2) / 2 * nu * sine],
            [
                mu * r * sympy.sin(lag) + nu * sine * (1 - r**2) / (2 * r**2) - nu * sympy.sin(psi + lag),
                -(1 + r**2) / (2 * r) * nu * cosine - nu * r * sympy.cos(psi + lag),
            ],
        ]
    )
    book.derive("the Jacobian", "J", jacobian, by_hand)
    given = {mu: (1 + A) / 2, nu: (1 - A) / 2, lag: sympy.pi / 2 - beta}
    return TwoPopulations(r, psi, A, beta, rates.subs(given), by_hand.subs(given), book.done())


def attention_synchrony(tokens: int = 3) -> Derivation:
    r"""Attention as coupling, near the state in which all tokens have one phase.

    Parameters
    ----------
    tokens : int

    Returns
    -------
    Derivation

    Notes
    -----
    :math:`\theta_t' = \sum_u A_{tu}(\theta) \sin(\theta_u - \theta_t)` has the Jacobian :math:`A - 1` in step, whatever
    the weights depend on: what changes in A is multiplied by sin 0. Rows of A sum to 1, so its eigenvalues are those of
    A less 1, none of them to the right of 0.

    Examples
    --------
    >>> from primeattn.study import symbolic
    >>> symbolic.attention_synchrony(2).holds
    True
    """
    n = check_count("tokens", tokens, 2)
    theta = sympy.symbols(f"theta_1:{n + 1}", real=True)
    book = Notebook(f"attention of {n} tokens near synchrony")
    weights = [[sympy.Function(f"A_{t + 1}{u + 1}")(*theta) for u in range(n)] for t in range(n)]
    rates = [sum(weights[t][u] * sympy.sin(theta[u] - theta[t]) for u in range(n)) for t in range(n)]
    book.define("the pull of what a token attends", r"\theta_1'", rates[0])
    same = sympy.Symbol("theta", real=True)
    together = dict.fromkeys(theta, same)
    derived = sympy.Matrix(n, n, lambda t, u: sympy.diff(rates[t], theta[u]).doit().subs(together).doit())
    plain = sympy.Matrix(n, n, lambda t, u: sympy.Symbol(f"A_{t + 1}{u + 1}"))
    named = {sympy.Function(f"A_{t + 1}{u + 1}")(*[same] * n): plain[t, u] for t in range(n) for u in range(n)}
    in_step = plain - sympy.diag(*[sum(plain.row(t)) for t in range(n)])
    book.derive("in step", "J", derived.subs(named), in_step)
    normal = {plain[t, t]: 1 - sum(plain[t, u] for u in range(n) if u != t) for t in range(n)}
    book.derive("with rows that sum to 1", "J", in_step.subs(normal), (plain - sympy.eye(n)).subs(normal))
    beta, n_keys = sympy.Symbol("beta", positive=True), sympy.Symbol("T", positive=True)
    book.define("weights of equal phases are equal", "A_{tu}", sympy.exp(beta) / (n_keys * sympy.exp(beta)))
    even = sympy.ones(n, n) / n - sympy.eye(n)
    shift = sympy.Matrix([1, -1] + [0] * (n - 2))
    book.derive("so all differences decay at rate 1", "J u", even * shift, -shift, -sympy.Symbol("u"))
    causal = sympy.Matrix(n, n, lambda t, u: sympy.Rational(1, t + 1) if u <= t else 0) - sympy.eye(n)
    slow = [sympy.Rational(1, t + 1) - 1 for t in range(n)]
    says = "causal: the eigenvalues stand on the diagonal, 1/t - 1; the second token is the slowest"
    book.derive(says, r"\lambda_t", [causal[t, t] for t in range(n)], slow)
    return book.done()
