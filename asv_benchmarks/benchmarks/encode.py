"""Text to states, and what the states are worth: finding the other half of a passage."""

import numpy as np

import primeattn as pa
from primeattn import corpus

from . import size


def halves():
    """Passages of the default corpus as two interleaved halves: every other sentence or clause."""
    import re

    even, odd = [], []
    for passage in corpus.topics(minimum=300)[: size(None, 20)]:
        pieces = re.split(r"(?<=[.;:,])\s", passage.text)
        one, other = " ".join(pieces[::2]), " ".join(pieces[1::2])
        if min(len(one), len(other)) >= 100:
            even.append(one)
            odd.append(other)
    return even, odd


def reciprocal_rank(scores):
    """Mean of 1 / rank of the true other half; ties count as the mean of their ranks."""
    true = np.diag(scores)[:, None]
    rank = 1 + (scores > true).sum(1) + ((scores == true).sum(1) - 1) / 2
    return (1 / rank).mean()


class DefaultCorpus:
    def setup(self):
        self.strings = [passage.text for passage in corpus.topics()[: size(None, 20)]]
        for call in (self.time_text, self.time_features_of):
            call()

    def time_text(self):
        pa.encode.text(self.strings)

    def time_text_original(self):
        pa.encode.text(self.strings, scheme="original")

    def time_features_of(self):
        pa.encode.features_of(self.strings)

    def time_tfidf(self):
        pa.encode.tfidf(self.strings)

    def time_topics(self):
        corpus.topics()


class OtherHalf:
    """Mean reciprocal rank of a passage's other half among all of them; 1 is perfect."""

    unit = "MRR"
    timeout = 120

    def setup(self):
        self.even, self.odd = halves()

    def states(self, **options):
        both = pa.PrimeStates.from_text(self.even + self.odd, **options)
        return both[: len(self.even)], both[len(self.even) :]

    def track_kernel(self):
        return reciprocal_rank(pa.resonance.matrix(*self.states()))

    def track_kernel_with_amplitudes(self):
        return reciprocal_rank(pa.resonance.matrix(*self.states(), amplitude=True))

    def track_original_score(self):
        return reciprocal_rank(pa.resonance.matrix(*self.states(), kind="original"))

    def track_original_hash(self):
        return reciprocal_rank(pa.resonance.matrix(*self.states(scheme="original"), kind="original"))

    def track_tfidf_cosine(self):
        vectors = pa.encode.tfidf(self.even + self.odd)
        n = len(self.even)
        return reciprocal_rank((vectors[:n] @ vectors[n:].T).toarray())


class Dense:
    def setup(self):
        self.X = np.random.default_rng(0).standard_normal((size(1000, 20), 4096))
        pa.encode.dense(self.X[:10], k=16)

    def time_k_16(self):
        pa.encode.dense(self.X, k=16)

    def time_energy_95_percent(self):
        pa.encode.dense(self.X, energy=0.95)
