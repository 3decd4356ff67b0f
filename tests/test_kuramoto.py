"""Kuramoto attention: every option against double sums of sines, identities of the torus, energy, causality, decode.

The complex step on the oracle is exact to rounding: 1e-11 leaves room for sums of a few hundred terms of size 1.
"""

import numba
import numpy as np
import pytest

import primeattn as pa
from primeattn.attention._kuramoto import by_head, gradients, run
from primeattn.attention._kuramoto.angles import SUMS
from primeattn.attention._kuramoto.call import _check_call, check_call
from tests.naive import kuramoto as naive

attention = pa.attention
TOKENS, ANGLES, HEADS = 6, 4, 2


def draw(seed=0, tokens=TOKENS, **options):
    """theta (2, tokens, 4), and static gates, beta, drift, step beside the options."""
    rng = np.random.default_rng(seed)
    common = {
        "heads": HEADS,
        "gate_query": rng.normal(1, 0.5, ANGLES),
        "gate_key": rng.normal(1, 0.5, ANGLES),
        "beta": rng.uniform(0.5, 1.5, HEADS),
        "drift": rng.normal(0, 0.5, ANGLES),
        "step": rng.uniform(0.3, 0.9, ANGLES),
    }
    return rng.uniform(-np.pi, np.pi, (2, tokens, ANGLES)), {**common, **options}


def tables(seed=1, tokens=TOKENS):
    """Arrays that options are made of."""
    rng = np.random.default_rng(seed)
    real = rng.standard_normal((2, 3, ANGLES))
    return {
        "real": real,
        "complex": real + 1j * rng.standard_normal((2, 3, ANGLES)),
        "gate": rng.normal(1, 0.5, (2, tokens, ANGLES)),
        "memory": rng.uniform(-3, 3, (2, tokens + 2, ANGLES)),
        "memory gate": rng.normal(1, 0.5, (2, tokens + 2, ANGLES)),
        "mask": rng.random((2, 1, tokens, tokens)) < 0.6,
    }


def cases():
    x = tables()
    return {
        "no gate, no drift": {"gate_query": None, "gate_key": None, "drift": None},
        "one drift for all heads": {"drift": np.array([0.3, -0.7])},
        "rotary": {"drift": "rotary", "causal": True},
        "drift in values": {"drift_values": True},
        "numbers": {"beta": 0.7, "step": 0.4, "gate_query": np.array(1.3)},
        "strict": {"causal": True, "strict": True, "window": 3},
        "gates of tokens": {"gate_query": x["gate"], "gate_key": x["gate"][::-1].copy()},
        "a gate of sequences": {"gate_query": x["gate"][:1]},
        "direction": {"update": "direction"},
        "geodesic": {"update": "geodesic", "causal": True},
        "lag": {"coupling": np.exp(-0.4j)},
        "one harmonic": {"coupling": x["real"][0, 0]},
        "harmonics": {"coupling": x["complex"][0], "drift_values": True},
        "delay": {"coupling": x["real"], "causal": True},
        "all of it": {"coupling": x["complex"], "causal": True, "mask": x["mask"], "window": 4, "drift_values": True},
        "delay, strict": {"coupling": x["complex"], "causal": True, "strict": True, "gate_key": x["gate"]},
        "memory": {"memory": x["memory"], "gate_key": x["memory gate"]},
        "memory, delay": {"memory": x["memory"], "causal": True, "coupling": x["complex"], "drift_values": True},
    }


CASES = cases()


def slope(theta, options, name, direction, dout):
    """d <dout, oracle> along a direction of one argument, by the complex step."""
    h = 1e-30j
    if name == "theta":
        return (naive.reference(theta + h * direction, **options) * dout).sum().imag / 1e-30
    value = options[name]
    if name == "coupling":
        parts = np.real(value) + h * np.real(direction), np.imag(value) + h * np.imag(direction)
        return (naive.reference(theta, **{**options, name: parts}) * dout).sum().imag / 1e-30
    return (naive.reference(theta, **{**options, name: value + h * direction}) * dout).sum().imag / 1e-30


def error(theta, options, grads, dout):
    rng, worst = np.random.default_rng(5), 0.0
    for name, gradient in grads.items():
        direction = rng.standard_normal(gradient.shape)
        if np.iscomplexobj(gradient):
            direction = direction + 1j * rng.standard_normal(gradient.shape)
        expected = slope(theta, options, name, direction, dout)
        worst = max(worst, abs(expected - (np.conj(gradient) * direction).real.sum()) / (1 + abs(expected)))
    return worst


@pytest.mark.parametrize("case", CASES)
def test_every_option_equals_the_double_sum_of_sines_with_its_gradients(case):
    theta, options = draw(**CASES[case])
    out, pullback = attention.vjp("kuramoto", theta, **options)
    expected, weights = naive.reference(theta, **options, return_weights=True)
    assert np.ptp(expected - theta) > 0.1
    # an increment is a sum of up to 6 delays and harmonics of size 1 to 3, each of a few terms
    np.testing.assert_allclose(out, expected, rtol=0, atol=2e-14)
    np.testing.assert_allclose(
        attention.kuramoto(theta, **options, return_weights=True)[1], weights, rtol=0, atol=1e-14
    )
    dout = np.random.default_rng(2).standard_normal(out.shape)
    grads = pullback(dout)
    arrays = {n for n, x in options.items() if isinstance(x, np.ndarray | np.number | complex | float) and n != "mask"}
    assert set(grads) == {"theta", "beta", "step"} | arrays
    assert all(np.shape(grads[n]) == np.shape(options[n]) for n in arrays)
    assert error(theta, options, grads, dout) < 1e-11
    for name in grads:  # the check is alive: one part in a million off is rejected
        assert error(theta, options, {name: grads[name] * (1 + 1e-6)}, dout) > 1e-9
    again = pullback(dout)
    assert all(np.array_equal(again[n], grads[n]) for n in grads)


@pytest.mark.parametrize("case", CASES)
def test_the_reference_of_the_package_equals_the_oracle(case):
    theta, options = draw(**CASES[case])
    got = attention.MECHANISMS["kuramoto"].reference(theta, **options)
    np.testing.assert_allclose(got, naive.reference(theta, **options), rtol=0, atol=2e-14)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("width", [2, 16, 21])  # less than a vector, one, one and a rest
def test_heads_one_after_the_other_give_what_passes_one_by_one_give(monkeypatch, threads, width):
    rng = np.random.default_rng(width)
    d, tokens = HEADS * width, 70  # three pieces
    theta, gate = rng.uniform(-9, 9, (2, tokens, d)), rng.normal(1, 0.5, (2, tokens, d))
    coupling = rng.standard_normal((1, 2, d)) + 1j * rng.standard_normal((1, 2, d))
    options = {"heads": HEADS, "gate_query": gate, "drift": "rotary", "coupling": coupling, "causal": True}
    dout = rng.standard_normal(theta.shape)
    monkeypatch.setattr("primeattn._runtime.owners.get_num_threads", lambda: threads)
    monkeypatch.setattr("primeattn.attention._cores.run.get_num_threads", lambda: threads)
    calls = []
    monkeypatch.setattr(by_head, "backward", lambda *a, f=by_head.backward: calls.append(1) or f(*a))
    out, pullback = attention.vjp("kuramoto", theta, **options)
    grads = pullback(dout)
    assert calls
    monkeypatch.setattr(by_head, "suits", lambda _: False)
    other, pullback = attention.vjp("kuramoto", theta, **options)
    np.testing.assert_array_equal(out, other)
    for name, g in pullback(dout).items():
        np.testing.assert_array_equal(grads[name], g, err_msg=name)


@pytest.mark.parametrize("numbers", [False, True])
def test_gradients_of_parameters_in_one_call_are_those_one_by_one(monkeypatch, numbers):
    """Up to rounding: sums run in another order. 70 tokens are three pieces, 2 sequences share the parameters."""
    theta, options = draw(tokens=70, causal=True)
    if numbers:
        options |= {"beta": 0.7, "step": 0.4, "drift": options["drift"][:2], "gate_key": None}
        options["gate_query"] = np.random.default_rng(3).normal(1, 0.5, theta.shape)
    dout = np.random.default_rng(4).standard_normal(theta.shape)
    calls = []
    one_call = gradients.of_parameters
    monkeypatch.setattr(gradients, "of_parameters", lambda *a: calls.append(1) or one_call(*a))
    grads = attention.vjp("kuramoto", theta, **options)[1](dout)
    assert calls
    monkeypatch.setattr(by_head, "suits", lambda _: False)
    others = attention.vjp("kuramoto", theta, **options)[1](dout)
    assert set(grads) == set(others)
    for name, g in others.items():
        assert grads[name].shape == g.shape
        np.testing.assert_allclose(grads[name], g, rtol=0, atol=1e-14 * abs(g).max() * 10, err_msg=name)


def test_a_remembered_check_gives_what_the_check_gives():
    """Shapes and options are remembered, numbers are not."""
    for seed in (0, 1):
        for case in ({}, {"drift": None, "gate_key": None}, {"drift": "rotary"}, {"beta": 0.5 + seed, "step": 0.3}):
            for drift_values in (False, True):
                theta, options = draw(seed, causal=True, strict=False, drift_values=drift_values, update="tangent")
                options |= {"memory": None, "coupling": None, **case}
                got, wanted = check_call(theta, **options), _check_call(theta, **options, first=None)
                np.testing.assert_equal(tuple(got), tuple(wanted))
    with pytest.raises(TypeError, match="drift_values is 1"):
        check_call(theta, **{**options, "drift_values": 1})


def test_one_huge_angle_among_near_ones():
    """Others see its sine and cosine, which NumPy takes of any angle; what it turns by is rounded away in its sum."""
    theta, options = draw(tokens=70, drift=None)
    near = theta.copy()
    theta[1, 40, 1] = 1e12
    near[1, 40, 1] = np.arctan2(np.sin(1e12), np.cos(1e12))
    moved, expected = attention.kuramoto(theta, **options) - theta, naive.reference(near, **options) - near
    moved[1, 40, 1] = expected[1, 40, 1]
    np.testing.assert_allclose(moved, expected, rtol=0, atol=1e-14)


def test_a_head_that_is_not_finite_is_taken_pass_by_pass():
    theta, options = draw(tokens=20, causal=True)
    theta[1, 11, 1] = np.inf
    out, pullback = attention.vjp("kuramoto", theta, **options)
    clean = attention.kuramoto(theta[:, :11], **options)
    np.testing.assert_allclose(out[:, :11], clean, rtol=0, atol=1e-15)
    assert np.isnan(out[1, 11:, :2]).all()
    assert np.isfinite(out[0]).all()
    assert np.isfinite(pullback(np.ones_like(out))["theta"][0]).all()


def test_gradients_that_are_not_finite_are_taken_pass_by_pass():
    """An infinite one reaches its own sequence; of the others, other loops give the same up to rounding."""
    theta, options = draw(tokens=20, causal=True)
    out, pullback = attention.vjp("kuramoto", theta, **options)
    dout = np.random.default_rng(6).standard_normal(out.shape)
    expected = pullback(dout)["theta"]
    dout[1, 11, 1] = np.inf
    got = pullback(dout)["theta"]
    np.testing.assert_allclose(got[0], expected[0], rtol=0, atol=1e-14 * abs(expected).max())
    assert not np.isfinite(got[1, :12, :2]).any()
    np.testing.assert_allclose(got[1, :, 2:], expected[1, :, 2:], rtol=0, atol=1e-14 * abs(expected).max())


# --- identities of the torus -----------------------------------------------------------------------------------------


def test_a_common_turn_of_all_phases_leaves_scores_and_turns_outputs():
    theta, options = draw(causal=True, coupling=tables()["complex"])
    turn = np.array([0.3, -2.0, 5.0, 1.0])
    (out, weights), (moved, moved_weights) = (
        attention.kuramoto(x, **options, return_weights=True) for x in (theta, theta + turn)
    )
    np.testing.assert_allclose(moved_weights, weights, rtol=0, atol=1e-14)
    np.testing.assert_allclose(moved, out + turn, rtol=0, atol=1e-13)


def test_gradients_of_a_common_turn_vanish(monkeypatch):
    """sum_t dalpha = 0 for every coordinate, and so sum_t dtheta = sum_t G."""
    theta, options = draw(causal=True)
    found = []

    def spy(call, steps, sums, *gates):
        found.append(sums.reshape(2, HEADS, -1, SUMS, ANGLES // HEADS))  # one piece a head
        return of_parameters(call, steps, sums, *gates)

    of_parameters = gradients.of_parameters
    monkeypatch.setattr(gradients, "of_parameters", spy)
    out, pullback = attention.vjp("kuramoto", theta, **options)
    dout = np.random.default_rng(0).standard_normal(out.shape)
    dtheta = pullback(dout)["theta"]
    assert abs(found[0][..., 3, :]).max() > 0.01  # sum_t t dalpha
    np.testing.assert_allclose(found[0][..., 2, :], 0, atol=1e-14)  # 6 terms of size 0.1
    np.testing.assert_allclose(dtheta.sum(axis=1), dout.sum(axis=1), rtol=0, atol=1e-14)


def test_whole_turns_change_nothing():
    theta, options = draw(causal=True, coupling=tables()["complex"])
    turns = 2 * np.pi * np.random.default_rng(0).integers(-3, 4, theta.shape)
    out, moved = attention.kuramoto(theta, **options), attention.kuramoto(theta + turns, **options)
    np.testing.assert_allclose(moved - turns, out, rtol=0, atol=1e-13)  # theta + turns is rounded to 20 eps


def test_attending_only_oneself_is_standing_still():
    theta, options = draw(mask=np.eye(TOKENS, dtype=bool))
    # sin(x - x) as cos x sin x - sin x cos x: a fused product leaves half a unit in the last place
    np.testing.assert_allclose(attention.kuramoto(theta, **options), theta, rtol=0, atol=1e-15)
    lag = attention.kuramoto(theta, **options, coupling=0.5 - 0.25j)
    np.testing.assert_allclose(lag, theta - 0.25 * options["step"], rtol=0, atol=1e-15)


def test_delta_of_the_softmax_is_upstream_times_increment():
    """D_t = sum_u A_tu dA_tu = sum_c G_tc delta_tc, a head."""
    theta, options = draw(causal=True, drift_values=False)
    out, weights = attention.kuramoto(theta, **options, return_weights=True)
    dout = np.random.default_rng(0).standard_normal(out.shape)
    sines = np.sin(theta[:, None] - theta[:, :, None])
    by_head = (options["step"] * dout[:, :, None] * sines).reshape(2, TOKENS, TOKENS, HEADS, -1).sum(axis=-1)
    expected = (weights * np.moveaxis(by_head, -1, 1)).sum(axis=-1)
    got = (dout * (out - theta)).reshape(2, TOKENS, HEADS, -1).sum(axis=-1)
    np.testing.assert_allclose(np.moveaxis(got, -1, 1), expected, rtol=0, atol=1e-14)


def test_the_order_parameter_lies_in_the_unit_disc():
    theta, options = draw(tokens=40)
    defaults = {"memory": None, "drift_values": False, "coupling": None, "update": "tangent"}
    call = check_call(theta, **{**defaults, **options}, causal=False, strict=False)
    moments = run.forward(call, causal=False, strict=False, mask=None, window=None).passes().main.moments
    c, s = np.moveaxis(moments.reshape(2, HEADS, 40, 2, -1), -2, 0)
    assert (c * c + s * s <= 1 + 1e-15).all()
    assert (abs(attention.kuramoto(theta, **options) - theta) <= options["step"]).all()
    geodesic = attention.kuramoto(theta, **options, update="geodesic")
    assert (abs(geodesic - theta) <= np.pi * options["step"]).all()


def test_without_drift_order_does_not_matter():
    theta, options = draw(drift=None)
    order = np.random.default_rng(0).permutation(TOKENS)
    out, moved = attention.kuramoto(theta, **options), attention.kuramoto(theta[:, order], **options)
    np.testing.assert_allclose(moved, out[:, order], rtol=0, atol=1e-14)
    options["drift"] = np.ones(ANGLES)
    out, moved = attention.kuramoto(theta, **options), attention.kuramoto(theta[:, order], **options)
    assert abs(moved - out[:, order]).max() > 0.01


# --- known dynamics --------------------------------------------------------------------------------------------------


def test_without_scores_it_is_the_mean_field_of_kuramoto():
    theta = np.random.default_rng(0).uniform(-3, 3, (9, 2))
    mean = pa.circle.order_parameter(theta, axis=0)
    expected = theta + 0.7 * abs(mean) * np.sin(np.angle(mean) - theta)
    np.testing.assert_allclose(attention.kuramoto(theta, beta=0.0, step=0.7), expected, rtol=0, atol=1e-14)


def test_a_step_is_down_the_gradient_of_the_hopfield_energy_of_a_memory():
    """F_t = - log sum_u exp(beta sum_c cos(theta_t - psi_u)) / beta; a step of 1 or less never climbs."""
    rng, beta = np.random.default_rng(0), 1.5
    theta, memory = rng.uniform(-3, 3, (20, 3)), rng.uniform(-3, 3, (7, 3))

    def energy(x):
        return -np.log(np.exp(beta * np.cos(x[:, None] - memory).sum(axis=-1)).sum(axis=1)) / beta

    step = attention.kuramoto(theta, memory=memory, beta=beta) - theta
    for c in range(3):
        slope = energy(theta + 1e-30j * np.eye(3)[c]).imag / 1e-30
        np.testing.assert_allclose(step[:, c], -slope, rtol=0, atol=1e-14)
    for _ in range(30):
        before, theta = energy(theta), attention.kuramoto(theta, memory=memory, beta=beta, step=0.5)
        assert (energy(theta) <= before + 1e-14).all()


@pytest.mark.parametrize(("width", "beta"), [(1, 1.0), (1, 20.0), (4, 2.0)])
def test_tokens_that_attend_one_another_raise_their_common_likeness(width, beta):
    """Each moves along the gradient of sum_tu exp(beta sum_c cos(theta_t - theta_u)), at a speed of its own."""
    theta = np.random.default_rng(1).uniform(-3, 3, (12, width))

    def likeness(x):
        return np.exp(beta * (np.cos(x[:, None] - x).sum(axis=-1) - width)).sum()

    for _ in range(60):
        before, theta = likeness(theta), attention.kuramoto(theta, beta=beta, step=0.1)
        assert likeness(theta) >= before * (1 - 1e-14)


def test_on_a_circle_with_soft_scores_all_tokens_meet():
    """Single cluster for small beta: Geshkovski et al., arXiv:2312.10794."""
    theta = np.random.default_rng(0).uniform(-3, 3, (16, 1))
    sharp = theta
    for _ in range(200):
        theta = attention.kuramoto(theta, beta=1.0, step=0.5)
        sharp = attention.kuramoto(sharp, beta=20.0, step=0.5)
    assert abs(pa.circle.order_parameter(theta, axis=0)) > 0.999
    assert abs(pa.circle.order_parameter(sharp, axis=0)) < 0.9


# --- what may be seen ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"strict": True}, {"coupling": tables()["complex"], "window": 9}], ids=str)
def test_the_future_has_no_influence_at_all(options):
    theta, options = draw(tokens=70, causal=True, **options)
    out, weights = attention.kuramoto(theta, **options, return_weights=True)
    later = theta.copy()
    later[:, 41:] += np.random.default_rng(0).standard_normal(later[:, 41:].shape)
    moved, moved_weights = attention.kuramoto(later, **options, return_weights=True)
    np.testing.assert_array_equal(moved[:, :41], out[:, :41])
    np.testing.assert_array_equal(moved_weights[..., :41, :], weights[..., :41, :])
    assert (np.triu(weights, 0 if "strict" in options else 1) == 0).all()
    _, pullback = attention.vjp("kuramoto", theta, **options)
    dout = np.zeros_like(out)
    dout[:, :41] = 1
    assert (pullback(dout)["theta"][:, 41:] == 0).all()


@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_nan_and_inf_reach_only_those_who_may_see_them(poison):
    theta, options = draw(tokens=70, causal=True, coupling=tables()["real"])
    clean = attention.kuramoto(theta, **options)
    theta = theta.copy()
    theta[:, 40, 0] = poison
    out = attention.kuramoto(theta, **options)
    np.testing.assert_allclose(out[:, :40], clean[:, :40], rtol=0, atol=1e-13)
    np.testing.assert_allclose(out[..., 2:], clean[..., 2:], rtol=0, atol=1e-13)  # the other head
    assert np.isnan(out[:, 40:, :2]).all()
    mask = np.ones((70, 70), bool)
    mask[:, 40], mask[40] = False, False
    out = attention.kuramoto(theta, **options, mask=mask)
    assert np.isfinite(np.delete(out, 40, axis=1)).all()


def test_with_nothing_to_attend_a_token_stays():
    mask = np.ones((TOKENS, TOKENS), bool)
    mask[3] = False
    for case in ({}, {"coupling": tables()["real"]}, {"update": "direction"}, {"update": "geodesic"}):
        theta, options = draw(causal=True, mask=mask, **case)
        out, pullback = attention.vjp("kuramoto", theta, **options)
        np.testing.assert_array_equal(out[:, 3], theta[:, 3])
        assert all(np.isfinite(g).all() for g in pullback(np.ones_like(out)).values())
    mask[4], mask[4, 1] = False, True  # one key
    theta, options = draw(mask=mask)
    expected = theta[:, 4] + options["step"] * np.sin(theta[:, 1] - theta[:, 4])
    np.testing.assert_allclose(attention.kuramoto(theta, **options)[:, 4], expected, rtol=0, atol=1e-15)
    first = attention.kuramoto(theta, heads=HEADS, causal=True, strict=True)
    np.testing.assert_array_equal(first[:, 0], theta[:, 0])


@pytest.mark.parametrize("case", ["delay", "memory", "geodesic", "gates of tokens"])
@pytest.mark.parametrize("tokens", [0, 1])
def test_few_tokens(case, tokens):
    x = tables(tokens=tokens)
    options = {
        "delay": {"coupling": x["complex"], "causal": True},
        "memory": {"memory": x["memory"], "gate_key": x["memory gate"]},
        "geodesic": {"update": "geodesic"},
        "gates of tokens": {"gate_query": x["gate"], "gate_key": x["gate"]},
    }[case]
    theta, options = draw(tokens=tokens, **options)
    out, pullback = attention.vjp("kuramoto", theta, **options)
    np.testing.assert_allclose(out, naive.reference(theta, **options), rtol=0, atol=1e-14)
    for name, gradient in pullback(np.ones_like(out)).items():
        assert np.shape(gradient) == np.shape(theta if name == "theta" else options[name])
        assert np.isfinite(gradient).all()


def test_no_memory_is_nothing_to_attend():
    theta, options = draw(memory=np.zeros((2, 0, ANGLES)))
    out, pullback = attention.vjp("kuramoto", theta, **options)
    np.testing.assert_array_equal(out, theta)
    np.testing.assert_array_equal(pullback(out)["theta"], out)


def test_angles_of_any_size():
    theta, options = draw()
    turned, wrapped = theta + 1e6, pa.circle.wrap(theta + 1e6)
    # a step of float64 at 1e6 is 1e-10
    np.testing.assert_allclose(
        attention.kuramoto(turned, **options) - turned, attention.kuramoto(wrapped, **options) - wrapped, atol=1e-9
    )
    huge = theta * 2.0**40  # beyond the fast range reduction
    np.testing.assert_allclose(
        attention.MECHANISMS["kuramoto"].reference(huge, **options) - huge,
        attention.kuramoto(huge, **options) - huge, atol=1e-3,  # out is rounded to 2**-10
    )  # fmt: skip


def test_float32_and_threads():
    theta, options = draw(tokens=300, causal=True, coupling=tables()["complex"])
    single = theta.astype(np.float32)
    gates = {n: options[n].astype(np.float32) for n in ("gate_query", "gate_key")}
    before, found = numba.get_num_threads(), []
    for threads in (1, min(2, numba.config.NUMBA_NUM_THREADS)):
        numba.set_num_threads(threads)
        out, pullback = attention.vjp("kuramoto", single, **{**options, **gates})
        found.append({"out": out, **pullback(np.ones_like(out))})
    numba.set_num_threads(before)
    for name, x in found[0].items():
        np.testing.assert_array_equal(x, found[1][name], err_msg=name)
        assert x.dtype == (np.complex64 if name == "coupling" else np.float32)
    expected, pullback = attention.vjp("kuramoto", theta, **options)
    np.testing.assert_allclose(found[0]["out"], expected, rtol=0, atol=2e-5)  # 6 increments of 300 terms, eps 6e-8
    for name, x in pullback(np.ones_like(expected)).items():
        np.testing.assert_allclose(found[0][name], x, rtol=0, atol=3e-5 * max(1, abs(x).max()), err_msg=name)


# --- decode ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"window": 4, "drift": "rotary"},
        {"coupling": tables()["complex"], "drift_values": True},
        {"coupling": tables()["real"], "window": 3, "strict": True},
        {"update": "geodesic", "drift": None},
    ],
    ids=["window", "frustrated", "strict", "geodesic"],
)
def test_streaming_equals_the_whole_sequence(options):
    theta, options = draw(tokens=14, **options)
    gate = tables(tokens=14)["gate"]
    expected = attention.kuramoto(theta, causal=True, **{**options, "gate_key": gate})
    cache, outs, start = attention.Cache(options.pop("window", None)), [], 0
    for n in (1, 4, 1, 1, 7):
        part = slice(start, start + n)
        outs.append(attention.kuramoto_step(theta[:, part], cache, **{**options, "gate_key": gate[:, part]}))
        start += n
    np.testing.assert_allclose(np.concatenate(outs, axis=1), expected, rtol=0, atol=2e-14)
    assert cache.position == 14


def test_a_refused_step_leaves_the_cache_as_it_was():
    theta, _ = draw()
    cache = attention.Cache()
    attention.kuramoto_step(theta[:, :1], cache, heads=HEADS)
    for bad in (
        {"heads": 1},
        {"heads": HEADS, "mask": np.ones((9, 9), bool)},
        {"heads": HEADS, "coupling": np.ones((2, 4))},
    ):
        with pytest.raises(ValueError, match=r"cache holds|broadcast"):
            attention.kuramoto_step(theta[:, 1:2], cache, **bad)
    assert (cache.position, len(cache)) == (1, 1)


# --- what goes around it ---------------------------------------------------------------------------------------------


def layers():
    rng = np.random.default_rng(3)
    return {
        "phase_gate": {"weight": rng.standard_normal((3, 8)), "bias": rng.standard_normal(3)},
        "phase_feed_forward": {
            "W1": rng.standard_normal((5, 8)),
            "W2": rng.standard_normal((5, 8)),
            "W3": rng.standard_normal((4, 5)),
        },
        "von_mises_readout": {
            "embedding": rng.uniform(-3, 3, (7, 4)),
            "kappa": rng.uniform(0, 1, 4),
            "bias": rng.standard_normal(7),
        },
        "collective_modes": {
            "modes": rng.uniform(-3, 3, (6, 4)),
            "gate": rng.normal(1, 0.5, (6, 4)),
            "beta": np.array(1.3),
            "step": rng.uniform(0.3, 0.9, 4),
        },
    }


LAYERS = layers()


@pytest.mark.parametrize("name", LAYERS)
def test_layers_equal_their_oracle_with_gradients(name):
    theta, arguments = draw()[0], LAYERS[name]
    out, pullback = attention.vjp(name, theta, **arguments)
    function = getattr(naive, name)
    np.testing.assert_allclose(out, function(theta, **arguments), rtol=0, atol=1e-13)  # sums of 8 numbers of size 3
    np.testing.assert_array_equal(getattr(attention, name)(theta, **arguments), out)
    rng = np.random.default_rng(0)
    dout, arguments = rng.standard_normal(out.shape), {"theta": theta, **arguments}
    grads = pullback(dout)
    assert set(grads) == set(arguments)
    for argument, gradient in grads.items():
        direction = rng.standard_normal(gradient.shape)
        step = {**arguments, argument: arguments[argument] + 1e-30j * direction}
        expected = (function(**step) * dout).sum().imag / 1e-30
        got = (gradient * direction).sum()
        assert abs(got - expected) < 1e-11 * (1 + abs(expected)), argument
        assert abs(got * (1 + 1e-6) - expected) > 1e-9 * (1 + abs(expected)), argument


@pytest.mark.parametrize("name", LAYERS)
def test_layers_without_tokens_in_float32_and_with_labels(name):
    xr = pytest.importorskip("xarray")
    arguments = {n: x.astype(np.float32) for n, x in LAYERS[name].items()}
    out, pullback = attention.vjp(name, np.zeros((2, 0, 4), np.float32), **arguments)
    assert out.dtype == np.float32
    grads = pullback(out)
    assert all((g == 0).all() and g.shape == arguments[n].shape for n, g in grads.items() if n != "theta")
    theta = draw()[0].astype(np.float32)
    labelled = xr.DataArray(theta, dims=("text", "token", "angle"), coords={"text": ["a", "b"]})
    got, pullback = attention.vjp(name, labelled, **arguments)
    assert got.dims[:2] == ("text", "token")
    np.testing.assert_allclose(got, getattr(naive, name)(theta.astype(float), **LAYERS[name]), rtol=0, atol=1e-5)
    assert pullback(got)["theta"].dims == labelled.dims


def test_softplus_is_accurate_far_out():
    u = np.array([-700.0, -40.0, -1.0, 0.0, 40.0, 700.0, np.nan])
    got = attention.phase_gate(np.zeros((1, 1)), np.zeros((7, 2)), u)[0]
    with np.errstate(invalid="ignore"):
        np.testing.assert_allclose(got, np.logaddexp(0, u), rtol=1e-15)


def test_optional_parts_of_layers():
    theta = draw()[0]
    embedding = LAYERS["von_mises_readout"]["embedding"]
    expected = naive.von_mises_readout(theta, embedding, np.full(4, 0.5**0.5), np.zeros(7))
    out, pullback = attention.vjp("von_mises_readout", theta, embedding)
    np.testing.assert_allclose(out, expected, rtol=0, atol=1e-13)
    assert set(pullback(out)) == {"theta", "embedding"}
    weight = LAYERS["phase_gate"]["weight"]
    np.testing.assert_allclose(
        attention.phase_gate(theta, weight), naive.phase_gate(theta, weight, np.zeros(3)), rtol=0, atol=1e-13
    )


# --- the door --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "kind", "match"),
    [
        ({"theta": np.ones(4)}, ValueError, r"theta\[None\]"),
        ({"theta": np.ones((2, 6, 0))}, ValueError, "angles"),
        ({"theta": np.ones((2, 6, 4), complex)}, TypeError, "pass theta.real"),
        ({"heads": 3}, ValueError, "divides"),
        ({"heads": 0}, ValueError, "divides"),
        ({"memory": np.ones((3, 6, 4))}, ValueError, "broadcast_to"),
        ({"memory": np.ones((2, 6, 5))}, ValueError, "number of tokens"),
        ({"gate_query": np.ones(3)}, ValueError, "gate_query has shape"),
        ({"gate_key": np.ones((2, 5, 4))}, ValueError, "gate_key has shape"),
        ({"beta": np.ones(4)}, ValueError, "one for each head"),
        ({"drift": "rope"}, ValueError, "'rotary'"),
        ({"drift": np.ones(3)}, ValueError, "drift has shape"),
        ({"step": np.ones(2)}, ValueError, "one for each angle"),
        ({"coupling": np.ones((3, 1, 4))}, ValueError, "1 or 2 delays"),
        ({"coupling": np.ones((1, 0, 4))}, ValueError, "1 or more harmonics"),
        ({"coupling": np.ones((1, 1, 3))}, ValueError, "coupling has shape"),
        ({"coupling": np.ones((2, 1, 4))}, ValueError, "causal=True"),
        ({"strict": True}, ValueError, "causal=True"),
        ({"update": "arc"}, ValueError, "'geodesic'"),
        ({"update": "geodesic", "coupling": 1j}, ValueError, "no coupling"),
        ({"mask": np.ones((6, 6))}, TypeError, "boolean"),
        ({"mask": np.ones((2, 3, 6, 6), bool)}, ValueError, "broadcast to"),
        ({"window": 0}, ValueError, "1 or more"),
    ],
)
def test_what_does_not_fit_is_refused(change, kind, match):
    arguments = {"theta": np.ones((2, 6, 4)), "heads": 2, **change}
    with pytest.raises(kind, match=match):
        attention.kuramoto(**arguments)


def test_layers_refuse_what_does_not_fit():
    theta = np.zeros((3, 4))
    with pytest.raises(ValueError, match="weight has shape"):
        attention.phase_gate(theta, np.ones((3, 4)))
    with pytest.raises(ValueError, match="W3 has shape"):
        attention.phase_feed_forward(theta, np.ones((5, 8)), np.ones((5, 8)), np.ones((5, 4)))
    with pytest.raises(ValueError, match="bias has shape"):
        attention.von_mises_readout(theta, np.ones((5, 4)), bias=np.ones(4))
    with pytest.raises(ValueError, match=r"theta\[None\]"):
        attention.collective_modes(theta[0], theta)
    with pytest.raises(ValueError, match="width"):
        attention.rotary_drift(0)
    with pytest.raises(ValueError, match="'phase_gate'"):
        attention.vjp("gate", theta)


def test_integers_and_lists():
    theta = [[0, 1], [2, 3]]
    np.testing.assert_array_equal(attention.kuramoto(theta), attention.kuramoto(np.array(theta, float)))


def test_labels_come_back():
    xr = pytest.importorskip("xarray")
    theta, options = draw()
    coords = {"token": list("abcdef"), "text": ["x", "y"]}
    labelled = xr.DataArray(theta, dims=("text", "token", "angle"), coords=coords)
    out, weights = attention.kuramoto(labelled, **options, return_weights=True)
    assert out.dims == labelled.dims
    assert weights.dims == ("text", "head", "token", "key_token")
    assert "".join(weights.key_token.values) == "abcdef"
    np.testing.assert_array_equal(out, attention.kuramoto(theta, **options))
    out, pullback = attention.vjp("kuramoto", labelled, **options)
    assert pullback(out)["theta"].dims == labelled.dims
    memory = xr.DataArray(theta[:, :2], dims=("text", "past", "angle"), coords={"past": [7, 9]})
    for given, key in ((memory, [7, 9]), (memory.values, [0, 1])):
        weights = attention.kuramoto(labelled, memory=given, **options, return_weights=True)[1]
        assert (weights.key_token.values == key).all()
    weights = attention.kuramoto(labelled.rename(text="head"), **options, return_weights=True)[1]
    assert weights.dims == ("head", "attention_head", "token", "key_token")  # the name is taken


# --- CUDA twins ------------------------------------------------------------------------------------------------------


@pytest.mark.cudasim
@pytest.mark.parametrize("case", ["delay", "memory", "gates", "geodesic", "direction"])
def test_cuda_twins(case):
    x = tables(tokens=3)
    options = {
        "delay": {"coupling": x["complex"][:, :2], "causal": True, "drift_values": True, "mask": x["mask"]},
        "memory": {"memory": x["memory"], "gate_key": x["memory gate"]},
        "gates": {"gate_query": x["gate"], "causal": True},
    }.get(case, {"update": case})
    theta, options = draw(tokens=3, **options)
    expected, pullback = attention.vjp("kuramoto", theta, **options)
    np.testing.assert_allclose(expected, naive.reference(theta, **options), rtol=0, atol=2e-14)
    moved = {n: pa.to_device(v) if isinstance(v, np.ndarray) else v for n, v in options.items()}
    got, pull = attention.vjp("kuramoto", pa.to_device(theta), **moved)
    np.testing.assert_allclose(pa.to_host(got), expected, rtol=0, atol=1e-13)
    dout = np.random.default_rng(0).standard_normal(theta.shape)
    grads, on_device = pullback(dout), pull(pa.to_device(dout))
    assert error(theta, options, grads, dout) < 1e-11
    for name, gradient in grads.items():
        np.testing.assert_allclose(pa.to_host(on_device[name]), gradient, rtol=0, atol=1e-12, err_msg=name)


@pytest.mark.cudasim
@pytest.mark.parametrize("name", LAYERS)
def test_cuda_twins_of_layers(name):
    theta = draw(tokens=2)[0]
    device = {n: pa.to_device(x) for n, x in LAYERS[name].items()}
    out, pullback = attention.vjp(name, pa.to_device(theta), **device)
    expected, expected_pullback = attention.vjp(name, theta, **LAYERS[name])
    np.testing.assert_allclose(expected, getattr(naive, name)(theta, **LAYERS[name]), rtol=0, atol=1e-13)
    np.testing.assert_allclose(pa.to_host(out), expected, rtol=0, atol=1e-13)
    grads = expected_pullback(expected)
    for argument, gradient in pullback(out).items():
        np.testing.assert_allclose(pa.to_host(gradient), grads[argument], rtol=0, atol=1e-12, err_msg=argument)


@pytest.mark.parametrize("option", ["beta", "step", "drift", "coupling"])
def test_masked_parameters_are_refused(option):
    with pytest.raises(TypeError, match=rf"{option}.filled\(0\)"):
        pa.attention.kuramoto(np.ones((3, 2)), **{option: np.ma.masked_array([1.0, 2.0], [True, False])})


def test_modes_refuse_masked_angles_and_angles_that_are_missing():
    with pytest.raises(TypeError, match="theta is a masked array"):
        pa.attention.collective_modes(np.ma.masked_array(np.ones((3, 2)), True), np.ones((2, 2)))
    with pytest.raises(TypeError, match="theta has dtype object"):
        pa.attention.kuramoto(None)


@pytest.mark.parametrize("tokens", [1, 2, 3, 7])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_heads_of_one_query_or_two(tokens, dtype):
    """A head of one query or two has loops of its own."""
    sample = pa.attention.MECHANISMS["kuramoto"].sample(np.random.default_rng(0), tokens=tokens, dtype=dtype)
    out, weights = pa.attention.kuramoto(*sample.inputs, **sample.options, return_weights=True)
    expected, expected_weights = pa.attention.MECHANISMS["kuramoto"].reference(
        *sample.inputs, **sample.options, return_weights=True
    )
    bound = 1e-5 if dtype == np.float32 else 1e-13
    assert abs(out - expected).max() < bound
    assert abs(weights - expected_weights).max() < bound
