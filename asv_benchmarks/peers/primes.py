"""All primes to 10^8 as an array of int64: primeattn beside its peers, one thread each and two for primeattn.

Every peer is installed into a virtual environment of its own and runs in its own processes, interleaved with the
others. A peer that cannot be installed is named with the reason. primesieve is the C++ library through ctypes: give
its path, or have it where the linker looks (Debian: libprimesieve11).

    python asv_benchmarks/peers/primes.py [--limit 100000000] [--rounds 5] [--primesieve PATH]
"""

import argparse
import ctypes.util
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]

TIMED = """
import sys, time
call({limit} // 100)  # compile, load, allocate
start = time.perf_counter()
count = call({limit})
print(time.perf_counter() - start, count)
"""
PRIMEATTN = """
import numba, primeattn
numba.set_num_threads({threads})
call = lambda limit: len(primeattn.primes.up_to(limit))
"""
NUMPY = """
import numpy as np
def call(limit):
    prime = np.ones(limit + 1, bool)
    prime[:2] = False
    for p in range(2, int(limit**0.5) + 1):
        if prime[p]:
            prime[p * p :: p] = False
    return len(np.flatnonzero(prime))
"""
SYMPY = """
import sympy
def call(limit):
    sieve = type(sympy.sieve)()
    sieve.extend(limit)
    return len(sieve._list)
"""
PRIMESIEVE = """
import ctypes
library = ctypes.CDLL({path!r})
library.primesieve_generate_primes.restype = ctypes.c_void_p
library.primesieve_generate_primes.argtypes = [ctypes.c_uint64] * 2 + [ctypes.POINTER(ctypes.c_size_t), ctypes.c_int]
library.primesieve_free.argtypes = [ctypes.c_void_p]
def call(limit):
    size = ctypes.c_size_t()
    library.primesieve_free(library.primesieve_generate_primes(0, limit, ctypes.byref(size), 12))  # 12: int64
    return size.value
"""


def install(folder: Path, packages: list[str]) -> str:
    """Interpreter of a fresh environment with the packages."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, capture_output=True)
    python = str(folder / "bin" / "python")
    subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True, capture_output=True)
    return python


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--limit", type=int, default=10**8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--primesieve", default=ctypes.util.find_library("primesieve"), help="path of the library")
    options = parser.parse_args()
    peers = {
        "primeattn, 2 threads": ([str(ROOT)], PRIMEATTN.format(threads=2)),
        "primeattn, 1 thread": ([str(ROOT)], PRIMEATTN.format(threads=1)),
        "NumPy, textbook": (["numpy"], NUMPY),
        "SymPy": (["sympy"], SYMPY),
    }
    if options.primesieve:
        peers["primesieve (C++)"] = ([], PRIMESIEVE.format(path=options.primesieve))
    times: dict[str, list[float]] = {name: [] for name in peers}
    counts = set()
    with tempfile.TemporaryDirectory() as folder:
        pythons: dict[tuple[str, ...], str] = {}
        for packages, _ in peers.values():
            key = tuple(packages)
            if key not in pythons:
                pythons[key] = install(Path(folder) / str(len(pythons)), packages) if key else sys.executable
        for _ in range(options.rounds):
            for name, (packages, code) in peers.items():
                program = code + TIMED.format(limit=options.limit)
                run = subprocess.run(
                    [pythons[tuple(packages)], "-c", program], capture_output=True, text=True, check=True, cwd=folder
                )
                seconds, count = run.stdout.split()
                times[name].append(float(seconds))
                counts.add(int(count))
    if len(counts) > 1:
        print(f"the counts differ: {sorted(counts)}")
        return 1
    medians = {name: statistics.median(found) for name, found in times.items()}
    base = medians["primeattn, 1 thread"]
    print(f"primes to {options.limit:,}: {counts.pop():,}; median of {options.rounds} processes")
    for name, median in sorted(medians.items(), key=lambda item: item[1]):
        print(f"{name:24} {median * 1e3:10.1f} ms {median / base:8.2f} x")
    if not options.primesieve:
        print("primesieve (C++)         not found: install libprimesieve, or pass --primesieve PATH")
    return 0


if __name__ == "__main__":
    sys.exit(main())
