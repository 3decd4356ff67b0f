"""Amplitudes, points on spheres, weights that learn, rings, full matrices: against loops, exact solutions, theory."""

import math

import numba
import numpy as np
import pytest
from scipy import sparse
from scipy.integrate import solve_ivp

import primeattn as pa
from primeattn import dynamics
from primeattn.dynamics import Ring, Spheres, StuartLandau, _drive, _pace, networks, theory

from .naive import bodies as naive

N = 5
_rng = np.random.default_rng(3)
OMEGA = _rng.normal(size=N)
NETWORK = (_rng.random((N, N)) < 0.5) * _rng.normal(size=(N, N))
THETA0 = _rng.uniform(-3, 3, N)
Z0 = _rng.normal(size=N) + 1j * _rng.normal(size=N)
ROTATION = dynamics.frequencies.rotations(N, 3, rng=4)
X0 = _rng.normal(size=(N, 3))
X0 /= np.linalg.norm(X0, axis=1, keepdims=True)
GROWTH, SHEAR = _rng.uniform(-0.5, 1.5, N), _rng.normal(size=N)
EXACT = 1e-13  # sums of some ten terms of size 1 to 3


def weights(k, network, normalize):
    """g W as rows."""
    w = np.ones((N, N)) if network is None else network
    if normalize == "size" or (network is None and normalize == "degree"):
        return k / N * w
    degree = np.abs(w).sum(axis=1, keepdims=True)
    return k * (np.divide(w, degree, out=np.zeros_like(w), where=degree > 0) if normalize == "degree" else w)


ARRANGED = [(None, "size"), (None, None), (NETWORK, "size"), (NETWORK, "degree"), (NETWORK, None)]


@pytest.mark.parametrize("diffusive", [True, False])
@pytest.mark.parametrize(("network", "normalize"), ARRANGED)
def test_amplitudes_against_loops(network, normalize, diffusive):
    model = StuartLandau(
        OMEGA, 1.3, network, normalize, 0.4, growth=GROWTH, shear=SHEAR, diffusive=diffusive
    )  # fmt: skip
    found = model.unpack(dynamics.Flow(model)(0.0, model.pack(Z0)))["z"]
    rows = weights(1.3, network, normalize)
    expected = naive.amplitudes(Z0, OMEGA, rows, GROWTH, SHEAR, 0.4, diffusive)
    np.testing.assert_allclose(found, expected, rtol=0, atol=EXACT)
    wrong = naive.amplitudes(Z0, OMEGA, rows, GROWTH, SHEAR, 0.4001, diffusive)
    assert np.abs(found - wrong).max() > 1e-6  # the comparison is alive


@pytest.mark.parametrize(("network", "normalize"), ARRANGED)
@pytest.mark.parametrize("size", [2, 3, 4])
def test_vectors_against_loops(network, normalize, size):
    rotation = dynamics.frequencies.rotations(N, size, rng=1)
    x = np.random.default_rng(0).normal(size=(N, size))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    model = Spheres(rotation, 1.3, network, normalize)
    found = model.unpack(dynamics.Flow(model)(0.0, model.pack(x)))["x"]
    expected = naive.vectors(x.tolist(), rotation.tolist(), weights(1.3, network, normalize).tolist())
    np.testing.assert_allclose(found, expected, rtol=0, atol=EXACT)
    np.testing.assert_allclose((found * x).sum(axis=1), 0, atol=EXACT)  # along the sphere


@pytest.mark.parametrize("normalize", ["size", None])
def test_weights_that_learn_against_loops(normalize):
    model = pa.Kuramoto(OMEGA, 1.3, NETWORK, normalize, 0.3, adaptation=(0.2, 0.5, 1.7))
    edges = np.argwhere(NETWORK)
    w = NETWORK[NETWORK != 0]
    found = dynamics.Flow(model)(0.0, np.concatenate([THETA0, w]))
    g = 1.3 / N if normalize == "size" else 1.3
    slope, change = naive.learning(THETA0, w, OMEGA, g, 0.3, 0.2, 0.5, 1.7, edges)
    np.testing.assert_allclose(found, [*slope, *change], rtol=0, atol=EXACT)
    assert np.abs(np.array(change)).max() > 0.01


@pytest.mark.parametrize("method", ["rk4", "dop853"])
def test_the_call_is_the_same(method):
    """`simulate` of each against SciPy on the derivative of loops."""
    tight = {"rtol": 1e-10, "atol": 1e-12}
    call = {"method": method, "dt": 0.005} | (tight if method == "dop853" else {})

    def oracle(slope, y):
        return solve_ivp(lambda t, y: slope(y), (0, 1), y, method="DOP853", **tight).y[:, -1]

    model = StuartLandau(OMEGA, 1.3, NETWORK, growth=GROWTH, shear=SHEAR)
    end = pa.simulate(model, (0, 1), Z0, **call)
    rows = weights(1.3, NETWORK, "size")

    def amplitudes(y):
        z = np.array(naive.amplitudes(y[:N] + 1j * y[N:], OMEGA, rows, GROWTH, SHEAR, 0.0, True))
        return np.concatenate([z.real, z.imag])

    expected = oracle(amplitudes, np.concatenate([Z0.real, Z0.imag]))
    np.testing.assert_allclose(end.states_end["z"], expected[:N] + 1j * expected[N:], rtol=0, atol=1e-8)
    np.testing.assert_array_equal(end.theta_end, np.angle(end.states_end["z"]))

    sphere = Spheres(ROTATION, 1.3, NETWORK)
    end = pa.simulate(sphere, (0, 1), X0, **call)
    expected = oracle(
        lambda y: np.ravel(naive.vectors(y.reshape(N, 3).tolist(), ROTATION.tolist(), rows.tolist())), X0.ravel()
    )
    np.testing.assert_allclose(end.states_end["x"].ravel(), expected, rtol=0, atol=1e-8)
    assert end.theta_end is None

    learner = pa.Kuramoto(OMEGA, 1.3, NETWORK, adaptation=0.4)
    end = pa.simulate(learner, (0, 1), THETA0, **call)
    edges = np.argwhere(NETWORK)
    expected = oracle(
        lambda y: np.concatenate(naive.learning(y[:N], y[N:], OMEGA, 1.3 / N, 0, 0.4, 0, 1, edges)),
        np.concatenate([THETA0, NETWORK[NETWORK != 0]]),
    )
    np.testing.assert_allclose(np.concatenate([end.theta_end, end.states_end["weights"]]), expected, rtol=0, atol=1e-8)
    if method == "rk4":
        by_scipy = pa.simulate(learner, (0, 1), THETA0, method="scipy:DOP853", rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(by_scipy.states_end["weights"], expected[N:], rtol=0, atol=1e-9)


def test_one_oscillator_grows_as_it_should():
    """r' = a r - r^3, theta' = omega - b r^2."""
    a, b, r0 = 2.0, 0.5, 0.1
    run = pa.simulate(
        StuartLandau([1.0], 0.0, growth=a, shear=b), (0, 3), [r0 + 0j], method="dop853", rtol=1e-11, atol=1e-12
    )  # fmt: skip
    square = a / (1 + (a / r0**2 - 1) * np.exp(-2 * a * 3.0))
    turned = 1.0 * 3 - b / 2 * math.log(1 + r0**2 / a * (math.exp(2 * a * 3) - 1))
    expected = math.sqrt(square) * np.exp(1j * turned)
    np.testing.assert_allclose(run.states_end["z"], expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("k", "difference", "dead"), [(2.0, 3.6, True), (2.0, 3.3, False), (0.9, 9.0, False)])
def test_amplitude_death(k, difference, dead):
    """Aronson, Ermentrout and Kopell: k > 1 and |difference| > 2 sqrt(2 k - 1)."""
    assert dead == (k > 1 and difference > 2 * math.sqrt(2 * k - 1))
    model = StuartLandau([-difference / 2, difference / 2], 2 * k)
    run = pa.simulate(model, (0, 300), [0.1, 0.1j], samples=31, observables=("amplitude", "Z", "R"))
    assert (run["amplitude"][-10:].mean() < 1e-3) == dead


def test_weakly_coupled_amplitudes_are_phases():
    """z = exp(i theta) + O(K): theta' is Kuramoto's to second order in K and the differences of omega."""
    n, small = 200, 0.02
    omega, theta = small * dynamics.frequencies.gaussian(n), np.random.default_rng(1).uniform(-3, 3, n)
    span = (0, 10 / small)
    phases = pa.simulate(pa.Kuramoto(omega, 3 * small), span, theta, dt=0.5, samples=21)
    bodies = pa.simulate(StuartLandau(omega, 3 * small), span, theta, dt=0.5, samples=21)
    assert np.abs(phases.R - bodies.R).max() < 3 * small
    assert phases.R[-1] > 0.8


def test_two_dimensions_are_kuramoto():
    omega, theta = np.random.default_rng(2).normal(size=(2, 40))
    sphere = Spheres(omega[:, None, None] * np.array([[0.0, -1.0], [1.0, 0.0]]), 2.0)
    x = np.stack([np.cos(theta), np.sin(theta)], axis=-1)
    a = pa.simulate(sphere, (0, 5), x, dt=0.01)
    b = pa.simulate(pa.Kuramoto(omega, 2.0), (0, 5), theta, dt=0.01)
    np.testing.assert_allclose(a.R, b.R, rtol=0, atol=1e-9)  # rk4 of two forms of one equation
    np.testing.assert_allclose(np.arctan2(*a.states_end["x"].T[::-1]), pa.circle.wrap(b.theta_end), atol=1e-8)


def test_spheres_jump_to_one_half():
    """Reference result 7; deviations as of N = 3,000 draws, 3 / sqrt(N)."""
    np.testing.assert_allclose(theory.sphere_order_parameter([1.0, 2.0]), [0.53401, 0.67001], atol=5e-6)
    assert abs(theory.sphere_order_parameter(1e-9) - 0.5) < 1e-6
    n = 3000
    model = Spheres(dynamics.frequencies.rotations(n, 3, rng=0), np.array([0.3, 1.0, 2.0]))
    run = pa.simulate(model, (0, 150), rng=0, dt=0.1, samples=31)
    expected = theory.sphere_order_parameter([0.3, 1.0, 2.0])
    np.testing.assert_allclose(run.R[:, -8:].mean(axis=1), expected, rtol=0, atol=3 / math.sqrt(n))
    lengths = np.linalg.norm(pa.simulate(Spheres(ROTATION, 1.0), (0, 100), rng=0).states_end["x"], axis=1)
    np.testing.assert_allclose(lengths, 1, atol=1e-7)  # default steps: (0.05)^6 / 144 a step
    flat = pa.simulate(Spheres(dynamics.frequencies.rotations(n, 2, rng=0), 0.3), (0, 150), rng=0, dt=0.1, samples=31)
    assert flat.R[-8:].mean() < 0.1  # even dimensions have a threshold


def test_hebbian_weights_sort_into_groups():
    """Two groups that agree within and oppose across: learning ends at weights of 1 and -1."""
    theta = np.repeat([0.0, math.pi], 4)
    network = 1 - np.eye(8)
    run = pa.simulate(pa.Kuramoto(np.zeros(8), 1.0, network, adaptation=0.5), (0, 60), theta + 1e-3 * np.arange(8))
    learned = network.copy()
    learned[network != 0] = run.states_end["weights"]
    same = np.equal.outer(np.arange(8) < 4, np.arange(8) < 4) & (network != 0)
    np.testing.assert_allclose(learned[same], 1, atol=1e-6)
    np.testing.assert_allclose(learned[~same & (network != 0)], -1, atol=1e-6)


def test_learning_goes_on_and_is_kept(tmp_path):
    model = pa.Kuramoto(OMEGA, 1.3, NETWORK, adaptation=0.4, inertia=0.7, diffusion=0.02)
    call = {"dt": 0.05, "method": "heun"}
    whole = pa.simulate(model, (0, 2), THETA0, rng=0, save_theta=True, samples=5, **call)
    assert whole.states["weights"].shape == (5, np.count_nonzero(NETWORK))
    path = tmp_path / "run.nc"
    whole.save(path)
    loaded = pa.dynamics.Trajectory.load(path)
    np.testing.assert_array_equal(loaded.states_end["weights"], whole.states_end["weights"])
    assert loaded.model.adaptation == (0.4, 0.0, 1.0)
    still = model.replace(diffusion=0.0)
    first = pa.simulate(still, (0, 1), THETA0, **call, samples=3)
    second = pa.simulate(still, (1, 2), first, **call, samples=3)
    once = pa.simulate(still, (0, 2), THETA0, **call, samples=5)
    np.testing.assert_array_equal(second.theta_end, once.theta_end)
    np.testing.assert_array_equal(second.states_end["weights"], once.states_end["weights"])


KEPT = [StuartLandau(OMEGA, 1.0, Ring(1)), Spheres(ROTATION, 2.0), pa.Kuramoto(OMEGA, 1.0, Ring(2), "degree")]


@pytest.mark.parametrize("model", KEPT, ids=repr)
def test_files_hold_every_model(model, tmp_path):
    run = pa.simulate(model, (0, 1), rng=0, samples=3, save_theta=True, observables=("R",))
    run.save(tmp_path / "run.nc")
    loaded = pa.dynamics.Trajectory.load(tmp_path / "run.nc")
    assert repr(loaded.model) == repr(model)
    assert repr(loaded) == repr(run)
    for name, values in run.states_end.items():
        np.testing.assert_array_equal(loaded.states_end[name], values)
        np.testing.assert_array_equal(loaded.states[name], run.states[name])
    later = pa.simulate(loaded.model, (1, 2), loaded, samples=3)
    np.testing.assert_array_equal(later.R[0], run.R[-1])


# --- rings and full matrices ----------------------------------------------------------------------

TERMS = [
    {},
    {"normalize": "degree", "phase_lag": 0.4, "harmonics": {2: (0.5, 0.1)}},
    {"normalize": None, "inertia": 0.7},
    {"delay": 0.2, "schedule": ([0.0, 1.0], [0.5, 1.5])},
]


@pytest.mark.parametrize("terms", TERMS)
def test_a_ring_is_its_list_of_edges(terms):
    n = 33
    omega, theta = np.random.default_rng(0).normal(size=(2, n))
    listed = pa.Kuramoto(omega, 1.3, networks.ring(n, 5), **terms)
    ring = pa.Kuramoto(omega, 1.3, Ring(5), **terms)
    assert len(ring.arrays()[0].indices) == 0
    a, b = (pa.simulate(model, (0, 2), theta, dt=0.05) for model in (listed, ring))
    np.testing.assert_allclose(a.theta_end, b.theta_end, rtol=0, atol=1e-12)


def test_a_ring_against_loops_and_in_blocks():
    n, reach = 5000, 700  # three blocks
    omega, theta = np.random.default_rng(0).normal(size=(2, n))
    found = dynamics.derivative(theta, omega, 1.3, Ring(reach), phase_lag=0.2)
    e = np.exp(1j * theta)
    kernel = np.zeros(n)
    kernel[1 : reach + 1] = kernel[-reach:] = 1
    heard = np.fft.ifft(np.fft.fft(e) * np.fft.fft(kernel))
    np.testing.assert_allclose(
        found, omega + 1.3 / n * (np.conj(e) * heard * np.exp(-0.2j)).imag, rtol=0, atol=1e-11
    )  # fmt: skip
    small = dynamics.derivative(theta[:9], omega[:9], 1.3, Ring(3), phase_lag=0.2)
    np.testing.assert_allclose(small, naive.ring(theta[:9], omega[:9], 1.3 / 9, 3, 0.2), rtol=0, atol=1e-13)


def test_twisted_states_without_indices():
    """Reference result 8: the 1-twisted state is stable up to R / N = 0.340."""
    n = 300
    assert theory.twisted_state_rate(2000, 680) < 0 < theory.twisted_state_rate(2000, 681)
    twisted = 2 * math.pi * np.arange(n) / n
    nudge = 1e-3 * np.random.default_rng(0).normal(size=n)
    for reach, stays in ((95, True), (110, False)):
        run = pa.simulate(
            pa.Kuramoto(np.zeros(n), 1.0, Ring(reach)), (0, 600), twisted + nudge, dt=0.5, samples=3, save_theta=True
        )  # fmt: skip
        assert (run.R[-1] < 1e-3) == stays


@pytest.mark.parametrize("terms", TERMS[:3])
def test_a_full_matrix_is_its_list_of_edges(terms, monkeypatch):
    n = 21
    rng = np.random.default_rng(0)
    omega, theta = rng.normal(size=(2, n))
    model = pa.Kuramoto(omega, 1.3, rng.normal(size=(n, n)), **terms)
    full = pa.simulate(model, (0, 2), theta, dt=0.05)
    monkeypatch.setattr(_drive, "is_full", lambda *arrays: False)
    listed = pa.simulate(model.replace(), (0, 2), theta, dt=0.05)  # a model keeps the order of its network
    np.testing.assert_allclose(full.theta_end, listed.theta_end, rtol=0, atol=1e-12)
    assert not np.array_equal(full.theta_end, listed.theta_end)  # another order of summation


# --- ensembles, threads, noise --------------------------------------------------------------------


@pytest.mark.parametrize("model", [
    StuartLandau(np.linspace(-1, 1, 2100), [0.5, 2.0], diffusion=0.1),
    Spheres(dynamics.frequencies.rotations(2100, 3, rng=0), [0.5, 2.0]),
    pa.Kuramoto(np.linspace(-1, 1, 2100), 1.0, sparse.random_array((2100, 2100), density=0.002, rng=0), adaptation=0.2),
], ids=lambda model: type(model).__name__)  # fmt: skip
def test_results_do_not_depend_on_threads_or_companions(model, monkeypatch):
    call = {"dt": 0.05, "samples": 3, "rng": 5}
    runs = model.runs or 2
    states = model.draw(np.random.default_rng(0), runs)
    together = pa.simulate(model, (0, 0.5), states, **call)
    monkeypatch.setattr(_drive, "_TEAM_FROM", 1)
    count = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        alone = pa.simulate(model, (0, 0.5), states, **call)
    finally:
        numba.set_num_threads(count)
    name = next(iter(together.states_end))
    np.testing.assert_array_equal(together.states_end[name], alone.states_end[name])
    if model.runs:
        one = model.replace(coupling=model.coupling[0])
        by_team = pa.simulate(one, (0, 0.5), states[0], **call)
        np.testing.assert_array_equal(by_team.states_end[name], together.states_end[name][0])


def test_noise_of_amplitudes():
    """Without coupling, growth -2: |z|^2 of small noise is 2 D / (2 a) = D / 2 in the mean, both coordinates alike."""
    n, d = 4000, 1e-4
    model = StuartLandau(np.zeros(n), 0.0, growth=-2.0, diffusion=d)
    run = pa.simulate(model, (0, 5), np.zeros(n, complex), dt=0.05, rng=1)
    z = run.states_end["z"]
    for part in (z.real, z.imag):
        assert abs(part.var() / (d / 2) - 1) < 5 * math.sqrt(2 / n)
    assert abs(np.mean(z.real * z.imag)) < 5 * d / 2 / math.sqrt(n)


def test_sweeps_take_bodies():
    data = dynamics.sweep(
        Spheres(dynamics.frequencies.rotations(300, 3, rng=0)), coupling=[0.5, 2.0], runs=2, transient=20, duration=5,
        samples=11, dt=0.1, rng=0, continuation="both",
    )  # fmt: skip
    assert data.R.dims == ("direction", "coupling", "run")
    assert (data.R.sel(coupling=2.0) > data.R.sel(coupling=0.5)).all()


# --- refusals -------------------------------------------------------------------------------------

LEARNER = pa.Kuramoto(OMEGA, 1.0, NETWORK, adaptation=0.1)
REFUSED = {
    "antisymmetric": (lambda: Spheres(np.ones((2, 3, 3))), "minus its transpose"),
    "shape": (lambda: Spheres(np.ones((2, 3))), r"\(N, D, D\)"),
    "rotation NaN": (lambda: Spheres(np.full((2, 3, 3), np.nan)), "NaN"),
    "omega": (lambda: StuartLandau([[]]), "N at least 1"),
    "negative noise": (lambda: StuartLandau([1.0], diffusion=-1.0), "diffusion >= 0"),
    "normalize": (lambda: StuartLandau([1.0], normalize="x"), "normalize"),
    "coupling": (lambda: StuartLandau([1.0], [[1.0]]), "coupling has shape"),
    "runs": (lambda: StuartLandau(np.ones((3, 2)), [1.0, 2.0]).runs, "number of runs"),
    "theta0": (lambda: pa.simulate(StuartLandau([1.0, 2.0]), (0, 1), [1.0]), "complex numbers, or phases"),
    "vectors": (lambda: pa.simulate(Spheres(ROTATION), (0, 1), np.zeros((N, 3))), "length 0"),
    "vectors of NaN": (lambda: pa.simulate(Spheres(ROTATION), (0, 1), np.full((N, 3), np.nan)), "NaN"),
    "vectors of another shape": (lambda: pa.simulate(Spheres(ROTATION), (0, 1), THETA0), "real vectors"),
    "noise": (lambda: pa.simulate(StuartLandau([1.0], diffusion=1.0), (0, 1), method="rk4"), "diffusion"),
    "frequencies": (lambda: pa.simulate(StuartLandau([1.0]), (0, 1), observables="frequencies"), "lacks"),
    "moments": (lambda: pa.simulate(Spheres(ROTATION), (0, 1), observables="R3"), "lacks"),
    "all to all": (lambda: pa.Kuramoto(OMEGA, adaptation=0.1), "without a network"),
    "rate": (lambda: pa.Kuramoto(OMEGA, network=NETWORK, adaptation=-0.1), "rate >= 0"),
    "rule": (lambda: pa.Kuramoto(OMEGA, network=NETWORK, adaptation=(1, 2, 3, 4)), "rate >= 0"),
    "late": (lambda: pa.Kuramoto(OMEGA, network=NETWORK, adaptation=0.1, delay=0.1), "neither is served"),
    "ring": (lambda: pa.Kuramoto(OMEGA, network=Ring(3)), "1 to 2 are wanted"),
    "half a ring": (lambda: pa.Kuramoto(OMEGA, network=Ring(1.5)), "1 to 2 are wanted"),
    "dimension": (lambda: dynamics.frequencies.rotations(3, 1, rng=0), "2 or more"),
    "theory": (lambda: theory.sphere_order_parameter(1.0, width=0.0), "positive"),
    "delay": (lambda: dynamics.analysis.jacobian(pa.Kuramoto(OMEGA, delay=0.1), THETA0), "remembers a function"),
    "lyapunov": (lambda: dynamics.analysis.lyapunov_exponents(pa.Kuramoto(OMEGA, delay=0.1)), "remembers a function"),
    "locked": (lambda: dynamics.analysis.locked_state(pa.Kuramoto(OMEGA, delay=0.1)), "remembers a function"),
    "learning": (lambda: dynamics.analysis.jacobian(LEARNER, THETA0), "adaptation has no Jacobian"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case):
    call, says = REFUSED[case]
    with pytest.raises(ValueError, match=says):
        call()


def test_bodies_have_no_jacobian():
    with pytest.raises(TypeError, match="StuartLandau has no Jacobian"):
        dynamics.analysis.jacobian(StuartLandau(OMEGA), THETA0)


def test_awkward_input():
    big = OMEGA.astype(">f8")
    frozen = Z0.copy()
    frozen.flags.writeable = False
    wide = np.repeat(frozen, 2)[::2]
    reference = pa.simulate(StuartLandau(OMEGA), (0, 1), Z0)
    for omega, z in ((big, frozen), (OMEGA.tolist(), wide), (OMEGA, Z0.astype(">c16"))):
        np.testing.assert_array_equal(pa.simulate(StuartLandau(omega), (0, 1), z).R, reference.R)
    assert pa.simulate(StuartLandau([0]), (0, 1), rng=0).R[-1] == pytest.approx(1)
    assert pa.simulate(Spheres(np.zeros((1, 3, 3)), 0.0), (0, 1), rng=0).R[-1] == pytest.approx(1)
    lonely = pa.simulate(pa.Kuramoto(OMEGA, 1.0, np.zeros((N, N)), adaptation=0.1), (0, 1), THETA0)
    np.testing.assert_allclose(lonely.theta_end, THETA0 + OMEGA, atol=1e-13)
    assert lonely.states_end["weights"].shape == (0,)
    with pytest.warns(RuntimeWarning, match="try a dt below"):
        broken = pa.simulate(StuartLandau([0.0]), (0, 50), [40.0 + 0j], dt=1.0)
    assert broken.t_end == 0
    assert broken.states_end["z"] == [40.0]


# --- twins ----------------------------------------------------------------------------------------


@pytest.mark.cudasim
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("model", [
    StuartLandau(OMEGA, 1.3, growth=GROWTH, phase_lag=0.2), StuartLandau(OMEGA, 1.3, NETWORK, shear=SHEAR),
    Spheres(ROTATION, 1.3), Spheres(ROTATION, 1.3, NETWORK, "degree"),
    pa.Kuramoto(OMEGA, 1.3, NETWORK, adaptation=(0.2, 0.3)), pa.Kuramoto(OMEGA, 1.3, Ring(2)),
], ids=repr)  # fmt: skip
def test_twins(model, dtype):
    y = np.random.default_rng(0).normal(size=(2, model.states)).astype(dtype)
    expected = dynamics.Flow(model).derivative(y.astype(float))
    flow = dynamics.Flow(model, like=pa.to_device(y))
    atol = 1e-13 if dtype == np.float64 else 64 * 2.0**-23
    found = pa.to_host(flow.derivative(pa.to_device(y)))
    np.testing.assert_allclose(found, expected, rtol=0, atol=atol * max(1, np.abs(expected).max()))


def test_figures_of_vectors_show_R_alone():
    figure = pytest.importorskip("matplotlib.figure")
    found = pa.simulate(dynamics.Spheres(np.zeros((4, 3, 3))), (0, 1), samples=3, rng=0, save_theta=True)
    assert pa.plot.trajectory(found, figure=figure.Figure()).shape == (1,)
    with pytest.raises(ValueError, match="vectors, no phases"):
        pa.plot.on_circle(found, ax=figure.Figure().subplots())


@pytest.mark.parametrize(
    "model",
    [
        StuartLandau(np.zeros(4), growth=1e300),
        Spheres(np.zeros((4, 3, 3)), coupling=1e200),
        pa.Kuramoto(np.zeros(4), coupling=1e300),
        pa.Kuramoto([0.0, 1.0, 2.0, 1e20]),
    ],
)
def test_more_steps_than_can_be_counted_are_refused(model):
    with pytest.raises(ValueError, match=r"simulate needs 2e\+\d+ steps of 5e-\d+ for a time of 1: pass dt=0.001"):
        dynamics.simulate(model, (0.0, 1.0), rng=0, progress=False)


def test_steps_given_too_small_are_refused():
    with pytest.raises(ValueError, match="pass a larger dt"):
        dynamics.simulate(pa.Kuramoto(np.zeros(2)), (0.0, 1.0), dt=1e-300, rng=0, progress=False)


def test_fast_bodies_that_cost_time_are_told_of():
    model = StuartLandau(np.zeros(4), growth=1e6)
    with pytest.warns(UserWarning, match=r"simulate takes .* steps of .*, as the model moves at rates up to"):
        _pace.warn_of_tails(model, _pace.default_step(model), 100.0, 1)


def test_phases_go_on_from_amplitudes():
    before = pa.simulate(StuartLandau([1.0, 2.0]), (0, 1), [0.5 + 0.2j, -0.1j], dt=0.1)
    model = pa.Kuramoto([1.0, 2.0], 0.5)
    after, wanted = (pa.simulate(model, (1, 2), theta0, dt=0.1) for theta0 in (before, before.theta_end))
    np.testing.assert_array_equal(after.theta_end, wanted.theta_end)
