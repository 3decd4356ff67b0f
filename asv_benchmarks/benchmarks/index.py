"""Exact search: building, asking by each kind, a collection that grows, and what the upper bounds save."""

import statistics
import time

import numpy as np

import primeattn as pa

from . import size

SCORES = {
    "jaccard": {"weights": (1, 0, 0)},
    "union": {},
    "amplitude": {"amplitude": True},
    "original": {"kind": "original"},
}


class Search:
    """Top 10 of 10,000 states of 16 primes out of 4,096; 1,000 queries."""

    params = (list(SCORES), size(["uniform", "zipf"], ["zipf"]))
    param_names = ("score", "distribution")

    def setup(self, score, distribution):
        self.states = pa.PrimeStates.random(size(10_000, 200), 16, rng=0, dtype="float32", distribution=distribution)
        self.index = pa.resonance.Index(self.states, **SCORES[score])
        self.queries = self.states[:1000]
        self.index.query(self.queries[:10])

    def time_build(self, score, distribution):
        pa.resonance.Index(self.states, **SCORES[score])

    def time_query(self, score, distribution):
        self.index.query(self.queries)

    def track_bytes_per_activation(self, score, distribution):
        return self.index.nbytes / self.states.nnz

    track_bytes_per_activation.unit = "bytes"


class AgainstTheMatrix:
    """How many times faster than all scores and a partial sort, in one run."""

    params = (list(SCORES), size(["uniform", "zipf"], ["zipf"]))
    param_names = ("score", "distribution")
    unit = "times"

    def setup(self, score, distribution):
        self.states = pa.PrimeStates.random(size(10_000, 200), 16, rng=0, dtype="float32", distribution=distribution)
        self.run(score, 10)

    def run(self, score, n):
        queries = self.states[:n]
        index = pa.resonance.Index(self.states, **SCORES[score])
        start = time.perf_counter()
        index.query(queries)
        between = time.perf_counter()
        matrix = pa.resonance.matrix(queries, self.states, **SCORES[score])
        np.argpartition(matrix, -10, axis=1)
        return (time.perf_counter() - between) / (between - start)

    def track_ratio(self, score, distribution):
        return statistics.median(self.run(score, size(500, 20)) for _ in range(5))


class Growing:
    """A thousand states added one by one, then removed."""

    def setup(self):
        self.states = pa.PrimeStates.random(size(1_000, 20), 16, rng=0)
        self.time_add()

    def time_add(self):
        index = pa.resonance.Index(self.states[:1])
        for i in range(1, len(self.states)):
            index.add(self.states[i : i + 1])
