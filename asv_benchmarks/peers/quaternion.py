"""Quaternions at 10^6: primeattn beside numpy-quaternion, quaternionic, rowan and SciPy's Rotation.

Every peer is installed into a virtual environment of its own and runs in processes of its own, interleaved with the
others. A peer that cannot be installed or fails is named with the reason. primeattn writes into preallocated arrays.

Its product and its rotation are each compared with a triad ``c = a + s b`` that moves the same bytes: 12 numbers a row
for the product (two quaternions read, one written), 10 for the rotation (a quaternion and a vector read, a vector
written). Operands and result lie in one piece of memory, and the triad takes the thirds of that very piece as its three
arrays, on the same threads in as many chunks, in turn with the operation: on the machines tried, where memory lies made
a factor of 1.5. (The rotation's triad writes into the end of ``v``, which stays random numbers.)

    python asv_benchmarks/peers/quaternion.py [--size 1000000] [--rounds 5] [--json FILE]

Prints a Markdown table (milliseconds: of each process its fastest call, of these the median) and one line of JSON.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
FUNCTIONS = ("multiply", "rotate", "exp", "log", "slerp")
TRIADS = {"multiply": "triad, 12 numbers", "rotate": "triad, 10 numbers"}
COLUMNS = (TRIADS["multiply"], "multiply", TRIADS["rotate"], "rotate", "exp", "log", "slerp")

# Same data for everyone: a, b any quaternions, u, w unit ones, v vectors, t fractions.
DATA = """
import json, time
import numpy as np
rng = np.random.default_rng(0)
a, b = rng.standard_normal((2, {size}, 4))
u, w = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
v, t = rng.standard_normal(({size}, 3)), rng.random({size})
def timed(calls, repeats):
    found = {{name: [] for name in calls}}
    for call in calls.values():
        call()  # compile, allocate
    for _ in range(repeats):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            found[name].append(time.perf_counter() - start)
    return {{name: min(times) for name, times in found.items()}}
"""

PRIMEATTN = """
import numba, primeattn as pa
numba.set_num_threads(min({threads}, numba.config.NUMBA_NUM_THREADS))
q = pa.quaternion
from primeattn._runtime.owners import share

@numba.njit(nogil=True)
def triad(start, stop, x, y, out):
    s = x.dtype.type(3)
    for i in range(start, stop):
        out[np.uint64(i)] = x[np.uint64(i)] + s * y[np.uint64(i)]

# The arrays and one more like the last, side by side in one piece of memory; and the triad of that piece.
def together(*arrays):
    arrays = [array.astype(np.{dtype}) for array in (*arrays, np.zeros_like(arrays[-1]))]
    memory = np.concatenate([array.ravel() for array in arrays])
    views, third, start = [], memory.size // 3, 0
    for array in arrays:
        views.append(memory[start : start + array.size].reshape(array.shape))
        start += array.size
    thirds = [memory[k * third : (k + 1) * third] for k in range(3)]
    rows = len(arrays[0])

    def run():  # rows are shared, as the operation's are: the same number of chunks
        share(lambda start, stop: triad(start * third // rows, stop * third // rows, *thirds), rows, 16384)

    return *views, run

x, y, out, triad_12 = together(a, b)
m, z, out3, triad_10 = together(u, v)
n, f = w.astype(np.{dtype}), t.astype(np.{dtype})
found = timed({"triad, 12 numbers": triad_12, "multiply": lambda: q.multiply(x, y, out=out)}, 25)
found |= timed({"triad, 10 numbers": triad_10, "rotate": lambda: q.rotate(m, z, out=out3)}, 25)
print(json.dumps(found | timed(dict(
    exp=lambda: q.exp(x, out=out),
    log=lambda: q.log(x, out=out),
    slerp=lambda: q.slerp(m, n, f, out=out),
), 15)))
"""
NUMPY_QUATERNION = """
import quaternion
a, b, u, w = (quaternion.as_quat_array(array) for array in (a, b, u, w))
out = np.empty_like(a)
print(json.dumps(timed(dict(
    multiply=lambda: np.multiply(a, b, out=out),
    rotate=lambda: u * quaternion.from_vector_part(v) * u.conjugate(),
    exp=lambda: np.exp(a, out=out),
    log=lambda: np.log(a, out=out),
    slerp=lambda: np.slerp_vectorized(u, w, t),
), 5)))
"""
QUATERNIONIC = """
import quaternionic
a, b, u, w = (quaternionic.array(array) for array in (a, b, u, w))
vector = quaternionic.array(np.concatenate([np.zeros_like(v[:, :1]), v], axis=1))
print(json.dumps(timed(dict(
    multiply=lambda: a * b,
    rotate=lambda: u * vector * u.conjugate(),
    exp=lambda: np.exp(a),
    log=lambda: np.log(a),
    slerp=lambda: quaternionic.slerp(u, w, t),
), 5)))
"""
ROWAN = """
import rowan
print(json.dumps(timed(dict(
    multiply=lambda: rowan.multiply(a, b),
    rotate=lambda: rowan.rotate(u, v),
    exp=lambda: rowan.exp(a),
    log=lambda: rowan.log(a),
    slerp=lambda: rowan.interpolate.slerp(u, w, t),
), 5)))
"""
SCIPY = """
from scipy.spatial.transform import Rotation
first, second = (Rotation.from_quat(array[:, [1, 2, 3, 0]]) for array in (u, w))
print(json.dumps(timed(dict(
    multiply=lambda: first * second,
    rotate=lambda: first.apply(v),
    exp=lambda: Rotation.from_rotvec(v),  # unit quaternions only
    log=lambda: first.as_rotvec(),
    slerp=lambda: first * Rotation.from_rotvec(t[:, None] * (first.inv() * second).as_rotvec()),
), 5)))
"""

OURS = "primeattn, float64"
PEERS = {
    OURS: (str(ROOT), PRIMEATTN.replace("{dtype}", "float64").replace("{threads}", "1024")),
    "primeattn, float32": (str(ROOT), PRIMEATTN.replace("{dtype}", "float32").replace("{threads}", "1024")),
    "primeattn, float64, 1 thread": (str(ROOT), PRIMEATTN.replace("{dtype}", "float64").replace("{threads}", "1")),
    "numpy-quaternion": ("numpy-quaternion", NUMPY_QUATERNION),
    "quaternionic": ("quaternionic", QUATERNIONIC),
    "rowan": ("rowan", ROWAN),
    "SciPy Rotation": ("scipy", SCIPY),
}


def install(folder: Path, package: str) -> str:
    """Interpreter of a fresh environment with the package."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, capture_output=True)
    python = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", package], check=True, capture_output=True)
    return str(python)


def measure(size: int, rounds: int) -> tuple[dict[str, dict[str, float]], dict[str, str]]:
    """Median seconds of every function of every peer, and why peers are missing."""
    found: dict[str, dict[str, list[float]]] = {name: {} for name in PEERS}
    missing: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        pythons: dict[str, str] = {}
        for name, (package, _) in PEERS.items():
            try:
                if package not in pythons:
                    pythons[package] = install(Path(folder) / str(len(pythons)), package)
            except subprocess.CalledProcessError as error:
                missing[name] = (error.stderr or b"").decode().strip().splitlines()[-1:][0]
        for _ in range(rounds):
            for name, (package, code) in PEERS.items():
                if name in missing:
                    continue
                run = subprocess.run(
                    [pythons[package], "-c", DATA.format(size=size) + code], capture_output=True, text=True, cwd=folder
                )
                if run.returncode:
                    missing[name] = run.stderr.strip().splitlines()[-1]
                    continue
                for function, seconds in json.loads(run.stdout.splitlines()[-1]).items():
                    found[name].setdefault(function, []).append(seconds)
    medians = {n: {f: statistics.median(s) for f, s in of.items()} for n, of in found.items() if n not in missing}
    return medians, missing


def ratios(medians: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """What is claimed: bandwidth over the triad's, times faster than the best peer, float32 over float64."""
    ours, single = medians[OURS], medians["primeattn, float32"]
    mine = {name: of for name, of in medians.items() if name.startswith("primeattn")}
    peers = [of for name, of in medians.items() if name not in mine]
    over_triad = {name: {f: of[triad] / of[f] for f, triad in TRIADS.items()} for name, of in mine.items()}
    return {
        **{f"bandwidth over the triad's, {name}": of for name, of in over_triad.items()},
        "times faster than the best peer": {f: min(p[f] for p in peers) / ours[f] for f in FUNCTIONS if peers},
        "float32 over float64": {f: ours[f] / single[f] for f in FUNCTIONS},
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=10**6)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the JSON here as well")
    options = parser.parse_args()
    medians, missing = measure(options.size, options.rounds)
    print(f"{options.size:,} quaternions, ms\n")
    print("| |", " | ".join(COLUMNS), "|")
    print("|---" * (len(COLUMNS) + 1) + "|")
    for name, of in medians.items():
        print(f"| {name} |", " | ".join(f"{of[f] * 1e3:.1f}" if f in of else "" for f in COLUMNS), "|")
    claims = ratios(medians) if OURS in medians and "primeattn, float32" in medians else {}
    for claim, of in claims.items():
        print(f"| *{claim}* |", " | ".join(f"{of[f]:.2f}" if f in of else "" for f in COLUMNS), "|")
    for name, reason in missing.items():
        print(f"\n{name} is missing: {reason}")
    document = json.dumps({"size": options.size, "seconds": medians, "ratios": claims, "missing": missing})
    print("\n" + document)
    if options.json:
        options.json.write_text(document + "\n")
    return 1 if OURS in missing else 0


if __name__ == "__main__":
    sys.exit(main())
