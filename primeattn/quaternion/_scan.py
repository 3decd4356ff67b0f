"""Cumulative products: a scan in blocks.

Blocks have a fixed length, so that the order of multiplication, and with it every bit of the result, depends
on the array alone and not on the number of threads.
"""

from math import prod

import numpy as np

from .. import _labelled
from .._runtime import checks, devices
from .._runtime.jit import kernel, scalar
from .._runtime.owners import Owner
from . import scalars
from ._elementwise import Array, checked_out, ravel
from ._memory import load4, store4

BLOCK = 256


@scalar
def block_product_row(i, a, length, inner, blocks, block, total):
    """Product of block ``i``; blocks are ordered (outer, block, inner)."""
    line, b = i // (blocks * inner) * length * inner + i % inner, i // inner % blocks
    j = b * block
    stop = min(j + block, length)
    q = load4(a, line + j * inner)
    for k in range(j + 1, stop):
        q = scalars.multiply(q, load4(a, line + k * inner))
    store4(total, i, q)


@kernel
def block_product_cpu(start, stop, a, length, inner, blocks, block, total):
    for i in range(start, stop):
        block_product_row(i, a, length, inner, blocks, block, total)


@scalar
def carry_row(i, total, inner, blocks):
    """Turn the block products of line ``i`` into products of everything up to and including each block."""
    line = i // inner * blocks * inner + i % inner
    q = load4(total, line)
    for b in range(1, blocks):
        q = scalars.multiply(q, load4(total, line + b * inner))
        store4(total, line + b * inner, q)


@kernel
def carry_cpu(start, stop, total, inner, blocks):
    for i in range(start, stop):
        carry_row(i, total, inner, blocks)


@scalar
def scan_row(i, a, length, inner, blocks, block, total, out):
    """Cumulative product within block ``i``, starting from what came before it."""
    line, b = i // (blocks * inner) * length * inner + i % inner, i // inner % blocks
    j = b * block
    stop = min(j + block, length)
    q = load4(a, line + j * inner)
    if b > 0:
        q = scalars.multiply(load4(total, i - inner), q)
    store4(out, line + j * inner, q)
    for k in range(j + 1, stop):
        q = scalars.multiply(q, load4(a, line + k * inner))
        store4(out, line + k * inner, q)


@kernel
def scan_cpu(start, stop, a, length, inner, blocks, block, total, out):
    for i in range(start, stop):
        scan_row(i, a, length, inner, blocks, block, total, out)


BLOCK_PRODUCT = Owner(block_product_row, block_product_cpu, "F1 i i i i F1", grain=64)
CARRY = Owner(carry_row, carry_cpu, "F1 i i", grain=64)
SCAN = Owner(scan_row, scan_cpu, "F1 i i i i F1 F1", grain=64)


def leading_axis(axis: int, x, *, name: str = "a") -> int:
    """Check an axis that counts the leading axes only."""
    n = x.ndim - 1
    if isinstance(axis, bool) or not isinstance(axis, (int, np.integer)) or not -n <= axis < n:
        raise ValueError(
            f"axis is {axis!r} but {name} has shape {x.shape}, hence {n} leading axes: an integer in "
            f"[{-n}, {n}) is wanted (the component axis does not count)"
        )
    return int(axis) % n


def cumprod(a: Array, axis: int = 0, *, out: Array = None) -> Array:
    r"""Cumulative product from the left: ``a[0], a[0] a[1], a[0] a[1] a[2], ...``.

    Parameters
    ----------
    a : array_like of float, shape (..., 4)
        NaN spreads to all later products.
    axis : int
        Which leading axis to scan; the component axis does not count, so that -1 is the last leading axis.
    out : ndarray, optional
        C-contiguous or not; may be ``a``.

    Returns
    -------
    ndarray, shape (..., 4)
        The bits do not depend on the number of threads. Nothing is normalised: after ``n`` unit factors the
        length is off 1 by about ``sqrt(n)`` units in the last place.

    Raises
    ------
    ValueError
        If ``axis`` is not a leading axis, or ``out`` does not fit.

    Notes
    -----
    The product is associative, so blocks are multiplied in parallel, then their totals are scanned, then each
    block is scanned from the total in front of it.

    Examples
    --------
    >>> import primeattn as pa
    >>> pa.quaternion.cumprod([[0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])  # i, i j = k, i j k = -1
    array([[ 0.,  1.,  0.,  0.],
           [ 0.,  0.,  0.,  1.],
           [-1.,  0.,  0.,  0.]])
    """
    if _labelled.is_labelled(a):
        _labelled.refuse_out(out)
        return a.copy(data=cumprod(a.values, _labelled.axis_number(a, axis, core=1)))
    x = checks.as_floating("a", a, last=4)
    axis = leading_axis(axis, x)
    length, inner = x.shape[axis], prod(x.shape[axis + 1 : -1])
    outer = prod(x.shape[:axis])
    result = devices.empty(x.shape, x.dtype, like=x) if out is None else checked_out(out, x.shape, x)
    if x.size == 0:
        return result
    target = result
    if isinstance(result, np.ndarray) and (not result.flags.c_contiguous or np.may_share_memory(x, result)):
        target = np.empty(x.shape, x.dtype)
    blocks = -(-length // BLOCK)
    flat, flat_out = ravel(x), ravel(target)
    total = devices.empty(4 * outer * blocks * inner, x.dtype, like=flat)
    if blocks > 1:
        BLOCK_PRODUCT(outer * blocks * inner, flat, length, inner, blocks, BLOCK, total)
        CARRY(outer * inner, total, inner, blocks)
    SCAN(outer * blocks * inner, flat, length, inner, blocks, BLOCK, total, flat_out)
    if target is not result:
        result[...] = target
    return result
