"""What a run refuses in words: options, checkpoints that hold something else, folders that go away, numbers."""

import math
import shutil

import numpy as np
import pytest

from primeattn import nn, train
from tests.bigram import Bigram

TASK = train.NT(2, 1)
SHORT = {"steps": 6, "batch": 2}


@pytest.mark.parametrize(
    ("options", "kind", "says"),
    [
        ({"floor": math.nan}, ValueError, "floor is nan: a finite number from 0 on"),
        ({"floor": "x"}, ValueError, "floor is 'x'"),
        ({"floor": -0.1}, ValueError, "floor is -0.1"),
        ({"rate": True}, ValueError, "rate is True"),
        ({"rng": "a"}, ValueError, "rng is 'a': a seed"),
        ({"eps": -1.0}, ValueError, "eps is -1.0"),
        ({"decay": math.inf}, ValueError, "decay is inf"),
        ({"betas": (1, 1)}, ValueError, r"betas\[0\] is 1: a number from 0 to below 1"),
        ({"betas": (0.9, 2)}, ValueError, r"betas\[1\] is 2"),
        ({"betas": 0.9}, ValueError, "betas is 0.9: two numbers"),
        ({"momentum": 0.9}, TypeError, "fit has no option 'momentum', and adamw has none but betas, eps, decay"),
        ({"optimizer": "sgd", "momentum": 1.0}, ValueError, "momentum is 1.0"),
        ({"checkpoint": ""}, ValueError, "checkpoint is ''"),
        ({"checkpoint": 3}, ValueError, "checkpoint is 3"),
        ({"checkpoint": "run", "checkpoint_every": math.nan}, ValueError, "checkpoint_every is nan"),
        ({"checkpoint": "run", "checkpoint_every": "x"}, ValueError, "checkpoint_every is 'x'"),
        ({"schedule": lambda step: [0.1, math.nan][step]}, ValueError, r"schedule\(1\) is nan"),
        ({"schedule": lambda step: -1.0}, ValueError, r"schedule\(0\) is -1.0"),
    ],
)
def test_options(options, kind, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(kind, match=says):
        train.fit(Bigram(), TASK, **(SHORT | options))
    assert not list(tmp_path.glob("*/model.npz"))


def test_what_is_no_model_no_task_no_share_no_bound_and_no_text():
    with pytest.raises(TypeError, match=r"model is None: a primeattn\.nn.LanguageModel is wanted"):
        train.fit(None, TASK, steps=3)
    for until in (None, "solved"):
        with pytest.raises((TypeError, ValueError), match=r"task is 'text': a task is wanted|until is 'solved'"):
            train.fit(Bigram(), "text", steps=3, until=until)
    for fraction in (math.nan, "x", True, 2.0):
        with pytest.raises(ValueError, match=r"fraction is .*: a share between 0 and 1"):
            train.ModularAddition(7, fraction)
    gradient = np.array([3.0, 4.0])
    for bound in (math.nan, -1.0, "x"):
        with pytest.raises(ValueError, match=r"bound is .*: a number from 0 on"):
            nn.clip(gradient, bound)
    np.testing.assert_array_equal(gradient, [3.0, 4.0])
    with pytest.raises(ValueError, match="2 bytes: too few to hold out a twentieth twice; 20 bytes or more"):
        train.text(b"ab")
    assert len(train.text(bytes(20)).test) == 1
    with pytest.raises(ValueError, match="too few to hold out 10 twice; 30 bytes or more"):
        train.text(bytes(29), held_out=10)


class Spoils(nn.AdamW):
    """The last update leaves a parameter that is no number."""

    def update(self, gradient, rate=None):
        super().update(gradient, rate)
        if self.steps == 6:
            self.parameters.values[-1] = np.nan


@pytest.mark.parametrize("folder", [None, "run"])
def test_a_run_does_not_finish_with_parameters_that_are_no_numbers(folder, tmp_path):
    place = None if folder is None else tmp_path / folder
    with pytest.raises(train.NotFinite, match="step 6: not finite, first in parameter bias; there is no") as caught:
        train.fit(Bigram(), TASK, **SHORT, evaluate_every=0, optimizer=Spoils, checkpoint=place)
    assert (caught.value.step, caught.value.checkpoint) == (6, "")
    if place is not None:
        assert not (place / "checkpoint.npz").exists()


def test_the_guard_names_no_checkpoint_of_another_run(tmp_path):
    train.fit(Bigram(), TASK, **SHORT, checkpoint=tmp_path / "run")
    broken = Bigram()
    broken.parameters.values[0] = np.nan
    with pytest.raises(train.NotFinite, match="there is no checkpoint of this run"):
        train.fit(broken, TASK, **SHORT, checkpoint=tmp_path / "run", resume=False)


def damage(place, **changes):
    with np.load(place) as file:
        arrays = {name: file[name] for name in file.files}
    for name, change in changes.items():
        name = name.replace("__", "/")
        arrays[name] = change(arrays[name])
    np.savez(place, **{name: x for name, x in arrays.items() if x is not None})


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("values", lambda x: np.ones((), x.dtype)),
        ("values", lambda x: x.astype(complex)),
        ("values", lambda x: x.astype(float)),
        ("values", lambda x: np.full_like(x, np.nan)),
        ("best", lambda x: np.ones(1, x.dtype)),
        ("optimizer__mean", lambda x: x[:-1]),
        ("optimizer__mean", lambda x: np.ones((), x.dtype)),
        ("optimizer__square", lambda x: None),
        ("optimizer__steps", lambda x: np.ones(2, np.int64)),
        ("progress", lambda x: np.array("{}")),
        ("progress", lambda x: np.array("[]")),
        ("progress", lambda x: np.array(str(x).replace('"step": 6', '"step": "6"'))),
    ],
)
def test_a_checkpoint_that_holds_something_else_is_damaged(name, change, tmp_path):
    train.fit(Bigram(), TASK, **SHORT, checkpoint=tmp_path / "run")
    damage(tmp_path / "run" / "checkpoint.npz", **{name: change})
    model = Bigram(rng=1)
    with pytest.raises(ValueError, match=r"checkpoint\.npz is damaged, or none of this version"):
        train.fit(model, TASK, **SHORT, checkpoint=tmp_path / "run")
    np.testing.assert_array_equal(model.parameters.values, Bigram(rng=1).parameters.values)  # nothing was half read


def test_a_folder_that_is_deleted_is_made_again(tmp_path):
    place = tmp_path / "deep" / "run"
    place.parent.mkdir()

    def delete(row):
        if row.get("step") == 3 and row["says"].startswith("step"):
            shutil.rmtree(place.parent)

    result = train.fit(Bigram(), TASK, **SHORT, checkpoint=place, log_every=1, progress=delete)
    assert result.status == "finished"
    assert sorted(path.name for path in place.iterdir()) == [
        "checkpoint.npz",
        "metrics.jsonl",
        "model.npz",
        "run.json",
    ]
    assert len((place / "metrics.jsonl").read_text().splitlines()) == len(result.rows)


def test_a_folder_that_becomes_a_file_ends_the_run_and_the_result_is_kept(tmp_path):
    place = tmp_path / "run"

    def replace(row):
        if row.get("step") == 6 and row["says"].startswith("step") and place.is_dir():
            shutil.rmtree(place)
            place.write_text("")

    with pytest.raises(OSError, match="a file; name a folder") as caught:
        train.fit(Bigram(), TASK, **SHORT, checkpoint=place, log_every=1, evaluate_every=0, progress=replace)
    assert caught.value.result.step == 6
    assert len(caught.value.result.rows) == 6


def test_another_run_in_the_folder_is_noticed(tmp_path):
    place = tmp_path / "run"

    def both(row):
        if row.get("step") == 3 and row["says"].startswith("step"):
            train.fit(Bigram(rng=1), TASK, **SHORT, checkpoint=place, resume=False)

    train.fit(Bigram(), TASK, steps=1, batch=2, checkpoint=place, schedule="constant", warmup=0)
    with pytest.warns(RuntimeWarning, match="written by another run meanwhile"):
        result = train.fit(
            Bigram(), TASK, **SHORT, checkpoint=place, log_every=1, progress=both, schedule="constant", warmup=0
        )
    assert len((place / "metrics.jsonl").read_text().splitlines()) == len(result.rows)


def test_a_longer_run_is_refused_by_its_steps(tmp_path):
    train.fit(Bigram(), TASK, steps=60, batch=2, evaluate_every=0, checkpoint=tmp_path / "run")
    with pytest.raises(ValueError, match=r"fit steps is 60 there and 120 here.*resume=False \(--fresh"):
        train.fit(Bigram(), TASK, steps=120, batch=2, evaluate_every=0, checkpoint=tmp_path / "run")


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["[]", '{"characters": 5, "task": 5}', '{"characters": 5}', '{"task": []}', '{"task": {"task": 1}}', "{"]
)
@pytest.mark.parametrize("command", ["sample", "eval"])
def test_a_description_that_is_none(command, text, tmp_path, capsys):
    from primeattn import cli

    (tmp_path / "model.npz").write_bytes(b"")
    (tmp_path / "run.json").write_text(text)
    assert cli.main([command, str(tmp_path)]) == 3
    assert "run.json: " in capsys.readouterr().err


def test_a_model_whose_header_is_a_list(tmp_path, capsys):
    from primeattn import cli

    np.savez(tmp_path / "model.npz", header=np.array("[]"))
    assert cli.main(["sample", str(tmp_path / "model.npz")]) == 3
    assert "model.npz is no model of primeattn or is damaged" in capsys.readouterr().err


# --- the picture ------------------------------------------------------------------------------------------------------


def test_the_name_of_a_line_is_not_under_a_curve():
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    from primeattn import plot

    x = np.linspace(0, 1, 200)
    falling = 8 - 3 * np.minimum(1, 5 * x)  # ends upon the line, and a little above it
    ax = Figure().subplots()
    plot.learning({"ours": (x, falling + 0.1)}, ax=ax, levels={"unigram": 5.0})
    name = next(text for text in ax.texts if text.get_text() == "unigram")
    assert name.get_verticalalignment() == "top"
    ax = Figure().subplots()
    plot.learning({"ours": (x, falling + 0.1), "other": (x, falling - 0.15)}, ax=ax, levels={"unigram": 5.0})
    name = next(text for text in ax.texts if text.get_text() == "unigram")
    assert name.get_horizontalalignment() == "left"
