r"""Expressive attention: weights that are large for parallel and antiparallel, small for orthogonal queries and keys.

    z_ij = scale <q_i, k_j>,    w_ij = f(z_ij),    f(z) = z^2 / (1 + z^2),    f'(z) = 2 z / (1 + z^2)^2
    r_i = sum_l w_il + eps,     y_i = sum_j w_ij v_j / r_i

over the keys j that band (causal, window) and mask leave to query i. With G = dL/dy and D_i = <G_i, y_i>,

    dL/dv_j = sum_i w_ij G_i / r_i,    dL/dz_ij = f'(z_ij) (<G_i, v_j> - D_i) / r_i,
    dL/dq_i = scale sum_j dL/dz_ij k_j,    dL/dk_j = scale sum_i dL/dz_ij q_i.

Under RoPE q and k are turned by orthogonal matrices first, so their gradients are turned back.

Loops: `_cores.ratio` (rows: specification, CUDA), `_cores.ratio_tiles` (CPU).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .._runtime import devices
from .._runtime.elementary.machine import by_type
from .._runtime.jit import scalar
from ._cache import Cache, step
from ._cores import ratio_run
from ._cores import reference as plain
from ._cores.ratio import register
from ._inputs import EPS, Call, check_call, check_eps, check_upstream, scale_gradient
from ._labels import unwrap
from ._mechanism import Claim, DoesNotApply, Fails, Holds, Mechanism, Property, Sample
from ._rope import turn_both
from ._samples import gaussian, generic, itself
from ._scores import of_dot_product, of_kind
from ._trainable import Place, Plan, Trainable, cached, given, queries_keys_values


class Expressive(NamedTuple):
    """The mechanism of `ratio.weight`; it has no numbers of its own."""


def _far32(z):
    return np.float32(2**60)


def _far64(z):
    return 2.0**500


#: From this |z| on the weight is 1 and its derivative 0 to the last bit, and z^2 is still finite.
far = by_type(_far32, _far64)


@scalar
def _within(z):
    """z, held within `far`; NaN stays."""
    limit = far(z)
    return limit if z > limit else (-limit if z < -limit else z)


@scalar
def expressive_weight(params, z):
    one, z = type(z)(1), _within(z)
    return z * z * (one / (one + z * z))


@scalar
def expressive_dweight(params, z):
    one, z = type(z)(1), _within(z)
    rest = one / (one + z * z)
    return (z + z) * rest * rest


register(Expressive, expressive_weight, expressive_dweight)


def expressive(
    q: Any,
    k: Any,
    v: Any,
    *,
    causal: bool = False,
    mask: Any = None,
    scale: float | None = None,
    window: int | None = None,
    eps: float = EPS,
    rope: float | None = None,
    return_weights: bool = False,
) -> Any:
    r"""Expressive attention: weights z² / (1 + z²) of the scores, divided by their sum.

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
        Factor of the scores, 1 / sqrt(D) by default. It matters: large scores make all weights equal.
    window : int, optional
        Only keys less than this many positions away from i + Tk - Tq: with ``causal``, the last ``window`` keys.
    eps : float
        Added to the sum of the weights; 0 or more. A row sums to 1 - eps / (sum + eps), and its derivatives by the
        scores stay below 1 / sqrt(eps).
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
        For shapes that do not fit, a width of 0, a window below 1, an eps below 0.
    TypeError
        For a mask that is not boolean, or arrays on two devices.

    Notes
    -----
    .. math:: z_{ij} = \alpha\,q_i\cdot k_j, \qquad w_{ij} = \frac{z_{ij}^2}{1 + z_{ij}^2}, \qquad
              y_i = \frac{\sum_j w_{ij} v_j}{\sum_l w_{il} + \varepsilon}

    A query that is orthogonal to all its keys, or has none, gets zeros. With ``eps=0``, the published form, the first
    is 0/0; it is zeros here, too, with gradients of 0. Scores of any size are safe: the weight of an infinite one is 1.
    A key that a query may not attend has no influence on it, whatever it holds: NaN and inf stay in the rows that may
    see them. Memory beyond inputs and outputs is a few tiles per thread. Results do not depend on the number of
    threads.

    References
    ----------
    Gros, "Reorganizing attention-space geometry with expressive attention", arXiv:2407.18601. That z carries
    1 / sqrt(D) is a choice of ours, not checked against the paper; see the theory page.

    Examples
    --------
    >>> import numpy as np, primeattn as pa
    >>> q, k, v = np.array([[1.0, 0.0]]), np.array([[2.0, 0.0], [-2.0, 0.0], [0.0, 9.0]]), np.eye(3)
    >>> pa.attention.expressive(q, k, v).round(3) + 0.0
    array([[0.5, 0.5, 0. ]])
    """
    (q, k, v), wrap = unwrap(q, k, v)
    if rope is not None:
        q, k = turn_both(q, k, rope)
    call = check_call(q, k, v, causal=causal, mask=mask, scale=scale, window=window, alibi=None)
    out, total = _forward(call, check_eps(eps))
    g = call.layout
    result = wrap.out(call.shaped(out, g.queries, g.depth))
    if not return_weights:
        return result
    table = ratio_run.weights(Expressive(), call.problem, g, total)
    return result, wrap.weights(call.shaped(table, g.queries, g.keys))


def _forward(call: Call, eps: float):
    """y and r, flat."""
    x = call.problem
    return ratio_run.forward(Expressive(), x, call.layout, call.heads, ratio_run.constant_eps(eps, x))


def _vjp(q, k, v, *, causal=False, mask=None, scale=None, window=None, eps=None, rope=None) -> tuple[Any, Callable]:
    """Output and pullback: gradients of q, k, v, and of scale and eps if they were given."""
    (q, k, v), wrap = unwrap(q, k, v)
    if rope is not None:
        q, k = turn_both(q, k, rope)
    call = check_call(q, k, v, causal=causal, mask=mask, scale=scale, window=window, alibi=None)
    x, g = call.problem, call.layout
    out, total = _forward(call, check_eps(EPS if eps is None else eps))
    result = wrap.out(call.shaped(out, g.queries, g.depth))

    def pullback(dout) -> dict[str, Any]:
        upstream = check_upstream(dout, result, x.q)
        *gradients, deps = ratio_run.backward(Expressive(), x, g, out, total, upstream)
        grads = {n: d.reshape(call.shapes[n]) for n, d in zip("qkv", gradients, strict=True)}
        if scale is not None:
            grads["scale"] = scale_gradient(x, *gradients[:2])
        if eps is not None:
            grads["eps"] = devices.to_host(deps).sum(dtype=np.float64).astype(deps.dtype)
        if rope is not None:
            grads["q"], grads["k"] = turn_both(grads["q"], grads["k"], rope, inverse=True)
        return wrap.gradients(grads)

    return result, pullback


def expressive_step(
    q: Any,
    k: Any,
    v: Any,
    cache: Cache,
    *,
    mask: Any = None,
    scale: float | None = None,
    eps: float = EPS,
    rope: float | None = None,
) -> Any:
    """Causal `expressive` attention of new tokens to all tokens so far; their keys and values join the cache.

    Step by step it gives what ``expressive(..., causal=True, window=cache.window)`` gives for the whole sequence.

    Parameters
    ----------
    q : ndarray of float, shape (..., t, D)
        Queries of the next t tokens, usually 1.
    k, v : ndarray of float, shape (..., t, D) and (..., t, Dv)
        Their keys and values; heads as in `expressive`.
    cache : Cache
        Changed in place.
    mask : ndarray of bool, broadcastable to (..., t, kept + t), optional
    scale, eps, rope
        As in `expressive`; the same at every step.

    Returns
    -------
    ndarray of float, shape (..., t, Dv)

    Raises
    ------
    ValueError
        As `expressive`, or if the arrays do not continue the cache. The cache is then as it was.
    TypeError
        If the arrays are not where the cache is, on CUDA or on the host.

    Examples
    --------
    >>> import numpy as np, primeattn as pa
    >>> x, cache = np.eye(3) + 1, pa.attention.Cache()
    >>> steps = [pa.attention.expressive_step(*[x[i : i + 1]] * 3, cache) for i in range(3)]
    >>> bool(np.allclose(np.concatenate(steps), pa.attention.expressive(x, x, x, causal=True)))
    True
    """
    eps = check_eps(eps)
    return step(lambda call: _forward(call, eps)[0], q, k, v, cache, mask=mask, scale=scale, rope=rope)


def reference(q, k, v, *, causal=False, mask=None, scale=None, window=None, eps=EPS, rope=None, return_weights=False):
    """The equations in plain NumPy, with the (..., Tq, Tk) table; analytic, so complex inputs work, too."""
    q, k, v = plain.joined(q, k, v, rope)
    square = (q @ np.swapaxes(k, -1, -2) * (q.shape[-1] ** -0.5 if scale is None else scale)) ** 2
    allowed = plain.allowed_keys(square.shape, causal=causal, mask=mask, window=window)
    weights = plain.ratio(np.where(allowed, square / (1 + square), 0), eps)
    out = weights @ v
    return (out, weights) if return_weights else out


def _orthogonal() -> Sample:
    """One query, orthogonal to both keys; values of 1."""
    return Sample((np.array([[1.0, 0]]), np.array([[0, 1.0], [0, 2]]), np.ones((2, 1))), {})


def _two_points() -> Sample:
    """1 and 3 on the line: the determinant of their kernel is 81 (1 / 164 - 1 / 100) < 0."""
    x = np.array([[1.0], [3.0]])
    return Sample((x, x, x), {"scale": 1.0})


def _on_half_a_circle() -> Sample:
    """Twelve vectors in the plane, none parallel to another: a kernel of rank 12 > 6."""
    angle = np.pi * np.arange(12) / 12
    x = 3 * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    return Sample((x, x, x), {})


PROPERTIES: dict[Property, Claim] = {
    Property.ROW_STOCHASTIC: Fails(
        "a row sums to 1 - eps / (sum + eps), and to 0 if the query is orthogonal to all keys", _orthogonal, by=0.9
    ),
    Property.BOUNDED: Fails("the row of a query that is orthogonal to all keys is 0", _orthogonal, by=0.9),
    Property.SYMMETRIC: Holds("z is symmetric in q and k"),
    Property.PSD: Fails(
        "the determinant of two points x, y on a line is x^4 y^4 (1 / ((1 + x^4)(1 + y^4)) - 1 / (1 + x^2 y^2)^2) < 0",
        _two_points,
        by=0.1,
    ),
    Property.SIGN_INVARIANT: Holds("f is even"),
    Property.SCALE_INVARIANT: Fails("longer queries have flatter weights, uniform in the limit", generic, by=0.1),
    Property.KEY_SHIFT_INVARIANT: Fails("z^2 is not changed by a constant factor of the row", generic, by=0.1),
    Property.PHASE_SHIFT_INVARIANT: DoesNotApply("inputs are vectors, not phases"),
    Property.PERMUTATION_EQUIVARIANT: Holds("sums over keys do not depend on their order"),
    Property.EXACT_LINEAR_FORM: Fails("f is no polynomial", _on_half_a_circle, by=0.01),
}


def plan(
    place: Place,
    *,
    key_heads: int | None = None,
    window: int | None = None,
    scale: float | None = None,
    eps: float = EPS,
) -> Plan:
    """q, k, v."""
    options = given(causal=place.causal, window=window, scale=scale, eps=eps)
    return Plan(queries_keys_values(place, key_heads=key_heads), {}, place.columns, options)


MECHANISM = Mechanism(
    name="expressive",
    inputs=("q", "k", "v"),
    parameters=("scale", "eps"),
    forward=expressive,
    vjp=_vjp,
    reference=reference,
    sample=gaussian,
    of_vectors=itself,
    properties=PROPERTIES,
    trainable=Trainable(plan, step=cached(expressive_step)),
    cite="Gros, Reorganizing attention-space geometry with expressive attention, 2024, arXiv:2407.18601",
    score=of_dot_product(of_kind("z**2 / (1 + z**2)", "2*z / (1 + z**2)**2", Expressive())),
)
