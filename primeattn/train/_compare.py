"""Mechanisms x tasks x seeds, each cell a run of its own, in several processes, and the table of what came out."""

import contextlib
import hashlib
import itertools
import json
import math
import multiprocessing
import os
import re
import shutil
import signal
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .._runtime.arguments import whole_number
from .._runtime.files import write_whole
from .._runtime.progress import Bar
from ._checkpoint import difference
from ._guard import NotFinite
from ._task import Task

FORMAT = "primeattn.comparison/1"
_TASKS: dict[str, Task] = {}  # of a worker
_STOP: Any = None


class Cell(NamedTuple):
    """One run of a comparison: what is asked for."""

    task: str
    mechanism: str
    seed: int
    request: dict[str, Any]

    @property
    def name(self) -> str:
        """A name that a file can have."""
        plain = re.sub(r"[^\w.=-]+", "_", f"{self.task}-{self.mechanism}-{self.seed}")
        return f"{plain}-{hashlib.sha256(repr(self[:3]).encode()).hexdigest()[:6]}"


@dataclass
class Comparison:
    """What came out of some runs.

    Attributes
    ----------
    cells : list of dict
        One for each run that is finished, with task, mechanism, seed, figures, curve, parameters, seconds.
    status : {"finished", "interrupted"}
    missing : int
        Runs that are not finished.
    """

    cells: list[dict[str, Any]]
    status: str
    missing: int

    @cached_property
    def data(self):
        """All runs.

        Returns
        -------
        xarray.Dataset
            Over task, mechanism, seed: ``score`` and ``accuracy`` on the test part, ``solved_at`` (step of the first
            evaluation with nothing left to learn; NaN: never), parameters, tokens_per_second; and ``curve``, the
            score of the validation part over ``evaluated``.
        """
        import xarray

        axes = {axis: list(dict.fromkeys(cell[axis] for cell in self.cells)) for axis in ("task", "mechanism")}
        axes["seed"] = sorted({cell["seed"] for cell in self.cells})
        steps = sorted({step for cell in self.cells for step, _ in cell["curve"]})
        shape = tuple(map(len, axes.values()))
        names = "score", "accuracy", "solved_at", "parameters", "tokens_per_second", "steps"
        found: dict[str, np.ndarray] = {name: np.full(shape, np.nan) for name in names}
        curve = np.full((*shape, len(steps)), np.nan)
        for cell in self.cells:
            place = tuple(axes[axis].index(cell[axis]) for axis in axes)
            for name in names:
                if cell.get(name) is not None:
                    found[name][place] = cell[name]
            for step, score in cell["curve"]:
                curve[(*place, steps.index(step))] = np.nan if score is None else score
        variables: dict[str, Any] = {name: (tuple(axes), values) for name, values in found.items()}
        variables["curve"] = ((*axes, "evaluated"), curve)
        return xarray.Dataset(variables, coords={**axes, "evaluated": steps})

    @property
    def table(self):
        """Mean, median and spread over seeds, and how often a task was solved.

        Returns
        -------
        xarray.Dataset
            Over task and mechanism: ``runs``, ``mean``, ``median``, ``deviation`` (of a sample), ``least``, ``most`` of
            the score; ``solved`` (how many), ``rate``, ``rate_low``, ``rate_high`` (95 %, Wilson), ``median_steps`` of
            those that solved it, ``failed`` (numbers that are not finite), ``parameters``.
        """
        import xarray

        rows: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for cell in self.cells:
            rows.setdefault((cell["task"], cell["mechanism"]), []).append(cell)
        tasks = list(dict.fromkeys(task for task, _ in rows))
        mechanisms = list(dict.fromkeys(mechanism for _, mechanism in rows))
        found: dict[str, np.ndarray] = {}
        for (task, mechanism), cells in rows.items():
            for name, value in _summary(cells).items():
                values = found.setdefault(name, np.full((len(tasks), len(mechanisms)), np.nan))
                values[tasks.index(task), mechanisms.index(mechanism)] = value
        axes = ("task", "mechanism")
        return xarray.Dataset(
            {name: (axes, values) for name, values in found.items()}, coords={"task": tasks, "mechanism": mechanisms}
        )

    def markdown(self) -> str:
        """The table, one row for each task and mechanism."""
        table = self.table
        head = (
            "task",
            "mechanism",
            "parameters",
            "runs",
            "mean",
            "median",
            "deviation",
            "least",
            "most",
            "solved",
            "steps",
        )
        lines = ["| " + " | ".join(head) + " |", "|" + "---|" * 2 + "---:|" * 9]
        for task in table.task.values if self.cells else ():
            for mechanism in table.mechanism.values:
                row = {name: float(x) for name, x in table.sel(task=task, mechanism=mechanism).items()}
                if row["runs"] > 0:
                    lines.append("| " + " | ".join([str(task), str(mechanism), *_shown(row)]) + " |")
        if self.missing:
            lines += ["", f"{self.missing} runs are missing: the same call goes on."]
        return "\n".join(lines) + "\n"

    def to_xarray(self) -> Any:
        """``data`` and ``table`` in one dataset, ready to be written."""
        return self.data.merge(self.table.drop_vars("parameters"))


def _summary(cells: list[dict[str, Any]]) -> dict[str, float]:
    scores = np.array([cell["score"] for cell in cells if cell["score"] is not None], float)
    at = [cell["solved_at"] for cell in cells if cell["solved_at"] is not None]
    low, high = wilson(len(at), len(cells))
    some = len(scores) > 0
    return {
        "runs": len(cells),
        "mean": float(scores.mean()) if some else math.nan,
        "median": float(np.median(scores)) if some else math.nan,
        "deviation": float(scores.std(ddof=1)) if len(scores) > 1 else math.nan,
        "least": float(scores.min()) if some else math.nan,
        "most": float(scores.max()) if some else math.nan,
        "solved": len(at),
        "rate": len(at) / len(cells),
        "rate_low": low,
        "rate_high": high,
        "median_steps": float(np.median(at)) if at else math.nan,
        "failed": sum(cell["status"] == "failed" for cell in cells),
        "parameters": float(np.median([cell["parameters"] for cell in cells])),
    }


def _shown(row: dict[str, float]) -> list[str]:
    def number(x: float) -> str:
        return "–" if math.isnan(x) else f"{x:.4f}"

    solved = f"{row['solved']:.0f}/{row['runs']:.0f} ({row['rate_low']:.0%}–{row['rate_high']:.0%})"
    steps = "–" if math.isnan(row["median_steps"]) else f"{row['median_steps']:,.0f}"
    runs = f"{row['runs']:.0f}" + (f", {row['failed']:.0f} failed" if row["failed"] else "")
    figures = [number(row[name]) for name in ("mean", "median", "deviation", "least", "most")]
    return [f"{row['parameters']:,.0f}", runs, *figures, solved, steps]


def wilson(successes: int, runs: int, z: float = 1.959963984540054) -> tuple[float, float]:
    """The 95 % interval of a rate (Wilson 1927), which stays inside [0, 1] and is not empty at 0 and 1.

    Examples
    --------
    >>> low, high = wilson(20, 20)
    >>> round(low, 3), high
    (0.839, 1.0)
    """
    if not runs:
        return 0.0, 1.0
    p = successes / runs
    middle = (p + z * z / (2 * runs)) / (1 + z * z / runs)
    half = z / (1 + z * z / runs) * math.sqrt(p * (1 - p) / runs + z * z / (4 * runs * runs))
    return max(0.0, middle - half), min(1.0, middle + half)


# --- the runner -------------------------------------------------------------------------------------------------------


def compare(
    mechanisms: Any,
    tasks: Any,
    *,
    seeds: Any = 3,
    steps: int,
    model: Mapping[str, Any] | None = None,
    parameters: int | None = None,
    folder: Any = None,
    workers: int | None = None,
    threads: int = 1,
    progress: Any = None,
    **options: Any,
) -> Comparison:
    """Train mechanisms on tasks from several seeds, and gather what came out.

    Parameters
    ----------
    mechanisms : sequence of str, or mapping of str to dict
        Names of ``MECHANISMS``; or labels with options of the model, ``mechanism`` among them if it is not the label.
    tasks : Task, sequence of Task, or mapping of str to Task
    seeds : int or sequence of int
        How many, or which: of the parameters and of the batches.
    steps : int
    model : mapping, optional
        Options of `primeattn.nn.LanguageModel` for all; vocabulary and context come from the task where they are not
        given.
    parameters : int, optional
        Make each model as large as that, by the width of its feed-forward layers.
    folder : path-like, optional
        Where cells are kept, a file each, written whole or not at all: the same call goes on, after a crash, too.
    workers : int, optional
        Processes; by default as many as there are processors for ``threads`` each. 1: this process.
    threads : int
        Of a process.
    progress : bool or callable, optional
        None: a bar if standard error is a terminal. A callable is told (done, total, cell) after each run.
    **options
        Of `fit`; ``until="solved"`` unless said otherwise.

    Returns
    -------
    Comparison

    Raises
    ------
    ValueError
        For unknown mechanisms, and for cells of another comparison in the folder.
    TypeError
        For an option that is a function.

    Notes
    -----
    Seed n gives all mechanisms of a task the same batches. A run whose numbers cease to be finite is a failed cell and
    does not stop the others. Processes are spawned: in a script, call it under ``if __name__ == "__main__":``.

    Examples
    --------
    >>> import primeattn as pa
    >>> small = {"layers": 1, "width": 16, "heads": 1}
    >>> task = pa.train.Copy(symbols=2, length=2)
    >>> found = pa.train.compare(["dot_product"], task, seeds=2, steps=10, model=small, workers=1)
    >>> found.status, found.data.score.shape
    ('finished', (1, 1, 2))
    """
    named = _named(tasks)
    for name, value in options.items():
        if callable(value):
            raise TypeError(f"{name} is a function: what a comparison is given stands in its files; pass a name")
    cells = [
        Cell(
            task,
            label,
            seed,
            {
                "format": FORMAT,
                "model": {"mechanism": label, **(model or {}), **own},
                "parameters": parameters,
                "task": named[task].identity,
                "fit": {"steps": steps, **options},
                "seed": seed,
            },
        )
        for task in named
        for seed in _seeds(seeds)
        for label, own in _variants(mechanisms).items()
    ]
    place = None if folder is None else Path(os.fsdecode(folder))
    if place is not None:
        (place / "cells").mkdir(parents=True, exist_ok=True)
    found = {cell.name: content for cell in cells if (content := _stored(place, cell)) is not None}
    rest = [cell for cell in cells if cell.name not in found]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    count = max(1, cores // threads) if workers is None else whole_number("workers", workers, 1)
    with Bar(progress if progress is None or isinstance(progress, bool) else False) as bar:

        def done(cell: Cell, content: dict[str, Any]) -> None:
            found[cell.name] = content
            if place is not None:
                write_whole(_file(place, cell), json.dumps(content))
                shutil.rmtree(place / "running" / cell.name, ignore_errors=True)
            if callable(progress):
                progress(len(found), len(cells), content)
            bar(len(found) / len(cells), f"{len(found)} of {len(cells)} runs  {cell.mechanism}")

        run = _in_turn if count == 1 or len(rest) < 2 else _in_processes
        status = run(rest, named, place, min(count, max(1, len(rest))), threads, done)
    ordered = [found[cell.name] for cell in cells if cell.name in found]
    return Comparison(ordered, status, len(cells) - len(ordered))


def _named(tasks: Any) -> dict[str, Task]:
    if isinstance(tasks, Task):
        return {tasks.name: tasks}
    if isinstance(tasks, Mapping):
        return dict(tasks)
    found: dict[str, Task] = {}
    for task in tasks:
        name = task.name
        if name in found:
            name = f"{name} {json.dumps({k: v for k, v in task.config.items() if k != 'task'})}"
        found[name] = task
    return found


def _variants(mechanisms: Any) -> dict[str, dict[str, Any]]:
    from ..attention import MECHANISMS

    found = dict(mechanisms) if isinstance(mechanisms, Mapping) else {name: {} for name in mechanisms}
    for label, own in found.items():
        name = own.get("mechanism", label)
        if name not in MECHANISMS:
            raise ValueError(f"there is no mechanism {name!r}: choose some of {', '.join(MECHANISMS)}")
    return found


def _seeds(seeds: Any) -> Iterable[int]:
    return (
        range(whole_number("seeds", seeds, 1))
        if isinstance(seeds, int)
        else [whole_number("seeds", seed, 0) for seed in seeds]
    )


def _file(place: Path, cell: Cell) -> Path:
    return place / "cells" / f"{cell.name}.json"


def _stored(place: Path | None, cell: Cell) -> dict[str, Any] | None:
    """A cell that is on disk."""
    if place is None or not _file(place, cell).exists():
        return None
    try:
        content = json.loads(_file(place, cell).read_text("utf-8"))
        there = content["request"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{_file(place, cell)} is damaged: delete it ({error})") from None
    here = json.loads(json.dumps(cell.request))
    if there != here:
        raise ValueError(
            f"{_file(place, cell)} is of another comparison ({difference(there, here)}): name another folder"
        )
    return content


def _in_turn(cells, tasks, place, _, threads, done) -> str:
    import numba

    before = numba.get_num_threads()
    numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
    try:
        for cell in cells:
            content = _trained(cell, tasks[cell.task], place, lambda row: None)
            if content is None:
                return "interrupted"
            done(cell, content)
    except KeyboardInterrupt:
        return "interrupted"
    finally:
        numba.set_num_threads(before)
    return "finished"


def _in_processes(cells, tasks, place, count, threads, done) -> str:
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    pool = ProcessPoolExecutor(count, context, _begin, (tasks, stop, threads))
    futures = {}
    status = "finished"
    try:
        waiting = iter(cells)
        for cell in itertools.islice(waiting, 2 * count):
            futures[pool.submit(_cell, cell, place)] = cell
        while futures:
            for future in wait(futures, return_when=FIRST_COMPLETED).done:
                cell, content = futures.pop(future), future.result()
                if content is not None:
                    done(cell, content)
                for cell in waiting:
                    futures[pool.submit(_cell, cell, place)] = cell
                    break
    except KeyboardInterrupt:
        status = "interrupted"
    finally:
        stop.set()  # also after an error: nobody waits for what will not be used
        for future in futures:
            future.cancel()
        pool.shutdown(wait=True, cancel_futures=True)
    return status


def _begin(tasks: dict[str, Task], stop: Any, threads: int) -> None:
    """A worker: Ctrl-C is the parent's business, and without a parent there is no work."""
    global _STOP
    import numba

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _TASKS.update(tasks)
    _STOP = stop
    numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
    parent = multiprocessing.parent_process()
    if parent is not None:

        def watch():
            parent.join()
            os._exit(1)

        threading.Thread(target=watch, daemon=True).start()


def _cell(cell: Cell, place: Path | None) -> dict[str, Any] | None:
    def heed(row: dict[str, Any]) -> None:
        if _STOP.is_set():
            raise KeyboardInterrupt

    return None if _STOP.is_set() else _trained(cell, _TASKS[cell.task], place, heed)


def _trained(cell: Cell, task: Task, place: Path | None, heed: Callable) -> dict[str, Any] | None:
    """Run a cell; None if it was interrupted."""
    from ._fit import fit

    built = model_of(cell.request["model"], task, cell.request["parameters"], cell.seed)
    running = None
    if place is not None:
        running = place / "running" / cell.name
        running.parent.mkdir(exist_ok=True)
    content: dict[str, Any] = {
        "task": cell.task,
        "mechanism": cell.mechanism,
        "seed": cell.seed,
        "request": cell.request,
        "parameters": int(built.parameters.values.size),
        "config": built.config,
    }
    nothing: dict[str, Any] = {
        "score": None,
        "accuracy": None,
        "solved_at": None,
        "tokens_per_second": None,
        "curve": [],
        "test": {},
    }
    try:
        options = {"until": "solved", **cell.request["fit"]}
        result = fit(built, task, rng=cell.seed, checkpoint=running, progress=heed, **options)
    except NotFinite as error:
        with contextlib.suppress(OSError):
            shutil.rmtree(running or "", ignore_errors=True)
        return (
            content
            | nothing
            | {"status": "failed", "why": str(error).partition(";")[0], "steps": error.step, "seconds": 0.0}
        )
    except OSError as error:
        vars(error).pop("result", None)  # too large to travel between processes
        raise
    if result.status == "interrupted":
        return None
    looks = result.evaluations
    solved = next((row["step"] for row in looks if task.solved(row)), None)
    figures = task.evaluate(result.model, split="test")
    speeds = [row["tokens_per_second"] for row in result.rows if row["kind"] == "training"]
    return content | {
        "status": result.status,
        "steps": result.step,
        "seconds": result.seconds,
        "score": _finite(figures[task.score]),
        "accuracy": figures.get("accuracy"),
        "solved_at": solved,
        "tokens_per_second": float(np.median(speeds)) if speeds else None,
        "curve": [[row["step"], _finite(row[task.score])] for row in looks],
        "accuracies": [row.get("accuracy") for row in looks],
        "test": {name: _finite(x) for name, x in figures.items()},
    }


def _finite(x: float) -> float | None:
    return float(x) if math.isfinite(x) else None


def model_of(options: Mapping[str, Any], task: Task, parameters: int | None, seed: int):
    """A model for a task, as large as wanted."""
    from .. import nn

    given = {"vocabulary": task.vocabulary, **options}
    if task.context is not None:
        given.setdefault("context", task.context)
    if parameters is not None:
        given = nn.sized(given.pop("mechanism", "dot_product"), parameters, **given)
    return nn.LanguageModel(**given, rng=seed)
