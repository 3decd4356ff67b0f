"""Integers at the door: what is taken for one, and how the refusals are worded."""

from operator import index

import numpy as np

from .._runtime import devices

COUNT = 203_280_221
"""How many primes a table can hold: those below 2**32."""


def refuse_masked(name: str, x, fill: str = "0") -> None:
    """NumPy drops the mask of a masked array without a word; its hidden numbers would count."""
    if isinstance(x, np.ma.MaskedArray):
        raise TypeError(f"{name} is a masked array, whose mask would be lost: pass {name}.filled({fill})")


def as_integers(name: str, x) -> np.ndarray:
    """Integers of any origin as native int64, or as objects where one of them does not fit.

    An empty list is an empty array of integers, although NumPy would make it one of floats.
    """
    if devices.is_device_array(x):
        raise TypeError(f"{name} is a CUDA array: only is_prime runs there; pass pa.to_host({name})")
    refuse_masked(name, x)
    try:
        array = np.asarray(x)
        if array.dtype.kind == "f" and not isinstance(x, np.ndarray | np.generic):
            array = np.asarray(x, dtype=object)  # NumPy makes floats of [2**63, -1]
    except ValueError as error:
        raise ValueError(f"{name} is ragged: rows must have equal lengths ({error})") from None
    if array.size == 0 and array.dtype.kind in "fO":
        return array.astype(np.int64)
    if array.dtype.kind == "O":
        for value in array.flat:
            if not hasattr(value, "__index__") or isinstance(value, bool | np.bool_ | np.ndarray):
                raise TypeError(f"{name} holds {value!r}: integers are wanted{_hint(value)}")
        values = np.empty(array.shape, object)  # Python integers, whatever other kind came (SymPy's)
        values[...] = np.reshape(np.fromiter(map(index, array.flat), object, array.size), array.shape)
        fits = all(-(1 << 63) <= value < 1 << 63 for value in values.flat)
        return values.astype(np.int64) if fits else values
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name} has dtype {array.dtype}: integers are wanted{_hint(array)}")
    if array.dtype.kind == "u" and array.dtype.itemsize == 8 and array.max(initial=0) >= 1 << 63:
        return array.astype(object)
    return array.astype(np.int64, copy=False)


def _hint(x) -> str:
    if isinstance(x, float):
        return f"; write {int(x)}" if x.is_integer() else ""
    return "; round them and pass .astype(numpy.int64)" if isinstance(x, np.ndarray) and x.dtype.kind == "f" else ""


def flat(x) -> np.ndarray:
    """One contiguous axis, writeable: one compiled kernel serves every caller."""
    x = np.ascontiguousarray(x, dtype=np.int64).ravel()
    return x if x.flags.writeable else x.copy()


def one_integer(name: str, x) -> int:
    x = as_integers(name, x)
    if x.ndim:
        raise TypeError(f"{name} has shape {x.shape}: one integer is wanted")
    return x.item()


def one_count(name: str, x, *, least: int = 0, most: int | None = None) -> int:
    """One integer within bounds: a number of states, of primes, of columns."""
    value = one_integer(name, x)
    if value < least or (most is not None and value > most):
        bounds = f"at least {least}" if most is None else f"{least} to {most}"
        raise ValueError(f"{name} is {shown(value)}: {bounds} is wanted")
    return value


def shown(value) -> str:
    """An integer for a message; of a very long one its size."""
    if isinstance(value, int) and abs(value) >= 1 << 256:
        return f"{'-' if value < 0 else ''}an integer of {value.bit_length()} bits"
    return str(value)


def refuse(bad, values, name: str, wanted: str) -> None:
    """Raise ValueError naming the first bad entry, if there is one."""
    where = np.flatnonzero(bad)
    if where.size:
        place = f"[{where[0]}]" if values.ndim else ""
        raise ValueError(f"{name}{place} is {shown(values.flat[where[0]])}: {wanted}")


def scalar_or_array(x):
    return x if x.ndim else x.item()
