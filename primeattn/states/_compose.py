"""Composition of two states, and how much it depends on their order.

    (A o B)_p = (a_p b_p, q_p r_p)   where both have p     (Hamilton product, from left to right)
              = (a_p, q_p) or (b_p, r_p)                   where one has p: the absent factor is the identity
              = (0, 1)                                     the same, in mode "original"

A row is one pair: it merges two ascending lists of primes. A first pass counts the union, a second one fills it.
``a_step`` and ``b_step`` are 1, or 0 for a batch of one state that meets every state of the other.
"""

import math

import numpy as np

from .._runtime.jit import kernel, scalar
from .._runtime.owners import Owner
from ..quaternion import scalars as quaternion
from ._energy import flat


@scalar
def load(orientation, e):
    """Quaternion ``e`` of a flat array."""
    return orientation[4 * e], orientation[4 * e + 1], orientation[4 * e + 2], orientation[4 * e + 3]


@scalar
def store(orientation, e, q):
    """Write quaternion ``e`` of a flat array."""
    orientation[4 * e], orientation[4 * e + 1], orientation[4 * e + 2], orientation[4 * e + 3] = q


@scalar
def copy_entry(amplitude, orientation, e, from_amplitude, from_orientation, s):
    """Entry ``e`` becomes entry ``s`` of another batch."""
    amplitude[2 * e] = from_amplitude[2 * s]
    amplitude[2 * e + 1] = from_amplitude[2 * s + 1]
    store(orientation, e, load(from_orientation, s))


@scalar
def count_row(i, a, b, counts):
    """Size of the union of two ascending lists."""
    a_step, a_indptr, a_primes = a
    b_step, b_indptr, b_primes = b
    s, s_stop = a_indptr[i * a_step], a_indptr[i * a_step + 1]
    t, t_stop = b_indptr[i * b_step], b_indptr[i * b_step + 1]
    n = (s_stop - s) + (t_stop - t)
    while s < s_stop and t < t_stop:
        p, r = a_primes[s], b_primes[t]
        s += p <= r
        t += r <= p
        n -= p == r
    counts[i] = n


@kernel
def count_cpu(start, stop, a, b, counts):
    for i in range(start, stop):
        count_row(i, a, b, counts)


@scalar
def compose_row(i, original, a, b, indptr, primes, amplitude, orientation):
    """Fill the union, prime by prime."""
    a_step, a_indptr, a_primes, a_amplitude, a_orientation = a
    b_step, b_indptr, b_primes, b_amplitude, b_orientation = b
    s, s_stop = a_indptr[i * a_step], a_indptr[i * a_step + 1]
    t, t_stop = b_indptr[i * b_step], b_indptr[i * b_step + 1]
    for e in range(indptr[i], indptr[i + 1]):
        in_a = s < s_stop and (t == t_stop or a_primes[s] <= b_primes[t])
        in_b = t < t_stop and (s == s_stop or b_primes[t] <= a_primes[s])
        primes[e] = a_primes[s] if in_a else b_primes[t]
        if in_a and in_b:
            re, im = a_amplitude[2 * s], a_amplitude[2 * s + 1]
            x, y = b_amplitude[2 * t], b_amplitude[2 * t + 1]
            amplitude[2 * e], amplitude[2 * e + 1] = re * x - im * y, re * y + im * x
            product = quaternion.multiply(load(a_orientation, s), load(b_orientation, t))
            store(orientation, e, quaternion.normalize(product))
        elif original:
            amplitude[2 * e], amplitude[2 * e + 1] = 0, 0
            store(orientation, e, (1, 0, 0, 0))
        elif in_a:
            copy_entry(amplitude, orientation, e, a_amplitude, a_orientation, s)
        else:
            copy_entry(amplitude, orientation, e, b_amplitude, b_orientation, t)
        s += in_a
        t += in_b


@kernel
def compose_cpu(start, stop, original, a, b, indptr, primes, amplitude, orientation):
    for i in range(start, stop):
        compose_row(i, original, a, b, indptr, primes, amplitude, orientation)


@scalar
def noncommutativity_row(i, a, b, out):
    """Mean of |q r - r q| over the shared primes; 0 without any."""
    a_step, a_indptr, a_primes, a_orientation = a
    b_step, b_indptr, b_primes, b_orientation = b
    s, s_stop = a_indptr[i * a_step], a_indptr[i * a_step + 1]
    t, t_stop = b_indptr[i * b_step], b_indptr[i * b_step + 1]
    out[i] = 0
    shared = 0
    while s < s_stop and t < t_stop:
        p, r = a_primes[s], b_primes[t]
        if p == r:
            _, x, y, z = quaternion.commutator(load(a_orientation, s), load(b_orientation, t))
            out[i] += math.sqrt(x * x + y * y + z * z)
            shared += 1
        s += p <= r
        t += r <= p
    if shared > 0:
        out[i] /= type(out[i])(shared)


@kernel
def noncommutativity_cpu(start, stop, a, b, out):
    for i in range(start, stop):
        noncommutativity_row(i, a, b, out)


COUNT = Owner(count_row, count_cpu, "(i,I1,I1) (i,I1,I1) I1", grain=1024, chunks_per_thread=4)
COMPOSE = Owner(
    compose_row, compose_cpu, "i (i,I1,I1,F1,F1) (i,I1,I1,F1,F1) I1 I1 F1 F1", grain=512, chunks_per_thread=4
)
NONCOMMUTATIVITY = Owner(
    noncommutativity_row, noncommutativity_cpu, "(i,I1,I1,F1) (i,I1,I1,F1) F1", grain=1024, chunks_per_thread=4
)


def pairs(a, b) -> tuple[int, int, int]:
    """``(n, a_step, b_step)`` of two batches that meet row by row.

    Raises
    ------
    ValueError
        If neither the lengths agree nor one of them is 1.
    """
    if len(a) != len(b) and 1 not in (len(a), len(b)):
        raise ValueError(
            f"{len(a)} states meet {len(b)}: row by row they must be as many, or one of the batches holds one state; "
            f"pass for example states[:{min(len(a), len(b))}]"
        )
    n = len(b) if len(a) == 1 else len(a)
    return n, int(len(a) == n), int(len(b) == n)


def compose(a, b, original: bool) -> tuple[np.ndarray, ...]:
    """The four arrays of ``a o b``, not normalised; both batches have one precision."""
    n, a_step, b_step = pairs(a, b)
    counts = np.empty(n, np.int64)
    COUNT(n, (a_step, a.indptr, a.primes), (b_step, b.indptr, b.primes), counts)
    indptr = np.concatenate([[0], np.cumsum(counts)])
    primes = np.empty(indptr[-1], np.int64)
    amplitude = np.empty(indptr[-1], a.amplitude.dtype)
    orientation = np.empty((indptr[-1], 4), a.dtype)
    first = (a_step, a.indptr, a.primes, flat(a.amplitude), a.orientation.reshape(-1))
    second = (b_step, b.indptr, b.primes, flat(b.amplitude), b.orientation.reshape(-1))
    COMPOSE(n, int(original), first, second, indptr, primes, flat(amplitude), orientation.reshape(-1))
    return indptr, primes, amplitude, orientation


def noncommutativity(a, b) -> np.ndarray:
    """Row by row; both batches have one precision."""
    n, a_step, b_step = pairs(a, b)
    out = np.empty(n, a.dtype)
    first = (a_step, a.indptr, a.primes, a.orientation.reshape(-1))
    second = (b_step, b.indptr, b.primes, b.orientation.reshape(-1))
    NONCOMMUTATIVITY(n, first, second, out)
    return out
