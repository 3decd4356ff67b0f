"""Attention iterated: the exact map, what theory says of energy and clusters, synchrony from the attention matrix."""

import doctest

import numpy as np
import pytest

import primeattn as pa
from primeattn.attention import MECHANISMS
from primeattn.study import _depth, _synchrony, dynamics_of, synchrony

VECTORS = [name for name, mechanism in MECHANISMS.items() if mechanism.inputs != ("theta",)]


def loops(x, space, beta, step):
    """One layer of softmax attention, token by token, from the equation."""
    tokens = np.concatenate([np.cos(x), np.sin(x)], axis=1) if space == "torus" else x
    out = np.empty_like(x)
    for t in range(len(x)):
        w = np.array([np.exp(beta * (tokens[t] * tokens[u]).sum()) for u in range(len(x))])
        w /= w.sum()
        if space == "torus":
            out[t] = x[t] + step * sum(w[u] * np.sin(x[u] - x[t]) for u in range(len(x)))
            continue
        y = sum(w[u] * x[u] for u in range(len(x)))
        if space == "free":
            out[t] = x[t] + step * (y - x[t])
        else:
            out[t] = x[t] + step * (y - (x[t] @ y) * x[t])
            out[t] /= np.sqrt(out[t] @ out[t])
    return out


@pytest.mark.parametrize("space", _depth.SPACES)
def test_a_layer_is_the_equation(space):
    run = dynamics_of("dot_product", space=space, tokens=5, width=2, depth=3, step=0.7, scale=1.5, rng=0)
    x = run.x[0]
    for layer in range(3):
        x = loops(x, space, 1.5, 0.7)
        np.testing.assert_allclose(run.x[layer + 1], x, rtol=0, atol=1e-14)
    assert np.ptp(run.x[-1] - run.x[0]) > 0.1  # something moved


def test_the_torus_of_vectors_and_of_angles_is_one():
    x0 = np.random.default_rng(0).uniform(-3, 3, (6, 2))
    ours = dynamics_of("kuramoto", x0, space="torus", depth=20, beta=1.3)
    theirs = dynamics_of("dot_product", x0, space="torus", depth=20, scale=1.3)
    np.testing.assert_allclose(ours.x, theirs.x, rtol=0, atol=1e-12)
    np.testing.assert_allclose(ours.energy, theirs.energy, rtol=1e-12)


def test_without_sharpness_it_is_the_kuramoto_model():
    x0 = np.random.default_rng(1).uniform(-3, 3, (9, 1))
    run = dynamics_of("kuramoto", x0, space="torus", beta=0.0, depth=50, step=0.05)
    model = pa.Kuramoto(np.zeros(9), 1.0)
    sim = pa.simulate(model, (0, 2.5), x0[:, 0], method="euler", dt=0.05, t_eval=run.t, save_theta=True)
    np.testing.assert_allclose(run.x[..., 0], sim.theta, rtol=0, atol=1e-10)
    np.testing.assert_allclose(run.R, sim.R, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("name", "space"), [(name, "torus") for name in MECHANISMS] + [(n, s) for n in VECTORS for s in ("sphere", "free")]
)
def test_what_theory_claims_holds_in_small_steps(name, space):
    run = dynamics_of(name, space=space, tokens=10, width=4, runs=3, depth=80, step=0.02, rng=2)
    for claim in run.claims:
        assert run.violation(claim) < 1e-14
    assert np.isfinite(run.x).all()
    assert (run.R >= 0).all()
    assert (run.R <= 1 + 1e-12).all()
    assert (run.attended >= 1 - 1e-12).all()
    assert (run.attended <= 10 + 1e-9).all()
    assert ("energy" in run.claims) == bool(np.isfinite(run.energy).all())


def test_the_energy_is_claimed_where_it_is_a_theorem():
    claimed = {name: dynamics_of(name, space="sphere", depth=0).claims for name in VECTORS}
    assert {name for name, claims in claimed.items() if claims} == {"dot_product", "expressive", "squared"}
    assert dynamics_of("dot_product", depth=0, causal=True).claims == {}
    assert dynamics_of("dot_product", depth=0, scale=-1.0).claims == {}
    assert dynamics_of("dot_product", depth=0, space="free", step=1.5).claims == {}
    with pytest.raises(ValueError, match="'diameter' has no claim here: 'energy' has one"):
        dynamics_of("dot_product", depth=0).violation("diameter")
    with pytest.raises(ValueError, match="'energy' has no claim here: nothing has one"):
        dynamics_of("uniform", depth=0).violation("energy")


def test_the_check_of_a_claim_is_alive():
    """A repulsive score falls where the attractive one rises."""
    run = dynamics_of("dot_product", tokens=8, scale=-2.0, depth=40, rng=0)
    z = np.einsum("ltc,luc->ltu", run.x, run.x)
    import dataclasses

    falling = dataclasses.replace(run, energy=np.exp(2 * z).mean(axis=(1, 2)), claims={"energy": "rises"})
    assert falling.violation("energy") > 1e-3


def test_energies_are_the_primitives():
    """Of expressive attention z - atan z, by hand."""
    run = dynamics_of("expressive", tokens=6, depth=2, scale=1.2, rng=3)
    z = 1.2 * np.einsum("ltc,luc->ltu", run.x, run.x)
    np.testing.assert_allclose(run.energy, (z - np.arctan(z)).mean(axis=(1, 2)), rtol=1e-13)


def test_one_cluster_at_small_beta_and_many_at_large():
    """Geshkovski et al.: on the circle a single cluster at beta = 1, metastable ones at beta = 20."""
    wide = dynamics_of("kuramoto", space="torus", width=1, tokens=32, runs=5, depth=400, beta=1.0, rng=0)
    sharp = dynamics_of("kuramoto", space="torus", width=1, tokens=32, runs=5, depth=400, beta=20.0, rng=0)
    assert (wide.clusters[-1] == 1).all()
    assert np.isfinite(wide.clustering_time()).all()
    assert (wide.clustering_time() > wide.clustering_time(4)).all()
    assert (sharp.clusters[-1] > 1).all()
    assert np.isnan(sharp.clustering_time()).all()
    assert (wide.R[-1] > 0.999).all()


def test_softmax_gathers_to_one_point_of_a_high_sphere():
    run = dynamics_of("dot_product", width=16, tokens=24, depth=300, scale=1.0, rng=0)
    assert run.clusters[-1] == 1
    assert isinstance(run.clustering_time(), float)


@pytest.mark.parametrize("space", _depth.SPACES)
@pytest.mark.parametrize("causal", [False, True])
def test_synchrony_is_the_jacobian_of_a_layer(space, causal):
    """Central differences of a whole layer near equal tokens, against A - 1."""
    at = np.array([[0.6, 0.0, 0.8]]) if space != "torus" else np.array([[0.3]])
    x0 = np.repeat(at, 4, axis=0)
    run = dynamics_of("dot_product", x0, space=space, depth=0, step=0.1, scale=2.0, causal=causal)
    layer = _depth._Layer(MECHANISMS["dot_product"], space, {"scale": 2.0, "causal": causal}, 0.1)
    tangent, h = (np.array([0.0, 1.0, 0.0]), 1e-5) if space != "torus" else (np.array([1.0]), 1e-5)
    jacobian = np.empty((4, 4))
    for u in range(4):
        push = np.zeros_like(x0)
        push[u] = h * tangent
        jacobian[:, u] = ((layer(x0 + push)[0] - layer(x0 - push)[0]) / (2 * h) @ tangent).reshape(4)
    generator = (jacobian - np.eye(4)) / 0.1
    found = run.synchrony()
    np.testing.assert_allclose(np.sort(np.linalg.eigvals(generator).real), np.sort(found.eigenvalues.real), atol=1e-6)
    assert found.stable
    assert found.rate == pytest.approx(0.5 if causal else 1.0)


def test_synchrony_is_what_dynamics_says():
    rng = np.random.default_rng(0)
    a = rng.dirichlet(np.ones(6), size=6)
    model = pa.Kuramoto(np.zeros(6), 1.0, a, normalize=None)
    expected = pa.dynamics.analysis.eigenvalues(model, np.zeros(6))
    found = synchrony(a)
    np.testing.assert_allclose(found.eigenvalues.real, expected.real, atol=1e-12)
    assert found.rate == pytest.approx(-expected[1].real)
    assert found.transient >= -found.rate - 1e-12


def test_the_rate_is_seen_in_the_distance():
    x0 = np.random.default_rng(0).normal(0, 1e-3, (8, 1))
    run = dynamics_of("kuramoto", x0, space="torus", depth=200, step=0.02)
    spread = run.x.std(axis=1)[:, 0]
    assert np.polyfit(run.t[1:], np.log(spread[1:]), 1)[0] == pytest.approx(np.log1p(-0.02) / 0.02, rel=1e-4)


def test_causal_attention_grows_before_it_decays():
    found = synchrony(np.tril(np.ones((64, 64))) / np.arange(1, 65)[:, None])
    assert found.rate == pytest.approx(0.5)
    assert found.transient > -found.rate
    alone = synchrony(np.eye(3))
    assert (alone.rate, alone.stable) == (0.0, False)
    assert not synchrony([[1.5, -0.5], [-0.5, 1.5]]).stable
    single = synchrony([[1.0]])
    assert (single.rate, single.stable) == (np.inf, True)


def test_the_bridge_to_dynamics():
    run = dynamics_of("kuramoto", space="torus", width=1, tokens=12, runs=2, depth=30, beta=2.0, rng=0)
    model = run.oscillators(run=1)
    assert model.normalize is None
    np.testing.assert_allclose(run.weights(run=1).sum(axis=1), 1, atol=1e-12)
    rate = pa.dynamics.derivative(run.x[-1, 1, :, 0], model.omega, 1.0, model.network, normalize=None)
    ahead = dynamics_of("kuramoto", run.x[-1, 1], space="torus", depth=1, step=1e-3, beta=2.0)
    np.testing.assert_allclose((ahead.x[1] - ahead.x[0])[:, 0] / 1e-3, rate, atol=1e-10)
    frozen = pa.simulate(model, (0, 5), run.x[-1, 1, :, 0])
    assert frozen.R[-1] >= frozen.R[0] - 1e-12
    assert run.weights(0).shape == (12, 12)


def test_labels():
    run = dynamics_of("dot_product", tokens=4, runs=2, depth=3, scale=2.0, causal=False, rng=0)
    data = run.to_xarray()
    assert data.x.dims == ("layer", "run", "token", "coordinate")
    assert data.R.dims == ("layer", "run")
    np.testing.assert_allclose(data.time, run.t)
    assert data.attrs["scale"] == 2.0
    assert data.attrs["mechanism"] == "dot_product"
    single = dynamics_of("dot_product", tokens=4, depth=1, rng=0)
    assert single.to_xarray().x.dims == ("layer", "token", "coordinate")
    with pytest.raises(ValueError, match="run is 1 but there is one run: leave it out"):
        single.weights(run=1)


def test_runs_are_independent_and_seeds_are_reproduced():
    x0 = np.random.default_rng(0).normal(size=(3, 5, 4))
    together = dynamics_of("expressive", x0, depth=5)
    alone = dynamics_of("expressive", x0[1], depth=5)
    np.testing.assert_allclose(together.x[:, 1], alone.x, rtol=0, atol=1e-14)
    one, two = (dynamics_of("linear", depth=2, rng=7).x for _ in range(2))
    np.testing.assert_array_equal(one, two)
    before = x0.copy()
    dynamics_of("linear", x0, depth=2)
    np.testing.assert_array_equal(x0, before)


def test_one_token_and_one_layer():
    run = dynamics_of("dot_product", np.array([[3.0, 4.0]]), depth=1)
    np.testing.assert_allclose(run.x[1], [[0.6, 0.8]])
    assert (run.R[-1], run.clusters[-1], run.diameter[-1]) == (pytest.approx(1.0), 1, 0.0)
    assert dynamics_of("uniform", space="free", x0=np.zeros((3, 2), np.float32), depth=1).R[-1] == 0


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("softmax",), {}, "mechanism is 'softmax': one of 'dot_product'"),
        (("kuramoto",), {}, "kuramoto takes angles: pass space='torus'"),
        (("uniform",), {"space": "ball"}, "space is 'ball': one of 'sphere', 'torus', 'free' is wanted"),
        (("uniform", np.zeros((3, 2))), {}, "tokens of length 0: they have no place on the sphere"),
        (("uniform", [[np.nan, 1.0]]), {}, "NaN or infinite"),
        (("uniform", [1.0, 2.0]), {}, r"x0 has shape \(2,\)"),
        (("uniform", np.zeros((0, 2))), {}, r"x0 has shape \(0, 2\)"),
        (("uniform",), {"step": 0.0}, "step is 0.0: a positive number is wanted"),
        (("uniform",), {"step": np.nan}, "step is nan"),
        (("uniform",), {"tokens": 0}, "tokens is 0: an integer, 1 or more"),
        (("uniform",), {"depth": -1}, "depth is -1: an integer, 0 or more"),
    ],
)
def test_refusals(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        dynamics_of(*arguments, **options)


def test_other_refusals():
    with pytest.raises(TypeError, match="uniform has no option scale: causal, mask, window it has"):
        dynamics_of("uniform", scale=1.0)
    with pytest.raises(TypeError, match="x0 has dtype complex128"):
        dynamics_of("uniform", np.ones((3, 2)) * 1j)
    with pytest.raises(ValueError, match=r"weights has shape \(2, 3\): \(T, T\) is wanted"):
        synchrony(np.ones((2, 3)) / 3)
    with pytest.raises(ValueError, match=r"sum to 1 only within 1: pass weights / weights\.sum"):
        synchrony(np.ones((2, 2)))
    with pytest.raises(ValueError, match="NaN"):
        synchrony([[np.nan]])


def test_examples():
    for module in (_depth, _synchrony):
        assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"step": 1e300}, "tokens go beyond what float64 tells apart within 1 layers"),
        ({"step": 1e300, "space": "free", "depth": 2}, "tokens go beyond"),
        ({"step": 1e300, "space": "torus", "depth": 2}, "tokens go beyond"),
        ({"step": np.nan}, "step is nan"),
        ({"tolerance": np.nan}, "tolerance is nan: a finite number, 0 or more, is wanted"),
        ({"tolerance": -1}, "tolerance is -1"),
        ({"tokens": 0}, "tokens is 0: an integer, 1 or more, is wanted"),
        ({"depth": 1.5}, "depth is 1.5: an integer, 0 or more, is wanted"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_steps_and_tolerances_that_tell_nothing_are_refused(options, says):
    with pytest.raises(ValueError, match=says):
        dynamics_of("dot_product", tokens=options.pop("tokens", 4), rng=0, **options)
