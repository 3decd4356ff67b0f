"""What depends on the magnitudes of one state at a time: normalisation and entropy.

The energy of an entry is |a|^2. Sums of energies are compensated (Kahan): a plain float32 sum stops growing after
2^24 entries, and has lost three digits long before. Amplitudes are divided by the largest component of the state
first, so that squares neither overflow nor vanish. A row is a state; amplitudes come as re, im interleaved.
"""

import math

import numpy as np

from .._runtime import elementary as el
from .._runtime.jit import kernel, scalar
from .._runtime.owners import Owner
from ._validate import frozen


@scalar
def relative_energy(amplitude, e, largest):
    """Energy of entry ``e``, in units of ``largest`` squared."""
    re, im = amplitude[2 * e] / largest, amplitude[2 * e + 1] / largest
    return re * re + im * im


@scalar
def largest_component(amplitude, start, stop):
    """The largest |re| or |im| of the entries ``[start, stop)``; 1 where all are zero, to divide by."""
    largest = abs(amplitude[2 * start])
    for e in range(2 * start + 1, 2 * stop):
        largest = max(largest, abs(amplitude[e]))
    return largest if largest > 0 else type(largest)(1)


@scalar
def compensated(sum_, lost, term):
    """Kahan's step: ``(sum, lost)`` after one more term, where ``lost`` is what rounding took from the sum."""
    term -= lost
    grown = sum_ + term
    return grown, (grown - sum_) - term


@scalar
def total(amplitude, start, stop, largest):
    """Compensated sum of the relative energies of ``[start, stop)``."""
    energy, lost = type(largest)(0), type(largest)(0)
    for e in range(start, stop):
        energy, lost = compensated(energy, lost, relative_energy(amplitude, e, largest))
    return energy


@scalar
def normalize_row(i, indptr, amplitude, out):
    """Divide by the root of the energy; a state without energy stays as it is."""
    start, stop = indptr[i], indptr[i + 1]
    if start < stop:
        largest = largest_component(amplitude, start, stop)
        energy = total(amplitude, start, stop, largest)
        factor = type(energy)(1) / math.sqrt(energy) if energy > 0 else type(energy)(1)
        for e in range(2 * start, 2 * stop):
            out[e] = factor * (amplitude[e] / largest)


@kernel
def normalize_cpu(start, stop, indptr, amplitude, out):
    for i in range(start, stop):
        normalize_row(i, indptr, amplitude, out)


@scalar
def entropy_row(i, indptr, amplitude, out):
    """-sum p log2 p with p = |a|^2 / sum |a|^2; 0 for a state without energy."""
    start, stop = indptr[i], indptr[i + 1]
    out[i] = 0
    if start < stop:
        largest = largest_component(amplitude, start, stop)
        energy = total(amplitude, start, stop, largest)
        nats, lost = type(energy)(0), type(energy)(0)
        for e in range(start, stop):
            p = relative_energy(amplitude, e, largest) / energy
            if p > 0:
                nats, lost = compensated(nats, lost, -p * el.log(p))
        out[i] = max(nats, type(nats)(0)) * type(nats)(1.4426950408889634)  # 1 / ln 2


@kernel
def entropy_cpu(start, stop, indptr, amplitude, out):
    for i in range(start, stop):
        entropy_row(i, indptr, amplitude, out)


NORMALIZE = Owner(normalize_row, normalize_cpu, "I1 F1 F1", grain=1024, chunks_per_thread=4)
ENTROPY = Owner(entropy_row, entropy_cpu, "I1 F1 F1", grain=512, chunks_per_thread=4)


def flat(amplitude: np.ndarray) -> np.ndarray:
    """Amplitudes as real numbers, re and im interleaved, without a copy."""
    return amplitude.view(np.float32 if amplitude.dtype == np.complex64 else np.float64)


def normalized(indptr: np.ndarray, amplitude: np.ndarray) -> np.ndarray:
    out = np.empty_like(amplitude)
    NORMALIZE(len(indptr) - 1, frozen(indptr), flat(frozen(amplitude)), flat(out))
    return out


def entropy(indptr: np.ndarray, amplitude: np.ndarray) -> np.ndarray:
    out = np.empty(len(indptr) - 1, flat(amplitude).dtype)
    ENTROPY(len(out), indptr, flat(amplitude), out)
    return out
