"""A promise to the compiler: the arrays of a kernel do not overlap."""

from llvmlite import ir
from numba import config, types
from numba.extending import intrinsic

if config.DISABLE_JIT:

    def disjoint() -> None:
        """Does nothing without the JIT."""

else:

    @intrinsic
    def disjoint(typing):
        """Promise that no array which the calling kernel writes shares memory with another of its arrays.

        Otherwise LLVM must compare addresses before each vectorised loop, and gives a loop up that needs more than
        eight comparisons. Call it in a kernel, where arrays arrive as arguments, never in a scalar or row.
        """

        def codegen(context, builder, signature, arguments):
            for argument in builder.function.args:
                kind = argument.type
                if isinstance(kind, ir.PointerType) and isinstance(kind.pointee, ir.FloatType | ir.DoubleType):
                    argument.add_attribute("noalias")
            return context.get_dummy_value()

        return types.void(), codegen
