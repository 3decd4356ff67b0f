r"""Resonant attention with gradients: tokens become sparse prime states, and states attend by their resonance.

    |a_p|^2 = softmax of the ``active`` largest logits,   u_p = orientation / |orientation|,   phi_p = phase
    w_tp = R_t u_tp,   R_t = product of all kept u up to key t          (rotors: the order of tokens)
    K_ij = sum over shared p of |a_ip||a_jp| (alpha + beta (w_ip . w_jp)^2 + gamma (1 + cos(phi_ip - phi_jp)) / 2)
    y_i  = sum_j K_ij v_j / sum_j K_ij   (linear)      or      softmax_j(K_ij / tau) v_j

Every derivative is in the module that takes it: ``pairs`` (attention, K), ``rotors``, ``tokens`` (amplitudes, phases,
orientations). The selection of primes is constant: gradients go to what is kept.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from ..._runtime.checks import as_generator
from .._inputs import check_upstream, sum_to
from .._labels import unwrap
from .._mechanism import Mechanism, Sample
from . import run
from .call import check_call, pull_states
from .claims import claims
from .formulas import SCORE
from .trainable import TRAINABLE


def resonant(
    q: Any,
    k: Any,
    v: Any,
    *,
    q_phase: Any = None,
    k_phase: Any = None,
    q_orientation: Any = None,
    k_orientation: Any = None,
    active: int = 8,
    weights: Any = None,
    temperature: Any = None,
    form: str = "linear",
    rotors: bool = True,
    causal: bool = False,
    mask: Any = None,
    return_weights: bool = False,
) -> Any:
    r"""Attention between sparse prime states that are made from logits, phases and quaternions.

    Parameters
    ----------
    q : ndarray of float, shape (..., Tq, P)
        Amplitude logits of the queries over P primes. Leading axes are batch and heads. The ``active`` largest of a
        token are kept (of equal ones those of smaller primes; -inf never); probabilities \|a\|^2 are their softmax.
    k : ndarray of float, shape (..., Tk, P)
        Amplitude logits of the keys, leading axes as in q: heads come in no groups, because the rotors of a head, made
        of its keys and their order, turn its queries, too.
    v : ndarray of float, shape (..., Tk, Dv)
        Values.
    q_phase, k_phase : ndarray of float, broadcastable to (..., T, P), optional
        Phases in radians, 0 by default. (P,) is a table of primes, (..., T, 1) one phase a token.
    q_orientation, k_orientation : ndarray of float, broadcastable to (..., T, P, 4), optional
        Quaternions, w first, of any length but 0; 1 by default.
    active : int
        Primes that a token keeps, at most P of them.
    weights : array_like of float, broadcastable to (..., 3), optional
        Mixing weights of overlap, alignment and coherence of every head: >= 0, sum 1. A third each by default.
    temperature : array_like of float, broadcastable to the leading axes, optional
        tau > 0 of the softmax form, 1 by default. The linear form has none and ignores it.
    form : {"linear", "softmax"}
        Weights K, in time linear in tokens, or exp(K / tau).
    rotors : bool
        Turn orientations by the product of everything up to the token, so that order matters. Query i stands at key
        i + Tk - Tq.
    causal : bool
        Query i attends keys j <= i + Tk - Tq.
    mask : ndarray of bool, broadcastable to (..., Tq, Tk), optional
        True where a query may attend a key. A key hidden from all queries is absent: it turns nothing. With a mask
        that differs between queries the linear form takes time Tq Tk.
    return_weights : bool
        Return the weights, too.

    Returns
    -------
    out : ndarray of float, shape (..., Tq, Dv)
        float32 if all arrays are, else float64. DataArrays in, DataArray out; CUDA arrays likewise.
    weights : ndarray of float, shape (..., Tq, Tk)
        If ``return_weights``.

    Raises
    ------
    ValueError
        For shapes that do not fit, weights that are negative or do not sum to 1, a temperature that is not positive,
        another form.
    TypeError
        For a mask that is not boolean, arrays on two devices, or complex data.

    Notes
    -----
    .. math:: K_{ij} = \sum_{p} |a_{ip}||a_{jp}| \Big[\alpha + \beta\,(w_{ip}\cdot w_{jp})^2
              + \gamma\,\tfrac{1 + \cos(\varphi_{ip} - \varphi_{jp})}{2}\Big], \qquad w_{tp} = R_t u_{tp},

    over shared primes: positive semidefinite, in [0, 1], 1 for a state and itself, and with 12 features a prime the
    linear form costs O((Tq + Tk) k d). \|a\|^2 = softmax is smooth, does not change when a number is added to all
    logits of a token, and needs no further normalisation. Only :math:`R_i^{-1} R_j` enters a score: the turn between
    the two tokens, made of what stands between them.

    A query without any key gets zeros; in the linear form also one whose keys all have K = 0. Softmax gives keys
    without a shared prime the weight exp 0 each. A token whose logits are all -inf is the empty state. NaN stays in the
    rows that may see it; with rotors that is every later token.

    References
    ----------
    S. Schepis, *tinyaleph* (states, score). Katharopoulos et al., "Transformers are RNNs", arXiv:2006.16236 (linear
    form). Derivations: the theory page on trainable resonant attention.

    Examples
    --------
    >>> import numpy as np, primeattn as pa
    >>> q = np.log([[8.0, 1.0, 1.0], [1.0, 1.0, 8.0]])
    >>> pa.attention.resonant(q, q, np.eye(2), active=1)
    array([[1., 0.],
           [0., 1.]])
    >>> pa.attention.resonant(q, q, np.eye(2), active=3).round(3)
    array([[0.6, 0.4],
           [0.4, 0.6]])
    """
    (q, k, v), wrap = unwrap(q, k, v)
    call = check_call(
        q, k, v, q_phase=q_phase, k_phase=k_phase, q_orientation=q_orientation, k_orientation=k_orientation,
        active=active, weights=weights, temperature=temperature, form=form, rotors=rotors, causal=causal, mask=mask,
    )  # fmt: skip
    result = run.forward(call)
    out = wrap.out(call.shaped(result.out, call.sizes.queries, call.sizes.depth))
    if not return_weights:
        return out
    table = run.weights(call, result)
    return out, wrap.weights(call.shaped(table, call.sizes.queries, call.sizes.keys))


def _vjp(
    q, k, v, *, q_phase=None, k_phase=None, q_orientation=None, k_orientation=None, active=8, weights=None,
    temperature=None, form="linear", rotors=True, causal=False, mask=None,
) -> tuple[Any, Callable]:  # fmt: skip
    """Output and pullback: gradients of q, k, v, and of the parameters that were given."""
    (q, k, v), wrap = unwrap(q, k, v)
    call = check_call(
        q, k, v, q_phase=q_phase, k_phase=k_phase, q_orientation=q_orientation, k_orientation=k_orientation,
        active=active, weights=weights, temperature=temperature, form=form, rotors=rotors, causal=causal, mask=mask,
    )  # fmt: skip
    result = run.forward(call)
    out = wrap.out(call.shaped(result.out, call.sizes.queries, call.sizes.depth))

    def pullback(dout) -> dict[str, Any]:
        upstream = check_upstream(dout, out, call.problem.value)
        dvalue, dx, dy, dmix = run.backward(call, result, upstream)
        grads = pull_states(call, dx, dy)
        grads["v"] = dvalue.reshape(call.shapes["v"])
        dmix = dmix.astype(result.out.dtype).reshape((*call.lead, 4))
        if weights is not None:
            grads["weights"] = sum_to(dmix[..., :3], call.shapes["weights"])
        if temperature is not None:
            grads["temperature"] = sum_to(dmix[..., 3], call.shapes["temperature"])
        return wrap.gradients(grads)

    return out, pullback


def reference(
    q, k, v, *, q_phase=None, k_phase=None, q_orientation=None, k_orientation=None, active=8, weights=None,
    temperature=None, form="linear", rotors=True, causal=False, mask=None, return_weights=False,
):  # fmt: skip
    """The equations in plain NumPy, with (..., Tq, Tk, P) tables; analytic, so complex inputs work, too."""
    queries, keys = q.shape[-2], k.shape[-2]
    allowed: Any = np.broadcast_to(True if mask is None else mask, (*q.shape[:-2], queries, keys))
    present = allowed.any(axis=-2)
    a, _ = _amplitudes(q, active)
    b, kept_b = _amplitudes(k, active)
    kept_b = kept_b & present[..., None]
    b = np.where(kept_b, b, 0)
    u, w = _unit(q_orientation, q.shape), _unit(k_orientation, k.shape)
    if rotors:
        turn = _prefix(w, kept_b)
        stands = np.arange(queries) + keys - queries
        first = np.broadcast_to(np.eye(4)[0], (*turn.shape[:-2], 1, 4))
        u = _hamilton(np.concatenate([first, turn], axis=-2)[..., np.maximum(stands + 1, 0), None, :], u)
        w = _hamilton(turn[..., None, :], w)
    phase = np.broadcast_to(0.0 if q_phase is None else q_phase, q.shape)
    phase_b = np.broadcast_to(0.0 if k_phase is None else k_phase, k.shape)
    mix = np.broadcast_to(np.full(3, 1 / 3) if weights is None else weights, (*q.shape[:-2], 3))[
        ..., None, None, None, :
    ]
    align = np.einsum("...ipc,...jpc->...ijp", u, w) ** 2
    cosine = np.cos(phase[..., :, None, :] - phase_b[..., None, :, :])
    kappa = mix[..., 0] + mix[..., 1] * align + mix[..., 2] * (1 + cosine) / 2
    score = np.einsum("...ip,...jp,...ijp->...ij", a, b, kappa)
    if causal:
        allowed = allowed & (np.arange(keys) <= np.arange(queries)[:, None] + keys - queries)
    if form == "softmax":
        score = np.exp(
            score / np.broadcast_to(1.0 if temperature is None else temperature, q.shape[:-2])[..., None, None]
        )
    table = np.where(allowed, score, 0)
    total = table.sum(axis=-1, keepdims=True)
    table = table / np.where(total == 0, 1, total)
    out = table @ v
    return (out, table) if return_weights else out


def _amplitudes(logits, active):
    """(..., T, P) amplitudes, 0 where not kept, and what is kept."""
    order = np.argsort(-logits.real, axis=-1, kind="stable")[..., :active]
    kept = np.zeros(logits.shape, bool)
    np.put_along_axis(kept, order, True, axis=-1)
    kept &= logits.real > -np.inf
    top = np.where(kept, logits.real, -np.inf).max(axis=-1, keepdims=True, initial=np.finfo(float).min)
    e = np.where(kept, np.exp(np.where(kept, logits - top, 0)), 0)
    total = e.sum(axis=-1, keepdims=True)
    return np.where(kept, np.sqrt(np.where(kept, e, 1) / np.where(total == 0, 1, total)), 0), kept


def _unit(orientation, shape):
    x = np.broadcast_to(np.eye(4)[0] if orientation is None else orientation, (*shape, 4))
    return x / np.sqrt((x * x).sum(axis=-1, keepdims=True))


def _hamilton(a, b):
    aw, ax, ay, az = np.moveaxis(a, -1, 0)
    bw, bx, by, bz = np.moveaxis(b, -1, 0)
    return np.stack(
        [
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ],
        axis=-1,
    )


def _prefix(unit, kept):
    """R_t, (..., T, 4)."""
    steps, total = [], np.broadcast_to(np.eye(4)[0], (*unit.shape[:-3], 4))
    for t in range(unit.shape[-3]):
        for p in range(unit.shape[-2]):
            total = np.where(kept[..., t, p, None], _hamilton(total, unit[..., t, p, :]), total)
        steps.append(total)
    return np.stack(steps, axis=-2) if steps else np.zeros((*unit.shape[:-3], 0, 4))


def sample(rng, *, batch=(2,), heads=2, tokens=5, width=4, dtype=np.float64) -> Sample:
    """Gaussian logits of 3 ``width`` primes, of which half, at most 8, are kept; Gaussian fields; weights by head."""
    rng = as_generator(rng)
    lead, primes = (*batch, heads), 3 * width

    def draw(*tail):
        return rng.standard_normal((*lead, tokens, *tail)).astype(dtype)

    options = {f"{side}_phase": np.pi * draw(primes) for side in "qk"}
    options |= {f"{side}_orientation": draw(primes, 4) for side in "qk"}
    options = {name: x.astype(dtype) for name, x in options.items()}
    options["weights"] = rng.dirichlet(np.full(3, 4.0), size=heads).astype(dtype)
    return Sample((draw(primes), draw(primes), draw(width)), options | {"active": min(8, max(primes // 2, 1))})


def of_vectors(x) -> Sample:
    """One prime a coordinate: |a|^2 in proportion to x^2, phase 0 or pi by the sign; no rotors."""
    with np.errstate(divide="ignore"):
        logits = 2 * np.log(np.abs(x))
    phase = np.where(x < 0, x.dtype.type(np.pi), x.dtype.type(0))
    options = {"q_phase": phase, "k_phase": phase, "active": min(8, x.shape[-1]), "rotors": False}
    return Sample((logits, logits, x), options)


MECHANISM = Mechanism(
    name="resonant",
    inputs=("q", "k", "v"),
    parameters=("q_phase", "k_phase", "q_orientation", "k_orientation", "weights", "temperature"),
    forward=resonant,
    vjp=_vjp,
    reference=reference,
    sample=sample,
    of_vectors=of_vectors,
    properties=claims(sample),
    trainable=TRAINABLE,
    cite="S. Schepis, tinyaleph (resonant attention); here with a positive semidefinite kernel, rotors and gradients",
    score=SCORE,
)
