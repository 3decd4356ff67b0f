"""States from Python mappings, and random ones."""

from collections.abc import Iterable, Mapping

import numpy as np

from .. import primes as _primes
from .._runtime.checks import as_generator
from .._runtime.memory import physical_memory
from ..encode.arrays import StateArrays, precision, row_numbers
from ..primes.integers import COUNT, one_count
from . import _validate

_TEXT = (str, bytes, bytearray)  # float() would read them


def from_dicts(states: Iterable[Mapping]) -> StateArrays:
    """Flatten ``[{prime: (amplitude, (w, x, y, z)) or amplitude, ...}, ...]``."""
    if isinstance(states, Mapping):
        raise TypeError("one mapping came where a list of states is wanted: pass [state]")
    counts, primes, amplitude, orientation = [0], [], [], []
    for i, state in enumerate(states):
        if not isinstance(state, Mapping):
            raise TypeError(
                f"state {i} is a {type(state).__name__}: a mapping {{prime: (amplitude, (w, x, y, z))}} is wanted"
            )
        for j, (prime, value) in enumerate(state.items()):
            if isinstance(prime, (bool, np.bool_)) or not isinstance(prime, (int, np.integer)):
                raise TypeError(
                    f"state {i}, entry {j}: the key {prime!r} is a {type(prime).__name__}: primes are integers"
                )
            a, q = _entry(i, j, prime, value)
            primes.append(int(prime))
            amplitude.append(a)
            orientation.append(q)
        counts.append(len(state))
    try:
        keys = np.array(primes, dtype=np.int64)
    except OverflowError:
        raise ValueError("a prime is 2**63 or more: primes below 2**63 are wanted") from None
    values = np.array(amplitude, dtype=np.complex128)
    return _validate.validate(
        np.cumsum(counts), keys, values, np.array(orientation, dtype=np.float64).reshape(-1, 4), copy=False
    )


def _entry(i: int, j: int, prime, value) -> tuple[complex, tuple[float, ...]]:
    if isinstance(value, (int, float, complex, np.number)):
        value = (value, (1.0, 0.0, 0.0, 0.0))
    try:
        a, q = value
        if isinstance(a, _TEXT) or any(isinstance(x, _TEXT) for x in q):
            raise ValueError
        a, q = complex(a), tuple(float(x) for x in q)
        if len(q) != 4:
            raise ValueError
    except (TypeError, ValueError):
        raise ValueError(
            f"state {i}, entry {j} (prime {prime}): {value!r} is neither an amplitude nor "
            f"(amplitude, (w, x, y, z)); pass for example (1 + 0j, (1, 0, 0, 0))"
        ) from None
    return a, q


def random(n: int, k, n_primes: int, rng, dtype, distribution: str) -> StateArrays:
    """``n`` random states; see `PrimeStates.random`."""
    real = precision(dtype)
    generator = as_generator(rng)
    n, n_primes = one_count("n", n), one_count("n_primes", n_primes, most=COUNT)
    counts = _counts(n, k, n_primes, 8 + 6 * real.itemsize)
    if distribution == "uniform":
        weight = np.ones(n_primes)
    elif distribution == "zipf":
        weight = 1 / np.arange(1, n_primes + 1)
    else:
        raise ValueError(f"distribution is {distribution!r}: pass 'uniform' or 'zipf'")
    columns = _columns(counts, weight, generator)
    indptr = np.concatenate([[0], np.cumsum(counts)])
    amplitude = generator.standard_normal((len(columns), 2), dtype=real)
    orientation = generator.standard_normal((len(columns), 4), dtype=real)
    amplitude = amplitude.view(_validate.complex_dtype(real))[:, 0]
    energy = np.bincount(row_numbers(indptr), weights=amplitude.real**2 + amplitude.imag**2, minlength=n)
    amplitude *= np.repeat(1 / np.sqrt(np.where(energy > 0, energy, 1)), counts).astype(real)
    table = _primes.first(n_primes)
    return _validate.validate(indptr, table[columns], amplitude, orientation, copy=False)


def _counts(n: int, k, n_primes: int, entry: int) -> np.ndarray:
    """Active primes of each state, int64 (n,); refuses what memory cannot hold at ``entry`` bytes each."""
    k = _validate.as_int64("k", np.atleast_1d(k))
    size = n * (8 + entry * int(k.max(initial=0))) if k.size == 1 else 0
    if size > physical_memory():
        raise MemoryError(
            f"{n} states of {k[0]} primes take {size / 2**30:,.0f} GiB, more than this machine's memory: take fewer"
        )
    try:
        counts = np.broadcast_to(k, (n,))
    except ValueError as error:
        raise ValueError(f"k has {np.size(k)} numbers for {n} states: pass one, or {n} ({error})") from None
    if n and (counts.min() < 0 or counts.max() > n_primes):
        wrong = counts[(counts < 0) | (counts > n_primes)][0]
        raise ValueError(f"k is {wrong}: 0 <= k <= n_primes = {n_primes} is wanted; pass a larger n_primes")
    return counts


def _columns(counts: np.ndarray, weight: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """For each state ``counts[i]`` different columns, drawn one after the other with these weights, sorted.

    Drawing with repetition and keeping the first k different columns is the same law. It stalls where most of the
    weight is wanted; then exponential clocks of rate ``weight`` are run instead, and the k earliest taken (also the
    same law), at the price of one random number for each state and column.
    """
    n, width = len(counts), len(weight)
    if n == 0 or counts.max() == 0:
        return np.zeros(0, np.int64)
    heaviest = np.sort(weight)[::-1][: int(counts.max())].sum()
    if heaviest > 0.75 * weight.sum():
        return _columns_by_clocks(counts, weight, generator)
    cumulative = np.cumsum(weight)
    uniform = bool((weight == weight[0]).all())
    finished, pending = [], np.zeros(0, np.int64)
    missing = np.repeat(np.arange(n), counts)
    while missing.size:
        if uniform:
            drawn = generator.integers(0, width, missing.size)
        else:
            drawn = np.searchsorted(cumulative, generator.random(missing.size) * cumulative[-1], side="right")
        keys = np.concatenate([pending, missing * width + np.minimum(drawn, width - 1)])
        keys.sort(kind="stable")
        keys = keys[np.r_[True, keys[1:] != keys[:-1]]]
        lack = counts - np.bincount(keys // width, minlength=n)
        lack[np.isin(np.arange(n), missing, invert=True)] = 0
        missing = np.repeat(np.arange(n), lack)
        wanting = lack[keys // width] > 0
        finished.append(keys[~wanting])
        pending = keys[wanting]
    keys = np.concatenate(finished)
    keys.sort(kind="stable")
    return keys % width


def _columns_by_clocks(counts, weight, generator) -> np.ndarray:
    n, width = len(counts), len(weight)
    block = max(1, (1 << 22) // width)
    columns = []
    for start in range(0, n, block):
        chosen = counts[start : start + block]
        clocks = generator.standard_exponential((len(chosen), width)) / weight
        rank = np.argsort(np.argsort(clocks, axis=1), axis=1)
        columns.append(np.nonzero(rank < chosen[:, None])[1])
    return np.concatenate(columns)
