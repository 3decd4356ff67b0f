"""Checks of a call, and what its loops read."""

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ..._runtime import devices
from ..._runtime.checks import common_floating
from ..._runtime.elementary.arrays import SINCOS
from .._inputs import _placed, _read_only, sum_to
from .features import Side, Sizes
from .update import TANGENT, UPDATES


class Tokens(NamedTuple):
    """Angles of queries or keys, flat, and what belongs to them."""

    theta: Any
    sizes: Sizes
    cosine: Any
    sine: Any
    side: Side

    @property
    def rows(self) -> int:
        """Heads of all sequences, times tokens."""
        return self.theta.size // self.sizes.width if self.theta.size else 0


class Call(NamedTuple):
    """A checked call. ``keys`` is ``queries`` with the other gates unless there is a memory."""

    queries: Tokens
    keys: Tokens
    own: bool
    form: int
    delayed: bool
    real: Any
    imag: Any
    lead: tuple[int, ...]
    given: dict[str, np.ndarray]
    shapes: dict[str, tuple[int, ...]]

    @property
    def width(self) -> int:
        return self.queries.sizes.heads * self.queries.sizes.width

    def shaped(self, flat, side: Tokens, last: int):
        """(..., heads, tokens, last)."""
        return flat.reshape((*self.lead, side.sizes.heads, side.sizes.tokens, last))


def check_call(
    theta, *, memory, heads, gate_query, gate_key, beta, drift, drift_values, step, coupling, update, causal, strict,
    first=None,
) -> Call:  # fmt: skip
    """All checks but those of mask and window. ``first``: the position of the first token, if not 0."""
    theta, memory, gates, shapes = _checked_angles(theta, memory, gate_query, gate_key)
    lead, (queries, width) = shapes["theta"][:-2], shapes["theta"][-2:]
    keys = queries if memory is None else shapes["memory"][-2]
    heads = _checked_heads(heads, width)
    kappa, step, given = check_coupling(coupling, step, width)
    form, delayed = _checked_form(update, coupling, kappa, causal, strict)
    given["beta"] = check_beta(beta, heads)
    omega = check_drift(drift, width, heads)
    if omega is not None:
        given["drift"] = omega
    shapes |= {name: np.shape(x) for name, x in (("beta", beta), ("step", step), ("coupling", coupling))}
    shapes["drift"] = () if drift is None or isinstance(drift, str) else np.shape(drift)
    own = width // heads
    columns = 0 if omega is None else omega.size
    depth = 2 * own * kappa.shape[1] + delayed
    sizes = Sizes(
        queries, heads, own, kappa.shape[1], depth, columns, own if columns == width else 0, int(drift_values)
    )
    positions = (keys - queries, 0) if first is None else (first, first)
    tables = [_drift(omega, at, n, theta) for at, n in zip(positions, (queries, keys), strict=True)]
    factors = _host_to(given["beta"], theta), _host_to(np.ones(heads), theta)
    sides = [_side(name, gates.get(name), lead, n, width, f, theta) for name, n, f in zip(
        ("gate_query", "gate_key"), (queries, keys), factors, strict=True)]  # fmt: skip
    read = [_read_only(x.reshape(x.size)) for x in (theta, theta if memory is None else memory)]
    of_queries, of_keys = (
        Tokens(x, sizes._replace(tokens=n), *table, side)
        for x, n, table, side in zip(read, (queries, keys), tables, sides, strict=True)
    )
    real, imag = (_host_to(np.ascontiguousarray(part).reshape(-1), theta) for part in (kappa.real, kappa.imag))
    return Call(of_queries, of_keys, memory is None, form, delayed, real, imag, lead, given, shapes)


def _checked_angles(theta, memory, gate_query, gate_key):
    """Arrays in one dtype, and their shapes."""
    arrays = {"theta": theta, "memory": memory, "gate_query": gate_query, "gate_key": gate_key}
    arrays = {name: x for name, x in arrays.items() if x is not None}
    arrays = dict(zip(arrays, common_floating({}, **arrays), strict=True))
    shapes = {name: tuple(x.shape) for name, x in arrays.items()}
    for name in ("theta", "memory"):
        shape = shapes.get(name, shapes["theta"])
        if len(shape) < 2 or shape[-1] == 0:
            raise ValueError(
                f"{name} has shape {shape}: (..., tokens, angles) is wanted; pass {name}[None] for one token"
            )
        if shape[:-2] != shapes["theta"][:-2] or shape[-1] != shapes["theta"][-1]:
            raise ValueError(
                f"memory has shape {shape} but theta has shape {shapes['theta']}: only the number of tokens may differ; "
                "use numpy.broadcast_to for a memory that batches share"
            )
    if devices.is_device_array(arrays["theta"]):
        for name, x in arrays.items():
            if not x.is_c_contiguous():
                raise ValueError(f"{name} is not C-contiguous on CUDA: copy it first")
    return arrays["theta"], arrays.get("memory"), arrays, shapes


def _checked_heads(heads, width: int) -> int:
    if not isinstance(heads, int | np.integer) or isinstance(heads, bool) or heads < 1 or width % heads:
        raise ValueError(f"heads is {heads!r} but theta has {width} angles: a number that divides them is wanted")
    return int(heads)


def _checked_form(update, coupling, kappa, causal, strict):
    if update not in UPDATES:
        raise ValueError(f"update is {update!r}: one of {', '.join(map(repr, UPDATES))} is wanted")
    if UPDATES[update] != TANGENT and coupling is not None:
        raise ValueError(f"update is {update!r}, which knows no coupling: pass step=, or update='tangent'")
    delayed = kappa.shape[0] == 2
    if (delayed or strict) and not causal:
        raise ValueError(f"{'the delay' if delayed else 'strict'} looks at tokens before a token: pass causal=True")
    return UPDATES[update], delayed


def check_coupling(coupling, step, width: int):
    """kappa = step times coupling, complex (delays, harmonics, width), step, and both as given."""
    step = devices.to_host(step)
    if step.dtype.kind not in "iuf" or step.shape not in ((), (1,), (width,)):
        raise ValueError(f"step has shape {step.shape}: a real number, or ({width},), one for each angle, is wanted")
    kernel = np.ones((1, 1, 1)) if coupling is None else devices.to_host(coupling)
    if kernel.dtype.kind not in "iufc" or kernel.ndim > 3 or kernel.shape[-1:] not in ((), (1,), (width,)):
        raise ValueError(
            f"coupling has shape {kernel.shape}: (delays, harmonics, {width}) numbers, or the last axes of it"
        )
    kernel = kernel.reshape((1,) * (3 - kernel.ndim) + kernel.shape)
    if kernel.shape[0] not in (1, 2) or not kernel.shape[1]:
        raise ValueError(f"coupling has shape {kernel.shape}: 1 or 2 delays and 1 or more harmonics are wanted")
    given = {"step": step.astype(np.float64)} | ({} if coupling is None else {"coupling": kernel})
    return np.broadcast_to(kernel * step, (*kernel.shape[:2], width)).astype(complex), step, given


def check_beta(beta, heads: int) -> np.ndarray:
    beta = devices.to_host(beta)
    if beta.dtype.kind not in "iuf" or beta.shape not in ((), (1,), (heads,)):
        raise ValueError(f"beta has shape {beta.shape}: a real number, or ({heads},), one for each head, is wanted")
    return np.broadcast_to(beta, heads).astype(np.float64)


def rotary_drift(width: int, base: float = 10000.0) -> np.ndarray:
    r"""Drifts that turn angles as rotary embedding turns pairs of coordinates.

    Parameters
    ----------
    width : int
        Angles of a head.
    base : float

    Returns
    -------
    ndarray of float64, shape (width,)
        :math:`\omega_c = b^{-c/w}`, radians a token.

    Raises
    ------
    ValueError
        For a width below 1 or a base that is not positive.

    Examples
    --------
    >>> import primeattn as pa
    >>> pa.attention.rotary_drift(4).round(4).tolist()
    [1.0, 0.1, 0.01, 0.001]
    """
    if width < 1 or not base > 0:
        raise ValueError(f"width is {width!r} and base is {base!r}: 1 or more, and a positive number, are wanted")
    return float(base) ** (-np.arange(width) / width)


def check_drift(drift, width: int, heads: int) -> np.ndarray | None:
    if drift is None:
        return None
    if isinstance(drift, str):
        if drift != "rotary":
            raise ValueError(f"drift is {drift!r}: 'rotary', or an array of radians a token, is wanted")
        return rotary_drift(width // heads)
    omega = devices.to_host(drift)
    if omega.dtype.kind not in "iuf" or omega.shape not in ((width,), (width // heads,)):
        raise ValueError(
            f"drift has shape {omega.shape}: ({width},), or ({width // heads},) for all heads alike, is wanted"
        )
    return omega.astype(np.float64)


def _drift(omega, first: int, tokens: int, like):
    if omega is None:
        none = _placed(np.zeros(0, like.dtype), like)
        return none, none
    cosine, sine = _turns(omega.tobytes(), first, tokens, like.dtype.name)
    return _placed(cosine, like), _placed(sine, like)


@lru_cache(8)
def _turns(omega: bytes, first: int, tokens: int, dtype: str):
    """cos and sin of omega t, flat: angles in float64, because omega t grows."""
    angles = np.multiply.outer(np.arange(first, first + tokens, dtype=np.float64), np.frombuffer(omega)).reshape(-1)
    sine, cosine = np.empty_like(angles), np.empty_like(angles)
    if angles.size:
        SINCOS(angles.size, angles, sine, cosine)
    return _frozen(cosine.astype(dtype)), _frozen(sine.astype(dtype))


def _frozen(x):
    x.flags.writeable = False
    return x


def _host_to(x, like):
    return _read_only(_placed(x.astype(like.dtype), like))


def _side(name, gate, lead, tokens: int, width: int, factor, like) -> Side:
    """A gate is one number an angle, for all tokens or for each; 1 by default."""
    if gate is None:
        return Side(_host_to(np.ones(width), like), 0, factor)
    shape = tuple(gate.shape)
    full = (width,) if len(shape) < 2 else (*lead, tokens, width)
    if shape != full:
        try:
            if devices.is_device_array(gate):
                raise ValueError
            gate = np.ascontiguousarray(np.broadcast_to(gate, full))
        except ValueError:
            raise ValueError(
                f"{name} has shape {shape}: ({width},) or {(*lead, tokens, width)}, one for each token, is wanted"
            ) from None
    return Side(_read_only(gate.reshape(gate.size)), int(len(shape) > 1), factor)


def gate_gradient(call: Call, name: str, side: Tokens, dgate, sums):
    """The gradient of a gate in its own shape, from that of every token (changed) or from sums over tokens."""
    from .sums import SCALE

    shape = call.shapes[name]
    if side.side.token:
        if dgate.size:
            SCALE(side.rows, tuple(side.sizes), side.side.factor, dgate)
        return sum_to(dgate.reshape((*call.lead, side.sizes.tokens, call.width)), shape)
    total = devices.to_host(sums) * np.repeat(devices.to_host(side.side.factor), side.sizes.width)
    if math.prod(shape) == 1 and call.width > 1:
        total = total.sum()
    return _placed(total.reshape(shape), dgate)
