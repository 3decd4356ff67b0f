"""The functional layer: derivatives against the written-out model, steps against simulate, both precisions."""

import numpy as np
import pytest
from scipy import sparse

import primeattn as pa
from primeattn import dynamics

from .test_dynamics_analysis import CASES, N, both

# Sums of up to 49 terms of size 1, phases up to 3.
TOLERANCE = {np.float64: 1e-13, np.float32: 64 * 2.0**-23}


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", CASES)
def test_derivative_against_the_written_out_model(name, dtype, rng):
    model, state, function = both(name, rng)
    states = np.stack([state, rng.uniform(-3, 3, model.states)]).astype(dtype)
    omega = model.omega.astype(dtype)
    options = dict(CASES[name][0])
    coupling = options.pop("coupling")
    found = dynamics.derivative(states, omega, coupling, t=0.7, **options)
    expected = [function(x.astype(float)).real for x in states]
    assert found.dtype == dtype
    atol = TOLERANCE[dtype] * max(1, np.abs(expected).max())
    np.testing.assert_allclose(found, expected, rtol=0, atol=atol)
    flow = dynamics.Flow(model, like=states)
    np.testing.assert_array_equal(flow(0.7, states[1]), flow.derivative(states.reshape(2, 1, -1), t=0.7)[1, 0])
    np.testing.assert_allclose(flow(0.7, states[0]), found[0], rtol=0, atol=atol)  # omega was rounded before


@pytest.mark.parametrize("method", ["rk4", "heun", "euler", "euler_maruyama", "sra1"])
@pytest.mark.parametrize("second", [False, True])
def test_a_step_is_that_of_simulate(method, second, rng):
    noise = 0.2 if method in ("heun", "euler_maruyama", "sra1") else 0.0
    model = pa.Kuramoto(rng.standard_normal(N), [1.0, 2.0], diffusion=noise, inertia=0.8 if second else None)
    theta, velocity = rng.uniform(-3, 3, (2, 2, N))
    moved = {"velocity0": velocity} if second else {}
    whole = pa.simulate(model, (0, 0.3), theta, t_eval=[0.3], dt=0.1, method=method, rng=0, **moved)
    state, flow = np.concatenate([theta, velocity], axis=1) if second else theta, dynamics.Flow(model)
    for count in range(3):
        state = flow.step(state, 0.1, method=method, t=0.1 * count, seed=whole.settings["seed"], count=count)
    np.testing.assert_allclose(state[:, :N], whole.theta_end, rtol=0, atol=1e-13)  # three steps of 0.1


def test_float32_noise_is_that_of_float64(rng):
    model = pa.Kuramoto(np.zeros(200), 0.0, diffusion=0.5)
    double, single = (dynamics.Flow(model, like=np.zeros(1, t)).step(np.zeros((2, 200), t), 1.0, method="sra1", seed=9)
                      for t in (np.float64, np.float32))  # fmt: skip
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, double, rtol=0, atol=2e-6)  # the logarithm of a rounded uniform number
    assert np.abs(double.std() - 1) < 4 / np.sqrt(800)  # four standard errors of a standard deviation
    assert not np.array_equal(double[0], double[1])


def test_in_blocks_and_on_threads(rng):
    """More than one block, of two groups, against the first oscillators of the formula."""
    n = 3000
    theta, omega = rng.uniform(-3, 3, n), rng.standard_normal(n)
    groups = np.repeat([0, 1], [2500, 500])
    k = np.array([[1.0, 0.5], [0.2, 2.0]])
    found = dynamics.derivative(theta, omega, k, groups=groups)
    z = np.array([np.exp(1j * theta[groups == a]).mean() for a in (0, 1)])
    expected = omega + (k[groups] @ z * np.exp(-1j * theta)).imag
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)  # means of thousands


def test_awkward_input(rng):
    omega, theta = rng.standard_normal(N), rng.uniform(-3, 3, N)
    plain = dynamics.derivative(theta, omega, 2.0)
    theta.flags.writeable = False
    np.testing.assert_array_equal(dynamics.derivative(theta, omega, 2.0), plain)
    np.testing.assert_array_equal(dynamics.derivative(np.repeat(theta, 2)[::2], omega.astype(">f8"), 2.0), plain)
    assert dynamics.derivative([0, 1], [0, 1], 2.0).dtype == np.float64
    assert dynamics.derivative(np.zeros((0, N)), omega, 2.0).shape == (0, N)
    assert dynamics.step(np.zeros((0, N)), omega, 2.0, dt=0.1).shape == (0, N)
    assert np.isnan(dynamics.derivative(np.where(np.arange(N) == 2, np.nan, theta), omega, 2.0)).all()
    far = dynamics.derivative(theta + 2 * np.pi * 1e9, omega, 2.0)
    np.testing.assert_allclose(far, plain, atol=1e-5)  # the phases themselves are rounded to 1e-6
    alone = dynamics.derivative(theta, omega, 2.0, sparse.csr_array((N, N)))
    np.testing.assert_array_equal(alone, omega)


def test_refusals(rng):
    omega, theta = np.zeros(N), np.zeros(N)
    with pytest.raises(ValueError, match="the last axis must have length 7"):
        dynamics.derivative(np.zeros(3), omega)
    with pytest.raises(ValueError, match="the last axis must have length 14"):
        dynamics.derivative(theta, omega, inertia=1.0)
    with pytest.raises(ValueError, match="the model has 3 runs"):
        dynamics.derivative(np.zeros((2, N)), omega, [1.0, 2.0, 3.0])
    with pytest.raises(TypeError, match="real numbers are wanted"):
        dynamics.derivative(theta * 1j, omega)
    with pytest.raises(TypeError, match="unexpected keyword"):
        dynamics.derivative(theta, omega, lag=1.0)
    with pytest.raises(ValueError, match="one of fixed steps"):
        dynamics.step(theta, omega, dt=0.1, method="dop853")
    with pytest.raises(ValueError, match="has diffusion"):
        dynamics.step(theta, omega, dt=0.1, diffusion=1.0)
    with pytest.raises(ValueError, match="method is 'rk5'"):
        dynamics.step(theta, omega, dt=0.1, method="rk5")


def test_labelled(rng):
    xarray = pytest.importorskip("xarray")
    theta = xarray.DataArray(rng.uniform(-3, 3, (2, N)), {"run": [3, 5]}, ("run", "oscillator"))
    for function in (dynamics.derivative, lambda *x: dynamics.step(*x, dt=0.1)):
        found = function(theta, np.zeros(N), 2.0)
        assert found.dims == theta.dims
        np.testing.assert_array_equal(found.run, [3, 5])
        np.testing.assert_array_equal(found, function(theta.values, np.zeros(N), 2.0))
