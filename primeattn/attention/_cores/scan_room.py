"""Room of `scan_blocks`: one flat array, where everything in it lies, and how it is filled."""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from ..._runtime import memory, strips
from ..._runtime.jit import MATH, apart, nonnegative
from ..._runtime.strips import square
from ..._runtime.width import full_width
from .tiles import scalar

_LINE = 32  # numbers: whole cache lines, and whole grains of tokens, for every type
_STRIPE = 24 * 1024  # bytes: features of a stripe stay in the first-level cache


#: A function of its own in machine code: a call costs nothing beside a block, inlining costs compile time.
part = apart


def woven(function):
    """Steps of a loop over blocks, part of the loop's own code: a function of its own would be compiled twice."""
    return njit(function, inline="always", _nrt=False, **MATH)


class Space(NamedTuple):
    """``room`` by `Plan`; sums over keys or over queries, in float64, and ``near``, the same as they enter products.

    ``wide``: float64 numbers for each token of a block.
    """

    room: Any
    near: Any
    wide: Any
    sums: Any


class Plan(NamedTuple):
    """Sizes, then places.

    ``span``, ``wide`` and ``deep`` are block, width and columns in whole grains, ``stripe`` how many features are
    taken at once. Places in ``sums`` and ``near``: the table (features, columns) at 0, ``moments``, and in ``sums``
    alone ``scalars``: the sum of norms, and the unit that all is in, 0 when nothing is in it yet.
    Places in ``room``: (entries, span) for what has an entry in its name or comment, (span, ..) for ``_rows``.
    """

    degree: int
    width: int
    columns: int
    block: int
    span: int
    wide: int
    deep: int
    grain: int
    panel: int
    side: int
    stripe: int
    moments: int
    scalars: int
    features: int  # (stripe, span)
    product: int  # (stripe, span or deep), (width, wide)
    queries: int  # entries
    keys: int  # entries
    turned: int  # entries: M x
    pulled: int  # entries: gradients
    upstream: int  # (columns, span): g, or values
    out: int  # (columns, span)
    query_rows: int
    key_rows: int
    value_rows: int
    upstream_rows: int
    dkey_rows: int
    dvalue_rows: int
    scores: int  # (keys, queries), (span, span)
    dscores: int
    own: int  # (span,): units of the queries
    inverse: int  # (span,)
    change: int  # (span,): c_i
    size: int


def _up(n: int, step: int) -> int:
    return -(-n // step) * step


def feature_count(width: int, degree: int) -> int:
    return width * (width + 1) // 2 if degree == 2 else width


@lru_cache(64)
def plan_of(width: int, columns: int, degree: int, block: int, dtype) -> Plan:
    """Rows come in whole `strips.ROWS`, so that products may read and write beyond the last."""
    grain = strips.grain(dtype)
    span, wide, deep = (_up(max(n, 1), max(grain, _LINE)) for n in (block, width, columns))
    fit = _STRIPE // (np.dtype(dtype).itemsize * span)
    features = feature_count(width, degree)
    stripe = min(max(fit, width), features) if degree == 2 else width
    table, moments = features * columns, width * width if degree == 2 else width
    rows, high, tall = (_up(n, strips.ROWS) for n in (width, columns, span))
    slab = _up(stripe, strips.ROWS)
    sizes = [
        slab * span if degree == 2 else 0,
        max(slab * max(span, deep), rows * wide),
        *[rows * span] * 4, *[high * span] * 2, *[tall * wide] * 2, *[tall * deep] * 2,
        tall * wide, tall * deep, *[tall * span] * 2, *[span] * 3,
    ]  # fmt: skip
    places = np.concatenate([[0], np.cumsum([_up(n, _LINE) for n in sizes])]).tolist()
    places[-1] += _LINE  # products read beyond the last row
    return Plan(
        degree, width, columns, block, span, wide, deep, grain, strips.panel(dtype), strips.side(dtype), stripe,
        table, table + moments, *places,
    )  # fmt: skip


def space(p: Plan, dtype, sums=None) -> Space:
    """Room of a thread; all zeros."""
    beyond = strips.ROWS * max(p.width, p.columns) + _LINE
    own = np.empty(p.scalars + 2) if sums is None else sums
    sizes = (p.size, dtype), (p.scalars + beyond, dtype), (4 * p.span, np.dtype(np.float64))
    room, near, wide = (memory.workspace(*size, slot) for slot, size in enumerate(sizes, 1))
    for x in (room, near, wide):
        x.fill(0)
    return Space(room, near, wide, own)


@scalar
def transpose(x, at, stride, rows, columns, side, out, to, step):
    """out[c, r] = x[r, c], whose rows lie ``step`` and ``stride`` apart."""
    one = type(x[0])(1)
    whole, across = rows // side * side, columns // side * side
    for c in range(0, across, side):
        for r in range(0, whole, side):
            square(x, at + r * stride + c, stride, one, out, to + c * step + r, step)
    for c in range(columns):
        for r in range(whole if c < across else 0, rows):
            out[nonnegative(to + c * step + r)] = x[nonnegative(at + r * stride + c)]


@part
def clear(w, p):
    for f in range(p.scalars + 2):
        w.sums[nonnegative(f)] = 0.0
    for f in range(p.scalars):
        w.near[nonnegative(f)] = type(w.near[0])(0)


@part
def round_off(w, p):
    """The copies of the sums that enter products."""
    full_width()
    for f in range(p.scalars):
        w.near[nonnegative(f)] = w.sums[nonnegative(f)]
