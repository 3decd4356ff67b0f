"""Jacobians against complex steps of the written-out model, locked states, stability, Lyapunov exponents, constants."""

import numpy as np
import pytest
from scipy import sparse

import primeattn as pa
from primeattn.dynamics import analysis, frequencies, theory
from tests.naive import kuramoto_analysis as naive

N = 7


def everywhere(x):
    return np.full((N, N), float(x))


def cases():
    """name -> (options of Kuramoto, terms and options of the naive model)."""
    rng = np.random.default_rng(5)
    w = rng.standard_normal((N, N)) * (rng.random((N, N)) < 0.5)
    np.fill_diagonal(w, 0)
    degree = np.abs(w).sum(1)
    per = np.divide(1.0, degree, out=np.zeros(N), where=degree > 0)[:, None]
    groups = np.array([0, 0, 0, 1, 1, 1, 1])
    k, lag = np.array([[1.0, 0.3], [-0.5, 2.0]]), np.array([[0.1, 0.9], [0.4, -0.2]])
    size = np.where(groups == 0, 3, 4)
    several = {"harmonics": {2: (0.7, 0.3), 3: -0.4}}
    inertia, friction = rng.uniform(0.5, 2, N), rng.uniform(0.1, 1, N)
    corners, weight = rng.integers(0, N, (12, 3)), rng.normal(size=12)  # some with j = k, or i among them
    return {
        "all": ({"coupling": 1.3, "phase_lag": 0.4}, {"terms": [(1, everywhere(1.3 / N), everywhere(0.4))]}),
        "network": (
            {"coupling": 1.3, "phase_lag": 0.4, "network": w, "normalize": None, **several},
            {"terms": [(1, 1.3 * w, everywhere(0.4)), (2, 0.7 * w, everywhere(0.3)), (3, -0.4 * w, everywhere(0))]},
        ),
        "degree": (
            {"coupling": 2.0, "network": (w != 0) * 1.0, "normalize": "degree"},
            {"terms": [(1, 2.0 * (w != 0) / np.maximum((w != 0).sum(1), 1)[:, None], everywhere(0))]},
        ),
        "weights by degree": (
            {"coupling": 2.0, "network": w, "normalize": "degree"}, {"terms": [(1, 2.0 * w * per, everywhere(0))]},
        ),
        "groups": (
            {"coupling": k, "phase_lag": lag, "groups": groups},
            {"terms": [(1, k[groups][:, groups] / size, lag[groups][:, groups])]},
        ),
        "triads and forcing": (
            {"coupling": 0.5, "triadic": (1.1, -0.6), "forcing": (0.8, 2.0, 0.3)},
            {"terms": [(1, everywhere(0.5 / N), everywhere(0))], "triadic": (1.1, -0.6), "forcing": (0.8, 2.0, 0.3)},
        ),
        "inertia": (
            {"coupling": 1.3, "network": w, "triadic": (1.1, -0.6), "inertia": inertia, "friction": friction},
            {
                "terms": [(1, 1.3 / N * w, everywhere(0))], "triadic": (1.1, -0.6), "inertia": inertia,
                "friction": friction,
            },
        ),
        "triangles": (
            {
                "coupling": 1.3, "network": w, "triangles": corners, "triangle_weights": weight, "triadic": (1.1, -0.6),
                "inertia": inertia, "friction": friction,
            },
            {
                "terms": [(1, 1.3 / N * w, everywhere(0))], "inertia": inertia, "friction": friction,
                "triangles": [(*row, 1.1 * x, -0.6 * x) for row, x in zip(corners, weight, strict=True)],
            },
        ),
    }  # fmt: skip


def listed():
    """The same of what only the Jacobian follows: a schedule, a network that switches."""
    rng = np.random.default_rng(6)
    w = rng.standard_normal((N, N)) * (rng.random((N, N)) < 0.5)
    corners, weight = rng.integers(0, N, (12, 3)), rng.normal(size=12)  # some with j = k, or i among them
    felt = [(*row, 1.1 * x, -0.6 * x) for row, x in zip(corners, weight, strict=True)]
    slow = 0.3 + 0.7 * (1.5 - 0.3) / 2.0  # of the schedule, at t = 0.7
    return {
        "triangles and schedule": (
            {
                "coupling": 1.3, "network": w, "triangles": corners, "triangle_weights": weight, "triadic": (1.1, -0.6),
                "schedule": ([0.0, 2.0], [0.3, 1.5]),
            },
            {"terms": [(1, slow * 1.3 / N * w, everywhere(0))], "triangles": felt},
        ),
        "triangles and a network that switches": (
            {"network": [(0.0, w), (0.5, w.T)], "triangles": corners, "normalize": None},
            {"terms": [(1, w.T, everywhere(0))], "triangles": [(*row, 0.0, 1.0) for row in corners]},
        ),
    }  # fmt: skip


CASES, LISTED = cases(), listed()


def both(name, rng):
    """The model, a state, and the naive derivative as a function of the state."""
    options, oracle = (CASES | LISTED)[name]
    omega = rng.standard_normal(N)
    model = pa.Kuramoto(omega, **options)
    function = naive.second_order if "inertia" in oracle else naive.derivative
    return model, rng.uniform(-3, 3, model.states), lambda x, t=0.7: function(x, omega, t=t, **oracle)


@pytest.mark.parametrize("name", [*CASES, *LISTED])
def test_jacobian_against_complex_steps(name, rng):
    model, state, function = both(name, rng)
    j = analysis.jacobian(model, state[:N], t=0.7)
    expected = naive.complex_step_jacobian(function, state)
    tolerance = {"rtol": 0, "atol": 1e-13}  # sums of up to 49 terms of size 1
    np.testing.assert_allclose(j.toarray(), expected, **tolerance)
    np.testing.assert_allclose(j.tosparse().toarray(), expected, **tolerance)
    x = rng.standard_normal((j.shape[0], 2))
    np.testing.assert_allclose(j @ x, expected @ x, **tolerance)
    np.testing.assert_allclose(j.operator() @ x[:, 0], expected @ x[:, 0], **tolerance)
    np.testing.assert_allclose(j.operator().H @ x[:, 0], expected.T @ x[:, 0], **tolerance)
    assert np.abs(expected - expected.T).max() > 1e-3 or name == "all"  # a transposed one would be seen
    with pytest.raises(AssertionError):  # the check is alive
        np.testing.assert_allclose(1.001 * j.toarray(), expected, **tolerance)


@pytest.mark.parametrize("name", CASES)
def test_lyapunov_exponents_are_those_of_the_map(name, rng):
    """Euler's scheme is x + h f(x): its exponents follow from the naive Jacobian; the same vectors are carried."""
    model, state, function = both(name, rng)
    h, count = 0.05, 40
    carried = analysis._lyapunov._Carried(model, "euler", h, state.copy(), len(state), np.random.default_rng(0))
    carried.q = np.eye(len(state))
    logs = np.zeros(len(state))
    _, history = carried.walk(h * count, 1, logs)
    clock = iter(np.arange(count) * h)
    x = state

    def jacobian(x):
        nonlocal_time[0] = next(clock)
        return np.eye(len(x)) + h * naive.complex_step_jacobian(lambda y: function(y, t=nonlocal_time[0]), x)

    nonlocal_time = [0.0]
    expected = naive.lyapunov_of_map(lambda x: x + h * function(x, t=nonlocal_time[0]).real, jacobian, x, count)
    np.testing.assert_allclose(history[-1] * h, expected, rtol=0, atol=1e-11)  # 40 steps of a mildly unstable map


def test_two_oscillators_locked():
    """phi' = dw - K sin phi: arcsin(dw / K), exponents 0 and -sqrt(K^2 - dw^2)."""
    dw, k = 1.0, 1.6
    model = pa.Kuramoto([0.3, 0.3 + dw], k)
    state = analysis.locked_state(model)
    rate = -np.sqrt(k**2 - dw**2)
    assert state.theta[1] - state.theta[0] == pytest.approx(np.arcsin(dw / k), abs=1e-12)
    assert state.frequency == pytest.approx(0.8, abs=1e-12)
    np.testing.assert_allclose(analysis.eigenvalues(model, state.theta), [0, rate], rtol=0, atol=1e-12)
    other = analysis.locked_state(model, [0.0, 2.3])  # the unstable one
    assert other.theta[1] - other.theta[0] == pytest.approx(np.pi - np.arcsin(dw / k), abs=1e-12)
    assert analysis.eigenvalues(model, other.theta, 1)[0].real == pytest.approx(-rate, abs=1e-12)
    with pytest.raises(ValueError, match=r"1\.25"):  # K must be dw, a quarter more than 0.8
        analysis.locked_state(model.replace(coupling=0.8))


def test_locked_state_is_where_the_simulation_rests(rng):
    graph = sparse.random_array((60, 60), density=0.15, rng=rng)
    graph = ((graph + graph.T) > 0).astype(float)
    omega = 0.3 * rng.standard_normal(60)
    for options in (
        {"network": graph, "normalize": None, "coupling": 0.8, "phase_lag": 0.2},
        {"coupling": 3.0, "phase_lag": 0.4, "triadic": (0.3, 0.2), "harmonics": {2: 0.4}},
        {"coupling": 2.0, "forcing": (1.0, 0.1, 0.5)},
    ):
        model = pa.Kuramoto(omega, **options)
        state = analysis.locked_state(model)
        values = analysis.eigenvalues(model, state.theta)
        free = int(model.forcing is None)
        assert abs(values[0]) < 1e-12 or not free
        assert (values[free:].real < 0).all()
        # from near by, the slowest mode e^{lambda t} brings it home; 1e-9: Runge-Kutta's frequency error times t
        end = 12 / abs(values[free].real)
        trajectory = pa.simulate(model, (0, end), state.theta + 1e-4 * rng.standard_normal(60), dt=0.01, samples=2)
        turned = trajectory.theta_end - state.theta - state.frequency * end
        np.testing.assert_allclose(turned, turned.mean() if free else 0, rtol=0, atol=2e-8)


def test_large_locked_states_take_sparse_algebra():
    """N = 10,000: closed form all to all, sin(theta_i - psi) = omega_i / (K r); a ring from a twisted start."""
    n, k = 10_000, 2.0
    omega = frequencies.uniform(n)
    state = analysis.locked_state(pa.Kuramoto(omega, k))
    r = float(pa.circle.order_parameter(state.theta).__abs__())
    np.testing.assert_allclose(np.sin(state.theta - state.theta.mean()), omega / (k * r), rtol=0, atol=1e-11)
    assert r == pytest.approx(theory.stationary_order_parameter("uniform", k), abs=1e-8)  # midpoints: 1/n^2
    model = pa.Kuramoto(omega, k)
    n = 3000
    step = [-2, -1, 1, 2]
    ring = sparse.diags_array(
        [np.ones(n - abs(d)) for d in step] + [np.ones(abs(d)) for d in step],
        offsets=step + [-int(np.sign(d)) * (n - abs(d)) for d in step], shape=(n, n),
    )  # fmt: skip
    twisted = 2 * np.pi * np.arange(n) / n
    model = pa.Kuramoto(np.zeros(n), 1.0, ring, None)
    assert analysis.locked_state(model, twisted).residual < 1e-12
    values = analysis.eigenvalues(model, twisted, 5)
    assert abs(values[0]) < 1e-9
    rate = theory.twisted_state_rate(n, 2)
    np.testing.assert_allclose(values[1:3], rate, rtol=1e-6)  # both of a pair


def test_eigenvalues_of_large_models_agree_with_all_of_them(monkeypatch, rng):
    model = pa.Kuramoto(frequencies.gaussian(120, 0.3), 2.0)
    theta = analysis.locked_state(model).theta
    every = analysis.eigenvalues(model, theta)
    assert every[0] == pytest.approx(0, abs=1e-12)
    graph = sparse.random_array((120, 120), density=0.06, rng=rng)
    other = pa.Kuramoto(0.1 * rng.standard_normal(120), 2.0, graph + sparse.eye_array(120, k=1) * 1.0, "degree")
    there = analysis.locked_state(other, np.zeros(120)).theta
    all_of_other = analysis.eigenvalues(other, there)
    monkeypatch.setattr(analysis._stability, "_DENSE", 10)
    for got, expected in (
        (analysis.eigenvalues(model, theta, 4), every[:4]),
        (analysis.eigenvalues(other, there, 4), all_of_other[:4]),
    ):
        np.testing.assert_allclose(got.real, expected.real, rtol=0, atol=1e-8)
        np.testing.assert_allclose(abs(got.imag), abs(expected.imag), rtol=0, atol=1e-8)  # either one of a pair


def test_lyapunov_exponents_of_rest_motion_and_chaos():
    """Locked: the eigenvalues. Beating: 0 twice. Phase chaos (Popovych et al. 2005): positive; their sum is a trace."""
    model = pa.Kuramoto([-1.0, 0.2, 0.9], 1.8)
    values = analysis.eigenvalues(model, analysis.locked_state(model).theta).real
    assert (-np.diff(values)).min() > 0.2
    # the transient turns the vectors as e^{-gap t}, the scheme has an error of dt^4
    got = analysis.lyapunov_exponents(model, duration=50, transient=100, dt=0.02, rng=1)
    np.testing.assert_allclose(got.exponents, values, rtol=0, atol=1e-6)
    beating = analysis.lyapunov_exponents(pa.Kuramoto([-1.0, 1.0], 1.0), duration=2000, dt=0.05, rng=1)
    np.testing.assert_allclose(beating.exponents, 0, atol=2 / 2000)  # bounded growth over the time
    omega = frequencies.uniform(20)
    chaos = analysis.lyapunov_exponents(pa.Kuramoto(omega, 1.2), duration=2000, dt=0.05, rng=1)
    assert chaos.exponents[0] > 0.02
    assert chaos.exponents.argmin() == 19
    assert chaos.history.shape == (len(chaos.t), 20)
    # volumes grow by the trace, -K (N R^2 - 1); the stretches start 1e-6 apart and part by e^(0.05 t)
    start = chaos.theta_end
    short = analysis.lyapunov_exponents(pa.Kuramoto(omega, 1.2), None, start, duration=100, transient=0, dt=0.05)
    r = pa.simulate(pa.Kuramoto(omega, 1.2), (0, 100), start, dt=0.05, samples=2001).R
    trace = -1.2 * (20 * np.trapezoid(r**2, dx=0.05) / 100 - 1)  # trapezoids: dt^2
    assert short.exponents.sum() == pytest.approx(trace, abs=2e-4)
    assert analysis.lyapunov_exponents(pa.Kuramoto(omega, 1.2), 1, duration=500, dt=0.05, rng=1).exponents > 0.02


def test_lyapunov_vectors_do_not_depend_on_threads(monkeypatch, rng):
    import numba

    model, state, _ = both("network", rng)
    results = []
    for threads in (1, 2):
        numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
        carried = analysis._lyapunov._Carried(model, "rk4", 0.05, state.copy(), N, np.random.default_rng(0))
        if threads == 2:
            monkeypatch.setattr(analysis._lyapunov, "share", lambda work, n, grain: [work(0, n // 2), work(n // 2, n)])
        carried.walk(2.0, 5, None)
        results.append(np.concatenate([carried.q.reshape(-1), carried.y]))
    numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)
    np.testing.assert_array_equal(results[0], results[1])


def test_common_noise_synchronises():
    """A noisy phase under a drive: the exponent is the mean of -f cos(theta), negative (Teramae and Tanaka 2004)."""
    one = pa.Kuramoto([0.0], 0.0, forcing=(1.0, 0.0, 0.0), diffusion=0.5)
    got = analysis.lyapunov_exponents(one, duration=4000, dt=0.05, rng=3).exponents[0]
    from scipy.special import i0, i1

    # stationary density exp(f cos(theta) / D): mean cosine I_1/I_0; 3 sqrt(2 tau / T) with tau about 1
    assert got == pytest.approx(-i1(2.0) / i0(2.0), abs=3 * np.sqrt(2 / 4000))


def test_cross_ratios_are_what_they_say(rng):
    theta = rng.uniform(-3, 3, (2, 6))
    z = np.exp(1j * theta)
    p, q, r, s = (z[:, i : i + 3] for i in range(4))
    expected = (p - r) * (q - s) / ((p - s) * (q - r))
    np.testing.assert_allclose(analysis.cross_ratios(theta), expected.real, rtol=1e-11)
    np.testing.assert_allclose(expected.imag, 0, atol=1e-11)
    turned = (0.3 + z) / (1 + 0.3 * z)  # a Möbius map of the circle
    np.testing.assert_allclose(analysis.cross_ratios(np.angle(turned)), analysis.cross_ratios(theta), rtol=1e-10)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: analysis.jacobian(m, [0.0]), r"theta has shape \(1,\)"),
        (lambda m: analysis.jacobian(m, [np.nan, 0.0]), "NaN"),
        (lambda m: analysis.jacobian(m.replace(coupling=[1.0, 2.0]), [0.0, 0.0]), "2 runs"),
        (lambda m: analysis.eigenvalues(m, [0.0, 0.0], 3), "1 to 2"),
        (lambda m: analysis.lyapunov_exponents(m, 3), "1 to 2"),
        (lambda m: analysis.lyapunov_exponents(m, duration=0), "duration"),
        (lambda m: analysis.cross_ratios([0.0, 1.0, 2.0]), "N >= 4"),
        (lambda m: analysis.locked_state(m.replace(coupling=0.0), [0.0, 0.0]), "no locked state"),
        (lambda m: analysis.locked_state(m.replace(schedule=([0, 1], [0, 1]))), "schedule has no locked state"),
        (
            lambda m: analysis.lyapunov_exponents(m.replace(triangles=[(0, 1, 1)], schedule=([0, 1], [0, 1]))),
            "schedule has no Lyapunov",
        ),
        (
            lambda m: analysis.lyapunov_exponents(m.replace(network=[(0, np.eye(2)), (1, np.ones((2, 2)))])),
            "a network that changes in time has no Lyapunov",
        ),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call(pa.Kuramoto([0.0, 1.0], 2.0))
