"""What a report is about: passages, their prime states and TF-IDF vectors, and each view's scores, computed once."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from numbers import Real
from typing import Any, NamedTuple

import numpy as np

from .spectra import Spectrum, spectrum
from .views import VIEWS, Shared, Spans, View
from .words import Words, words_of


class Passage(NamedTuple):
    """A piece of text, in Unicode's composed form (NFC).

    Attributes
    ----------
    text : str
    document : str
        Where it comes from: a file, a topic.
    place : str
        Document and number, which no other passage has: "for · 3".
    title : str
        Its first words.
    """

    text: str
    document: str
    place: str
    title: str


def title_of(text: str, longest: int = 56) -> str:
    """The first words of a text, on one line.

    Examples
    --------
    >>> title_of("The   quick brown fox", 12)
    'The quick…'
    """
    line = " ".join(text[: 4 * longest].split())
    if len(line) <= longest:
        return line
    cut = line[:longest].rpartition(" ")[0]
    return (cut if len(cut) > longest // 2 else line[: longest - 1]).rstrip(" ,;:.–-") + "…"


def label_of(surface: str, word: str) -> str:
    """A feature as people read it: a whole word as it is, a fragment with dots where the word goes on.

    Examples
    --------
    >>> label_of("cat", "Cat"), label_of(" ca", "cat"), label_of("ing", "sings")
    ('cat', 'ca…', '…ing…')
    """
    if surface == word or surface == word.casefold() or not surface.strip():
        return surface
    return ("" if surface[0] == " " else "…") + surface.strip() + ("" if surface[-1] == " " else "…")


def _all_mechanisms() -> dict[str, Any]:
    from ..attention import MECHANISMS

    return dict(MECHANISMS)


@dataclass(eq=False)
class Material:
    """Passages and their two representations.

    Attributes
    ----------
    passages : sequence of Passage, n of them
    states : PrimeStates of n states
    tfidf : scipy CSR, shape (n, len(terms))
        Rows of Euclidean length 1 (or 0).
    terms : sequence of str
    features : sequence of dict, n of them
        Prime -> its occurrences in the passage, each with ``surface``, ``word`` and ``start``; see
        ``primeattn.encode.features_of``.
    views : dict of str to View
    mechanisms : dict of str to primeattn.attention.Mechanism
        Those that attend the words of a passage; all by default.
    lead, baseline : str
        The view that the report is about, and the familiar one that it is held against.
    temperature : float
        Of the attention maps.
    text : str
        All that was read, to learn from.
    training : float
        Minutes that training may take; 0: none.
    about : dict
        Where the text came from and what was left out; goes into the provenance.
    """

    passages: Sequence[Passage]
    states: Any
    tfidf: Any
    terms: Sequence[str]
    features: Sequence[Mapping[int, Sequence[Any]]]
    views: dict[str, View] = field(default_factory=lambda: dict(VIEWS))
    mechanisms: Mapping[str, Any] = field(default_factory=_all_mechanisms)
    lead: str = "resonance:kernel"
    baseline: str = "tfidf"
    temperature: float = 0.1
    text: str = ""
    training: float = 0.0
    about: dict = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def __post_init__(self):
        n = len(self.passages)
        if n < 2:
            raise ValueError(f"{n} passage(s): at least two are needed to compare anything")
        if len(self.states) != n or self.tfidf.shape[0] != n:
            raise ValueError(
                f"{n} passages, {len(self.states)} states, {self.tfidf.shape[0]} vectors: one each is wanted"
            )
        for name in (self.lead, self.baseline):
            self._known(name)
        temperature: Any = self.temperature
        if not (isinstance(temperature, Real) and 0 < float(temperature) < math.inf):
            raise ValueError(f"temperature is {temperature!r}: a finite number above 0 is wanted")
        training: Any = self.training
        if not (isinstance(training, Real) and 0 <= float(training) < math.inf):
            raise ValueError(f"training is {training!r}: minutes, 0 or more, are wanted")
        self._scores: dict[str, np.ndarray] = {}
        self._spectra: dict[str, Spectrum] = {}

    def __len__(self) -> int:
        return len(self.passages)

    @property
    def documents(self) -> list[str]:
        return [passage.document for passage in self.passages]

    @property
    def lead_view(self) -> View:
        return self.views[self.lead]

    @property
    def baseline_view(self) -> View:
        return self.views[self.baseline]

    @property
    def tones(self) -> dict[str, int]:
        """Number of each view's colour in all figures and bars: 0, the accent, for the lead."""
        others = (name for name in self.views if name != self.lead)
        return {self.lead: 0} | {name: 1 + k % 5 for k, name in enumerate(others)}

    def _known(self, name: str) -> None:
        if name not in self.views:
            raise ValueError(f"no view is called {name!r}: choose one of {', '.join(self.views)}")

    def scores(self, name: str) -> np.ndarray:
        """The matrix of one view, float64 (n, n), computed at the first call and timed."""
        self._known(name)
        if name not in self._scores:
            start = time.perf_counter()
            matrix = np.asarray(self.views[name].matrix(self), dtype=float)
            self.seconds[f"first call of {name}"] = time.perf_counter() - start
            self._scores[name] = matrix
        return self._scores[name]

    def spectrum(self, name: str) -> Spectrum:
        """Eigenvalues and verdict of one view, computed at the first call."""
        if name not in self._spectra:
            self._spectra[name] = spectrum(self.scores(name))
        return self._spectra[name]

    def take(self, indices) -> Material:
        """The same material for some of the passages."""
        indices = np.asarray(indices)
        return replace(
            self,
            passages=[self.passages[i] for i in indices],
            states=self.states[indices],
            tfidf=self.tfidf[indices],
            features=[self.features[i] for i in indices],
            seconds={},
        )

    def thinned(self, k: int) -> Material:
        """The same passages with only the k strongest primes of each state."""
        return replace(self, states=self.states.sparsify(k=k), seconds={})

    @cached_property
    def words(self) -> Words | None:
        """The words of one passage that mechanisms attend; see `words_of`."""
        return words_of(self)

    @cached_property
    def shared_entries(self) -> int:
        """Primes shared over all pairs i <= j, each counted once a pair."""
        count = np.unique(self.states.primes, return_counts=True)[1].astype(np.int64)
        return int((count * (count + 1) // 2).sum())

    @cached_property
    def _labels(self) -> dict[int, tuple[str, ...]]:
        found: dict[int, Counter[str]] = {}
        for features in self.features:
            for prime, occurrences in features.items():
                names = {label_of(f.surface, f.word) for f in occurrences}
                found.setdefault(prime, Counter()).update(names)
        return {prime: tuple(name for name, _ in count.most_common()) for prime, count in found.items()}

    def labels_of(self, prime: int) -> tuple[str, ...]:
        """The words and fragments behind a prime in these passages, most frequent first."""
        return self._labels.get(prime, ())

    def prime_spans(self, i: int, prime: int) -> Spans:
        """Where the words behind a prime stand in passage i."""
        return tuple(sorted({(f.start, f.start + len(f.word)) for f in self.features[i].get(prime, ())}))

    def shared_prime(self, i: int, j: int, prime: int, contribution: float) -> Shared:
        """Name a prime that two passages share by what stands behind it in both."""
        mine, other = self.features[i].get(prime, ()), self.features[j].get(prime, ())
        labels = [{label_of(f.surface, f.word): None for f in side} for side in (mine, other)]
        common = [name for name in labels[0] if name in labels[1]]
        # without a common one, two different features met on this prime
        label = common[0] if common else " / ".join(next(iter(side)) for side in labels if side)
        words = tuple(dict.fromkeys(f.word.casefold() for f in (*mine, *other))) if "…" in label else ()
        return Shared(label, contribution, (self.prime_spans(i, prime), self.prime_spans(j, prime)), words, prime)

    def word_spans(self, i: int) -> dict[str, Spans]:
        """Where each folded word stands in passage i."""
        from ..encode.tokens import folded, spans

        found: dict[str, list[tuple[int, int]]] = {}
        for start, word in spans(self.passages[i].text):
            found.setdefault(folded(word), []).append((start, start + len(word)))
        return {word: tuple(where) for word, where in found.items()}
