r"""Twelve features that say what the thirteen say: the map behind the linear form.

Orientations are unit, so q q^T has trace 1, and the alignment of two primes is that of their rotations,

    (q.q')^2 = (1 + <R(q), R(q')>) / 4,      <R, R'> = sum of the 9 products of the rotation matrices.

With the mass m and the base b = m (1, R_00, ..., R_22, cos phi, sin phi), 12 numbers, a shared prime adds

    m m' (alpha + beta (q.q')^2 + gamma (1 + cos(phi - phi'))/2) = sum_f c_f b_f b'_f,
    c = (alpha + beta/4 + gamma/2,  beta/4 nine times,  gamma/2 twice)

so that the weights stay outside the base: every head reads the same states. ``STRIDE`` numbers are stored for each
entry, the last four of them 0, to fill vectors.
"""

import numpy as np
from llvmlite import ir
from numba import config, types
from numba.extending import intrinsic

from .._runtime.jit import kernel, scalar
from .._runtime.owners import Owner
from .._runtime.vectors import address, lanes_of, size
from ._scalars import COS, ENTRY, MASS, ORIENTATION, SIN

BASE = 12
STRIDE = 16


@scalar
def rotation(w, x, y, z):
    """The rotation matrix of a unit quaternion, row by row."""
    two = type(w)(2)
    return (
        w * w + x * x - y * y - z * z, two * (x * y - w * z), two * (x * z + w * y),
        two * (x * y + w * z), w * w - x * x + y * y - z * z, two * (y * z - w * x),
        two * (x * z - w * y), two * (y * z + w * x), w * w - x * x - y * y + z * z,
    )  # fmt: skip


@scalar
def drotation(w, x, y, z, g):
    """Pull back ``rotation``: the gradient by (w, x, y, z) from the nine of the matrix."""
    two = type(w)(2)
    g00, g01, g02, g10, g11, g12, g20, g21, g22 = g
    return (
        two * (w * (g00 + g11 + g22) + x * (g21 - g12) + y * (g02 - g20) + z * (g10 - g01)),
        two * (w * (g21 - g12) + x * (g00 - g11 - g22) + y * (g01 + g10) + z * (g02 + g20)),
        two * (w * (g02 - g20) + x * (g01 + g10) + y * (g11 - g00 - g22) + z * (g12 + g21)),
        two * (w * (g10 - g01) + x * (g02 + g20) + y * (g12 + g21) + z * (g22 - g00 - g11)),
    )


@scalar
def base_row(s, entry, x, base):
    """The base of entry ``entry[s]``, stored as number s."""
    e, t = ENTRY * entry[s], STRIDE * s
    q = e + ORIENTATION
    m = x[e + MASS]
    matrix = rotation(x[q], x[q + 1], x[q + 2], x[q + 3])
    base[t] = m
    for f in range(9):
        base[t + 1 + f] = m * matrix[f]
    base[t + 10] = m * x[e + COS]
    base[t + 11] = m * x[e + SIN]
    for f in range(BASE, STRIDE):
        base[t + f] = 0


# Lane f of a base is m (first + second + sign (third + fourth)) of these products of an entry's numbers.
_W, _X, _Y, _Z, _ONE, _NONE = range(ORIENTATION, ORIENTATION + 6)
_PRODUCTS = (
    (_ONE, _ONE), (_W, _W), (_X, _X), (_Y, _Y), (_Z, _Z), (_X, _Y), (_X, _Z), (_Y, _Z), (_W, _X), (_W, _Y), (_W, _Z),
    (COS, _ONE), (SIN, _ONE), (_NONE, _NONE), (_NONE, _NONE), (_NONE, _NONE),
)  # fmt: skip
_1, _WW, _XX, _YY, _ZZ, _XY, _XZ, _YZ, _WX, _WY, _WZ, _C, _S, _0 = range(14)
_TERMS = (
    (_1, _0, _0, _0),
    (_WW, _XX, _YY, _ZZ), (_XY, _XY, _WZ, _WZ), (_XZ, _XZ, _WY, _WY),
    (_XY, _XY, _WZ, _WZ), (_WW, _YY, _XX, _ZZ), (_YZ, _YZ, _WX, _WX),
    (_XZ, _XZ, _WY, _WY), (_YZ, _YZ, _WX, _WX), (_WW, _ZZ, _XX, _YY),
    (_C, _0, _0, _0), (_S, _0, _0, _0), *((_0,) * 4,) * 4,
)  # fmt: skip
_SIGNS = (1, -1, -1, 1, 1, -1, -1, -1, 1, -1, 1, 1, 1, 1, 1, 1)


if config.DISABLE_JIT:

    def lay_base(s, e, x, base):
        """``base_row`` of entry e, number s."""
        base_row(0, [e], x, base[STRIDE * s :])

else:

    @intrinsic
    def lay_base(typing, s, e, x, base):
        """``base_row`` of entry e, number s, by vectors: ten products at once, picked and added."""

        def build(context, builder, signature, arguments):
            s, e, x, base = arguments
            kinds = signature.args[2:]
            begin, to = (builder.mul(i, ir.Constant(i.type, step)) for i, step in ((e, ENTRY), (s, STRIDE)))
            numbers = builder.load(address(context, builder, kinds[0], x, begin, ENTRY))
            numbers.align = size(kinds[0])
            constants = ir.Constant(numbers.type, [1.0] + [0.0] * (ENTRY - 1))

            def pick(x, y, lanes):
                return builder.shuffle_vector(x, y, lanes_of(list(lanes)))

            left, right = (pick(numbers, constants, side) for side in zip(*_PRODUCTS, strict=True))
            product = builder.fmul(left, right)
            first, second, third, fourth = (pick(product, product, term) for term in zip(*_TERMS, strict=True))
            signs = ir.Constant(product.type, [float(sign) for sign in _SIGNS])
            turned = builder.fmul(signs, builder.fadd(third, fourth), flags=("contract",))
            whole = builder.fadd(builder.fadd(first, second), turned, flags=("contract",))
            base_at = address(context, builder, kinds[1], base, to, STRIDE)
            builder.store(builder.fmul(pick(numbers, numbers, [MASS] * STRIDE), whole), base_at).align = size(kinds[1])
            return context.get_dummy_value()

        return types.void(types.intp, types.intp, x, base), build


@kernel
def base_cpu(start, stop, entry, x, base):
    for s in range(start, stop):
        lay_base(s, entry[s], x, base)


BASES = Owner(base_row, base_cpu, "I1 F1 F1", grain=4096)


@scalar
def pull_base_row(s, entry, x, dbase, dx):
    """Gradient of entry ``entry[s]`` from that of its base, number s."""
    e, t = ENTRY * entry[s], STRIDE * s
    q = e + ORIENTATION
    m, w, i, j, k = x[e + MASS], x[q], x[q + 1], x[q + 2], x[q + 3]
    matrix = rotation(w, i, j, k)
    g = (
        dbase[t + 1], dbase[t + 2], dbase[t + 3], dbase[t + 4], dbase[t + 5], dbase[t + 6], dbase[t + 7],
        dbase[t + 8], dbase[t + 9],
    )  # fmt: skip
    dm = dbase[t] + dbase[t + 10] * x[e + COS] + dbase[t + 11] * x[e + SIN]
    for f in range(9):
        dm += g[f] * matrix[f]
    dq = drotation(w, i, j, k, g)
    for c in range(ENTRY):
        dx[e + c] = 0
    dx[e + MASS] = dm
    dx[e + COS] = m * dbase[t + 10]
    dx[e + SIN] = m * dbase[t + 11]
    for c in range(4):
        dx[q + c] = m * dq[c]


@kernel
def pull_base_cpu(start, stop, entry, x, dbase, dx):
    for s in range(start, stop):
        pull_base_row(s, entry, x, dbase, dx)


PULL_BASES = Owner(pull_base_row, pull_base_cpu, "I1 F1 F1 F1", grain=4096)


def coefficients(weights: np.ndarray) -> np.ndarray:
    """c for each row of weights (H, 3), shape (H, STRIDE)."""
    alpha, beta, gamma = (column[:, None] for column in weights.T)
    c = np.zeros((len(weights), STRIDE), weights.dtype)
    c[:, :1] = alpha + beta / 4 + gamma / 2
    c[:, 1:10] = beta / 4
    c[:, 10:12] = gamma / 2
    return c


def pull_coefficients(dc: np.ndarray) -> np.ndarray:
    """Gradient of the weights (H, 3) from that of c."""
    first, turns, phases = dc[:, 0], dc[:, 1:10].sum(axis=1), dc[:, 10:12].sum(axis=1)
    return np.stack([first, (first + turns) / 4, (first + phases) / 2], axis=1)
