"""Every mechanism that can be a layer, in a model: against loops in NumPy, whole-model gradients by the complex step,
causality, streaming, checkpointing; what is special to angles and to state that travels across layers.
"""

import numpy as np
import pytest

import primeattn as pa
from primeattn import nn
from primeattn.attention import MECHANISMS
from primeattn.attention._trainable import Place, plan_of
from primeattn.nn.mixing import Mixing, positions_of
from primeattn.nn.phases import OnCircle, PhaseMixing
from primeattn.nn.tape import Room, Tape
from tests.naive import language_model as naive

NAMES = [name for name, mechanism in MECHANISMS.items() if mechanism.trainable is not None]
SIZES = {"layers": 2, "width": 8, "heads": 2, "context": 6, "vocabulary": 5, "hidden": 6, "dtype": "float64"}
#: Options beside the defaults.
MORE = {
    "dot_product": [{"alibi": True, "window": 3}],
    "eigen": [{"rank": 3, "basis_query": True}],
    "elliptical": [{"stop_gradient": False}, {"metric": "distance", "normalize": "mean", "stop_gradient": False}],
    "expressive": [{"window": 2, "eps": 0.1}],
    "kuramoto": [
        {"gates": None, "drift": "learned", "feed_forward": "modes"},
        {"harmonics": 2, "delay": True, "frustrated": True, "signed": True, "tied": False},
        {"gates": "static", "update": "geodesic", "feed_forward": "none"},
        {"harmonics": 2, "strict": True, "window": 3},
    ],
    "linear": [{"window": 3, "positions": "learned"}],
    "position_only": [{"softmax": True}],
    "resonant": [{"form": "softmax"}],
    "squared": [{"form": "linear", "eps": 0.1}],
    "uniform": [{"window": 2}],
}
CASES = [(name, options) for name in NAMES for options in [{}, *MORE.get(name, [])]]


def label(case):
    return case if isinstance(case, str) else ",".join(case) or "usual"


def model_of(name, options=None, seed=0, **sizes):
    """A model whose parameters are all away from what they start with."""
    model = nn.LanguageModel(name, **{**SIZES, **sizes}, **(options or {}), rng=seed)
    values = model.parameters.values
    values += 0.2 * np.random.default_rng(seed + 1).standard_normal(values.size)
    return model


def batch_of(seed=0, tokens=5, vocabulary=5):
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, vocabulary, (2, tokens + 1))
    return ids[:, :-1], ids[:, 1:], rng.uniform(0.5, 1.5, (2, tokens))


@pytest.mark.parametrize(("name", "options"), CASES, ids=label)
def test_loss_and_whole_gradient_are_those_of_the_equations(name, options):
    model, (inputs, targets, weights) = model_of(name, options), batch_of()
    values, rng = model.parameters.copy(), np.random.default_rng(7)
    loss, gradient = model.loss_and_gradient(inputs, targets, weights)
    assert abs(loss - naive.loss(values, model.config, inputs, targets, weights)) < 1e-12
    h = 1e-30
    for array in values:
        direction = rng.standard_normal(values[array].shape)
        stepped = {**values, array: values[array] + 1j * h * direction}
        expected = naive.loss(stepped, model.config, inputs, targets, weights).imag / h
        g = model.parameters.view(array, gradient)
        typical = np.linalg.norm(g) + 1e-3 * np.linalg.norm(gradient)
        assert abs((g * direction).sum() - expected) < 1e-11 * typical, array


@pytest.mark.parametrize("name", NAMES)
def test_a_wrong_derivative_is_found(name):
    model, (inputs, targets, _) = model_of(name), batch_of()
    layer = next(x for _, x in model.layers[::-1] if hasattr(getattr(x, "inner", x), "mechanism"))
    layer = getattr(layer, "inner", layer)
    right = layer.mechanism.vjp

    def wrong(*inputs, **options):
        out, pull = right(*inputs, **options)
        first = layer.mechanism.inputs[-1]

        def pullback(dout):
            grads = pull(dout)
            return {**grads, first: 1.01 * grads[first]}

        return out, pullback

    options = {"tolerance": 1e-5}  # eps of 1e-6 in the ratio mechanisms bends the loss within a step
    assert nn.gradient_check(model, (inputs, targets), **options).ok or name == "elliptical"  # a stopped gradient
    layer.mechanism = layer.mechanism._replace(vjp=wrong)
    assert not nn.gradient_check(model, (inputs, targets), **options).ok


@pytest.mark.parametrize(("name", "options"), CASES, ids=label)
def test_no_token_sees_a_later_one(name, options):
    model, (inputs, _, _) = model_of(name, options), batch_of()
    before = model.logits(inputs)
    for t in range(1, inputs.shape[1]):
        changed = inputs.copy()
        changed[:, t] = (changed[:, t] + 1) % SIZES["vocabulary"]
        after = model.logits(changed)
        assert np.array_equal(after[:, :t], before[:, :t])
        assert not np.array_equal(after[:, t], before[:, t])


@pytest.mark.parametrize(("name", "options"), CASES, ids=label)
def test_steps_give_what_the_sequence_gives(name, options):
    model, (inputs, _, _) = model_of(name, options), batch_of(tokens=6)
    expected, found = model.logits(inputs), []
    memories = [layer.memory() for _, layer in model.layers]
    for start, stop in ((0, 1), (1, 4), (4, 5), (5, 6)):
        x, tape = np.ascontiguousarray(inputs[:, start:stop]), Tape(Room("float64"), saving=False)
        for (_, layer), p, memory in zip(model.layers, model._views, memories, strict=True):
            x = layer.step(p, x, memory, tape)
            tape.close_layer(x)
        found.append(x.copy())
    assert np.allclose(np.concatenate(found, axis=1), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_checkpointing_gives_the_same_bits(name):
    options = {"stop_gradient": False} if "stop_gradient" in options_of(name) else {}
    model, batch = model_of(name, options, layers=3), batch_of()
    again = nn.LanguageModel(**{**model.config, "checkpointing": True})
    again.parameters.values[:] = model.parameters.values
    (loss, gradient), (loss_again, gradient_again) = (m.loss_and_gradient(*batch) for m in (model, again))
    assert loss == loss_again
    assert np.array_equal(gradient, gradient_again)


def options_of(name):
    import inspect

    return list(inspect.signature(MECHANISMS[name].trainable.plan).parameters)[1:]


@pytest.mark.parametrize("name", NAMES)
def test_it_learns(name):
    """What comes next in a cycle of four is the token three before: far below the entropy of the tokens, log 4."""
    model = nn.LanguageModel(name, **{**SIZES, "context": 12, "layers": 1})
    start = np.random.default_rng(0).integers(0, 4, (4, 1))
    ids = (start + np.arange(13)) % 4
    optimizer = nn.AdamW(model.parameters, rate=0.02)
    losses = []
    for _ in range(40):
        loss, gradient = model.loss_and_gradient(ids[:, :-1], ids[:, 1:])
        optimizer.update(gradient)
        losses.append(loss)
    assert losses[-1] < 0.3 < np.log(4) < losses[0] + 0.5


@pytest.mark.parametrize("name", NAMES)
def test_sized(name):
    config = nn.sized(name, 20_000, layers=2, heads=2, context=16, vocabulary=32)
    assert abs(len(nn.LanguageModel(**config).parameters) / 20_000 - 1) < 0.01
    narrow = nn.sized(name, 20_000, width=8, layers=2, heads=2, context=16, vocabulary=32)
    assert narrow["hidden"] > config["hidden"]
    assert abs(len(nn.LanguageModel(**narrow).parameters) / 20_000 - 1) < 0.01


def test_sized_without_feed_forward_maps_and_its_errors():
    common = {"layers": 2, "heads": 2, "context": 16, "vocabulary": 32}
    few = nn.sized("kuramoto", 9_000, feed_forward="none", **common)
    size, wider = (len(nn.LanguageModel(**{**few, "width": w}).parameters) for w in (few["width"], few["width"] + 4))
    assert size <= 9_000 < wider
    with pytest.raises(ValueError, match="with one hidden number has"):
        nn.sized("dot_product", 500, width=64, **common)
    with pytest.raises(ValueError, match="hidden is what is looked for"):
        nn.sized("dot_product", 500, hidden=64, **common)


@pytest.mark.parametrize("name", NAMES)
def test_the_plan_is_complete(name):
    mechanism = MECHANISMS[name]
    plan = plan_of(mechanism, Place(8, 2, 6), {})
    arguments = {*mechanism.inputs, *mechanism.parameters}
    assert mechanism.trainable.space in ("vectors", "angles")
    assert mechanism.trainable.order in ("rotary", "own", "none")
    assert set(plan.projected) <= arguments
    if mechanism.trainable.space == "vectors":
        assert set(mechanism.inputs) <= set(plan.projected)
    if mechanism.trainable.attend is None:
        assert set(plan.learned) <= arguments
    for learned in plan.learned.values():
        assert np.isfinite(np.broadcast_to(learned.start(np.random.default_rng(0), learned.shape), learned.shape)).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_mechanism_that_is_no_layer_is_refused(name, monkeypatch):
    monkeypatch.setitem(MECHANISMS, name, MECHANISMS[name]._replace(trainable=None))
    with pytest.raises(ValueError, match="is no layer"):
        nn.LanguageModel(name, **SIZES)


def test_what_is_refused():
    for options, message in [
        ({"windw": 3}, "no option 'windw': there are 'key_heads', 'window'"),
        ({"positions": "rotated"}, "takes 'rotary', 'learned' or 'none'"),
        ({"heads": 3}, "heads that divide the width"),
        ({"heads": 8}, "an even width is wanted"),
        ({"key_heads": 3}, "a divisor"),
        ({"mechanism": "dot"}, "one of 'dot_product', "),
    ]:
        with pytest.raises(ValueError, match=message):
            nn.LanguageModel(**{"mechanism": "dot_product", **SIZES, **options})
    with pytest.raises(ValueError, match="lags=True gives weights to the past alone"):
        Mixing("position_only", 8, 2, causal=False, rotary=None, lags=True)
    with pytest.raises(ValueError, match="rank is 9"):
        Mixing("eigen", 8, 2, rank=9)
    with pytest.raises(ValueError, match="active is 9 of 4 primes"):
        Mixing("resonant", 8, 2, rotary=None, active=9)
    with pytest.raises(ValueError, match="whose tokens are angles"):
        Mixing("kuramoto", 8, 2)
    with pytest.raises(ValueError, match="whose tokens are vectors"):
        PhaseMixing("uniform", 8, 2)
    for options, message in [
        ({"gates": "all"}, "gates is 'all'"),
        ({"drift": "none"}, "drift is 'none'"),
        ({"feed_forward": "gelu"}, "feed_forward is 'gelu'"),
        ({"norm": "rms"}, "no option 'norm'"),
        ({"positions": "learned"}, "drift='learned'"),
        ({"width": [8, 4]}, "one width"),
    ]:
        with pytest.raises(ValueError, match=message):
            nn.LanguageModel("kuramoto", **{**SIZES, **options})


def test_positions_follow_the_mechanism():
    assert positions_of("uniform") == "learned"
    assert positions_of("dot_product") == "rotary"
    assert positions_of("dot_product", "none") == "none"
    assert positions_of("resonant") == "none"
    with pytest.raises(ValueError, match="resonant takes 'learned' or 'none'"):
        positions_of("resonant", "rotary")


def test_a_sequence_longer_than_learned_weights():
    layer = Mixing("position_only", 8, 2, context=4, rotary=None)
    parameters = nn.Parameters(layer.parameters(), 0, "float64")
    tape = Tape(Room("float64"), saving=False)
    with pytest.raises(ValueError, match="5 tokens came"):
        layer.forward(parameters.tree(layer.parameters(), ""), np.zeros((1, 5, 8)), tape)


@pytest.mark.parametrize("options", [{"lags": False}, {"key_heads": 1}, {"phase": "token", "orientation": "primes"}])
def test_further_options_have_right_gradients(options):
    name = {"lags": "position_only", "key_heads": "dot_product", "phase": "resonant"}[next(iter(options))]
    model, (inputs, targets, weights) = model_of(name, options), batch_of()
    report = nn.gradient_check(model, (inputs, targets), weights=weights)
    assert report.ok, str(report)


def test_without_causal_all_tokens_attend_all():
    for name in NAMES:
        if MECHANISMS[name].trainable.space != "vectors":
            layer, x = PhaseMixing(name, 8, 2, causal=False), np.random.default_rng(0).standard_normal((1, 4, 8))
        else:
            layer, x = Mixing(name, 8, 2, causal=False, rotary=None, context=4), np.ones((1, 4, 8))
            x += np.random.default_rng(0).standard_normal(x.shape)
        p = nn.Parameters(layer.parameters(), 0, "float64").tree(layer.parameters(), "")
        moved = x.copy()
        moved[:, 3] += 0.5
        before, after = (layer.forward(p, y, Tape(Room("float64"), saving=False)).copy() for y in (x, moved))
        assert not np.allclose(before[:, 0], after[:, 0])


# state that travels across layers


def test_the_first_layer_counts_all_coordinates_alike():
    """Without a layer before it, the metric is the identity: one layer of the elliptical model is dot_product's."""
    inputs, targets, weights = batch_of()
    models = [model_of(name, layers=1) for name in ("dot_product", "elliptical")]
    losses = [m.loss_and_gradient(inputs, targets, weights)[0] for m in models]
    assert models[0].parameters.shapes == models[1].parameters.shapes
    assert losses[0] == pytest.approx(losses[1], abs=1e-14)
    two = [model_of(name).loss_and_gradient(inputs, targets, weights)[0] for name in ("dot_product", "elliptical")]
    assert abs(two[0] - two[1]) > 1e-4


def test_values_of_another_width_cannot_be_compared():
    model = nn.LanguageModel("elliptical", **{**SIZES, "width": [8, 16], "heads": 2})
    with pytest.raises(ValueError, match="same heads, tokens and width"):
        model.logits(batch_of()[0])


# angles


def test_angles_are_read_modulo_full_turns_and_shifts():
    options = {"gates": "static", "feed_forward": "none"}
    model, (inputs, _, _) = model_of("kuramoto", options), batch_of()
    before = model.logits(inputs)
    table = model.parameters.view("embedding.table")
    rng = np.random.default_rng(3)
    table += 2 * np.pi * rng.integers(-3, 4, table.shape)
    assert np.allclose(model.logits(inputs), before, atol=1e-12)
    table += rng.standard_normal(table.shape[1])
    assert np.allclose(model.logits(inputs), before, atol=1e-12)


def test_layers_of_angles_are_the_functions_of_attention():
    rng = np.random.default_rng(0)
    theta, tape = rng.uniform(-9, 9, (2, 3, 4)), Tape(Room("float64"), saving=False)
    layer = OnCircle(nn.SwiGLU(8, 5, 4))
    p = nn.Parameters(layer.parameters(), 1, "float64").tree(layer.parameters(), "")
    w1, w2 = np.split(p["up"].T, 2)
    assert np.allclose(layer.forward(p, theta, tape), pa.attention.phase_feed_forward(theta, w1, w2, p["down"].T))
    read = nn.VonMisesReadout(7, 4)
    p = nn.Parameters(read.parameters(), 1, "float64").tree(read.parameters(), "")
    p["bias"][:] = rng.standard_normal(7)
    expected = pa.attention.von_mises_readout(theta, p["table"], p["concentration"], p["bias"])
    assert np.allclose(read.forward(p, theta, tape), expected)
    assert 0.3 < np.std(read.forward(p, rng.uniform(-3, 3, (1, 200, 4)), tape)) < 3


def test_parameters_on_the_torus_are_marked_and_stay_there():
    model = nn.LanguageModel("kuramoto", **SIZES, feed_forward="modes", tied=False)
    marked = {name for name, p in model.parameters.declared.items() if p.manifold == "torus"}
    assert marked == {"embedding.table", "head.table", "0.feed_forward.modes", "1.feed_forward.modes"}
    inputs, targets, _ = batch_of()
    optimizer = nn.AdamW(model.parameters, rate=1.0)
    for _ in range(5):
        optimizer.update(model.loss_and_gradient(inputs, targets)[1])
    where = model.parameters.segments["torus"]
    assert np.abs(model.parameters.values[where]).max() <= np.pi


@pytest.mark.parametrize("name", ["dot_product", "kuramoto"])
def test_float32_is_close_to_float64(name):
    model, (inputs, targets, _) = model_of(name), batch_of()
    loss, gradient = model.loss_and_gradient(inputs, targets)
    loss32, gradient32 = model.astype("float32").loss_and_gradient(inputs, targets)
    assert gradient32.dtype == np.float32
    assert abs(loss - loss32) < 1e-5
    assert np.linalg.norm(gradient - gradient32) < 1e-5 * np.linalg.norm(gradient)
