r"""From the gradients of rows of softmax attention to those of angles, gates and what all tokens share.

In the terms of ``features``, for the gradients dq = [Qc; Qs], dk = [Kc; Ks] and
dv = [V1c; V1s; V2c; ...]

    da = beta (Qc cos alpha + Qs sin alpha),    dbeta = sum a (Qc cos alpha + Qs sin alpha),
    db = Kc cos alpha + Ks sin alpha,
    dalpha = beta a (Qs cos alpha - Qc sin alpha) + b (Ks cos alpha - Kc sin alpha),
    dphi = sum_k k (Vks cos k phi - Vkc sin k phi),    dtheta = dalpha + dphi,    domega = sum_t t dalpha.

A piece is ``PIECE`` tokens of a head: its owner also adds up what all tokens share, and the host adds pieces, in
float64. Of the sums over a piece

    (dgate of queries, or a times it if every token has its own gates), dgate of keys, dalpha, (t - t_first) dalpha

come dbeta, da, db and domega.
"""

from ..._runtime.disjoint import disjoint
from ..._runtime.jit import nonnegative, not_inlined
from ..._runtime.owners import Owner
from ..._runtime.vectors import LANES, broadcast, load, store
from ..._runtime.width import full_width
from .._cores.tiles import kernel, scalar
from .features import SIDE, SIZES, TURN, Side, Sizes, Turn, gates_of, place, turn_of, turned
from .sums import PIECE

#: Sums over tokens that a piece has of every angle of its head.
SUMS = 4


@scalar
def piece(i, z):
    """The rows [first, last) of (batch, heads, tokens) of piece i, and `place` of the first."""
    pieces = (z.tokens + PIECE - 1) // PIECE
    line = i // pieces
    t = (i - line * pieces) * PIECE
    first = line * z.tokens + t
    return first, first + min(PIECE, z.tokens - t), place(first, z)


@scalar
def pull_harmonic(n, wide, order, value, dvalue, angles, v, dv, dtheta):
    """Adds dphi of n angles of one harmonic of a row of values."""
    for j in range(n):
        c, s = v[nonnegative(value + j)], v[nonnegative(value + wide + j)]
        along, across = dv[nonnegative(dvalue + j)], dv[nonnegative(dvalue + wide + j)]
        dtheta[nonnegative(angles + j)] += order * (across * c - along * s)


@scalar
def pull_gate(n, value, at, spun, angles, spin, factor, v, d, dgate):
    """Gradient of the gates of one token and head, if they are its own."""
    for j in range(n):
        c, s = v[nonnegative(value + j)], v[nonnegative(value + n + j)]
        c, s = turned(c, s, spin.cosine[nonnegative(spun + j)], spin.sine[nonnegative(spun + j)])
        dgate[nonnegative(angles + j)] = factor * (d[nonnegative(at + j)] * c + d[nonnegative(at + n + j)] * s)


@scalar
def flowing(c, s, cosine, sine, of_query, of_key, dq, dk, dv):
    """dgate of query and of key without their factors, dalpha, dphi: of an angle, or of a vector of them.

    ``of_query``, ``of_key``: factor times gate; dq, dk, dv: by cosine and sine.
    """
    phi = dv[1] * c - dv[0] * s
    c, s = turned(c, s, cosine, sine)
    alpha = of_query * (dq[1] * c - dq[0] * s) + of_key * (dk[1] * c - dk[0] * s)
    return dq[0] * c + dq[1] * s, dk[0] * c + dk[1] * s, alpha, phi


@scalar
def pull_angle(j, n, at, value, spun, angles, spin, a, b, v, dq, dk, dv, dtheta):
    """dtheta += dalpha + dphi; returns the first three of `flowing`."""
    own, far = nonnegative(value + j), nonnegative(value + n + j)
    here, there = nonnegative(at + j), nonnegative(at + n + j)
    cosine, sine = spin.cosine[nonnegative(spun + j)], spin.sine[nonnegative(spun + j)]
    query, key, alpha, phi = flowing(
        v[own], v[far], cosine, sine, a, b, (dq[here], dq[there]), (dk[here], dk[there]), (dv[own], dv[far])
    )
    dtheta[nonnegative(angles + j)] += alpha + phi
    return query, key, alpha


@scalar
def pull_vector(j, n, at, value, spun, angles, spin, a, b, v, dq, dk, dv, dtheta):
    """`pull_angle` for ``LANES`` angles."""
    own, far, here, there = value + j, value + n + j, at + j, at + n + j
    query, key, alpha, phi = flowing(
        load(v, own), load(v, far), load(spin.cosine, spun + j), load(spin.sine, spun + j), a, b,
        (load(dq, here), load(dq, there)), (load(dk, here), load(dk, there)), (load(dv, own), load(dv, far)),
    )  # fmt: skip
    store(dtheta, angles + j, load(dtheta, angles + j) + (alpha + phi))
    return query, key, alpha


@scalar
def pull_column(j, first, last, place, term, z, spin, query, key, v, dq, dk, dv, dtheta, sums):
    """Angle j of a head in the rows [first, last): adds to dtheta, and stores its sums over them."""
    n, zero = z.width, type(v[0])(0)
    start, head, angles = place
    a, b, own = query.factor[head], key.factor[head], query.token > 0
    of_query, of_key, alphas, ages = zero, zero, zero, zero
    for r in range(first, last):
        gate = query.gate[nonnegative(gates_of(query, angles, head * n) + j)]
        of_gate = key.gate[nonnegative(gates_of(key, angles, head * n) + j)]
        along, across, alpha = pull_angle(
            j, n, r * (n + n), r * z.depth, turn_of(spin, start + r - first, head), angles, spin, a * gate, b * of_gate,
            v, dq, dk, dv, dtheta,
        )  # fmt: skip
        of_query += gate * along if own else along
        of_key += across
        alphas += alpha
        ages += type(zero)(r - first) * alpha
        angles += z.heads * n
    sums[nonnegative(term + j)], sums[nonnegative(term + n + j)] = of_query, of_key
    sums[nonnegative(term + 2 * n + j)], sums[nonnegative(term + 3 * n + j)] = alphas, ages


@scalar
def pull_vectors(j, first, last, place, term, z, spin, query, key, v, dq, dk, dv, dtheta, sums):
    """`pull_column` for ``LANES`` angles."""
    n, one = z.width, type(v[0])(1)
    start, head, angles = place
    a, b, own = broadcast(query.factor[head]), broadcast(key.factor[head]), query.token > 0
    zero, unit = broadcast(one - one), broadcast(one)
    of_query, of_key, alphas, ages, age = zero, zero, zero, zero, zero
    for r in range(first, last):
        gate = load(query.gate, gates_of(query, angles, head * n) + j)
        of_gate = load(key.gate, gates_of(key, angles, head * n) + j)
        along, across, alpha = pull_vector(
            j, n, r * (n + n), r * z.depth, turn_of(spin, start + r - first, head), angles, spin, a * gate, b * of_gate,
            v, dq, dk, dv, dtheta,
        )  # fmt: skip
        of_query = of_query + (gate if own else unit) * along
        of_key = of_key + across
        alphas = alphas + alpha
        ages = ages + age * alpha
        age = age + unit
        angles += z.heads * n
    store(sums, term + j, of_query)
    store(sums, term + n + j, of_key)
    store(sums, term + 2 * n + j, alphas)
    store(sums, term + 3 * n + j, ages)


@scalar
def pull_rest(first, last, place, z, spin, query, key, v, dq, dk, dv, dv_next, dtheta, dgate_q, dgate_k):
    """Harmonics beyond the first, values as successors, and gates of tokens, of the rows [first, last) of a head.

    Values of token t are read as its own (dv) and, unless dv_next is empty, as the successor of token t - 1.
    """
    n, one = z.width, type(v[0])(1)
    start, head, angles = place
    if z.harmonics == 1 and not (dv_next.size or dgate_q.size or dgate_k.size):
        return
    for r in range(first, last):
        t, at, value = start + r - first, r * (n + n), r * z.depth
        spun = turn_of(spin, t, head)
        for k in range(1, z.harmonics):
            pull_harmonic(n, n, type(one)(k + 1), value + 2 * k * n, value + 2 * k * n, angles, v, dv, dtheta)
        if dv_next.size and t > 0:
            for k in range(z.harmonics):
                of = value + 2 * k * n
                pull_harmonic(n, n, type(one)(k + 1), of, of - z.depth, angles, v, dv_next, dtheta)
        if dgate_q.size:
            pull_gate(n, value, at, spun, angles, spin, query.factor[head], v, dq, dgate_q)
        if dgate_k.size:
            pull_gate(n, value, at, spun, angles, spin, key.factor[head], v, dk, dgate_k)
        angles += z.heads * n


@scalar
def pull_row(i, sizes, spins, queries, keys, v, dq, dk, dv, dv_next, dtheta, dgate_q, dgate_k, sums):
    """Piece i: adds dalpha and dphi to dtheta. Gradients of gates of tokens; the sums, without factors of heads."""
    z, spin, query, key = Sizes(*sizes), Turn(*spins), Side(*queries), Side(*keys)
    first, last, where = piece(i, z)
    for j in range(z.width):
        pull_column(j, first, last, where, i * SUMS * z.width, z, spin, query, key, v, dq, dk, dv, dtheta, sums)
    pull_rest(first, last, where, z, spin, query, key, v, dq, dk, dv, dv_next, dtheta, dgate_q, dgate_k)


@kernel
def pull_cpu(start, stop, sizes, spins, queries, keys, v, dq, dk, dv, dv_next, dtheta, dgate_q, dgate_k, sums):
    not_inlined()
    disjoint()
    full_width()
    z, spin, query, key = Sizes(*sizes), Turn(*spins), Side(*queries), Side(*keys)
    vectors = z.width // LANES * LANES
    for i in range(start, stop):
        first, last, where = piece(nonnegative(i), z)
        term = i * SUMS * z.width
        for j in range(0, vectors, LANES):
            pull_vectors(j, first, last, where, term, z, spin, query, key, v, dq, dk, dv, dtheta, sums)
        for j in range(vectors, z.width):
            pull_column(j, first, last, where, term, z, spin, query, key, v, dq, dk, dv, dtheta, sums)
        pull_rest(first, last, where, z, spin, query, key, v, dq, dk, dv, dv_next, dtheta, dgate_q, dgate_k)


PULL = Owner(pull_row, pull_cpu, f"{SIZES} {TURN} {SIDE} {SIDE} F1 F1 F1 F1 F1 F1 F1 F1 F1", grain=32)
