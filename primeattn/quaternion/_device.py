"""Broadcasting and its adjoint for CUDA arrays, which have no ``numpy.broadcast_to``."""

from math import prod

import numpy as np

from .._runtime import devices
from .._runtime.jit import kernel, scalar
from .._runtime.owners import Owner


@scalar
def offset(i, shape, strides):
    """Position of the ``i``-th element of ``shape``, in C order, in an array of these element strides."""
    position = 0
    for axis in range(shape.size - 1, -1, -1):
        position += i % shape[axis] * strides[axis]
        i //= shape[axis]
    return position


@scalar
def expand_row(i, x, shape, strides, out):
    out[i] = x[offset(i, shape, strides)]


@kernel
def expand_cpu(start, stop, x, shape, strides, out):
    for i in range(start, stop):
        expand_row(i, x, shape, strides, out)


@scalar
def sum_row(i, x, kept, kept_strides, summed, summed_strides, n, out):
    """Compensated (Kahan) sum of ``n`` elements, so that its error does not grow with ``n``."""
    base = offset(i, kept, kept_strides)
    total = type(x[0])(0)
    lost = type(x[0])(0)
    for k in range(n):
        term = x[base + offset(k, summed, summed_strides)] - lost
        new = total + term
        lost = (new - total) - term
        total = new
    out[i] = total


@kernel
def sum_cpu(start, stop, x, kept, kept_strides, summed, summed_strides, n, out):
    for i in range(start, stop):
        sum_row(i, x, kept, kept_strides, summed, summed_strides, n, out)


EXPAND = Owner(expand_row, expand_cpu, "F1 I1 I1 F1")
SUM = Owner(sum_row, sum_cpu, "F1 I1 I1 I1 I1 i F1")


def strides_of(shape: tuple[int, ...]) -> list[int]:
    """Element strides of a C-contiguous array."""
    return [prod(shape[axis + 1 :]) for axis in range(len(shape))]


def _integers(values, like):
    array = np.array(values, dtype=np.int64)
    return devices.to_device(array) if devices.is_device_array(like) else array


def expand(x, shape: tuple[int, ...]):
    """``numpy.broadcast_to``, written out."""
    own = (1,) * (len(shape) - len(x.shape)) + tuple(x.shape)
    strides = [0 if size == 1 else stride for size, stride in zip(own, strides_of(own), strict=True)]
    out = devices.empty(shape, x.dtype, like=x)
    n = prod(shape)
    if n:
        flat = devices.device_view(x).reshape(prod(own)) if devices.is_device_array(x) else x.reshape(-1)
        target = devices.device_view(out).reshape(n) if devices.is_device_array(out) else out.reshape(-1)
        EXPAND(n, flat, _integers(shape, x), _integers(strides, x), target)
    return out


def sum_to(x, shape: tuple[int, ...]):
    """The adjoint of :func:`expand`: sum over the axes along which ``shape`` was broadcast to ``x.shape``."""
    own = (1,) * (len(x.shape) - len(shape)) + tuple(shape)
    strides = strides_of(x.shape)
    pairs = list(zip(own, x.shape, strides, strict=True))
    kept = [(size, stride) for size, _, stride in pairs if size != 1] or [(1, 0)]
    summed = [(full, stride) for size, full, stride in pairs if size == 1 and full != 1] or [(1, 0)]
    out = devices.empty(shape, x.dtype, like=x)
    n, terms = prod(shape), prod(full for full, _ in summed)
    if n:
        flat = devices.device_view(x).reshape(prod(x.shape)) if devices.is_device_array(x) else x.reshape(-1)
        target = devices.device_view(out).reshape(n) if devices.is_device_array(out) else out.reshape(-1)
        tables = [_integers(column, x) for group in (kept, summed) for column in zip(*group, strict=True)]
        SUM(n, flat, *tables, terms, target)
    return out
