"""The text hash of the original JavaScript package, bit for bit, for comparison.

For i = 0 .. k-1, with h the Java-style hash (31 h + unit, as int32) over UTF-16 units and c their sum:

    prime        number |h (i+1) 31337| mod n_primes, in double arithmetic; a later i overwrites an earlier one
    amplitude    exp(2 pi i' i/k) / sqrt k
    orientation  turn by (c i) mod 2 pi about (sin(c+i), cos(c i), sin i), normalised

Similar strings share nothing but by accident: one other letter changes h, and with it every prime. Strings whose h is
0, the empty one among them, have the single prime 2.
"""

import numpy as np

from .. import primes as _primes
from .._runtime.jit import kernel
from .._runtime.owners import share
from . import tokens
from .arrays import StateArrays, polar, precision


@kernel
def hash_cpu(start, stop, units, indptr, out):
    for i in range(start, stop):
        h = 0
        for u in range(indptr[i], indptr[i + 1]):
            h = (31 * h + units[u]) & 0xFFFF_FFFF
        out[i] = h - (1 << 32) if h >= 1 << 31 else h


def hashes(strings: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """``(h, c)`` of each string: the int32 hash of its UTF-16 units (lone surrogates too), and their sum."""
    encoded = [string.encode("utf-16-le", "surrogatepass") for string in strings]
    units = np.frombuffer(b"".join(encoded), "<u2").astype(np.int64)
    lengths = np.fromiter(map(len, encoded), np.int64, len(encoded)) // 2
    indptr = np.concatenate(([0], np.cumsum(lengths)))
    out = np.empty(len(strings), np.int64)
    share(lambda start, stop: hash_cpu(start, stop, units, indptr, out), len(strings), 1024)
    sums = np.concatenate(([0], np.cumsum(units)))
    return out, sums[indptr[1:]] - sums[indptr[:-1]]


def encode(strings, n_primes: int, k: int, dtype) -> StateArrays:
    """States of the original's hash, rows sorted by prime."""
    dtype = precision(dtype)
    h, c = hashes(tokens.checked(strings))
    n, i = len(h), np.arange(k)
    column = np.fmod(np.abs(h[:, None] * (i + 1.0) * 31337), n_primes).astype(np.int64)
    key = (np.arange(n)[:, None] * n_primes + column).ravel()
    key, latest = np.unique(key[::-1], return_index=True)  # the first of the reversed is the last one written
    entry = n * k - 1 - latest
    row, i = np.divmod(entry, k)
    c = c[row].astype(float)
    axis = np.stack([np.sin(c + i), np.cos(c * i), np.sin(i)], axis=-1)
    axis /= np.linalg.norm(axis, axis=-1, keepdims=True)
    half = np.fmod(c * i, 2 * np.pi) / 2
    orientation = np.concatenate([np.cos(half)[:, None], np.sin(half)[:, None] * axis], axis=-1)
    return StateArrays(
        np.concatenate(([0], np.cumsum(np.bincount(row, minlength=n)))),
        _primes.first(n_primes)[key % n_primes],
        polar(np.full(len(i), 1 / np.sqrt(k)), 2 * np.pi * i / k, dtype),
        orientation.astype(dtype),
    )
