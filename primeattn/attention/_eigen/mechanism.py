r"""Eigen attention: softmax attention whose keys and values live in r < D dimensions, with bases from calibration.

    s_ij = scale <B_q' q_i, B_k' k_j>,    p_ij = exp s_ij / sum_l exp s_il,    y_i = C sum_j p_ij C' v_j

for bases B_k, B_q (D, r) and C (Dv, r_v); B_q = B_k unless given; scale = 1 / sqrt(D) of the original D. Write
a = q B_q, b = k B_k, c = v C for what softmax attention gets, and H_i = C' G_i, G = dL/dy, for its upstream gradient.
Its backward gives da, db, dc (`_cores.softmax`), so dp_ij = <H_i, c_j> = <G_i, C C' v_j>, not <G_i, v_j>, and

    dL/dq = da B_q',   dL/dk = db B_k',   dL/dv = dc C',
    dL/dB_q = q' da,   dL/dB_k = k' db    (their sum if one basis serves both),
    dL/dC = v' dc + G' z,    z_i = sum_j p_ij c_j.

These are plain derivatives by the entries; `grassmann_gradient` takes the part that turns the subspace. Under rope keys
are lifted back to D dimensions before they are turned: s_ij = scale <R_i q_i, R_j B_q B_k' k_j>. Then with k^ = B_q b,
dL/db = dk^ B_q, and dL/dB_q = dk^' b.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..._runtime.checks import as_generator
from .._cores import reference as plain
from .._cores import run
from .._inputs import Call, check_call, check_upstream, flat, scale_gradient
from .._labels import unwrap
from .._mechanism import Claim, DoesNotApply, Fails, Holds, Mechanism, Property, Sample, Score
from .._rope import turn_both
from .._samples import gaussian
from .._scores import EXPONENTIAL, SCALE
from .bases import eigen_bases
from .project import Basis, basis_gradient, check_bases, down, up
from .trainable import TRAINABLE


def eigen(
    q: Any,
    k: Any,
    v: Any,
    *,
    basis_key: Any,
    basis_value: Any,
    basis_query: Any = None,
    causal: bool = False,
    mask: Any = None,
    scale: float | None = None,
    window: int | None = None,
    rope: float | None = None,
    return_weights: bool = False,
) -> Any:
    r"""Softmax attention with keys and values in low-rank bases.

    Parameters
    ----------
    q, k, v : ndarray of float, shapes (..., Tq, D), (..., Tk, D), (..., Tk, Dv)
        Queries, keys and values; heads in groups as in `dot_product`.
    basis_key : ndarray of float, shape (..., D, r)
        One basis a key head, broadcastable to the leading axes of k. See `eigen_bases`. Its columns need not be
        orthonormal.
    basis_value : ndarray of float, shape (..., Dv, rv)
        Values are projected by it, and outputs lifted back.
    basis_query : ndarray of float, shape (..., D, r), optional
        For the queries of a key head; basis_key by default.
    causal, mask, window, return_weights
        As in `dot_product`.
    scale : float, optional
        1 / sqrt(D) by default, D the width of q, whatever the rank.
    rope : float, optional
        As in `dot_product`. Keys are compressed as they come, lifted back to D dimensions and then turned, so a cache
        holds r numbers a key without a position; queries keep their width, and only memory is saved.

    Returns
    -------
    out : ndarray of float, shape (..., Tq, Dv)
        float32 if all arrays are, else float64. DataArrays in, DataArray out; CUDA arrays likewise.
    weights : ndarray of float, shape (..., Tq, Tk)
        If ``return_weights``.

    Raises
    ------
    ValueError
        For shapes that do not fit.
    TypeError
        For a mask that is not boolean, or arrays on two devices.

    Notes
    -----
    .. math:: s_{ij} = \alpha\, q_i^\top B_q B_k^\top k_j, \qquad
              y_i = C C^\top \sum_j \frac{e^{s_{ij}}}{\sum_l e^{s_{il}}} v_j

    With square orthogonal bases this is `dot_product`. How far it is from it otherwise is the tail of the spectra of
    the data, see `eigen_error_bound`: nothing in the method makes that tail small.

    NaN, inf, and queries without a key do what they do in `dot_product`.

    References
    ----------
    Saxena, Saha, Choudhary, Roy, "Eigen Attention", EMNLP 2024, arXiv:2408.05646.

    Examples
    --------
    >>> import numpy as np, primeattn as pa
    >>> x = np.array([[2.0, 0.0], [0.0, 0.1]])
    >>> plane, line = np.eye(2), np.eye(2)[:, :1]
    >>> pa.attention.eigen(x, x, x, basis_key=plane, basis_value=plane).round(3)
    array([[1.888, 0.006],
           [0.996, 0.05 ]])
    >>> pa.attention.eigen(x, x, x, basis_key=line, basis_value=line).round(3)
    array([[1.888, 0.   ],
           [1.   , 0.   ]])
    """
    (q, k, v), wrap = unwrap(q, k, v)
    ready = _prepare(
        q, k, v, basis_key, basis_value, basis_query, causal=causal, mask=mask, scale=scale, window=window, rope=rope
    )
    call = ready.call
    x, g = call.problem, call.layout
    z, lse = run.forward(x, g, call.heads)
    result = wrap.out(up(call.shaped(z, g.queries, g.depth), ready.basis_value))
    if not return_weights:
        return result
    return result, wrap.weights(call.shaped(run.weights(x, g, lse), g.queries, g.keys))


def _vjp(
    q, k, v, *, basis_key, basis_value, basis_query=None, causal=False, mask=None, scale=None, window=None, rope=None
) -> tuple[Any, Callable]:
    """Output and pullback: gradients of q, k, v and of the bases and the scale that were given."""
    (q, k, v), wrap = unwrap(q, k, v)
    ready = _prepare(
        q, k, v, basis_key, basis_value, basis_query, causal=causal, mask=mask, scale=scale, window=window, rope=rope
    )
    call, of_value = ready.call, ready.basis_value
    x, g = call.problem, call.layout
    z, lse = run.forward(x, g, call.heads)
    narrow = call.shaped(z, g.queries, g.depth)
    result = wrap.out(up(narrow, of_value))

    def pullback(dout) -> dict[str, Any]:
        upstream = check_upstream(dout, result, x.q).reshape((*call.lead, g.queries, of_value.width))
        dnarrow = down(upstream, of_value)
        dq, dk, dc, _ = run.backward(x, g, z, lse, flat(dnarrow), False)
        dc = dc.reshape(call.shapes["v"])
        grads = _pull_scores(ready, dq.reshape(call.shapes["q"]), dk.reshape(call.shapes["k"]), rope)
        grads["v"] = up(dc, of_value)
        if scale is not None:
            grads["scale"] = scale_gradient(x, dq, dk)
        grads["basis_value"] = basis_gradient([(ready.v, dc), (upstream, narrow)], of_value)
        return wrap.gradients(grads)

    return result, pullback


def _pull_scores(ready, dq, dk, rope) -> dict[str, Any]:
    """Gradients of q, k and their bases, from those of what softmax attention got for q and k."""
    q, k, of_key, of_query = ready.q, ready.k, ready.basis_key, ready.basis_query
    shared = of_query is None
    other = of_key if shared else of_query
    if rope is None:
        parts = {"q": [(q, dq)], "k": [(k, dk)]}
        grads = {"q": up(dq, other), "k": up(dk, of_key)}
    else:
        grads = {}
        grads["q"], lifted = turn_both(dq, dk, rope, inverse=True)
        db = down(lifted, other)
        parts = {"q": [(lifted, down(k, of_key))], "k": [(k, db)]}
        grads["k"] = up(db, of_key)
    if shared:
        return grads | {"basis_key": basis_gradient(parts["q"] + parts["k"], of_key)}
    return grads | {
        "basis_key": basis_gradient(parts["k"], of_key),
        "basis_query": basis_gradient(parts["q"], other),
    }


class Ready(NamedTuple):
    """What came, checked, and the call of softmax attention in the narrow bases."""

    q: Any
    k: Any
    v: Any
    basis_key: Basis
    basis_value: Basis
    basis_query: Basis | None
    call: Call


def _prepare(q, k, v, basis_key, basis_value, basis_query, *, causal, mask, scale, window, rope) -> Ready:
    q, k, v, of_key, of_value, of_query = check_bases(q, k, v, basis_key, basis_value, basis_query)
    scale = of_key.width**-0.5 if scale is None else scale
    if rope is None:
        a, b = down(q, of_query or of_key), down(k, of_key)
    else:
        a, b = turn_both(q, up(down(k, of_key), of_query or of_key), rope)
    call = check_call(a, b, down(v, of_value), causal=causal, mask=mask, scale=scale, window=window, alibi=None)
    return Ready(q, k, v, of_key, of_value, of_query, call)


def reference(
    q, k, v, *, basis_key, basis_value, basis_query=None, causal=False, mask=None, scale=None, window=None, rope=None,
    return_weights=False,
):  # fmt: skip
    """The equations in plain NumPy, with the (..., Tq, Tk) table; analytic, so complex inputs work, too."""
    of_query = basis_key if basis_query is None else basis_query
    k = k @ basis_key @ np.swapaxes(of_query, -1, -2)
    v = v @ basis_value @ np.swapaxes(basis_value, -1, -2)
    q, k, v = plain.joined(q, k, v, rope)
    scores = q @ np.swapaxes(k, -1, -2) * (q.shape[-1] ** -0.5 if scale is None else scale)
    weights = plain.softmax(scores, causal=causal, mask=mask, window=window)
    return (weights @ v, weights) if return_weights else weights @ v


def sample(rng, *, batch=(2,), heads=2, tokens=5, width=4, dtype=np.float64) -> Sample:
    """Unit Gaussian q, k, v; random orthonormal bases of half the width, one for keys and one for values a head."""
    rng = as_generator(rng)
    arrays = gaussian(rng, batch=batch, heads=heads, tokens=tokens, width=width, dtype=dtype).inputs
    rank = max(width // 2, 1)
    bases = np.linalg.qr(rng.standard_normal((2, heads, width, rank)))[0].astype(dtype)
    return Sample(arrays, {"basis_key": bases[0], "basis_value": bases[1]})


def of_vectors(x) -> Sample:
    """q = k = v = x, with the bases of half the width that suit x."""
    bases = eigen_bases(x, x, x, rank=max(x.shape[-1] // 2, 1))
    return Sample((x, x, x), {"basis_key": bases.key, "basis_value": bases.value})


def _generic() -> Sample:
    return sample(np.random.default_rng(0), batch=(), heads=1)


def _off_the_line() -> Sample:
    """One value, (1, 0), whose projection on the diagonal is (1/2, 1/2)."""
    x = np.array([[1.0, 0.0]])
    diagonal = np.full((2, 1), 0.5**0.5)
    return Sample((x, x, x), {"basis_key": diagonal, "basis_value": diagonal})


def _on_a_circle() -> Sample:
    """Twelve long vectors in the plane: the weights are close to the identity, of rank 12 > 6."""
    angle = 2 * np.pi * np.arange(12) / 12
    x = 6 * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    return Sample((x, x, x), {"basis_key": np.eye(2), "basis_value": np.eye(2)})


PROPERTIES: dict[Property, Claim] = {
    Property.ROW_STOCHASTIC: Holds("exp is positive, and each row is divided by its sum"),
    Property.BOUNDED: Fails("a projected value may leave the box of the values", _off_the_line, by=0.4),
    Property.SYMMETRIC: Holds("<B' q, B' k> = <B' k, B' q>; another basis for queries ends it"),
    Property.PSD: Holds("B B' is positive semidefinite, and so is the exponential (Schur)"),
    Property.SIGN_INVARIANT: Fails("exp is not even", _generic, by=0.1),
    Property.SCALE_INVARIANT: Fails("longer queries have sharper weights", _generic, by=0.1),
    Property.KEY_SHIFT_INVARIANT: Holds("it adds <B' q_i, B' c> to row i of the scores, which the division removes"),
    Property.PHASE_SHIFT_INVARIANT: DoesNotApply("inputs are vectors, not phases"),
    Property.PERMUTATION_EQUIVARIANT: Holds("sums over keys do not depend on their order"),
    Property.EXACT_LINEAR_FORM: Fails("exp is no polynomial", _on_a_circle, by=0.1),
}

#: Of projected queries and keys: a = B' q and b = B' k.
SCORE = Score(EXPONENTIAL, "scale*a*b", {"a": "scale*b", "b": "scale*a"}, sides=(("a", "b"),), constants=SCALE)

MECHANISM = Mechanism(
    name="eigen",
    inputs=("q", "k", "v"),
    parameters=("basis_key", "basis_value", "basis_query", "scale"),
    forward=eigen,
    vjp=_vjp,
    reference=reference,
    sample=sample,
    of_vectors=of_vectors,
    properties=PROPERTIES,
    trainable=TRAINABLE,
    cite="Saxena, Saha, Choudhary, Roy, Eigen Attention, EMNLP 2024, arXiv:2408.05646",
    score=SCORE,
)
