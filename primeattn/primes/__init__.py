"""Primes: the n-th, the index of one, primality, factorisation; vectorised over NumPy arrays.

Indices start at 0: ``nth(0) == 2``. Integers of every width and byte order are taken, floats, booleans and text are
not: an error says which entry is at fault and what to write instead. `nth`, `index` and `is_prime` give a DataArray
for a DataArray. Nothing is sieved at import. Tables up to 2**24 (11 MB) are kept once they have been needed; longer
ones are made for the call and dropped. The results are new arrays that the caller owns.
"""

from math import log
from typing import Any, NamedTuple

import numpy as np

from .. import _labelled
from .._runtime import devices
from .._runtime.owners import share
from . import modular, sieve
from .integers import COUNT, as_integers, flat, one_integer, refuse, scalar_or_array, shown

__all__ = ["LIMIT", "PrimeFactors", "factorize", "first", "index", "is_prime", "nth", "up_to"]

LIMIT = 1 << 32
"""The longest sieve: 203,280,221 primes, 1.6 GB of int64."""
_PRIMORIALS = tuple(int(x) for x in np.cumprod(np.array([2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47])))
_BLOCK = 1 << 16  # numbers factorised at a time: 16 MB of scratch


class PrimeFactors(NamedTuple):
    """Factorisations in compressed rows.

    The primes of number ``i`` are ``primes[indptr[i]:indptr[i + 1]]``, ascending, with their ``exponents``.

    Attributes
    ----------
    indptr : ndarray of int64, shape (n + 1,)
    primes : ndarray of int64, shape (nnz,)
        Of object, holding Python integers, only if some prime exceeds int64.
    exponents : ndarray of int64, shape (nnz,)
    """

    indptr: np.ndarray
    primes: np.ndarray
    exponents: np.ndarray


def first(n: int) -> np.ndarray:
    """The first ``n`` primes.

    Parameters
    ----------
    n : int
        How many, 0 to 203,280,221 (the primes below 2**32).

    Returns
    -------
    ndarray of int64, shape (n,)

    Raises
    ------
    TypeError
        For anything but one integer.
    ValueError
        For a negative or a too large ``n``.

    Examples
    --------
    >>> import primeattn as pa
    >>> pa.primes.first(8)
    array([ 2,  3,  5,  7, 11, 13, 17, 19])
    """
    n = one_integer("n", n)
    if n < 0:
        raise ValueError(f"n is {shown(n)}: a count of primes is at least 0")
    if n > COUNT:
        raise ValueError(
            f"n is {shown(n)}: {_size(8 * n)} of primes; at most {COUNT} are given "
            f"(those below 2**32, {_size(8 * COUNT)})"
        )
    return _owned(_primes_to(_bound(n))[:n])


def up_to(limit: int) -> np.ndarray:
    """All primes not above ``limit``.

    Parameters
    ----------
    limit : int
        Inclusive, 0 to 2**32.

    Returns
    -------
    ndarray of int64

    Raises
    ------
    TypeError
        For anything but one integer.
    ValueError
        For a negative limit, and for one whose primes would not fit: the message says how much memory they take.

    Notes
    -----
    Segmented sieve of Eratosthenes on the wheel of 30, one byte for thirty numbers, shared among threads.
    It holds ``limit / 30`` bytes beside the result.

    Examples
    --------
    >>> import primeattn as pa
    >>> pa.primes.up_to(20)
    array([ 2,  3,  5,  7, 11, 13, 17, 19])
    >>> len(pa.primes.up_to(10**6))
    78498
    """
    limit = one_integer("limit", limit)
    if limit < 0:
        raise ValueError(f"limit is {shown(limit)}: it is at least 0")
    if limit > LIMIT:
        count = min(limit, 10**30) / (log(limit) - 1)
        raise ValueError(
            f"limit is {shown(limit)}: the primes up to it would take about {_size(8 * count)}; "
            f"at most 2**32 is accepted ({_size(8 * COUNT)}); is_prime and factorize need no table and go on"
        )
    primes = _primes_to(limit)
    return _owned(primes[: np.searchsorted(primes, limit, side="right")])


def nth(i) -> Any:
    """The prime with index ``i``, counted from 0.

    Parameters
    ----------
    i : int or array_like of int
        0 to 203,280,220.

    Returns
    -------
    int or ndarray of int64, the shape of ``i``

    Raises
    ------
    TypeError
        For floats, booleans and text.
    ValueError
        For negative or too large indices, naming the first.

    Examples
    --------
    >>> import primeattn as pa
    >>> pa.primes.nth(0), pa.primes.nth([3, 999])
    (2, array([   7, 7919]))
    """
    if _labelled.is_labelled(i):
        return _labelled.apply(nth, (i,), ((),), ((),), {})
    indices = as_integers("i", i)
    refuse(indices < 0, indices, "i", "indices start at 0")
    refuse(indices >= COUNT, indices, "i", f"the largest index is {COUNT - 1} (primes below 2**32)")
    top = int(indices.max(initial=0)) + 1
    return scalar_or_array(_primes_to(_bound(top))[indices.astype(np.int64, copy=False)])


def index(p) -> Any:
    """The index of the prime ``p``, counted from 0: the inverse of `nth`.

    Parameters
    ----------
    p : int or array_like of int
        Primes below 2**32.

    Returns
    -------
    int or ndarray of int64, the shape of ``p``

    Raises
    ------
    TypeError
        For floats, booleans and text.
    ValueError
        If some ``p`` is not prime (the message factors it) or exceeds 2**32.

    Notes
    -----
    One byte of the sieve, the count of primes before it, and the bits below the prime's own: constant time.

    Examples
    --------
    >>> import primeattn as pa
    >>> pa.primes.index(2), pa.primes.index([7, 7919])
    (0, array([  3, 999]))
    """
    if _labelled.is_labelled(p):
        return _labelled.apply(index, (p,), ((),), ((),), {})
    p = as_integers("p", p)
    refuse(p > LIMIT, p, "p", "indices are known below 2**32; re-index your primes with numpy.unique")
    x = flat(p)
    known = sieve.table(int(x.max(initial=0)))
    out = np.empty(x.size, np.int64)
    share(lambda start, stop: modular.index_cpu(start, stop, x, known.bitmap, known.rank, out), x.size, 16_384)
    if (out < 0).any():
        composite = int(x[np.flatnonzero(out < 0)[0]])
        raise ValueError(f"p holds {composite}{_factored(composite)}, which is not prime; only primes have an index")
    return scalar_or_array(out.reshape(p.shape))


def is_prime(x) -> Any:
    """Say which numbers are prime. Negative numbers, 0 and 1 are not.

    Parameters
    ----------
    x : int or array_like of int, or CUDA array of int64
        Any size: beyond int64 SymPy decides, one number at a time.

    Returns
    -------
    bool or ndarray of bool, the shape of ``x``; a CUDA array for a CUDA array

    Raises
    ------
    TypeError
        For floats, booleans and text, and for CUDA arrays that are not int64.

    Notes
    -----
    Below 2**24 the sieve's bitmap, above it Miller-Rabin, which is a proof with the right bases: 2, 3, 5, 7 below
    3,215,031,751; the primes to 17 below 341,550,071,728,321 (Jaeschke); the primes to 37 below 3.1e23 (Sorenson,
    Webster), and so for every int64.

    References
    ----------
    G. Jaeschke, On strong pseudoprimes to several bases, Math. Comp. 61 (1993) 915-926.

    J. Sorenson, J. Webster, Strong pseudoprimes to twelve prime bases, Math. Comp. 86 (2017) 985-1003.

    Examples
    --------
    >>> import primeattn as pa
    >>> pa.primes.is_prime([1, 2, 9, 2**61 - 1])
    array([False,  True, False,  True])
    """
    if _labelled.is_labelled(x):
        return _labelled.apply(is_prime, (x,), ((),), ((),), {})
    if devices.is_device_array(x):
        return _is_prime_on_cuda(x)
    x = as_integers("x", x)
    if x.dtype == object:
        from sympy import isprime

        out = np.fromiter((isprime(int(value)) for value in x.flat), bool, x.size)
    else:
        values = flat(x)
        known = sieve.table(min(int(values.max(initial=0)), (1 << sieve.CACHED_BITS) - 1))
        out = np.empty(values.size, bool)
        modular.IS_PRIME(values.size, values, known.bitmap, min(known.limit + 1, 1 << sieve.CACHED_BITS), out)
    return scalar_or_array(out.reshape(x.shape))


def factorize(n) -> PrimeFactors:
    """Prime factorisations.

    Parameters
    ----------
    n : int or array_like of int, shape (n,)
        At least 1; 1 has no factors and gives an empty row.

    Returns
    -------
    PrimeFactors
        ``(indptr, primes, exponents)``, one row per number.

    Raises
    ------
    TypeError
        For floats, booleans and text.
    ValueError
        For numbers below 1, naming the first, and for more than one axis.

    Notes
    -----
    Trial division by the primes below 1009, then Miller-Rabin and Pollard's rho as Brent batched it on what is
    left: below a millisecond for every int64. Larger Python integers go to SymPy, one at a time, and may take
    for ever, as factoring does.

    References
    ----------
    R. P. Brent, An improved Monte Carlo factorization algorithm, BIT 20 (1980) 176-184.

    Examples
    --------
    >>> import primeattn as pa
    >>> pa.primes.factorize([12, 1, 35])
    PrimeFactors(indptr=array([0, 2, 2, 4]), primes=array([2, 3, 5, 7]), exponents=array([2, 1, 1, 1]))
    """
    n = as_integers("n", n)
    if n.ndim > 1:
        raise ValueError(f"n has shape {n.shape}: one axis is wanted, one row for a number; pass n.ravel()")
    n = np.atleast_1d(n)
    refuse(n < 1, n, "n", "only numbers from 1 on have a prime factorisation")
    if n.dtype == object:
        return _factorize_with_sympy(n)
    blocks = [_factorize_block(n[i : i + _BLOCK]) for i in range(0, max(n.size, 1), _BLOCK)]
    counts, primes, exponents = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    return PrimeFactors(np.concatenate(([0], np.cumsum(counts))), primes, exponents)


def _factorize_block(n):
    """Counts, primes and exponents of one block."""
    n = flat(n)
    width = sum(bound <= n.max(initial=2) for bound in _PRIMORIALS)  # distinct primes that such a number can have
    primes, exponents = np.empty((2, n.size * width), np.int64)
    count = np.empty(n.size, np.int64)
    small = up_to(modular.TRIAL - 1)

    def work(start, stop):
        modular.factorize_cpu(start, stop, n, small, width, primes, exponents, count)

    share(work, n.size, 256, 8)
    used = (np.arange(width) < count[:, None]).ravel()
    return count, primes[used], exponents[used]


def _factorize_with_sympy(n) -> PrimeFactors:
    from sympy import factorint

    rows = [sorted(factorint(int(value)).items()) for value in n]
    primes = [p for row in rows for p, _ in row]
    fits = all(p < 1 << 63 for p in primes)
    return PrimeFactors(
        np.concatenate(([0], np.cumsum([len(row) for row in rows], dtype=np.int64))),
        np.array(primes, np.int64 if fits else object),
        np.array([e for row in rows for _, e in row], np.int64),
    )


def _is_prime_on_cuda(x):
    view = devices.device_view(x)
    if view.dtype != np.int64:
        raise TypeError(f"x has dtype {view.dtype} on CUDA: int64 is wanted; convert it first")
    out = devices.empty(view.size, bool, like=x)
    no_table = devices.empty(1, np.uint8, like=x)
    modular.IS_PRIME(view.size, view.reshape(view.size), no_table, 0, out)
    return out.reshape(x.shape)


def _primes_to(limit: int) -> np.ndarray:
    """Primes up to at least ``limit``; a view of a kept table or a fresh array."""
    return sieve.table(limit).primes if limit < 1 << sieve.CACHED_BITS else sieve.primes_of(sieve.bitmap_to(limit))


def _owned(primes: np.ndarray) -> np.ndarray:
    """A copy of a part of a kept table; a part of a fresh array is the caller's already."""
    return primes if primes.flags.writeable else primes.copy()


def _bound(n: int) -> int:
    """A number that the n-th prime does not exceed: n (ln n + ln ln n) for n >= 6 (Rosser and Schoenfeld 1962)."""
    return min(int(n * (log(n) + log(log(n)))) + 1, LIMIT) if n >= 6 else 13


def _size(count: float) -> str:
    """Bytes for people: "1.6 GB"."""
    if count >= 10**18:
        return "over 1000 PB"
    for unit in ("bytes", "kB", "MB", "GB", "TB", "PB"):
        if count < 1000 or unit == "PB":
            return f"{count:.3g} {unit}"
        count /= 1000
    raise AssertionError


def _factored(value: int) -> str:
    if value < 2:
        return ""
    row = factorize(value)
    powers = (f"{p}^{e}" if e > 1 else f"{p}" for p, e in zip(row.primes, row.exponents, strict=True))
    return " = " + " * ".join(powers)
