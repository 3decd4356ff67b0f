"""Gradients of what all tokens share, from sums over pieces (see ``angles``), where they attend one another by a plain
step: what ``gradients`` computes for every call, in one compiled call. At 256 tokens a look from Python at each of them
took as long as all loops around the attention.
"""

import math
from functools import lru_cache
from itertools import accumulate
from typing import Any

import numpy as np

from ..._runtime import memory
from ..._runtime.jit import nonnegative
from .. import _inputs
from .._cores.tiles import fill, kernel
from .angles import SUMS
from .call import Call
from .features import Side, Sizes
from .sums import PIECE

#: In the order in which `parameters_cpu` stores them.
NAMES = "step", "gate_query", "gate_key", "drift", "beta"


@kernel
def parameters_cpu(start, stop, sizes, lines, queries, keys, steps, sums, counts, total, out):
    """Gradients of heads [start, stop), which are all of them, one after the other to out, ``counts`` numbers of each:
    one an angle or head, or sums of those that share one. ``total``: room, in float64, for all as if none were shared.
    """
    z, query, key = Sizes(*sizes), Side(*queries), Side(*keys)
    n, d, pieces = z.width, z.heads * z.width, (z.tokens + PIECE - 1) // PIECE
    fill(total, 0, 4 * d + z.heads, 0.0)
    for head in range(start, stop):
        own = head * n
        for line in range(head, lines, z.heads):
            for piece in range(line * pieces, (line + 1) * pieces):
                age, at = float(PIECE * (piece - line * pieces)), SUMS * piece * n
                for c in range(n):
                    total[nonnegative(own + c)] += steps[nonnegative(piece * n + c)]
                    total[nonnegative(d + own + c)] += sums[nonnegative(at + c)]
                    total[nonnegative(2 * d + own + c)] += sums[nonnegative(at + n + c)]
                    late = sums[nonnegative(at + 3 * n + c)] + age * sums[nonnegative(at + 2 * n + c)]
                    total[nonnegative(3 * d + own + c)] += late
        for c in range(own, own + n):
            of_gate = total[nonnegative(d + c)]
            total[4 * d + head] += of_gate if query.token else of_gate * query.gate[nonnegative(c)]
            total[nonnegative(d + c)] = of_gate * query.factor[head]
            total[nonnegative(2 * d + c)] *= key.factor[head]
    to = 0
    for which in range(len(NAMES)):
        first, own, count = which * d, d if which < 4 else z.heads, counts[which]
        for c in range(count, own if count > 0 else 0):
            total[first + c % count] += total[nonnegative(first + c)]
        for c in range(count):
            out[nonnegative(to + c)] = total[nonnegative(first + c)]
        to += count


@lru_cache(256)
def _places(*shapes):
    """How many numbers each gradient has, and (name, where it lies, shape) of those that there are."""
    counts = [0 if shape is None else math.prod(shape) for shape in shapes]
    stops = list(accumulate(counts))
    places = [slice(stop - n, stop) for stop, n in zip(stops, counts, strict=True)]
    return tuple(counts), stops[-1], [x for x in zip(NAMES, places, shapes, strict=True) if x[2] is not None]


def of_parameters(call: Call, steps, sums, dgate_q, dgate_k) -> dict[str, Any]:
    """Of step, gates, drift and beta, as far as they were given, in their shapes; steps and sums as of `by_head`."""
    side, query, key, shapes = call.queries, call.query, call.key, call.shapes
    of_query, of_key = shapes.get("gate_query"), shapes.get("gate_key")
    counts, size, places = _places(
        shapes["step"], None if query.token else of_query, None if key.token else of_key, shapes["drift"] or None,
        shapes["beta"],
    )  # fmt: skip
    z, dtype = side.sizes, side.theta.dtype
    room, out = memory.workspace(4 * call.width + z.heads, np.float64, slot=1), np.empty(size, dtype)
    parameters_cpu(
        0, z.heads, tuple(z), side.rows // z.tokens, tuple(query), tuple(key), steps, sums, counts, room, out
    )
    grads = {name: out[place].reshape(shape) for name, place, shape in places}
    for name, of_tokens, x in (("gate_query", dgate_q, query), ("gate_key", dgate_k, key)):
        if x.token:
            grads[name] = _inputs.sum_to(of_tokens.reshape((*call.lead, z.tokens, call.width)), shapes[name])
    return grads
