"""Delays, triangles, schedules, networks that switch, coloured noise, velocity Verlet: against loops and theory."""

import math
from itertools import pairwise

import numba
import numpy as np
import pytest
from scipy import sparse
from scipy.integrate import quad, solve_ivp
from scipy.interpolate import CubicSpline
from scipy.optimize import brentq

import primeattn as pa
from primeattn import dynamics
from primeattn.dynamics import _drive, _labelled
from primeattn.dynamics._methods import method

from .naive import kuramoto_dynamics as naive

N = 5
_rng = np.random.default_rng(0)
OMEGA = _rng.normal(size=N)
NETWORK = (_rng.random((N, N)) < 0.6) * _rng.normal(size=(N, N))
THETA0 = _rng.uniform(-3, 3, N)
TRIANGLES = np.array([(0, 1, 2), (3, 1, 0), (0, 2, 4), (4, 3, 3)])
WEIGHTS = _rng.normal(size=4)
DELAYS = np.where(NETWORK != 0, _rng.uniform(0.1, 0.6, (N, N)), 0.0)
DELAYS[tuple(np.argwhere(NETWORK)[0])] = 0.0  # one edge without
LISTED = [(*row, w) for row, w in zip(TRIANGLES.tolist(), WEIGHTS.tolist(), strict=True)]
SCHEDULE = ([0.0, 0.5, 1.0], [0.0, 2.0, 1.0])
EXACT = 2e-14  # 60 stages of sums of some ten terms of size 1, each rounded to 1e-16


def tableau(name):
    m = method(name)
    return {"a": [row[:i].tolist() for i, row in enumerate(m.a)], "b": m.b.tolist(), "c": m.c.tolist()}


def constant(tau, points=8):
    """The past of oscillators that stood still."""
    return naive.Memory(lambda t: THETA0.tolist(), lambda t: [0.0] * N, 0.0, tau, THETA0, points)


# --- against loops ----------------------------------------------------------------------------------------------------

CASES = {
    "all to all, delayed": ({"delay": 0.3}, {"delay": 0.3}),
    "delayed, with lag and harmonics": (
        {"delay": 0.3, "phase_lag": 0.4, "harmonics": {2: (0.5, 0.1)}},
        {"delay": 0.3, "lag": 0.4, "harmonics": [(2, 0.5, 0.1)]},
    ),
    "network, delayed": ({"network": NETWORK, "delay": 0.3}, {"network": NETWORK, "delay": 0.3}),
    "network, a delay an edge": (
        {"network": NETWORK, "delay": DELAYS, "harmonics": {3: (0.5, 0.1)}, "schedule": SCHEDULE},
        {"network": NETWORK, "delay": DELAYS, "harmonics": [(3, 0.5, 0.1)], "schedule": SCHEDULE},
    ),
    "triangles": (
        {"triangles": TRIANGLES, "triangle_weights": WEIGHTS, "triadic": (0.7, 0.4)},
        {"triangles": LISTED, "strengths": (0.7, 0.4)},
    ),
    "triangles of the second form": (
        {"triangles": TRIANGLES, "network": NETWORK},
        {"triangles": [(*row, 1.0) for row in TRIANGLES.tolist()], "strengths": (0.0, 1.0), "network": NETWORK},
    ),
    "schedule": ({"schedule": SCHEDULE, "delay": 0.25}, {"schedule": SCHEDULE, "delay": 0.25}),
}


@pytest.mark.parametrize("case", CASES)
def test_against_loops(case):
    options, terms = CASES[case]
    model = pa.Kuramoto(OMEGA, 1.3, **options, forcing=(0.4, 2.0, 0.3))
    longest = float(model.delays.max(initial=0))
    found = pa.simulate(model, (0, 1.5), THETA0, t_eval=[0.5, 1.0, 1.5], dt=0.1)
    # kinks at multiples of a delay are ends of steps, the same as those of the loops if they fall on them
    knots = (0.0, 0.5, 1.0) if model.schedule is not None else (0.0,)
    kinks = [a + k * longest for a in knots for k in (1, 2, 3)] if len(model.delays) == 1 else []
    edges = sorted({0.0, 0.5, 1.0, 1.5, *(k for k in kinks if k < 1.5)})
    memory = constant(longest) if longest else None
    y = THETA0.tolist()
    for a, b in pairwise(edges):
        terms = {"omega": OMEGA, "coupling": 1.3, "forcing": (0.4, 2.0, 0.3)} | terms
        steps = math.ceil((b - a) / 0.1 * (1 - 1e-12))
        y = naive.simulate(y, a, b, steps, terms, memory=memory, **tableau("rk4"))
    np.testing.assert_allclose(found.theta_end, y, rtol=0, atol=EXACT)
    wrong = pa.simulate(model.replace(coupling=1.3001), (0, 1.5), THETA0, t_eval=[0.5, 1.0, 1.5], dt=0.1)
    assert np.abs(wrong.theta_end - y).max() > 1e-6  # the comparison is alive


def coloured(h, tau):
    """``draw`` of Ornstein-Uhlenbeck noise, its covariances by quadrature; and room for its state."""
    decay = math.exp(-h / tau)
    var_end = quad(lambda u: 2 / tau * math.exp(-2 * u / tau), 0, h)[0]
    both = quad(lambda u: 2 * math.exp(-u / tau) * (1 - math.exp(-u / tau)), 0, h)[0]
    var_sum = quad(lambda u: 2 * tau * (1 - math.exp(-u / tau)) ** 2, 0, h, epsabs=1e-18)[0]
    a = math.sqrt(var_end)
    b, c = both / a, math.sqrt(var_sum - (both / a) ** 2)
    state = {}

    def draw(normals, i):
        old = state[i]
        state[i] = decay * old + a * normals[0]
        unit = math.sqrt(1 / (2 * tau))  # eta is that many states
        total = unit * ((1 - decay) * tau * old + b * normals[0] + c * normals[1])
        return total, total / 2 - h / 12 * unit * (state[i] - old)

    return draw, state


@pytest.mark.parametrize("tau", [None, 0.4], ids=["white", "coloured"])
@pytest.mark.parametrize("delay", [0.2, DELAYS], ids=["one delay", "a delay an edge"])
def test_a_delayed_noisy_triadic_inertial_network(tau, delay):
    inertia, steps, seed = np.linspace(0.5, 1.5, N), 16, 11
    model = pa.Kuramoto(
        OMEGA, 1.3, NETWORK, delay=delay, triangles=TRIANGLES, triangle_weights=WEIGHTS, triadic=(0.7, 0.4),
        inertia=inertia, friction=0.8, diffusion=0.05, correlation_time=tau, schedule=([0.0], [1.5]),
    )  # fmt: skip
    h, t1 = 0.05, 0.8
    t_eval = [0.2, 0.4, 0.6, 0.8]  # multiples of the delay, which would be stops in any case
    found = pa.simulate(model, (0, t1), THETA0, velocity0=0.3 * OMEGA, t_eval=t_eval, dt=h, rng=seed)
    assert found.settings["steps"] == steps
    key, noise = found.settings["seed"], None
    if tau is not None:
        noise, state = coloured(h, tau)
        drawn = np.random.Generator(np.random.Philox(key=[key, 0])).standard_normal(N)
        state.update(enumerate(drawn.tolist()))

    def draw(step, i):
        pair = naive.normals(key, 0, step, i)
        return naive.white(h, *pair) if noise is None else noise(pair, i)

    terms = {
        "omega": OMEGA, "coupling": 1.3, "network": NETWORK, "delay": delay, "triangles": LISTED,
        "strengths": (0.7, 0.4), "schedule": ([0.0], [1.5]),
    }  # fmt: skip
    y = naive.simulate(
        [*THETA0, *(0.3 * OMEGA)], 0.0, t1, steps, terms, **tableau("sra1"), inertia=inertia, friction=0.8,
        sigma=math.sqrt(0.1), kicks=[(0.0, 0.0), (0.0, 1.5), (1.0, 0.0)], draw=draw,
        memory=constant(float(np.max(delay))),
    )  # fmt: skip
    # the elementary functions of the noise agree to some 1e-15, the quadrature of its covariance to 1e-13
    np.testing.assert_allclose(np.concatenate([found.theta_end, found.velocity_end]), y, rtol=0, atol=1e-12)


# --- delays -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", [None, np.ones((2, 2)) - np.eye(2)], ids=["all to all", "network"])
def test_frequency_of_two_delayed_oscillators(network):
    """In step, Omega = omega - (K / 2) sin(Omega tau); Yeung and Strogatz (1999), without the self term."""
    expected = brentq(lambda w: 1 - 0.5 * math.sin(0.5 * w) - w, 0, 1.5, xtol=1e-15)
    assert round(expected, 4) == 0.8043
    model = pa.Kuramoto([1.0, 1.0], 1.0, network, delay=0.5)
    found = pa.simulate(model, (0, 60), [0.0, 0.1], dt=0.05, samples=61, save_theta=True)
    speed = (found.theta[-1] - found.theta[-11]) / 10
    np.testing.assert_allclose(speed, expected, rtol=0, atol=1e-11)  # the transient has decayed to rounding
    np.testing.assert_allclose(found.R[-1], 1, atol=1e-12)


def by_steps(model, tau, past, t1, rtol=1e-12, network=lambda t: 1 - np.eye(N), factor=lambda t: 1.0, jumps=()):
    """The method of steps: an ordinary equation after the other, with SciPy's dense output for what was.

    ``network`` and ``factor`` may change in time, the slope or its derivative being discontinuous at ``jumps``.
    """
    n, y, pieces = model.size, np.asarray(past(0.0)), []

    def then(s):
        if s <= 0:
            return np.asarray(past(s))
        return next(p for end, p in pieces if s <= end + 1e-12)(s)

    echoes = range(math.ceil(t1 / tau)) if tau else (0,)
    ends = {a + k * (tau or 0.0) for a in (0.0, *jumps) for k in echoes} | {t1}
    for a, b in pairwise(sorted(t for t in ends if 0 <= t <= t1)):
        weight = model.coupling / n * network((a + b) / 2)

        def slope(s, theta, weight=weight):
            late = then(s - tau) if tau else theta
            return model.omega + factor(s) * (weight * np.sin(late[None] - theta[:, None])).sum(axis=1)

        found = solve_ivp(slope, (a, b), y, method="DOP853", rtol=rtol, atol=1e-13, dense_output=True)
        pieces.append((b, found.sol))
        y = found.y[:, -1]
    return y


def wavy(t):
    return THETA0 + np.sin(1.3 * t + np.arange(N)) - np.sin(np.arange(N))


@pytest.mark.parametrize("history", [None, "rotating", wavy], ids=["constant", "rotating", "function"])
def test_order_four_is_kept(history):
    """Against the method of steps; tau is no multiple of the step, and the history no solution."""
    model, tau = pa.Kuramoto(OMEGA, 2.0, delay=0.37), 0.37
    past = {None: lambda t: THETA0, "rotating": lambda t: THETA0 + OMEGA * t}.get(history, wavy)
    exact = by_steps(model, tau, past, 2.0)

    def error(dt):
        return np.abs(pa.simulate(model, (0, 2), THETA0, dt=dt, samples=2, history=history).theta_end - exact).max()

    coarse, fine = error(0.02), error(0.01)
    assert math.log2(coarse / fine) > 3.6  # 4, less what steps of unequal length change
    assert fine < 2e-9


def test_delays_that_are_equal_are_one_delay():
    edges = int((NETWORK != 0).sum())
    one = pa.simulate(pa.Kuramoto(OMEGA, 1.0, NETWORK, delay=0.3), (0, 2), THETA0, samples=5)
    each = pa.simulate(pa.Kuramoto(OMEGA, 1.0, NETWORK, delay=np.full(edges, 0.3)), (0, 2), THETA0, samples=5)
    np.testing.assert_array_equal(one.theta_end, each.theta_end)
    none = pa.simulate(pa.Kuramoto(OMEGA, 1.0, NETWORK, delay=0.0), (0, 2), THETA0, samples=5, dt=0.05)
    plain = pa.simulate(pa.Kuramoto(OMEGA, 1.0, NETWORK), (0, 2), THETA0, samples=5, dt=0.05)
    np.testing.assert_array_equal(none.theta_end, plain.theta_end)
    # two kernels, one equation: all delays 0.3 but for one edge of 0.3 (1 + 1e-9)
    almost = np.full(edges, 0.3)
    almost[-1] *= 1 + 1e-9
    each = pa.simulate(pa.Kuramoto(OMEGA, 1.0, NETWORK, delay=almost), (0, 2), THETA0, samples=5, dt=0.05)
    one = pa.simulate(pa.Kuramoto(OMEGA, 1.0, NETWORK, delay=0.3), (0, 2), THETA0, samples=5, dt=0.05)
    np.testing.assert_allclose(each.theta_end, one.theta_end, atol=1e-7)
    matrix = sparse.csr_array(DELAYS)
    a = pa.simulate(pa.Kuramoto(OMEGA, 1.0, NETWORK, delay=matrix), (0, 1), THETA0, samples=5)
    b = pa.simulate(pa.Kuramoto(OMEGA, 1.0, NETWORK, delay=DELAYS), (0, 1), THETA0, samples=5)
    np.testing.assert_array_equal(a.theta_end, b.theta_end)


REMEMBERING = {
    "one delay, coloured": {"delay": 0.21, "diffusion": 0.1, "correlation_time": 0.3},
    "a delay an edge": {"network": NETWORK, "delay": DELAYS, "inertia": 1.0},
    "a network that switches": {"network": [(0.0, NETWORK), (0.61, NETWORK.T), (1.3, np.ones((N, N)))], "delay": 0.2},
}


class Breaks:
    """Ctrl-C at every so manieth look."""

    def __init__(self, every):
        self.left = every

    def __call__(self, share, t):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


@pytest.mark.parametrize("options", REMEMBERING)
def test_memory_survives_threads_pieces_and_checkpoints(options, monkeypatch, tmp_path):
    model = pa.Kuramoto(OMEGA, 1.5, **REMEMBERING[options])
    theta0 = np.linspace(-1, 1, 3)[:, None] + THETA0
    call = {"theta0": theta0, "rng": 1, "save_theta": True, "t_eval": [0.3, 0.31, 0.9, 1.0, 2.0]}
    whole = pa.simulate(model, (0, 2), **call)
    monkeypatch.setattr(_drive, "_PIECE", 400.0)
    before = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        np.testing.assert_array_equal(pa.simulate(model, (0, 2), **call).theta, whole.theta)
    finally:
        numba.set_num_threads(before)
    call |= {"checkpoint": tmp_path / "run.npz", "checkpoint_every": 1e-9}
    for _ in range(300):
        part = pa.simulate(model, (0, 2), **call, progress=Breaks(6))
        if part.status == "finished":
            break
    np.testing.assert_array_equal(part.theta, whole.theta)
    with pytest.raises(ValueError, match="of another run"):
        pa.simulate(model.replace(coupling=1.6), (0, 2), **call)


def test_a_team_of_threads_with_a_delay(monkeypatch):
    n = 20_000
    model = pa.Kuramoto(dynamics.frequencies.gaussian(n), 2.0, delay=0.1, diffusion=0.01, correlation_time=0.2)
    call = {"theta0": np.linspace(-3, 3, n), "dt": 0.05, "samples": 3, "rng": 0}
    many = pa.simulate(model, (0, 0.3), **call)
    monkeypatch.setattr(_drive, "_TEAM_FROM", 10**9)
    np.testing.assert_array_equal(pa.simulate(model, (0, 0.3), **call).theta_end, many.theta_end)


def test_long_delays_and_dense_samples_find_their_past():
    """More steps within the delay than dt says, as samples end steps: the ring is long enough, or theta would jump."""
    model = pa.Kuramoto(OMEGA, 1.0, delay=1.0)
    dense = np.concatenate([np.linspace(0.1, 0.2, 400), np.linspace(2.5, 3.0, 300), [5.0]])
    found = pa.simulate(model, (0, 5), THETA0, t_eval=dense, dt=0.05)
    exact = by_steps(model, 1.0, lambda t: THETA0, 5.0)
    np.testing.assert_allclose(found.theta_end, exact, atol=2e-6)  # h^4 K^5 / 120 over 5 units of time


# --- time-varying coupling --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["rk4", "dopri5"])
def test_networks_that_switch(name):
    """As one run after another, each of its network; forward, and backward along the same way."""
    options = {"method": name, "dt": 0.05, "rtol": 1e-10, "atol": 1e-10}
    nets, times = [NETWORK, NETWORK.T, np.ones((N, N))], [0.0, 0.7, 1.3]
    model = pa.Kuramoto(OMEGA, 1.5, list(zip(times, nets, strict=True)), normalize="degree")
    found = pa.simulate(model, (-0.5, 2), THETA0, t_eval=[0.1, 0.7, 1.0, 2.0], **options)
    theta = THETA0
    for net, a, b in zip(nets, [-0.5, 0.7, 1.3], [0.7, 1.3, 2.0], strict=True):
        theta = pa.simulate(pa.Kuramoto(OMEGA, 1.5, net, "degree"), (a, b), theta, samples=2, **options).theta_end
    # errors of the two ways to cut the steps: of rk4 h^4, of dopri5 its tolerance
    np.testing.assert_allclose(found.theta_end, theta, atol=3e-6 if name == "rk4" else 1e-8)
    back = pa.simulate(model, (2, -0.5), found.theta_end, samples=2, **options)
    np.testing.assert_allclose(back.theta_end, THETA0, atol=3e-5 if name == "rk4" else 1e-6)


def test_a_schedule_is_the_coupling_as_a_function_of_time():
    t, k = np.array([0.2, 1.0, 1.5]), np.array([0.0, 3.0, -1.0])
    model = pa.Kuramoto(OMEGA, 1.0, schedule=(t, k))

    def slope(s, theta):
        return OMEGA + np.interp(s, t, k) / N * np.sin(theta[None] - theta[:, None]).sum(axis=1)

    exact = THETA0
    for a, b in [(0.0, 0.2), (0.2, 1.0), (1.0, 1.5), (1.5, 2.0)]:
        exact = solve_ivp(slope, (a, b), exact, method="DOP853", rtol=1e-12, atol=1e-12).y[:, -1]
    for name, error in (("dop853", 1e-9), ("rk4", 1e-8)):  # the tolerance; 0.01^4
        found = pa.simulate(model, (0, 2), THETA0, method=name, dt=0.01, samples=2, rtol=1e-11, atol=1e-11)
        np.testing.assert_allclose(found.theta_end, exact, atol=error)


@pytest.mark.parametrize("delay", [None, 0.37], ids=["", "delayed"])
@pytest.mark.parametrize("what", ["switches", "schedule"])
def test_order_four_is_kept_where_coupling_jumps_or_bends(what, delay):
    """No step goes over a time at which the slope is not smooth, and none over where a delay brings it back."""
    times, nets, knots = [0.0, 0.73, 1.31], [NETWORK, NETWORK.T, NETWORK**2], ([0.0, 0.73, 1.0], [0.5, 2.0, 1.0])
    if what == "switches":
        model = pa.Kuramoto(OMEGA, 4.0, list(zip(times, nets, strict=True)), delay=delay)
        terms = {"network": lambda t: nets[np.searchsorted(times, t) - 1], "jumps": times[1:]}
    else:
        model = pa.Kuramoto(OMEGA, 4.0, NETWORK, delay=delay, schedule=knots)
        terms = {"network": lambda t: NETWORK, "factor": lambda t: np.interp(t, *knots), "jumps": knots[0][1:]}
    exact = by_steps(model, delay, lambda t: THETA0, 2.0, **terms)
    errors = [
        np.abs(pa.simulate(model, (0, 2), THETA0, dt=dt, samples=2).theta_end - exact).max() for dt in (0.02, 0.01)
    ]
    assert math.log2(errors[0] / errors[1]) > 3.7
    assert errors[1] < 3e-9
    if not delay:
        tight = {"method": "dop853", "rtol": 1e-12, "atol": 1e-12}
        np.testing.assert_allclose(pa.simulate(model, (0, 2), THETA0, **tight).theta_end, exact, atol=1e-10)


# --- coloured noise ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dt", [0.01, 0.5, 5.0])
def test_coloured_noise_is_exact_at_any_step(dt):
    """Uncoupled, <theta^2> = 2 D (t - tau (1 - exp(-t / tau))): the mean square of N^2 = 10^4 has an error of 1.4 %."""
    model = pa.Kuramoto(np.zeros(100), 0.0, diffusion=0.5, correlation_time=2.0)
    for t in (0.5, 5.0):
        found = pa.simulate(model, (0, t), np.zeros(100), runs=100, dt=dt, samples=2, rng=4, method="euler_maruyama")
        expected = t - 2 * (1 - math.exp(-t / 2))
        np.testing.assert_allclose((found.theta_end**2).mean() / expected, 1, atol=0.06)  # four such errors


def test_spread_has_no_cancellation():
    """2 z - 4 tanh(z / 2) against the covariance it is, in extended precision."""
    mpmath = pytest.importorskip("mpmath")
    from primeattn.dynamics._colour import spread

    with mpmath.workdps(40):
        for z in (1e-6, 1e-3, 0.0499, 0.0501, 1.0, 30.0):
            exact = 2 * mpmath.mpf(z) - 4 * mpmath.tanh(mpmath.mpf(z) / 2)
            assert abs(spread(z) / exact - 1) < 1e-12  # at 0.05, 0.1 less its first 2e-5


# --- velocity Verlet --------------------------------------------------------------------------------------------------


def energy(theta, velocity, omega, coupling, inertia):
    """Conserved without friction."""
    bond = 1 - np.cos(theta[:, None] - theta[..., None])
    return (inertia * velocity**2 / 2 - omega * theta).sum(axis=-1) + coupling / (2 * theta.shape[-1]) * bond.sum(
        axis=(-1, -2)
    )


def test_verlet_keeps_the_energy():
    """Bounded over 10^5 steps, without a drift: the means of its first and second half agree."""
    omega = OMEGA - OMEGA.mean()
    model = pa.Kuramoto(omega, 8.0, inertia=1.0, friction=0.0)
    call = {"velocity0": np.zeros(N), "dt": 0.05, "samples": 1001, "save_theta": True}
    found = pa.simulate(model, (0, 5000), 0.3 * THETA0, method="verlet", **call)
    assert found.settings["steps"] >= 100_000
    change = energy(found.theta, found.velocity, omega, 8.0, 1.0)
    change = change - change[0]
    assert np.abs(change).max() < 0.05  # h^2 K^2 / 24 of an energy of about 6
    assert abs(change[:500].mean() - change[500:].mean()) < 0.002
    other = pa.simulate(model, (0, 5000), 0.3 * THETA0, method="heun", **call)
    lost = energy(other.theta[-1:], other.velocity[-1:], omega, 8.0, 1.0) - energy(
        other.theta[:1], other.velocity[:1], omega, 8.0, 1.0
    )
    assert abs(lost[0]) > 0.5  # the same order, and not symplectic


def test_verlet_has_order_two():
    model = pa.Kuramoto(OMEGA, 3.0, inertia=np.linspace(1, 2, N), friction=0.0)
    ends = [
        pa.simulate(model, (0, 2), THETA0, method=name, dt=dt, samples=2, rtol=1e-12, atol=1e-12).theta_end
        for name, dt in (("dop853", 1.0), ("verlet", 0.02), ("verlet", 0.01))
    ]
    coarse, fine = (np.abs(end - ends[0]).max() for end in ends[1:])
    assert abs(math.log2(coarse / fine) - 2) < 0.05


# --- files, functions of arrays, refusals -----------------------------------------------------------------------------


def test_models_in_files():
    model = pa.Kuramoto(
        OMEGA, 1.0, NETWORK, delay=DELAYS, schedule=SCHEDULE, triangles=TRIANGLES, triangle_weights=WEIGHTS,
        correlation_time=0.5, diffusion=0.1,
    )  # fmt: skip
    found = pa.simulate(model, (0, 0.2), THETA0, samples=2)
    back = _labelled.from_dataset(found.to_xarray()).model
    for a, b in zip(model.arrays()[0], back.arrays()[0], strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(model.delays, back.delays)
    assert back.correlation_time == 0.5
    switching = pa.Kuramoto(OMEGA, 1.0, [(0.0, NETWORK), (1.0, NETWORK.T)])
    data = pa.simulate(switching, (0, 0.2), THETA0, samples=2).to_xarray()
    back = _labelled.from_dataset(data).model
    assert [t for t, _ in back.networks] == [0.0, 1.0]
    for (_, a), (_, b) in zip(switching.networks, back.networks, strict=True):
        for one, two in zip(a, b, strict=True):
            np.testing.assert_array_equal(one, two)


def test_derivative_of_arrays():
    model = pa.Kuramoto(
        OMEGA, 1.3, triangles=TRIANGLES, triangle_weights=WEIGHTS, triadic=(0.7, 0.4), schedule=SCHEDULE
    )
    terms = {"omega": OMEGA, "coupling": 1.3, "triangles": LISTED, "strengths": (0.7, 0.4), "schedule": SCHEDULE}
    for t in (-1.0, 0.3, 0.7, 2.0):
        expected = [naive.force(i, t, THETA0, **terms) for i in range(N)]
        np.testing.assert_allclose(dynamics.Flow(model).derivative(THETA0, t=t), expected, atol=1e-14)
    for options in ({"delay": 0.1}, {"correlation_time": 0.1}, {"network": [(0.0, NETWORK), (1.0, NETWORK)]}):
        with pytest.raises(ValueError, match=r"the functional layer and .* lack: pa\.simulate"):
            dynamics.Flow(pa.Kuramoto(OMEGA, 1.0, **options))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"delay": -1.0}, "finite times >= 0"),
        ({"delay": math.nan}, "finite times >= 0"),
        ({"delay": [0.1, 0.2]}, "delay has shape (2,): a number is wanted"),
        ({"delay": DELAYS}, "there is no network"),
        ({"delay": np.ones((N, N)), "network": NETWORK}, "where the network has no edge"),
        ({"delay": DELAYS[:2], "network": NETWORK}, "delay has shape (2, 5)"),
        ({"delay": DELAYS, "network": [(0, NETWORK), (1, NETWORK)]}, "one delay of all is wanted"),
        ({"triangles": [[0, 1]]}, "(T, 3) integers"),
        ({"triangles": [[0.0, 1, 2]]}, "(T, 3) integers"),
        ({"triangles": [[0, 1, 5]]}, "names oscillators 0 to 5: 0 to 4"),
        ({"triangles": [[0, 1, 2]], "triangle_weights": [1.0, 2.0]}, "triangle_weights has shape (2,)"),
        ({"triangle_weights": [1.0]}, "without triangles"),
        ({"schedule": [1.0, 2.0]}, "schedule has shape (2,)"),
        ({"schedule": ([1.0, 1.0], [0.0, 1.0])}, "ascending times"),
        ({"schedule": ([1.0, 2.0], [0.0])}, "of one length"),
        ({"correlation_time": 0.0}, "correlation_time is 0.0: > 0"),
        ({"network": [(1.0, NETWORK), (0.0, NETWORK)]}, "finite ones that ascend"),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_a_model_refuses(options, says):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        pa.Kuramoto(OMEGA, 1.0, **options)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("options", "call", "says"),
    [
        ({"delay": 0.1}, {"method": "dopri5"}, "method='rk4'"),
        ({"delay": 0.1}, {"method": "scipy:RK45"}, "method='rk4'"),
        ({"delay": 0.1}, {"t_span": (1, 0)}, "no way back"),
        ({"delay": 0.1}, {"dt": 0.2}, "dt=0.1 or less"),
        ({"delay": 0.1}, {"history": 1.0}, "history is 1.0"),
        ({"delay": 0.1}, {"history": lambda t: [t]}, "has shape (1,): finite phases of shape (5,)"),
        ({}, {"history": "rotating"}, "the model has no delay"),
        ({}, {"method": "verlet"}, "inertia=... and friction=0"),
        ({"inertia": 1.0}, {"method": "verlet"}, "inertia=... and friction=0"),
        ({"delay": 1e6, "network": np.ones((N, N))}, {"dt": 1e-4, "t_span": (0, 1e6)}, "a larger dt, or fewer runs"),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_simulate_refuses(options, call, says):
    model = pa.Kuramoto(OMEGA, 1.0, **options)
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        pa.simulate(model, call.pop("t_span", (0, 1)), THETA0, **call)
    assert says in str(caught.value)


def test_a_trajectory_has_no_past():
    model = pa.Kuramoto(OMEGA, 1.0, delay=0.1)
    found = pa.simulate(model, (0, 1), THETA0, samples=2)
    with pytest.raises(ValueError, match="its past is wanted"):
        pa.simulate(model, (1, 2), found)


def test_a_delayed_run_goes_on_with_its_past():
    """A spline through samples 0.01 apart, whose error is (5 / 384) h^4 of a fourth derivative below 100."""
    model, call = pa.Kuramoto(OMEGA, 2.0, NETWORK, delay=0.3), {"save_theta": True, "dt": 0.01}
    whole = pa.simulate(model, (0, 3), THETA0, samples=301, **call)
    half = pa.simulate(model, (0, 2), THETA0, samples=201, **call)
    past = CubicSpline(half.t, half.theta)
    rest = pa.simulate(model, (2, 3), half, samples=101, history=past, **call)
    np.testing.assert_allclose(rest.theta, whole.theta[200:], rtol=0, atol=1e-7)
    forgetful = pa.simulate(model, (2, 3), half.theta_end, samples=101, **call)
    assert np.abs(forgetful.theta - whole.theta[200:]).max() > 1e-3
