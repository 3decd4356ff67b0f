"""``primeattn train``, ``eval``, ``sample``, ``grad-check``, ``data``: flags, files, what is written and refused."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

import primeattn as pa
from primeattn import cli
from primeattn.cli import exits, options

for needed in ("matplotlib", "h5netcdf"):
    pytest.importorskip(needed)

ROOT = Path(pa.__file__).parent.parent
TINY = ["--layers", "1", "--width", "8", "--heads", "1"]
COPY = [
    "train",
    "--task",
    "copy",
    "--set",
    "task.symbols=3",
    "--set",
    "task.length=2",
    *TINY,
    "--steps",
    "8",
    "--batch",
    "4",
]
FILES = ["checkpoint.npz", "curve.png", "figures.json", "metrics.jsonl", "metrics.nc", "model.npz", "run.json"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    """A folder with a text and a model of it."""
    place = tmp_path_factory.mktemp("book")
    (place / "book.txt").write_text("the cat sat on the mat and the dog sat on the cat. " * 40, encoding="utf-8")
    call = [
        "train",
        str(place / "book.txt"),
        *TINY,
        "--context",
        "16",
        "--steps",
        "10",
        "--batch",
        "4",
        "--rate",
        "0.02",
    ]
    assert cli.main([*call, "-q", "-o", str(place / "run")]) == 0
    return place


def complaint(capsys) -> str:
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("primeattn: ")
    assert err.count("\n") == 1
    return err


def test_flags_give_the_run_of_the_library(here, capsys):
    assert cli.main([*COPY, "--seed", "3", "-o", "run"]) == 0
    paths = ["run/model.npz", "run/metrics.nc", "run/figures.json", "run/curve.png"]
    assert capsys.readouterr() == ("\n".join(paths) + "\n", "")
    assert sorted(os.listdir("run")) == FILES
    task = pa.train.Copy(3, 2)
    model = pa.nn.LanguageModel(layers=1, width=8, heads=1, context=4, vocabulary=4, rng=3)
    result = pa.train.fit(model, task, steps=8, batch=4, rate=2e-3, rng=3)
    found = pa.nn.LanguageModel.load("run/model.npz")
    np.testing.assert_array_equal(found.parameters.values, model.parameters.values)
    figures = json.loads(Path("run/figures.json").read_text())
    assert figures["test"] == pa.train.evaluate(model, task)
    assert figures["task"] == {"task": "copy", "symbols": 3, "length": 2}
    import xarray

    data = xarray.open_dataset("run/metrics.nc", engine="h5netcdf")
    np.testing.assert_array_equal(data.loss, result.metrics.loss)
    assert Path("run/curve.png").read_bytes().startswith(b"\x89PNG")
    assert cli.main([*COPY, "--seed", "3", "-o", "run", "-q"]) == 0  # nothing left to do
    assert capsys.readouterr() == ("", "")


TOML = """
[task]
task = "copy"
symbols = 3
length = 2
[model]
layers = 1
width = 8
heads = 1
[train]
steps = 4
batch = 4
decay = 0.0
betas = [0.8, 0.9]
clip = inf
"""
YAML = """
task: {task: copy, symbols: 3, length: 2}
model: {layers: 1, width: 8, heads: 1}
train: {steps: 4, batch: 4, decay: 0.0, betas: [0.8, 0.9], clip: .inf}
"""


@pytest.mark.parametrize(("name", "text"), [("run.toml", TOML), ("run.yaml", YAML)])
def test_files(name, text, here):
    if name.endswith("yaml"):
        pytest.importorskip("yaml")
    Path(name).write_text(text)
    assert cli.main(["train", name, "--steps", "5", "--set", "model.width=6", "-q", "-o", "run"]) == 0
    model = pa.nn.LanguageModel(layers=1, width=6, heads=1, context=4, vocabulary=4, rng=0)
    pa.train.fit(model, pa.train.Copy(3, 2), steps=5, batch=4, rate=2e-3, decay=0.0, betas=(0.8, 0.9), clip=None)
    found = pa.nn.LanguageModel.load("run/model.npz")
    np.testing.assert_array_equal(found.parameters.values, model.parameters.values)


def test_the_examples_are_settings(here):
    for path in sorted((ROOT / "docs" / "examples").glob("*.toml")):
        call = ["train", str(path), "--steps", "0"]
        assert cli.main(call) == exits.USAGE  # 0 steps: the file itself was not yet read
        from primeattn.cli import settings

        tables = settings.read(str(path), ("task", "model", "train", "compare"))
        assert settings.task_of({**tables["task"]}).name == tables["task"]["task"]


def test_mechanisms_against_one_another(here, capsys):
    call = [*COPY, "--compare", "dot_product,squared", "--seeds", "2", "--workers", "1", "-o", "both"]
    assert cli.main(call) == 0
    assert capsys.readouterr().out == "both/comparison.md\nboth/comparison.nc\nboth/curves.png\n"
    table = Path("both/comparison.md").read_text()
    assert table.count("| copy |") == 2
    assert len(list(Path("both/cells").glob("*.json"))) == 2 * 2
    assert cli.main([*call, "-q"]) == 0
    assert Path("both/comparison.md").read_text() == table


def test_tokens_in_place_of_steps(book, here):
    call = ["train", str(book / "book.txt"), *TINY, "--context", "8", "--batch", "2", "--tokens", "80", "-q"]
    assert cli.main(call) == 0
    run = json.loads(Path("primeattn-training/run.json").read_text())
    assert run["fit"]["steps"] == 80 // (8 * 2)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--steps", "0"], exits.USAGE, "'0': a whole number from 1 on"),
        (["--steps", "1.5"], exits.USAGE, "such as 500, 20k, 3M"),
        (["--rate", "0"], exits.USAGE, "a number above 0"),
        (["--set", "steps=3"], exits.USAGE, "TABLE.NAME=VALUE"),
        (["--set", "modle.width=3"], exits.USAGE, "there is no table 'modle'"),
        (["--task", "copying"], exits.USAGE, "there is no task 'copying'"),
        (["--set", "task.sauce=3"], exits.INPUT, "did you mean 'source'?"),
        (["--set", "model.windw=3"], exits.INPUT, "windw"),
        (["--set", "train.decya=3"], exits.INPUT, "decya"),
        (["--set", "train.rng=3"], exits.USAGE, "train.rng is given by the command itself"),
        (["--set", "compare.seds=3"], exits.INPUT, "did you mean 'seeds'?"),
        (["--mechanism", "dot"], exits.INPUT, "mechanism is 'dot'"),
        (["--compare", "dot"], exits.USAGE, "there is no mechanism 'dot'"),
        (["--task", "copy", "--text", "a.txt"], exits.USAGE, "takes no text"),
        (["a.txt", "--text", "b.txt"], exits.USAGE, "two texts"),
        (["--task", "copy", "--tokens", "3k"], exits.USAGE, "--tokens goes"),
        (["none.txt"], exits.INPUT, "none.txt: there is no such file"),
        (["none.toml"], exits.INPUT, "none.toml: cannot be read"),
        (["bad.toml"], exits.INPUT, "bad.toml: "),
        (["table.toml"], exits.INPUT, "'modle' is no table"),
        (["-o", "none/at/all"], exits.OUTPUT, "there is no folder"),
        (["-o", "bad.toml"], exits.OUTPUT, "a file; name a folder"),
        (["--text", "enwik8"], exits.INPUT, "primeattn data enwik8 --fetch"),
    ],
)
def test_refusals_of_train(arguments, code, says, here, capsys, monkeypatch):
    monkeypatch.setenv("PRIMEATTN_DATA", str(here / "data"))
    Path("bad.toml").write_text("[model\n")
    Path("table.toml").write_text("[modle]\n")
    assert cli.main(["train", *arguments]) == code
    assert says in complaint(capsys)
    assert not Path("primeattn-training").exists()


def test_another_run_in_the_folder_is_refused_unless_fresh(here, capsys):
    assert cli.main([*COPY, "-q", "-o", "run"]) == 0
    assert cli.main([*COPY, "-q", "-o", "run", "--rate", "0.01"]) == exits.INPUT
    assert "fit rate is 0.002 there and 0.01 here" in complaint(capsys)
    assert cli.main([*COPY, "-q", "-o", "run", "--rate", "0.01", "--fresh"]) == 0


def test_numbers_that_are_not_finite_say_where(here, capsys):
    assert (
        cli.main([*COPY, "-q", "-o", "run", "--optimizer", "sgd", "--rate", "1e30", "--set", "train.clip=inf"])
        == exits.INPUT
    )
    said = complaint(capsys)
    assert "not finite, first in" in said
    assert "a smaller rate" in said


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_ctrl_c_keeps_what_there_is_and_the_same_command_goes_on(here, interrupted):
    call = [*COPY, "--set", "train.checkpoint_every=0", "--set", "train.evaluate_every=0", "-o", "run"]
    call[call.index("--steps") + 1] = "3000"
    code, said = interrupted(call, "run/checkpoint.npz")
    assert code == exits.INTERRUPTED
    assert "what there is is on disk; the same command goes on" in said
    with np.load("run/checkpoint.npz") as file:
        assert 0 < json.loads(str(file["progress"]))["step"] < 3000


# --- eval -------------------------------------------------------------------------------------------------------------


def test_eval_says_what_train_said(book, capsys):
    assert cli.main(["eval", str(book / "run"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    wanted = json.loads((book / "run" / "figures.json").read_text())
    assert {name: found[name] for name in wanted["test"]} == wanted["test"]
    assert {name: found[name] for name in wanted["controls"]} == wanted["controls"]
    assert cli.main(["eval", str(book / "run"), "-o", str(book / "eval.json")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["loss", "bits_per_character", "tokens", "unigram", "xz"]
    assert json.loads((book / "eval.json").read_text()) == found
    assert (
        cli.main(["eval", str(book / "run" / "model.npz"), "--text", str(book / "book.txt"), "--split", "validation"])
        == 0
    )
    assert "bits_per_character" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["none"], "there is no such model"),
        (["book.txt"], "is no model of primeattn or is damaged"),
        (["run", "--text", "none.txt"], "no such file"),
        (["run", "--task", "copy", "--set", "task.length=50"], "the model sees 16"),
    ],
)
def test_refusals_of_eval(arguments, says, book, capsys, monkeypatch):
    monkeypatch.chdir(book)
    assert cli.main(["eval", *arguments]) == exits.INPUT
    assert says in complaint(capsys)


# --- sample -----------------------------------------------------------------------------------------------------------


def test_sample_is_what_the_model_generates(book, capsysbinary):
    call = ["sample", str(book / "run"), "--prompt", "the ", "--tokens", "30", "--seed", "5", "--top-k", "9"]
    assert cli.main(call) == 0
    out = capsysbinary.readouterr().out
    model = pa.nn.LanguageModel.load(book / "run" / "model.npz")
    ids = model.generate(list(b"the "), 30, temperature=0.8, top_k=9, rng=5)
    assert out.decode() == (b"the " + bytes(int(i) for i in ids)).decode("utf-8", "replace") + "\n"
    assert cli.main([*call, "-q", "-o", str(book / "out.txt")]) == 0
    assert capsysbinary.readouterr().out == b""
    assert (book / "out.txt").read_text() == bytes(int(i) for i in ids).decode("utf-8", "replace")


def test_characters_are_sampled_as_characters(here, capsys):
    Path("baer.txt").write_text("ein Bär, zwei Bären. " * 60, encoding="utf-8")
    call = ["train", "baer.txt", *TINY, "--level", "character", "--context", "16", "--steps", "3", "-q", "-o", "run"]
    assert cli.main(call) == 0
    assert cli.main(["sample", "run", "--prompt", "Bär", "--tokens", "40", "--temperature", "3"]) == 0
    out = capsys.readouterr().out
    assert len(out) == 44
    assert set(out) <= set("ein Bär, zwei Bären. \n\ufffd")


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["none"], exits.INPUT, "there is no such model"),
        (["run", "--temperature", "-1"], exits.USAGE, "from 0 to 100"),
        (["run", "--prompt", ""], exits.USAGE, "the prompt is empty"),
        (["copy"], exits.INPUT, "which is no text"),
    ],
)
def test_refusals_of_sample(arguments, code, says, book, capsys, monkeypatch):
    monkeypatch.chdir(book)
    if arguments == ["copy"]:
        assert cli.main([*COPY, "-q", "-o", "copy"]) == 0
    assert cli.main(["sample", *arguments]) == code
    assert says in complaint(capsys)


# --- grad-check -------------------------------------------------------------------------------------------------------


def test_grad_check_passes_and_fails(here, capsys, monkeypatch):
    call = ["grad-check", "--mechanism", "dot_product", "--layers", "1", "--width", "8", "--set", "task.length=3"]
    assert cli.main([*call, "-o", "all.json"]) == 0
    line = capsys.readouterr().out.split()
    assert line[0] == "dot_product"
    assert float(line[1]) < 1e-7
    assert line[2] == "ok"
    found = json.loads(Path("all.json").read_text())["dot_product"]
    assert {"embedding.table"} <= {array["name"] for array in found}
    assert cli.main([*call, "--arrays"]) == 0
    assert capsys.readouterr().out.count("\n") > len(found)
    right = pa.nn.LanguageModel.loss_and_gradient

    def wrong(self, *batch, **how):
        loss, gradient = right(self, *batch, **how)
        self.parameters.view("norm.gain" if "norm.gain" in self.parameters.names else "embedding.table", gradient)[
            :
        ] *= 1.001
        return loss, gradient

    monkeypatch.setattr(pa.nn.LanguageModel, "loss_and_gradient", wrong)
    assert cli.main([*call, "-q"]) == exits.UNEXPECTED
    assert "the gradient of dot_product is not the derivative of the loss" in complaint(capsys)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--mechanism", "dot"], exits.USAGE, "there is no mechanism 'dot'"),
        (["--set", "train.steps=3"], exits.USAGE, "model or task is wanted"),
        (["--task", "none"], exits.USAGE, "there is no task 'none'"),
        (["--mechanism", "dot_product", "--context", "3"], exits.INPUT, "make it with context=24"),
    ],
)
def test_refusals_of_grad_check(arguments, code, says, capsys):
    assert cli.main(["grad-check", *arguments]) == code
    assert says in complaint(capsys)


# --- data -------------------------------------------------------------------------------------------------------------


def test_data_says_what_there_is(here, capsys, monkeypatch):
    monkeypatch.setenv("PRIMEATTN_DATA", str(here / "data"))
    assert cli.main(["data"]) == 0
    out = capsys.readouterr().out
    assert str(here / "data") in out
    assert "a1fa5ffddb56f4953e226637dabbb36a" in out
    assert "primeattn data enwik8 --fetch" in out
    Path("a.txt").write_bytes(b"abab" * 100)
    assert cli.main(["data", "a.txt", "--xz", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["train"], found["validation"], found["test"]) == (360, 20, 20)
    assert found["xz"] < found["unigram"]
    assert cli.main(["data", "a.txt", "--held-out", "7", "-q", "-o", "out.json"]) == 0
    assert json.loads(Path("out.json").read_text())["test"] == 7
    assert capsys.readouterr().out == ""


def test_refusals_of_data(here, capsys, monkeypatch):
    monkeypatch.setenv("PRIMEATTN_DATA", str(here / "data"))
    Path("a.txt").write_bytes(b"abab" * 100)
    for arguments, says in (
        (["none.txt"], "no such file"),
        (["topics", "--fetch"], "nothing to fetch called 'topics'"),
        (["enwik8", "--from", "a.txt"], "a.txt is not enwik8: 400 bytes"),
        (["a.txt", "--held-out", "1k"], "too few to hold out"),
    ):
        assert cli.main(["data", *arguments]) == exits.INPUT
        assert says in complaint(capsys)


def test_values_of_options():
    import argparse

    assert [options.count(text) for text in ("7", "20k", "1.5k", "3M")] == [7, 20_000, 1500, 3_000_000]
    assert options.assignment("task.delay=5") == ("task", "delay", 5)
    assert options.assignment("model.positions=learned") == ("model", "positions", "learned")
    assert options.assignment("train.betas=[0.9, 0.95]") == ("train", "betas", [0.9, 0.95])
    for text in ("0", "1.5", "1e3", "3G", "-1", ""):
        with pytest.raises(argparse.ArgumentTypeError):
            options.count(text)
