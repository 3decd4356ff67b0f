"""Exponential, logarithm, powers."""
from .._runtime.jit import kernel, scalar
from .._runtime.owners import Owner
from . import scalars
from ._elementwise import Function, elementwise
from ._memory import load1, load4, store1, store4


@scalar
def exp_row(i, a, sa, out):
    store4(out, i, scalars.exp(load4(a, i * sa)))


@kernel
def exp_cpu(start, stop, a, sa, out):
    for i in range(start, stop):
        exp_row(i, a, sa, out)


EXP = Function(Owner(exp_row, exp_cpu, "F1 i F1"), {"a": (4,)})


def exp(a, *, out=None):
    return elementwise(EXP, a, out=out)


@scalar
def log_row(i, a, sa, out):
    store4(out, i, scalars.log(load4(a, i * sa)))


@kernel
def log_cpu(start, stop, a, sa, out):
    for i in range(start, stop):
        log_row(i, a, sa, out)


LOG = Function(Owner(log_row, log_cpu, "F1 i F1"), {"a": (4,)})


def log(a, *, out=None):
    return elementwise(LOG, a, out=out)


@scalar
def slerp_row(i, a, sa, b, sb, t, st, out):
    store4(out, i, scalars.slerp(load4(a, i * sa), load4(b, i * sb), load1(t, i * st)))


@kernel
def slerp_cpu(start, stop, a, sa, b, sb, t, st, out):
    for i in range(start, stop):
        slerp_row(i, a, sa, b, sb, t, st, out)


SLERP = Function(Owner(slerp_row, slerp_cpu, "F1 i F1 i F1 i F1"), {"a": (4,), "b": (4,), "t": ()})


def slerp(a, b, t, *, out=None):
    return elementwise(SLERP, a, b, t, out=out)
