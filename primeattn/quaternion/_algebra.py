"""Products, conjugates, lengths."""

from .._runtime import packed
from .._runtime.jit import kernel, scalar
from .._runtime.owners import Owner
from . import scalars
from ._elementwise import Array, Function, elementwise
from ._memory import load4, pack4, store1, store4


@scalar
def multiply_row(i, a, sa, b, sb, out):
    store4(out, i, scalars.multiply(load4(a, i * sa), load4(b, i * sb)))


@kernel
def multiply_cpu(start, stop, a, sa, b, sb, out):
    packed_stop = stop - (stop - start) % packed.ROWS
    for i in range(start, packed_stop, packed.ROWS):
        packed.prefetch4(a, i * sa)
        packed.prefetch4(b, i * sb)
        packed.prefetch4(out, i)
        packed.store4(out, i, scalars.multiply(pack4(a, i, sa), pack4(b, i, sb)))
    for i in range(packed_stop, stop):
        multiply_row(i, a, sa, b, sb, out)


@scalar
def commutator_row(i, a, sa, b, sb, out):
    store4(out, i, scalars.commutator(load4(a, i * sa), load4(b, i * sb)))


@kernel
def commutator_cpu(start, stop, a, sa, b, sb, out):
    for i in range(start, stop):
        commutator_row(i, a, sa, b, sb, out)


@scalar
def dot_row(i, a, sa, b, sb, out):
    store1(out, i, scalars.dot(load4(a, i * sa), load4(b, i * sb)))


@kernel
def dot_cpu(start, stop, a, sa, b, sb, out):
    for i in range(start, stop):
        dot_row(i, a, sa, b, sb, out)


@scalar
def conjugate_row(i, a, out):
    store4(out, i, scalars.conjugate(load4(a, i)))


@kernel
def conjugate_cpu(start, stop, a, out):
    for i in range(start, stop):
        conjugate_row(i, a, out)


@scalar
def inverse_row(i, a, out):
    store4(out, i, scalars.inverse(load4(a, i)))


@kernel
def inverse_cpu(start, stop, a, out):
    for i in range(start, stop):
        inverse_row(i, a, out)


@scalar
def norm_row(i, a, out):
    store1(out, i, scalars.norm(load4(a, i)))


@kernel
def norm_cpu(start, stop, a, out):
    for i in range(start, stop):
        norm_row(i, a, out)


@scalar
def normalize_row(i, a, out):
    store4(out, i, scalars.normalize(load4(a, i)))


@kernel
def normalize_cpu(start, stop, a, out):
    for i in range(start, stop):
        normalize_row(i, a, out)


_PAIR: dict[str, tuple[int, ...]] = {"a": (4,), "b": (4,)}
MULTIPLY = Function(Owner(multiply_row, multiply_cpu, "F1 i F1 i F1"), _PAIR)
COMMUTATOR = Function(Owner(commutator_row, commutator_cpu, "F1 i F1 i F1"), _PAIR)
DOT = Function(Owner(dot_row, dot_cpu, "F1 i F1 i F1"), _PAIR, ((),))
CONJUGATE = Function(Owner(conjugate_row, conjugate_cpu, "F1 F1"), {"a": (4,)})
INVERSE = Function(Owner(inverse_row, inverse_cpu, "F1 F1"), {"a": (4,)})
NORM = Function(Owner(norm_row, norm_cpu, "F1 F1"), {"a": (4,)}, ((),))
NORMALIZE = Function(Owner(normalize_row, normalize_cpu, "F1 F1"), {"a": (4,)})


def multiply(a: Array, b: Array, *, out: Array = None) -> Array:
    r"""Hamilton product.

    Parameters
    ----------
    a, b : array_like of float, shape (..., 4)
        Quaternions ``(w, x, y, z)``; leading axes broadcast.
    out : ndarray, optional
        Where to write; of the result's shape and dtype. May be ``a`` or ``b``.

    Returns
    -------
    ndarray, shape (..., 4)
        float32 if both are float32, else float64.

    Raises
    ------
    ValueError
        If the last axis is not 4, the leading axes do not broadcast, or ``out`` does not fit.
    TypeError
        For complex or object data, or operands on different devices.

    Notes
    -----
    :math:`(w, \mathbf u)(w', \mathbf v) = (w w' - \mathbf u \cdot \mathbf v,\;
    w \mathbf v + w' \mathbf u + \mathbf u \times \mathbf v)`: associative, not commutative,
    :math:`|ab| = |a||b|`.

    Examples
    --------
    >>> import primeattn as pa
    >>> pa.quaternion.multiply([0, 1, 0, 0], [0, 0, 1, 0])  # i j = k
    array([0., 0., 0., 1.])
    """
    return elementwise(MULTIPLY, a, b, out=out)


def commutator(a: Array, b: Array, *, out: Array = None) -> Array:
    r"""``a b - b a``: how far two quaternions are from commuting.

    Parameters
    ----------
    a, b : array_like of float, shape (..., 4)
    out : ndarray, optional

    Returns
    -------
    ndarray, shape (..., 4)
        The real part is exactly 0.

    Notes
    -----
    :math:`ab - ba = (0,\, 2\, \mathbf u \times \mathbf v)`. For unit quaternions its length is in [0, 2];
    2 needs orthogonal *pure* quaternions (1 and i are orthogonal, and commute).

    Examples
    --------
    >>> import primeattn as pa
    >>> pa.quaternion.commutator([0, 1, 0, 0], [0, 0, 1, 0])
    array([0., 0., 0., 2.])
    """
    return elementwise(COMMUTATOR, a, b, out=out)


def dot(a: Array, b: Array, *, out: Array = None) -> Array:
    r"""Euclidean inner product of two quaternions as vectors of R^4.

    Parameters
    ----------
    a, b : array_like of float, shape (..., 4)
    out : ndarray, optional

    Returns
    -------
    ndarray, shape (...)

    Notes
    -----
    :math:`\langle a, b\rangle = \operatorname{Re}(a^* b)`, the cosine of half the rotation angle between
    unit ``a`` and ``b``.

    Examples
    --------
    >>> import primeattn as pa
    >>> float(pa.quaternion.dot([1, 2, 3, 4], [1, 1, 1, 1]))
    10.0
    """
    return elementwise(DOT, a, b, out=out)


def conjugate(a: Array, *, out: Array = None) -> Array:
    """``(w, -x, -y, -z)``.

    Parameters
    ----------
    a : array_like of float, shape (..., 4)
    out : ndarray, optional

    Returns
    -------
    ndarray, shape (..., 4)

    Examples
    --------
    >>> import primeattn as pa
    >>> pa.quaternion.conjugate([1, 2, 3, 4])
    array([ 1., -2., -3., -4.])
    """
    return elementwise(CONJUGATE, a, out=out)


def inverse(a: Array, *, out: Array = None) -> Array:
    r"""Multiplicative inverse.

    Parameters
    ----------
    a : array_like of float, shape (..., 4)
        Need not be unit. Zero and infinite quaternions have no inverse and give NaN.
    out : ndarray, optional

    Returns
    -------
    ndarray, shape (..., 4)

    Notes
    -----
    :math:`a^{-1} = a^* / |a|^2`, computed as :math:`(a/|a|)^* / |a|` so that :math:`|a|^2` may leave the range
    of the type.

    Examples
    --------
    >>> import primeattn as pa
    >>> pa.quaternion.inverse([0, 0, 0, 2])
    array([ 0. , -0. , -0. , -0.5])
    """
    return elementwise(INVERSE, a, out=out)


def norm(a: Array, *, out: Array = None) -> Array:
    r"""Length :math:`\sqrt{w^2 + x^2 + y^2 + z^2}`.

    Parameters
    ----------
    a : array_like of float, shape (..., 4)
        Huge and subnormal components neither overflow nor underflow on the way.
    out : ndarray, optional

    Returns
    -------
    ndarray, shape (...)
        inf if a component is infinite and none is NaN.

    Examples
    --------
    >>> import primeattn as pa
    >>> pa.quaternion.norm([[1, 1, 1, 1], [3e200, 0, 4e200, 0]])
    array([2.e+000, 5.e+200])
    """
    return elementwise(NORM, a, out=out)


def normalize(a: Array, *, out: Array = None) -> Array:
    """Unit quaternion of the same direction.

    Parameters
    ----------
    a : array_like of float, shape (..., 4)
        Zero and infinite quaternions have no direction and give NaN.
    out : ndarray, optional

    Returns
    -------
    ndarray, shape (..., 4)

    Examples
    --------
    >>> import primeattn as pa
    >>> pa.quaternion.normalize([3, 0, 4, 0])
    array([0.6, 0. , 0.8, 0. ])
    """
    return elementwise(NORMALIZE, a, out=out)
