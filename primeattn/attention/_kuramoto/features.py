r"""From angles to the rows of softmax attention: one row a head and token. ``angles`` goes back.

With phi the angle that values show (theta, or alpha if the drift turns values, too) and alpha = theta + omega t, the
row of head h and token t holds

    v = [cos phi; sin phi; cos 2 phi; sin 2 phi; ...],
    q = beta a [cos alpha; sin alpha],    k = b [cos alpha; sin alpha],

so that <q_t, k_u> = beta sum_c a_tc b_uc cos(alpha_tc - alpha_uc).
"""

from typing import Any, NamedTuple

from ..._runtime import elementary as el
from ..._runtime.disjoint import disjoint
from ..._runtime.jit import nonnegative
from ..._runtime.owners import Owner
from ..._runtime.vectors import LANES, broadcast, load, store
from ..._runtime.width import full_width
from .._cores.tiles import kernel, scalar

#: Rows whose sines and cosines are taken at once.
AT_ONCE = 32


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
def following(r, t, head, angles, z):
    """`place` of row r + 1, from that of row r: divisions take longer than the row of a short head."""
    if t + 1 < z.tokens:
        return t + 1, head, angles + z.heads * z.width
    return place(r + 1, z)


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


@scalar
def near_points(first, last, theta, angles, z, v, q, k):
    """Cosines of the rows [first, last) of a head, one after the other to q, and sines to k; False if one is not near.

    Sine and cosine of one short row wait for one another, so they are taken of all these rows at once.
    """
    n, row, at = z.width, first * z.depth, first * (z.width + z.width)
    vectors = n // LANES * LANES
    for i in range(last - first):
        for j in range(0, vectors, LANES):
            store(v, row + i * n + j, load(theta, angles + j))
        for j in range(vectors, n):
            v[nonnegative(row + i * n + j)] = theta[nonnegative(angles + j)]
        angles += z.heads * n
    if not el.all_near(v, nonnegative(row), row + (last - first) * n):
        return False
    for i in range((last - first) * n):
        s, c = el.sincos_near(v[nonnegative(row + i)])
        q[nonnegative(at + i)], k[nonnegative(at + i)] = c, s
    return True


@scalar
def vector_of_features(j, n, c, s, at, value, show, seen, spin, spun, a, gate_q, query, b, gate_k, key, v, q, k):
    """`feature` for ``LANES`` numbers."""
    c, s = turned(c, s, load(show.cosine, seen + j), load(show.sine, seen + j))
    store(v, value + j, c)
    store(v, value + n + j, s)
    c, s = turned(c, s, load(spin.cosine, spun + j), load(spin.sine, spun + j))
    of_query, of_key = a * load(query, gate_q + j), b * load(key, gate_k + j)
    store(q, at + j, of_query * c)
    store(q, at + n + j, of_query * s)
    store(k, at + j, of_key * c)
    store(k, at + n + j, of_key * s)


@kernel
def features_cpu(start, stop, theta, sizes, shown, spins, queries, keys, v, q, k):
    disjoint()
    full_width()
    z, show, spin, query, key = Sizes(*sizes), Turn(*shown), Turn(*spins), Side(*queries), Side(*keys)
    n, vectors, first = z.width, z.width // LANES * LANES, start
    while first < stop:
        t, head, angles = place(first, z)
        last = min(first + AT_ONCE, stop, first + z.tokens - t)
        if not near_points(first, last, theta, angles, z, v, q, k):
            for r in range(first, last):
                features_row(r, theta, sizes, shown, spins, queries, keys, v, q, k)
            first = last
            continue
        a, b = query.factor[head], key.factor[head]
        for i in range(last - first - 1, -1, -1):  # last row first: a row of q is twice as wide as one of cosines
            at, value, point = (first + i) * (n + n), (first + i) * z.depth, first * (n + n) + i * n
            row = angles + i * z.heads * n
            seen, spun = turn_of(show, t + i, head), turn_of(spin, t + i, head)
            gate_q, gate_k = gates_of(query, row, head * n), gates_of(key, row, head * n)
            for j in range(0, vectors, LANES):
                vector_of_features(
                    j, n, load(q, point + j), load(k, point + j), at, value, show, seen, spin, spun, broadcast(a),
                    gate_q, query.gate, broadcast(b), gate_k, key.gate, v, q, k,
                )  # fmt: skip
            for j in range(vectors, n):
                of_query, of_key = a * query.gate[nonnegative(gate_q + j)], b * key.gate[nonnegative(gate_k + j)]
                c, s = q[nonnegative(point + j)], k[nonnegative(point + j)]
                feature(j, s, c, n, at, value, show, seen, spin, spun, of_query, of_key, v, q, k)
            harmonics_row(value, z, v)
        first = last


SIZES = f"({','.join('i' * len(Sizes._fields))})"
TURN, SIDE = "(F1,F1,i,i)", "(F1,i,F1)"
FEATURES = Owner(
    features_row, features_cpu, f"F1 {SIZES} {TURN} {TURN} {SIDE} {SIDE} F1 F1 F1", grain=1024
)  # fmt: skip
