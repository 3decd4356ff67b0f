r"""The eps_i of a ratio-normalised row that has the scale of its weights, and its share of the gradients.

    eps_i = rate scale^2 |q_i|^2 kappa_i,    kappa_i = sum_j |k_j|^2 over the keys that query i may attend

so that squared scores over their sum stay free of the scale of q and k. With deps_i = dL/deps_i,

    dL/dq_i += 2 rate scale^2 deps_i kappa_i q_i
    dL/dk_j += 2 rate scale^2 k_j sum_i deps_i |q_i|^2 over the queries that may attend key j.

On the CPU, where the mask is the same for all queries, both take one pass over the heads, in linear time.
"""

import numpy as np

from ..._runtime import devices
from ..._runtime.jit import kernel as counted_kernel
from ..._runtime.jit import nonnegative
from ..._runtime.jit import scalar as counted_scalar
from ..._runtime.owners import Owner, share
from .layout import Layout, Problem
from .ratio_sums import by_rows, of_keys, of_queries, sum_keys, sum_queries, sums_of_head
from .softmax import DELTA
from .tiles import dot, fill, kernel, scalar

_GRAIN = 1 << 18  # numbers worth a thread


@counted_scalar
def multiple_row(row, keep, factor, a, x, width, out):
    """out_row = keep out_row + factor a_row x_row; with keep = 0 out is not read, with a_row = 0 neither is x_row."""
    by, at = factor * a[row], row * width
    for c in range(width):
        old = keep * out[at + c] if keep != 0 else keep
        out[at + c] = by * x[at + c] + old if by != 0 else old  # a key that no query attends may hold NaN


@counted_kernel
def multiple_cpu(start, stop, keep, factor, a, x, width, out):
    for row in range(start, stop):
        multiple_row(nonnegative(row), keep, factor, a, x, width, out)


MULTIPLE = Owner(multiple_row, multiple_cpu, "F F F1 F1 i F1", grain=4096)


@scalar
def add_multiple(by, x, at, width, out):
    for c in range(width if by != 0 else 0):  # a key that no query attends may hold NaN
        out[nonnegative(at + c)] += by * x[nonnegative(at + c)]


@scalar
def fill_norms(x, first, n, width, out):
    for row in range(n):
        out[row] = dot(x, x, (first + row) * width, width)


@scalar
def parts(space, n):
    """Six arrays of n numbers."""
    return space[:n], space[n : 2 * n], space[2 * n : 3 * n], space[3 * n : 4 * n], space[4 * n : 5 * n], space[5 * n :]


@kernel
def relative_by_heads(start, stop, rate, problem, layout, space, eps):
    """eps_i of the queries of key heads [start, stop)."""
    x, g = Problem(*problem), Layout(*layout)
    factor, reach, zero = rate * x.scale * x.scale, of_keys(g), type(x.scale)(0)
    norms, head_sums, tail_sums, _, _, _ = parts(space, max(g.queries, g.keys))
    for key_head in range(start, stop):
        fill_norms(x.k, key_head * g.room, g.keys, g.width, norms)
        for head in range(key_head * g.group, (key_head + 1) * g.group):
            row = head * g.queries
            fill(eps, row, g.queries, zero)
            sums_of_head(reach, False, 1, norms, 0, x.mask, x.mask_at[head], g.mask_key, eps, row, head_sums, tail_sums)
            for i in range(row, row + g.queries):
                if eps[i] != 0:  # a query without a key may hold NaN
                    eps[i] *= factor * dot(x.q, x.q, i * g.width, g.width)


@kernel
def relative_backward_by_heads(start, stop, rate, problem, layout, space, deps, dq, dk):
    """Add what flows through eps_i to dq and dk of key heads [start, stop)."""
    x, g = Problem(*problem), Layout(*layout)
    factor, zero = type(rate)(2) * rate * x.scale * x.scale, type(x.scale)(0)
    norms, kappa, upstream, gathered, head_sums, tail_sums = parts(space, max(g.queries, g.keys))
    for key_head in range(start, stop):
        fill_norms(x.k, key_head * g.room, g.keys, g.width, norms)
        fill(gathered, 0, g.keys, zero)
        for head in range(key_head * g.group, (key_head + 1) * g.group):
            row, first = head * g.queries, x.mask_at[head]
            fill(kappa, 0, g.queries, zero)
            sums_of_head(of_keys(g), False, 1, norms, 0, x.mask, first, g.mask_key, kappa, 0, head_sums, tail_sums)
            for i in range(g.queries):
                at = (row + i) * g.width
                upstream[i] = deps[row + i] * dot(x.q, x.q, at, g.width) if deps[row + i] != 0 else zero
                add_multiple(factor * kappa[i] * deps[row + i], x.q, at, g.width, dq)
            sums_of_head(
                of_queries(g), True, 1, upstream, 0, x.mask, first, g.mask_key, gathered, 0, head_sums, tail_sums
            )
        for j in range(g.keys):
            add_multiple(factor * gathered[j], x.k, (key_head * g.room + j) * g.width, g.width, dk)


def _like(n: int, x):
    return devices.empty(n, x.dtype, like=x)


def constant_eps(eps: float, x: Problem):
    """The eps_i of all rows, as one number."""
    one = np.array([eps], x.q.dtype)
    return devices.to_device(one) if devices.is_device_array(x.q) else one


def _by_heads(loop, x: Problem, g: Layout, heads: int, rate: float, *arrays) -> None:
    def work(start, stop):
        space = np.empty(6 * max(g.queries, g.keys), x.q.dtype)
        loop(start, stop, x.q.dtype.type(rate), tuple(x), tuple(g), space, *arrays)

    share(work, heads // g.group, _GRAIN // max((g.queries * g.group + g.keys) * g.width, 1) + 1)


def relative_eps(rate: float, x: Problem, g: Layout, heads: int):
    """eps_i of all query rows, flat."""
    eps = _like(heads * g.queries, x.q)
    if by_rows(x, g):
        _relative_by_rows(rate, x, g, heads, eps)
    else:
        _by_heads(relative_by_heads, x, g, heads, rate, eps)
    return eps


def relative_eps_backward(rate: float, x: Problem, g: Layout, heads: int, deps, dq, dk) -> None:
    """Add what flows through `relative_eps` to dq and dk."""
    if not by_rows(x, g):
        _by_heads(relative_backward_by_heads, x, g, heads, rate, deps, dq, dk)
        return
    product, gathered, kind = _like(deps.size, x.q), _like(x.k.size // g.width, x.q), x.q.dtype.type
    kappa, norms = _relative_by_rows(rate, x, g, heads, product)
    one, factor = kind(1), kind(2 * rate) * x.scale * x.scale
    MULTIPLE(deps.size, kind(0), one, kappa, deps, 1, product)
    MULTIPLE(deps.size, one, factor, product, x.q, g.width, dq)
    MULTIPLE(deps.size, kind(0), one, deps, norms, 1, product)
    sum_queries(x, g, heads, 1, product, gathered)
    MULTIPLE(gathered.size, one, factor, gathered, x.k, g.width, dk)


def _relative_by_rows(rate, x, g, heads, eps):
    """Fill eps_i; kappa and |q|^2."""
    norms, key_norms, kappa = (_like(n, x.q) for n in (eps.size, x.k.size // g.width, eps.size))
    DELTA(norms.size, x.q, x.q, g.width, norms)
    DELTA(key_norms.size, x.k, x.k, g.width, key_norms)
    sum_keys(x, g, heads, 1, key_norms, kappa)
    kind = x.q.dtype.type
    MULTIPLE(eps.size, kind(0), kind(rate) * x.scale * x.scale, kappa, norms, 1, eps)
    return kappa, norms
