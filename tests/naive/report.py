"""Oracles of the report: ranks, agreement, attention, neighbours, triples; loops over the definitions."""

import itertools
import math

import numpy as np


def ranks(values):
    """Share of the other values that are smaller, equals counted half."""
    n = len(values)
    return [
        sum((other < value) + 0.5 * (other == value) for k, other in enumerate(values) if k != i) / (n - 1)
        for i, value in enumerate(values)
    ]


def spearman(a, b):
    """Pearson correlation of ranks."""
    x, y = np.array(ranks(a)), np.array(ranks(b))
    return float(np.corrcoef(x, y)[0, 1])


def places(values):
    """1 plus the number of larger values."""
    return [1 + sum(other > value for other in values) for value in values]


def attention_to_others(matrix, temperature):
    n = len(matrix)
    out = np.zeros((n, n))
    for i in range(n):
        weights = {j: math.exp(matrix[i][j] / temperature) for j in range(n) if j != i}
        for j, weight in weights.items():
            out[i, j] = weight / sum(weights.values())
    return out


def nearest_in_same_document(matrix, documents):
    """Share of passages, of those whose document has another, whose best positive score is in their document."""
    n = len(matrix)
    hits = []
    for i in range(n):
        if documents.count(documents[i]) < 2:
            continue
        best = max((j for j in range(n) if j != i), key=lambda j: (matrix[i][j], -j))
        hits.append(matrix[i][best] > 0 and documents[best] == documents[i])
    return sum(hits) / len(hits)


def worst_triple(matrix):
    """The triple of members with the least determinant."""
    return min(
        itertools.combinations(range(len(matrix)), 3),
        key=lambda members: np.linalg.det(np.asarray(matrix)[np.ix_(members, members)]),
    )


def shared_counts(sets):
    """Common elements of every pair of sets, row by row."""
    return [len(a & b) for a, b in itertools.combinations(sets, 2)]


def effective(table):
    """Exp of the entropy of each row's normalised absolute weights; nan for a row of zeros."""
    found = []
    for row in np.abs(table):
        shares = [x / sum(row) for x in row if x > 0] if sum(row) > 0 else []
        found.append(math.exp(-sum(x * math.log(x) for x in shares)) if shares else math.nan)
    return found


def latent(tfidf, width):
    """Rows of U S^(1/2) of the centred (words, sentences) matrix."""
    words = np.array(tfidf).T
    u, s, _ = np.linalg.svd(words - words.mean(axis=0), full_matrices=False)
    kept = [k for k in range(min(width, len(s))) if s[k] > 1e-9 * s[0]]
    return u[:, kept] * np.sqrt(s[kept])


def cosines(vectors):
    """Of all pairs of rows; 0 for a row of zeros."""
    n = len(vectors)
    out = np.zeros((n, n))
    for i, a in enumerate(vectors):
        for j, b in enumerate(vectors):
            if a @ a > 0 and b @ b > 0:
                out[i, j] = a @ b / math.sqrt((a @ a) * (b @ b))
    return out
