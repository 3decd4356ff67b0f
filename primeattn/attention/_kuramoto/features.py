r"""From angles to the rows of softmax attention, and back: one row a head and token.

With phi the angle that values show (theta, or alpha if the drift turns values, too) and alpha = theta + omega t, the
row of head h and token t holds

    v = [cos phi; sin phi; cos 2 phi; sin 2 phi; ...],
    q = beta a [cos alpha; sin alpha],    k = b [cos alpha; sin alpha],

so that <q_t, k_u> = beta sum_c a_tc b_uc cos(alpha_tc - alpha_uc). For the gradients dq = [Qc; Qs], dk = [Kc; Ks] and
dv = [V1c; V1s; V2c; ...]

    da = beta (Qc cos alpha + Qs sin alpha),    dbeta = sum a (Qc cos alpha + Qs sin alpha),
    db = Kc cos alpha + Ks sin alpha,
    dalpha = beta a (Qs cos alpha - Qc sin alpha) + b (Ks cos alpha - Kc sin alpha),
    dphi = sum_k k (Vks cos k phi - Vkc sin k phi),    dtheta = dalpha + dphi,    domega = sum_t t dalpha.
"""

from typing import Any, NamedTuple

from ..._runtime import elementary as el
from ..._runtime.disjoint import disjoint
from ..._runtime.jit import nonnegative
from ..._runtime.owners import Owner
from .._cores.tiles import kernel, scalar

#: Angles in a loop of known length: LLVM's vectors are wider than short heads, and would leave those to scalars.
STRIP = 16


class Sizes(NamedTuple):
    """``tokens`` of a sequence, ``heads`` of ``width`` angles, ``harmonics``; a row of values has ``depth`` numbers:
    2 width harmonics, and one more, 0, in the delayed form (see ``update``)."""

    tokens: int
    heads: int
    width: int
    harmonics: int
    depth: int


class Turn(NamedTuple):
    """Cosines and sines of how far each token turns its angles: ``token`` numbers from token to token and ``head`` from
    head to head, 0 where all share them."""

    cosine: Any
    sine: Any
    token: int
    head: int


class Side(NamedTuple):
    """Gates of queries or keys and the factor of each head. ``token``: 0 if all tokens share their gates."""

    gate: Any
    token: int
    factor: Any


@scalar
def turned(c, s, cosine, sine):
    """The point (c, s) of a circle, turned by an angle."""
    return c * cosine - s * sine, s * cosine + c * sine


@scalar
def place(r, z):
    """Of row r of (batch, heads, tokens): token, head, and where its angles start in (batch, tokens, heads, width)."""
    line = r // z.tokens
    t, batch = r - line * z.tokens, line // z.heads
    head = line - batch * z.heads
    return t, head, ((batch * z.tokens + t) * z.heads + head) * z.width


@scalar
def gates_of(x, angles, first):
    return angles if x.token else first


@scalar
def turn_of(x, t, head):
    return t * x.token + head * x.head


@scalar
def harmonics_row(value, z, v):
    """Harmonics 2, 3, ...: products of points of the circle. Beyond them 0."""
    both = z.width + z.width
    for last in range(value, value + (z.harmonics - 1) * both, both):
        for j in range(z.width):
            c, s = turned(v[last + j], v[last + z.width + j], v[value + j], v[value + z.width + j])
            v[last + both + j], v[last + both + z.width + j] = c, s
    for at in range(value + z.harmonics * both, value + z.depth):
        v[at] = type(v[0])(0)


@scalar
def feature(j, s, c, n, at, value, show, seen, spin, spun, a, b, v, q, k):
    """Number j of a row, from sine and cosine of its angle."""
    c, s = turned(c, s, show.cosine[nonnegative(seen + j)], show.sine[nonnegative(seen + j)])
    v[nonnegative(value + j)], v[nonnegative(value + n + j)] = c, s
    c, s = turned(c, s, spin.cosine[nonnegative(spun + j)], spin.sine[nonnegative(spun + j)])
    q[nonnegative(at + j)], q[nonnegative(at + n + j)] = a * c, a * s
    k[nonnegative(at + j)], k[nonnegative(at + n + j)] = b * c, b * s


@scalar
def features_row(r, theta, sizes, shown, spins, queries, keys, v, q, k):
    """``shown`` turns from theta to phi, ``spins`` from phi to alpha."""
    z, show, spin, query, key = Sizes(*sizes), Turn(*shown), Turn(*spins), Side(*queries), Side(*keys)
    t, head, angles = place(r, z)
    at, value, seen, spun = r * (z.width + z.width), r * z.depth, turn_of(show, t, head), turn_of(spin, t, head)
    gate_q, gate_k = gates_of(query, angles, head * z.width), gates_of(key, angles, head * z.width)
    for j in range(z.width):
        s, c = el.sincos(theta[angles + j])
        a, b = query.factor[head] * query.gate[gate_q + j], key.factor[head] * key.gate[gate_k + j]
        feature(j, s, c, z.width, at, value, show, seen, spin, spun, a, b, v, q, k)
    harmonics_row(value, z, v)


@kernel
def features_cpu(start, stop, theta, sizes, shown, spins, queries, keys, v, q, k):
    disjoint()
    z, show, spin, query, key = Sizes(*sizes), Turn(*shown), Turn(*spins), Side(*queries), Side(*keys)
    for r in range(start, stop):
        t, head, angles = place(r, z)
        if not el.all_near(theta, angles, angles + z.width):
            features_row(r, theta, sizes, shown, spins, queries, keys, v, q, k)
            continue
        at, value, seen, spun = r * (z.width + z.width), r * z.depth, turn_of(show, t, head), turn_of(spin, t, head)
        gate_q, gate_k = gates_of(query, angles, head * z.width), gates_of(key, angles, head * z.width)
        query_factor, key_factor = query.factor[head], key.factor[head]
        for j in range(z.width):
            s, c = el.sincos_near(theta[nonnegative(angles + j)])
            a, b = query_factor * query.gate[nonnegative(gate_q + j)], key_factor * key.gate[nonnegative(gate_k + j)]
            feature(j, s, c, z.width, at, value, show, seen, spin, spun, a, b, v, q, k)
        harmonics_row(value, z, v)


@scalar
def pull_harmonic(n, order, value, dvalue, angles, v, dv, dtheta):
    """Adds dphi of one harmonic of a row of values."""
    for j in range(n):
        c, s = v[nonnegative(value + j)], v[nonnegative(value + n + j)]
        along, across = dv[nonnegative(dvalue + j)], dv[nonnegative(dvalue + n + j)]
        dtheta[nonnegative(angles + j)] += order * (across * c - along * s)


@scalar
def pull_angles(
    n, wide, at, value, spun, angles, spin, query_gate, gate_q, query_factor, key_gate, gate_k, key_factor,
    v, dq, dk, dv, dtheta, dalpha, dgate_q, dgate_k,
):  # fmt: skip
    """n angles of a row of ``wide``: all but the harmonics beyond the first."""
    for j in range(n):
        c, s = v[nonnegative(value + j)], v[nonnegative(value + wide + j)]
        phi = dv[nonnegative(value + wide + j)] * c - dv[nonnegative(value + j)] * s
        c, s = turned(c, s, spin.cosine[nonnegative(spun + j)], spin.sine[nonnegative(spun + j)])
        along, across = dq[nonnegative(at + j)], dq[nonnegative(at + wide + j)]
        dgate_q[nonnegative(angles + j)] = along * c + across * s
        alpha = query_factor * query_gate[nonnegative(gate_q + j)] * (across * c - along * s)
        along, across = dk[nonnegative(at + j)], dk[nonnegative(at + wide + j)]
        dgate_k[nonnegative(angles + j)] = along * c + across * s
        alpha += key_factor * key_gate[nonnegative(gate_k + j)] * (across * c - along * s)
        dalpha[nonnegative(angles + j)] = alpha
        dtheta[nonnegative(angles + j)] += alpha + phi


@scalar
def pull_row(r, sizes, spins, queries, keys, v, dq, dk, dv, dv_next, dtheta, dalpha, dgate_q, dgate_k):
    """Adds dalpha and dphi to dtheta. The gradients of gates are without the factor of the head.

    Values of token t are read as its own (dv) and, unless dv_next is empty, as the successor of token t - 1.
    """
    z, spin, query, key = Sizes(*sizes), Turn(*spins), Side(*queries), Side(*keys)
    t, head, angles = place(r, z)
    at, value, spun, n = r * (z.width + z.width), r * z.depth, turn_of(spin, t, head), z.width
    gate_q, gate_k = gates_of(query, angles, head * n), gates_of(key, angles, head * n)
    query_factor, key_factor, strips = query.factor[head], key.factor[head], n // STRIP * STRIP
    for j in range(0, strips, STRIP):
        pull_angles(
            STRIP, n, at + j, value + j, spun + j, angles + j, spin, query.gate, gate_q + j, query_factor, key.gate,
            gate_k + j, key_factor, v, dq, dk, dv, dtheta, dalpha, dgate_q, dgate_k,
        )  # fmt: skip
    j = strips
    pull_angles(
        n - j, n, at + j, value + j, spun + j, angles + j, spin, query.gate, gate_q + j, query_factor, key.gate,
        gate_k + j, key_factor, v, dq, dk, dv, dtheta, dalpha, dgate_q, dgate_k,
    )  # fmt: skip
    both = n + n
    for k in range(1, z.harmonics):
        pull_harmonic(n, type(v[0])(k + 1), value + k * both, value + k * both, angles, v, dv, dtheta)
    if dv_next.size and t > 0:
        for k in range(z.harmonics):
            at = value + k * both
            pull_harmonic(n, type(v[0])(k + 1), at, at - z.depth, angles, v, dv_next, dtheta)


@kernel
def pull_cpu(
    start, stop, sizes, spins, queries, keys, v, dq, dk, dv, dv_next, dtheta, dalpha, dgate_q, dgate_k
):  # fmt: skip
    disjoint()
    for r in range(start, stop):
        pull_row(r, sizes, spins, queries, keys, v, dq, dk, dv, dv_next, dtheta, dalpha, dgate_q, dgate_k)


SIZES = f"({','.join('i' * len(Sizes._fields))})"
_TURN, _SIDE = "(F1,F1,i,i)", "(F1,i,F1)"
FEATURES = Owner(
    features_row, features_cpu, f"F1 {SIZES} {_TURN} {_TURN} {_SIDE} {_SIDE} F1 F1 F1", grain=1024
)  # fmt: skip
PULL = Owner(
    pull_row, pull_cpu, f"{SIZES} {_TURN} {_SIDE} {_SIDE} F1 F1 F1 F1 F1 F1 F1 F1 F1", grain=1024
)  # fmt: skip
