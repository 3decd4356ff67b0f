r"""Ratio-normalised attention one row at a time: the specification, and the CUDA kernels.

    z_ij = scale <q_i, k_j>,   W_ij = f(z_ij),   r_i = sum_j W_ij + eps_i,   y_i = sum_j W_ij v_j / r_i

where j runs over the keys that band and mask allow, and f >= 0 is the mechanism. With G = dL/dy, the product rule gives

    dL/dv_j  = sum_i W_ij / r_i G_i
    dL/dW_ij = (<G_i, v_j> - D_i) / r_i,       D_i = <G_i, y_i>
    dL/dz_ij = f'(z_ij) dL/dW_ij
    dL/dq_i  = scale sum_j dL/dz_ij k_j,       dL/dk_j = scale sum_i dL/dz_ij q_i
    dL/deps_i = -D_i / r_i.

These are exact for any eps_i: `ratio_run.relative_eps` lets it depend on q and k. If r_i = 0, y_i and all gradients
through r_i are 0.

A mechanism is a NamedTuple of numbers with two scalars, ``f(params, z)`` and ``df(params, z)``, made known by

    class Squared(NamedTuple): ...
    register(Squared, f, df)

and found again by the type of the record: `weight` and `dweight` compile to them, on the CPU and CUDA, and kernels that
call these are kept in the on-disk cache. Numbers in the record are of the type of the data. What calls the loops:
`ratio_run`.
"""

from numba import config, types
from numba.extending import overload

from ..._runtime.jit import MATH, kernel, nonnegative, scalar
from ..._runtime.owners import Owner
from .layout import Layout, Problem, key_range, query_range
from .softmax import dot

#: (f, df) of every registered mechanism.
KINDS: dict[type, tuple] = {}


def weight(params, z):
    """f(z) of the mechanism whose record ``params`` is."""
    return KINDS[type(params)][0](params, z)


def dweight(params, z):
    """f'(z)."""
    return KINDS[type(params)][1](params, z)


def register(kind: type, f, df) -> None:
    """Let `weight` and `dweight` of a record of this NamedTuple be the scalars f and df of (params, z)."""
    KINDS[kind] = f, df
    if config.DISABLE_JIT:
        return
    for function, meaning in ((weight, f), (dweight, df)):

        def resolve(params, z, meaning=meaning):
            known = isinstance(params, types.BaseNamedTuple) and params.instance_class is kind
            return meaning.py_func if known else None

        overload(function, jit_options={"forceinline": True, **MATH}, strict=False)(resolve)


@scalar
def allowed(head, i, j, x, g):
    """Whether the mask lets query i attend key j."""
    return x.mask[x.mask_at[head] + i * g.mask_row + j * g.mask_key] != 0


@scalar
def score(head, i, j, x, g):
    """z_ij of a head."""
    query, key = (head * g.queries + i) * g.width, (head // g.group * g.room + j) * g.width
    return dot(x.q, query, x.k, key, g.width) * x.scale


@scalar
def ratio_forward_row(row, params, problem, layout, eps, out, total):
    """Query row ``row`` of all heads: out and r. ``eps`` has one entry, or one a row."""
    x, g = Problem(*problem), Layout(*layout)
    head, i = row // g.queries, row % g.queries
    low, high = key_range(i, g)
    at, zero = row * g.depth, type(x.scale)(0)
    r = eps[row if eps.size > 1 else 0]
    for c in range(g.depth):
        out[at + c] = zero
    for j in range(low, high):
        if allowed(head, i, j, x, g):
            w = weight(params, score(head, i, j, x, g))
            r += w
            value = (head // g.group * g.room + j) * g.depth
            for c in range(g.depth):
                out[at + c] += w * x.v[value + c]
    total[row] = r
    if r != zero:
        for c in range(g.depth):
            out[at + c] /= r


@kernel
def ratio_forward_cpu(start, stop, params, problem, layout, eps, out, total):
    for row in range(start, stop):
        ratio_forward_row(row, params, problem, layout, eps, out, total)


@scalar
def ratio_weights_row(row, params, problem, layout, total, weights):
    """Row ``row`` of the (queries, keys) tables of W / r."""
    x, g = Problem(*problem), Layout(*layout)
    head, i = row // g.queries, row % g.queries
    low, high = key_range(i, g)
    zero = type(x.scale)(0)
    for j in range(g.keys):
        weights[row * g.keys + j] = zero
    if total[row] != zero:
        for j in range(low, high):
            if allowed(head, i, j, x, g):
                weights[row * g.keys + j] = weight(params, score(head, i, j, x, g)) / total[row]


@kernel
def ratio_weights_cpu(start, stop, params, problem, layout, total, weights):
    for row in range(start, stop):
        ratio_weights_row(row, params, problem, layout, total, weights)


@scalar
def ratio_backward_query_row(row, params, problem, layout, total, delta, dout, dq):
    """Query row ``row``: its dq. ``delta`` holds the D_i."""
    x, g = Problem(*problem), Layout(*layout)
    head, i = row // g.queries, row % g.queries
    low, high = key_range(i, g)
    at, value_at, zero = row * g.width, row * g.depth, type(x.scale)(0)
    for c in range(g.width):
        dq[at + c] = zero
    if total[row] != zero:
        for j in range(low, high):
            if allowed(head, i, j, x, g):
                key = head // g.group * g.room + j
                dw = (dot(dout, value_at, x.v, key * g.depth, g.depth) - delta[row]) / total[row]
                dz = dweight(params, score(head, i, j, x, g)) * dw
                for c in range(g.width):
                    dq[at + c] += dz * x.scale * x.k[key * g.width + c]


@kernel
def ratio_backward_query_cpu(start, stop, params, problem, layout, total, delta, dout, dq):
    for row in range(start, stop):
        ratio_backward_query_row(row, params, problem, layout, total, delta, dout, dq)


@scalar
def ratio_backward_key_row(row, params, problem, layout, total, delta, dout, dk, dv):
    """Key row ``row``: its dk and dv, from all query heads that share it."""
    x, g = Problem(*problem), Layout(*layout)
    key_head, j = row // g.keys, row % g.keys
    low, high = query_range(j, g)
    at, value_at, zero = (key_head * g.room + j) * g.width, (key_head * g.room + j) * g.depth, type(x.scale)(0)
    for c in range(g.width):
        dk[at + c] = zero
    for c in range(g.depth):
        dv[value_at + c] = zero
    for head in range(key_head * g.group, (key_head + 1) * g.group):
        for i in range(low, high):
            query = head * g.queries + i
            if allowed(head, i, j, x, g) and total[query] != zero:
                z = score(head, i, j, x, g)
                dw = (dot(dout, query * g.depth, x.v, value_at, g.depth) - delta[query]) / total[query]
                dz, a = dweight(params, z) * dw, weight(params, z) / total[query]
                for c in range(g.width):
                    dk[at + c] += dz * x.scale * x.q[query * g.width + c]
                for c in range(g.depth):
                    dv[value_at + c] += a * dout[query * g.depth + c]


@kernel
def ratio_backward_key_cpu(start, stop, params, problem, layout, total, delta, dout, dk, dv):
    for row in range(start, stop):
        ratio_backward_key_row(row, params, problem, layout, total, delta, dout, dk, dv)


@scalar
def ratio_eps_row(row, total, delta, deps):
    """dL/deps_i = -D_i / r_i."""
    deps[row] = -delta[row] / total[row] if total[row] != 0 else total[row]


@kernel
def ratio_eps_cpu(start, stop, total, delta, deps):
    for row in range(start, stop):
        ratio_eps_row(nonnegative(row), total, delta, deps)


_HEAD = f"K (F1,F1,F1,U1,I1,F1,F) ({','.join('i' * len(Layout._fields))})"
FORWARD = Owner(ratio_forward_row, ratio_forward_cpu, f"{_HEAD} F1 F1 F1", kinds=KINDS, grain=64, chunks_per_thread=8)
WEIGHTS = Owner(ratio_weights_row, ratio_weights_cpu, f"{_HEAD} F1 F1", kinds=KINDS, grain=64, chunks_per_thread=8)
BACKWARD_QUERY = Owner(
    ratio_backward_query_row,
    ratio_backward_query_cpu,
    f"{_HEAD} F1 F1 F1 F1",
    kinds=KINDS,
    grain=64,
    chunks_per_thread=8,
)
BACKWARD_KEY = Owner(
    ratio_backward_key_row,
    ratio_backward_key_cpu,
    f"{_HEAD} F1 F1 F1 F1 F1",
    kinds=KINDS,
    grain=64,
    chunks_per_thread=8,
)
EPS = Owner(ratio_eps_row, ratio_eps_cpu, "F1 F1 F1", grain=16_384)
