"""Attention over prime states: the linear form along n, its share of the GEMM rate, softmax at the cost of overlaps."""

import math
import statistics
import time

import numpy as np

import primeattn as pa

from . import size

K, D, PRIMES = 16, 64, 4096
FLOPS = 48 * K * (D + 1)  # a token: twelve features, a multiply-add in and one out, for every prime and column


def draw(n, k=K, d=D, dtype="float32", zipf=False):
    """States and values; with ``zipf`` prime number r is drawn in proportion to 1/r."""
    rng = np.random.default_rng(n)
    value = rng.standard_normal((n, d)).astype(dtype)
    if not zipf:
        return pa.PrimeStates.random(n, k, n_primes=PRIMES, rng=rng, dtype=dtype), value
    key = -np.log(np.arange(1, PRIMES + 1)) + rng.gumbel(size=(n, PRIMES))
    chosen = np.sort(np.argpartition(-key, k, axis=1)[:, :k], axis=1)
    q = rng.standard_normal((n * k, 4))
    z = rng.standard_normal((n * k, 2)) @ [1, 1j]
    return pa.PrimeStates(np.arange(n + 1) * k, pa.primes.first(PRIMES)[chosen].reshape(-1), z, q).astype(dtype), value


def median(function, repeat=5):
    function()
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


class Linear:
    """Causal linear form, float32, k = 16 of 4,096 primes, 64 columns."""

    params = (size([4_096, 65_536, 1_000_000], [256]),)
    param_names = ("n",)
    timeout = 300

    def setup(self, n):
        self.states, self.value = draw(n)
        pa.resonance.attention(self.states[:9], self.states[:9], self.value[:9], form="linear", causal=True)

    def forward(self):
        return pa.resonance.attention(self.states, self.states, self.value, form="linear", causal=True)

    def time_forward(self, n):
        self.forward()

    def peakmem_forward(self, n):
        self.forward()

    def track_nanoseconds_per_token_and_prime(self, n):
        return 1e9 * median(self.forward, 3) / (n * K)

    def track_share_of_gemm_rate(self, n):
        """Multiply-adds a second over those of a float32 product of two 2,048 x 2,048 matrices."""
        x = np.random.default_rng(0).standard_normal((width := size(2048, 64), width)).astype(np.float32)
        return (FLOPS * n / median(self.forward, 3)) / (2 * width**3 / median(lambda: x @ x))


class Exponent:
    """Slope of log time against log n from 4,096 to 262,144: 1 is linear."""

    timeout = 300

    def track_exponent(self):
        sizes, times = size([4_096, 16_384, 65_536, 262_144], [64, 128]), []
        for n in sizes:
            s, v = draw(n)
            times.append(median(lambda s=s, v=v: pa.resonance.attention(s, s, v, form="linear", causal=True), 3))
        return float(np.polyfit(np.log(sizes), np.log(times), 1)[0])


class LogarithmicSupport:
    """k = ceil(log2 n): O(n log n)."""

    params = (size([2**e for e in range(10, 21, 2)], [256]),)
    param_names = ("n",)
    timeout = 300

    def setup(self, n):
        self.states, self.value = draw(n, k=math.ceil(math.log2(n)))
        pa.resonance.attention(self.states[:9], self.states[:9], self.value[:9], form="linear", causal=True)

    def time_forward(self, n):
        pa.resonance.attention(self.states, self.states, self.value, form="linear", causal=True)


class Gradients:
    """Forward and backward over forward, the same run."""

    params = (["softmax", "linear"],)
    param_names = ("form",)
    unit = "times"

    def setup(self, form):
        self.states, self.value = draw(size(4_096, 100))
        self.dout = np.ones_like(self.value)

    def both(self, form):
        _, pullback = pa.resonance.vjp("attention", self.states, self.states, self.value, form=form, causal=True)
        return pullback(self.dout)

    def track_both_over_forward(self, form):
        def forward():
            pa.resonance.attention(self.states, self.states, self.value, form=form, causal=True)

        return median(lambda: self.both(form)) / median(forward)


class Softmax:
    """Exact softmax, n = 10,000, d = 256, against dense float32 attention in NumPy, the same run."""

    params = (["uniform", "zipf"],)
    param_names = ("primes",)
    timeout = 300

    def setup(self, primes):
        self.states, self.value = draw(n := size(10_000, 100), d=256, zipf=primes == "zipf")
        rng = np.random.default_rng(0)
        self.q, self.k = rng.standard_normal((2, n, 256)).astype(np.float32)
        pa.resonance.attention(self.states[:9], self.states[:9], self.value[:9])

    def ours(self):
        return pa.resonance.attention(self.states, self.states, self.value)

    def dense(self):
        """Dot-product softmax attention in blocks of 1,000 queries."""
        out = np.empty_like(self.value)
        for start in range(0, len(self.q), 1000):
            rows = slice(start, start + 1000)
            scores = self.q[rows] @ self.k.T
            scores *= np.float32(1 / 16)
            scores -= scores.max(axis=1, keepdims=True)
            np.exp(scores, out=scores)
            scores /= scores.sum(axis=1, keepdims=True)
            np.matmul(scores, self.value, out=out[rows])
        return out

    def time_softmax(self, primes):
        self.ours()

    def track_times_as_fast_as_dense_numpy(self, primes):
        return median(self.dense, 3) / median(self.ours, 3)


class Stream:
    """One token after a thousand, and after none."""

    params = (size([0, 1_000, 20_000], [0, 10]),)
    param_names = ("before",)

    def setup(self, before):
        self.states, self.value = draw(before + 1)
        self.stream = pa.resonance.Stream(D, dtype="float32")
        self.stream.step(self.states, self.value)

    def time_step(self, before):
        self.stream.step(self.states[-1:], self.value[-1:])
