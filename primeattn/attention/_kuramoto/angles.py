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
from ..._runtime.jit import nonnegative
from ..._runtime.owners import Owner
from ..._runtime.width import full_width
from .._cores.tiles import fill, kernel, scalar
from .features import SIDE, SIZES, STRIP, TURN, Side, Sizes, Turn, gates_of, place, turn_of, turned

#: Tokens of a head that have one owner.
PIECE = 32
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
def pull_angles(
    n, wide, at, value, spun, angles, term, age, own, spin, query_gate, gate_q, query_factor, key_gate, gate_k,
    key_factor, v, dq, dk, dv, dtheta, sums,
):  # fmt: skip
    """n angles of a row of ``wide``: all but the harmonics beyond the first. ``own``: gates of queries by token."""
    one = type(age)(1)
    for j in range(n):
        c, s = v[nonnegative(value + j)], v[nonnegative(value + wide + j)]
        phi = dv[nonnegative(value + wide + j)] * c - dv[nonnegative(value + j)] * s
        c, s = turned(c, s, spin.cosine[nonnegative(spun + j)], spin.sine[nonnegative(spun + j)])
        a, b = query_gate[nonnegative(gate_q + j)], key_gate[nonnegative(gate_k + j)]
        along, across = dq[nonnegative(at + j)], dq[nonnegative(at + wide + j)]
        sums[nonnegative(term + j)] += (a if own else one) * (along * c + across * s)
        alpha = query_factor * a * (across * c - along * s)
        along, across = dk[nonnegative(at + j)], dk[nonnegative(at + wide + j)]
        sums[nonnegative(term + wide + j)] += along * c + across * s
        alpha += key_factor * b * (across * c - along * s)
        sums[nonnegative(term + 2 * wide + j)] += alpha
        sums[nonnegative(term + 3 * wide + j)] += age * alpha
        dtheta[nonnegative(angles + j)] += alpha + phi


@scalar
def pull_row(i, sizes, spins, queries, keys, v, dq, dk, dv, dv_next, dtheta, dgate_q, dgate_k, sums):
    """Piece i: adds dalpha and dphi to dtheta. Gradients of gates of tokens; the sums, without factors of heads.

    Values of token t are read as its own (dv) and, unless dv_next is empty, as the successor of token t - 1.
    """
    z, spin, query, key = Sizes(*sizes), Turn(*spins), Side(*queries), Side(*keys)
    first, last, (start, head, angles) = piece(i, z)
    n, both, term, zero = z.width, z.width + z.width, i * SUMS * z.width, type(v[0])(0)
    a, b, strips, own = query.factor[head], key.factor[head], n // STRIP * STRIP, query.token > 0
    fill(sums, term, SUMS * n, zero)
    for r in range(first, last):
        t, at, value = start + r - first, r * both, r * z.depth
        spun, age = turn_of(spin, t, head), type(zero)(r - first)
        gate_q, gate_k = gates_of(query, angles, head * n), gates_of(key, angles, head * n)
        for j in range(0, strips, STRIP):
            pull_angles(
                STRIP, n, at + j, value + j, spun + j, angles + j, term + j, age, own, spin, query.gate, gate_q + j, a,
                key.gate, gate_k + j, b, v, dq, dk, dv, dtheta, sums,
            )  # fmt: skip
        j = strips
        pull_angles(
            n - j, n, at + j, value + j, spun + j, angles + j, term + j, age, own, spin, query.gate, gate_q + j, a,
            key.gate, gate_k + j, b, v, dq, dk, dv, dtheta, sums,
        )  # fmt: skip
        for k in range(1, z.harmonics):
            pull_harmonic(n, n, type(zero)(k + 1), value + k * both, value + k * both, angles, v, dv, dtheta)
        if dv_next.size and t > 0:
            for k in range(z.harmonics):
                of = value + k * both
                pull_harmonic(n, n, type(zero)(k + 1), of, of - z.depth, angles, v, dv_next, dtheta)
        if dgate_q.size:
            pull_gate(n, value, at, spun, angles, spin, a, v, dq, dgate_q)
        if dgate_k.size:
            pull_gate(n, value, at, spun, angles, spin, b, v, dk, dgate_k)
        angles += z.heads * n


@kernel
def pull_cpu(start, stop, sizes, spins, queries, keys, v, dq, dk, dv, dv_next, dtheta, dgate_q, dgate_k, sums):
    disjoint()
    full_width()
    for i in range(start, stop):
        pull_row(nonnegative(i), sizes, spins, queries, keys, v, dq, dk, dv, dv_next, dtheta, dgate_q, dgate_k, sums)


PULL = Owner(pull_row, pull_cpu, f"{SIZES} {TURN} {SIDE} {SIDE} F1 F1 F1 F1 F1 F1 F1 F1 F1", grain=32)
