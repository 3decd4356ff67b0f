"""Words of one passage as vectors, for attention to look at: those that stand in the same sentences point the same way.

The sentences of all passages give a matrix of TF-IDF (words x sentences). Its columns are centred over the words, and
its truncated singular value decomposition U S V gives each word the row of U S^(1/2) (latent semantic analysis), scaled
to a mean square entry of 1.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .. import encode
from ..encode.tokens import folded, spans
from .ranking import pair_at, pair_values, strongest

if TYPE_CHECKING:
    from .material import Material

SHOWN, LEAST = 16, 6  # words on the page; fewer are taken only if the text has no more
WIDTH = 16
RUNNING = 256  # words of the measurement of time
_END = re.compile(r"(?<=[.!?;:])\s+|\n\s*\n")


class Words(NamedTuple):
    """The first words of a passage, and what their vectors come from.

    Attributes
    ----------
    passage : int
    surfaces, forms : tuple of str, T of them
        As they stand in the text, and folded: equal forms have equal vectors.
    vectors : ndarray of float64, shape (T, D)
        Rows of mean square 1 (or 0), D even.
    together : ndarray of int, shape (T, T)
        Sentences that hold both words.
    running : ndarray of float64, shape (R, D)
        Vectors of the first words of the whole text, R at most 256.
    sentences : int
    """

    passage: int
    surfaces: tuple[str, ...]
    forms: tuple[str, ...]
    vectors: np.ndarray
    together: np.ndarray
    running: np.ndarray
    sentences: int

    @property
    def cosines(self) -> np.ndarray:
        """Cosines of all pairs, (T, T); 0 where a vector is 0."""
        length = np.linalg.norm(self.vectors, axis=1, keepdims=True)
        unit = self.vectors / np.where(length == 0, 1, length)
        return unit @ unit.T


def sentences(text: str) -> list[str]:
    """The pieces between full stops, colons and empty lines.

    Examples
    --------
    >>> sentences("One. Two? x = 1.5")
    ['One.', 'Two?', 'x = 1.5']
    """
    return [piece for piece in _END.split(text) if piece.strip()]


def opening(text: str) -> list[str]:
    """The first words of a text: whole sentences if 8 to 16 words hold some, else 16 words.

    Examples
    --------
    >>> opening("One two three four five six seven eight. Nine ten.")
    ['One', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'Nine', 'ten']
    """
    found: list[str] = []
    for sentence in sentences(text):
        words = [word for _, word in spans(sentence)]
        if len(found) + len(words) > SHOWN:
            return found if len(found) >= SHOWN // 2 else (found + words)[:SHOWN]
        found += words
    return found


def latent(tfidf, width: int = WIDTH) -> np.ndarray:
    """Vectors of the columns of a TF-IDF matrix, by truncated singular value decomposition.

    Parameters
    ----------
    tfidf : scipy sparse, shape (sentences, words)
    width : int
        Most coordinates, even.

    Returns
    -------
    ndarray of float64, shape (words, D)
        D is even, at least 2, and at most ``width``: as many as the matrix has directions.
    """
    from scipy.sparse.linalg import LinearOperator, svds

    words = tfidf.T.tocsr()
    mean = np.asarray(words.mean(axis=0)).ravel()
    if min(words.shape) <= width + 1:
        u, s, _ = np.linalg.svd(words.toarray() - mean, full_matrices=False)
    else:
        centred = LinearOperator(
            words.shape,
            matvec=lambda x: words @ x.ravel() - mean @ x.ravel(),
            rmatvec=lambda y: words.T @ y.ravel() - mean * y.sum(),
            dtype=float,
        )
        u, s, _ = svds(centred, k=width, v0=np.ones(min(words.shape)))
    order = np.argsort(-s, kind="stable")[:width]
    order = order[s[order] > 1e-9 * s.max(initial=0)]
    u, s = u[:, order], s[order]
    heaviest = np.abs(u).argmax(axis=0)
    u = u * np.sign(u[heaviest, np.arange(len(s))])  # the sign of a direction is free
    vectors = np.zeros((len(u), max(2, len(s) + len(s) % 2)))
    vectors[:, : len(s)] = u * np.sqrt(s)
    length = np.sqrt((vectors**2).mean(axis=1, keepdims=True))
    return vectors / np.where(length == 0, 1, length)


def _candidates(material: Material) -> Iterator[int]:
    """The passages of the closest pair, then all in order."""
    values = pair_values(material.scores(material.lead))
    yield from pair_at(int(strongest(values, 1)[0]), len(material))
    yield from range(len(material))


def _choose(texts: Sequence[str], candidates: Iterator[int]) -> tuple[int, list[str]]:
    """The first passage whose opening has enough words, or else the one that has most."""
    best: tuple[int, list[str]] = (0, [])
    for i in candidates:
        words = opening(texts[i])
        if len(words) >= LEAST:
            return i, words
        if len(words) > len(best[1]):
            best = i, words
    return best


def running(pieces: Sequence[str], most: int) -> tuple[list[str], np.ndarray]:
    """The first words of some pieces of text and their vectors, (R, D), R at most ``most``."""
    vectors = latent(encode.tfidf(pieces))
    column = {term: k for k, term in enumerate(encode.vocabulary(pieces))}
    surfaces: list[str] = []
    for piece in pieces:
        if len(surfaces) >= most:
            break
        surfaces += [word for _, word in spans(piece)]
    surfaces = surfaces[:most]
    return surfaces, vectors[[column[folded(word)] for word in surfaces]]


def words_of(material: Material) -> Words | None:
    """The words that the page shows: the opening of a passage of the closest pair; None if no passage has two words."""
    texts = [passage.text for passage in material.passages]
    passage, surfaces = _choose(texts, _candidates(material))
    if len(surfaces) < 2:
        return None
    pieces = [piece for text in texts for piece in sentences(text)]
    tfidf = encode.tfidf(pieces)
    vectors = latent(tfidf)
    column = {term: k for k, term in enumerate(encode.vocabulary(pieces))}
    forms = tuple(folded(word) for word in surfaces)
    own = [column[form] for form in forms]
    holds = (tfidf[:, own] > 0).astype(np.int64)
    first: list[int] = []
    for piece in pieces:
        if len(first) >= RUNNING:
            break
        first += [column[folded(word)] for _, word in spans(piece)]
    return Words(
        passage,
        tuple(surfaces),
        forms,
        vectors[own],
        (holds.T @ holds).toarray(),
        vectors[first[:RUNNING]],
        len(pieces),
    )
