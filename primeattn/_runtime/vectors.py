"""Vectors of ``LANES`` numbers as values inside compiled kernels, for loops that LLVM would not vectorise by itself.

A kernel loads a vector from a flat contiguous array, computes, and stores it::

    s = fma(broadcast(w), load(value, i), load(out, i))      # s = w value[i:i + LANES] + out[i:i + LANES]
    store(out, i, s)

``+ - * /`` work lane by lane, so that a scalar function may be called with vectors: many rows, one formula.

The same IR serves every CPU: LLVM splits a vector where the registers are shorter. CPU only; with the JIT off the
same names work on NumPy slices.
"""

import operator

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic, lower_builtin, models, register_model, type_callable

from .memory import LINE


def _lanes() -> int:
    """Float32 numbers in the widest register of this CPU: 16 with AVX-512, else 8 (two registers of ARM's)."""
    try:
        return 16 if llvm.get_host_cpu_features().get("avx512f") else 8
    except RuntimeError:  # this CPU does not say
        return 8


LANES = _lanes()


class Vector(types.Type):
    """``lanes`` numbers of one floating type."""

    def __init__(self, dtype, lanes=LANES):
        self.dtype, self.lanes = dtype, lanes
        super().__init__(name=f"Vector({dtype}, {lanes})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager, fe_type):
        super().__init__(manager, fe_type, ir.VectorType(manager.lookup(fe_type.dtype).get_value_type(), fe_type.lanes))


def _arithmetic(function, instruction: str) -> None:
    """``contract``, as everywhere here: a product is fused with a sum in vectors where it is in single numbers."""

    @type_callable(function)
    def typer(context):
        return lambda x, y: x if isinstance(x, Vector) and x == y else None

    @lower_builtin(function, Vector, Vector)
    def build(context, builder, signature, arguments):
        return getattr(builder, instruction)(*arguments, flags=("contract",))


_arithmetic(operator.add, "fadd")
_arithmetic(operator.sub, "fsub")
_arithmetic(operator.mul, "fmul")
_arithmetic(operator.truediv, "fdiv")


def address(context, builder, array_type, array, index, lanes=LANES):
    """Pointer to ``lanes`` numbers from ``array[index]`` on."""
    data = cgutils.create_struct_proxy(array_type)(context, builder, array).data
    vector = ir.VectorType(context.get_value_type(array_type.dtype), lanes)
    return builder.bitcast(builder.gep(data, [index]), vector.as_pointer())


def size(array_type) -> int:
    """Bytes of a number, and the alignment of its vectors: no more is known."""
    return array_type.dtype.bitwidth // 8


def copies(builder, x, kind):
    """The vector of type ``kind`` whose lanes are all ``x``."""
    nothing = ir.Constant(kind, ir.Undefined)
    first = builder.insert_element(nothing, x, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, nothing, lanes_of([0] * kind.count))


def lanes_of(numbers):
    """The constant that tells ``shuffle_vector`` which lanes to take."""
    return ir.Constant(ir.VectorType(ir.IntType(32), len(numbers)), list(numbers))


def touch(builder, pointer, near: int = 3) -> None:
    """Ask for the cache line at ``pointer``, into all levels of cache, or all but the first (``near`` = 2)."""
    byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
    function = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(ir.VoidType(), [byte, number, number, number]), "llvm.prefetch.p0"
    )
    where = builder.bitcast(pointer, byte)
    builder.call(function, [where, number(0), number(near), number(1)])  # to read, data


@intrinsic
def load(typing, array, index):
    """``array[index:index + LANES]``."""

    def build(context, builder, signature, arguments):
        vector = builder.load(address(context, builder, signature.args[0], *arguments))
        vector.align = size(signature.args[0])
        return vector

    return Vector(array.dtype)(array, types.intp), build


@intrinsic
def load_pair(typing, array, index):
    """``array[index:index + 2]``."""

    def build(context, builder, signature, arguments):
        vector = builder.load(address(context, builder, signature.args[0], arguments[0], arguments[1], 2))
        vector.align = size(signature.args[0])
        return vector

    return Vector(array.dtype, 2)(array, types.intp), build


@intrinsic
def store(typing, array, index, vector):
    """``array[index:index + lanes] = vector``, of ``LANES`` numbers or a pair."""

    def build(context, builder, signature, arguments):
        array, index, vector = arguments
        where = address(context, builder, signature.args[0], array, index, vector.type.count)
        builder.store(vector, where).align = size(signature.args[0])
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), build


@intrinsic
def prefetch(typing, array, index):
    """Ask for the cache line of ``array[index]``, soon to be used; never faults, changes nothing."""

    def build(context, builder, signature, arguments):
        touch(builder, address(context, builder, signature.args[0], *arguments))
        return context.get_dummy_value()

    return types.void(array, types.intp), build


@intrinsic
def prefetch_rows(typing, array, start, stop):
    """Ask for the cache lines of ``array[start:stop]`` into the second-level cache; never faults, changes nothing."""

    def build(context, builder, signature, arguments):
        array, start, stop = arguments
        step = ir.Constant(start.type, LINE // 2 // size(signature.args[0]))
        with cgutils.for_range_slice(builder, start, stop, step, start.type) as (index, _):
            touch(builder, address(context, builder, signature.args[0], array, index), 2)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp), build


@intrinsic
def before_line(typing, array):
    """How many numbers of an array lie before the first cache line (of ``LINE`` bytes) that starts in it."""

    def build(context, builder, signature, arguments):
        data = cgutils.create_struct_proxy(signature.args[0])(context, builder, arguments[0]).data
        address, number = builder.ptrtoint(data, ir.IntType(64)), ir.Constant(ir.IntType(64), size(signature.args[0]))
        gap = builder.and_(builder.neg(address), ir.Constant(ir.IntType(64), LINE - 1))
        return builder.udiv(gap, number)

    return types.intp(array), build


@intrinsic
def broadcast(typing, x):
    """``LANES`` copies of a number."""

    def build(context, builder, signature, arguments):
        return copies(builder, arguments[0], context.get_value_type(signature.return_type))

    return Vector(x)(x), build


@intrinsic
def twice(typing, x):
    """Two copies of a number."""

    def build(context, builder, signature, arguments):
        return copies(builder, arguments[0], context.get_value_type(signature.return_type))

    return Vector(x, 2)(x), build


@intrinsic
def fma(typing, x, y, z):
    """x y + z, lane by lane, rounded once."""

    def build(context, builder, signature, arguments):
        kind = arguments[0].type
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(kind, [kind] * 3), f"llvm.fma.v{LANES}f{x.dtype.bitwidth}"
        )
        return builder.call(function, arguments)

    return x(x, y, z), build


@intrinsic
def total(typing, x):
    """The sum of the lanes, in pairs."""

    def build(context, builder, signature, arguments):
        vector, width = arguments[0], LANES
        while width > 1:
            width //= 2
            low, high = lanes_of(range(width)), lanes_of(range(width, 2 * width))
            nothing = ir.Constant(vector.type, ir.Undefined)
            vector = builder.fadd(
                builder.shuffle_vector(vector, nothing, low), builder.shuffle_vector(vector, nothing, high)
            )
        return builder.extract_element(vector, ir.Constant(ir.IntType(32), 0))

    return x.dtype(x), build


if config.DISABLE_JIT:

    def before_line(array):
        return 0

    def load(array, index):
        return array[index : index + LANES].copy()

    def load_pair(array, index):
        return array[index : index + 2].copy()

    def store(array, index, vector):
        array[index : index + len(vector)] = vector

    def prefetch(array, index):
        pass

    def prefetch_rows(array, start, stop):
        pass

    def broadcast(x):
        return np.full(LANES, x)

    def twice(x):
        return np.full(2, x)

    def fma(x, y, z):
        return x * y + z

    def total(x):
        return x.sum()
