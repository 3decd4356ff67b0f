r"""What goes around Kuramoto attention in a network of phases: gates, feed-forward, read-out, collective modes.

With x = [cos theta; sin theta] of every token, and a gradient dx = [Xc; Xs] of it,

    dtheta = Xs cos theta - Xc sin theta.                                                                     (1)

gate:          u = W x + b,  a = log(1 + e^u);      du = a-bar sigmoid(u),  dW = sum du x',  db = sum du,  dx = W' du.
feed-forward:  u = W1 x, v = W2 x, h = u s(u) v (s the sigmoid), theta' = theta + W3 h. For G = dL/dtheta':
               dh = W3' G, du = dh v s (1 + u (1 - s)), dv = dh u s, dx = W1' du + W2' dv,
               dW1 = sum du x', dW2 = sum dv x', dW3 = sum G h'.
read-out:      z_v = sum_c kappa_c cos(theta_c - E_vc) + b_v = x . f_v + b_v,  f = [kappa cos E; kappa sin E]:
               dx = sum_v dz_v f_v, df_v = sum dz_v x = [Fc; Fs], dE = kappa (Fs cos E - Fc sin E),
               dkappa = sum_v (Fc cos E + Fs sin E), db = sum dz.

Products are BLAS's; the rest is a loop an element.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from ... import _labelled
from ..._runtime import devices
from ..._runtime import elementary as el
from ..._runtime.checks import common_floating
from ..._runtime.jit import kernel, nonnegative, scalar
from ..._runtime.owners import Owner
from .._inputs import _placed, _read_only, check_upstream
from .call import ones
from .mechanism import MECHANISM, kuramoto
from .products import product
from .sums import column_sums


@scalar
def points_row(r, theta, width, factor, out):
    """factor times (cos theta, sin theta) of row r, first all cosines."""
    for j in range(width):
        s, c = el.sincos(theta[r * width + j])
        out[2 * r * width + j], out[(2 * r + 1) * width + j] = factor[j] * c, factor[j] * s


@kernel
def points_cpu(start, stop, theta, width, factor, out):
    for r in range(start, stop):
        if el.all_near(theta, r * width, (r + 1) * width):
            for j in range(width):
                s, c = el.sincos_near(theta[nonnegative(r * width + j)])
                out[nonnegative(2 * r * width + j)] = factor[nonnegative(j)] * c
                out[nonnegative((2 * r + 1) * width + j)] = factor[nonnegative(j)] * s
        else:
            points_row(r, theta, width, factor, out)


@scalar
def pull_points_row(r, width, factor, x, dx, before, dtheta, dfactor):
    """(1) of row r, times factor, added to ``before`` unless that is empty; dfactor unless that is empty."""
    for j in range(width):
        c, s = x[2 * r * width + j], x[(2 * r + 1) * width + j]
        along, across, at = dx[2 * r * width + j], dx[(2 * r + 1) * width + j], r * width + j
        moved = factor[j] * (across * c - along * s)
        dtheta[at] = before[at] + moved if before.size else moved
        if dfactor.size:
            dfactor[at] = along * c + across * s


@kernel
def pull_points_cpu(start, stop, width, factor, x, dx, before, dtheta, dfactor):
    for r in range(start, stop):
        pull_points_row(nonnegative(r), width, factor, x, dx, before, dtheta, dfactor)


@scalar
def softplus_row(i, u, out):
    """log(1 + e^u) = max(u, 0) + log(1 + e), e = e^-|u|; what rounding took from 1 + e is given back."""
    e = el.exp(-abs(u[i]))
    total, zero = type(e)(1) + e, e - e
    kept = total - type(e)(1)
    rest = el.log(total) * (e / kept) if kept > 0 else e
    out[i] = (u[i] if u[i] > 0 else zero) + rest


@kernel
def softplus_cpu(start, stop, u, out):
    for i in range(start, stop):
        softplus_row(nonnegative(i), u, out)


@scalar
def softplus_pull_row(i, u, g, du):
    du[i] = g[i] * el.sigmoid(u[i])


@kernel
def softplus_pull_cpu(start, stop, u, g, du):
    for i in range(start, stop):
        softplus_pull_row(nonnegative(i), u, g, du)


@scalar
def swiglu_row(i, u, v, h):
    h[i] = u[i] * el.sigmoid(u[i]) * v[i]


@kernel
def swiglu_cpu(start, stop, u, v, h):
    for i in range(start, stop):
        swiglu_row(nonnegative(i), u, v, h)


@scalar
def swiglu_pull_row(i, u, v, dh, du, dv):
    s = el.sigmoid(u[i])
    du[i] = dh[i] * v[i] * s * (type(s)(1) + u[i] * (type(s)(1) - s))
    dv[i] = dh[i] * u[i] * s


@kernel
def swiglu_pull_cpu(start, stop, u, v, dh, du, dv):
    for i in range(start, stop):
        swiglu_pull_row(nonnegative(i), u, v, dh, du, dv)


POINTS = Owner(points_row, points_cpu, "F1 i F1 F1", grain=256)
PULL_POINTS = Owner(pull_points_row, pull_points_cpu, "i F1 F1 F1 F1 F1 F1", grain=256)
SOFTPLUS = Owner(softplus_row, softplus_cpu, "F1 F1")
SOFTPLUS_PULL = Owner(softplus_pull_row, softplus_pull_cpu, "F1 F1 F1")
SWIGLU = Owner(swiglu_row, swiglu_cpu, "F1 F1 F1")
SWIGLU_PULL = Owner(swiglu_pull_row, swiglu_pull_cpu, "F1 F1 F1 F1 F1")


def _like(x, n: int | None = None):
    return devices.empty(x.size if n is None else n, x.dtype, like=x)


def _each(owner: Owner, *inputs, results: int = 1):
    """New arrays of an elementwise owner, of the size of its first input."""
    made = [_like(inputs[0]) for _ in range(results)]
    if inputs[0].size:
        owner(inputs[0].size, *(_read_only(x) for x in inputs), *made)
    return made if results > 1 else made[0]


def _points(theta, width: int, factor):
    out = _like(theta, 2 * theta.size)
    if theta.size:
        POINTS(theta.size // width, theta, width, factor, out)
    return out


def _pull_points(x, dx, width: int, factor, *, before=None, factors: bool = False):
    """dtheta, and the gradient of the factor if it is wanted."""
    before = _like(x, 0) if before is None else before
    dtheta, dfactor = _like(x, x.size // 2), _like(x, x.size // 2 if factors else 0)
    if x.size:
        PULL_POINTS(
            x.size // (2 * width), width, factor, _read_only(x), _read_only(dx), _read_only(before), dtheta, dfactor
        )  # fmt: skip
    return dtheta, column_sums(dfactor, width) if factors else None


def _checked(shapes: dict[str, tuple[str, ...]], theta, **arrays):
    """theta (..., d) and the given arrays in one dtype, flat, with their shapes; letters stand for lengths.

    Labels of theta are kept for the results.
    """
    plain = theta.values if _labelled.is_labelled(theta) else theta
    given = {"theta": plain, **{name: x for name, x in arrays.items() if x is not None}}
    given = dict(zip(given, common_floating({}, **given), strict=True))
    shape = tuple(given["theta"].shape)
    if not shape or not shape[-1]:
        raise ValueError(f"theta has shape {shape}: (..., d) angles are wanted")
    lengths = {"d": shape[-1], "2d": 2 * shape[-1]}
    for name, letters in shapes.items():
        if name not in given:
            continue
        shape = tuple(given[name].shape)
        fits = len(shape) == len(letters) and all(
            lengths.setdefault(letter, n) == n for letter, n in zip(letters, shape, strict=False)
        )
        if not fits:
            wanted = ", ".join(str(lengths.get(letter, letter)) for letter in letters)
            raise ValueError(f"{name} has shape {shape} but theta has {lengths['d']} angles: ({wanted}) is wanted")
    return {name: _read_only(x.reshape(x.size)) for name, x in given.items()}, {
        n: tuple(x.shape) for n, x in given.items()
    }


def _out(flat, theta, shape, *, same: bool = False):
    """The result in its shape; labelled like theta, but for the last dimension unless that is the same."""
    x = flat.reshape(shape)
    if not _labelled.is_labelled(theta):
        return x
    if same:
        return theta.copy(data=x)
    import xarray

    coords = {name: c for name, c in theta.coords.items() if c.dims and theta.dims[-1] not in c.dims}
    return xarray.DataArray(x, dims=(*theta.dims[:-1], "feature"), coords=coords)


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
    x, shapes = _checked({"weight": ("m", "2d"), "bias": ("m",)}, theta, weight=weight, bias=bias)
    d, m = shapes["theta"][-1], shapes["weight"][0]
    one = ones(d, x["theta"])
    points = _points(x["theta"], d, one)
    tokens = x["theta"].size // d
    u = product(points, x["weight"], tokens, 2 * d, m, before=x.get("bias"), turn_b=True)
    out = _out(_each(SOFTPLUS, u), theta, (*shapes["theta"][:-1], m))

    def pullback(dout) -> dict[str, Any]:
        du = _each(SOFTPLUS_PULL, u, check_upstream(dout, out, x["theta"]))
        grads = {
            "theta": _pull_points(points, product(du, x["weight"], tokens, m, 2 * d), d, one)[0],
            "weight": product(du, points, m, tokens, 2 * d, turn_a=True),
        }
        if bias is not None:
            grads["bias"] = column_sums(du, m)
        return _shaped(grads, shapes, theta)

    return out, pullback


def _shaped(grads, shapes, theta):
    grads = {name: g.reshape(shapes[name]) for name, g in grads.items()}
    return {**grads, "theta": _out(grads["theta"], theta, shapes["theta"], same=True)}


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
    x, shapes = _checked({"W1": ("f", "2d"), "W2": ("f", "2d"), "W3": ("d", "f")}, theta, W1=W1, W2=W2, W3=W3)
    d, f = shapes["theta"][-1], shapes["W1"][0]
    one = ones(d, x["theta"])
    points = _points(x["theta"], d, one)
    tokens = x["theta"].size // d
    u, v = (product(points, x[name], tokens, 2 * d, f, turn_b=True) for name in ("W1", "W2"))
    h = _each(SWIGLU, u, v)
    out = _out(product(h, x["W3"], tokens, f, d, before=x["theta"], turn_b=True), theta, shapes["theta"], same=True)

    def pullback(dout) -> dict[str, Any]:
        g = check_upstream(dout, out, x["theta"])
        du, dv = _each(SWIGLU_PULL, u, v, product(g, x["W3"], tokens, d, f), results=2)
        dx = product(dv, x["W2"], tokens, f, 2 * d, before=product(du, x["W1"], tokens, f, 2 * d))
        grads = {
            "theta": _pull_points(points, dx, d, one, before=g)[0],
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
    x, shapes = _checked(wanted, theta, embedding=embedding, kappa=kappa, bias=bias)
    d, vocabulary = shapes["embedding"][-1], shapes["embedding"][0]
    one, flat = ones(d, x["theta"]), x["theta"]
    size = x["kappa"] if kappa is not None else _placed(np.full(d, (2 / d) ** 0.5, flat.dtype), flat)
    points, targets = _points(flat, d, one), _points(x["embedding"], d, _read_only(size))
    tokens = flat.size // d
    scores = product(points, targets, tokens, 2 * d, vocabulary, before=x.get("bias"), turn_b=True)
    out = _out(scores, theta, (*shapes["theta"][:-1], vocabulary))

    def pullback(dout) -> dict[str, Any]:
        dz = check_upstream(dout, out, flat)
        dtargets = product(dz, points, vocabulary, tokens, 2 * d, turn_a=True)
        dembedding, dkappa = _pull_points(
            _points(x["embedding"], d, one), dtargets, d, _read_only(size), factors=kappa is not None
        )
        grads = {
            "theta": _pull_points(points, product(dz, targets, tokens, vocabulary, 2 * d), d, one)[0],
            "embedding": dembedding,
        }
        if kappa is not None:
            grads["kappa"] = dkappa
        if bias is not None:
            grads["bias"] = column_sums(dz, vocabulary)
        return _shaped(grads, shapes, theta)

    return out, pullback


def collective_modes(
    theta: Any, modes: Any, *, heads: int = 1, gate: Any = None, beta: Any = 1.0, step: Any = 1.0
) -> Any:
    r"""Mean-field coupling to learned modes, in place of a feed-forward layer: `kuramoto` to a memory of all sequences.

    Parameters
    ----------
    theta : ndarray of float, shape (..., T, d)
        Phases in radians.
    modes : ndarray of float, shape (f, d)
        Learned phases.
    heads : int
    gate : ndarray of float, shape (d,) or (f, d), optional
        What counts in the match with a mode; 1 by default.
    beta : float or ndarray of float, shape (heads,)
    step : float or ndarray of float, shape (d,)

    Returns
    -------
    ndarray of float, shape (..., T, d)

    Raises
    ------
    ValueError
        For shapes that do not fit.

    Notes
    -----
    .. math:: \theta' = \theta + \eta \sum_j \operatorname{softmax}_j\Big(\beta \sum_c g_{jc}
              \cos(\theta_c - \psi_{jc})\Big) \sin(\psi_j - \theta)

    Gradients: ``vjp("collective_modes", theta, modes, ...)``, of all arrays that were given, beta and step.

    Examples
    --------
    >>> import numpy as np, primeattn as pa
    >>> pa.attention.collective_modes(np.array([[0.2], [3.0]]), np.array([[0.0], [np.pi]]), beta=1.0).round(2)
    array([[0.05],
           [3.11]])
    """
    rows, shape = _as_one_sequence(theta)
    out = kuramoto(rows, memory=modes, heads=heads, gate_key=gate, beta=beta, step=step)
    return _out(out, theta, shape, same=True)


def _as_one_sequence(theta):
    """All tokens attend the same modes, so they may stand in one sequence."""
    plain = theta.values if _labelled.is_labelled(theta) else theta
    plain = plain if devices.is_device_array(plain) else np.asarray(plain)
    shape = tuple(plain.shape)
    if len(shape) < 2:
        raise ValueError(f"theta has shape {shape}: (..., tokens, angles) is wanted; pass theta[None] for one token")
    return plain.reshape(int(np.prod(shape[:-1])), shape[-1]), shape


def _collective_modes_vjp(theta, modes, *, heads=1, gate=None, beta=1.0, step=1.0) -> tuple[Any, Callable]:
    rows, shape = _as_one_sequence(theta)
    flat, pull = MECHANISM.vjp(rows, memory=modes, heads=heads, gate_key=gate, beta=beta, step=step)
    out = _out(flat, theta, shape, same=True)

    def pullback(dout) -> dict[str, Any]:
        grads = pull(check_upstream(dout, out, flat).reshape(flat.shape))
        names = {"memory": "modes", "gate_key": "gate"}
        grads = {names.get(name, name): g for name, g in grads.items()}
        return {**grads, "theta": _out(grads["theta"], theta, shape, same=True)}

    return out, pullback


#: Name -> vjp of the functions here.
PULLBACKS: dict[str, Callable] = {
    "phase_gate": _phase_gate_vjp,
    "phase_feed_forward": _phase_feed_forward_vjp,
    "von_mises_readout": _von_mises_readout_vjp,
    "collective_modes": _collective_modes_vjp,
}
