"""Where arrays live. The only module that imports ``numba.cuda`` (and CuPy, where it is installed).

The array decides: NumPy runs on the CPU, anything with ``__cuda_array_interface__`` on CUDA.
"""

from typing import Any

import numpy as np


def cuda():
    """``numba.cuda``, imported on first use: it costs 0.2 s, which a CPU user should not pay."""
    from numba import cuda as module

    return module


def is_device_array(x) -> bool:
    """True for CUDA arrays (Numba, CuPy, the simulator's), False for everything else."""
    if type(x) is np.ndarray:  # the attribute that is missing costs 0.5 us a look, thirty times a call
        return False
    return hasattr(x, "__cuda_array_interface__") or getattr(x, "__cuda_ndarray__", False) is True


def on_cuda(**arrays) -> bool:
    """Say which device runs a call with these named arrays (None is skipped).

    Raises
    ------
    TypeError
        If some are NumPy arrays and some are CUDA arrays; the message names one of each.
    """
    for x in arrays.values():
        if type(x) is not np.ndarray and x is not None and is_device_array(x):
            break
    else:
        return False
    device = [name for name, x in arrays.items() if x is not None and is_device_array(x)]
    host = [name for name, x in arrays.items() if x is not None and not is_device_array(x)]
    if host:
        raise TypeError(
            f"{device[0]} is a CUDA array but {host[0]} is a host array: one call runs on one device; "
            f"pass pa.to_device({host[0]}) or pa.to_host({device[0]})"
        )
    return True


def to_device(x) -> Any:
    """Copy a NumPy array to the current CUDA device; a CUDA array is returned as it is.

    Parameters
    ----------
    x : array_like
        Host data; made C-contiguous first.

    Returns
    -------
    numba.cuda device array

    Raises
    ------
    RuntimeError
        If no CUDA device can be used here.

    Examples
    --------
    >>> import numpy as np, primeattn as pa
    >>> try:
    ...     y = pa.to_host(pa.to_device(np.ones(3)))
    ... except RuntimeError:
    ...     y = np.ones(3)  # no CUDA here
    >>> y
    array([1., 1., 1.])
    """
    if is_device_array(x):
        return x
    module = cuda()
    if not module.is_available():
        raise RuntimeError(
            "no CUDA device is available: keep NumPy arrays to compute on the CPU, or see "
            "`primeattn doctor` for what is missing"
        )
    return module.to_device(np.ascontiguousarray(x))


def to_host(x) -> np.ndarray:
    """Copy a CUDA array to host memory; anything else goes through ``numpy.asarray``.

    Parameters
    ----------
    x : array_like or CUDA array

    Returns
    -------
    ndarray

    Examples
    --------
    >>> import primeattn as pa
    >>> pa.to_host([1, 2])
    array([1, 2])
    """
    if not is_device_array(x):
        return np.asarray(x)
    if hasattr(x, "copy_to_host"):
        return x.copy_to_host()
    return cuda().as_cuda_array(x).copy_to_host()


def device_view(x):
    """A Numba view of any CUDA array, without a copy."""
    return x if getattr(x, "__cuda_ndarray__", False) is True else cuda().as_cuda_array(x)


def empty(shape, dtype, *, like):
    """An uninitialised array on the device of ``like``, of the same kind (NumPy, Numba, CuPy)."""
    if not is_device_array(like):
        return np.empty(shape, dtype)
    if type(like).__module__.partition(".")[0] == "cupy":
        import cupy

        return cupy.empty(shape, dtype)
    return cuda().device_array(shape, dtype)
