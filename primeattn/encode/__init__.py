"""Things to prime states: integers, dense vectors, text; and text to TF-IDF vectors, for comparison.

Every encoder returns `StateArrays`, the four flat arrays that `PrimeStates.from_arrays` validates; `PrimeStates` has a
constructor for each (`from_integers`, `from_dense`, `from_text`), which is what most callers want.
"""

import numpy as np

from . import original
from .arrays import StateArrays, strongest
from .bag import tfidf, vocabulary
from .ngrams import Feature, TextEncoder, check_settings
from .numbers import dense, integers
from .tokens import words

__all__ = [
    "Feature",
    "StateArrays",
    "TextEncoder",
    "dense",
    "features_of",
    "integers",
    "strongest",
    "text",
    "tfidf",
    "vocabulary",
    "words",
]


def text(
    strings,
    *,
    scheme: str = "ngram",
    encoder: TextEncoder | None = None,
    n_primes: int | None = None,
    k: int | None = None,
    dtype=np.float64,
) -> StateArrays:
    """Turn strings into prime states.

    Parameters
    ----------
    strings : iterable of str
    scheme : {"ngram", "original"}
        "ngram": words and character n-grams, so that similar strings share primes, weighed by tf-idf over the given
        strings. "original": the published hash, for comparison; similar strings share nothing.
    encoder : TextEncoder, optional
        A fitted encoder (scheme "ngram") in place of one fitted to ``strings``.
    n_primes : int, optional
        How many primes are used: 16,384 for "ngram", 4096 for "original".
    k : int, optional
        Most primes in a state: 64 for "ngram", 32 for "original".
    dtype : float32 or float64

    Returns
    -------
    StateArrays
        For "ngram" the squared amplitudes of a state sum to 1; a string without words is an empty state.

    Raises
    ------
    TypeError
        If ``strings`` is one str, or holds something else than str; for another dtype.
    ValueError
        For an unknown scheme, and settings out of range or given beside an encoder.

    Notes
    -----
    The primes are the same in every process, on every platform; amplitudes and orientations are so to rounding.
    Equations: see the page on text in the manual, and `TextEncoder`.

    Examples
    --------
    >>> import primeattn as pa
    >>> a = pa.encode.text(["prime numbers", "a prime number", "quaternions"])
    >>> rows = [set(a.primes[i:j].tolist()) for i, j in zip(a.indptr[:-1], a.indptr[1:])]
    >>> len(rows[0] & rows[1]), len(rows[0] & rows[2])
    (11, 0)
    """
    if scheme not in ("ngram", "original"):
        raise ValueError(f"scheme is {scheme!r}: 'ngram' or 'original' is wanted")
    if encoder is not None:
        if not isinstance(encoder, TextEncoder):
            raise TypeError(f"encoder is a {type(encoder).__name__}: pass TextEncoder.fit(strings)")
        if scheme == "original" or n_primes is not None or k is not None:
            raise ValueError("an encoder brings its own scheme, n_primes and k: leave them out")
        return encoder.encode(strings, dtype=dtype)
    if scheme == "original":
        n_primes, k = 4096 if n_primes is None else n_primes, 32 if k is None else k
        check_settings(n_primes, k)
        return original.encode(strings, n_primes, k, dtype)
    encoder, batch = TextEncoder.fit_batch(strings, **_given(n_primes=n_primes, k=k))
    return encoder.encode_batch(batch, dtype)


def features_of(strings, *, n_primes: int | None = None, k: int | None = None) -> list[dict[int, list[Feature]]]:
    """Tell which words and n-grams stand behind the primes of ``text(strings)``.

    Parameters
    ----------
    strings : iterable of str
    n_primes, k : int, optional
        As for `text`.

    Returns
    -------
    list of dict
        One per string: prime -> list of `Feature`, its occurrences in order.

    Raises
    ------
    TypeError, ValueError
        As `text`.

    See Also
    --------
    TextEncoder.features_of : the same for a fitted encoder.

    Examples
    --------
    >>> import primeattn as pa
    >>> features = pa.encode.features_of(["Prime numbers", "a prime"])
    >>> sorted({f.surface for found in features[1].values() for f in found})
    [' pr', 'a', 'ime', 'me ', 'pri', 'prime', 'rim']
    """
    encoder, batch = TextEncoder.fit_batch(strings, **_given(n_primes=n_primes, k=k))
    return encoder.features_of_batch(batch)


def _given(**options):
    return {name: value for name, value in options.items() if value is not None}
