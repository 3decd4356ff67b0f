r"""A diagonal metric, one a head or one a query, in softmax attention.

    dot       s <q, M k>
    distance  -(s/2) (q - k)' M (q - k)        = s <Mq, k> - (s/2) <k, M k> - (s/2) <q, M q>

The last term is the same for all keys of a query: softmax removes it. There are two forms:

    in the loops of softmax attention (`_cores.layout`), where all queries of a head share M, and there are some;
    changed, always: softmax attention of Mq and k; for the distance of (Mq, m) and (k, -k^2 / 2), D more columns.

With one M a query the term in the middle is a matrix of rank D of its own, so these columns cannot be fewer. Of the
changed queries, dL/dm_c = s sum_i (dZ k)_ic q_ic, and what the columns add: - (s/2) sum_ij dZ_ij k_jc^2.
"""

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ... import _labelled
from ..._runtime import devices
from ..._runtime.disjoint import disjoint
from ..._runtime.jit import kernel, nonnegative, scalar
from ..._runtime.owners import Owner
from ..._runtime.width import full_width
from .._cores.forward_tiles import FEW
from .._cores.layout import DISTANCE, DOT
from .._inputs import _placed, check_arrays, flat, sum_to, table_offsets


class Metric(NamedTuple):
    """``m`` is flat; the table of a head starts at ``at``, its rows lie ``step`` apart, 0 if all queries share one.

    ``kind``: DOT or DISTANCE. ``inside``: whether the loops know the metric; else queries and keys are changed.
    ``own``: whether m holds a row for every head, head by head.
    """

    m: Any
    at: Any
    step: int
    kind: int
    inside: bool
    own: bool
    shape: tuple[int, ...]
    lead: tuple[int, ...]
    width: int

    @property
    def wide(self) -> int:
        """The width after the change."""
        return self.width * (2 if self.kind == DISTANCE else 1)


@scalar
def times(a, b):
    """a b, where a = 0 hides whatever b is: a masked token may hold NaN."""
    return a * b if a != 0 else a


@scalar
def metric_query_row(row, q, m, at, step, tokens, width, wide, out):
    """Query row ``row`` of all heads, changed."""
    metric = at[row // tokens] + row % tokens * step
    for c in range(width):
        out[row * wide + c] = q[row * width + c] * m[metric + c]
    for c in range(wide - width):
        out[row * wide + width + c] = m[metric + c]


@kernel
def metric_query_cpu(start, stop, q, m, at, step, tokens, width, wide, out):
    disjoint()
    full_width()
    head, t = start // tokens, start % tokens
    for row in range(start, stop):
        metric = at[head] + t * step
        for c in range(width):
            out[nonnegative(row * wide + c)] = q[nonnegative(row * width + c)] * m[nonnegative(metric + c)]
        for c in range(wide - width):
            out[nonnegative(row * wide + width + c)] = m[nonnegative(metric + c)]
        t += 1
        if t == tokens:  # a division takes longer than the row of a short head
            head, t = head + 1, 0


@scalar
def metric_key_row(row, k, width, out):
    """Key row ``row``, and beside it -1/2 times its squares."""
    for c in range(width):
        x = k[row * width + c]
        out[2 * row * width + c] = x
        out[(2 * row + 1) * width + c] = x * x / type(x)(-2)


@kernel
def metric_key_cpu(start, stop, k, width, out):
    disjoint()
    for row in range(start, stop):
        for c in range(width):
            x = k[nonnegative(row * width + c)]
            out[nonnegative(2 * row * width + c)] = x
            out[nonnegative((2 * row + 1) * width + c)] = x * x / type(x)(-2)


@scalar
def metric_query_back_row(row, q, m, at, step, tokens, width, wide, dout, dq, dm):
    """From the gradient of the changed query to dq and to its share in dm."""
    metric = at[row // tokens] + row % tokens * step
    for c in range(width):
        d = dout[row * wide + c]
        dq[row * width + c] = d * m[metric + c]
        more = dout[row * wide + width + c] if wide > width else d - d
        dm[row * width + c] = times(d, q[row * width + c]) + more


@kernel
def metric_query_back_cpu(start, stop, q, m, at, step, tokens, width, wide, dout, dq, dm):
    for row in range(start, stop):
        metric = at[row // tokens] + row % tokens * step
        for c in range(width):
            dq[nonnegative(row * width + c)] = dout[nonnegative(row * wide + c)] * m[nonnegative(metric + c)]
        for c in range(width):
            d = dout[nonnegative(row * wide + c)]
            dm[nonnegative(row * width + c)] = times(d, q[nonnegative(row * width + c)])
        for c in range(width if wide > width else 0):
            dm[nonnegative(row * width + c)] += dout[nonnegative(row * wide + width + c)]


@scalar
def metric_key_back_row(row, k, width, dout, dk):
    """From the gradient of a key and its squares to dk."""
    for c in range(width):
        d = dout[(2 * row + 1) * width + c]
        dk[row * width + c] = dout[2 * row * width + c] - times(d, k[row * width + c])


@kernel
def metric_key_back_cpu(start, stop, k, width, dout, dk):
    disjoint()
    for row in range(start, stop):
        for c in range(width):
            d = dout[nonnegative((2 * row + 1) * width + c)]
            x = times(d, k[nonnegative(row * width + c)])
            dk[nonnegative(row * width + c)] = dout[nonnegative(2 * row * width + c)] - x


QUERY = Owner(metric_query_row, metric_query_cpu, "F1 F1 I1 i i i i F1", grain=1024)
KEY = Owner(metric_key_row, metric_key_cpu, "F1 i F1", grain=1024)
QUERY_BACK = Owner(metric_query_back_row, metric_query_back_cpu, "F1 F1 I1 i i i i F1 F1 F1", grain=1024)
KEY_BACK = Owner(metric_key_back_row, metric_key_back_cpu, "F1 i F1 F1", grain=1024)


def changed_query(q, metric: Metric):
    """(..., Tq, wide)."""
    *lead, tokens, width = q.shape
    out = devices.empty((*lead, tokens, metric.wide), q.dtype, like=q)
    QUERY(
        q.size // width, flat(q), metric.m, metric.at, metric.step, tokens, width, metric.wide, out.reshape(out.size)
    )  # fmt: skip
    return out


def changed_key(k, metric: Metric):
    """(..., Tk, wide)."""
    if metric.kind == DOT:
        return k
    *lead, tokens, width = k.shape
    out = devices.empty((*lead, tokens, metric.wide), k.dtype, like=k)
    KEY(k.size // width, flat(k), width, out.reshape(out.size))
    return out


def pull_changed(q, k, metric: Metric, dquery, dkey):
    """dq, dk and dm from the flat gradients of changed queries and keys."""
    tokens = tuple(q.shape)[-2]
    dq, dm = (devices.empty(q.size, q.dtype, like=q) for _ in range(2))
    QUERY_BACK(
        q.size // metric.width, flat(q), metric.m, metric.at, metric.step, tokens, metric.width, metric.wide, dquery,
        dq, dm,
    )  # fmt: skip
    dk = dkey
    if metric.kind == DISTANCE:
        dk = devices.empty(k.size, k.dtype, like=k)
        KEY_BACK(k.size // metric.width, flat(k), metric.width, dkey, dk)
    return dq.reshape(q.shape), dk.reshape(k.shape), _of_rows(dm.reshape(q.shape), metric)


def _of_rows(rows, metric: Metric):
    """dm from a row for every query, (..., Tq, D): summed over those that share one, also if m has no axis for them."""
    shape = metric.shape
    if len(shape) <= len(metric.lead) + 1:
        shape = (*shape[:-1], 1, shape[-1])
    return sum_to(rows, shape).reshape(metric.shape)


def rows_of_heads(metric: Metric):
    """A row for every head, flat."""
    if metric.own:
        return metric.m
    starts, m = devices.to_host(metric.at), devices.to_host(metric.m)
    return flat(_placed(np.ascontiguousarray(m[starts[:, None] + np.arange(metric.width)]).reshape(-1), metric.m))


def of_heads(table, metric: Metric):
    """dm from the rows of heads that add up to it, as `_cores.run.backward` gives them."""
    heads = math.prod(metric.lead)
    if table.size == heads * metric.width and metric.own:
        return table.reshape(metric.shape)
    rows = devices.to_host(table).reshape(*metric.lead, -1 if table.size else 0, metric.width)
    return _of_rows(_placed(rows, table), metric)


def plain_metric(m, q, k, v, metric: str) -> Metric:
    """`check_relevance` of arrays that are as kernels take them."""
    return Metric(flat(m), *_of_shapes(m.shape, q.shape, k.shape, v.shape, q.dtype, metric))


@lru_cache(256)
def _of_shapes(m, q, k, v, dtype, metric):
    """What follows m in a `Metric`: nothing of it depends on the numbers."""
    m, q, k, v = (np.empty(shape, dtype) for shape in (m, q, k, v))
    check_arrays(q, k, v)
    return check_relevance(m, q, metric)[1:]


def check_relevance(m, q, metric: str) -> Metric:
    """A relevance of fewer axes than q is one vector a head; of as many axes, one a query."""
    if metric not in ("dot", "distance"):
        raise ValueError(f"metric is {metric!r}: pass 'dot' or 'distance'")
    shape, full = tuple(m.shape), tuple(q.shape)
    lead, (queries, width) = full[:-2], full[-2:]
    by_query = len(shape) == len(full)
    wanted = full if by_query else (*lead, width)
    try:
        fits = np.broadcast_shapes(shape, wanted) == wanted and shape[-1:] == (width,)
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"relevance has shape {shape} but q has shape {full}: pass (..., {width}), one vector a head, or "
            f"(..., {queries}, {width}) with as many axes as q, one vector a query"
        )
    rows = shape[-2] if by_query else 1
    step = width if by_query and rows != 1 else 0
    own = shape[:-2] if by_query else shape[:-1]
    at = flat(table_offsets(own, lead, rows * width, q))
    kind, inside = DOT if metric == "dot" else DISTANCE, not step and queries > FEW
    return Metric(flat(m), at, step, kind, inside, not step and math.prod(own) == math.prod(lead), shape, lead, width)


def check_pairs(m) -> None:
    """A diagonal metric commutes with the turns of rope only if it is equal within every pair."""
    host = devices.to_host(m)
    width = host.shape[-1]
    if width % 2:
        raise ValueError(f"q has width {width}: rope turns pairs of coordinates, an even width is wanted")
    a, b = host[..., : width // 2], host[..., width // 2 :]
    if not np.array_equal(a, b, equal_nan=True):
        raise ValueError(
            f"relevance differs within the pairs (c, c + {width // 2}) that rope turns, by up to "
            f"{np.nanmax(abs(a - b)):.3g}: scores would depend on the absolute position; pass "
            "numpy.tile((m[..., :D // 2] + m[..., D // 2:]) / 2, 2), or no rope"
        )


def unlabelled(relevance, q):
    """A labelled relevance in the order of the dimensions of q, with the token axis only if it has one."""
    if not _labelled.is_labelled(relevance):
        return relevance
    if q is None or not set(relevance.dims) <= set(q.dims) or q.dims[-1] not in relevance.dims:
        raise TypeError(
            f"relevance has dimensions {relevance.dims}, q {getattr(q, 'dims', 'no labels')}: pass one with dimensions "
            "of q, the last among them, or relevance.values"
        )
    given = [d for d in q.dims if d in relevance.dims]
    kept = [d for d in q.dims if d in relevance.dims or d != q.dims[-2]]
    return relevance.transpose(*given).values.reshape([relevance.sizes.get(d, 1) for d in kept])
