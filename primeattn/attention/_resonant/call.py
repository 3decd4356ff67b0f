"""Checks of a call, and the way from its arrays to entries and back."""

import math
from typing import Any, NamedTuple

import numpy as np

from ... import _labelled
from ..._runtime import devices
from ..._runtime.checks import as_floating
from ...resonance._profiles import frozen
from .._inputs import check_arrays, check_flag, check_mask, sum_to, table_offsets
from . import rotors as turning
from .pairs import Problem, Sizes
from .tokens import ENTRIES, ENTRY, PULL_ENTRIES, SELECT, SPREAD

_FIELDS = ("q_phase", "k_phase", "q_orientation", "k_orientation")


class Field(NamedTuple):
    """An array that broadcasts to (..., T, P) or (..., T, P, 4), flat; see ``tokens``."""

    array: Any
    at: Any
    token: int
    prime: int


class Call(NamedTuple):
    """A checked call: what the rows read, and what gradients need to find their way back."""

    problem: Problem
    sizes: Sizes
    lead: tuple[int, ...]
    logits: tuple[Any, Any]
    fields: dict[str, Field]
    shapes: dict[str, tuple[int, ...]]
    rotor: Any

    @property
    def heads(self) -> int:
        return math.prod(self.lead)

    def shaped(self, flat, *tail: int):
        return flat.reshape((*self.lead, *tail))


def check_call(
    q, k, v, *, active, weights, temperature, causal, mask, form, rotors, before=None, **fields
) -> Call:  # fmt: skip
    """All checks, then states: selection, entries, rotors. ``before``: the rotors of heads that go on, flat."""
    if form not in ("linear", "softmax"):
        raise ValueError(f"form is {form!r}: pass 'linear' or 'softmax'")
    if not isinstance(active, int | np.integer) or isinstance(active, bool) or active < 1:
        raise ValueError(f"active is {active!r}: how many primes a token keeps, 1 or more")
    q, k, v, given = _checked_arrays(q, k, v, mask, {n: _plain(x) for n, x in fields.items() if x is not None})
    shapes = {name: tuple(x.shape) for name, x in {"q": q, "k": k, "v": v, **given}.items()}
    lead, (queries, primes), (keys, depth) = shapes["q"][:-2], shapes["q"][-2:], shapes["v"][-2:]
    active = min(int(active), primes)
    made = {
        name: _field(name, given.get(name), lead, queries if name[0] == "q" else keys, primes, q) for name in _FIELDS
    }
    flat, at, mask_row, mask_key = check_mask(mask, lead, queries, keys, q)
    sizes = Sizes(
        queries,
        keys,
        active,
        primes,
        depth,
        int(check_flag("causal", causal)),
        int(form == "linear"),
        mask_row,
        mask_key,
    )
    logits = _flat(q), _flat(k)
    prime, x = _entries(logits[0], None, made["q_phase"], made["q_orientation"], queries, active, primes)
    prime_b, y = _entries(
        logits[1], _present(mask, lead, queries, keys), made["k_phase"], made["k_orientation"], keys, active, primes
    )
    rotor = None
    if rotors and y.size and x.size:
        rotor = turning.prefix(math.prod(lead), keys, active, primes, prime_b, y, before)
        for side, tokens in ((x, queries), (y, keys)):
            turning.TURN(side.size // (ENTRY * active), tokens, keys, active, rotor, side)
    mix, tau = check_weights(weights, lead, q), check_temperature(temperature, lead, q)
    problem = Problem(prime, x, prime_b, y, _flat(v), _flat(mix), _flat(tau), _flat(flat), _flat(at))
    shapes |= {"weights": np.shape(weights), "temperature": np.shape(temperature)}
    return Call(problem, sizes, lead, logits, made, shapes, rotor)


def _checked_arrays(q, k, v, mask, given):
    """q, k, v and the fields that were given, in one dtype."""
    devices.on_cuda(q=q, k=k, v=v, mask=mask, **given)
    q, k, v, group = check_arrays(q, k, v)
    if group != 1:
        raise ValueError(
            f"q has shape {tuple(q.shape)} but k has shape {tuple(k.shape)}: leading axes must be equal, because the "
            f"rotors of a head turn its queries, too; pass numpy.repeat(k, {group}, axis=-3), and so v"
        )
    given = {name: as_floating(name, x) for name, x in given.items()}
    if devices.is_device_array(q):
        for name, x in given.items():
            if x.dtype != q.dtype:
                raise TypeError(f"{name} is {x.dtype} but q is {q.dtype}: convert one before copying it to the device")
        return q, k, v, given
    dtype = np.result_type(q.dtype, *(x.dtype for x in given.values()))
    q, k, v = (x.astype(dtype, copy=False) for x in (q, k, v))
    return q, k, v, {name: x.astype(dtype, copy=False) for name, x in given.items()}


def _plain(x):
    return x.values if _labelled.is_labelled(x) else x


def _flat(x):
    """A flat view; read-only on the host whatever came, because Numba compiles a kernel again for each mixture."""
    return x.reshape(x.size) if devices.is_device_array(x) else frozen(x)


def _placed(x, like):
    return devices.to_device(x) if devices.is_device_array(like) else x


def _field(name: str, x, lead, tokens: int, primes: int, like) -> Field:
    """Steps of an array that broadcasts to (..., tokens, primes[, 4]); None is phase 0, orientation 1."""
    tail = (4,) if name.endswith("orientation") else ()
    if x is None:
        x = _placed(np.eye(1, tail[0] if tail else 1, dtype=like.dtype)[0] * (1 if tail else 0), like)
    elif devices.is_device_array(x) and not x.is_c_contiguous():
        raise ValueError(f"{name} is not C-contiguous on CUDA: copy it first")
    full, shape = (*lead, tokens, primes, *tail), tuple(x.shape)
    if not tail and x.size == 1 and not shape:
        shape = (1,)
    try:
        fits = np.broadcast_shapes(shape, full) == full and shape[len(shape) - len(tail) :] == tail
    except ValueError:
        fits = False
    if not fits:
        wanted = "(..., tokens, primes, 4)" if tail else "(..., tokens, primes)"
        raise ValueError(f"{name} has shape {tuple(x.shape)}: it must broadcast to {full}, {wanted}")
    shape = shape[: len(shape) - len(tail)]
    shape = (1,) * (2 - len(shape)) + shape
    rows, columns = shape[-2:]
    at = table_offsets(shape[:-2], lead, rows * columns, like)
    step = columns if rows > 1 else 0
    return Field(_flat(x), at, step, 1 if columns > 1 else 0)


def check_weights(weights, lead, like):
    """Three numbers >= 0 that sum to 1 for every head, flat; a third each by default."""
    w = np.full(3, 1 / 3) if weights is None else devices.to_host(weights).astype(np.float64)
    if not np.isfinite(w).all() or (w < 0).any() or w.shape[-1:] != (3,):
        raise ValueError(f"weights is {w.tolist()}: (..., 3) finite numbers >= 0 are wanted; a negative one breaks PSD")
    if (abs(w.sum(axis=-1) - 1) > 1e-5).any():  # what three float32 numbers leave
        raise ValueError("weights do not sum to 1: pass weights / weights.sum(axis=-1, keepdims=True)")
    return _placed(_per_head("weights", w, lead, (3,), like.dtype), like)


def check_temperature(temperature, lead, like):
    """One positive number for every head, flat; 1 by default."""
    tau = devices.to_host(1.0 if temperature is None else temperature).astype(np.float64)
    if not np.isfinite(tau).all() or (tau <= 0).any():
        raise ValueError(f"temperature is {tau.tolist()}: finite numbers > 0 are wanted")
    return _placed(_per_head("temperature", tau, lead, (), like.dtype), like)


def _per_head(name, x, lead, tail, dtype):
    try:
        full = np.broadcast_to(x, (*lead, *tail))
    except ValueError:
        raise ValueError(
            f"{name} has shape {x.shape}: it must broadcast to {(*lead, *tail)}, one for every head"
        ) from None
    return np.ascontiguousarray(full, dtype=dtype).reshape(-1)


def _present(mask, lead, queries, keys):
    """Bytes (heads, keys): 0 for a key that the mask hides from every query; None if there are none."""
    if mask is None or not queries:
        return None
    mask = np.atleast_2d(devices.to_host(mask))
    return np.ascontiguousarray(np.broadcast_to(mask.any(axis=-2), (*lead, keys))).reshape(-1).view(np.uint8)


def _entries(logits, present, phase, orientation, tokens, active, primes):
    n = logits.size // primes
    prime = devices.empty(n * active, np.int64, like=logits)
    x = devices.empty(ENTRY * n * active, logits.dtype, like=logits)
    present = _placed(np.ones(n, np.uint8) if present is None else present, logits)
    SELECT(n, active, primes, logits, present, prime)
    ENTRIES(n, tokens, active, primes, logits, tuple(phase), tuple(orientation), prime, x)
    return prime, x


def pull_states(call: Call, dx, dy) -> dict[str, Any]:
    """Gradients of logits and of the fields that were given, from those of the entries (changed)."""
    a, g = call.problem, call.sizes
    if call.rotor is not None:
        _pull_rotors(call, dx, dy)
    grads = {}
    for side, prime, x, dside, tokens in (("q", a.prime, a.x, dx, g.queries), ("k", a.prime_b, a.y, dy, g.keys)):
        phase, orientation = f"{side}_phase", f"{side}_orientation"
        dlogit, dphase, dturn = (devices.empty(c * prime.size, x.dtype, like=x) for c in (1, 1, 4))
        PULL_ENTRIES(
            prime.size // g.active, tokens, g.active, g.primes, tuple(call.fields[orientation]), prime, x, dside,
            dlogit, dphase, dturn,
        )  # fmt: skip
        for name, slots, parts in ((side, dlogit, 1), (phase, dphase, 1), (orientation, dturn, 4)):
            if name in call.shapes:
                grads[name] = _spread(call, name, tokens, parts, prime, slots)
    return grads


def _spread(call: Call, name, tokens, parts, prime, slots):
    """The gradient of one field in its own shape: slots to primes, then the sum over broadcast heads."""
    g, shape = call.sizes, call.shapes[name]
    core = shape[: len(shape) - (parts > 1)]
    rows, columns = (1, 1, *core)[-2:]
    table = devices.empty(call.heads * rows * columns * parts, slots.dtype, like=slots)
    if not table.size:
        return devices.empty(shape, slots.dtype, like=slots)
    SPREAD(call.heads * rows, rows, columns, parts, tokens, g.active, g.primes, prime, slots, table)
    return sum_to(table.reshape((*call.lead, rows, columns, *((parts,) * (parts > 1)))), shape)


def _pull_rotors(call: Call, dx, dy):
    a, g = call.problem, call.sizes
    rows = call.heads * g.keys
    torque = devices.empty(4 * rows, dy.dtype, like=dy)
    turning.TORQUE(rows, g.queries, g.keys, g.active, g.primes, a.prime, a.x, dx, a.prime_b, a.y, dy, torque)
    turning.SUFFIX(4 * call.heads, g.keys, torque)
    turning.TURN_BACK(call.heads * g.queries, g.queries, g.keys, g.active, call.rotor, dx)
    turning.TURN_BACK(rows, g.keys, g.keys, g.active, call.rotor, dy)
    turning.FACTORS(rows, g.keys, g.active, g.primes, a.prime_b, a.y, call.rotor, torque, dy)
