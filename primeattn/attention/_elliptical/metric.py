r"""A diagonal metric as a change of queries and keys, after which softmax attention is the usual one.

    dot       s <q, M k>                       = s <Mq, k>
    distance  -(s/2) (q - k)' M (q - k)        = s <Mq, k> - (s/2) <k, M k> - (s/2) <q, M q>

The last term is the same for all keys of a query: softmax removes it. For the one before it there are two forms:

    BIAS, where all queries of a head share M:   Mq . k - <k, Mk> / 2            a bias a key (`shared`)
    WIDE, always:                                (Mq, m) . (k, -k^2 / 2)         D more columns, k^2 by entry

With one M a query the term is a matrix of rank D of its own, so the columns of WIDE cannot be fewer. Of the changed
queries, dL/dm_c = s sum_i (dZ k)_ic q_ic, and what the columns add: - (s/2) sum_ij dZ_ij k_jc^2.
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
from .._cores.packing import bias_length
from .._inputs import check_arrays, flat, sum_to, table_offsets
from .shared import BIAS as BIASES
from .shared import BIAS_KEY, METRIC, by_head, change_cpu, pull_cpu, times

DOT, BIAS, WIDE = 0, 1, 2


class Metric(NamedTuple):
    """``m`` is flat; the table of a head starts at ``at``, its rows lie ``step`` apart, 0 if all queries share one.

    ``sizes``: query heads a key head, queries, keys, how far rows of biases lie apart (0 if there are none), width.
    """

    m: Any
    at: Any
    step: int
    form: int
    shape: tuple[int, ...]
    lead: tuple[int, ...]
    heads: int
    sizes: tuple[int, int, int, int, int]

    @property
    def width(self) -> int:
        return self.sizes[-1]

    @property
    def wide(self) -> int:
        """The width after the change."""
        return self.width * (2 if self.form == WIDE else 1)


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
    """From the gradient of the changed query to dq and, with one m a query (dm is not empty), to its dm."""
    metric = at[row // tokens] + row % tokens * step
    for c in range(width):
        d = dout[row * wide + c]
        dq[row * width + c] = d * m[metric + c]
        if dm.size:
            more = dout[row * wide + width + c] if wide > width else d - d
            dm[row * width + c] = times(d, q[row * width + c]) + more


@kernel
def metric_query_back_cpu(start, stop, q, m, at, step, tokens, width, wide, dout, dq, dm):
    for row in range(start, stop):
        metric = at[row // tokens] + row % tokens * step
        for c in range(width):
            dq[nonnegative(row * width + c)] = dout[nonnegative(row * wide + c)] * m[nonnegative(metric + c)]
        for c in range(width if dm.size else 0):
            d = dout[nonnegative(row * wide + c)]
            dm[nonnegative(row * width + c)] = times(d, q[nonnegative(row * width + c)])
        for c in range(width if dm.size and wide > width else 0):
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
    """(..., Tk, wide); k itself unless the form is WIDE."""
    if metric.form != WIDE:
        return k
    *lead, tokens, width = k.shape
    out = devices.empty((*lead, tokens, metric.wide), k.dtype, like=k)
    KEY(k.size // width, flat(k), width, out.reshape(out.size))
    return out


def change(q, k, metric: Metric):
    """Changed queries and keys, and the biases of keys, which are there if the form is BIAS."""
    if metric.step:
        return changed_query(q, metric), changed_key(k, metric), None
    sizes = group, _, keys, room, width = metric.sizes
    bias = devices.empty(metric.heads * room, q.dtype, like=q)
    if devices.is_device_array(q):
        if room:
            BIASES(metric.heads * keys, flat(k), metric.m, metric.at, group, keys, room, width, bias)
        return changed_query(q, metric), k, bias
    out = np.empty(q.shape, q.dtype)
    by_head(change_cpu, metric.heads, flat(q), flat(k), metric.m, metric.at, *sizes, out.reshape(-1), bias)
    return out, k, bias


def pull(q, k, metric: Metric, scale, dquery, dkey, dbias):
    """dq, dk and dm from the flat gradients of changed queries, changed keys and biases; the first two are used up."""
    sizes = group, queries, keys, room, width = metric.sizes
    arguments = metric.m, metric.at, *sizes, scale, dquery, dbias, dkey
    if not metric.step and not devices.is_device_array(q):
        dm = np.empty(metric.heads * width, q.dtype)
        by_head(pull_cpu, metric.heads, flat(q), flat(k), *arguments, dm)
        return dquery.reshape(q.shape), dkey.reshape(k.shape), _of_heads(dm, metric)
    dk = dkey
    dq, rows, dm = (
        devices.empty(n, q.dtype, like=q)
        for n in (q.size, q.size if metric.step else 0, 0 if metric.step else metric.heads * width)
    )
    QUERY_BACK(
        q.size // width, flat(q), metric.m, metric.at, metric.step, queries, width, metric.wide, dquery, dq, rows
    )  # fmt: skip
    if metric.form == WIDE:
        dk = devices.empty(k.size, k.dtype, like=k)
        KEY_BACK(k.size // width, flat(k), width, dkey, dk)
    if metric.step:
        return dq.reshape(q.shape), dk.reshape(k.shape), sum_to(rows.reshape(q.shape), metric.shape)
    if room:
        BIAS_KEY(k.size // width, flat(k), metric.m, metric.at, group, keys, room, width, scale, dbias, dk)
    METRIC(dm.size, flat(q), flat(k), *sizes, scale, dquery, dbias, dm)
    return dq.reshape(q.shape), dk.reshape(k.shape), _of_heads(dm, metric)


def _of_heads(one, metric: Metric):
    """dm from one vector a head."""
    if math.prod(metric.shape) == one.size:
        return one.reshape(metric.shape)
    own = metric.shape[:-2] if len(metric.shape) == len(metric.lead) + 2 else metric.shape[:-1]
    return sum_to(one.reshape((*metric.lead, metric.width)), (*own, metric.width)).reshape(metric.shape)


def plain_metric(m, q, k, v, metric: str) -> Metric:
    """`check_relevance` of arrays that are as kernels take them."""
    return Metric(flat(m), *_of_shapes(m.shape, q.shape, k.shape, v.shape, q.dtype, metric))


@lru_cache(256)
def _of_shapes(m, q, k, v, dtype, metric):
    """What follows m in a `Metric`: nothing of it depends on the numbers."""
    m, q, k, v = (np.empty(shape, dtype) for shape in (m, q, k, v))
    return check_relevance(m, q, k, check_arrays(q, k, v)[3], metric)[1:]


def check_relevance(m, q, k, group: int, metric: str) -> Metric:
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
    form = DOT if metric == "dot" else WIDE if step else BIAS
    at = table_offsets(own, lead, rows * width, q)
    keys = tuple(k.shape)[-2]
    sizes = group, queries, keys, bias_length(keys) if form == BIAS else 0, width
    return Metric(flat(m), flat(at), step, form, shape, lead, math.prod(lead), sizes)


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
