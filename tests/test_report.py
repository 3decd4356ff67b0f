"""The report: numbers against oracles, claims against spectra, the page as a reader and a machine meet it."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")
import primeattn as pa
from primeattn import corpus, report
from primeattn.report import gather, highlight, measures, page, ranking, spectra
from primeattn.report.material import label_of, title_of
from primeattn.report.sections.pairs import chips
from primeattn.report.views import VIEWS, Claim, Shared, View
from tests.naive import report as naive

FOLDER = Path(report.__file__).parent
ANIMALS = "The cat sat on the mat and watched the birds in the garden while the dog slept by the fire. "
MARKET = "Prices of wheat fell sharply in May and the market for barley did not recover before autumn. "
SEA = "The ship left the harbour at dawn and sailed with the wind towards the islands in the west. "
TEXTS = [(ANIMALS, "animals"), (MARKET, "market"), (SEA, "sea")]


def found_passages(each=4):
    """Passages of three documents that share words within, and a few across."""
    extra = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu"]
    return [
        corpus.Passage(f"{text} {extra[k]} {text[: 40 + 9 * k]} {extra[k + 3]}", name, 0)
        for name, text in ((name, text) for text, name in TEXTS)
        for k in range(each)
    ]


@pytest.fixture(scope="module")
def material():
    return report.prepare(found_passages(), title="Three <texts>", about={"command": "primeattn compare"})


@pytest.fixture(scope="module")
def written(material, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    files = []
    report.write(material, folder, on_file=files.append)
    return SimpleNamespace(folder=folder, files=files, html=(folder / "index.html").read_text("utf-8"))


# --- ranks and agreement -------------------------------------------------------------------------------------------

scores = st.lists(st.integers(0, 6), min_size=2, max_size=25).map(lambda x: np.array(x, float))


@given(scores)
@settings(max_examples=60, deadline=None)
def test_ranks_and_places_against_the_definition(values):
    np.testing.assert_allclose(ranking.ranks(values), naive.ranks(values), atol=1e-12)
    assert ranking.places(values).tolist() == naive.places(values)
    up = ranking.prominence(values)
    assert up.min() >= 0
    assert up.max() <= 1
    assert (np.diff(up[np.argsort(values, kind="stable")]) >= -1e-12).all()


@pytest.mark.parametrize("n", [2, 3, 7])
def test_pairs_are_listed_as_numpy_lists_them(n):
    rows, columns = np.triu_indices(n, 1)
    for place, pair in enumerate(zip(rows.tolist(), columns.tolist(), strict=True)):
        assert ranking.pair_at(place, n) == pair
        assert ranking.place_of(*pair, n) == ranking.place_of(*pair[::-1], n) == place


def test_agreement(rng):
    a, b = rng.random(60), rng.random(60)
    assert ranking.agreement(a, b).spearman == pytest.approx(naive.spearman(a, b), abs=1e-12)
    assert ranking.agreement(a, a).spearman == pytest.approx(1)
    assert ranking.agreement(a, -a).spearman == pytest.approx(-1)
    same = ranking.agreement(a, a, top=10)
    assert (same.top, same.shared, same.expected) == (10, 10, pytest.approx(100 / 60))
    assert np.isnan(ranking.agreement(a, np.ones(60)).spearman)
    assert ranking.agreement(a[:1], b[:1]).shared == 1


def test_disagreements_find_what_was_planted():
    a = np.arange(100.0)
    b = a.copy()
    b[3], b[98] = 200.0, -1.0
    above, below = ranking.disagreements(a, b, 2)
    assert above[0] == 98
    assert below[0] == 3
    assert [x.tolist() for x in ranking.disagreements(a, a, 3)] == [[], []]


# --- spectra -------------------------------------------------------------------------------------------------------

AVERAGING = np.array([[1.0, 1, 0], [1, 1, 1], [0, 1, 1]])


def test_the_published_counter_example_is_refuted_with_its_eigenvalue():
    found = spectra.spectrum(AVERAGING)
    assert found.smallest == pytest.approx(1 - np.sqrt(2), abs=1e-15 * 8)  # n eps max eigenvalue
    assert (found.verdict, found.negative) == (spectra.NEGATIVE, 1)
    assert found.witness.members.tolist() == [0, 1, 2]


def test_verdicts():
    assert spectra.spectrum(np.eye(4)).verdict == spectra.POSITIVE
    assert spectra.spectrum(np.ones((5, 5))).verdict == spectra.ROUNDING
    assert spectra.spectrum(np.zeros((2, 2))).verdict == spectra.ROUNDING
    assert spectra.spectrum(np.diag([1.0, 1.0, -5e-16])).verdict == spectra.ROUNDING  # 3 eps = 6.7e-16
    assert spectra.spectrum(np.diag([1.0, 1.0, -1e-14])).verdict == spectra.NEGATIVE


def test_the_worst_triple_is_found(rng):
    for n in (3, 4, 9):
        matrix = rng.random((n, n))
        matrix = (matrix + matrix.T) / 2 + np.eye(n)
        assert tuple(spectra.worst_triple(matrix)) == naive.worst_triple(matrix)


@pytest.mark.parametrize("triples_of", [0, 200])
def test_a_witness_is_negative_and_minimal(rng, triples_of):
    # a hub that is half like each of six strangers fails only together with more than four of them: 1 - .5 sqrt(m)
    star = np.eye(12)
    star[0, 1:7] = star[1:7, 0] = 0.5
    order = rng.permutation(12)
    star = star[np.ix_(order, order)]
    values, vectors = np.linalg.eigh(star)
    found = spectra.witness(star, vectors[:, 0], triples_of=triples_of)
    assert values[0] < 0
    assert found.value == pytest.approx(1 - 0.5 * np.sqrt(5), abs=1e-14)
    assert len(found.members) == 6
    assert found.coefficients @ found.matrix @ found.coefficients == pytest.approx(found.value, abs=1e-14)
    for left_out in range(6):
        rest = np.delete(found.members, left_out)
        assert np.linalg.eigvalsh(star[np.ix_(rest, rest)])[0] > -1e-14


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.zeros((0, 0)), "at least one row"),
        (np.zeros((2, 3)), "square"),
        (np.full((2, 2), np.nan), "NaN"),
        (np.array([[1.0, 0], [0.5, 1]]), "not symmetric"),
    ],
)
def test_spectra_refuse(matrix, message):
    with pytest.raises(ValueError, match=message):
        spectra.spectrum(matrix)


# --- attention, neighbours, sparsity -------------------------------------------------------------------------------


def test_attention_to_others(rng):
    matrix = rng.random((6, 6))
    weights = measures.attention_to_others(matrix, 0.3)
    np.testing.assert_allclose(weights, naive.attention_to_others(matrix, 0.3), atol=1e-14)
    assert (weights.diagonal() == 0).all()
    even = measures.attended(measures.attention_to_others(np.ones((6, 6)), 0.1))
    np.testing.assert_allclose(even, 5)
    cold = measures.attention_to_others(matrix, 1e-3)  # scores / temperature up to 1000: must not overflow
    np.testing.assert_allclose(cold.sum(axis=1), 1)


def test_neighbours(rng):
    documents = list("aabbbcd")
    matrix = rng.random((7, 7))
    matrix = np.maximum(matrix, matrix.T)
    found = measures.neighbours(matrix, documents)
    assert found.first == pytest.approx(naive.nearest_in_same_document(matrix, documents))
    assert found.judged == 5
    assert found.chance == pytest.approx((1 + 1 + 2 + 2 + 2) / 5 / 6)
    assert measures.neighbours(np.eye(7), documents).first == 0  # nothing in common is no evidence
    assert measures.neighbours(matrix, list("abcdefg")) is None
    assert measures.neighbours(matrix, list("aaaaaaa")) is None


def test_sparsity_counts():
    sets = [{2, 3, 5}, {3, 5}, {7}, set()]
    states = pa.PrimeStates.from_dicts([dict.fromkeys(sorted(x), 1) for x in sets])
    found = measures.sparsity(states)
    assert found.active.tolist() == [3, 2, 1, 0]
    assert found.frequency.tolist() == [2, 2, 1, 1]
    assert found.shared.tolist() == naive.shared_counts(sets)
    assert found.overlapping == pytest.approx(1 / 6)
    assert np.isnan(found.slope)


def test_zipf_recovers_a_power_law():
    slope, intercept, r2 = measures.zipf(1e6 * np.arange(1, 500) ** -0.8)
    assert (slope, intercept, r2) == (pytest.approx(-0.8), pytest.approx(6), pytest.approx(1))
    assert np.isnan(measures.zipf(np.ones(50))).all()
    assert np.isnan(measures.zipf(np.zeros(0))).all()


# --- text ----------------------------------------------------------------------------------------------------------


def test_marks_escape_and_grade():
    shared = [Shared("a", 0.1, (((0, 1),), ())), Shared("bc", 0.3, (((2, 4),), ()))]
    assert highlight.marked(
        "a<bc>", shared, 0
    ) == '<mark class="m1">a</mark>&lt;<mark class="m3">bc</mark>&gt;'.replace("&lt;<mark", "&lt;<mark")
    assert highlight.marked("a<bc>", shared, 1) == "a&lt;bc&gt;"
    assert highlight.marked("", [], 0) == ""


def test_titles_and_labels():
    assert title_of("short") == "short"
    assert title_of("x" * 100, 10) == "xxxxxxxxx…"
    assert len(title_of("word " * 50)) <= 57
    assert label_of("ings", "sings") == "…ings…"
    assert label_of("straße".casefold(), "Straße") == "strasse"


def test_fragments_are_put_under_their_word():
    found = chips(
        [
            Shared("key", 0.1, prime=2),
            Shared("ke…", 0.2, words=("key", "keys"), prime=3),
            Shared("…xy…", 0.15, words=("oxy", "proxy"), prime=5),
        ]
    )
    assert [(c.label, c.primes) for c in found] == [("key", (2, 3)), ("…xy…", (5,))]
    assert found[0].contribution == pytest.approx(0.3)
    assert found[1].words == ("oxy", "proxy")


# --- from files to material ----------------------------------------------------------------------------------------


@given(st.integers(0, 400), st.integers(2, 200), st.integers(0, 5))
@settings(max_examples=80, deadline=None)
def test_spread_chooses_distinct_ordered_passages(total, count, seed):
    chosen = gather.spread(total, count, np.random.default_rng(seed))
    assert len(chosen) == min(total, count)
    assert (np.diff(chosen) > 0).all()
    assert total == 0 or (chosen.min() >= 0 and chosen.max() < total)


def test_spread_reaches_from_end_to_end():
    chosen = gather.spread(1000, 60, np.random.default_rng(0))
    assert chosen.min() < 150
    assert chosen.max() > 850
    assert (np.diff(chosen) == 1).sum() == 50  # ten runs of six


def test_repetitions_are_left_out_and_counted():
    twice = found_passages() + found_passages()
    material = report.prepare(twice)
    assert len(material) == 12
    assert "12 repetitions left out" in material.about["passages"]


@pytest.mark.parametrize(
    ("texts", "what"),
    [([], "no passages"), (["one"], "1 passage"), (["same same"] * 50, "50 passages, all the same")],
)
def test_nothing_to_compare_is_said(texts, what):
    with pytest.raises(corpus.CorpusError, match=f"{what}: at least two different passages"):
        report.prepare([corpus.Passage(text, "x", 0) for text in texts])


def test_material_refuses():
    with pytest.raises(ValueError, match="no view is called"):
        report.prepare(found_passages(), lead="nonsense")
    with pytest.raises(ValueError, match="at least 2"):
        report.prepare(found_passages(), passages=1)
    with pytest.raises(TypeError, match=r"passages is 2\.5: an int is wanted"):
        report.prepare(found_passages(), passages=2.5)
    with pytest.raises(TypeError, match="seed is '1': an int is wanted"):
        report.prepare(found_passages(), seed="1")
    with pytest.raises(ValueError, match="seed is -1: 0 or more"):
        report.prepare(found_passages(), seed=-1)
    for temperature in (0, -1.0, np.nan, np.inf, "0.1", None):
        with pytest.raises(ValueError, match="a finite number above 0 is wanted"):
            report.prepare(found_passages(), temperature=temperature)


def test_scores_of_no_view_name_the_views(material):
    for ask in (material.scores, material.spectrum):
        with pytest.raises(ValueError, match="no view is called 'x': choose one of resonance:kernel"):
            ask("x")


def test_one_path_is_a_list_of_one(tmp_path):
    path = tmp_path / "ok.txt"
    path.write_text(ANIMALS * 20 + "\n\n" + SEA * 20)
    for given_as in (path, str(path), [path]):
        found, title = report.read(given_as)
        assert (len(found) > 1, title) == (True, "ok.txt")


def test_what_utf8_cannot_hold_is_escaped_in_names_and_replaced_in_texts(tmp_path):
    found = [corpus.Passage(f"{text} \ud800 {name}", "bad\udcff", 0) for text, name in TEXTS]
    about = {"command": "primeattn compare bad\udcff"}
    material = report.prepare(found, title="\udcff", about=about, mechanisms={})
    assert material.documents == ["bad\\udcff"] * 3
    assert material.about["command"] == "primeattn compare bad\\udcff"
    assert all("\ufffd" in passage.text for passage in material.passages)
    report.write(material, tmp_path)


def test_the_same_seed_gives_the_same_material():
    a, b = (report.prepare(found_passages(9), passages=12, seed=3) for _ in range(2))
    assert a.passages == b.passages
    np.testing.assert_array_equal(a.scores("resonance:kernel"), b.scores("resonance:kernel"))


# --- views ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", VIEWS)
def test_views_are_symmetric_bounded_and_explained(name, material):
    view, matrix = VIEWS[name], material.scores(name)
    np.testing.assert_array_equal(matrix, matrix.T)
    assert matrix.min() >= 0
    assert matrix.max() <= 1 + 1e-12
    pairs = [(0, 1), (0, 5), (3, 11)]
    for i, j in pairs:
        parts = view.shared(material, i, j)
        # a sum of up to 64 terms in another order
        assert sum(item.contribution for item in parts) == pytest.approx(matrix[i, j], abs=1e-12)
        assert all(a.contribution >= b.contribution for a, b in pairwise(parts))
        for item in parts:
            for side, k in enumerate((i, j)):
                assert item.spans[side], item
                words = [material.passages[k].text[a:b].casefold() for a, b in item.spans[side]]
                assert all(words)
                if item.prime is None:
                    assert set(words) == {item.label}
    if view.components:
        total = sum(view.components(material).values())
        np.testing.assert_allclose(total, matrix, atol=1e-12)
    assert view.nbytes(material) > 0
    assert view.operations(material) > 0


@pytest.mark.parametrize("name", VIEWS)
def test_claims_on_positivity_are_true(name, material):
    """Where a theorem is claimed no spectrum is negative, thinned states included; where not, the witness is."""
    view = VIEWS[name]
    if view.claim.holds:
        for k in (1, 2, 5, 64):
            matrix = np.asarray(view.matrix(material.thinned(k)), float)
            assert spectra.spectrum(matrix).verdict != spectra.NEGATIVE
        return
    states = pa.PrimeStates.from_dicts([{2: 1}, {2: 1, 3: 1}, {3: 1}])
    found = spectra.spectrum(np.asarray(view.matrix(SimpleNamespace(states=states)), float))
    assert found.smallest == pytest.approx(1 - 0.835 * np.sqrt(2), abs=1e-12)


def test_exactly_one_baseline():
    assert [view.name for view in VIEWS.values() if view.baseline] == ["tfidf"]
    assert all(name == view.name for name, view in VIEWS.items())


def test_sections_and_templates_name_no_view():
    names = [*VIEWS, *(view.short for view in VIEWS.values()), *(view.title for view in VIEWS.values())]
    for path in [*FOLDER.glob("sections/*.py"), *FOLDER.glob("*.j2"), FOLDER / "page.js", FOLDER / "page.py"]:
        text = path.read_text("utf-8")
        for name in names:
            if name in ("kernel", "original"):  # also plain English
                name = f'"{name}"'
            assert name not in text, f"{path.name} names {name}"


def mine() -> View:
    return View(
        name="mine",
        title="constant kernel",
        short="constant",
        says="Nothing.",
        matrix=lambda material: np.ones((len(material), len(material))),
        claim=Claim(True, "rank one", "it is 1 1ᵀ."),
        nbytes=lambda material: 8,
        operations=lambda material: 0,
    )


def test_a_new_view_is_one_entry(tmp_path):
    """It leads the report, has no components and no explanation, and every section still holds."""
    material = report.prepare(found_passages(2), views=VIEWS | {"mine": mine()}, lead="mine", mechanisms={})
    report.write(material, tmp_path)
    html = (tmp_path / "index.html").read_text("utf-8")
    assert html.count("Constant kernel") >= 5
    summary = json.loads((tmp_path / "summary.json").read_text("utf-8"))
    assert summary["sections"]["positivity"]["views"]["mine"]["on_this_text"] == spectra.ROUNDING


# --- the files -----------------------------------------------------------------------------------------------------


class Reader(HTMLParser):
    """Collects what the assertions need, and checks that tags close."""

    VOID = frozenset({"meta", "link", "img", "br", "use", "path", "rect", "input"})

    def __init__(self, html):
        super().__init__()
        self.tags, self.open, self.ids, self.text = [], [], [], []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append((tag, attributes))
        if "id" in attributes:
            self.ids.append(attributes["id"])
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if "id" in dict(attributes):
            self.ids.append(dict(attributes)["id"])

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag, tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.text.append(data)


def test_the_page_needs_nothing_but_itself(written):
    reader = Reader(written.html)
    for tag, attributes in reader.tags:
        for name in ("src", "href", "xlink:href", "srcset", "action", "poster"):
            target = attributes.get(name)
            if target is None or target.startswith(("#", "data:")):
                continue
            assert (written.folder / target).is_file(), (tag, target)
    assert "@import" not in written.html
    assert not re.search(r"url\((?!['\"]?(#|data:))", written.html)
    addresses = set(re.findall(r"https?://[^\s\"'<>]+", written.html))
    assert {a for a in addresses if not a.startswith("http://www.w3.org/")} == set()
    assert len(written.html) < 6_000_000


def test_the_page_is_sound_html_and_tells_what_its_pictures_show(written):
    reader = Reader(written.html)
    assert len(reader.ids) == len(set(reader.ids))
    targets = {a["href"][1:] for _, a in reader.tags if a.get("href", "").startswith("#")}
    targets |= {a["xlink:href"][1:] for _, a in reader.tags if a.get("xlink:href", "").startswith("#")}
    assert targets <= set(reader.ids)
    for tag, attributes in reader.tags:
        if tag == "img":
            assert len(attributes["alt"]) > 10
        if tag == "svg":
            assert attributes["role"] == "img"
            assert len(attributes["aria-label"]) > 10
    assert sum(tag == "h1" for tag, _ in reader.tags) == 1
    text = " ".join(reader.text)
    assert not re.search(r"\bnan\b|\bNone\b|Undefined|\{\{|\{%", text)


def test_the_first_thing_says_what_it_is_and_what_came_out(written, material):
    text = written.html
    sentences = json.loads((written.folder / "summary.json").read_text("utf-8"))["sections"]["opening"]["sentences"]
    assert len(sentences) == 3
    places = [text.index(sentence.split("'")[0][:60]) for sentence in sentences]
    assert places == sorted(places)
    assert places[-1] < text.index("<section")
    assert "12 passages from 3 documents" in sentences[0]
    assert "positive semi-definite" in sentences[2]


def test_every_section_is_there_in_order(written):
    sections = [s for s in report.SECTIONS if s.title and s.name != "learning"]  # which asks for time
    places = [written.html.index(f'<section id="{s.name}"') for s in sections]
    assert places == sorted(places)
    assert "not finished" not in written.html


def test_text_from_outside_cannot_become_code(tmp_path):
    nasty = (
        "<script>alert(1)</script> </script> & <b>bold</b> {{ 7 * 7 }} {% raw %} <!-- & ]]> \u2028 words to fill up. "
    )
    found = [corpus.Passage(nasty * 2 + str(k) * 9, f"<i>{k // 2}</i>", 0) for k in range(4)]
    report.write(report.prepare(found, title="<h1>&"), tmp_path)
    html = (tmp_path / "index.html").read_text("utf-8")
    assert "<script>alert" not in html
    assert "<i>0" not in html
    assert "{{ 7 * 7 }}" in html
    tags = [tag for tag, _ in Reader(html).tags]
    assert tags.count("script") == 4  # data and code, of the pairs and of the mechanisms
    data = re.search(r'id="explorer-data">(.*?)</script>', html, re.S).group(1)
    assert json.loads(data)["texts"][0].startswith("<script>alert(1)</script>")


def test_the_explorer_carries_the_scores_of_all_pairs(written, material):
    import base64

    data = json.loads(re.search(r'id="explorer-data">(.*?)</script>', written.html, re.S).group(1))
    n = len(material)
    for view, carried in zip(material.views, data["views"], strict=True):
        steps = np.frombuffer(base64.b64decode(carried["scores"]["values"]), "<u2")
        values = steps / 65535 * carried["scores"]["top"]
        expected = material.scores(view)[np.triu_indices(n, 1)]
        np.testing.assert_allclose(values, expected, atol=1e-5)  # half a step of 16 bits
    row, k, primes = data["marks"][0], 0, set()
    while k < len(row):
        primes.add(row[k])
        k += 2 + 2 * row[k + 1]
    assert primes == set(material.states[0:1].primes.tolist())


def test_a_page_beyond_the_explorer_stays_readable(material, tmp_path, monkeypatch):
    monkeypatch.setattr(page, "EXPLORED", 3)
    report.write(material, tmp_path)
    html = (tmp_path / "index.html").read_text("utf-8")
    assert "explorer-data" not in html
    Reader(html)


def test_json_is_strict_and_holds_provenance(written, material):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    summary = json.loads((written.folder / "summary.json").read_text("utf-8"), parse_constant=refuse)
    assert summary["schema"] == "primeattn.compare/1"
    assert summary["versions"]["primeattn"] == pa.__version__
    assert list(summary["views"]) == list(VIEWS)
    assert set(summary["sections"]) == {section.name for section in report.SECTIONS} - {"learning"}
    assert summary["seconds"]["first picture"] <= summary["seconds"]["total"]
    verdicts = summary["sections"]["positivity"]["views"]
    assert {verdicts[name]["verdict"] for name in VIEWS if VIEWS[name].claim.holds} == {"holds by proof"}


def test_netcdf_holds_every_matrix_with_labels(written, material):
    xarray = pytest.importorskip("xarray")
    pytest.importorskip("h5netcdf")
    with xarray.open_dataset(written.folder / "report.nc", engine="h5netcdf") as data:
        assert list(data.view.values) == list(VIEWS)
        for name in VIEWS:
            np.testing.assert_array_equal(data.score.sel(view=name), material.scores(name))
            smallest = np.linalg.eigvalsh(material.scores(name))[0]
            assert float(data.eigenvalue.sel(view=name)[0]) == pytest.approx(smallest, abs=1e-13)  # n eps max
        assert list(data.passage_document.values) == material.documents
        states = pa.PrimeStates.from_arrays(
            data.state_start.values, data.prime.values, data.amplitude_real.values + 1j * data.amplitude_imag.values,
            data.orientation.values,
        )  # fmt: skip
        assert states.equals(material.states)
        assert json.loads(data.attrs["provenance"])["schema"] == "primeattn.compare/1"


def test_the_map_comes_first_and_nothing_is_left_beside_the_files(written):
    assert written.files[0].name == "map.png"
    assert written.files[-1].name == "index.html"
    names = {path.name for path in written.folder.iterdir()}
    assert names == {path.name for path in written.files}
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in written.folder.glob("*.png"))


def test_an_interruption_leaves_a_page_with_what_is_finished(material, tmp_path):
    def stop(title, done, total):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        report.write(material, tmp_path, on_section=stop)
    html = (tmp_path / "index.html").read_text("utf-8")
    Reader(html)
    assert "not finished yet" in html
    assert 'id="differing"' in html
    assert 'id="positivity"' not in html
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize(
    "texts",
    [
        ["alpha beta gamma", "delta epsilon zeta"],  # nothing shared
        ["...", "---", "!!!"],  # no words
        ["春眠不觉晓，处处闻啼鸟。", "夜来风雨声，花落知多少。春眠不觉晓", "😀 🚀 ✨"],
        ["e\u0301te\u0301 a\u0300 Paris", "été à Rome", "nai\u0308ve"],  # decomposed accents
        ["x" * 3000, "x" * 2999 + "y"],
    ],
)
def test_small_and_strange_texts_make_a_whole_report(texts, tmp_path):
    material = report.prepare([corpus.Passage(text, "", 0) for text in texts])
    report.write(material, tmp_path)
    Reader((tmp_path / "index.html").read_text("utf-8"))
    json.loads((tmp_path / "summary.json").read_text("utf-8"))


def test_large_material_skips_nothing(tmp_path):
    """Findings depend on the material only: taking passages out keeps their scores."""
    material = report.prepare(found_passages(8))
    part = material.take([3, 4, 20])
    np.testing.assert_array_equal(
        part.scores("resonance:kernel"), material.scores("resonance:kernel")[np.ix_([3, 4, 20], [3, 4, 20])]
    )
    assert part.documents == [material.documents[k] for k in (3, 4, 20)]
    assert replace(part, temperature=1.0).temperature == 1.0


@pytest.mark.parametrize(("x", "text"), [(1, "1st"), (2, "2nd"), (13, "13th"), (23, "23rd"), (1111, "1,111th")])
def test_ordinals(x, text):
    assert page.ordinal(x) == text


@pytest.mark.parametrize(("x", "text"), [(-0.0312, "−0.0312"), (3.1e-13, "3.1·10⁻¹³"), (0.0, "0")])
def test_scientific(x, text):
    assert page.scientific(x) == text


# --- what a newcomer asks ------------------------------------------------------------------------------------------


def test_the_opening_names_the_view_that_finds_most(material):
    from primeattn.report.sections import opening

    first = {
        view.title: measures.neighbours(material.scores(name), material.documents).first for name, view in VIEWS.items()
    }
    text = opening.outcome(material)
    if len(set(first.values())) == 1:
        assert "equally often" in text
    else:
        said = text.partition(f"Of all {len(VIEWS)} views")[2]
        assert all((title in said) == (value == max(first.values())) for title, value in first.items())


@pytest.mark.parametrize("lead", VIEWS)
def test_sentences_have_real_minus_signs(lead):
    from primeattn.report.sections import opening

    material = report.prepare(found_passages(), lead=lead)
    assert not any(re.search(r"-\d", sentence) for sentence in opening.find(material).facts["sentences"])


def test_few_passages_get_a_hint_and_the_lengths_are_named(tmp_path):
    path = tmp_path / "short.txt"
    path.write_text("\n\n".join(f"{number} {text} " * 5 for number, (text, _) in enumerate(TEXTS)), "utf-8")
    found, title = report.read(path)
    material = report.prepare(found, title=title)
    assert "--characters" in material.about["hint"]
    assert "characters" in material.about["passage_lengths"]
    more, _ = report.read(path, characters=(20, 120))
    assert len(more) > len(found)
    assert max(len(passage.text) for passage in more) <= 120


def test_one_colour_a_view(written, material):
    assert material.tones[material.lead] == 0
    assert len(set(material.tones.values())) == len(VIEWS)
    assert "↙" not in written.html
    assert "linear-time attention" not in written.html


def test_a_text_of_one_long_passage_is_told_of_shorter_ones(tmp_path):
    path = tmp_path / "one.txt"
    path.write_text("Waves run over the sand and back again, and nobody counts them. " * 12, "utf-8")
    found, _ = report.read(path)
    with pytest.raises(corpus.CorpusError, match="or cut it into shorter ones with --characters 60-300"):
        report.prepare(found[:1])


def test_notes_of_tables_do_not_scroll_with_them(written):
    assert "<caption>" not in written.html
    assert 'p class="note">Rank correlation of all pairs' in written.html
