"""Linear resonant attention beside PyTorch's scaled_dot_product_attention: causal, one head of 64, float32.

Each peer runs in a process of its own on the same threads (two OpenMP pools in one process falsify both), and they
take turns: a round is one burst of each, and the ratio is the median of the rounds'. A burst is the median of the calls
of half a second, without the first one where there are more: during PyTorch's turn, up to 60 times as long, our memory
goes back to the system and the caches to PyTorch. After PyTorch's there is a pause, since OpenMP's threads spin on.
PyTorch goes into a fresh virtual environment unless its interpreter is named.

    python asv_benchmarks/peers/resonance_attention.py [--threads 2] [--rounds 5] [--smallest 512] [--largest 1048576]
        [--torch-python PYTHON] [--json FILE]

k = 16 of 4,096 primes. Prints a Markdown table (milliseconds, medians of rounds; the softmax form beside it up to
16,384, and the linear form with k = ceil(log2 n)) and one line of JSON, with the slopes of log time against log n from
4,096 on and their R squared, and at every n the share of the rate of a float32 product of two 2,048 x 2,048 matrices.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
TORCH = "torch==2.13.0"
SIZES = [2**e for e in range(9, 21)]
SOFTMAX_UP_TO, TORCH_UP_TO = 16_384, 65_536
ASYMPTOTIC = 4_096  # tokens from which the slope is taken
BURST, PAUSE = 0.5, 0.3  # seconds
K, D, PRIMES, PRODUCT = 16, 64, 4096, 2048
FLOPS = 48 * K * (D + 1)  # a token of the linear form, as in benchmarks/resonance_attention.py


def make(name: str, n: int, threads: int):
    """The call to be timed."""
    import numpy as np

    if name == "torch":
        import torch

        torch.set_num_threads(threads)
        q, k, v = (torch.randn(1, 1, n, 64) for _ in range(3))
        attend = torch.nn.functional.scaled_dot_product_attention
        return lambda: attend(q, k, v, is_causal=True)
    import numba

    import primeattn as pa

    if name == "product":
        x = np.random.default_rng(0).standard_normal((n, n)).astype(np.float32)
        return lambda: x @ x
    numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
    form, k = ("linear", math.ceil(math.log2(n))) if name == "logarithmic" else (name, K)
    states = pa.PrimeStates.random(n, k, n_primes=PRIMES, rng=0, dtype="float32")
    value = np.random.default_rng(0).standard_normal((n, D)).astype(np.float32)
    return lambda: pa.resonance.attention(states, states, value, form=form, causal=True)


def worker() -> None:
    """Answer requests, one JSON object a line, until the pipe closes."""
    made: dict = {}
    for line in sys.stdin:
        ask = json.loads(line)
        key = (ask["name"], ask["n"])
        if key not in made:
            made.clear()
            made[key] = make(ask["name"], ask["n"], ask["threads"])
            made[key]()
        times, end = [], time.perf_counter() + BURST
        while not times or time.perf_counter() < end:
            start = time.perf_counter()
            made[key]()
            times.append(1e3 * (time.perf_counter() - start))
        if ask["name"] == "torch":
            time.sleep(PAUSE)
        print(json.dumps(statistics.median(times[1:] or times)), flush=True)


class Peer:
    """A worker in a process of its own."""

    def __init__(self, name: str, python: str, threads: int):
        self.name, self.threads = name, threads
        variables = ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
        environment = {**os.environ, **dict.fromkeys(variables, str(threads)), "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(
            [python, __file__, "--worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def milliseconds(self, n: int) -> float:
        assert self.process.stdin
        assert self.process.stdout
        print(json.dumps({"name": self.name, "n": n, "threads": self.threads}), file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())


def torch_python(folder: str) -> str:
    """A fresh environment with PyTorch."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = str(Path(folder) / "bin" / "python")
    subprocess.run([python, "-m", "pip", "install", "-q", TORCH, "numpy"], check=True)
    return python


def slope(rows: list[dict], name: str) -> tuple[float, float] | None:
    """Of log milliseconds against log n, by least squares, from ``ASYMPTOTIC`` tokens on, and R squared."""
    points = [(math.log(r["n"]), math.log(r[name])) for r in rows if r["n"] >= ASYMPTOTIC]
    if len(points) < 3:
        return None
    x, y = zip(*points, strict=True)
    return statistics.linear_regression(x, y).slope, statistics.correlation(x, y) ** 2


def measure(peers: dict[str, Peer], sizes: list[int], rounds: int) -> list[dict]:
    """One dictionary for each n; prints its row of the table."""
    limits = {"softmax": SOFTMAX_UP_TO, "torch": TORCH_UP_TO}
    columns, rows = ("linear", "softmax", "torch", "logarithmic"), []
    print("| n | linear | softmax | PyTorch | linear, k = ceil(log2 n) | PyTorch / linear |\n|---|---|---|---|---|---|")
    for n in sizes:
        names = [name for name in columns if n <= limits.get(name, n)]
        found = [{name: peers[name].milliseconds(n) for name in names} for _ in range(rounds)]
        row = {name: statistics.median(r[name] for r in found) for name in names}
        ratio = statistics.median(r["torch"] / r["linear"] for r in found) if "torch" in row else None
        cells = [f"{row[name]:.2f}" if name in row else "-" for name in columns]
        print(f"| {n:,} | {' | '.join(cells)} | {'-' if ratio is None else f'{ratio:.1f}'} |", flush=True)
        rows.append({"n": n, **row, "ratio": ratio})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--smallest", type=int, default=SIZES[0])
    parser.add_argument("--largest", type=int, default=SIZES[-1])
    parser.add_argument("--torch-python")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker()
        return
    with tempfile.TemporaryDirectory() as folder:
        theirs = options.torch_python or torch_python(folder)
        names = ("linear", "softmax", "logarithmic", "product", "torch")
        peers = {n: Peer(n, theirs if n == "torch" else sys.executable, options.threads) for n in names}
        print(f"{options.threads} threads\n")
        rows = measure(peers, [n for n in SIZES if options.smallest <= n <= options.largest], options.rounds)
        product = statistics.median(peers["product"].milliseconds(PRODUCT) for _ in range(options.rounds))
        for peer in peers.values():
            peer.process.communicate()
    rate = 2 * PRODUCT**3 / product
    result = {
        "threads": options.threads,
        "rows": [{**r, "share_of_product_rate": FLOPS * r["n"] / r["linear"] / rate} for r in rows],
        "slope_and_r2": slope(rows, "linear"),
        "slope_and_r2_logarithmic": slope(rows, "logarithmic"),
        "product_gflops": 1e-6 * rate,
    }
    print(f"\n{json.dumps(result)}")
    if options.json:
        options.json.write_text(json.dumps(result))


if __name__ == "__main__":
    main()
