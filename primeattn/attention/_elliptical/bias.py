r"""The distance as a bias a key, where all queries of a head share a metric: b_j = -(scale / 2) <k_j, M k_j>.

    dL/dk_jc -= scale m_c k_jc dL/db_j,        dL/dm_c -= (scale / 2) sum_j k_jc^2 dL/db_j

A head of queries has its own biases, a row of them `bias_length` long; what lies behind the last key is never read.
"""

import numpy as np

from ..._runtime import devices
from ..._runtime.disjoint import disjoint
from ..._runtime.jit import kernel, nonnegative, scalar, summing
from ..._runtime.owners import Owner
from ..._runtime.width import full_width
from .._cores.packing import bias_length
from .._inputs import Call, flat


@scalar
def times(a, b):
    """a b, where a = 0 hides whatever b is: a masked token may hold NaN."""
    return a * b if a != 0 else a


@summing
def half_length(k, first, m, metric, width):
    """-<k, M k> / 2, summed in any order."""
    full_width()
    total = k[first] - k[first]
    for c in range(width):
        x = k[nonnegative(first + c)]
        total += times(m[nonnegative(metric + c)], x * x / type(x)(-2))
    return total


@scalar
def bias_row(index, k, m, at, group, tokens, row, width, scale, out):
    """The bias of a key for the queries of a head; ``index`` is head * tokens + j."""
    head, j = index // tokens, index % tokens
    first, metric = (head // group * tokens + j) * width, at[head]
    total = k[first] - k[first]
    for c in range(width):
        x = k[first + c]
        total += times(m[metric + c], x * x / type(x)(-2))
    out[head * row + j] = scale * total


@kernel
def bias_cpu(start, stop, k, m, at, group, tokens, row, width, scale, out):
    head, j = start // tokens, start % tokens
    for _ in range(start, stop):
        first = nonnegative((head // group * tokens + j) * width)
        out[nonnegative(head * row + j)] = scale * half_length(k, first, m, nonnegative(at[head]), width)
        j += 1
        if j == tokens:
            head, j = head + 1, 0


@scalar
def bias_key_row(index, k, m, at, group, tokens, row, width, scale, dbias, dk):
    """What the biases of key ``index`` of all key heads add to its dk."""
    key_head, j = index // tokens, index % tokens
    for head in range(key_head * group, (key_head + 1) * group):
        d, metric = scale * dbias[head * row + j], at[head]
        for c in range(width):
            dk[index * width + c] -= times(d, times(m[metric + c], k[index * width + c]))


@kernel
def bias_key_cpu(start, stop, k, m, at, group, tokens, row, width, scale, dbias, dk):
    disjoint()
    full_width()
    key_head, j = start // tokens, start % tokens
    for index in range(start, stop):
        for head in range(key_head * group, (key_head + 1) * group):
            d, metric = scale * dbias[nonnegative(head * row + j)], at[head]
            for c in range(width):
                x = times(m[nonnegative(metric + c)], k[nonnegative(index * width + c)])
                dk[nonnegative(index * width + c)] -= times(d, x)
        j += 1
        if j == tokens:
            key_head, j = key_head + 1, 0


@scalar
def bias_metric_row(index, k, group, tokens, row, width, scale, dbias, dm):
    """What the biases of a head add to its dm; ``index`` is head * width + c."""
    head, c, total = index // width, index % width, dm[index]
    for j in range(tokens):
        x = k[(head // group * tokens + j) * width + c]
        total += times(scale * dbias[head * row + j], x * x / type(x)(-2))
    dm[index] = total


@kernel
def bias_metric_cpu(start, stop, k, group, tokens, row, width, scale, dbias, dm):
    disjoint()
    full_width()
    index = start
    while index < stop:
        head, c, n = index // width, index % width, min(stop, (index // width + 1) * width) - index
        for j in range(tokens):
            first, d = (head // group * tokens + j) * width + c, scale * dbias[nonnegative(head * row + j)]
            for a in range(n):
                x = k[nonnegative(first + a)]
                dm[nonnegative(index + a)] += times(d, x * x / type(x)(-2))
        index += n


BIAS = Owner(bias_row, bias_cpu, "F1 F1 I1 i i i i F F1", grain=1024)
BIAS_KEY = Owner(bias_key_row, bias_key_cpu, "F1 F1 I1 i i i i F F1 F1", grain=1024)
BIAS_METRIC = Owner(bias_metric_row, bias_metric_cpu, "F1 i i i i F F1 F1", grain=64)


def biased(call: Call, m, at) -> Call:
    """The call with the biases of the metric of every head, which starts at ``at`` in m."""
    x, g = call.problem, call.layout
    g = g._replace(bias=bias_length(g.keys))
    out = devices.empty(call.heads * g.bias, x.k.dtype, like=x.k)
    BIAS(call.heads * g.keys, x.k, m, at, g.group, g.keys, g.bias, g.width, x.scale, out)
    return call._replace(problem=x._replace(slopes=flat(out)), layout=g)


def scale_share(call: Call, dbias):
    """What biases add to dL/dscale: sum_j b_j dL/db_j / scale."""
    x, g = call.problem, call.layout
    b, d = (devices.to_host(a).reshape(-1, g.bias)[:, : g.keys] for a in (x.slopes, dbias))
    return np.multiply(b, d, where=d != 0, out=np.zeros(d.shape)).sum() / float(x.scale)
