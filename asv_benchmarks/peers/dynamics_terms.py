"""A step of RK4 with one term more, on one thread: nanoseconds an oscillator and step, and an edge and derivative.

A step is the difference of a long and a short run over the difference of their steps; rounds are interleaved.

    python asv_benchmarks/peers/dynamics_terms.py [--rounds 5] [--only CASE ...]
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

import numba
import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2]))

from dynamics_steps import erdos_renyi

import primeattn as pa

N, DEGREE, FULL = 10_000, 10, 2000
SHORT, LONG = 4, 44


def cases() -> dict:
    """name -> (maker, edges or rows of triangles a derivative; 0 for none)."""
    rng = np.random.default_rng(0)
    omega, w = rng.normal(size=N), erdos_renyi(N, DEGREE)
    kinds = pa.dynamics
    return {
        "phases, all to all": (lambda: pa.Kuramoto(omega, 2.0), 0),
        "two more harmonics": (lambda: pa.Kuramoto(omega, 2.0, harmonics={2: 0.5, 3: 0.2}), 0),
        "triads over all": (lambda: pa.Kuramoto(omega, 2.0, triadic=(0.5, 0.5)), 0),
        "inertia": (lambda: pa.Kuramoto(omega, 2.0, inertia=1.0), 0),
        "noise, sra1": (lambda: pa.Kuramoto(omega, 2.0, diffusion=0.1), 0),
        "coloured noise, sra1": (lambda: pa.Kuramoto(omega, 2.0, diffusion=0.1, correlation_time=0.5), 0),
        "a delay of all": (lambda: pa.Kuramoto(omega, 2.0, delay=0.3), 0),
        "amplitudes": (lambda: kinds.StuartLandau(omega, 2.0), 0),
        "spheres, D = 3": (lambda: kinds.Spheres(kinds.frequencies.rotations(N, 3, rng=0), 2.0), 0),
        "a network": (lambda: pa.Kuramoto(omega, 2.0, w, "degree"), w.nnz),
        "a network and a delay of all": (lambda: pa.Kuramoto(omega, 2.0, w, "degree", delay=0.3), w.nnz),
        "a delay an edge": (
            lambda: pa.Kuramoto(omega, 2.0, w, "degree", delay=rng.uniform(0.1, 0.5, w.nnz)), w.nnz,
        ),
        "weights that learn": (lambda: pa.Kuramoto(omega, 2.0, w, "degree", adaptation=0.1), w.nnz),
        "triangles": (lambda: pa.Kuramoto(omega, 0.0, triangles=rng.integers(0, N, (10 * N, 3))), 10 * N),
        "ring of 2,000 neighbours": (lambda: pa.Kuramoto(omega, 2.0, kinds.Ring(1000)), 0),
        "full matrix, N = 2,000": (lambda: pa.Kuramoto(omega[:FULL], 2.0, rng.random((FULL, FULL))), FULL * FULL),
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=list(cases()), default=list(cases()))
    options = parser.parse_args()
    numba.set_num_threads(1)
    runs, steps = {}, {name: [] for name in options.only}
    for name in options.only:
        make, edges = cases()[name]
        model = make()
        runs[name] = model, model.draw(np.random.default_rng(1), 1)[0], edges

    def seconds(name: str, count: int) -> float:
        model, start, _ = runs[name]
        begun = time.perf_counter()
        pa.simulate(model, (0, 0.01 * count), start, dt=0.01, samples=2, observables=(), rng=0)
        return time.perf_counter() - begun

    for name in options.only:
        seconds(name, 1)
    for _ in range(options.rounds):
        for name in options.only:
            steps[name].append((seconds(name, LONG) - seconds(name, SHORT)) / (LONG - SHORT))
    print("| | ns an oscillator and step | an edge and derivative |")
    print("|---|--:|--:|")
    for name in options.only:
        model, _, edges = runs[name]
        step, stages = 1e9 * statistics.median(steps[name]), 2 if name.endswith("sra1") else 4
        print(f"| {name} | {step / model.size:.3g} | {f'{step / edges / stages:.3g}' if edges else ''} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
