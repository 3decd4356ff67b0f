r"""Kuramoto attention: tokens are phases on a torus, attend by their phase differences, and turn towards what they see.

    s_tu   = beta sum_c a_tc b_uc cos(theta_tc - theta_uc + omega_c (t - u)),    A = softmax_u s,
    theta' = theta + eta sum_u A_tu sin(theta_u - theta_t)

a head a block of coordinates c. As matrix products: ``features`` (queries, keys and values from angles, and the
derivatives of that), softmax attention (`_cores`), ``update`` (the step along the torus, with coupling over harmonics
and a delay, and the derivatives of that). ``phases`` has the maps that go around it in a network.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from ... import _labelled
from ..._runtime import elementary as el
from ..._runtime.checks import as_generator
from .._cores.reference import softmax
from .._inputs import check_upstream
from .._labels import like, plain, unused
from .._mechanism import Formula, Mechanism, Sample, Score
from .._scores import EXPONENTIAL
from . import run
from .call import check_call
from .claims import claims
from .gradients import backward
from .trainable import TRAINABLE


def kuramoto(
    theta: Any,
    *,
    memory: Any = None,
    heads: int = 1,
    gate_query: Any = None,
    gate_key: Any = None,
    beta: Any = 1.0,
    drift: Any = None,
    drift_values: bool = False,
    step: Any = 1.0,
    coupling: Any = None,
    update: str = "tangent",
    causal: bool = False,
    strict: bool = False,
    mask: Any = None,
    window: int | None = None,
    return_weights: bool = False,
) -> Any:
    r"""Attention between phases: each token turns towards the circular mean of what it attends. Angles in, angles out.

    Parameters
    ----------
    theta : ndarray of float, shape (..., Tq, d)
        Phases in radians, of any size; only their cosines and sines count. Leading axes are batch.
    memory : ndarray of float, shape (..., Tk, d), optional
        Other phases to attend, leading axes as in theta. By default tokens attend one another.
    heads : int
        Blocks of d / heads coordinates that attend on their own.
    gate_query, gate_key : ndarray of float, shape (d,) or (..., T, d), optional
        Metric a, b of the score, for all tokens or for each; 1 by default. Of any sign; see `phase_gate`.
    beta : float or ndarray of float, shape (heads,)
        Sharpness.
    drift : {"rotary"} or ndarray of float, shape (d,) or (d / heads,), optional
        Radians that a coordinate turns a token, in the score. "rotary" is `rotary_drift` of the width of a head.
    drift_values : bool
        Let the drift turn what is moved to, too (an ablation).
    step : float or ndarray of float, shape (d,)
        How far to go; 0 < step < 2 contracts towards the mean.
    coupling : ndarray of float or complex, shape (delays, harmonics, d) or the last axes of it, optional
        Kernel :math:`\kappa_{lk}` that multiplies step; 1 for l = 0, k = 1 by default. Its argument is a phase lag, of
        opposite sign (Sakaguchi), negative numbers repel, l = 1 couples to the successor of the attended token.
    update : {"tangent", "direction", "geodesic"}
        Ablations: "direction" drops the length of the mean, "geodesic" goes the angle to it.
    causal : bool
        Token t attends u <= t + Tk - Tq.
    strict : bool
        Only u < t + Tk - Tq. The token itself pulls by sin 0 = 0, so by default it is a place to attend to nothing.
    mask : ndarray of bool, broadcastable to (..., heads, Tq, Tk), optional
        True where a token may attend. In the delayed terms the successor must be allowed, too.
    window : int, optional
        Only tokens less than this many positions away.
    return_weights : bool
        Return the weights, too.

    Returns
    -------
    out : ndarray of float, shape (..., Tq, d)
        theta plus what it turned by; not wrapped. DataArray in, DataArray out; CUDA arrays likewise.
    weights : ndarray of float, shape (..., heads, Tq, Tk)
        If ``return_weights``.

    Raises
    ------
    ValueError
        For shapes that do not fit, heads that do not divide d, a delay or strict without causal.
    TypeError
        For a mask that is not boolean, complex angles, or arrays on two devices.

    Notes
    -----
    .. math::
        S_{tu} &= \beta_h \sum_{c \in h} a_{tc} b_{uc} \cos(\theta_{tc} - \theta_{uc} + \omega_c (t - u)), \\
        A &= \operatorname{softmax}_u S, \\
        \theta'_t &= \theta_t + \eta \sum_{l, k} \operatorname{Im}\Big(\kappa_{lk}
        \sum_u A^l_{tu} e^{i k (\theta_{u + l} - \theta_t)}\Big),

    where :math:`A^0 = A` and :math:`A^1` is A without its diagonal. A token without anything to attend stays. NaN and
    inf reach the tokens that may attend them. Cost: softmax attention at width 2 d / heads; one more product with the
    values for each further (l, k), and the scores once more for l = 1.

    References
    ----------
    J. Nunley, "Kuramoto Attention: Synchronizing Self-Attention on the Torus", arXiv:2606.11585, and "Attention as
    Frustrated Synchronization", arXiv:2606.18694. Only the abstracts were at hand: the equations here are our own
    derivation of what they fix.

    Examples
    --------
    >>> import numpy as np, primeattn as pa
    >>> pa.attention.kuramoto(np.array([[0.0], [1.0]]), step=0.5).round(3)
    array([[0.163],
           [0.837]])
    """
    labels, seen, (theta, memory) = theta, theta if memory is None else memory, (plain(theta), plain(memory))
    call = check_call(
        theta, memory=memory, heads=heads, gate_query=gate_query, gate_key=gate_key, beta=beta, drift=drift,
        drift_values=drift_values, step=step, coupling=coupling, update=update, causal=causal, strict=strict,
    )  # fmt: skip
    result = run.forward(call, causal=causal, strict=strict, mask=mask, window=window)
    out = like(labels, result.out.reshape(call.shapes["theta"]))
    if not return_weights:
        return out
    return out, _labelled_weights(labels, seen, run.weights(call, result))


def _vjp(
    theta, *, memory=None, heads=1, gate_query=None, gate_key=None, beta=1.0, drift=None, drift_values=False, step=1.0,
    coupling=None, update="tangent", causal=False, strict=False, mask=None, window=None,
) -> tuple[Any, Callable]:  # fmt: skip
    """Output and pullback: gradients of theta, beta, step, and of every other array that was given.

    The gradient g of a complex coupling is such that the loss changes by Re(conj(g) dkappa).
    """
    labels, (theta, memory) = theta, (plain(theta), plain(memory))
    call = check_call(
        theta, memory=memory, heads=heads, gate_query=gate_query, gate_key=gate_key, beta=beta, drift=drift,
        drift_values=drift_values, step=step, coupling=coupling, update=update, causal=causal, strict=strict,
    )  # fmt: skip
    result = run.forward(call, causal=causal, strict=strict, mask=mask, window=window)
    out = like(labels, result.out.reshape(call.shapes["theta"]))

    def pullback(dout) -> dict[str, Any]:
        grads = backward(call, result, check_upstream(dout, out, call.queries.theta))
        grads["theta"] = like(labels, grads["theta"])
        return grads

    return out, pullback


def _labelled_weights(labels, seen, table):
    """(..., head, token, key): the coordinates of the tokens, and of what they see, if that has any."""
    if not _labelled.is_labelled(labels):
        return table
    import xarray

    token, head = labels.dims[-2], unused("head", labels.dims, "attention")
    key = unused(f"key_{token}", labels.dims, "key")
    dims = (*labels.dims[:-2], head, token, key)
    coords = {name: c for name, c in labels.coords.items() if c.dims and labels.dims[-1] not in c.dims}
    if _labelled.is_labelled(seen) and seen.dims[-2] in seen.coords:
        coords[key] = (key, seen.coords[seen.dims[-2]].values)
    return xarray.DataArray(table, dims=dims, coords=coords)


def reference(
    theta, *, memory=None, heads=1, gate_query=None, gate_key=None, beta=1.0, drift=None, drift_values=False, step=1.0,
    coupling=None, update="tangent", causal=False, strict=False, mask=None, window=None, return_weights=False,
):  # fmt: skip
    """The equations in plain NumPy, with (..., heads, Tq, Tk, d / heads) tables; analytic in real arguments."""
    keys = theta if memory is None else memory
    queries, d = theta.shape[-2:]
    width, later = d // heads, keys.shape[-2] - queries
    omega: Any = 0.0 if drift is None else drift
    if isinstance(drift, str):
        omega = 10000.0 ** (-np.arange(width) / width)
    omega = np.tile(omega, heads) if np.shape(omega) == (width,) else omega

    def by_head(x):
        return np.swapaxes(x.reshape(*x.shape[:-1], heads, width), -2, -3)

    def differences(drifts):
        """keys minus queries, (..., heads, Tq, Tk, width)."""
        turn = [np.arange(x.shape[-2])[:, None] * omega if drifts else 0.0 for x in (theta, keys)]
        here = by_head(theta + turn[0] + (later * omega if drifts else 0.0))
        return by_head(keys + turn[1])[..., None, :, :] - here[..., :, None, :]

    gates = [
        by_head(np.broadcast_to(1.0 if g is None else g, x.shape)) for g, x in ((gate_query, theta), (gate_key, keys))
    ]
    scores = np.einsum("...tc,...uc,...tuc->...tu", *gates, np.cos(differences(drift is not None)))
    scores = scores * np.broadcast_to(beta, heads)[:, None, None]
    allowed: Any = np.broadcast_to(True if mask is None else mask, scores.shape)
    behind = np.arange(keys.shape[-2]) < np.arange(queries)[:, None] + later
    weights = softmax(scores, causal=causal, mask=allowed & behind if strict else allowed, window=window)
    moved = _increments(weights, differences(drift_values), coupling, update, allowed, behind)
    moved = np.swapaxes(moved, -2, -3).reshape(theta.shape) if isinstance(moved, np.ndarray) else moved
    out = theta + step * moved
    return (out, weights) if return_weights else out


def _increments(weights, difference, coupling, update, allowed, behind):
    """(..., heads, Tq, width)."""
    heads, width = difference.shape[-4], difference.shape[-1]

    def moments(k, weights, difference):
        return [np.einsum("...tu,...tuc->...tc", weights, f(k * difference)) for f in (np.cos, np.sin)]

    p, q = moments(1, weights, difference)
    if update == "geodesic":
        return 2 * np.arctan(q / (np.sqrt(p * p + q * q) + p)) if np.iscomplexobj(p) else np.arctan2(q, p)
    if update == "direction":
        return q / np.sqrt(p * p + q * q)
    if coupling is None:
        return q
    real, imag = coupling if isinstance(coupling, tuple) else (np.real(coupling), np.imag(coupling))
    kernel = [x.reshape((1,) * (3 - x.ndim) + x.shape) for x in map(np.asarray, (real, imag))]
    real, imag = (
        np.broadcast_to(x, (*x.shape[:2], heads * width)).reshape(*x.shape[:2], heads, 1, width) for x in kernel
    )
    total: Any = 0.0
    for delay in range(real.shape[0]):
        if delay:
            weights = np.where(behind & allowed & np.roll(allowed, -1, axis=-1), weights, 0)
            difference = np.roll(difference, -1, axis=-2)
        for k in range(1, real.shape[1] + 1):
            p, q = moments(k, weights, difference)
            total = total + real[delay, k - 1] * q + imag[delay, k - 1] * p
    return total


def sample(rng, *, batch=(2,), heads=2, tokens=5, width=4, dtype=np.float64) -> Sample:
    """Uniform phases, half as many as ``width`` a head, so that features have that width; gates of both signs."""
    rng = as_generator(rng)
    own = max(width // 2, 1)
    d = heads * own
    options = {
        "gate_query": rng.normal(1, 0.5, d),
        "gate_key": rng.normal(1, 0.5, d),
        "beta": rng.uniform(0.5, 1.5, heads),
        "drift": rng.normal(0, 0.5, own),
        "step": rng.uniform(0.3, 0.9, d),
    }
    theta = rng.uniform(-np.pi, np.pi, (*batch, tokens, d)).astype(dtype)
    return Sample((theta,), {"heads": heads, **{name: x.astype(dtype) for name, x in options.items()}})


def of_vectors(x) -> Sample:
    """Coordinates read as angles, with the sharpness that a model starts from."""
    return Sample((x,), {"beta": 2 * (2 / x.shape[-1]) ** 0.5})


#: phi is the phase of the query and psi that of the key, both with their drift.
SCORE = Score(
    EXPONENTIAL,
    "beta*a*b*cos(phi - psi)",
    {
        "a": "beta*b*cos(phi - psi)",
        "b": "beta*a*cos(phi - psi)",
        "phi": "-beta*a*b*sin(phi - psi)",
        "psi": "beta*a*b*sin(phi - psi)",
        "beta": "a*b*cos(phi - psi)",
    },
    sides=(("a", "b"), ("phi", "psi")),
    constants={"beta": "sharpness"},
    parts={"cos": Formula("cos(x)", ("x",), el.cos, {"x": ("-sin(x)", lambda x: -el.sin(x))})},
)

MECHANISM = Mechanism(
    name="kuramoto",
    inputs=("theta",),
    parameters=("memory", "gate_query", "gate_key", "beta", "drift", "step", "coupling"),
    forward=kuramoto,
    vjp=_vjp,
    reference=reference,
    sample=sample,
    of_vectors=of_vectors,
    properties=claims(sample),
    trainable=TRAINABLE,
    cite="J. Nunley, Kuramoto Attention, arXiv:2606.11585 (from the abstract; equations derived here)",
    score=SCORE,
)
