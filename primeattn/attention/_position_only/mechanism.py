r"""Position-only (factored) attention: the weights are parameters, of the positions alone.

    y_i = sum_j A_ij v_j,      A_ij = alpha_ij,   or alpha_{i j^-1} on a group of positions,   or a softmax of either

It is linear in v, so dL/dv_j = sum_i A_ij G_i and dL/dA_ij = <G_i, v_j>; dL/dalpha_n = sum_i dL/dA_{i, n^-1 i} on a
group, and the softmax has its usual derivative: `table`. On a product of cyclic groups y is a convolution and so are
its gradients: `products`. `run` chooses; `stream` decodes. Which groups: `symmetry`.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ... import _labelled
from ..._runtime import devices
from ..._runtime.checks import as_generator
from .._cores import reference as plain
from .._inputs import check_upstream, sum_to
from .._labels import Wrap
from .._mechanism import Claim, DoesNotApply, Fails, Mechanism, Property, Sample
from . import run
from .call import check_call, check_symmetry, numbers
from .trainable import TRAINABLE


def position_only(
    v: Any,
    *,
    alpha: Any,
    symmetry: Any = None,
    softmax: bool = False,
    form: str = "auto",
    causal: bool = False,
    mask: Any = None,
    return_weights: bool = False,
) -> Any:
    r"""Attention whose weights are free parameters of the positions: no queries, no keys.

    Parameters
    ----------
    v : ndarray of float, shape (..., T, Dv)
        Values. Leading axes are batch and heads.
    alpha : ndarray of float
        Weights, any sign. Without ``symmetry`` of shape (..., Tq, T), one for every pair; with it (..., T), one for
        every element of the group: A_ij = alpha[i j^-1], which is alpha[i - j] on a periodic line. Leading axes
        broadcast to those of v; (heads, ...) is one table a head.
    symmetry : int, tuple of int, Symmetry or "shift", optional
        Lengths of a periodic lattice, whose positions are numbered row-major; any group; or "shift", with ``causal``:
        A_ij = alpha[i - j] for the past, nothing around the end, for sequences of any length up to that of alpha.
    softmax : bool
        Weights are the softmax of alpha over the positions that i may attend.
    form : {"auto", "table", "convolution"}
        Matrix product with the table of weights, or FFT (groups of axes, not causal, and "shift"; no mask): the
        same function. "auto" takes what was faster where it was measured, and the table for "shift".
    causal : bool
        Position i attends j <= i + T - Tq.
    mask : ndarray of bool, broadcastable to (..., Tq, T), optional
        True where a position may attend another.
    return_weights : bool
        Return the weights, too.

    Returns
    -------
    out : ndarray of float, shape (..., Tq, Dv)
        float32 if v and alpha are, else float64. A DataArray v gives a DataArray; CUDA arrays likewise.
    weights : ndarray of float, shape (..., Tq, T)
        If ``return_weights``.

    Raises
    ------
    ValueError
        For shapes that do not fit, a group of another size, "shift" without causal, a convolution where there is none.
    TypeError
        For another kind of symmetry, a mask that is not boolean, or arrays on two devices.

    Notes
    -----
    .. math:: y_i = \sum_j \alpha_{ij} v_j, \qquad \alpha_{ij} = \alpha_{i j^{-1}} \text{ on a group}

    Linear in v, so Lipschitz with constant :math:`\lVert\alpha\rVert_2`. NaN in v reaches the positions whose weight
    on it is not 0, in the table; a convolution that is not finite is taken again by the table. A convolution rounds
    over all positions, so with "shift" a later value may change an earlier output in its last bits; the table does
    not. A position without any other to attend gets zeros. Whether a group is a symmetry of a system: `Symmetry.check`.

    References
    ----------
    Rende and Viteritti, "Are queries and keys always relevant? A case study on transformer wave functions",
    arXiv:2405.18874.

    Examples
    --------
    >>> import numpy as np, primeattn as pa
    >>> v = np.array([[1.0], [2.0], [4.0]])
    >>> pa.attention.position_only(v, alpha=np.array([0.0, 1.0, 0.0]), symmetry=3)
    array([[4.],
           [1.],
           [2.]])
    >>> pa.attention.position_only(v, alpha=np.zeros(3), symmetry="shift", softmax=True, causal=True)
    array([[1.        ],
           [1.5       ],
           [2.33333333]])
    """
    v, alpha, wrap = _unwrap(v, alpha)
    call = check_call(v, alpha, symmetry, softmax, causal, mask)
    out, table, _ = run.forward(call, form)
    result = wrap.out(call.unpacked(out, call.shape.queries))
    if not return_weights:
        return result
    table = run.table_of(call) if table is None else table
    s = call.shape
    full = devices.to_host(table).reshape((*call.own, s.queries, s.keys))
    full = np.ascontiguousarray(np.broadcast_to(full, (*call.lead, s.queries, s.keys)))
    return result, wrap.weights(devices.to_device(full) if devices.is_device_array(out) else full)


def _unwrap(v, alpha):
    alpha = alpha.values if _labelled.is_labelled(alpha) else alpha
    if not _labelled.is_labelled(v):
        return v, alpha, Wrap()
    return v.values, alpha, Wrap(v, v, v)


def _vjp(
    v, *, alpha, symmetry=None, softmax=False, form="auto", causal=False, mask=None
) -> tuple[Any, Callable]:  # fmt: skip
    """Output and pullback: gradients of v and alpha."""
    v, alpha, wrap = _unwrap(v, alpha)
    call = check_call(v, alpha, symmetry, softmax, causal, mask)
    out, table, convolution = run.forward(call, form)
    result = wrap.out(call.unpacked(out, call.shape.queries))
    given = tuple(np.shape(alpha))

    def pullback(dout) -> dict[str, Any]:
        upstream = check_upstream(dout, result, call.v)
        upstream = call.packed(upstream, call.shape.queries)
        if convolution is not None and np.isfinite(upstream).all():
            dv, dalpha = convolution.backward(upstream)
        else:
            dv, dalpha = run.backward(call, run.table_of(call) if table is None else table, upstream)
        tail = given[len(given) - (2 if call.symmetry is None else 1) :]
        grads = {
            "v": call.unpacked(dv, call.shape.keys),
            "alpha": sum_to(dalpha.reshape((*call.own, *tail)), given),
        }
        return wrap.gradients(grads)

    return result, pullback


def reference(
    v, *, alpha, symmetry=None, softmax=False, form="auto", causal=False, mask=None, return_weights=False
):  # fmt: skip
    """The equations in plain NumPy, with the table; analytic, so complex inputs work, too."""
    alpha, keys = np.asarray(alpha), v.shape[-2]
    symmetry = check_symmetry(symmetry, keys, causal)
    if symmetry is not None:
        alpha = alpha[..., numbers(symmetry, keys, keys).reshape(keys, keys)]
    table = np.broadcast_to(alpha, (*v.shape[:-2], *alpha.shape[-2:]))
    band = {"causal": causal, "mask": mask}
    if softmax:
        weights = plain.softmax(table, **band)
    else:
        weights = np.where(plain.allowed_keys(table.shape, **band), table, 0)
    return (weights @ v, weights) if return_weights else weights @ v


def sample(rng, *, batch=(2,), heads=2, tokens=5, width=4, dtype=np.float64) -> Sample:
    """Unit Gaussian v; one free table a head, of variance 1 / T."""
    rng = as_generator(rng)
    v = rng.standard_normal((*batch, heads, tokens, width)).astype(dtype)
    alpha = rng.standard_normal((heads, tokens, tokens)) / math.sqrt(max(tokens, 1))
    return Sample((v,), {"alpha": alpha.astype(dtype)})


def of_vectors(x) -> Sample:
    """v = x; the softmax of minus the distance: nearby positions, since nothing else is known of them."""
    place = np.arange(x.shape[-2])
    return Sample((x,), {"alpha": -abs(place[:, None] - place).astype(x.dtype), "softmax": True})


def _generic() -> Sample:
    return sample(np.random.default_rng(0), batch=(), heads=1)


_NO_QUERIES = DoesNotApply("weights depend on positions alone: there is no kernel of queries and keys")
PROPERTIES: dict[Property, Claim] = {
    Property.ROW_STOCHASTIC: Fails("weights are free, of any sign; with softmax=True they are", _generic, by=0.1),
    Property.BOUNDED: Fails("weights are free; with softmax=True outputs are means", _generic, by=0.1),
    Property.SYMMETRIC: _NO_QUERIES,
    Property.PSD: _NO_QUERIES,
    Property.SIGN_INVARIANT: _NO_QUERIES,
    Property.SCALE_INVARIANT: _NO_QUERIES,
    Property.KEY_SHIFT_INVARIANT: _NO_QUERIES,
    Property.PHASE_SHIFT_INVARIANT: DoesNotApply("inputs are vectors, not phases"),
    Property.PERMUTATION_EQUIVARIANT: Fails("only the symmetry group of alpha may reorder tokens", _generic, by=0.1),
    Property.EXACT_LINEAR_FORM: _NO_QUERIES,
}

MECHANISM = Mechanism(
    name="position_only",
    inputs=("v",),
    parameters=("alpha",),
    forward=position_only,
    vjp=_vjp,
    reference=reference,
    sample=sample,
    of_vectors=of_vectors,
    properties=PROPERTIES,
    trainable=TRAINABLE,
    cite="Rende and Viteritti, Mach. Learn.: Sci. Technol. 6, 010501 (2025), arXiv:2405.18874",
)
