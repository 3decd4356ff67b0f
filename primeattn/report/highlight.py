"""Mark in a text what it shares with another one, the stronger the more it adds to their score."""

import re
from collections.abc import Iterable
from html import escape

import numpy as np

from .views import Shared

STEPS = 3
_LONGEST_WORD = 24  # longer runs of letters are scripts without spaces: mark characters there, not the run


def _pattern(word: str) -> str | None:
    """A regular expression for a feature: whole words match whole; a space in a fragment is the edge of a word."""
    core = word.strip()
    if not core:
        return None
    whole = core == word
    left = r"(?<!\w)" if word[0] == " " or (whole and core[0].isascii()) else ""
    right = r"(?!\w)" if word[-1] == " " or (whole and core[-1].isascii()) else ""
    return left + re.escape(core) + right


def weigh(text: str, shared: Iterable[Shared]) -> np.ndarray:
    """What each character of a text contributes: the sum over the shared features that cover it."""
    weight = np.zeros(len(text))
    for item in shared:
        for word in item.words:
            pattern = _pattern(word)
            for match in re.finditer(pattern, text, re.IGNORECASE) if pattern else ():
                weight[match.start() : match.end()] += item.contribution
    return weight


def marked(text: str, shared: Iterable[Shared]) -> str:
    """HTML of a text with its shared words in ``<mark class="m1">`` to ``m3``, strongest 3.

    Examples
    --------
    >>> from primeattn.report.views import Shared
    >>> marked("a < cat", [Shared(("cat",), 0.5)])
    'a &lt; <mark class="m3">cat</mark>'
    """
    weight = weigh(text, shared)
    for match in re.finditer(r"\w+", text):
        if match.end() - match.start() <= _LONGEST_WORD:
            weight[match.start() : match.end()] = weight[match.start() : match.end()].max()
    top = weight.max(initial=0.0)
    step = np.ceil(STEPS * weight / top - 1e-9).astype(int) if top > 0 else np.zeros(len(text), int)
    pieces = []
    edges = [0, *(np.flatnonzero(np.diff(step)) + 1), len(text)]
    for start, stop in zip(edges[:-1], edges[1:], strict=True):
        piece = escape(text[start:stop])
        pieces.append(f'<mark class="m{step[start]}">{piece}</mark>' if start < stop and step[start] else piece)
    return "".join(pieces)
