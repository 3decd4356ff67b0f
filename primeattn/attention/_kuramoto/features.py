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
from ..._runtime.jit import apart, nonnegative, not_inlined
from ..._runtime.owners import Owner
from ..._runtime.vectors import LANES, broadcast, load, store
from ..._runtime.width import full_width
from .._cores.tiles import kernel, scalar

#: Rows whose sines and cosines are taken at once.
AT_ONCE = 32
#: Columns that go down the rows together: rows of two vectors, one at a time, took 1.8 times as long.
STRIPE = 2 * LANES


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
def show(j, c, s, n, value, turn, seen, v):
    """Number j of a row of values, from cosine and sine of theta."""
    c, s = turned(c, s, turn.cosine[nonnegative(seen + j)], turn.sine[nonnegative(seen + j)])
    v[nonnegative(value + j)], v[nonnegative(value + n + j)] = c, s


@scalar
def match(j, n, value, at, spin, spun, a, b, v, q, k):
    """Number j of a row of queries and of keys, from that of values."""
    c, s = v[nonnegative(value + j)], v[nonnegative(value + n + j)]
    c, s = turned(c, s, spin.cosine[nonnegative(spun + j)], spin.sine[nonnegative(spun + j)])
    q[nonnegative(at + j)], q[nonnegative(at + n + j)] = a * c, a * s
    k[nonnegative(at + j)], k[nonnegative(at + n + j)] = b * c, b * s


@scalar
def match_some(start, r, place, z, spin, query, key, v, q, k):
    """Numbers from ``start`` on of row r of queries and keys."""
    t, head, angles = place
    n, at, value, spun = z.width, r * (z.width + z.width), r * z.depth, turn_of(spin, t, head)
    gate_q, gate_k = gates_of(query, angles, head * n), gates_of(key, angles, head * n)
    for j in range(start, n):
        a = query.factor[head] * query.gate[nonnegative(gate_q + j)]
        b = key.factor[head] * key.gate[nonnegative(gate_k + j)]
        match(j, n, value, at, spin, spun, a, b, v, q, k)


@scalar
def features_row(r, theta, sizes, shown, spins, queries, keys, v, q, k):
    """``shown`` turns from theta to phi, ``spins`` from phi to alpha."""
    z, turn, spin, query, key = Sizes(*sizes), Turn(*shown), Turn(*spins), Side(*queries), Side(*keys)
    t, head, angles = place(r, z)
    value, seen = r * z.depth, turn_of(turn, t, head)
    for j in range(z.width):
        s, c = el.sincos(theta[angles + j])
        show(j, c, s, z.width, value, turn, seen, v)
    harmonics_row(value, z, v)
    match_some(0, r, (t, head, angles), z, spin, query, key, v, q, k)


@apart
def near_points(count, place, theta, z, angle, cosine, sine):
    """Cosines and sines of ``count`` rows of a head, row after row; False if an angle is not near.

    Sine and cosine of one short row wait for one another, so they are taken of all these rows at once. ``angle``: room
    for the angles, which lie apart, side by side.
    """
    not_inlined()
    disjoint()
    full_width()
    n, vectors, stride = z.width, z.width // LANES * LANES, z.heads * z.width
    _, _, angles = place
    for i in range(count):
        for j in range(0, vectors, LANES):
            store(angle, i * n + j, load(theta, angles + i * stride + j))
        for j in range(vectors, n):
            angle[nonnegative(i * n + j)] = theta[nonnegative(angles + i * stride + j)]
    if not el.all_near(angle, 0, count * n):
        return False
    for i in range(count * n):
        sine[nonnegative(i)], cosine[nonnegative(i)] = el.sincos_near(angle[nonnegative(i)])
    return True


@apart
def show_rows(first, last, place, z, turn, cosine, sine, v):
    """Values of the rows [first, last) of a head, from what `near_points` gave."""
    not_inlined()
    disjoint()
    full_width()
    n, vectors = z.width, z.width // LANES * LANES
    t, head, _ = place
    for j in range(0, vectors, LANES):
        for r in range(first, last):
            seen, point = turn_of(turn, t + r - first, head) + j, (r - first) * n + j
            c, s = load(cosine, point), load(sine, point)
            if turn.token > 0:
                c, s = turned(c, s, load(turn.cosine, seen), load(turn.sine, seen))
            store(v, r * z.depth + j, c)
            store(v, r * z.depth + n + j, s)
    if vectors < n or z.depth > n + n:
        for r in range(first, last):
            for j in range(vectors, n):
                point = nonnegative((r - first) * n + j)
                show(j, cosine[point], sine[point], n, r * z.depth, turn, turn_of(turn, t + r - first, head), v)
            harmonics_row(r * z.depth, z, v)


@apart
def match_rows(first, last, place, z, spin, query, key, v, q, k):
    """Queries and keys of the rows [first, last) of a head, from values."""
    not_inlined()
    disjoint()
    full_width()
    n, vectors, stride = z.width, z.width // LANES * LANES, z.heads * z.width
    t, head, angles = place
    a, b = broadcast(query.factor[head]), broadcast(key.factor[head])
    for stripe in range(0, vectors, STRIPE):
        for r in range(first, last):
            row, at, spun = angles + (r - first) * stride, r * (n + n), turn_of(spin, t + r - first, head)
            gate_q, gate_k = gates_of(query, row, head * n), gates_of(key, row, head * n)
            for j in range(stripe, min(stripe + STRIPE, vectors), LANES):
                c, s = load(v, r * z.depth + j), load(v, r * z.depth + n + j)
                c, s = turned(c, s, load(spin.cosine, spun + j), load(spin.sine, spun + j))
                of_query, of_key = a * load(query.gate, gate_q + j), b * load(key.gate, gate_k + j)
                store(q, at + j, of_query * c)
                store(q, at + n + j, of_query * s)
                store(k, at + j, of_key * c)
                store(k, at + n + j, of_key * s)
    if vectors < n:
        for r in range(first, last):
            where = t + r - first, head, angles + (r - first) * stride
            match_some(vectors, r, where, z, spin, query, key, v, q, k)


@kernel
def features_cpu(start, stop, theta, sizes, shown, spins, queries, keys, v, q, k):
    not_inlined()
    disjoint()
    full_width()
    z, turn, spin, query, key = Sizes(*sizes), Turn(*shown), Turn(*spins), Side(*queries), Side(*keys)
    first = start
    while first < stop:
        where = place(first, z)
        last = min(first + AT_ONCE, stop, first + z.tokens - where[0])
        value, at = first * z.depth, first * (z.width + z.width)
        if near_points(last - first, where, theta, z, v[value:], q[at:], k[at:]):
            show_rows(first, last, where, z, turn, q[at:], k[at:], v)
            match_rows(first, last, where, z, spin, query, key, v, q, k)
        else:
            for r in range(first, last):
                features_row(r, theta, sizes, shown, spins, queries, keys, v, q, k)
        first = last


SIZES = f"({','.join('i' * len(Sizes._fields))})"
TURN, SIDE = "(F1,F1,i,i)", "(F1,i,F1)"
FEATURES = Owner(
    features_row, features_cpu, f"F1 {SIZES} {TURN} {TURN} {SIDE} {SIDE} F1 F1 F1", grain=1024
)  # fmt: skip
