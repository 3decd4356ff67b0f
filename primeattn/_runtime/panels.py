"""Products of matrices of any size from strips: what `linalg.multiply` calls on the CPU.

A panel of columns of B, packed into aligned memory, is met by all rows of A, `strips.ROWS` at a time, whose sums stay
in registers. The rows of A and C are read and written where they are, so nothing else is packed; what does not fill a
strip goes through a small block beside the panel. Sums run in blocks of ``BLOCK`` steps, each in order.

A BLAS packs A as well, which pays for large matrices. Layers multiply a few hundred rows by matrices that fit in a
cache: measured on the products of a block of width 128 with 512 tokens, one thread, what comes from afar included, 62
to 91 GFLOP/s by OpenBLAS, 81 to 105 here; from near, 86 to 103 and 99 to 111, of 116 at most.
"""

from . import strips
from .jit import bare_kernel, nonnegative, piece
from .strips import ROWS, square, strip, strip_turned
from .vectors import prefetch
from .width import full_width

BLOCK = 512


def room(dtype) -> int:
    """Numbers of working memory: a panel, rows of A, and a block of C."""
    return BLOCK * strips.panel(dtype) + ROWS * BLOCK + ROWS * strips.panel(dtype)


@piece
def pack_panel(b, turn_b, first, steps, column, columns, panel, side, work):
    """``columns`` columns of op(B), from ``first`` on ``steps`` rows of it, as rows of a panel; zeros beside them."""
    zero = type(b[0, 0])(0)
    if turn_b == 0:
        for s in range(steps):
            for c in range(columns):
                work[nonnegative(s * panel + c)] = b[nonnegative(first + s), nonnegative(column + c)]
    else:
        size = b.itemsize
        ldb, one = b.strides[0] // size, zero + type(zero)(1)
        across, down = columns // side * side, steps // side * side
        for c in range(0, across, side):
            for s in range(0, down, side):
                square(b, (column + c) * ldb + first + s, ldb, one, work, s * panel + c, panel)
        for c in range(columns):
            for s in range(down if c < across else 0, steps):
                work[nonnegative(s * panel + c)] = b[nonnegative(column + c), nonnegative(first + s)]
    if columns < panel:
        for s in range(steps):
            for c in range(columns, panel):
                work[nonnegative(s * panel + c)] = zero


@piece
def ask_ahead(turn_a, first, steps, a, lda, column, columns, c, ldc, r, to):
    """Rows [r, to) of A and C are next: have them in the cache by then."""
    for i in range(r, to):
        for j in range(column, column + columns, 16):
            prefetch(c, i * ldc + j)
        if turn_a == 0:
            for s in range(first, first + steps, 16):
                prefetch(a, i * lda + s)


@piece
def edge(turn_a, first, steps, grains, a, r, rows, column, columns, adding, panel, work, c):
    """A block of C that is less than ROWS high, or ends within a grain: made beside the panel, then moved."""
    rows_at = BLOCK * panel
    block_at, last = rows_at + ROWS * BLOCK, r + rows - 1
    for i in range(ROWS):
        row = min(r + i, last)
        for s in range(steps):
            x = (
                a[nonnegative(first + s), nonnegative(row)]
                if turn_a != 0
                else a[nonnegative(row), nonnegative(first + s)]
            )
            work[nonnegative(rows_at + i * BLOCK + s)] = x
    strip(steps, grains, work, rows_at, BLOCK, work, 0, panel, 0, work, block_at, panel, 0)
    for i in range(rows):
        for j in range(columns):
            x, y = nonnegative(r + i), nonnegative(column + j)
            total = work[nonnegative(block_at + i * panel + j)]
            c[x, y] = c[x, y] + total if adding != 0 else total


@bare_kernel
def multiply(turn_a, turn_b, add, a, b, c, work, grain, panel, side):
    """C = op(A) op(B), or C += with ``add``; op transposes if turned. None of the sizes is 0."""
    full_width()
    (m, n), size = c.shape, c.itemsize
    k = a.shape[0] if turn_a != 0 else a.shape[1]
    lda, ldc = a.strides[0] // size, c.strides[0] // size
    for first in range(0, k, BLOCK):
        steps, adding = min(BLOCK, k - first), 1 if add != 0 or first > 0 else 0
        for column in range(0, n, panel):
            columns = min(panel, n - column)
            grains = (columns + grain - 1) // grain
            pack_panel(b, turn_b, first, steps, column, columns, panel, side, work)
            for r in range(0, m, ROWS):
                rows, at = min(ROWS, m - r), r * ldc + column
                ask_ahead(turn_a, first, steps, a, lda, column, columns, c, ldc, r + ROWS, min(r + 2 * ROWS, m))
                if rows < ROWS or columns < grains * grain:
                    edge(turn_a, first, steps, grains, a, r, rows, column, columns, adding, panel, work, c)
                elif turn_a != 0:
                    strip_turned(
                        steps, grains, a, first * lda + r, lda, work, 0, panel, 0, c, at, ldc, adding
                    )  # fmt: skip
                else:
                    strip(steps, grains, a, r * lda + first, lda, work, 0, panel, 0, c, at, ldc, adding)
