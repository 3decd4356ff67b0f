"""Refusals at the door. An error says what came, what is wanted, and what to type instead."""

import numpy as np

from . import devices

_FLOATING = (np.dtype(np.float32), np.dtype(np.float64))


def as_floating(name: str, x, *, last: int | None = None, dtype=None):
    """Return ``x`` as a C-contiguous native float32 or float64 array; read-only input is fine, NaN passes.

    Integers and booleans become float64, float16 becomes float32; ``dtype`` forces one of the two.
    CUDA arrays are checked and returned as Numba device views, never converted.

    Raises
    ------
    TypeError
        For complex, longdouble, object and text data, and for masked arrays.
    ValueError
        If ``last`` is given and the last axis has another length.
    """
    if type(x) is np.ndarray and x.dtype in _FLOATING and x.flags.c_contiguous and dtype in (None, x.dtype):
        pass  # as it should be; the checks below take 3 us
    elif devices.is_device_array(x):
        x = devices.device_view(x)
        if x.dtype not in _FLOATING:
            raise TypeError(f"{name} has dtype {x.dtype} on CUDA: convert it to float32 or float64 first")
    else:
        try:
            x = np.asarray(unmasked(name, x))
        except ValueError as error:
            raise ValueError(f"{name} is ragged: rows must have equal lengths ({error})") from None
        kind = x.dtype.kind
        if kind not in "biuf" or (kind == "f" and x.dtype.itemsize > 8):
            raise TypeError(f"{name} has dtype {x.dtype}: real numbers are wanted; {_remedy(name, x)}")
        if dtype is None:
            dtype = np.float32 if kind == "f" and x.dtype.itemsize <= 4 else np.float64
        x = np.asarray(x, dtype=dtype, order="C")
    shape = tuple(x.shape)  # the simulator's shapes refuse negative indices
    if last is not None and (not shape or shape[-1] != last):
        raise ValueError(f"{name} has shape {shape}: the last axis must have length {last}")
    return x


def unmasked(name: str, x):
    """``x``, which is no masked array: NumPy drops a mask without a word.

    Raises
    ------
    TypeError
    """
    if isinstance(x, np.ma.MaskedArray):
        raise TypeError(f"{name} is a masked array, whose mask would be lost: pass {name}.filled(numpy.nan)")
    return x


def common_floating(last: dict[str, int | None], **arrays):
    """Check several arrays at once and promote them to one dtype (float32 only if all are).

    ``last`` maps a name to the length its last axis must have (None or absent: any).
    """
    on_cuda = devices.on_cuda(**arrays)
    checked = {name: as_floating(name, x, last=last.get(name)) for name, x in arrays.items()}
    dtypes = {x.dtype for x in checked.values()}
    if len(dtypes) == 1:
        return tuple(checked.values())
    if on_cuda:
        raise TypeError(f"CUDA arrays differ in dtype ({', '.join(f'{n}: {x.dtype}' for n, x in checked.items())})")
    return tuple(x.astype(np.float64, copy=False) for x in checked.values())


def _remedy(name: str, x) -> str:
    if x.dtype.kind == "c":
        return f"pass {name}.real if the imaginary part may go"
    if x.dtype.kind in "SU":
        return f"text is not read as numbers here; pass numpy.array({name}, float) if it is made of them"
    if x.dtype.kind == "O" and any(value is None for value in x.flat):
        return "it holds None; pass numpy.nan where a number is missing"
    return f"pass numpy.asarray({name}, float)"


def as_weights(weights, *, shape: tuple[int, ...], axis: int | None, dtype, of: str):
    """Nonnegative weights as a contiguous array of ``shape``; those along ``axis`` are scaled alike.

    Host weights are multiplied, line by line, by the power of two that brings the largest into [1/2, 1), so that
    sums do not overflow and float32 holds them; what would round to 0 becomes the smallest normal number, because
    a weight of 0 has a meaning of its own. CUDA weights are taken as they are.
    """
    w = as_floating("weights", weights)
    own, along = tuple(w.shape), None if axis is None else (shape[axis],)
    if own not in (shape, along):
        or_one = "" if axis is None else f", or {along}, one weight for each value along axis {axis}"
        raise ValueError(f"weights have shape {own}: {shape} is wanted, that of {of}{or_one}")
    if devices.is_device_array(w):
        if own != shape:
            raise ValueError(f"weights have shape {own}: on CUDA the full shape {shape} is wanted")
        if w.dtype != dtype:
            raise TypeError(f"weights have dtype {w.dtype}: on CUDA {dtype}, that of {of}, is wanted")
        return w
    if not np.all(w >= 0):
        raise ValueError("weights hold negative numbers or NaN: pass weights >= 0")
    if w.size:
        largest = w.max(axis=axis if own == shape else None, keepdims=True)
        scaled = np.ldexp(w, -np.frexp(largest)[1]).astype(dtype)
        w = np.where(w > 0, np.maximum(scaled, np.finfo(dtype).tiny), scaled)
    if own != shape and axis is not None:
        w = w.reshape((-1,) + (1,) * (len(shape) - axis - 1))
    return np.ascontiguousarray(np.broadcast_to(w, shape), dtype)


def as_generator(rng) -> np.random.Generator:
    """Turn an int, None or a Generator into a Generator."""
    if isinstance(rng, np.random.Generator):
        return rng
    try:
        return np.random.default_rng(rng)
    except (TypeError, ValueError):
        wanted = "an integer, 0 or more, a numpy.random.Generator, or None is wanted"
        raise ValueError(f"rng is {rng!r}: {wanted}") from None
