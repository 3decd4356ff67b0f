"""What a run returns."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ._metrics import dataset


@dataclass
class Result:
    """What came out of a run.

    Attributes
    ----------
    model : primeattn.nn.LanguageModel
        With the parameters of the last step, or, if ``patience`` was given, those of the best evaluation.
    status : {"finished", "stopped early", "solved", "interrupted"}
    step : int
        Steps taken.
    rows : list of dict
        Metrics in the order in which they came.
    seconds : float
        Of training, evaluation not counted.
    checkpoint : pathlib.Path or None
        The folder.
    about : dict
        What was trained on what, and how.
    """

    model: Any
    status: str
    step: int
    rows: list[dict[str, Any]]
    seconds: float
    checkpoint: Path | None
    about: dict[str, Any]

    @cached_property
    def metrics(self):
        """The rows as an xarray.Dataset.

        Returns
        -------
        xarray.Dataset
            Over ``step``: loss (nats, mean since the row before), bits_per_character, rate, gradient_norm, tokens,
            seconds, tokens_per_second. Over ``evaluated``: the figures of the task, each with ``validation_`` before
            it.
        """
        return dataset(self.rows, self.about | {"status": self.status})

    @property
    def evaluations(self) -> list[dict[str, Any]]:
        """The rows of held-out figures."""
        return [row for row in self.rows if row["kind"] == "evaluation"]

    def __repr__(self) -> str:
        last = self.evaluations[-1:]
        figures = ", ".join(
            f"{k} {v:.4g}" for row in last for k, v in row.items() if k not in ("kind", "step", "tokens")
        )
        return (
            f"Result({self.status} after {self.step:,} steps, {self.seconds:.1f} s{'; ' if figures else ''}{figures})"
        )
