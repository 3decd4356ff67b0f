"""Quaternions one at a time, from the definitions. Slow on purpose.

Smooth functions also take complex components, and then continue analytically: a step of 1e-30 i in one component
gives its partial derivative to the last digit (complex step).
"""

import numpy as np


def product(a, b):
    """From i^2 = j^2 = k^2 = ijk = -1, by the multiplication table."""
    table = [  # (index, sign) of e_m e_n
        [(0, 1), (1, 1), (2, 1), (3, 1)],
        [(1, 1), (0, -1), (3, 1), (2, -1)],
        [(2, 1), (3, -1), (0, -1), (1, 1)],
        [(3, 1), (2, 1), (1, -1), (0, -1)],
    ]
    out = np.zeros(4, np.result_type(*a, *b, float))
    for m in range(4):
        for n in range(4):
            index, sign = table[m][n]
            out[index] += sign * a[m] * b[n]
    return out


multiply = product


def conjugate(a):
    return np.array([a[0], -a[1], -a[2], -a[3]])


def dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


def norm(a):
    return np.sqrt(dot(a, a))


def normalize(a):
    return np.asarray(a) / norm(a)


def inverse(a):
    return conjugate(a) / dot(a, a)


def commutator(a, b):
    return product(a, b) - product(b, a)


def angle(y, x):
    """atan2(y, x) for y >= 0, continued to complex arguments."""
    if np.iscomplexobj(y) or np.iscomplexobj(x):
        return np.arctan(y / x) + (np.pi if np.real(x) < 0 else 0.0)
    return np.arctan2(y, x)


def exp(a):
    v = np.asarray(a[1:])
    n = np.sqrt(dot(v, v))
    ratio = np.sin(n) / n if n != 0 else 1.0
    return np.exp(a[0]) * np.array([np.cos(n), *(ratio * v)])


def log(a):
    v = np.asarray(a[1:])
    n = np.sqrt(dot(v, v))
    if n == 0:
        return np.array([np.log(abs(a[0])), np.pi if a[0] < 0 else 0.0, 0.0, 0.0])
    return np.array([np.log(norm(a)), *(v / n * angle(n, a[0]))])


def power(a, t):
    return exp(np.asarray(t) * log(a))


def slerp(a, b, t):
    """The sine weights of the textbook."""
    a, b = normalize(a), normalize(b)
    if np.real(dot(a, b)) < 0:
        b = -b
    c = dot(a, b)
    e = b - a * c
    theta = angle(np.sqrt(dot(e, e)), c)
    if theta == 0:
        return a
    return (np.sin((1 - t) * theta) * a + np.sin(t * theta) * b) / np.sin(theta)


def rotate(a, v):
    zero = 0 * a[0]
    return product(product(a, np.array([zero, *v])), inverse(a))[1:]


def angular_distance(a, b):
    w, x, y, z = product(conjugate(a), b)
    if np.real(w) < 0:
        w = -w
    return 2 * angle(np.sqrt(x * x + y * y + z * z), w)


def to_matrix(a):
    """Columns are the rotated basis vectors."""
    return np.array([rotate(a, e) for e in np.eye(3)]).T


def from_matrix(m):
    """Eigenvector of 4 q q^T - 1, which is linear in the matrix, of largest eigenvalue."""
    k = np.array(
        [
            [m[0, 0] + m[1, 1] + m[2, 2], m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1]],
            [m[2, 1] - m[1, 2], m[0, 0] - m[1, 1] - m[2, 2], m[0, 1] + m[1, 0], m[0, 2] + m[2, 0]],
            [m[0, 2] - m[2, 0], m[0, 1] + m[1, 0], m[1, 1] - m[0, 0] - m[2, 2], m[1, 2] + m[2, 1]],
            [m[1, 0] - m[0, 1], m[0, 2] + m[2, 0], m[1, 2] + m[2, 1], m[2, 2] - m[0, 0] - m[1, 1]],
        ]
    )
    return positive(np.linalg.eigh(k)[1][:, -1])


def positive(q):
    lead = next((x for x in q if abs(x) > 1e-14), 1.0)
    return q if lead > 0 else -q


def to_axis_angle(a):
    q = positive(normalize(a))
    n = np.sqrt(dot(q[1:], q[1:]))
    axis = q[1:] / n if n > 0 else np.array([1.0, 0.0, 0.0])
    return axis, 2 * np.arctan2(n, q[0])


def from_axis_angle(axis, angle):
    axis = np.asarray(axis) / np.sqrt(dot(axis, axis))
    return np.array([np.cos(angle / 2), *(np.sin(angle / 2) * axis)])


def from_euler(angles, sequence):
    q = np.array([1.0, 0, 0, 0])
    for turn, letter in zip(angles, sequence.lower(), strict=True):
        step = from_axis_angle(np.eye(3)["xyz".index(letter)], turn)
        q = product(q, step) if sequence.isupper() else product(step, q)
    return q


def mean(q, weights=None):
    """Largest eigenvector; a tie gives the projection of the heaviest value on the tied space."""
    weights = np.ones(len(q)) if weights is None else np.asarray(weights, float)
    m = np.zeros((4, 4))
    for x, w in zip(q, weights, strict=True):
        x = normalize(x)
        m += w * np.outer(x, x)
    values, vectors = np.linalg.eigh(m / weights.sum())
    tied = vectors[:, values >= values[-1] * (1 - 1e-12)]
    heavy = normalize(q[int(np.argmax(weights))])
    near = tied @ (tied.T @ heavy)
    return positive(normalize(near if norm(near) > 1e-12 else tied[:, -1]))


def cumprod(q):
    out = [np.asarray(q[0], float)]
    for x in q[1:]:
        out.append(product(out[-1], x))
    return np.array(out)


def rows(function, cores, *arrays):
    """Apply ``function`` over broadcast leading axes; ``cores`` counts the component axes of each array."""
    arrays = [np.asarray(x) for x in arrays]
    lead = np.broadcast_shapes(*(x.shape[: x.ndim - c] for x, c in zip(arrays, cores, strict=True)))
    full = [np.broadcast_to(x, lead + x.shape[x.ndim - c :]) for x, c in zip(arrays, cores, strict=True)]
    found = {index: np.asarray(function(*(x[index] for x in full))) for index in np.ndindex(lead)}
    core = next(iter(found.values())).shape
    out = np.empty(lead + core, np.result_type(*found.values()))
    for index, value in found.items():
        out[index] = value
    return out
