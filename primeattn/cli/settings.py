"""Files of settings, tasks and models that several commands read."""

from __future__ import annotations

import difflib
import inspect
import json
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .exits import EXTRA, INPUT, USAGE, Failure

SUFFIXES = (".toml", ".yaml", ".yml")
_QUICK = 8_000_000  # bytes that xz packs in a few seconds


def read(path: str, tables: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """The tables of a TOML or YAML file."""
    content = parsed(path)
    if not isinstance(content, dict):
        raise Failure(INPUT, f"{path}: tables {', '.join(tables)} are wanted")
    for table, values in content.items():
        if table not in tables or not isinstance(values, dict):
            raise Failure(INPUT, f"{path}: {table!r} is no table; {', '.join(tables)} are wanted")
    return content


def parsed(path: str) -> Any:
    """A TOML or YAML file."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        raise Failure(INPUT, f"{path}: cannot be read ({reason})") from None
    if Path(path).suffix.lower() in (".yaml", ".yml"):
        try:
            import yaml
        except ImportError:
            raise Failure(EXTRA, 'PyYAML missing: pip install "primeattn[report]", or write TOML') from None
        try:
            return yaml.safe_load(text) or {}
        except yaml.YAMLError as error:
            raise Failure(INPUT, f"{path}: {' '.join(str(error).split())}") from None
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Failure(INPUT, f"{path}: {error}") from None


def known(names: Iterable[str], values: dict[str, Any], table: str) -> None:
    """Refuse an option that is not there."""
    names = tuple(names)
    for name in values:
        if name not in names:
            near = difflib.get_close_matches(str(name), names, 1, 0.4)
            hint = f"did you mean {near[0]!r}?" if near else f"choose among {', '.join(names)}"
            raise Failure(INPUT, f"{table} has no {name!r}: {hint}")


def task_of(table: dict[str, Any]):
    """The task that a table describes."""
    from .. import train

    own = dict(table)
    name = own.pop("task", "text")
    if name not in train.TASKS:
        raise Failure(USAGE, f"there is no task {name!r}: choose one of {', '.join(train.TASKS)}")
    kind = train.TASKS[name]
    known(list(inspect.signature(kind).parameters), own, f"the task {name}")
    return kind(**own)


def causal() -> list[str]:
    """Mechanisms that a model can be made of."""
    from ..attention import MECHANISMS

    return [name for name, mechanism in MECHANISMS.items() if getattr(mechanism, "trainable", None) is not None]


def controls(task: Any) -> dict[str, float]:
    """What coders without a model reach on the test part of a text."""
    if not hasattr(task, "xz_bits"):
        return {}
    found = {"unigram": task.unigram_bits()}
    return found | ({"xz": task.xz_bits()} if len(task.text.train) <= _QUICK else {})


def place_of(path: Path) -> tuple[Path, dict[str, Any]]:
    """The model in a folder of `primeattn train`, or in a file, and what its run was; {} if nobody says."""
    place = path / "model.npz" if path.is_dir() else path
    if not place.exists():
        hint = (
            "train one with `primeattn train`"
            if path.is_dir()
            else "name a folder of `primeattn train`, or a model.npz"
        )
        raise Failure(INPUT, f"{place}: there is no such model; {hint}")
    beside = place.with_name("run.json")
    if not beside.exists():
        return place, {}
    try:
        about = json.loads(beside.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise Failure(INPUT, f"{beside}: cannot be read ({error})") from None
    task, characters = (about.get("task", {}), about.get("characters", "")) if isinstance(about, dict) else (None, "")
    if not isinstance(task, dict) or not isinstance(task.get("task", "text"), str) or not isinstance(characters, str):
        raise Failure(INPUT, f"{beside}: no description of a run; name the model.npz of another folder, or train again")
    return place, about | {"task": {"task": "text"} | task}


def model_at(place: Path):
    """Load a model."""
    from .. import nn

    try:
        return nn.LanguageModel.load(place)
    except OSError as error:
        raise Failure(INPUT, f"{place}: cannot be read ({error.strerror or error})") from None
    except ValueError as error:
        raise Failure(INPUT, " ".join(str(error).split())) from None
