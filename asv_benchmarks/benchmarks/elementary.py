"""Vectorised elementary functions beside ``math`` in njit, NumPy and a plain copy, on one thread.

    python -m asv_benchmarks.benchmarks.elementary

prints the table of docs/theory/elementary.md: medians of interleaved runs, nanoseconds an element.
"""

import math
import statistics
import time

import numpy as np
from numba import njit
from scipy.special import expit

from primeattn._runtime.elementary import arrays
from primeattn._runtime.jit import MATH

from . import size

NAMES = ("sincos", "sin", "cos", "exp", "expm1", "log", "tanh", "sigmoid", "atan2")
IN_CACHE, IN_MEMORY = 4096, 1 << 22


@njit(**MATH)
def math_sincos(start, stop, x, s, c):
    for i in range(stop):
        s[i] = math.sin(x[i])
        c[i] = math.cos(x[i])


@njit(**MATH)
def math_sin(start, stop, x, out):
    for i in range(stop):
        out[i] = math.sin(x[i])


@njit(**MATH)
def math_cos(start, stop, x, out):
    for i in range(stop):
        out[i] = math.cos(x[i])


@njit(**MATH)
def math_exp(start, stop, x, out):
    for i in range(stop):
        out[i] = math.exp(x[i])


@njit(**MATH)
def math_expm1(start, stop, x, out):
    for i in range(stop):
        out[i] = math.expm1(x[i])


@njit(**MATH)
def math_log(start, stop, x, out):
    for i in range(stop):
        out[i] = math.log(x[i])


@njit(**MATH)
def math_tanh(start, stop, x, out):
    for i in range(stop):
        out[i] = math.tanh(x[i])


@njit(**MATH)
def math_sigmoid(start, stop, x, out):
    for i in range(stop):
        one = type(x[i])(1)
        out[i] = one / (one + math.exp(-x[i]))


@njit(**MATH)
def math_atan2(start, stop, y, x, out):
    for i in range(stop):
        out[i] = math.atan2(y[i], x[i])


@njit(**MATH)
def copy_two(start, stop, x, out):
    for i in range(stop):
        out[i] = x[i]


@njit(**MATH)
def copy_three(start, stop, x, y, out):
    for i in range(stop):
        out[i] = x[i] + y[i]


def numpy_sincos(x, s, c):
    np.sin(x, out=s)
    np.cos(x, out=c)


NUMPY = {
    "sincos": numpy_sincos,
    "sigmoid": expit,  # SciPy's: NumPy has none
    "atan2": np.arctan2,
    **{name: getattr(np, name) for name in ("sin", "cos", "exp", "expm1", "log", "tanh")},
}


def contestants(name, dtype, n):
    """Four ways to fill the same arrays: ours, math in njit, NumPy, and a loop that only moves memory."""
    rng = np.random.default_rng(0)
    loop = getattr(arrays, name.upper()).cpu
    x = [(rng.standard_normal(n) * 3).astype(dtype) for _ in getattr(arrays, name.upper()).signature]
    if name == "log":
        np.abs(x[0], out=x[0])
    plain, copy = globals()[f"math_{name}"], copy_three if len(x) == 3 else copy_two
    ways = (
        lambda: loop(0, n, *x),
        lambda: plain(0, n, *x),
        lambda: NUMPY[name](*x),
        lambda: copy(0, n, *x),
    )
    for way in ways:
        way()
    return ways


def nanoseconds(name, dtype, n, rounds=15):
    """Medians over interleaved rounds, nanoseconds an element."""
    ways = contestants(name, dtype, n)
    repeat = max(1, 100_000 // n)
    taken = [[] for _ in ways]
    for _ in range(rounds):
        for way, times in zip(ways, taken, strict=True):
            begin = time.perf_counter()
            for _ in range(repeat):
                way()
            times.append((time.perf_counter() - begin) / repeat / n * 1e9)
    return [statistics.median(times) for times in taken]


class Elementary:
    params = (NAMES, size(["float32", "float64"], ["float32"]))
    param_names = ("function", "dtype")

    def setup(self, name, dtype):
        self.ways = contestants(name, dtype, IN_CACHE)

    def time_loop(self, name, dtype):
        self.ways[0]()


class AgainstMath:
    """How many times faster than ``math`` in an njit loop, in the first-level cache."""

    params = (NAMES, size(["float32", "float64"], ["float32"]))
    param_names = ("function", "dtype")
    unit = "times"

    def track_speedup(self, name, dtype):
        ours, theirs, *_ = nanoseconds(name, dtype, IN_CACHE, 7)
        return theirs / ours


def main():
    print("| function | type | ns | `math` | NumPy | times `math` | times NumPy | ns in memory | of a copy's speed |")
    print("|---|---|--:|--:|--:|--:|--:|--:|--:|")
    for name in NAMES:
        for dtype in ("float32", "float64"):
            ours, plain, numpy_s, _ = nanoseconds(name, dtype, IN_CACHE)
            far, _, _, copy = nanoseconds(name, dtype, IN_MEMORY, 5)
            print(
                f"| {name} | {dtype} | {ours:.2f} | {plain:.2f} | {numpy_s:.2f} | {plain / ours:.1f} | "
                f"{numpy_s / ours:.1f} | {far:.2f} | {copy / far:.2f} |"
            )


if __name__ == "__main__":
    main()
