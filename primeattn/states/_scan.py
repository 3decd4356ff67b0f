"""Prefix composition over a sequence of states: the products A_1 o A_2 o ... o A_t, for every t at once.

Three ways to read the product, all associative:

    rotor   q_tp -> R_t q_tp, with R_t = r_1 r_2 ... r_t and r_t the product of token t's quaternions
    own     on each prime of token t, the product over the tokens up to t that have this prime
    full    A_1 o ... o A_t itself, on the union of their primes

A running product of amplitudes is kept as a complex mantissa (largest component in [1/2, 1)) and a binary exponent,
the integer part of the logarithm of its magnitude: scaling by a power of two is exact, so nothing is lost that the
multiplication itself does not lose, and nothing underflows however long the sequence is. Each state is
normalised once, at the end.
"""

import math

import numpy as np
from numba import get_num_threads

from .. import quaternion as _quaternion
from .._runtime.jit import kernel, scalar
from .._runtime.owners import Owner, share
from ..encode.arrays import row_numbers
from ..quaternion import scalars as quaternion
from . import _validate
from ._compose import load, store
from ._energy import flat, normalized
from ._validate import frozen

# Exponent of a zero product; far from any real one, and differences of two of them still fit int64.
NOTHING = -(1 << 40)


@scalar
def binary_scale(re, im, exponent):
    """``(re, im, exponent)`` of the same number, with the larger component in [1/2, 1); zero gets NOTHING."""
    largest = max(abs(re), abs(im))
    _, shift = math.frexp(largest)
    if largest > 0:
        re, im, exponent = math.ldexp(re, -shift), math.ldexp(im, -shift), exponent + shift
    else:
        exponent = NOTHING
    return re, im, exponent


@scalar
def rotor_row(i, indptr, orientation, rotor):
    """The product of a state's quaternions in order of increasing prime; 1 for an empty state."""
    one = type(rotor[4 * i])(1)
    product = (one, one - one, one - one, one - one)
    for e in range(indptr[i], indptr[i + 1]):
        product = quaternion.normalize(quaternion.multiply(product, load(orientation, e)))
    store(rotor, i, product)


@kernel
def rotor_cpu(start, stop, indptr, orientation, rotor):
    for i in range(start, stop):
        rotor_row(i, indptr, orientation, rotor)


@scalar
def turn_row(i, indptr, rotor, orientation, out):
    """Turn every quaternion of state ``i`` from the left."""
    turn = load(rotor, i)
    for e in range(indptr[i], indptr[i + 1]):
        store(out, e, quaternion.normalize(quaternion.multiply(turn, load(orientation, e))))


@kernel
def turn_cpu(start, stop, indptr, rotor, orientation, out):
    for i in range(start, stop):
        turn_row(i, indptr, rotor, orientation, out)


@scalar
def extend(product, power, turn, g, amplitude, orientation, e):
    """Multiply the running product ``g`` by entry ``e``, in place."""
    re, im = product[2 * g], product[2 * g + 1]
    x, y, shift = binary_scale(amplitude[2 * e], amplitude[2 * e + 1], 0)
    re, im, power[g] = binary_scale(re * x - im * y, re * y + im * x, power[g] + shift)
    product[2 * g], product[2 * g + 1] = re, im
    store(turn, g, quaternion.normalize(quaternion.multiply(load(turn, g), load(orientation, e))))


@scalar
def begin(product, power, turn, g):
    """The empty product."""
    product[2 * g], product[2 * g + 1], power[g] = 1, 0, 0
    store(turn, g, (1, 0, 0, 0))


@scalar
def record(mantissa, exponent, running, e, product, power, turn, g):
    """Entry ``e`` of the result is the running product ``g``."""
    mantissa[2 * e], mantissa[2 * e + 1], exponent[e] = product[2 * g], product[2 * g + 1], power[g]
    store(running, e, load(turn, g))


@scalar
def prime_row(g, group, entries, amplitude, orientation, products, mantissa, exponent, running):
    """Running products along the entries of one prime, in the order of the tokens."""
    product, power, turn = products
    begin(product, power, turn, g)
    for s in range(group[g], group[g + 1]):
        extend(product, power, turn, g, amplitude, orientation, entries[s])
        record(mantissa, exponent, running, entries[s], product, power, turn, g)


@kernel
def prime_cpu(start, stop, group, entries, amplitude, orientation, products, mantissa, exponent, running):
    for g in range(start, stop):
        prime_row(g, group, entries, amplitude, orientation, products, mantissa, exponent, running)


@kernel
def stream_cpu(start, stop, lanes, columns, amplitude, orientation, products, mantissa, exponent, running):
    """The same by tokens, for the primes of lanes ``[start, stop)``: memory is read in order, products stay in cache.

    Five times as fast on the CPU as `prime_cpu`, whose entries lie a cache line apart or more. ``lanes`` is a
    power of two: prime ``g`` belongs to lane ``g % lanes``, so that frequent and rare primes mix.
    """
    product, power, turn = products
    for g in range(len(power)):
        if start <= g & (lanes - 1) < stop:
            begin(product, power, turn, g)
    for e in range(len(columns)):
        g = columns[e]
        if start <= g & (lanes - 1) < stop:
            extend(product, power, turn, g, amplitude, orientation, e)
            record(mantissa, exponent, running, e, product, power, turn, g)


@scalar
def align_row(i, indptr, exponent, mantissa):
    """Bring the mantissas of one state to its largest exponent, in place."""
    top = NOTHING
    for e in range(indptr[i], indptr[i + 1]):
        top = max(top, exponent[e])
    for e in range(indptr[i], indptr[i + 1]):
        shift = int(max(exponent[e] - top, -4096))  # below the range of either type: 0
        mantissa[2 * e] = math.ldexp(mantissa[2 * e], shift)
        mantissa[2 * e + 1] = math.ldexp(mantissa[2 * e + 1], shift)


@kernel
def align_cpu(start, stop, indptr, exponent, mantissa):
    for i in range(start, stop):
        align_row(i, indptr, exponent, mantissa)


@scalar
def union_row(t, tokens, by_prime, own, indptr, primes, mantissa, exponent, orientation):
    """Fill row ``t`` of the full product: each prime seen so far, with its latest running product."""
    table, group, entries = by_prime
    own_mantissa, own_exponent, own_orientation = own
    e = indptr[t]
    end = tokens[t + 1]  # the entries of tokens 0..t are those before it
    for g in range(len(table)):
        low, high = group[g], group[g + 1]
        if entries[low] < end:
            while high - low > 1:  # the latest entry of this prime before ``end``
                middle = (low + high) // 2
                if entries[middle] < end:
                    low = middle
                else:
                    high = middle
            s = entries[low]
            primes[e], exponent[e] = table[g], own_exponent[s]
            mantissa[2 * e], mantissa[2 * e + 1] = own_mantissa[2 * s], own_mantissa[2 * s + 1]
            store(orientation, e, load(own_orientation, s))
            e += 1


@kernel
def union_cpu(start, stop, tokens, by_prime, own, indptr, primes, mantissa, exponent, orientation):
    for t in range(start, stop):
        union_row(t, tokens, by_prime, own, indptr, primes, mantissa, exponent, orientation)


ROTOR = Owner(rotor_row, rotor_cpu, "I1 F1 F1", grain=1024)
TURN = Owner(turn_row, turn_cpu, "I1 F1 F1 F1", grain=1024)
PRIME = Owner(prime_row, prime_cpu, "I1 I1 F1 F1 (F1,I1,F1) F1 I1 F1", grain=64, chunks_per_thread=16)
ALIGN = Owner(align_row, align_cpu, "I1 I1 F1", grain=1024)
UNION = Owner(union_row, union_cpu, "I1 (I1,I1,I1) (F1,I1,F1) I1 I1 F1 I1 F1", grain=16, chunks_per_thread=4)


def rotor(states) -> tuple[np.ndarray, ...]:
    turns = np.empty((len(states), 4), states.dtype)
    ROTOR(len(states), states.indptr, states.orientation.reshape(-1), turns.reshape(-1))
    turns = _quaternion.cumprod(turns, axis=0)
    out = np.empty_like(states.orientation)
    TURN(len(states), states.indptr, frozen(turns).reshape(-1), states.orientation.reshape(-1), out.reshape(-1))
    return states.indptr, states.primes, states.amplitude, out


def columns_of(states) -> tuple[np.ndarray, np.ndarray]:
    """The different primes, ascending, and for each entry which of them it has."""
    table = _validate.distinct(states.primes)
    if table[-1] > max(8 * states.nnz, 1 << 20):
        return table, np.searchsorted(table, states.primes)
    place = np.empty(table[-1] + 1, np.int64)
    place[table] = np.arange(len(table))
    return table, place[states.primes]


def grouped(states, table, columns) -> tuple[np.ndarray, np.ndarray]:
    """``(group, entries)``: prime ``table[g]`` has ``entries[group[g]:group[g + 1]]``, in token order."""
    from scipy import sparse  # 60 ms that only mode "full" needs

    shape = (len(states), len(table))
    rows = sparse.csr_array((np.arange(states.nnz), columns, states.indptr), shape=shape)
    by_prime = rows.tocsc()  # a counting sort: linear
    return by_prime.indptr.astype(np.int64), by_prime.data


def running_products(states, n_primes: int, columns) -> tuple[np.ndarray, ...]:
    """Mantissa, exponent and orientation of each entry's product over the entries of its prime so far."""
    mantissa = np.empty_like(states.amplitude)
    exponent = np.empty(states.nnz, np.int64)
    running = np.empty_like(states.orientation)
    products = (
        np.empty(2 * n_primes, states.dtype),
        np.empty(n_primes, np.int64),
        np.empty(4 * n_primes, states.dtype),
    )
    arrays = (frozen(columns), flat(states.amplitude), states.orientation.reshape(-1), products)
    outputs = (flat(mantissa), exponent, running.reshape(-1))
    lanes = 1 << (get_num_threads().bit_length() - 1) if states.nnz >= 1 << 15 else 1
    share(lambda start, stop: stream_cpu(start, stop, lanes, *arrays, *outputs), lanes, grain=1)
    return mantissa, exponent, running


def own(states) -> tuple[np.ndarray, ...]:
    table, columns = columns_of(states)
    mantissa, exponent, running = running_products(states, len(table), columns)
    ALIGN(len(states), states.indptr, frozen(exponent), flat(mantissa))
    return states.indptr, states.primes, normalized(states.indptr, mantissa), running


def full(states, max_bytes: int) -> tuple[np.ndarray, ...]:
    table, columns = columns_of(states)
    group, entries = grouped(states, table, columns)
    first = row_numbers(states.indptr)[entries[group[:-1]]]  # the token that brings each prime
    indptr = np.concatenate([[0], np.cumsum(np.cumsum(np.bincount(first, minlength=len(states))))]).astype(np.int64)
    nnz = int(indptr[-1])
    itemsize = 8 + states.amplitude.itemsize + 4 * states.orientation.itemsize
    if nnz * itemsize > max_bytes:
        raise MemoryError(
            f"cumcompose(mode='full') of {len(states)} states over {len(table)} primes has {nnz} entries, "
            f"{nnz * itemsize / 2**30:.2f} GiB, but max_bytes is {max_bytes / 2**30:.2f} GiB: use mode='own' or "
            f"'rotor', whose support does not grow, fewer states, or pass max_bytes={nnz * itemsize}"
        )
    done = running_products(states, len(table), columns)
    primes = np.empty(nnz, np.int64)
    mantissa = np.empty(nnz, states.amplitude.dtype)
    exponent = np.empty(nnz, np.int64)
    orientation = np.empty((nnz, 4), states.dtype)
    by_prime = (frozen(table), frozen(group), frozen(entries))
    own_products = (frozen(flat(done[0])), frozen(done[1]), frozen(done[2].reshape(-1)))
    grown = (frozen(indptr), primes, flat(mantissa), exponent, orientation.reshape(-1))
    UNION(len(states), states.indptr, by_prime, own_products, *grown)
    ALIGN(len(states), frozen(indptr), frozen(exponent), flat(mantissa))
    return indptr, primes, normalized(indptr, mantissa), orientation
