"""The derivative of a block: what its oscillators make of fields, and what each of them hears of its neighbours."""

from .._runtime.disjoint import disjoint
from .._runtime.jit import nonnegative, piece, scalar
from ._bodies import add_heard, amplify, turn
from ._fields import ramp
from ._learning import add_learning, learn
from ._neighbours import add_ring, add_rows
from ._phases import AMPLITUDES, PHASES, at, pull
from ._slices import feel, heard_at, own_pairs
from ._triangles import add_triangles


@piece
def rotate(first, last, omega, at, re, im, features, c, n, out, to):
    """out = omega + what a field does."""
    disjoint()
    for i in range(first, last):
        pulled = pull(re, im, features[nonnegative(c + i)], features[nonnegative(c + n + i)])
        out[nonnegative(to + i)] = omega[nonnegative(at + i)] + pulled


@piece
def slope(block, run, t, x, g, field, features, parity, stage, out, to):
    """The derivative of a block, at ``to`` in out; coupling with a delay for each edge is not in it (`add_late`).

    What neighbours in slices say must have been heard (`_slices.hear`).
    """
    factor = ramp(t, x.schedule) if len(x.schedule) else type(t)(1)
    if g.kind != PHASES:
        body_slope(block, run, factor, x, g, field, features, at(parity, 0, g), out, to)
        return
    force = to + (g.variables - 1) * g.n
    begin(block, run, factor, x, g, field, features, parity, out, force)
    if len(x.matrix) or len(x.starts):
        first, last, heard = x.edges[block], x.edges[block + 1], parity + (2 if g.delayed == 1 else 0)
        for m in range(g.harmonics):
            h = run * g.link_step + 2 * m
            p, q, c = factor * x.link[h], factor * x.link[h + 1], at(parity, m, g)
            if x.link[h] == 0 and x.link[h + 1] == 0:
                continue
            if len(x.matrix):
                add_rows(first, last, p, q, x.matrix, x.scale, features, c, at(heard, m, g), g.n, out, force)
            else:
                own = own_pairs(block, parity, m, x, g)
                feel(first, last, p, q, x.scale, heard_at(m, len(x.begins), g), own, features, out, force)
    else:
        listed(block, run, factor, x, g, features, parity, stage, out, to)
    finish(block, x, g, features, at(parity, 0, g), stage, out, to)


@piece
def plain_slope(block, run, t, x, g, field, features, parity, stage, out, to):
    """`slope` without full matrices and slices, whose registers CUDA does not have."""
    factor = ramp(t, x.schedule) if len(x.schedule) else type(t)(1)
    if g.kind != PHASES:
        body_slope(block, run, factor, x, g, field, features, at(parity, 0, g), out, to)
        return
    begin(block, run, factor, x, g, field, features, parity, out, to + (g.variables - 1) * g.n)
    listed(block, run, factor, x, g, features, parity, stage, out, to)
    finish(block, x, g, features, at(parity, 0, g), stage, out, to)


@piece
def begin(block, run, factor, x, g, field, features, parity, out, force):
    """out = omega + what fields do."""
    first, last = x.edges[block], x.edges[block + 1]
    a, m2, omega = x.group[block], 2 * g.harmonics, run * g.omega_step
    heard = parity + (2 if g.delayed == 1 else 0)
    re, im, c = field[a * m2], field[a * m2 + 1], at(parity, 0, g)
    if re != 0 or im != 0:
        rotate(first, last, x.omega, omega, re, im, features, c, g.n, out, force)
    else:
        for i in range(first, last):
            out[nonnegative(force + i)] = x.omega[nonnegative(omega + i)]
    for m in range(g.harmonics):
        re, im = field[a * m2 + 2 * m], field[a * m2 + 2 * m + 1]
        if m > 0 and (re != 0 or im != 0):
            c = at(parity, m, g)
            s = c + g.n
            for i in range(first, last):
                out[nonnegative(force + i)] += pull(re, im, features[nonnegative(c + i)], features[nonnegative(s + i)])
        if g.mean and g.delayed == 1:
            h = run * g.field_step + ((m * g.groups + a) * g.groups + a) * 2
            own = at(parity, m, g), at(heard, m, g)
            leave_out(first, last, factor * x.field[h], factor * x.field[h + 1], features, own, g.n, out, force)


@piece
def listed(block, run, factor, x, g, features, parity, stage, out, to):
    """What neighbours do: along edges, with weights that may learn, or on a ring."""
    first, last, weights = x.edges[block], x.edges[block + 1], g.variables * g.n
    force, heard = to + (g.variables - 1) * g.n, parity + (2 if g.delayed == 1 else 0)
    for m in range(g.harmonics if g.ring or (len(x.indptr) and g.delayed < 2) else 0):
        h = run * g.link_step + 2 * m
        p, q, c = factor * x.link[h], factor * x.link[h + 1], at(parity, m, g)
        if x.link[h] == 0 and x.link[h + 1] == 0:
            continue
        if len(x.learning):
            add_learning(first, last, p, q, x.indptr, x.indices, x.scale, stage, weights, features, c, g.n, out, force)
        elif g.ring:
            add_ring(first, last, g.ring, p, q, features, c, at(heard, m, g), g.n, out, force)
        else:
            add_edges(first, last, p, q, x, features, c, at(heard, m, g), g.n, out, force)
    if len(x.learning):
        learn(first, last, x.learning, x.indptr, x.indices, stage, features, at(parity, 0, g), g.n, out, to, weights)


@piece
def finish(block, x, g, features, c, stage, out, to):
    """Listed triangles, and inertia."""
    first, last, force = x.edges[block], x.edges[block + 1], to + (g.variables - 1) * g.n
    if len(x.corners):
        add_triangles(first, last, x.corners, x.corner_weight, features, c, g.n, out, force)
    if g.variables == 2:
        for i in range(first, last):
            v = stage[nonnegative(g.n + i)]
            out[nonnegative(to + i)] = v
            out[nonnegative(force + i)] = (out[nonnegative(force + i)] - x.friction[nonnegative(i)] * v) / x.inertia[
                nonnegative(i)
            ]


@piece
def body_slope(block, run, factor, x, g, field, features, c, out, to):
    """What `slope` is for bodies, which have one group, and their coordinates at c in ``features``."""
    first, last = x.edges[block], x.edges[block + 1]
    for variable in range(g.variables):
        for i in range(variable * g.n + first, variable * g.n + last):
            out[nonnegative(to + i)] = field[variable]
    h, diffusive = run * g.link_step, x.body[0]
    if len(x.indptr):
        add_heard(
            first, last, g.variables, factor * x.link[h], factor * x.link[h + 1], diffusive, x.indptr, x.indices,
            x.weight, x.scale, features, c, g.n, out, to,
        )  # fmt: skip
    if g.kind == AMPLITUDES:
        re = im = field[0] - field[0]
        if g.mean:
            own = diffusive * factor * type(factor)(g.n)
            re, im = own * x.field[run * g.field_step], own * x.field[run * g.field_step + 1]
        amplify(first, last, re, im, x.omega, run * g.omega_step, x.body, features, c, g.n, out, to)
    else:
        turn(first, last, g.variables, x.omega, run * g.omega_step, features, c, g.n, out, to)


@scalar
def leave_out(first, last, re, im, features, own, n, out, force):
    """The term j = i of a delayed mean field, which is not zero; ``own`` tells where e_i is now, and was then."""
    c, d = own
    for i in range(first, last):
        p, q = features[nonnegative(d + i)], features[nonnegative(d + n + i)]
        here, there = features[nonnegative(c + i)], features[nonnegative(c + n + i)]
        out[nonnegative(force + i)] -= pull(re * p - im * q, re * q + im * p, here, there)


@piece
def add_edges(first, last, re, im, x, features, c, heard, n, out, force):
    """Im h e_i^{-m} sum_j scale_i w_ij e_j^m for the rows of a block; e_i at c, e_j at ``heard``."""
    weighted, scaled = len(x.weight) > 0, len(x.scale) > 0
    for i in range(first, last):
        p = q = re - re
        if weighted:
            for e in range(x.indptr[i], x.indptr[i + 1]):
                j = nonnegative(heard + x.indices[nonnegative(e)])
                p += x.weight[nonnegative(e)] * features[j]
                q += x.weight[nonnegative(e)] * features[nonnegative(j + n)]
        else:
            for e in range(x.indptr[i], x.indptr[i + 1]):
                j = nonnegative(heard + x.indices[nonnegative(e)])
                p += features[j]
                q += features[nonnegative(j + n)]
        if scaled:
            p *= x.scale[i]
            q *= x.scale[i]
        out[force + i] += pull(re * p - im * q, re * q + im * p, features[c + i], features[c + n + i])
