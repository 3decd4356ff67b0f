"""The linear form token by token: time and memory for a token that do not depend on how many came before."""

import math
from typing import Any

import numpy as np

from ... import quaternion as _quaternion
from ..._runtime import devices
from ..._runtime.jit import kernel, scalar
from ..._runtime.owners import Owner
from ...resonance._rotation import BASE, BASES, STRIDE, coefficients
from .._labels import unwrap
from .call import Call, check_call
from .pairs import Problem, Sizes
from .run import floor_of


@scalar
def step_row(h, problem, sizes, floor, base, base_b, c, table, sums, out):
    """Head h: each new key is added to the sums of its primes, then its query reads."""
    a, g = Problem(*problem), Sizes(*sizes)
    one = type(floor)(1)
    for i in range(g.queries):
        r = h * g.queries + i
        for s in range(r * g.active, (r + 1) * g.active):
            if a.prime_b[s] < g.primes:
                for f in range(BASE):
                    at, b = (h * g.primes + a.prime_b[s]) * BASE + f, base_b[STRIDE * s + f]
                    sums[at] += b
                    for z in range(g.depth):
                        table[at * g.depth + z] += b * a.value[r * g.depth + z]
        total = mass = one - one
        for z in range(r * g.depth, (r + 1) * g.depth):
            out[z] = one - one
        for s in range(r * g.active, (r + 1) * g.active):
            if a.prime[s] < g.primes:
                first = (h * g.primes + a.prime[s]) * BASE
                mass += base[STRIDE * s] * sums[first]
                for f in range(BASE):
                    w = c[STRIDE * h + f] * base[STRIDE * s + f]
                    total += w * sums[first + f]
                    for z in range(g.depth):
                        out[r * g.depth + z] += w * table[(first + f) * g.depth + z]
        vanishes = total <= floor * mass
        for z in range(r * g.depth, (r + 1) * g.depth):
            out[z] = one - one if vanishes else out[z] / total


@kernel
def step_cpu(start, stop, problem, sizes, floor, base, base_b, c, table, sums, out):
    for h in range(start, stop):
        step_row(h, problem, sizes, floor, base, base_b, c, table, sums, out)


_PROBLEM = "(I1,F1,I1,F1,F1,F1,F1,U1,I1) (i,i,i,i,i,i,i,i,i)"
STEP = Owner(step_row, step_cpu, f"{_PROBLEM} F F1 F1 F1 F1 F1 F1", grain=1)


class ResonantState:
    """What causal linear `resonant` attention keeps of the tokens so far: sums by prime, and the rotor.

    Attributes
    ----------
    position : int
        Tokens seen in all.
    nbytes : int
        12 (Dv + 1) numbers for every head and prime, and a quaternion for every head.

    Examples
    --------
    >>> import numpy as np, primeattn as pa
    >>> state = pa.attention.ResonantState()
    >>> for q in np.eye(3)[:, None]:
    ...     y = pa.attention.resonant_step(q, q, q, state, active=2)
    >>> state.position, state.nbytes
    (3, 1184)
    """

    def __init__(self) -> None:
        self.position = 0
        self._kind: tuple | None = None
        self._table: Any = None
        self._sums: Any = None
        self._rotor: Any = None

    def __repr__(self) -> str:
        return f"ResonantState(position={self.position}, {self.nbytes:,} bytes)"

    @property
    def nbytes(self) -> int:
        return sum(x.size * x.dtype.itemsize for x in (self._table, self._sums, self._rotor) if x is not None)

    def _fit(self, kind, like) -> None:
        """Zero sums for the first call; later ones must be of its kind: leading axes, primes, depth, dtype."""
        if self._kind is None:
            lead, primes, depth, dtype = self._kind = kind
            size = math.prod(lead) * primes * BASE
            rotor = np.tile(np.eye(1, 4, dtype=dtype)[0], math.prod(lead))
            parts = np.zeros(size * depth, dtype), np.zeros(size, dtype), rotor
            place = devices.to_device if devices.is_device_array(like) else np.asarray
            self._table, self._sums, self._rotor = (place(x) for x in parts)
        elif kind != self._kind:
            raise ValueError(
                f"leading axes, primes, columns and dtype are {kind}, but this state is of {self._kind}: "
                "only the number of tokens may change"
            )


def resonant_step(
    q: Any,
    k: Any,
    v: Any,
    state: ResonantState,
    *,
    q_phase: Any = None,
    k_phase: Any = None,
    q_orientation: Any = None,
    k_orientation: Any = None,
    active: int = 8,
    weights: Any = None,
    rotors: bool = True,
) -> Any:
    """Causal linear `resonant` attention of the next tokens to all tokens so far.

    Step by step it gives what ``resonant(..., causal=True)`` gives for the whole sequence.

    Parameters
    ----------
    q, k : ndarray of float, shape (..., t, P)
        Logits of the next t tokens, usually 1.
    v : ndarray of float, shape (..., t, Dv)
    state : ResonantState
        Changed in place.
    q_phase, k_phase, q_orientation, k_orientation, active, weights, rotors
        As in `resonant`; the same at every step.

    Returns
    -------
    ndarray of float, shape (..., t, Dv)

    Raises
    ------
    ValueError
        As `resonant`, or if the arrays do not continue the state. It is then as it was.
    TypeError
        For arrays on two devices.

    Examples
    --------
    >>> import numpy as np, primeattn as pa
    >>> q = np.array([[2.0, 1.0], [0.0, 1.0]])
    >>> state = pa.attention.ResonantState()
    >>> steps = [pa.attention.resonant_step(q[i : i + 1], q[i : i + 1], np.eye(2)[i : i + 1], state) for i in range(2)]
    >>> bool(np.allclose(np.concatenate(steps), pa.attention.resonant(q, q, np.eye(2), causal=True)))
    True
    """
    (q, k, v), wrap = unwrap(q, k, v)
    call = check_call(
        q, k, v, q_phase=q_phase, k_phase=k_phase, q_orientation=q_orientation, k_orientation=k_orientation,
        active=active, weights=weights, temperature=None, form="linear", rotors=rotors, causal=True, mask=None,
        before=state._rotor,
    )  # fmt: skip
    g, value = call.sizes, call.problem.value
    if g.queries != g.keys:
        raise ValueError(f"q has {g.queries} tokens but k has {g.keys}: a step brings a query for every key")
    state._fit((call.lead, g.primes, g.depth, np.dtype(value.dtype)), value)
    out = devices.empty(value.size, value.dtype, like=value)
    if value.size:
        _advance(call, state, out)
    state.position += g.keys
    return wrap.out(call.shaped(out, g.queries, g.depth))


def _advance(call: Call, state: ResonantState, out) -> None:
    a, g = call.problem, call.sizes
    bases = []
    numbers = np.arange(a.prime.size)
    numbers = devices.to_device(numbers) if devices.is_device_array(a.x) else numbers
    for x in (a.x, a.y):
        bases.append(devices.empty(STRIDE * numbers.size, x.dtype, like=x))
        BASES(numbers.size, numbers, x, bases[-1])
    c = coefficients(devices.to_host(a.weights).reshape(-1, 3)).reshape(-1)
    c = devices.to_device(c) if devices.is_device_array(a.x) else c
    floor = floor_of(np.dtype(a.x.dtype))
    STEP(call.heads, tuple(a), tuple(g), floor, *bases, c, state._table, state._sums, out)
    if call.rotor is not None:
        last = devices.to_host(call.rotor).reshape(call.heads, g.keys, 4)[:, -1]
        rotor = np.ascontiguousarray(_quaternion.normalize(last)).reshape(-1)
        state._rotor = devices.to_device(rotor) if devices.is_device_array(a.x) else rotor
