"""What a task is, and what tasks of short sequences have in common."""

from typing import Any, ClassVar, NamedTuple

import numpy as np

TRAINING, VALIDATION, TEST = 0, 1, 2  # streams of random numbers
STREAMS = {"train": TRAINING, "validation": VALIDATION, "test": TEST}


class Batch(NamedTuple):
    """Sequences to learn from.

    Attributes
    ----------
    inputs, targets : ndarray of int64, shape (B, T)
    weights : ndarray of float32, shape (B, T), or None
        Which predictions count; None: all.
    """

    inputs: np.ndarray
    targets: np.ndarray
    weights: np.ndarray | None = None


class Task:
    """Something to learn: batches, and how well a model does.

    A batch is a function of seed and counter alone, so that a run that goes on from step n needs no state of a
    generator. A task of your own is a class like these, with an entry in ``TASKS`` if the command is to know it.

    Attributes
    ----------
    name : str
    vocabulary : int
    context : int or None
        Tokens a model must be able to see; None: as many as it can.
    score : str
        The figure of `evaluate` that is best when it is small: for early stopping.
    """

    name: ClassVar[str]
    score: ClassVar[str] = "loss"
    vocabulary: int
    context: int | None = None

    @property
    def config(self) -> dict[str, Any]:
        """What makes this task again, ready for JSON: ``TASKS[config.pop("task")](**config)``."""
        raise NotImplementedError

    @property
    def identity(self) -> dict[str, Any]:
        """What tells it from other tasks: a run goes on only with the same."""
        return self.config

    def batch(self, counter: int, size: int, *, seed: int = 0, context: int | None = None) -> Batch:
        """Batch number ``counter`` of a seed."""
        raise NotImplementedError

    def evaluate(self, model, *, split: str = "validation", progress=None) -> dict[str, float]:
        """Figures of a model on held-out material, always the same."""
        raise NotImplementedError

    def solved(self, figures: dict[str, float]) -> bool:
        """Whether there is nothing left to learn."""
        return figures.get("accuracy") == 1.0


def generator(seed: int, stream: int, counter: int) -> np.random.Generator:
    """Random numbers that depend on where they are used alone."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(stream, counter)))


class Sequences(Task):
    """A task of sequences drawn by a rule; ``draw`` gives tokens (size, T + 1) and weights (size, T).

    `evaluate` asks ``held_out`` sequences of a stream of their own.
    """

    held_out: int = 1024
    context: int

    def draw(self, rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Sequences of the rule."""
        raise NotImplementedError

    def batch(self, counter: int, size: int, *, seed: int = 0, context: int | None = None) -> Batch:
        """Batch number ``counter`` of a seed; ``context`` is what the model can see."""
        fits(self, context)
        return parted(*self.draw(generator(seed, TRAINING, counter), size))

    def held(self, split: str) -> Batch:
        """The sequences that `evaluate` asks."""
        return parted(*self.draw(generator(0, stream_of(split), 0), self.held_out))

    def evaluate(self, model, *, split: str = "validation", progress=None) -> dict[str, float]:
        """Loss in nats and accuracy, over the predictions that count.

        Returns
        -------
        dict of str to float
            ``loss``; ``accuracy``, the share of predictions whose most likely token is right (of two equally likely
            ones the first); ``chance``, what a uniform guess reaches; ``predictions``.
        """
        fits(self, model.config["context"])
        inputs, targets, weights = self.held(split)
        assert weights is not None
        nats, right = 0.0, 0.0
        part = max(1, 16_384 // self.context)
        for start in range(0, len(inputs), part):
            rows = slice(start, start + part)
            logits = np.asarray(model.logits(inputs[rows]), np.float64)
            chosen = np.argmax(logits, axis=-1)
            # a NaN would win the argmax, and be right where 0 is
            right += float(weights[rows][(chosen == targets[rows]) & np.isfinite(logits).all(axis=-1)].sum())
            nats += float((weights[rows] * losses(logits, targets[rows])).sum())
            if progress is not None:
                progress(min(1.0, (start + part) / len(inputs)))
        total = float(weights.sum())
        return {
            "loss": nats / total,
            "accuracy": right / total,
            "chance": self.chance,
            "predictions": total,
        }

    @property
    def chance(self) -> float:
        """Accuracy of a guess."""
        return 1 / self.vocabulary


def parted(tokens: np.ndarray, weights: np.ndarray) -> Batch:
    """Tokens (B, T + 1) as inputs and what follows each."""
    return Batch(
        np.ascontiguousarray(tokens[:, :-1]),
        np.ascontiguousarray(tokens[:, 1:]),
        weights.astype(np.float32, copy=False),
    )


def losses(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """-log softmax at the targets, in nats."""
    top = logits.max(axis=-1, keepdims=True)
    total = np.log(np.exp(logits - top).sum(axis=-1)) + top[..., 0]
    return total - np.take_along_axis(logits, targets[..., None], -1)[..., 0]


def fits(task: Task, context: int | None) -> None:
    """Refuse a model that sees too little."""
    if context is not None and task.context is not None and context < task.context:
        raise ValueError(
            f"the task {task.name} has sequences of {task.context} tokens, and the model sees {context}: "
            f"make it with context={task.context} or more"
        )


def stream_of(split: str) -> int:
    """The stream of a split."""
    if split not in ("validation", "test"):
        raise ValueError(f"split is {split!r}: 'validation' or 'test' is wanted")
    return STREAMS[split]
