r"""Bases for eigen attention from data: which r directions of keys, queries and values to keep.

Per key head, over all calibration tokens, with thin singular value decompositions:

    stacked   [K; Q] = U S B'             the first r columns of B serve keys and queries (the paper)
    score     Q B_q B_k' K' = the best approximation of Q K' of rank r (Eckart and Young). With the symmetric roots
              R_q = (Q'Q)^{1/2}, R_k = (K'K)^{1/2} and R_q R_k = P S W', the singular values S are those of Q K', and
                  B_q = R_k W_r S_r^{-1/2},     B_k = R_q P_r S_r^{-1/2}
              balance them: (Q B_q)'(Q B_q) = (K B_k)'(K B_k) = S_r
    values    V = U S C'                  the first rv columns of C: the best approximation of V of rank rv

Why the score bases do it: with polar forms Q = O_q R_q, K = O_k R_k,
Q B_q B_k' K' = O_q R_q R_k W_r S_r^{-1} P_r' R_q R_k O_k' = O_q P_r S_r W_r' O_k'.
"""

from typing import Any, NamedTuple

import numpy as np

from ... import _labelled
from ..._runtime import devices
from .._cores import run
from .._inputs import check_arrays, check_call, is_number
from .project import check_basis, down, up


class EigenBases(NamedTuple):
    """What `eigen_bases` found.

    Attributes
    ----------
    key : ndarray of float, shape (..., D, r)
        One basis a key head.
    value : ndarray of float, shape (..., Dv, rv)
    query : ndarray of float, shape (..., D, r), or None
        None where the basis of the keys serves queries, too.
    ranks_key, ranks_value : ndarray of int, shape (...,)
        What each head asked for; r and rv are the largest of them.
    spectrum_key, spectrum_value : ndarray of float, shape (..., D) and (..., Dv)
        Singular values, falling.
    error : float or None
        Relative error of the layer's output on the calibration data, if a budget was given.
    """

    key: np.ndarray
    value: np.ndarray
    query: np.ndarray | None
    ranks_key: np.ndarray
    ranks_value: np.ndarray
    spectrum_key: np.ndarray
    spectrum_value: np.ndarray
    error: float | None

    @property
    def options(self) -> dict[str, np.ndarray | None]:
        """Keyword arguments of `eigen`, `eigen_step` and `eigen_error_bound`."""
        return {"basis_key": self.key, "basis_value": self.value, "basis_query": self.query}

    @property
    def ratio(self) -> float:
        """Numbers that a cache keeps a token, over those of a full one: (r + rv) / (D + Dv)."""
        (width, rank), (depth, narrow) = self.key.shape[-2:], self.value.shape[-2:]
        return (rank + narrow) / (width + depth)


def eigen_bases(
    q: Any,
    k: Any,
    v: Any,
    *,
    rank: int | tuple[int, int] | None = None,
    energy: float | None = None,
    singular: float | None = None,
    budget: float | None = None,
    factorization: str = "stacked",
    causal: bool = False,
    scale: float | None = None,
) -> EigenBases:
    r"""Calibrate bases for `eigen` on queries, keys and values of a layer.

    Parameters
    ----------
    q, k, v : ndarray of float, shapes (..., Hq, Tq, D), (..., H, Tk, D), (..., H, Tk, Dv)
        Calibration data, finite; axes before the heads are samples. Without heads, (T, D). For a model with rope they
        are the arrays before rope.
    rank : int or (int, int), optional
        Rank of keys (and queries), and of values. Exactly one of rank, energy, singular and budget must be given.
    energy : float, optional
        Keep the fewest directions that hold this share of the sum of squares of the singular values.
    singular : float, optional
        As many directions as have a cumulative share of the sum of the singular values themselves below this: what
        the authors' code does.
    budget : float, optional
        The smallest ranks for which the relative Frobenius error of the layer's output stays within this, along the
        ranks that ``singular`` gives; found by bisection, and held by the result.
    factorization : {"stacked", "score"}
        One basis for keys and queries from both stacked (the paper), or two that approximate the scores best.
    causal, scale
        Of the layer; used by ``budget`` only.

    Returns
    -------
    EigenBases
        In the dtype of the data. A rank of 0 is raised to 1; all heads get the rank of the one that asks for most.

    Raises
    ------
    ValueError
        For shapes that do not fit, none or several of the four criteria, a criterion out of range, or data that is
        empty or not finite.
    TypeError
        For CUDA arrays: calibration runs on the host.

    Notes
    -----
    Values: with :math:`V = U S C^\top`, no :math:`\Pi` of rank r has a smaller :math:`\|V - V\Pi\|_F` than
    :math:`C_r C_r^\top`. Scores: "stacked" is optimal for the stack of keys and queries, not for :math:`Q K^\top`;
    "score" is, and lowers the error most where queries and keys have different spectra.

    References
    ----------
    Saxena, Saha, Choudhary, Roy, "Eigen Attention", EMNLP 2024, arXiv:2408.05646. Eckart and Young, Psychometrika 1,
    211 (1936).

    Examples
    --------
    >>> import numpy as np, primeattn as pa
    >>> x = np.random.default_rng(0).standard_normal((2, 100, 8)) * 2.0 ** -np.arange(8)
    >>> bases = pa.attention.eigen_bases(x, x, x, energy=0.95)
    >>> bases.key.shape, bases.ranks_key.tolist(), bases.ratio
    ((2, 8, 3), [3, 3], 0.375)
    >>> out = pa.attention.eigen(x, x, x, **bases.options)
    >>> error = np.linalg.norm(out - pa.attention.dot_product(x, x, x)) / np.linalg.norm(out)
    >>> bool(error < 0.2)
    True
    """
    q, k, v = (x.values if _labelled.is_labelled(x) else x for x in (q, k, v))
    given = {"rank": rank, "energy": energy, "singular": singular, "budget": budget}
    given = {name: x for name, x in given.items() if x is not None}
    if len(given) != 1:
        raise ValueError(f"{', '.join(given) or 'nothing'} was given: pass one of rank, energy, singular and budget")
    if factorization not in ("stacked", "score"):
        raise ValueError(f"factorization is {factorization!r}: pass 'stacked' or 'score'")
    if devices.on_cuda(q=q, k=k, v=v):
        raise TypeError("q, k, v are CUDA arrays but calibration runs on the host: pass pa.to_host of them")
    q, k, v, group = check_arrays(q, k, v)
    queries, keys, values = _by_head(q, group), _by_head(k), _by_head(v)
    if not (queries.size and keys.size) or not all(np.isfinite(x).all() for x in (q, k, v)):
        raise ValueError("q, k or v is empty or not finite: bases need data of every head")
    full = _full_bases(queries, keys, values, factorization)
    ((name, wanted),) = given.items()
    if name == "budget":
        chosen, error = _within(_positive("budget", wanted), full, q, k, v, causal, scale)
    else:
        chosen, error = _ranks(name, wanted, full.spectrum_key, full.spectrum_value), None
    return _cut(full, chosen, error, q.dtype, () if k.ndim < 3 else (k.shape[-3],))


def grassmann_gradient(basis: Any, gradient: Any) -> np.ndarray:
    r"""The part of a basis's gradient that turns its subspace: (I - B B') dB, for orthonormal columns.

    Parameters
    ----------
    basis, gradient : ndarray of float, shape (..., D, r)
        A basis with orthonormal columns, and the plain gradient that ``vjp("eigen", ...)`` gives for it.

    Returns
    -------
    ndarray of float, shape (..., D, r)
        The Riemannian gradient on the Grassmann manifold. Follow it, then orthonormalise again (``numpy.linalg.qr``).

    Raises
    ------
    ValueError
        For unequal shapes.

    Notes
    -----
    Scores and outputs depend on B through :math:`B B^\top` only, so a change :math:`B A` within the subspace, A
    antisymmetric, has no effect, and the projection removes such parts.

    References
    ----------
    Edelman, Arias, Smith, SIAM J. Matrix Anal. Appl. 20, 303 (1998).

    Examples
    --------
    >>> import numpy as np, primeattn as pa
    >>> pa.attention.grassmann_gradient(np.eye(3)[:, :1], np.array([[5.0], [1.0], [2.0]])).ravel()
    array([0., 1., 2.])
    """
    b, d = np.asarray(basis), np.asarray(gradient)
    if b.shape != d.shape or b.ndim < 2:
        raise ValueError(f"basis has shape {b.shape} and gradient {d.shape}: equal shapes (..., D, r) are wanted")
    return d - b @ (np.swapaxes(b, -1, -2) @ d)


class _Full(NamedTuple):
    """All directions of all heads, in float64."""

    key: np.ndarray
    query: np.ndarray | None
    value: np.ndarray
    spectrum_key: np.ndarray
    spectrum_value: np.ndarray


def _by_head(x, group: int = 1):
    """(samples..., H, T, D) to (H / group, tokens, D), float64: all tokens of a head, of all samples and its group."""
    if x.ndim == 2:
        return x[None].astype(float)
    x = np.moveaxis(x, -3, 0)
    return x.reshape(x.shape[0] // group, -1, x.shape[-1]).astype(float)


def _full_bases(q, k, v, factorization) -> _Full:
    spectrum_value, value = _directions(v)
    if factorization == "stacked":
        spectrum, key = _directions(np.concatenate([k, q], axis=1))
        return _Full(key, None, value, spectrum, spectrum_value)
    root_q, root_k = _root(q), _root(k)
    p, spectrum, w = np.linalg.svd(root_q @ root_k)
    floor = np.finfo(float).eps * spectrum[..., :1] * spectrum.shape[-1]
    inverse = np.where(spectrum > floor, 1 / np.sqrt(np.maximum(spectrum, np.finfo(float).tiny)), 0)[..., None, :]
    return _Full(root_q @ p * inverse, root_k @ np.swapaxes(w, -1, -2) * inverse, value, spectrum, spectrum_value)


def _directions(x):
    """Singular values (heads, D) and right singular vectors as columns (heads, D, D), also for few tokens."""
    missing = x.shape[-1] - x.shape[-2]
    if missing > 0:
        x = np.concatenate([x, np.zeros((x.shape[0], missing, x.shape[-1]))], axis=1)
    _, spectrum, rows = np.linalg.svd(np.linalg.qr(x, mode="r"))
    return spectrum, np.swapaxes(rows, -1, -2)


def _root(x):
    """The symmetric root of x' x."""
    spectrum, columns = _directions(x)
    return (columns * spectrum[..., None, :]) @ np.swapaxes(columns, -1, -2)


def _ranks(name, wanted, spectrum_key, spectrum_value):
    """What every head asks for: (ranks of keys, ranks of values)."""
    if name == "rank":
        pair = tuple(wanted) if isinstance(wanted, tuple | list | np.ndarray) else (wanted, wanted)
        widths = spectrum_key.shape[-1], spectrum_value.shape[-1]
        whole = len(pair) == 2 and all(isinstance(r, int | np.integer) and not isinstance(r, bool) for r in pair)
        if not whole or any(not 0 <= r <= w for r, w in zip(pair, widths, strict=True)):
            raise ValueError(f"rank is {wanted!r}: an integer, or two, of at most {widths[0]} and {widths[1]}")
        return tuple(np.full(len(spectrum_key), max(int(r), 1)) for r in pair)
    if not is_number(wanted) or not 0 < wanted <= 1:
        raise ValueError(f"{name} is {wanted!r}: a share in (0, 1] is wanted")
    return tuple(_count(s, wanted, squared=name == "energy") for s in (spectrum_key, spectrum_value))


def _count(spectrum, share, squared):
    """Directions below a cumulative share; for energies also the one that reaches it."""
    top = spectrum[..., :1]  # in units of it squares stay in range
    s = spectrum / np.where(top > 0, top, 1)
    s = s**2 if squared else s
    total = s.sum(axis=-1, keepdims=True)
    below = (np.cumsum(s, axis=-1) < share * np.where(total > 0, total, 1) * (1 - 1e-12)).sum(axis=-1)
    return np.clip(below + squared, 1, spectrum.shape[-1])


def _within(budget, full, q, k, v, causal, scale):
    """The smallest ranks along the shares of singular sums whose output error is within the budget."""
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    exact = _output(q, k, v, causal, scale)
    size, lead = float(np.linalg.norm(exact)) or 1.0, tuple(k.shape[:-2])
    shares = [_shares(s) for s in (full.spectrum_key, full.spectrum_value)]
    levels = np.unique(np.concatenate([*shares, [2.0]]))  # the last keeps everything

    def ranks(i):
        return tuple(_count(s, levels[i], squared=False) for s in (full.spectrum_key, full.spectrum_value))

    def error(i):
        b = _cut(full, ranks(i), None, q.dtype, lead[-1:])
        of_key = check_basis("key", b.key, q.shape[-1], lead, "k")
        of_query = of_key if b.query is None else check_basis("query", b.query, q.shape[-1], lead, "k")
        of_value = check_basis("value", b.value, v.shape[-1], lead, "v")
        narrow = _output(down(q, of_query), down(k, of_key), down(v, of_value), causal, scale)
        return float(np.linalg.norm((up(narrow, of_value) - exact).astype(float))) / size

    low, high = 0, len(levels) - 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if error(middle) <= budget else (middle + 1, high)
    return ranks(high), error(high)


def _shares(spectrum):
    """Cumulative shares: just above each, the rank grows."""
    total = spectrum.sum(axis=-1, keepdims=True)
    return (np.cumsum(spectrum, axis=-1) / np.where(total > 0, total, 1)).clip(1e-9, 1).ravel()


def _output(q, k, v, causal, scale):
    call = check_call(q, k, v, causal=causal, mask=None, scale=scale, window=None, alibi=None)
    out, _ = run.forward(call.problem, call.layout, call.heads)
    return call.shaped(out, call.layout.queries, call.layout.depth)


def _cut(full, ranks, error, dtype, head) -> EigenBases:
    r, rv = (int(n.max()) for n in ranks)

    def first(table, n):
        return None if table is None else np.ascontiguousarray(table[..., :n].reshape((*head, -1, n)), dtype=dtype)

    def shaped(x):
        return x.reshape((*head, *x.shape[1:]))

    return EigenBases(
        first(full.key, r), first(full.value, rv), first(full.query, r), shaped(ranks[0]), shaped(ranks[1]),
        shaped(full.spectrum_key), shaped(full.spectrum_value), error,
    )  # fmt: skip


def _positive(name, x):
    if not is_number(x) or x < 0:
        raise ValueError(f"{name} is {x!r}: a number >= 0 is wanted")
    return x
