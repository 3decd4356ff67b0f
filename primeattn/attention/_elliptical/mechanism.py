r"""Elliptical attention: softmax attention whose scores weigh the coordinates by a relevance m, M = diag m.

    dot       s_ij = scale sum_c m_c q_ic k_jc
    distance  s_ij = -(scale / 2) sum_c m_c (q_ic - k_jc)^2

    p_ij = exp s_ij / sum_l exp s_il,    y_i = sum_j p_ij v_j

m is one vector a head, or one a query, m_i (the causal form). With Z_ij = dL/ds_ij as in softmax attention,

    dot       dL/dq_i = scale m sum_j Z_ij k_j,                 dL/dk_j = scale m sum_i Z_ij q_i,
              dL/dm = scale sum_ij Z_ij q_i k_j
    distance  dL/dq_i = -scale m sum_j Z_ij (q_i - k_j),        dL/dk_j = scale m sum_i Z_ij (q_i - k_j),
              dL/dm = -(scale / 2) sum_ij Z_ij (q_i - k_j)^2

by entry; with one m a query the sums over i go. Loops and CUDA kernels are those of `_cores.softmax`, which know one m
a head; with one a query both are the usual scores of changed queries and keys (`metric`).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..._runtime import devices
from ..._runtime.checks import as_generator, common_floating
from .._cores import reference as plain
from .._cores import run
from .._cores.layout import Problem
from .._inputs import Call, _is_plain, check_arrays, check_call, check_upstream
from .._labels import unwrap
from .._mechanism import Claim, DoesNotApply, Fails, Holds, Mechanism, Property, Sample, Score
from .._rope import turn_both
from .._samples import gaussian
from .._scores import EXPONENTIAL, SCALE
from .metric import (
    Metric,
    changed_key,
    changed_query,
    check_pairs,
    check_relevance,
    of_heads,
    plain_metric,
    pull_changed,
    rows_of_heads,
    unlabelled,
)
from .relevance import layer_relevance, random_relevance
from .trainable import TRAINABLE


def elliptical(
    q: Any,
    k: Any,
    v: Any,
    *,
    relevance: Any,
    metric: str = "dot",
    causal: bool = False,
    mask: Any = None,
    scale: float | None = None,
    window: int | None = None,
    rope: float | None = None,
    return_weights: bool = False,
) -> Any:
    r"""Softmax attention in a diagonal metric: coordinates count as much as their relevance says.

    Parameters
    ----------
    q, k, v : ndarray of float, shapes (..., Tq, D), (..., Tk, D), (..., Tk, Dv)
        Queries, keys and values; heads in groups as in `dot_product`.
    relevance : ndarray of float, shape (..., D) or (..., Tq, D)
        >= 0. With fewer axes than q one vector a head, broadcastable to (..., D); with as many axes as q one vector a
        query, broadcastable to (..., Tq, D). See `layer_relevance`. A negative entry is taken as it is; the kernel is
        then no longer positive semidefinite.
    metric : {"dot", "distance"}
        Scores <q, M k> (what the authors compute), or -(q - k)' M (q - k) / 2 (what Mahalanobis means).
    causal, mask, scale, window, return_weights
        As in `dot_product`; the scale is 1 / sqrt(D) by default for both metrics.
    rope : float, optional
        As in `dot_product`, but only if the relevance is equal within every pair (c, c + D / 2): another metric does
        not commute with the turns, and scores would depend on the absolute position.

    Returns
    -------
    out : ndarray of float, shape (..., Tq, Dv)
        float32 if all arrays are, else float64. DataArrays in, DataArray out; CUDA arrays likewise.
    weights : ndarray of float, shape (..., Tq, Tk)
        If ``return_weights``.

    Raises
    ------
    ValueError
        For shapes that do not fit, another metric, or rope with a relevance that differs within a pair.
    TypeError
        For a mask that is not boolean, or arrays on two devices.

    Notes
    -----
    .. math:: s_{ij} = \alpha \sum_c m_c q_{ic} k_{jc} \qquad\text{or}\qquad
              s_{ij} = -\tfrac{\alpha}{2} \sum_c m_c (q_{ic} - k_{jc})^2 .

    Weights of the second are those of the first with :math:`-\tfrac{\alpha}{2} k_j' M k_j` added to column j: the two
    agree if all keys are equally long in the metric. The distance is not taken entry by entry, so an offset that q and
    k share costs digits: scores are off by about eps scale \|offset\|^2. Subtract it first; nothing else changes.

    A relevance of at most 1 (``normalize="max"``) makes scores smaller, like a higher temperature: compare with
    `dot_product` at equal entropy, and with `random_relevance`, before crediting the metric.

    NaN, inf, and queries without a key do what they do in `dot_product`.

    References
    ----------
    Nielsen, Abdullaev, Teo, Nguyen, "Elliptical Attention", NeurIPS 2024, arXiv:2406.13770.

    Examples
    --------
    >>> import numpy as np, primeattn as pa
    >>> q, k, v = np.array([[2.0, 2.0]]), np.eye(2), np.eye(2)
    >>> pa.attention.elliptical(q, k, v, relevance=[1.0, 1.0]).round(3)
    array([[0.5, 0.5]])
    >>> pa.attention.elliptical(q, k, v, relevance=[1.0, 0.0]).round(3)
    array([[0.804, 0.196]])
    """
    (q, k, v), wrap = unwrap(q, k, v)
    ready = _prepare(
        q, k, v, unlabelled(relevance, wrap.q), metric=metric, causal=causal, mask=mask, scale=scale, window=window,
        rope=rope,
    )  # fmt: skip
    call = ready.call
    x, g = call.problem, call.layout
    out, lse = run.forward(x, g, call.heads)
    result = wrap.out(call.shaped(out, g.queries, g.depth))
    if not return_weights:
        return result
    return result, wrap.weights(call.shaped(run.weights(x, g, lse), g.queries, g.keys))


def _vjp(
    q, k, v, *, relevance, metric="dot", causal=False, mask=None, scale=None, window=None, rope=None
) -> tuple[Any, Callable]:
    """Output and pullback: gradients of q, k, v and of the relevance, and of scale if it was given."""
    (q, k, v), wrap = unwrap(q, k, v)
    ready = _prepare(
        q, k, v, unlabelled(relevance, wrap.q), metric=metric, causal=causal, mask=mask, scale=scale, window=window,
        rope=rope,
    )  # fmt: skip
    call = ready.call
    x, g = call.problem, call.layout
    out, lse = run.forward(x, g, call.heads)
    result = wrap.out(call.shaped(out, g.queries, g.depth))

    def pullback(dout) -> dict[str, Any]:
        upstream = check_upstream(dout, result, x.q)
        dq, dk, dv, dmetric = run.backward(x, g, out, lse, upstream, False)
        if ready.metric.inside:
            dq, dk, dm = dq.reshape(call.shapes["q"]), dk.reshape(call.shapes["k"]), of_heads(dmetric, ready.metric)
        else:
            dq, dk, dm = pull_changed(ready.q, ready.k, ready.metric, dq, dk)
        grads = {"q": dq, "k": dk, "v": dv.reshape(call.shapes["v"]), "relevance": dm}
        if scale is not None:
            grads["scale"] = scale_gradient(x, ready.metric, dm)
        if rope is not None:
            grads["q"], grads["k"] = turn_both(grads["q"], grads["k"], rope, inverse=True)
        return wrap.gradients(grads)

    return result, pullback


class Ready(NamedTuple):
    """Queries and keys before the metric, but after rope, and the call of softmax attention."""

    q: Any
    k: Any
    metric: Metric
    call: Call


def _prepare(q, k, v, relevance, *, metric, causal, mask, scale, window, rope) -> Ready:
    if rope is None and isinstance(metric, str) and _is_plain(q, k, v, relevance):
        chosen = plain_metric(relevance, q, k, v, metric)
    else:
        q, k, v, m = common_floating({}, q=q, k=k, v=v, relevance=relevance)
        q, k, v, _ = check_arrays(q, k, v)
        chosen = check_relevance(m, q, metric)
        if rope is not None:
            check_pairs(m)
            q, k = turn_both(q, k, rope)
    options = {"causal": causal, "mask": mask, "scale": chosen.width**-0.5 if scale is None else scale}
    if not chosen.inside:
        query, key = changed_query(q, chosen), changed_key(k, chosen)
        return Ready(q, k, chosen, check_call(query, key, v, **options, window=window, alibi=None))
    metric = chosen.kind, rows_of_heads(chosen)
    return Ready(q, k, chosen, check_call(q, k, v, **options, window=window, alibi=None, metric=metric))


def scale_gradient(x: Problem, metric: Metric, dm):
    """dL/dscale: a call depends on scale m alone, so scale dL/dscale = <m, dL/dm>. NaN at a scale of 0."""
    if x.scale == 0:
        return np.asarray(np.nan, x.q.dtype)
    m, d = (devices.to_host(a).reshape(-1).astype(np.float64) for a in (metric.m, dm))
    return np.asarray((m * d).sum() / float(x.scale), x.q.dtype)


def reference(
    q, k, v, *, relevance, metric="dot", causal=False, mask=None, scale=None, window=None, rope=None,
    return_weights=False,
):  # fmt: skip
    """The equations in plain NumPy, with (..., Tq, Tk, D) tables; analytic, so complex inputs work, too."""
    m = np.asarray(relevance)
    m = m[..., None, :] if m.ndim < q.ndim else m
    q, k, v = plain.joined(q, k, v, rope)
    a, b, m = q[..., :, None, :], k[..., None, :, :], np.broadcast_to(m, q.shape)[..., None, :]
    scores = (m * a * b).sum(axis=-1) if metric == "dot" else (m * (a - b) ** 2).sum(axis=-1) / -2
    scores = scores * (q.shape[-1] ** -0.5 if scale is None else scale)
    weights = plain.softmax(scores, causal=causal, mask=mask, window=window)
    return (weights @ v, weights) if return_weights else weights @ v


def sample(rng, *, batch=(2,), heads=2, tokens=5, width=4, dtype=np.float64) -> Sample:
    """Unit Gaussian q, k, v; a random relevance a head, equal within pairs, so that rope goes with it."""
    rng = as_generator(rng)
    arrays = gaussian(rng, batch=batch, heads=heads, tokens=tokens, width=width, dtype=dtype).inputs
    half = random_relevance((heads, (width + 1) // 2), rng, low=0.3, dtype=dtype)
    return Sample(arrays, {"relevance": np.concatenate([half, half[:, : width // 2]], axis=-1)})


def of_vectors(x) -> Sample:
    """q = k = v = x; the relevance is that of a layer before that had attended all tokens alike."""
    before = np.broadcast_to(x.mean(axis=-2, keepdims=True), x.shape)
    return Sample((x, x, x), {"relevance": layer_relevance(x, before)})


def _generic() -> Sample:
    return sample(np.random.default_rng(0), batch=(), heads=1)


def _on_a_circle() -> Sample:
    """Twelve long vectors in the plane: the weights are close to the identity, of rank 12 > 6."""
    angle = 2 * np.pi * np.arange(12) / 12
    x = 6 * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    return Sample((x, x, x), {"relevance": np.ones(2)})


PROPERTIES: dict[Property, Claim] = {
    Property.ROW_STOCHASTIC: Holds("exp is positive, and each row is divided by its sum"),
    Property.BOUNDED: Holds("a row of weights is a convex combination"),
    Property.SYMMETRIC: Holds("<q, M k> = <k, M q> for one M; with one M a query there is no kernel"),
    Property.PSD: Holds("<q, M k> is positive semidefinite for m >= 0, and so is its exponential (Schur)"),
    Property.SIGN_INVARIANT: Fails("exp is not even", _generic, by=0.1),
    Property.SCALE_INVARIANT: Fails("longer queries have sharper weights", _generic, by=0.1),
    Property.KEY_SHIFT_INVARIANT: Holds("metric 'dot': it adds <q_i, M c> to row i; metric 'distance' has it not"),
    Property.PHASE_SHIFT_INVARIANT: DoesNotApply("inputs are vectors, not phases"),
    Property.PERMUTATION_EQUIVARIANT: Holds("sums over keys do not depend on their order, for one M a head"),
    Property.EXACT_LINEAR_FORM: Fails("exp is no polynomial", _on_a_circle, by=0.1),
}

SCORE = Score(
    EXPONENTIAL,
    "scale*m*q*k",
    {"q": "scale*m*k", "k": "scale*m*q", "m": "scale*q*k"},
    sides=(("q", "k"),),
    constants=SCALE | {"m": "the relevance of the coordinate"},
)

MECHANISM = Mechanism(
    name="elliptical",
    inputs=("q", "k", "v"),
    parameters=("relevance", "scale"),
    forward=elliptical,
    vjp=_vjp,
    reference=reference,
    sample=sample,
    of_vectors=of_vectors,
    properties=PROPERTIES,
    trainable=TRAINABLE,
    cite="Nielsen, Abdullaev, Teo, Nguyen, Elliptical Attention, NeurIPS 2024, arXiv:2406.13770",
    score=SCORE,
)
