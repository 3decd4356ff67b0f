"""Products, conjugates, lengths."""

from .._runtime.jit import kernel, scalar
from .._runtime.owners import Owner
from . import scalars
from ._elementwise import Function, elementwise
from ._memory import load4, store1, store4


@scalar
def multiply_row(i, a, sa, b, sb, out):
    store4(out, i, scalars.multiply(load4(a, i * sa), load4(b, i * sb)))


@kernel
def multiply_cpu(start, stop, a, sa, b, sb, out):
    for i in range(start, stop):
        multiply_row(i, a, sa, b, sb, out)


MULTIPLY = Function(Owner(multiply_row, multiply_cpu, "F1 i F1 i F1"), {"a": (4,), "b": (4,)})


def multiply(a, b, *, out=None):
    return elementwise(MULTIPLY, a, b, out=out)
