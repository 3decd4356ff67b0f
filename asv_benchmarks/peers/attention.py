"""Softmax attention, forward and backward: primeattn beside PyTorch's scaled_dot_product_attention.

Each peer runs in a process of its own (two OpenMP pools in one process falsify both), on the same threads, and the two
take turns: a round is a short burst of each, and a ratio is that of one round. PyTorch goes into a fresh virtual
environment unless its interpreter is named. Three parts: times, gradients against autograd in float64, and peak memory
of forward and backward at 16,384 tokens beside the size of inputs, outputs and gradients.

    python asv_benchmarks/peers/attention.py [--threads 1] [--rounds 9] [--torch-python PYTHON] [--json FILE]

Prints Markdown tables (milliseconds: medians of rounds) and one line of JSON.
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
# (tokens, heads, width), one sequence, float32; the ratio that is to be shown for the causal case
SIZES = {(256, 4, 32): 1.6, (1024, 4, 64): 1.25, (4096, 4, 64): 1.25}
MEMORY = (16384, 4, 64)


def draw(tokens, heads, width, dtype):
    """q, k, v and the upstream gradient, the same for both peers."""
    import numpy as np

    return np.random.default_rng(tokens).standard_normal((4, 1, heads, tokens, width)).astype(dtype)


def primeattn_calls(tokens, heads, width, dtype, causal, threads):
    import numba

    import primeattn as pa

    numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
    q, k, v, dout = draw(tokens, heads, width, dtype)

    def forward():
        return pa.attention.dot_product(q, k, v, causal=causal)

    def both():
        out, pullback = pa.attention.vjp("dot_product", q, k, v, causal=causal)
        return out, *pullback(dout).values()

    return forward, both


def torch_calls(tokens, heads, width, dtype, causal, threads):
    import torch

    torch.set_num_threads(threads)
    attend = torch.nn.functional.scaled_dot_product_attention
    q, k, v, dout = (torch.from_numpy(x) for x in draw(tokens, heads, width, dtype))
    inputs = [x.requires_grad_() for x in (q, k, v)]

    def forward():
        with torch.no_grad():
            return attend(*inputs, is_causal=causal)

    def both():
        out = attend(*inputs, is_causal=causal)
        return out.detach(), *torch.autograd.grad(out, inputs, dout)

    return forward, both


def timed(call, seconds: float) -> float:
    """Median milliseconds of a burst of about that many seconds."""
    call()
    times, end = [], time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)


def peak_bytes(call) -> int:
    """How far the resident set of this process grows at its highest during a call."""
    status = Path("/proc/self/status")
    Path("/proc/self/clear_refs").write_text("5")  # reset the high-water mark

    def read(name):
        return int(next(line for line in status.read_text().splitlines() if line.startswith(name)).split()[1]) * 1024

    before = read("VmRSS")
    kept = call()
    peak = read("VmHWM") - before
    del kept
    return peak


def worker(name: str) -> None:
    """Answer requests, one JSON object a line, until the pipe closes."""
    make = {"primeattn": primeattn_calls, "torch": torch_calls}[name]
    made: dict = {}
    for line in sys.stdin:
        ask = json.loads(line)
        key = json.dumps(ask["case"])
        if key not in made:
            made.clear()
            made[key] = make(**ask["case"])
        forward, both = made[key]
        if ask["want"] == "times":
            answer: dict = {"forward": timed(forward, 0.1), "both": timed(both, ask["seconds"])}
        elif ask["want"] == "memory":
            make(**{**ask["case"], "tokens": 128})[1]()  # compiled, libraries loaded
            answer = {"bytes": peak_bytes(both)}
        else:
            import numpy as np

            np.savez(ask["file"], *(np.asarray(x) for x in both()))
            answer = {}
        print(json.dumps(answer), flush=True)


class Peer:
    """A worker of a script in a process of its own."""

    def __init__(
        self, name: str, python: str, threads: int, script: str = __file__, extra: dict[str, str] | None = None
    ):
        variables = ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
        environment = {**os.environ, **dict.fromkeys(variables, str(threads)), "PYTHONPATH": str(ROOT)} | (extra or {})
        command = [python, script, "--worker", name]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def ask(self, **request) -> dict:
        assert self.process.stdin
        assert self.process.stdout
        print(json.dumps(request), file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())

    def close(self) -> None:
        self.process.communicate()


def case(size, dtype, causal, threads) -> dict:
    tokens, heads, width = size
    return {
        "tokens": tokens, "heads": heads, "width": width, "dtype": dtype, "causal": causal, "threads": threads,
    }  # fmt: skip


def measure_times(start, threads: int, rounds: int) -> list[dict]:
    rows = []
    for size, wanted in SIZES.items():
        for causal in (True, False):
            peers, found = {n: start(n) for n in ("primeattn", "torch")}, []
            for _ in range(rounds):
                request = {"want": "times", "case": case(size, "float32", causal, threads), "seconds": 0.4}
                found.append({name: peer.ask(**request) for name, peer in peers.items()})
            for peer in peers.values():
                peer.close()
            row: dict = {"size": size, "causal": causal, "wanted": wanted if causal else None}
            for what in ("forward", "both"):
                for name in peers:
                    row[f"{name} {what}"] = statistics.median(r[name][what] for r in found)
                row[f"ratio {what}"] = statistics.median(r["torch"][what] / r["primeattn"][what] for r in found)
            rows.append(row)
    return rows


def measure_gradients(start, folder: str) -> float:
    """Largest difference of output and gradients in float64, relative to the largest number of each."""
    import numpy as np

    worst = 0.0
    for causal in (True, False):
        files = {}
        for name in ("primeattn", "torch"):
            peer, files[name] = start(name), str(Path(folder) / f"{name}.npz")
            peer.ask(want="gradients", case=case((300, 4, 32), "float64", causal, 1), file=files[name])
            peer.close()
        ours, theirs = (np.load(files[n]) for n in ("primeattn", "torch"))
        for array in ours.files:
            worst = max(worst, float(abs(ours[array] - theirs[array]).max() / abs(theirs[array]).max()))
    return worst


def measure_memory(start, threads: int) -> dict[str, float]:
    """Peak of the call, with inputs, over the size of inputs, output, upstream and gradients."""
    tokens, heads, width = MEMORY
    array = 4 * tokens * heads * width
    found = {}
    for name in ("primeattn", "torch"):
        peer = start(name)
        grown = peer.ask(want="memory", case=case(MEMORY, "float32", True, threads))["bytes"]
        peer.close()
        found[name] = (4 * array + grown) / (8 * array)  # q, k, v, dout were there before; out, dq, dk, dv came
    return found


def install(folder: Path) -> str:
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, capture_output=True)
    python = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", TORCH, "numpy"], check=True, capture_output=True)
    return str(python)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--torch-python", help=f"an interpreter that has {TORCH} and numpy")
    parser.add_argument("--json", type=Path, help="write the JSON here as well")
    parser.add_argument("--worker", choices=("primeattn", "torch"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(options.worker)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        pythons = {"primeattn": sys.executable, "torch": options.torch_python or install(Path(folder) / "torch")}

        def start(name):
            return Peer(name, pythons[name], options.threads)

        error = measure_gradients(start, folder)
        rows = measure_times(start, options.threads, options.rounds)
        memory = measure_memory(start, options.threads)
    print(f"one sequence, float32, {options.threads} thread(s), ms; ratio: times faster than {TORCH}\n")
    print("| tokens, heads, width | causal | forward | torch | ratio | forward + backward | torch | ratio | wanted |")
    print("|---" * 9 + "|")
    for r in rows:
        cells = [", ".join(map(str, r["size"])), "yes" if r["causal"] else "no"]
        for what in ("forward", "both"):
            cells += [f"{r[f'primeattn {what}']:.2f}", f"{r[f'torch {what}']:.2f}", f"{r[f'ratio {what}']:.2f}"]
        print("|", " | ".join([*cells, str(r["wanted"] or "")]), "|")
    print(f"\ngradients against autograd, float64: {error:.1e} relative (1e-12 wanted)")
    print(f"peak memory at {MEMORY[0]:,} tokens over inputs, outputs, gradients (1.3 wanted): {memory}")
    document = json.dumps({"threads": options.threads, "times": rows, "gradient error": error, "memory": memory})
    print("\n" + document)
    if options.json:
        options.json.write_text(document + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
