"""Text to prime states: words and character n-grams hashed to primes, weighed by tf-idf.

A feature f (a word, or an n-gram of a padded word) of a string has

    weight       w_f = c (1 + ln tf_f) (1 + ln (1 + n)/(1 + df_f))      c = 1 for a word, ngram_weight for an n-gram
    prime        number hash(f) mod n_primes of the table
    phase        arg of the sum of exp(i pi t) over its occurrences, t in (0, 1) the relative position of the word
    orientation  (cos psi, 0, 0, sin psi) u_f, psi = phase / 4, u_f uniform on the sphere and seeded by hash(f)

with tf its count in the string, df the number of fitted strings that have it, and n their number.

Half a turn from the first word to the last: coherence (1 + cos pi (t - t'))/2 then falls steadily with the distance of
two occurrences, from 1 at one place to 0 at opposite ends; a full turn would make both ends one place. The sum over
occurrences never vanishes: its terms lie in the open upper half plane.

Two features of a string on one prime: the heavier keeps it. Two strings that meet on a prime by different features
have independent orientations there, so their squared alignment is 1/4 on average; by the same feature it is
cos^2 (psi - psi') >= 1/2. Orientation is the check sum of the hash.

A feature that only one fitted string has cannot be shared, yet has the largest idf. Such features are kept last: they
only fill the places that shared ones leave.
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from .. import primes as _primes
from . import hashing, tokens
from .arrays import StateArrays, check_number, polar, precision, row_numbers, strongest, taken

_BLOCK = 4096  # strings counted at a time: some 2 million features, 100 MB


class Feature(NamedTuple):
    """One occurrence of a feature in a string.

    Attributes
    ----------
    surface : str
        The word as it is hashed (folded), or the n-gram, with a space where the word begins or ends.
    word : str
        The word as it stands in the string.
    start : int
        Where that word starts in the string, in characters (of its NFC form, which for nearly all text is itself).
    """

    surface: str
    word: str
    start: int


class Batch(NamedTuple):
    """Tokenised strings and the features of their distinct words, numbered by prime and then by hash."""

    strings: list[str]
    tokens: tokens.Tokens
    wordptr: np.ndarray  # word w has the features feature[wordptr[w]:wordptr[w + 1]]
    feature: np.ndarray
    hashes: np.ndarray  # of feature number f
    column: np.ndarray  # of feature number f: index of its prime
    is_word: np.ndarray


class _Counts(NamedTuple):
    """Features of some strings: row i owns ``indptr[i]:indptr[i + 1]``, features ascending."""

    indptr: np.ndarray
    feature: np.ndarray
    frequency: np.ndarray
    position: np.ndarray  # sum of exp(i pi t)


def _batch(strings, n_primes: int, ngrams: tuple[int, int]) -> Batch:
    strings = tokens.checked(strings)
    found = tokens.tokenize(strings)
    wordptr, hashes = hashing.feature_hashes(found.words, ngrams)
    hashes, which = np.unique(hashes, return_inverse=True)
    column = (hashes % np.uint64(n_primes)).astype(np.int64)
    order = np.argsort(column, kind="stable")
    feature = np.argsort(order)[which]
    is_word = np.zeros(len(hashes), bool)
    is_word[feature[wordptr[:-1]]] = True
    return Batch(strings, found, wordptr, feature, hashes[order], column[order], is_word)


def _blocks(batch: Batch):
    n = len(batch.strings)
    return ((start, min(start + _BLOCK, n)) for start in range(0, n, _BLOCK))


def _count(batch: Batch, start: int, stop: int) -> _Counts:
    """Two sparse products, (string, word) by (word, feature): one of counts, one of positions."""
    from scipy.sparse import csr_array

    indptr = batch.tokens.indptr[start : stop + 1]
    ids = batch.tokens.ids[indptr[0] : indptr[-1]]
    lengths = np.diff(indptr)
    place = np.arange(indptr[0], indptr[-1]) - np.repeat(indptr[:-1], lengths)
    turn = np.exp(1j * np.pi * (place + 0.5) / np.repeat(lengths, lengths))
    shape = (len(batch.tokens.words), len(batch.hashes))
    words = csr_array((np.ones(len(batch.feature)), batch.feature, batch.wordptr), shape=shape)
    counts, positions = (
        csr_array((data, ids, indptr - indptr[0]), shape=(stop - start, shape[0])) @ words
        for data in (np.ones(len(ids)), turn)
    )
    counts.sort_indices()
    positions.sort_indices()
    return _Counts(counts.indptr.astype(np.int64), counts.indices, counts.data, positions.data)


def _orientations(hashes: np.ndarray, phase: np.ndarray) -> np.ndarray:
    """Uniform unit quaternions seeded by the hashes (Shoemake 1992), turned about z by the phase over two."""
    radius, first, second = hashing.uniforms(hashes, 3)
    turn = phase / 4
    first, second = 2 * np.pi * first + turn, 2 * np.pi * second + turn
    # u = (a cos A, b cos B, b sin B, a sin A); a turn about z from the left adds to A and to B
    a, b = np.sqrt(radius), np.sqrt(1 - radius)
    return np.stack([a * np.cos(first), b * np.cos(second), b * np.sin(second), a * np.sin(first)], axis=-1)


def check_settings(n_primes, k, ngrams=(3, 3), ngram_weight=0.4) -> None:
    """Refuse settings out of range."""
    for name, value in (("n_primes", n_primes), ("k", k)):
        if value is None and name == "k":
            continue
        if not isinstance(value, int | np.integer) or isinstance(value, bool):
            raise TypeError(f"{name} is {value!r}: an integer is wanted")
        if value < 1:
            raise ValueError(f"{name} is {value}: at least 1 is wanted")
    try:
        shortest, longest = ngrams
    except (TypeError, ValueError):
        raise ValueError(
            f"ngrams is {ngrams!r}: the shortest and the longest length are wanted, such as (3, 5)"
        ) from None
    if not (isinstance(shortest, int) and isinstance(longest, int) and 1 <= shortest <= longest):
        raise ValueError(f"ngrams is {ngrams!r}: lengths 1 <= shortest <= longest are wanted, such as (3, 5)")
    check_number("ngram_weight", ngram_weight)
    if not 0 <= ngram_weight < np.inf:
        raise ValueError(f"ngram_weight is {ngram_weight}: a finite number from 0 on is wanted; 0 leaves words only")


@dataclass(frozen=True, eq=False)
class TextEncoder:
    """Words and n-grams of texts as prime states, weighed by how rare they are in the texts it was fitted to.

    Made by `fit`; immutable. The passages of a corpus and the queries to it go through one encoder, so that a
    word weighs the same in both.

    Attributes
    ----------
    n_primes : int
        Features are hashed to the first so many primes.
    k : int or None
        Most primes in a state; None keeps all.
    ngrams : tuple of int
        Shortest and longest n-gram.
    ngram_weight : float
        Weight of an n-gram in units of a word's; 0 leaves words only.
    n_strings : int
        How many strings it was fitted to.
    hashes : ndarray of uint64
        Their features, ascending.
    document_frequency : ndarray of int64
        In how many of them each occurs.

    Examples
    --------
    >>> import primeattn as pa
    >>> encoder = pa.encode.TextEncoder.fit(["the cat sat", "the dog ran", "a cat and a dog"], n_primes=1000)
    >>> query = encoder.encode(["cats"])
    >>> passages = encoder.encode(["the cat sat"])
    >>> sorted(set(query.primes.tolist()) & set(passages.primes.tolist()))
    [83, 277]
    """

    n_primes: int
    k: int | None
    ngrams: tuple[int, int]
    ngram_weight: float
    n_strings: int
    hashes: np.ndarray = field(repr=False)
    document_frequency: np.ndarray = field(repr=False)

    @classmethod
    def fit(
        cls,
        strings,
        *,
        n_primes: int = 1 << 14,
        k: int | None = 64,
        ngrams: tuple[int, int] = (3, 3),
        ngram_weight: float = 0.4,
    ) -> "TextEncoder":
        """Count in how many strings each feature occurs.

        Parameters
        ----------
        strings : iterable of str
        n_primes, k, ngrams, ngram_weight
            See the attributes.

        Returns
        -------
        TextEncoder

        Raises
        ------
        TypeError
            If ``strings`` is one str, or holds something else than str.
        ValueError
            For settings out of range.
        """
        options = {"n_primes": n_primes, "k": k, "ngrams": ngrams, "ngram_weight": ngram_weight}
        return cls.fit_batch(strings, **options)[0]

    @classmethod
    def fit_batch(cls, strings, n_primes=1 << 14, k=64, ngrams=(3, 3), ngram_weight=0.4) -> tuple["TextEncoder", Any]:
        """The fitted encoder and the batch it was fitted to, which need not be tokenised again."""
        check_settings(n_primes, k, ngrams, ngram_weight)
        batch = _batch(strings, n_primes, ngrams)
        frequency = np.zeros(len(batch.hashes), np.int64)
        for start, stop in _blocks(batch):
            frequency += np.bincount(_count(batch, start, stop).feature, minlength=len(frequency))
        order = np.argsort(batch.hashes)
        hashes, frequency = batch.hashes[order], frequency[order]
        hashes.flags.writeable = frequency.flags.writeable = False
        encoder = cls(n_primes, k, tuple(ngrams), ngram_weight, len(batch.strings), hashes, frequency)
        return encoder, batch

    def encode(self, strings, *, dtype=np.float64) -> StateArrays:
        """Turn strings into the arrays of prime states.

        Parameters
        ----------
        strings : iterable of str
            A string without words or other visible characters gives an empty state.
        dtype : float32 or float64

        Returns
        -------
        StateArrays
            Squared amplitudes of a state sum to 1.

        Raises
        ------
        TypeError
            If ``strings`` is one str, or holds something else than str; for another dtype.
        """
        return self.encode_batch(_batch(strings, self.n_primes, self.ngrams), dtype)

    def features_of(self, strings) -> list[dict[int, list[Feature]]]:
        """Tell which words and n-grams stand behind the primes of each string.

        Parameters
        ----------
        strings : iterable of str

        Returns
        -------
        list of dict
            One per string: prime -> its occurrences, in order. The primes are those of `encode`.
        """
        return self.features_of_batch(_batch(strings, self.n_primes, self.ngrams))

    def encode_batch(self, batch: Batch, dtype) -> StateArrays:
        """`encode` for a batch that is tokenised already."""
        dtype = precision(dtype)
        table = _primes.first(self.n_primes)
        parts = []
        for start, stop in _blocks(batch):
            counts = _count(batch, start, stop)
            indptr, entries, weight = self._strongest(batch, counts)
            feature = counts.feature[entries]
            phase = np.angle(counts.position[entries])
            rows = row_numbers(indptr)
            norm = np.sqrt(np.bincount(rows, weight**2, minlength=stop - start))[rows]
            parts.append(
                (
                    np.diff(indptr),
                    table[batch.column[feature]],
                    polar(weight / norm, phase, dtype),
                    _orientations(batch.hashes[feature], phase).astype(dtype),
                )
            )
        if not parts:
            return StateArrays(np.zeros(1, np.int64), table[:0], polar(np.zeros(0), 0, dtype), np.zeros((0, 4), dtype))
        lengths, primes, amplitude, orientation = (np.concatenate(part) for part in zip(*parts, strict=True))
        return StateArrays(np.concatenate(([0], np.cumsum(lengths))), primes, amplitude, orientation)

    def _strongest(self, batch: Batch, counts: _Counts):
        """``(indptr, entries, weight)``: entries of ``counts`` that stay, one a prime, at most k a string."""
        frequency = self._strings_with(batch.hashes)
        scale = np.where(batch.is_word, 1, self.ngram_weight) * (1 + np.log((1 + self.n_strings) / (1 + frequency)))
        weight = (1 + np.log(counts.frequency)) * scale[counts.feature]
        shared = (frequency > 1)[counts.feature]
        rank = weight + shared * (weight > 0) * weight.max(initial=0)  # what other strings have goes first
        column = batch.column[counts.feature]
        rows = row_numbers(counts.indptr)
        starts = np.flatnonzero(np.diff(rows, prepend=-1) | np.diff(column, prepend=-1))
        if starts.size:
            lengths = np.diff(starts, append=len(rank))
            rank[rank < np.repeat(np.maximum.reduceat(rank, starts), lengths)] = 0
            tied = np.flatnonzero(rank)  # of equals on one prime the smaller hash, which comes first
            again = (np.diff(rows[tied], prepend=-1) == 0) & (np.diff(column[tied], prepend=-1) == 0)
            rank[tied[again]] = 0
        keep = strongest(counts.indptr, rank, k=self.k)
        return taken(counts.indptr, keep), np.flatnonzero(keep), weight[keep]

    def _strings_with(self, hashes: np.ndarray) -> np.ndarray:
        """In how many fitted strings each feature occurs; 0 for one never seen."""
        if not self.hashes.size:
            return np.zeros(len(hashes), np.int64)
        at = np.minimum(np.searchsorted(self.hashes, hashes), len(self.hashes) - 1)
        return np.where(self.hashes[at] == hashes, self.document_frequency[at], 0)

    def features_of_batch(self, batch: Batch) -> list[dict[int, list[Feature]]]:
        """`features_of` for a batch that is tokenised already."""
        table = _primes.first(self.n_primes)
        result = []
        for start, stop in _blocks(batch):
            counts = _count(batch, start, stop)
            indptr, entries, _ = self._strongest(batch, counts)
            feature = counts.feature[entries]
            primes = table[batch.column[feature]].tolist()
            for i in range(start, stop):
                first, last = indptr[i - start], indptr[i - start + 1]
                kept = dict(zip(feature[first:last].tolist(), primes[first:last], strict=True))
                result.append(self._occurrences(batch, i, kept))
        return result

    def _occurrences(self, batch: Batch, i: int, kept: dict[int, int]) -> dict[int, list[Feature]]:
        """Find the kept features (number -> prime) among the words of string ``i``."""
        found: dict[int, list[Feature]] = {prime: [] for prime in kept.values()}
        surfaces: dict[int, list[tuple[int, str]]] = {}
        ids = batch.tokens.ids[batch.tokens.indptr[i] : batch.tokens.indptr[i + 1]].tolist()
        for number, (start, word) in zip(ids, tokens.spans(tokens.composed(batch.strings[i])), strict=True):
            if number not in surfaces:
                folded = batch.tokens.words[number]
                padded = f" {folded} "
                names = [folded] + [padded[a:b] for a, b in hashing.ngram_spans(len(folded), self.ngrams)]
                features = batch.feature[batch.wordptr[number] : batch.wordptr[number + 1]].tolist()
                pairs = dict(zip(features, names, strict=True))
                surfaces[number] = [(kept[f], name) for f, name in pairs.items() if f in kept]
            for prime, surface in surfaces[number]:
                found[prime].append(Feature(surface, word, start))
        return found
