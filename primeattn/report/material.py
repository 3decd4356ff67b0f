"""What a report is about: passages, their prime states and TF-IDF vectors, and each view's scores, computed once."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from .views import VIEWS, View


class Passage(NamedTuple):
    """A piece of text, the document it comes from, and a short title of its own."""

    text: str
    document: str
    title: str


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
    words : callable(primes) -> dict of int to tuple of str
        The words and fragments behind each prime in these passages.
    views : dict of str to View
    lead, baseline : str
        The view that the report is about, and the familiar one that it is held against.
    temperature : float
        Of the attention maps.
    about : dict
        Where the text came from and what was left out; goes into the provenance.
    """

    passages: Sequence[Passage]
    states: Any
    tfidf: Any
    terms: Sequence[str]
    words: Callable[[np.ndarray], dict[int, tuple[str, ...]]]
    views: dict[str, View] = field(default_factory=lambda: dict(VIEWS))
    lead: str = "resonance:kernel"
    baseline: str = "tfidf"
    temperature: float = 0.1
    about: dict = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def __post_init__(self):
        n = len(self.passages)
        if n < 2:
            raise ValueError(f"{n} passage(s): at least two are needed to compare anything")
        if len(self.states) != n or self.tfidf.shape[0] != n:
            raise ValueError(f"{n} passages, {len(self.states)} states, {self.tfidf.shape[0]} vectors: one each is wanted")
        for name in (self.lead, self.baseline):
            if name not in self.views:
                raise ValueError(f"no view is called {name!r}: choose one of {', '.join(self.views)}")
        self._scores: dict[str, np.ndarray] = {}

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

    def scores(self, name: str) -> np.ndarray:
        """The matrix of one view, float64 (n, n), computed at the first call and timed."""
        if name not in self._scores:
            start = time.perf_counter()
            matrix = np.asarray(self.views[name].matrix(self), dtype=float)
            self.seconds[f"first call of {name}"] = time.perf_counter() - start
            self._scores[name] = matrix
        return self._scores[name]

    def take(self, indices) -> Material:
        """The same material for some of the passages."""
        indices = np.asarray(indices)
        return replace(
            self,
            passages=[self.passages[i] for i in indices],
            states=self.states[indices],
            tfidf=self.tfidf[indices],
            seconds={},
        )

    def thinned(self, k: int) -> Material:
        """The same passages with only the k strongest primes of each state."""
        return replace(self, states=self.states.sparsify(k=k), seconds={})

    @cached_property
    def shared_entries(self) -> int:
        """Primes shared over all pairs i <= j, each counted once a pair."""
        count = np.unique(self.states.primes, return_counts=True)[1].astype(np.int64)
        return int((count * (count + 1) // 2).sum())

    @cached_property
    def _words(self) -> dict[int, tuple[str, ...]]:
        return self.words(np.unique(self.states.primes))

    def words_of(self, prime: int) -> tuple[str, ...]:
        """What stands behind a prime in these passages, most telling first; empty if nothing is known."""
        return self._words.get(prime, ())
