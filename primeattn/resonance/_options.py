"""Refusals at the door: which score is meant, with which weights, of which states."""

from typing import NamedTuple

import numpy as np

from .._runtime import devices
from .._runtime.checks import as_floating
from .._runtime.memory import physical_memory
from ..encode.arrays import as_int64, check_indptr, row_numbers
from ..primes.integers import one_integer
from ..states import PrimeStates
from ._profiles import Profile, StateArrays, frozen, profile
from ._scalars import AMPLITUDE_MASS, MASSES, ORIGINAL, ROOT_MASS, UNION, UNIT_MASS

_DEFAULT = {"original": (0.33, 0.33, 0.34), "kernel": (1 / 3, 1 / 3, 1 / 3)}


class Form(NamedTuple):
    """A checked choice of score, as the kernels take it."""

    form: int
    ruzicka: int
    mass: int
    weights: np.ndarray  # float64 (3,)


def _one_of(name: str, value, choices: tuple[str, ...]):
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} is {value!r}: pass " + " or ".join(repr(c) for c in choices))


def check_weights(weights, kind: str) -> np.ndarray:
    """Three non-negative numbers that sum to 1; the default of ``kind`` for None."""
    w = as_floating("weights", _DEFAULT[kind] if weights is None else devices.to_host(weights), dtype=np.float64)
    if w.shape != (3,):
        raise ValueError(f"weights has shape {w.shape}: three numbers are wanted, (overlap, alignment, coherence)")
    if not (np.isfinite(w).all() and (w >= 0).all()):
        raise ValueError(f"weights is {w.tolist()}: finite numbers >= 0 are wanted; a negative one breaks PSD")
    if abs(w.sum() - 1) > 1e-6:  # what three float32 numbers leave
        raise ValueError(f"weights sum to {w.sum():g}, 1 is wanted: pass weights / np.sum(weights)")
    return w


def check_form(kind, weights, normalizer, overlap, amplitude) -> Form:
    """Turn the options of a public function into codes; refuse what has no meaning."""
    _one_of("kind", kind, ("original", "kernel"))
    _one_of("normalizer", normalizer, ("union", "sqrt"))
    _one_of("overlap", overlap, ("jaccard", "ruzicka"))
    if not isinstance(amplitude, (bool, np.bool_)):
        raise TypeError(f"amplitude is {amplitude!r}: pass True or False")
    w = check_weights(weights, kind)
    ruzicka = int(overlap == "ruzicka")
    if kind == "original":
        for name, given, default in (
            ("normalizer", normalizer, "union"),
            ("overlap", overlap, "jaccard"),
            ("amplitude", amplitude, False),
        ):
            if given != default:
                raise ValueError(f'kind="original" is the published score, without {name}: pass kind="kernel"')
        return Form(ORIGINAL, 0, UNIT_MASS, w)
    if amplitude:
        if ruzicka:
            raise ValueError('amplitude=True already weighs the overlap: pass overlap="jaccard" or amplitude=False')
        if normalizer != "union":
            raise ValueError("amplitude=True has no denominator: leave out normalizer, or pass amplitude=False")
        return Form(MASSES, 0, AMPLITUDE_MASS, w)
    if normalizer == "sqrt":
        return Form(MASSES, ruzicka, ROOT_MASS, w)
    return Form(UNION, ruzicka, UNIT_MASS, w)


def state_arrays(name: str, states) -> StateArrays:
    """The flat arrays of a ``PrimeStates`` or of ``StateArrays`` on either device."""
    if isinstance(states, StateArrays):
        if devices.on_cuda(**states._asdict()):
            return _fitting(name, StateArrays(*(devices.device_view(x) for x in states)))
        return _checked(name, states)
    if isinstance(states, PrimeStates):
        return StateArrays.of(states)
    if all(hasattr(states, field) for field in StateArrays._fields):  # encode.StateArrays: nobody has checked them
        return StateArrays.of(PrimeStates(*(getattr(states, field) for field in StateArrays._fields)))
    raise TypeError(
        f"{name} is a {type(states).__name__}: prime states are wanted; see PrimeStates.from_text, from_dicts, "
        f"from_dense, from_integers, from_arrays"
    )


def _checked(name: str, arrays: StateArrays) -> StateArrays:
    """Host arrays that somebody may have built by hand: kernels rely on all that is checked here."""
    primes = as_int64(f"{name}.primes", arrays.primes)
    indptr = check_indptr(arrays.indptr, len(primes), f"{name}.primes")
    parts = {field: as_floating(f"{name}.{field}", getattr(arrays, field)) for field in ("amplitude", "orientation")}
    out = _fitting(name, StateArrays(indptr, primes, **parts))
    same_state = np.diff(row_numbers(indptr)) == 0
    if (primes < 2).any() or (primes[1:] <= primes[:-1])[same_state].any():
        raise ValueError(
            f"{name}.primes are not ascending primes within each state: use StateArrays.of(PrimeStates(...))"
        )
    return StateArrays(*(frozen(x) for x in out))


def _fitting(name: str, arrays: StateArrays) -> StateArrays:
    """Types and sizes that go together, on either device; nothing is read."""
    nnz = arrays.primes.size
    for field, dtypes, size in (
        ("indptr", (np.int64,), None),
        ("primes", (np.int64,), nnz),
        ("amplitude", (np.float32, np.float64), 2 * nnz),
        ("orientation", (arrays.amplitude.dtype,), 4 * nnz),
    ):
        x = getattr(arrays, field)
        if x.dtype not in dtypes or len(x.shape) != 1 or (x.size != size if size is not None else x.size < 1):
            kinds = " or ".join(np.dtype(d).name for d in dtypes)
            wanted = "n + 1" if size is None else size
            raise ValueError(
                f"{name}.{field} is {x.dtype} {tuple(x.shape)}: {kinds} ({wanted},) is wanted for {nnz} primes; "
                f"StateArrays.of(PrimeStates(...)) makes them, with (re, im) of amplitudes side by side"
            )
    return arrays


def needed(b) -> None:
    """Refuse a missing b where scores are row by row."""
    if b is None:
        raise ValueError("b is None: row by row two batches are scored; pass b, or use resonance.matrix(a)")


def one_state(name: str, arrays: StateArrays, i) -> StateArrays:
    """State i alone."""
    n = arrays.indptr.size - 1
    i = one_integer(name, i)
    if not -n <= i < n:
        raise IndexError(f"{name} is {i} but there are {n} states: pass a number from {-n} to {n - 1}")
    i %= n
    start, stop = int(arrays.indptr[i]), int(arrays.indptr[i + 1])
    return StateArrays(
        frozen(np.array([0, stop - start])),
        arrays.primes[start:stop],
        arrays.amplitude[2 * start : 2 * stop],
        arrays.orientation[4 * start : 4 * stop],
    )


def profiles(a, b, form: Form) -> tuple[Profile, Profile, np.ndarray]:
    """Profiles of both batches in their common precision, and the weights beside them."""
    x = state_arrays("a", a)
    y = x if b is None else state_arrays("b", b)
    cuda = devices.on_cuda(a=x.amplitude, b=y.amplitude)
    if x.amplitude.dtype != y.amplitude.dtype:
        if cuda:
            raise TypeError(f"a is {x.amplitude.dtype} and b is {y.amplitude.dtype} on CUDA: convert one on the host")
        x, y = _double(x), _double(y)
    weights = form.weights.astype(x.amplitude.dtype)
    if cuda:
        weights = devices.to_device(weights)
    own = profile(x, form.mass)
    other = own if b is None else profile(y, form.mass)
    if form.ruzicka:
        check_totals(own, other)
    return own, other, weights


def check_totals(own: Profile, other: Profile) -> None:
    """Ruzicka adds magnitudes as they are: refuse sums that overflow."""
    tops = [devices.to_host(x.totals).max(initial=0) for x in (own, other)]
    with np.errstate(over="ignore"):
        if not np.isfinite(tops[0] + tops[1]):
            raise ValueError(
                f'overlap="ruzicka" adds magnitudes, and here their sums overflow {own.entries.dtype}: scale both '
                f"batches by one small number, which changes no score, or pass a.normalize() and b.normalize()"
            )


def _double(arrays: StateArrays) -> StateArrays:
    amplitude, orientation = (x.astype(np.float64) for x in (arrays.amplitude, arrays.orientation))
    amplitude.flags.writeable = orientation.flags.writeable = False
    return arrays._replace(amplitude=amplitude, orientation=orientation)


def check_fits(size: int, what: str, instead: str) -> None:
    """Refuse a result of ``size`` bytes that is more than half of this machine's memory."""
    limit = physical_memory() // 2
    if size > limit:
        raise MemoryError(
            f"{what} needs {size / 1e9:,.1f} GB, more than half of this machine's memory "
            f"({limit / 1e9:,.1f} GB): {instead}"
        )
