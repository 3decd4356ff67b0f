r"""Uniform attention: the mean of the values that a query may attend. The control of every other mechanism.

    n_i = number of keys j that band (causal, window) and mask leave to query i,    y_i = sum_j v_j / n_i,

zeros if n_i = 0. It is linear: with G = dL/dy, dL/dv_j = sum_i G_i / n_i over the queries that may attend j.

Loops: `_cores.ratio_sums`, in linear time where the mask is the same for all queries.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .._runtime import devices
from .._runtime.checks import as_floating, as_generator
from .._runtime.jit import kernel, nonnegative, scalar
from .._runtime.owners import Owner
from ._cores import ratio_sums
from ._cores import reference as plain
from ._cores.layout import Layout, key_range
from ._inputs import _read_only, check_band, check_mask, check_upstream
from ._labels import unwrap
from ._mechanism import Claim, DoesNotApply, Formula, Holds, Mechanism, Property, Sample, Score
from ._trainable import Place, Plan, Projected, Trainable, given


@scalar
def uniform_divide_row(row, count, depth, x, out):
    """out_row = x_row / count_row; zeros if the count is 0."""
    n = count[row]
    for c in range(depth):
        out[row * depth + c] = x[row * depth + c] / n if n != 0 else n


@kernel
def uniform_divide_cpu(start, stop, count, depth, x, out):
    for row in range(start, stop):
        uniform_divide_row(nonnegative(row), count, depth, x, out)


@scalar
def uniform_weights_row(row, mask, mask_at, layout, count, weights):
    """Row ``row`` of the (queries, keys) tables of weights."""
    g = Layout(*layout)
    head, i = row // g.queries, row % g.queries
    low, high = key_range(i, g)
    one, zero = type(count[0])(1), type(count[0])(0)
    for j in range(g.keys):
        inside = low <= j < high and mask[mask_at[head] + i * g.mask_row + j * g.mask_key] != 0
        weights[row * g.keys + j] = one / count[row] if inside else zero


@kernel
def uniform_weights_cpu(start, stop, mask, mask_at, layout, count, weights):
    for row in range(start, stop):
        uniform_weights_row(row, mask, mask_at, layout, count, weights)


DIVIDE = Owner(uniform_divide_row, uniform_divide_cpu, "F1 i F1 F1", grain=4096)
WEIGHTS = Owner(
    uniform_weights_row, uniform_weights_cpu, f"U1 I1 ({','.join('i' * len(Layout._fields))}) F1 F1", grain=64
)


class Reach(NamedTuple):
    """Who attends whom, and to how many: the part of a call that does not depend on the values."""

    mask: Any
    mask_at: Any
    layout: Layout
    heads: int
    count: Any


def uniform(
    v: Any, *, causal: bool = False, mask: Any = None, window: int | None = None, return_weights: bool = False
) -> Any:
    r"""Uniform attention: every query gets the mean of the values that it may attend.

    The control: what a mechanism does better than this, its scores do.

    Parameters
    ----------
    v : ndarray of float, shape (..., T, Dv)
        Values; token i is query i and key i.
    causal : bool
        Query i attends keys j <= i.
    mask : ndarray of bool, broadcastable to (..., T, T), optional
        True where a query may attend a key. Never copied per head.
    window : int, optional
        Only keys less than this many positions away.
    return_weights : bool
        Return the weights, too.

    Returns
    -------
    out : ndarray of float, shape (..., T, Dv)
        float32 if v is, else float64. DataArray in, DataArray out; CUDA arrays likewise.
    weights : ndarray of float, shape (..., T, T)
        If ``return_weights``.

    Raises
    ------
    ValueError
        For shapes that do not fit, a width of 0, a window below 1.
    TypeError
        For a mask that is not boolean, or arrays on two devices.

    Notes
    -----
    .. math:: y_i = \frac{1}{|J_i|} \sum_{j \in J_i} v_j

    A query without a key gets zeros. A key that a query may not attend has no influence on it, NaN and inf included.
    Time is linear in T, windows included, unless the mask differs from query to query; on CUDA it is quadratic.

    References
    ----------
    The average attention of Zhang, Xiong and Su, "Accelerating Neural Transformer via an Average Attention Network",
    arXiv:1805.00631. Windows: van Herk, "A fast algorithm for local minimum and maximum filters on rectangular and
    octagonal kernels", Pattern Recognition Letters 13 (1992), with sums in place of minima.

    Examples
    --------
    >>> import numpy as np, primeattn as pa
    >>> pa.attention.uniform(np.array([[3.0], [1.0], [2.0]]), causal=True).ravel()
    array([3., 2., 2.])
    """
    (v, _, _), wrap = unwrap(v, v, v)
    v = check_values(v)
    r = _reach(v, causal, mask, window)
    result = wrap.out(_means(r, v).reshape(tuple(v.shape)))
    if not return_weights:
        return result
    n = r.layout.keys
    table = devices.empty(r.heads * n * n, v.dtype, like=v)
    if table.size:
        WEIGHTS(r.count.size, r.mask, r.mask_at, tuple(r.layout), r.count, table)
    return result, wrap.weights(table.reshape((*tuple(v.shape)[:-1], n)))


def check_values(v):
    """v (..., T, Dv) in float32 or float64."""
    v = as_floating("v", v)
    shape = tuple(v.shape)
    if len(shape) < 2 or shape[-1] == 0:
        raise ValueError(f"v has shape {shape}: (..., tokens, width) is wanted, with a width of at least 1")
    if devices.is_device_array(v) and not v.is_c_contiguous():
        raise ValueError("v is not C-contiguous on CUDA: copy it first")
    return v


def _reach(v, causal, mask, window) -> Reach:
    devices.on_cuda(v=v, mask=mask)
    shape = tuple(v.shape)
    lead, tokens = shape[:-2], shape[-2]
    flat, at, mask_row, mask_key = check_mask(mask, lead, tokens, tokens, v)
    before, after = check_band(causal, window, tokens, tokens)
    layout = Layout(1, tokens, tokens, tokens, 0, shape[-1], before, after, mask_row, mask_key)
    heads = math.prod(lead)
    ones = np.ones(heads * tokens, v.dtype)
    r = Reach(_read_only(flat), _read_only(at), layout, heads, devices.empty(heads * tokens, v.dtype, like=v))
    ones = devices.to_device(ones) if devices.is_device_array(v) else _read_only(ones)
    ratio_sums.sum_keys(r, layout, heads, 1, ones, r.count)
    return r


def _means(r: Reach, v):
    out = devices.empty(v.size, v.dtype, like=v)
    if out.size:
        ratio_sums.sum_keys(r, r.layout, r.heads, r.layout.depth, _read_only(v.reshape(v.size)), out)
        DIVIDE(r.count.size, r.count, r.layout.depth, out, out)
    return out


def _vjp(v, *, causal=False, mask=None, window=None) -> tuple[Any, Callable]:
    """Output and pullback: the gradient of v."""
    (v, _, _), wrap = unwrap(v, v, v)
    v = check_values(v)
    r = _reach(v, causal, mask, window)
    result = wrap.out(_means(r, v).reshape(tuple(v.shape)))

    def pullback(dout) -> dict[str, Any]:
        upstream = check_upstream(dout, result, v)
        shared, dv = (devices.empty(v.size, v.dtype, like=v) for _ in range(2))
        if dv.size:
            DIVIDE(r.count.size, r.count, r.layout.depth, upstream, shared)
            ratio_sums.sum_queries(r, r.layout, r.heads, r.layout.depth, _read_only(shared), dv)
        return wrap.gradients({"v": dv.reshape(tuple(v.shape))})

    return result, pullback


def reference(v, *, causal=False, mask=None, window=None, return_weights=False):
    """The equation in plain NumPy, with the (..., T, T) table."""
    allowed = plain.allowed_keys((*v.shape[:-1], v.shape[-2]), causal=causal, mask=mask, window=window)
    weights = plain.ratio(allowed.astype(float))
    out = weights @ v
    return (out, weights) if return_weights else out


def sample(rng, *, batch=(2,), heads=2, tokens=5, width=4, dtype=np.float64) -> Sample:
    """Unit Gaussian v."""
    return Sample((as_generator(rng).standard_normal((*batch, heads, tokens, width)).astype(dtype),), {})


def of_vectors(x) -> Sample:
    """v = x."""
    return Sample((x,), {})


def _weights_of(mechanism: Mechanism, drawn: Sample):
    return mechanism.forward(*drawn.inputs, **drawn.options, return_weights=True)[1]


def _asymmetry(mechanism: Mechanism, drawn: Sample) -> float:
    w = _weights_of(mechanism, drawn)
    return float(np.abs(w - np.swapaxes(w, -1, -2)).max(initial=0))


def _negative(mechanism: Mechanism, drawn: Sample) -> float:
    return float(-np.linalg.eigvalsh(_weights_of(mechanism, drawn)).min(initial=0))


_NO_QUERIES = "there are no queries or keys, only values"

PROPERTIES: dict[Property, Claim] = {
    Property.ROW_STOCHASTIC: Holds("n weights of 1 / n"),
    Property.BOUNDED: Holds("a mean lies between the smallest and the largest"),
    Property.SYMMETRIC: Holds("without mask all weights are equal", measure=_asymmetry),
    Property.PSD: Holds("a table of ones has the eigenvalues T and 0", measure=_negative),
    Property.SIGN_INVARIANT: DoesNotApply(_NO_QUERIES),
    Property.SCALE_INVARIANT: DoesNotApply(_NO_QUERIES),
    Property.KEY_SHIFT_INVARIANT: DoesNotApply(_NO_QUERIES),
    Property.PHASE_SHIFT_INVARIANT: DoesNotApply("inputs are vectors, not phases"),
    Property.PERMUTATION_EQUIVARIANT: Holds("without mask all outputs are equal"),
    Property.EXACT_LINEAR_FORM: Holds("the kernel is the constant 1, one feature"),
}

#: No scalar is compiled: a weight is a count.
SCORE = Score(Formula("1", ("z",), lambda z: 1.0, {"z": ("0", lambda z: 0.0)}), "0", {})


def plan(place: Place, *, window: int | None = None) -> Plan:
    """v alone: it knows neither content nor order."""
    projected = {"v": Projected(place.columns, place.heads)}
    options = given(causal=place.causal, window=window)
    return Plan(projected, {}, place.columns, options, recomputes=window is not None)


def step(plan: Plan, arrays, learned, memory, before):
    """A running sum of the values, in float64."""
    v = arrays["v"]
    sums = memory.get("sum", 0) + np.cumsum(v, axis=-2, dtype=np.float64)
    count = memory.get("count", 0) + np.arange(1, v.shape[-2] + 1)
    memory["sum"], memory["count"] = sums[..., -1:, :], count[-1]
    return (sums / count[:, None]).astype(v.dtype)


MECHANISM = Mechanism(
    name="uniform",
    inputs=("v",),
    parameters=(),
    forward=uniform,
    vjp=_vjp,
    reference=reference,
    sample=sample,
    of_vectors=of_vectors,
    properties=PROPERTIES,
    trainable=Trainable(plan, order="none", step=step),
    cite="Zhang, Xiong, Su, Accelerating Neural Transformer via an Average Attention Network, 2018, arXiv:1805.00631",
    score=SCORE,
)
