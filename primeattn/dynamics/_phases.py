r"""The derivative of coupled phase oscillators, all terms of it, for one time and one run.

With e_i = exp(i theta_i) and complex couplings h, which hold strength and phase lag,

    theta_i' = omega_i + Im sum_m e_i^{-m} ( F_m(group of i) + h_m sum_j scale_i w_ij e_j^m )
    F_m(a)   = sum_b field_{m a b} sum_{j in b} e_j^m  +  triads and forcing (m = 1, 2)
    triads:  F_1 += p Z_2 conj(Z_1),   F_2 += q Z_1^2,   Z_m = (1/n) sum_j e_j^m
    forcing: F_1 += f exp(i (nu t + chi)).

With a schedule, all h and field are multiplied by a function of time. With a delay they take the e_j of then
(`_delay`). Listed triangles are gathered row by row (`_triangles`), rings and full matrices without indices
(`_neighbours`). Weights that learn are part of the state (`_learning`). Amplitudes and points on spheres put their
coordinates in the place of cos and sin (`_bodies`), so that all sums over others stay what they are.

Everything an oscillator feels is a polynomial in its own e_i^{-1}: two numbers (cos, sin) an oscillator and harmonic, n
sine-cosine pairs instead of one sine an edge. With inertia, m_i theta_i'' = the above - friction theta_i'.

Oscillators are cut into blocks, none of which straddles two groups; a block is what one thread does at a time, in the
first-level cache, and sums are sums over blocks in order, so that no bit depends on the number of threads.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from .._runtime import elementary as el
from .._runtime.disjoint import disjoint
from .._runtime.jit import MATH, apart, nonnegative, piece, scalar
from ._bodies import add_heard, amplify, turn
from ._learning import add_learning, learn
from ._neighbours import add_ring, add_rows
from ._slices import feel, heard_at, own_pairs, pair_up
from ._triangles import add_triangles

PHASES, AMPLITUDES, SPHERES = 0, 1, 2  # what oscillators are: angles, complex numbers, unit vectors

_NO_INTEGERS = np.zeros(0, np.int64)
BLOCK = 2048  # oscillators: five arrays of them fit the first-level cache


class Phases(NamedTuple):
    """Flat arrays; a leading axis of runs has one row where all runs share it, and then a step of 0 in `Sizes`.

    ``weight``, ``scale``, ``inertia``, ``triads``, ``forcing`` are empty where there is none of it.
    """

    omega: Any  # (runs, n)
    field: Any  # (runs, harmonics, groups, groups, 2)
    triads: Any  # (runs, 4): p and q
    forcing: Any  # (runs, 3): f, nu, chi
    link: Any  # (runs, harmonics, 2): h
    indptr: Any  # (n + 1,) int64; empty without a network
    indices: Any  # (edges,) int32: edge j -> i stands in row i
    weight: Any  # (edges,)
    scale: Any  # (n,)
    inertia: Any  # (n,)
    friction: Any  # (n,)
    sigma: Any  # (runs, n) or (runs, 1): sqrt(2 diffusion)
    edges: Any  # (blocks + 1,) int64: block b holds the oscillators edges[b] to edges[b + 1] - 1
    group: Any  # (blocks,) int64
    begins: Any = _NO_INTEGERS  # the network once more, see `_slices.Slices`; empty: rows are read as above
    part: Any = _NO_INTEGERS
    strands: Any = np.zeros(0, np.int32)
    starts: Any = _NO_INTEGERS
    heard: Any = np.zeros(0, np.int32)
    strength: Any = np.zeros(0)
    first: Any = _NO_INTEGERS
    schedule: Any = np.zeros(0)  # (2 k,): k times, then the factors of the pairwise coupling at them
    corners: Any = _NO_INTEGERS  # (n + 1 + 2 T,): where rows of triangles begin, then j and k of each
    corner_weight: Any = np.zeros(0)  # (T, 2): p and q of each
    matrix: Any = np.zeros(0)  # (n, n): weights of a network that is nearly full; indptr is empty then
    learning: Any = np.zeros(0)  # (3,): rate of learning, and strength times cos and sin of its shift
    body: Any = np.zeros(0)  # (1 + 2 n,): of amplitudes, see `_bodies`


class Sizes(NamedTuple):
    """Integers."""

    n: int
    variables: int  # 1, or 2 with inertia: theta, then theta'
    harmonics: int
    groups: int
    mean: int  # 1 if there are mean fields
    noisy: int  # 1 white, 2 coloured
    omega_step: int
    field_step: int
    triads_step: int
    forcing_step: int
    link_step: int
    sigma_step: int
    sigma_each: int
    stream: int  # of random numbers: run r has stream + r % streams
    streams: int
    delayed: int  # 1: one delay, 2: one an edge
    slots: int  # grid points of the past in memory
    first: int  # number of the grid point at the start of the run
    states: int  # numbers of a run: variables * n, and then the weights that learn
    parts: int  # variables, and 1 more if weights learn
    kicked: int  # the last so many variables get noise
    kind: int  # PHASES, AMPLITUDES or SPHERES
    ring: int  # neighbours on each side of a ring; 0: none
    turns: int = 1  # 0 if nobody but an oscillator itself reads its cos and sin, of which one copy is enough then
    paired: int = 0  # 1 if they are read as pairs only, see `_slices`


@scalar
def pull(re, im, c, s):
    """Im (re + i im)(c - i s): what a field does to a phase."""
    return im * c - re * s


@scalar
def at(parity, harmonic, g):
    """Where the cosines of a harmonic (0 is m = 1) start in ``features``; sines follow."""
    return (parity * g.turns * g.harmonics + harmonic) * 2 * g.n


@scalar
def own_at(block, parity, harmonic, x, g):
    """`at`, and how far from a cosine its sine stands; of pairs in the making, where the block no longer hears."""
    if g.paired:
        first = x.edges[block]
        return heard_at(harmonic, len(x.begins), g) + first, x.edges[block + 1] - first
    return at(parity, harmonic, g), g.n


_summing = njit(forceinline=True, _nrt=False, **{**MATH, "fastmath": {"contract", "reassoc", "nsz"}})


@_summing
def totals(x, start, stop, apart):
    """Sums of x from start on, and of what stands ``apart``."""
    p = q = type(x[0])(0)
    for i in range(start, stop):
        p += x[nonnegative(i)]
        q += x[nonnegative(apart + i)]
    return p, q


@_summing
def directions(first, last, theta, features, c, n):
    """cos and sin, and their sums, which are NaN if an angle is not near."""
    disjoint()
    p = q = theta[first] - theta[first]
    for i in range(first, last):
        sine, cosine = el.sincos_near(theta[nonnegative(i)])
        features[nonnegative(c + i)] = cosine
        features[nonnegative(c + n + i)] = sine
        p += cosine
        q += sine
    return p, q


@apart
def far_directions(first, last, theta, features, c, n):
    """`directions` of any angles."""
    p = q = theta[first] - theta[first]
    for i in range(first, last):
        sine, cosine = el.sincos(theta[i])
        features[c + i], features[c + n + i] = cosine, sine
        p += cosine
        q += sine
    return p, q


@piece
def rotate(first, last, omega, at, re, im, features, c, n, out, to):
    """out = omega + what a field does."""
    disjoint()
    for i in range(first, last):
        pulled = pull(re, im, features[nonnegative(c + i)], features[nonnegative(c + n + i)])
        out[nonnegative(to + i)] = omega[nonnegative(at + i)] + pulled


@piece
def sense(block, x, g, theta, features, parity, sums):
    """cos and sin of all harmonics over a block, or the coordinates of bodies, and their sums."""
    first, last = x.edges[block], x.edges[block + 1]
    c1, gap = own_at(block, parity, 0, x, g)
    if g.kind != PHASES:
        for variable in range(g.variables):
            for i in range(variable * g.n + first, variable * g.n + last):
                features[nonnegative(c1 + i)] = theta[nonnegative(i)]
    else:
        p, q = directions(first, last, theta, features, c1, gap)
        if p + q != p + q:  # NaN: one of them is far from 0, or nothing
            p, q = far_directions(first, last, theta, features, c1, gap)
        if g.mean:
            to = (parity * (len(x.edges) - 1) + block) * g.harmonics * 2
            sums[to], sums[to + 1] = p, q
    for m in range(1, g.harmonics if g.kind == PHASES else 1):
        c, before = own_at(block, parity, m, x, g)[0], own_at(block, parity, m - 1, x, g)[0]
        for i in range(first, last):
            a, b = features[nonnegative(c1 + i)], features[nonnegative(c1 + gap + i)]
            p, q = features[nonnegative(before + i)], features[nonnegative(before + gap + i)]
            features[nonnegative(c + i)] = p * a - q * b
            features[nonnegative(c + gap + i)] = p * b + q * a
    if len(x.starts):
        for m in range(g.harmonics):
            c, to = own_at(block, parity, m, x, g)[0], own_pairs(block, parity, m, x, g)
            pair_up(first, last, c, gap, to, features)
    if g.mean:
        add_up(block, 0 if g.kind != PHASES else 1, x, g, features, parity, sums)


@piece
def add_up(block, lowest, x, g, features, parity, sums):
    """Sums of cosines and sines over a block, from a harmonic on."""
    first, last = x.edges[block], x.edges[block + 1]
    for m in range(lowest, g.harmonics):
        c = at(parity, m, g)
        to = ((parity * (len(x.edges) - 1) + block) * g.harmonics + m) * 2
        sums[to], sums[to + 1] = totals(features, c + first, c + last, g.n)


@scalar
def ramp(t, schedule):
    """The factor of the pairwise coupling at time t: linear between the times of the schedule, constant beyond."""
    count = len(schedule) // 2
    low, high = 0, count - 1
    while high - low > 1:
        middle = (low + high) // 2
        if schedule[middle] <= t:
            low = middle
        else:
            high = middle
    a, b = schedule[low], schedule[high]
    if t <= a or b <= a:
        return schedule[count + low]
    if t >= b:
        return schedule[count + high]
    part = (t - a) / (b - a)
    return schedule[count + low] + part * (schedule[count + high] - schedule[count + low])


@scalar
def gather(blocks, group, groups, m2, sums, start, moments):
    """Sums over groups from the sums over blocks."""
    for e in range(groups * m2):
        moments[e] = 0
    for block in range(blocks):
        for e in range(m2):
            moments[group[block] * m2 + e] += sums[start + block * m2 + e]


@piece
def fields(run, t, x, g, sums, parity, moments, out):
    """F_m of all groups, (groups, harmonics, 2), from the sums of the blocks."""
    blocks, m2 = len(x.edges) - 1, 2 * g.harmonics
    for e in range(g.groups * m2):
        out[e] = 0
    if g.mean:
        past = parity + (2 if g.delayed == 1 else 0)
        gather(blocks, x.group, g.groups, m2, sums, past * blocks * m2, moments)
        for a in range(g.groups):
            for b in range(g.groups):
                for m in range(g.harmonics):
                    h = run * g.field_step + ((m * g.groups + a) * g.groups + b) * 2
                    p, q = moments[b * m2 + 2 * m], moments[b * m2 + 2 * m + 1]
                    out[a * m2 + 2 * m] += x.field[h] * p - x.field[h + 1] * q
                    out[a * m2 + 2 * m + 1] += x.field[h] * q + x.field[h + 1] * p
    if len(x.schedule):
        factor = ramp(t, x.schedule)
        for e in range(g.groups * m2):
            out[e] *= factor
    if len(x.triads):
        if g.delayed == 1:
            gather(blocks, x.group, g.groups, m2, sums, parity * blocks * m2, moments)
        add_triads(run, x, g, moments, out)
    if len(x.forcing):
        f = run * g.forcing_step
        sine, cosine = el.sincos(x.forcing[f + 1] * t + x.forcing[f + 2])
        for a in range(g.groups):
            out[a * m2] += x.forcing[f] * cosine
            out[a * m2 + 1] += x.forcing[f] * sine


@piece
def add_triads(run, x, g, moments, out):
    """F_1 += p Z_2 conj(Z_1), F_2 += q Z_1^2."""
    m2, h = 2 * g.harmonics, run * g.triads_step
    a = b = c = d = moments[0] - moments[0]
    n = type(a)(g.n)
    for e in range(g.groups):
        a += moments[e * m2] / n
        b += moments[e * m2 + 1] / n
        c += moments[e * m2 + 2] / n
        d += moments[e * m2 + 3] / n
    u, v = c * a + d * b, d * a - c * b  # Z_2 conj(Z_1)
    r, w = a * a - b * b, a * b + a * b  # Z_1^2
    for e in range(g.groups):
        out[e * m2] += x.triads[h] * u - x.triads[h + 1] * v
        out[e * m2 + 1] += x.triads[h] * v + x.triads[h + 1] * u
        out[e * m2 + 2] += x.triads[h + 2] * r - x.triads[h + 3] * w
        out[e * m2 + 3] += x.triads[h + 2] * w + x.triads[h + 3] * r


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
