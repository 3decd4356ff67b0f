"""`fit`: its arguments checked, a run begun or gone on with, and what it returns."""

import math
from collections.abc import Callable
from typing import Any

from .._runtime.arguments import above_zero, from_zero, whole_number
from .._runtime.progress import Bar
from ._checkpoint import Folder
from ._evaluate import check
from ._guard import Interruption
from ._plan import OPTIMIZERS, SCHEDULES, Plan, fitting, known, seed_of
from ._result import Result
from ._run import Run
from ._task import Task

_ROWS = 200  # of training metrics, about
_LOOKS = 10  # at held-out material


def fit(
    model: Any,
    task: Task,
    *,
    steps: int,
    batch: int = 16,
    optimizer: Any = "adamw",
    rate: float = 1e-3,
    schedule: Any = "cosine",
    warmup: int | None = None,
    floor: float = 0.1,
    clip: float | None = 1.0,
    accumulate: int = 1,
    evaluate_every: int | None = None,
    log_every: int | None = None,
    patience: int | None = None,
    until: Any = None,
    checkpoint: Any = None,
    checkpoint_every: float = 60.0,
    resume: bool = True,
    device: str = "cpu",
    rng: Any = 0,
    progress: Any = None,
    **options: Any,
) -> Result:
    r"""Train a model on a task, in place.

    Parameters
    ----------
    model : primeattn.nn.LanguageModel
    task : Task
    steps : int
        Updates.
    batch : int
        Sequences of a step.
    optimizer : {"adamw", "sgd"} or callable
        A callable is given the parameters and returns an object with ``update``, ``state`` and ``load_state``.
    rate : float
        Peak of the learning rate.
    schedule : {"cosine", "constant"} or callable
        After the warm-up: down to ``floor`` times the rate at the last step, or level; ``schedule(step)`` gives a rate.
    warmup : int, optional
        Steps of linear growth; by default a twentieth of all, at most 200.
    floor : float
    clip : float, optional
        Largest norm of a gradient; None or infinity: as it is.
    accumulate : int
        Equal parts in which a batch is taken, one after the other: the same loss, in less memory.
    evaluate_every : int, optional
        Steps between two evaluations; by default a tenth of all; 0: none.
    log_every : int, optional
        Steps of a row of training metrics; by default about 200 rows.
    patience : int, optional
        Evaluations without a better ``task.score`` after which to stop; the model then gets its best parameters.
    until : "solved" or callable, optional
        Stop when an evaluation satisfies it: ``until(figures)``; "solved" asks the task.
    checkpoint : path-like, optional
        Folder in which to keep the run: ``checkpoint.npz``, ``model.npz``, ``metrics.jsonl``, ``run.json``.
    checkpoint_every : float
        Seconds between two checkpoints, at least.
    resume : bool
        Go on from the checkpoint, if there is one.
    device : {"cpu", "cuda"}
        Where to compute; "cuda" moves the model there.
    rng : int or numpy.random.Generator
        Seed of batches and dropout.
    progress : bool or callable, optional
        None: a bar if standard error is a terminal. A callable is given the newest row at every step.
    **options
        Of the optimiser: ``decay``, ``betas``, ``eps``, ``turn``; ``momentum``.

    Returns
    -------
    Result

    Raises
    ------
    NotFinite
        If loss or gradient of a step is not finite, or a parameter at the end: with the step, the layer, and the last
        good checkpoint of this run.
    ValueError
        For options that cannot be, a model that does not fit the task, and a checkpoint of another run.
    FileNotFoundError
        If the checkpoint's parent folder is missing.
    OSError
        If the folder cannot be written any more. What there is by then is the error's ``result``.

    Notes
    -----
    Batch n is a function of the seed and n, and a checkpoint is written whole or not at all, so a run that was
    interrupted, by Ctrl-C, a crash or ``kill -9``, goes on with the same call to the same bits, on the same number of
    threads. Ctrl-C ends the run after the step and returns what there is.

    Examples
    --------
    >>> import primeattn as pa
    >>> model = pa.nn.LanguageModel(layers=1, width=16, heads=1, context=4, vocabulary=3, rng=0)
    >>> result = pa.train.fit(model, pa.train.Copy(symbols=2, length=2), steps=20, batch=4)
    >>> result.status, result.step
    ('finished', 20)
    """
    plan = Plan(
        steps=whole_number("steps", steps, 1),
        batch=whole_number("batch", batch, 1),
        optimizer=known("optimizer", optimizer, OPTIMIZERS),
        rate=above_zero("rate", rate),
        schedule=known("schedule", schedule, SCHEDULES),
        warmup=min(200, steps // 20) if warmup is None else whole_number("warmup", warmup, 0),
        floor=from_zero("floor", floor),
        clip=None if clip is None or clip == math.inf else above_zero("clip", clip),
        accumulate=whole_number("accumulate", accumulate, 1),
        evaluate_every=max(1, steps // _LOOKS)
        if evaluate_every is None
        else whole_number("evaluate_every", evaluate_every, 0),
        log_every=max(1, steps // _ROWS) if log_every is None else whole_number("log_every", log_every, 1),
        patience=None if patience is None else whole_number("patience", patience, 1),
        until=getattr(task, "solved", None) if until == "solved" else until,
        seed=seed_of(rng),
        options=fitting(optimizer, options),
    )
    if plan.batch % plan.accumulate:
        raise ValueError(f"batch is {batch} and accumulate {accumulate}: equal parts are wanted")
    if until is not None and not callable(plan.until):
        raise ValueError(f"until is {until!r}: 'solved' or a function of the figures is wanted")
    if device not in ("cpu", "cuda"):
        raise ValueError(f"device is {device!r}: 'cpu' or 'cuda' is wanted")
    check(model, task)
    if device == "cuda":
        model = model.to_device()
    run = Run(model, task, plan)
    if checkpoint is not None:
        run.keep(Folder(checkpoint, run.identity, from_zero("checkpoint_every", checkpoint_every)), resume)
    show = progress if progress is None or isinstance(progress, bool) else False
    with Interruption() as interruption, Bar(show) as bar:
        try:
            status = run.go(interruption, progress if callable(progress) else _told(bar))
        except OSError as error:  # of the disk: what was learned is not lost
            error.result = run.result("interrupted")  # type: ignore[attr-defined]
            raise
    return run.result(status)


def _told(bar: Bar) -> Callable[[dict[str, Any]], None]:
    def tell(row: dict[str, Any]) -> None:
        speed = f"  {row['tokens_per_second']:,.0f} tokens/s" if row.get("tokens_per_second") else ""
        bits = f"  {row['bits_per_character']:.3f} bpc" if "bits_per_character" in row else ""
        bar(row["share"], f"{row['says']}{bits}{speed}")

    return tell
