"""The driver: what a call returns, refuses, interrupts, resumes; observables against loops; the model's errors.

What the equations do is in test_dynamics_results.py.
"""

import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import numba
import numpy as np
import pytest
from scipy import sparse
from scipy.integrate import solve_ivp

import primeattn as pa
from primeattn import dynamics
from primeattn._runtime import progress
from primeattn.dynamics import _drive, _run, _walk

from .naive import observables as naive

ROOT = Path(pa.__file__).parent.parent
N = 12
OMEGA = np.linspace(-1.0, 1.0, N)
LABELS = np.arange(N) % 3


@pytest.fixture
def theta0(rng):
    return rng.uniform(-math.pi, math.pi, N)


@pytest.fixture
def model():
    return pa.Kuramoto(OMEGA, coupling=1.2)


@pytest.fixture
def network(rng):
    return (rng.random((N, N)) < 0.3) * rng.normal(size=(N, N)) * (1 - np.eye(N))


@pytest.fixture
def short_pieces(monkeypatch):
    """Many looks at Ctrl-C, and chunks of a few samples."""
    monkeypatch.setattr(_drive, "_PIECE", 1000.0)
    monkeypatch.setattr(_run, "_CHUNK", 7 * N)


def same(a, b):
    """Every number, bit by bit."""
    assert a.status == b.status
    np.testing.assert_array_equal(a.t, b.t)
    for name in a.observables:
        np.testing.assert_array_equal(a[name], b[name], name)
    for name in ("theta", "velocity", "theta_end", "velocity_end"):
        if getattr(a, name) is not None:
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name), name)


def slope(model, W=None, lag=0.0):
    """theta' in plain NumPy."""
    W = np.ones((N, N)) if W is None else W

    def f(t, theta):
        return model.omega + model.coupling / N * (W * np.sin(theta[None] - theta[:, None] - lag)).sum(axis=1)

    return f


# --- a run ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["rk4", "dop853"])
@pytest.mark.parametrize("span", [(0.0, 6.0), (2.0, -1.0)], ids=["forward", "backward"])
def test_against_scipy(method, span, model, theta0, network):
    t = np.linspace(*span, 9)[1:]
    coupled = model.replace(network=network, phase_lag=0.3)
    for one, f in ((model, slope(model)), (coupled, slope(model, network, 0.3))):
        exact = solve_ivp(f, span, theta0, t_eval=t, method="DOP853", rtol=1e-12, atol=1e-12).y.T
        found = pa.simulate(
            one, span, theta0, method=method, t_eval=t, rtol=1e-11, atol=1e-11, dt=0.01, save_theta=True
        )
        # rk4: (1/120) h^4 of third to fifth derivatives of size ~ 3^5, over 6 units of time; dop853: its tolerance
        np.testing.assert_allclose(found.theta, exact, atol=2e-7 if method == "rk4" else 2e-9)
        np.testing.assert_array_equal(found.t, t)
        np.testing.assert_array_equal(found.theta_end, found.theta[-1])
        assert found.t_end == t[-1]
        assert found.status == "finished"


@pytest.mark.parametrize("name", ["DOP853", "Radau"])
def test_the_oracle_behind_the_same_call(name, model, theta0, network):
    """Harmonics, triads, inertia, forcing, a network; several runs."""
    full = model.replace(network=network, harmonics={2: 0.4}, triadic=(0.3, 0.2), forcing=(0.2, 1.5), inertia=0.7)
    call = {"samples": 6, "save_theta": True, "runs": 2, "rng": 0, "rtol": 1e-8, "atol": 1e-8}
    ours = pa.simulate(full, (0, 4), method="dop853", **call)
    theirs = pa.simulate(full, (0, 4), method=f"scipy:{name}", **call)
    np.testing.assert_allclose(ours.theta, theirs.theta, atol=3e-6)  # errors of steps add up over hundreds of them
    np.testing.assert_allclose(ours.velocity_end, theirs.velocity_end, atol=3e-6)
    assert theirs.settings["method"] == f"scipy:{name}"


def test_defaults(model):
    found = pa.simulate(model, (0, 1), rng=0)
    assert found.R.shape == found.t.shape == (201,)
    assert found.theta is None
    assert (found.t[0], found.t[-1]) == (0, 1)
    assert repr(found) == "Trajectory(201 samples of 12 oscillators, R; finished)"
    same(found, pa.simulate(model, (0, 1), rng=0))
    assert not np.array_equal(found.R, pa.simulate(model, (0, 1), rng=1).R)
    assert not np.array_equal(found.R, pa.simulate(model, (0, 1)).R)


@pytest.mark.parametrize("options", [{"method": "rk4"}, {"method": "dop853"}, {"diffusion": 0.1}], ids=str)
def test_neither_threads_nor_pieces_change_a_bit(options, model, monkeypatch):
    noisy = {k: v for k, v in options.items() if k == "diffusion"}
    call = {k: v for k, v in options.items() if k != "diffusion"} | {
        "rng": 1, "save_theta": True, "runs": 5, "transient": 1.0, "samples": 30,
        "observables": ("R", "velocity", "frequencies", "locking", "metastability", "entropy"),
    }  # fmt: skip
    monkeypatch.setattr(_run, "_CHUNK", 7 * N * 5)
    one = pa.simulate(model.replace(**noisy), (0, 3), **call)
    monkeypatch.setattr(_drive, "_PIECE", 3000.0)
    before = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        same(one, pa.simulate(model.replace(**noisy), (0, 3), **call))
    finally:
        numba.set_num_threads(before)
    same(one, pa.simulate(model.replace(**noisy), (0, 3), **call))


def test_a_team_of_threads_gives_the_bits_of_one(monkeypatch, rng):
    """More than two blocks of oscillators, shared among threads within a step."""
    n = 20_000
    model = pa.Kuramoto(dynamics.frequencies.gaussian(n), coupling=2.0, diffusion=0.01)
    call = {"theta0": rng.uniform(-3, 3, n), "dt": 0.05, "samples": 3, "rng": 0}
    many = pa.simulate(model, (0, 0.2), **call)
    monkeypatch.setattr(_drive, "_TEAM_FROM", 10**9)
    same(many, pa.simulate(model, (0, 0.2), **call))


def test_go_on_from_a_trajectory(model, theta0):
    whole = pa.simulate(model, (0, 4), theta0, samples=9, save_theta=True, dt=0.1)
    half = pa.simulate(model, (0, 2), theta0, samples=5, dt=0.1)
    rest = pa.simulate(model, (half.t_end, 4), half, samples=5, save_theta=True, dt=0.1)
    np.testing.assert_array_equal(rest.theta[0], half.theta_end)
    np.testing.assert_allclose(rest.theta, whole.theta[4:], atol=1e-13)  # steps of equal length but for rounding
    heavy = model.replace(inertia=2.0)
    half = pa.simulate(heavy, (0, 2), theta0, samples=5, dt=0.1)
    rest = pa.simulate(heavy, (2, 4), half, samples=5, dt=0.1)
    np.testing.assert_allclose(
        rest.velocity_end, pa.simulate(heavy, (0, 4), theta0, samples=9, dt=0.1).velocity_end, atol=1e-13
    )


@pytest.mark.parametrize("runs", [None, 1, 3])
def test_runs_axis(runs, model):
    found = pa.simulate(model, (0, 1), runs=runs, rng=0, observables=("R", "frequencies"), save_theta=True, samples=4)
    lead = () if runs is None else (runs,)
    assert found.R.shape == (*lead, 4)
    assert found["frequencies"].shape == found.theta_end.shape == (*lead, N)
    assert found.theta.shape == (*lead, 4, N)


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled")
def test_a_parameter_that_changes_compiles_nothing(model, theta0, network):
    """One compilation of each kernel serves every model: numbers, sizes, networks, terms, methods."""
    kernels = {_walk.fixed: (model.replace(diffusion=0.1), {}), _walk.controlled: (model, {"method": "dop853"})}
    for one, options in kernels.values():
        pa.simulate(one, (0, 0.1), theta0, samples=2, rng=0, **options)
    counts = {kernel: len(kernel.signatures) for kernel in kernels}
    groups = [0] * 5 + [1] * (N - 5)
    changes = [
        {"coupling": 0.3},
        {"omega": np.arange(5.0)},
        {"omega": np.zeros((3, N)), "coupling": [1.0, 2.0, 3.0]},
        {"network": network},
        {"network": network != 0, "normalize": "degree"},
        {"network": np.ones((N, N)), "normalize": None},
        {"network": dynamics.Ring(2)},
        {"coupling": np.ones((2, 2)), "groups": groups},
        {"phase_lag": 0.2, "harmonics": {2: 0.3, 3: (0.1, 0.2)}, "triadic": (0.1, 0.2), "forcing": (0.1, 1.0)},
        {"triangles": [(0, 1, 2)], "inertia": 0.5, "friction": np.linspace(0, 1, N)},
        {"schedule": ([0.0, 1.0], [1.0, 2.0]), "network": network, "adaptation": 0.1},
    ]
    for change in changes:
        changed = model.replace(**change)
        for method in ("rk4", "euler", "dopri5"):
            pa.simulate(changed, (0, 0.1), samples=2, method=method, rng=0)
    for fixed_steps in (
        {"delay": 0.1},
        {"delay": np.linspace(0.1, 0.2, np.count_nonzero(network)), "network": network, "diffusion": 0.1},
        {"diffusion": np.linspace(0, 1, N), "correlation_time": 0.5},
        {"network": [(0.0, network), (0.05, network.T)]},
    ):
        pa.simulate(model.replace(**fixed_steps), (0, 0.1), samples=2, rng=0)
    for bodies in (dynamics.StuartLandau(OMEGA, network=network), dynamics.Spheres(np.zeros((N, 3, 3)))):
        pa.simulate(bodies, (0, 0.1), samples=2, rng=0)
    assert {kernel: len(kernel.signatures) for kernel in kernels} == counts


# --- edges of the model ---------------------------------------------------------------------------------------------


def test_one_oscillator_and_no_coupling():
    alone = pa.simulate(pa.Kuramoto([2.0], coupling=5.0), (0, 3), [0.5], save_theta=True, samples=4)
    np.testing.assert_allclose(alone.theta[:, 0], 0.5 + 2 * alone.t, atol=1e-13)
    np.testing.assert_allclose(alone.R, 1, atol=1e-15)
    free = pa.simulate(pa.Kuramoto(OMEGA, coupling=0.0), (0, 3), np.zeros(N), save_theta=True, samples=4)
    np.testing.assert_allclose(free.theta, OMEGA * free.t[:, None], atol=1e-13)


def test_networks_that_are_empty_or_in_pieces(theta0):
    empty = pa.Kuramoto(OMEGA, 3.0, network=sparse.csr_array((N, N)), normalize="degree")
    found = pa.simulate(empty, (0, 2), theta0, samples=3, observables=("R", "R_local"))
    np.testing.assert_allclose(found.theta_end, theta0 + 2 * OMEGA, atol=1e-13)
    assert not found["R_local"].any()
    half = np.kron(np.eye(2), np.ones((N // 2, N // 2)))  # two cliques that do not hear each other
    both = pa.simulate(pa.Kuramoto(OMEGA, 3.0, network=half), (0, 2), theta0, samples=3)
    first = pa.simulate(pa.Kuramoto(OMEGA[: N // 2], 1.5), (0, 2), theta0[: N // 2], samples=3, dt=both.settings["dt"])
    np.testing.assert_allclose(both.theta_end[: N // 2], first.theta_end, atol=1e-13)  # sums in another order


@pytest.mark.parametrize("given", [np.float32, np.int64, ">f8", "reversed", "read-only"], ids=str)
def test_awkward_arrays(given):
    omega, theta = np.arange(N), np.arange(N)[::-1]
    if given == "reversed":
        omega, theta = omega[::-1][::-1], np.arange(2.0 * N)[::-2] / 2 - 0.5
    elif given == "read-only":
        omega.flags.writeable = theta.flags.writeable = False
    else:
        omega, theta = omega.astype(given), theta.astype(given)
    plain = pa.simulate(pa.Kuramoto(np.arange(N) * 1.0), (0, 1), np.arange(N)[::-1] * 1.0, samples=2)
    same(plain, pa.simulate(pa.Kuramoto(omega), (0, 1), theta, samples=2))


def refusals():
    W = np.ones((N, N))
    nan = np.where(np.arange(N) == 3, math.nan, OMEGA)
    return [
        ({"omega": nan}, "omega has entries that are NaN"),
        ({"omega": OMEGA * 1j}, "real numbers are wanted"),
        ({"omega": []}, "N at least 1"),
        ({"omega": 1.0}, "omega has shape ()"),
        ({"coupling": math.inf}, "coupling has entries that are NaN or infinite"),
        ({"coupling": np.ones((2, 2))}, "coupling has shape (2, 2)"),
        ({"omega": np.ones((3, N)), "coupling": np.ones(2)}, "differ in their number of runs: [2, 3]"),
        ({"network": W[:3]}, "(12, 12) is wanted"),
        ({"network": [(0, 1), (1, 2)]}, "for a list of edges networks.from_edges(12, *numpy.transpose(edges))"),
        ({"network": np.ones((5, 3))}, "networks.from_edges(12, source, target, weight)"),
        ({"network": W * math.nan}, "weights that are NaN"),
        ({"network": sparse.csr_array(W * 1j)}, "real weights are wanted"),
        ({"network": "ring"}, "a SciPy sparse or dense (N, N) matrix"),
        ({"network": W, "groups": LABELS}, "groups couple all to all"),
        ({"normalize": "sum"}, "normalize is 'sum'"),
        ({"groups": LABELS}, "groups must ascend"),
        ({"groups": [0] * N + [1]}, "groups has shape (13,)"),
        ({"groups": [0] * (N - 1) + [2]}, "without a gap"),
        ({"diffusion": -0.1}, "diffusion >= 0 is wanted"),
        ({"inertia": 0.0}, "inertia > 0 is wanted"),
        ({"friction": -1.0}, "friction >= 0 is wanted"),
        ({"inertia": np.ones(3)}, "inertia has shape (3,)"),
        ({"harmonics": {1: 1.0}}, "whole numbers from 2 to 64"),
        ({"triadic": (1.0,)}, "triadic has shape (1,)"),
        ({"forcing": 1.0}, "forcing has shape ()"),
        ({"omega": [[1.0, 2.0], [3.0]]}, "omega is ragged"),
        ({"coupling": []}, "coupling has shape (0,), of no runs"),
        ({"diffusion": np.ones((0, N))}, "diffusion has shape (0, 12)"),
        ({"harmonics": [(2, 1.0)]}, "harmonics is [(2, 1.0)]: a dict"),
        ({"schedule": np.sin}, "schedule is a function"),
        ({"network": lambda t: W}, "network is a function"),
        ({"network": [(0, W), W]}, "network is ragged"),
        ({"network": damaged(W, N)}, "a sparse matrix that is damaged: indices must be < 12"),
        ({"network": damaged(W, -1)}, "a sparse matrix that is damaged: indices must be >= 0"),
        ({"correlation_time": [1.0, 2.0]}, "correlation_time has shape (2,)"),
        ({"delay": "late"}, "delay has dtype <U4"),
        ({"delay": 1j}, "delay has dtype complex128"),
    ]


def damaged(W, index):
    """One edge from an oscillator that there is not: a kernel would read what is not its own."""
    matrix = sparse.csr_array(W)
    matrix.indices[0] = index
    return matrix


@pytest.mark.parametrize(("change", "says"), refusals(), ids=lambda x: x if isinstance(x, str) else "")
def test_a_model_refuses(change, says):
    with pytest.raises((ValueError, TypeError)) as caught:
        _ = pa.Kuramoto(**{"omega": OMEGA} | change).runs
    assert says in str(caught.value)


def test_masks_are_refused(model, theta0):
    """NumPy would drop them without a word."""
    mask = np.ma.masked_array(np.zeros(N), np.arange(N) == 3)
    square = np.ma.masked_array(np.eye(N), np.eye(N))
    rows = np.ma.masked_array([[0, 1, 2]], [[True, False, False]])
    calls = {
        "omega": lambda: pa.Kuramoto(mask),
        "coupling": lambda: pa.Kuramoto(OMEGA, mask),
        "network": lambda: pa.Kuramoto(OMEGA, network=square),
        "groups": lambda: pa.Kuramoto(OMEGA, groups=mask.astype(int)),
        "inertia": lambda: pa.Kuramoto(OMEGA, inertia=mask + 1),
        "schedule": lambda: pa.Kuramoto(OMEGA, schedule=square[:2]),
        "triangles": lambda: pa.Kuramoto(OMEGA, triangles=rows),
        "triangle_weights": lambda: pa.Kuramoto(OMEGA, triangles=rows.data, triangle_weights=mask[3:4]),
        "delay": lambda: pa.Kuramoto(OMEGA, network=np.eye(N), delay=mask + 1),
        "theta0": lambda: pa.simulate(model, (0, 1), mask),
        "velocity0": lambda: pa.simulate(model.replace(inertia=1.0), (0, 1), theta0, velocity0=mask),
        "t_eval": lambda: pa.simulate(model, (0, 99), theta0, t_eval=np.ma.masked_array([1.0, 2.0], [False, True])),
        "history": lambda: pa.simulate(model.replace(delay=0.1), (0, 1), theta0, history=lambda t: mask),
        "labels": lambda: dynamics.observable("R_group", labels=mask.astype(int)),
        "source": lambda: dynamics.networks.from_edges(N, mask.astype(int), np.arange(N)),
        "weight": lambda: dynamics.networks.from_edges(N, np.arange(N), np.arange(N), mask),
    }
    calls |= {
        "rotation": lambda: dynamics.Spheres(np.ma.masked_array(np.zeros((2, 3, 3)), True)),
        "growth": lambda: dynamics.StuartLandau(OMEGA, growth=mask),
        "theta": lambda: dynamics.analysis.jacobian(model, mask),
    }
    for name, call in calls.items():
        with pytest.raises(TypeError, match=f"^{name} is a masked array, whose mask would be lost"):
            call()
    for bodies in (dynamics.StuartLandau(OMEGA), dynamics.Spheres(np.zeros((N, 2, 2)))):
        with pytest.raises(TypeError, match=r"^theta0 is a masked array"):
            pa.simulate(bodies, (0, 1), np.ma.masked_array(np.zeros((N, 2)), True))
    with pytest.raises(TypeError, match=r"^coupling is a masked array"):
        dynamics.sweep(model, coupling=mask)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"t_span": (0, 0)}, "two different finite times"),
        ({"t_span": (0, math.inf)}, "two different finite times"),
        ({"t_eval": [0.5, 0.2]}, "in its order"),
        ({"t_eval": [0.5, 2.0]}, "within t_span"),
        ({"t_eval": []}, "t_eval must be"),
        ({"samples": 1}, "2 or more"),
        ({"theta0": np.zeros(3)}, "theta0 has shape (3,)"),
        ({"theta0": np.full(N, math.nan)}, "theta0 has entries that are NaN"),
        ({"theta0": np.zeros((2, N)), "runs": 3}, "[2, 3] runs"),
        ({"theta0": np.exp(1j * OMEGA)}, "the phases of z are numpy.angle(z)"),
        ({"theta0": ["a"] * N}, "theta0 has dtype <U1"),
        ({"theta0": np.zeros((0, N))}, "theta0 has shape (0, 12)"),
        ({"theta0": np.full(N, 1e15)}, "beyond 1e15 rad"),
        ({"runs": 0}, "runs is 0: a whole number, 1 or more"),
        ({"runs": 1.5}, "runs is 1.5"),
        ({"t_span": "ab"}, "t_span has dtype <U2"),
        ({"t_eval": "ab"}, "t_eval has dtype <U2"),
        ({"method": 4}, "method is 4: a name such as 'rk4'"),
        ({"observables": None}, "observables is None: names"),
        ({"transient": "long"}, "transient is 'long'"),
        ({"velocity0": np.zeros(N)}, "no inertia"),
        ({"method": "rk5"}, "method is 'rk5'"),
        ({"method": "scipy:RK4"}, "'scipy:DOP853'"),
        ({"method": "scipy:RK45", "checkpoint": "x.npz"}, "no checkpoint goes with it"),
        ({"dt": 0.0}, "dt is 0.0"),
        ({"dt": "small"}, "dt is 'small'"),
        ({"rtol": -1.0}, "rtol is -1.0"),
        ({"transient": -1.0}, "transient is -1.0"),
        ({"observables": ("R", "Q")}, "observables has 'Q'"),
        ({"observables": ("R", "R")}, "each name once"),
        ({"observables": "R_group"}, "no groups"),
        ({"observables": "chimera"}, "no groups"),
        ({"observables": "R_local"}, "no network"),
        ({"observables": dynamics.observable("R_group", labels=[0, 1])}, "labels have shape (2,)"),
        ({"observables": dynamics.observable("chimera", labels=np.zeros(N, int))}, "two or more"),
        ({"checkpoint": "/nowhere/at/all.npz"}, "there is no folder"),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_simulate_refuses(options, says, model):
    with pytest.raises((ValueError, TypeError, FileNotFoundError)) as caught:
        pa.simulate(model, options.pop("t_span", (0, 1)), **options)
    assert says in str(caught.value)


def test_what_is_no_model_is_refused(model):
    for other in (None, OMEGA, pa.Kuramoto):
        with pytest.raises(TypeError, match="a Kuramoto, StuartLandau or Spheres is wanted"):
            pa.simulate(other, (0, 1))
    with pytest.raises(ValueError, match="the model has friction, but no inertia"):
        pa.simulate(model.replace(friction=2.0), (0, 1))
    heavy = model.replace(inertia=1.0)
    for velocity, says in ((np.zeros((3, N)), "velocity0 has shape"), (np.full(N, math.nan), "velocity0 has entries")):
        with pytest.raises(ValueError, match=says):
            pa.simulate(heavy, (0, 1), np.zeros((2, N)), velocity0=velocity)


def test_delays_that_make_steps_tiny_are_named(model):
    """No step may be longer than a delay: 10^9 of them would be taken without a word."""
    from primeattn.dynamics import _pace

    late = model.replace(delay=1e-9)
    with pytest.warns(UserWarning, match=r"1e\+09 steps of 1e-09, as no step may be longer than the smallest delay"):
        _pace.warn_of_tails(late, _pace.default_step(late), 1.0, 1)
    with pytest.raises(ValueError, match="no step may be longer than the smallest delay"):
        pa.simulate(model.replace(delay=1e-300), (0, 1))


def test_noise_refuses_other_methods_and_the_past(model):
    noisy = model.replace(diffusion=0.1)
    with pytest.raises(ValueError, match="has diffusion"):
        pa.simulate(noisy, (0, 1), method="rk4")
    with pytest.raises(ValueError, match="no way back in time"):
        pa.simulate(noisy, (1, 0))


def test_what_would_not_fit_memory_is_refused_before_the_work():
    large = pa.Kuramoto(np.zeros(5000))
    with pytest.raises(ValueError, match="at most 4096"):
        pa.simulate(large, (0, 1), observables="locking")
    with pytest.raises(ValueError, match="save_theta would keep"):
        pa.simulate(large, (0, 1), save_theta=True, samples=10**5, runs=1000)


# --- observables ----------------------------------------------------------------------------------------------------


def test_observables_against_loops(theta0, network, short_pieces):
    t = np.sort(np.random.default_rng(1).uniform(0, 8, 40))
    names = (
        "R", "psi", "R3", "Z1", "Z2", "R_local", dynamics.observable("entropy", bins=5), "velocity", "frequencies",
        "locking", "R_mean", *(dynamics.observable(n, labels=LABELS) for n in ("R_group", "chimera", "metastability")),
    )  # fmt: skip
    model = pa.Kuramoto(OMEGA, 6.0, network=network)
    found = pa.simulate(model, (0, 8), theta0, t_eval=t, observables=names, save_theta=True, transient=2.0, dt=0.05)
    theta = found.theta
    late = theta[t >= 2.0]
    Z1 = np.array(naive.moment(theta, 1))
    expected = {
        "R": np.abs(Z1), "psi": np.angle(Z1), "Z1": Z1, "Z2": naive.moment(theta, 2),
        "R3": np.abs(naive.moment(theta, 3)), "R_local": naive.local(theta, network),
        "entropy": naive.entropy(theta, 5),
        "velocity": naive.velocity(theta, t), "frequencies": naive.frequencies(late, t[t >= 2.0]),
        "locking": naive.locking(late), "R_mean": np.abs(Z1[t >= 2.0]).mean(),
        "R_group": naive.of_communities(theta, LABELS), "chimera": naive.chimera(late, LABELS),
        "metastability": naive.metastability(late, LABELS),
    }  # fmt: skip
    assert set(expected) == set(found.observables)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-12, atol=1e-12, err_msg=name)  # sums of tens of terms
    whole = pa.simulate(model, (0, 8), theta0, t_eval=t, observables="metastability", dt=0.05)
    np.testing.assert_allclose(whole["metastability"], np.abs(Z1).var(ddof=1), rtol=1e-12)


def test_local_order_is_that_of_the_network_of_the_time(theta0, network):
    """Of a network that switches, a ring without a list of edges, and weights that learn."""
    call = {"observables": "R_local", "save_theta": True, "t_eval": [0.4, 0.5, 0.9]}
    switched = pa.simulate(pa.Kuramoto(OMEGA, 3.0, [(0.0, network), (0.5, network.T)]), (0, 1), theta0, **call)
    nets = network, network.T, network.T
    expected = [naive.local(switched.theta[k : k + 1], w)[0] for k, w in enumerate(nets)]
    np.testing.assert_allclose(switched["R_local"], expected, rtol=1e-12, atol=1e-12)
    around = pa.simulate(pa.Kuramoto(OMEGA, 3.0, dynamics.Ring(3)), (0, 1), theta0, **call)
    listed = dynamics.networks.ring(N, 3).toarray()
    np.testing.assert_allclose(around["R_local"], naive.local(around.theta, listed), rtol=1e-12, atol=1e-12)
    learnt = pa.simulate(pa.Kuramoto(OMEGA, 3.0, network, adaptation=0.7), (0, 1), theta0, **call)
    weights = np.zeros((3, N, N))
    weights[:, network != 0] = learnt.states["weights"]
    expected = [naive.local(learnt.theta[k : k + 1], weights[k])[0] for k in range(3)]
    np.testing.assert_allclose(learnt["R_local"], expected, rtol=1e-12, atol=1e-12)


def test_communities_are_the_groups_of_the_model_by_default(theta0):
    model = pa.Kuramoto(OMEGA, [[1.0, 0.5], [0.5, 1.0]], groups=[0] * 5 + [1] * (N - 5))
    found = pa.simulate(model, (0, 2), theta0, observables=("R_group", "chimera"), save_theta=True, samples=5)
    np.testing.assert_allclose(found["R_group"], naive.of_communities(found.theta, model.groups.tolist()), rtol=1e-12)
    np.testing.assert_allclose(found["chimera"], naive.chimera(found.theta, model.groups.tolist()), rtol=1e-12)
    assert dict(found.to_xarray().sizes) == {"time": 5, "community": 2, "oscillator": N, "group": 2, "heard": 2}


def test_reductions_of_too_few_samples_are_nan(model, theta0):
    found = pa.simulate(
        model, (0, 1), theta0, samples=3, transient=9, observables=("frequencies", "locking", "R_mean", "metastability")
    )
    assert all(np.isnan(x).all() for x in found.observables.values())


def test_observables_of_the_users_own(model, theta0):
    spread = dynamics.Observable(
        "spread", "largest minus smallest", "rad", (), lambda seen: np.ptp(seen.theta, axis=-1)
    )
    longest = dynamics.Reduction(
        "steps_seen", "samples", "1", (), lambda model, runs: {"n": np.zeros(runs)},
        lambda state, seen: state["n"].__iadd__(len(seen.t)), lambda state: state["n"],
    )  # fmt: skip
    found = pa.simulate(model, (0, 2), theta0, samples=5, observables=(spread, longest), save_theta=True)
    np.testing.assert_array_equal(found["spread"], np.ptp(found.theta, axis=-1))
    assert found["steps_seen"] == 5
    assert found.to_xarray().spread.attrs == {"long_name": "largest minus smallest", "units": "rad"}
    with pytest.raises(KeyError, match="not 'R': pass observables="):
        _ = found.R


def test_phases_need_not_be_kept(monkeypatch):
    """10^4 steps of 2,000 oscillators: observables only, in memory of a few chunks."""
    import tracemalloc

    model = pa.Kuramoto(np.zeros(2000), 1.0)
    call = {"samples": 10_001, "dt": 0.01, "rng": 0, "observables": ("R", "frequencies"), "method": "rk4"}
    monkeypatch.setattr(_run, "_CHUNK", 1 << 16)
    pa.simulate(model, (0, 1), **call | {"samples": 3})
    tracemalloc.start()
    try:
        found = pa.simulate(model, (0, 10), **call | {"samples": 1001})
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found.R.shape == (1001,)
    assert peak < 4e6  # 16 MB would be the phases of all samples; a chunk is 0.5 MB


# --- labelled, saved ------------------------------------------------------------------------------------------------


def models(network):
    return {
        "plain": pa.Kuramoto(OMEGA, 1.2),
        "runs": pa.Kuramoto(OMEGA, np.linspace(0, 1, 3), phase_lag=0.1, diffusion=0.01),
        "network": pa.Kuramoto(OMEGA, 1.2, network=network, normalize=None, inertia=np.ones(N), friction=0.5),
        "groups": pa.Kuramoto(OMEGA, [[1.0, 0.5], [0.5, 1.0]], groups=[0] * 5 + [1] * (N - 5), normalize="degree"),
        "terms": pa.Kuramoto(OMEGA, harmonics={2: (0.3, 0.1)}, triadic=(0.1, 0.2), forcing=(0.1, 1.0)),
        "triangles": pa.Kuramoto(OMEGA, triangles=[(0, 1, 2), (3, 4, 5)], triangle_weights=[1, 0.5]),
        "no triangles": pa.Kuramoto(OMEGA, triangles=[], triadic=(0.1, 0.2)),
        "switches": pa.Kuramoto(OMEGA, 2.0, [(0, network), (0.3, network.T != 0), (0.7, np.eye(N))], delay=0.1),
        # as many edges as oscillators, and as many knots
        "lengths": pa.Kuramoto(
            OMEGA, 2.0, np.roll(np.eye(N), 1, 0), delay=np.linspace(0.1, 0.2, N), schedule=[np.arange(N), np.ones(N)]
        ),
    }


@pytest.mark.parametrize("name", list(models(np.eye(N))))
def test_netcdf_and_back(name, network, tmp_path, theta0):
    pytest.importorskip("h5netcdf")
    model = models(network)[name]
    call = {"samples": 4, "observables": ("R", "Z2", "frequencies"), "rng": 5, "dt": 0.1}
    first = pa.simulate(model, (0, 1), theta0, save_theta=True, **call)
    first.save(tmp_path / "run.nc")
    second = dynamics.Trajectory.load(tmp_path / "run.nc")
    same(first, second)
    assert second.to_xarray().identical(first.to_xarray())
    assert repr(second.model) == repr(model)
    same(first, pa.simulate(second.model, (0, 1), theta0, save_theta=True, **call))
    assert os.listdir(tmp_path) == ["run.nc"]
    data = first.to_xarray()
    assert all("oscillator" not in data[x].dims for x in ("delay", "schedule", "triangles") if x in data)
    assert "not_stored" not in data.attrs


def test_labels(model, theta0):
    data = pa.simulate(model, (0, 1), theta0, samples=3, runs=2, observables=("R", "locking")).to_xarray()
    assert data.R.dims == ("run", "time")
    assert data.locking.dims == ("run", "oscillator", "other")
    np.testing.assert_array_equal(data.omega, OMEGA)
    wanted = {
        "coupling": 1.2,
        "normalize": "size",
        "phase_lag": 0.0,
        "method": "rk4",
        "status": "finished",
        "t_end": 1.0,
    }
    assert wanted.items() <= data.attrs.items()
    assert data.R.attrs == {"long_name": "order parameter |Z_1|", "units": "1"}
    assert data.omega.attrs == {"units": "rad / time"}


def test_a_model_that_no_file_can_hold_is_named(model, theta0, tmp_path, monkeypatch):
    pytest.importorskip("h5netcdf")
    found = pa.simulate(model, (0, 1), theta0, samples=3)
    object.__setattr__(found.model, "triadic", print)  # as a function of time would be
    found.save(tmp_path / "run.nc")
    back = dynamics.Trajectory.load(tmp_path / "run.nc")
    assert back.model is None
    assert found.to_xarray().attrs["not_stored"] == ["triadic"]
    same(found, back)
    back.save(tmp_path / "again.nc")
    same(found, dynamics.Trajectory.load(tmp_path / "again.nc"))


def test_a_netcdf_file_is_not_called_zarr(model, theta0, tmp_path):
    found = pa.simulate(model, (0, 1), theta0, samples=3)
    with pytest.raises(ValueError, match=r"run\.zarr would hold netCDF: .*to_xarray\(\)\.to_zarr\(path\)"):
        found.save(tmp_path / "run.zarr")
    assert not list(tmp_path.iterdir())


def test_files_that_are_no_trajectory(tmp_path):
    xarray = pytest.importorskip("xarray")
    pytest.importorskip("h5netcdf")
    with pytest.raises(FileNotFoundError):
        dynamics.Trajectory.load(tmp_path / "none.nc")
    (tmp_path / "text.nc").write_text("hello")
    with pytest.raises(ValueError, match=r"text\.nc is damaged, or no netCDF"):
        dynamics.Trajectory.load(tmp_path / "text.nc")
    xarray.Dataset({"x": 1.0}).to_netcdf(tmp_path / "other.nc", engine="h5netcdf")
    with pytest.raises(ValueError, match="no trajectory"):
        dynamics.Trajectory.load(tmp_path / "other.nc")


# --- what breaks down -----------------------------------------------------------------------------------------------


def test_a_step_that_explodes(theta0):
    model = pa.Kuramoto(OMEGA, inertia=0.01)
    with pytest.warns(RuntimeWarning, match="simulate stopped after t = .* try a dt below 0.5"):
        found = pa.simulate(
            model, (0, 500), theta0, dt=0.5, samples=1001, save_theta=True, observables=("R", "frequencies")
        )
    assert 1 < len(found.t) < 1001
    assert found.t_end == found.t[-1]
    assert np.isfinite(found.theta_end).all()
    assert np.isfinite(found.velocity_end).all()
    assert np.isfinite(found["frequencies"]).all()
    np.testing.assert_array_equal(found.theta_end, found.theta[-1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert pa.simulate(model, (0, 5), theta0).status == "finished"  # the default step does not


def test_an_explosion_is_noticed_between_samples(theta0, short_pieces):
    """A million steps to the next sample, of which a thousand suffice."""
    with pytest.warns(RuntimeWarning, match="by t = .* the state is no longer finite"):
        found = pa.simulate(pa.Kuramoto(OMEGA, inertia=0.01), (0, 5e5), theta0, dt=0.5, samples=2)
    assert found.settings["steps"] < 10_000
    assert found.t_end == 0
    np.testing.assert_array_equal(found.theta_end, theta0)


def test_steps_that_become_too_small(model, theta0):
    """Between 10^14 and 10^14 + 100 there are no more than 6,400 times."""
    with pytest.warns(RuntimeWarning, match="fell below the resolution of time at t = .*; try larger tolerances"):
        found = pa.simulate(model, (1e14, 1e14 + 100), theta0, method="dop853", rtol=1e-13, atol=1e-13)
    assert found.status.startswith("stopped after t = 1e+14:")
    np.testing.assert_array_equal(found.theta_end, theta0)


@pytest.mark.parametrize(
    ("options", "dt"),
    [
        ({"coupling": 1e6}, 0.5),
        ({"omega": OMEGA * 100}, 0.1),
        ({"network": np.ones((N, N)), "normalize": None}, 0.5),
        ({"triadic": (3.0, 4.0)}, 0.5),
        ({"inertia": 1.0, "friction": 0.0, "coupling": 50.0}, 0.5),
        ({"forcing": (0.1, 40.0)}, 0.1),
    ],
    ids=str,
)
def test_a_step_that_passes_over_the_model(options, dt, theta0):
    """R = 0.19 of 50 oscillators at K = 1e6 would pass for a result."""
    model = pa.Kuramoto(**{"omega": OMEGA} | options)
    with pytest.warns(RuntimeWarning, match=f"dt is {dt:g}, but the model moves at rates up to .*; dt=.* follows it"):
        pa.simulate(model, (0, 1), theta0, dt=dt, samples=3)
    with pytest.warns(RuntimeWarning, match="results may look well and be wrong"):
        dynamics.sweep(model, coupling=[model.coupling], transient=0, duration=1, samples=3, dt=dt)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pa.simulate(model, (0, 1e-4), theta0, samples=3)


def test_a_step_may_pass_over_a_few_turns(theta0):
    """The tails of a Lorentzian distribution, and a turn of all."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pa.simulate(pa.Kuramoto(dynamics.frequencies.lorentzian(1000), 4.0), (0, 1), dt=0.05, samples=3, rng=0)
        pa.simulate(pa.Kuramoto(OMEGA + 1e3), (0, 1), theta0, dt=0.1, samples=3)
        pa.simulate(pa.Kuramoto(OMEGA, 1e6), (0, 1e-5), theta0, dt=0.5, method="dopri5")  # chooses its own steps


@pytest.mark.parametrize("rtol", [1e-14, 1e-20, 1e-24, 1e-30, 1e-60])
def test_tolerances_below_rounding_are_raised(rtol, model, theta0):
    """Steps of 1e-8 and less would be taken, and no run would end."""
    with pytest.warns(RuntimeWarning, match=f"rtol is {rtol:g}, below what rounding leaves to know: 2.2e-14 is taken"):
        found = pa.simulate(model, (0, 5), theta0, method="dop853", rtol=rtol, atol=rtol)
    finest = pa.simulate(model, (0, 5), theta0, method="dop853", rtol=100 * 2.0**-52, atol=rtol)
    same(finest, found)
    assert found.settings["rtol"] == 100 * 2.0**-52
    assert found.settings["steps"] < 200
    with pytest.warns(RuntimeWarning, match="2.2e-14 is taken"):
        dynamics.sweep(model, coupling=[1.0], transient=0, duration=1, method="dop853", rtol=rtol, atol=rtol, rng=0)


# --- progress ---------------------------------------------------------------------------------------------------------


def test_progress_calls_back(model, theta0, short_pieces):
    told = []
    pa.simulate(model, (0, 2), theta0, dt=0.01, progress=lambda share, t: told.append((share, t)))
    shares, times = np.array(told).T
    assert len(told) > 10
    assert (np.diff(shares) > 0).all()
    np.testing.assert_allclose(times, 2 * shares)
    assert told[-1] == (1, 2)


def test_progress_is_quiet_without_a_terminal(model, theta0, short_pieces, monkeypatch, capfd):
    monkeypatch.setattr(progress, "_PATIENCE", 0.0)
    pa.simulate(model, (0, 2), theta0)
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(os.name != "posix", reason="a terminal of POSIX")
def test_progress_shows_the_time_left_at_a_terminal(model, theta0, short_pieces, monkeypatch):
    pytest.importorskip("rich")
    monkeypatch.setattr(progress, "_PATIENCE", 0.0)
    monkeypatch.setattr(progress, "_OFTEN", 0.0)
    monkeypatch.setenv("TERM", "xterm")
    reader, writer = os.openpty()
    seen: list[bytes] = []

    def watch():  # a terminal takes a few kilobytes that nobody reads, and then makes the writer wait
        with contextlib.suppress(OSError):
            while part := os.read(reader, 4096):
                seen.append(part)

    watcher = threading.Thread(target=watch)
    watcher.start()
    with open(writer, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        pa.simulate(model, (0, 2), theta0, dt=0.02)
    watcher.join()
    os.close(reader)
    text = b"".join(seen).decode(errors="replace")
    assert "t = " in text
    assert "%" in text
    assert "0:00:0" in text or "-:--:--" in text


# --- interruption, checkpoints --------------------------------------------------------------------------------------


class Breaks:
    """A progress callback that raises at its n-th call."""

    def __init__(self, n, error=KeyboardInterrupt):
        self.left, self.error = n, error

    def __call__(self, share, t):
        self.left -= 1
        if self.left == 0:
            raise self.error


def test_a_keyboard_interrupt_returns_what_there_is(model, theta0, short_pieces):
    call = {"save_theta": True, "observables": ("R", "frequencies", "locking"), "dt": 0.01}
    whole = pa.simulate(model, (0, 10), theta0, **call)
    part = pa.simulate(model, (0, 10), theta0, progress=Breaks(20), **call)
    count = len(part.t)
    assert part.status == "interrupted"
    assert 0 < count < 201
    np.testing.assert_array_equal(part.R, whole.R[:count])
    np.testing.assert_array_equal(part.theta, whole.theta[:count])
    np.testing.assert_array_equal(part.theta_end, whole.theta[count - 1])
    np.testing.assert_allclose(part["frequencies"], (part.theta[-1] - part.theta[0]) / part.t_end)


@pytest.mark.parametrize(
    "options", [{"method": "rk4"}, {"method": "dop853"}, {"diffusion": 0.1}, {"inertia": 1.0}], ids=str
)
def test_a_checkpoint_goes_on_to_the_same_bits(options, model, theta0, short_pieces, tmp_path):
    changes = {k: v for k, v in options.items() if k != "method"}
    call = {k: v for k, v in options.items() if k == "method"} | {
        "rng": 3, "runs": 3, "save_theta": True, "transient": 1.0, "samples": 50,
        "observables": ("R", "velocity", "R_mean", "frequencies", "locking", "metastability"),
    }  # fmt: skip
    model = model.replace(**changes)
    whole = pa.simulate(model, (0, 10), theta0, **call)
    path, parts = tmp_path / "run.npz", 0
    while True:
        parts += 1
        part = pa.simulate(
            model,
            (0, 10),
            theta0,
            **call,
            checkpoint=path,
            checkpoint_every=1e-9,
            progress=Breaks(3, KeyboardInterrupt),
        )
        time.sleep(0.01)  # writing takes a twentieth of the time at most
        if part.status == "finished":
            break
        assert parts < 500
    assert parts > 2
    same(whole, part)
    begun = time.perf_counter()
    same(whole, pa.simulate(model, (0, 10), theta0, **call, checkpoint=path))  # it is finished: nothing is computed
    assert time.perf_counter() - begun < 5
    with pytest.raises(ValueError, match="of another run"):
        pa.simulate(model.replace(coupling=1.3), (0, 10), theta0, **call, checkpoint=path)
    with pytest.raises(ValueError, match="of another run"):
        pa.simulate(model, (0, 10), theta0, **call | {"rng": 4}, checkpoint=path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match="damaged"):
        pa.simulate(model, (0, 10), theta0, **call, checkpoint=path)


def test_a_checkpoint_remembers_what_was_drawn_without_a_seed(model, short_pieces, tmp_path):
    path = tmp_path / "run.npz"
    first = pa.simulate(model.replace(diffusion=0.1), (0, 2), checkpoint=path)
    same(first, pa.simulate(model.replace(diffusion=0.1), (0, 2), checkpoint=path))


SCRIPT = """
import json, sys, numpy as np, primeattn as pa
from primeattn.dynamics import _drive
_drive._PIECE = 2e5
model = pa.Kuramoto(np.linspace(-1, 1, 12), coupling=1.2)
call = dict(dt=2e-6, samples=200, observables=("R", "frequencies"), checkpoint=sys.argv[1], checkpoint_every=0.05)
def tell(share, t):
    print("here", flush=True)
found = pa.simulate(model, (0, 1), np.arange(12.0), progress=tell, **call)
print(json.dumps([found.status, found.R.tolist(), found["frequencies"].tolist()]))
"""


def start(path):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(path)], stdout=subprocess.PIPE, text=True, env=environment
    )


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_ctrl_c_and_kill(tmp_path):
    """One process is interrupted, the next killed, the third ends with the bits of a run in one go."""
    path = tmp_path / "run.npz"
    with start(path) as process:
        assert process.stdout.readline() == "here\n"
        process.send_signal(signal.SIGINT)
        status, R, _ = json.loads(process.stdout.read().splitlines()[-1])
    assert (process.returncode, status) == (0, "interrupted")
    stamp = path.stat().st_mtime_ns
    with start(path) as process:
        while path.stat().st_mtime_ns == stamp:  # until the next checkpoint
            assert process.stdout.readline() == "here\n"
        process.kill()
        process.stdout.read()
    assert process.returncode == -signal.SIGKILL
    with start(path) as process:
        lines = process.stdout.read().splitlines()
    status, R, frequencies = json.loads(lines[-1])
    model = pa.Kuramoto(np.linspace(-1, 1, 12), coupling=1.2)
    whole = pa.simulate(model, (0, 1), np.arange(12.0), dt=2e-6, samples=200, observables=("R", "frequencies"))
    assert status == "finished"
    assert len(lines) <= 120  # 121 pieces and a line at the end would be a run from the start
    assert whole.R.tolist() == R
    assert whole["frequencies"].tolist() == frequencies


def test_groups_and_runs_may_stand_in_either_of_coupling_and_lag(theta0):
    groups, between = [0] * 5 + [1] * (N - 5), np.array([[1.0, 0.5], [0.2, 0.7]])
    by_run = np.array([0.1, 0.4, 0.9])
    for coupling, lag in ((between, by_run), (by_run, between)):
        model = pa.Kuramoto(OMEGA, coupling, phase_lag=lag, groups=groups)
        together = pa.simulate(model, (0, 1), np.tile(theta0, (3, 1)), dt=0.05).theta_end
        for run in range(3):
            k, a = (x if x.ndim == 2 else x[run] for x in (coupling, lag))
            alone = pa.simulate(pa.Kuramoto(OMEGA, k, phase_lag=a, groups=groups), (0, 1), theta0, dt=0.05).theta_end
            np.testing.assert_array_equal(together[run], alone)


def test_tails_that_make_steps_tiny_are_named(monkeypatch):
    """The default step follows the fastest oscillator; a Lorentzian's is 0.64 N widths away."""
    from primeattn.dynamics import _pace

    tails = pa.Kuramoto(pa.dynamics.frequencies.lorentzian(100), 2.0)
    with monkeypatch.context() as patch:
        patch.setattr(_pace, "_PATIENCE", 1e-3)
        with pytest.warns(UserWarning, match=r"turns at 63.7 and 95 % of all at 12.7 or less.*dt=0.0039.*limit"):
            pa.simulate(tails, (0, 1), rng=0)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            pa.simulate(tails, (0, 1), rng=0, dt=0.01)  # chosen by the user
            pa.simulate(pa.Kuramoto(pa.dynamics.frequencies.gaussian(100), 2.0), (0, 1), rng=0)  # no tails
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pa.simulate(tails, (0, 1), rng=0)  # short enough to wait for
