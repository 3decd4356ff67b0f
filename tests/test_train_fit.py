"""The loop: descent, schedules, parts of a batch, stops, metrics, checkpoints that go on to the same bits."""

import json
import math
import multiprocessing
import os
import signal
import threading
import time

import numpy as np
import pytest

from primeattn import nn, train
from primeattn.train import _checkpoint, _plan
from tests.bigram import SETTINGS, TEXT, Bigram

TASK = train.NT(2, 1)  # x_t = 0: a table by the last token learns it


def bare(rows):
    """Rows without what a clock says."""
    return [{k: v for k, v in row.items() if k not in ("seconds", "tokens_per_second")} for row in rows]


def test_it_learns_and_says_what_it_did(tmp_path):
    model = Bigram(TEXT.vocabulary)
    told = []
    result = train.fit(
        model, TEXT, steps=100, batch=8, rate=0.1, checkpoint=tmp_path / "run", log_every=5, progress=told.append
    )
    assert (result.status, result.step) == ("finished", 100)
    assert result.model is model
    metrics = result.metrics
    assert metrics.step.values.tolist() == list(range(5, 101, 5))
    assert metrics.evaluated.values.tolist() == list(range(10, 101, 10))
    curve = metrics.validation_bits_per_character.values
    assert TEXT.unigram_bits("validation") > curve[0] > curve[-1]
    np.testing.assert_allclose(metrics.bits_per_character, metrics.loss / math.log(2))
    np.testing.assert_array_equal(metrics.tokens, 8 * 16 * metrics.step)
    assert metrics.attrs["status"] == "finished"
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert lines == result.rows
    about = json.loads((tmp_path / "run" / "run.json").read_text())
    assert about["model"] == model.config
    assert about["fit"]["steps"] == 100
    assert told[-1]["share"] == 1
    assert any(row["says"].startswith("evaluating") for row in told)
    assert "finished after 100 steps" in repr(result)


def test_parts_of_a_batch_are_the_batch():
    whole, parts = Bigram(3, 16, rng=1), Bigram(3, 16, rng=1)
    train.fit(whole, TASK, steps=8, batch=12, rate=0.05, evaluate_every=0)
    train.fit(parts, TASK, steps=8, batch=12, rate=0.05, evaluate_every=0, accumulate=3)
    np.testing.assert_allclose(whole.parameters.values, parts.parameters.values, rtol=2e-5, atol=1e-7)
    ragged = train.AssociativeRecall(2, 2, 1)

    class Uneven(type(ragged)):
        def draw(self, rng, size):
            tokens, weights = super().draw(rng, size)
            weights[: size // 3] = 0  # a part of which nothing counts, and parts that count differently
            weights[-1] = 5
            return tokens, weights

    models = [Bigram(4, 16, rng=1) for _ in range(2)]
    for model, accumulate in zip(models, (1, 3), strict=True):
        train.fit(model, Uneven(2, 2, 1), steps=4, batch=6, rate=0.05, evaluate_every=0, accumulate=accumulate)
    np.testing.assert_allclose(*(model.parameters.values for model in models), rtol=2e-5, atol=1e-7)


@pytest.mark.parametrize("schedule", ["cosine", "constant", lambda step: 0.01 * (step + 1)])
def test_schedules(schedule):
    rates = train.fit(Bigram(), TASK, steps=20, batch=2, rate=0.1, schedule=schedule, warmup=4).metrics.rate.values
    if callable(schedule):
        np.testing.assert_allclose(rates, 0.01 * np.arange(1, 21))
        return
    assert (np.diff(rates[:5]) > 0).all()
    assert rates.max() == pytest.approx(0.1)
    assert rates[-1] == pytest.approx(0.1 if schedule == "constant" else 0.01, rel=0.05)


def test_an_optimizer_of_ones_own():
    class Signs:
        def __init__(self, parameters, scale):
            self.parameters, self.scale, self.calls = parameters, scale, 0

        def update(self, gradient, rate):
            self.calls += 1
            self.parameters.values -= self.scale * rate * np.sign(gradient)

        def state(self):
            return {"calls": self.calls}

        def load_state(self, state):
            self.calls = int(state["calls"])

    result = train.fit(Bigram(), TASK, steps=50, batch=8, rate=0.1, optimizer=Signs, scale=0.5)
    assert result.evaluations[-1]["loss"] < result.evaluations[0]["loss"]


def test_early_stop_gives_the_best_parameters(tmp_path):
    data = np.random.default_rng(0).integers(97, 107, 900, np.uint8).tobytes()  # nothing to learn but the frequencies
    task = train.TextTask(data, context=8)
    settings = {
        "steps": 2000,
        "batch": 4,
        "rate": 0.3,
        "schedule": "constant",
        "evaluate_every": 5,
        "patience": 4,
        "decay": 0.0,
    }
    model = Bigram(256)
    result = train.fit(model, task, **settings, checkpoint=tmp_path / "run")
    assert result.status == "stopped early"
    scores = [row["bits_per_character"] for row in result.evaluations]
    best = int(np.argmin(scores))
    assert len(scores) - 1 - best == 4
    assert train.evaluate(model, task, split="validation")["bits_per_character"] == scores[best]
    again = Bigram(256)
    same = train.fit(again, task, **settings, checkpoint=tmp_path / "run")
    assert bare(same.rows) == bare(result.rows)
    np.testing.assert_array_equal(again.parameters.values, model.parameters.values)


def test_until_solved():
    result = train.fit(Bigram(), TASK, steps=500, batch=16, rate=0.1, evaluate_every=10, until="solved")
    assert result.status == "solved"
    assert result.step < 500
    assert result.evaluations[-1]["accuracy"] == 1
    result = train.fit(Bigram(), TASK, steps=500, evaluate_every=10, until=lambda figures: figures["step"] == 20)
    assert result.step == 20


def test_refusals(tmp_path):
    for options, says in (
        ({"steps": 0}, "steps is 0"),
        ({"batch": 0}, "batch is 0"),
        ({"batch": 6, "accumulate": 4}, "equal parts are wanted"),
        ({"optimizer": "adam"}, "optimizer is 'adam': one of adamw, sgd"),
        ({"schedule": "linear"}, "schedule is 'linear': one of cosine, constant"),
        ({"rate": 0.0}, "rate is 0.0"),
        ({"rate": math.nan}, "rate is nan"),
        ({"clip": -1.0}, "clip is -1.0"),
        ({"until": 3}, "until is 3"),
        ({"device": "gpu"}, "device is 'gpu': 'cpu' or 'cuda'"),
        ({"rng": -1}, "rng is -1"),
    ):
        with pytest.raises(ValueError, match=says):
            train.fit(Bigram(), TASK, **({"steps": 5} | options))
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        train.fit(Bigram(), TASK, steps=5, checkpoint=tmp_path / "none" / "run")
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="name a folder"):
        train.fit(Bigram(), TASK, steps=5, checkpoint=tmp_path / "file")
    with pytest.raises(ValueError, match=f"make it with vocabulary={TEXT.vocabulary}"):
        train.fit(Bigram(), TEXT, steps=5)


# --- numbers that are not finite --------------------------------------------------------------------------------------


class Explodes(Bigram):
    """One gradient of the table is infinite at a step."""

    def loss_and_gradient(self, inputs, targets, weights=None, *, seed=0, step=0, out=None):
        loss, gradient = super().loss_and_gradient(inputs, targets, weights, seed=seed, step=step, out=out)
        if step == 7:
            self.parameters.view("table", gradient)[1, 1] = np.inf
        return loss, gradient


def test_the_guard_names_step_layer_and_checkpoint(tmp_path):
    model, control = Explodes(), Bigram()
    options = {"batch": 4, "schedule": "constant", "warmup": 0}
    with pytest.raises(
        train.NotFinite, match="step 7: not finite, first in the gradient of table; the last good"
    ) as caught:
        train.fit(model, TASK, steps=20, checkpoint=tmp_path / "run", checkpoint_every=0, **options)
    assert caught.value.step == 7
    assert caught.value.checkpoint == str(tmp_path / "run" / "checkpoint.npz")
    train.fit(control, TASK, steps=7, **options)
    np.testing.assert_array_equal(model.parameters.values, control.parameters.values)  # nothing was updated with it
    with np.load(caught.value.checkpoint) as file:
        assert np.isfinite(file["values"]).all()
    with pytest.raises(train.NotFinite, match="there is no checkpoint of this run"):
        train.fit(Explodes(), TASK, steps=20)


def test_the_guard_finds_a_parameter_and_the_loss():
    model = Bigram()
    model.parameters.view("bias")[2] = np.nan
    with pytest.raises(train.NotFinite, match="step 0: not finite, first in parameter bias"):
        train.fit(model, TASK, steps=3)

    class Lost(Bigram):
        def loss_and_gradient(self, *batch, **options):
            return math.nan, super().loss_and_gradient(*batch, **options)[1]

    with pytest.raises(train.NotFinite, match="first in the loss"):
        train.fit(Lost(), TASK, steps=3)
    Lost.first_not_finite = lambda self, inputs: "1.mixing"
    with pytest.raises(train.NotFinite, match=r"first in the output of layer 1\.mixing"):
        train.fit(Lost(), TASK, steps=3)


# --- going on ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def direct():
    model = Bigram(TEXT.vocabulary, rng=1)
    return train.fit(model, TEXT, **SETTINGS)


class Stop(Exception):
    pass


@pytest.mark.parametrize("step", [1, 19, 20, 21, 59, 60])
def test_a_run_goes_on_to_the_same_bits(step, direct, tmp_path):
    def stop(row):
        if row["says"].startswith(f"step {step} "):
            raise KeyboardInterrupt

    model = Bigram(TEXT.vocabulary, rng=1)
    first = train.fit(model, TEXT, **SETTINGS, checkpoint=tmp_path / "run", progress=stop)
    assert (first.status, first.step) == ("interrupted", step)
    assert bare(first.rows) == bare(direct.rows)[: len(first.rows)]
    again = Bigram(TEXT.vocabulary, rng=99)  # all comes from the checkpoint
    result = train.fit(again, TEXT, **SETTINGS, checkpoint=tmp_path / "run")
    assert result.status == "finished"
    np.testing.assert_array_equal(again.parameters.values, direct.model.parameters.values)
    assert bare(result.rows) == bare(direct.rows)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert bare(lines) == bare(direct.rows)
    third = train.fit(Bigram(TEXT.vocabulary), TEXT, **SETTINGS, checkpoint=tmp_path / "run")  # nothing is left to do
    assert (third.step, len(third.rows)) == (60, len(direct.rows))


def test_an_interrupted_evaluation_is_made_again(direct, tmp_path):
    def stop(row):
        if row["says"].startswith("evaluating") and row["step"] > 30:
            raise KeyboardInterrupt

    first = train.fit(Bigram(TEXT.vocabulary, rng=1), TEXT, **SETTINGS, checkpoint=tmp_path / "run", progress=stop)
    assert (first.status, first.step, len(first.evaluations)) == ("interrupted", 40, 1)
    result = train.fit(Bigram(TEXT.vocabulary), TEXT, **SETTINGS, checkpoint=tmp_path / "run")
    assert bare(result.rows) == bare(direct.rows)


def test_a_checkpoint_of_another_run_is_refused_and_may_be_passed_over(tmp_path):
    place = tmp_path / "run"
    train.fit(Bigram(), TASK, steps=5, batch=2, checkpoint=place)
    for options, says in (
        ({"batch": 4}, "fit batch is 2 there and 4 here"),
        ({"steps": 6}, "fit steps is 5 there and 6 here"),
        ({"rng": 1}, "fit seed is 0 there and 1 here"),
    ):
        with pytest.raises(ValueError, match=says):
            train.fit(Bigram(), TASK, **({"steps": 5, "batch": 2} | options), checkpoint=place)
    with pytest.raises(ValueError, match="task delay is 1 there and 2 here"):
        train.fit(Bigram(), train.NT(2, 2, context=9), steps=5, batch=2, checkpoint=place)
    assert train.fit(Bigram(), TASK, steps=3, checkpoint=place, resume=False).step == 3
    (place / "checkpoint.npz").write_bytes((place / "checkpoint.npz").read_bytes()[:-40])
    with pytest.raises(ValueError, match="is damaged"):
        train.fit(Bigram(), TASK, steps=3, checkpoint=place)


def test_a_level_run_may_become_longer(tmp_path):
    options = {"batch": 2, "schedule": "constant", "warmup": 3, "log_every": 1}
    train.fit(Bigram(), TASK, steps=5, checkpoint=tmp_path / "run", **options)
    longer = train.fit(Bigram(), TASK, steps=9, checkpoint=tmp_path / "run", **options)
    control = Bigram()
    train.fit(control, TASK, steps=9, **options)
    np.testing.assert_array_equal(longer.model.parameters.values, control.parameters.values)


def kept(place, steps):
    """A run with a checkpoint after every step: most of its time is spent writing."""
    _checkpoint._SHARE = 1e9
    return train.fit(
        Bigram(TEXT.vocabulary, rng=1), TEXT, **(SETTINGS | {"steps": steps}), checkpoint=place, checkpoint_every=0
    )


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="processes of POSIX")
def test_kill_9_at_any_moment(tmp_path, monkeypatch):
    monkeypatch.setattr(_checkpoint, "_SHARE", _checkpoint._SHARE)
    place, steps, kills = tmp_path / "run", 150, 0
    fork = multiprocessing.get_context("fork")
    for wait in np.random.default_rng(0).uniform(0.03, 0.3, 5):
        process = fork.Process(target=kept, args=(place, steps))
        process.start()
        time.sleep(wait)
        kills += process.is_alive()
        process.kill()
        process.join()
    left = list(place.glob(".*"))
    result = kept(place, steps)
    assert result.status == "finished"
    assert kills > 1
    direct = train.fit(Bigram(TEXT.vocabulary, rng=1), TEXT, **(SETTINGS | {"steps": steps}))
    np.testing.assert_array_equal(result.model.parameters.values, direct.model.parameters.values)
    assert bare(result.rows) == bare(direct.rows)
    lines = [json.loads(line) for line in (place / "metrics.jsonl").read_text().splitlines()]
    assert bare(lines) == bare(direct.rows)
    assert len(left) <= kills  # a file that was being written may lie about, never under its name


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_ctrl_c_ends_after_the_step():
    before = signal.getsignal(signal.SIGINT)

    def press(row):
        if row.get("step") == 10 and row["says"].startswith("step"):
            signal.raise_signal(signal.SIGINT)

    result = train.fit(Bigram(), TASK, steps=100, batch=2, log_every=1, progress=press)
    assert (result.status, result.step) == ("interrupted", 10)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_second_ctrl_c_in_the_middle_of_an_update_keeps_nothing_half_done(tmp_path):
    class Half(nn.AdamW):
        def update(self, gradient, rate=None):
            self.parameters.values += 1
            raise KeyboardInterrupt

    place = tmp_path / "run"
    result = train.fit(Bigram(), TASK, steps=5, optimizer=Half, checkpoint=place)
    assert result.status == "interrupted"
    assert not (place / "checkpoint.npz").exists()


def test_it_runs_outside_the_main_thread():
    found = []
    thread = threading.Thread(target=lambda: found.append(train.fit(Bigram(), TASK, steps=3).status))
    thread.start()
    thread.join()
    assert found == ["finished"]


def test_a_generator_gives_a_seed():
    assert _plan.seed_of(np.random.default_rng(1)) == _plan.seed_of(np.random.default_rng(1))
    assert _plan.seed_of(7) == 7
