r"""Order by rotors: what a token keeps is turned by the product of everything up to it, and the way back.

Key t has the rotor r_t, the product of its unit orientations in order of increasing prime (1 for an absent token),
and R_t = r_0 r_1 ... r_t. Keys become w = R_t u, queries w = R_s u with s = i + Tk - Tq, the key they stand at. The
score of i and j then depends on R_i^-1 R_j = (r_{j+1} ... r_i)^-1: what lies between.

Backwards, g the gradient of w = R_t u: u gets R_t^* g. And w = M q N u for a factor q of R_t, with M what precedes it:

    dL = <g, M dq N u> = <M^* g (N u)^*, dq>,   N u = (M q)^* w,   hence q gets M^* (g w^*) M q.

With c_t = sum g w^* over everything that R_t turned, and C_t = sum_{s >= t} c_s, a factor of key t gets M^* C_t M q.
(The real part of C adds a multiple of q, which the unit length takes away again.)
"""

from ... import quaternion as _quaternion
from ..._runtime import devices
from ..._runtime.jit import kernel, scalar
from ..._runtime.owners import Owner
from ...quaternion import scalars as quaternion
from ...resonance._scalars import ENTRY, ORIENTATION
from .tokens import load, store


@scalar
def identity(x):
    """The quaternion 1 in the type of x."""
    one = type(x)(1)
    return one, one - one, one - one, one - one


@scalar
def rotor_row(t, active, primes, prime, x, rotor):
    """r_t: the product of the unit orientations of token t."""
    product = identity(x[0])
    for s in range(t * active, (t + 1) * active):
        if prime[s] < primes:
            product = quaternion.multiply(product, load(x, ENTRY * s + ORIENTATION))
    store(rotor, 4 * t, product)


@kernel
def rotor_cpu(start, stop, active, primes, prime, x, rotor):
    for t in range(start, stop):
        rotor_row(t, active, primes, prime, x, rotor)


@scalar
def rotor_at(t, tokens, keys, rotor):
    """R where token t of ``tokens`` stands, the last beside the last key; 1 in front of the first."""
    stands = t % tokens + keys - tokens
    if stands < 0:
        return identity(rotor[0])
    return quaternion.normalize(load(rotor, 4 * (t // tokens * keys + stands)))


@scalar
def turn_row(t, tokens, keys, active, rotor, x):
    """Turn the orientations of token t."""
    turn = rotor_at(t, tokens, keys, rotor)
    for s in range(t * active, (t + 1) * active):
        e = ENTRY * s + ORIENTATION
        store(x, e, quaternion.multiply(turn, load(x, e)))


@kernel
def turn_cpu(start, stop, tokens, keys, active, rotor, x):
    for t in range(start, stop):
        turn_row(t, tokens, keys, active, rotor, x)


@scalar
def torque_of(t, active, primes, prime, x, dx, total):
    """``total`` + sum of g w^* over the entries of token t."""
    for s in range(t * active, (t + 1) * active):
        if prime[s] < primes:
            w = quaternion.conjugate(load(x, ENTRY * s + ORIENTATION))
            total = quaternion.add(total, quaternion.multiply(load(dx, ENTRY * s + ORIENTATION), w))
    return total


@scalar
def torque_row(t, queries, keys, active, primes, prime, x, dx, prime_b, y, dy, torque):
    """c of key t: its own entries, and those of the query that stands there."""
    zero = type(x[0])(0)
    total = torque_of(t, active, primes, prime_b, y, dy, (zero, zero, zero, zero))
    i = t % keys + queries - keys
    if i >= 0:
        total = torque_of(t // keys * queries + i, active, primes, prime, x, dx, total)
    store(torque, 4 * t, total)


@kernel
def torque_cpu(start, stop, queries, keys, active, primes, prime, x, dx, prime_b, y, dy, torque):
    for t in range(start, stop):
        torque_row(t, queries, keys, active, primes, prime, x, dx, prime_b, y, dy, torque)


@scalar
def suffix_row(r, keys, torque):
    """C: sums from the end, for component r % 4 of head r // 4."""
    at = r // 4 * keys * 4 + r % 4
    total = type(torque[0])(0)
    for t in range(keys):
        z = at + 4 * (keys - 1 - t)
        total += torque[z]
        torque[z] = total


@kernel
def suffix_cpu(start, stop, keys, torque):
    for r in range(start, stop):
        suffix_row(r, keys, torque)


@scalar
def turn_back_row(t, tokens, keys, active, rotor, dx):
    """R^* g for the orientations of token t, in place."""
    back = quaternion.conjugate(rotor_at(t, tokens, keys, rotor))
    for s in range(t * active, (t + 1) * active):
        e = ENTRY * s + ORIENTATION
        store(dx, e, quaternion.multiply(back, load(dx, e)))


@kernel
def turn_back_cpu(start, stop, tokens, keys, active, rotor, dx):
    for t in range(start, stop):
        turn_back_row(t, tokens, keys, active, rotor, dx)


@scalar
def factors_row(t, keys, active, primes, prime, y, rotor, torque, dy):
    """Add M^* C_t M q to the gradient of every factor q of key t."""
    before = identity(dy[0])
    if t % keys > 0:
        before = quaternion.normalize(load(rotor, 4 * (t - 1)))
    back, c = quaternion.conjugate(quaternion.normalize(load(rotor, 4 * t))), load(torque, 4 * t)
    for s in range(t * active, (t + 1) * active):
        if prime[s] < primes:
            e = ENTRY * s + ORIENTATION
            after = quaternion.multiply(before, quaternion.multiply(back, load(y, e)))
            g = quaternion.multiply(quaternion.conjugate(before), quaternion.multiply(c, after))
            store(dy, e, quaternion.add(load(dy, e), g))
            before = after


@kernel
def factors_cpu(start, stop, keys, active, primes, prime, y, rotor, torque, dy):
    for t in range(start, stop):
        factors_row(t, keys, active, primes, prime, y, rotor, torque, dy)


ROTOR = Owner(rotor_row, rotor_cpu, "i i I1 F1 F1", grain=1024)
TURN = Owner(turn_row, turn_cpu, "i i i F1 F1", grain=1024)
TORQUE = Owner(torque_row, torque_cpu, "i i i i I1 F1 F1 I1 F1 F1 F1", grain=1024)
SUFFIX = Owner(suffix_row, suffix_cpu, "i F1", grain=16)
TURN_BACK = Owner(turn_back_row, turn_back_cpu, "i i i F1 F1", grain=1024)
FACTORS = Owner(factors_row, factors_cpu, "i i i I1 F1 F1 F1 F1", grain=1024)


def prefix(heads: int, keys: int, active: int, primes: int, prime, y, before=None):
    """R_t of every key, flat (heads, keys, 4); ``before`` is the product of what came earlier, flat (heads, 4)."""
    each = devices.empty(4 * heads * keys, y.dtype, like=y)
    ROTOR(heads * keys, active, primes, prime, y, each)
    products = _quaternion.cumprod(each.reshape((heads, keys, 4)), axis=1)
    if before is not None:
        products = _quaternion.multiply(before.reshape((heads, 1, 4)), products)
    return products.reshape(each.size)
