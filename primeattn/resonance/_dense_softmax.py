"""Softmax attention where most pairs overlap, or where every query has its own mask: rows of weights, then a GEMM."""

import numpy as np

from .._runtime import elementary as el
from .._runtime.jit import kernel
from .._runtime.owners import share
from ._inverted import BLOCK, Postings
from ._overlaps import gather_before, overlapping
from ._profiles import Profile
from ._softmax import mix

ROWS = 128  # queries whose weights are held at once


@kernel
def weigh_rows(
    start, stop, first, columns, heads, tau, limit, mask, step, step_b, a, b, index, choice, weights, table, stats
):
    """Unnormalised weights of queries [first + start, first + stop): ``table[(h ROWS + row) columns + j]``."""
    m = b[3].size
    sums = np.zeros(4 * m, weights.dtype)
    met = np.zeros(m // BLOCK + 1, np.uint8)
    ids = np.empty(m, np.int64)
    found = np.empty(3 * m, weights.dtype)
    u = np.empty(m, weights.dtype)
    zero = type(tau)(0)
    for row in range(start, stop):
        i = first + row
        gather_before(i, limit[i], a, index, choice, sums, met)
        count = overlapping(i, limit[i], a, b, choice, sums, met, ids, found)
        for h in range(heads):
            r, top = i * heads + h, zero
            for t in range(count):
                u[t] = mix(weights, h, (found[3 * t], found[3 * t + 1], found[3 * t + 2]))
                if mask[i * step + ids[t] * step_b]:
                    top = max(top, u[t])
            background, out = el.exp(-top / tau), (h * ROWS + row) * columns
            for j in range(limit[i]):
                table[out + j] = background
            for j in range(limit[i], columns):
                table[out + j] = zero
            for t in range(count):
                u[t] = el.exp((u[t] - top) / tau)
            for t in range(count):
                table[out + ids[t]] = u[t]
            total = 0.0
            for j in range(limit[i]):
                if not mask[i * step + j * step_b]:
                    table[out + j] = zero
                total += table[out + j]
            stats[2 * r] = top
            stats[2 * r + 1] = total


def by_table(a: Profile, b: Profile, index: Postings, choice, weights, tau, limit, mask, value):
    """``(out, stats)``; ``mask`` bool (n, m) or None, value (m, H d), weights flat."""
    heads = weights.size // 3
    width = value.shape[1] // heads
    out = np.zeros((a.n, value.shape[1]), value.dtype)
    stats = np.zeros(2 * a.n * heads, value.dtype)
    flags = np.ones(1, np.uint8) if mask is None else np.ascontiguousarray(mask).view(np.uint8).reshape(-1)
    steps = (0, 0) if mask is None else (b.n, 1)
    room = np.empty(heads * ROWS * b.n, value.dtype)
    for first in range(0, a.n, ROWS):
        rows = min(ROWS, a.n - first)
        columns = int(limit[first + rows - 1])
        if not columns:
            continue
        table = room[: heads * ROWS * columns]
        share(
            lambda start, stop, first=first, columns=columns, table=table: weigh_rows(
                start,
                stop,
                first,
                columns,
                heads,
                tau,
                limit,
                flags,
                *steps,
                a,
                b,
                index,
                choice,
                weights,
                table,
                stats,
            ),
            rows,
            8,
            4,
        )
        for h in range(heads):
            own = slice(h * width, (h + 1) * width)
            weighed = table.reshape(heads, ROWS, columns)[h, :rows]
            np.matmul(weighed, value[:columns, own], out=out[first : first + rows, own])
    z = stats.reshape(a.n, heads, 2)[:, :, 1:]
    out.reshape(a.n, heads, width)[...] *= np.divide(1, z, out=np.zeros_like(z), where=z > 0)
    return out, stats
