"""A run: a batch, a gradient, an update, and now and then a look at held-out material."""

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import nn
from .._runtime.arguments import whole_number
from .._runtime.devices import is_device_array, to_device, to_host
from ._accumulate import ADD_SCALED
from ._checkpoint import Folder, State
from ._guard import Interruption, NotFinite, first_not_finite, first_not_finite_parameter
from ._metrics import Lines
from ._plan import Plan
from ._result import Result
from ._task import Batch, Task


def _alike(name: str, found: np.ndarray, own: Any) -> None:
    """Refuse what numbers from a checkpoint would be broadcast or rounded into, and what is not finite."""
    if found.shape != own.shape or found.dtype != own.dtype:
        raise ValueError(f"{name} is {found.dtype} of shape {found.shape}: {own.dtype} of {own.shape} is wanted")
    if not np.isfinite(found).all():
        raise ValueError(f"{name} is not finite")


class Run:
    """A run: where it is, and what it does next."""

    def __init__(self, model: Any, task: Task, plan: Plan):
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
