"""One query against n states of k primes: the source's claim of O(nk), for ``score`` and for ``Index.query`` (top 10).

The query is the first state; primes are drawn uniformly from 4,096; one thread; the same arrays in every round. Three
sweeps: n from 2^10 to 2^20 with k = 16; k from 4 to 128 with n = 2^16; and k = ceil(log2 n) with all n.

    python asv_benchmarks/peers/one_query.py [--rounds 5] [--json FILE]

Prints a Markdown table (microseconds: medians of rounds) and one line of JSON: for each function and sweep the slope of
log time against log nk by least squares, and R squared, from nk = 2^16 on, where a call's own microseconds are small.
"""

import argparse
import json
import math
import statistics
import time
from pathlib import Path

import numba
import numpy as np

import primeattn as pa

PRIMES, TOP, FROM, BURST = 4096, 10, 2**16, 0.05
SWEEPS = {
    "n, k = 16": [(2**e, 16) for e in range(10, 21, 2)],
    "k, n = 65,536": [(2**16, 2**e) for e in range(2, 8)],
    "n, k = ceil(log2 n)": [(2**e, e) for e in range(10, 21, 2)],
}


def calls(n: int, k: int) -> dict:
    """One query by either function."""
    states = pa.PrimeStates.random(n, k, n_primes=PRIMES, rng=0, dtype="float32")
    query, index = states[:1], pa.resonance.Index(states)
    return {
        "score": lambda: pa.resonance.score(query, states),
        "Index.query": lambda: index.query(query, k=TOP),
    }


def microseconds(call) -> float:
    """Median of the calls of a short burst, the first one left out."""
    call()
    times, end = [], time.perf_counter() + BURST
    while len(times) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        times.append(1e6 * (time.perf_counter() - start))
    return statistics.median(times)


def fit(rows: list[dict], name: str) -> dict[str, float]:
    """Slope and R squared of log time against log nk."""
    points = [(math.log(r["n"] * r["k"]), math.log(r[name])) for r in rows if r["n"] * r["k"] >= FROM]
    x, y = zip(*points, strict=True)
    slope = statistics.linear_regression(x, y).slope
    last = rows[-1]
    each = 1e3 * last[name] / (last["n"] * last["k"])
    return {"slope": slope, "R2": statistics.correlation(x, y) ** 2, "ns per nk": each}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the JSON here as well")
    options = parser.parse_args()
    numba.set_num_threads(1)
    print("| sweep | n | k | score, us | Index.query, us |\n|---|--:|--:|--:|--:|")
    document: dict = {"rows": [], "fits": {}}
    for sweep, sizes in SWEEPS.items():
        rows = []
        for n, k in sizes:
            made = calls(n, k)
            found = [{name: microseconds(call) for name, call in made.items()} for _ in range(options.rounds)]
            row = {name: float(np.median([f[name] for f in found])) for name in made}
            print(f"| {sweep} | {n:,} | {k} | {row['score']:,.0f} | {row['Index.query']:,.0f} |", flush=True)
            rows.append({"sweep": sweep, "n": n, "k": k, **row})
        document["rows"] += rows
        document["fits"][sweep] = {name: fit(rows, name) for name in made}
    for sweep, fits in document["fits"].items():
        for name, found in fits.items():
            print(f"\n{sweep}: {name} " + ", ".join(f"{what} {value:.4g}" for what, value in found.items()))
    print("\n" + json.dumps(document))
    if options.json:
        options.json.write_text(json.dumps(document) + "\n")


if __name__ == "__main__":
    main()
