"""Pairs of passages in order of a view's score, and how far two views agree on that order.

A pair is i < j; the pairs of n passages are listed row by row, as ``numpy.triu_indices`` lists them.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


def pair_values(matrix: np.ndarray) -> np.ndarray:
    """Scores of all pairs, shape (n (n - 1) / 2,)."""
    return np.asarray(matrix, dtype=float)[np.triu_indices(len(matrix), 1)]


def pair_at(flat: int, n: int) -> tuple[int, int]:
    """The pair (i, j) at a place in the list of pairs."""
    i = 0
    while flat >= n - 1 - i:
        flat -= n - 1 - i
        i += 1
    return i, i + 1 + int(flat)


def place_of(i: int, j: int, n: int) -> int:
    """The place of a pair in the list of pairs; inverse of :func:`pair_at`."""
    i, j = min(i, j), max(i, j)
    return i * n - i * (i + 1) // 2 + j - i - 1


def ranks(values: np.ndarray) -> np.ndarray:
    """Rank of each value from 0 (weakest) to 1 (strongest); equal values share the mean of their ranks."""
    if len(values) < 2:
        return np.ones(len(values))
    _, inverse, count = np.unique(values, return_inverse=True, return_counts=True)
    below = np.concatenate([[0], np.cumsum(count)[:-1]])
    return (below + (count - 1) / 2)[inverse] / (len(values) - 1)


def positions(values: np.ndarray) -> np.ndarray:
    """Position of each value from the top, 1 for the largest; equal values share the mean of their positions."""
    return 1 + (len(values) - 1) * (1 - ranks(values)) if len(values) > 1 else np.ones(len(values))


def places(values: np.ndarray) -> np.ndarray:
    """Place of each value from the top as people count: 1 for the largest; equals share the better place."""
    ordered = np.sort(values)
    return 1 + len(values) - np.searchsorted(ordered, values, side="right")


def prominence(values: np.ndarray) -> np.ndarray:
    """1 for the strongest pair, 0 for the last; from 10th to 1st is as far as from 100th to 10th.

    Plain ranks spread the colours over all pairs; this spends them on the few that are close.
    """
    return 1 - np.log(positions(values)) / np.log(max(len(values), 2))


def ordinal(x: int) -> str:
    """1 -> "1st"."""
    suffix = "th" if 10 < x % 100 < 14 else {1: "st", 2: "nd", 3: "rd"}.get(x % 10, "th")
    return f"{x:,}{suffix}"


def place_ticks(n: int) -> list[tuple[float, str]]:
    """Where the last pair, some powers of ten, and the first stand on the scale of :func:`prominence`."""
    pairs = n * (n - 1) // 2
    powers = [10**k for k in range(6, 0, -1) if 4 * 10**k < pairs]
    return [(0.0, "last"), *((1 - math.log(x) / math.log(pairs), ordinal(x)) for x in powers), (1.0, "1st")]


def symmetric(values: np.ndarray, n: int) -> np.ndarray:
    """A list of pairs as a symmetric matrix with 1 on the diagonal."""
    result = np.zeros((n, n))
    result[np.triu_indices(n, 1)] = values
    return result + result.T + np.eye(n)


def strongest(values: np.ndarray, count: int) -> np.ndarray:
    """Places of the ``count`` largest values, largest first; earlier pairs first among equals."""
    return np.argsort(-values, kind="stable")[:count]


@dataclass(frozen=True)
class Agreement:
    """How far two views order the same pairs alike.

    ``spearman`` is the correlation of ranks (nan when one view gives every pair the same score);
    ``shared`` of the ``top`` strongest pairs of each stand in both lists, ``expected`` by chance.
    """

    spearman: float
    top: int
    shared: int
    expected: float


def agreements(lists: Mapping[str, np.ndarray], top: int = 100) -> dict[str, dict[str, Agreement]]:
    """Compare every two of several score lists over the same pairs; ``top`` is at most a quarter of the pairs."""
    m = len(next(iter(lists.values())))
    top = max(1, min(top, m // 4)) if m >= 4 else m
    centred = {name: ranks(values) - 0.5 for name, values in lists.items()}
    norm = {name: float(np.sqrt(x @ x)) for name, x in centred.items()}
    first = {name: strongest(values, top) for name, values in lists.items()}

    def compared(a: str, b: str) -> Agreement:
        constant = norm[a] == 0 or norm[b] == 0
        spearman = float("nan") if constant else float(centred[a] @ centred[b]) / (norm[a] * norm[b])
        shared = len(np.intersect1d(first[a], first[b]))
        return Agreement(spearman, top, shared, top * top / m)

    return {a: {b: compared(a, b) for b in lists} for a in lists}


def agreement(a: np.ndarray, b: np.ndarray, top: int = 100) -> Agreement:
    """Compare two score lists over the same pairs."""
    return agreements({"a": a, "b": b}, top)["a"]["b"]


def disagreements(a: np.ndarray, b: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Places of the pairs that stand much higher in ``a`` than in ``b``, and the other way round.

    The gap is the ratio of positions from the top: third in one view and three-hundredth in the other
    is a gap of 100. Near the top, where a reader looks, one place counts more than in the middle.
    """
    gap = np.log(positions(b)) - np.log(positions(a))
    order = np.argsort(-gap, kind="stable")
    return order[:count][gap[order[:count]] > 0], order[::-1][:count][gap[order[::-1][:count]] < 0]
