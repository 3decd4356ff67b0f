"""Angles as points of the circle: wrapping, means, order parameters.

Angles are radians. float32 stays float32, integers become float64. Sums run over blocks of fixed length, so that their
bits do not depend on the number of threads.
"""

import math
from math import prod
from typing import Any, TypeAlias

import numpy as np

from . import _labelled
from ._runtime import checks, devices
from ._runtime import elementary as el
from ._runtime.jit import kernel, scalar
from ._runtime.owners import Owner

__all__ = ["mean", "order_parameter", "wrap"]

Array: TypeAlias = Any  # numpy.ndarray or array_like, CUDA array, xarray.DataArray
BLOCK = 1024  # elements that are summed together; sums of blocks are summed in order


@scalar
def wrapped(theta, sine, cosine):
    """``theta - 2 pi k`` in [-pi, pi); an angle that is there already is returned as it is."""
    pi = type(theta)(math.pi)
    angle = el.atan2(sine, cosine)
    angle = -pi if angle >= pi else angle
    return theta if -pi <= theta and theta < pi else angle


@scalar
def wrap_row(i, theta, out):
    j = np.uint64(i)
    sine, cosine = el.sincos(theta[j])
    out[j] = wrapped(theta[j], sine, cosine)


@kernel
def wrap_cpu(start, stop, theta, out):
    for first in range(start, stop, BLOCK):
        last = min(first + BLOCK, stop)
        if el.all_near(theta, first, last):  # without huge angles, whose sine takes a branch, LLVM vectorises
            for i in range(first, last):
                j = np.uint64(i)
                sine, cosine = el.sincos_near(theta[j])
                out[j] = wrapped(theta[j], sine, cosine)
        else:
            for i in range(first, last):
                wrap_row(i, theta, out)


@scalar
def weighted(w, sine, cosine):
    """``w cos, w sin, w``; a weight of zero removes its angle, NaN included."""
    zero = type(w)(0)
    return w * cosine if w != zero else zero, w * sine if w != zero else zero, w


@scalar
def bounds(i, length, blocks, block):
    """First and last element of block ``i``; blocks are ordered (line, block)."""
    first = i // blocks * length + i % blocks * block
    return first, min(first + block, (i // blocks + 1) * length)


@scalar
def moment_row(i, theta, weights, s_weights, length, blocks, block, m, partial):
    """Sums of ``w cos m theta``, ``w sin m theta`` and ``w`` over block ``i``."""
    first, last = bounds(i, length, blocks, block)
    c = s = total = type(partial[0])(0)
    for j in range(first, last):
        sine, cosine = el.sincos(type(c)(m) * theta[j])
        x, y, w = weighted(weights[j * s_weights], sine, cosine)
        c += x
        s += y
        total += w
    partial[3 * i], partial[3 * i + 1], partial[3 * i + 2] = c, s, total


@scalar
def sum_in_lanes(x, n):
    """Four interleaved sums: four times shorter, so more accurate, and not bound by the latency of one addition."""
    a = b = c = d = type(x[0])(0)
    for j in range(n // 4):
        a += x[4 * j]
        b += x[4 * j + 1]
        c += x[4 * j + 2]
        d += x[4 * j + 3]
    for j in range(n // 4 * 4, n):
        a += x[j]
    return (a + b) + (c + d)


@kernel
def moment_cpu(start, stop, theta, weights, s_weights, length, blocks, block, m, partial):
    # terms first, sums after: LLVM vectorises the first loop and not a sum, whose order it must keep
    real = type(theta[0])
    cosines, sines, loads = np.empty(block, theta.dtype), np.empty(block, theta.dtype), np.ones(block, theta.dtype)
    for i in range(start, stop):
        first, last = bounds(i, length, blocks, block)
        n = last - first
        if abs(m) <= 2 and el.all_near(theta, first, last):
            for k in range(n):
                sines[k], cosines[k] = el.sincos_near(real(m) * theta[np.uint64(first + k)])
        else:
            for k in range(n):
                sines[k], cosines[k] = el.sincos(real(m) * theta[np.uint64(first + k)])
        if s_weights == 1:
            for k in range(n):
                w = weights[np.uint64(first + k)]
                cosines[k], sines[k], loads[k] = weighted(w, sines[k], cosines[k])
        partial[3 * i], partial[3 * i + 1] = sum_in_lanes(cosines, n), sum_in_lanes(sines, n)
        partial[3 * i + 2] = sum_in_lanes(loads, n)


@scalar
def total_row(i, partial, blocks, out):
    """``(sum w cos, sum w sin) / sum w`` of line ``i``; 0 / 0 = NaN for nothing."""
    c = s = w = type(partial[0])(0)
    for b in range(i * blocks, (i + 1) * blocks):
        c += partial[3 * b]
        s += partial[3 * b + 1]
        w += partial[3 * b + 2]
    out[2 * i] = c / w
    out[2 * i + 1] = s / w


@kernel
def total_cpu(start, stop, partial, blocks, out):
    for i in range(start, stop):
        total_row(i, partial, blocks, out)


@scalar
def angle_row(i, moments, out):
    """The angle of each moment in [-pi, pi); NaN where the moment is exactly zero."""
    c, s = moments[2 * i], moments[2 * i + 1]
    zero = type(c)(0)
    pi = type(c)(math.pi)
    angle = el.atan2(s, c)
    angle = -pi if angle >= pi else angle
    out[i] = type(c)(math.nan) if c == zero and s == zero else angle


@kernel
def angle_cpu(start, stop, moments, out):
    for i in range(start, stop):
        angle_row(i, moments, out)


WRAP = Owner(wrap_row, wrap_cpu, "F1 F1")
MOMENT = Owner(moment_row, moment_cpu, "F1 F1 i i i i i F1", grain=16)
TOTAL = Owner(total_row, total_cpu, "F1 i F1", grain=256)
ANGLE = Owner(angle_row, angle_cpu, "F1 F1")


def wrap(theta: Array, *, out: Array = None) -> Array:
    r"""The same angles in :math:`[-\pi, \pi)`.

    Parameters
    ----------
    theta : array_like of float
        Radians. Infinite angles and NaN give NaN.
    out : ndarray, optional
        C-contiguous, of the shape and dtype of the result; may be ``theta``.

    Returns
    -------
    ndarray
        An angle in the interval is returned unchanged; any other is reduced by multiples of the true
        :math:`2\pi`, of huge angles too, with an error of a few units in the last place of :math:`\pi`.

    Raises
    ------
    ValueError
        If ``out`` does not fit.

    Examples
    --------
    >>> import numpy as np, primeattn as pa
    >>> pa.circle.wrap([0.5, np.pi, 7.0]).round(6)
    array([ 0.5     , -3.141593,  0.716815])
    """
    if _labelled.is_labelled(theta):
        _labelled.refuse_out(out)
        return theta.copy(data=wrap(theta.values))
    x = checks.as_floating("theta", theta)
    result = devices.empty(x.shape, x.dtype, like=theta) if out is None else _checked_out(out, x)
    if prod(x.shape):
        WRAP(prod(x.shape), _flat(x), _flat(result))
    return result


def _checked_out(out, x):
    if not devices.is_device_array(out) and not isinstance(out, np.ndarray):
        raise TypeError(f"out is a {type(out).__name__}: pass np.empty({tuple(x.shape)}, np.{x.dtype})")
    on_cuda = devices.on_cuda(theta=x, out=out)
    if out.shape != x.shape or out.dtype != x.dtype:
        raise ValueError(
            f"out has shape {out.shape} and dtype {out.dtype}, the result has shape {x.shape} and dtype {x.dtype}"
        )
    if not on_cuda and not (out.flags.c_contiguous and out.flags.writeable and out.flags.aligned):
        raise ValueError(f"out must be writeable and C-contiguous: pass np.empty({x.shape}, np.{x.dtype})")
    if not on_cuda and np.may_share_memory(x, out) and x.ctypes.data != out.ctypes.data:
        raise ValueError("out overlaps theta without being theta: pass theta.copy()")
    return out


def _flat(x):
    if devices.is_device_array(x):
        return devices.device_view(x).reshape(prod(x.shape))
    x = x if x.flags.aligned and x.flags.writeable else x.copy()  # Numba compiles once more for read-only arrays
    return x.reshape(-1)


def mean(theta: Array, weights: Array = None, axis: int | None = -1) -> Array:
    r"""Weighted mean direction.

    Parameters
    ----------
    theta : array_like of float
        Radians.
    weights : array_like of float, optional
        At least 0; of the shape of ``theta``, or one-dimensional along ``axis``. Only ratios matter, so 1e300 is as
        good as 1 (on CUDA, where nothing is scaled, sums must stay finite).
    axis : int or None
        None: over all axes. Of a DataArray also a dimension's name.

    Returns
    -------
    ndarray
        Angles in :math:`[-\pi, \pi)`. NaN where there is none: an empty axis, weights that are all 0, NaN or inf among
        the angles of nonzero weight, or a resultant of exactly zero. A resultant that is zero but for rounding gives
        a meaningless angle:
        look at ``abs(order_parameter(theta))``.

    Raises
    ------
    ValueError
        If ``axis`` does not exist, or weights are negative or of the wrong shape.

    Notes
    -----
    :math:`\arg \sum_i w_i e^{i\theta_i}`.

    References
    ----------
    K. V. Mardia and P. E. Jupp, Directional Statistics, Wiley (2000), section 2.2.

    Examples
    --------
    >>> import numpy as np, primeattn as pa
    >>> float(pa.circle.mean([np.pi - 0.1, -np.pi + 0.3]).round(6))
    -3.041593
    """
    if _labelled.any_labelled(theta, weights):
        return _labelled.reduce(mean, theta, weights, axis, core=0)
    x, moments, shape = _moments(theta, weights, 1, axis)
    out = devices.empty(shape, x.dtype, like=theta)
    if prod(shape):
        ANGLE(prod(shape), moments, _flat(out))
    return out


def order_parameter(theta: Array, m: int = 1, axis: int | None = -1) -> Array:
    r"""Complex order parameter of order ``m``; its modulus is Kuramoto's ``R`` for ``m = 1``.

    Parameters
    ----------
    theta : array_like of float
        Radians.
    m : int
        Harmonic, at most 2**53 in size; ``m = 2`` sees two clusters half a turn apart. The product ``m theta`` is
        rounded to the dtype of ``theta``, so a large ``m`` needs float64.
    axis : int or None
        None: over all axes. Of a DataArray also a dimension's name.

    Returns
    -------
    ndarray of complex
        complex64 for float32, else complex128. NaN for an empty axis and where an angle is NaN or infinite.

    Raises
    ------
    ValueError
        If ``axis`` does not exist, or ``m`` is too large.
    TypeError
        If ``m`` is not an integer.

    Notes
    -----
    :math:`Z_m = \frac1N \sum_j e^{i m \theta_j}`.

    Examples
    --------
    >>> import numpy as np, primeattn as pa
    >>> theta = np.array([0.0, np.pi])
    >>> abs(pa.circle.order_parameter(theta)).round(12), abs(pa.circle.order_parameter(theta, m=2)).round(12)
    (np.float64(0.0), np.float64(1.0))
    """
    if isinstance(m, bool) or not isinstance(m, (int, np.integer)):
        raise TypeError(f"m is {m!r}: an integer is wanted")
    if abs(int(m)) > 2**53:
        raise ValueError(f"m is {m}: an integer in [-2**53, 2**53] is wanted, which float64 holds exactly")
    if _labelled.is_labelled(theta):
        return _labelled.reduce(lambda x, _, number: order_parameter(x, m, number), theta, None, axis, core=0)
    x, moments, shape = _moments(theta, None, int(m), axis)
    if not devices.is_device_array(moments):
        return moments.view(np.complex64 if x.dtype == np.float32 else np.complex128).reshape(shape)[()]
    host = devices.to_host(moments).view(np.complex64 if x.dtype == np.float32 else np.complex128)
    return devices.to_device(host.reshape(shape))


def _moments(theta, weights, m: int, axis):
    """Normalised moments ``(cos, sin)`` interleaved, one pair a line, and the shape that is left."""
    devices.on_cuda(theta=theta, weights=weights)
    x = checks.as_floating("theta", theta)
    if axis is not None:
        if isinstance(axis, bool) or not isinstance(axis, (int, np.integer)) or not -x.ndim <= axis < x.ndim:
            raise ValueError(
                f"axis is {axis!r} but theta has shape {x.shape}: an integer in [{-x.ndim}, {x.ndim}) or None"
            )
        axis = int(axis) % x.ndim
    full = tuple(x.shape)
    w = None if weights is None else checks.as_weights(weights, shape=full, axis=axis, dtype=x.dtype, of="theta")
    if axis is None:
        shape, length = (), prod(full)
    else:
        shape, length = x.shape[:axis] + x.shape[axis + 1 :], x.shape[axis]
        if axis != x.ndim - 1:
            if devices.is_device_array(x):
                raise ValueError(f"axis is {axis} but theta has shape {x.shape}: on CUDA only the last axis is summed")
            x = np.ascontiguousarray(np.moveaxis(x, axis, -1))
            w = w if w is None else np.ascontiguousarray(np.moveaxis(w, axis, -1))
    lines, blocks = prod(shape), max(1, -(-length // BLOCK))
    one = np.ones(1, x.dtype)
    step = 0 if w is None else 1
    if w is None:
        w = devices.to_device(one) if devices.is_device_array(x) else one
    partial = devices.empty(3 * lines * blocks, x.dtype, like=_flat(x))
    out = devices.empty(2 * lines, x.dtype, like=partial)
    if lines:
        MOMENT(lines * blocks, _flat(x), _flat(w), step, length, blocks, BLOCK, m, partial)
        TOTAL(lines, partial, blocks, out)
    return x, out, shape
