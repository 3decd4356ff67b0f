"""All-pairs Jaccard top-k: ``resonance.Index`` beside sparse_dot_topn, SciPy, scikit-learn and pynndescent.

n sets of k out of P primes, uniform and Zipf; every system finds the ten most similar sets of each set, itself
included. Every peer is installed into a virtual environment of its own and waits in a process of its own; rounds are
interleaved. Building the index (ours: ``Index(states)``; theirs: the transposed matrix, the tree) is inside the time.
All get the same number of threads; SciPy's product has only one. scikit-learn is timed on a part of the queries, and
multiplied. Exactness is measured: the ten similarities of each set against ours, which the tests compare with sorting.

    python asv_benchmarks/peers/topk.py [--sets 10000] [--threads 2] [--rounds 5] [--only PEER ...]
        [--python PEER=PYTHON ...] [--json FILE]

Prints a Markdown table (median seconds) and one line of JSON. A peer that cannot be installed is named with the reason.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
TOP, PER_SET, PRIMES = 10, 16, 4096
DISTRIBUTIONS = ("uniform", "zipf")

# A worker answers a line "<file of the sets> <file for the similarities or ->" with its seconds.
LOOP = """
import json, sys, time
import numpy as np
threads, TOP, PRIMES = {threads}, {top}, {primes}
def load(path):
    with np.load(path) as file:
        return file["indptr"], file["column"], file["primes"]
def matrix(indptr, column, dtype):
    import scipy.sparse as sp
    shape = len(indptr) - 1, PRIMES
    return sp.csr_matrix((np.ones(len(column), dtype), column.astype(np.int32), indptr.astype(np.int32)), shape=shape)
def of_counts(counts, sizes):
    # similarities, best first, of a CSR matrix of shared primes with TOP or more entries a row
    out = np.zeros((counts.shape[0], TOP))
    for i in range(counts.shape[0]):
        at = slice(counts.indptr[i], counts.indptr[i + 1])
        c = counts.data[at]
        s = np.sort(c / (sizes[i] + sizes[counts.indices[at]] - c))[::-1][:TOP]
        out[i, : len(s)] = s
    return out
{code}
prepared = {{}}
for line in sys.stdin:
    path, out = line.split()
    if path not in prepared:
        prepared[path] = prepare(*load(path))
        solve(prepared[path])  # compile
    start = time.perf_counter()
    found = solve(prepared[path])
    seconds = (time.perf_counter() - start) * scale
    if out != "-":
        np.save(out, similarities(found, prepared[path]))
    print(json.dumps(seconds), flush=True)
"""

OURS = """
scale = 1
import numba, primeattn as pa
numba.set_num_threads(threads)
def prepare(indptr, column, primes):
    orientation = np.tile(np.float32([1, 0, 0, 0]), (len(primes), 1))
    return pa.PrimeStates.from_arrays(indptr, primes, np.ones(len(primes), np.complex64), orientation)
def solve(states):
    return pa.resonance.Index(states, weights=(1, 0, 0)).query(states, TOP)
def similarities(found, states):
    return found[0]
"""
SPARSE_DOT_TOPN = """
scale = 1
from sparse_dot_topn import sp_matmul_topn
def prepare(indptr, column, primes):
    return matrix(indptr, column, np.float32)
def solve(m):
    return sp_matmul_topn(m, m.T.tocsr(), top_n=TOP, n_threads=threads)
def similarities(found, m):
    return of_counts(found, np.diff(m.indptr))
"""
SCIPY = """
scale = 1
def prepare(indptr, column, primes):
    return matrix(indptr, column, np.float32)
def solve(m):
    return of_counts((m @ m.T).tocsr(), np.diff(m.indptr))
def similarities(found, m):
    return found
"""
SKLEARN = """
from sklearn.neighbors import NearestNeighbors
PART = 200
def prepare(indptr, column, primes):
    global scale
    dense = matrix(indptr, column, bool).toarray()
    scale = len(dense) / min(PART, len(dense))
    return dense
def solve(dense):
    model = NearestNeighbors(n_neighbors=TOP, metric="jaccard", algorithm="brute", n_jobs=threads).fit(dense)
    return model.kneighbors(dense[:PART])[0]
def similarities(found, dense):
    return 1 - found
"""
PYNNDESCENT = """
scale = 1
import numba, pynndescent
numba.set_num_threads(threads)
def prepare(indptr, column, primes):
    return matrix(indptr, column, np.float32)
def solve(m):
    index = pynndescent.NNDescent(m, metric="jaccard", n_neighbors=TOP, random_state=0, n_jobs=threads)
    return index.neighbor_graph[1]
def similarities(found, m):
    return np.sort(1 - found, axis=1)[:, ::-1]
"""
PEERS = {
    "primeattn Index": (str(ROOT), OURS),
    "sparse_dot_topn": ("sparse_dot_topn scipy", SPARSE_DOT_TOPN),
    "scipy A @ A.T, then top 10": ("scipy", SCIPY),
    "scikit-learn NearestNeighbors(jaccard)": ("scikit-learn", SKLEARN),
    "pynndescent (approximate)": ("pynndescent", PYNNDESCENT),
}


def short(peer: str) -> str:
    """What a peer is called on the command line: its first word."""
    return peer.split()[0]


def install(folder: Path, packages: str) -> str:
    """Interpreter of a fresh environment with the packages."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, capture_output=True)
    python = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", *packages.split()], check=True, capture_output=True)
    return str(python)


def write_sets(folder: Path, n: int) -> dict[str, Path]:
    """The sets of each distribution, in a file."""
    import primeattn as pa

    found = {}
    for distribution in DISTRIBUTIONS:
        s = pa.PrimeStates.random(n, PER_SET, n_primes=PRIMES, rng=0, distribution=distribution)
        found[distribution] = folder / f"{distribution}.npz"
        np.savez(found[distribution], indptr=s.indptr, primes=s.primes, column=pa.primes.index(s.primes))
    return found


class Worker:
    """A peer in a process of its own."""

    def __init__(self, python: str, code: str, threads: int, folder: Path):
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        environment = os.environ | dict.fromkeys(names, str(threads))
        environment.pop("PYTHONPATH", None)
        program = LOOP.format(threads=threads, top=TOP, primes=PRIMES, code=code)
        self.errors = (folder / f"{id(self)}.err").open("w+")
        self.process = subprocess.Popen(
            [python, "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            cwd=folder,
            env=environment,
        )

    def seconds(self, path: Path, out: str) -> float:
        """Time one run."""
        self.process.stdin.write(f"{path} {out}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            self.errors.seek(0)
            raise RuntimeError((self.errors.read().strip().splitlines() or ["no answer"])[-1])
        return json.loads(answer)

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()
        self.errors.close()


def measure(n: int, threads: int, rounds: int, only, given) -> tuple[dict, dict, dict]:
    """``(seconds, exactness, missing)`` by peer and distribution."""
    chosen = {name: peer for name, peer in PEERS.items() if peer is next(iter(PEERS.values())) or short(name) in only}
    seconds: dict = {name: {d: [] for d in DISTRIBUTIONS} for name in chosen}
    exact: dict = {}
    missing: dict = {}
    workers: dict[str, Worker] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sets = write_sets(folder, n)
        for number, (peer, (packages, code)) in enumerate(chosen.items()):
            try:
                python = given.get(short(peer)) or install(folder / str(number), packages)
                workers[peer] = Worker(python, code, threads, folder)
            except subprocess.CalledProcessError as error:
                missing[peer] = (error.stderr or b"").decode().strip().splitlines()[-1]
        for r in range(rounds):
            for d, path in sets.items():
                for peer, worker in workers.items():
                    if peer in missing:
                        continue
                    out = folder / f"{PEERS_NUMBER[peer]}-{d}.npy"
                    try:
                        seconds[peer][d].append(worker.seconds(path, str(out) if r == 0 else "-"))
                    except (RuntimeError, OSError) as error:
                        missing[peer] = str(error)
        for worker in workers.values():
            worker.close()
        for d in DISTRIBUTIONS:
            truth = np.load(folder / f"0-{d}.npy")
            for peer in workers:
                if peer not in missing:
                    found = np.load(folder / f"{PEERS_NUMBER[peer]}-{d}.npy")
                    part = truth[: len(found)]
                    # how many of the returned ones are as similar as the tenth best: 1 is exact
                    exact.setdefault(peer, {})[d] = float((found >= part[:, -1:] - 1e-6).mean())
    medians = {p: {d: statistics.median(t) for d, t in of.items()} for p, of in seconds.items() if p not in missing}
    return medians, exact, missing


PEERS_NUMBER = {name: number for number, name in enumerate(PEERS)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", type=int, default=10_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    names = [short(peer) for peer in PEERS]
    parser.add_argument("--only", nargs="+", choices=names[1:], default=names[1:], help="beside ours")
    parser.add_argument("--python", action="append", default=[], metavar="PEER=PYTHON", help="instead of installing")
    parser.add_argument("--json", type=Path, help="write the JSON here as well")
    options = parser.parse_args()
    given = dict(pair.split("=", 1) for pair in options.python)
    medians, exact, missing = measure(options.sets, options.threads, options.rounds, options.only, given)
    print(f"{options.sets:,} sets of {PER_SET} of {PRIMES:,} primes, top {TOP}, {options.threads} threads\n")
    print("| |", " | ".join(f"{d}, s | times ours | exact" for d in DISTRIBUTIONS), "|")
    print("|---" * (1 + 3 * len(DISTRIBUTIONS)) + "|")
    ours = medians.get(next(iter(PEERS)), {})
    for peer, of in medians.items():
        cells = []
        for d in DISTRIBUTIONS:
            share = exact[peer][d]
            cells += [f"{of[d]:.4f}", f"{of[d] / ours[d]:.2f}", "yes" if share == 1 else f"{share:.1%}"]
        print(f"| {peer} |", " | ".join(cells), "|")
    for peer, reason in missing.items():
        print(f"\n{peer} is missing: {reason}")
    document = json.dumps({"sets": options.sets, "threads": options.threads, "seconds": medians, "exact": exact})
    print("\n" + document)
    if options.json:
        options.json.write_text(document + "\n")
    return 1 if next(iter(PEERS)) in missing else 0


if __name__ == "__main__":
    sys.exit(main())
