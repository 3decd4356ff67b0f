"""The chapter on learning: equal parameters and tokens, the budget, what the page and the files hold."""

import json

import numpy as np
import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")
pytest.importorskip("h5netcdf")

from primeattn import report
from primeattn.attention import MECHANISMS
from primeattn.report.sections import learning
from tests.test_report import found_passages

TWO = {name: MECHANISMS[name] for name in ("dot_product", "position_only")}
SOME = {"layers": 1, "width": 16, "heads": 1, "context": 16}


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(learning, "MODEL", SOME)
    monkeypatch.setattr(learning, "PARAMETERS", 8_000)
    monkeypatch.setattr(learning, "LEAST", 1_000)


def test_the_chapter(small, tmp_path):
    import xarray

    material = report.prepare(found_passages(), mechanisms=TWO, training=1e-9)
    assert len(material.text) > 1_000
    told = []
    report.write(material, tmp_path, on_section=lambda *what: told.append(what[0]))
    assert "training dot product" in told
    summary = json.loads((tmp_path / "summary.json").read_text("utf-8"))
    facts = summary["sections"]["learning"]
    assert facts["steps"] == learning.FEWEST  # no time at all
    assert facts["tokens"] == facts["steps"] * learning.BATCH * SOME["context"]
    sizes = [fact["parameters"] for fact in facts["mechanisms"].values()]
    assert set(facts["mechanisms"]) == set(TWO)
    assert max(sizes) < 1.1 * min(sizes)
    for fact in facts["mechanisms"].values():
        assert 1 < fact["bits_per_character"] < 9
    page = (tmp_path / "index.html").read_text("utf-8")
    assert '<section id="learning"' in page
    assert "--train MINUTES" in page
    assert (tmp_path / "learning.png").exists()
    data = xarray.open_dataset(tmp_path / "report.nc", engine="h5netcdf")
    assert data.learning.dims == ("mechanism", "tokens_seen")
    assert np.isfinite(data.learning).all()


def test_little_text_and_no_mechanism_that_learns():
    material = report.prepare(found_passages(), mechanisms=TWO, training=1.0)
    assert learning.find(material).facts["mechanisms"] == {} or len(material.text) > learning.LEAST
    strange = {"every_other": MECHANISMS["dot_product"]._replace(name="every_other")}
    material = report.prepare(found_passages(), mechanisms=strange, training=1.0)
    assert learning.find(material).facts["mechanisms"] == {}


def test_minutes_are_checked():
    for bad in (-1.0, float("nan"), "a"):
        with pytest.raises(ValueError, match="minutes, 0 or more"):
            report.prepare(found_passages(), training=bad)


def test_steps_are_round():
    assert learning.rounded(-3.0) == learning.FEWEST
    found = [learning.rounded(x) for x in np.geomspace(20, 1e6, 300)]
    assert found == sorted(found)
    assert len(set(found)) < 35
    assert all(wanted / 2 < steps <= wanted for steps, wanted in zip(found, np.geomspace(20, 1e6, 300), strict=True))
