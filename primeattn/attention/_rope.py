"""Positions: rotary embedding (RoPE) and the usual slopes of linear biases (ALiBi)."""

from typing import Any

import numpy as np

from .. import _labelled
from .._runtime import devices
from .._runtime.checks import as_floating
from .._runtime.jit import kernel, scalar
from .._runtime.owners import Owner
from ._inputs import is_number


@scalar
def rotate_row(row, x, cosine, sine, period, half, step, apart, out):
    """Turn the pairs (step c, step c + apart), c < half, of token ``row`` by its angles."""
    at, angle = row * (half + half), row % period * half
    for c in range(half):
        first = at + step * c
        a, b = x[first], x[first + apart]
        out[first] = a * cosine[angle + c] - b * sine[angle + c]
        out[first + apart] = b * cosine[angle + c] + a * sine[angle + c]


@kernel
def rotate_cpu(start, stop, x, cosine, sine, period, half, step, apart, out):
    for row in range(start, stop):
        rotate_row(row, x, cosine, sine, period, half, step, apart, out)


ROTATE = Owner(rotate_row, rotate_cpu, "F1 F1 F1 i i i i F1", grain=1024)


def rope(x: Any, positions: Any = None, base: float = 10000.0, *, layout: str = "halves", inverse: bool = False) -> Any:
    r"""Rotary position embedding: turn pairs of coordinates by angles that grow with the position.

    Applied to queries and keys, it makes their scores a function of the difference of positions.

    Parameters
    ----------
    x : ndarray of float, shape (..., T, D)
        D even.
    positions : array_like of real numbers, broadcastable to (..., T), optional
        Host array; 0, 1, ..., T - 1 by default.
    base : float
        Pair c turns by ``position * base**(-2 c / D)`` radians.
    layout : {"halves", "interleaved"}
        Which coordinates make pair c: (c, c + D/2), as in GPT-NeoX and Llama on Hugging Face, or (2c, 2c + 1), as in
        the original paper.
    inverse : bool
        Turn back. A rotation is orthogonal, so this is also the gradient: ``dx = rope(dout, ..., inverse=True)``.

    Returns
    -------
    ndarray of float, shape (..., T, D)
        In the dtype of x; angles are computed in float64.

    Raises
    ------
    ValueError
        For an odd width, a base that is not positive, another layout, or positions that do not fit.

    Notes
    -----
    With :math:`\phi = t\,b^{-2c/D}`: :math:`(a, b) \mapsto (a\cos\phi - b\sin\phi,\; b\cos\phi + a\sin\phi)`.

    References
    ----------
    Su et al., "RoFormer: Enhanced Transformer with Rotary Position Embedding", arXiv:2104.09864.

    Examples
    --------
    >>> import numpy as np, primeattn as pa
    >>> pa.attention.rope(np.array([[1.0, 0.0], [1.0, 0.0]])).round(3)
    array([[1.   , 0.   ],
           [0.54 , 0.841]])
    """
    if _labelled.is_labelled(x):
        return x.copy(data=rope(x.values, positions, base, layout=layout, inverse=inverse))
    x = as_floating("x", x)
    shape = tuple(x.shape)
    if len(shape) < 2 or shape[-1] % 2:
        raise ValueError(f"x has shape {shape}: (..., tokens, width) with an even width is wanted")
    if layout not in ("halves", "interleaved"):
        raise ValueError(f"layout is {layout!r}: pass 'halves' or 'interleaved'")
    half = shape[-1] // 2
    cosine, sine = _tables(positions, shape[:-1], base, half, x.dtype)
    out = devices.empty(shape, x.dtype, like=x)
    if not out.size:
        return out
    if inverse:
        sine = -sine
    if devices.is_device_array(x):
        cosine, sine = devices.to_device(cosine), devices.to_device(sine)
    step, apart = (1, half) if layout == "halves" else (2, 1)
    rows = x.size // shape[-1]
    ROTATE(rows, x.reshape(x.size), cosine, sine, cosine.size // half, half, step, apart, out.reshape(out.size))
    return out


def _tables(positions, shape, base, half, dtype):
    """cos and sin of (positions, pairs), flat; one table for all leading axes if positions have none."""
    if not is_number(base) or base <= 0:
        raise ValueError(f"base is {base!r}: a finite positive number is wanted, usually 10000.0")
    if positions is None:
        positions = np.arange(shape[-1])
    positions = np.asarray(positions, dtype=np.float64)
    try:
        fits = np.broadcast_shapes(positions.shape, shape) == shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"positions have shape {positions.shape}: they must broadcast to {shape}, (..., tokens)")
    positions = np.broadcast_to(positions, shape if positions.ndim > 1 else shape[-1:])
    frequency = float(base) ** (-np.arange(half) / half) if half else np.empty(0)
    angle = (positions[..., None] * frequency).reshape(-1)
    return np.cos(angle).astype(dtype), np.sin(angle).astype(dtype)


def turn_both(q, k, base, inverse=False):
    """Queries and keys (..., T, D) at their positions: keys at 0, 1, ...; the last query beside the last key."""
    shapes = tuple(np.shape(q)), tuple(np.shape(k))
    if min(map(len, shapes)) < 2:
        return q, k  # refused by check_arrays
    if shapes[0][-1] % 2:
        raise ValueError(f"q has width {shapes[0][-1]}: rope turns pairs of coordinates, an even width is wanted")
    queries, keys = shapes[0][-2], shapes[1][-2]
    positions = np.arange(keys - queries, keys)
    return rope(q, positions, base, inverse=inverse), rope(k, None, base, inverse=inverse)


def alibi_slopes(heads: int) -> np.ndarray:
    r"""The usual slopes of attention with linear biases: a geometric series over heads.

    Parameters
    ----------
    heads : int

    Returns
    -------
    ndarray of float64, shape (heads,)
        :math:`2^{-8(h+1)/H}`; if H is not a power of two, those of the next lower power, then every other one of the
        next higher.

    Raises
    ------
    ValueError
        If heads is below 1.

    References
    ----------
    Press, Smith, Lewis, "Train Short, Test Long: Attention with Linear Biases ...", arXiv:2108.12409.

    Examples
    --------
    >>> import primeattn as pa
    >>> pa.attention.alibi_slopes(4)
    array([0.25      , 0.0625    , 0.015625  , 0.00390625])
    """
    if heads < 1:
        raise ValueError(f"heads is {heads!r}: 1 or more is wanted")
    power = 1 << (int(heads).bit_length() - 1)
    slopes = 2.0 ** (-8.0 * np.arange(1, power + 1) / power)
    between = 2.0 ** (-4.0 * np.arange(1, 2 * (heads - power), 2) / power)
    return np.concatenate([slopes, between])
