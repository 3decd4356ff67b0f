"""Checks of a call, and what its loops read."""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ..._runtime import devices
from ..._runtime.checks import common_floating
from ..._runtime.elementary.arrays import SINCOS
from .. import _inputs
from .._inputs import _placed, check_flag, flat
from .ablations import DIRECTION, GEODESIC
from .features import Side, Sizes, Turn
from .sums import PIECE

UPDATES = {"tangent": 0, "direction": DIRECTION, "geodesic": GEODESIC}


class Tokens(NamedTuple):
    """Angles of queries or keys, flat, and how far each turns: ``shown`` in values, ``spins`` beyond in the score."""

    theta: Any
    sizes: Sizes
    shown: Turn
    spins: Turn

    @property
    def rows(self) -> int:
        """Tokens times heads of all sequences."""
        return self.theta.size // self.sizes.width

    @property
    def pieces(self) -> int:
        """`angles.PIECE` tokens of a head, or what is left of them."""
        tokens = self.sizes.tokens
        return self.rows // tokens * -(-tokens // PIECE) if tokens else 0


class Call(NamedTuple):
    """A checked call. ``keys`` is ``queries`` unless there is a memory."""

    queries: Tokens
    keys: Tokens
    query: Side
    key: Side
    form: int
    delayed: bool
    real: Any
    imag: Any
    lead: tuple[int, ...]
    given: dict[str, Any]
    shapes: dict[str, tuple[int, ...]]

    @property
    def width(self) -> int:
        return self.queries.sizes.heads * self.queries.sizes.width

    @property
    def first(self) -> int:
        """The position of the first query."""
        return self.keys.sizes.tokens - self.queries.sizes.tokens

    @property
    def is_complex(self) -> bool:
        return self.given["coupling"] is not None and np.iscomplexobj(self.given["coupling"])

    @property
    def own(self) -> bool:
        return self.keys is self.queries

    def shaped(self, flat, side: Tokens, last: int):
        """(..., heads, tokens, last)."""
        return flat.reshape((*self.lead, side.sizes.heads, side.sizes.tokens, last))


def check_call(
    theta, *, memory, heads, gate_query, gate_key, beta, drift, drift_values, step, coupling, update, causal, strict,
    first=None,
) -> Call:  # fmt: skip
    """All checks but those of mask and window. ``first``: the position of the first token, if not 0."""
    options = heads, drift_values, update, causal, strict
    if memory is None and coupling is None and first is None and HASHABLE.issuperset(map(type, options)):
        kinds = map(_kind, (theta, gate_query, gate_key, beta, drift, step))
        made = _of_kinds(*kinds, *options)
        if made:
            return _filled(made, theta, gate_query, gate_key, beta, drift, step)
    return _check_call(
        theta, memory=memory, heads=heads, gate_query=gate_query, gate_key=gate_key, beta=beta, drift=drift,
        drift_values=drift_values, step=step, coupling=coupling, update=update, causal=causal, strict=strict,
        first=first,
    )  # fmt: skip


#: Types of options that a remembered check may be asked with.
HASHABLE = frozenset({type(None), bool, int, str})


def _kind(x):
    """What a remembered check is asked with: how an array lies; a name and None as they are; the type of a number."""
    if type(x) is np.ndarray:
        return x.shape, x.dtype, x.flags.c_contiguous
    return x if x is None or type(x) is str else type(x)


def _is_floating(kind) -> bool:
    return kind is float or (type(kind) is tuple and kind[1] in _inputs._FLOATING)


def _are_plain(theta, gate_query, gate_key, beta, drift, step) -> bool:
    """Whether angles and gates of these kinds are as kernels take them, and numbers those of NumPy or Python."""
    if type(theta) is not tuple or theta[1] not in _inputs._FLOATING or not theta[2]:
        return False
    gates = {theta, (theta[0][-1:], *theta[1:]), None}
    return (
        gate_query in gates and gate_key in gates and _is_floating(beta) and _is_floating(step)
        and (drift is None or type(drift) is str or (drift is not float and _is_floating(drift)))
    )  # fmt: skip


@lru_cache(256, typed=True)
def _of_kinds(theta, gate_query, gate_key, beta, drift, step, *options):
    """The call of arrays of these kinds, or None if the checks must look at them. Checks took 20 us.

    Nothing that is read of it depends on the numbers.
    """
    kinds = {"gate_query": gate_query, "gate_key": gate_key, "beta": beta, "drift": drift, "step": step}
    if not _are_plain(theta, **kinds):
        return None
    zeros = {n: np.zeros(x[0], x[1]) if type(x) is tuple else 0.0 if x is float else x for n, x in kinds.items()}
    heads, drift_values, update, causal, strict = options
    call = _check_call(
        np.zeros(*theta[:2]), **zeros, memory=None, coupling=None, heads=heads, drift_values=drift_values,
        update=update, causal=causal, strict=strict, first=None,
    )  # fmt: skip
    of_tokens = call.queries._replace(theta=None)
    if type(drift) is tuple:  # what is large and given anew by `_filled` is not kept
        turns = (x._replace(cosine=None, sine=None) if x.token else x for x in (of_tokens.shown, of_tokens.spins))
        of_tokens = Tokens(None, of_tokens.sizes, *turns)
    query, key = (x._replace(gate=None) if x.token else x for x in (call.query, call.key))
    return call._replace(queries=of_tokens, keys=of_tokens, query=query, key=key)


def _filled(call: Call, theta, gate_query, gate_key, beta, drift, step) -> Call:
    """A call `_of_kinds` with its numbers."""
    (_, z, shown, spins), query, key = call.queries, call.query, call.key
    d = z.heads * z.width
    if type(drift) is np.ndarray:
        turn = _turn(drift, 0, z.tokens, z.width, d, theta)
        shown, spins = (turn, spins) if shown.token else (shown, turn)
    tokens = Tokens(_inputs.flat(theta), z, shown, spins)
    gates = [_inputs.flat(x) if x is not None else side.gate for x, side in ((gate_query, query), (gate_key, key))]
    query = Side(gates[0], query.token, _spread(beta, z.heads, theta))
    key = Side(gates[1], key.token, key.factor)
    given, real = {"step": step, "coupling": None}, _spread(step, d, theta)
    return Call(tokens, tokens, query, key, call.form, False, real, call.imag, call.lead, given, call.shapes)


def _spread(x, n: int, like):
    """`spread`, without a copy where nothing changes."""
    if type(x) is float:
        x = np.asarray(x)
    elif x.size == n and x.dtype == like.dtype and x.flags.c_contiguous:
        return _inputs.flat(x)
    return spread(x, n, like)


def _check_call(
    theta, *, memory, heads, gate_query, gate_key, beta, drift, drift_values, step, coupling, update, causal, strict,
    first,
) -> Call:  # fmt: skip
    theta, memory, gates, shapes = _checked_angles(theta, memory, gate_query, gate_key)
    lead, (queries, d) = shapes["theta"][:-2], shapes["theta"][-2:]
    keys = queries if memory is None else shapes["memory"][-2]
    heads = _checked_heads(heads, d)
    width = d // heads
    kappa, given = check_coupling(coupling, step, d)
    delays, harmonics = kappa.shape[:2] if kappa.ndim == 3 else (1, 1)
    delayed = delays == 2
    drift_values, strict = check_flag("drift_values", drift_values), check_flag("strict", strict)
    form = _checked_form(update, coupling, delayed, causal, strict)
    omega = check_drift(drift, d, heads)
    for name, x in (("beta", beta), ("step", step), ("coupling", coupling), ("drift", drift)):
        shapes[name] = () if x is None or type(x) in (str, float) else np.shape(x)

    def tokens(x, n, at):
        turn = still if omega is None else _turn(omega, at if first is None else first, n, width, d, x)
        sizes = Sizes(n, heads, width, harmonics, 2 * width * harmonics + delayed)
        return Tokens(_inputs.flat(x), sizes, *((turn, still) if drift_values else (still, turn)))

    still = Turn(ones(width, theta), _constant(0, width, theta), 0, 0)
    of_queries = tokens(theta, queries, keys - queries)
    of_keys = of_queries if memory is None else tokens(memory, keys, 0)
    query = _side("gate_query", gates.get("gate_query"), lead, queries, d, check_beta(beta, heads, theta), theta)
    key = _side("gate_key", gates.get("gate_key"), lead, keys, d, ones(heads, theta), theta)
    is_complex = kappa.dtype.kind == "c"
    numbers = delays * harmonics * d
    real = spread(kappa.real if is_complex else kappa, numbers, theta)
    imag = spread(kappa.imag, numbers, theta) if is_complex else _constant(0, numbers, theta)
    return Call(of_queries, of_keys, query, key, form, delayed, real, imag, lead, given, shapes)


def _checked_angles(theta, memory, gate_query, gate_key):
    """Arrays in one dtype, and their shapes."""
    arrays = {"theta": theta, "memory": memory, "gate_query": gate_query, "gate_key": gate_key}
    arrays = {name: x for name, x in arrays.items() if x is not None or name == "theta"}
    arrays = dict(zip(arrays, common_floating({}, **arrays), strict=True))
    shapes = {name: tuple(x.shape) for name, x in arrays.items()}
    for name in ("theta",) if memory is None else ("theta", "memory"):
        shape = shapes[name]
        if len(shape) < 2 or shape[-1] == 0:
            raise ValueError(
                f"{name} has shape {shape}: (..., tokens, angles) is wanted; pass {name}[None] for one token"
            )
        if shape[:-2] != shapes["theta"][:-2] or shape[-1] != shapes["theta"][-1]:
            raise ValueError(
                f"memory has shape {shape} but theta has shape {shapes['theta']}: only the number of tokens may "
                "differ; use numpy.broadcast_to for a memory that batches share"
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


def _checked_form(update, coupling, delayed, causal, strict) -> int:
    if update not in UPDATES:
        raise ValueError(f"update is {update!r}: one of {', '.join(map(repr, UPDATES))} is wanted")
    if UPDATES[update] and coupling is not None:
        raise ValueError(f"update is {update!r}, which knows no coupling: pass step=, or update='tangent'")
    if (delayed or strict) and not causal:
        raise ValueError(f"{'the delay' if delayed else 'strict'} looks at tokens before a token: pass causal=True")
    return UPDATES[update]


def _on_host(name: str, x) -> np.ndarray:
    if isinstance(x, np.ma.MaskedArray):
        raise TypeError(f"{name} is a masked array, whose mask would be lost: pass {name}.filled(0)")
    return devices.to_host(x)


def check_coupling(coupling, step, d: int) -> tuple[np.ndarray, dict[str, Any]]:
    """kappa = step times coupling, (delays, harmonics, d), or step alone; and both, the coupling with three axes."""
    step = _on_host("step", step)
    if step.dtype.kind not in "iuf" or step.shape not in ((), (1,), (d,)):
        raise ValueError(f"step has shape {step.shape}: a real number, or ({d},), one for each angle, is wanted")
    if coupling is None:
        return step, {"step": step, "coupling": None}
    kernel = _on_host("coupling", coupling)
    shape = (1,) * (3 - kernel.ndim) + kernel.shape
    if kernel.dtype.kind not in "iufc" or len(shape) > 3 or shape[-1] not in (1, d):
        raise ValueError(
            f"coupling has shape {kernel.shape}: numbers (delays, harmonics, {d}), or its last axes, are wanted"
        )
    if shape[0] not in (1, 2) or not shape[1]:
        raise ValueError(f"coupling has shape {kernel.shape}: 1 or 2 delays and 1 or more harmonics are wanted")
    kernel = kernel.reshape(shape)
    return np.broadcast_to(kernel * step, (*shape[:2], d)), {"step": step, "coupling": kernel}


def check_beta(beta, heads: int, like):
    beta = _on_host("beta", beta)
    if beta.dtype.kind not in "iuf" or beta.shape not in ((), (1,), (heads,)):
        raise ValueError(f"beta has shape {beta.shape}: a real number, or ({heads},), one for each head, is wanted")
    return spread(beta, heads, like)


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
    omega = _on_host("drift", drift)
    if omega.dtype.kind not in "iuf" or omega.shape not in ((width,), (width // heads,)):
        raise ValueError(
            f"drift has shape {omega.shape}: ({width},), or ({width // heads},) for all heads alike, is wanted"
        )
    return np.asarray(omega, np.float64)


def _turn(omega, first: int, tokens: int, width: int, d: int, like) -> Turn:
    """By omega t, for all heads alike or for each."""
    turns = _turns(omega.tobytes(), omega.dtype, first, tokens, like.dtype)
    cosine, sine = turns if type(like) is np.ndarray else (_placed(x, like) for x in turns)
    return Turn(cosine, sine, omega.size, width if omega.size == d else 0)


@lru_cache(8)
def _turns(omega: bytes, kind, first: int, tokens: int, dtype):
    """cos and sin of omega t, flat. Angles in float64, because omega t grows."""
    drift, time = np.frombuffer(omega, kind).astype(np.float64), np.arange(first, first + tokens, dtype=np.float64)
    angles = np.multiply.outer(time, drift).reshape(-1)
    sine, cosine = np.empty_like(angles), np.empty_like(angles)
    if angles.size:
        SINCOS(angles.size, angles, sine, cosine)
    return flat(cosine.astype(dtype)), flat(sine.astype(dtype))


@lru_cache(64)
def _same(value: int, n: int, dtype):
    return flat(np.full(n, value, dtype))


def _constant(value: int, n: int, like):
    return _placed(_same(value, n, like.dtype), like)


def ones(n: int, like):
    return _constant(1, n, like)


def spread(x, n: int, like):
    """n numbers, or one for all, flat, of the type of an array and where that is."""
    flat = np.empty(n, like.dtype)
    flat[:] = x.reshape(x.size)
    flat.setflags(write=False)
    return _placed(flat, like)


def _side(name, gate, lead, tokens: int, width: int, factor, like) -> Side:
    """A gate is one number an angle, for all tokens or for each; 1 by default."""
    if gate is None:
        return Side(ones(width, like), 0, factor)
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
    return Side(_inputs.flat(gate), int(len(shape) > 1), factor)
