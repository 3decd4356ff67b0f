"""Numbers about one table of attention weights, rows queries and columns keys; about tokens; nothing of mechanisms."""

import numpy as np


def entropy(weights) -> np.ndarray:
    """Entropy of every row, in nats; rows are divided by their sums, and one without weight has none: NaN."""
    total = weights.sum(axis=-1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        p = np.where(weights > 0, weights, 0) / total
        return np.where(total[..., 0] > 0, -np.where(p > 0, p * np.log(p), 0).sum(axis=-1), np.nan)


def entropy_bound(weights) -> float:
    r"""Least entropy of a row, by the spectral norm of the scores (Zhai et al., theorem 3.1); NaN with zeros.

    The scores are read from the weights, s_ij = log w_ij minus the mean of the row. With sigma = ||s||_2, n keys and
    b = exp(-sigma sqrt(n / (n - 1))), every row has at least
    log(1 + (n - 1) b) + sigma sqrt(n (n - 1)) b / (1 + (n - 1) b).
    """
    n = weights.shape[-1]
    if n < 2 or not (weights > 0).all():
        return np.nan
    scores = np.log(weights)
    sigma = float(np.linalg.norm(scores - scores.mean(axis=-1, keepdims=True), 2))
    b = np.exp(-sigma * np.sqrt(n / (n - 1)))
    return float(np.log1p((n - 1) * b) + sigma * np.sqrt(n * (n - 1)) * b / (1 + (n - 1) * b))


def effective_rank(table) -> float:
    """exp of the entropy of the singular values over their sum."""
    values = np.linalg.svd(table, compute_uv=False)
    return float(np.exp(entropy(values[None])[0])) if values.sum() > 0 else 0.0


def stable_rank(table) -> float:
    """||A||_F^2 / ||A||_2^2."""
    values = np.linalg.svd(table, compute_uv=False)
    return float((values**2).sum() / values[0] ** 2) if values[0] > 0 else 0.0


def singular_ratio(table) -> float:
    """sigma_1 / sigma_2; inf for a table of rank 1."""
    values = np.linalg.svd(table, compute_uv=False)
    if len(values) < 2:
        return np.inf
    return float(values[0] / values[1]) if values[1] > 0 else np.inf


def spectral_gap(table) -> float:
    """1 - |lambda_2|, of a table whose largest eigenvalue is 1."""
    size = np.sort(abs(np.linalg.eigvals(table)))
    return float(1 - size[-2]) if len(size) > 1 else 1.0


def dobrushin(table) -> float:
    """Half of the largest l1 distance of two rows: 0 if all queries attend alike, 1 if two share no key."""
    return max(float(abs(table - row).sum(axis=-1).max()) for row in table) / 2


def residual(x) -> float:
    """||X - 1 m^T|| / ||X||, m the mean of the tokens: 0 if all are equal."""
    size = float(np.linalg.norm(x))
    return float(np.linalg.norm(x - x.mean(axis=-2, keepdims=True))) / size if size > 0 else 0.0


def mean_cosine(x) -> float:
    """Mean cosine of two different tokens."""
    length = np.linalg.norm(x, axis=-1, keepdims=True)
    unit = x / np.where(length > 0, length, 1)
    n = len(x)
    return float((unit.sum(axis=0) ** 2).sum() - (unit**2).sum()) / (n * (n - 1)) if n > 1 else 1.0
