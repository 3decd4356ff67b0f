"""CUDA twins of the dynamics against the CPU's formulas: in the simulator, or on a device."""

import numpy as np
import pytest

import primeattn as pa
from primeattn import dynamics

from .test_dynamics_analysis import CASES, N, both
from .test_dynamics_flow import TOLERANCE

# In the simulator scalars are NumPy's, which warn where compiled code overflows silently.
pytestmark = [pytest.mark.cudasim, pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", CASES)
def test_derivative(name, dtype, rng):
    model, state, function = both(name, rng)
    states, omega = np.stack([state, rng.uniform(-3, 3, model.states)]).astype(dtype), model.omega.astype(dtype)
    options = dict(CASES[name][0])
    found = dynamics.derivative(pa.to_device(states), pa.to_device(omega), options.pop("coupling"), t=0.7, **options)
    expected = [function(x.astype(float)).real for x in states]
    assert found.dtype == dtype
    atol = TOLERANCE[dtype] * max(1, np.abs(expected).max())
    np.testing.assert_allclose(pa.to_host(found), expected, rtol=0, atol=atol)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(
    ("options", "method"),
    [
        ({"phase_lag": 0.3, "forcing": (0.5, 2.0)}, "rk4"),
        ({"network": np.eye(4, k=1) * 2, "inertia": 0.7}, "heun"),
        ({"coupling": [0.5, 2.5], "diffusion": 0.3}, "sra1"),
    ],
    ids=["lag", "network with inertia", "runs with noise"],
)
def test_simulate(options, method, dtype, rng):
    model = pa.Kuramoto(rng.standard_normal(4), **{"coupling": 1.5} | options)
    theta = rng.uniform(-3, 3, (2, 4)).astype(dtype)
    call = {
        "samples": 3,
        "dt": 0.06,
        "method": method,
        "rng": 4,
        "observables": ("R", "frequencies"),
        "save_theta": True,
    }
    host, there = (pa.simulate(model, (0, 0.2), x, **call) for x in (theta, pa.to_device(theta)))
    assert there.settings == host.settings
    assert there.theta_end.dtype == dtype
    np.testing.assert_allclose(there.theta, host.theta, rtol=0, atol=8 * TOLERANCE[dtype])  # four steps
    np.testing.assert_allclose(there.R, host.R, rtol=0, atol=8 * TOLERANCE[dtype])
    np.testing.assert_array_equal(pa.to_host(there.theta_end), there.theta[:, -1])
    assert there.to_xarray().theta_end.dtype == dtype
    on = pa.simulate(model, (0.2, 0.3), there, **call)  # goes on where the arrays are
    assert on.theta_end.dtype == dtype


TERMS = {
    "triangles": {"triangles": [(0, 1, 2), (2, 3, 1), (0, 3, 1)], "triangle_weights": [1.0, -0.5, 2.0]},
    "both triadic terms": {"triangles": [(1, 0, 2), (3, 0, 2)], "triadic": (0.7, 0.4), "inertia": 0.8},
    "switches": {"network": [(0.0, np.eye(4, k=1)), (0.07, 3 * np.eye(4, k=-2)), (0.1, np.ones((4, 4)))]},
    "schedule": {"schedule": ([0.05, 0.1], [1.0, 3.0]), "network": np.eye(4, k=1) + np.eye(4, k=-2)},
}


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", ["amplitudes", "spheres"])
def test_simulate_bodies(name, dtype, rng):
    """Amplitudes from phases, points on spheres from vectors: on a network with noise, and all to all."""
    if name == "amplitudes":
        network = np.eye(4, k=1) + np.eye(4, k=-2)
        model = dynamics.StuartLandau(rng.standard_normal(4), 1.5, network, shear=0.3, diffusion=0.1)
        theta = rng.uniform(-3, 3, 4).astype(dtype)
    else:
        model = dynamics.Spheres(dynamics.frequencies.rotations(4, 3, rng=0), 1.5)
        theta = model.draw(rng, 1)[0].astype(dtype)
    call = {"samples": 3, "dt": 0.05, "rng": 4, "observables": ("R",)}
    host, there = (pa.simulate(model, (0, 0.2), x, **call) for x in (theta, pa.to_device(theta)))
    np.testing.assert_allclose(there.R, host.R, rtol=0, atol=8 * TOLERANCE[dtype])
    own = next(iter(host.states_end))
    np.testing.assert_allclose(there.states_end[own], host.states_end[own], rtol=0, atol=8 * TOLERANCE[dtype])
    assert np.abs(there.states_end[own] - pa.simulate(model, (0, 0.1), theta, **call).states_end[own]).max() > 1e-3


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", TERMS)
def test_terms(name, dtype, rng):
    """Derivatives and steps of what the written-out model there lacks, against the CPU's."""
    model = pa.Kuramoto(rng.standard_normal(4).astype(dtype), 1.5, **TERMS[name])
    state, theta = rng.uniform(-3, 3, (2, model.states)).astype(dtype), rng.uniform(-3, 3, 4).astype(dtype)
    for t in (0.0, 0.07, 1.0) if name != "switches" else ():
        host, there = (dynamics.Flow(model, like=x).derivative(x, t=t) for x in (state, pa.to_device(state)))
        np.testing.assert_allclose(pa.to_host(there), host, rtol=0, atol=8 * TOLERANCE[dtype])
    call = {"samples": 3, "dt": 0.05, "observables": ()}
    host, there = (pa.simulate(model, (0, 0.2), x, **call) for x in (theta, pa.to_device(theta)))
    np.testing.assert_allclose(pa.to_host(there.theta_end), host.theta_end, rtol=0, atol=8 * TOLERANCE[dtype])
    if name == "switches":
        with pytest.raises(ValueError, match="the network changes in time"):
            dynamics.Flow(model, like=pa.to_device(theta))
        rest = pa.simulate(model, (0.2, 0.0), there, **call)  # and back
        np.testing.assert_allclose(pa.to_host(rest.theta_end), theta, rtol=0, atol=1e-4)
        sweeps = [dynamics.sweep(model, coupling=[1.0], theta0=x[None], transient=0, duration=0.2, samples=3, dt=0.05)
                  for x in (theta, pa.to_device(theta))]  # fmt: skip
        np.testing.assert_allclose(sweeps[1].R, sweeps[0].R, rtol=0, atol=8 * TOLERANCE[dtype])
        model = model.replace(network=np.eye(4, k=1))
    without = model.replace(schedule=None, triangles=None, triangle_weights=None, triadic=None)
    assert np.abs(pa.simulate(without, (0, 0.2), theta, **call).theta_end - host.theta_end).max() > 1e-3


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"delay": 0.1}, "the model has delay"),
        ({"diffusion": 0.1, "correlation_time": 0.5}, "the model has correlation_time"),
    ],
)
def test_what_only_the_cpu_has_is_refused(options, says):
    model = pa.Kuramoto(np.zeros(4), **options)
    with pytest.raises(ValueError, match=says):
        pa.simulate(model, (0, 1), pa.to_device(np.zeros(4)))
    with pytest.raises(ValueError, match=says):
        dynamics.sweep(model, coupling=[1.0], theta0=pa.to_device(np.zeros((1, 4))))


def test_sweep(rng):
    model, theta = pa.Kuramoto(rng.standard_normal(4), diffusion=0.1), rng.uniform(-3, 3, (2, 4))
    call = {"coupling": [0.5, 2.5], "runs": 2, "transient": 0.2, "duration": 0.2, "samples": 3, "dt": 0.1, "rng": 1}
    host, there = (dynamics.sweep(model, theta0=x, **call) for x in (theta, pa.to_device(theta)))
    np.testing.assert_allclose(there.R, host.R, rtol=0, atol=1e-12)


def test_many_blocks(rng):
    """Sums on CUDA are over blocks of 32 or more."""
    n, groups = 150, np.repeat([0, 1], [70, 80])
    theta, omega, k = rng.uniform(-3, 3, n), rng.standard_normal(n), np.array([[1.0, 0.5], [0.2, 2.0]])
    found = pa.to_host(dynamics.derivative(pa.to_device(theta), pa.to_device(omega), k, groups=groups))
    z = np.array([np.exp(1j * theta[groups == a]).mean() for a in (0, 1)])
    np.testing.assert_allclose(found, omega + (k[groups] @ z * np.exp(-1j * theta)).imag, rtol=0, atol=1e-13)


def test_steps_and_refusals(rng):
    theta, omega = rng.uniform(-3, 3, N), rng.standard_normal(N)
    there = pa.to_device(theta)
    found = dynamics.step(there, pa.to_device(omega), 2.0, dt=0.1)
    np.testing.assert_allclose(pa.to_host(found), dynamics.step(theta, omega, 2.0, dt=0.1), rtol=0, atol=1e-14)
    np.testing.assert_array_equal(pa.to_host(there), theta)
    with pytest.raises(TypeError, match="omega is a host array"):
        dynamics.derivative(there, omega)
    with pytest.raises(TypeError, match="one precision is wanted"):
        dynamics.derivative(there, pa.to_device(omega.astype(np.float32)))
    with pytest.raises(TypeError, match="theta is a CUDA array but like is a host array"):
        dynamics.Flow(pa.Kuramoto(omega)).derivative(there)
    with pytest.raises(ValueError, match="one of fixed steps"):
        pa.simulate(pa.Kuramoto(omega), (0, 1), there, method="dop853")
    with pytest.raises(TypeError, match="velocity0 is a host array"):
        pa.simulate(pa.Kuramoto(omega, inertia=1.0), (0, 1), there, velocity0=omega)
