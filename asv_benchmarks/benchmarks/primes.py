"""Sieve, look-ups, primality, factorisation; the sieve beside the textbook's in the same run."""

import statistics
import time

import numpy as np

import primeattn as pa

from . import size


def textbook(limit):
    """The sieve that everybody writes with NumPy: one byte a number."""
    prime = np.ones(limit + 1, bool)
    prime[:2] = False
    for p in range(2, int(limit**0.5) + 1):
        if prime[p]:
            prime[p * p :: p] = False
    return np.flatnonzero(prime)


class Sieve:
    params = size((10**6, 10**8), (10**6,))
    param_names = ("limit",)
    timeout = 120

    def setup(self, limit):
        pa.primes.up_to(100)

    def time_up_to(self, limit):
        pa.primes.up_to(limit)

    def peakmem_up_to(self, limit):
        pa.primes.up_to(limit)


class SieveAgainstTextbook:
    """How many times faster than the textbook's sieve, to 10^8."""

    unit = "times"
    timeout = 300

    def track_ratio(self):
        limit = size(10**8, 10**6)
        pa.primes.up_to(100)
        ratios = []
        for _ in range(3):
            start = time.perf_counter()
            textbook(limit)
            between = time.perf_counter()
            pa.primes.up_to(limit)
            ratios.append((between - start) / (time.perf_counter() - between))
        return statistics.median(ratios)


class LookUp:
    """A million numbers each."""

    def setup(self):
        rng = np.random.default_rng(0)
        self.small = rng.integers(0, 1 << 24, 10**6)
        self.large = rng.integers(1 << 60, 1 << 62, 10**5) | 1
        self.primes = np.resize(self.small[pa.primes.is_prime(self.small)], 10**6)
        self.numbers = rng.integers(1, 10**6, 10**5)
        self.hard = rng.integers(1 << 60, 1 << 62, 100)
        for call in (self.time_index, self.time_is_prime_by_miller_rabin_100k, self.time_factorize_100_of_62_bits):
            call()

    def time_is_prime_by_table(self):
        pa.primes.is_prime(self.small)

    def time_is_prime_by_miller_rabin_100k(self):
        pa.primes.is_prime(self.large)

    def time_index(self):
        pa.primes.index(self.primes)

    def time_factorize_100k_below_a_million(self):
        pa.primes.factorize(self.numbers)

    def time_factorize_100_of_62_bits(self):
        pa.primes.factorize(self.hard)
