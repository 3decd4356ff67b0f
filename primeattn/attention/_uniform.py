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
from ._cache import Cache, no_keys
from ._cores import ratio_sums
from ._cores import reference as plain
from ._cores.layout import Layout, key_range
from ._cores.scan_stream import check_state
from ._inputs import check_band, check_mask, check_upstream, flat
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


@scalar
def uniform_step_row(row, tokens, depth, position, v, before, after, out):
    """Column ``row`` = head * depth + c: its sum goes on over the next tokens, with what each addition rounds away."""
    head, c = row // depth, row % depth
    total, rest = before[2 * row], before[2 * row + 1]
    for t in range(tokens):
        at = (head * tokens + t) * depth + c
        x = v[at] + rest
        new = total + x
        rest = x - (new - total)
        rest = rest if rest - rest == 0 else type(rest)(0)  # of an infinite sum there is no rest
        total = new
        out[at] = total / type(total)(position + t + 1)
    after[2 * row], after[2 * row + 1] = total, rest


@kernel
def uniform_step_cpu(start, stop, tokens, depth, position, v, before, after, out):
    for row in range(start, stop):
        uniform_step_row(nonnegative(row), tokens, depth, position, v, before, after, out)


DIVIDE = Owner(uniform_divide_row, uniform_divide_cpu, "F1 i F1 F1", grain=4096)
WEIGHTS = Owner(
    uniform_weights_row, uniform_weights_cpu, f"U1 I1 ({','.join('i' * len(Layout._fields))}) F1 F1", grain=64
)
STEP = Owner(uniform_step_row, uniform_step_cpu, "i i i F1 F1 F1 F1", grain=4096)


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
    r = _reach(v, tuple(v.shape)[-2], causal, mask, window)
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


def _reach(v, queries: int, causal, mask, window) -> Reach:
    devices.on_cuda(v=v, mask=mask)
    shape = tuple(v.shape)
    lead, keys = shape[:-2], shape[-2]
    bytes_, at, mask_row, mask_key = check_mask(mask, lead, queries, keys, v)
    before, after = check_band(causal, window, queries, keys)
    layout = Layout(1, queries, keys, keys, 0, shape[-1], before, after, mask_row, mask_key)
    heads = math.prod(lead)
    ones = np.ones(heads * keys, v.dtype)
    r = Reach(flat(bytes_), flat(at), layout, heads, devices.empty(heads * queries, v.dtype, like=v))
    ones = devices.to_device(ones) if devices.is_device_array(v) else flat(ones)
    ratio_sums.sum_keys(r, layout, heads, 1, ones, r.count)
    return r


def _means(r: Reach, v):
    out = devices.empty(r.count.size * r.layout.depth, v.dtype, like=v)
    if out.size:
        ratio_sums.sum_keys(r, r.layout, r.heads, r.layout.depth, flat(v), out)
        DIVIDE(r.count.size, r.count, r.layout.depth, out, out)
    return out


def _vjp(v, *, causal=False, mask=None, window=None) -> tuple[Any, Callable]:
    """Output and pullback: the gradient of v."""
    (v, _, _), wrap = unwrap(v, v, v)
    v = check_values(v)
    r = _reach(v, tuple(v.shape)[-2], causal, mask, window)
    result = wrap.out(_means(r, v).reshape(tuple(v.shape)))

    def pullback(dout) -> dict[str, Any]:
        upstream = check_upstream(dout, result, v)
        shared, dv = (devices.empty(v.size, v.dtype, like=v) for _ in range(2))
        if dv.size:
            DIVIDE(r.count.size, r.count, r.layout.depth, upstream, shared)
            ratio_sums.sum_queries(r, r.layout, r.heads, r.layout.depth, flat(shared), dv)
        return wrap.gradients({"v": dv.reshape(tuple(v.shape))})

    return result, pullback


class UniformState:
    """What causal `uniform` attention remembers: the sum of the values so far.

    Attributes
    ----------
    position : int
        Tokens seen in all; the position of the next one.
    nbytes : int
        Two numbers for every column: the sum, and what its last addition has rounded away.

    Examples
    --------
    >>> import numpy as np, primeattn as pa
    >>> state = pa.attention.UniformState()
    >>> for x in np.ones((1000, 1, 4)):
    ...     y = pa.attention.uniform_step(x, state)
    >>> state
    UniformState(1000 tokens, 64 bytes)
    """

    def __init__(self) -> None:
        self.position = 0
        self._kind: tuple[Any, ...] = ()
        self._sums: Any = np.zeros(0)

    def __repr__(self) -> str:
        return f"UniformState({self.position} tokens, {self.nbytes:,} bytes)"

    @property
    def nbytes(self) -> int:
        return self._sums.nbytes

    def step(self, v):
        """The means of the next tokens, which join the sum, flat; whatever ends it early leaves the state as it was."""
        *lead, tokens, depth = tuple(v.shape)
        kind = tuple(lead), depth, v.dtype, "CUDA" if devices.is_device_array(v) else "host"
        if self._kind and kind != self._kind:
            raise ValueError(
                f"leading axes, width, dtype and device are {kind}, but this state is of {self._kind}: only the number "
                "of tokens may change"
            )
        sums, rows = self._sums, math.prod(lead) * depth
        if not self._kind:
            sums = np.zeros(2 * rows, v.dtype)
            sums = devices.to_device(sums) if devices.is_device_array(v) else sums
        out = devices.empty(v.size, v.dtype, like=v)
        if out.size:
            after = devices.empty(2 * rows, v.dtype, like=v)
            STEP(rows, tokens, depth, self.position, flat(v), sums, after, out)
            sums = after
        vars(self).update(_kind=kind, _sums=sums, position=self.position + tokens)
        return out


def uniform_step(v: Any, state: UniformState | Cache, *, mask: Any = None) -> Any:
    """Causal `uniform` attention of new tokens to all tokens so far, in constant time and memory for a token.

    Step by step it gives what ``uniform(..., causal=True)`` gives for the whole sequence.

    Parameters
    ----------
    v : ndarray of float, shape (..., t, Dv)
        Values of the next t tokens, usually 1.
    state : UniformState, or Cache
        Changed in place. A `Cache` holds the values themselves (keys of width 0), for ``Cache(window)``, whose window
        the result has, or for masks; time is then that of the tokens kept.
    mask : ndarray of bool, broadcastable to (..., t, kept + t), optional
        With a `Cache` only.

    Returns
    -------
    ndarray of float, shape (..., t, Dv)

    Raises
    ------
    ValueError
        As `uniform`, or if v does not continue the state, which is then as it was, or for a mask without a `Cache`.
    TypeError
        For another state, or arrays that are not where it is, on CUDA or on the host.

    Examples
    --------
    >>> import numpy as np, primeattn as pa
    >>> v, state = np.array([[3.0], [1.0], [2.0]]), pa.attention.UniformState()
    >>> np.concatenate([pa.attention.uniform_step(v[i : i + 1], state) for i in range(3)]).ravel()
    array([3., 2., 2.])
    """
    if not isinstance(state, Cache):
        check_state(state, UniformState, mask)
    (v, _, _), wrap = unwrap(v, v, v)
    v = check_values(v)
    if not isinstance(state, Cache):
        return wrap.out(state.step(v).reshape(tuple(v.shape)))
    with state.unchanged_on_error():
        state.append(no_keys(v), v)
        kept = check_values(state.values)
        out = _means(_reach(kept, tuple(v.shape)[-2], True, mask, state.window), kept)
        state.trim()
    return wrap.out(out.reshape(tuple(v.shape)))


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
    options = given(causal=place.causal, window=window)
    return Plan({"v": Projected(place.columns, place.heads)}, {}, place.columns, options)


def advance(plan: Plan, arrays, learned, memory, before):
    """A running sum, or the values that a window can see."""
    window = plan.options.get("window")
    past = memory.setdefault("past", UniformState() if window is None else Cache(window))
    return uniform_step(arrays["v"], past)


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
    trainable=Trainable(plan, order="none", step=advance),
    cite="Zhang, Xiong, Su, Accelerating Neural Transformer via an Average Attention Network, 2018, arXiv:1805.00631",
    score=SCORE,
)
