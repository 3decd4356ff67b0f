"""``primeattn eval``: how well a trained model does on held-out material."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from . import options, settings
from .exits import INPUT, Failure
from .streams import put

_EPILOG = """examples:
  primeattn eval                                the model of primeattn-training on the test part of its task
  primeattn eval book --text other.txt --split validation
  primeattn eval book/model.npz --text enwik8 --json

One figure a line. Of text, bits per character over a sliding window: every character is predicted once; beside them the
bits that xz and the frequencies of single characters need."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options; imports nothing of the library."""
    parser.description = "Evaluate a model that `primeattn train` made, on the whole held-out part of a task."
    parser.epilog = _EPILOG
    add = parser.add_argument
    place = "folder of a run, or a model.npz (default: primeattn-training)"
    add("model", nargs="?", type=Path, default=Path("primeattn-training"), metavar="MODEL", help=place)
    add("--task", metavar="NAME", help="text, nt, copy, recall, modular, order (default: that of the run)")
    add("--text", metavar="SOURCE", help="topics, python, enwik8, or a file (default: that of the run)")
    add("--set", type=options.assignment, action="append", default=[], metavar="task.NAME=VALUE", help="of the task")
    add("--split", choices=("test", "validation"), default="test", help="(default: test)")
    add("--json", action="store_true", help="print JSON")
    add("-o", "--output", type=Path, metavar="PATH", help="write JSON to this file, too")
    add("-q", "--quiet", action="store_true", help="no progress")


def run(arguments: argparse.Namespace) -> int:
    """Load, evaluate, print."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    place, about = settings.place_of(arguments.model)
    table = dict(about.get("task", {"task": "text"}))
    if arguments.task is not None and arguments.task != table["task"]:
        table = {"task": arguments.task}
    if arguments.text is not None:
        if table["task"] != "text":
            table = {"task": "text"}
        table |= {"source": arguments.text}
        table.pop("held_out", None)
    table |= {name: value for _, name, value in arguments.set}
    table.pop("most", None)
    if table["task"] == "text" and table.get("source") == "bytes":
        raise Failure(INPUT, f"{place} was trained on bytes in memory: name a text with --text")
    from .. import train
    from .._runtime.progress import Bar

    model = settings.model_at(place)
    try:
        task = settings.task_of(table)
        if about.get("characters") and hasattr(task, "alphabet") and about["characters"] != task.alphabet.characters:
            raise Failure(
                INPUT, "the model knows other characters than this text: name the text that it was trained on"
            )
        with Bar(False if arguments.quiet else None) as bar:
            figures = train.evaluate(
                model, task, split=arguments.split, progress=lambda share: bar(share, "evaluating")
            )
    except (ValueError, TypeError) as error:
        if arguments.debug:
            raise
        raise Failure(INPUT, " ".join(str(error).split())) from None
    found = {**figures, **(settings.controls(task) if arguments.split == "test" else {})}
    text = json.dumps({"model": os.fspath(place), "split": arguments.split, "task": task.config, **found}, indent=1)
    if arguments.output is not None:
        from .._runtime.files import write_whole
        from .exits import OUTPUT

        try:
            write_whole(arguments.output, text + "\n")
        except OSError as error:
            raise Failure(OUTPUT, f"{arguments.output}: cannot be written ({error.strerror or error})") from None
    if arguments.json:
        put(text)
    else:
        width = max(map(len, found))
        for name, value in found.items():
            put(
                f"{name:<{width}}  {value:,.0f}"
                if name in ("tokens", "predictions")
                else f"{name:<{width}}  {value:.5g}"
            )
    return 0
