"""What came out of a comparison: all runs, the table, Markdown."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np


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
        """The table, one row for each task and mechanism; who solved it, where a task can be solved."""
        table, solvable = self.table, any(cell["accuracy"] is not None for cell in self.cells)
        head = ["task", "mechanism", "parameters", "runs", "mean", "median", "deviation", "least", "most"]
        head += ["solved", "steps"] if solvable else []
        lines = ["| " + " | ".join(head) + " |", "|" + "---|" * 2 + "---:|" * (len(head) - 2)]
        for task in table.task.values if self.cells else ():
            for mechanism in table.mechanism.values:
                row = {name: float(x) for name, x in table.sel(task=task, mechanism=mechanism).items()}
                if row["runs"] > 0:
                    shown = [str(task), str(mechanism), *_shown(row)][: len(head)]
                    lines.append("| " + " | ".join(shown) + " |")
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
