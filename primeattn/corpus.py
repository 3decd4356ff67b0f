"""Real text to work on: files read with clear refusals, passages cut from text, and the default corpus.

The default corpus is `pydoc_data.topics`, the language reference that every CPython carries: some 400 kB of English,
no network, no licence to accept beyond Python's own.
"""

import codecs
import os
import re
from operator import index
from pathlib import Path
from typing import NamedTuple

__all__ = [
    "BinaryFile",
    "BlankFile",
    "CorpusError",
    "HugeFile",
    "MissingFile",
    "NotAFile",
    "Passage",
    "UndecodableFile",
    "UnreadableFile",
    "passages",
    "read",
    "topics",
]

LIMIT = 64 << 20  # bytes of one file
_BOMS = ((b"\xff\xfe\0\0", "utf-32"), (b"\0\0\xfe\xff", "utf-32"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))


class CorpusError(ValueError):
    """A text that cannot be used; the message says why and what to do."""


class MissingFile(CorpusError, FileNotFoundError):
    """There is no such file."""


class NotAFile(CorpusError, IsADirectoryError):
    """The path is a directory."""


class UnreadableFile(CorpusError, OSError):
    """The system refuses to read it."""


class BlankFile(CorpusError):
    """The file is empty, or holds white space only."""


class BinaryFile(CorpusError):
    """The file holds NUL bytes and no byte-order mark: it is not text, or UTF-16 that does not say so."""


class UndecodableFile(CorpusError):
    """Some byte is not valid in the encoding."""


class HugeFile(CorpusError):
    """The file is longer than the limit."""


class Passage(NamedTuple):
    """A piece of a text.

    Attributes
    ----------
    text : str
        ``whole[start:start + len(text)]``.
    source : str
        The name of the whole: a file, a topic.
    start : int
        Its offset in the whole, in characters.
    """

    text: str
    source: str
    start: int


def read(path, *, encoding: str | None = None, limit: int = LIMIT) -> str:
    r"""Read a text file.

    Parameters
    ----------
    path : str or path-like
    encoding : str, optional
        By default UTF-8, with or without a byte-order mark, and UTF-16 or UTF-32 with one.
    limit : int, default 64 MiB
        Most bytes that are read, from pipes too.

    Returns
    -------
    str
        With ``\n`` at line ends.

    Raises
    ------
    MissingFile, NotAFile, UnreadableFile, BlankFile, BinaryFile, UndecodableFile, HugeFile
        All are `CorpusError`, and so ValueError; the first three are OSError as well.
    TypeError
        For an encoding that is no str, or a limit that is no integer.
    ValueError
        For an unknown encoding, or a limit below 1.

    Examples
    --------
    >>> from primeattn import corpus
    >>> try:
    ...     corpus.read("no/such/file.txt")
    ... except corpus.CorpusError as error:
    ...     print(error)
    no/such/file.txt: there is no such file
    """
    name, limit = os.fspath(path), _whole("limit", limit)
    if limit < 1:
        raise ValueError(f"limit is {limit}: a number of bytes from 1 on is wanted")
    if encoding is not None:
        _check_encoding(encoding)
    data = _bytes_of(name, limit)
    if encoding is None:
        encoding = next((known for mark, known in _BOMS if data.startswith(mark)), "utf-8-sig")
        if encoding == "utf-8-sig" and b"\0" in data:
            raise BinaryFile(
                f"{name}: binary, a NUL byte at offset {data.index(0)}; text is wanted "
                "(for UTF-16 without a byte-order mark pass --encoding utf-16-le or utf-16-be)"
            )
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise UndecodableFile(
            f"{name}: byte 0x{data[error.start]:02x} at offset {error.start} is not valid {error.encoding} "
            f"({error.reason}); pass the encoding it is in, such as --encoding latin-1"
        ) from None
    except UnicodeError as error:  # codecs that do not say where: punycode, idna, undefined
        raise UndecodableFile(
            f"{name}: not valid {encoding} ({error}); pass the encoding it is in, such as --encoding latin-1"
        ) from None
    if not text.strip():
        raise BlankFile(f"{name}: {'white space only' if text else 'empty'}; a text with words is wanted")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _whole(name: str, value) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} is {value!r}: an integer is wanted")
    return index(value)


def _check_encoding(encoding) -> None:
    if not isinstance(encoding, str):
        raise TypeError(f"encoding is {encoding!r}: a name such as 'utf-8' or 'latin-1' is wanted")
    try:
        found = codecs.lookup(encoding)
    except (LookupError, ValueError):  # ValueError: a NUL character in the name
        raise ValueError(
            f"encoding is {encoding!r}, which Python does not know; utf-8 and latin-1 are common"
        ) from None
    if not getattr(found, "_is_text_encoding", True):  # what str.encode asks, too
        raise ValueError(f"encoding is {encoding!r}, which is not an encoding of text; utf-8 and latin-1 are common")


def _bytes_of(name, limit: int) -> bytes:
    try:
        with Path(name).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            data = b"" if size > limit else _read_at_most(file, limit + 1)
    except FileNotFoundError:
        raise MissingFile(f"{name}: there is no such file") from None
    except IsADirectoryError:
        raise NotAFile(f"{name}: a directory; name the files in it") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL character in the name
        raise UnreadableFile(f"{name}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
    if size > limit or len(data) > limit:
        found = f"{max(size, len(data)) / 1e6:,.1f} MB" if size > limit else f"over {limit / 1e6:,.1f} MB"
        raise HugeFile(f"{name}: {found}, the limit is {limit / 1e6:,.1f} MB; cut it, or raise the limit (limit=bytes)")
    return data


def _read_at_most(file, most: int) -> bytes:
    """In pieces, because Python takes memory for all that it is asked to read, whatever there is."""
    pieces: list[bytes] = []
    while most > 0 and (piece := file.read(min(most, 1 << 20))):
        pieces.append(piece)
        most -= len(piece)
    return b"".join(pieces)


def passages(text: str, *, source: str = "", minimum: int = 200, maximum: int = 1200) -> list[Passage]:
    """Cut a text into passages along its paragraphs.

    Parameters
    ----------
    text : str
    source : str
        Name to put on each passage.
    minimum, maximum : int
        Lengths in characters. Paragraphs below the minimum join what follows while both fit, else what goes before;
        those above the maximum are cut at the end of a sentence, else at white space, else anywhere.

    Returns
    -------
    list of Passage
        In order; every visible character of the text is in exactly one of them, none is longer than ``maximum``, and a
        shorter one than ``minimum`` stands only where no neighbour could take it.

    Raises
    ------
    TypeError
        If ``text`` is no str, or a length no integer.
    ValueError
        Unless 1 <= minimum <= maximum.

    Examples
    --------
    >>> from primeattn import corpus
    >>> [p.text for p in corpus.passages("One. Two.\\n\\nThree is longer.", minimum=1, maximum=16)]
    ['One. Two.', 'Three is longer.']
    """
    if not isinstance(text, str):
        raise TypeError(f"text is a {type(text).__name__}: str is wanted")
    minimum, maximum = _whole("minimum", minimum), _whole("maximum", maximum)
    if not 1 <= minimum <= maximum:
        raise ValueError(f"minimum is {minimum} and maximum {maximum}: 1 <= minimum <= maximum is wanted")
    spans: list[tuple[int, int]] = []
    for start, stop in _pieces(text, maximum):
        if spans and spans[-1][1] - spans[-1][0] < minimum and stop - spans[-1][0] <= maximum:
            spans[-1] = spans[-1][0], stop
        else:
            _join_back(spans, minimum, maximum)
            spans.append((start, stop))
    _join_back(spans, minimum, maximum)
    return [Passage(text[start:stop], source, start) for start, stop in spans]


def _join_back(spans: list[tuple[int, int]], minimum: int, maximum: int) -> None:
    """Give a short last span, which nothing after it could take, to the one before it."""
    if len(spans) > 1 and spans[-1][1] - spans[-1][0] < minimum and spans[-1][1] - spans[-2][0] <= maximum:
        _, stop = spans.pop()
        spans[-1] = spans[-1][0], stop


def _pieces(text: str, maximum: int):
    """Spans of the paragraphs, stripped, the long ones cut."""
    edges = [0, *(edge for match in re.finditer(r"\n[^\S\n]*\n", text) for edge in match.span()), len(text)]
    for start, stop in zip(edges[::2], edges[1::2], strict=True):
        start, stop = _stripped(text, start, stop)
        while start < stop:
            cut = stop if stop - start <= maximum else _cut(text, start, start + maximum)
            yield _stripped(text, start, cut)
            start, stop = _stripped(text, cut, stop)


def _stripped(text: str, start: int, stop: int) -> tuple[int, int]:
    while start < stop and text[start].isspace():
        start += 1
    while start < stop and text[stop - 1].isspace():
        stop -= 1
    return start, stop


def _cut(text: str, start: int, stop: int) -> int:
    """Where to end a piece that may reach ``stop``: after a sentence, else before white space, else there."""
    half = (start + stop) // 2  # a cut in the first half would leave a stump
    for pattern in (r"[.!?…][\"'”’)\]]*(?=\s)|[。！？]", r"(?=\s)"):
        ends = [match.end() for match in re.finditer(pattern, text[half : stop + 1])]
        if ends and half + ends[-1] <= stop:
            return half + ends[-1]
    return stop


def topics(*, minimum: int = 200, maximum: int = 1200) -> list[Passage]:
    """The default corpus: passages of the Python language reference that every CPython carries.

    Parameters
    ----------
    minimum, maximum : int
        Lengths of passages, as for `passages`.

    Returns
    -------
    list of Passage
        Ordered by topic, then by place; ``source`` is the topic. The same on every run of one Python version.

    Raises
    ------
    CorpusError
        If this Python was packaged without `pydoc_data`.

    Notes
    -----
    Topics quote one another: a paragraph stays in the shortest topic that has it. Rules under titles, bullets,
    emphasis, grammar productions, tables and interactive sessions are taken out and lines are joined, so that prose
    is left.

    Examples
    --------
    >>> from primeattn import corpus
    >>> found = corpus.topics()
    >>> len(found) > 200, found[0].source
    (True, 'assert')
    """
    try:
        from pydoc_data.topics import topics as texts
    except ImportError:
        raise CorpusError("this Python carries no pydoc_data, the default corpus: name a text file instead") from None
    seen: set[str] = set()
    prose: dict[str, str] = {}
    for topic in sorted(texts, key=lambda name: (len(texts[name]), name)):
        own = [p for p in map(_prose, re.split(r"\n\s*\n", texts[topic])) if p and p not in seen]
        seen.update(own)
        prose[topic] = "\n\n".join(own)
    return [
        passage
        for topic in sorted(prose)
        for passage in passages(prose[topic], source=topic, minimum=minimum, maximum=maximum)
        if len(passage.text) >= minimum // 2
    ]


def _prose(paragraph: str) -> str:
    """One paragraph of reST on one line without its marks; nothing for grammar, tables and sessions."""
    if "::=" in paragraph or re.search(r"^\s*(>>>|[+|])", paragraph, re.MULTILINE):
        return ""
    lines = (line.strip() for line in paragraph.splitlines())
    lines = (re.sub(r"^([*•-]|\d+\.)\s+", "", line) for line in lines if not re.fullmatch(r"([^\w\s])\1{2,}", line))
    text = re.sub(r"\s+", " ", " ".join(lines)).strip()
    text = re.sub(r"(\*{1,2})(\S(?:[^*]*\S)?)\1", r"\2", text)
    return text if re.search(r"\w", text) else ""
