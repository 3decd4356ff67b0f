"""Rotations, and their other parametrisations."""

from .._runtime import packed
from .._runtime.jit import kernel, scalar
from .._runtime.owners import Owner
from . import scalars
from ._elementwise import Array, Function, elementwise
from ._memory import load1, load3, load4, load9, pack3, pack4, store1, store3, store4, store9
from ._scaling import packed_scaling, safe_squares


@scalar
def rotate_row(i, a, sa, v, sv, out):
    store3(out, i, scalars.rotate(load4(a, i * sa), load3(v, i * sv)))


@kernel
def rotate_cpu(start, stop, a, sa, v, sv, out):
    one, two = type(a[0])(1), type(a[0])(2)
    low, high = safe_squares(one)
    packed_stop = stop - (stop - start) % packed.ROWS
    for i in range(start, packed_stop, packed.ROWS):
        packed.prefetch4(a, i * sa)
        packed.prefetch3(v, i * sv)
        packed.prefetch3(out, i)
        q = pack4(a, i, sa)
        square = scalars.dot(q, q)
        if not packed.all_between(low, square, high):  # seldom; scaled by 1, a row keeps its bits
            q = scalars.scale(packed_scaling(q, one), q)
            square = scalars.dot(q, q)
        packed.store3(out, i, scalars.turn(q, packed.repeat(two) / square, pack3(v, i, sv)))
    for i in range(packed_stop, stop):
        rotate_row(i, a, sa, v, sv, out)


@scalar
def angular_distance_row(i, a, sa, b, sb, out):
    store1(out, i, scalars.angular_distance(load4(a, i * sa), load4(b, i * sb)))


@kernel
def angular_distance_cpu(start, stop, a, sa, b, sb, out):
    for i in range(start, stop):
        angular_distance_row(i, a, sa, b, sb, out)


@scalar
def to_matrix_row(i, a, out):
    store9(out, i, scalars.to_matrix(load4(a, i)))


@kernel
def to_matrix_cpu(start, stop, a, out):
    for i in range(start, stop):
        to_matrix_row(i, a, out)


@scalar
def from_matrix_row(i, m, out):
    store4(out, i, scalars.from_matrix(load9(m, i)))


@kernel
def from_matrix_cpu(start, stop, m, out):
    for i in range(start, stop):
        from_matrix_row(i, m, out)


@scalar
def to_axis_angle_row(i, a, axis, angle):
    unit, turn = scalars.to_axis_angle(load4(a, i))
    store3(axis, i, unit)
    store1(angle, i, turn)


@kernel
def to_axis_angle_cpu(start, stop, a, axis, angle):
    for i in range(start, stop):
        to_axis_angle_row(i, a, axis, angle)


@scalar
def from_axis_angle_row(i, axis, s_axis, angle, s_angle, out):
    store4(out, i, scalars.from_axis_angle(load3(axis, i * s_axis), load1(angle, i * s_angle)))


@kernel
def from_axis_angle_cpu(start, stop, axis, s_axis, angle, s_angle, out):
    for i in range(start, stop):
        from_axis_angle_row(i, axis, s_axis, angle, s_angle, out)


ROTATE = Function(Owner(rotate_row, rotate_cpu, "F1 i F1 i F1"), {"a": (4,), "v": (3,)}, ((3,),))
ANGULAR_DISTANCE = Function(
    Owner(angular_distance_row, angular_distance_cpu, "F1 i F1 i F1", grain=4096), {"a": (4,), "b": (4,)}, ((),)
)
TO_MATRIX = Function(Owner(to_matrix_row, to_matrix_cpu, "F1 F1"), {"a": (4,)}, ((3, 3),))
FROM_MATRIX = Function(Owner(from_matrix_row, from_matrix_cpu, "F1 F1"), {"m": (3, 3)})
TO_AXIS_ANGLE = Function(Owner(to_axis_angle_row, to_axis_angle_cpu, "F1 F1 F1", grain=4096), {"a": (4,)}, ((3,), ()))
FROM_AXIS_ANGLE = Function(
    Owner(from_axis_angle_row, from_axis_angle_cpu, "F1 i F1 i F1", grain=4096), {"axis": (3,), "angle": ()}
)


def rotate(a: Array, v: Array, *, out: Array = None) -> Array:
    r"""Turn vectors by the rotations ``a / |a|``.

    Parameters
    ----------
    a : array_like of float, shape (..., 4)
        Need not be unit; zero gives NaN.
    v : array_like of float, shape (..., 3)
        Leading axes broadcast against those of ``a``.
    out : ndarray, optional
        May be ``v``.

    Returns
    -------
    ndarray, shape (..., 3)

    Notes
    -----
    The vector part of :math:`a\, v\, a^{-1}`. With :math:`a = (w, \mathbf x)` and
    :math:`\mathbf u = (2 / |a|^2)\, \mathbf x \times \mathbf v` it is
    :math:`\mathbf v + w \mathbf u + \mathbf x \times \mathbf u`. ``rotate(multiply(a, b), v)`` turns by ``b`` first.

    Examples
    --------
    >>> import primeattn as pa
    >>> pa.quaternion.rotate([1, 0, 0, 1], [1, 0, 0]).round(12)  # a quarter turn about z
    array([0., 1., 0.])
    """
    return elementwise(ROTATE, a, v, out=out)


def angular_distance(a: Array, b: Array, *, out: Array = None) -> Array:
    r"""Angle of the rotation that takes ``a`` to ``b``.

    Parameters
    ----------
    a, b : array_like of float, shape (..., 4)
        Need not be unit; the sign does not matter; zero gives NaN.
    out : ndarray, optional

    Returns
    -------
    ndarray, shape (...)
        Radians in [0, pi].

    Notes
    -----
    :math:`2 \operatorname{atan2}(|\mathbf v|, |w|)` of :math:`a^* b = (w, \mathbf v)`: accurate for small angles,
    where :math:`2 \arccos |\langle a, b\rangle|` is not.

    Examples
    --------
    >>> import primeattn as pa
    >>> float(pa.quaternion.angular_distance([1, 0, 0, 0], [1, 0, 0, 1e-9]))
    2e-09
    """
    return elementwise(ANGULAR_DISTANCE, a, b, out=out)


def to_matrix(a: Array, *, out: Array = None) -> Array:
    """Rotation matrices of ``a / |a|``.

    Parameters
    ----------
    a : array_like of float, shape (..., 4)
        Zero gives NaN.
    out : ndarray, optional

    Returns
    -------
    ndarray, shape (..., 3, 3)
        ``to_matrix(a) @ v`` equals ``rotate(a, v)``. Of a DataArray the new dimensions are ``row`` and ``column``.

    Examples
    --------
    >>> import primeattn as pa
    >>> pa.quaternion.to_matrix([0, 1, 0, 0])
    array([[ 1.,  0.,  0.],
           [ 0., -1.,  0.],
           [ 0.,  0., -1.]])
    """
    return elementwise(TO_MATRIX, a, out=out)


def from_matrix(m: Array, *, out: Array = None) -> Array:
    """Unit quaternions of rotation matrices.

    Parameters
    ----------
    m : array_like of float, shape (..., 3, 3)
        Orthogonal up to rounding. A matrix of determinant <= 0 is no rotation and gives NaN; other departures from
        orthogonality are not detected.
    out : ndarray, optional

    Returns
    -------
    ndarray, shape (..., 4)
        With ``w >= 0`` (for a half turn, the first nonzero of ``x, y, z`` positive).

    Notes
    -----
    The four columns of :math:`4 q q^T` are linear in the matrix; the one with the largest diagonal entry is taken,
    so that nothing cancels.

    References
    ----------
    S. W. Shepperd, Quaternion from rotation matrix, J. Guidance and Control 1 (1978).

    Examples
    --------
    >>> import primeattn as pa
    >>> pa.quaternion.from_matrix([[0, -1, 0], [1, 0, 0], [0, 0, 1]]).round(6)
    array([0.707107, 0.      , 0.      , 0.707107])
    """
    return elementwise(FROM_MATRIX, m, out=out)


def to_axis_angle(a: Array, *, out: tuple[Array, Array] | None = None) -> tuple[Array, Array]:
    """Axis and angle of the rotations ``a / |a|``.

    Parameters
    ----------
    a : array_like of float, shape (..., 4)
        ``a`` and ``-a`` give the same; zero gives NaN.
    out : (axis, angle), optional

    Returns
    -------
    axis : ndarray, shape (..., 3)
        Unit vectors; (1, 0, 0) where the angle is 0; for a half turn the first nonzero component is positive.
    angle : ndarray, shape (...)
        Radians in [0, pi].

    Examples
    --------
    >>> import primeattn as pa
    >>> axis, angle = pa.quaternion.to_axis_angle([1, 0, 0, 1])
    >>> axis, round(float(angle), 6)
    (array([0., 0., 1.]), 1.570796)
    """
    return elementwise(TO_AXIS_ANGLE, a, out=out)


def from_axis_angle(axis: Array, angle: Array, *, out: Array = None) -> Array:
    r"""Unit quaternions of rotations about an axis.

    Parameters
    ----------
    axis : array_like of float, shape (..., 3)
        Need not be unit; a zero axis gives NaN.
    angle : array_like of float, shape (...)
        Radians, right-handed; any value. A Python number takes the dtype of ``axis``.
    out : ndarray, optional

    Returns
    -------
    ndarray, shape (..., 4)
        :math:`(\cos(\theta/2),\; \sin(\theta/2)\, \mathbf n)`; ``w`` is negative for angles beyond pi.

    Examples
    --------
    >>> import numpy as np, primeattn as pa
    >>> pa.quaternion.from_axis_angle([0, 0, 5], np.pi / 3).round(6)
    array([0.866025, 0.      , 0.      , 0.5     ])
    """
    return elementwise(FROM_AXIS_ANGLE, axis, angle, out=out)
