"""``primeattn grad-check``: whether gradients are the derivatives of the loss, array by array."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from . import options, settings
from .exits import INPUT, OUTPUT, UNEXPECTED, USAGE, Failure
from .streams import put

_EPILOG = """examples:
  primeattn grad-check                                     a small model of every mechanism
  primeattn grad-check --mechanism kuramoto --layers 3 --arrays
  primeattn grad-check --task recall --set model.heads=4

One line a mechanism: its worst array of parameters, the error there, and whether it passes. Slopes along random
directions in float64, against differences of the loss. The exit status is 1 if one is wrong."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options; imports nothing of the library."""
    parser.description = "Compare the hand-derived gradient of small models with differences of their loss."
    parser.epilog = _EPILOG
    add = parser.add_argument
    add("--mechanism", default="all", metavar="NAME,...", help="of pa.attention.MECHANISMS (default: all)")
    add("--task", default="copy", metavar="NAME", help="text, nt, copy, recall, modular, order (default: copy)")
    for name, value in (("layers", 2), ("width", 16), ("heads", 2), ("batch", 2)):
        add(f"--{name}", type=options.count, default=value, metavar="N", help=f"(default: {value})")
    add("--context", type=options.count, metavar="N", help="(default: that of the task, or 16)")
    add("--tolerance", type=options.positive, default=1e-7, metavar="X", help="largest error (default: 1e-7)")
    add("--set", type=options.assignment, action="append", default=[], metavar="TABLE.NAME=VALUE", help="model, task")
    add("--arrays", action="store_true", help="all arrays, not only the worst")
    add("--seed", type=options.seed, default=0, metavar="N", help="of parameters and directions (default: 0)")
    add("-o", "--output", type=Path, metavar="PATH", help="write all as JSON to this file, too")
    add("-q", "--quiet", action="store_true", help="print nothing but errors")


def run(arguments: argparse.Namespace) -> int:
    """Make, check, print."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from ..attention import MECHANISMS

    names = settings.causal() if arguments.mechanism == "all" else arguments.mechanism.split(",")
    for name in names:
        if name not in MECHANISMS:
            raise Failure(USAGE, f"there is no mechanism {name!r}: choose some of {', '.join(MECHANISMS)}, or all")
    tables: dict[str, dict] = {"model": {}, "task": {"task": arguments.task}}
    for table, name, value in arguments.set:
        if table not in tables:
            raise Failure(USAGE, f"there is no table {table!r}: model or task is wanted")
        tables[table][name] = value
    wrong, content = [], {}
    wide = max(map(len, names))
    for name in names:
        try:
            report = _checked(name, tables, arguments)
        except (ValueError, TypeError) as error:
            if arguments.debug:
                raise
            raise Failure(INPUT, f"{name}: {' '.join(str(error).split())}") from None
        worst = report.arrays[0]
        content[name] = [array._asdict() for array in report.arrays]
        if not report.ok:
            wrong.append(name)
        if arguments.quiet:
            continue
        if arguments.arrays:
            put(f"{name}\n{report}")
        else:
            put(f"{name:<{wide}}  {worst.error:8.1e}  {'ok' if report.ok else 'WRONG':<5}  {worst.name}")
    if arguments.output is not None:
        from .._runtime.files import write_whole

        try:
            write_whole(arguments.output, json.dumps(content, indent=1) + "\n")
        except OSError as error:
            raise Failure(OUTPUT, f"{arguments.output}: cannot be written ({error.strerror or error})") from None
    if wrong:
        raise Failure(UNEXPECTED, f"the gradient of {', '.join(wrong)} is not the derivative of the loss")
    return 0


def _checked(name: str, tables: dict[str, dict], arguments: argparse.Namespace):
    from .. import nn

    task = settings.task_of(tables["task"])
    context = arguments.context or task.context or 16
    sizes = {size: getattr(arguments, size) for size in ("layers", "width", "heads")}
    given = {"vocabulary": task.vocabulary, "context": context, **sizes, **tables["model"]}
    model = nn.LanguageModel(mechanism=name, **given, dtype="float64", rng=arguments.seed)
    inputs, targets, weights = task.batch(0, arguments.batch, seed=arguments.seed, context=context)
    return nn.gradient_check(
        model, (inputs, targets), tolerance=arguments.tolerance, rng=arguments.seed, weights=weights
    )
