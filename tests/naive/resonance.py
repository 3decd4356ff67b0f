"""Resonance by loops, from the equations. A state is ``{prime: (re, im, q)}`` with ``q`` four numbers.

Everything is analytic in re, im and q where the score is (``magnitude`` is sqrt(re^2 + im^2), quaternions are
normalised inside), so a complex step through these functions is an exact derivative, on the tangent of S^3.
"""

import numpy as np


def states_of(indptr, primes, amplitude, orientation):
    """A list of dicts out of the flat arrays; ``amplitude`` is (nnz, 2)."""
    return [
        {int(primes[s]): (amplitude[s][0], amplitude[s][1], orientation[s]) for s in range(indptr[i], indptr[i + 1])}
        for i in range(len(indptr) - 1)
    ]


def magnitude(entry):
    re, im, _ = entry
    return np.sqrt(re * re + im * im)


def unit(q):
    return q / np.sqrt(q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3])


def phase_cosine(x, y):
    """cos(phi - phi'); the phase of zero is atan2's."""
    sizes = [magnitude(x), magnitude(y)]
    if min(abs(s) for s in sizes) == 0:
        phi = [np.arctan2(np.real(z[1]), np.real(z[0])) for z in (x, y)]
        return np.cos(phi[0] - phi[1])
    return (x[0] * y[0] + x[1] * y[1]) / (sizes[0] * sizes[1])


def inner(x, y):
    p, q = unit(x[2]), unit(y[2])
    return p[0] * q[0] + p[1] * q[1] + p[2] * q[2] + p[3] * q[3]


def positive(x):
    """|x|, analytic on either side of 0."""
    return -x if np.real(x) < 0 else x


def smaller(x, y):
    return x if np.real(x) < np.real(y) else y


def length(state):
    """||a||."""
    return np.sqrt(sum(e[0] * e[0] + e[1] * e[1] for e in state.values()))


def components(a, b, kind="kernel", normalizer="union", overlap="jaccard", amplitude=False):
    shared = [p for p in sorted(a) if p in b]
    if not shared:
        return 0.0, 0.0, 0.0
    count, union = len(shared), len(set(a) | set(b))
    if kind == "original":
        alignment = sum(positive(inner(a[p], b[p])) for p in shared) / count
        coherence = (1 + sum(phase_cosine(a[p], b[p]) for p in shared) / count) / 2
        return count / union, alignment, coherence
    if amplitude:
        if abs(length(a)) == 0 or abs(length(b)) == 0:
            return 0.0, 0.0, 0.0
        mass = {p: magnitude(a[p]) / length(a) * magnitude(b[p]) / length(b) for p in shared}
        z = 1
    else:
        mass = dict.fromkeys(shared, 1)
        z = union if normalizer == "union" else np.sqrt(len(a) * len(b))
    first = sum(mass[p] for p in shared) / z
    if overlap == "ruzicka":
        low = sum(smaller(magnitude(a[p]), magnitude(b[p])) for p in shared)
        high = sum(magnitude(e) for e in a.values()) + sum(magnitude(e) for e in b.values()) - low
        first = low / high if abs(high) > 0 else 0.0
    alignment = sum(mass[p] * inner(a[p], b[p]) ** 2 for p in shared) / z
    coherence = sum(mass[p] * (1 + phase_cosine(a[p], b[p])) / 2 for p in shared) / z
    return first, alignment, coherence


def score(a, b, weights, **options):
    return sum(w * c for w, c in zip(weights, components(a, b, **options), strict=True))


def matrix(a, b, weights, **options):
    return np.array([[score(x, y, weights, **options) for y in b] for x in a]).reshape(len(a), len(b))
