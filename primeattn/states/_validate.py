"""What a batch of prime states must be, checked once at the door, for all entries at a time.

Everything here is NumPy on whole arrays: building states compiles nothing. Temporaries are at most a few
booleans and one real number an entry.
"""

import numpy as np

from .. import primes as _primes
from .._runtime import devices
from ..encode.arrays import StateArrays, as_int64, as_numbers, check_indptr, identities, row_numbers

# A quaternion whose squared norm is within this many eps of 1 is left as it is, so that validating twice changes
# nothing. Dividing by a computed norm leaves the squared norm within 6 eps of 1: four squares and three sums (2 eps),
# the root and the quotient (1.5 eps relative in each component, so 3 in the square), and the sum taken again here.
UNIT_EPS = 8.0


def complex_dtype(dtype) -> np.dtype:
    """complex64 for float32, complex128 for float64."""
    return np.dtype(np.complex64 if np.dtype(dtype) == np.float32 else np.complex128)


def frozen(x: np.ndarray) -> np.ndarray:
    """A read-only view."""
    view = x.view()
    view.flags.writeable = False
    return view


def sealed(x: np.ndarray) -> np.ndarray:
    """The array itself, made read-only: for arrays that belong to us."""
    x.flags.writeable = False
    return x


def is_frozen(x) -> bool:
    """True if nobody can write to ``x``, through its bases either, unless its owner makes it writable again."""
    while isinstance(x, np.ndarray):
        if x.flags.writeable:
            return False
        x = x.base
    return x is None


def locate(indptr: np.ndarray, flat: int) -> tuple[int, int]:
    """The state and the entry within it of one flat entry."""
    state = int(np.searchsorted(indptr, flat, side="right")) - 1
    return state, flat - int(indptr[state])


def is_single(x: np.ndarray) -> bool:
    """True where float32 keeps what ``x`` holds: float16, float32, complex64."""
    return x.dtype.kind in "fc" and x.dtype.itemsize <= (8 if x.dtype.kind == "c" else 4)


def distinct(primes: np.ndarray) -> np.ndarray:
    """The different primes that occur, ascending.

    A table of flags when it is no larger than the data: 10^7 entries in 20 ms, where sorting takes 0.6 s.
    """
    if primes.size == 0:
        return primes
    top = int(primes.max())
    if top > max(8 * primes.size, 1 << 20):
        return np.unique(primes)
    seen = np.zeros(top + 1, dtype=bool)
    seen[primes] = True
    return np.flatnonzero(seen)


def check_primes(indptr: np.ndarray, primes: np.ndarray) -> None:
    """Refuse what is not a prime number, at the first such entry."""
    if primes.size == 0:
        return
    if primes.min() < 2:
        at = int(np.flatnonzero(primes < 2)[0])
        state, entry = locate(indptr, at)
        raise ValueError(
            f"state {state}, entry {entry}: {primes[at]} is not a prime; the smallest is 2. "
            f"Pass primes themselves, not positions in the table: primeattn.primes.nth(position)"
        )
    different = distinct(primes)
    composite = different[~_primes.is_prime(different)]
    if composite.size:
        at = int(np.flatnonzero(np.isin(primes, composite))[0])
        state, entry = locate(indptr, at)
        divisor = next((d for d in (2, 3, 5, 7, 11, 13) if primes[at] % d == 0), None)
        why = f" ({divisor} divides it)" if divisor else ""
        raise ValueError(
            f"state {state}, entry {entry}: {primes[at]} is composite{why}; only primes may be active. "
            f"Pass PrimeStates.from_integers([{primes[at]}]) for its factorisation, "
            f"or primeattn.primes.nth(position) if these are positions"
        )


def ascending_order(indptr: np.ndarray, primes: np.ndarray) -> np.ndarray | None:
    """The permutation that sorts primes within each state, or None where they are sorted and all different.

    Raises for a prime that occurs twice in one state.
    """
    if primes.size < 2:
        return None
    rises = primes[1:] > primes[:-1]
    inner = indptr[1:-1]
    starts = inner[(inner > 0) & (inner < primes.size)]
    rises[starts - 1] = True  # between two states anything goes
    if rises.all():
        return None
    owner = row_numbers(indptr)
    span = int(primes.max()) + 1
    if len(indptr) * span < np.iinfo(np.int64).max:
        order = np.argsort(owner * span + primes)  # six times faster than lexsort
    else:
        order = np.lexsort((primes, owner))
    twice = np.flatnonzero((primes[order][1:] == primes[order][:-1]) & (owner[1:] == owner[:-1]))
    if twice.size:
        first, second = sorted((int(order[twice[0]]), int(order[twice[0] + 1])))
        state, entry = locate(indptr, first)
        raise ValueError(
            f"state {state}, entries {entry} and {second - int(indptr[state])}: prime {primes[first]} occurs twice; "
            f"a state is a set of primes, so add the two amplitudes, or drop one"
        )
    return order


def check_amplitude(indptr, primes, amplitude: np.ndarray) -> None:
    if amplitude.shape != primes.shape:
        raise ValueError(
            f"amplitude has shape {amplitude.shape}: one number for each of the {len(primes)} primes is wanted"
        )
    good = np.isfinite(amplitude)
    if not good.all():
        at = int(np.flatnonzero(~good)[0])
        state, entry = locate(indptr, at)
        raise ValueError(
            f"state {state}, entry {entry} (prime {primes[at]}): amplitude {amplitude[at]} is not finite; "
            f"clean it with np.nan_to_num, or leave the entry out"
        )


def unit(indptr, primes, orientation: np.ndarray) -> np.ndarray:
    """Unit quaternions; the array itself where all are units already, else a new one."""
    if orientation.shape != (len(primes), 4):
        raise ValueError(
            f"orientation has shape {orientation.shape}: a quaternion (w, x, y, z) for each of the "
            f"{len(primes)} primes is wanted, shape ({len(primes)}, 4)"
        )
    with np.errstate(over="ignore"):
        norm2 = np.einsum("ij,ij->i", orientation, orientation)
    away = ~(np.abs(norm2 - 1) <= UNIT_EPS * np.finfo(orientation.dtype).eps)  # ~ because NaN compares false
    if not away.any():
        return orientation
    limits = np.finfo(orientation.dtype)
    wild = away & ~((norm2 > limits.tiny / limits.eps) & (norm2 < np.inf))  # squares overflow, vanish, or are NaN
    norm = np.sqrt(norm2)
    norm[~away | wild] = 1  # division by 1 changes nothing
    out = orientation / norm[:, None]
    if wild.any():
        at = np.flatnonzero(wild)
        out[at] = _unit_of_any_size(indptr, primes, orientation, at)
    return out


def _unit_of_any_size(indptr, primes, orientation: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The quaternions at these entries, divided by their largest component first; refuses zero, NaN and infinity."""
    q = orientation[at]
    largest = np.abs(q).max(axis=1, keepdims=True)
    wrong = np.flatnonzero(~(np.isfinite(largest) & (largest > 0)))
    if wrong.size:
        entry = int(at[wrong[0]])
        state, place = locate(indptr, entry)
        zero = largest[wrong[0]] == 0
        what = "is the zero quaternion, which has no direction" if zero else "is not finite"
        given = tuple(map(float, orientation[entry]))
        raise ValueError(
            f"state {state}, entry {place} (prime {primes[entry]}): orientation {given} {what}; "
            f"pass (1, 0, 0, 0) for the identity, or leave the entry out"
        )
    q = q / largest
    return q / np.sqrt(np.einsum("ij,ij->i", q, q))[:, None]


def validate(indptr, primes, amplitude=None, orientation=None, *, copy: bool = True) -> StateArrays:
    """Check everything, sort primes within states, bring quaternions to unit length, settle one precision.

    Parameters
    ----------
    copy : bool
        Copy what the caller could still write to. False for arrays that were made for this call.
    """
    given = (indptr, primes, amplitude, orientation)
    for name, x in zip(StateArrays._fields, given, strict=True):
        if devices.is_device_array(x):
            raise TypeError(f"{name} is a CUDA array, but prime states live on the host: pass pa.to_host({name})")
    primes = as_int64("primes", primes)
    indptr = check_indptr(indptr, len(primes))
    check_primes(indptr, primes)
    a = None if amplitude is None else as_numbers("amplitude", amplitude, "biufc")
    q = None if orientation is None else as_numbers("orientation", orientation, "biuf")
    present = [x for x in (a, q) if x is not None]
    dtype = np.dtype(np.float32 if present and all(is_single(x) for x in present) else np.float64)
    if a is None:
        a = np.ones(len(primes), complex_dtype(dtype))
    if q is None:
        q = identities(len(primes), dtype)
    if q.size == 0 and q.ndim == 1 and len(primes) == 0:
        q = q.reshape(0, 4)
    check_amplitude(indptr, primes, a)
    a = np.ascontiguousarray(a, dtype=complex_dtype(dtype))
    q = unit(indptr, primes, np.ascontiguousarray(q, dtype=dtype))
    order = ascending_order(indptr, primes)
    if order is not None:
        primes, a, q = primes[order], a[order], q[order]
    out = [indptr, primes, a, q]
    if copy:
        for i, source in enumerate(given):
            lent = source is not None and not isinstance(source, (list, tuple)) and not is_frozen(out[i])
            if lent and np.may_share_memory(out[i], np.asarray(source)):
                out[i] = out[i].copy()
    return StateArrays(*(sealed(x) for x in out))
