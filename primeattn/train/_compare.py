"""Mechanisms x tasks x seeds: what is asked for, what is there already, and what is missing made."""

import json
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .._runtime.arguments import whole_number
from .._runtime.files import write_whole
from .._runtime.progress import Bar
from ._cells import Cell, file_of, in_processes, in_turn, stored
from ._comparison import Comparison
from ._task import Task

FORMAT = "primeattn.comparison/1"


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
    found = {cell.name: content for cell in cells if (content := stored(place, cell)) is not None}
    rest = [cell for cell in cells if cell.name not in found]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    count = max(1, cores // threads) if workers is None else whole_number("workers", workers, 1)
    with Bar(progress if progress is None or isinstance(progress, bool) else False) as bar:

        def done(cell: Cell, content: dict[str, Any]) -> None:
            found[cell.name] = content
            if place is not None:
                write_whole(file_of(place, cell), json.dumps(content))
                shutil.rmtree(place / "running" / cell.name, ignore_errors=True)
            if callable(progress):
                progress(len(found), len(cells), content)
            bar(len(found) / len(cells), f"{len(found)} of {len(cells)} runs  {cell.mechanism}")

        run = in_turn if count == 1 or len(rest) < 2 else in_processes
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
