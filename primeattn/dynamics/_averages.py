"""Observables averaged over time, sample by sample: mean and standard deviation in memory of one sample."""

from functools import partial
from typing import Any

import numpy as np

from ._seen import Observable, Reduction, Seen

State = dict[str, np.ndarray]


def _begin(model: Any, runs: int) -> State:
    return {}


def _add(state: State, seen: Seen, observable: Observable) -> None:
    """Welford's sums; samples that are NaN are left out."""
    for sample in np.moveaxis(observable.compute(seen), 1, 0):
        if not state:
            state |= {"mean": np.zeros_like(sample), "count": np.zeros(sample.shape), "squares": np.zeros(sample.shape)}
        counts = ~np.isnan(sample)
        state["count"] += counts
        change = np.where(counts, sample - state["mean"], 0)
        state["mean"] += change / np.maximum(state["count"], 1)
        state["squares"] += (np.conj(change) * np.where(counts, sample - state["mean"], 0)).real


def _end(state: State) -> np.ndarray:
    """Mean and standard deviation, (runs, ..., 2)."""
    count = np.where(state["count"] > 0, state["count"], np.nan)
    return np.stack([state["mean"] * (count / count), np.sqrt(state["squares"] / count)], axis=-1)


def averaged(observable: Observable) -> Reduction:
    """Its mean and standard deviation over time, on a last axis of 2."""
    return Reduction(
        observable.name, observable.says, observable.unit, observable.dims,
        _begin, partial(_add, observable=observable), _end,
    )  # fmt: skip
