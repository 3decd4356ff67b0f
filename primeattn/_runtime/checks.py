"""Refusals at the door. An error says what came, what is wanted, and what to type instead."""

import numpy as np

from . import devices


def as_floating(name: str, x, *, last: int | None = None, dtype=None):
    """Return ``x`` as a C-contiguous native float32 or float64 array; read-only input is fine, NaN passes.

    Integers and booleans become float64, float16 becomes float32; ``dtype`` forces one of the two.
    CUDA arrays are checked and returned as Numba device views, never converted.

    Raises
    ------
    TypeError
        For complex, longdouble, object and text data.
    ValueError
        If ``last`` is given and the last axis has another length.
    """
    if devices.is_device_array(x):
        x = devices.device_view(x)
        if x.dtype not in (np.float32, np.float64):
            raise TypeError(f"{name} has dtype {x.dtype} on CUDA: convert it to float32 or float64 first")
    else:
        try:
            x = np.asarray(x)
        except ValueError as error:
            raise ValueError(f"{name} is ragged: rows must have equal lengths ({error})") from None
        kind = x.dtype.kind
        if kind not in "biuf" or (kind == "f" and x.dtype.itemsize > 8):
            raise TypeError(f"{name} has dtype {x.dtype}: real numbers are wanted; pass {name}.astype(float)")
        if dtype is None:
            dtype = np.float32 if kind == "f" and x.dtype.itemsize <= 4 else np.float64
        x = np.asarray(x, dtype=dtype, order="C")
    shape = tuple(x.shape)  # the simulator's shapes refuse negative indices
    if last is not None and (not shape or shape[-1] != last):
        raise ValueError(f"{name} has shape {shape}: the last axis must have length {last}")
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


def as_generator(rng) -> np.random.Generator:
    """Turn an int, None or a Generator into a Generator."""
    return rng if isinstance(rng, np.random.Generator) else np.random.default_rng(rng)
