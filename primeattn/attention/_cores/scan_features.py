"""Products of a block of tokens with the sums of `scan_blocks`: what they read, what they pull back, what they add."""

import numpy as np

from ..._runtime.jit import nonnegative
from ..._runtime.strips import ROWS, strip, strip_turned
from ..._runtime.vectors import LANES, broadcast, fma, load, store
from ..._runtime.width import full_width
from .scan_room import part, woven
from .tiles import fill, scalar


@scalar
def first_feature(a, p):
    """Features come entry by entry: those of entry a are its products with entries 0 to a."""
    return a * (a + 1) // 2 if p.degree == 2 else a


@scalar
def stripe_end(a, p):
    """The last entry, exclusive, whose features join those of entry a."""
    end = a + 1
    while end < p.width and first_feature(end + 1, p) - first_feature(a, p) <= p.stripe:
        end += 1
    return end


@part
def expand(w, p, x, start, stop, off):
    """Features of entries [start, stop) from those at x; products of two different entries times ``off``.

    Where they lie: features of degree 1 are the entries.
    """
    full_width()
    if p.degree == 1:
        return x + start * p.span
    row = p.features
    for a in range(start, stop):
        for t in range(0, p.span, LANES):
            own = load(w.room, nonnegative(x + a * p.span + t))
            twice = own * broadcast(off)
            for b in range(a):
                product = twice * load(w.room, nonnegative(x + b * p.span + t))
                store(w.room, nonnegative(row + b * p.span + t), product)
            store(w.room, nonnegative(row + a * p.span + t), own * own)
        row += (a + 1) * p.span
    return p.features


@part
def contract(w, p, x, start, stop, off):
    """w.pulled += gradient of the entries at x from that of the features of entries [start, stop), in w.product."""
    full_width()
    if p.degree == 1:
        for f in range((stop - start) * p.span):
            w.room[nonnegative(p.pulled + start * p.span + f)] += w.room[nonnegative(p.product + f)]
        return
    row = p.product
    for a in range(start, stop):
        for t in range(0, p.span, LANES):
            factor, at = broadcast(off), nonnegative(p.pulled + a * p.span + t)
            own = load(w.room, nonnegative(x + a * p.span + t))
            twice, total = own * factor, own - own
            for b in range(a):
                d, to = load(w.room, nonnegative(row + b * p.span + t)), nonnegative(p.pulled + b * p.span + t)
                total = fma(d, load(w.room, nonnegative(x + b * p.span + t)), total)
                store(w.room, to, fma(d, twice, load(w.room, to)))
            total = fma(own + own, load(w.room, nonnegative(row + a * p.span + t)), total * factor)
            store(w.room, at, load(w.room, at) + total)
        row += (a + 1) * p.span


@scalar
def add_rows(w, at, rows, columns, product, apart):
    """Sums and their rounded copy, from ``at`` on, after the share of a block."""
    for r in range(rows):
        for c in range(columns):
            f = at + r * columns + c
            total = w.sums[nonnegative(f)] + w.room[nonnegative(product + r * apart + c)]
            w.sums[nonnegative(f)] = total
            w.near[nonnegative(f)] = total


@part
def absorb(w, p, x, x_rows, values, n, columns, off):
    """sum_t features of x_t times values_t joins the table, sum_t x_t x_rows_t' (degree 1: x_rows_t) the moments."""
    full_width()
    a = 0
    while a < p.width:
        end = stripe_end(a, p)
        first = first_feature(a, p)
        count = first_feature(end, p) - first
        features = expand(w, p, x, a, end, off)
        for f in range(0, count, ROWS):
            strip(
                n, p.deep // p.grain, w.room, features + f * p.span, p.span, w.room, values, p.deep, p.panel,
                w.room, p.product + f * p.deep, p.deep, 0,
            )  # fmt: skip
        add_rows(w, first * columns, count, columns, p.product, p.deep)
        a = end
    if p.degree == 2:
        for r in range(0, p.width, ROWS):
            strip(
                n, p.wide // p.grain, w.room, x + r * p.span, p.span, w.room, x_rows, p.wide, p.panel,
                w.room, p.product + r * p.wide, p.wide, 0,
            )  # fmt: skip
        add_rows(w, p.moments, p.width, p.width, p.product, p.wide)
    else:
        fill(w.room, p.product, p.width, w.room[0] - w.room[0])
        for t in range(n):
            for c in range(p.width):
                w.room[nonnegative(p.product + c)] += w.room[nonnegative(x_rows + t * p.wide + c)]
        add_rows(w, p.moments, 1, p.width, p.product, p.width)


@part
def read(w, p, x, columns, off):
    """w.out = table' features of x."""
    a = 0
    while a < p.width:
        end = stripe_end(a, p)
        first = first_feature(a, p)
        features = expand(w, p, x, a, end, off)
        for c in range(0, columns, ROWS):
            strip_turned(
                first_feature(end, p) - first, p.span // p.grain, w.near, first * columns + c, columns, w.room,
                features, p.span, p.panel, w.room, p.out + c * p.span, p.span, 0 if a == 0 else 1,
            )  # fmt: skip
        a = end


@part
def pull(w, p, x, columns, off):
    """w.pulled += gradient of x from what table' features of x gives to w.upstream."""
    a = 0
    while a < p.width:
        end = stripe_end(a, p)
        first = first_feature(a, p)
        for f in range(0, first_feature(end, p) - first, ROWS):
            strip(
                columns, p.span // p.grain, w.near, (first + f) * columns, columns, w.room, p.upstream, p.span,
                p.panel, w.room, p.product + f * p.span, p.span, 0,
            )  # fmt: skip
        contract(w, p, x, a, end, off)
        a = end


@part
def turn(w, p, x):
    """w.turned = M x, or the sum of entries: the gradient of r, up to the factor ``degree``."""
    if p.degree == 2:
        for a in range(0, p.width, ROWS):
            strip(
                p.width, p.span // p.grain, w.near, p.moments + a * p.width, p.width, w.room, x, p.span, p.panel,
                w.room, p.turned + a * p.span, p.span, 0,
            )  # fmt: skip
    else:
        for a in range(p.width):
            fill(w.room, p.turned + a * p.span, p.span, w.near[p.moments + a])


@woven
def pull_moments(w, p, x):
    """w.pulled = degree c M x."""
    full_width()
    turn(w, p, x)
    degree = type(w.room[0])(p.degree)
    for a in range(p.width):
        for t in range(p.span):
            d = w.room[nonnegative(p.change + t)] * w.room[nonnegative(p.turned + a * p.span + t)]
            w.room[nonnegative(p.pulled + a * p.span + t)] = d * degree


@woven
def read_moments(w, p, n):
    """r_i of the keys before the block, into w.wide: never below 0, whatever rounding does."""
    full_width()
    turn(w, p, p.queries)
    fill(w.wide, 0, n, 0.0)
    for a in range(p.width):
        for t in range(n):
            at = a * p.span + t
            entry = np.float64(w.room[nonnegative(p.queries + at)])
            w.wide[nonnegative(t)] += entry * np.float64(w.room[nonnegative(p.turned + at)])
    for t in range(n):
        r = w.wide[nonnegative(t)]
        w.wide[nonnegative(t)] = 0.0 if r < 0 else r
