"""Matrix products of flat arrays on either device: BLAS by shares of rows on the CPU, a thread a row on CUDA."""

import numpy as np

from ..._runtime import devices, linalg
from ..._runtime.jit import kernel, scalar
from ..._runtime.linalg import gemm_nn, gemm_nt, gemm_tn
from ..._runtime.owners import Owner
from .._inputs import flat


@scalar
def start_row(r, columns, before, step, out):
    """Row r of the start, whose rows lie ``step`` apart (0: the same for all); zeros if it is empty."""
    for c in range(columns):
        out[r * columns + c] = before[r * step + c] if before.size else type(out[0])(0)


@scalar
def product_row(r, blas, columns, inner, a, a_row, a_step, b, b_step, b_column, before, step, out):
    """Row r of before + A B, where A_rk = a[r a_row + k a_step] and B_kc = b[k b_step + c b_column]."""
    start_row(r, columns, before, step, out)
    for c in range(columns):
        total = out[r * columns + c]
        for k in range(inner):
            total += a[r * a_row + k * a_step] * b[k * b_step + c * b_column]
        out[r * columns + c] = total


@kernel
def product_cpu(start, stop, blas, columns, inner, a, a_row, a_step, b, b_step, b_column, before, step, out):
    one, rows, at = type(out[0])(1), stop - start, start * columns
    for r in range(start, stop):
        start_row(r, columns, before, step, out)
    if inner == 0:
        return
    if a_step != 1:
        gemm_tn(blas, rows, columns, inner, one, a, start, a_step, b, 0, b_step, one, out, at, columns)
    elif b_column != 1:
        gemm_nt(blas, rows, columns, inner, one, a, start * a_row, a_row, b, 0, b_column, one, out, at, columns)
    else:
        gemm_nn(blas, rows, columns, inner, one, a, start * a_row, a_row, b, 0, b_step, one, out, at, columns)


PRODUCT = Owner(product_row, product_cpu, "i i i F1 i i F1 i i F1 i F1", grain=32)


def product(a, b, rows: int, inner: int, columns: int, *, before=None, turn_a: bool = False, turn_b: bool = False):
    """before + A B, flat, for flat a and b; ``turn_a``: what is stored is A'. before: all rows, or one for all."""
    out = devices.empty(rows * columns, a.dtype, like=a)
    if before is None:
        before = devices.empty(0, a.dtype, like=a)
    if out.size:
        of_a = (1, rows) if turn_a else (inner, 1)
        of_b = (1, inner) if turn_b else (columns, 1)
        step = 0 if before.size == columns else columns
        a, b, before = (flat(x) for x in (a, b, before))
        blas = linalg.gemm_address(np.dtype(a.dtype))
        with linalg.single_threaded():
            PRODUCT(rows, blas, columns, inner, a, *of_a, b, *of_b, before, step, out)
    return out
