r"""What goes around Kuramoto attention in a network of phases: gates, feed-forward, read-out.

With x = [cos theta; sin theta] of every token, and a gradient dx = [Xc; Xs] of it,

    dtheta = Xs cos theta - Xc sin theta.                                                                     (1)

gate:          u = W x + b,  a = log(1 + e^u);      du = a-bar sigmoid(u),  dW = sum du x',  db = sum du,  dx = W' du.
feed-forward:  u = W1 x, v = W2 x, h = u s(u) v (s the sigmoid), theta' = theta + W3 h. For G = dL/dtheta':
               dh = W3' G, du = dh v s (1 + u (1 - s)), dv = dh u s, dx = W1' du + W2' dv,
               dW1 = sum du x', dW2 = sum dv x', dW3 = sum G h'.
read-out:      z_v = sum_c kappa_c cos(theta_c - E_vc) + b_v = x . f_v + b_v,  f = [kappa cos E; kappa sin E]:
               dx = sum_v dz_v f_v, df_v = sum dz_v x = [Fc; Fs], dE = kappa (Fs cos E - Fc sin E),
               dkappa = sum_v (Fc cos E + Fs sin E), db = sum dz.

Products are BLAS's; the rest is a loop an element (``phase_loops``).
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from ..._runtime.elementary.maps import SOFTPLUS, SOFTPLUS_PULL
from .._inputs import _placed, check_upstream, flat
from .call import ones
from .phase_arguments import checked, labelled_out
from .phase_loops import SWIGLU, SWIGLU_PULL, each, points_of, pull_points
from .products import product
from .sums import column_sums


def phase_gate(theta: Any, weight: Any, bias: Any = None) -> Any:
    r"""A learned gate: how much each coordinate of each token counts in a score.

    Parameters
    ----------
    theta : ndarray of float, shape (..., d)
        Phases in radians.
    weight : ndarray of float, shape (m, 2 d)
        Of cosines, then sines; m = d to gate `kuramoto`.
    bias : ndarray of float, shape (m,), optional

    Returns
    -------
    ndarray of float, shape (..., m)
        Positive. For a gate of either sign take the argument of the softplus, a product of matrices.

    Raises
    ------
    ValueError
        For shapes that do not fit.

    Notes
    -----
    .. math:: a = \log(1 + e^{W x + b}), \qquad x = [\cos\theta; \sin\theta].

    Gradients: ``vjp("phase_gate", theta, weight, bias)``.

    Examples
    --------
    >>> import numpy as np, primeattn as pa
    >>> pa.attention.phase_gate(np.zeros((1, 2)), np.eye(2, 4)).round(3)
    array([[1.313, 1.313]])
    """
    return _phase_gate_vjp(theta, weight, bias)[0]


def _phase_gate_vjp(theta, weight, bias=None) -> tuple[Any, Callable]:
    x, shapes = checked({"weight": ("m", "2d"), "bias": ("m",)}, theta, weight=weight, bias=bias)
    d, m = shapes["theta"][-1], shapes["weight"][0]
    one = ones(d, x["theta"])
    points = points_of(x["theta"], d, one)
    tokens = x["theta"].size // d
    u = product(points, x["weight"], tokens, 2 * d, m, before=x.get("bias"), turn_b=True)
    out = labelled_out(each(SOFTPLUS, u), theta, (*shapes["theta"][:-1], m))

    def pullback(dout) -> dict[str, Any]:
        du = each(SOFTPLUS_PULL, u, check_upstream(dout, out, x["theta"]))
        grads = {
            "theta": pull_points(points, product(du, x["weight"], tokens, m, 2 * d), d, one)[0],
            "weight": product(du, points, m, tokens, 2 * d, turn_a=True),
        }
        if bias is not None:
            grads["bias"] = column_sums(du, m)
        return _shaped(grads, shapes, theta)

    return out, pullback


def _shaped(grads, shapes, theta):
    grads = {name: g.reshape(shapes[name]) for name, g in grads.items()}
    return {**grads, "theta": labelled_out(grads["theta"], theta, shapes["theta"], same=True)}


def phase_feed_forward(theta: Any, W1: Any, W2: Any, W3: Any) -> Any:
    r"""A gated feed-forward layer on the torus: increments of angles from cosines and sines.

    Parameters
    ----------
    theta : ndarray of float, shape (..., d)
        Phases in radians.
    W1, W2 : ndarray of float, shape (f, 2 d)
        Of cosines, then sines.
    W3 : ndarray of float, shape (d, f)

    Returns
    -------
    ndarray of float, shape (..., d)

    Raises
    ------
    ValueError
        For shapes that do not fit.

    Notes
    -----
    .. math:: \theta' = \theta + W_3\,(\operatorname{silu}(W_1 x) \odot W_2 x), \qquad x = [\cos\theta; \sin\theta].

    Any real vector is tangent to the torus, so nothing needs to be projected, and x has length :math:`\sqrt d`, so
    nothing needs to be normalised. Gradients: ``vjp("phase_feed_forward", theta, W1, W2, W3)``.

    Examples
    --------
    >>> import numpy as np, primeattn as pa
    >>> w = np.ones((3, 2))
    >>> pa.attention.phase_feed_forward(np.zeros((1, 1)), w, w, np.ones((1, 3))).round(3)
    array([[2.193]])
    """
    return _phase_feed_forward_vjp(theta, W1, W2, W3)[0]


def _phase_feed_forward_vjp(theta, W1, W2, W3) -> tuple[Any, Callable]:
    x, shapes = checked({"W1": ("f", "2d"), "W2": ("f", "2d"), "W3": ("d", "f")}, theta, W1=W1, W2=W2, W3=W3)
    d, f = shapes["theta"][-1], shapes["W1"][0]
    one = ones(d, x["theta"])
    points = points_of(x["theta"], d, one)
    tokens = x["theta"].size // d
    u, v = (product(points, x[name], tokens, 2 * d, f, turn_b=True) for name in ("W1", "W2"))
    h = each(SWIGLU, u, v)
    out = labelled_out(
        product(h, x["W3"], tokens, f, d, before=x["theta"], turn_b=True), theta, shapes["theta"], same=True
    )

    def pullback(dout) -> dict[str, Any]:
        g = check_upstream(dout, out, x["theta"])
        du, dv = each(SWIGLU_PULL, u, v, product(g, x["W3"], tokens, d, f), results=2)
        dx = product(dv, x["W2"], tokens, f, 2 * d, before=product(du, x["W1"], tokens, f, 2 * d))
        grads = {
            "theta": pull_points(points, dx, d, one, before=g)[0],
            "W1": product(du, points, f, tokens, 2 * d, turn_a=True),
            "W2": product(dv, points, f, tokens, 2 * d, turn_a=True),
            "W3": product(g, h, d, tokens, f, turn_a=True),
        }
        return _shaped(grads, shapes, theta)

    return out, pullback


def von_mises_readout(theta: Any, embedding: Any, kappa: Any = None, bias: Any = None) -> Any:
    r"""Scores of phases against the phases of a vocabulary: log densities of von Mises distributions, up to a constant.

    Parameters
    ----------
    theta : ndarray of float, shape (..., d)
        Phases in radians.
    embedding : ndarray of float, shape (V, d)
        Phases of the vocabulary, the same as at the input if weights are tied.
    kappa : ndarray of float, shape (d,), optional
        Concentrations; sqrt(2 / d) by default, so that random phases give scores of standard deviation 1.
    bias : ndarray of float, shape (V,), optional

    Returns
    -------
    ndarray of float, shape (..., V)

    Raises
    ------
    ValueError
        For shapes that do not fit.

    Notes
    -----
    .. math:: z_v = \sum_c \kappa_c \cos(\theta_c - E_{vc}) + b_v

    Gradients: ``vjp("von_mises_readout", theta, embedding, kappa, bias)``.

    Examples
    --------
    >>> import numpy as np, primeattn as pa
    >>> pa.attention.von_mises_readout(np.zeros((1, 2)), [[0.0, 0.0], [np.pi, np.pi]], [1.0, 2.0])
    array([[ 3., -3.]])
    """
    return _von_mises_readout_vjp(theta, embedding, kappa, bias)[0]


def _von_mises_readout_vjp(theta, embedding, kappa=None, bias=None) -> tuple[Any, Callable]:
    wanted = {"embedding": ("V", "d"), "kappa": ("d",), "bias": ("V",)}
    x, shapes = checked(wanted, theta, embedding=embedding, kappa=kappa, bias=bias)
    d, vocabulary = shapes["embedding"][-1], shapes["embedding"][0]
    angles = x["theta"]
    one = ones(d, angles)
    size = x["kappa"] if kappa is not None else _placed(np.full(d, (2 / d) ** 0.5, angles.dtype), angles)
    points, targets = points_of(angles, d, one), points_of(x["embedding"], d, flat(size))
    tokens = angles.size // d
    scores = product(points, targets, tokens, 2 * d, vocabulary, before=x.get("bias"), turn_b=True)
    out = labelled_out(scores, theta, (*shapes["theta"][:-1], vocabulary))

    def pullback(dout) -> dict[str, Any]:
        dz = check_upstream(dout, out, angles)
        dtargets = product(dz, points, vocabulary, tokens, 2 * d, turn_a=True)
        dembedding, dkappa = pull_points(
            points_of(x["embedding"], d, one), dtargets, d, flat(size), factors=kappa is not None
        )
        grads = {
            "theta": pull_points(points, product(dz, targets, tokens, vocabulary, 2 * d), d, one)[0],
            "embedding": dembedding,
        }
        if kappa is not None:
            grads["kappa"] = dkappa
        if bias is not None:
            grads["bias"] = column_sums(dz, vocabulary)
        return _shaped(grads, shapes, theta)

    return out, pullback


#: Name -> vjp of the functions here.
PULLBACKS: dict[str, Callable] = {
    "phase_gate": _phase_gate_vjp,
    "phase_feed_forward": _phase_feed_forward_vjp,
    "von_mises_readout": _von_mises_readout_vjp,
}
