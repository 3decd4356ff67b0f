"""Vector-Jacobian products of the smooth functions: one row each, over the scalars of ``pullbacks``."""

import numpy as np

from .. import _labelled
from .._runtime import checks, devices
from .._runtime.jit import kernel, scalar
from .._runtime.owners import Owner
from . import pullbacks
from ._algebra import COMMUTATOR, CONJUGATE, DOT, INVERSE, MULTIPLY, NORM, NORMALIZE
from ._device import sum_to
from ._elementwise import Array, Function, checked, elementwise, leading_shape, run
from ._memory import load1, load3, load4, load9, store1, store3, store4
from ._rotation import ANGULAR_DISTANCE, FROM_AXIS_ANGLE, ROTATE, TO_MATRIX
from ._transcendental import EXP, LOG, POWER, SLERP


@scalar
def multiply_pullback_row(i, a, sa, b, sb, g, sg, da, db):
    ga, gb = pullbacks.multiply(load4(a, i * sa), load4(b, i * sb), load4(g, i * sg))
    store4(da, i, ga)
    store4(db, i, gb)


@kernel
def multiply_pullback_cpu(start, stop, a, sa, b, sb, g, sg, da, db):
    for i in range(start, stop):
        multiply_pullback_row(i, a, sa, b, sb, g, sg, da, db)


@scalar
def commutator_pullback_row(i, a, sa, b, sb, g, sg, da, db):
    ga, gb = pullbacks.commutator(load4(a, i * sa), load4(b, i * sb), load4(g, i * sg))
    store4(da, i, ga)
    store4(db, i, gb)


@kernel
def commutator_pullback_cpu(start, stop, a, sa, b, sb, g, sg, da, db):
    for i in range(start, stop):
        commutator_pullback_row(i, a, sa, b, sb, g, sg, da, db)


@scalar
def dot_pullback_row(i, a, sa, b, sb, g, sg, da, db):
    ga, gb = pullbacks.dot(load4(a, i * sa), load4(b, i * sb), load1(g, i * sg))
    store4(da, i, ga)
    store4(db, i, gb)


@kernel
def dot_pullback_cpu(start, stop, a, sa, b, sb, g, sg, da, db):
    for i in range(start, stop):
        dot_pullback_row(i, a, sa, b, sb, g, sg, da, db)


@scalar
def conjugate_pullback_row(i, a, sa, g, sg, da):
    store4(da, i, pullbacks.conjugate(load4(a, i * sa), load4(g, i * sg)))


@kernel
def conjugate_pullback_cpu(start, stop, a, sa, g, sg, da):
    for i in range(start, stop):
        conjugate_pullback_row(i, a, sa, g, sg, da)


@scalar
def inverse_pullback_row(i, a, sa, g, sg, da):
    store4(da, i, pullbacks.inverse(load4(a, i * sa), load4(g, i * sg)))


@kernel
def inverse_pullback_cpu(start, stop, a, sa, g, sg, da):
    for i in range(start, stop):
        inverse_pullback_row(i, a, sa, g, sg, da)


@scalar
def norm_pullback_row(i, a, sa, g, sg, da):
    store4(da, i, pullbacks.norm(load4(a, i * sa), load1(g, i * sg)))


@kernel
def norm_pullback_cpu(start, stop, a, sa, g, sg, da):
    for i in range(start, stop):
        norm_pullback_row(i, a, sa, g, sg, da)


@scalar
def normalize_pullback_row(i, a, sa, g, sg, da):
    store4(da, i, pullbacks.normalize(load4(a, i * sa), load4(g, i * sg)))


@kernel
def normalize_pullback_cpu(start, stop, a, sa, g, sg, da):
    for i in range(start, stop):
        normalize_pullback_row(i, a, sa, g, sg, da)


@scalar
def exp_pullback_row(i, a, sa, g, sg, da):
    store4(da, i, pullbacks.exp(load4(a, i * sa), load4(g, i * sg)))


@kernel
def exp_pullback_cpu(start, stop, a, sa, g, sg, da):
    for i in range(start, stop):
        exp_pullback_row(i, a, sa, g, sg, da)


@scalar
def log_pullback_row(i, a, sa, g, sg, da):
    store4(da, i, pullbacks.log(load4(a, i * sa), load4(g, i * sg)))


@kernel
def log_pullback_cpu(start, stop, a, sa, g, sg, da):
    for i in range(start, stop):
        log_pullback_row(i, a, sa, g, sg, da)


@scalar
def power_pullback_row(i, a, sa, t, st, g, sg, da, dt):
    ga, gt = pullbacks.power(load4(a, i * sa), load1(t, i * st), load4(g, i * sg))
    store4(da, i, ga)
    store1(dt, i, gt)


@kernel
def power_pullback_cpu(start, stop, a, sa, t, st, g, sg, da, dt):
    for i in range(start, stop):
        power_pullback_row(i, a, sa, t, st, g, sg, da, dt)


@scalar
def slerp_pullback_row(i, a, sa, b, sb, t, st, g, sg, da, db, dt):
    ga, gb, gt = pullbacks.slerp(load4(a, i * sa), load4(b, i * sb), load1(t, i * st), load4(g, i * sg))
    store4(da, i, ga)
    store4(db, i, gb)
    store1(dt, i, gt)


@kernel
def slerp_pullback_cpu(start, stop, a, sa, b, sb, t, st, g, sg, da, db, dt):
    for i in range(start, stop):
        slerp_pullback_row(i, a, sa, b, sb, t, st, g, sg, da, db, dt)


@scalar
def rotate_pullback_row(i, a, sa, v, sv, g, sg, da, dv):
    ga, gv = pullbacks.rotate(load4(a, i * sa), load3(v, i * sv), load3(g, i * sg))
    store4(da, i, ga)
    store3(dv, i, gv)


@kernel
def rotate_pullback_cpu(start, stop, a, sa, v, sv, g, sg, da, dv):
    for i in range(start, stop):
        rotate_pullback_row(i, a, sa, v, sv, g, sg, da, dv)


@scalar
def angular_distance_pullback_row(i, a, sa, b, sb, g, sg, da, db):
    ga, gb = pullbacks.angular_distance(load4(a, i * sa), load4(b, i * sb), load1(g, i * sg))
    store4(da, i, ga)
    store4(db, i, gb)


@kernel
def angular_distance_pullback_cpu(start, stop, a, sa, b, sb, g, sg, da, db):
    for i in range(start, stop):
        angular_distance_pullback_row(i, a, sa, b, sb, g, sg, da, db)


@scalar
def to_matrix_pullback_row(i, a, sa, g, sg, da):
    store4(da, i, pullbacks.to_matrix(load4(a, i * sa), load9(g, i * sg)))


@kernel
def to_matrix_pullback_cpu(start, stop, a, sa, g, sg, da):
    for i in range(start, stop):
        to_matrix_pullback_row(i, a, sa, g, sg, da)


@scalar
def from_axis_angle_pullback_row(i, axis, saxis, angle, sangle, g, sg, daxis, dangle):
    gaxis, gangle = pullbacks.from_axis_angle(load3(axis, i * saxis), load1(angle, i * sangle), load4(g, i * sg))
    store3(daxis, i, gaxis)
    store1(dangle, i, gangle)


@kernel
def from_axis_angle_pullback_cpu(start, stop, axis, saxis, angle, sangle, g, sg, daxis, dangle):
    for i in range(start, stop):
        from_axis_angle_pullback_row(i, axis, saxis, angle, sangle, g, sg, daxis, dangle)


def _entry(function: Function, row, cpu) -> tuple[Function, Owner]:
    k = len(function.inputs)
    return function, Owner(row, cpu, " ".join(["F1 i"] * (k + 1) + ["F1"] * k), grain=4096)


PULLBACKS = {
    "multiply": _entry(MULTIPLY, multiply_pullback_row, multiply_pullback_cpu),
    "commutator": _entry(COMMUTATOR, commutator_pullback_row, commutator_pullback_cpu),
    "dot": _entry(DOT, dot_pullback_row, dot_pullback_cpu),
    "conjugate": _entry(CONJUGATE, conjugate_pullback_row, conjugate_pullback_cpu),
    "inverse": _entry(INVERSE, inverse_pullback_row, inverse_pullback_cpu),
    "norm": _entry(NORM, norm_pullback_row, norm_pullback_cpu),
    "normalize": _entry(NORMALIZE, normalize_pullback_row, normalize_pullback_cpu),
    "exp": _entry(EXP, exp_pullback_row, exp_pullback_cpu),
    "log": _entry(LOG, log_pullback_row, log_pullback_cpu),
    "power": _entry(POWER, power_pullback_row, power_pullback_cpu),
    "slerp": _entry(SLERP, slerp_pullback_row, slerp_pullback_cpu),
    "rotate": _entry(ROTATE, rotate_pullback_row, rotate_pullback_cpu),
    "angular_distance": _entry(ANGULAR_DISTANCE, angular_distance_pullback_row, angular_distance_pullback_cpu),
    "to_matrix": _entry(TO_MATRIX, to_matrix_pullback_row, to_matrix_pullback_cpu),
    "from_axis_angle": _entry(FROM_AXIS_ANGLE, from_axis_angle_pullback_row, from_axis_angle_pullback_cpu),
}


def vjp(name: str, *inputs: Array):
    """Value of a function and the pullback of its gradient.

    Parameters
    ----------
    name : str
        One of multiply, commutator, dot, conjugate, inverse, norm, normalize, exp, log, power, slerp, rotate,
        angular_distance, to_matrix, from_axis_angle.
    *inputs : array_like
        The inputs of that function. Not DataArrays.

    Returns
    -------
    out : ndarray
    pullback : callable
        ``pullback(dout)``, with ``dout`` of the shape of ``out``, returns a dict from the names of the inputs to
        gradients of their shapes: the derivative of ``sum(dout * out)``, summed over axes that were broadcast. The
        gradient with respect to a quaternion is that of R^4; that of a function of the rotation ``a / |a|`` is
        tangent to the sphere. Gradients have the dtype of ``out``. The inputs are kept, not copied.

    Raises
    ------
    ValueError
        For an unknown name, a wrong number of inputs, or a ``dout`` of another shape.

    Notes
    -----
    Every derivation is in docs/theory/quaternion.md. Where there is no gradient: ``norm``, ``normalize``,
    ``inverse`` and the rotations give NaN at zero, as does ``power`` for ``t < 1``; ``log`` and ``power`` give NaN on
    negative reals; between equal rotations ``angular_distance`` gives 0.

    Examples
    --------
    >>> import primeattn as pa
    >>> out, pullback = pa.quaternion.vjp("norm", [3.0, 0.0, 4.0, 0.0])
    >>> pullback(1.0)["a"]
    array([0.6, 0. , 0.8, 0. ])
    """
    if not isinstance(name, str) or name not in PULLBACKS:
        raise ValueError(f"name is {name!r}: there are gradients of {', '.join(PULLBACKS)}")
    function, owner = PULLBACKS[name]
    if len(inputs) != len(function.inputs):
        raise ValueError(
            f"{name} takes {len(function.inputs)} inputs ({', '.join(function.inputs)}), not {len(inputs)}"
        )
    if _labelled.any_labelled(*inputs):
        raise TypeError("vjp takes plain arrays: pass x.values")
    arrays = checked(function.inputs, inputs)
    lead = leading_shape(function.inputs, arrays)
    out = elementwise(function, *arrays)

    def pullback(dout: Array) -> dict[str, Array]:
        devices.on_cuda(dout=dout, out=out)
        dtype = None if devices.is_device_array(dout) else out.dtype
        g = checks.as_floating("dout", dout, dtype=dtype)
        if g.shape != out.shape:
            raise ValueError(f"dout has shape {g.shape}: the shape of out, {out.shape}, is wanted")
        cores = list(function.inputs.values())
        full = [devices.empty(lead + core, out.dtype, like=out) for core in cores]
        run(owner, [*arrays, g], [*cores, *function.outputs], lead, full)
        return {key: _unbroadcast(d, x.shape) for key, d, x in zip(function.inputs, full, arrays, strict=True)}

    return out, pullback


def _unbroadcast(d, shape):
    if d.shape == shape:
        return d
    if devices.is_device_array(d):
        return sum_to(d, shape)
    new = d.ndim - len(shape)
    axes = tuple(range(new)) + tuple(new + k for k, size in enumerate(shape) if size == 1 and d.shape[new + k] != 1)
    return np.asarray(d.sum(axis=axes)).reshape(shape)
