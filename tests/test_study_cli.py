"""``primeattn study``: files, the inputs it reads, refusals of one line; the page shows the table that was computed."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("h5netcdf")
pytest.importorskip("jinja2")
import xarray

import primeattn
from primeattn import cli
from primeattn.cli import exits
from primeattn.cli import study as command
from primeattn.report import study as report

ROOT = Path(primeattn.__file__).parent.parent
QUICK = ["--mechanism", "uniform,expressive,resonance:original", "--sets", "1", "--tokens", "8"]


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    line = [sys.executable, "-m", "primeattn.cli", "study", *QUICK, "--output", "out"]
    ran = subprocess.run(line, capture_output=True, text=True, cwd=folder, env=environment)
    return ran, folder / "out"


def test_files_come_table_first(done):
    ran, folder = done
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""
    paths = [Path(line).name for line in ran.stdout.splitlines()]
    assert paths[0] == "study.md"
    assert paths[-1] == "index.html"
    assert set(paths) == {p.name for p in folder.iterdir()}
    assert {"study.nc", "spectra.png", "maps.png", "profiles.png", "depth.png"} < set(paths)


def test_the_numbers_of_all_files_are_the_same(done):
    folder = done[1]
    with xarray.open_dataset(folder / "study.nc", engine="h5netcdf") as data:
        data = data.load()
    psd = data.sel(property="PSD")
    verdicts = dict(zip(data.mechanism.values.tolist(), psd.verdict.values.tolist(), strict=True))
    assert verdicts == {"uniform": "holds", "expressive": "fails", "resonance:original": "fails"}
    text = (folder / "study.md").read_text("utf-8")
    row = next(line for line in text.splitlines() if line.startswith("| that kernel is positive semidefinite"))
    cells = [cell.strip() for cell in row.strip("|").split("|")[1:]]
    assert [re.sub(r"\W*\(.*|\*", "", cell) for cell in cells] == list(verdicts.values())
    off = float(re.search(r"\((.*)\)", cells[list(verdicts).index("expressive")])[1])
    assert off == pytest.approx(float(psd.violation.sel(mechanism="expressive")), rel=0.05)
    page = (folder / "index.html").read_text("utf-8")
    assert page.count('class="claim fails"') == int((data.verdict == "fails").sum())
    assert page.count('class="claim holds"') == int((data.verdict == "holds").sum())
    assert data.attrs["tokens"] == "8 drawn, of width 16, seed 0"
    assert (data.attrs["seed"], data.attrs["shape"], data.sizes["token"]) == ("0", "(8, 16)", 8)
    assert data.attrs["command"].startswith("primeattn study --mechanism uniform")
    assert data.formula.sel(mechanism="expressive").item().startswith("f(z) = \\frac{z^{2}}{z^{2} + 1}")
    assert data.formula.sel(mechanism="resonance:original").item() == ""
    assert data.eigenvalue.sel(mechanism="expressive").min() < -data.eigenvalue_error.sel(mechanism="expressive")
    assert data.order_by_layer.sel(mechanism="uniform").isel(layer=-1).min() > 0.99


def test_the_page_stands_alone(done):
    page = (done[1] / "index.html").read_text("utf-8")
    assert not re.search(r"(src|href)=\"https?:", page)
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert page.count("<svg") == 4
    assert '<figure class="chart wide" style="max-width: 6.90in">' in page  # three panels of 2.3 inches
    assert "witness()" in page
    assert "witness()" in (done[1] / "study.md").read_text("utf-8")
    assert "Expressive and resonance, original are no positive semidefinite kernels" in page


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from primeattn import cli; cli.main(['study', '--help']);"
        "print(sorted({'numpy', 'numba', 'matplotlib', 'sympy', 'xarray'} & set(sys.modules)), file=sys.stderr)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert ran.stderr.strip() == "[]"
    assert "examples:" in ran.stdout


@pytest.fixture
def gathered(monkeypatch):
    """What the command hands on, without the work."""
    given = {}

    def gather(names, inputs, **options):
        given.update(names=names, inputs=inputs, **options)
        raise exits.Failure(exits.UNEXPECTED, "far enough")

    monkeypatch.setattr(report, "gather", gather)
    return given


def tried(tmp_path, *arguments):
    return cli.main(["study", "--output", str(tmp_path / "out"), *map(str, arguments)])


def test_numpy_input(tmp_path, gathered):
    x = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    assert tried(tmp_path, "--input", tmp_path / "x.npy", "--tokens", 5, "--seed", 3) == exits.UNEXPECTED
    np.testing.assert_array_equal(gathered["inputs"], x[:5])
    assert gathered["inputs"].dtype == np.float64
    assert (gathered["labels"], gathered["seed"], gathered["names"]) == (None, 3, None)
    assert gathered["about"]["tokens"] == f"the first 5 of {tmp_path / 'x.npy'}"


def test_netcdf_input(tmp_path, gathered):
    tables = {"a": (("t", "c"), np.eye(3)), "b": (("t", "c"), 2 * np.eye(3)), "n": ("t", np.arange(3))}
    xarray.Dataset(tables).to_netcdf(tmp_path / "x.nc", engine="h5netcdf")
    xarray.Dataset({"a": tables["a"]}).to_netcdf(tmp_path / "one.nc", engine="h5netcdf")
    assert tried(tmp_path, "--input", f"{tmp_path / 'x.nc'}:b") == exits.UNEXPECTED
    np.testing.assert_array_equal(gathered["inputs"], 2 * np.eye(3))
    tried(tmp_path, "--input", tmp_path / "one.nc")
    np.testing.assert_array_equal(gathered["inputs"], np.eye(3))


def test_text_input(tmp_path, gathered):
    path = tmp_path / "story.txt"
    path.write_text("The cat sat on the mat. The dog sat on the log. A cat and a dog met on a mat.")
    assert tried(tmp_path, "--input", path, "--tokens", 9) == exits.UNEXPECTED
    assert gathered["labels"] == ["The", "cat", "sat", "on", "the", "mat", "The", "dog", "sat"]
    vectors = gathered["inputs"]
    assert vectors.shape[0] == 9
    np.testing.assert_array_equal(vectors[0], vectors[4])  # the same word
    assert np.isfinite(vectors).all()


def refusals(tmp_path):
    np.save(tmp_path / "deep.npy", np.zeros((2, 3, 4)))
    np.save(tmp_path / "nan.npy", np.array([[1.0, 2.0], [np.nan, 0.0]]))
    np.save(tmp_path / "short.npy", np.ones((1, 3)))
    np.save(tmp_path / "complex.npy", np.ones((3, 3)) * 1j)
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    (tmp_path / "broken.npy").write_bytes(b"no array")
    (tmp_path / "broken.nc").write_bytes(b"no netCDF")
    (tmp_path / "word.txt").write_text("word")
    (tmp_path / "file").write_text("here")
    xarray.Dataset({n: (("t", "c"), np.eye(2)) for n in "ab"}).to_netcdf(tmp_path / "two.nc", engine="h5netcdf")
    at = tmp_path.__truediv__
    return [
        (["--mechanism", "softmax"], exits.USAGE, "there is no mechanism 'softmax': choose some of dot_product"),
        (["--mechanism", "none"], exits.USAGE, "leave --mechanism out for all"),
        (["--tokens", "1"], exits.USAGE, "'1': a number from 2 to 1000 is wanted"),
        (["--sets", "many"], exits.USAGE, "'many': a number from 1 to 1000 is wanted"),
        (["--seed", "-1"], exits.USAGE, "--seed"),
        (["--input", at("none.npy")], exits.INPUT, "cannot be read (No such file or directory)"),
        (["--input", at("none.nc")], exits.INPUT, "cannot be read (No such file or directory)"),
        (["--input", at("none.txt")], exits.INPUT, "none.txt"),
        (["--input", at("deep.npy")], exits.INPUT, "has shape (2, 3, 4): (tokens, width) is wanted"),
        (["--input", at("nan.npy")], exits.INPUT, "holds NaN or infinity, first in token 1"),
        (["--input", at("short.npy")], exits.INPUT, "has 1 tokens: two or more are wanted"),
        (["--input", at("complex.npy")], exits.INPUT, "has dtype complex128: real numbers are wanted"),
        (["--input", at("objects.npy")], exits.INPUT, "is no array of numbers"),
        (["--input", at("broken.npy")], exits.INPUT, "is no array of numbers"),
        (["--input", at("broken.nc")], exits.INPUT, "broken.nc"),
        (["--input", at("two.nc")], exits.INPUT, "has 2 tables (a, b): name one"),
        (["--input", f"{at('two.nc')}:c"], exits.INPUT, "has no variable 'c'; it has a, b"),
        (["--input", at("word.txt")], exits.INPUT, "has 1 words: two or more are wanted"),
        (["--input", at("x.npz")], exits.INPUT, ".npz is not read; save the vectors with numpy.save"),
        (["--output", at("file")], exits.OUTPUT, "a file; name a folder with --output"),
    ]


def test_refusals_are_one_line(tmp_path, capsys, gathered):
    for arguments, code, message in refusals(tmp_path):
        assert tried(tmp_path, *arguments) == code, arguments
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("primeattn: "), err
        assert err.count("\n") == 1
        assert message in err, (arguments, err)


def test_a_missing_extra_is_named(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(command, "find_spec", lambda name: None if name == "jinja2" else object())
    assert tried(tmp_path) == exits.EXTRA
    assert 'jinja2 missing: pip install "primeattn[report]"' in capsys.readouterr().err


def test_a_folder_that_is_lost_meanwhile(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(report, "gather", lambda *_, **__: object())

    def write(found, folder, on_file):
        on_file(folder / "study.md")
        raise KeyboardInterrupt

    monkeypatch.setattr(report, "write", write)
    assert tried(tmp_path) == exits.INTERRUPTED
    assert "interrupted; what was finished is on disk" in capsys.readouterr().err
    monkeypatch.setattr(report, "write", lambda *_, **__: (_ for _ in ()).throw(OSError(28, "No space left", "x.png")))
    assert tried(tmp_path) == exits.OUTPUT
    assert "x.png: cannot be written (No space left)" in capsys.readouterr().err


def test_a_study_of_what_has_no_kernel():
    found = report.gather(["position_only"], np.random.default_rng(0).normal(size=(4, 4)), sets=1)
    assert "spectra" not in found.pictures
    assert "profiles" not in found.pictures
    assert report.finding(found) == "None of them has a kernel of queries and keys."
    text = report.markdown(found)
    assert "| position only |" in text
    assert "smallest eigenvalue" not in text  # a column without a number
    only = report.gather(["resonance:kernel"], sets=1)
    assert set(only.pictures) == {"spectra"}
    assert report.finding(only).startswith("All 1 that have a kernel")
    assert json.dumps(report.claims_of(only.data)["resonance:kernel"]["PSD"])


def test_numbers_are_written_for_people():
    assert report.written(-0.0312, "signed") == "−0.031"
    assert report.written(np.nan, ".2f") == "–"
    assert report.written("", "") == "–"
    assert report.written(1e-12, "small") == "0"
    assert report.written(2.5e-5, "ms") == "0.025"
    assert report.written(-1.5, ".1f") == "−1.5"
    assert report._bounded("−0.11", -0.1149, 7e-14) == "−0.11 ± 7·10⁻¹⁴"
    assert report._bounded("−1.7·10⁻¹⁶", -1.7e-16, 6e-14) == "0 ± 6·10⁻¹⁴"
    assert report._bounded("–", np.nan, np.nan) == "–"
