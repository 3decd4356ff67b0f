r"""Scaled dot-product attention with softmax weights.

    s_ij = scale <q_i, k_j> - slope |i + Tk - Tq - j|,    p_ij = exp s_ij / sum_l exp s_il,    y_i = sum_j p_ij v_j

over the keys j that band (causal, window) and mask leave to query i. The derivatives, with G = dL/dy: from
dp_ij = p_ij (ds_ij - sum_l p_il ds_il),

    dL/dv_j = sum_i p_ij G_i,
    dL/ds_ij = p_ij (<G_i, v_j> - delta_i),    delta_i = sum_l p_il <G_i, v_l> = <G_i, y_i>,
    dL/dq_i = scale sum_j dL/ds_ij k_j,    dL/dk_j = scale sum_i dL/ds_ij q_i,
    dL/dscale = sum_ij dL/ds_ij <q_i, k_j>,
    dL/dslope = - sum_ij dL/ds_ij |i + Tk - Tq - j|.

Under RoPE q and k are turned by orthogonal matrices first, so their gradients are turned back.

Rows: `_cores.softmax` (specification, CUDA). Tiles: `_cores.tiles` (CPU).
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from .._runtime import devices
from ._cache import dot_product_step
from ._cores import run
from ._cores.reference import joined, softmax
from ._inputs import check_call, check_upstream, scale_gradient, sum_to
from ._labels import unwrap
from ._mechanism import Claim, DoesNotApply, Fails, Holds, Mechanism, Property, Sample
from ._rope import alibi_slopes, turn_both
from ._samples import gaussian, generic, itself
from ._scores import EXPONENTIAL, of_dot_product
from ._trainable import Learned, Place, Plan, Trainable, cached, exactly, given, queries_keys_values


def dot_product(
    q: Any,
    k: Any,
    v: Any,
    *,
    causal: bool = False,
    mask: Any = None,
    scale: float | None = None,
    window: int | None = None,
    alibi: Any = None,
    rope: float | None = None,
    return_weights: bool = False,
) -> Any:
    r"""Softmax attention: every query gets the mean of the values, weighted by exp of its scores.

    Parameters
    ----------
    q : ndarray of float, shape (..., Tq, D)
        Queries. Leading axes are batch and heads.
    k : ndarray of float, shape (..., Tk, D)
        Keys. Leading axes as in q, except that the heads of q (axis -3) may be a multiple of those of k and v: query
        head h then reads key head ``h // (Hq // Hk)``.
    v : ndarray of float, shape (..., Tk, Dv)
        Values.
    causal : bool
        Query i attends keys j <= i + Tk - Tq: the last query sees all keys.
    mask : ndarray of bool, broadcastable to (..., Tq, Tk), optional
        True where a query may attend a key. Never copied per head.
    scale : float, optional
        Factor of the scores, 1 / sqrt(D) by default.
    window : int, optional
        Only keys less than this many positions away from i + Tk - Tq: with ``causal``, the last ``window`` keys.
    alibi : array_like of float, broadcastable to the leading axes of q, optional
        One slope a head; scores fall by slope times distance. See `alibi_slopes`.
    rope : float, optional
        Turn q and k by rotary positions of this base first (usually 10000). See `rope`.
    return_weights : bool
        Return the weights, too: (..., Tq, Tk) numbers, which nothing else here needs.

    Returns
    -------
    out : ndarray of float, shape (..., Tq, Dv)
        float32 if all inputs are, else float64. DataArrays in, DataArray out; CUDA arrays likewise.
    weights : ndarray of float, shape (..., Tq, Tk)
        If ``return_weights``.

    Raises
    ------
    ValueError
        For shapes that do not fit, a width of 0, a window below 1.
    TypeError
        For a mask that is not boolean, or arrays on two devices.

    Notes
    -----
    .. math:: s_{ij} = \alpha\,q_i\cdot k_j - m\,|i + T_k - T_q - j|, \qquad
              y_i = \sum_j \frac{e^{s_{ij}}}{\sum_l e^{s_{il}}} v_j

    A query without any key gets zeros. A key that a query may not attend has no influence on it, whatever it holds:
    NaN and inf stay in the rows that may see them. Scores of any finite size are safe; +inf makes its row NaN, and
    -inf weighs nothing. Memory beyond inputs and outputs is a few tiles per thread. Results do not depend on the number
    of threads.

    References
    ----------
    Vaswani et al., "Attention Is All You Need", arXiv:1706.03762. Tiles and recomputation: Dao et al.,
    "FlashAttention", arXiv:2205.14135; online softmax: Milakov and Gimelshein, arXiv:1805.02867.

    Examples
    --------
    >>> import numpy as np, primeattn as pa
    >>> x = np.eye(3)
    >>> pa.attention.dot_product(x, x, x, causal=True).round(2)
    array([[1.  , 0.  , 0.  ],
           [0.36, 0.64, 0.  ],
           [0.26, 0.26, 0.47]])
    """
    (q, k, v), wrap = unwrap(q, k, v)
    if rope is not None:
        q, k = turn_both(q, k, rope)
    call = check_call(q, k, v, causal=causal, mask=mask, scale=scale, window=window, alibi=alibi)
    x, g = call.problem, call.layout
    out, lse = run.forward(x, g, call.heads)
    result = wrap.out(call.shaped(out, g.queries, g.depth))
    if not return_weights:
        return result
    return result, wrap.weights(call.shaped(run.weights(x, g, lse), g.queries, g.keys))


def _vjp(q, k, v, *, causal=False, mask=None, scale=None, window=None, alibi=None, rope=None) -> tuple[Any, Callable]:
    """Output and pullback: gradients of q, k, v, and of alibi and scale if they were given."""
    (q, k, v), wrap = unwrap(q, k, v)
    if rope is not None:
        q, k = turn_both(q, k, rope)
    call = check_call(q, k, v, causal=causal, mask=mask, scale=scale, window=window, alibi=alibi)
    x, g = call.problem, call.layout
    out, lse = run.forward(x, g, call.heads)
    result = wrap.out(call.shaped(out, g.queries, g.depth))

    def pullback(dout) -> dict[str, Any]:
        upstream = check_upstream(dout, result, x.q)
        *gradients, dslope = run.backward(x, g, out, lse, upstream, alibi is not None)
        grads = {n: d.reshape(call.shapes[n]) for n, d in zip("qkv", gradients, strict=True)}
        if scale is not None:
            grads["scale"] = scale_gradient(x, *gradients[:2])
        if rope is not None:
            grads["q"], grads["k"] = turn_both(grads["q"], grads["k"], rope, inverse=True)
        if alibi is not None:
            by_query = devices.to_host(dslope).reshape(*call.lead, g.queries)
            given = np.shape(alibi)
            grads["alibi"] = sum_to(by_query, (*(1,) * (len(call.lead) - len(given)), *given, 1)).reshape(given)
        return wrap.gradients(grads)

    return result, pullback


def reference(
    q, k, v, *, causal=False, mask=None, scale=None, window=None, alibi=None, rope=None, return_weights=False
):
    """The equations in plain NumPy, with the (..., Tq, Tk) table; analytic, so complex inputs work, too."""
    q, k, v = joined(q, k, v, rope)
    scores = q @ np.swapaxes(k, -1, -2) * (1 / np.sqrt(q.shape[-1]) if scale is None else scale)
    if alibi is not None:
        queries, keys = scores.shape[-2:]
        distance = abs(np.arange(keys) - np.arange(keys - queries, keys)[:, None])
        scores = scores - np.broadcast_to(alibi, q.shape[:-2])[..., None, None] * distance
    weights = softmax(scores, causal=causal, mask=mask, window=window)
    out = weights @ v
    return (out, weights) if return_weights else out


def _on_a_circle() -> Sample:
    """Twelve long vectors in the plane: the weights are close to the identity, of rank 12 > 6."""
    angle = 2 * np.pi * np.arange(12) / 12
    x = 6 * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    return Sample((x, x, x), {})


PROPERTIES: dict[Property, Claim] = {
    Property.ROW_STOCHASTIC: Holds("exp is positive, and each row is divided by its sum"),
    Property.BOUNDED: Holds("a row of weights is a convex combination"),
    Property.SYMMETRIC: Holds("exp <q, k> = exp <k, q>"),
    Property.PSD: Holds("the power series of exp has positive coefficients (Schur product theorem)"),
    Property.SIGN_INVARIANT: Fails("exp is not even", generic, by=0.1),
    Property.SCALE_INVARIANT: Fails("longer queries have sharper weights", generic, by=0.1),
    Property.KEY_SHIFT_INVARIANT: Holds("it adds <q_i, c> to row i of the scores, which the division removes"),
    Property.PHASE_SHIFT_INVARIANT: DoesNotApply("inputs are vectors, not phases"),
    Property.PERMUTATION_EQUIVARIANT: Holds("sums over keys do not depend on their order"),
    Property.EXACT_LINEAR_FORM: Fails("exp is no polynomial", _on_a_circle, by=0.1),
}


def plan(
    place: Place,
    *,
    key_heads: int | None = None,
    window: int | None = None,
    scale: float | None = None,
    alibi: bool = False,
) -> Plan:
    """q, k, v; with ``alibi`` one learned slope a head."""
    learned = {"alibi": Learned((place.heads,), exactly(alibi_slopes(place.heads)))} if alibi else {}
    options = given(causal=place.causal, window=window, scale=scale)
    return Plan(queries_keys_values(place, key_heads=key_heads), learned, place.columns, options)


def attend(vjp, plan: Plan, arrays, learned, before):
    """Slopes are few and stay on the host."""
    if "alibi" not in learned or not devices.is_device_array(learned["alibi"]):
        return vjp(*(arrays[n] for n in "qkv"), **learned, **plan.options)
    out, pull = vjp(*(arrays[n] for n in "qkv"), alibi=devices.to_host(learned["alibi"]), **plan.options)

    def pullback(dout):
        grads = pull(dout)
        return grads | {"alibi": devices.to_device(grads["alibi"])}

    return out, pullback


MECHANISM = Mechanism(
    name="dot_product",
    inputs=("q", "k", "v"),
    parameters=("alibi", "scale"),
    forward=dot_product,
    vjp=_vjp,
    reference=reference,
    sample=gaussian,
    of_vectors=itself,
    properties=PROPERTIES,
    trainable=Trainable(plan, attend=attend, step=cached(dot_product_step)),
    cite="Vaswani et al., Attention Is All You Need, NeurIPS 2017, arXiv:1706.03762",
    score=of_dot_product(EXPONENTIAL),
)
