"""Blocks: ``ROWS`` queries against a tile of keys, packed so that `strip` multiplies them from aligned memory."""

from typing import NamedTuple

import numpy as np

from ..._runtime.jit import nonnegative
from ..._runtime.strips import square, strip
from .layout import DISTANCE, PLAIN, key_range
from .tiles import fill, scalar, tile_range

#: Keys of a block go by so many, whole grains of every type: loops over them need no remainder.
CHUNK = 32
#: The first of them are at a multiple of this: a whole panel of every type.
START = 64


class Plan(NamedTuple):
    """Queries and keys of a tile (multiples of ROWS and START), columns of a grain and of a panel, the side of a square
    that is turned at once, width and depth in whole grains, and how far rows of scores lie apart."""

    rows: int
    columns: int
    grain: int
    panel: int
    side: int
    wide: int
    deep: int
    span: int


class Block(NamedTuple):
    """``rows`` queries of a head, from ``query`` on, and the keys that they meet in the key tile at ``start``.

    They may attend keys in [low, high) only, and scores are computed for those in [left, right), whole chunks.
    """

    head: int
    query: int
    rows: int
    start: int
    low: int
    high: int
    left: int
    right: int


@scalar
def block_of(head, query, rows, start, g, plan):
    low, high = tile_range(query, rows, start, plan.columns, g)
    left = start + (low - start) // START * START
    right = start + (high - start + CHUNK - 1) // CHUNK * CHUNK
    return Block(head, query, rows, start, low, high, left, right)


@scalar
def pack_rows(x, at, count, width, out, wide, room):
    """``count`` rows of x, ``wide`` apart in out; zeros beside them and, up to ``room`` rows, below."""
    zero = type(x[0])(0)
    for r in range(count):
        for c in range(width):
            out[nonnegative(r * wide + c)] = x[nonnegative(at + r * width + c)]
        for c in range(width, wide):
            out[nonnegative(r * wide + c)] = zero
    fill(out, count * wide, (room - count) * wide, zero)


@scalar
def pack_turned(x, at, count, width, scale, out, panel, side, lift):
    """``count`` rows of x, times scale, as columns of panels, each (width, panel); zeros where the last is not full.

    ``lift``: rows that are left free above each panel.
    """
    for first in range(0, count, panel):
        here, to = min(count - first, panel), first * (width + lift) + lift * panel
        rows, columns = here // side * side, width // side * side
        for r in range(0, rows, side):
            for c in range(0, columns, side):
                square(x, at + (first + r) * width + c, width, scale, out, to + c * panel + r, panel)
        for c in range(width):
            for r in range(rows if c < columns else 0, here):
                out[nonnegative(to + c * panel + r)] = x[nonnegative(at + (first + r) * width + c)] * scale
            fill(out, to + c * panel + here, panel - here, type(scale)(0))


@scalar
def add_distance(s, at, n, slope, distance):
    """ALiBi: scores fall by slope times |distance|, which is given for the first key and falls by 1 a key."""
    for c in range(n):
        s[nonnegative(at + c)] -= slope * type(slope)(abs(distance - c))


@scalar
def lift_of(g):
    """Rows above the panels of packed keys: one, for what a distance adds to their scores."""
    return 1 if g.metric == DISTANCE else 0


@scalar
def weight_at(head, c, x, g):
    """scale times the metric of a head, at coordinate c."""
    return x.scale * x.slopes[nonnegative(head * g.width + c)]


@scalar
def add_lengths(keys, at, above, weight, n):
    """Subtract weight k^2 / 2, of one coordinate of n keys."""
    half = weight / type(weight)(-2)
    for r in range(n):
        k = keys[nonnegative(at + r)]
        keys[nonnegative(above + r)] += half * k * k


@scalar
def pack_keys(key, count, head, x, g, plan, keys):
    """Keys of a tile, from row ``key`` on, turned, times scale and the metric of a query head; above them, for a
    distance, -scale <k, M k> / 2.
    """
    lift, plain = lift_of(g), g.metric == PLAIN
    pack_turned(
        x.k, key * g.width, count, g.width, x.scale if plain else type(x.scale)(1), keys, plan.panel, plan.side, lift
    )  # fmt: skip
    for first in range(0, 0 if plain else count, plan.panel):
        above = first * (g.width + lift)
        fill(keys, above, lift * plan.panel, x.scale - x.scale)
        for c in range(g.width):
            weight, at = weight_at(head, c, x, g), above + (c + lift) * plan.panel
            if lift:
                add_lengths(keys, at, above, weight, plan.panel)
            for r in range(plan.panel):
                keys[nonnegative(at + r)] *= weight


@scalar
def apply_mask(s, at, n, mask, first, step):
    """-inf for the keys that the mask forbids."""
    nothing = type(s[0])(-np.inf)
    if step == 1:  # a step known to the compiler lets it vectorise
        for c in range(n):
            s[nonnegative(at + c)] = s[nonnegative(at + c)] if mask[nonnegative(first + c)] != 0 else nothing
    else:
        for c in range(n):
            s[nonnegative(at + c)] = s[nonnegative(at + c)] if mask[first + c * step] != 0 else nothing


@scalar
def limit_row(b, r, at, x, g, s):
    """Distance, mask and band of a block's row r, whose score of key ``start`` lies at ``at``."""
    mask, i, row = x.mask, b.query + r, at - b.start
    low, high = key_range(i, g)
    low, high = min(max(low, b.low), b.right), max(min(high, b.high), b.left)
    nothing = type(x.scale)(-np.inf)
    if g.metric == PLAIN and x.slopes[b.head] != 0:
        add_distance(s, row + b.left, b.right - b.left, x.slopes[b.head], i + g.keys - g.queries - b.left)
    if mask.size > 1 or mask[0] == 0:
        first = x.mask_at[b.head] + i * g.mask_row + b.low * g.mask_key
        apply_mask(s, row + b.low, b.high - b.low, mask, first, g.mask_key)
    fill(s, row + b.left, low - b.left, nothing)
    fill(s, row + high, b.right - high, nothing)


@scalar
def score_block(b, a, at, step, x, g, plan, keys, s, to):
    """Scores of a block into s, from row ``to`` on, from its queries in a, ``step`` apart; -inf where not allowed."""
    grains, chunk, lift = (b.right - b.left) // plan.grain, b.left - b.start, lift_of(g)
    high = g.width + lift
    strip(
        g.width, grains, a, at, step, keys, chunk * high, plan.panel, plan.panel * high, s, to * plan.span + chunk,
        plan.span, 2 * lift,
    )  # fmt: skip
    for r in range(b.rows):
        limit_row(b, r, (to + r) * plan.span, x, g, s)
