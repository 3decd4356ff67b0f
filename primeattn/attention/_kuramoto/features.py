r"""From angles to the rows of softmax attention, and back: one row a head and token.

With phi the angle that values show (theta, or alpha if the drift turns values, too) and alpha = theta + omega t, the row
of head h and token t holds

    v = [cos phi; sin phi; cos 2 phi; sin 2 phi; ...],    q = beta a [cos alpha; sin alpha],    k = b [cos alpha; sin alpha]

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
from ..._runtime.jit import kernel, nonnegative, scalar
from ..._runtime.owners import Owner


class Sizes(NamedTuple):
    """``tokens`` of a sequence, ``heads`` of ``width`` angles, ``harmonics``; a row of values has ``depth`` numbers:
    2 width harmonics, and one more, 0, in the delayed form (see ``update``).

    The table of cos and sin of omega t has ``columns`` numbers a token (0: no drift), for head h from ``head_column``
    h on. ``turn_values``: 1 if the drift turns values, too.
    """

    tokens: int
    heads: int
    width: int
    harmonics: int
    depth: int
    columns: int
    head_column: int
    turn_values: int


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
def head_of(r, z):
    return r // z.tokens % z.heads


@scalar
def angles_of(r, z):
    """Where the angles of row r of (batch, heads, tokens) start in (batch, tokens, heads, width)."""
    batch = r // z.tokens // z.heads
    return ((batch * z.tokens + r % z.tokens) * z.heads + head_of(r, z)) * z.width


@scalar
def drift_of(r, z):
    return r % z.tokens * z.columns + head_of(r, z) * z.head_column


@scalar
def gates_of(r, z, token):
    return angles_of(r, z) if token else head_of(r, z) * z.width


@scalar
def turn_row(r, z, cosine, sine, v):
    first, spin = r * z.depth, drift_of(r, z)
    for j in range(z.width):
        c, s = nonnegative(first + j), nonnegative(first + z.width + j)
        v[c], v[s] = turned(v[c], v[s], cosine[nonnegative(spin + j)], sine[nonnegative(spin + j)])


@scalar
def raise_row(r, z, v):
    """Harmonics 2, 3, ...: products of points of the circle. Beyond them 0."""
    first, both = r * z.depth, z.width + z.width
    for k in range(1, z.harmonics):
        for j in range(z.width):
            one, last = first + j, first + (k - 1) * both + j
            c, s = turned(v[last], v[last + z.width], v[one], v[one + z.width])
            v[last + both], v[last + both + z.width] = c, s
    for j in range(z.harmonics * both, z.depth):
        v[first + j] = type(v[0])(0)


@scalar
def side_row(r, z, cosine, sine, side, v, out):
    """A query or key: factor times gate times (cos alpha, sin alpha)."""
    x = Side(*side)
    at, first, spin, gates = r * (z.width + z.width), r * z.depth, drift_of(r, z), gates_of(r, z, x.token)
    gate, factor = x.gate, x.factor[head_of(r, z)]
    if z.columns > 0 and z.turn_values == 0:
        for j in range(z.width):
            c, s = v[nonnegative(first + j)], v[nonnegative(first + z.width + j)]
            c, s = turned(c, s, cosine[nonnegative(spin + j)], sine[nonnegative(spin + j)])
            g = factor * gate[nonnegative(gates + j)]
            out[nonnegative(at + j)] = g * c
            out[nonnegative(at + z.width + j)] = g * s
    else:
        for j in range(z.width):
            g = factor * gate[nonnegative(gates + j)]
            out[nonnegative(at + j)] = g * v[nonnegative(first + j)]
            out[nonnegative(at + z.width + j)] = g * v[nonnegative(first + z.width + j)]


@scalar
def complete_row(r, z, cosine, sine, query, key, v, q, k):
    """The rest of a row whose cos theta, sin theta stand in v. Empty q or k are not wanted."""
    if z.turn_values == 1:
        turn_row(r, z, cosine, sine, v)
    raise_row(r, z, v)
    if q.size:
        side_row(r, z, cosine, sine, query, v, q)
    if k.size:
        side_row(r, z, cosine, sine, key, v, k)


@scalar
def features_row(r, theta, sizes, cosine, sine, query, key, v, q, k):
    z = Sizes(*sizes)
    angles, first = angles_of(r, z), r * z.depth
    for j in range(z.width):
        v[first + z.width + j], v[first + j] = el.sincos(theta[angles + j])
    complete_row(r, z, cosine, sine, query, key, v, q, k)


@kernel
def features_cpu(start, stop, theta, sizes, cosine, sine, query, key, v, q, k):
    disjoint()
    z = Sizes(*sizes)
    for r in range(start, stop):
        angles, first = angles_of(r, z), r * z.depth
        if el.all_near(theta, angles, angles + z.width):
            for j in range(z.width):
                s, c = el.sincos_near(theta[nonnegative(angles + j)])
                v[nonnegative(first + j)] = c
                v[nonnegative(first + z.width + j)] = s
            complete_row(r, z, cosine, sine, query, key, v, q, k)
        else:
            features_row(r, theta, sizes, cosine, sine, query, key, v, q, k)


@scalar
def pull_side(r, z, cosine, sine, side, v, d, dalpha, dgate, fresh):
    """dalpha of a query or key, written if ``fresh``, else added; gradients of its gates over the factor."""
    x = Side(*side)
    at, first, spin, gates = r * (z.width + z.width), r * z.depth, drift_of(r, z), gates_of(r, z, x.token)
    gate, factor, angles = x.gate, x.factor[head_of(r, z)], angles_of(r, z)
    spins, zero = z.columns > 0 and z.turn_values == 0, factor - factor
    for j in range(z.width):
        c, s = v[nonnegative(first + j)], v[nonnegative(first + z.width + j)]
        if spins:
            c, s = turned(c, s, cosine[nonnegative(spin + j)], sine[nonnegative(spin + j)])
        along, across = d[nonnegative(at + j)], d[nonnegative(at + z.width + j)]
        before = zero if fresh else dalpha[nonnegative(angles + j)]
        g = factor * gate[nonnegative(gates + j)]
        dalpha[nonnegative(angles + j)] = before + g * (across * c - along * s)
        dgate[nonnegative(angles + j)] = along * c + across * s


@scalar
def pull_values(r, z, v, dv, at, angles, dtheta):
    """Adds dphi of the row of values r, whose gradient starts at ``at``."""
    first, both = r * z.depth, z.width + z.width
    for k in range(z.harmonics):
        order = type(v[0])(k + 1)
        for j in range(z.width):
            c, s = v[nonnegative(first + k * both + j)], v[nonnegative(first + k * both + z.width + j)]
            along, across = dv[nonnegative(at + k * both + j)], dv[nonnegative(at + k * both + z.width + j)]
            dtheta[nonnegative(angles + j)] += order * (across * c - along * s)


@scalar
def pull_row(r, sizes, cosine, sine, query, key, v, dq, dk, dv, dv_delayed, dtheta, dalpha, dgate_q, dgate_k):
    """Adds everything to dtheta; empty dq, dk, dv, dv_delayed count nothing. dgates are without the factor.

    The row of values of token t is read by two paths: its own, and delayed as the successor of token t - 1.
    """
    z = Sizes(*sizes)
    angles = angles_of(r, z)
    if dq.size:
        pull_side(r, z, cosine, sine, query, v, dq, dalpha, dgate_q, True)
    if dk.size:
        pull_side(r, z, cosine, sine, key, v, dk, dalpha, dgate_k, dq.size == 0)
    for j in range(z.width):
        dtheta[nonnegative(angles + j)] += dalpha[nonnegative(angles + j)]
    if dv.size:
        pull_values(r, z, v, dv, r * z.depth, angles, dtheta)
    if dv_delayed.size and r % z.tokens > 0:
        pull_values(r, z, v, dv_delayed, (r - 1) * z.depth, angles, dtheta)


@kernel
def pull_cpu(
    start, stop, sizes, cosine, sine, query, key, v, dq, dk, dv, dv_delayed, dtheta, dalpha, dgate_q, dgate_k
):  # fmt: skip
    disjoint()
    for r in range(start, stop):
        pull_row(r, sizes, cosine, sine, query, key, v, dq, dk, dv, dv_delayed, dtheta, dalpha, dgate_q, dgate_k)


SIZES = f"({','.join('i' * len(Sizes._fields))})"
_SIDE = "(F1,i,F1)"
FEATURES = Owner(features_row, features_cpu, f"F1 {SIZES} F1 F1 {_SIDE} {_SIDE} F1 F1 F1", grain=1024)
PULL = Owner(pull_row, pull_cpu, f"{SIZES} F1 F1 {_SIDE} {_SIDE} F1 F1 F1 F1 F1 F1 F1 F1 F1", grain=1024)
