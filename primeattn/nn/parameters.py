"""Parameters of a model: one flat buffer, with a named view for every array."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from .._runtime import devices
from .._runtime.checks import as_generator

#: The order of the kinds in the buffer: what decays, what does not, angles, unit vectors along the last axis.
KINDS = ("decayed", "free", "torus", "sphere")


class Parameter(NamedTuple):
    """What a layer says of one of its arrays.

    Attributes
    ----------
    shape : tuple of int
    start : callable
        ``start(rng, shape)``: its first values.
    decay : bool
        Whether AdamW pulls it to 0: matrices of products.
    manifold : {None, "torus", "sphere"}
        Where it lives: numbers are free, angles, or unit vectors along the last axis (made so at the start).
    """

    shape: tuple[int, ...]
    start: Callable[[np.random.Generator, tuple[int, ...]], Any]
    decay: bool = False
    manifold: str | None = None

    @property
    def kind(self) -> str:
        return self.manifold or ("decayed" if self.decay else "free")


def normal(deviation: float) -> Callable:
    """Start with independent normal numbers."""
    return lambda rng, shape: deviation * rng.standard_normal(shape)


def constant(value: float) -> Callable:
    """Start with one number."""
    return lambda rng, shape: np.full(shape, value)


def exactly(values: Any) -> Callable:
    """Start with these numbers, broadcast."""
    return lambda rng, shape: np.broadcast_to(values, shape)


def uniform(low: float, high: float) -> Callable:
    """Start with independent numbers between two."""
    return lambda rng, shape: rng.uniform(low, high, shape)


def flatten(tree: Mapping, prefix: str = "") -> dict[str, Any]:
    """The leaves of nested dicts, under names joined by dots."""
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def floating(dtype: Any) -> np.dtype:
    """float32 or float64, of this machine.

    Raises
    ------
    ValueError
    """
    try:
        found = None if dtype is None else np.dtype(dtype)
    except TypeError:
        found = None
    if found is None or found not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise ValueError(f"dtype is {dtype!r}: 'float32' or 'float64' is wanted")
    return found


class Parameters:
    """Arrays with names, side by side in one flat buffer: an optimiser is one loop, a gradient is one array.

    Parameters
    ----------
    declared : mapping of str to Parameter
        Nested mappings get names joined by dots.
    rng : int or numpy Generator
        Draws the first values, in the order of the names.
    dtype : {"float32", "float64"}

    Attributes
    ----------
    values : ndarray of float, shape (count,)
        All numbers. Those that decay come first, then free ones, angles, and unit vectors.
    shapes : dict of str to tuple
        By name, in the order of the layers.
    segments : dict of str to slice
        Where the numbers of a kind lie: "decayed", "free", "torus", "sphere".

    Examples
    --------
    >>> import primeattn as pa
    >>> declared = {"w": pa.nn.Parameter((2, 3), lambda rng, shape: 1.0, decay=True)}
    >>> pa.nn.Parameters(declared).view("w")
    array([[1., 1., 1.],
           [1., 1., 1.]], dtype=float32)
    """

    def __init__(self, declared: Mapping[str, Any], rng: Any = 0, dtype: Any = "float32"):
        self.declared: dict[str, Parameter] = flatten(declared)
        self.shapes = {name: tuple(p.shape) for name, p in self.declared.items()}
        self.slices: dict[str, slice] = {}
        self.segments: dict[str, slice] = {}
        at = 0
        for kind in KINDS:
            first = at
            for name, parameter in self.declared.items():
                if parameter.kind == kind:
                    size = math.prod(parameter.shape)
                    self.slices[name] = slice(at, at + size)
                    at += size
            self.segments[kind] = slice(first, at)
        self.values: Any = np.empty(at, floating(dtype))
        rng = as_generator(rng)
        for name, parameter in self.declared.items():
            self.view(name)[...] = parameter.start(rng, parameter.shape)
            if parameter.kind == "sphere":
                self.view(name)[...] /= np.linalg.norm(self.view(name), axis=-1, keepdims=True)

    def __len__(self) -> int:
        return self.values.size

    def __repr__(self) -> str:
        return f"Parameters({len(self):,} numbers in {len(self.shapes)} arrays, {self.values.dtype})"

    @property
    def names(self) -> list[str]:
        """Names of the arrays, in the order of the layers."""
        return list(self.shapes)

    def view(self, name: str, flat: Any = None) -> Any:
        """The array of that name in the values, or in another flat buffer of the same layout (a gradient, a moment)."""
        if name not in self.slices:
            raise ValueError(f"no parameter is named {name!r}: one of {', '.join(self.shapes)} is wanted")
        return (self.values if flat is None else flat)[self.slices[name]].reshape(self.shapes[name])

    def tree(self, declared: Mapping, prefix: str, flat: Any = None) -> dict[str, Any]:
        """Views, nested as the parameters were declared under a prefix."""
        return {
            name: self.tree(value, f"{prefix}{name}.", flat)
            if isinstance(value, Mapping)
            else self.view(prefix + name, flat)
            for name, value in declared.items()
        }

    def flat_segments(self) -> list[tuple[str, slice]]:
        """Where numbers lie that move along straight lines: "decayed", "free" and "torus", where there are any."""
        return [(k, s) for k, s in self.segments.items() if k != "sphere" and s.stop > s.start]

    def spheres(self) -> list[tuple[slice, int]]:
        """Where unit vectors lie, and of what width."""
        found = ((self.slices[n], p) for n, p in self.declared.items() if p.kind == "sphere")
        return [(where, p.shape[-1]) for where, p in found if where.stop > where.start]

    def zeros(self) -> Any:
        """A flat buffer of zeros like the values, on their device."""
        zeros = np.zeros(len(self), self.values.dtype)
        return devices.to_device(zeros) if devices.is_device_array(self.values) else zeros

    def check(self, name: str, x: Any, *, writable: bool = False) -> None:
        """Refuse what is no flat buffer of the layout of the values: kernels would read or write beside it.

        Raises
        ------
        TypeError
            If it is no array, or lies on another device.
        ValueError
            If its shape, type or order is not that of the values, or it is to be written and cannot be.
        """
        values = self.values
        on_cuda = devices.is_device_array(values)
        if devices.is_device_array(x) is not on_cuda or not (on_cuda or isinstance(x, np.ndarray)):
            wanted = "a CUDA array, as" if on_cuda else "a NumPy array, as"
            raise TypeError(f"{name} is {type(x).__name__}: {wanted} parameters.values, is wanted")
        if tuple(x.shape) != tuple(values.shape):
            raise ValueError(
                f"{name} has shape {tuple(x.shape)}: {tuple(values.shape)}, that of parameters.values, is wanted"
            )
        if x.dtype != values.dtype:
            raise ValueError(f"{name} has dtype {x.dtype}: {values.dtype}, that of parameters.values, is wanted")
        if on_cuda:
            return
        if not x.flags.c_contiguous:
            raise ValueError(f"{name} is not contiguous: pass numpy.ascontiguousarray({name})")
        if writable and not x.flags.writeable:
            raise ValueError(f"{name} is read-only: a buffer that can be written is wanted")

    def copy(self) -> dict[str, np.ndarray]:
        """Copies of the arrays by name, in host memory."""
        host = devices.to_host(self.values)
        return {name: self.view(name, host).copy() for name in self.shapes}
