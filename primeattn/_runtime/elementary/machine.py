"""What the formulas need of the machine: bit patterns, fused multiply-add, and a choice by type.

Each has three forms: LLVM intrinsics, which serve the CPU and CUDA alike, and plain Python for
``NUMBA_DISABLE_JIT=1`` and the CUDA simulator.
"""

import math
from fractions import Fraction

import numpy as np
from numba import config, types
from numba.extending import intrinsic, overload

from ..jit import MATH


def by_type(single, double):
    """One function out of two of one argument: ``single`` for float32 and int32, ``double`` for the rest.

    Numba resolves the choice at compile time, so no trace of float64 is left in float32 code.
    """

    def choose(x):
        return single(x) if isinstance(x, np.float32 | np.int32) else double(x)

    def resolve(x):
        return single if x in (types.float32, types.int32) else double

    overload(choose, jit_options={"forceinline": True, **MATH}, strict=False)(resolve)
    return choose


if config.DISABLE_JIT:

    def bits(x):
        """The bit pattern of a float32 as int32, of a float64 as int64."""
        return x.view(np.int32) if isinstance(x, np.float32) else np.float64(x).view(np.int64)

    def from_bits(i):
        """The float32 or float64 with the bit pattern of an int32 or int64."""
        return i.view(np.float32) if isinstance(i, np.int32) else i.view(np.float64)

    def fma(x, y, z):
        """x y + z, rounded once."""
        if not (math.isfinite(x) and math.isfinite(y) and math.isfinite(z)):
            return x * y + z
        exact = Fraction(float(x)) * Fraction(float(y)) + Fraction(float(z))
        return type(x)(float(exact)) if exact else x * y + z  # zero: the hardware's sign

    def rare(function):
        """The same function of one number, as a call that LLVM neither inlines nor expects to fail.

        Inlined, both sides of the branch around it would be computed for every element. Expected to fail
        (any function of Numba may raise), it would make rows count references to their arrays.
        """
        return function

else:
    _INTEGER = {types.float32: types.int32, types.float64: types.int64}
    _FLOATING = {i: f for f, i in _INTEGER.items()}

    def _bitcast(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], context.get_value_type(signature.return_type))

    @intrinsic
    def bits(typing, x):
        return (_INTEGER[x](x), _bitcast) if x in _INTEGER else None

    @intrinsic
    def from_bits(typing, i):
        return (_FLOATING[i](i), _bitcast) if i in _FLOATING else None

    @intrinsic
    def fma(typing, x, y, z):
        def codegen(context, builder, signature, arguments):
            return builder.fma(*arguments)

        return (x(x, x, x), codegen) if x in _INTEGER else None

    @intrinsic
    def _never_inlined(typing):
        def codegen(context, builder, signature, arguments):
            attributes = builder.function.attributes
            if "alwaysinline" not in attributes:  # as everything is in CUDA device code
                attributes.add("noinline")
            return context.get_dummy_value()

        return types.void(), codegen

    def rare(function):
        def body(x):
            _never_inlined()
            return function(x)

        @intrinsic
        def call(typing, x):
            def codegen(context, builder, signature, arguments):
                compiled = context.compile_subroutine(builder, body, signature)
                return context.call_internal_no_propagate(builder, compiled.fndesc, signature, arguments)[1]

            return types.UniTuple(x, 2)(x), codegen

        return call
