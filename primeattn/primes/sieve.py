"""The sieve of Eratosthenes on the wheel of 30, in segments that stay in the cache.

Beyond 2, 3 and 5 a prime has one of eight residues modulo 30, so **one byte holds thirty numbers**: bit j of byte b
stands for 30 b + RESIDUES[j]. The multiples of a prime p that the wheel keeps are p (30 b + r) for the eight
residues r, and

    p (30 b + r) = 30 (p b + (p r) // 30) + (p r) % 30,

so for each r they lie p bytes apart and always under the same bit. Crossing out is eight plain loops.

A segment depends on nothing but the primes up to the square root: threads share the segments, and the result does
not depend on how. There is no CUDA twin: the table is built once, on the host, where states are validated.
"""

from functools import cache
from math import isqrt
from typing import NamedTuple

import numpy as np

from .._runtime.jit import kernel
from .._runtime.owners import share

RESIDUES = (1, 7, 11, 13, 17, 19, 23, 29)
BITS = tuple(1 << RESIDUES.index(r) if r in RESIDUES else 0 for r in range(30))  # residue -> its bit, 0: never prime
SEGMENT = 1 << 15  # bytes: 983,040 numbers, within a first-level cache
CACHED_BITS = 24  # tables up to 2**24 are kept: 1,077,871 primes, 11 MB
SMALLEST_BITS = 16


class Table(NamedTuple):
    """Primes up to ``limit`` in three forms, all read-only.

    ``bitmap`` answers "is it prime", ``rank`` (primes above 5 before each byte) "which one is it",
    and ``primes`` "which is the i-th".
    """

    limit: int
    bitmap: np.ndarray
    rank: np.ndarray
    primes: np.ndarray


@kernel
def cross_out_cpu(start, stop, primes, bitmap):
    for s in range(start, stop):
        low = s * SEGMENT
        high = min(low + SEGMENT, bitmap.shape[0])
        for b in range(low, high):
            bitmap[b] = 255
        for i in range(primes.shape[0]):
            p = primes[i]
            if p * p >= 30 * high:
                break
            for r in RESIDUES:
                offset = p * r // 30
                keep = 255 - BITS[p * r % 30]
                b = max((low - offset + p - 1) // p, (p - r + 29) // 30)  # inside the segment; cofactor not below p
                for byte in range(p * b + offset, high, p):
                    bitmap[byte] &= keep
        if s == 0:
            bitmap[0] &= 254  # 1 is not prime


@kernel
def list_cpu(start, stop, bitmap, offsets, out):
    for s in range(start, stop):
        i = offsets[s]
        for b in range(s * SEGMENT, min((s + 1) * SEGMENT, bitmap.shape[0])):
            byte = bitmap[b]
            for j in range(8):
                if byte >> j & 1:
                    out[i] = 30 * b + RESIDUES[j]
                    i += 1


def _primes_of_the_wheel(limit: int) -> np.ndarray:
    """Primes from 7 up to a small limit, by the textbook sieve."""
    prime = np.ones(limit + 1, bool)
    for p in range(2, isqrt(limit) + 1):
        prime[p * p :: p] = False
    return 7 + np.flatnonzero(prime[7:])


def bitmap_to(limit: int) -> np.ndarray:
    """The bitmap of all numbers below ``30 * (limit // 30 + 1)``, ``limit`` included: ``limit / 30`` bytes."""
    bitmap = np.empty(limit // 30 + 1, np.uint8)
    primes = _primes_of_the_wheel(isqrt(30 * bitmap.size) + 1)
    share(lambda start, stop: cross_out_cpu(start, stop, primes, bitmap), -(-bitmap.size // SEGMENT), 1, 4)
    return bitmap


def primes_of(bitmap: np.ndarray) -> np.ndarray:
    """The primes that a bitmap holds, ascending, with 2, 3 and 5 in front."""
    segments = -(-bitmap.size // SEGMENT)
    counts = np.add.reduceat(np.bitwise_count(bitmap), np.arange(segments) * SEGMENT, dtype=np.int64)
    offsets = 3 + np.concatenate(([0], np.cumsum(counts)))
    out = np.empty(offsets[-1], np.int64)
    out[:3] = 2, 3, 5
    share(lambda start, stop: list_cpu(start, stop, bitmap, offsets, out), segments, 1, 4)
    return out


def build(limit: int) -> Table:
    """Sieve and make a table; the caller may keep it."""
    bitmap = bitmap_to(limit)
    ones = np.bitwise_count(bitmap)
    table = Table(30 * bitmap.size - 1, bitmap, np.cumsum(ones, dtype=np.int32) - ones, primes_of(bitmap))
    for array in table[1:]:
        array.flags.writeable = False
    return table


@cache
def _kept(bits: int) -> Table:
    return build(1 << bits)


def table(limit: int) -> Table:
    """A table that reaches ``limit``: a kept one up to 2**24, a fresh one beyond.

    Kept tables are pure values: two threads that ask at once build the same one twice, and either copy is right.
    """
    bits = max(SMALLEST_BITS, int(limit).bit_length())
    return _kept(bits) if bits <= CACHED_BITS else build(limit)
