"""Rows of a run: as JSON lines while it goes on, as an xarray.Dataset at the end."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from .._runtime.files import write_whole

_MEANING = {
    "loss": ("mean over the steps since the row before", "nat"),
    "bits_per_character": ("loss / ln 2", "bit"),
    "rate": ("learning rate of the last step", ""),
    "gradient_norm": ("of the last step, before clipping", ""),
    "tokens": ("seen so far", ""),
    "seconds": ("of training, evaluation not counted", "s"),
    "tokens_per_second": ("since the row before", "1/s"),
}


def line(row: dict[str, Any]) -> str:
    """A row as JSON, NaN and infinity as null."""
    plain = {name: None if isinstance(x, float) and not math.isfinite(x) else x for name, x in row.items()}
    return json.dumps(plain) + "\n"


class Lines:
    """A file of JSON lines that follows the rows.

    A line may be torn when the machine goes down; `write` makes the file anew from what a checkpoint knows.
    """

    def __init__(self, path: Path):
        self._path = path

    def write(self, rows: list[dict[str, Any]]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self._path, "".join(map(line, rows)))

    def add(self, rows: list[dict[str, Any]]) -> None:
        """Write the last row; all of them, if somebody has deleted the file."""
        if not self._path.exists():
            self.write(rows)
            return
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(line(rows[-1]))


def dataset(rows: list[dict[str, Any]], about: dict[str, Any]):
    """Rows of training over ``step``, figures of evaluation over ``evaluated``; see `Result`."""
    import xarray

    variables: dict[str, Any] = {}
    coordinates: dict[str, Any] = {}
    for kind, axis, prefix in (("training", "step", ""), ("evaluation", "evaluated", "validation_")):
        own = [row for row in rows if row["kind"] == kind]
        coordinates[axis] = (axis, np.array([row["step"] for row in own], np.int64), {"long_name": "steps taken"})
        for name in dict.fromkeys(name for row in own for name in row if name not in ("kind", "step")):
            meaning, unit = _MEANING.get(name, ("", ""))
            about_it = {"long_name": meaning, "units": unit} if kind == "training" else {}
            values = np.array([row.get(name, np.nan) for row in own], float)
            variables[prefix + name] = (axis, values, {key: text for key, text in about_it.items() if text})
    attributes = {name: x if isinstance(x, str | int | float) else json.dumps(x) for name, x in about.items()}
    return xarray.Dataset(variables, coords=coordinates, attrs=attributes)
