r"""Attention with squared scores, as pairs or, since a square is a dot product of features, as sums over keys.

    z_ij = scale <q_i, k_j>,   r_i = sum_j z_ij^2 + eps scale^2 |q_i|^2 sum_j |k_j|^2,   y_i = sum_j z_ij^2 v_j / r_i

over the keys j that band and mask leave to query i. With G = dL/dy and D_i = <G_i, y_i>,

    dL/dv_j  = sum_i z_ij^2 / r_i G_i,
    dL/dz_ij = 2 z_ij (<G_i, v_j> - D_i) / r_i,
    dL/dq_i  = scale sum_j dL/dz_ij k_j - 2 eps scale^2 D_i / r_i q_i sum_j |k_j|^2,
    dL/dk_j  = scale sum_i dL/dz_ij q_i - 2 eps scale^2 k_j sum_i D_i / r_i |q_i|^2.

scale cancels from y, unless it is 0. Pairs: `_cores.ratio`. Sums: `_cores.scan`, where the same gradients are read off
states that do not depend on the query. Under RoPE q and k are turned first and their gradients turned back.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from ._cache import Cache, step
from ._cores import forms
from ._cores import reference as plain
from ._cores.scan_stream import State, check_state
from ._inputs import EPS, check_arrays, check_call, check_eps, check_upstream
from ._labels import unwrap
from ._mechanism import Claim, DoesNotApply, Fails, Holds, Mechanism, Property, Sample
from ._rope import rope as rotate
from ._rope import turn_both
from ._samples import gaussian, generic, itself
from ._scores import of_dot_product, of_kind
from ._trainable import Place, Plan, Trainable, given, queries_keys_values, summed


def squared(
    q: Any,
    k: Any,
    v: Any,
    *,
    form: str = "auto",
    causal: bool = False,
    mask: Any = None,
    scale: float | None = None,
    window: int | None = None,
    eps: float = EPS,
    rope: float | None = None,
    return_weights: bool = False,
) -> Any:
    r"""Attention whose weights are squared scores: in linear time where that is faster.

    Parameters
    ----------
    q, k, v : ndarray of float, shapes (..., Tq, D), (..., Tk, D), (..., Tk, Dv)
        Queries, keys and values; heads in groups as in `dot_product`.
    form : {"auto", "quadratic", "linear"}
        Pairs of tokens, or sums over keys; the same function either way. "auto" takes what was faster where it was
        measured: sums from 1.4 D^2 + 1.7 D keys on if causal, from 0.6 of that on if not.
    causal : bool
        Query i attends keys j <= i + Tk - Tq.
    mask : ndarray of bool, broadcastable to (..., Tq, Tk), optional
        True where a query may attend a key. One that differs between queries goes the quadratic way.
    scale : float, optional
        Factor of the scores, 1 / sqrt(D) by default. It cancels: only 0 makes a difference.
    window : int, optional
        Only keys less than this many positions away, in time T times ``window``. It goes the quadratic way, which skips
        what is outside: a sum over the past from which the old is taken away again would keep its rounding errors.
    eps : float
        >= 0. Share of :math:`|q_i|^2 \sum_j |k_j|^2`, the largest that the sum of squares can be, in the denominator.
    rope : float, optional
        Turn q and k by rotary positions of this base first (usually 10000). See `rope`.
    return_weights : bool
        Return the weights, too.

    Returns
    -------
    out : ndarray of float, shape (..., Tq, Dv)
        float32 if all inputs are, else float64. DataArrays in, DataArray out; CUDA arrays likewise.
    weights : ndarray of float, shape (..., Tq, Tk)
        If ``return_weights``. Their rows sum to slightly less than 1: eps has its share.

    Raises
    ------
    ValueError
        For shapes that do not fit, a negative eps, another form, or form "linear" with a window or a mask that differs
        between queries.
    TypeError
        For a mask that is not boolean, or arrays on two devices.

    Notes
    -----
    .. math:: z_{ij} = \alpha\,q_i\cdot k_j, \qquad
              y_i = \frac{\sum_j z_{ij}^2 v_j}{\sum_j z_{ij}^2 + \epsilon\,\alpha^2 |q_i|^2 \sum_j |k_j|^2}, \qquad
              (q\cdot k)^2 = \sum_{ab} q_a q_b\,k_a k_b .

    The sign and length of a query do not matter, nor does a factor common to all keys; lengths are taken in units of
    powers of two, so that squares of very large or small numbers neither overflow nor vanish. A query without any key,
    one that is 0, and with eps = 0 one that is orthogonal to all keys, get zeros, with gradient 0: near such points the
    function has no derivative, and eps is what bounds its slope. NaN and inf reach those who may see them, in the form
    that they disturb at the speed of plain loops. The linear form sums in float64, whatever the inputs.

    References
    ----------
    Square kernel: Gros, "Reorganizing attention-space geometry with expressive attention", arXiv:2407.18601. Sums over
    keys: Katharopoulos et al., "Transformers are RNNs", arXiv:2006.16236; in blocks: Kacham et al., "PolySketchFormer",
    arXiv:2310.01655.

    Examples
    --------
    >>> import numpy as np, primeattn as pa
    >>> x = np.array([[1.0, 0.0], [1.0, 1.0], [0.0, -1.0]])
    >>> pa.attention.squared(x, x, x, causal=True).round(3)
    array([[1. , 0. ],
           [1. , 0.8],
           [0.5, 0. ]])
    >>> pa.attention.squared(x, x, x, causal=True, form="linear").round(3)
    array([[1. , 0. ],
           [1. , 0.8],
           [0.5, 0. ]])
    """
    (q, k, v), wrap = unwrap(q, k, v)
    call, done = _attend(q, k, v, form, causal, mask, scale, window, eps, rope)
    out = wrap.out(call.shaped(done.out, call.layout.queries, call.layout.depth))
    if not return_weights:
        return out
    return out, wrap.weights(call.shaped(done.weights(), call.layout.queries, call.layout.keys))


def _attend(q, k, v, form, causal, mask, scale, window, eps, rope):
    if rope is not None:
        q, k, v, _ = check_arrays(q, k, v)
        q, k = turn_both(q, k, rope)
    call = check_call(q, k, v, causal=causal, mask=mask, scale=scale, window=window, alibi=None)
    x, g, eps = call.problem, call.layout, check_eps(eps)
    by_sums = forms.check_form(form, x, g) and x.scale != 0
    if form == "auto":
        by_sums = by_sums and faster_by_sums(g.keys, g.width, g.after == 0)
    return call, (forms.Sums if by_sums else forms.Pairs)(x, g, call.heads, 2, eps)


def faster_by_sums(keys: int, width: int, causal: bool) -> bool:
    """Where sums were ahead in float32 on one core, widths 16, 32 and 64: 1.4 D^2, and 1.7 D for what is not a product.

    Without causal a query meets twice the keys, and sums are taken once.
    """
    return keys >= (1.4 * width**2 + 1.7 * width) * (1.0 if causal else 0.6)


def _vjp(
    q, k, v, *, form="auto", causal=False, mask=None, scale=None, window=None, eps=EPS, rope=None
) -> tuple[Any, Callable]:
    """Output and pullback: gradients of q, k, v. The scale cancels, eps being relative; eps itself is a constant."""
    (q, k, v), wrap = unwrap(q, k, v)
    call, done = _attend(q, k, v, form, causal, mask, scale, window, eps, rope)
    out = wrap.out(call.shaped(done.out, call.layout.queries, call.layout.depth))

    def pullback(dout) -> dict[str, Any]:
        gradients = done.backward(check_upstream(dout, out, call.problem.q))
        grads = {n: d.reshape(call.shapes[n]) for n, d in zip("qkv", gradients, strict=True)}
        if rope is not None:
            grads["q"], grads["k"] = turn_both(grads["q"], grads["k"], rope, inverse=True)
        return wrap.gradients(grads)

    return out, pullback


class SquaredState(State):
    """What causal `squared` attention remembers: sums over the keys so far, of a size that does not grow.

    Attributes
    ----------
    position : int
        Tokens seen in all; the position of the next one.
    nbytes : int
        8 (D (D + 1) Dv / 2 + D^2 + 2) for every key head, on the host; as much again is room for the next step.

    Examples
    --------
    >>> import numpy as np, primeattn as pa
    >>> state = pa.attention.SquaredState()
    >>> for x in np.ones((1000, 1, 4)):
    ...     y = pa.attention.squared_step(x, x, x, state)
    >>> state
    SquaredState(1000 tokens, 464 bytes)
    """

    degree = 2


def squared_step(
    q: Any,
    k: Any,
    v: Any,
    state: SquaredState | Cache,
    *,
    mask: Any = None,
    eps: float = EPS,
    rope: float | None = None,
) -> Any:
    """Causal `squared` attention of new tokens to all tokens so far, in constant time and memory for a token.

    Step by step it gives what ``squared(..., causal=True)`` gives for the whole sequence.

    Parameters
    ----------
    q : ndarray of float, shape (..., t, D)
        Queries of the next t tokens, usually 1.
    k, v : ndarray of float, shape (..., t, D) and (..., t, Dv)
        Their keys and values; heads in groups as in `dot_product`.
    state : SquaredState, or Cache
        Changed in place. A `Cache` holds keys and values themselves, for ``Cache(window)``, whose window the result
        has, or for masks; time is then that of the tokens kept.
    mask : ndarray of bool, broadcastable to (..., t, kept + t), optional
        With a `Cache` only.
    eps, rope
        As in `squared`; the same at every step.

    Returns
    -------
    ndarray of float, shape (..., t, Dv)

    Raises
    ------
    ValueError
        As `squared`, or if the arrays do not continue the state, which is then as it was, or for a mask without a
        `Cache`.
    TypeError
        For another state, or arrays on two devices.

    Examples
    --------
    >>> import numpy as np, primeattn as pa
    >>> x = np.array([[1.0, 0.0], [1.0, 1.0], [0.0, -1.0]])
    >>> state = pa.attention.SquaredState()
    >>> steps = [pa.attention.squared_step(x[i : i + 1], x[i : i + 1], x[i : i + 1], state) for i in range(3)]
    >>> bool(np.allclose(np.concatenate(steps), pa.attention.squared(x, x, x, causal=True)))
    True
    """
    if isinstance(state, Cache):
        eps = check_eps(eps)
        return step(lambda call: forms.Pairs(call.problem, call.layout, call.heads, 2, eps).out, q, k, v, state,
                    mask=mask, rope=rope, compact=True)  # fmt: skip
    check_state(state, SquaredState, mask)
    (q, k, v), wrap = unwrap(q, k, v)
    q, k, v, _ = check_arrays(q, k, v)
    eps = check_eps(eps)
    if rope is not None:
        q, k = (rotate(x, np.arange(state.position, state.position + np.shape(x)[-2]), rope) for x in (q, k))
    call = check_call(q, k, v, causal=True, mask=None, scale=None, window=None, alibi=None)
    out = state.step(call.problem, call.layout, call.lead, eps)
    return wrap.out(call.shaped(out, call.layout.queries, call.layout.depth))


def reference(
    q, k, v, *, form="auto", causal=False, mask=None, scale=None, window=None, eps=EPS, rope=None,
    return_weights=False,
):  # fmt: skip
    """The equations in plain NumPy, with the (..., Tq, Tk) table; analytic, so complex inputs work, too."""
    q, k, v = plain.joined(q, k, v, rope)
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    table = (scale * q @ np.swapaxes(k, -1, -2)) ** 2
    allowed = plain.allowed_keys(table.shape, causal=causal, mask=mask, window=window)
    norms = (allowed @ (k * k).sum(axis=-1)[..., None]) * (q * q).sum(axis=-1, keepdims=True)
    weights = plain.ratio(np.where(allowed, table, 0), eps * scale**2 * norms)
    return (weights @ v, weights) if return_weights else weights @ v


def _orthogonal() -> Sample:
    """A query orthogonal to both keys has no weight to give; the value of the other query is 1 everywhere."""
    q, k = np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([[1.0, 0.0], [2.0, 0.0]])
    return Sample((q, k, np.ones((2, 1))), {})


PROPERTIES: dict[Property, Claim] = {
    Property.ROW_STOCHASTIC: Fails("a row orthogonal to all keys is 0; eps takes a share of all", _orthogonal, 0.9),
    Property.BOUNDED: Fails("such a row gives 0, whatever the values", _orthogonal, 0.9),
    Property.SYMMETRIC: Holds("(q . k)^2 = (k . q)^2"),
    Property.PSD: Holds("a Gram matrix of D (D + 1) / 2 features, so its rank is no larger"),
    Property.SIGN_INVARIANT: Holds("squares"),
    Property.SCALE_INVARIANT: Holds("both sides of the fraction have |q|^2, eps included"),
    Property.KEY_SHIFT_INVARIANT: Fails("(q . (k + c))^2 is not (q . k)^2 plus what division removes", generic, 0.1),
    Property.PHASE_SHIFT_INVARIANT: DoesNotApply("inputs are vectors, not phases"),
    Property.PERMUTATION_EQUIVARIANT: Holds("sums over keys do not depend on their order"),
    Property.EXACT_LINEAR_FORM: Holds("(q . k)^2 = sum_ab q_a q_b k_a k_b"),
}


def plan(
    place: Place,
    *,
    key_heads: int | None = None,
    window: int | None = None,
    form: str = "auto",
    eps: float = EPS,
) -> Plan:
    """q, k, v."""
    options = given(causal=place.causal, window=window, form=form, eps=eps)
    return Plan(queries_keys_values(place, key_heads=key_heads), {}, place.columns, options)


MECHANISM = Mechanism(
    name="squared",
    inputs=("q", "k", "v"),
    parameters=(),
    forward=squared,
    vjp=_vjp,
    reference=reference,
    sample=gaussian,
    of_vectors=itself,
    properties=PROPERTIES,
    trainable=Trainable(plan, step=summed(squared_step, SquaredState)),
    cite="Square kernel of Gros, arXiv:2407.18601; linear form after Katharopoulos et al., ICML 2020, arXiv:2006.16236",
    score=of_dot_product(of_kind("z**2", "2*z", forms.Squared())),
)
