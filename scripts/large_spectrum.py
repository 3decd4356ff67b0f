"""Both ends of the spectrum of all original scores of many states, never stored: the figures of docs/theory/study.md.

    python scripts/large_spectrum.py [--states 100000] [--primes 8] [--table 4096] [--tolerance 0.1] [--seed 0]

With the default sizes: minutes on two cores, about 1 GB.
"""

import argparse
import resource
import time

import numpy as np

import primeattn as pa


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--states", type=int, default=100_000, help="how many")
    parser.add_argument("--primes", type=int, default=8, help="primes of a state")
    parser.add_argument("--table", type=int, default=4096, help="primes to draw from")
    parser.add_argument("--tolerance", type=float, default=0.1, help="of an end's certified residual, relative")
    parser.add_argument("--seed", type=int, default=0, help="of the states")
    given = parser.parse_args()
    states = pa.PrimeStates.random(given.states, given.primes, n_primes=given.table, rng=given.seed)
    operator = pa.study.operator(states, kind="original")
    for width in (1, 8):
        start = time.perf_counter()
        _ = operator @ np.ones((given.states, width))  # the first one compiles
        print(f"one product with {width} vectors: {time.perf_counter() - start:.1f} s")
    start = time.perf_counter()
    found = pa.study.spectrum(operator, tol=given.tolerance)
    seconds = time.perf_counter() - start
    print(f"both ends: {seconds:.1f} s, {found.products} products, converged: {found.converged}")
    print(f"smallest {found.smallest[0]:.8g}, an eigenvalue within {found.smallest_error[0]:.2g}")
    print(f"for certain, the smallest is at most {found.smallest[0] + found.rounding:.8g}")
    print(f"largest {found.largest[0]:.12g}, an eigenvalue within {found.largest_error[0]:.2g}")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2:.2f} GiB")


if __name__ == "__main__":
    main()
