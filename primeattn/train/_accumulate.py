"""A sum of gradients, on either device."""

from .._runtime.jit import kernel, nonnegative, scalar
from .._runtime.owners import Owner


@scalar
def add_scaled_row(i, share, x, total):
    total[i] += share * x[i]


@kernel
def add_scaled_cpu(start, stop, share, x, total):
    for i in range(start, stop):
        add_scaled_row(nonnegative(i), share, x, total)


ADD_SCALED = Owner(add_scaled_row, add_scaled_cpu, "F F1 F1", grain=65_536)
