"""From states to what the scores read of them: ``profile``, and its pullback to amplitudes and orientations."""

import math
from typing import NamedTuple

import numpy as np

from .._runtime import devices
from .._runtime.jit import kernel, nonnegative, scalar
from .._runtime.owners import Owner
from ._scalars import (
    AMPLITUDE_MASS,
    COS,
    ENTRY,
    MAGNITUDE,
    MASS,
    ORIENTATION,
    ROOT_MASS,
    SIN,
    UNIT_MASS,
    dpolar,
    polar,
    tangent,
)

BLOCK = 64  # polar forms that are computed side by side


class StateArrays(NamedTuple):
    """Prime states as four flat arrays: the form in which states live on CUDA.

    Made by `of`. Host arrays that were put together by hand are checked at every call (types, sizes, indptr, order
    of the primes); of CUDA arrays only types and sizes are, because reading them would wait for the device. Not
    `primeattn.encode.StateArrays`, whose amplitudes are complex.

    Parameters
    ----------
    indptr : int64, shape (n + 1,)
    primes : int64, shape (nnz,)
    amplitude : float, shape (2 nnz,)
        Real and imaginary parts, interleaved.
    orientation : float, shape (4 nnz,)
        Unit quaternions.
    """

    indptr: np.ndarray
    primes: np.ndarray
    amplitude: np.ndarray
    orientation: np.ndarray

    @classmethod
    def of(cls, states) -> "StateArrays":
        """Flat read-only views of a ``PrimeStates``; no copy.

        Read-only whatever the input, because Numba compiles a kernel again for each mixture.

        Raises
        ------
        TypeError
            For anything but prime states.
        """
        if not all(hasattr(states, field) for field in cls._fields):
            raise TypeError(
                f"states is a {type(states).__name__}: prime states are wanted; see PrimeStates.from_text, from_dicts, "
                f"from_dense, from_integers, from_arrays"
            )
        real = states.amplitude.real.dtype
        arrays = (
            states.indptr,
            states.primes,
            np.ascontiguousarray(states.amplitude).view(real),
            states.orientation,
        )
        return cls(*(frozen(x) for x in arrays))

    def to_device(self) -> "StateArrays":
        """Copy to the current CUDA device; every score then runs there and returns CUDA arrays."""
        return StateArrays(*(devices.to_device(x) for x in self))


class Profile(NamedTuple):
    """A batch of states as the kernels read it: eight numbers an active prime, see ``_scalars``."""

    indptr: np.ndarray
    primes: np.ndarray
    entries: np.ndarray  # (8 nnz,)
    totals: np.ndarray  # (n,) sum of |a|, for Ruzicka; for amplitude masses the size that magnitudes are relative to

    @property
    def n(self) -> int:
        """Number of states."""
        return self.totals.size


def frozen(x):
    """A flat, contiguous, read-only view (a copy only where it must be)."""
    x = np.ascontiguousarray(x).reshape(-1)
    x = x.view()
    x.flags.writeable = False
    return x


@scalar
def largest_part(start, stop, amplitude):
    """The largest real or imaginary part of entries [start, stop), in magnitude; 1 if all are 0."""
    zero, one = type(amplitude[0])(0), type(amplitude[0])(1)
    largest = zero
    for c in range(2 * start, 2 * stop):
        largest = max(largest, abs(amplitude[c]))
    return largest if largest > zero else one


@scalar
def length(start, stop, entries):
    """L2 norm of the magnitudes of entries [start, stop), none of which is large."""
    total = type(entries[0])(0)
    for s in range(start, stop):
        total += entries[ENTRY * s + MAGNITUDE] * entries[ENTRY * s + MAGNITUDE]
    return type(total)(math.sqrt(total))


@scalar
def weigh_by_magnitude(start, stop, entries):
    """Masses |a| / ||a|| of entries [start, stop)."""
    norm = length(start, stop, entries)
    for s in range(start, stop):
        magnitude = entries[ENTRY * s + MAGNITUDE]
        entries[ENTRY * s + MASS] = magnitude / norm if norm > 0 else magnitude


@scalar
def profile_row(i, indptr, amplitude, orientation, mass, entries, totals):
    """Entries and total magnitude of state i.

    Amplitude masses do not depend on the scale of a state: its magnitudes are taken relative to its largest part,
    which ``totals`` keeps, so that |a| does not overflow and no square vanishes.
    """
    start, stop = indptr[i], indptr[i + 1]
    total = type(totals[i])(0)
    one = type(totals[i])(1)
    unit = one
    if mass == AMPLITUDE_MASS and start < stop:
        unit = largest_part(start, stop, amplitude)
    for s in range(start, stop):
        e = ENTRY * s
        re, im = amplitude[2 * s], amplitude[2 * s + 1]
        if mass == AMPLITUDE_MASS:
            re, im = re / unit, im / unit
        magnitude, cosine, sine = polar(re, im)
        total += magnitude
        entries[e + MASS] = one
        entries[e + MAGNITUDE] = magnitude
        entries[e + COS] = cosine
        entries[e + SIN] = sine
        for c in range(4):
            entries[e + ORIENTATION + c] = orientation[4 * s + c]
    totals[i] = unit if mass == AMPLITUDE_MASS else total
    if mass == ROOT_MASS:
        for s in range(start, stop):
            entries[ENTRY * s + MASS] = one / type(one)(math.sqrt(type(one)(stop - start)))
    elif mass == AMPLITUDE_MASS and start < stop:
        weigh_by_magnitude(start, stop, entries)


@kernel
def profile_cpu(start, stop, indptr, amplitude, orientation, mass, entries, totals):
    """``profile_row`` with polar forms by vectors: ``BLOCK`` of them side by side, then into their entries."""
    parts = np.empty((3, BLOCK), entries.dtype)
    one = type(totals[0])(1)
    for i in range(start, stop):
        begin, end = nonnegative(indptr[i]), indptr[i + 1]
        relative = mass == AMPLITUDE_MASS and begin < end
        unit = largest_part(begin, end, amplitude) if relative else one
        common = one / type(one)(math.sqrt(type(one)(end - begin))) if mass == ROOT_MASS else one
        total = one - one
        for first in range(begin, end, BLOCK):
            first = nonnegative(first)
            count = min(BLOCK, end - first)
            for s in range(count):
                re, im = amplitude[2 * (first + s)], amplitude[2 * (first + s) + 1]
                parts[0, s], parts[1, s], parts[2, s] = polar(re / unit, im / unit)
            for s in range(count):
                e = ENTRY * (first + s)
                total += parts[0, s]
                entries[e + MASS] = common
                entries[e + MAGNITUDE] = parts[0, s]
                entries[e + COS] = parts[1, s]
                entries[e + SIN] = parts[2, s]
                for c in range(4):
                    entries[e + ORIENTATION + c] = orientation[4 * (first + s) + c]
        totals[i] = unit if mass == AMPLITUDE_MASS else total
        if relative:
            weigh_by_magnitude(begin, end, entries)


PROFILE = Owner(profile_row, profile_cpu, "I1 F1 F1 i F1 F1", grain=1024)


@scalar
def pull_profile_row(i, indptr, entries, totals, dentries, mass, damplitude, dorientation):
    """Gradients of state i from those of its entries.

    Amplitude masses: m = |a| / N, N = ||a||, so d|a|_p = (dm_p - m_p sum_r m_r dm_r) / N, and all of it for
    amplitudes relative to ``totals``, by which it is divided last.
    """
    start, stop = indptr[i], indptr[i + 1]
    if start == stop:
        return
    zero = type(entries[0])(0)
    inverse, radial, unit = zero, zero, type(zero)(1)
    if mass == AMPLITUDE_MASS:
        unit, norm = totals[i], length(start, stop, entries)
        if norm > zero:
            inverse = type(zero)(1) / norm
        for s in range(start, stop):
            radial += entries[ENTRY * s + MASS] * dentries[ENTRY * s + MASS]
    for s in range(start, stop):
        e = ENTRY * s
        dmagnitude = dentries[e + MAGNITUDE] + inverse * (dentries[e + MASS] - entries[e + MASS] * radial)
        dre, dim = dpolar(
            entries[e + MAGNITUDE],
            entries[e + COS],
            entries[e + SIN],
            dmagnitude,
            dentries[e + COS],
            dentries[e + SIN],
        )
        damplitude[2 * s] = dre / unit
        damplitude[2 * s + 1] = dim / unit
        dw, dx, dy, dz = tangent(entries, e + ORIENTATION, dentries, e + ORIENTATION)
        dorientation[4 * s] = dw
        dorientation[4 * s + 1] = dx
        dorientation[4 * s + 2] = dy
        dorientation[4 * s + 3] = dz


@kernel
def pull_profile_cpu(start, stop, indptr, entries, totals, dentries, mass, damplitude, dorientation):
    for i in range(start, stop):
        pull_profile_row(i, indptr, entries, totals, dentries, mass, damplitude, dorientation)


PULL_PROFILE = Owner(pull_profile_row, pull_profile_cpu, "I1 F1 F1 F1 i F1 F1", grain=1024)


def profile(arrays: StateArrays, mass: int = UNIT_MASS) -> Profile:
    """Compute the entries of every active prime, on the device of ``arrays``."""
    n, nnz = arrays.indptr.size - 1, arrays.primes.size
    dtype = arrays.amplitude.dtype
    entries = devices.empty(ENTRY * nnz, dtype, like=arrays.amplitude)
    totals = devices.empty(n, dtype, like=arrays.amplitude)
    PROFILE(n, arrays.indptr, arrays.amplitude, arrays.orientation, mass, entries, totals)
    return Profile(arrays.indptr, arrays.primes, entries, totals)


def pull_profile(own: Profile, dentries, mass: int):
    """``(damplitude, dorientation)`` as flat arrays, from the gradient of the entries."""
    nnz = own.primes.size
    damplitude = devices.empty(2 * nnz, own.entries.dtype, like=own.entries)
    dorientation = devices.empty(4 * nnz, own.entries.dtype, like=own.entries)
    PULL_PROFILE(own.n, own.indptr, own.entries, own.totals, dentries, mass, damplitude, dorientation)
    return damplitude, dorientation
