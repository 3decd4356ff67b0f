"""Scores of prime states: all pairs dense and sparse, the plain merge beside the index, gradients, row by row."""

import statistics
import time

import primeattn as pa
from primeattn.resonance._options import check_form, profiles
from primeattn.resonance._pairs import score_table

from . import size

SIZES = size({"n=1000 k=32": (1_000, 32), "n=10000 k=16": (10_000, 16)}, {"n=1000 k=32": (60, 8)})


def _states(size, dtype):
    n, k = SIZES[size]
    return pa.PrimeStates.random(n, k, n_primes=4096, rng=0, dtype=dtype)


class AllPairs:
    """Every pair of a batch with itself."""

    params = (list(SIZES), size(["float32", "float64"], ["float64"]), ["original", "kernel"])
    param_names = ("size", "dtype", "kind")

    def setup(self, size, dtype, kind):
        self.states = _states(size, dtype)
        pa.resonance.matrix(self.states[:10], kind=kind)
        pa.resonance.sparse_matrix(self.states[:10], kind=kind)

    def time_matrix(self, size, dtype, kind):
        pa.resonance.matrix(self.states, kind=kind)

    def time_sparse_matrix(self, size, dtype, kind):
        pa.resonance.sparse_matrix(self.states, kind=kind)

    def track_ns_per_pair_and_prime(self, size, dtype, kind):
        start = time.perf_counter()
        pa.resonance.matrix(self.states, kind=kind)
        n, k = SIZES[size]
        return (time.perf_counter() - start) * 1e9 / (n * n * k)

    track_ns_per_pair_and_prime.unit = "ns"


class IndexAgainstMerge:
    """How many times faster the inverted index is than merging every pair, in one run."""

    unit = "times"

    def setup(self):
        self.states = _states("n=1000 k=32", "float64")
        self.options = check_form("kernel", None, "union", "jaccard", False)
        self.run(10)

    def run(self, n):
        states = self.states[:n]
        start = time.perf_counter()
        pa.resonance.matrix(states, states)
        between = time.perf_counter()
        x, y, w = profiles(states, states, self.options)
        score_table(x, y, self.options[:2], w)
        return (time.perf_counter() - between) / (between - start)

    def track_ratio(self):
        return statistics.median(self.run(size(1_000, 60)) for _ in range(5))


class Gradients:
    params = (["union", "amplitude"],)
    param_names = ("variant",)

    def setup(self, variant):
        states = _states("n=1000 k=32", "float64")
        options = {"amplitude": variant == "amplitude"}
        self.out, self.pullback = pa.resonance.vjp("matrix", states, **options)
        self.pullback(self.out)

    def time_pullback(self, variant):
        self.pullback(self.out)


class RowByRow:
    """A million states of 10 primes, and their feature map."""

    timeout = 600

    def setup(self):
        self.states = pa.PrimeStates.random(size(1_000_000, 100), 10, n_primes=4096, rng=0, dtype="float32")
        pa.resonance.score(self.states[:5], self.states[:5])
        pa.resonance.features(self.states[:5])

    def time_score(self):
        pa.resonance.score(self.states, self.states)

    def peakmem_score(self):
        pa.resonance.score(self.states, self.states)

    def time_features_of_a_tenth(self):
        pa.resonance.features(self.states[: len(self.states) // 10])
