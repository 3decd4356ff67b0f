"""Exact search by sorting all scores."""


def top(scores, ids, k):
    """The k best ``(score, id)`` above 0 for each row, the smaller id first among equals; padded with (0, -1)."""
    found = []
    for row in scores:
        best = sorted(((-s, i) for s, i in zip(row, ids, strict=True) if s > 0))[:k]
        found.append([(-s, i) for s, i in best] + [(0.0, -1)] * (k - len(best)))
    return found
