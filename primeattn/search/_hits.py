"""A hit and its reasons: shared primes with the words behind them, and the piece of the passage that shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from ..encode import Feature
from ..encode.tokens import folded

SNIPPET = 220  # characters
STRONG = 0.25  # of the heaviest word: words above this are marked


class Reason(NamedTuple):
    """A prime that query and passage share.

    Attributes
    ----------
    prime : int
    contribution : float
        What it adds to the score.
    alignment, coherence : float
        Of the two orientations and phases.
    query, passage : tuple of str
        The words and n-grams ("pre…" begins a word, "…ing" ends one) behind it on either side. They differ where
        two features were hashed to one prime; the alignment is small then.
    """

    prime: int
    contribution: float
    alignment: float
    coherence: float
    query: tuple[str, ...]
    passage: tuple[str, ...]

    @property
    def label(self) -> str:
        """What both sides have; where that is nothing, what either has."""
        both = [name for name in self.query if name in self.passage]
        return max(both, key=len) if both else f"{'/'.join(self.query)} ~ {'/'.join(self.passage)}"


class Hit(NamedTuple):
    """A passage that was found.

    Attributes
    ----------
    id : int
        Number of the passage in the index.
    score : float
    components : dict of str to float
        "overlap", "alignment", "coherence"; their weighted sum is the score.
    text, source : str
    line : int
        Where the passage begins, from 1; 0 if its source has no lines.
    reasons : tuple of Reason
        The largest contribution first; they add up to the score.
    marks : tuple of (int, int)
        Where the words stand in the text that add most.
    snippet : (int, int)
        The piece of the text that holds most of them.
    """

    id: int
    score: float
    components: dict[str, float]
    text: str
    source: str
    line: int
    reasons: tuple[Reason, ...]
    marks: tuple[tuple[int, int], ...]
    snippet: tuple[int, int]


def readable(feature: Feature) -> str:
    """A word as it is hashed, or an n-gram as people read it: "pre…" begins a word, "…ing" ends one."""
    surface = feature.surface
    if surface == folded(feature.word):
        return surface
    inner = surface.strip()
    return f"{'' if surface.startswith(' ') else '…'}{inner}{'' if surface.endswith(' ') else '…'}"


def reasons_of(
    why: Mapping[str, np.ndarray], query: Mapping[int, Sequence[Feature]], passage: Mapping[int, Sequence[Feature]]
) -> tuple[Reason, ...]:
    """Put words to what `primeattn.resonance.explain` says."""
    found = [
        Reason(
            int(prime),
            float(contribution),
            float(alignment),
            float(coherence),
            *(tuple(dict.fromkeys(map(readable, side.get(int(prime), ())))) for side in (query, passage)),
        )
        for prime, contribution, alignment, coherence in zip(
            why["prime"], why["contribution"], why["alignment"], why["coherence"], strict=True
        )
    ]
    return tuple(sorted(found, key=lambda r: (-r.contribution, r.prime)))


def marks_of(reasons: Sequence[Reason], passage: Mapping[int, Sequence[Feature]]) -> dict[tuple[int, int], float]:
    """Words of the passage that share something, by their place, and what they add; the weak ones are left out."""
    weight: dict[tuple[int, int], float] = {}
    for reason in reasons:
        for feature in passage.get(reason.prime, ()):
            span = feature.start, feature.start + len(feature.word)
            weight[span] = weight.get(span, 0.0) + reason.contribution
    top = max(weight.values(), default=0.0)
    return {span: weight[span] for span in sorted(weight) if weight[span] > STRONG * top}


def snippet_of(text: str, marks: Mapping[tuple[int, int], float], width: int = SNIPPET) -> tuple[int, int]:
    """The piece of at most ``width`` characters, cut between words, that holds the heaviest marks."""
    if len(text) <= width:
        return 0, len(text)
    spans = list(marks)
    best, start, stop = -1.0, 0, 0
    for first in spans:
        inside = [s for s in spans if s[0] >= first[0] and s[1] <= first[0] + width]
        total = sum(marks[s] for s in inside)
        if total > best and inside:
            best, start, stop = total, first[0], inside[-1][1]
    start = max(0, min(start - (width - (stop - start)) // 2, len(text) - width))
    return _between_words(text, start, min(start + width, len(text)))


def _between_words(text: str, start: int, stop: int) -> tuple[int, int]:
    """Move both ends inwards to white space if some is near."""
    if start and not text[start - 1].isspace():
        space = next((i for i in range(start, min(start + 30, stop)) if text[i].isspace()), start - 1)
        start = space + 1
    if stop < len(text) and not text[stop].isspace():
        stop = next((i for i in range(stop - 1, max(stop - 30, start), -1) if text[i].isspace()), stop)
    return start, stop


def pieces(hit: Hit) -> list[tuple[str, bool]]:
    """The snippet on one line, cut into (text, marked)."""
    start, stop = hit.snippet
    inside = [(max(a, start), min(b, stop)) for a, b in hit.marks if a < stop and b > start]
    edges = sorted({start, stop, *(edge for span in inside for edge in span)})
    found = [
        (" ".join(hit.text[a:b].split(" ")).replace("\n", " "), any(x <= a and b <= y for x, y in inside))
        for a, b in pairwise(edges)
    ]
    if start:
        found.insert(0, ("…", False))
    if stop < len(hit.text):
        found.append(("…", False))
    return found
