"""Text to train on: where it comes from, how it is cut into training, validation and test, and what cheap coders reach.

Nothing here needs a network but `fetch`: the language reference of Python and the source of the standard library are
part of every CPython; enwik8, the first 100,000,000 bytes of an English Wikipedia dump, is fetched on request.
"""

import gzip
import hashlib
import lzma
import math
import os
import sysconfig
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .. import corpus

HELD_OUT = 0.05, 200_000  # share of a text that is held out, twice (validation, test), and most bytes of it
LIMIT = 1 << 30  # bytes of a text
_APART = frozenset(("test", "tests", "idlelib", "site-packages", "dist-packages", "__pycache__"))


class Text(NamedTuple):
    """A text in three parts.

    Attributes
    ----------
    name : str
    train, validation, test : bytes
    """

    name: str
    train: bytes
    validation: bytes
    test: bytes

    @property
    def sha256(self) -> str:
        """Of the three parts, one after the other, and their lengths."""
        sha = hashlib.sha256(repr([len(part) for part in self[1:]]).encode())
        for part in self[1:]:
            sha.update(part)
        return sha.hexdigest()


class Source(NamedTuple):
    """A text that has a name.

    Attributes
    ----------
    says : str
    size : int
        Bytes; 0 if they depend on the version of Python.
    md5, url : str
        Empty for what comes with Python.
    held_out : int
        Bytes of validation and of test; 0: the common rule.
    """

    says: str
    size: int = 0
    md5: str = ""
    url: str = ""
    held_out: int = 0


SOURCES = {
    "topics": Source("the language reference of Python, pydoc_data.topics, as prose"),
    "python": Source("the source of the standard library, split by file"),
    "enwik8": Source(
        "the first 100,000,000 bytes of an English Wikipedia dump of 2006",
        100_000_000,
        "a1fa5ffddb56f4953e226637dabbb36a",
        "http://mattmahoney.net/dc/enwik8.zip",
        5_000_000,
    ),
}


def text(source=None, *, held_out: int | None = None) -> Text:
    """Read a text and cut it into training, validation and test.

    Parameters
    ----------
    source : str, path-like or bytes, optional
        ``"topics"`` (default), ``"python"``, ``"enwik8"``, a file (``.gz``, ``.xz`` are unpacked), or the text itself
        as bytes. A file that is called like a source is ``"./python"``.
    held_out : int, optional
        Bytes of the validation part, and of the test part. By default a twentieth each, at most 200,000; 5,000,000 for
        enwik8. Held-out text comes last, the test part at the very end; of the standard library every twentieth file
        is held out.

    Returns
    -------
    Text

    Raises
    ------
    primeattn.corpus.CorpusError
        For a file that cannot be used, and where a source is not there.
    ValueError
        If the text is too short to be cut.

    Examples
    --------
    >>> from primeattn import train
    >>> found = train.text(b"abc" * 100)
    >>> len(found.train), len(found.validation), len(found.test)
    (270, 15, 15)
    """
    if held_out is not None and (not isinstance(held_out, int) or isinstance(held_out, bool) or held_out < 1):
        raise ValueError(f"held_out is {held_out!r}: a number of bytes from 1 on is wanted")
    if source is None or source == "topics":
        return _cut("topics", "\n\n".join(p.text for p in corpus.topics()).encode(), held_out)
    if isinstance(source, bytes | bytearray | memoryview):
        return _cut("bytes", bytes(source), held_out)
    if source == "python":
        return _standard_library(held_out)
    if source == "enwik8":
        place = where("enwik8")
        if place is None:
            raise corpus.MissingFile(
                f"enwik8: not in {folder()}; run `primeattn data enwik8 --fetch`, or name a file that holds it"
            )
        return _cut("enwik8", read(place), held_out or SOURCES["enwik8"].held_out)
    return _cut(Path(os.fsdecode(source)).name, read(source), held_out)


def read(path) -> bytes:
    """The bytes of a file, unpacked where its name ends in .gz or .xz.

    Raises
    ------
    primeattn.corpus.CorpusError
        If it is missing, a directory, unreadable, empty, too long, or not what its name says.
    """
    name = os.fsdecode(path)
    data = corpus._bytes_of(name, LIMIT)
    unpack = {".gz": gzip.decompress, ".xz": lzma.decompress}.get(Path(name).suffix)
    if unpack is not None:
        try:
            data = unpack(data)
        except (OSError, EOFError, lzma.LZMAError) as error:
            raise corpus.UnreadableFile(f"{name}: cannot be unpacked ({error})") from None
    if not data:
        raise corpus.BlankFile(f"{name}: empty; a text is wanted")
    return data


def _cut(name: str, data: bytes, held_out: int | None) -> Text:
    share, most = HELD_OUT
    size = held_out or min(int(share * len(data)), most)
    if size < 1:
        raise ValueError(
            f"{name} has {len(data):,} bytes: too few to hold out a twentieth twice; {round(1 / share)} bytes or more "
            "are wanted"
        )
    if len(data) < 3 * size:
        raise ValueError(
            f"{name} has {len(data):,} bytes: too few to hold out {size:,} twice; {3 * size:,} bytes or more are "
            "wanted, or another held_out"
        )
    return Text(name, data[: -2 * size], data[-2 * size : -size], data[-size:])


def _standard_library(held_out: int | None) -> Text:
    """Files in the order of their paths; numbers 9 and 19 of every twenty are validation and test."""
    root = Path(sysconfig.get_paths()["stdlib"])
    paths = sorted(
        path.relative_to(root)
        for path in root.rglob("*.py")
        if not _APART.intersection(path.relative_to(root).parts[:-1])
    )
    parts: dict[str, list[bytes]] = {"train": [], "validation": [], "test": []}
    for number, path in enumerate(paths):
        part = {9: "validation", 19: "test"}.get(number % 20, "train")
        parts[part].append((root / path).read_bytes().replace(b"\r\n", b"\n"))
    if not parts["test"]:
        raise corpus.MissingFile(f"python: {root} holds no source of the standard library; name a text file instead")
    train, validation, test = (b"\n".join(parts[part]) for part in parts)
    most = held_out or HELD_OUT[1]
    return Text("python", train, validation[:most], test[:most])


# --- where data are ---------------------------------------------------------------------------------------------------


def folder() -> Path:
    """Where fetched data are kept: ``PRIMEATTN_DATA``, or the cache folder of the user.

    Examples
    --------
    >>> from primeattn.train._texts import folder
    >>> folder().name in ("primeattn", "data") or "PRIMEATTN_DATA" in os.environ
    True
    """
    given = os.environ.get("PRIMEATTN_DATA")
    if given:
        return Path(given)
    cache = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA") or Path.home() / ".cache"
    return Path(cache) / "primeattn"


def where(name: str) -> Path | None:
    """The file of a source that has been fetched; None if there is none."""
    path = folder() / name
    return path if path.is_file() else None


def fetch(name: str = "enwik8", *, path=None) -> Path:
    """Fetch a source once, and check it.

    Parameters
    ----------
    name : {"enwik8"}
    path : path-like, optional
        Take it from this file, ``.gz``, ``.xz`` or plain, in place of the network.

    Returns
    -------
    pathlib.Path
        The file, in the folder ``PRIMEATTN_DATA`` or the cache folder of the user.

    Raises
    ------
    ValueError
        For an unknown name, and for content that is not what it should be.
    ImportError
        If pooch is missing; the message is the line that installs it.
    OSError
        If the network or the folder refuses.

    Examples
    --------
    >>> from primeattn import train
    >>> try:
    ...     train.fetch("enwik9")
    ... except ValueError as error:
    ...     print(error)
    there is nothing to fetch called 'enwik9': choose enwik8
    """
    known = [key for key, source in SOURCES.items() if source.url]
    if name not in known:
        raise ValueError(f"there is nothing to fetch called {name!r}: choose {', '.join(known)}")
    target, source = folder() / name, SOURCES[name]
    if path is None:
        if target.is_file():
            _check(name, target.read_bytes(), target)
            return target
        data = _download(source.url, name)
    else:
        data = read(path)
    _check(name, data, path or source.url)
    from .._runtime.files import write_whole

    target.parent.mkdir(parents=True, exist_ok=True)
    return write_whole(target, data)


def _download(url: str, member: str) -> bytes:
    try:
        import pooch
    except ImportError:
        raise ImportError('fetching needs pooch: pip install "primeattn[data]"') from None
    import zipfile

    archive = pooch.retrieve(url, known_hash=None, path=folder(), progressbar=False)  # what is inside is checked
    try:
        with zipfile.ZipFile(archive) as file:
            data = file.read(member)
    except (KeyError, zipfile.BadZipFile) as error:
        raise ValueError(f"{url} holds no {member} ({error}): what was fetched is not the archive") from None
    finally:
        Path(archive).unlink()
    return data


def _check(name: str, data: bytes, place) -> None:
    source = SOURCES[name]
    md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
    if len(data) != source.size or md5 != source.md5:
        raise ValueError(
            f"{place} is not {name}: {len(data):,} bytes with md5 {md5}; "
            f"{source.size:,} with {source.md5} are wanted; delete it and fetch it again"
        )


# --- what cheap coders reach ------------------------------------------------------------------------------------------


def xz_bits(train: bytes, tail: bytes) -> float:
    """Bits a byte that LZMA needs for a tail after it has seen what comes before: a control without parameters.

    Parameters
    ----------
    train, tail : bytes

    Returns
    -------
    float
        8 (size of both compressed - size of the first) / length of the tail.

    Notes
    -----
    The dictionary is as long as the text, up to 1 GiB, so nothing is forgotten.

    Examples
    --------
    >>> from primeattn import train
    >>> train.xz_bits(bytes(range(256)) * 20, bytes(range(256)) * 20) < 0.1
    True
    """
    if not tail:
        return math.nan
    window = 1 << max(16, min(30, (len(train) + len(tail)).bit_length()))
    chain = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": window}]

    def size(data: bytes) -> int:
        return len(lzma.compress(data, format=lzma.FORMAT_RAW, filters=chain))

    return 8 * (size(train + tail) - size(train)) / len(tail)


def unigram_bits(train: np.ndarray, tail: np.ndarray, vocabulary: int) -> float:
    """Bits a symbol under the frequencies of the training part, each count plus one: the floor of any model."""
    if not len(tail):
        return math.nan
    counts = np.bincount(train, minlength=vocabulary) + 1.0
    return float(-np.log2(counts / counts.sum())[tail].mean())
