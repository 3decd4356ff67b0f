"""Sweeps against simulate, point by point; batching, continuation, interruption, Dask."""

import math
import sys

import numpy as np
import pytest
from scipy import sparse

import primeattn as pa
from primeattn import dynamics
from primeattn.dynamics import _grid, _run

N = 12
OMEGA = np.linspace(-1.0, 1.0, N)
SHORT = {"transient": 1.0, "duration": 2.0, "samples": 5, "dt": 0.1, "rng": 3}


@pytest.fixture
def model():
    return pa.Kuramoto(OMEGA)


@pytest.fixture
def theta0(rng):
    return rng.uniform(-math.pi, math.pi, (3, N))


@pytest.fixture
def small_batches(monkeypatch):
    monkeypatch.setattr(_grid, "_WORK", 1.0)


def same(a, b):
    assert set(a.data_vars) == set(b.data_vars)
    for name in a.data_vars:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def test_every_point_is_a_simulation(model, theta0):
    names = ("R", "Z2", "frequencies", "velocity")
    data = dynamics.sweep(
        model, coupling=[0.5, 2.0], phase_lag=[0.0, 0.4, 0.9], inertia=[1.0, 2.0], theta0=theta0, runs=3,
        observables=names, **SHORT,
    )  # fmt: skip
    assert data.R.dims == ("coupling", "phase_lag", "inertia", "run")
    times = 1.0 + np.linspace(0, 2, 5)
    for k, lag, m, run in [(0.5, 0.0, 2.0, 0), (2.0, 0.4, 1.0, 1), (2.0, 0.9, 2.0, 2)]:
        point = model.replace(coupling=k, phase_lag=lag, inertia=m)
        alone = pa.simulate(point, (0, 3), theta0[run], t_eval=times, dt=0.1, observables=names)
        at = data.sel(coupling=k, phase_lag=lag, inertia=m, run=run)
        tolerance = {"rtol": 0, "atol": 1e-12}  # kernels of one run and of many contract alike, means do not
        for name in ("R", "Z2"):
            np.testing.assert_allclose(at[name], alone[name].mean(), **tolerance)
            np.testing.assert_allclose(at[f"{name}_time_std"], alone[name].std(), **tolerance)
        np.testing.assert_allclose(at.velocity, alone["velocity"][1:].mean(), **tolerance)  # the first is NaN
        np.testing.assert_allclose(at.frequencies, alone["frequencies"], **tolerance)
    np.testing.assert_allclose(data.R_run_std, data.R.values.std(axis=-1, ddof=1), rtol=1e-12)
    assert {"units": "rad / time"}.items() <= data.coupling.attrs.items()
    assert data.attrs["status"] == "finished"
    assert "coupling" not in data.attrs
    np.testing.assert_array_equal(data.omega, OMEGA)


def test_neither_batches_nor_neighbours_change_a_bit(model, monkeypatch):
    noisy = model.replace(diffusion=0.2)
    call = {"observables": ("R", "frequencies")} | SHORT
    whole = dynamics.sweep(noisy, coupling=[0.5, 1.0, 2.0], phase_lag=[0.0, 0.3], runs=4, **call)
    assert np.unique(whole.R).size == whole.R.size
    part = dynamics.sweep(noisy, coupling=[1.0, 2.0], phase_lag=[0.3], runs=3, **call)
    for name in ("R", "R_time_std", "frequencies"):
        np.testing.assert_array_equal(part[name], whole[name].isel(coupling=[1, 2], phase_lag=[1], run=slice(3)))
    for numbers in (2 * N, 5 * N, 9 * N):  # runs cut, a point at a time, two points
        monkeypatch.setattr(_grid, "_NUMBERS", numbers)
        same(dynamics.sweep(noisy, coupling=[0.5, 1.0, 2.0], phase_lag=[0.0, 0.3], runs=4, **call), whole)


def test_runs_differ_in_their_frequencies(model):
    data = dynamics.sweep(model, coupling=[1.0, 2.0], runs=3, omega=lambda rng: rng.standard_normal(N), **SHORT)
    assert data.omega.dims == ("run", "oscillator")
    assert np.unique(data.omega).size == 3 * N
    more = dynamics.sweep(model, coupling=[2.0], runs=4, omega=lambda rng: rng.standard_normal(N), **SHORT)
    np.testing.assert_array_equal(more.omega[:3], data.omega)
    np.testing.assert_array_equal(more.R[0, :3], data.R[1])


def test_continuation_goes_on_where_the_point_before_ended(model, theta0):
    both = dynamics.sweep(
        model, coupling=[0.5, 1.5, 3.0], phase_lag=[0.0, 0.4], theta0=theta0, runs=3, continuation="both", **SHORT
    )
    assert both.R.dims == ("direction", "coupling", "phase_lag", "run")
    for lag in (0.0, 0.4):
        state = theta0
        for direction, values in (("forward", [0.5, 1.5, 3.0]), ("backward", [3.0, 1.5, 0.5])):
            for k in values:
                times = 1.0 + np.linspace(0, 2, 5)
                alone = pa.simulate(model.replace(coupling=k, phase_lag=lag), (0, 3), state, t_eval=times, dt=0.1)
                state = alone.theta_end
                found = both.R.sel(direction=direction, coupling=k, phase_lag=lag)
                np.testing.assert_allclose(found, alone.R.mean(axis=1), rtol=0, atol=1e-10)  # times differ in rounding
    down = dynamics.sweep(model, coupling=[0.5, 1.5, 3.0], theta0=theta0, runs=3, continuation="backward", **SHORT)
    assert down.R.dims == ("coupling", "run")
    fresh = dynamics.sweep(model, coupling=[3.0], theta0=theta0, runs=3, **SHORT)
    np.testing.assert_array_equal(down.R[2], fresh.R[0])


def test_hysteresis_with_inertia():
    """Second order, m = 4: the way up stays incoherent where the way down is locked (Tanaka et al. 1997)."""
    model = pa.Kuramoto(dynamics.frequencies.lorentzian(200, 0.5, limit=10), inertia=4.0)
    data = dynamics.sweep(
        model, coupling=np.linspace(0.5, 5.0, 10), continuation="both", transient=40, duration=10, samples=21, rng=0
    )
    gap = (data.R.sel(direction="backward") - data.R.sel(direction="forward")).isel(run=0)
    assert gap.max() > 0.2  # of order 1; without inertia below 3 / sqrt(200)
    plain = dynamics.sweep(
        model.replace(inertia=None), coupling=np.linspace(0.5, 5.0, 10), continuation="both", transient=40, duration=10,
        samples=21, rng=0,
    )  # fmt: skip
    gap = (plain.R.sel(direction="backward") - plain.R.sel(direction="forward")).isel(run=0)
    assert np.abs(gap).max() < 3 / math.sqrt(200)


def test_lists_of_anything(model, theta0):
    networks = [sparse.csr_array(np.eye(N, k=1)), np.ones((N, N))]
    data = dynamics.sweep(
        model, network=networks, coupling=[2.0], triadic=[None, (0.5, 0.5)], theta0=theta0[0], **SHORT
    )
    assert dict(data.R.sizes) == {"network": 2, "coupling": 1, "triadic": 2, "run": 1}
    alone = pa.simulate(
        model.replace(network=networks[1], coupling=2.0, triadic=(0.5, 0.5)), (0, 3), theta0[0],
        t_eval=1.0 + np.linspace(0, 2, 5), dt=0.1,
    )  # fmt: skip
    np.testing.assert_allclose(data.R[1, 0, 1, 0], alone.R.mean(), rtol=0, atol=1e-12)
    assert np.isnan(data.R_run_std).all()


def test_groups_take_one_number_for_all(theta0):
    groups = pa.Kuramoto(OMEGA, [[1.0, 0.5], [0.5, 1.0]], groups=[0] * 6 + [1] * 6)
    data = dynamics.sweep(groups, phase_lag=[0.0, 0.6], theta0=theta0, runs=3, observables="R_group", **SHORT)
    assert data.R_group.dims == ("phase_lag", "run", "community")
    alone = pa.simulate(
        groups.replace(phase_lag=0.6), (0, 3), theta0[1], t_eval=1.0 + np.linspace(0, 2, 5), dt=0.1,
        observables="R_group",
    )  # fmt: skip
    np.testing.assert_allclose(data.R_group[1, 1], alone["R_group"].mean(axis=0), rtol=0, atol=1e-12)


def test_error_control_and_the_default_step(model, theta0):
    tight = {"rtol": 1e-10, "atol": 1e-12, "method": "dop853"}
    call = {"coupling": [0.5, 8.0], "theta0": theta0, "runs": 3} | SHORT
    np.testing.assert_allclose(
        dynamics.sweep(model, **call | {"dt": None}).R, dynamics.sweep(model, **call | tight).R, rtol=0, atol=1e-6
    )
    assert dynamics.sweep(model, **call | {"dt": None}).dt == pytest.approx(0.05 / 9)  # of the fastest point


def test_progress_and_interruption(model, small_batches):
    shares = []
    call = {"coupling": np.linspace(0, 3, 6), "runs": 2} | SHORT
    whole = dynamics.sweep(model, **call, progress=shares.append)
    assert shares[-1] == 1
    assert shares == sorted(shares)

    def stop(share):
        if share > 0.55:
            raise KeyboardInterrupt

    part = dynamics.sweep(model, **call, progress=stop)
    assert part.attrs["status"] == "interrupted"
    there = ~np.isnan(part.R.values)
    assert there[:3].all()
    assert not there[4:].any()
    np.testing.assert_array_equal(part.R.values[there], whole.R.values[there])
    none = dynamics.sweep(model, **call, progress=lambda share: stop(1.0), observables=("R", "frequencies"))
    assert np.isnan(none.frequencies).all()
    assert none.frequencies.shape == (6, 2, N)


def test_runs_that_break_down_take_no_others_with_them(model):
    call = {"inertia": [1.0], "coupling": [0.5, 1.0, 2.0], "runs": 3} | SHORT
    friction = model.replace(friction=100.0)  # beyond what a step of 0.1 bears
    with pytest.warns(RuntimeWarning, match="sweep lost 9 runs: run 0 stopped"):
        lost = dynamics.sweep(friction, **call)
    assert np.isnan(lost.R).all()
    omega = iter([OMEGA, OMEGA * 1e15, OMEGA])
    with pytest.warns(RuntimeWarning, match="sweep lost 3 runs"):
        part = dynamics.sweep(model, omega=lambda rng: next(omega), **call)
    np.testing.assert_array_equal(np.isnan(part.R[0]), [[False, True, False]] * 3)
    np.testing.assert_array_equal(part.R[..., ::2], dynamics.sweep(model, **call).R[..., ::2])


def test_one_point_of_all(model):
    data = dynamics.sweep(model, runs=2, **SHORT | {"transient": 0})
    assert data.R.dims == ("run",)


def test_the_figure_takes_a_sweep(model):
    figure = pytest.importorskip("matplotlib.figure")
    data = dynamics.sweep(model, coupling=[0.5, 1.5, 3.0], runs=2, continuation="both", **SHORT)
    ax = pa.plot.synchronization(data, ax=figure.Figure().subplots(), theory=[0.1, 0.2, 0.9])
    assert len(ax.lines) == 3


@pytest.mark.parametrize("direction", [None, "both"])
def test_dask_gives_the_same_numbers(model, direction):
    pytest.importorskip("dask")
    call = {"coupling": [0.5, 1.0, 3.0], "phase_lag": [0.0, 0.4], "runs": 3, "continuation": direction} | SHORT
    call["observables"] = ("R", "frequencies")
    whole = dynamics.sweep(model.replace(diffusion=0.1), **call)
    chunks = {"phase_lag": 1, "run": 2} | ({} if direction else {"coupling": 2})
    lazy = dynamics.sweep(model.replace(diffusion=0.1), **call, chunks=chunks)
    assert lazy.R.chunks[-1] == (2, 1)
    found = lazy.compute()
    for name in ("R", "R_time_std", "frequencies"):
        np.testing.assert_array_equal(found[name], whole[name])
    np.testing.assert_allclose(found.R_run_std, whole.R_run_std, rtol=1e-12)  # chunks are summed in another order
    with pytest.raises(ValueError, match="chunks has 'time'"):
        dynamics.sweep(model, **call, chunks={"time": 2})
    if direction:
        with pytest.raises(ValueError, match="a continuation stays in one task"):
            dynamics.sweep(model, **call, chunks={"coupling": 2})


class Client:
    """What a sweep asks of dask.distributed.Client."""

    def __init__(self):
        self.given = []

    def persist(self, data):
        self.given.append(data)
        return data.persist()


@pytest.mark.parametrize("chunks", [None, {"run": 2}])
def test_a_client_is_given_the_tasks(model, chunks):
    pytest.importorskip("dask")
    client, call = Client(), {"coupling": [0.5, 1.0, 3.0], "runs": 3} | SHORT
    found = dynamics.sweep(model, **call, client=client, chunks=chunks)
    (given,) = client.given
    assert given.R.chunks == (((1, 1, 1), (3,)) if chunks is None else ((3,), (2, 1)))
    assert given.attrs["status"] == "lazy"
    tasks = dict(found.R.data.dask)  # persisted: numbers, no calls
    assert all(isinstance(getattr(task, "value", task), np.ndarray) for task in tasks.values())
    np.testing.assert_array_equal(found.R, dynamics.sweep(model, **call).R)


def test_without_dask_one_line_says_so(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "dask", None)
    with pytest.raises(ImportError, match=r'pip install "primeattn\[dask\]"'):
        dynamics.sweep(model, coupling=[1.0], chunks=1)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"speed": [1.0]}, "sweep knows no 'speed'"),
        ({"coupling": 1.0}, "coupling is float"),
        ({"coupling": []}, "coupling has no values"),
        ({"coupling": [1.0, math.nan]}, "NaN or infinite"),
        ({"diffusion": [-1.0]}, "diffusion >= 0"),
        ({"inertia": [None, 1.0]}, "different numbers of states"),
        ({"runs": 0}, "runs is 0"),
        ({"samples": 1}, "samples is 1"),
        ({"duration": 0.0}, "duration is 0.0"),
        ({"transient": -1.0}, "transient is -1.0"),
        ({"continuation": "up"}, "continuation is 'up'"),
        ({"continuation": "both"}, "no axis"),
        ({"omega": OMEGA}, "a callable of a random generator"),
        ({"omega": lambda rng: OMEGA[:3]}, "12 finite numbers"),
        ({"method": "rk4", "diffusion": [0.1]}, "the model has diffusion"),
        ({"method": "rk5"}, "method is 'rk5'"),
        ({"observables": "Q"}, "observables has 'Q'"),
        ({"theta0": np.zeros((2, N)), "runs": 3}, "[2, 3] runs"),
        ({"model": pa.Kuramoto(OMEGA, [1.0, 2.0])}, "2 runs of its own"),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_refusals(options, says, model):
    with pytest.raises((ValueError, TypeError)) as caught:
        dynamics.sweep(options.pop("model", model), **options)
    assert says in str(caught.value)


def test_ctrl_c_between_pieces(model, monkeypatch):
    """The batch that was going on is dropped whole; what was finished stays."""
    monkeypatch.setattr(_grid, "_WORK", 1.0)
    calls = []
    go = _run.Run.go

    def interrupted(self, *arguments):
        calls.append(1)
        return _run.INTERRUPTED if len(calls) == 3 else go(self, *arguments)

    monkeypatch.setattr(_run.Run, "go", interrupted)
    found = dynamics.sweep(model, coupling=np.linspace(0, 3, 12), runs=2, **SHORT)
    assert found.attrs["status"] == "interrupted"
    assert 0 < np.isfinite(found.R).sum() < found.R.size
