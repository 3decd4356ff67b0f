"""Stable 64-bit hashes of words and of their character n-grams.

FNV-1a over UTF-8 bytes, finished by the mixer of SplitMix64, because the low bits of FNV alone are poor. Bytes and
integers only: the same value in every process, on every platform and byte order (Python's own ``hash`` is salted).

A word is taken with a space on both sides, so that n-grams know where it begins and ends: "cat" gives " ca", "cat",
"at ", " cat", "cat ". The whole padded word is left out, since the word is a feature by itself, under another seed.
"""

import numpy as np

from .._runtime.jit import kernel, scalar
from .._runtime.owners import share

_FNV_PRIME = np.uint64(0x0000_0100_0000_01B3)
_FNV_BASIS = np.uint64(0xCBF2_9CE4_8422_2325)
_WORD_SEED = np.uint64(0x9E37_79B9_7F4A_7C15)
_SPACE = np.uint64(0x20)


def mix(x: np.ndarray) -> np.ndarray:
    """The output function of SplitMix64, a bijection of uint64 (Steele, Lea and Flood 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58_476D_1CE4_E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D0_49BB_1331_11EB)
    return x ^ (x >> np.uint64(31))


def uniforms(seeds: np.ndarray, count: int) -> np.ndarray:
    """``count`` numbers in [0, 1) for each seed: SplitMix64 started there, top 53 bits; shape (count, n)."""
    steps = np.arange(1, count + 1, dtype=np.uint64)[:, None] * _WORD_SEED
    return (mix(seeds + steps) >> np.uint64(11)) * 2.0**-53


def n_features(lengths: np.ndarray, ngrams: tuple[int, int]) -> np.ndarray:
    """How many features a word has: itself, and its n-grams but the whole padded word."""
    padded = lengths + 2
    count = np.ones_like(lengths)
    for n in range(ngrams[0], ngrams[1] + 1):
        count += np.maximum(padded - n + 1, 0) - (padded == n)
    return count


def ngram_spans(length: int, ngrams: tuple[int, int]):
    """(start, stop) of every n-gram of a padded word, in the order in which they are hashed."""
    padded = length + 2
    for start in range(padded):
        for stop in range(start + ngrams[0], min(start + ngrams[1], padded) + 1):
            if stop - start < padded:
                yield start, stop


@scalar
def absorb(h, byte):
    return (h ^ byte) * _FNV_PRIME


@kernel
def hash_cpu(start, stop, text, offsets, indptr, shortest, longest, out):
    """Feature hashes of the words ``start`` to ``stop``: first the word, then its n-grams by their start."""
    for w in range(start, stop):
        first, last = offsets[w], offsets[w + 1]
        h = _FNV_BASIS ^ _WORD_SEED
        for b in range(first, last):
            h = absorb(h, np.uint64(text[b]))
        out[indptr[w]] = h
        feature = indptr[w] + 1
        for begin in range(first - 1, last + 1):  # the byte before a word and the one after it are its spaces
            if begin >= first and begin < last and text[begin] & 0xC0 == 0x80:
                continue  # within a character
            h, b, n = _FNV_BASIS, begin, 0
            while n < longest and b <= last:
                h = absorb(h, np.uint64(text[b]) if first <= b < last else _SPACE)
                b += 1
                while b < last and b > first and text[b] & 0xC0 == 0x80:
                    h = absorb(h, np.uint64(text[b]))
                    b += 1
                n += 1
                if n >= shortest and not (begin == first - 1 and b == last + 1):
                    out[feature] = h
                    feature += 1


def feature_hashes(words: list[str], ngrams: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """``(indptr, hashes)``: the features of word ``w`` are ``hashes[indptr[w]:indptr[w + 1]]``."""
    encoded = [word.encode("utf-8", "surrogatepass") for word in words]
    lengths = np.fromiter(map(len, words), np.int64, len(words))
    offsets = np.concatenate(([0], np.cumsum(np.fromiter(map(len, encoded), np.int64, len(encoded)))))
    indptr = np.concatenate(([0], np.cumsum(n_features(lengths, ngrams))))
    text = np.frombuffer(bytearray(b"".join(encoded)), np.uint8)
    out = np.empty(indptr[-1], np.uint64)

    def work(start, stop):
        with np.errstate(over="ignore"):  # without Numba's compiler NumPy's uint64 multiply, and warn
            hash_cpu(start, stop, text, offsets, indptr, *ngrams, out)

    share(work, len(words), 1024, 4)
    return indptr, mix(out)
