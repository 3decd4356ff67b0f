r"""How far eigen attention can be from dot-product attention, from the scores and values that it drops.

Let dz_ij be the change of score ij over the keys J_i that query i may attend, p the weights of dot_product, p' those of
eigen attention. Along the path z + t dz the weights change by dp = p (dz - sum p dz), so

    sum_j |p'_ij - p_ij| <= max_t E |X - E X| <= (max_j dz_ij - min_j dz_ij) / 2 =: w_i       (X = dz_ij, j ~ p)

because a variable of range R is at most R / 2 from its mean on average. With Pi = C C' and

    y_i - y'_i = sum_j p_ij (v_j - Pi v_j) + sum_j (p_ij - p'_ij) Pi v_j,
    |y_i - y'_i| <= sum_j p_ij |v_j - Pi v_j| + min(w_i, 2) max_j |Pi v_j|.
"""

from typing import Any, NamedTuple

import numpy as np

from ... import _labelled
from ..._runtime import devices
from .._cores import reference as plain
from .._inputs import check_band, check_mask, check_scale
from .._rope import turn_both
from .mechanism import check_bases
from .project import down, up


class EigenErrorBound(NamedTuple):
    """What `eigen_error_bound` found.

    Attributes
    ----------
    weights : ndarray of float64, shape (..., Tq)
        The sum of the absolute changes of a row of weights is at most this.
    output : ndarray of float64, shape (..., Tq)
        The length of the change of an output is at most this.
    total : float
        The Frobenius norm of the change of all outputs is at most this.
    """

    weights: np.ndarray
    output: np.ndarray
    total: float


def eigen_error_bound(
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
) -> EigenErrorBound:
    r"""Bounds on the difference between `eigen` and `dot_product` on given data.

    Parameters
    ----------
    q, k, v, basis_key, basis_value, basis_query, causal, mask, scale, window, rope
        As in `eigen`, on the host.

    Returns
    -------
    EigenErrorBound
        ``weights``, ``output``: one bound a query; ``total``: one for all outputs. They hold in exact arithmetic.

    Raises
    ------
    TypeError, ValueError
        As `eigen`, and for CUDA arrays.

    Notes
    -----
    .. math:: \sum_j |p'_{ij} - p_{ij}| \le w_i = \tfrac12 \big(\max_j \delta_{ij} - \min_j \delta_{ij}\big), \qquad
              |y'_i - y_i| \le \sum_j p_{ij} |v_j - \Pi v_j| + \min(w_i, 2) \max_j |\Pi v_j|,

    with :math:`\delta` the change of the scores and :math:`\Pi = C C^\top`. Both maxima run over the keys that query i
    may attend. Weights are computed in blocks of queries: memory is Tk numbers for each of some 64 queries a head.

    References
    ----------
    Eigen Attention is arXiv:2408.05646; the bound is ours.

    Examples
    --------
    >>> import numpy as np, primeattn as pa
    >>> x = np.random.default_rng(0).standard_normal((50, 8)) * 2.0 ** -np.arange(8)
    >>> bases = pa.attention.eigen_bases(x, x, x, rank=4)
    >>> bound = pa.attention.eigen_error_bound(x, x, x, **bases.options)
    >>> change = pa.attention.eigen(x, x, x, **bases.options) - pa.attention.dot_product(x, x, x)
    >>> bool((np.linalg.norm(change, axis=-1) <= bound.output).all()), bound.total < 0.7
    (True, True)
    """
    q, k, v = (x.values if _labelled.is_labelled(x) else x for x in (q, k, v))
    if devices.on_cuda(q=q, k=k, v=v, mask=mask, basis_key=basis_key, basis_value=basis_value):
        raise TypeError("q, k, v are CUDA arrays but bounds are computed on the host: pass pa.to_host of them")
    q, k, v, of_key, of_value, of_query = check_bases(q, k, v, basis_key, basis_value, basis_query)
    scale = float(check_scale(scale, q.shape[-1], np.dtype(np.float64)))
    lead, (queries, keys) = q.shape[:-2], (q.shape[-2], k.shape[-2])
    check_band(causal, window, queries, keys)
    check_mask(mask, lead, queries, keys, q)
    near, kept = up(down(k, of_key), of_query or of_key), up(down(v, of_value), of_value)
    a, b = q, q
    if rope is not None:
        a, k = turn_both(q, k, rope)
        b, near = turn_both(q, near, rope)
    heads = lead[-1] if lead else 1
    k, near, v, kept = (plain.grouped(x, heads).astype(float) for x in (k, near, v, kept))
    lost, length = np.linalg.norm(v - kept, axis=-1), np.linalg.norm(kept, axis=-1)
    weights, output = np.zeros((*lead, queries)), np.zeros((*lead, queries))
    mask = np.broadcast_to(True if mask is None else mask, (*lead, queries, keys))
    for i in range(0, queries if keys else 0, 64):
        rows = slice(i, min(i + 64, queries))
        allowed = mask[..., rows, :] & _band(rows, queries, keys, causal, window)
        z = scale * (a[..., rows, :].astype(float) @ np.swapaxes(k, -1, -2))
        change = scale * (b[..., rows, :].astype(float) @ np.swapaxes(near, -1, -2)) - z
        p = plain.softmax(z, mask=allowed)
        top = np.where(allowed, change, -np.inf).max(axis=-1)
        low = np.where(allowed, change, np.inf).min(axis=-1)
        some = allowed.any(axis=-1)
        weights[..., rows] = np.where(some, top - low, 0) / 2
        longest = np.where(allowed, length[..., None, :], 0).max(axis=-1)
        output[..., rows] = (p @ lost[..., None])[..., 0] + np.minimum(weights[..., rows], 2) * longest
    return EigenErrorBound(weights, output, float(np.linalg.norm(output)))


def _band(rows, queries, keys, causal, window):
    ahead = np.arange(keys) - (np.arange(rows.start, rows.stop) + keys - queries)[:, None]
    allowed = ahead <= 0 if causal else np.ones_like(ahead, bool)
    return allowed if window is None else allowed & (abs(ahead) < window)
