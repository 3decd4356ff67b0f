r"""Time steps of a model together with tangent vectors: the exact derivative of the scheme, stage by stage.

A tangent v obeys v' = J(theta(t)) v. J is never formed. A row i of it acts as

    (J v)_i = - d_i v_i + sum_m Re( conj(e_i^m) (P_m(group of i) + h_m scale_i sum_j w_ij m e_j^m v_j) ),
    d_i = sum_m m Re( conj(e_i^m) G_mi ),    P_m(a) = sum_b field_{m a b} sum_{j in b} m e_j^m v_j + triads,

with G_mi all that i feels. A listed triangle (i, j, k) adds a (2 v_j - v_k - v_i) + b (v_j + v_k - 2 v_i), where
a = p w cos(2 theta_j - theta_k - theta_i), b = q w cos(theta_j + theta_k - 2 theta_i).

Vectors are columns of one array, so that the innermost loop runs over them. Columns know nothing of each other: each
thread takes some, with a copy of the phases, and no bit depends on the number of threads.
"""

from typing import Any, NamedTuple

from ..._runtime.jit import bare_kernel, nonnegative, scalar
from .._fields import fields
from .._phases import Phases, Sizes, at
from .._sense import sense
from .._slope import slope
from .._walk import combine, draw, kick, settle


class Columns(NamedTuple):
    """Memory of one thread for ``width`` tangent vectors of N numbers."""

    now: Any  # (N, width)
    stage: Any  # (N, width)
    slopes: Any  # (stages, N, width)
    moments: Any  # (groups, harmonics, 2, width): sum_j m e_j^m v_j
    pulls: Any  # (groups, harmonics, 2, width): P


class Base(NamedTuple):
    """Memory of one thread for the phases."""

    slopes: Any
    stage: Any
    features: Any
    sums: Any
    noise: Any
    moments: Any
    field: Any


@scalar
def tangent_moments(x, g, features, width, columns):
    """Sums of tangents by group and harmonic."""
    for e in range(len(columns.moments)):
        columns.moments[e] = 0
    for block in range((len(x.edges) - 1) * g.mean):
        for m in range(g.harmonics):
            to = (x.group[block] * g.harmonics + m) * 2 * width
            c = at(0, m, g)
            for j in range(x.edges[block], x.edges[block + 1]):
                p, q = (m + 1) * features[c + j], (m + 1) * features[c + g.n + j]
                for k in range(width):
                    v = columns.stage[nonnegative(j * width + k)]
                    columns.moments[nonnegative(to + k)] += p * v
                    columns.moments[nonnegative(to + width + k)] += q * v


@scalar
def tangent_pulls(run, x, g, moments, width, columns):
    """P of all groups from the sums of tangents and, for triads, of phases."""
    m2 = 2 * g.harmonics
    for e in range(len(columns.pulls)):
        columns.pulls[e] = 0
    for a in range(g.groups):
        for b in range(g.groups):
            for m in range(g.harmonics):
                h = run * g.field_step + ((m * g.groups + a) * g.groups + b) * 2
                re, im = x.field[h], x.field[h + 1]
                to, by = (a * m2 + 2 * m) * width, (b * m2 + 2 * m) * width
                for k in range(width):
                    p, q = columns.moments[nonnegative(by + k)], columns.moments[nonnegative(by + width + k)]
                    columns.pulls[nonnegative(to + k)] += re * p - im * q
                    columns.pulls[nonnegative(to + width + k)] += re * q + im * p
    if len(x.triads):
        triad_pulls(run, x, g, moments, width, columns)


@scalar
def triad_pulls(run, x, g, moments, width, columns):
    """P_1 += (p / n) (S_2 conj(Z_1) - Z_2 conj(S_1)),  P_2 += (2 q / n) Z_1 S_1, with S_m = sum_j m e_j^m v_j."""
    m2, t = 2 * g.harmonics, run * g.triads_step
    c = d = u = v = moments[0] - moments[0]  # Z_1, Z_2
    for e in range(g.groups):
        c += moments[e * m2] / g.n
        d += moments[e * m2 + 1] / g.n
        u += moments[e * m2 + 2] / g.n
        v += moments[e * m2 + 3] / g.n
    pr, pi, qr, qi = x.triads[t] / g.n, x.triads[t + 1] / g.n, x.triads[t + 2] / g.n, x.triads[t + 3] / g.n
    zr, zi = 2 * (qr * c - qi * d), 2 * (qr * d + qi * c)
    for k in range(width):
        s1 = s2 = s3 = s4 = u - u
        for e in range(g.groups):
            s1 += columns.moments[(e * m2) * width + k]
            s2 += columns.moments[(e * m2 + 1) * width + k]
            s3 += columns.moments[(e * m2 + 2) * width + k]
            s4 += columns.moments[(e * m2 + 3) * width + k]
        f = s3 * c + s4 * d - (u * s1 + v * s2)
        w = s4 * c - s3 * d - (v * s1 - u * s2)
        for e in range(g.groups):
            columns.pulls[(e * m2) * width + k] += pr * f - pi * w
            columns.pulls[(e * m2 + 1) * width + k] += pr * w + pi * f
            columns.pulls[(e * m2 + 2) * width + k] += zr * s1 - zi * s2
            columns.pulls[(e * m2 + 3) * width + k] += zr * s2 + zi * s1


@scalar
def tangent_row(i, run, x, g, field, features, a, width, columns, to):
    """(J v)_i of all columns, at ``to`` in columns.slopes."""
    out = to + i * width
    for k in range(width):
        columns.slopes[nonnegative(out + k)] = 0
    own, m2 = field[0] - field[0], 2 * g.harmonics
    for m in range(g.harmonics):
        c = at(0, m, g)
        s = c + g.n
        cosine, sine = features[c + i], features[s + i]
        own += (m + 1) * (cosine * field[a * m2 + 2 * m] + sine * field[a * m2 + 2 * m + 1])
        by = (a * m2 + 2 * m) * width
        for k in range(width):
            columns.slopes[nonnegative(out + k)] += (
                cosine * columns.pulls[nonnegative(by + k)] + sine * columns.pulls[nonnegative(by + width + k)]
            )
        if len(x.indptr):
            h = run * g.link_step + 2 * m
            re, im = x.link[h], x.link[h + 1]
            if len(x.scale):
                re, im = re * x.scale[i], im * x.scale[i]
            for e in range(x.indptr[i], x.indptr[i + 1]):
                j = x.indices[e]
                p, q = re * features[c + j] - im * features[s + j], re * features[s + j] + im * features[c + j]
                pulled = (m + 1) * (cosine * p + sine * q)
                if len(x.weight):
                    pulled *= x.weight[e]
                own += pulled
                of = j * width
                for k in range(width):
                    columns.slopes[nonnegative(out + k)] += pulled * columns.stage[nonnegative(of + k)]
    if len(x.corners):
        own += corner_row(i, x, g, features, width, columns, out)
    for k in range(width):
        columns.slopes[nonnegative(out + k)] -= own * columns.stage[nonnegative(i * width + k)]


@scalar
def corner_row(i, x, g, features, width, columns, out):
    """What j and k of listed triangles add to (J v)_i; returns the factor of - v_i."""
    c, n = at(0, 0, g), g.n
    s = c + n
    own, ci, si = features[c] - features[c], features[c + i], features[s + i]
    for e in range(x.corners[i], x.corners[i + 1]):
        j, k = x.corners[n + 1 + 2 * e], x.corners[n + 2 + 2 * e]
        p, q = features[c + j] * ci + features[s + j] * si, features[s + j] * ci - features[c + j] * si  # e_j / e_i
        u, v = features[c + k] * ci + features[s + k] * si, features[s + k] * ci - features[c + k] * si  # e_k / e_i
        # cos(2 a - b) and cos(a + b) of a = theta_j - theta_i, b = theta_k - theta_i
        a = x.corner_weight[2 * e] * ((p * p - q * q) * u + (p * q + q * p) * v)
        b = x.corner_weight[2 * e + 1] * (p * u - q * v)
        own += a + 2 * b
        for m in range(width):
            columns.slopes[nonnegative(out + m)] += (2 * a + b) * columns.stage[nonnegative(j * width + m)] + (
                b - a
            ) * columns.stage[nonnegative(k * width + m)]
    return own


@scalar
def tangent_slopes(run, x, g, base, width, columns, to):
    """The derivative of all columns; with inertia of (v, v')."""
    tangent_moments(x, g, base.features, width, columns)
    tangent_pulls(run, x, g, base.moments, width, columns)
    force = to + (g.variables - 1) * g.n * width
    for block in range(len(x.edges) - 1):
        for i in range(x.edges[block], x.edges[block + 1]):
            tangent_row(i, run, x, g, base.field, base.features, x.group[block], width, columns, force)
    if g.variables == 2:
        for i in range(g.n):
            for k in range(i * width, (i + 1) * width):
                v = columns.stage[nonnegative(g.n * width + k)]
                columns.slopes[nonnegative(to + k)] = v
                columns.slopes[nonnegative(force + k)] = (
                    columns.slopes[nonnegative(force + k)] - x.friction[i] * v
                ) / x.inertia[i]


@scalar
def combine_columns(count, columns, h, coefficients, out):
    """out = now + h sum_j coefficients_j slopes_j."""
    for e in range(count):
        out[nonnegative(e)] = columns.now[nonnegative(e)]
    for j in range(len(coefficients)):
        if coefficients[j] != 0:
            weight, row = h * coefficients[j], j * count
            for e in range(count):
                out[nonnegative(e)] += weight * columns.slopes[nonnegative(row + e)]


@bare_kernel
def tangents(phases, sizes, table, noise, times, base, columns, y, t, h, seed, count, steps):
    """``steps`` steps of length h from time t for y and all columns; ``count`` numbers the first for the noise.

    ``table`` (stages + 1, stages) holds the rows of a, then b; ``noise`` those of the scheme, then (1, 0).
    """
    x, g, w, v = Phases(*phases), Sizes(*sizes), Base(*base), Columns(*columns)
    states, stages = g.variables * g.n, table.shape[1]
    blocks, width = len(x.edges) - 1, len(v.now) // (g.variables * g.n)
    for step in range(steps):
        for stage in range(stages + 1):
            for block in range(blocks):
                combine(block, x, g, 0, y, w.slopes, w.stage, h, table[stage, :stage])
                if g.noisy:
                    if stage == 0:
                        draw(block, 0, x, g, h, seed, count + step, w.noise)
                    kick(block, x, g, w.noise, noise[stage, 0], noise[stage, 1], w.stage)
                if stage == stages:
                    settle(block, x, g, w.stage, y, 0)
                else:
                    sense(block, x, g, w.stage, w.features, 0, w.sums)
            combine_columns(states * width, v, h, table[stage, :stage], v.now if stage == stages else v.stage)
            if stage < stages:
                now = t + (step + times[stage]) * h
                fields(0, now, x, g, w.sums, 0, w.moments, w.field)
                for block in range(blocks):
                    slope(block, 0, now, x, g, w.field, w.features, 0, w.stage, w.slopes, stage * states)
                tangent_slopes(0, x, g, w, width, v, stage * states * width)
