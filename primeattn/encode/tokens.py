"""Strings to words: one tokeniser for the n-gram encoder and for TF-IDF."""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

_WORD = re.compile(r"\w+")
_RUN = re.compile(r"\S+")  # where nothing is a word: emoji, operators


class Tokens(NamedTuple):
    """The words of a batch, each distinct one stored once.

    The words of string ``i`` are ``words[j] for j in ids[indptr[i]:indptr[i + 1]]``, in order.
    """

    indptr: np.ndarray
    ids: np.ndarray
    words: list[str]


def checked(strings) -> list[str]:
    """Refuse what is not an iterable of str; a single str is nearly always a forgotten pair of brackets."""
    if isinstance(strings, str | bytes):
        raise TypeError(f"strings is one {type(strings).__name__}: an iterable of str is wanted; pass [text]")
    try:
        strings = list(strings)
    except TypeError:
        raise TypeError(f"strings is a {type(strings).__name__}: an iterable of str is wanted") from None
    for i, string in enumerate(strings):
        if not isinstance(string, str):
            hint = "; decode it first" if isinstance(string, bytes) else ""
            raise TypeError(f"strings[{i}] is {string!r}, a {type(string).__name__}: str is wanted{hint}")
    return strings


def folded(word: str) -> str:
    """The form under which spellings of a word are one: compatibility composition and full case folding."""
    if word.isascii():
        return word.lower()
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", word).casefold())


def composed(string: str) -> str:
    """NFC, so that an accent is part of its letter; ASCII and most other text comes back as it is."""
    return string if string.isascii() else unicodedata.normalize("NFC", string)


def spans(string: str) -> Iterator[tuple[int, str]]:
    """(start, surface form) of each word of an NFC string."""
    pattern = _WORD if _WORD.search(string) else _RUN
    return ((match.start(), match.group()) for match in pattern.finditer(string))


def words(string: str) -> list[str]:
    """The words of a string, folded, in order.

    Parameters
    ----------
    string : str

    Returns
    -------
    list of str

    Raises
    ------
    TypeError
        If ``string`` is no str.

    Notes
    -----
    A word is a run of letters, digits and underscores (Unicode's, after NFC), case-folded and NFKC-normalised. A
    string that has none, such as an emoji, is split at white space instead. Nothing is stemmed and no stop word is
    removed.

    Examples
    --------
    >>> import primeattn as pa
    >>> pa.encode.words("Don't panic: Straße!")
    ['don', 't', 'panic', 'strasse']
    """
    if not isinstance(string, str):
        raise TypeError(f"string is {string!r}, a {type(string).__name__}: one str is wanted; call words for each")
    return [folded(word) for _, word in spans(composed(string))]


def tokenize(strings: Iterable[str]) -> Tokens:
    """All words of a batch; ids count distinct folded words by first appearance."""
    by_surface: dict[str, int] = {}
    by_word: dict[str, int] = {}
    ids: list[int] = []
    ends = [0]
    for string in strings:
        string = composed(string)
        for surface in _WORD.findall(string) or _RUN.findall(string):
            number = by_surface.get(surface)
            if number is None:
                number = by_surface[surface] = by_word.setdefault(folded(surface), len(by_word))
            ids.append(number)
        ends.append(len(ids))
    return Tokens(np.array(ends, np.int64), np.array(ids, np.int64), list(by_word))
