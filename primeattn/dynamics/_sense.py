"""What a state shows to others: cos and sin of phases, or the coordinates of bodies, and their sums over blocks."""

from .._runtime import elementary as el
from .._runtime.disjoint import disjoint
from .._runtime.jit import apart, nonnegative, piece, scalar, summing
from ._phases import PHASES, at
from ._slices import heard_at, own_pairs, pair_up


@scalar
def own_at(block, parity, harmonic, x, g):
    """`at`, and how far from a cosine its sine stands; of pairs in the making, where the block no longer hears."""
    if g.paired:
        first = x.edges[block]
        return heard_at(harmonic, len(x.begins), g) + first, x.edges[block + 1] - first
    return at(parity, harmonic, g), g.n


@summing
def totals(x, start, stop, apart):
    """Sums of x from start on, and of what stands ``apart``."""
    p = q = type(x[0])(0)
    for i in range(start, stop):
        p += x[nonnegative(i)]
        q += x[nonnegative(apart + i)]
    return p, q


@summing
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
