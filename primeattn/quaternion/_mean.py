"""The mean rotation: largest eigenvector of a 4 x 4 symmetric matrix, by Jacobi rotations."""

import math
from math import prod

import numpy as np

from .. import _labelled
from .._runtime import checks, devices
from .._runtime.jit import kernel, scalar
from .._runtime.owners import Owner
from . import scalars
from ._elementwise import Array, ravel
from ._memory import load1, load4, store4
from ._scan import leading_axis


@scalar
def jacobi(app, aqq, apq, arp, arq, asp, asq, vp, vq):
    """Annihilate ``a_pq`` of a symmetric matrix by a rotation in the plane (p, q).

    ``r`` and ``s`` are the other two indices, ``vp`` and ``vq`` the columns of eigenvectors so far.
    """
    one, zero, two = type(app)(1), type(app)(0), type(app)(2)
    # tan of the smaller angle, t^2 + t (a_qq - a_pp) / a_pq - 1 = 0: neither quotient nor squares leave the range
    d, e = aqq - app, two * apq
    m = max(abs(d), abs(e))
    m = m if m != zero else one
    d, e = d / m, e / m
    t = e / (abs(d) + math.sqrt(d * d + e * e)) if e != zero else zero
    t = -t if d < zero else t
    c = one / math.sqrt(t * t + one)
    s = t * c
    return (
        app - t * apq,
        aqq + t * apq,
        zero,
        c * arp - s * arq,
        s * arp + c * arq,
        c * asp - s * asq,
        s * asp + c * asq,
        scalars.add(scalars.scale(c, vp), scalars.scale(-s, vq)),
        scalars.add(scalars.scale(s, vp), scalars.scale(c, vq)),
    )


@scalar
def diagonalize(m00, m11, m22, m33, m01, m02, m03, m12, m13, m23):
    """Eigenvalues and eigenvectors, unsorted. Convergence is quadratic: 4 to 5 sweeps are needed, 8 are made."""
    one, zero = type(m00)(1), type(m00)(0)
    v0, v1, v2, v3 = (one, zero, zero, zero), (zero, one, zero, zero), (zero, zero, one, zero), (zero, zero, zero, one)
    for _ in range(8):
        m00, m11, m01, m02, m12, m03, m13, v0, v1 = jacobi(m00, m11, m01, m02, m12, m03, m13, v0, v1)
        m00, m22, m02, m01, m12, m03, m23, v0, v2 = jacobi(m00, m22, m02, m01, m12, m03, m23, v0, v2)
        m00, m33, m03, m01, m13, m02, m23, v0, v3 = jacobi(m00, m33, m03, m01, m13, m02, m23, v0, v3)
        m11, m22, m12, m01, m02, m13, m23, v1, v2 = jacobi(m11, m22, m12, m01, m02, m13, m23, v1, v2)
        m11, m33, m13, m01, m03, m12, m23, v1, v3 = jacobi(m11, m33, m13, m01, m03, m12, m23, v1, v3)
        m22, m33, m23, m02, m03, m12, m13, v2, v3 = jacobi(m22, m33, m23, m02, m03, m12, m13, v2, v3)
    return (m00, m11, m22, m33), v0, v1, v2, v3


@scalar
def project(value, bound, v, q):
    """``v <v, q>`` if the eigenvalue reaches ``bound``, else 0."""
    zero = type(value)(0)
    return scalars.scale(scalars.dot(v, q) if value >= bound else zero, v)


@scalar
def nearest_top_vector(values, v0, v1, v2, v3, q, tolerance):
    """Unit vector of the largest eigenvalue's space nearest to ``q``; if ``q`` is orthogonal to it, a basis vector."""
    top = max(max(values[0], values[1]), max(values[2], values[3]))
    bound = top - tolerance * top
    near = scalars.add(
        scalars.add(project(values[0], bound, v0, q), project(values[1], bound, v1, q)),
        scalars.add(project(values[2], bound, v2, q), project(values[3], bound, v3, q)),
    )
    if scalars.dot(near, near) <= tolerance * tolerance:
        near = v3
        if values[2] == top:
            near = v2
        if values[1] == top:
            near = v1
        if values[0] == top:
            near = v0
    return scalars.positive(scalars.normalize(near))


@scalar
def mean_row(i, a, length, inner, weights, s_weights, tolerance, out):
    line = i // inner * length * inner + i % inner
    zero = type(a[0])(0)
    nan = type(a[0])(math.nan)
    m00 = m11 = m22 = m33 = m01 = m02 = m03 = m12 = m13 = m23 = total = heaviest = zero
    heavy = (nan, nan, nan, nan)
    for k in range(length):
        j = line + k * inner
        weight = load1(weights, j * s_weights)
        if weight != zero:  # a weight of zero removes its value, NaN included
            q = scalars.normalize(load4(a, j))
            w, x, y, z = q
            m00 += weight * w * w
            m11 += weight * x * x
            m22 += weight * y * y
            m33 += weight * z * z
            m01 += weight * w * x
            m02 += weight * w * y
            m03 += weight * w * z
            m12 += weight * x * y
            m13 += weight * x * z
            m23 += weight * y * z
            total += weight
            if weight > heaviest:
                heaviest, heavy = weight, q
    values, v0, v1, v2, v3 = diagonalize(
        m00 / total, m11 / total, m22 / total, m33 / total, m01 / total,
        m02 / total, m03 / total, m12 / total, m13 / total, m23 / total,
    )  # fmt: skip
    store4(out, i, nearest_top_vector(values, v0, v1, v2, v3, heavy, type(zero)(tolerance)))


@kernel
def mean_cpu(start, stop, a, length, inner, weights, s_weights, tolerance, out):
    for i in range(start, stop):
        mean_row(i, a, length, inner, weights, s_weights, tolerance, out)


MEAN = Owner(mean_row, mean_cpu, "F1 i i F1 i F F1", grain=256)


def mean(a: Array, weights: Array = None, axis: int | None = 0) -> Array:
    r"""Weighted mean rotation: free of order and of the signs of its arguments.

    Parameters
    ----------
    a : array_like of float, shape (..., 4)
        Normalised first. Zero and NaN quaternions of nonzero weight give NaN.
    weights : array_like of float, optional
        At least 0; of the leading shape of ``a``, or one-dimensional along ``axis``. A value of weight 0 is left out.
        Only ratios matter, so 1e300 is as good as 1 (on CUDA, where nothing is scaled, sums must stay finite).
    axis : int or None
        Which leading axis to average (the component axis does not count); None: all of them.

    Returns
    -------
    ndarray, shape (..., 4)
        Unit, with ``w >= 0``. NaN where nothing is averaged: an empty axis, or weights that are all 0.

    Raises
    ------
    ValueError
        If ``axis`` is not a leading axis, or weights are negative, or of the wrong shape.

    Notes
    -----
    The unit ``q`` that maximises :math:`\sum_i w_i \langle q, q_i\rangle^2`: the eigenvector of the largest eigenvalue
    of :math:`\sum_i w_i q_i q_i^T`. If that eigenvalue is tied (to within 64 units in the last place), the tied vector
    nearest to the heaviest value is returned (the first of equally heavy ones), and an eigenvector of the computed
    matrix if that value is orthogonal to all of them.

    References
    ----------
    F. L. Markley et al., Averaging quaternions, J. Guidance, Control, and Dynamics 30 (2007).

    Examples
    --------
    >>> import primeattn as pa
    >>> pa.quaternion.mean([[1, 0, 0, 0], [0, 0, 0, -1]]).round(6)  # tied: the first is as heavy as the second
    array([1., 0., 0., 0.])
    >>> pa.quaternion.mean([[1, 0, 0, 0], [1, 0, 0, 1]]).round(6)
    array([0.92388 , 0.      , 0.      , 0.382683])
    """
    if _labelled.any_labelled(a, weights):
        return _labelled.reduce(lambda x, w, n: mean(x, w, n), a, weights, axis, core=1)
    x = checks.as_floating("a", a, last=4)
    if axis is not None:
        axis = leading_axis(axis, x)
    w, step = _weights(weights, x, axis)
    if axis is None:
        x, axis = x.reshape(prod(x.shape[:-1]), 4), 0
    lead, length, inner = x.shape[:-1], x.shape[axis], prod(x.shape[axis + 1 : -1])
    flat = ravel(x)
    shape = lead[:axis] + lead[axis + 1 :]
    out = devices.empty((*shape, 4), x.dtype, like=x)
    if prod(shape):
        MEAN(prod(shape), flat, length, inner, w, step, 64 * float(np.finfo(x.dtype).eps), ravel(out))
    return out


def _weights(weights, x, axis):
    if weights is None:
        one = np.ones(1, x.dtype)
        return (devices.to_device(one) if devices.is_device_array(x) else one), 0
    devices.on_cuda(a=x, weights=weights)
    lead = tuple(x.shape)[:-1]
    return ravel(checks.as_weights(weights, shape=lead, axis=axis, dtype=x.dtype, of="a without components")), 1
