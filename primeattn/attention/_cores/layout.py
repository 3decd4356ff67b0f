"""Where a row of a flat array lies, and which keys a query may attend."""

from typing import Any, NamedTuple

from ..._runtime.jit import scalar

#: Products <q, k> of queries and keys; <q, M k>; or -(q - k)' M (q - k) / 2, less what is the same for all keys.
PLAIN, DOT, DISTANCE = 0, 1, 2


class Layout(NamedTuple):
    """Sizes of one call, as integers.

    Query ``i`` stands at position i + keys - queries, and attends the keys from ``before`` positions back to
    ``after`` ahead: a band. Query head ``h`` reads key head ``h // group``. A key head has ``room`` rows in
    memory, of which the first ``keys`` are in use. The mask of a head starts at its own offset; ``mask_row`` and
    ``mask_key`` are the steps in it, 0 where it is broadcast. ``metric``: whether coordinates have weights of their own
    (`PLAIN`, `DOT`, `DISTANCE`).
    """

    group: int
    queries: int
    keys: int
    room: int
    width: int
    depth: int
    before: int
    after: int
    mask_row: int
    mask_key: int
    metric: int = 0


class Problem(NamedTuple):
    """What every loop reads. Flat arrays: q (heads, queries, width), k and v (key heads, room, width or depth).

    ``mask`` holds bytes, 1 where a query may attend; ``mask_at`` and ``slopes`` (ALiBi) have one entry a head. With a
    metric, its row of ``width`` numbers for every query head takes the place of the slopes.
    Kernels get both records as plain tuples, which CUDA knows, and name the fields again by ``Problem(*problem)``.
    """

    q: Any
    k: Any
    v: Any
    mask: Any
    mask_at: Any
    slopes: Any
    scale: Any


@scalar
def key_range(i, g):
    """The keys [low, high) that the band leaves to query i."""
    position = i + g.keys - g.queries
    return max(0, position - g.before), min(g.keys, position + g.after + 1)


@scalar
def query_range(j, g):
    """The queries [low, high) to which the band leaves key j."""
    position = j - g.keys + g.queries
    return max(0, position - g.after), min(g.queries, position + g.before + 1)
