"""The two ways a function of this package is compiled.

``scalar``: mathematics and rows; inlined into its caller, on the CPU and, recompiled by Numba, in
CUDA device code. ``kernel``: a CPU loop over ``[start, stop)``; releases the GIL so that threads can
share the range, and is kept in Numba's on-disk cache unless ``PRIMEATTN_CACHE=0``.

``fastmath`` is only ``contract``: a fused multiply-add rounds once instead of twice. ``reassoc``
would break range reduction and compensated sums; ``nnan`` and ``ninf`` would change what NaN does.
"""

import os

import llvmlite.binding as llvm
from numba import config, njit, types
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler
from numba.extending import intrinsic

CACHE = os.environ.get("PRIMEATTN_CACHE", "1") != "0"
MATH = {"error_model": "numpy", "fastmath": {"contract"}}


class _Draft(JITCodeLibrary):
    """Code that is to be inlined, as it came from the front end.

    Numba would optimise it, and make machine code of it that nobody calls, and then optimise it once more within each
    caller: a quarter of the time to compile a training step (measured; the kernels run as fast).
    """

    def _optimize_final_module(self):
        pass

    def _finalize_final_module(self):
        """Only the places of environments go to the machine: Numba writes them after each compilation."""
        names = [x.name for x in self._final_module.global_variables if x.name.startswith("_ZN08NumbaEnv")]
        places = llvm.parse_assembly("".join(f'@"{name}" = common global ptr null\n' for name in names))
        places.triple, places.data_layout = self._final_module.triple, self._final_module.data_layout
        self._codegen._add_module(places)
        self._finalized = True


class Inside(Compiler):
    """The compiler of what is always inlined and has no wrappers: it leaves a draft."""

    def define_pipelines(self):
        self.state.library = _Draft(self.state.targetctx.codegen(), self.state.func_id.func_qualname)
        return super().define_pipelines()


INSIDE = {
    "forceinline": True,
    "_nrt": False,
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
    "pipeline_class": Inside,
}


def scalar(function):
    """Compile a scalar or a row: always inlined, never cached on its own.

    It neither allocates nor returns arrays, so references are not counted (``_nrt``): Numba does not always see that
    counts cancel, and an atomic instruction an array and call made a network edge take 80 ns instead of 0.9.
    """
    return njit(function, forceinline=True, _nrt=False, **MATH)


def summing(function):
    """A piece whose sums may be taken in any order, so that they vectorise. What it calls keeps its own order."""
    return njit(function, **INSIDE, error_model="numpy", fastmath={"contract", "reassoc", "nsz"})


def piece(function):
    """A scalar that takes tuples of many arrays, and that only compiled code calls; Python may not: it would crash.

    It has no wrapper for calls from Python, whose unpacking takes longer to compile than the piece itself.
    """
    return njit(function, **INSIDE, **MATH)


def apart(function):
    """A piece that is not inlined, for what few callers need: they compile faster."""
    return njit(function, _nrt=False, no_cpython_wrapper=True, **MATH)


def kernel(function, **options):
    """Compile a CPU loop ``function(start, stop, *arrays)``: cached on disk, runs without the GIL."""
    try:
        return njit(function, nogil=True, cache=CACHE, **MATH, **options)
    except RuntimeError:  # nowhere to write (a read-only container without a home): compile in each process
        return njit(function, nogil=True, **MATH, **options)


def bare_kernel(function):
    """A kernel that allocates nothing, and so counts no references."""
    return kernel(function, _nrt=False)


if config.DISABLE_JIT:

    def nonnegative(i):
        """``i`` itself; tells the compiler that it is >= 0: ``row(nonnegative(i), ...)`` in a CPU kernel.

        Numba counts a negative index from the end, and in ``range(start, stop)`` LLVM cannot see that none
        comes: every load becomes a gather (measured: exp of float32 0.95 ns an element, 0.42 ns with this).
        """
        return i

    def read_only(x):
        """``x`` itself, of the type of arrays that may not be written: for what is compiled to read such ones, so that
        it need not be compiled again for memory that a kernel has just written."""
        return x

    def not_inlined() -> None:
        """Keeps the calling kernel whole where another calls it: it runs the same code there, and gives the same bits.

        Inlined, products may be fused with other sums. For kernels, not for pieces, which are always inlined."""

else:

    @intrinsic
    def nonnegative(typing, i):
        def codegen(context, builder, signature, arguments):
            (index,) = arguments
            builder.assume(builder.icmp_signed(">=", index, index.type(0)))
            return index

        return (i(i), codegen) if isinstance(i, types.Integer) else None

    @intrinsic
    def read_only(typing, x):
        def codegen(context, builder, signature, arguments):
            return arguments[0]  # types differ, data do not; nothing counts references here

        return x.copy(readonly=True)(x), codegen

    @intrinsic
    def not_inlined(typing):
        def codegen(context, builder, signature, arguments):
            builder.function.attributes.add("noinline")
            return context.get_dummy_value()

        return types.void(), codegen
