"""``primeattn train``: a model, or mechanisms against one another, from flags or from a file."""

from __future__ import annotations

import argparse
import json
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from . import options, settings
from .exits import EXTRA, INPUT, INTERRUPTED, OUTPUT, USAGE, Failure
from .streams import put

_EPILOG = """examples:
  primeattn train                                    a small model on the language reference of Python
  primeattn train book.txt --steps 2000 --output book
  primeattn train --task nt --set task.delay=10 --mechanism squared --context 18
  primeattn train run.toml --seed 7
  primeattn train --compare all --parameters 200k --tokens 10M --seeds 3 --context 256 --output comparison

A file (TOML or YAML) has the tables task (task = "text", "nt", ... and its options), model (those of
pa.nn.LanguageModel), train (those of pa.train.fit) and compare (mechanisms, seeds, parameters, workers, threads).
A flag counts more than the file, --set TABLE.NAME=VALUE reaches every option. The folder of --output holds
checkpoint.npz, model.npz, metrics.jsonl, run.json, at the end metrics.nc, figures.json and curve.png; their paths go to
standard output, progress to standard error if that is a terminal. Ctrl-C keeps what there is; the same command goes on,
after a crash, too. Another command, one with more --steps included, wants another --output, or --fresh: the learning
rate of every step depends on how many there are."""
_NEEDED = ("matplotlib", "h5netcdf", "h5py")
LOOKS = 50_000  # bytes of a text that are read at each look during a run
DEFAULTS: dict[str, dict[str, Any]] = {
    "task": {"task": "text"},
    "model": {"mechanism": "dot_product", "layers": 4, "width": 128, "heads": 4},
    "train": {"steps": 500, "batch": 16, "rate": 2e-3},
    "compare": {},
}
_COMPARE = ("mechanisms", "seeds", "parameters", "workers", "threads")
_CONTEXT = 128  # of a text


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options; imports nothing of the library."""
    parser.description = (
        "Train a language model with hand-derived gradients: text, byte by byte, or one of the small tasks. With "
        "--compare, several mechanisms from several seeds, in several processes."
    )
    parser.epilog = _EPILOG
    add = parser.add_argument
    add("file", nargs="?", metavar="FILE", help="settings (.toml, .yaml), or a text to learn (also .gz, .xz)")
    add("--task", metavar="NAME", help="text, nt, copy, recall, modular, order (default: text)")
    add("--text", metavar="SOURCE", help="topics, python, enwik8, or a file (default: topics)")
    add("--level", choices=("byte", "character"), help="tokens of a text (default: byte)")
    add("--mechanism", metavar="NAME", help="of pa.attention.MECHANISMS (default: dot_product)")
    add("--layers", type=options.count, metavar="N", help="(default: 4)")
    add("--width", type=options.count, metavar="N", help="numbers of a token (default: 128)")
    add("--heads", type=options.count, metavar="N", help="(default: 4)")
    add(
        "--context", type=options.count, metavar="N", help=f"tokens the model sees (default: {_CONTEXT}, or the task's)"
    )
    add("--steps", type=options.count, metavar="N", help="updates (default: 500)")
    add("--tokens", type=options.count, metavar="N", help="in place of steps: how many to see, such as 10M")
    add("--batch", type=options.count, metavar="N", help="sequences of an update (default: 16)")
    add("--rate", type=options.positive, metavar="X", help="largest learning rate (default: 0.002)")
    add("--optimizer", choices=("adamw", "sgd"), help="(default: adamw)")
    add("--schedule", choices=("cosine", "constant"), help="(default: cosine)")
    add("--patience", type=options.count, metavar="N", help="looks without a gain after which to stop")
    add("--device", choices=("cpu", "cuda"), help="(default: cpu)")
    add("--threads", type=options.count, metavar="N", help="(default: all; of a process with --compare: 1)")
    add("--compare", metavar="NAME,...", help="mechanisms to train against one another, or all")
    add("--seeds", type=options.count, metavar="N", help="runs of each (default: 3)")
    add("--parameters", type=options.count, metavar="N", help="make models as large as that, such as 200k")
    add("--workers", type=options.count, metavar="N", help="processes (default: as many as processors)")
    set_help = "any option, such as model.rank=4 or train.decay=0 (may be repeated)"
    add("--set", type=options.assignment, action="append", default=[], metavar="TABLE.NAME=VALUE", help=set_help)
    add("--seed", type=options.seed, default=0, metavar="N", help="of parameters and batches (default: 0)")
    add("--fresh", action="store_true", help="begin anew, whatever is in the folder")
    output = "folder of the run, made if need be (default: primeattn-training)"
    add("-o", "--output", type=Path, default=Path("primeattn-training"), metavar="DIR", help=output)
    add("-q", "--quiet", action="store_true", help="print nothing but errors")


def run(arguments: argparse.Namespace) -> int:
    """Read, train, write."""
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise Failure(EXTRA, f'{", ".join(missing)} missing: pip install "primeattn[report]"')
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    found = _settings(arguments)
    check_output(arguments.output)
    try:
        if found["compare"].get("mechanisms"):
            return _compared(found, arguments)
        return _trained(found, arguments)
    except FloatingPointError as error:
        raise Failure(INPUT, str(error)) from None
    except (ValueError, TypeError) as error:
        if arguments.debug:
            raise
        raise Failure(INPUT, " ".join(str(error).split())) from None
    except OSError as error:
        place = error.filename or arguments.output
        raise Failure(OUTPUT, f"{place}: cannot be written ({error.strerror or error})") from error


def check_output(folder: Path) -> None:
    """Refuse before the work what could not be written after it."""
    parent = folder.parent
    if not parent.is_dir():
        raise Failure(OUTPUT, f"{folder}: there is no folder {parent}; make it, or name another --output")
    if folder.exists() and not folder.is_dir():
        raise Failure(OUTPUT, f"{folder}: a file; name a folder with --output")
    if not os.access(folder if folder.exists() else parent, os.W_OK):
        raise Failure(OUTPUT, f"{folder}: cannot be written; name another --output")


# --- settings -------------------------------------------------------------------------------------------------------


def _settings(arguments: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Defaults, over them the file, over it the flags."""
    given = vars(arguments)
    found = {table: dict(values) for table, values in DEFAULTS.items()}
    if arguments.file is not None and Path(arguments.file).suffix.lower() in settings.SUFFIXES:
        for table, values in settings.read(arguments.file, tuple(DEFAULTS)).items():
            found[table] |= values
    elif arguments.file is not None:
        if arguments.text is not None:
            raise Failure(USAGE, f"two texts, {arguments.file} and {arguments.text}: name one")
        found["task"]["source"] = arguments.file
    if arguments.task is not None and arguments.task != found["task"]["task"]:
        found["task"] = {"task": arguments.task}
    flags = {
        "task": {"source": "text", "level": "level"},
        "model": {name: name for name in ("mechanism", "layers", "width", "heads", "context")},
        "train": {name: name for name in ("steps", "batch", "rate", "optimizer", "schedule", "patience", "device")},
        "compare": {"mechanisms": "compare", "seeds": "seeds", "parameters": "parameters", "workers": "workers"},
    }
    for table, names in flags.items():
        found[table] |= {name: given[flag] for name, flag in names.items() if given[flag] is not None}
    if arguments.threads is not None:
        found["compare"]["threads"] = arguments.threads
    for table, name, value in arguments.set:
        if table not in found:
            raise Failure(USAGE, f"there is no table {table!r}: one of {', '.join(found)} is wanted")
        found[table][name] = value
    settings.known(_COMPARE, found["compare"], "compare")
    _complete(found, arguments)
    return found


def _complete(found: dict[str, dict[str, Any]], arguments: argparse.Namespace) -> None:
    """What depends on other settings."""
    if found["task"]["task"] == "text":
        found["task"].setdefault("most", LOOKS)
        found["model"].setdefault("context", _CONTEXT)
    elif "source" in found["task"] or "level" in found["task"]:
        raise Failure(USAGE, f"the task {found['task']['task']} takes no text")
    if isinstance(found["compare"].get("mechanisms"), str):
        found["compare"]["mechanisms"] = [part for part in found["compare"]["mechanisms"].split(",") if part]
    if arguments.tokens is not None:
        context = found["model"].get("context")
        if arguments.steps is not None or context is None:
            raise Failure(USAGE, "--tokens goes without --steps, and with a text or --context")
        found["train"]["steps"] = max(1, arguments.tokens // (found["train"]["batch"] * context))


# --- one model --------------------------------------------------------------------------------------------------------


def _trained(found: dict[str, dict[str, Any]], arguments: argparse.Namespace) -> int:
    import numba

    from .. import train
    from ..train._cells import model_of

    threads, parameters = found["compare"].get("threads"), found["compare"].get("parameters")
    if threads is not None:
        numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
    task = settings.task_of(found["task"])
    model = model_of(found["model"], task, parameters, arguments.seed)
    result = train.fit(
        model,
        task,
        **_without(found["train"], "checkpoint", "resume", "rng", "progress"),
        checkpoint=arguments.output,
        resume=not arguments.fresh,
        rng=arguments.seed,
        progress=False if arguments.quiet else None,
    )
    if result.status == "interrupted":
        raise Failure(
            INTERRUPTED, f"interrupted at step {result.step:,}; what there is is on disk; the same command goes on"
        )
    figures = train.evaluate(result.model, task)
    controls = settings.controls(task)
    written = _written(result, figures, controls, arguments.output)
    if not arguments.quiet:
        for path in written:
            put(os.fspath(path))
        if sys.stderr.isatty():
            print(_sentence(result, figures, controls), file=sys.stderr)
    return 0


def _without(values: dict[str, Any], *names: str) -> dict[str, Any]:
    for name in names:
        if name in values:
            raise Failure(USAGE, f"train.{name} is given by the command itself: leave it out")
    return values


def _written(result, figures: dict[str, float], controls: dict[str, float], folder: Path) -> list[Path]:
    from .._runtime.files import write_netcdf, write_whole

    paths = [folder / "model.npz", folder / "metrics.nc", folder / "figures.json", folder / "curve.png"]
    write_netcdf(paths[1], result.metrics)
    content = {
        "status": result.status,
        "steps": result.step,
        "seconds": result.seconds,
        "test": figures,
        "controls": controls,
        **result.about,
    }
    write_whole(paths[2], json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    name = "bits_per_character" if "bits_per_character" in figures else "loss"
    rows = result.rows
    curves = {
        kind: ([row["tokens"] for row in own], [row[name] for row in own])
        for kind in ("training", "evaluation")
        if (own := [row for row in rows if row["kind"] == kind])
    }
    picture(curves, controls, name.replace("_", " "), paths[3])
    return paths


def picture(curves, levels, ylabel: str, path: Path) -> Path:
    """Curves of learning, as a PNG."""
    from .. import plot
    from .._runtime.files import write_whole
    from ..plot import files

    def draw(figure):
        plot.learning(curves, ax=figure.subplots(), levels=levels, ylabel=ylabel)

    return write_whole(path, files.png(draw, 6.4, 4.0))


def _sentence(result, figures: dict[str, float], controls: dict[str, float]) -> str:
    parts = [f"{name.replace('_', ' ')} {value:.4g}" for name, value in figures.items()]
    beside = [f"{name} {value:.4g}" for name, value in controls.items()]
    return f"test: {', '.join(parts)}" + (f" (for comparison: {', '.join(beside)})" if beside else "")


# --- several ----------------------------------------------------------------------------------------------------------


def _compared(found: dict[str, dict[str, Any]], arguments: argparse.Namespace) -> int:
    from .. import nn, train
    from ..attention import MECHANISMS

    asked = dict(found["compare"])
    names = asked.pop("mechanisms")
    if names == ["all"]:
        names = settings.causal()
    task = settings.task_of(found["task"])
    model = {name: value for name, value in found["model"].items() if name != "mechanism"}
    if not isinstance(names, dict):
        for name in names:
            if name not in MECHANISMS:
                raise Failure(USAGE, f"there is no mechanism {name!r}: choose some of {', '.join(MECHANISMS)}, or all")
    seeds = asked.pop("seeds", 3)
    first = arguments.seed
    comparison = train.compare(
        names,
        task,
        seeds=range(first, first + seeds) if isinstance(seeds, int) else seeds,
        model=model,
        folder=arguments.output,
        progress=False if arguments.quiet else None,
        **asked,
        **_without(found["train"], "checkpoint", "resume", "rng", "progress"),
    )
    del nn
    if comparison.cells:
        for path in _written_comparison(comparison, task, arguments.output):
            if not arguments.quiet:
                put(os.fspath(path))
        if sys.stderr.isatty() and not arguments.quiet:
            print(comparison.markdown(), file=sys.stderr, end="")
    if comparison.status == "interrupted":
        raise Failure(
            INTERRUPTED,
            f"interrupted, {comparison.missing} runs are missing; what there is is on disk; the same command goes on",
        )
    return 0


def _written_comparison(comparison, task, folder: Path) -> list[Path]:
    import numpy as np

    from .._runtime.files import write_netcdf, write_whole

    controls = settings.controls(task)
    beside_it = "".join(f"\n{name}: {value:.4f}" for name, value in controls.items())
    paths = [folder / "comparison.md", folder / "comparison.nc", folder / "curves.png"]
    write_whole(paths[0], comparison.markdown() + (f"{beside_it}\n" if beside_it else ""))
    data = comparison.to_xarray()
    write_netcdf(paths[1], data)
    curve = data.curve.isel(task=0).mean("seed").values
    curves = {
        str(name): (data.evaluated.values[np.isfinite(line)], line[np.isfinite(line)])
        for name, line in zip(data.mechanism.values, curve, strict=True)
    }
    from .. import plot
    from ..plot import files

    def draw(figure):
        plot.learning(
            curves, ax=figure.subplots(), levels=controls, xlabel="steps", ylabel=task.score.replace("_", " ")
        )

    write_whole(paths[2], files.png(draw, 7.2, 4.6))
    return paths
