"""Loops that several layers share: sums of arrays, and of columns."""

from .._runtime.jit import bare_kernel, nonnegative, piece
from .._runtime.owners import Owner
from .._runtime.width import full_width


@piece
def add_row(i, x, y):
    y[i] += x[i]


@bare_kernel
def add_cpu(start, stop, x, y):
    full_width()
    for i in range(start, stop):
        add_row(nonnegative(i), x, y)


@piece
def columns_row(c, x, rows, columns, out):
    """Column c of the rows of x, added to out."""
    total = out[c]
    for r in range(rows):
        total += x[r * columns + c]
    out[c] = total


@bare_kernel
def columns_cpu(start, stop, x, rows, columns, out):
    full_width()
    for r in range(rows):
        for c in range(start, stop):
            out[nonnegative(c)] += x[nonnegative(r * columns + c)]


@piece
def shift_row(i, x, bias, columns, out):
    out[i] = x[i] + bias[i % columns]


@bare_kernel
def shift_cpu(start, stop, x, bias, columns, out):
    full_width()
    for i in range(start, stop):
        shift_row(nonnegative(i), x, bias, columns, out)


#: y += x
ADD = Owner(add_row, add_cpu, "F1 F1")
#: out += the sums of the columns of x
COLUMNS = Owner(columns_row, columns_cpu, "F1 i i F1", grain=1024)
#: out = x + bias, row by row
SHIFT = Owner(shift_row, shift_cpu, "F1 F1 i F1")
