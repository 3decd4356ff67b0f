"""Closed forms, published numbers, and the self-consistent equations against plain sums; frequencies."""

import math
import time

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.optimize import fsolve

import primeattn as pa
from primeattn.dynamics import frequencies, theory
from tests.naive import kuramoto_theory as naive


def test_critical_couplings_in_closed_form():
    kc = theory.critical_coupling
    assert kc("lorentzian", 0.5, phase_lag=0.6, diffusion=0.2) == pytest.approx(2 * 0.7 / math.cos(0.6), rel=1e-15)
    assert kc("gaussian", 3.0) == pytest.approx(3 * math.sqrt(8 / math.pi), rel=1e-14)
    assert kc("uniform", 2.0) == pytest.approx(8 / math.pi, rel=1e-14)
    assert kc("uniform", 2.0, diffusion=0.3) == pytest.approx(4 / math.atan(2 / 0.3), rel=1e-13)
    assert kc("identical", diffusion=0.7, phase_lag=-0.4) == pytest.approx(1.4 / math.cos(0.4), rel=1e-15)
    assert kc("gaussian", phase_lag=0.8) == pytest.approx(kc("gaussian", phase_lag=-0.8), rel=1e-13)
    assert kc("gaussian", 1e-9, diffusion=1.0) == pytest.approx(2.0, rel=1e-8)


def test_published_order_parameters():
    r = theory.stationary_order_parameter
    assert r("lorentzian", 4.0) == pytest.approx(math.sqrt(0.5), rel=1e-15)
    np.testing.assert_allclose(r("gaussian", [2, 4]), [0.715174, 0.964247], atol=5e-7)  # six digits are published
    assert r("identical", 3.0, diffusion=1.0) == pytest.approx(0.724159, abs=5e-7)
    just_above = 4 / math.pi * (1 + 1e-9)  # the jump; from there r grows as (K - Kc)^(2/3)
    assert r("uniform", just_above) == pytest.approx(math.pi / 4, abs=1e-5)
    assert r("identical", 2.0) == 1
    assert theory.stationary_frequency("identical", 2.0, phase_lag=0.3) == pytest.approx(-2 * math.sin(0.3), rel=1e-15)


def test_uniform_frequencies_that_are_all_locked():
    """r = (sqrt(1 - x^2) + asin(x) / x) / 2, x = G / (K r)."""
    for k in (1.3, 2.0, 5.0):
        r = theory.stationary_order_parameter("uniform", 3 * k, 3.0)
        x = 1 / (k * r)
        assert (math.sqrt(1 - x**2) + math.asin(x) / x) / 2 == pytest.approx(r, abs=1e-13)


def test_identical_oscillators_with_strong_and_weak_noise():
    """r = I_1(K r / D) / I_0(K r / D)."""
    from scipy.special import i0e, i1e

    for diffusion in (1.0, 0.1, 1e-3, 1e-5, 1e-7):
        r = theory.stationary_order_parameter("identical", 3.0, diffusion=diffusion)
        x = 3 * r / diffusion
        assert r == pytest.approx(i1e(x) / i0e(x), abs=1e-11)


def test_couplings_of_any_size():
    """Strong coupling: r = 1, Omega = -K sin(alpha); in one list with weak coupling."""
    k = np.array([0.0, 1e-9, 1e6, 1e12])
    for distribution, diffusion in (("gaussian", 0.0), ("uniform", 0.0), ("identical", 1.0)):
        options = {"phase_lag": 0.5, "diffusion": diffusion}
        r = theory.stationary_order_parameter(distribution, k, **options)
        np.testing.assert_allclose(r, [0, 0, 1, 1], rtol=0, atol=2e-6)  # 1 - O(width / K)
        frequency = theory.stationary_frequency(distribution, k, **options)
        np.testing.assert_allclose(frequency[2:] / k[2:], -np.sin(0.5), rtol=0, atol=2e-6)


@pytest.mark.parametrize("lag", [0.0, 0.7, -1.2])
def test_the_continued_fraction_knows_the_lorentzian(lag):
    """A vanishing noise takes the general path; it moves r by its order."""
    for k in (3.5, 9.0):
        exact = theory.stationary_order_parameter("lorentzian", k, phase_lag=lag)
        noisy = theory.stationary_order_parameter("lorentzian", k, phase_lag=lag, diffusion=1e-7)
        assert noisy == pytest.approx(exact, abs=1e-5 if exact else 1e-3)
    exact, noisy = (theory.stationary_frequency("lorentzian", 9.0, phase_lag=lag, diffusion=d) for d in (0, 1e-7))
    assert noisy == pytest.approx(exact, abs=1e-5)


@pytest.mark.parametrize(
    ("distribution", "k", "lag", "diffusion", "reach", "count", "tolerance"),
    [  # tolerances: of a midpoint sum over a root at |x| = 1 (step^(3/2)) or over a smooth function
        ("uniform", 1.5, 1.0, 0.0, 1.0, 4000, 2e-5),
        ("uniform", 1.4, -0.3, 0.0, 1.0, 4000, 2e-5),
        ("uniform", 2.5, 0.4, 0.2, 1.0, 200, 2e-5),
        ("gaussian", 3.0, 1.0, 0.0, 9.0, 8000, 4e-5),
        ("gaussian", 3.0, -0.5, 0.1, 9.0, 300, 1e-9),
        ("gaussian", 2.4, 0.0, 0.3, 9.0, 300, 1e-9),
    ],
)
def test_states_are_consistent_on_the_real_axis(distribution, k, lag, diffusion, reach, count, tolerance):
    options = {"phase_lag": lag, "diffusion": diffusion}
    r = theory.stationary_order_parameter(distribution, k, **options)
    frequency = theory.stationary_frequency(distribution, k, **options)
    assert 0.05 < r < 1
    got = naive.field(distribution, k * r, frequency, diffusion, reach, count)
    assert abs(got - r * np.exp(1j * lag)) < tolerance
    assert abs(naive.field(distribution, k * r, frequency + 0.05, diffusion, reach, count) - got) > 1e-3  # alive


def test_curves():
    """Widths scale, shapes stay, no order below the threshold, order grows with K, and it is quick."""
    k = np.linspace(0, 6, 101)
    for distribution in ("lorentzian", "gaussian", "uniform", "identical"):
        for options in ({}, {"phase_lag": 1.0}, {"diffusion": 0.5}, {"diffusion": 0.5, "phase_lag": 0.5}):
            began = time.perf_counter()
            r = theory.stationary_order_parameter(distribution, k, **options)
            assert time.perf_counter() - began < 5  # 1 s is promised on an idle machine
            kc = theory.critical_coupling(distribution, **options)
            assert (r[k < kc - 0.01] == 0).all()
            assert (r[k > kc + 0.01] > 0.01).all()
            assert (np.diff(r) >= -1e-12).all()
            wide = theory.stationary_order_parameter(
                distribution, 7 * k[50:53], 7.0, **{n: v * (7 if n == "diffusion" else 1) for n, v in options.items()}
            )
            np.testing.assert_allclose(wide, r[50:53], rtol=0, atol=1e-11)
    frequency = theory.stationary_frequency("gaussian", k, phase_lag=0.5)
    np.testing.assert_array_equal(
        np.isnan(frequency), theory.stationary_order_parameter("gaussian", k, phase_lag=0.5) == 0
    )
    assert theory.stationary_order_parameter("gaussian", np.ones((2, 0))).shape == (2, 0)
    assert theory.stationary_order_parameter("gaussian", k.reshape(1, -1)).shape == (1, 101)


def test_relaxation_solves_its_equation():
    t = np.linspace(0, 5, 11)
    np.testing.assert_allclose(
        theory.relaxation([0.5, 1, 2, 4], 0.1, 4.0), [0.162110, 0.255966, 0.513332, 0.701366], atol=5e-7
    )
    for k, width, lag in ((4.0, 1.0, 0.3), (1.0, 1.0, 0.0), (2.0, 1.0, 0.0), (3.0, 0.2, -1.0)):
        found = theory.ott_antonsen(t, [0.3j], k, width=width, phase_lag=lag)[:, 0]
        np.testing.assert_allclose(abs(found), theory.relaxation(t, 0.3, k, width, phase_lag=lag), atol=1e-10)


def test_bimodal_threshold():
    """E. A. Martens et al. (2009): peaks at +-w0 > gamma lose incoherence at K = 4 gamma (Hopf)."""
    for k, grows in ((3.9, False), (4.1, True)):
        z = theory.ott_antonsen([0, 400], [1e-3, 1e-3], k, width=1.0, center=[-1.5, 1.5])[-1]
        assert (abs(z).max() > 1e-3) == grows


def fold(x):
    """Zero at a saddle-node of chimeras with beta = 0.1: r' = psi' = 0, and the determinant of the derivatives."""
    alpha = math.pi / 2 - 0.1

    def flow(r, psi, a):
        mu, nu = (1 + a) / 2, (1 - a) / 2
        return np.array([
            (1 - r**2) / 2 * (mu * r * math.cos(alpha) + nu * np.cos(psi - alpha)),
            (1 + r**2) / (2 * r) * (mu * r * math.sin(alpha) - nu * np.sin(psi - alpha))
            - mu * math.sin(alpha) - nu * r * np.sin(psi + alpha),
        ])  # fmt: skip

    columns = [flow(x[0] + 1e-30j, *x[1:]).imag, flow(x[0], x[1] + 1e-30j, x[2]).imag]
    return [*flow(*x), np.linalg.det(np.array(columns) / 1e-30)]


def test_chimeras_of_two_populations():
    """D. M. Abrams et al. (2008), beta = 0.1."""
    stable = [s for s in theory.chimera_states(0.2, 0.1) if s.stable]
    assert len(stable) == 1
    assert stable[0].r == pytest.approx(0.72915, abs=5e-6)
    assert stable[0].psi == pytest.approx(-0.20941, abs=5e-6)
    np.testing.assert_allclose(
        sorted(stable[0].eigenvalues, key=np.imag), [-0.0145 - 0.1022j, -0.0145 + 0.1022j], atol=1e-4
    )
    assert not any(s.stable for s in theory.chimera_states(0.1, 0.1))
    low, high = 0.25, 0.30
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (middle, high) if any(s.stable for s in theory.chimera_states(middle, 0.1)) else (low, middle)
    assert low == pytest.approx(0.27778, abs=1e-5)
    # where the stable and the unstable one are born: both equations vanish, and their determinant
    low, high = 0.1, 0.2
    while high - low > 1e-9:
        middle = (low + high) / 2
        met = sum(abs(s.psi) < 1 for s in theory.chimera_states(middle, 0.1)) < 2
        low, high = (middle, high) if met else (low, middle)
    assert low == pytest.approx(0.178, abs=5e-4)
    assert low == pytest.approx(fsolve(fold, [0.8, -0.2, 0.18], xtol=1e-12)[2], abs=1e-7)
    # they are fixed points of the general equations, and the eigenvalues their decay
    s, alpha = stable[0], math.pi / 2 - 0.1
    z = theory.ott_antonsen([0, 50], [1.0, s.r * np.exp(-1j * s.psi)], [[0.6, 0.4], [0.4, 0.6]], phase_lag=alpha)[-1]
    assert abs(z[1]) == pytest.approx(s.r, abs=1e-9)

    def flow(_, x):
        r, psi = x
        return [
            (1 - r**2) / 2 * (0.6 * r * math.cos(alpha) + 0.4 * math.cos(psi - alpha)),
            (1 + r**2) / (2 * r) * (0.6 * r * math.sin(alpha) - 0.4 * math.sin(psi - alpha))
            - 0.6 * math.sin(alpha) - 0.4 * r * math.sin(psi + alpha),
        ]  # fmt: skip

    h = 1e-6
    numeric = np.array([
        (np.array(flow(0, [s.r + h * a, s.psi + h * b])) - flow(0, [s.r - h * a, s.psi - h * b])) / (2 * h)
        for a, b in ((1, 0), (0, 1))
    ]).T  # fmt: skip
    np.testing.assert_allclose(
        sorted(np.linalg.eigvals(numeric), key=np.imag), sorted(s.eigenvalues, key=np.imag), atol=1e-9
    )
    assert solve_ivp(flow, (0, 10), [s.r, s.psi], rtol=1e-10, atol=1e-12).y[0, -1] == pytest.approx(s.r, abs=1e-9)


def test_twisted_states_are_stable_up_to_a_third():
    n = 2000
    stable = [r for r in range(1, 800) if theory.twisted_state_rate(n, r) < 0]
    assert stable == list(range(1, 681))  # R / N = 0.3405
    assert theory.twisted_state_rate(100, 5, winding=0) < 0


def test_poisson_phases():
    theta = theory.poisson_phases(4000, 0.7, 0.4)
    for m in (1, 2, 3):  # z_m = z^m on the manifold
        assert abs(pa.circle.order_parameter(theta, m) - (0.7 * np.exp(0.4j)) ** m) < 1e-9
    np.testing.assert_array_equal(np.sort(theory.poisson_phases(4000, 0.7, 0.4, rng=1)), theta)


@pytest.mark.parametrize(
    ("make", "quartiles"),
    [
        (frequencies.lorentzian, (-1, 0, 1)),
        (frequencies.gaussian, (-0.674490, 0, 0.674490)),
        (frequencies.uniform, (-0.5, 0, 0.5)),
        (frequencies.bimodal, (-1, 0, 1)),  # medians of the peaks; between them by symmetry
    ],
)
def test_frequencies_have_their_quartiles(make, quartiles):
    n = 4000
    for omega, tolerance in (
        (make(n, 2.0, **({"separation": 4.0} if make is frequencies.bimodal else {}), center=5.0), 0.003),  # 1/n in F
        (make(n, 2.0, **({"separation": 4.0} if make is frequencies.bimodal else {}), center=5.0, rng=3), 0.2),
    ):
        assert omega.shape == (n,)
        assert omega.dtype == np.float64
        got = np.quantile(omega, (0.25, 0.5, 0.75))
        if make is frequencies.bimodal:
            halves = np.median(omega[: n // 2]), np.median(omega[n // 2 :])
            np.testing.assert_allclose(halves, (3.0, 7.0), atol=tolerance)
        else:  # 3 standard errors of a drawn quartile: 3 width / (sqrt(n) g), below 0.2
            np.testing.assert_allclose((got - 5) / 2, quartiles, atol=tolerance)
    np.testing.assert_array_equal(make(5, rng=7), make(5, rng=np.random.default_rng(7)))
    assert make(1).shape == (1,)


def test_lorentzian_between_limits():
    omega = frequencies.lorentzian(10_000, 0.5, limit=10.0, center=1.0)
    assert np.abs(omega - 1).max() < 10
    share = 2 / math.pi * math.atan(20)  # of the whole distribution, within the limits
    assert np.mean(np.abs(omega - 1) < 0.5) == pytest.approx(0.5 / share, abs=2e-4)
    assert np.abs(frequencies.bimodal(1001, 0.5, 4.0, limit=3.0)).max() < 5


def test_by_degree_counts_what_a_node_hears():
    import networkx

    star = networkx.DiGraph([("a", "c"), ("b", "c")])
    star["b"]["c"]["weight"] = -2.0
    np.testing.assert_array_equal(frequencies.by_degree(star, 0.5), [0, 1.5, 0])  # a, c, b


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: theory.critical_coupling("cauchy"), "'lorentzian', 'gaussian'"),
        (lambda: theory.critical_coupling("gaussian", 0.0), "width is 0.0"),
        (lambda: theory.critical_coupling("gaussian", phase_lag=1.6), "phase_lag is 1.6"),
        (lambda: theory.critical_coupling("gaussian", diffusion=-1.0), "diffusion is -1.0"),
        (lambda: theory.stationary_order_parameter("gaussian", -1.0), "K >= 0"),
        (lambda: theory.stationary_order_parameter("gaussian", math.nan), "K >= 0"),
        (lambda: theory.relaxation(1.0, 1.5, 4.0), "r0 is 1.5"),
        (lambda: theory.ott_antonsen([0, 1], [2.0], 1.0), "z0 is"),
        (lambda: theory.ott_antonsen([1, 0], [0.5], 1.0), "ascending"),
        (lambda: theory.ott_antonsen([0, 1], [0.5], np.ones((2, 2))), r"\(1, 1\)"),
        (lambda: theory.poisson_phases(10, 1.0), "r is 1.0"),
        (lambda: theory.twisted_state_rate(10, 5), "1 to 4"),
        (lambda: theory.chimera_states(0.0, 0.1), "disparity is 0.0"),
        (lambda: theory.chimera_states(0.2, 2.0), "beta is 2.0"),
        (lambda: frequencies.gaussian(0), "n is 0"),
        (lambda: frequencies.gaussian(2.5), "n is 2.5"),
        (lambda: frequencies.lorentzian(5, width=-1.0), "width is -1.0"),
        (lambda: frequencies.lorentzian(5, limit=0.0), "limit is 0.0"),
        (lambda: frequencies.uniform(5, center=math.inf), "center is inf"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()
