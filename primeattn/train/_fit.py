"""The loop: a batch, a gradient, an update, and now and then a look at held-out material."""

import math
import operator
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from .. import nn
from .._runtime.arguments import above_zero, below_one, from_zero, whole_number
from .._runtime.checks import as_generator
from .._runtime.devices import is_device_array, to_device, to_host
from .._runtime.progress import Bar
from ._accumulate import ADD_SCALED
from ._checkpoint import Folder, State
from ._evaluate import check
from ._guard import Interruption, NotFinite, first_not_finite, first_not_finite_parameter
from ._metrics import Lines, dataset
from ._task import Batch, Task

SCHEDULES = "cosine", "constant"
OPTIMIZERS = "adamw", "sgd"
_ROWS = 200  # of training metrics, about
_LOOKS = 10  # at held-out material


@dataclass
class Result:
    """What came out of a run.

    Attributes
    ----------
    model : primeattn.nn.LanguageModel
        With the parameters of the last step, or, if ``patience`` was given, those of the best evaluation.
    status : {"finished", "stopped early", "solved", "interrupted"}
    step : int
        Steps taken.
    rows : list of dict
        Metrics in the order in which they came.
    seconds : float
        Of training, evaluation not counted.
    checkpoint : pathlib.Path or None
        The folder.
    about : dict
        What was trained on what, and how.
    """

    model: Any
    status: str
    step: int
    rows: list[dict[str, Any]]
    seconds: float
    checkpoint: Path | None
    about: dict[str, Any]

    @cached_property
    def metrics(self):
        """The rows as an xarray.Dataset.

        Returns
        -------
        xarray.Dataset
            Over ``step``: loss (nats, mean since the row before), bits_per_character, rate, gradient_norm, tokens,
            seconds, tokens_per_second. Over ``evaluated``: the figures of the task, each with ``validation_`` before
            it.
        """
        return dataset(self.rows, self.about | {"status": self.status})

    @property
    def evaluations(self) -> list[dict[str, Any]]:
        """The rows of held-out figures."""
        return [row for row in self.rows if row["kind"] == "evaluation"]

    def __repr__(self) -> str:
        last = self.evaluations[-1:]
        figures = ", ".join(
            f"{k} {v:.4g}" for row in last for k, v in row.items() if k not in ("kind", "step", "tokens")
        )
        return (
            f"Result({self.status} after {self.step:,} steps, {self.seconds:.1f} s{'; ' if figures else ''}{figures})"
        )


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
        Of the optimiser: ``decay``, ``betas``, ``eps``; ``momentum``.

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
    plan = _Plan(
        steps=whole_number("steps", steps, 1),
        batch=whole_number("batch", batch, 1),
        optimizer=_known("optimizer", optimizer, OPTIMIZERS),
        rate=above_zero("rate", rate),
        schedule=_known("schedule", schedule, SCHEDULES),
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
        seed=_seed(rng),
        options=_fitting(optimizer, options),
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
    run = _Run(model, task, plan)
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


def _known(name: str, value: Any, names: tuple[str, ...]) -> Any:
    if callable(value) or value in names:
        return value
    raise ValueError(f"{name} is {value!r}: one of {', '.join(names)}, or a function, is wanted")


def _fitting(optimizer: Any, options: dict[str, Any]) -> dict[str, Any]:
    """Options of an optimiser that has a name, checked; those of another are its own matter."""
    if callable(optimizer):
        return options
    own = ("betas", "eps", "decay") if optimizer == "adamw" else ("momentum", "decay")
    for name, value in options.items():
        if name not in own:
            raise TypeError(f"fit has no option {name!r}, and {optimizer} has none but {', '.join(own)}")
        if name in ("eps", "decay"):
            from_zero(name, value)
        elif name == "momentum":
            below_one(name, value)
        elif not isinstance(value, tuple | list) or len(value) != 2:
            raise ValueError(f"betas is {value!r}: two numbers from 0 to below 1 are wanted")
        else:
            for k in range(2):
                below_one(f"betas[{k}]", value[k])
    return options


def _seed(rng: Any) -> int:
    if rng is None or isinstance(rng, np.random.Generator):
        return int(as_generator(rng).integers(2**63))
    try:
        seed = operator.index(rng)
    except TypeError:
        seed = -1
    if seed < 0:
        raise ValueError(f"rng is {rng!r}: a seed from 0 on, or a Generator, is wanted")
    return seed


@dataclass(frozen=True)
class _Plan:
    """The arguments of `fit`, checked."""

    steps: int
    batch: int
    optimizer: Any
    rate: float
    schedule: Any
    warmup: int
    floor: float
    clip: float | None
    accumulate: int
    evaluate_every: int
    log_every: int
    patience: int | None
    until: Any
    seed: int
    options: dict[str, Any]

    def rate_at(self, step: int) -> float:
        if callable(self.schedule):
            return from_zero(f"schedule({step})", self.schedule(step))
        schedule = {"cosine": nn.cosine, "constant": nn.constant}[self.schedule]
        return schedule(step, self.steps, self.warmup, self.rate, self.floor * self.rate)

    def optimizer_of(self, parameters: Any) -> Any:
        if callable(self.optimizer):
            return self.optimizer(parameters, **self.options)
        make = nn.AdamW if self.optimizer == "adamw" else nn.SGD
        return make(parameters, rate=self.rate, **self.options)

    @property
    def identity(self) -> dict[str, Any]:
        """What decides about the parameters of a step."""
        own: dict[str, Any] = {}
        if self.schedule != "constant":  # a level run may become longer
            own |= {"steps": self.steps, "floor": self.floor}  # first, because messages name the first difference
        names = "batch", "rate", "warmup", "clip", "accumulate", "seed", "patience"
        own |= {name: getattr(self, name) for name in names}
        own["optimizer"] = getattr(self.optimizer, "__name__", self.optimizer)
        own["schedule"] = getattr(self.schedule, "__name__", self.schedule)
        own["options"] = {name: _plain(value) for name, value in self.options.items()}
        if self.patience is not None:
            own["evaluate_every"] = self.evaluate_every
        return own


def _plain(value: Any) -> Any:
    return list(map(_plain, value)) if isinstance(value, tuple | list) else value if _is_json(value) else repr(value)


def _is_json(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float | bool)


def _alike(name: str, found: np.ndarray, own: Any) -> None:
    """Refuse what numbers from a checkpoint would be broadcast or rounded into, and what is not finite."""
    if found.shape != own.shape or found.dtype != own.dtype:
        raise ValueError(f"{name} is {found.dtype} of shape {found.shape}: {own.dtype} of {own.shape} is wanted")
    if not np.isfinite(found).all():
        raise ValueError(f"{name} is not finite")


class _Run:
    """A run: where it is, and what it does next."""

    def __init__(self, model: Any, task: Task, plan: _Plan):
        self.model, self.task, self.plan = model, task, plan
        self.optimizer = plan.optimizer_of(model.parameters)
        self.step, self.seconds, self.tokens = 0, 0.0, 0
        self.rows: list[dict[str, Any]] = []
        self.pending: list[float] = []  # losses since the last row
        self.mark = 0.0, 0  # seconds and tokens at the last row
        self.best = np.zeros(0, model.parameters.values.dtype)
        self.status = ""
        self.folder: Folder | None = None
        self.lines: Lines | None = None
        self.gradient: Any = None
        self.between = True  # steps: a state that may be kept
        self.newest: dict[str, Any] = {}

    @property
    def identity(self) -> dict[str, Any]:
        return {"model": self.model.config, "task": self.task.identity, "fit": self.plan.identity}

    @property
    def about(self) -> dict[str, Any]:
        about = {
            "model": self.model.config,
            "task": self.task.config,
            "fit": self.plan.identity | {"steps": self.plan.steps},
        }
        alphabet = getattr(self.task, "alphabet", None)
        return about if alphabet is None else about | {"characters": alphabet.characters}

    # --- the disk -----------------------------------------------------------------------------------------------------

    def keep(self, folder: Folder, resume: bool) -> None:
        """Keep the run in a folder, and go on from what is there."""
        self.folder = folder
        state = folder.read() if resume else None
        if state is not None:
            try:
                self._restore(state)
            except (KeyError, IndexError, ValueError, TypeError, AttributeError) as error:
                raise folder.damaged(f"{type(error).__name__}: {error}") from error
        self.lines = Lines(folder.path / "metrics.jsonl")
        self.lines.write(self.rows)

    def _restore(self, state: State) -> None:
        values, found = self.model.parameters.values, state.progress
        _alike("values", state.values, values)
        if state.best.size:
            _alike("best", state.best, values)
        if isinstance(self.optimizer, nn.AdamW | nn.SGD):
            for name, own in self.optimizer.state().items():
                _alike(name, state.optimizer[name], own if is_device_array(own) else np.asarray(own))
        step, tokens = whole_number("step", found["step"], 0), whole_number("tokens", found["tokens"], 0)
        seconds, mark = float(found["seconds"]), (float(found["mark"][0]), int(found["mark"][1]))
        rows, pending = [dict(row) for row in found["rows"]], [float(loss) for loss in found["pending"]]
        on_device = is_device_array(values)
        self.optimizer.load_state(
            {k: to_device(x) if x.ndim else x for k, x in state.optimizer.items()} if on_device else state.optimizer
        )
        self._load(state.values)
        self.best, self.step, self.rows, self.pending = state.best, step, rows, pending
        self.seconds, self.tokens, self.mark = seconds, tokens, mark

    def _save(self) -> None:
        self._refuse_not_finite()
        if self.folder is None:
            return
        values = to_host(self.model.parameters.values)
        progress = {
            "step": self.step,
            "rows": self.rows,
            "pending": self.pending,
            "seconds": self.seconds,
            "tokens": self.tokens,
            "mark": list(self.mark),
        }
        optimizer = {
            name: np.asarray(to_host(x) if is_device_array(x) else x) for name, x in self.optimizer.state().items()
        }
        self.folder.write(State(values, self.best, optimizer, progress))
        self.folder.save(self.model, self.about)

    def _row(self, row: dict[str, Any]) -> None:
        self.rows.append(row)
        if self.lines is not None:
            self.lines.add(self.rows)

    # --- the loop -----------------------------------------------------------------------------------------------------

    def go(self, interruption: Interruption, tell: Callable[[dict[str, Any]], object]) -> str:
        """Until there is nothing more to do; the status."""
        plan = self.plan
        status = "finished"
        try:
            while True:
                if self._looks_due():
                    self._look(interruption, tell)
                stop = self._stopped()
                if stop or self.step >= plan.steps:
                    status = stop or status
                    break
                interruption.check()
                self._take_step(tell)
                if self.folder is not None and self.folder.due:
                    self._save()
        except KeyboardInterrupt:
            status = "interrupted"
        if self.between:
            self._save()
        if self.lines is not None:
            self.lines.write(self.rows)
        if status != "interrupted" and len(self.best):
            self._load(self.best)
            if self.folder is not None:
                self.folder.save(self.model, self.about)
        return status

    def _refuse_not_finite(self) -> None:
        """A parameter that is not finite between two steps came with the last of them."""
        parameters = self.model.parameters
        where = first_not_finite_parameter(parameters, to_host(parameters.values))
        if where:
            raise NotFinite(self.step, f"parameter {where}", self._last_good)

    @property
    def _last_good(self) -> str:
        return "" if self.folder is None else self.folder.last_good

    def result(self, status: str) -> Result:
        """What there is."""
        place = None if self.folder is None else self.folder.path
        return Result(self.model, status, self.step, self.rows, self.seconds, place, self.about)

    def _load(self, values: np.ndarray) -> None:
        own = self.model.parameters.values
        if is_device_array(own):
            own.copy_to_device(values)
        else:
            own[...] = values

    def _take_step(self, tell: Callable[[dict[str, Any]], object]) -> None:
        plan, begun = self.plan, time.perf_counter()
        batch = self.task.batch(self.step, plan.batch, seed=plan.seed, context=self.model.config["context"])
        loss, gradient = self._gradient(batch)
        norm = float(nn.clip(gradient, math.inf if plan.clip is None else plan.clip))
        if not (math.isfinite(loss) and math.isfinite(norm)):
            where = first_not_finite(self.model, batch.inputs, loss, gradient)
            raise NotFinite(self.step, where, self._last_good)
        rate = plan.rate_at(self.step)
        self.between = False  # a second Ctrl-C may come anywhere
        self.optimizer.update(gradient, rate=rate)
        self.step += 1
        self.tokens += batch.inputs.size
        self.seconds += time.perf_counter() - begun
        self.pending.append(float(loss))
        if self.step % plan.log_every == 0 or self.step == plan.steps:
            self._log(rate, norm)
        self.between = True
        tell(self.newest | {"share": self.step / plan.steps, "says": f"step {self.step:,} of {plan.steps:,}"})

    def _log(self, rate: float, norm: float) -> None:
        loss = math.fsum(self.pending) / len(self.pending)
        seconds, tokens = self.mark
        span = self.seconds - seconds
        self.newest = {
            "kind": "training",
            "step": self.step,
            "loss": loss,
            "bits_per_character": loss / math.log(2),
            "rate": rate,
            "gradient_norm": norm,
            "tokens": self.tokens,
            "seconds": self.seconds,
            "tokens_per_second": (self.tokens - tokens) / span if span > 0 else 0.0,
        }
        self._row(self.newest)
        self.pending, self.mark = [], (self.seconds, self.tokens)

    def _gradient(self, batch: Batch) -> tuple[float, Any]:
        """Loss and gradient of a batch, in as many parts as asked for."""
        plan = self.plan
        parts = plan.accumulate
        if self.gradient is None:
            self.gradient = self.model.parameters.zeros()
        if parts == 1:
            return self.model.loss_and_gradient(*batch, seed=plan.seed, step=self.step, out=self.gradient)
        count = len(batch.inputs) // parts
        weights = batch.weights if batch.weights is not None else np.ones(batch.inputs.shape, np.float32)
        total, loss = self.model.parameters.zeros(), 0.0
        everything = float(weights.sum(dtype=np.float64))
        for part in range(parts):
            rows = slice(part * count, (part + 1) * count)
            share = float(weights[rows].sum(dtype=np.float64)) / everything if everything else 0.0
            if share == 0:
                continue
            own, gradient = self.model.loss_and_gradient(
                batch.inputs[rows],
                batch.targets[rows],
                None if batch.weights is None else weights[rows],
                seed=plan.seed,
                step=self.step * parts + part,
                out=self.gradient,
            )
            loss += share * own
            ADD_SCALED(total.size, total.dtype.type(share), gradient, total)
        return loss, total

    # --- held-out material --------------------------------------------------------------------------------------------

    def _looks_due(self) -> bool:
        every = self.plan.evaluate_every
        due = every and self.step and (self.step % every == 0 or self.step == self.plan.steps)
        return bool(due) and not any(row["kind"] == "evaluation" and row["step"] == self.step for row in self.rows)

    def _look(self, interruption: Interruption, tell: Callable[[dict[str, Any]], object]) -> None:
        def going_on(share: float) -> None:
            interruption.check()
            tell(self.newest | {"share": self.step / self.plan.steps, "says": f"evaluating {share:.0%}"})

        going_on(0.0)
        figures = self.task.evaluate(self.model, split="validation", progress=going_on)
        if self.plan.patience is not None and not self._no_better(figures[self.task.score]):
            self.best = np.array(to_host(self.model.parameters.values))
        figures = {("predictions" if name == "tokens" else name): value for name, value in figures.items()}
        self._row({"kind": "evaluation", "step": self.step, "tokens": self.tokens, **figures})

    def _scores(self) -> list[float]:
        return [row[self.task.score] for row in self.rows if row["kind"] == "evaluation"]

    def _no_better(self, score: float) -> bool:
        return bool(self._scores()) and not score < min(self._scores())

    def _stopped(self) -> str:
        """Why to stop before the last step."""
        plan, rows = self.plan, [row for row in self.rows if row["kind"] == "evaluation"]
        if not rows:
            return ""
        if plan.until is not None and rows[-1]["step"] == self.step and plan.until(rows[-1]):
            return "solved"
        scores = self._scores()
        if plan.patience is not None and len(scores) - 1 - int(np.argmin(scores)) >= plan.patience:
            return "stopped early"
        return ""
