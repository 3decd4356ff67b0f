"""Products of tokens with the basis of their head, (tokens, D) (D, r), its transpose, and the gradient of the basis.

Rows are the specification and the CUDA kernels; the CPU loops hand each head to BLAS. ``blas`` is the address of its
GEMM, which rows do not use.
"""

from typing import Any, NamedTuple

import numpy as np

from ..._runtime import devices, linalg
from ..._runtime.checks import common_floating
from ..._runtime.jit import kernel, scalar
from ..._runtime.linalg import gemm_nn, gemm_nt, gemm_tn
from ..._runtime.owners import Owner, share
from .._inputs import check_arrays, flat, sum_to, table_offsets


class Basis(NamedTuple):
    """Flat tables (D, r), one starting at ``at`` for every key head; ``shape`` is that of the array they came in."""

    array: Any
    at: Any
    width: int
    rank: int
    shape: tuple[int, ...]
    lead: tuple[int, ...]


@scalar
def project_row(row, blas, x, basis, at, tokens, width, rank, out):
    """Row ``row`` of x B."""
    first, to, table = row * width, row * rank, at[row // tokens]
    for c in range(rank):
        total = x[first] * basis[table + c]
        for d in range(1, width):
            total += x[first + d] * basis[table + d * rank + c]
        out[to + c] = total


@kernel
def project_cpu(start, stop, blas, x, basis, at, tokens, width, rank, out):
    row, one = start, type(x[0])(1)
    while row < stop:
        n = min(stop, (row // tokens + 1) * tokens) - row
        table = at[row // tokens]
        gemm_nn(
            blas, n, rank, width, one, x, row * width, width, basis, table, rank, one - one, out, row * rank, rank
        )  # fmt: skip
        row += n


@scalar
def lift_row(row, blas, y, basis, at, tokens, width, rank, out):
    """Row ``row`` of y B'."""
    first, to, table = row * rank, row * width, at[row // tokens]
    for d in range(width):
        total = y[first] * basis[table + d * rank]
        for c in range(1, rank):
            total += y[first + c] * basis[table + d * rank + c]
        out[to + d] = total


@kernel
def lift_cpu(start, stop, blas, y, basis, at, tokens, width, rank, out):
    row, one = start, type(y[0])(1)
    while row < stop:
        n = min(stop, (row // tokens + 1) * tokens) - row
        table = at[row // tokens]
        gemm_nt(
            blas, n, width, rank, one, y, row * rank, rank, basis, table, rank, one - one, out, row * width, width
        )  # fmt: skip
        row += n


@scalar
def basis_gradient_row(index, blas, x, dy, tokens, width, rank, add, out):
    """Row ``index`` = head * width + d of sum_t x_t dy_t'. A 0 hides what it meets: a masked token may be NaN."""
    head, d = index // width, index % width
    for c in range(rank):
        total = out[index * rank + c] if add else type(out[0])(0)
        for t in range(head * tokens, (head + 1) * tokens):
            a, b = x[t * width + d], dy[t * rank + c]
            if a != 0 and b != 0:
                total += a * b
        out[index * rank + c] = total


@kernel
def basis_gradient_cpu(start, stop, blas, x, dy, tokens, width, rank, add, out):
    index, one = start, type(x[0])(1)
    kept = one if add else one - one
    while index < stop:
        head, d = index // width, index % width
        n = min(width - d, stop - index)
        gemm_tn(
            blas, n, rank, tokens, one, x, head * tokens * width + d, width, dy, head * tokens * rank, rank, kept,
            out, index * rank, rank,
        )  # fmt: skip
        index += n


@kernel
def gradient_by_rows(start, stop, blas, x, dy, tokens, width, rank, add, out):
    for index in range(start, stop):
        basis_gradient_row(index, blas, x, dy, tokens, width, rank, add, out)


_SIZES = "i i i"
DOWN = Owner(project_row, project_cpu, f"i F1 F1 I1 {_SIZES} F1", grain=4096)
UP = Owner(lift_row, lift_cpu, f"i F1 F1 I1 {_SIZES} F1", grain=4096)
GRADIENT = Owner(basis_gradient_row, basis_gradient_cpu, f"i F1 F1 {_SIZES} i F1", grain=16)


def check_bases(q, k, v, basis_key, basis_value, basis_query):
    """q, k, v and the three bases (the last may be None), in one dtype."""
    named = {"basis_key": basis_key, "basis_value": basis_value}
    if basis_query is not None:
        named["basis_query"] = basis_query
    q, k, v, *bases = common_floating({}, q=q, k=k, v=v, **named)
    q, k, v, _ = check_arrays(q, k, v)
    *lead, _, width = tuple(k.shape)
    widths = {"basis_key": width, "basis_value": tuple(v.shape)[-1], "basis_query": width}
    checked = [
        check_basis(name, b, widths[name], tuple(lead), name.removeprefix("basis_"))
        for name, b in zip(named, bases, strict=True)
    ]
    if len(checked) == 2:
        return q, k, v, *checked, None
    if checked[2].rank != checked[0].rank:
        raise ValueError(
            f"basis_query has rank {checked[2].rank} but basis_key has rank {checked[0].rank}: queries and keys must "
            "meet in the same space"
        )
    return q, k, v, *checked


def check_basis(name: str, basis, width: int, lead: tuple[int, ...], of: str) -> Basis:
    """A basis (..., D, r), broadcast over the leading axes of the keys."""
    shape = tuple(basis.shape)
    try:
        fits = len(shape) >= 2 and np.broadcast_shapes(shape[:-2], lead) == lead
    except ValueError:
        fits = False
    if not fits or shape[-2] != width or shape[-1] < 1:
        raise ValueError(
            f"{name} has shape {shape} but {of} has leading axes {lead} and width {width}: (..., {width}, rank) is "
            "wanted, broadcastable to one basis a key head, of rank 1 or more"
        )
    at = table_offsets(shape[:-2], lead, shape[-2] * shape[-1], basis)
    return Basis(flat(basis), flat(at), width, shape[-1], shape, lead)


def down(x, basis: Basis):
    """x B, (..., T, D) to (..., T, r). Query heads that share a key head share its basis."""
    return _product(DOWN, x, basis, basis.width, basis.rank)


def up(y, basis: Basis):
    """y B', (..., T, r) to (..., T, D)."""
    return _product(UP, y, basis, basis.rank, basis.width)


def _product(owner, x, basis, before, after):
    rows = x.size // before
    out = devices.empty((*tuple(x.shape)[:-1], after), x.dtype, like=x)
    if rows:
        with linalg.single_threaded():
            owner(
                rows, linalg.gemm_address(x.dtype), flat(x), basis.array, basis.at, rows // basis.at.size,
                basis.width, basis.rank, out.reshape(out.size),
            )  # fmt: skip
    return out


def basis_gradient(pairs, basis: Basis):
    """The sum of x' dy over ``pairs`` (x, dy), in the shape of the basis."""
    heads, width, rank = basis.at.size, basis.width, basis.rank
    like = pairs[0][0]
    out = devices.empty((*basis.lead, width, rank), like.dtype, like=like)
    if not out.size:
        return sum_to(out, basis.shape)
    blas = linalg.gemm_address(like.dtype)
    calls = [
        (blas, flat(x), flat(dy), x.size // width // heads, width, rank, add, out.reshape(out.size))
        for add, (x, dy) in enumerate(pairs)
    ]
    with linalg.single_threaded():
        for call in calls:
            GRADIENT(heads * width, *call)
    if not devices.is_device_array(out) and not np.isfinite(out).all():  # BLAS has multiplied 0 by NaN or inf
        for call in calls:
            share(lambda start, stop, call=call: gradient_by_rows(start, stop, *call), heads * width, 16)
    return sum_to(out, basis.shape)
