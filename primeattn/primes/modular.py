"""Primality and factors of 64-bit integers: Montgomery products, Miller-Rabin, Brent's variant of Pollard's rho.

Numba has no 128-bit integer, so a product modulo n goes through Montgomery's form (x stands for x 2**64 mod n),
where it needs two high halves of 64-bit products and no division. All scalars take and give ``uint64`` and
need n odd and below 2**63; mixing in a signed integer would make Numba compute in float64.
"""

import numpy as np

from .._runtime.jit import kernel, scalar
from .._runtime.owners import Owner
from .sieve import BITS

WITNESSES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)
TRIAL = 1009  # factorisation divides by the primes below before it turns to rho
_LOW = np.uint64(0xFFFF_FFFF)
_HALF = np.uint64(32)
_0, _1, _2, _3 = np.uint64(0), np.uint64(1), np.uint64(2), np.uint64(3)
_BATCH = 64  # steps of rho between two greatest common divisors


@scalar
def high_product(a, b):
    """The upper 64 bits of the 128-bit product."""
    a_low, a_high, b_low, b_high = a & _LOW, a >> _HALF, b & _LOW, b >> _HALF
    cross = a_low * b_high
    middle = (a_low * b_low >> _HALF) + (cross & _LOW) + a_high * b_low  # at most 2**64 - 1
    return a_high * b_high + (cross >> _HALF) + (middle >> _HALF)


@scalar
def inverse(n):
    """1/n modulo 2**64 by Newton's iteration: n (3n xor 2) = 1 to 5 bits, doubled four times."""
    x = n * _3 ^ _2
    for _ in range(4):
        x *= _2 - n * x
    return x


@scalar
def product(a, b, n, n_inverse):
    """a b / 2**64 mod n: the product of two numbers in Montgomery form."""
    high = high_product(a, b)
    carry = high_product(a * b * n_inverse, n)
    return high - carry if high >= carry else high - carry + n


@scalar
def strong_probable_prime(base, n, n_inverse, one):
    """Miller-Rabin: base^d = 1 or base^(d 2^r) = -1 for some r < s, where n - 1 = d 2^s with d odd."""
    s, d = 0, n - _1
    while d & _1 == _0:
        d >>= _1
        s += 1
    x, square = one, base
    while d != _0:
        if d & _1 != _0:
            x = product(x, square, n, n_inverse)
        square = product(square, square, n, n_inverse)
        d >>= _1
    if x in (one, n - one):
        return True
    for _ in range(s - 1):
        x = product(x, x, n, n_inverse)
        if x == n - one:
            return True
    return False


@scalar
def is_prime(x):
    """Deterministic for every int64: 4, 7 or 12 prime bases suffice below the bounds (see ``primes.is_prime``)."""
    if x < 2:
        return False
    for p in WITNESSES:
        if x % p == 0:
            return x == p
    if x < 41 * 41:
        return True
    count = 4 if x < 3_215_031_751 else (7 if x < 341_550_071_728_321 else 12)
    n = np.uint64(x)
    n_inverse = inverse(n)
    one = (_0 - n) % n
    base, reached = one, 1  # base is `reached` in Montgomery form
    for j in range(count):
        while reached < WITNESSES[j]:
            base = base + one if base < n - one else base - (n - one)
            reached += 1
        if not strong_probable_prime(base, n, n_inverse, one):
            return False
    return True


@scalar
def greatest_common_divisor(a, b):
    while b != _0:
        a, b = b, a % b
    return a


@scalar
def proper_divisor(x):
    """A divisor of an odd composite without small factors: rho with y -> y^2 + c, c = 1, 2, ... until one splits it."""
    n = np.uint64(x)
    n_inverse = inverse(n)
    one = (_0 - n) % n
    c = _0
    while True:
        c += _1
        y, q, g, length = _2, one, _1, 1
        anchor, checkpoint = y, y
        while g == _1:
            anchor = y
            for _ in range(length):
                y = product(y, y, n, n_inverse) + c
            done = 0
            while done < length and g == _1:
                checkpoint = y
                for _ in range(min(_BATCH, length - done)):
                    y = product(y, y, n, n_inverse) + c
                    q = product(q, anchor - y if anchor > y else y - anchor, n, n_inverse)
                g = greatest_common_divisor(q, n)
                done += _BATCH
            length *= 2
        if g == n:  # the batch swallowed both factors at once: repeat it step by step
            g = _1
            while g == _1:
                checkpoint = product(checkpoint, checkpoint, n, n_inverse) + c
                g = greatest_common_divisor(anchor - checkpoint if anchor > checkpoint else checkpoint - anchor, n)
        if g != n:
            return np.int64(g)


@scalar
def is_prime_row(i, x, bitmap, limit, out):
    """``out[i]``: by the table below ``limit``, by Miller-Rabin from there (limit 0: no table)."""
    value = x[i]
    if value >= limit:
        out[i] = is_prime(value)
    elif value < 7:
        out[i] = value in (2, 3, 5)
    else:
        out[i] = bitmap[value // 30] & BITS[value % 30] != 0


@kernel
def is_prime_cpu(start, stop, x, bitmap, limit, out):
    for i in range(start, stop):
        is_prime_row(i, x, bitmap, limit, out)


IS_PRIME = Owner(is_prime_row, is_prime_cpu, "I1 I1 i I1")


@kernel
def index_cpu(start, stop, x, bitmap, rank, out):
    """``out[i]``: which prime ``x[i]`` is, -1 for one that is not prime or lies beyond the table."""
    for i in range(start, stop):
        value = x[i]
        byte, bit = value // 30, BITS[value % 30]
        if value in (2, 3, 5):
            out[i] = value // 2 if value > 2 else 0
        elif value < 7 or byte >= bitmap.shape[0] or bitmap[byte] & bit == 0:
            out[i] = -1
        else:
            below = 0
            for j in range(8):
                below += (bitmap[byte] & (bit - 1)) >> j & 1
            out[i] = 3 + rank[byte] + below


@scalar
def count_factor(p, start, count, primes, exponents):
    """Insert p into the ascending factors ``start .. start + count``; returns the new count."""
    at = start
    while at < start + count and primes[at] < p:
        at += 1
    if at < start + count and primes[at] == p:
        exponents[at] += 1
        return count
    for j in range(start + count, at, -1):
        primes[j], exponents[j] = primes[j - 1], exponents[j - 1]
    primes[at], exponents[at] = p, 1
    return count + 1


@kernel
def factorize_cpu(start, stop, n, small, width, primes, exponents, count):
    """Factors of ``n[i]`` into slots ``i width ...``; cofactors that wait for rho are stacked at their far end."""
    for i in range(start, stop):
        first, last = i * width, (i + 1) * width - 1
        found, rest = 0, n[i]
        for j in range(small.shape[0]):
            p = small[j]
            if p * p > rest:
                break
            if rest % p == 0:
                primes[first + found], exponents[first + found] = p, 0
                while rest % p == 0:
                    rest //= p
                    exponents[first + found] += 1
                found += 1
        waiting = 0
        if rest > 1:
            primes[last] = rest
            waiting = 1
        while waiting > 0:
            waiting -= 1
            value = primes[last - waiting]
            if value < TRIAL * TRIAL or is_prime(value):
                found = count_factor(value, first, found, primes, exponents)
            else:
                divisor = proper_divisor(value)
                primes[last - waiting] = divisor
                primes[last - waiting - 1] = value // divisor
                waiting += 2
        count[i] = found
