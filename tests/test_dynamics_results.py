"""Results that a correct simulator reproduces: theory, published numbers, orders of convergence, constants of motion.

Frequencies are quantiles, and start phases are paired with them by a golden-ratio sequence, so that N oscillators stand
for infinitely many much better than to 1 / sqrt(N): each tolerance says what it is.
"""

import math

import numpy as np
import pytest
from scipy import sparse
from scipy.integrate import solve_ivp

import primeattn as pa
from primeattn._runtime.random import normals
from primeattn.dynamics import _drive, analysis, frequencies, theory
from primeattn.dynamics._methods import method as scheme
from tests.naive import sde

N = 10_000
GOLDEN = (math.sqrt(5) - 1) / 2


def spread(theta):
    """The same phases, in an order that has nothing to do with an ascending omega."""
    return np.sort(theta)[np.argsort(np.argsort(np.arange(len(theta)) * GOLDEN % 1))]


def uniform_phases(n):
    return spread(2 * np.pi * (np.arange(n) + 0.5) / n)


def settled(model, *, r0=0.5, until=60.0, dt=0.05, **options):
    """R and frequency of the mean field over the last third."""
    trajectory = pa.simulate(
        model, (0, until), spread(theory.poisson_phases(model.size, r0)), dt=dt, observables=("R", "psi"), **options
    )
    late = trajectory.t > until * 2 / 3
    frequency = np.polyfit(trajectory.t[late], np.unwrap(trajectory.observables["psi"][late]), 1)[0]
    return trajectory.R[late].mean(), frequency


# 1 to 3: the infinite system


def test_lorentzian_relaxes_as_ott_and_antonsen_say():
    model = pa.Kuramoto(frequencies.lorentzian(N), 4.0)
    t = np.array([0.5, 1.0, 2.0, 4.0, 8.0])
    got = pa.simulate(model, (0, 8), spread(theory.poisson_phases(N, 0.1)), dt=0.05, t_eval=t).R
    np.testing.assert_allclose(got[:4], [0.162110, 0.255966, 0.513332, 0.701366], rtol=0, atol=3e-3)
    # the first deviation, 4 / N, grows with r, by e^((K - 2 gamma) t / 2) = 7 until t = 2
    np.testing.assert_allclose(got, theory.relaxation(t, 0.1, 4.0), rtol=0, atol=3e-3)


@pytest.mark.parametrize(
    ("distribution", "k", "lag", "tolerance"),
    [  # 10 / N; the fastest Lorentzian oscillators turn by hundreds of radians a step, which costs as much again
        ("lorentzian", 4.0, 0.0, 2e-3),
        ("lorentzian", 5.0, 0.8, 2e-3),
        ("gaussian", 2.0, 0.0, 1e-3),
        ("gaussian", 4.0, 0.0, 1e-3),
        ("gaussian", 3.0, -1.0, 1e-3),
        ("uniform", 1.5, 0.0, 1e-3),
        ("uniform", 1.5, 0.3, 1e-3),
        ("uniform", 1.5, 1.0, 1e-3),
    ],
)
def test_stationary_states(distribution, k, lag, tolerance):
    model = pa.Kuramoto(getattr(frequencies, distribution)(N), k, phase_lag=lag)
    r, frequency = settled(model)
    assert r == pytest.approx(theory.stationary_order_parameter(distribution, k, phase_lag=lag), abs=tolerance)
    assert frequency == pytest.approx(theory.stationary_frequency(distribution, k, phase_lag=lag), abs=tolerance)


@pytest.mark.parametrize(("k", "lag"), [(8.0, 0.3), (10.0, -0.8), (12.0, 1.0)])
def test_sakaguchi_where_most_are_locked(k, lag):
    """r = sqrt(1 - 2 gamma / (K cos alpha)), to three standard errors of a mean over 30 units of time."""
    n, expected = 80_000, math.sqrt(1 - 2 / (k * math.cos(lag)))
    model = pa.Kuramoto(frequencies.lorentzian(n), k, phase_lag=lag)
    R = pa.simulate(model, (0, 40), spread(theory.poisson_phases(n, expected)), dt=0.025).R[50:]
    assert R.mean() == pytest.approx(expected, abs=5e-5)
    assert R.std() < 1e-3  # finite N; the mean is that of some hundred independent values


@pytest.mark.parametrize("distribution", ["lorentzian", "gaussian", "uniform"])
def test_no_order_below_the_threshold(distribution):
    omega = getattr(frequencies, distribution)(N)
    kc = theory.critical_coupling(distribution)
    assert settled(pa.Kuramoto(omega, 0.8 * kc))[0] < 3 / math.sqrt(N)
    assert settled(pa.Kuramoto(omega, 1.25 * kc))[0] > 0.4


@pytest.mark.parametrize(
    ("distribution", "k", "lag", "diffusion"), [("identical", 3.0, 0.0, 1.0), ("gaussian", 3.0, 0.5, 0.3)]
)
def test_noise(distribution, k, lag, diffusion):
    """Of N oscillators: 3 / sqrt(N), a third of it for the mean over time. No shift of the frequency."""
    omega = np.zeros(N) if distribution == "identical" else frequencies.gaussian(N)
    model = pa.Kuramoto(omega, k, phase_lag=lag, diffusion=diffusion)
    r, frequency = settled(model, r0=0.7, until=30.0, dt=0.1, rng=5)
    options = {"phase_lag": lag, "diffusion": diffusion}
    assert r == pytest.approx(theory.stationary_order_parameter(distribution, k, **options), abs=3 / math.sqrt(N) / 3)
    assert frequency == pytest.approx(theory.stationary_frequency(distribution, k, **options), abs=3 / math.sqrt(N) / 3)


def test_noisy_threshold():
    """Identical oscillators: K_c = 2 D."""
    for k, ordered in ((1.6, False), (2.5, True)):
        r, _ = settled(pa.Kuramoto(np.zeros(N), k, diffusion=1.0), r0=0.3, until=30.0, dt=0.1, rng=1)
        assert (r > 0.1) == ordered
        assert ordered or r < 6 / math.sqrt(N)  # fluctuations grow near the threshold, by (1 - K / Kc)^(-1/2) = 2.2


# 4: two oscillators


def test_two_oscillators():
    beat = 2 * math.pi / math.sqrt(3)
    assert beat == pytest.approx(3.6275987284684357, rel=1e-15)
    model = pa.Kuramoto([0.0, 2.0], 1.0)
    trajectory = pa.simulate(
        model, (0, 10 * beat), [0.0, 0.0], method="dop853", rtol=1e-10, atol=1e-12, save_theta=True, samples=11
    )
    phi = trajectory.theta[:, 1] - trajectory.theta[:, 0]
    np.testing.assert_allclose(phi, 2 * np.pi * np.arange(11), rtol=0, atol=2e-8)  # 1e-9 a beat
    for k, locked in ((1.9, False), (2.1, True)):
        end = pa.simulate(model.replace(coupling=k), (0, 200), [0.0, 0.0], dt=0.05, samples=2).theta_end
        assert (abs(end[1] - end[0]) < np.pi) == locked
    assert end[1] - end[0] == pytest.approx(math.asin(2 / 2.1), abs=1e-9)


# 5: constants of motion


def test_watanabe_and_strogatz():
    """As well as SciPy's integrator of the same name and tolerance keeps them, but for a factor of 3."""
    theta0 = np.random.default_rng(3).uniform(-np.pi, np.pi, 50)
    model = pa.Kuramoto(np.full(50, 0.3), 1.0, phase_lag=1.5)
    before = analysis.cross_ratios(theta0)

    def derivative(t, theta):
        z = np.exp(1j * theta)
        return 0.3 + (z.mean() * np.exp(-1.5j) * z.conj()).imag

    def drift(theta):
        return np.abs(analysis.cross_ratios(theta) / before - 1).max()

    for tolerance, bound in ((1e-6, 1e-5), (1e-9, 1e-8), (1e-12, 1e-11)):
        options = {"rtol": tolerance, "atol": tolerance}
        ours = pa.simulate(model, (0, 20), theta0, method="dop853", samples=2, **options).theta_end
        theirs = solve_ivp(derivative, (0, 20), theta0, method="DOP853", **options).y[:, -1]
        assert drift(ours) < min(bound, 3 * drift(theirs))
    other = pa.simulate(model.replace(harmonics={2: 0.01}), (0, 20), theta0, samples=2).theta_end
    assert drift(other) > 1e-3  # alive: a second harmonic breaks them


def test_constants_of_motion_of_phases_that_are_close():
    """Neighbours of 50 sorted phases, 2e-3 apart: rounding of phases counts, one of a step and not one of a slope.

    Tolerances 1e-6, 1e-9, 1e-12: SciPy's DOP853 drifts by 4.9e-7, 1.2e-10, 1.6e-12 in the geometric mean.
    """
    logs = []
    for seed in range(8):
        theta0 = np.sort(np.random.default_rng(seed).uniform(0, 2 * np.pi, 50))
        model = pa.Kuramoto(np.full(50, 0.7), 1.0, phase_lag=1.5)
        before = analysis.cross_ratios(theta0)
        for tolerance in (1e-6, 1e-9, 1e-12):
            options = {"rtol": tolerance, "atol": tolerance, "method": "dop853", "samples": 2}
            after = analysis.cross_ratios(pa.simulate(model, (0, 20), theta0, **options).theta_end)
            logs.append(np.log(np.abs(after / before - 1).max()))
    drifts = np.exp(np.mean(np.reshape(logs, (8, 3)), axis=0))
    assert (drifts < [1e-6, 3e-10, 5e-12]).all()  # 7e-12 with a rounding for each slope


def test_the_mean_frequency_is_kept():
    """Odd coupling, symmetric: sum theta' = sum omega, whatever happens."""
    rng = np.random.default_rng(4)
    w = rng.standard_normal((30, 30))
    model = pa.Kuramoto(rng.standard_normal(30), 2.0, w + w.T, harmonics={2: 0.5})
    theta0 = rng.uniform(-3, 3, 30)
    end = pa.simulate(model, (0, 50), theta0, samples=2).theta_end
    assert end.mean() - theta0.mean() == pytest.approx(50 * model.omega.mean(), abs=1e-11)  # sums of 1000 steps


def test_energy_without_friction():
    """E = sum (m theta'^2 / 2 - omega theta) - (K / 2 N) sum cos(theta_i - theta_j); momentum grows by sum omega."""
    rng = np.random.default_rng(6)
    n, k, m = 20, 1.5, 0.7
    omega = rng.standard_normal(n)
    model = pa.Kuramoto(omega, k, inertia=m, friction=0.0)
    theta0, velocity0 = rng.uniform(-3, 3, n), rng.standard_normal(n)
    drift = []
    for rtol in (1e-6, 1e-10):
        trajectory = pa.simulate(
            model, (0, 20), theta0, velocity0=velocity0, method="dop853", rtol=rtol, atol=rtol, save_theta=True,
            observables=("R",), samples=50,
        )  # fmt: skip
        theta, v = trajectory.theta, trajectory.velocity
        energy = (m * v**2 / 2 - omega * theta).sum(1) - k * n / 2 * trajectory.R**2
        drift.append(np.abs(energy - energy[0]).max() / (m * v**2 / 2).sum(1).max())
        np.testing.assert_allclose(m * v.sum(1), m * v[0].sum() + trajectory.t * omega.sum(), rtol=0, atol=1e3 * rtol)
    assert drift[0] < 1e-5  # ten times the tolerance, of the kinetic energy
    assert drift[1] < 1e-9


# 6: chimeras


def chimera(disparity, r0, psi0, until, n=200):
    """R of the incoherent population and psi, at 1 / 4 a unit of time."""
    mu, nu = (1 + disparity) / 2, (1 - disparity) / 2
    model = pa.Kuramoto(np.zeros(2 * n), [[mu, nu], [nu, mu]], phase_lag=math.pi / 2 - 0.1, groups=np.repeat([0, 1], n))
    # identical oscillators on the manifold stay on it, to about r^n
    theta0 = np.concatenate([np.full(n, psi0), theory.poisson_phases(n, r0)])
    trajectory = pa.simulate(model, (0, until), theta0, dt=0.05, samples=4 * until + 1, save_theta=True)
    first, second = (pa.circle.order_parameter(trajectory.theta[:, a : a + n]) for a in (0, n))
    assert np.abs(first).min() > 1 - 1e-9
    return trajectory.t, np.abs(second), np.angle(first / second)


def test_chimera_at_rest():
    state = next(s for s in theory.chimera_states(0.2, 0.1) if s.stable)
    _, r, psi = chimera(0.2, state.r, state.psi, 50)
    np.testing.assert_allclose(r, 0.72915, rtol=0, atol=1e-5)
    np.testing.assert_allclose(psi, -0.20941, rtol=0, atol=1e-5)


def test_chimeras_move_as_two_equations_say():
    for disparity in (0.2, 0.3):
        t, r, psi = chimera(disparity, 0.7, -0.2, 60)
        mu, nu = (1 + disparity) / 2, (1 - disparity) / 2
        z = theory.ott_antonsen(t, [np.exp(-0.2j), 0.7], [[mu, nu], [nu, mu]], phase_lag=math.pi / 2 - 0.1)
        np.testing.assert_allclose(r, abs(z[:, 1]), rtol=0, atol=1e-6)  # steps of 0.05 of Runge and Kutta
        np.testing.assert_allclose(psi, np.angle(z[:, 0] / z[:, 1]), rtol=0, atol=1e-6)


def test_chimeras_settle_breathe_or_die():
    ranges = {}
    for disparity in (0.1, 0.2, 0.32):
        _, r, _ = chimera(disparity, 0.72, -0.21, 600, n=64)
        ranges[disparity] = np.ptp(r[-400:]), r[-400:].mean()
    assert ranges[0.1][1] > 0.999  # both in step
    assert ranges[0.2][0] < 0.01  # e^{-0.0145 * 500} of 0.01
    assert ranges[0.32][0] > 0.1
    assert 0.3 < ranges[0.32][1] < 0.8


# 8: rings


def ring(n, neighbours):
    d = [x for x in range(-neighbours, neighbours + 1) if x]
    rows = np.repeat(np.arange(n), len(d))
    return sparse.csr_array((np.ones(len(rows)), (rows, (rows + np.tile(d, n)) % n)), shape=(n, n))


def test_twisted_states_of_a_ring():
    n = 100
    twisted = 2 * np.pi * np.arange(n) / n
    kick = 1e-3 * np.random.default_rng(1).standard_normal(n)
    for neighbours, stable in ((33, True), (34, False)):  # R / N = 0.340 at N = 2000: test_dynamics_theory
        model = pa.Kuramoto(np.zeros(n), 1.0, ring(n, neighbours), None)
        rate = theory.twisted_state_rate(n, neighbours)
        assert (rate < 0) == stable
        values = analysis.eigenvalues(model, twisted)
        assert (values[1] if stable else values[0]).real == pytest.approx(rate, abs=1e-10)
        away = pa.simulate(model, (0, 20), twisted + kick, dt=0.02, samples=2).theta_end - twisted
        assert (np.ptp(away) < np.ptp(kick)) == stable


# 9: hysteresis


def steps_of_coupling(model, couplings, hold, dt):
    """Mean R over the second half of the time at each coupling, going on from the last."""
    theta, velocity, found = uniform_phases(model.size), None, []
    for k in couplings:
        trajectory = pa.simulate(model.replace(coupling=k), (0, hold), theta, velocity0=velocity, dt=dt, samples=41)
        theta, velocity = trajectory.theta_end, trajectory.velocity_end
        found.append(trajectory.R[20:].mean())
    return np.array(found)


def loop(model, couplings, hold, dt):
    up = steps_of_coupling(model, [*couplings, *couplings[::-1]], hold, dt)
    n = len(couplings)
    return up[:n], up[n:][::-1]


def test_inertia_has_hysteresis():
    """H. Tanaka, A. Lichtenberg, S. Oishi (1997): it takes more to make than to keep order."""
    couplings = np.linspace(1.0, 6.0, 11)
    omega = frequencies.gaussian(400)[np.argsort(np.arange(400) * GOLDEN % 1)]
    heavy, light = (loop(pa.Kuramoto(omega, 1.0, inertia=m), couplings, 60.0, 0.1) for m in (6.0, 0.1))
    forward, backward = (couplings[np.argmax(branch > 0.5)] for branch in heavy)
    assert forward - backward >= 1.0
    assert np.abs(light[0] - light[1]).max() < 0.1


def scale_free(n, links, rng):
    """Barabási and Albert."""
    w, ends = np.zeros((n, n)), list(range(links))
    for new in range(links, n):
        for old in {ends[i] for i in rng.choice(len(ends), links, replace=False)}:
            w[new, old] = w[old, new] = 1
            ends += [new, old]
    return w


def test_explosive_transition():
    """J. Gómez-Gardeñes et al. (2011): omega = degree makes the transition of a scale-free network abrupt."""
    rng = np.random.default_rng(2)
    w = scale_free(300, 3, rng)
    couplings = np.linspace(1.0, 1.7, 15)
    omega = frequencies.by_degree(w)
    areas = []
    for frequency in (omega - omega.mean(), rng.permutation(omega - omega.mean())):
        forward, backward = loop(pa.Kuramoto(frequency, 1.0, w, None), couplings, 40.0, 0.02)
        areas.append(np.trapezoid(backward - forward, couplings))
    assert areas[0] > 0.03  # two steps of 0.05 over a jump of 0.7
    assert abs(areas[1]) < 0.01


# 10: orders


def smooth_problem():
    rng = np.random.default_rng(8)
    return (
        pa.Kuramoto(rng.standard_normal(6), 1.5, phase_lag=0.4, harmonics={2: 0.5}, forcing=(0.7, 2.0, 0.1)),
        rng.uniform(-3, 3, 6),
    )


def in_fixed_steps(model, name, theta0, until, dt):
    """Any tableau in steps of dt, its error control switched off."""
    m = scheme(name)
    m = m._replace(errors=np.zeros((0, m.stages + 1)))
    drive = _drive.Drive(model, m, dt=dt, rtol=1.0, atol=1.0, seed=0)
    saved = np.empty((1, 1, len(theta0)))
    for _ in drive.pieces(drive.start(theta0[None], 0.0, np.array([until])), 0.0, np.array([until]), saved):
        pass
    return saved[0, 0]


@pytest.mark.parametrize(
    ("name", "order", "coarsest"),
    [("euler", 1, 0.02), ("heun", 2, 0.05), ("sra1", 2, 0.05), ("rk4", 4, 0.1), ("dopri5", 5, 0.2), ("dop853", 8, 1.0)],
)
def test_order_of_integrators(name, order, coarsest):
    """Three halvings; the two of small error constants still feel the next order, and no method less than its own."""
    model, theta0 = smooth_problem()
    exact = pa.simulate(model, (0, 2), theta0, method="dop853", rtol=1e-13, atol=1e-14, samples=2).theta_end
    errors = [np.abs(in_fixed_steps(model, name, theta0, 2.0, coarsest / 2**i) - exact).max() for i in range(4)]
    slope = np.log2(errors[0] / errors[-1]) / 3
    assert order - 0.1 < slope < order + (0.95 if order > 4 else 0.1)
    assert errors[-1] > 1e-12  # above rounding


def test_error_control_keeps_its_word():
    """Errors fall with the tolerance, those between steps, too, and are at most ten times SciPy's."""
    model, theta0 = smooth_problem()
    t = np.linspace(0, 10, 41)

    def derivative(t, theta):
        z = np.exp(1j * theta)
        first = 1.5 * np.exp(-0.4j) * z.mean() + 0.7 * np.exp(1j * (2 * t + 0.1))
        return model.omega + (first * z.conj() + 0.5 * (z**2).mean() * z.conj() ** 2).imag

    exact = solve_ivp(derivative, (0, 10), theta0, method="DOP853", rtol=1e-13, atol=1e-14, t_eval=t).y.T
    for name, peer in (("dopri5", "RK45"), ("dop853", "DOP853")):
        errors = []
        for tolerance in (1e-4, 1e-7, 1e-10):
            options = {"rtol": tolerance, "atol": tolerance, "t_eval": t}
            ours = pa.simulate(model, (0, 10), theta0, method=name, save_theta=True, **options).theta
            theirs = solve_ivp(derivative, (0, 10), theta0, method=peer, **options).y.T
            errors.append(np.abs(ours - exact).max())
            assert errors[-1] < 10 * np.abs(theirs - exact).max()
        assert np.log10(errors[0] / errors[2]) / 6 == pytest.approx(1.0, abs=0.15)


OSCILLATORS, UNTIL = 20_000, 0.5
COARSE = (0.25, 0.125, 0.0625, 0.03125)


@pytest.fixture(scope="module")
def paths():
    """A problem whose errors noise rules, and by step the ends on the Brownian paths of the kernel for a seed."""
    n, diffusion = OSCILLATORS, 4.0
    theta0 = np.ones(n)
    model = pa.Kuramoto(np.full(n, 0.5), 0.5, forcing=(2.0, 1.0, 0.0), diffusion=diffusion)

    def drift(t, theta):
        field = 0.5 * np.exp(1j * theta).mean() + 2.0 * np.exp(1j * t)
        return 0.5 + field.imag * np.cos(theta) - field.real * np.sin(theta)

    seed = pa.simulate(model, (0, 0.25), theta0, dt=0.25, samples=2, rng=9).settings["seed"]
    ends = {}
    for h in COARSE:
        rng, y, sigma, parts = np.random.default_rng(1), theta0, math.sqrt(2 * diffusion), 8
        for step in range(round(UNTIL / h)):
            pair = np.array([normals(seed, 0, step, i, 1.0) for i in range(n)]).T * math.sqrt(h)
            w, z = sde.refine(pair[0], pair[0] / 2 + pair[1] / math.sqrt(12), h, parts, rng)
            for part in range(parts):
                t = (step + part / parts) * h
                y = sde.strong_three_halves(y, t, drift, h / parts, sigma * w[part], sigma * z[part])
        ends[h] = y
    return model, theta0, ends


@pytest.mark.parametrize(("name", "strong", "weak"), [("euler_maruyama", 1, 1), ("heun", 1, 2), ("sra1", 1.5, 2)])
def test_strong_and_weak_order(name, strong, weak, paths):
    """Errors on the same path; and of the mean of e^{i theta}, known to the strong error / sqrt(N)."""
    model, theta0, ends = paths
    off, biased = [], []
    for h in COARSE:
        end = pa.simulate(model, (0, UNTIL), theta0, method=name, dt=h, t_eval=[UNTIL], rng=9).theta_end
        off.append(np.sqrt(np.mean((end - ends[h]) ** 2)))
        biased.append(abs(np.mean(np.exp(1j * end) - np.exp(1j * ends[h]))))
    assert np.log2(off[0] / off[3]) / 3 == pytest.approx(strong, abs=0.1)
    assert np.log2(biased[0] / biased[2]) / 2 == pytest.approx(weak, abs=0.4)  # the noise of biased[2] is up to a third
