"""From broadcast arrays to flat rows: what every elementwise function of this package shares.

Operands reach a kernel as flat contiguous arrays with a step: 1 where the operand has a row of its own for
every row of the result, 0 where a single one serves all. Any other broadcasting is written out first.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, TypeAlias

import numpy as np

from .. import _labelled
from .._runtime import checks, devices
from .._runtime.owners import Owner

Shape: TypeAlias = tuple[int, ...]
Array: TypeAlias = Any  # numpy.ndarray or array_like, CUDA array, xarray.DataArray

COMPONENTS = {(3,): ("xyz",), (4,): ("component",), (3, 3): ("row", "column")}  # dimensions that a DataArray lacks


@dataclass(frozen=True)
class Function:
    """An owner and the shape of one row of each of its arrays.

    The owner is called as ``owner(n, a, out)`` with one operand, as ``owner(n, a, step_a, b, step_b, ..., out)``
    with several.
    """

    owner: Owner
    inputs: Mapping[str, Shape]
    outputs: tuple[Shape, ...] = ((4,),)


def elementwise(function: Function, *operands, out=None, extra=()):
    """Check, broadcast, allocate, run; ``extra`` are further scalars of the owner, after the operands."""
    if _labelled.any_labelled(*operands):
        _labelled.refuse_out(out)
        return _labelled.apply(
            lambda *arrays: elementwise(function, *arrays, extra=extra),
            operands,
            list(function.inputs.values()),
            function.outputs,
            COMPONENTS,
        )
    arrays = checked(function.inputs, operands)
    lead = leading_shape(function.inputs, arrays)
    results = _results(function, arrays, lead, out)
    run(function.owner, arrays, list(function.inputs.values()), lead, results, extra)
    return results[0] if len(results) == 1 else tuple(results)


def checked(inputs: Mapping[str, Shape], operands) -> list:
    """Floating arrays of one dtype whose last axes are as wanted; Python numbers take the others' dtype."""
    named = dict(zip(inputs, operands, strict=True))
    numbers = {name: x for name, x in named.items() if type(x) in (int, float) and not inputs[name]}
    if len(numbers) == len(named):
        numbers = {}
    last = {name: core[-1] if core else None for name, core in inputs.items()}
    arrays = {name: x for name, x in named.items() if name not in numbers}
    arrays = dict(zip(arrays, checks.common_floating(last, **arrays), strict=True))
    like = next(iter(arrays.values()))
    for name, x in numbers.items():
        number = _number(name, x, like.dtype)
        arrays[name] = devices.to_device(number.reshape(1)) if devices.is_device_array(like) else number
    for name, core in inputs.items():
        shape = arrays[name].shape
        if len(core) > 1 and shape[len(shape) - len(core) :] != core:
            raise ValueError(f"{name} has shape {shape}: the last axes must be {core}")
    return [arrays[name] for name in inputs]


def _number(name: str, x, dtype):
    """A Python number in the dtype of the arrays beside it; refused where that would make it infinite."""
    try:
        beyond = math.isfinite(x) and abs(float(x)) > float(np.finfo(dtype).max)
    except OverflowError:
        raise ValueError(f"{name} is an integer of {x.bit_length()} bits: beyond float64") from None
    if beyond:
        raise ValueError(f"{name} is {x!r}, beyond {dtype}: pass numpy.float64({x!r}) to compute in float64")
    return np.asarray(x, dtype)


def leading_shape(inputs: Mapping[str, Shape], arrays) -> Shape:
    """Broadcast the axes in front of the components."""
    leads = [x.shape[: x.ndim - len(core)] for x, core in zip(arrays, inputs.values(), strict=True)]
    try:
        return np.broadcast_shapes(*leads)
    except ValueError:
        shapes = ", ".join(f"{name} {x.shape}" for name, x in zip(inputs, arrays, strict=True))
        raise ValueError(
            f"leading axes do not broadcast together ({shapes}): insert an axis of length 1, as in a[:, None]"
        ) from None


def _results(function, arrays, lead, out) -> list:
    like = arrays[0]
    shapes = [lead + core for core in function.outputs]
    if out is None:
        return [devices.empty(shape, like.dtype, like=like) for shape in shapes]
    if len(shapes) == 1:
        return [checked_out(out, shapes[0], like)]
    if not isinstance(out, tuple) or len(out) != len(shapes):
        raise TypeError(f"out is a {type(out).__name__}: a tuple of {len(shapes)} arrays is wanted, of shapes {shapes}")
    results = [checked_out(x, shape, like) for x, shape in zip(out, shapes, strict=True)]
    for k, x in enumerate(results):
        if any(_overlap(x, y) for y in results[:k]):
            raise ValueError(f"the arrays of out overlap: pass separate ones, of shapes {shapes}")
    return results


def _overlap(x, y) -> bool:
    return np.shares_memory(x, y) if isinstance(x, np.ndarray) else x is y


def checked_out(out, shape, like):
    if devices.is_device_array(like):
        if not devices.is_device_array(out):
            raise TypeError("out is a host array but the operands are on CUDA: pass a CUDA array as out")
    elif not isinstance(out, np.ndarray):
        raise TypeError(f"out is a {type(out).__name__}: pass a numpy.ndarray of shape {shape} and dtype {like.dtype}")
    if out.shape != shape or out.dtype != like.dtype:
        raise ValueError(
            f"out has shape {out.shape} and dtype {out.dtype}, the result has shape {shape} and dtype {like.dtype}: "
            f"pass out=np.empty({shape}, np.{like.dtype})"
        )
    if isinstance(out, np.ndarray) and not out.flags.writeable:
        raise ValueError("out is read-only: pass a writeable array, or leave out=None")
    return out


def run(owner: Owner, arrays, cores, lead: Shape, results, extra=()) -> None:
    """Flatten and call the owner; an ``out`` that overlaps an operand, or is not contiguous, is filled at the end."""
    n = prod(lead)
    flat, steps = [], []
    for x, core in zip(arrays, cores, strict=True):
        y, step = flatten(x, core, lead)
        flat.append(y)
        steps.append(step)
    direct = [_target(result, flat, steps) for result in results]
    stepped = flat if len(flat) == 1 else [value for pair in zip(flat, steps, strict=True) for value in pair]
    if n:
        owner(n, *stepped, *extra, *(ravel(x) for x in direct))
    for result, x in zip(results, direct, strict=True):
        if x is not result:
            result[...] = x


def flatten(x, core: Shape, lead: Shape):
    """``(flat array, step)`` of one operand."""
    own = x.shape[: x.ndim - len(core)]
    if prod(own) == 1 and prod(lead) != 1:
        return ravel(x), 0
    if prod(own) == prod(lead):
        return ravel(x), 1
    return ravel(broadcast(x, lead + core)), 1


def broadcast(x, shape: Shape):
    """A contiguous array of the broadcast shape."""
    if not devices.is_device_array(x):
        return np.ascontiguousarray(np.broadcast_to(x, shape))
    from ._device import expand

    return expand(x, shape)


def ravel(x):
    """A flat view that is aligned and, as kernels never write to operands, without the read-only flag."""
    if devices.is_device_array(x):
        return devices.device_view(x).reshape(prod(x.shape))
    if not x.flags.aligned:
        x = x.copy()
    if not x.flags.writeable:
        x = np.asarray(_Writeable(x))
    return x.reshape(-1)


class _Writeable:
    """The same memory, without the read-only flag, which would make Numba compile each kernel once more."""

    def __init__(self, x):
        self.owner = x
        interface = dict(x.__array_interface__)
        interface["data"] = (interface["data"][0], False)
        self.__array_interface__ = interface


def _target(result, flat, steps):
    if devices.is_device_array(result):
        return result
    if not (result.flags.c_contiguous and result.flags.aligned):
        return np.empty(result.shape, result.dtype)
    for x, step in zip(flat, steps, strict=True):
        if np.may_share_memory(x, result):
            # a row is loaded before it is stored: the very same array is safe, as long as the widths agree
            same = step == 1 and x.size == result.size and x.ctypes.data == result.ctypes.data
            if not same:
                return np.empty(result.shape, result.dtype)
    return result
