"""Search of text: hits and their reasons, files, staleness, the command and its exit statuses."""

import json
import os
import subprocess
import sys
import zipfile

import numpy as np
import pytest

import primeattn as pa
from primeattn import cli, corpus, search
from primeattn.search import TextIndex
from primeattn.search._hits import pieces, snippet_of

TEXTS = {
    "sea.txt": "The whale swam past the ship.\n\nA storm came over the sea, and the ship was lost with all hands.\n",
    "land.txt": "The fox sleeps under the old oak.\n\nFoxes and hares meet at the edge of the wood at night.\n",
}
TEXTS = {
    name: text.replace(".\n", ". " + "And nothing else was heard of for many a long year. " * 4 + "\n")
    for name, text in TEXTS.items()
}


@pytest.fixture
def files(tmp_path):
    for name, text in TEXTS.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return [str(tmp_path / name) for name in TEXTS]


@pytest.fixture
def index(files):
    return TextIndex.of_files(files)


def test_hits_and_reasons(index, files):
    hits = index.search("the white whales of the sea", top=3)
    assert len(index) == 4
    assert len(hits) == 3
    assert hits[0].source == files[0]
    assert [h.score for h in hits] == sorted((h.score for h in hits), reverse=True)
    for hit in hits:
        assert sum(r.contribution for r in hit.reasons) == pytest.approx(hit.score, abs=1e-5)  # float32
        assert sum(hit.components.values()) / 3 == pytest.approx(hit.score, abs=1e-5)
        start, stop = hit.snippet
        assert 0 <= start < stop <= len(hit.text)
        assert all(0 <= a < b <= len(hit.text) for a, b in hit.marks)
        shown = "".join(text for text, _ in pieces(hit)).strip("…")
        assert shown == hit.text[start:stop].replace("\n", " ")
    labels = {r.label for hit in hits for r in hit.reasons}
    assert {"sea", "the", "wh…"} <= labels
    marked = {hit.text[a:b].casefold() for hit in hits for a, b in hit.marks}
    assert "sea" in marked
    assert "whale" in marked


def test_scores_are_those_of_the_library(index):
    hits = index.search("the ship in the storm", top=10)
    query = pa.PrimeStates.from_arrays(*index.encoder.encode(["the ship in the storm"], dtype=np.float32))
    matrix = pa.resonance.matrix(query, index.index.states, amplitude=True)[0]
    assert [h.id for h in hits] == np.argsort(-matrix, kind="stable")[: (matrix > 0).sum()].tolist()
    # what no passage has (n-grams across the query's words) is left out and the rest normalised: one factor above 1
    factors = [h.score for h in hits] / matrix[[h.id for h in hits]]
    np.testing.assert_allclose(factors, factors[0], rtol=1e-5)
    assert 1 <= factors[0] < 2


def test_lines_and_sources(index, files):
    for hit in index.search("ship fox", top=10):
        text = TEXTS[os.path.basename(hit.source)]
        assert text.split("\n")[hit.line - 1].startswith(hit.text[:20])


def test_nothing_in_common_is_no_hit(index):
    assert index.search("qqq zzz", top=5) == []
    assert index.search("!?", top=5) == []
    with pytest.raises(TypeError, match="str is wanted"):
        index.search(["a"])


def test_unicode_is_marked_where_it_stands():
    passages = [corpus.Passage("Cafe\u0301 Stra\xdfe \U0001f40b ende", "x", 0), corpus.Passage("anderes", "x", 9)]
    hit = TextIndex.build(passages).search("stra\xdfe", top=1)[0]
    assert [hit.text[a:b] for a, b in hit.marks] == ["Stra\xdfe"]


def test_snippets():
    text = "word " * 100 + "needle in the hay " + "word " * 100
    at = text.index("needle")
    start, stop = snippet_of(text, {(at, at + 6): 1.0}, 60)
    assert start <= at
    assert at + 6 <= stop
    assert stop - start <= 60
    assert not text[start].isspace()
    assert text[start - 1].isspace()
    assert snippet_of("short", {}, 60) == (0, 5)
    assert snippet_of("x" * 500, {(0, 500): 1.0}, 60)[1] - snippet_of("x" * 500, {(0, 500): 1.0}, 60)[0] <= 60


def test_other_scores(index):
    assert index.scored(overlap="ruzicka").index.options["overlap"] == "ruzicka"
    assert index.scored(kind="original").search("ship", top=1)[0].source.endswith("sea.txt")


def test_save_and_load(index, tmp_path):
    index.save(tmp_path / "i.npz")
    again = TextIndex.load(tmp_path / "i.npz")
    assert again.search("the ship", top=4) == index.search("the ship", top=4)
    assert again.sources == index.sources
    assert again.changes() == []
    again.save(tmp_path / "j.npz")
    assert (tmp_path / "i.npz").read_bytes() == (tmp_path / "j.npz").read_bytes()


def test_changes_are_seen(index, files):
    os.utime(files[0], (1, 1))  # touched, not changed
    assert index.changes() == []
    with open(files[0], "a", encoding="utf-8") as file:
        file.write("more")
    os.remove(files[1])
    assert index.changes() == [f"{files[0]} changed", f"{files[1]} is gone"]
    old = search.Source("topic", "", 0, 0, "2.7.18")
    assert "now" in old.change()


@pytest.mark.parametrize("member", ["ends", "source", "hashes", "settings", "line", "passages"])
def test_damaged_content_is_refused(index, tmp_path, member):
    path = tmp_path / "i.npz"
    index.save(path)
    with np.load(path) as archive:
        members = dict(archive)
    members[member] = members[member][:-1]
    np.savez(path.with_suffix(""), **members)
    with pytest.raises(ValueError, match=r"not valid|damaged|members are|npy version"):
        TextIndex.load(path)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None  # it was the content, not the bytes


def test_an_index_of_states_is_no_index_of_text(tmp_path):
    pa.resonance.Index(pa.PrimeStates.from_dicts([{2: 1}])).save(tmp_path / "i.npz")
    with pytest.raises(ValueError, match=r"primeattn.Index, wanted: primeattn.TextIndex"):
        TextIndex.load(tmp_path / "i.npz")
    with pytest.raises(ValueError, match="no passage"):
        TextIndex.build([])


# The command


def ask(capsys, *arguments):
    code = cli.main(["search", *arguments])
    return code, *capsys.readouterr()


def test_command_prints_hits_and_reasons(capsys, files):
    code, out, err = ask(capsys, *files, "--query", "whale", "--top", "2")
    assert code == 0
    assert err == ""
    first = out.split("\n")
    assert first[0].startswith("  1  0.")
    assert f"{files[0]}:1  (overlap" in first[0]
    assert "[whale]" in first[1]
    assert first[2].strip().startswith("because: whale ")


def test_command_prints_json(capsys, files):
    code, out, _ = ask(capsys, *files, "--query", "fox", "--query", "ship", "--json", "--top", "1")
    assert code == 0
    found = json.loads(out)
    assert found["schema"] == "primeattn.search/1"
    assert [q["query"] for q in found["queries"]] == ["fox", "ship"]
    hit = found["queries"][0]["hits"][0]
    assert hit["source"] == files[1]
    assert sum(r["contribution"] for r in hit["reasons"]) == pytest.approx(hit["score"], abs=1e-5)
    assert hit["snippet"] in hit["text"]


def test_command_keeps_an_index(capsys, files, tmp_path):
    place = str(tmp_path / "i.npz")
    first = ask(capsys, *files, "--index", place, "--query", "ship")
    assert first[0] == 0
    assert ask(capsys, "--index", place, "--query", "ship") == first  # files are remembered
    assert ask(capsys, *reversed(files), "--index", place, "--query", "ship") == first
    time = os.stat(place).st_mtime_ns
    code, out, err = ask(capsys, "--index", place, "--query", "ship", "--kind", "union")
    assert (code, err) == (0, "")
    assert out != first[1]
    assert os.stat(place).st_mtime_ns == time  # another score is not another index
    with open(files[0], "a", encoding="utf-8") as file:
        file.write("\n\nA second ship, and a third ship.\n")
    code, out, err = ask(capsys, "--index", place, "--query", "ship")
    assert code == 0
    assert "changed): building it again" in err
    assert "third" in out
    assert ask(capsys, "--index", place, "--query", "ship") == (0, out, "")
    code, _, err = ask(capsys, files[0], "--index", place, "--query", "ship")
    assert "it is of other files" in err
    os.remove(files[0])
    code, out, err = ask(capsys, "--index", place, "--query", "ship")
    assert code == 3
    assert "is gone since it was indexed" in err
    assert ask(capsys, "--index", place, "--query", "ship", "--as-is")[0] == 0


def test_progress(capsys, files, tmp_path, monkeypatch):
    """What is being done, and how much of it: each file once, every block of passages, every query."""
    from primeattn.cli import search as command
    from primeattn.search import _text_index

    heard = []

    class Listener(command.Progress):
        def say(self, what, done=None, total=None):
            heard.append((what, done, total))
            super().say(what, done, total)

    monkeypatch.setattr(command, "Progress", Listener)
    monkeypatch.setattr(_text_index, "_BLOCK", 3)  # 4 passages: two blocks
    place = str(tmp_path / "i")
    assert ask(capsys, *files, files[0], "--index", place, "--query", "fox", "--query", "ship")[0] == 0
    assert heard == [
        ("starting", None, None),
        ("reading sea.txt", 0, 2),
        ("reading land.txt", 1, 2),
        ("weighing words", 0, 4),
        ("encoding passages", 0, 4),
        ("encoding passages", 3, 4),
        ("sorting primes", 4, 4),
        ("writing the index", None, None),
        ("searching", 0, 2),
        ("searching", 1, 2),
        ("searching", 2, 2),
    ]
    heard.clear()
    assert ask(capsys, "--index", place, "--query", "fox")[0] == 0
    assert [what for what, *_ in heard] == ["starting", "loading the index", "searching", "searching"]


def test_command_only_builds(capsys, files, tmp_path):
    assert ask(capsys, *files, "--index", str(tmp_path / "i")) == (0, "", "")
    assert len(TextIndex.load(tmp_path / "i")) == 4


def test_command_reads_queries(capsys, files, monkeypatch):
    import io

    monkeypatch.setattr(sys, "stdin", io.StringIO("fox\n\nship\n"))
    code, out, _ = ask(capsys, *files, "--query", "-", "--top", "1")
    assert code == 0
    assert [line for line in out.split("\n") if line.startswith("#")] == ["# fox", "# ship"]


def test_command_says_when_nothing_is_found(capsys, files):
    code, out, err = ask(capsys, *files, "--query", "qqq")
    assert (code, out) == (0, "")
    assert err == "primeattn: nothing shares a word or fragment with 'qqq'\n"
    assert ask(capsys, *files, "--query", "qqq", "--quiet") == (0, "", "")


def test_command_keeps_control_characters_from_the_terminal(capsys, tmp_path):
    path = tmp_path / "x.txt"
    path.write_text("evil \x1b[31m words here", encoding="utf-8")
    _, out, _ = ask(capsys, str(path), "--query", "evil words")
    assert "\x1b" not in out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "what to look for"),
        (["--query", " "], 2, "a query is empty"),
        (["--query", "x", "--top", "0"], 2, "from 1 to 10000"),
        (["--query", "x", "--weights", "1,2"], 2, "three numbers"),
        (["--query", "x", "--kind", "no"], 2, "invalid choice"),
        (["no/such.txt", "--query", "x"], 3, "there is no such file"),
        (["--query", "x", "--index", "no/such/folder/i"], 5, "there is no folder"),
        (["--query", "x", "--index", "."], 3, "cannot be read"),
    ],
)
def test_command_refuses_in_one_line(capsys, arguments, code, message):
    found, out, err = ask(capsys, *arguments)
    assert found == code
    assert out == ""
    assert err.startswith("primeattn: ")
    assert err.count("\n") == 1
    assert message in err


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "empty"), (b" \n\n", "white space only"), (b"a\0b", "binary"), (b"caf\xe9", "--encoding latin-1")],
)
def test_command_refuses_a_file_that_is_no_text(capsys, files, tmp_path, content, message):
    """Among others that are: it is named, and no index is left behind."""
    path, place = tmp_path / "odd.txt", tmp_path / "i.npz"
    path.write_bytes(content)
    code, out, err = ask(capsys, *files, str(path), "--index", str(place), "--query", "x")
    assert (code, out) == (3, "")
    assert err.startswith(f"primeattn: {path}: ")
    assert err.count("\n") == 1
    assert message in err
    assert not place.exists()


def test_command_never_overwrites_a_foreign_file(capsys, files, tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("my notes")
    code, _, err = ask(capsys, *files, "--index", str(path), "--query", "x")
    assert code == 3
    assert "delete it, or name another file" in err
    assert path.read_text() == "my notes"


def test_help_imports_nothing_heavy():
    code = "import sys; from primeattn import cli; cli.main(['search', '--help']); print('numpy' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "primeattn search --query" in out
    assert out.rstrip().endswith("False")
