"""Kuramoto oscillators: primeattn beside SciPy, jitcode and package kuramoto, compared at equal error.

Every peer is installed into a virtual environment of its own and waits in a process of its own; rounds are interleaved.
Error is the largest difference of a final phase from a reference, SciPy's DOP853 at tolerance 1e-12. A ratio is that of
the times of a peer and of primeattn's fastest run whose error is no larger, so that nobody is quick by being wrong.
Errors jump from tolerance to tolerance, so primeattn's are half or quarter decades apart: one comes near the peer's.

All get the same right-hand side: SciPy sums all to all by the mean field, networks by sparse products; jitcode's C code
has the mean field as helpers, and its compilation stands apart; ``kuramoto`` takes N^2 sines, as it does for its users.

    python asv_benchmarks/peers/dynamics.py [--threads 1] [--rounds 3] [--only CASE ...] [--figure FILE] [--json FILE]

Prints Markdown tables and one line of JSON; the figure shows error against time. A peer that fails is named.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
REQUIREMENTS = {"scipy": ["scipy"], "jitcode": ["jitcode"], "kuramoto": ["kuramoto==0.4.0"]}
RKS = {
    "rk4": (0.2, 0.1, 0.05, 0.025),
    "dopri5": (1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5, 1e-6, 1e-7, 1e-9),
    "dop853": (1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5, 3e-6, *(10 ** (-6 - i / 4) for i in range(17))),
}
LARGE = {
    "dopri5": (1e-4, 1e-5, *(10 ** (-6 - i / 4) for i in range(5))),
    "dop853": (1e-4, 1e-5, *(10 ** (-6 - i / 4) for i in range(5)), 1e-8),
}
OWN = {"all": RKS, "network": RKS, "large": LARGE, "lattice": LARGE, "ensemble": {"rk4": (0.05,)}}
SCIPY = {"RK45": (1e-3, 1e-5, 1e-7), "DOP853": (1e-4, 1e-6, 1e-8, 1e-10)}
JITCODE = {"dopri5": (1e-3, 1e-5, 1e-7), "dop853": (1e-4, 1e-6, 1e-8, 1e-10)}
TITLES = {
    "all": "all to all, N = 500, to t = 20",
    "network": "Erdős-Rényi, N = 1,000, degree 10, to t = 20",
    "large": "Erdős-Rényi, N = 100,000, degree 10, to t = 2",
    "lattice": "lattice of 1000 x 10, to t = 100",
    "ensemble": "1,000 runs of N = 100, all to all, to t = 2",
}
PEERS = {
    "all": {"scipy": SCIPY, "jitcode": JITCODE, "kuramoto": {"odeint": (0.0,)}},
    "network": {"scipy": SCIPY, "jitcode": JITCODE, "kuramoto": {"odeint": (0.0,)}},
    "large": {"scipy": {"RK45": (1e-5,), "DOP853": (1e-6,)}},
    "lattice": {"scipy": {"RK45": (1e-5,), "DOP853": (1e-6,)}},
    "ensemble": {"scipy": {"rk4": (0.05,)}},
}

# A worker answers a line "<file> <method> <number>" with {"seconds", "error"} or {"problem"}.
LOOP = """
import json, sys, time
import numpy as np
{code}
ready = {{}}
for line in sys.stdin:
    path, method, number = line.split()
    try:
        with np.load(path) as file:
            case = dict(file)
        if path not in ready:
            ready[path] = prepare(case, path)
        if (path, method) not in ready:
            ready[path, method] = solve(ready[path], case, method, float(number))  # compile, load
        start = time.perf_counter()
        end = solve(ready[path], case, method, float(number))
        seconds = time.perf_counter() - start
        error = float(np.abs(end - case["end"]).max()) if "end" in case else 0.0
        if "end" not in case:
            np.save(path + ".end.npy", end)
        print(json.dumps(dict(seconds=seconds, error=error, extra=globals().get("extra", {{}}))), flush=True)
    except Exception as problem:
        print(json.dumps(dict(problem=repr(problem)[:200])), flush=True)
"""
SPARSE = """
from scipy import sparse
def network(case):
    n = len(case["omega"])
    return sparse.csr_array((np.ones(len(case["indices"])), case["indices"], case["indptr"]), shape=(n, n))
"""
OURS = (
    SPARSE
    + """
import primeattn as pa
def prepare(case, path):
    coupled = dict(network=network(case), normalize="degree") if "indices" in case else {}
    return pa.Kuramoto(case["omega"], case["coupling"], **coupled)
def solve(model, case, method, number):
    options = dict(dt=number) if method == "rk4" else dict(rtol=number, atol=number)
    options |= dict(method=method, samples=2, observables=())  # as of the peers, the last phases
    return pa.simulate(model, (0, float(case["t"])), case["theta"], **options).theta_end
"""
)
THEIRS = (
    SPARSE
    + """
from scipy.integrate import solve_ivp
def prepare(case, path):
    omega, k = case["omega"], case["coupling"]
    k = k[:, None] if k.ndim else k
    if "indices" in case:
        W = network(case)
        degree = np.maximum(np.diff(W.indptr), 1)
        def slope(t, theta):
            c, s = np.cos(theta), np.sin(theta)
            return omega + k / degree * (c * (W @ s) - s * (W @ c))
    else:
        def slope(t, theta):
            c, s = np.cos(theta), np.sin(theta)
            return omega + k * (c * s.mean(-1, keepdims=True) - s * c.mean(-1, keepdims=True))
    return slope
def solve(f, case, method, number):
    y, t = case["theta"], float(case["t"])
    if method == "rk4":
        h = t / round(t / number)
        for _ in range(round(t / number)):
            a = f(0, y); b = f(0, y + h / 2 * a); c = f(0, y + h / 2 * b); d = f(0, y + h * c)
            y = y + h / 6 * (a + 2 * b + 2 * c + d)
        return y
    return solve_ivp(f, (0, t), y, method=method, rtol=number, atol=number, t_eval=[t]).y[:, -1]
"""
)
JIT = """
from jitcode import jitcode, y
from symengine import Symbol, cos, sin
extra = {}
def prepare(case, path):
    n, omega, k = len(case["omega"]), case["omega"], float(case["coupling"])
    start = time.perf_counter()
    if "indices" in case:
        indptr, indices = case["indptr"], case["indices"]
        def f():
            for i in range(n):
                heard = indices[indptr[i] : indptr[i + 1]]
                yield omega[i] + k / max(len(heard), 1) * sum(sin(y(int(j)) - y(i)) for j in heard)
        system = jitcode(f, n=n, verbose=False)
    else:
        C, S = Symbol("C"), Symbol("S")
        def f():
            for i in range(n):
                yield omega[i] + k / n * (S * cos(y(i)) - C * sin(y(i)))
        helpers = [(C, sum(cos(y(i)) for i in range(n))), (S, sum(sin(y(i)) for i in range(n)))]
        system = jitcode(f, helpers=helpers, n=n, verbose=False)
    system.compile_C()
    extra["compile"] = time.perf_counter() - start
    return system
def solve(system, case, method, number):
    system.set_integrator(method, rtol=number, atol=number)
    system.set_initial_value(case["theta"], 0.0)
    return system.integrate(float(case["t"]))
"""
PACKAGE = """
from kuramoto import Kuramoto
def prepare(case, path):
    n = len(case["omega"])
    heard = np.ones((n, n))
    if "indices" in case:
        heard[:] = 0
        heard[case["indices"], np.repeat(np.arange(n), np.diff(case["indptr"]))] = 1  # row: who is heard
    return heard
def solve(heard, case, method, number):
    t = float(case["t"])
    model = Kuramoto(coupling=float(case["coupling"]), dt=0.1, T=t, natfreqs=case["omega"])
    return model.run(heard, case["theta"])[:, -1]
"""
CODE = {"primeattn": OURS, "scipy": THEIRS, "jitcode": JIT, "kuramoto": PACKAGE}


def case(name: str) -> dict:
    rng = np.random.default_rng(0)
    n = {"all": 500, "network": 1000, "large": 10**5, "lattice": 10**4, "ensemble": 100}[name]
    shape = (1000, n) if name == "ensemble" else (n,)
    made = {
        "omega": rng.normal(size=n), "theta": rng.uniform(-math.pi, math.pi, shape), "coupling": np.array(2.0),
        "t": np.array({"large": 2.0, "lattice": 100.0, "ensemble": 2.0}.get(name, 20.0)),
    }  # fmt: skip
    if name == "ensemble":
        made["coupling"] = np.linspace(0, 4, 1000)
    elif name != "all":
        if name == "lattice":
            sys.path.insert(0, str(ROOT))
            import primeattn as pa

            W = pa.dynamics.networks.lattice((1000, 10))
            made["omega"] *= 0.1
        else:
            from scipy import sparse

            key = np.unique(rng.integers(0, n * n, 10 * n))
            W = sparse.csr_array((np.ones(len(key)), (key // n, key % n)), shape=(n, n))
        made |= {"indptr": W.indptr, "indices": W.indices}
    return made


class Worker:
    def __init__(self, python: str, code: str, threads: int, path: str | None):
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
        environment = dict(os.environ, **dict.fromkeys(names, str(threads)))
        environment.pop("PYTHONPATH", None)
        if path:
            environment["PYTHONPATH"] = path
        self.process = subprocess.Popen(
            [python, "-c", LOOP.format(code=code)], stdin=-1, stdout=-1, stderr=-3, text=True, env=environment,
            cwd=tempfile.gettempdir(),
        )  # fmt: skip

    def ask(self, file, method, number) -> dict:
        self.process.stdin.write(f"{file} {method} {number}\n")
        self.process.stdin.flush()
        while True:
            line = self.process.stdout.readline()
            if not line:
                return {"problem": "the process ended"}
            if line.startswith("{"):
                return json.loads(line)


def install(folder: Path, packages: list[str]) -> str:
    """Interpreter of a fresh environment with the packages."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, capture_output=True)
    python = str(folder / "bin" / "python")
    subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True, capture_output=True)
    return python


def measure(name: str, workers: dict[str, Worker], folder: Path, rounds: int) -> dict:
    """{(peer, method, number): {"seconds", "error", "extra"}} of a case, or {"problem"}."""
    file, made = folder / f"{name}.npz", case(name)
    np.savez(file, **made)
    if name == "ensemble":  # the same scheme on both sides, compared with half the step
        workers["scipy"].ask(file, "rk4", 0.0125)
    else:
        workers["scipy"].ask(file, "DOP853", 1e-12)
    np.savez(file, **made, end=np.load(f"{file}.end.npy"))
    who = {"primeattn": OWN[name], **PEERS[name]}
    runs = [(peer, m, x) for peer, of in who.items() for m, xs in of.items() for x in xs]
    found: dict = {run: [] for run in runs}
    for _ in range(rounds):
        for run in runs:
            if run[0] in workers and not (found[run] and found[run][-1].get("seconds", 1e9) > 5):  # slow ones once
                found[run].append(workers[run[0]].ask(file, *run[1:]))
    result = {}
    for run, answers in found.items():
        good = [a for a in answers if "seconds" in a]
        if good:
            result[run] = {**good[-1], "seconds": statistics.median(a["seconds"] for a in good)}
        else:
            result[run] = answers[-1] if answers else {"problem": "not installed"}
    return result


def table(name: str, result: dict) -> list[str]:
    """A row a run of a peer: its time and error, ours of no larger error, the ratio."""
    lines = [
        f"\n**{TITLES[name]}**\n",
        "| peer | method, tolerance | ms | error | primeattn | ms | error | ratio | first |",
        "|---|---|--:|--:|---|--:|--:|--:|--:|",
    ]
    ours = {run: r for run, r in result.items() if run[0] == "primeattn" and "seconds" in r}
    for (peer, method, number), r in result.items():
        if peer == "primeattn":
            continue
        if "problem" in r:
            lines.append(f"| {peer} | {method} {number:.2g} | {r['problem']} |")
            continue
        able = [(o["seconds"], run, o["error"]) for run, o in ours.items() if o["error"] <= r["error"] * 1.0001]
        seconds, run, error = min(able) if able else (math.nan, ("", "none as exact", 0), math.nan)
        compiled = r.get("extra", {}).get("compile")
        lines.append(
            f"| {peer} | {method} {number:.2g} | {1e3 * r['seconds']:.4g} | {r['error']:.1e} | {run[1]} {run[2]:.2g} "
            f"| {1e3 * seconds:.3g} | {error:.1e} | {r['seconds'] / seconds:.3g} "
            f"| {f'{compiled:.1f} s to compile' if compiled else ''} |"
        )
    return lines


def figure(results: dict, file: Path, threads: int) -> None:
    """Error against time, a panel a case, a line a method."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    plt.rcParams["svg.hashsalt"] = "primeattn"
    shown = [name for name in ("all", "network") if name in results]
    size = 5 * len(shown) + 1.6, 4
    drawing, panels = plt.subplots(1, len(shown), figsize=size, squeeze=False, layout="constrained")
    marks = {"primeattn": "o-", "scipy": "s--", "jitcode": "^:", "kuramoto": "*"}
    for panel, name in zip(panels[0], shown, strict=True):
        for peer, method in dict.fromkeys(run[:2] for run in results[name]):
            points = [r for run, r in results[name].items() if run[:2] == (peer, method) and "seconds" in r]
            if points:
                panel.loglog(
                    [p["seconds"] for p in points], [p["error"] for p in points], marks[peer], label=f"{peer} {method}"
                )
        panel.set(xlabel="seconds", ylabel="largest error of a phase", title=TITLES[name])
        panel.grid(alpha=0.3)
    named = {name: line for panel in panels[0] for line, name in zip(*panel.get_legend_handles_labels(), strict=True)}
    title = f"{threads} thread{'s' * (threads > 1)}"
    drawing.legend(named.values(), named, loc="outside right center", fontsize="small", title=title)
    drawing.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=list(TITLES), default=list(TITLES))
    parser.add_argument("--python", action="append", default=[], metavar="PEER=PYTHON", help="instead of installing")
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--json", type=Path, help="write the JSON here as well")
    options = parser.parse_args()
    given = dict(pair.split("=", 1) for pair in options.python)
    results = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        workers = {"primeattn": Worker(sys.executable, OURS, options.threads, str(ROOT))}
        for peer, packages in REQUIREMENTS.items():
            try:
                python = given.get(peer) or install(folder / peer, packages)
                workers[peer] = Worker(python, CODE[peer], options.threads, None)
            except (subprocess.CalledProcessError, OSError) as problem:
                print(f"{peer} is missing: {problem}", file=sys.stderr)
        print(f"{options.threads} thread(s), medians of {options.rounds} interleaved rounds")
        for name in options.only:
            results[name] = measure(name, workers, folder, options.rounds)
            print("\n".join(table(name, results[name])), flush=True)
    if options.figure:
        figure(results, options.figure, options.threads)
    flat = {name: {" ".join(map(str, run)): r for run, r in of.items()} for name, of in results.items()}
    document = json.dumps({"threads": options.threads, "results": flat})
    print("\n" + document)
    if options.json:
        options.json.write_text(document + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
