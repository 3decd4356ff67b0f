"""A step of RK4: nanoseconds an oscillator, threads, SciPy's sparse products and a triad of memory beside it.

A step is the difference of a long and a short run, over the difference of their steps, so that the call of `simulate`
is not in it. Rounds are interleaved: what is compared is measured side by side.

    python asv_benchmarks/peers/dynamics_steps.py [--rounds 5] [--only CASE ...]

Prints Markdown rows: the median step, nanoseconds an oscillator (an edge and derivative for networks), the same with
the call of a run of ``long`` steps, two threads over one, the median of the rounds' ratios to eight products A @ x, and
bytes of arrays a step over its time, as a share of what a triad a = b + s c moves in the same rounds.
"""

import argparse
import math
import statistics
import sys
import time
from pathlib import Path

import numba
import numpy as np
from scipy import sparse

sys.path.insert(0, str(Path(__file__).parents[2]))

import primeattn as pa
from primeattn.dynamics import _slices

# A stage, all to all: cos, sin, omega in; slope out; y, slope in; state out and in; cos, sin out. On a network also
# what is heard, out and in for each range of columns, and of an edge its number and a pair.
BYTES = 4 * 8 * 9
TRIAD = 10**7  # numbers of an array

CASES = {
    # name: (oscillators, degree, runs, short, long)
    "1,000 runs of N = 100": (100, 0, 1000, 20, 220),
    "1,000 runs of N = 256": (256, 0, 1000, 10, 90),
    "all to all, N = 16,384": (16_384, 0, 1, 10, 130),
    "all to all, N = 32,768": (32_768, 0, 1, 10, 70),
    "all to all, N = 65,536": (65_536, 0, 1, 5, 35),
    "all to all, N = 100,000": (10**5, 0, 1, 4, 24),
    "all to all, N = 1,000,000": (10**6, 0, 1, 2, 12),
    "Erdős-Rényi, N = 1,000": (1000, 10, 1, 50, 450),
    "Erdős-Rényi, N = 100,000": (10**5, 10, 1, 4, 44),
    "Erdős-Rényi, N = 1,000,000": (10**6, 10, 1, 1, 3),
}


@numba.njit(nogil=True)
def triad(a, b, c, s):
    for i in range(len(a)):
        a[i] = b[i] + s * c[i]


def erdos_renyi(n: int, degree: int) -> sparse.csr_array:
    key = np.unique(np.random.default_rng(0).integers(0, n * n, n * degree))
    return sparse.csr_array((np.ones(len(key)), (key // n, key % n)), shape=(n, n))


def seconds(call) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def measure(name: str, rounds: int, memory: tuple) -> str:
    """A Markdown row."""
    n, degree, runs, short, long = CASES[name]
    rng = np.random.default_rng(1)
    options, shape = {}, (n,) if runs == 1 else (runs, n)
    if degree:
        options = {"network": erdos_renyi(n, degree), "normalize": "degree"}
    coupling = 2.0 if runs == 1 else np.linspace(0, 4, runs)
    model, theta = pa.Kuramoto(rng.normal(size=n), coupling, **options), rng.uniform(-3, 3, shape)
    x = rng.normal(size=n)

    def run(steps: int, threads: int) -> float:
        numba.set_num_threads(threads)
        end = steps * 0.01
        return seconds(lambda: pa.simulate(model, (0, end), theta, dt=0.01, samples=2, observables=()))

    many = min(2, numba.config.NUMBA_NUM_THREADS)
    for threads in (1, many):
        run(1, threads)
    steps: dict[int, list[float]] = {1: [], many: []}
    whole, products, moved = [], [], []
    for _ in range(rounds):
        for threads in steps:
            first, last = run(short, threads), run(long, threads)
            steps[threads].append((last - first) / (long - short))
            if threads == 1:
                whole.append(last / long)
        if degree:
            products.append(seconds(lambda: [options["network"] @ x for _ in range(8)]))
        moved.append(24 * TRIAD / seconds(lambda: triad(*memory)))
    step, most = statistics.median(steps[1]), statistics.median(steps[many])
    each = 1e9 / (4 * options["network"].nnz if degree else runs * n)
    ratios = [a / b for a, b in zip(steps[1], steps[many], strict=True)]
    cells = [
        name, f"{1e3 * step:.4g} ms", f"{each * step:.3g}", f"{each * statistics.median(whole):.3g}",
        f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})", "", "",
    ]  # fmt: skip
    if degree:
        times = [p / s for p, s in zip(products, steps[1], strict=True)]
        cells[5] = f"{1e3 * statistics.median(products):.4g} ms, {statistics.median(times):.2f}"
    if n >= 10**5:
        network = 0
        if degree:
            edges = options["network"].nnz
            cuts = _slices.ranges(n, edges)
            network = 4 * ((16 + (2 if n <= cuts * _slices.PACKED else 4)) * edges + 32 * cuts * n)
        rate = (runs * n * BYTES + network) / step
        share = statistics.median(rate * step / s / m for s, m in zip(steps[1], moved, strict=True))
        both = statistics.median(rate * step / s / m for s, m in zip(steps[many], moved, strict=True))
        one, two, whole_memory = rate / 1e9, rate * step / most / 1e9, statistics.median(moved) / 1e9
        cells[6] = f"{one:.3g} GB/s, {share:.2f} of {whole_memory:.3g}; {two:.3g} GB/s, {both:.2f}"
    return "| " + " | ".join(cells) + " |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=list(CASES), default=list(CASES))
    options = parser.parse_args()
    memory = (*np.ones((3, TRIAD)), math.pi)
    triad(*memory)
    print("| | step | ns | with the call | two threads | eight products, times a step | memory: one thread; two |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for name in options.only:
        print(measure(name, options.rounds, memory), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
