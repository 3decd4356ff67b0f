"""A hint to the compiler: how wide its own vectors may be."""

from numba import config, types
from numba.extending import intrinsic

if config.DISABLE_JIT:

    def full_width() -> None:
        """Does nothing without the JIT."""

else:

    @intrinsic
    def full_width(typing):
        """Let LLVM use 512-bit vectors in the calling kernel, where the machine has them.

        It prefers 256 bits on processors that once lowered their clock for wider ones; a kernel that calls BLAS is at
        that clock anyway. Without effect elsewhere. llvmlite knows no attributes with values, hence ``set.add``.
        """

        def codegen(context, builder, signature, arguments):
            set.add(builder.function.attributes, '"prefer-vector-width"="512"')
            return context.get_dummy_value()

        return types.void(), codegen
