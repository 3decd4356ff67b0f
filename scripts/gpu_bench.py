"""Time the plain CUDA twins against their CPU owners on one machine, in one run, and store the table as JSON.

Every row is a public function called once with arrays in host memory and once with the same arrays on the device,
both warmed; the device time ends with a synchronisation. Medians of ``--repeats`` calls.
"""

import argparse
import json
import platform
import statistics
import time
from functools import partial
from pathlib import Path

import numpy as np

import primeattn as pa
from primeattn._runtime.devices import cuda


def median_seconds(call, repeats: int, wait=lambda: None) -> float:
    call()
    wait()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        wait()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def quaternion_cases(n: int, dtype):
    rng = np.random.default_rng(0)
    a, b = (pa.quaternion.random(n, rng=rng, dtype=dtype) for _ in range(2))
    v, t = rng.standard_normal((n, 3)).astype(dtype), rng.random(n).astype(dtype)
    width = np.dtype(dtype).itemsize
    q = pa.quaternion
    yield "quaternion.multiply", q.multiply, (a, b), np.empty_like(a), 12 * n * width
    yield "quaternion.rotate", q.rotate, (a, v), np.empty_like(v), 10 * n * width
    yield "quaternion.exp", q.exp, (a,), np.empty_like(a), 8 * n * width
    yield "quaternion.log", q.log, (a,), np.empty_like(a), 8 * n * width
    yield "quaternion.slerp", q.slerp, (a, b, t), np.empty_like(a), 13 * n * width


def resonance_case(n: int, dtype):
    states = pa.PrimeStates.random(n, 16, rng=0, dtype=dtype)
    arrays = pa.resonance.StateArrays.of(states)
    return lambda x: pa.resonance.matrix(x), arrays, n * n * np.dtype(dtype).itemsize


def dynamics_cases(n: int, dtype):
    """Steps and derivatives as functions of the state; bytes that rows read and write."""
    rng, width = np.random.default_rng(0), np.dtype(dtype).itemsize

    def phases(*shape):
        return rng.uniform(-3, 3, shape).astype(dtype)

    def stepping(model, method, theta):
        flow = pa.dynamics.Flow(model, like=theta)
        return lambda: flow.step(theta, 0.05, method=method)

    rk4 = 55 * width  # four times (sense 3, sums 2, slope 4), combine 15, in and out 4
    for name, model, theta, method, nbytes in (
        ("all to all, rk4", pa.Kuramoto(rng.standard_normal(n), 2.0), phases(n), "rk4", rk4 * n),
        ("1000 runs, rk4", pa.Kuramoto(rng.standard_normal(n // 1000), 2.0), phases(1000, n // 1000), "rk4", rk4 * n),
        ("noise, sra1", pa.Kuramoto(np.zeros(n), 2.0, diffusion=0.1), phases(n), "sra1", 37 * width * n),
        ("network, rk4", pa.Kuramoto(np.zeros(n), 2.0, network_of(n, rng)), phases(n), "rk4", (rk4 + 80 * width) * n),
    ):
        yield f"dynamics.step, {name}", theta, partial(stepping, model, method), nbytes


def network_of(n: int, rng):
    """Ten incoming edges each."""
    from scipy import sparse

    return sparse.csr_array((np.ones(10 * n), rng.integers(0, n, 10 * n), np.arange(0, 10 * n + 1, 10)), shape=(n, n))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("docs/benchmarks/gpu.json"))
    parser.add_argument("--size", type=int, default=4_000_000, help="quaternions in a batch")
    parser.add_argument("--states", type=int, default=4_000, help="prime states whose pairs are scored")
    parser.add_argument("--oscillators", type=int, default=1_000_000, help="phases, of one run or of a thousand")
    parser.add_argument("--repeats", type=int, default=20)
    options = parser.parse_args()
    wait = cuda().synchronize
    rows = []

    def add(name, dtype, size, nbytes, on_cpu, on_device):
        cpu = median_seconds(on_cpu, max(3, options.repeats // 4))
        device = median_seconds(on_device, options.repeats, wait)
        rows.append(
            {
                "function": name,
                "dtype": np.dtype(dtype).name,
                "size": size,
                "cpu_ms": round(1e3 * cpu, 4),
                "cuda_ms": round(1e3 * device, 4),
                "ratio": round(cpu / device, 2),
                "cuda_GB_per_s": round(nbytes / device / 1e9, 1),
            }
        )
        print(rows[-1], flush=True)

    for dtype in (np.float32, np.float64):
        for name, function, operands, out, nbytes in quaternion_cases(options.size, dtype):
            there, there_out = [pa.to_device(x) for x in operands], pa.to_device(out)
            add(
                name,
                dtype,
                options.size,
                nbytes,
                lambda f=function, x=operands, y=out: f(*x, out=y),
                lambda f=function, x=there, y=there_out: f(*x, out=y),
            )
        for name, theta, stepping, nbytes in dynamics_cases(options.oscillators, dtype):
            add(name, dtype, theta.size, nbytes, stepping(theta), stepping(pa.to_device(theta)))
        call, arrays, nbytes = resonance_case(options.states, dtype)
        there = arrays.to_device()
        add(
            "resonance.matrix",
            dtype,
            options.states,
            nbytes,
            lambda c=call, x=arrays: c(x),
            lambda c=call, x=there: c(x),
        )
    options.output.parent.mkdir(parents=True, exist_ok=True)
    found = {"machine": pa.doctor(), "node": platform.processor(), "repeats": options.repeats, "rows": rows}
    options.output.write_text(json.dumps(found, indent=1) + "\n")
    print("wrote", options.output)


if __name__ == "__main__":
    main()
