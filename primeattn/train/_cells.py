"""Cells of a comparison, each a run and a file of its own, one after the other or in several processes."""

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
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ._checkpoint import difference
from ._guard import NotFinite
from ._task import Task

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


def file_of(place: Path, cell: Cell) -> Path:
    return place / "cells" / f"{cell.name}.json"


def stored(place: Path | None, cell: Cell) -> dict[str, Any] | None:
    """A cell that is on disk."""
    if place is None or not file_of(place, cell).exists():
        return None
    try:
        content = json.loads(file_of(place, cell).read_text("utf-8"))
        there = content["request"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file_of(place, cell)} is damaged: delete it ({error})") from None
    here = json.loads(json.dumps(cell.request))
    if there != here:
        raise ValueError(
            f"{file_of(place, cell)} is of another comparison ({difference(there, here)}): name another folder"
        )
    return content


def in_turn(cells, tasks, place, _, threads, done) -> str:
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


def in_processes(cells, tasks, place, count, threads, done) -> str:
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
