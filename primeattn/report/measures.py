"""Numbers about one view or one batch of states: attention, neighbours, sparsity, Zipf's law."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


def attention_to_others(matrix: np.ndarray, temperature: float) -> np.ndarray:
    """Attention weights exp(score / temperature) over the other passages, each row divided by its sum.

    A passage's score with itself is 1 in every view and would take nearly all of its attention.
    """
    z = np.array(matrix, dtype=float) / temperature
    np.fill_diagonal(z, -np.inf)
    z = np.exp(z - z.max(axis=1, keepdims=True))
    return z / z.sum(axis=1, keepdims=True)


def attended(weights: np.ndarray) -> np.ndarray:
    """Effective number of passages each row attends to: exp of the entropy of its weights, from 1 to n."""
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(weights > 0, weights * np.log(weights), 0.0)
    return np.exp(-terms.sum(axis=1))


@dataclass(frozen=True)
class Neighbours:
    """How often the nearest other passages come from the same document.

    ``first``: share of passages whose nearest one does; ``precision``: mean share among the nearest
    ``depth``; ``chance``: the same for a random choice; ``judged``: passages whose document has another.
    """

    first: float
    precision: float
    depth: int
    chance: float
    judged: int

    @property
    def margin(self) -> float:
        """Differences up to this mean nothing: two standard errors of a share, at most."""
        return 1 / float(np.sqrt(self.judged))


def neighbours(matrix: np.ndarray, groups: Sequence[str], depth: int = 3) -> Neighbours | None:
    """Judge a view by the documents that passages come from; None if no document has two passages."""
    codes = np.unique(np.asarray(groups), return_inverse=True)[1]
    n = len(codes)
    same = codes[:, None] == codes[None, :]
    np.fill_diagonal(same, False)
    judged = np.flatnonzero(same.any(axis=1))
    if not len(judged) or same.sum() == n * (n - 1):
        return None
    scores = np.asarray(matrix, dtype=float).copy()
    np.fill_diagonal(scores, -np.inf)
    depth = min(depth, n - 1)
    order = np.argsort(-scores, axis=1, kind="stable")[judged, :depth]
    # A zero score is no evidence: it would only credit the order of the file.
    hits = np.take_along_axis(same[judged], order, axis=1) & (np.take_along_axis(scores[judged], order, axis=1) > 0)
    chance = float((same.sum(axis=1)[judged] / (n - 1)).mean())
    return Neighbours(float(hits[:, 0].mean()), float(hits.mean()), depth, chance, len(judged))


@dataclass(frozen=True)
class Sparsity:
    """Active primes of each passage, passages on each prime, common primes of each pair, and a Zipf fit.

    ``shared`` lists the pairs i < j row by row; ``overlapping`` is the share of them with a common prime. The fit
    is log10(frequency) = intercept + slope log10(rank), least squares over the primes that at least two passages
    share, with its coefficient of determination ``r2`` (nan: too few to fit).
    """

    active: np.ndarray
    frequency: np.ndarray
    shared: np.ndarray
    overlapping: float
    slope: float
    intercept: float
    r2: float


def sparsity(states) -> Sparsity:
    """Measure a batch of states (anything with ``indptr`` and ``primes``)."""
    from scipy.sparse import csr_array

    indptr, primes = np.asarray(states.indptr), np.asarray(states.primes)
    n = len(indptr) - 1
    table, column, count = np.unique(primes, return_inverse=True, return_counts=True)
    on = csr_array((np.ones(len(primes), np.int32), column, indptr), shape=(n, len(table)))
    shared = (on @ on.T).toarray()[np.triu_indices(n, 1)]
    overlapping = float((shared > 0).mean()) if shared.size else 0.0
    frequency = np.sort(count)[::-1]
    return Sparsity(np.diff(indptr), frequency, shared, overlapping, *zipf(frequency))


def zipf(frequency: np.ndarray) -> tuple[float, float, float]:
    """Slope, intercept and r2 of log10 frequency against log10 rank, over frequencies of at least 2."""
    values = np.asarray(frequency, dtype=float)
    values = values[values >= 2]
    if len(values) < 3 or values[0] == values[-1]:
        return float("nan"), float("nan"), float("nan")
    x, y = np.log10(np.arange(1, len(values) + 1)), np.log10(values)
    slope, intercept = np.polyfit(x, y, 1)
    rest = y - (intercept + slope * x)
    return float(slope), float(intercept), float(1 - (rest @ rest) / ((y - y.mean()) @ (y - y.mean())))
