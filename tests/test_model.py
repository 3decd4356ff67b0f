"""The model: loss and gradient as a whole, threads, weights, checkpointing, streaming, files, refusals."""

import json

import numba
import numpy as np
import pytest

import primeattn as pa
from primeattn import nn
from primeattn.nn import model as module
from primeattn.nn.decode import Decoder, choose

from .naive import layers as naive

SMALL = {"layers": 2, "width": 8, "heads": 2, "context": 6, "vocabulary": 11, "hidden": 10, "dtype": "float64"}


@pytest.fixture
def batch(rng):
    ids = rng.integers(0, 11, (3, 6))
    return ids[:, :-1], ids[:, 1:]


def small(**options):
    return nn.LanguageModel(**{**SMALL, **options})


@pytest.fixture
def threads():
    before = numba.get_num_threads()
    yield numba.set_num_threads
    numba.set_num_threads(before)


def test_logits_and_losses_equal_the_equations(batch):
    model, (inputs, targets) = small(), batch
    logits = naive.transformer(model.parameters.copy(), inputs, 2, 2)
    np.testing.assert_allclose(model.logits(inputs), logits, rtol=1e-12, atol=1e-12)
    losses = naive.cross_entropy(logits, targets)
    np.testing.assert_allclose(model.losses(inputs, targets), losses, rtol=1e-12)
    assert model.loss_and_gradient(inputs, targets)[0] == pytest.approx(losses.mean(), rel=1e-13)


def test_the_gradient_is_a_complex_step_of_the_equations(batch, rng):
    model, (inputs, targets) = small(), batch
    weights = rng.random(inputs.shape)
    loss, gradient = model.loss_and_gradient(inputs, targets, weights)
    for name in model.parameters.names:
        d = rng.standard_normal(model.parameters.shapes[name])
        moved = model.parameters.copy()
        moved[name] = moved[name] + 1e-30j * d
        losses = naive.cross_entropy(naive.transformer(moved, inputs, 2, 2), targets)
        slope = np.sum(weights * losses.imag) / weights.sum() / 1e-30
        found = model.parameters.view(name, gradient)
        assert abs(slope - np.sum(found * d)) < 1e-12 * np.linalg.norm(found), name
    assert loss == pytest.approx(np.sum(weights * losses.real) / weights.sum(), rel=1e-13)


@pytest.mark.parametrize(
    "options",
    [
        {"norm": "layer", "feed_forward": "gelu", "tied": False, "positions": "learned"},
        {"width": [8, 4, 12], "heads": [2, 1, 3], "hidden": [10, 5, 7], "layers": 3},
        {"feed_forward": "none", "positions": "none"},
    ],
)
def test_every_option_passes_the_gradient_check(options, batch):
    model = small(**options)
    report = nn.gradient_check(model, batch)
    assert report.ok, str(report)
    assert nn.LanguageModel(**json.loads(json.dumps(model.config))).config == model.config


def test_the_gradient_check_sees_a_wrong_derivative(batch, monkeypatch):
    right = nn.RMSNorm.backward

    def wrong(self, p, dy, tape, g):
        before = g["scale"].copy()
        dx = right(self, p, dy, tape, g)
        g["scale"][...] = before + (g["scale"] - before) * (1 + 1e-5)
        return dx

    model = small(layers=1)
    assert nn.gradient_check(model, batch).ok
    monkeypatch.setattr(nn.RMSNorm, "backward", wrong)
    report = nn.gradient_check(model, batch)
    assert not report.ok
    assert {x.name for x in report.arrays if x.error > report.tolerance} == {
        n for n in model.parameters.names if "norm" in n
    }
    assert "WRONG" in str(report)


def test_threads_and_chunks_change_nothing_but_rounding(batch, threads, monkeypatch):
    model, results = small(dropout=0.2), []
    for n, tokens in ((1, 512), (2, 512), (2, 5), (1, 5)):
        threads(n)
        monkeypatch.setattr(module, "_CHUNK", 8 * tokens)
        once, again = (model.loss_and_gradient(*batch, seed=3, step=1) for _ in range(2))
        assert once[0] == again[0]
        assert np.array_equal(once[1], again[1])  # the same bits at the same number of threads
        results.append(once)
    for loss, gradient in results[1:]:
        assert loss == pytest.approx(results[0][0], rel=1e-14)
        np.testing.assert_allclose(gradient, results[0][1], rtol=1e-10, atol=1e-15)
    threads(2)
    assert np.array_equal(model.logits(batch[0]), model.logits(batch[0]))


def test_weights_choose_what_counts(batch):
    model, (inputs, targets) = small(), batch
    weights = np.zeros(inputs.shape)
    weights[0, 2], weights[2, 4] = 1, 3
    losses = model.losses(inputs, targets)
    loss, _ = model.loss_and_gradient(inputs, targets, weights)
    assert loss == pytest.approx((losses[0, 2] + 3 * losses[2, 4]) / 4, rel=1e-13)
    alone, ones = (
        model.loss_and_gradient(inputs, targets),
        model.loss_and_gradient(inputs, targets, np.full((3, 5), 7.0)),
    )
    assert alone[0] == pytest.approx(ones[0], rel=1e-14)
    nothing = model.loss_and_gradient(inputs, targets, 0 * weights)
    assert nothing[0] == 0
    assert not nothing[1].any()


def test_checkpointing_gives_the_same_bits_for_less_memory(batch):
    plain, thrifty = small(dropout=0.3), small(dropout=0.3, checkpointing=True)
    assert thrifty.parameters.names == plain.parameters.names
    a, b = (m.loss_and_gradient(*batch, seed=1, step=2) for m in (plain, thrifty))
    assert a[0] == b[0]
    assert np.array_equal(a[1], b[1])

    def held(model):
        return sum(x.nbytes for room in model._rooms for free in room._free.values() for x in free)

    assert held(thrifty) < 0.7 * held(plain)
    assert a[0] != plain.loss_and_gradient(*batch, seed=1, step=3)[0]
    assert np.array_equal(plain.logits(batch[0]), thrifty.logits(batch[0]))  # nothing drops here


def test_ten_steps_learn_a_batch(rng):
    model = nn.LanguageModel(**{**SMALL, "dtype": "float32"})
    ids = rng.integers(0, 11, (4, 7))
    opt, losses = nn.AdamW(model.parameters, rate=2e-2), []
    for _ in range(40):
        loss, gradient = model.loss_and_gradient(ids[:, :-1], ids[:, 1:])
        opt.update(gradient)
        losses.append(loss)
    assert losses[0] > 2
    assert losses[-1] < 0.2


@pytest.mark.parametrize("options", [{}, {"positions": "learned", "checkpointing": True}, {"window": 2}])
def test_streaming_equals_the_whole_sequence(options, rng):
    model, ids = small(**options), rng.integers(0, 11, 6).tolist()
    whole, decoder = model.logits([ids])[0], Decoder(model)
    assert decoder.streams
    found = [decoder.after(ids[:2]), *(decoder.after([i]) for i in ids[2:])]
    np.testing.assert_allclose(found, whole[1:], rtol=1e-11, atol=1e-12)
    ids.append(5)  # the window is full: its last half starts anew
    np.testing.assert_allclose(decoder.after([5]), model.logits([ids[-3:]])[0, -1], rtol=1e-11, atol=1e-12)


def test_generation_is_a_function_of_the_seed():
    model = small()
    tokens = model.generate([1, 2, 3], 20, rng=4)
    assert tokens.shape == (20,)
    assert np.array_equal(tokens, model.generate([1, 2, 3], 20, rng=4))
    assert not np.array_equal(tokens, model.generate([1, 2, 3], 20, rng=5))
    best = model.generate([1, 2, 3], 5, temperature=0)
    assert np.array_equal(best, model.generate([1, 2, 3], 5, top_k=1, rng=9))
    assert best[0] == model.logits([[1, 2, 3]])[0, -1].argmax()


def test_choices_follow_the_softmax():
    rng, scores = np.random.default_rng(0), np.log([0.1, 0.2, 0.7])
    drawn = np.bincount([choose(scores, 1.0, None, rng) for _ in range(4000)], minlength=3) / 4000
    np.testing.assert_allclose(drawn, [0.1, 0.2, 0.7], atol=0.03)  # four deviations
    assert {choose(scores, 2.0, 2, rng) for _ in range(100)} == {1, 2}


def test_a_file_gives_the_same_model(tmp_path, batch):
    model = small(dropout=0.1, dtype="float32")
    model.save(tmp_path / "model")
    again = nn.LanguageModel.load(tmp_path / "model")
    assert again.config == model.config
    assert np.array_equal(again.parameters.values, model.parameters.values)
    assert np.array_equal(again.logits(batch[0]), model.logits(batch[0]))
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    with pytest.raises(ValueError, match="is no model: it has no header"):
        nn.LanguageModel.load(tmp_path / "other.npz")


def test_the_first_layer_that_is_not_finite_is_named(batch):
    model = small()
    assert model.first_not_finite(batch[0]) is None
    model.parameters.view("1.mixing.inner.out")[0, 0] = np.inf
    assert model.first_not_finite(batch[0]) == "1.mixing"


def test_refusals():
    model = small()
    for inputs, message in (
        ([1, 2], r"inputs is int64 of shape \(2,\): integers \(sequences, tokens\) are wanted"),
        ([[1.0]], r"inputs is float64 of shape \(1, 1\): integers"),
        ([[0] * 7], "inputs has 7 tokens a sequence: the context of this model is 6"),
        ([[11]], "inputs holds 11 to 11: tokens are 0 to 10 here"),
    ):
        with pytest.raises(ValueError, match=message):
            model.logits(inputs)
    with pytest.raises(ValueError, match=r"inputs have shape \(1, 2\) but targets \(1, 1\)"):
        model.loss_and_gradient([[1, 2]], [[1]])
    with pytest.raises(ValueError, match=r"weights have shape \(1, 1\): \(1, 2\) numbers >= 0 are wanted"):
        model.loss_and_gradient([[1, 2]], [[1, 2]], [[1.0]])
    with pytest.raises(ValueError, match="norm is 'batch': one of 'rms', 'layer' is wanted"):
        small(norm="batch")
    with pytest.raises(ValueError, match="heads has 3 numbers for 2 layers"):
        small(heads=[1, 1, 1])
    with pytest.raises(ValueError, match="the prompt is empty"):
        model.generate([], 3)
    with pytest.raises(ValueError, match="temperature is -1: a number >= 0 is wanted"):
        model.generate([1], 3, temperature=-1)
    with pytest.raises(ValueError, match="top_k is 0: 1 or more"):
        model.generate([1], 3, top_k=0)


def test_no_sequences_and_no_tokens():
    model = small()
    assert model.logits(np.empty((0, 4), int)).shape == (0, 4, 11)
    assert model.losses(np.empty((2, 0), int), np.empty((2, 0), int)).shape == (2, 0)
    loss, gradient = model.loss_and_gradient(np.empty((0, 4), int), np.empty((0, 4), int))
    assert loss == 0
    assert not gradient.any()


@pytest.mark.cudasim
def test_loss_and_gradient_are_equal_on_both_devices():
    options = {**SMALL, "layers": 1, "width": 4, "heads": 1, "hidden": 3, "vocabulary": 5, "dropout": 0.2}
    here, there = nn.LanguageModel(**options), nn.LanguageModel(**options).to_device()
    ids = np.array([[1, 0, 4], [2, 3, 1]])
    a, b = (m.loss_and_gradient(ids[:, :-1], ids[:, 1:], seed=1) for m in (here, there))
    assert b[0] == pytest.approx(a[0], rel=1e-12)
    np.testing.assert_allclose(pa.to_host(b[1]), a[1], rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(there.logits(ids), here.logits(ids), rtol=1e-11)
