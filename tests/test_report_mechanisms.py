"""The chapter on attention mechanisms: words, vectors, weights, answers, claims, the page and its files."""

import json
import re
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")
from matplotlib.figure import Figure

from primeattn import cli, encode, plot, report
from primeattn.attention import MECHANISMS, Fails, Sample
from primeattn.report import attending, words
from primeattn.report.sections import SECTIONS, mechanisms
from tests.naive import report as naive
from tests.test_report import FOLDER, Reader, found_passages


def signed_reference(q, k, v, return_weights=False):
    """Rows (..., 2, -1, 2, -1, ...) / T: negative weights, rows that do not sum to 1, words of no account."""
    count = q.shape[-2]
    table = np.where((np.arange(count)[:, None] + np.arange(count)) % 2, -1.0, 2.0) / count
    return (table @ v, table) if return_weights else table @ v


def signed():
    """A mechanism like no other, under its own name."""
    gradients = {}

    def vjp(q, k, v):
        return signed_reference(q, k, v), lambda dout: gradients

    return MECHANISMS["dot_product"]._replace(
        name="every_other", forward=signed_reference, reference=signed_reference, vjp=vjp, cite="Nobody, Nowhere"
    )


@pytest.fixture(scope="module")
def material():
    return report.prepare(found_passages(), title="Three texts")


@pytest.fixture(scope="module")
def chosen(material):
    return words.words_of(material)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mechanisms")
    material = report.prepare(found_passages(), mechanisms=MECHANISMS | {"every_other": signed()})
    told = []
    report.write(material, folder, on_section=lambda *what: told.append(what))
    return SimpleNamespace(
        folder=folder,
        material=material,
        told=told,
        html=(folder / "index.html").read_text("utf-8"),
        facts=json.loads((folder / "summary.json").read_text("utf-8"))["sections"]["mechanisms"],
    )


# --- words and their vectors ---------------------------------------------------------------------------------------


def test_opening_ends_with_a_sentence_where_it_can():
    assert words.opening("A b c d e f g h i. J k. " + "l " * 30) == [*"Abcdefghi", "J", "k"]
    assert words.opening("A b. " + "c " * 30) == ["A", "b", *"c" * 14]
    assert words.opening("a b") == ["a", "b"]
    assert words.opening("") == []


@pytest.mark.parametrize("width", [2, 4, 16])
def test_latent_vectors_against_a_dense_decomposition(width):
    tfidf = encode.tfidf([passage.text[:90] for passage in found_passages()])
    got, expected = words.latent(tfidf, width), naive.latent(tfidf.toarray(), width)
    assert got.shape == (tfidf.shape[1], len(expected[0]) + len(expected[0]) % 2)
    # directions of equal singular value may be turned: only products are determined, if none of a pair is left out
    values = np.linalg.svd(tfidf.toarray() - tfidf.toarray().mean(axis=1, keepdims=True), compute_uv=False)
    if width >= len(values) or values[width - 1] - values[width] > 1e-3:
        np.testing.assert_allclose(got @ got.T / got.shape[1], naive.cosines(expected), atol=1e-9)
    length = (got**2).mean(axis=1)
    np.testing.assert_allclose(length[length > 0], 1, atol=1e-13)
    np.testing.assert_allclose(got, words.latent(tfidf, width), atol=1e-12)  # signs included


def test_the_sparse_and_the_dense_decomposition_agree(rng):
    tfidf = encode.tfidf([" ".join(rng.choice(list("abcdefghijklmnopqrstuvwxyz"), 9)) for _ in range(40)])
    got, expected = words.latent(tfidf, 4), naive.latent(tfidf.toarray(), 4)
    np.testing.assert_allclose(got @ got.T / 4, naive.cosines(expected), atol=1e-9)  # gaps of 1e-2, ARPACK to eps


def test_words_are_of_the_closest_pair(material, chosen):
    values = material.scores(material.lead)[np.triu_indices(len(material), 1)]
    i = np.triu_indices(len(material), 1)[0][values.argmax()]
    assert chosen.passage == i
    assert list(chosen.surfaces) == words.opening(material.passages[i].text)
    pieces = [piece for passage in material.passages for piece in words.sentences(passage.text)]
    held = [set(encode.words(piece)) for piece in pieces]
    for a in (0, 3):
        for b in (0, 5):
            assert chosen.together[a, b] == sum({chosen.forms[a], chosen.forms[b]} <= piece for piece in held)
    same = np.array(chosen.forms)[:, None] == chosen.forms
    np.testing.assert_allclose(chosen.cosines[same], 1, atol=1e-14)
    assert len(chosen.running) == words.RUNNING


# --- what a mechanism does with them -------------------------------------------------------------------------------


def test_effective_numbers(rng):
    table = rng.standard_normal((6, 6))
    table[0], table[1] = 0, [0, 0, 3, 0, 0, 0]
    np.testing.assert_allclose(attending.effective(table), naive.effective(table), atol=1e-13)
    assert np.isnan(attending.effective(table)[0])
    assert attending.effective(table)[1] == 1
    assert attending.effective(np.full((5, 5), -0.3))[0] == pytest.approx(5)


@pytest.mark.parametrize("name", MECHANISMS)
def test_weights_of_the_page_are_those_of_the_compiled_code(name, chosen):
    sample = MECHANISMS[name].of_vectors(chosen.vectors)
    out, expected = MECHANISMS[name].forward(*sample.inputs, **sample.options, return_weights=True)
    found = attending.look(MECHANISMS[name], chosen)
    tokens = len(chosen.forms)
    assert found.weights.shape == (tokens, tokens)
    # sums of a few dozen numbers of size about 1 in float64; the page shows the mean over heads
    np.testing.assert_allclose(found.weights, expected.reshape(-1, tokens, tokens).mean(axis=0), rtol=0, atol=1e-13)
    assert np.isfinite(out).all()


@pytest.mark.parametrize("name", MECHANISMS)
def test_claims_and_cost(name, chosen):
    mechanism = MECHANISMS[name]
    found = attending.claims(mechanism)
    assert len(found) == len(mechanism.properties)
    for which, claim in mechanism.properties.items():
        fact = found[which.name]
        assert (fact["says"], fact["why"]) == (which.value, claim.why)
        assert ("violation" in fact) == isinstance(claim, Fails)
        if isinstance(claim, Fails):
            assert fact["violation"] >= claim.by
    cost = attending.cost(mechanism, chosen.running[:32])
    assert cost.tokens == 32
    assert min(cost.forward, cost.both, cost.reference) > 0
    assert cost.error < 1e-12  # sums of 32 numbers of size about 1
    assert attending.says(mechanism).endswith(".")


def by_hand(weights, vectors, forms, blind=False):
    """A Look and Words made by hand."""
    vectors = np.asarray(vectors, float)
    some = words.Words(0, tuple(forms), tuple(forms), vectors, np.ones((len(forms),) * 2, int), vectors, 100)
    mechanism = SimpleNamespace(
        of_vectors=lambda x: Sample((x,), {}),
        reference=lambda x, return_weights: (
            None,
            np.asarray(weights, float) + (0 if blind or (x == vectors).all() else 1e-3),
        ),
    )
    return attending.look(mechanism, some), some


PLANE = [[1, 0], [1, 0.2], [-1, 0.1], [0, 1], [1, 0]]
FORMS = ["a", "b", "c", "d", "a"]


@pytest.mark.parametrize(
    ("row", "blind", "word", "reason"),
    [
        ([1, 1, 1, 1, 1], False, "", "all others alike"),
        ([5, 1, 1, 1, 5], True, "", "all others alike"),
        ([0.1, 0.5, 0, 0, 9], False, "b", "the nearest other word: cosine 0.98"),
        ([0, 0.1, 3, 0, 0], False, "c", "the most opposite word: cosine −1.00"),
        ([0, 0.1, 0, 3, 0], False, "d", "the 2nd nearest: cosine 0.00; 3 words after"),
        ([0, 0.1, 0, -3, 0], False, "d", "the 2nd nearest: cosine 0.00, with a minus sign; 3 words after"),
        ([0, 0.1, 0, 3, 0], True, "d", "3 words after; it sees places, not words"),
    ],
)
def test_answers(row, blind, word, reason):
    found, some = by_hand([row, *np.eye(5)[1:]], PLANE, FORMS, blind)
    got = attending.answer(found, some, 0)
    assert (got.word, got.reason) == (word, reason)
    if word:
        assert got.share == pytest.approx(row[FORMS.index(word)] / np.abs(row).sum())


def test_a_word_that_draws_all_others_is_called_so():
    table = np.tile([0, 0.1, 0, 3, 0.0], (5, 1))
    found, some = by_hand(table, PLANE, FORMS)
    assert attending.answer(found, some, 0).reason == "it draws 4 of 5 words; cosine 0.00"


def test_blind_is_measured(chosen):
    assert attending.look(signed(), chosen).blind
    assert not attending.look(MECHANISMS["dot_product"], chosen).blind


# --- the page and its files ----------------------------------------------------------------------------------------


def test_no_file_of_the_chapter_names_a_mechanism():
    for path in [*FOLDER.glob("*.py"), *FOLDER.glob("sections/*.py"), *FOLDER.glob("*.j2"), *FOLDER.glob("*.js")]:
        text = path.read_text("utf-8")
        for name in MECHANISMS:
            names = [f'"{name}"'] if name in ("linear", "uniform", "squared") else [name, attending.title_of(name)]
            assert not any(re.search(rf"\b{re.escape(n)}\b", text) for n in names if n != "resonant"), (path.name, name)


def test_a_mechanism_is_one_entry(written):
    titles = [attending.title_of(name) for name in written.material.mechanisms]
    reader = Reader(written.html)
    maps = [a["alt"] for tag, a in reader.tags if tag == "img" and a["alt"].startswith("Attention map of")]
    assert [alt.split(":")[0] for alt in maps] == [f"Attention map of {title}" for title in titles]
    assert "Nobody, Nowhere" in written.html
    assert "a white dot marks a negative one" in written.html
    assert "the same for any text" in written.html
    assert [f"compiling {title}" for title in titles] == [w for w, *_ in written.told if w.startswith("compiling")]


def test_the_page_says_what_was_found(written):
    from html import unescape

    facts = written.facts
    assert facts["finding"] in unescape(written.html)
    assert set(facts["mechanisms"]) == set(written.material.mechanisms)
    assert len(facts["words"]) >= words.LEAST
    for name, fact in facts["mechanisms"].items():
        assert fact["cite"] == written.material.mechanisms[name].cite
        assert len(fact["examples"]) == mechanisms.EXAMPLES
        for claim in fact["properties"].values():
            assert claim["why"] in unescape(written.html)
    assert facts["mechanisms"]["every_other"]["attended"] == pytest.approx(
        naive.effective([np.where(np.arange(len(facts["words"])) % 2, -1, 2)])[0], abs=0.5
    )


def test_netcdf_holds_the_weights(written):
    xarray = pytest.importorskip("xarray")
    pytest.importorskip("h5netcdf")
    with xarray.open_dataset(written.folder / "report.nc", engine="h5netcdf") as data:
        assert list(data.mechanism.values) == list(written.material.mechanisms)
        assert data.weight.dims == ("mechanism", "query", "key")
        assert list(data.query_word.values) == list(data.key_word.values) == written.facts["words"]
        for name, mechanism in written.material.mechanisms.items():
            expected = attending.weights_of(mechanism, data.word_vector.values)
            np.testing.assert_array_equal(data.weight.sel(mechanism=name), expected)
            median = np.median(naive.effective(expected))
            assert written.facts["mechanisms"][name]["attended"] == pytest.approx(median)
        assert (data.mechanism_milliseconds > 0).all()
        off = ~np.eye(data.sizes["key"], dtype=bool)
        both = naive.spearman(*(data.weight[k].values[off].round(10) for k in (0, 1)))  # equal words, equal weights
        assert float(data.mechanism_spearman[0, 1]) == pytest.approx(both, abs=1e-12)


def test_the_script_has_the_rows_and_answers_of_the_page(written):
    data = json.loads(re.search(r'id="attention-data">(.*?)</script>', written.html, re.S).group(1))
    assert data["words"] == written.facts["words"]
    for carried, fact in zip(data["mechanisms"], written.facts["mechanisms"].values(), strict=True):
        assert np.shape(carried["multiples"]) == (len(data["words"]),) * 2
        for example in fact["examples"]:
            word, share, reason = carried["answers"][example["query"]]
            assert (word, reason) == (example["word"], example["reason"])
            assert share == pytest.approx(example["share"])


def test_without_mechanisms_there_is_no_chapter(tmp_path):
    report.write(report.prepare(found_passages(2), mechanisms={}), tmp_path)
    assert 'id="mechanisms"' not in (tmp_path / "index.html").read_text("utf-8")
    assert "not finished" not in (tmp_path / "index.html").read_text("utf-8")
    summary = json.loads((tmp_path / "summary.json").read_text("utf-8"))
    assert set(summary["sections"]) == {section.name for section in SECTIONS} - {"mechanisms", "speed", "learning"}


def test_the_command_chooses_mechanisms(tmp_path, monkeypatch):
    from primeattn.cli import compare

    seen = []
    monkeypatch.setattr(report, "write", lambda material, folder, **_: seen.append(material) or folder)
    text = tmp_path / "text.txt"
    text.write_text("\n\n".join(passage.text * 2 for passage in found_passages(2)), "utf-8")
    for choice, expected in (("none", []), ("resonant, dot_product", ["dot_product", "resonant"])):
        arguments = ["compare", str(text), "-q", "-o", str(tmp_path / "out"), "--mechanisms", choice]
        assert cli.main(arguments) == 0
        assert list(seen[-1].mechanisms) == expected
    assert compare._mechanisms(None) == MECHANISMS


def test_two_words_are_enough_and_one_is_not(tmp_path):
    from primeattn import corpus

    few = report.prepare([corpus.Passage(text, "", 0) for text in ("one", "two words", "three")])
    assert words.words_of(few).surfaces == ("two", "words")
    none = report.prepare([corpus.Passage(text, "", 0) for text in ("one", "two")])
    assert mechanisms.find(none).facts["words"] == []
    report.write(none, tmp_path)
    html = (tmp_path / "index.html").read_text("utf-8")
    assert "there is nothing to attend" in html
    assert "there is nothing to time" in html


# --- the figure ----------------------------------------------------------------------------------------------------


def test_attention_maps():
    table = np.array([[1.0, 0], [-0.5, 0.5]])
    axes = plot.attention_maps({"signed": table, "even": np.full((2, 2), 0.5)}, tokens=["a", "$b"], figure=Figure())
    np.testing.assert_allclose(axes[0].images[0].get_array(), [[1, -1], [0, 0]])  # doublings, 1 at most here
    assert axes[0].collections[0].get_offsets().tolist() == [[0, 1]]  # the dot of the negative weight
    assert [label.get_text() for label in axes[0].get_yticklabels()] == ["a", "$b"]
    assert axes[1].get_yticks().size == 0
    with pytest.raises(ValueError, match="at least one map"):
        plot.attention_maps({})
    with pytest.raises(ValueError, match="weights over the same tokens"):
        plot.attention_maps({"a": np.eye(2), "b": np.eye(3)}, figure=Figure())


@pytest.mark.parametrize("count", range(1, 13))
def test_maps_fill_their_rows(count):
    from primeattn.plot.attention import columns_of

    columns = columns_of(count)
    rows = -(-count // columns)
    assert columns <= 5
    assert rows * columns - count < min(columns, 2) or count == 1
