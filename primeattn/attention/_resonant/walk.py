r"""The linear form in time linear in tokens, on the CPU: the blocks of ``resonance`` for many heads.

There, a prime keeps the sum of what its keys added, 12 numbers a value column, and a query reads only what its own
primes keep (``resonance._rotation``, ``_march``; the gradients: ``_linear_gradients``). A head is one such walk, sorted
by prime in one block. Threads share heads; where these are few, one head after another has all threads.
"""

import numpy as np
from numba import config, get_num_threads

from ..._runtime.jit import kernel
from ..._runtime.owners import share
from ..._runtime.vectors import LANES
from ...resonance._linear import Rows, Walk, by_walking, divide_cpu, total_block
from ...resonance._linear_gradients import pull_block, pull_by_walking, with_last_column
from ...resonance._march import GROUP, Block, Grid, read_block, sort_block
from ...resonance._profiles import Profile, frozen
from ...resonance._rotation import BASE, STRIDE, coefficients, pull_coefficients
from .._cores import softmax
from .call import Call
from .pairs import FLOOR, Problem, Sizes
from .tokens import ENTRY


def fits(call: Call) -> bool:
    """Linear form, host arrays, no mask that differs between queries: padding is absent already."""
    a, g = call.problem, call.sizes
    return bool(g.linear) and isinstance(a.x, np.ndarray) and not g.mask_row and not config.DISABLE_JIT


def limits(g: Sizes) -> np.ndarray:
    """How many keys a query may attend, from the first on."""
    if not g.causal:
        return np.full(g.queries, g.keys, np.int64)
    return np.clip(np.arange(1, g.queries + 1) + g.keys - g.queries, 0, g.keys)


def reversed_limits(limit: np.ndarray, g: Sizes) -> np.ndarray:
    """The same pairs from the last key backwards: how many queries, from the last on, meet it."""
    before = np.searchsorted(limit, np.arange(g.keys), side="right")
    return np.ascontiguousarray((g.queries - before)[::-1]).astype(np.int64)


@kernel
def forward_heads(start, stop, problem, sizes, floor, starts, starts_b, limit, c, out, inverse):
    """Whole heads: ``out`` and 1 / W; ``starts``: the slots of tokens."""
    a, g = Problem(*problem), Sizes(*sizes)
    n, m, grid = g.queries * g.active, g.keys * g.active, Grid(1, g.depth, -(-g.depth // LANES))
    offset, place, entry = np.empty(g.primes + 2, np.int64), np.empty(n, np.int64), np.empty(n, np.int64)
    offset_b, place_b, entry_b = np.empty(g.primes + 2, np.int64), np.empty(m, np.int64), np.empty(m, np.int64)
    base, base_b = np.empty(STRIDE * n, a.x.dtype), np.empty(STRIDE * m, a.x.dtype)
    near = np.empty(grid.per_head * LANES * max(g.queries, g.keys), a.x.dtype)
    sums, products = np.empty(near.size, a.x.dtype), np.zeros(STRIDE * g.queries, a.x.dtype)
    state, small = np.empty(grid.per_head * LANES * BASE, a.x.dtype), np.empty(STRIDE, a.x.dtype)
    mass = np.empty(g.queries, a.x.dtype)
    coefficient = np.empty(grid.per_head * GROUP * STRIDE, a.x.dtype)
    readers, adders = (offset, place, entry, base), (offset_b, place_b, entry_b, base_b)
    block, nowhere = Block(0, g.queries, 0, g.keys), np.int64(-1)  # a literal would compile its callees anew
    for h in range(start, stop):
        q, k = h * g.queries, h * g.keys
        sort_block(0, g.queries, nowhere, starts, a.prime[h * n : (h + 1) * n],
                   a.x[h * n * ENTRY : (h + 1) * n * ENTRY], *readers)  # fmt: skip
        sort_block(0, g.keys, nowhere, starts_b, a.prime_b[h * m : (h + 1) * m],
                   a.y[h * m * ENTRY : (h + 1) * m * ENTRY], *adders)  # fmt: skip
        own, totals = c[h * STRIDE : (h + 1) * STRIDE], inverse[q : q + g.queries]
        mean = out[q * g.depth : (q + g.queries) * g.depth]
        total_block(1, block, False, readers, adders, nowhere, limit, own, small, products, totals, mass)
        read_block(
            0, grid.per_head, grid, block, False, False, readers, adders, nowhere, nowhere, limit, own,
            a.value[k * g.depth : (k + g.keys) * g.depth], near, sums, coefficient, state, mean,
        )  # fmt: skip
        divide_cpu(0, g.queries, 1, g.depth, floor, totals, mass, mean, mean)


@kernel
def backward_heads(
    start, stop, problem, sizes, starts, starts_b, limit, back, c, values, upstream, dsums, dx, dy, dc, dvalue
):
    """Whole heads; ``values`` and ``upstream`` have ``depth + 1`` columns."""
    a, g = Problem(*problem), Sizes(*sizes)
    n, m, columns, grid = g.queries * g.active, g.keys * g.active, g.depth + 1, Grid(1, g.depth, -(-g.depth // LANES))
    most, nowhere = max(n, m), np.int64(-1)
    offset, place, entry = np.empty(g.primes + 2, np.int64), np.empty(n, np.int64), np.empty(n, np.int64)
    offset_b, place_b, entry_b = np.empty(g.primes + 2, np.int64), np.empty(m, np.int64), np.empty(m, np.int64)
    base, base_b = np.empty(STRIDE * n, a.x.dtype), np.empty(STRIDE * m, a.x.dtype)
    near = np.empty(grid.per_head * LANES * max(g.queries, g.keys), a.x.dtype)
    state, sums = (
        np.empty(max(columns * STRIDE, grid.per_head * LANES * BASE), a.x.dtype),
        np.empty(near.size, a.x.dtype),
    )
    room, unused = np.empty(STRIDE * most, a.x.dtype), np.empty(g.primes * STRIDE, a.x.dtype)
    coefficient = np.empty(grid.per_head * GROUP * STRIDE, a.x.dtype)
    readers, adders = (offset, place, entry, base), (offset_b, place_b, entry_b, base_b)
    for h in range(start, stop):
        q, k, own = h * g.queries, h * g.keys, c[h * STRIDE : (h + 1) * STRIDE]
        prime, prime_b = a.prime[h * n : (h + 1) * n], a.prime_b[h * m : (h + 1) * m]
        x, y = a.x[h * n * ENTRY : (h + 1) * n * ENTRY], a.y[h * m * ENTRY : (h + 1) * m * ENTRY]
        v, u = values[k * columns : (k + g.keys) * columns], upstream[q * columns : (q + g.queries) * columns]
        sort_block(0, g.queries, nowhere, starts, prime, x, *readers)
        sort_block(0, g.keys, nowhere, starts_b, prime_b, y, *adders)
        pull_block(
            0, g.primes, 1, columns, False, readers, adders, nowhere, nowhere, limit, own, v, u, state, room,
            dc[h * g.primes * STRIDE : (h + 1) * g.primes * STRIDE], x, dx[h * n * ENTRY : (h + 1) * n * ENTRY],
        )  # fmt: skip
        last, last_b = g.keys - 1, g.queries - 1
        sort_block(0, g.keys, last, starts_b, prime_b, y, *adders)
        sort_block(0, g.queries, last_b, starts, prime, x, *readers)
        for z in range(unused.size):
            unused[z] = 0
        pull_block(
            0, g.primes, 1, columns, False, adders, readers, last, last_b, back, own, u, v, state, room, unused,
            y, dy[h * m * ENTRY : (h + 1) * m * ENTRY],
        )  # fmt: skip
        read_block(
            0, grid.per_head, grid, Block(0, g.keys, 0, g.queries), False, False, adders, readers, last, last_b, back,
            own, dsums[q * g.depth : (q + g.queries) * g.depth], near, sums, coefficient, state,
            dvalue[k * g.depth : (k + g.keys) * g.depth],
        )  # fmt: skip


def _few(heads: int) -> bool:
    threads = get_num_threads()
    return threads > 1 and heads % threads != 0 and heads < 4 * threads


def _starts(tokens: int, active: int) -> np.ndarray:
    return np.arange(tokens + 1) * active


def _coefficients(call: Call) -> np.ndarray:
    return coefficients(call.problem.weights.reshape(-1, 3))


def _walk(call: Call, h: int, limit: np.ndarray) -> Walk:
    """Head h as a walk of ``resonance``."""
    a, g = call.problem, call.sizes

    def side(prime, x, tokens):
        slots = slice(h * tokens * g.active, (h + 1) * tokens * g.active)
        entries = x[slots.start * ENTRY : slots.stop * ENTRY]
        profile = Profile(_starts(tokens, g.active), prime[slots], entries, np.empty(tokens, x.dtype))
        return Rows(profile, prime[slots], -1)

    return Walk(side(a.prime, a.x, g.queries), side(a.prime_b, a.y, g.keys), limit, g.primes)


def _of(h: int, flat, tokens: int, width: int):
    return flat[h * tokens * width : (h + 1) * tokens * width].reshape(tokens, width)


def forward(call: Call, out, inverse) -> None:
    """Fill ``out`` (heads, queries, depth) and ``inverse`` (heads, queries), flat."""
    a, g, dtype = call.problem, call.sizes, call.problem.value.dtype
    limit, c = limits(g), _coefficients(call)
    if _few(call.heads):
        for h in range(call.heads):
            mean, inverses = by_walking(_walk(call, h, limit), c[h : h + 1], _of(h, a.value, g.keys, g.depth))
            _of(h, out, g.queries, g.depth)[...] = mean
            inverse[h * g.queries : (h + 1) * g.queries] = inverses
        return
    floor = dtype.type(FLOOR * np.finfo(dtype).eps)
    starts, starts_b, flat = _starts(g.queries, g.active), _starts(g.keys, g.active), c.reshape(-1)

    def work(start, stop):
        forward_heads(start, stop, tuple(a), tuple(g), floor, starts, starts_b, limit, flat, out, inverse)

    share(work, call.heads, 1, 4)


def backward(call: Call, inverse, out, dout):
    """``(dvalue, dentries, dentries_b, dweights (heads, 3))``."""
    a, g, dtype = call.problem, call.sizes, call.problem.value.dtype
    limit, c, heads = limits(g), _coefficients(call), call.heads
    if _few(heads):
        found = [
            pull_by_walking(
                _walk(call, h, limit), c[h : h + 1], _of(h, a.value, g.keys, g.depth),
                inverse[h * g.queries : (h + 1) * g.queries], _of(h, out, g.queries, g.depth),
                _of(h, dout, g.queries, g.depth),
            )
            for h in range(heads)
        ]  # fmt: skip
        *parts, dweights = ([x[i] for x in found] for i in range(4))
        return *(np.concatenate([x.reshape(-1) for x in part]) for part in parts), np.concatenate(dweights)
    delta = np.empty(inverse.size, dtype)
    softmax.DELTA(inverse.size, out, dout, g.depth, delta)
    dsums = dout.reshape(-1, g.depth) * inverse[:, None]
    upstream = with_last_column(dsums, 1, -(delta * inverse)[:, None])
    values = with_last_column(a.value.reshape(-1, g.depth), 1, 1)
    dsums = frozen(dsums)
    dx, dy = np.zeros(a.x.size, dtype), np.zeros(a.y.size, dtype)
    dc, dvalue = np.zeros(heads * g.primes * STRIDE, dtype), np.empty(heads * g.keys * g.depth, dtype)
    starts, starts_b, flat = _starts(g.queries, g.active), _starts(g.keys, g.active), c.reshape(-1)
    back = reversed_limits(limit, g)

    def work(start, stop):
        backward_heads(
            start, stop, tuple(a), tuple(g), starts, starts_b, limit, back, flat, values.reshape(-1),
            upstream.reshape(-1), dsums, dx, dy, dc, dvalue,
        )  # fmt: skip

    share(work, heads, 1, 4)
    return dvalue, dx, dy, pull_coefficients(dc.reshape(heads, g.primes, STRIDE).sum(axis=1, dtype=np.float64))
