r"""Observables that reduce over time; each adds up sample by sample, so that no bit depends on how a run is cut.

frequencies    (theta_i(last) - theta_i(first)) / (t_last - t_first), of unwrapped phases: exact however samples lie
locking        |< exp(i (theta_j - theta_i)) >| over time: 1 where two oscillators keep their distance
R_mean         < R >
chimera        < variance of R over communities >       (Shanahan 2010, with 1 / (communities - 1))
metastability  mean over communities of the variance of R over time      (the same, with 1 / (samples - 1))
"""

import math
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from .. import circle
from ._seen import Reduction, Seen

_LARGEST = 4096  # oscillators whose locking matrix is kept: 256 MiB a run

State = dict[str, np.ndarray]


def by_community(seen: Seen, labels: Any) -> np.ndarray:
    """R of every community, shape (runs, samples, communities); labels may have gaps, and stand in ascending order."""
    labels = seen.model.groups if labels is None else labels
    order = np.argsort(labels, kind="stable")
    edges = np.flatnonzero(np.diff(labels[order], prepend=labels[order[0]] - 1, append=labels[order[-1]] + 1))
    parts = [circle.order_parameter(seen.theta[..., order[a:b]]) for a, b in pairwise(edges)]
    return np.abs(np.stack(parts, axis=-1))


def check(observable: Any, model: Any) -> None:
    """Refuse what the model cannot give."""
    if observable.name == "locking" and model.size > _LARGEST:
        raise ValueError(
            f"observables has 'locking' for {model.size} oscillators: at most {_LARGEST}, whose matrix fits memory"
        )
    function = observable.update if isinstance(observable, Reduction) else observable.compute
    if not isinstance(function, partial) or "labels" not in function.keywords:
        return
    labels = model.groups if function.keywords["labels"] is None else function.keywords["labels"]
    if labels is None:
        if observable.name == "metastability":  # of all oscillators together
            return
        raise ValueError(
            f"observables has {observable.name!r} but the model has no groups: give it groups, or pass "
            f"pa.dynamics.observable({observable.name!r}, labels=...)"
        )
    if labels.shape != (model.size,):
        raise ValueError(f"labels have shape {labels.shape}: ({model.size},) is wanted, one for each oscillator")
    if observable.name == "chimera" and len(np.unique(labels)) < 2:
        raise ValueError("observables has 'chimera' of one community: two or more are wanted")


# --- frequencies ----------------------------------------------------------------------------------------------------


def _begin_frequencies(model: Any, runs: int) -> State:
    shape = runs, model.size
    return {"first": np.zeros(shape), "last": np.zeros(shape), "times": np.full(2, math.nan)}


def _add_frequencies(state: State, seen: Seen) -> None:
    if len(seen.t) and math.isnan(state["times"][0]):
        state["first"][:], state["times"][0] = seen.theta[:, 0], seen.t[0]
    if len(seen.t):
        state["last"][:], state["times"][1] = seen.theta[:, -1], seen.t[-1]


def _end_frequencies(state: State) -> np.ndarray:
    span = state["times"][1] - state["times"][0]
    return (state["last"] - state["first"]) / (span if span != 0 else math.nan)


# --- locking --------------------------------------------------------------------------------------------------------


def _begin_locking(model: Any, runs: int) -> State:
    return {"sum": np.zeros((runs, model.size, model.size), complex), "count": np.zeros(1)}


def _add_locking(state: State, seen: Seen) -> None:
    from scipy.linalg.blas import zgerc

    for run, matrix in enumerate(state["sum"]):
        for e in seen.directions[run]:
            zgerc(1, e, e, a=matrix.T, overwrite_a=1)  # in place
    state["count"] += len(seen.t)


def _end_locking(state: State) -> np.ndarray:
    return np.abs(state["sum"]) / (state["count"] or math.nan)


# --- moments of R over time (Welford) -------------------------------------------------------------------------------


def _begin_R(model: Any, runs: int, labels: Any = None, whole: bool = False) -> State:
    labels = model.groups if labels is None else labels
    number = 1 if whole or labels is None else len(np.unique(labels))
    return {"mean": np.zeros((runs, number)), "squares": np.zeros((runs, number)), "count": np.zeros(1)}


def _add_R(state: State, seen: Seen, labels: Any = None, whole: bool = False) -> None:
    single = whole or (labels is None and seen.model.groups is None)
    R = np.abs(seen.moment(1))[..., None] if single else by_community(seen, labels)
    for sample in np.moveaxis(R, 1, 0):
        state["count"] += 1
        change = sample - state["mean"]
        state["mean"] += change / state["count"]
        state["squares"] += change * (sample - state["mean"])


def _variance(state: State) -> np.ndarray:
    count = state["count"][0]
    return (state["squares"] / (count - 1 if count > 1 else math.nan)).mean(axis=-1)


def _mean(state: State) -> np.ndarray:
    return state["mean"][:, 0] if state["count"][0] else np.full(len(state["mean"]), math.nan)


def metastability(labels: Any = None) -> Reduction:
    return Reduction(
        "metastability", "variance of R over time, mean over communities", "1", (),
        partial(_begin_R, labels=labels), partial(_add_R, labels=labels), _variance,
    )  # fmt: skip


# --- chimera --------------------------------------------------------------------------------------------------------


def _begin_chimera(model: Any, runs: int) -> State:
    return {"sum": np.zeros(runs), "count": np.zeros(1)}


def _add_chimera(state: State, seen: Seen, labels: Any = None) -> None:
    for sample in np.moveaxis(by_community(seen, labels), 1, 0):
        state["sum"] += sample.var(axis=-1, ddof=1)
    state["count"] += len(seen.t)


def _end_chimera(state: State) -> np.ndarray:
    return state["sum"] / (state["count"] or math.nan)


def chimera(labels: Any = None) -> Reduction:
    return Reduction(
        "chimera", "variance of R over communities, mean over time", "1", (),
        _begin_chimera, partial(_add_chimera, labels=labels), _end_chimera,
    )  # fmt: skip


TABLE = (
    Reduction(
        "R_mean", "mean of the order parameter over time", "1", (),
        partial(_begin_R, whole=True), partial(_add_R, whole=True), _mean,
    ),
    Reduction(
        "frequencies", "effective frequencies", "rad / time", ("oscillator",),
        _begin_frequencies, _add_frequencies, _end_frequencies,
    ),
    Reduction(
        "locking", "phase locking |< exp(i (theta_j - theta_i)) >|", "1", ("oscillator", "other"),
        _begin_locking, _add_locking, _end_locking,
    ),
    chimera(),
    metastability(),
)  # fmt: skip
