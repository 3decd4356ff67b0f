"""The runner of comparisons: cells, the table, going on, failures, processes."""

import json
import math

import numpy as np
import pytest

from primeattn import train
from primeattn.train import _cells, _comparison
from tests.bigram import Bigram

TASKS = {"easy": train.NT(2, 1), "hard": train.NT(3, 3)}
OPTIONS = {"steps": 40, "batch": 16, "rate": 0.1, "evaluate_every": 10, "workers": 1, "progress": False}
TWO = ["dot_product", "squared"]


@pytest.fixture
def bigrams(monkeypatch):
    """Cells are bigrams, made here."""
    made = []

    def model_of(options, task, parameters, seed):
        made.append((options["mechanism"], seed))
        return Bigram(task.vocabulary, task.context, rng=seed)

    monkeypatch.setattr(_cells, "model_of", model_of)
    return made


def test_cells_table_and_markdown(bigrams):
    told = []
    found = train.compare(TWO, TASKS, seeds=3, **(OPTIONS | {"progress": lambda *what: told.append(what[:2])}))
    assert (found.status, found.missing, len(found.cells)) == ("finished", 0, 12)
    assert told == [(k, 12) for k in range(1, 13)]
    data, table = found.data, found.table
    assert data.score.dims == ("task", "mechanism", "seed")
    assert data.task.values.tolist() == ["easy", "hard"]
    easy, hard = data.sel(task="easy"), data.sel(task="hard")
    assert (easy.accuracy == 1).all()
    assert (easy.solved_at <= 40).all()
    assert np.isnan(hard.solved_at).all()
    np.testing.assert_array_equal(easy.score.sel(mechanism="dot_product"), easy.score.sel(mechanism="squared"))
    for name, plain in (("mean", np.mean), ("median", np.median), ("least", np.min), ("most", np.max)):
        np.testing.assert_allclose(table[name], np.apply_along_axis(plain, 2, data.score.values))
    np.testing.assert_allclose(table.deviation, data.score.values.std(2, ddof=1))
    assert table.rate.sel(task="easy").values.tolist() == [1, 1]
    assert table.solved.sel(task="hard").values.tolist() == [0, 0]
    assert table.median_steps.sel(task="easy").values[0] == np.median(easy.solved_at.values[0])
    lines = found.markdown().splitlines()
    assert len(lines) == 2 + 4
    assert "3/3 (44%–100%)" in lines[2]
    assert all(line.count("|") == lines[0].count("|") for line in lines)
    unsolvable = [cell | {"accuracy": None, "solved_at": None} for cell in found.cells]
    plain = train.Comparison(unsolvable, "finished", 0).markdown().splitlines()
    assert [line.count("|") for line in plain] == [10] * 6
    assert "solved" in lines[0]
    assert "solved" not in plain[0]
    merged = found.to_xarray()
    assert {"score", "curve", "mean", "rate_low"} <= set(merged)


def test_it_goes_on_where_it_ended_to_the_same_result(bigrams, tmp_path):
    place = tmp_path / "cells"
    direct = train.compare(TWO, TASKS, seeds=[4, 7], **OPTIONS)
    count = len(bigrams)

    def stop(done, total, cell):
        if done == 3:
            raise KeyboardInterrupt

    first = train.compare(TWO, TASKS, seeds=[4, 7], folder=place, **(OPTIONS | {"progress": stop}))
    assert (first.status, first.missing) == ("interrupted", 5)
    assert "5 runs are missing: the same call goes on." in first.markdown()
    del bigrams[:]
    second = train.compare(TWO, TASKS, seeds=[4, 7], folder=place, **OPTIONS)
    assert len(bigrams) == count - 3
    assert second.data.drop_vars("tokens_per_second").equals(direct.data.drop_vars("tokens_per_second"))
    more = train.compare(TWO, TASKS, seeds=[4, 7, 9], folder=place, **OPTIONS)
    assert len(bigrams) == count - 3 + 4
    assert more.data.seed.values.tolist() == [4, 7, 9]
    assert not list((place / "running").glob("*"))


def test_an_interrupted_cell_goes_on_from_its_checkpoint(bigrams, tmp_path, monkeypatch):
    direct = train.compare(TWO[:1], TASKS["hard"], seeds=1, **OPTIONS)
    fit, steps = train._fit.fit, []

    def counted(model, task, **options):
        heed = options.pop("progress")

        def stop(row):
            steps.append(row.get("step"))
            if len(steps) == 25:
                raise KeyboardInterrupt
            heed(row)

        return fit(model, task, progress=stop, **options)

    monkeypatch.setattr(train._fit, "fit", counted)
    first = train.compare(TWO[:1], TASKS["hard"], seeds=1, folder=tmp_path, **OPTIONS)
    assert (first.status, first.missing) == ("interrupted", 1)
    assert first.markdown().count("\n") == 4
    assert len(list((tmp_path / "running").glob("*/checkpoint.npz"))) == 1
    taken = len(steps)
    second = train.compare(TWO[:1], TASKS["hard"], seeds=1, folder=tmp_path, **OPTIONS)
    assert len(steps) - taken < taken + 25
    assert second.cells[0]["curve"] == direct.cells[0]["curve"]
    assert second.cells[0]["score"] == direct.cells[0]["score"]


def test_cells_of_another_comparison_and_damaged_ones_are_refused(bigrams, tmp_path):
    train.compare(TWO[:1], TASKS["easy"], seeds=1, folder=tmp_path, **OPTIONS)
    with pytest.raises(
        ValueError, match="another comparison \\(fit steps is 40 there and 30 here\\): name another folder"
    ):
        train.compare(TWO[:1], TASKS["easy"], seeds=1, folder=tmp_path, **(OPTIONS | {"steps": 30}))
    (cell,) = (tmp_path / "cells").glob("*.json")
    cell.write_text(cell.read_text()[:-5])
    with pytest.raises(ValueError, match="is damaged: delete it"):
        train.compare(TWO[:1], TASKS["easy"], seeds=1, folder=tmp_path, **OPTIONS)


def test_a_run_that_fails_is_a_cell_and_stops_no_other(bigrams, monkeypatch, tmp_path):
    class Broken(Bigram):
        def loss_and_gradient(self, *batch, **options):
            return math.nan, super().loss_and_gradient(*batch, **options)[1]

    healthy = _cells.model_of

    def model_of(options, task, parameters, seed):
        if seed == 1:
            return Broken(task.vocabulary, task.context)
        return healthy(options, task, parameters, seed)

    monkeypatch.setattr(_cells, "model_of", model_of)
    found = train.compare(TWO[:1], TASKS["easy"], seeds=3, folder=tmp_path, **OPTIONS)
    assert [cell["status"] for cell in found.cells] == ["solved", "failed", "solved"]
    assert "first in the loss" in found.cells[1]["why"]
    assert found.table.failed.item() == 1
    assert found.table.rate.item() == pytest.approx(2 / 3)
    assert np.isnan(found.data.score.values[0, 0, 1])
    assert "3, 1 failed" in found.markdown()
    assert json.loads(next((tmp_path / "cells").glob("*-1-*.json")).read_text())["score"] is None


def test_names_of_tasks_and_mechanisms(bigrams):
    found = train.compare(
        {"a": {"mechanism": "squared"}, "b": {"mechanism": "squared"}}, [*TASKS.values()], seeds=1, **OPTIONS
    )
    assert len(found.data.task) == 2
    assert found.data.mechanism.values.tolist() == ["a", "b"]
    assert bigrams[0] == ("squared", 0)
    with pytest.raises(ValueError, match="there is no mechanism 'dot'"):
        train.compare(["dot"], TASKS, steps=1)
    with pytest.raises(TypeError, match="until is a function"):
        train.compare(TWO, TASKS, steps=1, until=lambda figures: True)
    with pytest.raises(ValueError, match="seeds is 0"):
        train.compare(TWO, TASKS, steps=1, seeds=0)


def test_wilson_interval_against_its_equation():
    z = 1.959963984540054
    for k, n in ((0, 20), (7, 20), (20, 20), (1, 3)):
        low, high = _comparison.wilson(k, n)
        for p in {low, high} - {0.0, 1.0}:
            assert abs(k / n - p) == pytest.approx(z * math.sqrt(p * (1 - p) / n), rel=1e-9)
        assert 0 <= low <= k / n <= high <= 1
    assert _comparison.wilson(0, 0) == (0.0, 1.0)


def test_processes_give_what_one_process_gives(tmp_path):
    options = {
        "steps": 6,
        "batch": 4,
        "evaluate_every": 3,
        "model": {"layers": 1, "width": 8, "heads": 1},
        "progress": False,
    }
    one = train.compare(["dot_product"], TASKS["easy"], seeds=3, workers=1, **options)
    two = train.compare(["dot_product"], TASKS["easy"], seeds=3, workers=2, folder=tmp_path, **options)
    assert two.status == "finished"
    for mine, other in zip(one.cells, two.cells, strict=True):
        assert mine["curve"] == other["curve"]
        assert mine["test"] == other["test"]


def test_models_are_as_large_as_wanted():
    task = train.TextTask(b"the cat sat on the mat. " * 40, context=16)
    for mechanism in TWO:
        model = _cells.model_of({"mechanism": mechanism, "layers": 2, "width": 32, "heads": 2}, task, 60_000, 0)
        assert len(model.parameters) == pytest.approx(60_000, rel=0.02)
    with pytest.raises(ValueError, match="parameters"):
        _cells.model_of({"mechanism": "dot_product", "layers": 2, "width": 32, "heads": 2}, task, 5_000, 0)
