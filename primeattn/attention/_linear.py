r"""Linear attention: the kernel is a dot product of D positive features, so sums over keys serve all queries.

    phi(x) = elu(x) + 1 = x + 1 if x > 0, else exp x,      phi'(x) = 1 if x > 0, else exp x
    y_i = sum_j <phi(q_i), phi(k_j)> v_j / sum_j <phi(q_i), phi(k_j)>

over the keys j that band and mask leave to query i. Gradients of the features are those of the kernel <a, b> of degree
1 (`_cores.scan`; pair by pair `_cores.ratio`), and dL/dx = phi'(x) dL/dphi, entry by entry.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from .._runtime import devices
from .._runtime import elementary as el
from .._runtime.jit import kernel, nonnegative, scalar
from .._runtime.owners import Owner
from ._cache import Cache, step
from ._cores import forms
from ._cores import reference as plain
from ._cores.scan_stream import State, check_state
from ._inputs import check_arrays, check_call, check_upstream, flat
from ._labels import unwrap
from ._mechanism import Claim, DoesNotApply, Fails, Formula, Holds, Mechanism, Property, Score
from ._samples import gaussian, generic, itself
from ._scores import of_kind
from ._trainable import Place, Plan, Trainable, given, queries_keys_values, summed


@scalar
def feature(x):
    return x + type(x)(1) if x > 0 else el.exp(x)


@scalar
def dfeature(x):
    return type(x)(1) if x > 0 else el.exp(x)


@scalar
def features_row(i, x, out):
    out[i] = feature(x[i])


@kernel
def features_cpu(start, stop, x, out):
    for i in range(start, stop):
        features_row(nonnegative(i), x, out)


@scalar
def pull_features_row(i, x, d):
    """From the gradient of the features to that of x, in place."""
    d[i] *= dfeature(x[i])


@kernel
def pull_features_cpu(start, stop, x, d):
    for i in range(start, stop):
        pull_features_row(nonnegative(i), x, d)


FEATURES = Owner(features_row, features_cpu, "F1 F1")
PULL_FEATURES = Owner(pull_features_row, pull_features_cpu, "F1 F1")


def linear(
    q: Any,
    k: Any,
    v: Any,
    *,
    causal: bool = False,
    mask: Any = None,
    window: int | None = None,
    return_weights: bool = False,
) -> Any:
    r"""Attention by D positive features, in time linear in tokens: the baseline of all linear attention.

    Parameters
    ----------
    q, k, v : ndarray of float, shapes (..., Tq, D), (..., Tk, D), (..., Tk, Dv)
        Queries, keys and values; heads in groups as in `dot_product`.
    causal : bool
        Query i attends keys j <= i + Tk - Tq.
    mask : ndarray of bool, broadcastable to (..., Tq, Tk), optional
        True where a query may attend a key. One that differs between queries takes time Tq Tk.
    window : int, optional
        Only keys less than this many positions away, in time T times ``window``.
    return_weights : bool
        Return the weights, too.

    Returns
    -------
    out : ndarray of float, shape (..., Tq, Dv)
        float32 if all inputs are, else float64. DataArrays in, DataArray out; CUDA arrays likewise.
    weights : ndarray of float, shape (..., Tq, Tk)
        If ``return_weights``.

    Raises
    ------
    ValueError
        For shapes that do not fit, a window below 1.
    TypeError
        For a mask that is not boolean, or arrays on two devices.

    Notes
    -----
    .. math:: y_i = \frac{\sum_j \phi(q_i)\cdot\phi(k_j)\,v_j}{\sum_j \phi(q_i)\cdot\phi(k_j)}, \qquad
              \phi(x) = \mathrm{elu}(x) + 1 .

    All terms are positive, so nothing cancels and no eps is needed; the sums are held in float64. A query without any
    key gets zeros, and so does one whose features all underflow (entries below -87 in float32, -708 in float64).
    There is no scale: a factor of q changes its features.

    References
    ----------
    Katharopoulos et al., "Transformers are RNNs: Fast Autoregressive Transformers with Linear Attention",
    arXiv:2006.16236.

    Examples
    --------
    >>> import numpy as np, primeattn as pa
    >>> x = np.eye(3)
    >>> pa.attention.linear(x, x, x, causal=True).round(3)
    array([[1.   , 0.   , 0.   ],
           [0.455, 0.545, 0.   ],
           [0.312, 0.312, 0.375]])
    """
    (q, k, v), wrap = unwrap(q, k, v)
    call, _, done = _attend(q, k, v, causal, mask, window)
    out = wrap.out(call.shaped(done.out, call.layout.queries, call.layout.depth))
    if not return_weights:
        return out
    return out, wrap.weights(call.shaped(done.weights(), call.layout.queries, call.layout.keys))


def _attend(q, k, v, causal, mask, window):
    """The call on features, q and k, and what was computed."""
    q, k, v, _ = check_arrays(q, k, v)
    call = check_call(
        _features(q), _features(k), v, causal=causal, mask=mask, scale=1.0, window=window, alibi=None
    )  # fmt: skip
    x, g = call.problem, call.layout
    form = forms.Sums if forms.check_form("auto", x, g) else forms.Pairs
    return call, (q, k), form(x, g, call.heads, 1, 0.0)


def _features(x):
    out = devices.empty(tuple(x.shape), x.dtype, like=x)
    FEATURES(x.size, flat(x), out.reshape(out.size))
    return out


def _vjp(q, k, v, *, causal=False, mask=None, window=None) -> tuple[Any, Callable]:
    """Output and pullback: gradients of q, k, v."""
    (q, k, v), wrap = unwrap(q, k, v)
    call, inputs, done = _attend(q, k, v, causal, mask, window)
    out = wrap.out(call.shaped(done.out, call.layout.queries, call.layout.depth))

    def pullback(dout) -> dict[str, Any]:
        gradients = done.backward(check_upstream(dout, out, call.problem.q))
        for x, d in zip(inputs, gradients, strict=False):
            PULL_FEATURES(d.size, flat(x), d)
        return wrap.gradients({n: d.reshape(call.shapes[n]) for n, d in zip("qkv", gradients, strict=True)})

    return out, pullback


class LinearState(State):
    """What causal `linear` attention remembers: sums over the keys so far, of a size that does not grow.

    Attributes
    ----------
    position : int
        Tokens seen in all.
    nbytes : int
        8 (D Dv + D + 2) for every key head, on the host; as much again is room for the next step.

    Examples
    --------
    >>> import numpy as np, primeattn as pa
    >>> state = pa.attention.LinearState()
    >>> for x in np.ones((1000, 1, 4)):
    ...     y = pa.attention.linear_step(x, x, x, state)
    >>> state
    LinearState(1000 tokens, 176 bytes)
    """

    degree = 1


def linear_step(q: Any, k: Any, v: Any, state: LinearState | Cache, *, mask: Any = None) -> Any:
    """Causal `linear` attention of new tokens to all tokens so far, in constant time and memory for a token.

    Step by step it gives what ``linear(..., causal=True)`` gives for the whole sequence.

    Parameters
    ----------
    q : ndarray of float, shape (..., t, D)
        Queries of the next t tokens, usually 1.
    k, v : ndarray of float, shape (..., t, D) and (..., t, Dv)
        Their keys and values; heads in groups as in `dot_product`.
    state : LinearState, or Cache
        Changed in place. A `Cache` holds keys and values themselves, for ``Cache(window)``, whose window the result
        has, or for masks; time is then that of the tokens kept.
    mask : ndarray of bool, broadcastable to (..., t, kept + t), optional
        With a `Cache` only.

    Returns
    -------
    ndarray of float, shape (..., t, Dv)

    Raises
    ------
    ValueError
        As `linear`, or if the arrays do not continue the state, which is then as it was, or for a mask without a
        `Cache`.
    TypeError
        For another state, or arrays on two devices.

    Examples
    --------
    >>> import numpy as np, primeattn as pa
    >>> x = np.eye(3)
    >>> state = pa.attention.LinearState()
    >>> steps = [pa.attention.linear_step(x[i : i + 1], x[i : i + 1], x[i : i + 1], state) for i in range(3)]
    >>> bool(np.allclose(np.concatenate(steps), pa.attention.linear(x, x, x, causal=True)))
    True
    """
    (q, k, v), wrap = unwrap(q, k, v)
    if isinstance(state, Cache):
        q, k, v, _ = check_arrays(q, k, v)
        out = step(lambda call: forms.Pairs(call.problem, call.layout, call.heads, 1, 0.0).out, _features(q),
                   _features(k), v, state, mask=mask, scale=1.0)  # fmt: skip
        return wrap.out(out)
    check_state(state, LinearState, mask)
    q, k, v, _ = check_arrays(q, k, v)
    call = check_call(_features(q), _features(k), v, causal=True, mask=None, scale=1.0, window=None, alibi=None)
    out = state.step(call.problem, call.layout, call.lead, 0.0)
    return wrap.out(call.shaped(out, call.layout.queries, call.layout.depth))


def reference(q, k, v, *, causal=False, mask=None, window=None, return_weights=False):
    """The equations in plain NumPy, with the (..., Tq, Tk) table; analytic, so complex inputs work, too."""
    q, k, v = plain.joined(q, k, v)
    q, k = (np.where(x.real > 0, x + 1, np.exp(np.where(x.real > 0, 0, x))) for x in (q, k))
    table = q @ np.swapaxes(k, -1, -2)
    allowed = plain.allowed_keys(table.shape, causal=causal, mask=mask, window=window)
    weights = plain.ratio(np.where(allowed, table, 0))
    return (weights @ v, weights) if return_weights else weights @ v


PROPERTIES: dict[Property, Claim] = {
    Property.ROW_STOCHASTIC: Holds("features are positive, and each row is divided by its sum"),
    Property.BOUNDED: Holds("a row of weights is a convex combination"),
    Property.SYMMETRIC: Holds("one feature map for queries and keys"),
    Property.PSD: Holds("a Gram matrix of D features"),
    Property.SIGN_INVARIANT: Fails("elu + 1 is not even", generic, by=0.05),
    Property.SCALE_INVARIANT: Fails("elu + 1 is not homogeneous", generic, by=0.01),
    Property.KEY_SHIFT_INVARIANT: Fails("a shift changes features by more than a factor", generic, by=0.01),
    Property.PHASE_SHIFT_INVARIANT: DoesNotApply("inputs are vectors, not phases"),
    Property.PERMUTATION_EQUIVARIANT: Holds("sums over keys do not depend on their order"),
    Property.EXACT_LINEAR_FORM: Holds("D features, so the rank is at most D; they are not polynomials, though"),
}

SCORE = Score(
    of_kind("z", "1", forms.Product()),
    "phi(q)*phi(k)",
    {"q": "dphi(q)*phi(k)", "k": "phi(q)*dphi(k)"},
    sides=(("q", "k"),),
    parts={
        "phi": Formula(
            "Piecewise((x + 1, x > 0), (exp(x), True))",
            ("x",),
            feature,
            {"x": ("Piecewise((1, x > 0), (exp(x), True))", dfeature)},
        )
    },
)


def plan(place: Place, *, key_heads: int | None = None, window: int | None = None) -> Plan:
    """q, k, v, turned before their features: scores depend on both positions, not on their difference alone."""
    options = given(causal=place.causal, window=window)
    return Plan(queries_keys_values(place, key_heads=key_heads), {}, place.columns, options)


MECHANISM = Mechanism(
    name="linear",
    inputs=("q", "k", "v"),
    parameters=(),
    forward=linear,
    vjp=_vjp,
    reference=reference,
    sample=gaussian,
    of_vectors=itself,
    properties=PROPERTIES,
    trainable=Trainable(plan, step=summed(linear_step, LinearState)),
    cite="Katharopoulos et al., Transformers are RNNs, ICML 2020, arXiv:2006.16236",
    score=SCORE,
)
