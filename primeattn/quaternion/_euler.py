"""Euler and Tait-Bryan angles, all twelve sequences, about fixed or about turning axes."""

import math

import numpy as np

from .._runtime import elementary as el
from .._runtime.jit import kernel, scalar
from .._runtime.owners import Owner
from . import scalars
from ._elementwise import Array, Function, elementwise
from ._memory import load3, load4, store3, store4

SEQUENCES = ("xyz", "xzy", "yxz", "yzx", "zxy", "zyx", "xyx", "xzx", "yxy", "yzy", "zxz", "zyz")


@scalar
def component(q, axis):
    """Component of ``q`` along axis 0, 1 or 2 (``x``, ``y`` or ``z``)."""
    return q[1] if axis == 0 else (q[2] if axis == 1 else q[3])


@scalar
def elementary_rotation(axis, angle):
    zero = type(angle)(0)
    s, c = el.sincos(angle / type(angle)(2))
    return c, s if axis == 0 else zero, s if axis == 1 else zero, s if axis == 2 else zero


@scalar
def euler_quaternion(angles, i, j, k, intrinsic):
    first = elementary_rotation(i, angles[0])
    second = elementary_rotation(j, angles[1])
    third = elementary_rotation(k, angles[2])
    if intrinsic:
        return scalars.multiply(scalars.multiply(first, second), third)
    return scalars.multiply(scalars.multiply(third, second), first)


@scalar
def wrapped(angle):
    """Bring an angle of [-2 pi, 2 pi] into [-pi, pi]."""
    pi = type(angle)(math.pi)
    turn = pi + pi
    return angle + turn if angle < -pi else (angle - turn if angle > pi else angle)


@scalar
def euler_angles(q, i, j, k, intrinsic, tolerance):
    """Angles of ``q / |q|`` about the fixed axes ``i, j, k``, or for intrinsic ones about ``k, j, i`` in reverse."""
    q = scalars.normalize(q)
    zero = type(tolerance)(0)
    if intrinsic:
        i, k = k, i
    symmetric = i == k
    if symmetric:
        k = 3 - i - j
    sign = type(tolerance)((i - j) * (j - k) * (k - i) // 2)
    w, qi, qj, qk = q[0], component(q, i), component(q, j), component(q, k) * sign
    if symmetric:
        a, b, c, d = w, qi, qj, qk
    else:
        a, b, c, d = w - qj, qi + qk, qj + w, qk - qi
    ab, cd = math.sqrt(a * a + b * b), math.sqrt(c * c + d * d)
    middle = el.atan2(cd, ab)
    middle += middle
    half_sum, half_difference = el.atan2(b, a), el.atan2(d, c)
    first, third = half_sum - half_difference, half_sum + half_difference
    # gimbal lock: only the sum or only the difference is defined; the third angle as typed is set to zero
    if cd <= tolerance:
        first, third = (zero, half_sum + half_sum) if intrinsic else (half_sum + half_sum, zero)
    elif ab <= tolerance:
        double = half_difference + half_difference
        first, third = (zero, double) if intrinsic else (-double, zero)
    if not symmetric:
        third *= sign
        middle -= type(tolerance)(math.pi / 2)
    first, third = wrapped(first), wrapped(third)
    if intrinsic:
        return third, middle, first
    return first, middle, third


@scalar
def from_euler_row(n, angles, i, j, k, intrinsic, out):
    store4(out, n, euler_quaternion(load3(angles, n), i, j, k, intrinsic))


@kernel
def from_euler_cpu(start, stop, angles, i, j, k, intrinsic, out):
    for n in range(start, stop):
        from_euler_row(n, angles, i, j, k, intrinsic, out)


@scalar
def to_euler_row(n, a, i, j, k, intrinsic, tolerance, out):
    store3(out, n, euler_angles(load4(a, n), i, j, k, intrinsic, type(a[0])(tolerance)))


@kernel
def to_euler_cpu(start, stop, a, i, j, k, intrinsic, tolerance, out):
    for n in range(start, stop):
        to_euler_row(n, a, i, j, k, intrinsic, tolerance, out)


FROM_EULER = Function(Owner(from_euler_row, from_euler_cpu, "F1 i i i i F1", grain=4096), {"angles": (3,)})
TO_EULER = Function(Owner(to_euler_row, to_euler_cpu, "F1 i i i i F F1", grain=4096), {"a": (4,)}, ((3,),))


def _parse(sequence: str) -> tuple[int, int, int, int]:
    if not isinstance(sequence, str) or sequence.lower() not in SEQUENCES:
        raise ValueError(
            f"sequence is {sequence!r}: three axis letters are wanted, no two neighbours equal, one of "
            f"{', '.join(SEQUENCES)} (fixed axes) or the same in upper case (turning axes)"
        )
    if sequence not in (sequence.lower(), sequence.upper()):
        raise ValueError(f"sequence is {sequence!r}: use one case, lower for fixed axes or upper for turning axes")
    i, j, k = ("xyz".index(letter) for letter in sequence.lower())
    return i, j, k, int(sequence.isupper())


def from_euler(angles: Array, sequence: str, *, out: Array = None) -> Array:
    r"""Unit quaternions from three turns about coordinate axes.

    Parameters
    ----------
    angles : array_like of float, shape (..., 3)
        Radians, in the order of the letters.
    sequence : str
        Lower case, as ``"zyx"``: about fixed axes (extrinsic). Upper case, as ``"ZYX"``: about the axes as turned so
        far (intrinsic). The convention of ``scipy.spatial.transform.Rotation``. Twelve sequences each.
    out : ndarray, optional

    Returns
    -------
    ndarray, shape (..., 4)

    Raises
    ------
    ValueError
        If ``sequence`` is not one of the twelve, or mixes cases.

    Notes
    -----
    With elementary rotations :math:`q_1, q_2, q_3` in the order of the letters: :math:`q_3 q_2 q_1` about fixed axes,
    :math:`q_1 q_2 q_3` about turning ones.

    Examples
    --------
    >>> import numpy as np, primeattn as pa
    >>> pa.quaternion.from_euler([np.pi / 2, 0, 0], "zyx").round(6)
    array([0.707107, 0.      , 0.      , 0.707107])
    """
    return elementwise(FROM_EULER, angles, out=out, extra=_parse(sequence))


def to_euler(a: Array, sequence: str, *, out: Array = None) -> Array:
    r"""Three turns about coordinate axes that make up the rotations ``a / |a|``.

    Parameters
    ----------
    a : array_like of float, shape (..., 4)
        Zero gives NaN.
    sequence : str
        As in :func:`from_euler`.
    out : ndarray, optional

    Returns
    -------
    ndarray, shape (..., 3)
        Radians in the order of the letters: the first and third in [-pi, pi], the second in [-pi/2, pi/2], or in
        [0, pi] if the first and third letters agree. In gimbal lock (the second at the end of its range, to within
        16 units in the last place) the third angle is 0.

    Raises
    ------
    ValueError
        If ``sequence`` is not one of the twelve, or mixes cases.

    References
    ----------
    E. Bernardes and S. Viollet, Quaternion to Euler angles conversion: a direct, general and computationally
    efficient method, PLOS ONE 17 (2022).

    Examples
    --------
    >>> import primeattn as pa
    >>> pa.quaternion.to_euler(pa.quaternion.from_euler([0.1, 0.2, 0.3], "zyx"), "zyx").round(12)
    array([0.1, 0.2, 0.3])
    """
    i, j, k, intrinsic = _parse(sequence)
    dtype = getattr(a, "dtype", np.dtype(float))
    single = dtype.kind == "f" and dtype.itemsize <= 4
    tolerance = 16 * float(np.finfo(np.float32 if single else np.float64).eps)
    return elementwise(TO_EULER, a, out=out, extra=(i, j, k, intrinsic, tolerance))
