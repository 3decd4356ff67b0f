r"""Prime states mixed by weights: amplitudes add, orientations merge, on the primes that any allowed state holds.

"markley": the unit q that maximises sum_j w_j (q.q_j)^2, free of order and of signs. "original": the published
merge, in the order of the keys: the first value enters as q_1, every later one as q <- unit(q + w_j q_j), so that the
first weighs too much; a quaternion shorter than 1e-10 becomes the identity.

A table holds a state for every row and every prime, (re, im) and (w, x, y, z); ``present`` says which are active.
"""

import math
from typing import NamedTuple

import numpy as np

from .._runtime import devices
from .._runtime.jit import kernel, scalar
from .._runtime.owners import Owner
from ..quaternion import scalars as quaternion
from ..quaternion._mean import diagonalize, nearest_top_vector
from ..states._compose import load, store


class Table(NamedTuple):
    """States of ``rows`` rows on G primes, flat."""

    amplitude: np.ndarray  # (2 rows G,)
    orientation: np.ndarray  # (4 rows G,)


@scalar
def unit_or_identity(q):
    """q / |q|, as the original does it: the identity below 1e-10."""
    one = type(q[0])(1)
    zero = one - one
    size = quaternion.norm(q)
    return quaternion.scale(one / size, q) if size > type(one)(1e-10) else (one, zero, zero, zero)


@scalar
def add_square(m, weight, q):
    """m + w q q^T, the ten numbers of a symmetric matrix."""
    w, x, y, z = q
    return (
        m[0] + weight * w * w, m[1] + weight * x * x, m[2] + weight * y * y, m[3] + weight * z * z,
        m[4] + weight * w * x, m[5] + weight * w * y, m[6] + weight * w * z,
        m[7] + weight * x * y, m[8] + weight * x * z, m[9] + weight * y * z,
    )  # fmt: skip


@scalar
def start_merge(x):
    """``(count, re, im, q, matrix, total, heaviest, heavy)`` of nothing; x gives the type."""
    zero = x - x
    one = type(x)(1)
    first = (one, zero, zero, zero)
    nothing = (zero, zero, zero, zero, zero, zero, zero, zero, zero, zero)
    return 0, zero, zero, first, nothing, zero, -one, first


@scalar
def add_value(merged, original, weight, re, im, q):
    """Merge one more value."""
    count, total_re, total_im, mean, matrix, total, heaviest, heavy = merged
    scaled = quaternion.scale(weight, q)
    mean = unit_or_identity(quaternion.add(mean, scaled) if count else scaled)
    if not original:
        matrix = add_square(matrix, weight, q)
    if weight > heaviest:
        heaviest, heavy = weight, q
    return count + 1, total_re + weight * re, total_im + weight * im, mean, matrix, total + weight, heaviest, heavy


@scalar
def finish_merge(merged, original, tolerance):
    """The merged orientation; where all weights have underflown, the first value's."""
    _, _, _, mean, m, total, _, heavy = merged
    if original:
        return mean
    if not total > 0:
        return quaternion.positive(heavy)
    values, v0, v1, v2, v3 = diagonalize(
        m[0] / total, m[1] / total, m[2] / total, m[3] / total, m[4] / total, m[5] / total, m[6] / total,
        m[7] / total, m[8] / total, m[9] / total,
    )  # fmt: skip
    return nearest_top_vector(values, v0, v1, v2, v3, heavy, tolerance)


@scalar
def mix_row(
    r, n, m, primes, original, tolerance, group, state, a, q, allowed, weights, amplitude, orientation, present
):
    """Prime r % primes of row r // primes of the weights, query row % n; entries of a prime in order of the keys."""
    row, g = r // primes, r % primes
    i = row % n
    merged = start_merge(weights[0])
    for u in range(group[g], group[g + 1]):
        j = state[u]
        if allowed[i * m + j] != 0:
            merged = add_value(merged, original, weights[row * m + j], a[2 * u], a[2 * u + 1], load(q, u))
    amplitude[2 * r], amplitude[2 * r + 1] = merged[1], merged[2]
    present[i * primes + g] = merged[0]
    store(orientation, r, finish_merge(merged, original, tolerance))


@kernel
def mix_cpu(
    start,
    stop,
    n,
    m,
    primes,
    original,
    tolerance,
    group,
    state,
    a,
    q,
    allowed,
    weights,
    amplitude,
    orientation,
    present,
):
    for r in range(start, stop):
        mix_row(
            r, n, m, primes, original, tolerance, group, state, a, q, allowed, weights, amplitude, orientation, present
        )


@scalar
def combine_row(r, heads, rows, original, tolerance, weight, head_amplitude, head_orientation, amplitude, orientation):
    """Place r of the heads' tables, merged with one weight for all heads."""
    merged = start_merge(weight)
    for h in range(heads):
        s = h * rows + r
        merged = add_value(
            merged, original, weight, head_amplitude[2 * s], head_amplitude[2 * s + 1], load(head_orientation, s)
        )
    amplitude[2 * r], amplitude[2 * r + 1] = merged[1], merged[2]
    store(orientation, r, finish_merge(merged, original, tolerance))


@kernel
def combine_cpu(
    start, stop, heads, rows, original, tolerance, weight, head_amplitude, head_orientation, amplitude, orientation
):
    for r in range(start, stop):
        combine_row(
            r, heads, rows, original, tolerance, weight, head_amplitude, head_orientation, amplitude, orientation
        )


@scalar
def scale_row(i, primes, amplitude):
    """Bring row i to ||a|| = 1, in two factors so that no square overflows; zero stays zero."""
    largest = amplitude[0] - amplitude[0]
    total = largest
    for c in range(2 * i * primes, 2 * (i + 1) * primes):
        largest = max(largest, abs(amplitude[c]))
    if largest > 0:
        for c in range(2 * i * primes, 2 * (i + 1) * primes):
            total += (amplitude[c] / largest) * (amplitude[c] / largest)
        size = math.sqrt(total)
        for c in range(2 * i * primes, 2 * (i + 1) * primes):
            amplitude[c] = amplitude[c] / largest / size


@kernel
def scale_cpu(start, stop, primes, amplitude):
    for i in range(start, stop):
        scale_row(i, primes, amplitude)


MIX = Owner(mix_row, mix_cpu, "i i i i F I1 I1 F1 F1 U1 F1 F1 F1 I1", grain=64, chunks_per_thread=4)
COMBINE = Owner(combine_row, combine_cpu, "i i i F F F1 F1 F1 F1", grain=256)
SCALE = Owner(scale_row, scale_cpu, "i F1", grain=64)


def merge(n, m, heads, primes, original, group, state, a, q, allowed, weights):
    """``(amplitude, orientation, present)`` of n states on ``primes`` primes, flat, beside the weights (H n m,)."""
    dtype = weights.dtype
    tolerance = dtype.type(64 * np.finfo(dtype).eps)

    def empty(size, kind=dtype):
        return devices.empty(size, kind, like=weights)

    found = Table(empty(2 * heads * n * primes), empty(4 * heads * n * primes))
    present = empty(n * primes, np.int64)
    MIX(heads * n * primes, n, m, primes, original, tolerance, group, state, a, q, allowed, weights, *found, present)
    SCALE(heads * n, primes, found.amplitude)
    if heads == 1:
        return *found, present
    out = Table(empty(2 * n * primes), empty(4 * n * primes))
    COMBINE(n * primes, heads, n * primes, original, tolerance, dtype.type(heads**-0.5), *found, *out)
    SCALE(n, primes, out.amplitude)
    return *out, present
