"""Every mechanism of ``MECHANISMS``: forward, forward and backward, memory, exponent of the cost in tokens, decode."""

import inspect
import math
import statistics
import time
import tracemalloc
import typing

import numpy as np

import primeattn as pa
from primeattn.attention import MECHANISMS, Sample

from . import size

SIZES = size({"T=256, 4 x 32": (256, 4, 32), "T=1024, 4 x 64": (1024, 4, 64)}, {"T=40, 2 x 8": (40, 2, 8)})


def draw(name, tokens, heads, width, dtype="float32") -> Sample:
    sample = MECHANISMS[name].sample(
        np.random.default_rng(0), batch=(1,), heads=heads, tokens=tokens, width=width, dtype=np.dtype(dtype)
    )
    causal = {"causal": True} if "causal" in inspect.signature(MECHANISMS[name].forward).parameters else {}
    return Sample(sample.inputs, {**sample.options, **causal})


def both(name, sample):
    out, pullback = pa.attention.vjp(name, *sample.inputs, **sample.options)
    return out, pullback(np.ones_like(out))


class Mechanisms:
    """One sequence, causal."""

    params = (list(MECHANISMS), list(SIZES), size(["float32", "float64"], ["float32"]))
    param_names = ("mechanism", "size", "dtype")
    timeout = 300

    def setup(self, name, size, dtype):
        self.sample = draw(name, *SIZES[size], dtype)
        both(name, self.sample)

    def time_forward(self, name, size, dtype):
        MECHANISMS[name].forward(*self.sample.inputs, **self.sample.options)

    def time_forward_and_backward(self, name, size, dtype):
        both(name, self.sample)


class Memory:
    """Peak of forward and backward at 4,096 tokens over the size of inputs, outputs and gradients."""

    params = (list(MECHANISMS),)
    param_names = ("mechanism",)
    timeout = 300
    unit = "times"

    def setup(self, name):
        both(name, draw(name, 64, 1, 32))
        self.sample = draw(name, size(4096, 128), 1, 32)

    def track_peak(self, name):
        given = sum(x.nbytes for x in self.sample.inputs)
        tracemalloc.start()
        out, grads = both(name, self.sample)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return (given + peak) / (given + 2 * out.nbytes + sum(g.nbytes for g in grads.values()))


class Growth:
    """log2 of how much longer twice the tokens take: 2 is quadratic, 1 is linear."""

    params = (list(MECHANISMS),)
    param_names = ("mechanism",)
    timeout = 300
    unit = "exponent"

    def setup(self, name):
        self.samples = [draw(name, tokens, 2, 32) for tokens in size((1024, 2048), (32, 64))]
        for sample in self.samples:
            both(name, sample)

    def track_exponent(self, name):
        found: list[list[float]] = [[], []]
        for _ in range(7):
            for times, sample in zip(found, self.samples, strict=True):
                start = time.perf_counter()
                both(name, sample)
                times.append(time.perf_counter() - start)
        return math.log2(statistics.median(found[1]) / statistics.median(found[0]))


def steps() -> dict:
    """Streaming decode of the mechanisms that have it, and what carries the past: the fourth argument."""
    found = {}
    for name, mechanism in MECHANISMS.items():
        step = getattr(pa.attention, f"{name}_step", None)
        if step and mechanism.inputs[:3] == ("q", "k", "v"):
            past = list(inspect.signature(step).parameters.values())[3].annotation
            found[name] = step, (typing.get_args(past) or (past,))[0]  # a state, rather than the cache of a window
    return found


class Decode:
    """One token to the past of 4,096."""

    params = (list(steps()),)
    param_names = ("mechanism",)
    timeout = 300

    def setup(self, name):
        self.step, past = steps()[name]
        known = inspect.signature(self.step).parameters
        first, token = (
            MECHANISMS[name].sample(0, batch=(), heads=4, tokens=n, width=64, dtype=np.dtype("float32"))
            for n in (size(4096, 40), 1)
        )
        # what belongs to tokens comes with them, what belongs to the mechanism stays
        kept = {n: x for n, x in first.options.items() if np.shape(x) == np.shape(token.options[n])}
        self.past = past()
        self.inputs = token.inputs
        self.options = {n: x for n, x in {**token.options, **kept}.items() if n in known}
        self.step(*first.inputs, self.past, **{n: x for n, x in first.options.items() if n in known})
        self.time_step(name)

    def time_step(self, name):
        self.step(*self.inputs, self.past, **self.options)


class DecodeRate:
    """One token to a long cache, float32, 8 heads of 64: seconds, and bytes of the cache read per second."""

    params = (size([4096, 32768], [256]),)
    param_names = ("tokens",)

    def setup(self, tokens):
        rng = np.random.default_rng(0)
        self.cache = pa.attention.Cache(window=tokens)
        self.cache.append(*rng.standard_normal((2, 8, tokens, 64), dtype=np.float32))
        self.token = rng.standard_normal((8, 1, 64), dtype=np.float32)
        self.time_step(tokens)

    def time_step(self, tokens):
        pa.attention.dot_product_step(self.token, self.token, self.token, self.cache)

    def track_rate(self, tokens):
        times = []
        for _ in range(15):
            start = time.perf_counter()
            self.time_step(tokens)
            times.append(time.perf_counter() - start)
        return (self.cache.keys.nbytes + self.cache.values.nbytes) / statistics.median(times) / 1e9

    track_rate.unit = "GB/s"  # type: ignore[attr-defined]
