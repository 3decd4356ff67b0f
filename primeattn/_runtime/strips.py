"""Products of small matrices out of registers: what attention multiplies, where a BLAS spends its time packing.

A product is made of strips, ``ROWS`` rows of C, whose sums stay in registers over all k, a panel of columns at a time::

    strip(k, grains, a, ao, a_row, b, bo, b_step, b_panel, c, co, c_row, add)

    C[r, l] (+)= sum over s < k of A[r, s] B[s, l]        r < ROWS, l < grains * grain

on flat arrays, or matrices as flat ones (offsets count numbers from the first): row r of A from ``ao + r a_row`` on,
row s of B from ``bo + s b_step`` on, where its panels of `panel` columns lie ``b_panel`` apart, row r of C from ``co +
r c_row`` on. ``add``: 0 sets C, 1 adds to it, 2 sets it to the product plus a row of B that lies before those of the
product. `strip_turned` takes A by columns instead: A[:, s] from ``ao + s a_step`` on. Nothing is rounded up for the
caller: all ROWS rows of A and C and all columns of the grains of B and C must exist; a grain is a panel or half of one.
B and C that start on cache lines (`aligned`) run a tenth faster. Sums run in the order of s.

With AVX-512 and float32 a panel has 64 columns: 24 registers of sums, 4 of B, one of A, 10 loads for 24 multiply-adds,
and almost no arithmetic of addresses, which takes the same ports. Measured on 64 to 192 steps: 0.90 to 0.99 of what the
multipliers can do; 12 rows by 32 columns, 0.85 to 0.90. With 16 registers a panel is two of them wide.
CPU only; with the JIT off the same names work on NumPy arrays.
"""

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic

ROWS = 6
_GRAIN = 2  # registers across a grain
_UNROLLED = 4  # steps of k at once


def _registers() -> tuple[int, int]:
    """Bytes of a vector register that Numba compiles for here, and how many there are."""
    try:
        features = llvm.get_host_cpu_features()
    except RuntimeError:  # this CPU does not say
        return 16, 16
    known = (config.CPU_FEATURES or features.flatten()).split(",")
    if "+avx512f" in known:
        return 64, 32
    return (32, 16) if "+avx" in known else (16, 32 if "+neon" in known else 16)


_BYTES, _COUNT = _registers()
_PANEL = 4 if _COUNT >= 32 else _GRAIN  # registers across a panel


def grain(dtype) -> int:
    """Columns of a grain: 32 of float32 with AVX-512, 16 with AVX2."""
    return _GRAIN * _BYTES // np.dtype(dtype).itemsize


def panel(dtype) -> int:
    """Columns of a panel, one grain or two."""
    return _PANEL * _BYTES // np.dtype(dtype).itemsize


def side(dtype) -> int:
    """Rows and columns of a square that `square` turns: numbers in a register."""
    return _BYTES // np.dtype(dtype).itemsize


class _Code:
    """LLVM code of a strip for one type, A by rows or ``turned``, panels ``across`` registers wide."""

    def __init__(self, module, real, turned: bool, across: int, name: str):
        self.bits = 32 if isinstance(real, ir.FloatType) else 64
        self.turned, self.across, self.lanes = turned, across, 8 * _BYTES // self.bits
        self.number, self.pointer = ir.IntType(64), real.as_pointer()
        self.vector = ir.VectorType(real, self.lanes)
        count, data = self.number, self.pointer
        kinds = [count, count, data, count, data, count, count, data, count, count]
        self.function = ir.Function(module, ir.FunctionType(ir.VoidType(), kinds), name)
        self.function.linkage = "linkonce_odr"
        for attribute in ("noinline", "nounwind", "optsize"):
            self.function.attributes.add(attribute)
        for i in (2, 4, 7):
            self.function.args[i].add_attribute("noalias")
        kind = ir.FunctionType(self.vector, [self.vector] * 3)
        self.fma = cgutils.get_or_insert_function(module, kind, f"llvm.fma.v{self.lanes}f{self.bits}")
        self.write()

    def after(self, start, step, times=1):
        """``times`` steps behind a pointer."""
        count = self.number(times)
        return self.builder.gep(start, [self.builder.mul(step, count) if isinstance(step, ir.Value) else count])

    def row(self, start):
        """Where the vectors of a row of a panel lie."""
        for v in range(self.across):
            yield self.builder.bitcast(self.after(start, None, v * self.lanes), self.vector.as_pointer())

    def read(self, where):
        found = self.builder.load(where)
        found.align = self.bits // 8
        return found

    def copies(self, where):
        nothing, place = ir.Constant(self.vector, ir.Undefined), ir.IntType(32)
        first = self.builder.insert_element(nothing, self.builder.load(where), place(0))
        lanes = ir.Constant(ir.VectorType(place, self.lanes), [0] * self.lanes)
        return self.builder.shuffle_vector(first, nothing, lanes)

    def merge(self, values, block):
        nodes = [self.builder.phi(value.type) for value in values]
        for node, value in zip(nodes, values, strict=True):
            node.add_incoming(value, block)
        return nodes

    def loop(self, limit, count, values):
        """Steps of k, ``count`` at once while there are as many; ``values``: steps done, places in A and B, sums."""
        builder, a_stride, b_step = self.builder, self.function.args[3], self.function.args[5]
        before, body, done = builder.block, builder.append_basic_block("steps"), builder.append_basic_block("after")
        enough = builder.icmp_signed("<=", builder.add(values[0], self.number(count)), limit)
        builder.cbranch(enough, body, done)
        builder.position_at_end(body)
        nodes = self.merge(values, before)
        step, a, b, *sums = nodes
        for u in range(count):
            right = [self.read(where) for where in self.row(b)]
            for r in range(ROWS):
                if self.turned:
                    left = self.copies(self.after(a, None, r))
                else:
                    left = self.copies(self.after(self.after(nodes[1], a_stride, r), None, u))
                row = slice(r * len(right), (r + 1) * len(right))
                sums[row] = [builder.call(self.fma, [left, x, y]) for x, y in zip(right, sums[row], strict=True)]
            b = self.after(b, b_step)
            a = self.after(a, a_stride) if self.turned else self.after(a, None)
        step = builder.add(step, self.number(count))
        for node, value in zip(nodes, [step, a, b, *sums], strict=True):
            node.add_incoming(value, body)
        more = builder.icmp_signed("<=", builder.add(step, self.number(count)), limit)
        builder.cbranch(more, body, done)
        builder.position_at_end(done)
        results = self.merge(values, before)
        for node, value in zip(results, [step, a, b, *sums], strict=True):
            node.add_incoming(value, body)
        return results

    def write(self):
        k, panels, a, _, b, b_step, b_panel, c, c_row, add = self.function.args
        entry, each, other, load, lift, begin, done = (self.function.append_basic_block() for _ in range(7))
        self.builder = builder = ir.IRBuilder(entry)
        zero = self.number(0)
        builder.cbranch(builder.icmp_signed(">", panels, zero), each, done)
        builder.position_at_end(each)
        at = self.merge([zero, b, c], entry)
        places = [where for r in range(ROWS) for where in self.row(self.after(at[2], c_row, r))]
        builder.cbranch(builder.icmp_signed("==", add, zero), begin, other)
        builder.position_at_end(other)
        builder.cbranch(builder.icmp_signed("==", add, self.number(1)), load, lift)
        builder.position_at_end(load)
        found = [at[1], *(self.read(where) for where in places)]
        builder.branch(begin)
        builder.position_at_end(lift)
        first = [self.after(at[1], b_step), *[self.read(where) for where in self.row(at[1])] * ROWS]
        builder.branch(begin)
        builder.position_at_end(begin)
        start = self.merge([at[1], *[ir.Constant(self.vector, [0.0] * self.lanes)] * len(places)], each)
        for values, block in ((found, load), (first, lift)):
            for node, value in zip(start, values, strict=True):
                node.add_incoming(value, block)
        values = [zero, a, *start]
        for count in (_UNROLLED, 1):
            values = self.loop(k, count, values)
        for where, value in zip(places, values[3:], strict=True):
            builder.store(value, where).align = self.bits // 8
        last = builder.block
        following = [
            builder.add(at[0], self.number(1)),
            self.after(at[1], b_panel),
            self.after(at[2], None, self.across * self.lanes),
        ]
        for node, value in zip(at, following, strict=True):
            node.add_incoming(value, last)
        builder.cbranch(builder.icmp_signed("<", following[0], panels), each, done)
        builder.position_at_end(done)
        builder.ret_void()


def _function(module, real, turned: bool, across: int):
    """A strip's function in a module, written once."""
    name = f"primeattn_strip_{real}_{turned:d}_{across}"
    return module.globals.get(name) or _Code(module, real, turned, across, name).function


def _compiled(turned: bool):
    def call(typing, k, grains, a, ao, a_stride, b, bo, b_step, b_panel, c, co, c_row, add):
        if not a.dtype == b.dtype == c.dtype:
            return None
        i, dtype = types.int64, a.dtype

        def codegen(context, builder, signature, arguments):
            k, grains, a, ao, a_stride, b, bo, b_step, b_panel, c, co, c_row, add = arguments
            module, real, number = builder.module, context.get_value_type(dtype), ir.IntType(64)

            def place(which, array, offset):
                return builder.gep(context.make_array(signature.args[which])(context, builder, array).data, [offset])

            a, b, c = place(2, a, ao), place(5, b, bo), place(9, c, co)
            if _PANEL > _GRAIN:
                panels = builder.ashr(grains, number(1))
                values = [k, panels, a, a_stride, b, b_step, b_panel, c, c_row, add]
                builder.call(_function(module, real, turned, _PANEL), values)
                grains = builder.and_(grains, number(1))
                b = builder.gep(b, [builder.mul(panels, b_panel)])
                c = builder.gep(c, [builder.mul(panels, number(8 * _PANEL * _BYTES // dtype.bitwidth))])
            values = [k, grains, a, a_stride, b, b_step, b_panel, c, c_row, add]
            builder.call(_function(module, real, turned, _GRAIN), values)
            return context.get_dummy_value()

        return types.void(i, i, a, i, i, b, i, i, i, c, i, i, i), codegen

    return intrinsic(call)


@intrinsic
def _square(typing, x, at, stride, scale, out, to, step):
    """Interleaving row i with row i + n / 2, for every i, log2(n) times over, transposes n rows."""
    if not x.dtype == scale == out.dtype:
        return None
    i, dtype = types.int64, x.dtype

    def codegen(context, builder, signature, arguments):
        x, at, stride, scale, out, to, step = arguments
        n = 8 * _BYTES // dtype.bitwidth
        vector, place = ir.VectorType(context.get_value_type(dtype), n), ir.IntType(32)

        def pointer(which, array, first, row, apart):
            index = builder.add(first, builder.mul(apart, ir.Constant(apart.type, row)))
            data = builder.gep(context.make_array(signature.args[which])(context, builder, array).data, [index])
            return builder.bitcast(data, vector.as_pointer())

        rows = [builder.load(pointer(0, x, at, r, stride)) for r in range(n)]
        for row in rows:
            row.align = dtype.bitwidth // 8
        half = n // 2
        orders = [[lane // 2 + first + lane % 2 * n for lane in range(n)] for first in (0, half)]
        masks = [ir.Constant(ir.VectorType(place, n), order) for order in orders]
        for _ in range(n.bit_length() - 1):
            rows = [builder.shuffle_vector(rows[r], rows[r + half], mask) for r in range(half) for mask in masks]
        nothing = ir.Constant(vector, ir.Undefined)
        factor = builder.shuffle_vector(
            builder.insert_element(nothing, scale, place(0)), nothing, ir.Constant(ir.VectorType(place, n), [0] * n)
        )
        for r, row in enumerate(rows):
            builder.store(builder.fmul(row, factor), pointer(4, out, to, r, step)).align = dtype.bitwidth // 8
        return context.get_dummy_value()

    return types.void(x, i, i, scale, out, i, i), codegen


def _square_interpreted(x, at, stride, scale, out, to, step):
    n = side(x.dtype)
    for c in range(n):
        out[to + c * step : to + c * step + n] = scale * x[at + c :: stride][:n]


def _interpreted(turned: bool):
    def call(k, grains, a, ao, a_stride, b, bo, b_step, b_panel, c, co, c_row, add):
        across, down = (1, a_stride) if turned else (a_stride, 1)
        for r in range(ROWS):
            for column in range(grains * grain(c.dtype)):
                p, lane = divmod(column, panel(c.dtype))
                first = bo + p * b_panel + lane
                total = (c.dtype.type(0), c[co + r * c_row + column], b[first])[add]
                for s in range(k):
                    total += a[ao + r * across + s * down] * b[first + (s + add // 2) * b_step]
                c[co + r * c_row + column] = total

    return call


_made = _interpreted if config.DISABLE_JIT else _compiled
strip, strip_turned = _made(False), _made(True)

#: ``square(x, at, stride, scale, out, to, step)``: out[to + c step + r] = scale x[at + r stride + c] for r, c < `side`.
square = _square_interpreted if config.DISABLE_JIT else _square
