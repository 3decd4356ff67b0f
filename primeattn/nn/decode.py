"""Tokens one after the other: from a model's scores to a choice, with what layers remember of the past."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from .._runtime import devices, linalg
from .._runtime.checks import as_generator
from .tape import Tape


def choose(scores: np.ndarray, temperature: float, top_k: int | None, rng: np.random.Generator) -> int:
    """A token by softmax(scores / temperature) among the ``top_k`` best; the best one if the temperature is 0."""
    z = scores.astype(np.float64)
    if not np.isfinite(z).all():
        raise ValueError("the scores of the next token are not finite: the model has diverged")
    if temperature == 0:
        return int(z.argmax())
    if top_k is not None and top_k < z.size:
        z[np.argsort(-z, kind="stable")[top_k:]] = -np.inf
    weights = np.exp((z - z.max()) / temperature)
    return int(np.searchsorted(np.cumsum(weights), rng.random() * weights.sum(), side="right").clip(0, z.size - 1))


def check_choice(temperature, top_k) -> None:
    if not isinstance(temperature, int | float | np.integer | np.floating) or not 0 <= temperature < np.inf:
        raise ValueError(f"temperature is {temperature!r}: a number >= 0 is wanted; 0 takes the best token")
    if top_k is not None and (not isinstance(top_k, int | np.integer) or isinstance(top_k, bool) or top_k < 1):
        raise ValueError(f"top_k is {top_k!r}: 1 or more tokens are wanted; None takes all")


class Decoder:
    """Scores of the next token, of one sequence that grows.

    Where all layers stream, a token costs one step of each; otherwise the window is computed again. A window is full at
    ``context`` tokens: the next one starts with the last half of it.
    """

    def __init__(self, model):
        self.model, self.context = model, model.config["context"]
        self.streams = all(layer.streams for _, layer in model.layers)
        self.seen: list[int] = []
        self.memories: list[Any] = []

    def after(self, ids: list[int]) -> np.ndarray:
        """Scores after ``ids``, which go on from those before."""
        if not self.seen or len(self.seen) + len(ids) > self.context:
            keep = max(1, self.context // 2)
            ids = [*self.seen, *ids]
            ids = ids if len(ids) <= self.context and not self.seen else ids[-keep:]
            self.seen, self.memories = [], [layer.memory() for _, layer in self.model.layers]
        self.seen += ids
        if not self.streams:
            return self.model.logits([self.seen])[0, -1]
        model, tape = self.model, Tape(self.model._room(0), saving=False)
        x = model._put(np.array([ids], dtype=np.int64))
        with linalg.single_threaded():
            for (_, layer), p, memory in zip(model.layers, model._views, self.memories, strict=True):
                x = layer.step(p, x, memory, tape)
                tape.close_layer(x)
        scores = devices.to_host(x)[0, -1].copy()
        tape.close_layer(None)
        return scores


def stream(model, prompt: Any, temperature: float, top_k: int | None, rng: Any) -> Iterator[int]:
    """Tokens after the prompt, without end."""
    decoder, rng, ids = Decoder(model), as_generator(rng), prompt[-model.config["context"] :]
    while True:
        token = choose(decoder.after(ids), temperature, top_k, rng)
        yield token
        ids = [token]
