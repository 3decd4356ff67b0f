"""Text, one byte or one character after the other."""

import math
import os
from typing import Any

import numpy as np

from .._runtime.arguments import whole_number
from ._task import TRAINING, Batch, Task, generator, stream_of
from ._texts import Text, text, unigram_bits, xz_bits

LEVELS = "byte", "character"
PARTS = "train", "validation", "test"
_PART = 16_384  # tokens that are asked at once


class TextTask(Task):
    r"""Predict the next byte, or character, of a text.

    Parameters
    ----------
    source : str, path-like, bytes or Text, optional
        See `text`; by default the language reference of Python.
    level : {"byte", "character"}
        A byte-level vocabulary has 256 tokens; that of characters has those of the training part, and one for all
        others.
    context : int, optional
        Tokens of a sequence; by default as many as the model sees.
    held_out : int, optional
        Bytes of the validation part, and of the test part; see `text`.
    stride : int, optional
        How far the window moves between two looks of `evaluate`; by default half a context.
    most : int, optional
        Tokens of the validation part that `evaluate` reads, from its start, so that looks during a run are short; by
        default all. The test part is always read as a whole.

    Notes
    -----
    A batch takes windows at random places of the training part. `evaluate` moves a window over the whole held-out
    part: every token of it is predicted once, from at least ``context - stride`` tokens before it, those before the
    part included. Its figures are ``loss``, in nats, and ``bits_per_character``, loss / ln 2; on the byte level a
    "character" is a byte, as it is custom for enwik8.

    Examples
    --------
    >>> from primeattn import train
    >>> task = train.TextTask(b"to be or not to be " * 50)
    >>> inputs, targets, weights = task.batch(0, 2, context=8)
    >>> bytes(inputs[0].astype("u1")), bytes(targets[0].astype("u1"))
    (b'o be to ', b' be to b')
    >>> round(task.unigram_bits(), 2)
    2.88
    """

    name = "text"
    score = "bits_per_character"

    def __init__(
        self,
        source=None,
        *,
        level: str = "byte",
        context: int | None = None,
        held_out: int | None = None,
        stride: int | None = None,
        most: int | None = None,
    ):
        if level not in LEVELS:
            raise ValueError(f"level is {level!r}: one of {', '.join(LEVELS)} is wanted")
        self.text = source if isinstance(source, Text) else text(source, held_out=held_out)
        self._source = os.fsdecode(source) if isinstance(source, str | os.PathLike) else self.text.name
        self._held_out = held_out
        self.level = level
        self.context = None if context is None else whole_number("context", context, 1)
        self.stride = None if stride is None else whole_number("stride", stride, 1)
        self.most = None if most is None else whole_number("most", most, 1)
        self.alphabet = Alphabet("" if level == "byte" else characters_of(self.text.train))
        self.vocabulary = len(self.alphabet)
        self._ids = {name: self.alphabet.ids(part) for name, part in zip(PARTS, self.text[1:], strict=True)}

    @property
    def config(self) -> dict[str, Any]:
        return {
            "task": self.name,
            "source": self._source,
            "level": self.level,
            "context": self.context,
            "held_out": self._held_out,
            "stride": self.stride,
            "most": self.most,
        }

    @property
    def identity(self) -> dict[str, Any]:
        return self.config | {"source": self.text.sha256}

    def ids(self, split: str) -> np.ndarray:
        """Tokens of a part, ``"train"``, ``"validation"`` or ``"test"``."""
        return self._ids[split]

    # --- batches ------------------------------------------------------------------------------------------------------

    def batch(self, counter: int, size: int, *, seed: int = 0, context: int | None = None) -> Batch:
        """Windows at random places of the training part."""
        length, train = self._length(context), self._ids["train"]
        if len(train) <= length:
            raise ValueError(
                f"{self.text.name} has {len(train):,} tokens to train on: more than the context, {length}, are wanted"
            )
        starts = generator(seed, TRAINING, counter).integers(0, len(train) - length, size)
        rows = train[starts[:, None] + np.arange(length + 1)].astype(np.int64)
        return Batch(np.ascontiguousarray(rows[:, :-1]), np.ascontiguousarray(rows[:, 1:]))

    def _length(self, context: int | None) -> int:
        if context is None and self.context is None:
            raise ValueError("neither the task nor the model has a context: pass context=...")
        if context is None or self.context is None:
            return self.context or whole_number("context", context, 1)
        return min(self.context, context)

    # --- evaluation ---------------------------------------------------------------------------------------------------

    def evaluate(self, model, *, split: str = "validation", progress=None) -> dict[str, float]:
        """Loss over a sliding window; see the class."""
        stream_of(split)
        length = self._length(model.config["context"])
        nats, tokens = 0.0, 0
        stream, first = self._stream(split, length)
        windows = list(windows_of(len(stream), first, length, min(self.stride or (length + 1) // 2, length)))
        done = 0
        for group in _alike(windows, max(1, _PART // length)):
            starts = np.array([start for start, _, _ in group])
            rows = stream[starts[:, None] + np.arange(group[0][1] - group[0][0])].astype(np.int64)
            found = np.asarray(
                model.losses(np.ascontiguousarray(rows[:, :-1]), np.ascontiguousarray(rows[:, 1:])), np.float64
            )
            for line, (start, _, scored) in zip(found, group, strict=True):
                nats += math.fsum(line[scored - start - 1 :])
                tokens += len(line) - (scored - start - 1)
            done += len(group)
            if progress is not None:
                progress(done / len(windows))
        loss = nats / tokens
        return {"loss": loss, "bits_per_character": loss / math.log(2), "tokens": float(tokens)}

    def _stream(self, split: str, length: int) -> tuple[np.ndarray, int]:
        """The held-out part with what stands before it, and where it begins."""
        before = np.concatenate([self._ids[part][-length:] for part in PARTS[: PARTS.index(split)]])[-length:]
        part = self._ids[split][: self.most] if split == "validation" else self._ids[split]
        return np.concatenate([before, part]), len(before)

    def solved(self, figures: dict[str, float]) -> bool:
        """Never."""
        return False

    # --- controls -----------------------------------------------------------------------------------------------------

    def xz_bits(self, split: str = "test") -> float:
        """Bits a character of LZMA given the training part; see `xz_bits`."""
        part = self.text[1:][PARTS.index(split)]
        bits = xz_bits(self.text.train, part)
        return bits if self.level == "byte" else bits * len(part) / max(1, len(self._ids[split]))

    def unigram_bits(self, split: str = "test") -> float:
        """Bits a character under the frequencies of the training part."""
        return unigram_bits(self._ids["train"], self._ids[split], self.vocabulary)


def windows_of(size: int, first: int, length: int, stride: int):
    """Windows (start, stop, scored): tokens scored .. stop - 1 are predicted from those from start on.

    Examples
    --------
    >>> list(windows_of(9, 4, 4, 2))
    [(1, 6, 4), (3, 8, 6), (4, 9, 8)]
    """
    scored = max(first, 1)  # nothing stands before token 0
    while scored < size:
        stop = min(size, scored + (stride if scored >= length else max(stride, length + 1 - scored)))
        yield max(0, stop - 1 - length), stop, scored
        scored = stop


def _alike(windows, most: int):
    """Groups of windows of one length."""
    group: list = []
    for window in windows:
        if group and (len(group) == most or window[1] - window[0] != group[0][1] - group[0][0]):
            yield group
            group = []
        group.append(window)
    if group:
        yield group


class Alphabet:
    """Bytes, or the characters of a text, as tokens.

    Parameters
    ----------
    characters : str
        Token i is character i, and token 0 stands for all that are not among them; empty: tokens are bytes.

    Examples
    --------
    >>> alphabet = Alphabet("\ufffdab")
    >>> alphabet.ids("abc"), alphabet.content([1, 2])
    (array([1, 2, 0], dtype=int32), b'ab')
    """

    def __init__(self, characters: str = ""):
        self.characters = characters
        self._place = {character: i for i, character in enumerate(characters)}

    def __len__(self) -> int:
        return len(self.characters) or 256

    def ids(self, content: str | bytes) -> np.ndarray:
        """Tokens: uint8 for bytes, int32 for characters."""
        if not self.characters:
            data = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
            return np.frombuffer(data, np.uint8)
        shown = content if isinstance(content, str) else content.decode("utf-8", "replace")
        return np.array([self._place.get(character, 0) for character in shown], np.int32)

    def content(self, tokens) -> bytes:
        """The UTF-8 bytes of tokens, which may end in the middle of a character."""
        ids = np.asarray(tokens).reshape(-1)
        if not self.characters:
            return ids.astype(np.uint8).tobytes()
        return "".join(self.characters[i] for i in ids).encode()


def characters_of(data: bytes) -> str:
    """The alphabet of a text, in order, after the sign for everything else."""
    return "\ufffd" + "".join(sorted(set(data.decode("utf-8", "replace")) - {"\ufffd"}))
