"""Exponential, logarithm, powers, great arcs."""

from .._runtime import elementary as el
from .._runtime.jit import kernel, scalar
from .._runtime.owners import Owner
from . import scalars
from ._elementwise import Array, Function, elementwise
from ._memory import load1, load4, store4

# CPU kernels look at a block of angles first: without huge ones, whose sine takes a branch, LLVM vectorises.
BLOCK = 1024


@scalar
def exp_row(i, a, out):
    store4(out, i, scalars.exp(load4(a, i)))


@kernel
def exp_cpu(start, stop, a, out):
    for first in range(start, stop, BLOCK):
        last = min(first + BLOCK, stop)
        if el.all_near(a, 4 * first, 4 * last):
            for i in range(first, last):
                store4(out, i, scalars.exp_near(load4(a, i)))
        else:
            for i in range(first, last):
                exp_row(i, a, out)


@scalar
def log_row(i, a, out):
    store4(out, i, scalars.log(load4(a, i)))


@kernel
def log_cpu(start, stop, a, out):
    for i in range(start, stop):
        log_row(i, a, out)


@scalar
def moderate(t, start, stop):
    """Whether every ``|t| < 2^15``: then ``t`` times an angle of at most pi is in reach of ``el.sincos_near``."""
    bound = type(t[0])(32768)
    beyond = 0
    for i in range(start, stop):
        beyond += not (abs(load1(t, i)) < bound)
    return beyond == 0


@scalar
def power_row(i, a, sa, t, st, out):
    store4(out, i, scalars.power(load4(a, i * sa), load1(t, i * st)))


@kernel
def power_cpu(start, stop, a, sa, t, st, out):
    for first in range(start, stop, BLOCK):
        last = min(first + BLOCK, stop)
        if moderate(t, first * st, (last - 1) * st + 1):
            for i in range(first, last):
                store4(out, i, scalars.power_near(load4(a, i * sa), load1(t, i * st)))
        else:
            for i in range(first, last):
                power_row(i, a, sa, t, st, out)


@scalar
def slerp_row(i, a, sa, b, sb, t, st, out):
    store4(out, i, scalars.slerp(load4(a, i * sa), load4(b, i * sb), load1(t, i * st)))


@kernel
def slerp_cpu(start, stop, a, sa, b, sb, t, st, out):
    for first in range(start, stop, BLOCK):
        last = min(first + BLOCK, stop)
        if not moderate(t, first * st, (last - 1) * st + 1):
            for i in range(first, last):
                slerp_row(i, a, sa, b, sb, t, st, out)
        elif sa == 1 and sb == 1:  # constant steps: LLVM loads packed vectors instead of gathering
            for i in range(first, last):
                store4(out, i, scalars.slerp_near(load4(a, i), load4(b, i), load1(t, i * st)))
        else:
            for i in range(first, last):
                store4(out, i, scalars.slerp_near(load4(a, i * sa), load4(b, i * sb), load1(t, i * st)))


EXP = Function(Owner(exp_row, exp_cpu, "F1 F1", grain=4096), {"a": (4,)})
LOG = Function(Owner(log_row, log_cpu, "F1 F1", grain=4096), {"a": (4,)})
POWER = Function(Owner(power_row, power_cpu, "F1 i F1 i F1", grain=4096), {"a": (4,), "t": ()})
SLERP = Function(Owner(slerp_row, slerp_cpu, "F1 i F1 i F1 i F1", grain=4096), {"a": (4,), "b": (4,), "t": ()})


def exp(a: Array, *, out: Array = None) -> Array:
    r"""Exponential.

    Parameters
    ----------
    a : array_like of float, shape (..., 4)
        ``w`` beyond the range of ``exp`` overflows to inf in the components that are not 0 (a real ``a`` gives
        ``(inf, 0, 0, 0)``, a zero component beside nonzero ones gives NaN). An infinite vector part gives NaN.
        A huge finite one is an angle like any other, known to within its own spacing.
    out : ndarray, optional

    Returns
    -------
    ndarray, shape (..., 4)

    Notes
    -----
    :math:`e^{(w, \mathbf v)} = e^w (\cos n,\; \mathbf v \sin n / n)`, :math:`n = |\mathbf v|`.

    Examples
    --------
    >>> import numpy as np, primeattn as pa
    >>> pa.quaternion.exp([0, 0, 0, np.pi / 2]).round(12)
    array([0., 0., 0., 1.])
    """
    return elementwise(EXP, a, out=out)


def log(a: Array, *, out: Array = None) -> Array:
    r"""Principal logarithm: the shortest vector part whose exponential is ``a``.

    Parameters
    ----------
    a : array_like of float, shape (..., 4)
        A negative real has a logarithm in every direction; the one along i is returned, ``(log |w|, pi, 0, 0)``.
        Zero gives ``(-inf, 0, 0, 0)``.
    out : ndarray, optional

    Returns
    -------
    ndarray, shape (..., 4)
        Vector part of length in [0, pi].

    Notes
    -----
    :math:`\log a = (\log |a|,\; \mathbf v\, \operatorname{atan2}(n, w) / n)`, :math:`n = |\mathbf v|`.
    For ``|a|`` near 1 the real part has an absolute, not a relative, error of a few units in the last place of 1.

    Examples
    --------
    >>> import primeattn as pa
    >>> pa.quaternion.log([0, 0, 0, 1]).round(6)
    array([0.      , 0.      , 0.      , 1.570796])
    """
    return elementwise(LOG, a, out=out)


def power(a: Array, t: Array, *, out: Array = None) -> Array:
    r"""Real power of a quaternion; for a unit ``a``, ``t`` times its rotation.

    Parameters
    ----------
    a : array_like of float, shape (..., 4)
    t : array_like of float, shape (...)
        Exponents; broadcast against the leading axes of ``a``. A Python number takes the dtype of ``a``.
        ``t = 0`` gives 1 for every ``a``, zero and NaN included, as in IEEE arithmetic. The zero quaternion gives 0
        for ``t > 0`` and ``(inf, 0, 0, 0)`` for ``t < 0``.
    out : ndarray, optional

    Returns
    -------
    ndarray, shape (..., 4)

    Notes
    -----
    :math:`a^t = \exp(t \log a)` with the principal logarithm.

    Examples
    --------
    >>> import primeattn as pa
    >>> pa.quaternion.power([0, 0, 2, 0], 2).round(12)
    array([-4.,  0.,  0.,  0.])
    """
    return elementwise(POWER, a, t, out=out)


def slerp(a: Array, b: Array, t: Array, *, out: Array = None) -> Array:
    r"""Spherical linear interpolation between rotations, along the shorter arc.

    Parameters
    ----------
    a, b : array_like of float, shape (..., 4)
        Normalised first; zero gives NaN. ``b`` and ``-b`` are the same rotation: the nearer to ``a`` is used
        (``b`` itself if they are equally near), so that antipodal ``a`` and ``b`` give ``a`` for every ``t``.
    t : array_like of float, shape (...)
        0 gives ``a``, 1 gives ``b`` or ``-b``; values outside [0, 1] go on along the great circle.
    out : ndarray, optional

    Returns
    -------
    ndarray, shape (..., 4)
        Unit quaternions.

    Notes
    -----
    With :math:`\cos\theta = \langle a, b\rangle`, :math:`e = b - a \cos\theta`, :math:`|e| = \sin\theta`:
    :math:`a \cos t\theta + e\, \sin t\theta / \sin\theta`, which equals
    :math:`(a \sin (1 - t)\theta + b \sin t\theta) / \sin\theta` and is accurate for every angle.

    References
    ----------
    K. Shoemake, Animating rotation with quaternion curves, SIGGRAPH 1985.

    Examples
    --------
    >>> import primeattn as pa
    >>> pa.quaternion.slerp([1, 0, 0, 0], [0, 0, 0, 1], 1 / 3).round(6)
    array([0.866025, 0.      , 0.      , 0.5     ])
    """
    return elementwise(SLERP, a, b, t, out=out)
