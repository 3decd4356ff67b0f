"""Passages, files and the default corpus."""

import io
import os
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from primeattn import corpus

# ---------------------------------------------------------------------------------------------- files


def test_text_is_read_in_its_encodings(tmp_path):
    path = tmp_path / "text"
    text = "naïve 日本 😀\nsecond line\n"
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-32"):
        path.write_bytes(text.encode(encoding))
        assert corpus.read(path) == text
    for mark, encoding in ((b"\xfe\xff", "utf-16-be"), (b"\0\0\xfe\xff", "utf-32-be")):
        path.write_bytes(mark + text.encode(encoding))
        assert corpus.read(str(path)) == text
    path.write_bytes("größe".encode("latin-1"))
    assert corpus.read(path, encoding="latin-1") == "größe"
    path.write_bytes(text.encode("utf-16-le"))
    assert corpus.read(path, encoding="utf-16-le") == text


def test_line_ends_become_newlines(tmp_path):
    path = tmp_path / "text"
    path.write_bytes(b"a\r\nb\rc\nd")
    assert corpus.read(path) == "a\nb\nc\nd"


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (b"", corpus.BlankFile, "empty"),
        (b"\xef\xbb\xbf", corpus.BlankFile, "empty"),
        (b" \n\t ", corpus.BlankFile, "white space only"),
        (b"abc\0def", corpus.BinaryFile, "NUL byte at offset 3"),
        ("text".encode("utf-16-le"), corpus.BinaryFile, "utf-16-le"),
        (b"abc \xff def", corpus.UndecodableFile, "byte 0xff at offset 4 .* --encoding latin-1"),
        (b"\xff\xfea", corpus.UndecodableFile, "utf-16"),
        (b"x" * 101, corpus.HugeFile, "limit is"),
    ],
)
def test_files_that_are_not_text_are_refused(tmp_path, data, error, message):
    path = tmp_path / "bad"
    path.write_bytes(data)
    with pytest.raises(error, match=message) as caught:
        corpus.read(path, limit=100)
    assert str(path) in str(caught.value)
    assert isinstance(caught.value, corpus.CorpusError)
    assert isinstance(caught.value, ValueError)


def test_paths_that_are_no_files_are_refused(tmp_path):
    with pytest.raises(corpus.MissingFile, match="no such file"):
        corpus.read(tmp_path / "missing")
    with pytest.raises(FileNotFoundError):
        corpus.read(tmp_path / "missing")
    with pytest.raises(corpus.NotAFile, match="directory"):
        corpus.read(tmp_path)
    with pytest.raises(corpus.UnreadableFile, match="cannot be read"):
        corpus.read("nul\0in name")
    with pytest.raises(corpus.UnreadableFile, match="cannot be read"):
        corpus.read(tmp_path / ("x" * 5000))
    (tmp_path / "fine").write_text("fine")
    with pytest.raises(ValueError, match="does not know"):
        corpus.read(tmp_path / "fine", encoding="klingon")


@pytest.mark.parametrize("limit", [2**40, 2**80])
def test_a_limit_costs_no_memory(tmp_path, limit):
    text = "0123456789abcde\n" * (3 << 16)  # 3 MiB: several pieces
    (tmp_path / "fine").write_text(text)
    assert corpus.read(tmp_path / "fine", limit=limit) == text


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names on this system")
def test_pipes_are_read_up_to_the_limit(tmp_path):
    import threading

    path = tmp_path / "pipe"
    os.mkfifo(path)

    def write(data):
        with open(path, "wb", buffering=0) as pipe:
            pipe.write(data)

    for data, error in ((b"through a pipe", None), (b"y" * 200, corpus.HugeFile)):
        writer = threading.Thread(target=write, args=(data,))
        writer.start()
        if error is None:
            assert corpus.read(path, limit=100) == data.decode()
        else:
            with pytest.raises(error, match=r"over 0\.0 MB"):
                corpus.read(path, limit=100)
        writer.join()


# ---------------------------------------------------------------------------------------------- passages


def assert_sound(text, found, maximum):
    covered = []
    for passage in found:
        assert text[passage.start : passage.start + len(passage.text)] == passage.text
        assert 0 < len(passage.text) <= maximum
        assert passage.text == passage.text.strip()
        covered.append((passage.start, passage.start + len(passage.text)))
    assert covered == sorted(covered)
    between = zip([0, *(stop for _, stop in covered)], [*(start for start, _ in covered), len(text)], strict=True)
    assert all(not text[stop:start].strip() for stop, start in between)  # only white space is left out


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from("ab.!? \n\t"), max_size=300), st.integers(1, 40), st.integers(0, 40))
def test_passages_cover_the_text_once(text, minimum, more):
    maximum = minimum + more
    found = corpus.passages(text, minimum=minimum, maximum=maximum)
    assert_sound(text, found, maximum)
    lengths = [len(p.text) for p in found]
    ends = [p.start + n for p, n in zip(found, lengths, strict=True)]
    for i, n in enumerate(lengths[:-1]):  # short only where the next one does not fit
        assert n >= minimum or ends[i + 1] - found[i].start > maximum


def test_passages_follow_paragraphs_and_sentences():
    text = "Title\n\nFirst paragraph is here.\n \nA second one. It has sentences, and is too long for one passage. End."
    found = corpus.passages(text, source="s", minimum=10, maximum=60)
    assert_sound(text, found, 60)
    assert [p.text for p in found] == [
        "Title\n\nFirst paragraph is here.",
        "A second one. It has sentences, and is too long for one",
        "passage. End.",
    ]
    assert {p.source for p in found} == {"s"}
    assert corpus.passages("", minimum=1) == corpus.passages(" \n\n ") == []
    assert [len(p.text) for p in corpus.passages("x" * 25, maximum=10, minimum=1)] == [10, 10, 5]
    assert [p.text for p in corpus.passages("一二三。四五六。七八九。", maximum=8, minimum=1)] == [
        "一二三。四五六。",
        "七八九。",
    ]


def test_bad_lengths_are_refused():
    with pytest.raises(ValueError, match="minimum is 5 and maximum 4"):
        corpus.passages("x", minimum=5, maximum=4)
    with pytest.raises(TypeError, match="bytes"):
        corpus.passages(b"x")


# ---------------------------------------------------------------------------------------------- default corpus


def test_the_default_corpus_is_clean_prose():
    found = corpus.topics()
    assert found == corpus.topics()
    assert [p.source for p in found] == sorted(p.source for p in found)
    assert sum(len(p.text) for p in found) > 100_000
    assert all(100 <= len(p.text) <= 1200 for p in found)
    whole = "\n".join(p.text for p in found)
    for noise in ("***", "===", "---", "::=", ">>> ", "\n\n\n", "  "):
        assert noise not in whole, noise
    letters = sum(c.isalpha() or c.isspace() for c in whole)
    assert letters > 0.85 * len(whole)
    paragraphs = [line for line in whole.split("\n") if len(line) > 60]
    assert len(set(paragraphs)) > 0.98 * len(paragraphs)  # a topic that quotes another does not repeat it


def test_a_python_without_topics_says_so(monkeypatch):
    import builtins

    original = builtins.__import__

    def refuse(name, *arguments, **options):
        if name.startswith("pydoc_data"):
            raise ImportError(name)
        return original(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(corpus.CorpusError, match="name a text file"):
        corpus.topics()


def test_reading_needs_a_path():
    with pytest.raises(TypeError):
        corpus.read(io.BytesIO(b"x"))


def test_a_short_paragraph_joins_what_goes_before_where_it_must():
    found = corpus.passages("aaaa\n\nb\n\ncccccccccc", minimum=2, maximum=10)
    assert [p.text for p in found] == ["aaaa\n\nb", "cccccccccc"]


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from("ab.!? \n\t"), max_size=300), st.integers(1, 40), st.integers(0, 40))
def test_a_short_passage_fits_neither_neighbour(text, minimum, more):
    found = corpus.passages(text, minimum=minimum, maximum=minimum + more)
    assert_sound(text, found, minimum + more)
    for a, b in pairwise(found):
        if min(len(a.text), len(b.text)) < minimum:
            assert b.start + len(b.text) - a.start > minimum + more


@pytest.mark.parametrize(
    ("encoding", "error", "message"),
    [
        ("hex", ValueError, "not an encoding of text"),
        ("rot13", ValueError, "not an encoding of text"),
        ("undefined", corpus.UndecodableFile, "not valid undefined"),
        ("punycode", corpus.UndecodableFile, "not valid"),
        ("nul\0", ValueError, "does not know"),
        (3, TypeError, "encoding is 3"),
    ],
)
def test_encodings_that_are_none_of_text(tmp_path, encoding, error, message):
    (tmp_path / "text").write_bytes(b"caf\xe9 -!\xff")
    with pytest.raises(error, match=message):
        corpus.read(tmp_path / "text", encoding=encoding)


def test_numbers_that_are_none():
    for options in ({"minimum": "1"}, {"minimum": 1.5}, {"maximum": None}):
        with pytest.raises(TypeError, match="an integer is wanted"):
            corpus.passages("a", **options)
    with pytest.raises(ValueError, match="limit is -1"):
        corpus.read("x", limit=-1)
