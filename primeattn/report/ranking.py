"""Pairs of passages in order of a view's score, and how far two views agree on that order.

A pair is i < j; the pairs of n passages are listed row by row, as ``numpy.triu_indices`` lists them.
"""

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


def agreement(a: np.ndarray, b: np.ndarray, top: int = 100) -> Agreement:
    """Compare two score lists over the same pairs."""
    top = max(1, min(top, len(a) // 4)) if len(a) >= 4 else len(a)
    x, y = ranks(a) - 0.5, ranks(b) - 0.5
    norm = float(np.sqrt((x @ x) * (y @ y)))
    shared = len(np.intersect1d(strongest(a, top), strongest(b, top)))
    spearman = float(x @ y) / norm if norm > 0 else float("nan")
    return Agreement(spearman, top, shared, top * top / len(a) if len(a) else 0.0)


def disagreements(a: np.ndarray, b: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Places of the pairs that stand much higher in ``a`` than in ``b``, and the other way round.

    The gap is the ratio of positions from the top: third in one view and three-hundredth in the other
    is a gap of 100. Near the top, where a reader looks, one place counts more than in the middle.
    """
    gap = np.log(positions(b)) - np.log(positions(a))
    order = np.argsort(-gap, kind="stable")
    return order[:count][gap[order[:count]] > 0], order[::-1][:count][gap[order[::-1][:count]] < 0]
