"""Matrix products inside compiled kernels. The only caller of a GEMM.

A kernel takes the address of a BLAS routine as its first argument after the range, ``blas``, from `gemm_address`,
and calls ``gemm_nn``, ``gemm_nt`` or ``gemm_tn`` with it. The address is an argument because it differs in every
process: a cached kernel must not hold it. It is that of ``scipy.linalg.cython_blas``, a public interface; where SciPy
has none, or with ``PRIMEATTN_BLAS=0``, it is that of `plain_gemm`: loops of our own behind the same signature.

On whole arrays, outside of kernels: `multiply`.

The threads are ours (``owners.share``), so BLAS must not start others: `single_threaded` holds BLAS to one thread per
call and gives the user's number back. Only where its library offers no such control does it decide for itself.
"""

import ctypes
import os
import threading
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import carray, cfunc, config, types
from numba.core import cgutils
from numba.extending import intrinsic

from . import devices, memory, panels, strips
from .jit import CACHE, MATH, bare_kernel, scalar
from .owners import Owner


class Library(NamedTuple):
    """A BLAS: addresses of its Fortran ``sgemm`` and ``dgemm``, and how to ask for and set its threads."""

    name: str
    single: int
    double: int
    get_threads: Any = None
    set_threads: Any = None


# (get, set) in the order of preference; SciPy's wheels rename OpenBLAS
_CONTROLS = (
    ("scipy_openblas_get_num_threads", "scipy_openblas_set_num_threads"),
    ("scipy_openblas_get_num_threads64_", "scipy_openblas_set_num_threads64_"),
    ("openblas_get_num_threads", "openblas_set_num_threads"),
    ("openblas_get_num_threads64_", "openblas_set_num_threads64_"),
    ("MKL_Get_Max_Threads", "MKL_Set_Num_Threads"),
    ("bli_thread_get_num_threads", "bli_thread_set_num_threads"),
)


@cache
def scipy_blas() -> Library | None:
    """SciPy's BLAS, or None if this SciPy exposes none."""
    try:
        import scipy.linalg.cython_blas as module
        from numba.extending import get_cython_function_address

        name = module.__name__
        single, double = (get_cython_function_address(name, f) for f in ("sgemm", "dgemm"))
    except (ImportError, ValueError):
        return None
    library = ctypes.CDLL(module.__file__)  # looks a name up in the libraries that the module was linked to, too
    for ask, tell in _CONTROLS:
        if hasattr(library, ask) and hasattr(library, tell):
            return Library(ask.partition("_get")[0], single, double, getattr(library, ask), getattr(library, tell))
    return Library("uncontrolled", single, double)


@cache
def plain_loops() -> Library:
    """`plain_gemm` in float32 and float64, compiled on first use."""
    addresses = []
    for floating in (types.float32, types.float64):
        char, integer, real = (types.CPointer(t) for t in (types.int8, types.int32, floating))
        signature = types.void(
            char, char, integer, integer, integer, real, real, integer, real, integer, real, real, integer
        )
        addresses.append(cfunc(signature, cache=CACHE, **MATH)(plain_gemm).address)
    return Library("plain loops", *addresses)


def library() -> Library:
    """The BLAS in use: SciPy's, or the plain loops."""
    found = None if os.environ.get("PRIMEATTN_BLAS") == "0" else scipy_blas()
    return found or plain_loops()


def gemm_address(dtype) -> int:
    """Address of the Fortran GEMM for float32 or float64, to hand to a kernel; 0 with the JIT off."""
    if config.DISABLE_JIT:
        return 0
    return library().single if np.dtype(dtype) == np.float32 else library().double


_lock = threading.Lock()
_inside = 0
_before = 0


class single_threaded:
    """``with single_threaded():`` holds BLAS to one thread per call, in this process, until the last block ends."""

    def __enter__(self) -> None:
        global _inside, _before
        self.blas = None if config.DISABLE_JIT else library()
        if self.blas is None or self.blas.set_threads is None:
            return
        with _lock:
            if not _inside:
                _before = self.blas.get_threads()
                self.blas.set_threads(1)
            _inside += 1

    def __exit__(self, *error) -> None:
        global _inside
        if self.blas is None or self.blas.set_threads is None:
            return
        with _lock:
            _inside -= 1
            if not _inside:
                self.blas.set_threads(_before)


def plain_gemm(transa, transb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc):
    """Fortran GEMM, column-major: C = alpha op(A) op(B) + beta C, with C of shape (m, n)."""
    everything = 1 << 60
    left, right, out = carray(a, everything), carray(b, everything), carray(c, everything)
    rows, steps = np.int64(m[0]), np.int64(k[0])
    across, down = np.int64(ldb[0]), np.int64(1)
    if transb[0] == 84:  # "T"
        across, down = down, across
    for j in range(n[0]):
        column = j * np.int64(ldc[0])
        for i in range(rows):
            out[column + i] = beta[0] * out[column + i] if beta[0] != 0 else beta[0]
        if transa[0] == 84:
            for i in range(rows):
                start, total = i * np.int64(lda[0]), beta[0] - beta[0]
                for step in range(steps):
                    total += left[start + step] * right[j * across + step * down]
                out[column + i] += alpha[0] * total
        else:
            for step in range(steps):
                start, factor = step * np.int64(lda[0]), alpha[0] * right[j * across + step * down]
                for i in range(rows):
                    out[column + i] += factor * left[start + i]


def _call_blas(context, builder, signature, arguments, transpose_a, transpose_b):
    """Row-major C = op(A) op(B) is column-major C' = op(B)' op(A)': swap the operands and m with n."""
    address, m, n, k, alpha, a, ao, lda, b, bo, ldb, beta, c, co, ldc = arguments
    array_types = dict(zip("abc", (signature.args[i] for i in (5, 8, 12)), strict=True))
    real = context.get_value_type(array_types["a"].dtype)
    integer, char = ir.IntType(32), ir.IntType(8)

    def cell(value, type_):
        place = cgutils.alloca_once(builder, type_)
        builder.store(value, place)
        return place

    def count(value):
        return cell(builder.trunc(value, integer), integer)

    def letter(transposed):
        return cell(ir.Constant(char, ord("T" if transposed else "N")), char)

    def pointer(array_type, array, offset):
        return builder.gep(context.make_array(array_type)(context, builder, array).data, [offset])

    values = [
        letter(transpose_b),
        letter(transpose_a),
        *(count(x) for x in (n, m, k)),
        cell(alpha, real),
        pointer(array_types["b"], b, bo),
        count(ldb),
        pointer(array_types["a"], a, ao),
        count(lda),
        cell(beta, real),
        pointer(array_types["c"], c, co),
        count(ldc),
    ]
    kind = ir.FunctionType(ir.VoidType(), [v.type for v in values])
    builder.call(builder.inttoptr(address, kind.as_pointer()), values)
    return context.get_dummy_value()


def _compiled(transpose_a, transpose_b):
    def gemm(typing, blas, m, n, k, alpha, a, ao, lda, b, bo, ldb, beta, c, co, ldc):
        real = a.dtype
        if not (b.dtype == c.dtype == real) or any(x.ndim != 1 or x.layout != "C" for x in (a, b, c)):
            return None
        i = types.int64
        signature = types.void(i, i, i, i, real, a, i, i, b, i, i, real, c, i, i)

        def codegen(context, builder, signature, arguments):
            return _call_blas(context, builder, signature, arguments, transpose_a, transpose_b)

        return signature, codegen

    return intrinsic(gemm)


def _interpreted(transpose_a, transpose_b):
    def table(x, offset, step, rows, columns):
        strides = (step * x.itemsize, x.itemsize)
        return np.lib.stride_tricks.as_strided(x[offset:], (rows, columns), strides)

    def gemm(blas, m, n, k, alpha, a, ao, lda, b, bo, ldb, beta, c, co, ldc):
        left = table(a, ao, lda, k, m).T if transpose_a else table(a, ao, lda, m, k)
        right = table(b, bo, ldb, n, k).T if transpose_b else table(b, bo, ldb, k, n)
        out = table(c, co, ldc, m, n)
        out[...] = alpha * (left @ right) + (beta * out if beta != 0 else 0)

    return gemm


_made = _interpreted if config.DISABLE_JIT else _compiled

#: ``gemm_xy(blas, m, n, k, alpha, a, ao, lda, b, bo, ldb, beta, c, co, ldc)``: C = alpha op(A) op(B) + beta C on flat
#: row-major arrays, where C is (m, n), an operand starts at its offset ``ao``, ``bo``, ``co`` and its rows lie ``lda``,
#: ``ldb``, ``ldc`` numbers apart. C is not read if beta is 0. x, y: n as it lies, t transposed.
gemm_nn = _made(False, False)
gemm_nt = _made(False, True)
gemm_tn = _made(True, False)


def _matrix_product(typing, blas, turn_a, turn_b, m, n, k, a, lda, b, ldb, beta, c, ldc):
    real = beta
    if not (a.dtype == b.dtype == c.dtype == real) or any(x.ndim != 2 for x in (a, b, c)):
        return None
    i = types.int64

    def codegen(context, builder, signature, arguments):
        blas, turn_a, turn_b, m, n, k, a, lda, b, ldb, beta, c, ldc = arguments
        real = context.get_value_type(signature.args[10])
        integer, char = ir.IntType(32), ir.IntType(8)

        def cell(value, type_):
            place = cgutils.alloca_once(builder, type_)
            builder.store(value, place)
            return place

        def count(value):
            return cell(builder.trunc(value, integer), integer)

        def letter(turned):
            is_turned = builder.icmp_signed("!=", turned, turned.type(0))
            return cell(builder.select(is_turned, char(ord("T")), char(ord("N"))), char)

        def pointer(which, array):
            return context.make_array(signature.args[which])(context, builder, array).data

        values = [
            letter(turn_b),
            letter(turn_a),
            *(count(x) for x in (n, m, k)),
            cell(real(1.0), real),
            pointer(8, b),
            count(ldb),
            pointer(6, a),
            count(lda),
            cell(beta, real),
            pointer(11, c),
            count(ldc),
        ]
        kind = ir.FunctionType(ir.VoidType(), [v.type for v in values])
        builder.call(builder.inttoptr(blas, kind.as_pointer()), values)
        return context.get_dummy_value()

    return types.void(i, i, i, i, i, i, a, i, b, i, real, c, i), codegen


_product = intrinsic(_matrix_product)


@bare_kernel
def _multiply(blas, turn_a, turn_b, add, a, b, out):
    m, n = out.shape
    k = a.shape[0] if turn_a != 0 else a.shape[1]
    zero = type(out[0, 0])(0)
    if m > 0 and n > 0 and k > 0:
        size = out.itemsize
        # NumPy gives the only row of a matrix any step it likes
        lda = a.strides[0] // size if a.shape[0] > 1 else a.shape[1]
        ldb = b.strides[0] // size if b.shape[0] > 1 else b.shape[1]
        ldc = out.strides[0] // size if m > 1 else n
        beta = zero + type(zero)(1) if add != 0 else zero
        _product(blas, turn_a, turn_b, m, n, k, a, lda, b, ldb, beta, out, ldc)
    elif add == 0:
        out[:, :] = zero


@scalar
def multiply_row(i, a, b, turn_a, turn_b, add, out):
    """Number i of the product."""
    r, c = i // out.shape[1], i % out.shape[1]
    total = out[r, c] if add else type(out[0, 0])(0)
    for s in range(a.shape[0] if turn_a else a.shape[1]):
        left = a[s, r] if turn_a else a[r, s]
        total += left * (b[c, s] if turn_b else b[s, c])
    out[r, c] = total


@bare_kernel
def multiply_cpu(start, stop, a, b, turn_a, turn_b, add, out):
    for i in range(start, stop):
        multiply_row(i, a, b, turn_a, turn_b, add, out)


MULTIPLY = Owner(multiply_row, multiply_cpu, "F2 F2 i i i F2")


def multiply(a, b, out, *, turn_a: bool = False, turn_b: bool = False, add: bool = False) -> None:
    """``out = op(a) @ op(b)``, or ``out += ...`` with ``add``; op transposes if turned.

    On matrices of one dtype, all in host memory, with rows that are contiguous (any step between them), or all on
    CUDA. Nothing is checked. One thread: callers share the work, and hold BLAS to one thread by `single_threaded`.
    """
    if type(out) is not np.ndarray and devices.is_device_array(out):
        MULTIPLY(out.size, a, b, int(turn_a), int(turn_b), int(add), out)
    elif config.DISABLE_JIT:
        product = (a.T if turn_a else a) @ (b.T if turn_b else b)
        out[...] = out + product if add else product
    elif out.shape[0] < _FEW or not (b.size and out.size):
        _multiply(gemm_address(out.dtype), int(turn_a), int(turn_b), int(add), a, b, out)
    else:
        work, *sizes = _panel_sizes(out.dtype)
        panels.multiply(int(turn_a), int(turn_b), int(add), a, b, out, work, *sizes)


_FEW = 4 * strips.ROWS  # rows for which packing B does not pay
_kept = threading.local()


def _panel_sizes(dtype):
    """Working memory of this thread, and the sizes of this machine's panels."""
    try:
        return _kept.__dict__[dtype]
    except KeyError:
        work = memory.aligned(panels.room(dtype), dtype)
        found = _kept.__dict__[dtype] = work, strips.grain(dtype), strips.panel(dtype), strips.side(dtype)
        return found
