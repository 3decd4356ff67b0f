r"""Order by rotors: states turned by the product of everything up to them, and the way back.

Key t has the rotor r_t, the product of its quaternions in order of increasing prime, and R_t = r_0 r_1 ... r_t.
Its orientations become R_t q; those of query i become R_s q with s = i + Tk - Tq, the key it stands at. Only
R_i^-1 R_j enters a score, so a pair knows what lies between.

Backwards, g the gradient of a turned u = R_t q: q gets R_t^* g, and R_t moves u about the origin, c_t = sum g u^*
over all entries turned by R_t. A factor q of key t turns everything from key t on. With C_t = sum_{s >= t} c_s and M
the product of all that precedes the factor, it gets M^* C_t M q.
"""

import numpy as np

from .. import quaternion as _quaternion
from .._runtime import devices
from .._runtime.jit import kernel, scalar
from .._runtime.owners import Owner
from ..quaternion import scalars as quaternion
from ..states._compose import load, store
from ..states._scan import ROTOR, TURN
from ._profiles import StateArrays


@scalar
def turning_row(i, indptr, turned, dturned, torque):
    """c of row i: sum over its entries of g u^*."""
    zero = type(dturned[0])(0)
    total = (zero, zero, zero, zero)
    for e in range(indptr[i], indptr[i + 1]):
        product = quaternion.multiply(load(dturned, e), quaternion.conjugate(load(turned, e)))
        total = quaternion.add(total, product)
    store(torque, i, total)


@kernel
def turning_cpu(start, stop, indptr, turned, dturned, torque):
    for i in range(start, stop):
        turning_row(i, indptr, turned, dturned, torque)


@scalar
def turn_back_row(i, indptr, rotor, dturned, dorientation):
    """R^* g for every entry of row i."""
    back = quaternion.conjugate(load(rotor, i))
    for e in range(indptr[i], indptr[i + 1]):
        store(dorientation, e, quaternion.multiply(back, load(dturned, e)))


@kernel
def turn_back_cpu(start, stop, indptr, rotor, dturned, dorientation):
    for i in range(start, stop):
        turn_back_row(i, indptr, rotor, dturned, dorientation)


@scalar
def factors_row(t, indptr, orientation, rotor, torque, dorientation):
    """Add M^* C_t M q to the gradient of every factor q of key t."""
    one = type(rotor[4 * t])(1)
    before = (one, one - one, one - one, one - one)
    if t > 0:
        before = load(rotor, t - 1)
    c = load(torque, t)
    for e in range(indptr[t], indptr[t + 1]):
        q = load(orientation, e)
        after = quaternion.normalize(quaternion.multiply(before, q))
        g = quaternion.multiply(quaternion.conjugate(before), quaternion.multiply(c, after))
        store(dorientation, e, quaternion.add(load(dorientation, e), g))
        before = after


@kernel
def factors_cpu(start, stop, indptr, orientation, rotor, torque, dorientation):
    for t in range(start, stop):
        factors_row(t, indptr, orientation, rotor, torque, dorientation)


TURNING = Owner(turning_row, turning_cpu, "I1 F1 F1 F1", grain=1024)
TURN_BACK = Owner(turn_back_row, turn_back_cpu, "I1 F1 F1 F1", grain=1024)
FACTORS = Owner(factors_row, factors_cpu, "I1 F1 F1 F1 F1", grain=1024)


def rotors(key: StateArrays):
    """R_t of every key, shape (Tk, 4), on its device."""
    m = key.indptr.size - 1
    each = devices.empty(4 * m, key.orientation.dtype, like=key.orientation)
    ROTOR(m, key.indptr, key.orientation, each)
    return _quaternion.cumprod(each.reshape((m, 4)), axis=0).reshape(4 * m)


def turn(states: StateArrays, rotor) -> StateArrays:
    """Every orientation of state i turned by ``rotor[4 i:4 i + 4]``."""
    out = devices.empty(states.orientation.size, states.orientation.dtype, like=states.orientation)
    TURN(states.indptr.size - 1, states.indptr, rotor, states.orientation, out)
    if isinstance(out, np.ndarray):
        out.flags.writeable = False
    return states._replace(orientation=out)


def check_order(order, n: int, m: int) -> bool:
    """True for "rotor"; queries must stand at keys."""
    if order is None:
        return False
    if order != "rotor":
        raise ValueError(f"order is {order!r}: pass 'rotor' or None")
    if n > m:
        raise ValueError(f"order='rotor' needs a key for every query, but there are {n} queries and {m} keys")
    return True


def turn_both(query: StateArrays, key: StateArrays, rotor) -> tuple[StateArrays, StateArrays]:
    """Both sides turned by the rotors of the keys."""
    turned = turn(key, rotor)
    if query is key:
        return turned, turned
    n, m = query.indptr.size - 1, key.indptr.size - 1
    return turn(query, rotor[4 * (m - n) :]), turned


def pull_rotors(query: StateArrays, key: StateArrays, turned: StateArrays, turned_b: StateArrays, rotor, dquery, dkey):
    """``(dorientation, dorientation_b)`` (flat) from the gradients of the turned orientations."""
    n, m = query.indptr.size - 1, key.indptr.size - 1
    results = []
    torque = np.zeros((m, 4))
    for states, after, gradient, count in ((query, turned, dquery, n), (key, turned_b, dkey, m)):
        own = devices.empty(4 * count, gradient.dtype, like=gradient)
        TURNING(count, states.indptr, after.orientation, gradient, own)
        torque[m - count :] += devices.to_host(own).reshape(count, 4)
        back = devices.empty(gradient.size, gradient.dtype, like=gradient)
        TURN_BACK(count, states.indptr, rotor[4 * (m - count) :], gradient, back)
        results.append(back)
    sums = np.cumsum(torque[::-1], axis=0)[::-1].astype(dkey.dtype).reshape(-1)
    sums = devices.to_device(sums) if devices.is_device_array(dkey) else np.ascontiguousarray(sums)
    FACTORS(m, key.indptr, key.orientation, rotor, sums, results[1])
    return tuple(results)
