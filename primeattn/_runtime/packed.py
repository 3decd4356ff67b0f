"""Eight rows of three or four numbers at once: a vector for each column, loaded from and stored to contiguous rows.

A kernel calls the scalar that its row calls, with these vectors in place of numbers::

    q = scalars.multiply(packed.load4(a, i), packed.load4(b, i))      # rows i to i + 7
    packed.store4(out, i, q)

LLVM would gather single numbers, or shuffle at half the width. Here four vectors of rows become four of columns in 8
shuffles, three become three in 6: one instruction each for float64 with AVX-512. Every number is loaded before a row is
stored, so that ``out`` may be an operand. `prefetch3` and `prefetch4` ask for rows `AHEAD` of those at hand: so little
arithmetic waits for memory otherwise. CPU only; with the JIT off the same names work on NumPy slices.
"""

import numpy as np
from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic

from .vectors import Vector, address, copies, lanes_of, size, touch

ROWS = 8
AHEAD = 256  # rows: 8 kB of float64 quaternions, a few microseconds' work; 64 to 1024 are alike
_LINE = 64  # bytes of a cache line


def _load(context, builder, array_type, array, row, columns):
    """The numbers of ``ROWS`` rows in the order of memory."""
    found = []
    first = builder.mul(row, ir.Constant(row.type, columns))
    for k in range(columns):
        index = builder.add(first, ir.Constant(row.type, k * ROWS))
        found.append(builder.load(address(context, builder, array_type, array, index, ROWS)))
        found[-1].align = size(array_type)
    return found


def _store(context, builder, array_type, array, row, vectors):
    first = builder.mul(row, ir.Constant(row.type, len(vectors)))
    for k, vector in enumerate(vectors):
        index = builder.add(first, ir.Constant(row.type, k * ROWS))
        builder.store(vector, address(context, builder, array_type, array, index, ROWS)).align = size(array_type)


def _pick(builder, u, v, lanes):
    """Lanes of ``u`` (0 to 7) and of ``v`` (8 to 15)."""
    return builder.shuffle_vector(u, v, lanes_of(lanes))


def _unzip(builder, u, v):
    """Numbers at even and at odd places of ``u`` followed by ``v``."""
    return _pick(builder, u, v, range(0, 2 * ROWS, 2)), _pick(builder, u, v, range(1, 2 * ROWS, 2))


def _zip(builder, u, v):
    """``u[0], v[0], u[1], v[1], ...`` as two vectors: undoes `_unzip`."""
    order = [lane for pair in zip(range(ROWS), range(ROWS, 2 * ROWS), strict=True) for lane in pair]
    return _pick(builder, u, v, order[:ROWS]), _pick(builder, u, v, order[ROWS:])


def _columns(array, count, row):
    return types.UniTuple(Vector(array.dtype, ROWS), count)(array, row)


@intrinsic
def load4(typing, array, row):
    """Columns of the rows ``row`` to ``row + 7``, four numbers each."""

    def build(context, builder, signature, arguments):
        data, row = arguments
        r = _load(context, builder, signature.args[0], data, row, 4)
        (wy, xz), (wy_, xz_) = _unzip(builder, r[0], r[1]), _unzip(builder, r[2], r[3])
        (w, y), (x, z) = _unzip(builder, wy, wy_), _unzip(builder, xz, xz_)
        return context.make_tuple(builder, signature.return_type, [w, x, y, z])

    return _columns(array, 4, types.intp), build


@intrinsic
def store4(typing, array, row, columns):
    """Store four columns as the rows ``row`` to ``row + 7``."""

    def build(context, builder, signature, arguments):
        data, row, vectors = arguments
        w, x, y, z = (builder.extract_value(vectors, k) for k in range(4))
        (wy, wy_), (xz, xz_) = _zip(builder, w, y), _zip(builder, x, z)
        rows = [*_zip(builder, wy, xz), *_zip(builder, wy_, xz_)]
        _store(context, builder, signature.args[0], data, row, rows)
        return context.get_dummy_value()

    return types.void(array, types.intp, columns), build


@intrinsic
def load3(typing, array, row):
    """Columns of the rows ``row`` to ``row + 7``, three numbers each."""

    def build(context, builder, signature, arguments):
        data, row = arguments
        r = _load(context, builder, signature.args[0], data, row, 3)
        columns = []
        for k in range(3):
            places = range(k, 3 * ROWS, 3)
            early = _pick(builder, r[0], r[1], [p if p < 2 * ROWS else 0 for p in places])
            lanes = [lane if p < 2 * ROWS else p - ROWS for lane, p in enumerate(places)]
            columns.append(_pick(builder, early, r[2], lanes))
        return context.make_tuple(builder, signature.return_type, columns)

    return _columns(array, 3, types.intp), build


@intrinsic
def store3(typing, array, row, columns):
    """Store three columns as the rows ``row`` to ``row + 7``."""

    def build(context, builder, signature, arguments):
        data, row, vectors = arguments
        x, y, z = (builder.extract_value(vectors, k) for k in range(3))
        rows = []
        for k in range(3):
            places = [divmod(k * ROWS + lane, 3) for lane in range(ROWS)]
            xy = _pick(builder, x, y, [i + column * ROWS if column < 2 else 0 for i, column in places])
            lanes = [lane if column < 2 else ROWS + i for lane, (i, column) in enumerate(places)]
            rows.append(_pick(builder, xy, z, lanes))
        _store(context, builder, signature.args[0], data, row, rows)
        return context.get_dummy_value()

    return types.void(array, types.intp, columns), build


def _prefetch(array, row, columns):
    def build(context, builder, signature, arguments):
        array_type = signature.args[0]
        data, row = arguments
        first = builder.mul(builder.add(row, ir.Constant(row.type, AHEAD)), ir.Constant(row.type, columns))
        for number in range(0, columns * ROWS, _LINE // size(array_type)):
            index = builder.add(first, ir.Constant(first.type, number))
            touch(builder, address(context, builder, array_type, data, index, ROWS))
        return context.get_dummy_value()

    return types.void(array, row), build


@intrinsic
def prefetch3(typing, array, row):
    """Ask for the cache lines of the eight rows `AHEAD` of ``row``, three numbers each; never faults."""
    return _prefetch(array, types.intp, 3)


@intrinsic
def prefetch4(typing, array, row):
    """The same for rows of four numbers."""
    return _prefetch(array, types.intp, 4)


@intrinsic
def repeat(typing, x):
    """A column of ``ROWS`` copies of a number."""

    def build(context, builder, signature, arguments):
        return copies(builder, arguments[0], context.get_value_type(signature.return_type))

    return Vector(x, ROWS)(x), build


@intrinsic
def all_between(typing, low, column, high):
    """Whether ``low <= x <= high`` for every ``x`` of a column; False with a NaN."""

    def build(context, builder, signature, arguments):
        low, column, high = arguments
        above = builder.fcmp_ordered(">=", column, copies(builder, low, column.type))
        below = builder.fcmp_ordered("<=", column, copies(builder, high, column.type))
        each = builder.bitcast(builder.and_(above, below), ir.IntType(ROWS))
        return builder.icmp_unsigned("==", each, ir.Constant(each.type, -1))

    return types.boolean(column.dtype, column, column.dtype), build


@intrinsic
def largest(typing, columns):
    """The largest absolute value of each row; of a row with NaN, any of its numbers."""

    def build(context, builder, signature, arguments):
        sizes = []
        for k in range(signature.args[0].count):
            column = builder.extract_value(arguments[0], k)
            name = f"llvm.fabs.v{ROWS}f{columns.dtype.dtype.bitwidth}"
            function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(column.type, [column.type]), name)
            sizes.append(builder.call(function, [column]))
        top = sizes[0]
        for x in sizes[1:]:
            top = builder.select(builder.fcmp_ordered(">", x, top), x, top)
        return top

    return columns.dtype(columns), build


@intrinsic
def by_size(typing, column, low, high, below, between, above):
    """``below`` where ``x < low``, ``above`` where ``x > high``, else (NaN) ``between``."""

    def build(context, builder, signature, arguments):
        column, *numbers = arguments
        low, high, below, between, above = (copies(builder, x, column.type) for x in numbers)
        chosen = builder.select(builder.fcmp_ordered("<", column, low), below, between)
        return builder.select(builder.fcmp_ordered(">", column, high), above, chosen)

    return column(column, *[column.dtype] * 5), build


if config.DISABLE_JIT:

    def _load_rows(array, row, columns):
        return tuple(array[columns * row : columns * (row + ROWS)].reshape(ROWS, columns).T.copy())

    def _store_rows(array, row, columns):
        array[len(columns) * row : len(columns) * (row + ROWS)] = np.stack(columns, axis=1).reshape(-1)

    def load4(array, row):
        return _load_rows(array, row, 4)

    def load3(array, row):
        return _load_rows(array, row, 3)

    store4 = store3 = _store_rows

    def prefetch4(array, row):
        pass

    prefetch3 = prefetch4

    def repeat(x):
        return np.full(ROWS, x)

    def all_between(low, column, high):
        return bool(np.all((low <= column) & (column <= high)))

    def largest(columns):
        return np.abs(columns).max(axis=0)

    def by_size(column, low, high, below, between, above):
        return np.where(column < low, below, np.where(column > high, above, between))
