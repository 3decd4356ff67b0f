"""From files to material: read, cut into passages, leave out repetitions, choose, encode."""

from __future__ import annotations

import operator
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import PurePath

import numpy as np

from .. import corpus, encode
from ..states import PrimeStates
from .material import Material, Passage, title_of
from .wording import sentence

DEFAULT = "the language reference of Python, pydoc_data.topics"
CHARACTERS = 200, 1200  # of a passage
SHORTER, LONG = "--characters 60-300", 300
FEW = 10  # passages of a text; fewer give little to rank
RUN = 6  # neighbouring passages that are taken together, so that documents keep some of their own company


def storable(text: str) -> str:
    r"""Text that UTF-8 can hold: a lone surrogate, such as a byte of a file's name that is no text, becomes an escape.

    Examples
    --------
    >>> print(storable("bad\udcff.txt"))
    bad\udcff.txt
    """
    return text.encode("utf-8", "backslashreplace").decode()


def names_of(paths: Sequence[str]) -> list[str]:
    """The shortest tails of paths that tell them apart.

    Examples
    --------
    >>> names_of(["a/x.txt", "b/x.txt", "b/y.txt"])
    ['a/x.txt', 'b/x.txt', 'y.txt']
    """
    parts = [PurePath(storable(path)).parts for path in paths]
    names = [""] * len(paths)
    for k in range(1, max(map(len, parts), default=0) + 1):
        tails = ["/".join(own[-k:]) for own in parts]
        count = Counter(tails)
        for i, tail in enumerate(tails):
            if not names[i] and (count[tail] == 1 or k >= len(parts[i])):
                names[i] = tail
    return names


def spread(total: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """Choose ``count`` of ``total`` numbers in short runs, evenly spread; ``rng`` says where the runs lie."""
    if total <= count:
        return np.arange(total)
    runs = -(-count // RUN)
    lengths = np.full(runs, count // runs)
    lengths[: count % runs] += 1
    gaps = total - count
    cuts = np.arange(1, runs + 1) * gaps / (runs + 1) + rng.uniform(-0.5, 0.5, runs) * gaps / (runs + 1)
    before = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    starts = np.floor(cuts).astype(np.int64) + before
    return np.concatenate([np.arange(start, start + length) for start, length in zip(starts, lengths, strict=True)])


def distinct(found: Iterable[corpus.Passage]) -> tuple[list[corpus.Passage], int]:
    """Passages without those that repeat an earlier one word for word, and how many were left out."""
    kept: dict[str, corpus.Passage] = {}
    total = 0
    for passage in found:
        total += 1
        kept.setdefault(" ".join(passage.text.split()), passage)
    return list(kept.values()), total - len(kept)


def passages_of(found: Sequence[corpus.Passage]) -> list[Passage]:
    """Number the passages of each source, and give each its first words as a title."""
    number: Counter[str] = Counter()
    result = []
    for passage in found:
        source = storable(passage.source)
        number[source] += 1
        text = unicodedata.normalize("NFC", re.sub("[\ud800-\udfff]", "\N{REPLACEMENT CHARACTER}", passage.text))
        place = f"{source} · {number[source]}" if source else f"{number['']}"
        result.append(Passage(text, source, place, title_of(text)))
    return result


def read(
    paths: Sequence[str | os.PathLike] | str | os.PathLike = (),
    *,
    encoding: str | None = None,
    limit: int = corpus.LIMIT,
    characters: tuple[int, int] = CHARACTERS,
    say: Callable[[str], None] = lambda what: None,
) -> tuple[list[corpus.Passage], str]:
    """Passages of some files, or of the default corpus, and a title for them.

    Parameters
    ----------
    paths : sequence of str or path-like, or one of them
    encoding : str, optional
    limit : int
        Most bytes of a file.
    characters : (int, int)
        Least and most characters of a passage; see `primeattn.corpus.passages`.
    say : callable(str)
        Told what is being read.

    Raises
    ------
    primeattn.corpus.CorpusError
        For a file that cannot be used.
    """
    if isinstance(paths, str | os.PathLike):
        paths = [paths]
    cut = dict(zip(("minimum", "maximum"), characters, strict=True))
    if not paths:
        say(f"reading {DEFAULT}")
        return corpus.topics(**cut), sentence(DEFAULT)
    names = [os.fspath(path) for path in paths]
    names = list(dict.fromkeys(names))
    found: list[corpus.Passage] = []
    for path, name in zip(names, names_of(names), strict=True):
        say(f"reading {name}")
        found += corpus.passages(corpus.read(path, encoding=encoding, limit=limit), source=name, **cut)
    shown = names_of(names)
    return found, ", ".join(shown[:3]) + (f" and {len(shown) - 3} more" if len(shown) > 3 else "")


def prepare(
    found: Sequence[corpus.Passage], *, passages: int = 120, seed: int = 0, title: str = "Passages", **options
) -> Material:
    """Choose passages and encode them both ways.

    Parameters
    ----------
    found : sequence of primeattn.corpus.Passage
    passages : int
        Most passages to compare.
    seed : int
        Says where the chosen runs of passages lie.
    title : str
    **options
        ``lead``, ``temperature``, ``views``, ``mechanisms``, ``training``, ``about`` of `Material`.

    Returns
    -------
    Material

    Raises
    ------
    primeattn.corpus.CorpusError
        If fewer than two different passages are there.
    ValueError
        If ``passages`` is less than 2, ``seed`` less than 0, or an option is refused by `Material`.
    TypeError
        If one of them is no int.
    """
    for name, value in (("passages", passages), ("seed", seed)):
        try:
            operator.index(value)
        except TypeError:
            raise TypeError(f"{name} is {value!r}: an int is wanted") from None
    if passages < 2:
        raise ValueError(f"passages is {passages}: at least 2 are needed to compare anything")
    if seed < 0:
        raise ValueError(f"seed is {seed}: 0 or more is wanted")
    kept, repeated = distinct(found)
    if len(kept) < 2:
        what = f"{len(found):,} passages, all the same" if len(found) > 1 else ("1 passage" if found else "no passages")
        shorter = any(len(passage.text) > LONG for passage in found)
        more = f"give more text, or cut it into shorter ones with {SHORTER}" if shorter else "give more text"
        raise corpus.CorpusError(f"{what}: at least two different passages are needed to compare; {more}")
    chosen = spread(len(kept), passages, np.random.default_rng(seed))
    shown = passages_of(kept)
    shown = [shown[i] for i in chosen]
    texts = [passage.text for passage in shown]
    lengths = np.array([len(text) for text in texts])
    encoder = encode.TextEncoder.fit(texts)
    own = dict(options.get("about", {}))
    about = {
        "title": storable(title),
        "passages": f"{len(shown):,} of {len(kept):,}" + (f"; {repeated:,} repetitions left out" if repeated else ""),
        "passage_lengths": f"{lengths.min():,} to {lengths.max():,} characters, median {np.median(lengths):,.0f}; "
        "cut between paragraphs, then sentences",
        "seed": seed,
        "encoder": f"words and {encoder.ngrams[0]}-grams, at most {encoder.k} primes of {encoder.n_primes:,}",
    }
    if len(kept) < FEW:
        more = f"{SHORTER} cuts it into shorter ones" if lengths.max() > LONG else "more text would say more"
        about["hint"] = f"Only {len(kept)} passages came out of this text: {more}."
    return Material(
        passages=shown,
        states=PrimeStates.from_arrays(*encoder.encode(texts)),
        tfidf=encode.tfidf(texts),
        terms=encode.vocabulary(texts),
        features=encoder.features_of(texts),
        text="\n\n".join(passage.text for passage in kept),
        **options | {"about": about | {k: storable(v) if isinstance(v, str) else v for k, v in own.items()}},
    )
