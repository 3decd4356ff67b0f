"""``TextIndex``: passages of files, the encoder that was fitted to them, and the index over their states; one file."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .. import corpus, primes, resonance
from ..encode import TextEncoder, hashing, tokens
from ..resonance import Index, _index_files
from ..states import PrimeStates
from ..states._files import Refused
from ._hits import Hit, marks_of, reasons_of, snippet_of

FORMAT = "primeattn.TextIndex"
MEMBERS = ("settings", "passages", "ends", "source", "line", "hashes", "document_frequency")
SCORE = {"amplitude": True}  # the best of docs/benchmarks/retrieval.md
_BLOCK = 512  # passages encoded between two reports of progress


class Source(NamedTuple):
    """A file as it was when it was indexed.

    Attributes
    ----------
    name : str
        As it is shown.
    path : str
        Absolute; empty for the default corpus.
    size, mtime_ns : int
    digest : str
        SHA-256 of the bytes; for the default corpus the version of Python.
    """

    name: str
    path: str
    size: int
    mtime_ns: int
    digest: str

    @classmethod
    def of(cls, path, name: str) -> Source:
        """Of a file that is there."""
        stat = os.stat(path)
        return cls(name, os.path.abspath(path), stat.st_size, stat.st_mtime_ns, _digest(path))

    def change(self) -> str | None:
        """What became of it since: None, or a few words. Reads the file only if its time or size changed."""
        if not self.path:
            version = platform.python_version()
            return None if self.digest in ("", version) else f"it is Python {version} now"
        try:
            stat = os.stat(self.path)
            if (stat.st_size, stat.st_mtime_ns) == (self.size, self.mtime_ns):
                return None
            return None if stat.st_size == self.size and _digest(self.path) == self.digest else f"{self.name} changed"
        except OSError:
            return f"{self.name} is gone"


def _digest(path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class TextIndex:
    """Passages of text that answer queries.

    Made by `build` or `load`.

    Attributes
    ----------
    index : primeattn.resonance.Index
        Over the states of the passages.
    encoder : primeattn.encode.TextEncoder
        Fitted to the passages.
    passages : list of str
    sources : list of Source
        The files they come from.
    encoding : str or None
        With which the files were read.

    Notes
    -----
    Passage, query and index go through one encoder, so a word weighs the same everywhere. The default score is the
    amplitude-weighted kernel, a tf-idf cosine that also sees position (coherence) and identity (alignment) of what is
    shared; docs/benchmarks/retrieval.md compares all scores with TF-IDF and BM25.

    Examples
    --------
    >>> from primeattn import corpus, search
    >>> passages = [corpus.Passage(t, "fruit", 0) for t in ("apples and pears", "a pear tree", "the open sea")]
    >>> found = search.TextIndex.build(passages)
    >>> [(hit.text, hit.reasons[0].label) for hit in found.search("pears", top=2)]
    [('apples and pears', 'pears'), ('a pear tree', '…pea…')]
    """

    def __init__(self, index, encoder, passages, source, line, sources, encoding):
        self.index: Index = index
        self.encoder: TextEncoder = encoder
        self.passages: list[str] = passages
        self._source: np.ndarray = source  # number of the source of each passage
        self._line: np.ndarray = line
        self.sources: list[Source] = sources
        self.encoding: str | None = encoding

    @classmethod
    def build(
        cls,
        passages: Sequence[corpus.Passage],
        *,
        lines: Sequence[int] | None = None,
        sources: Sequence[Source] = (),
        encoding: str | None = None,
        say: Callable[..., None] = lambda *_: None,
        **score: Any,
    ) -> TextIndex:
        """Encode passages and sort them into an index.

        Parameters
        ----------
        passages : sequence of primeattn.corpus.Passage
        lines : sequence of int, optional
            The line in which each begins.
        sources : sequence of Source, optional
            In which their ``source`` is looked up by name.
        encoding : str, optional
        say : callable(what, done, total), optional
            Hears of the progress.
        **score
            Options of `primeattn.resonance.Index`; default the amplitude-weighted kernel.

        Returns
        -------
        TextIndex

        Raises
        ------
        ValueError
            If there is no passage, and for options that do not go together.
        """
        if not passages:
            raise corpus.CorpusError("no passage to index: give more text")
        index = Index(**(score or SCORE))
        texts = [tokens.composed(p.text) for p in passages]
        say("weighing words", 0, len(texts))
        encoder = TextEncoder.fit(texts)
        states = []
        for start in range(0, len(texts), _BLOCK):
            say("encoding passages", start, len(texts))
            states.append(PrimeStates.from_arrays(*encoder.encode(texts[start : start + _BLOCK], dtype=np.float32)))
        say("sorting primes", len(texts), len(texts))
        index = Index(PrimeStates.concatenate(states), **(score or SCORE))
        named = list(sources) or [Source(name, "", 0, 0, "") for name in dict.fromkeys(p.source for p in passages)]
        number = {s.name: i for i, s in enumerate(named)}
        source = np.array([number[p.source] for p in passages], np.int64)
        line = np.zeros(len(texts), np.int64) if lines is None else np.asarray(lines, np.int64)
        return cls(index, encoder, texts, source, line, named, encoding)

    @classmethod
    def of_files(
        cls,
        paths: Sequence[str | os.PathLike] = (),
        *,
        encoding: str | None = None,
        limit: int = corpus.LIMIT,
        say: Callable[..., None] = lambda *_: None,
        **score: Any,
    ) -> TextIndex:
        """Read files, cut them into passages and build the index.

        Parameters
        ----------
        paths : sequence of path-like
            Default: the default corpus.
        encoding, limit
            As for `primeattn.corpus.read`.
        say, **score
            As for `build`.

        Returns
        -------
        TextIndex

        Raises
        ------
        primeattn.corpus.CorpusError
            For a file that cannot be used.
        """
        if not paths:
            say("reading the default corpus")
            found = corpus.topics()
            version = platform.python_version()
            sources = [Source(name, "", 0, 0, version) for name in dict.fromkeys(p.source for p in found)]
            return cls.build(found, sources=sources, say=say, **score)
        passages, lines, sources = [], [], []
        distinct = dict.fromkeys(os.fspath(p) for p in paths)
        for i, path in enumerate(distinct):
            say(f"reading {os.path.basename(path)}", i, len(distinct))
            text = corpus.read(path, encoding=encoding, limit=limit)
            sources.append(Source.of(path, path))
            found = corpus.passages(text, source=path)
            passages += found
            at, line = 0, 1
            for passage in found:
                line += text.count("\n", at, passage.start)
                at = passage.start
                lines.append(line)
        return cls.build(passages, lines=lines, sources=sources, encoding=encoding, say=say, **score)

    def __len__(self) -> int:
        return len(self.passages)

    def __repr__(self) -> str:
        return f"TextIndex({len(self):,} passages of {len(self.sources)} sources, {self.index!r})"

    def search(self, query: str, *, top: int = 10) -> list[Hit]:
        """The passages that resonate most with a query.

        Parameters
        ----------
        query : str
        top : int

        Returns
        -------
        list of Hit
            Best first, at most ``top``; only passages that share something with the query. Words and fragments of the
            query that no passage has are left out first: they could only meet other words by a collision of hashes.

        Raises
        ------
        TypeError
            If the query is no str.
        """
        if not isinstance(query, str):
            raise TypeError(f"query is a {type(query).__name__}: str is wanted")
        state = self._query_state(query)
        scores, ids = (x[0] for x in self.index.query(state, k=top))
        behind = self.encoder.features_of([query])[0]
        return [self._hit(state, behind, int(i), float(s)) for i, s in zip(ids, scores, strict=True) if i >= 0]

    def _query_state(self, query: str) -> PrimeStates:
        """The state of a query, without what no passage has: it could only meet other words on the same prime."""
        arrays = self.encoder.encode([query], dtype=self.index.dtype)
        _, hashes = hashing.feature_hashes(tokens.tokenize([query]).words, self.encoder.ngrams)
        known = hashes[np.isin(hashes, self.encoder.hashes)] % np.uint64(self.encoder.n_primes)
        keep = np.isin(arrays.primes, primes.first(self.encoder.n_primes)[known.astype(np.int64)])
        parts = (x[keep] for x in (arrays.primes, arrays.amplitude, arrays.orientation))
        return PrimeStates.from_arrays([0, int(keep.sum())], *parts)

    def _hit(self, query: PrimeStates, behind, i: int, score: float) -> Hit:
        text = self.passages[i]
        state = PrimeStates.from_arrays(*self.encoder.encode([text], dtype=self.index.dtype))
        features = self.encoder.features_of([text])[0]
        options = self.index.options
        components = resonance.components(query, state, **options)
        reasons = reasons_of(resonance.explain(query, 0, state, 0, **options), behind, features)
        marks = marks_of(reasons, features)
        return Hit(
            i,
            score,
            {name: float(x[0]) for name, x in components.items()},
            text,
            self.sources[self._source[i]].name,
            int(self._line[i]),
            reasons,
            tuple(marks),
            snippet_of(text, marks),
        )

    def scored(self, **score: Any) -> TextIndex:
        """The same passages under another score.

        Parameters
        ----------
        **score
            Options of `primeattn.resonance.Index`.
        """
        index = Index(self.index.states, **score)
        return TextIndex(index, self.encoder, self.passages, self._source, self._line, self.sources, self.encoding)

    def changes(self) -> list[str]:
        """What became of the files since they were indexed; empty if the index is up to date."""
        return list(dict.fromkeys(filter(None, (s.change() for s in self.sources))))

    # Files

    def save(self, path) -> None:
        """Write one .npz file, whole or not at all; see `load`.

        Parameters
        ----------
        path : str or path-like

        Notes
        -----
        The members of an index file, with the passages (UTF-8, one after the other), the fitted encoder and the
        files' sizes, times and digests beside them. No pickle.
        """
        data = [text.encode("utf-8") for text in self.passages]
        encoder = self.encoder
        settings = {
            "n_primes": encoder.n_primes,
            "k": encoder.k,
            "ngrams": list(encoder.ngrams),
            "ngram_weight": encoder.ngram_weight,
            "n_strings": encoder.n_strings,
            "encoding": self.encoding,
            "sources": [list(s) for s in self.sources],
        }
        members = self.index._members() | {
            "format": np.array(FORMAT),
            "settings": _bytes(json.dumps(settings, sort_keys=True).encode()),
            "passages": _bytes(b"".join(data)),
            "ends": np.cumsum([len(d) for d in data], dtype=np.int64),
            "source": self._source,
            "line": self._line,
            "hashes": encoder.hashes,
            "document_frequency": encoder.document_frequency,
        }
        _index_files.save(path, members)

    @classmethod
    def load(cls, path) -> TextIndex:
        """Read what `save` wrote.

        Parameters
        ----------
        path : str or path-like

        Raises
        ------
        OSError
            If the file cannot be opened.
        ValueError
            If it is damaged, of another program or version, or if what it holds is not valid.
        """
        content = _index_files.load(path, form=FORMAT, writer="TextIndex.save", more=MEMBERS)
        try:
            return cls._of_content(content)
        except (ValueError, TypeError, KeyError, IndexError) as error:
            raise ValueError(
                f"{os.fspath(Path(path))}: the file is intact but its content is not valid ({error}): write it again"
            ) from None

    @classmethod
    def _of_content(cls, content: _index_files.Content) -> TextIndex:
        more = content.more
        n = content.ids.size
        kinds = {"settings": "u1", "passages": "u1", "hashes": "u8"}
        for name in MEMBERS:
            if more[name].dtype != kinds.get(name, "i8") or more[name].ndim != 1:
                raise Refused(f"{name} is {more[name].dtype} with {more[name].ndim} axes")
        ends = np.concatenate([[0], more["ends"]])
        if len(ends) != n + 1 or (np.diff(ends) < 0).any() or ends[-1] != more["passages"].size:
            raise Refused("the ends of the passages")
        if (content.ids != np.arange(n)).any():
            raise Refused("some passages were removed")
        settings = json.loads(more["settings"].tobytes())
        sources = [Source(*row) for row in settings["sources"]]
        source, line = more["source"], more["line"]
        if source.size != n or line.size != n or (n and not 0 <= source.min() <= source.max() < len(sources)):
            raise Refused("the sources of the passages")
        hashes, frequency = more["hashes"], more["document_frequency"]
        if hashes.size != frequency.size or (hashes[1:] <= hashes[:-1]).any():
            raise Refused("the hashes of the words")
        for x in (hashes, frequency):
            x.flags.writeable = False
        encoder = TextEncoder(
            settings["n_primes"],
            settings["k"],
            tuple(settings["ngrams"]),
            settings["ngram_weight"],
            settings["n_strings"],
            hashes,
            frequency,
        )
        data = more["passages"].tobytes()
        texts = [data[a:b].decode("utf-8") for a, b in pairwise(ends.tolist())]
        return cls(Index._of_members(content), encoder, texts, source, line, sources, settings["encoding"])


def _bytes(data: bytes) -> np.ndarray:
    return np.frombuffer(data, np.uint8)
