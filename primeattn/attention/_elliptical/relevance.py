r"""How much every coordinate of the values changes from one layer to the next: the metric of elliptical attention.

    u_c = (1/n) sum_t |v_tc - v'_tc| / delta,        m = u / max_c u_c   or   u / mean_c u_c

over the n tokens of a head, or, causally, over the n = t tokens up to t: one running sum. Backwards, with a the first
c of the largest u_c, and U = mean_c u_c over D coordinates,

    max:   dL/du_c = dm_c / u_a (c != a),   dL/du_a = - sum_{c != a} dm_c u_c / u_a^2
    mean:  dL/du_c = dm_c / U - sum_e dm_e u_e / (D U^2)
    dL/dv_tc = sign(v_tc - v'_tc) sum_{n >= t} dL/du_nc / (n delta) = -dL/dv'_tc,    sign 0 = 0.

If nothing changed (u = 0) then m = 1, with gradient 0.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ... import _labelled
from ..._runtime import devices
from ..._runtime.checks import as_floating, as_generator, common_floating
from ..._runtime.jit import kernel, scalar
from ..._runtime.owners import Owner
from .._inputs import _placed, check_flag, flat, is_number

_NORMALIZE = {None: 0, "max": 1, "mean": 2}


@scalar
def relevance_change_row(index, v, w, present, delta, tokens, width, causal, u):
    """Column ``index`` = head * width + c: the mean change, or that of every prefix."""
    head, c = index // width, index % width
    total, count = delta - delta, delta - delta
    for t in range(tokens):
        row = head * tokens + t
        if present[row] != 0:
            total += abs(v[row * width + c] - w[row * width + c])
            count += type(delta)(1)
        if causal:
            u[row * width + c] = total / (delta * count) if count > 0 else total
    if not causal:
        u[index] = total / (delta * count) if count > 0 else total


@kernel
def relevance_change_cpu(start, stop, v, w, present, delta, tokens, width, causal, u):
    for index in range(start, stop):
        relevance_change_row(index, v, w, present, delta, tokens, width, causal, u)


@scalar
def unit_of(row, u, width, how):
    """The first coordinate of the largest u of a row, and what the row is divided by."""
    top, where, total = u[row * width], 0, u[row * width] - u[row * width]
    for c in range(width):
        x = u[row * width + c]
        total += x
        if x > top:
            top, where = x, c
    return where, top if how == 1 else total / type(total)(width)


@scalar
def relevance_normalize_row(row, u, width, how, m):
    one = type(u[0])(1)
    _, unit = unit_of(row, u, width, how)
    for c in range(width):
        x = u[row * width + c]
        m[row * width + c] = x if how == 0 else one if unit == 0 else x / unit


@kernel
def relevance_normalize_cpu(start, stop, u, width, how, m):
    for row in range(start, stop):
        relevance_normalize_row(row, u, width, how, m)


@scalar
def relevance_normalize_back_row(row, u, dm, width, how, du):
    where, unit = unit_of(row, u, width, how)
    total = unit - unit
    for c in range(width):
        at = row * width + c
        if how == 0:
            du[at] = dm[at]
        elif unit == 0:
            du[at] = unit
        else:
            du[at] = dm[at] / unit
            if how == 2 or c != where:
                total += dm[at] / unit * (u[at] / unit)
    if how == 1 and unit != 0:
        du[row * width + where] = -total
    if how == 2:
        for c in range(width):
            du[row * width + c] -= total / type(total)(width)


@kernel
def relevance_normalize_back_cpu(start, stop, u, dm, width, how, du):
    for row in range(start, stop):
        relevance_normalize_back_row(row, u, dm, width, how, du)


@scalar
def relevance_change_back_row(index, v, w, present, delta, du, tokens, width, causal, dv, dw):
    """Column ``index``: every token adds to the means of all prefixes that hold it."""
    head, c = index // width, index % width
    carry, count = delta - delta, delta - delta
    for t in range(tokens):
        count += type(delta)(1 if present[head * tokens + t] != 0 else 0)
    if not causal and count > 0:
        carry = du[index] / (delta * count)
    for back in range(tokens):
        row = head * tokens + tokens - 1 - back
        at = row * width + c
        if causal and count > 0:
            carry += du[at] / (delta * count)
        change = v[at] - w[at] if present[row] != 0 else delta - delta
        slope = carry if change > 0 else -carry if change < 0 else change
        dv[at], dw[at] = slope, -slope
        count -= type(delta)(1 if present[row] != 0 else 0)


@kernel
def relevance_change_back_cpu(start, stop, v, w, present, delta, du, tokens, width, causal, dv, dw):
    for index in range(start, stop):
        relevance_change_back_row(index, v, w, present, delta, du, tokens, width, causal, dv, dw)


CHANGE = Owner(relevance_change_row, relevance_change_cpu, "F1 F1 U1 F i i i F1", grain=64)
NORMALIZE = Owner(relevance_normalize_row, relevance_normalize_cpu, "F1 i i F1", grain=1024)
NORMALIZE_BACK = Owner(relevance_normalize_back_row, relevance_normalize_back_cpu, "F1 F1 i i F1", grain=1024)
CHANGE_BACK = Owner(relevance_change_back_row, relevance_change_back_cpu, "F1 F1 U1 F F1 i i i F1 F1", grain=64)


def layer_relevance(
    v_now: Any,
    v_previous: Any,
    *,
    normalize: str | None = "max",
    causal: bool = False,
    mask: Any = None,
    delta: float = 1.0,
) -> Any:
    r"""Relevance of every coordinate: how much the values of a head changed since the layer before.

    Parameters
    ----------
    v_now, v_previous : ndarray of float, shape (..., T, D)
        Values of this layer and of the one before, same head, same tokens.
    normalize : {"max", "mean", None}
        Divide by the largest entry, so that m <= 1 (the published rule), by the mean of the entries, so that scores
        keep their size on average, or by nothing.
    causal : bool
        Token t sees the changes up to t only: running means, one vector a query. Without it every token sees the
        changes of all tokens: in a language model that is a leak of the future.
    mask : ndarray of bool, broadcastable to (..., T), optional
        True for tokens that count; False for padding.
    delta : float
        Step of the difference quotient; > 0. It cancels unless ``normalize`` is None.

    Returns
    -------
    ndarray of float, shape (..., D), or (..., T, D) if ``causal``
        >= 0. What ``elliptical(..., relevance=...)`` takes. Ones where nothing changed at all (or no token counts so
        far), zeros there if ``normalize`` is None.

    Raises
    ------
    ValueError
        For unequal shapes, another ``normalize``, a ``delta`` that is not positive, a mask that does not fit.
    TypeError
        For a mask that is not boolean, or arrays on two devices.

    Notes
    -----
    .. math:: u_c = \frac{1}{n \delta} \sum_{t \le n} |v_{tc} - v'_{tc}|, \qquad m_c = u_c / \max_e u_e .

    The paper and its code stop the gradient here: m is data. For the full derivative see `layer_relevance_vjp`. NaN
    makes the entry of its coordinate NaN; with "mean" all entries.

    References
    ----------
    Nielsen, Abdullaev, Teo, Nguyen, "Elliptical Attention", NeurIPS 2024, arXiv:2406.13770, and its code.

    Examples
    --------
    >>> import numpy as np, primeattn as pa
    >>> now, before = np.array([[1.0, 0.0], [5.0, 1.0]]), np.zeros((2, 2))
    >>> pa.attention.layer_relevance(now, before).round(3)
    array([1.   , 0.167])
    >>> pa.attention.layer_relevance(now, before, causal=True).round(3)
    array([[1.   , 0.   ],
           [1.   , 0.167]])
    """
    out, _ = layer_relevance_vjp(v_now, v_previous, normalize=normalize, causal=causal, mask=mask, delta=delta)
    return out


def layer_relevance_vjp(
    v_now: Any,
    v_previous: Any,
    *,
    normalize: str | None = "max",
    causal: bool = False,
    mask: Any = None,
    delta: float = 1.0,
) -> tuple[Any, Callable[[Any], dict[str, Any]]]:
    r"""`layer_relevance` and its pullback, for those who do not stop the gradient.

    Parameters
    ----------
    v_now, v_previous, normalize, causal, mask, delta
        As in `layer_relevance`.

    Returns
    -------
    relevance : ndarray of float
    pullback : callable
        ``pullback(drelevance)`` gives ``{"v_now": ..., "v_previous": ...}``. Feed it the gradient that
        ``vjp("elliptical", ..., relevance=...)`` gives for the relevance, and add the results to those of the values.

    Raises
    ------
    TypeError, ValueError
        As `layer_relevance`, or for a drelevance of another shape.

    Notes
    -----
    Not differentiable where two coordinates share the largest change, or where a value did not change: the first of
    the largest counts as the only one, and sign 0 = 0. Where m is 1 because nothing changed the gradient is 0.

    Examples
    --------
    >>> import numpy as np, primeattn as pa
    >>> now, before = np.array([[4.0, 1.0]]), np.zeros((1, 2))
    >>> m, pullback = pa.attention.layer_relevance_vjp(now, before)
    >>> m, pullback([0.0, 1.0])["v_now"]
    (array([1.  , 0.25]), array([[-0.0625,  0.25  ]]))
    """
    labels = v_now if _labelled.is_labelled(v_now) else None
    v, w, shape = _check(v_now, v_previous)
    present, delta = _check_present(mask, shape[:-1], v), _check_delta(delta, v.dtype)
    if normalize not in _NORMALIZE:
        raise ValueError(f"normalize is {normalize!r}: pass 'max', 'mean' or None")
    causal = check_flag("causal", causal)
    lead, (tokens, width), how = shape[:-2], shape[-2:], _NORMALIZE[normalize]
    columns, own = math.prod(lead) * width, shape if causal else (*lead, width)
    rows = math.prod(own[:-1])
    u, m = (devices.empty(rows * width, v.dtype, like=v) for _ in range(2))
    CHANGE(columns, v, w, present, delta, tokens, width, int(causal), u)
    NORMALIZE(rows, u, width, how, m)
    m = m.reshape(own)

    def pullback(drelevance) -> dict[str, Any]:
        if _labelled.is_labelled(drelevance):
            drelevance = drelevance.values
        devices.on_cuda(drelevance=drelevance, relevance=m)
        drelevance = as_floating("drelevance", drelevance, dtype=v.dtype)
        if tuple(drelevance.shape) != own:
            raise ValueError(f"drelevance has shape {tuple(drelevance.shape)}: {own} is wanted, that of the relevance")
        du, dv, dw = (devices.empty(n, v.dtype, like=v) for n in (rows * width, v.size, v.size))
        NORMALIZE_BACK(rows, u, flat(drelevance), width, how, du)
        CHANGE_BACK(columns, v, w, present, delta, du, tokens, width, int(causal), dv, dw)
        grads = {"v_now": dv.reshape(shape), "v_previous": dw.reshape(shape)}
        return grads if labels is None else {name: labels.copy(data=x) for name, x in grads.items()}

    return (m if labels is None else _labels_of(labels, m, causal)), pullback


def random_relevance(shape, rng: Any = None, *, low: float = 0.0, dtype: Any = np.float64) -> np.ndarray:
    r"""A relevance that means nothing: the control that a claim about the real one needs.

    Parameters
    ----------
    shape : tuple of int
        (..., D).
    rng : int or numpy.random.Generator, optional
    low : float
        Entries are uniform in [low, 1], then divided by the largest of the last axis; 0 <= low < 1. The authors' own
        ablation takes 0 for language, 0.3 for images.
    dtype : float32 or float64

    Returns
    -------
    ndarray

    Raises
    ------
    ValueError
        For another low.

    Examples
    --------
    >>> import primeattn as pa
    >>> m = pa.attention.random_relevance((4, 16), 0, low=0.3)
    >>> m.max(axis=-1), bool(m.min() >= 0.3)
    (array([1., 1., 1., 1.]), True)
    """
    if not 0 <= low < 1:
        raise ValueError(f"low is {low!r}: a number in [0, 1) is wanted")
    m = as_generator(rng).uniform(low, 1, shape)
    return (m / m.max(axis=-1, keepdims=True)).astype(dtype)


def _check(v, w):
    """Both flat, and their shape."""
    if _labelled.any_labelled(v, w):
        if not (_labelled.is_labelled(v) and _labelled.is_labelled(w) and set(v.dims) == set(w.dims)):
            raise TypeError("v_now and v_previous must both be DataArrays of the same dimensions, or neither")
        v, w = v.values, w.transpose(*v.dims).values
    v, w = common_floating({}, v_now=v, v_previous=w)
    shape, other = tuple(v.shape), tuple(w.shape)
    if shape != other:
        raise ValueError(f"v_now has shape {shape} but v_previous has shape {other}: same heads, tokens and width")
    if len(shape) < 2 or not shape[-1]:
        raise ValueError(f"v_now has shape {shape}: (..., tokens, width) is wanted, of width 1 or more")
    return flat(v), flat(w), shape


def _check_present(mask, shape, like):
    """Bytes, 1 for a token that counts."""
    if mask is None:
        return flat(_placed(np.ones(math.prod(shape), np.uint8), like))
    if isinstance(mask, np.ma.MaskedArray):
        raise TypeError("mask is a masked array, whose own mask would be lost: pass mask.filled(False)")
    mask = devices.to_host(mask)
    if mask.dtype != np.bool_:
        raise TypeError(f"mask has dtype {mask.dtype}: booleans are wanted, True for a token that counts")
    try:
        full = np.broadcast_to(mask, shape)
    except ValueError:
        raise ValueError(f"mask has shape {mask.shape}: it must broadcast to {shape}, (..., tokens)") from None
    return flat(_placed(np.ascontiguousarray(full).reshape(-1).view(np.uint8), like))


def _check_delta(delta, dtype):
    if not is_number(delta, dtype) or dtype.type(delta) <= 0:
        raise ValueError(f"delta is {delta!r}: a finite number > 0 is wanted")
    return dtype.type(delta)


def _labels_of(v, m, causal):
    return v.copy(data=m) if causal else v.isel({v.dims[-2]: 0}, drop=True).copy(data=m)
