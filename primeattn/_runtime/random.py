r"""Random numbers that depend on where they are used, not on who asks first: Philox 4x32 with 10 rounds.

The words of a (key, counter) are a fixed function of them, so that oscillator 17 at step 1000 gets the same number on
any thread, in any order, on any device. J. Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

import math

import numpy as np

from . import elementary as el
from .jit import scalar

_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)


@scalar
def philox(c0, c1, c2, c3, k0, k1):
    """Four 32-bit words, in uint64 variables: products of two words then need no wider type."""
    for _ in range(10):
        p0, p1 = _M0 * c0, _M1 * c2
        c0, c1, c2, c3 = (p1 >> _HALF) ^ c1 ^ k0, p1 & _LOW, (p0 >> _HALF) ^ c3 ^ k1, p0 & _LOW
        k0, k1 = (k0 + _W0) & _LOW, (k1 + _W1) & _LOW
    return c0, c1, c2, c3


@scalar
def words(seed, stream, step, i):
    """The words of number i of a step of a stream; stream < 2^32, i < 2^32."""
    s, n = np.uint64(seed), np.uint64(step)
    return philox(np.uint64(i), n & _LOW, n >> _HALF, np.uint64(stream), s & _LOW, s >> _HALF)


@scalar
def normals(seed, stream, step, i, one):
    """Two independent standard normal numbers of the type of ``one`` (Box and Muller), at most 9.5 in size."""
    a, b, c, d = words(seed, stream, step, i)
    real = type(one)
    down, half = real(2.0**-32), real(0.5)
    u = (real(a) + (real(b) + half) * down) * down  # in (0, 1], however it is rounded
    v = (real(c) + real(d) * down) * down
    radius = math.sqrt(real(-2) * el.log(u))
    sine, cosine = el.sincos_near(real(2 * math.pi) * v)
    return radius * cosine, radius * sine
