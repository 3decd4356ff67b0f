"""Linear resonant attention beside PyTorch's scaled_dot_product_attention: causal, one head of 64, float32.

Each peer runs in a process of its own on the same threads (two OpenMP pools in one process falsify both), and they
take turns: a round is one burst of each, and the ratio is the median of the rounds'. PyTorch goes into a fresh virtual
environment unless its interpreter is named.

    python asv_benchmarks/peers/resonance_attention.py [--threads 2] [--rounds 5] [--largest 65536]
        [--torch-python PYTHON] [--json FILE]

Prints a Markdown table (milliseconds, medians of rounds; the softmax form beside it up to 16,384) and one line of JSON.
"""

import argparse
import json
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

    numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
    states = pa.PrimeStates.random(n, 16, n_primes=4096, rng=0, dtype="float32")
    value = np.random.default_rng(0).standard_normal((n, 64)).astype(np.float32)
    return lambda: pa.resonance.attention(states, states, value, form=name, causal=True)


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
        times, end = [], time.perf_counter() + 0.3
        while not times or time.perf_counter() < end:
            start = time.perf_counter()
            made[key]()
            times.append(1e3 * (time.perf_counter() - start))
        print(json.dumps(statistics.median(times)), flush=True)


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
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
        pythons = {"linear": sys.executable, "softmax": sys.executable, "torch": theirs}
        peers = {name: Peer(name, python, options.threads) for name, python in pythons.items()}
        limits = {"linear": SIZES[-1], "softmax": SOFTMAX_UP_TO, "torch": TORCH_UP_TO}
        rows = []
        print(
            f"{options.threads} threads\n\n| n | linear | softmax | PyTorch | PyTorch / linear |\n|---|---|---|---|---|"
        )
        for n in (n for n in SIZES if n <= options.largest):
            names = [name for name in peers if n <= limits[name]]
            rounds = [{name: peers[name].milliseconds(n) for name in names} for _ in range(options.rounds)]
            row = {name: statistics.median(r[name] for r in rounds) for name in names}
            ratio = statistics.median(r["torch"] / r["linear"] for r in rounds) if "torch" in row else None
            cells = [f"{row[name]:.2f}" if name in row else "-" for name in ("linear", "softmax", "torch")]
            print(f"| {n:,} | {' | '.join(cells)} | {'-' if ratio is None else f'{ratio:.1f}'} |", flush=True)
            rows.append({"n": n, **row, "ratio": ratio})
        for peer in peers.values():
            peer.process.communicate()
    result = json.dumps({"threads": options.threads, "rows": rows})
    print(f"\n{result}")
    if options.json:
        options.json.write_text(result)


if __name__ == "__main__":
    main()
