r"""Where all queries of a head share a metric: changed queries, and for the distance a bias a key beside them.

    s_ij = scale (<Mq_i, k_j> + b_j),        b_j = -<k_j, M k_j> / 2 for the distance, 0 for the dot product

With x_i = dL/d(Mq_i), and B_j = sum_i dL/ds_ij, which `_cores.run.backward` gives in place of slopes,

    dL/dq_ic = m_c x_ic,    dL/dk_jc -= scale m_c k_jc B_j,    dL/dm_c = sum_i q_ic x_ic - (scale / 2) sum_j k_jc^2 B_j.

A head of queries has its own biases, a row of them ``room`` long (`bias_length`; 0 for none); what lies behind the last
key is never read. On the CPU one call goes over heads, from queries to keys, the last head first: the softmax loops
begin with the first one, and have just left the last, so that it still lies in the cache.
"""

from ..._runtime.disjoint import disjoint
from ..._runtime.jit import kernel, nonnegative, scalar, summing
from ..._runtime.owners import Owner, share
from ..._runtime.width import full_width

_GRAIN = 1 << 18  # numbers worth a thread


@scalar
def times(a, b):
    """a b, where a = 0 hides whatever b is: a masked token may hold NaN."""
    return a * b if a != 0 else a


@scalar
def half_square(x):
    return x * x / type(x)(-2)


@scalar
def bias_row(index, k, m, at, group, keys, room, width, out):
    """The bias of a key for the queries of a head; ``index`` is head * keys + j."""
    head, j = index // keys, index % keys
    first, metric = (head // group * keys + j) * width, at[head]
    total = k[first] - k[first]
    for c in range(width):
        total += times(m[metric + c], half_square(k[first + c]))
    out[head * room + j] = total


@kernel
def bias_cpu(start, stop, k, m, at, group, keys, room, width, out):
    for index in range(start, stop):
        bias_row(index, k, m, at, group, keys, room, width, out)


@scalar
def bias_key_row(index, k, m, at, group, keys, room, width, scale, dbias, dk):
    """What the biases of key ``index`` of all key heads add to its dk."""
    key_head, j = index // keys, index % keys
    for head in range(key_head * group, (key_head + 1) * group):
        d, metric = scale * dbias[head * room + j], at[head]
        for c in range(width):
            dk[index * width + c] -= times(d, times(m[metric + c], k[index * width + c]))


@kernel
def bias_key_cpu(start, stop, k, m, at, group, keys, room, width, scale, dbias, dk):
    for index in range(start, stop):
        bias_key_row(index, k, m, at, group, keys, room, width, scale, dbias, dk)


@scalar
def metric_row(index, q, k, group, queries, keys, room, width, scale, dquery, dbias, dm):
    """dm of a head; ``index`` is head * width + c."""
    head, c = index // width, index % width
    total = type(dm[0])(0)
    for i in range(head * queries, (head + 1) * queries):
        total += times(dquery[i * width + c], q[i * width + c])
    for j in range(keys if room else 0):
        total += times(scale * dbias[head * room + j], half_square(k[(head // group * keys + j) * width + c]))
    dm[index] = total


@kernel
def metric_cpu(start, stop, q, k, group, queries, keys, room, width, scale, dquery, dbias, dm):
    for index in range(start, stop):
        metric_row(index, q, k, group, queries, keys, room, width, scale, dquery, dbias, dm)


BIAS = Owner(bias_row, bias_cpu, "F1 F1 I1 i i i i F1", grain=1024)
BIAS_KEY = Owner(bias_key_row, bias_key_cpu, "F1 F1 I1 i i i i F F1 F1", grain=1024)
METRIC = Owner(metric_row, metric_cpu, "F1 F1 i i i i i F F1 F1 F1", grain=64)


@summing
def half_length(k, first, m, metric, width):
    """-<k, M k> / 2, summed in any order."""
    full_width()
    total = k[first] - k[first]
    for c in range(width):
        total += times(m[nonnegative(metric + c)], half_square(k[nonnegative(first + c)]))
    return total


@kernel
def change_cpu(start, stop, q, k, m, at, group, queries, keys, room, width, out, bias):
    """Key heads [start, stop): the changed queries of their heads, and the biases of their keys."""
    disjoint()
    full_width()
    for head in range(stop * group - 1, start * group - 1, -1):
        metric, first = at[head], head // group * keys
        for i in range(head * queries, (head + 1) * queries):
            for c in range(width):
                out[nonnegative(i * width + c)] = q[nonnegative(i * width + c)] * m[nonnegative(metric + c)]
        for j in range(keys if room else 0):
            bias[nonnegative(head * room + j)] = half_length(k, (first + j) * width, m, metric, width)


@kernel
def pull_cpu(start, stop, q, k, m, at, group, queries, keys, room, width, scale, dquery, dbias, dk, dm):
    """Key heads [start, stop): dm, dq in place of the gradient of the changed queries, and what biases add to dk.

    Rows by two: sums wait for one another. The last of an odd number goes alone.
    """
    disjoint()
    full_width()
    for head in range(stop * group - 1, start * group - 1, -1):
        own, metric, first = head * width, at[head], head // group * keys
        for c in range(width):
            dm[nonnegative(own + c)] = type(dm[0])(0)
        stop_query = (head + 1) * queries
        for i in range(head * queries, stop_query - 1, 2):
            for c in range(width):
                here, there = nonnegative(i * width + c), nonnegative((i + 1) * width + c)
                a, b, relevance = dquery[here], dquery[there], m[nonnegative(metric + c)]
                dm[nonnegative(own + c)] += times(a, q[here]) + times(b, q[there])
                dquery[here], dquery[there] = a * relevance, b * relevance
        for i in range(stop_query - queries % 2, stop_query):
            for c in range(width):
                d = dquery[nonnegative(i * width + c)]
                dm[nonnegative(own + c)] += times(d, q[nonnegative(i * width + c)])
                dquery[nonnegative(i * width + c)] = d * m[nonnegative(metric + c)]
        for j in range(0, keys - 1 if room else 0, 2):
            a, b = (scale * dbias[nonnegative(head * room + j)], scale * dbias[nonnegative(head * room + j + 1)])
            for c in range(width):
                here, there = nonnegative((first + j) * width + c), nonnegative((first + j + 1) * width + c)
                x, y, relevance = k[here], k[there], m[nonnegative(metric + c)]
                dm[nonnegative(own + c)] += times(a, half_square(x)) + times(b, half_square(y))
                dk[here] -= times(a, times(relevance, x))
                dk[there] -= times(b, times(relevance, y))
        for j in range(keys - keys % 2, keys if room else 0):
            d = scale * dbias[nonnegative(head * room + j)]
            for c in range(width):
                x = k[nonnegative((first + j) * width + c)]
                dm[nonnegative(own + c)] += times(d, half_square(x))
                dk[nonnegative((first + j) * width + c)] -= times(d, times(m[nonnegative(metric + c)], x))


def by_head(loop, heads: int, q, k, m, at, group: int, *arguments) -> None:
    """``loop`` over key heads, on several threads if there are enough numbers."""
    key_heads, numbers = heads // group, q.size + k.size
    if numbers < 2 * _GRAIN:
        loop(0, key_heads, q, k, m, at, group, *arguments)
    else:
        grain = _GRAIN * key_heads // numbers + 1
        share(lambda start, stop: loop(start, stop, q, k, m, at, group, *arguments), key_heads, grain)
