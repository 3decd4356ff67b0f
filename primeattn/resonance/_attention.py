"""``attention``: dense values mixed by the resonance of prime states, and its pullback."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .._runtime import devices
from ._dense_softmax import by_table
from ._inverted import Postings, columns, postings
from ._linear import DIVIDE, FLOOR, Rows, Walk, by_walking, walk
from ._linear_gradients import pull_by_walking, with_last_column
from ._overlap_gradients import pull_by_overlaps
from ._overlaps import by_overlaps
from ._prepare import Call, prepare, put_rows, unwrap
from ._profiles import Profile, frozen, pull_profile
from ._rotation import coefficients, pull_coefficients
from ._rotor import pull_rotors
from ._softmax import DELTA, attend, pull
from ._walk import pull_plainly, read_plainly

SPARSE = 0.3  # share of overlapping pairs below which rows are gathered and not multiplied


def attention(
    query,
    key,
    value,
    *,
    form="softmax",
    kind="kernel",
    normalizer=None,
    overlap="jaccard",
    amplitude=False,
    weights=None,
    temperature=1.0,
    heads=1,
    causal=False,
    mask=None,
    order=None,
) -> Any:
    r"""Attention between prime states over dense values: rows of ``value`` mixed by the resonance of the states.

    Parameters
    ----------
    query : PrimeStates of Tq states
        Also a labelled Dataset, or ``StateArrays`` on CUDA, as everywhere in this module.
    key : PrimeStates of Tk states
        May be ``query``.
    value : array_like of float, shape (Tk, d)
        One row for each key. Check it for NaN and infinity: these may reach every output of their column, also those
        of queries that may not attend the key.
    form : {"softmax", "linear"}
        "softmax": weights exp(K / temperature). "linear": weights K themselves, in time linear in Tq and Tk.
    kind, overlap, amplitude
        As in `score`.
    normalizer : {"union", "sqrt"}, optional
        As in `score`. Default "union", for the linear form "sqrt".
    weights : three floats >= 0 that sum to 1, or one such row for each head, optional
        Mixing weights of overlap, alignment and coherence. Default for one head: as in `score`; for H > 1 heads the
        schedule of the original, (.5 - .3 t, .3, .2 + .3 t), t = h / (H - 1).
    temperature : float > 0
        The linear form has no temperature and ignores it.
    heads : int
        Head h mixes the columns h d/H to (h + 1) d/H - 1 with its own weights; the states are the same for all heads.
        So d must be a multiple of ``heads``.
    causal : bool
        Query i attends keys j <= i + (Tk - Tq), itself included.
    mask : array_like of bool, optional
        True = may attend. Shape (Tk,) or (1, Tk): key padding, free of cost. Any other shape that broadcasts to
        (Tq, Tk) makes the softmax form cost Tq Tk d, and is refused by the linear form.
    order : {"rotor"}, optional
        Turn the states by the prefix products of the keys' rotors first (`PrimeStates.cumcompose`): query i by that
        of the key it stands at, i + (Tk - Tq). Masked keys turn, too.

    Returns
    -------
    ndarray of float, shape (Tq, d)
        float32 if states and values are, else float64. DataArray for labelled input, CUDA array for CUDA input.

    Raises
    ------
    TypeError
        If states or arrays are on different devices, or mask is not boolean.
    ValueError
        For shapes that do not fit, options that do not go together, and a linear form without a finite feature map
        (kind "original", normalizer "union", overlap "ruzicka") or with a mask for each query.

    Notes
    -----
    With K the score and A(i) the keys that query i may attend,

    .. math:: out_i = \frac{\sum_{j \in A(i)} e^{K_{ij}/\tau} v_j}{\sum_{j \in A(i)} e^{K_{ij}/\tau}}
              \quad\text{or}\quad out_i = \frac{\sum_{j \in A(i)} K_{ij} v_j}{\sum_{j \in A(i)} K_{ij}} .

    Both are exact. Softmax costs what the overlaps cost: keys without a common prime share one weight. The linear
    form goes through a feature map of 12 numbers a prime: O((Tq + Tk) k d). Degenerate rows: softmax without any
    overlap is the plain mean of the attended values; linear gives zeros where no attended key has a positive score
    (no shared prime, an empty state, or overlap weight 0 and orthogonal orientations; up to 64 eps of the shared
    mass); no attended key at all gives zeros. Results do not depend on the number of threads, but for the matrix
    products where most pairs overlap.

    References
    ----------
    S. Schepis, *tinyaleph* (the original score and its heads). Derivations: the theory page on resonant attention.

    Examples
    --------
    >>> import primeattn as pa
    >>> s = pa.PrimeStates.from_dicts([{2: 1}, {2: 1, 3: 1}, {5: 1}])
    >>> pa.resonance.attention(s, s, [[1.0], [2.0], [4.0]], form="linear", causal=True).round(3)
    array([[1.   ],
           [1.586],
           [4.   ]])
    """
    query, key, value, wrap = unwrap(query, key, value)
    call = prepare(
        query, key, value, form=form, kind=kind, normalizer=normalizer, overlap=overlap, amplitude=amplitude,
        weights=weights, temperature=temperature, heads=heads, causal=causal, mask=mask, order=order,
    )  # fmt: skip
    return wrap(run(call).out)


class Result(NamedTuple):
    """The output (n, d), and what its pullback needs: softmax statistics, or inverse sums and the walk."""

    out: Any
    saved: Any
    walk: Any = None  # of the linear form


def run(call: Call) -> Result:
    """Compute a prepared call on its device by the path that fits."""
    a, b = call.profiles
    if call.linear:
        run_form = linear_plainly if call.cuda else _linear_on_cpu
        return run_form(call, a, b)
    tau = call.value.dtype.type(call.tau)
    if call.cuda:
        flat, steps = _mask_numbers(call)
        out, stats = attend(a, b, call.form[:2], call.weights, tau, call.limit, flat, steps, _flat(call.value))
        return Result(out.reshape((a.n, call.value.shape[1])), stats)
    index, value = postings(a, b), frozen(call.value).reshape(call.value.shape)
    limit, mask = call.allowed.limit, call.allowed.mask
    if mask is not None or expected_overlaps(index, a, b, limit) > SPARSE:
        out, stats = by_table(a, b, index, call.form[:2], call.weights, tau, limit, mask, value)
    else:
        out, stats = by_overlaps(a, b, index, call.form[:2], call.weights, tau, limit, value)
    return Result(out, stats)


def expected_overlaps(index: Postings, a: Profile, b: Profile, limit: np.ndarray) -> float:
    """Share of the pairs that overlap, from the number of postings met, as if these fell on keys at random."""
    before = np.concatenate([[0], np.cumsum(index.until - index.begin)])
    visits = before[a.indptr[1:]] - before[a.indptr[:-1]]
    return float(np.mean(-np.expm1(-visits / max(b.n, 1)))) if a.n else 0.0


def _flat(x):
    return x.reshape(x.size)


def _mask_numbers(call: Call):
    """A mask as bytes and its steps along queries and keys; on the device of the values."""
    mask = call.allowed.mask
    flat = np.ones(1) if mask is None else mask.reshape(-1)
    return devices.to_device(flat.astype(np.uint8)), ((0, 0) if mask is None else (mask.shape[1], 1))


def _linear_on_cpu(call: Call, a: Profile, b: Profile) -> Result:
    found = walk(a, b, call.allowed.limit)
    value = frozen(call.value).reshape(call.value.shape)
    c = coefficients(call.heads.weights).astype(value.dtype)
    out, inverse = by_walking(found, c, value)
    return Result(out, inverse, found)


def linear_plainly(call: Call, a: Profile, b: Profile) -> Result:
    """The linear form by the plain rows, on either device."""
    own, other, primes = columns(devices.to_host(a.primes), devices.to_host(b.primes))
    found = Walk(Rows(a, own, -1), Rows(b, other, -1), call.limit, primes)
    heads, dtype = len(call.heads.weights), call.value.dtype
    c = coefficients(call.heads.weights).astype(dtype)
    only = np.zeros_like(c[:1])
    only[0, 0] = 1
    ones, one = (call.beside(np.ones(b.n * h, dtype)) for h in (heads, 1))
    c, only = call.beside(c.reshape(-1)), call.beside(only.reshape(-1))
    sums = read_plainly(found, _flat(call.value), c, heads)
    totals = read_plainly(found, ones, c, heads)
    mass = read_plainly(found, one, only, 1)
    out = devices.empty(sums.size, dtype, like=sums)
    width = call.value.shape[1] // heads
    DIVIDE(a.n, heads, width, dtype.type(FLOOR * np.finfo(dtype).eps), totals, mass, sums, out)
    return Result(out.reshape((a.n, heads * width)), totals, found)


def attention_vjp(
    query,
    key,
    value,
    *,
    weights,
    form="softmax",
    temperature=1.0,
    heads=1,
    causal=False,
    mask=None,
    order=None,
    **score,
) -> tuple[Any, Callable[[Any], dict[str, Any]]]:
    """``(out, pullback)`` of ``attention``; documented with `vjp`."""
    if key is None or value is None:
        raise ValueError("attention is of queries, keys and values: vjp('attention', query, key, value)")
    query, key, value, _ = unwrap(query, key, value)
    call = prepare(
        query, key, value, form=form, weights=weights, temperature=temperature, heads=heads, causal=causal, mask=mask,
        order=order, **score,
    )  # fmt: skip
    result = run(call)

    def pullback(dout) -> dict[str, Any]:
        dout = _upstream(dout, result.out)
        if call.linear:
            pull_form = pull_linear_plainly if call.cuda else pull_linear
            dvalue, dx, dy, dweights = pull_form(call, result, dout)
            dtau = 0.0
        else:
            dvalue, dx, dy, dweights, dtau = _pull_softmax(call, result, dout)
        gradients = _pull_states(call, dx, dy)
        dvalue = put_rows(dvalue.reshape(call.value.shape), call.allowed.kept, call.keys)
        dweights = dweights.astype(call.value.dtype).reshape(-1, 3)
        if np.ndim(weights) == 1 or (heads == 1 and weights is None):
            dweights = dweights.sum(axis=0)
        return {**gradients, "value": dvalue, "weights": dweights, "temperature": float(dtau)}

    return result.out, pullback


def _upstream(dout, out):
    if devices.on_cuda(dout=dout, out=out):
        dout = devices.device_view(dout)
    else:
        dout = np.ascontiguousarray(dout, dtype=out.dtype)
    if dout.shape != out.shape or dout.dtype != out.dtype:
        raise ValueError(f"dout is {dout.dtype} {dout.shape}: the output is {out.dtype} {out.shape}; pass its like")
    return dout if devices.is_device_array(dout) else frozen(dout).reshape(dout.shape)


def _pull_softmax(call: Call, result: Result, dout):
    a, b = call.profiles
    tau = call.value.dtype.type(call.tau)
    if call.cuda:
        flat, steps = _mask_numbers(call)
        found = pull(
            a, b, call.form[:2], call.weights, tau, call.limit, flat, steps, _flat(call.value), result.saved,
            _flat(result.out), _flat(dout),
        )  # fmt: skip
    else:
        value = frozen(call.value).reshape(call.value.shape)
        out = frozen(result.out).reshape(result.out.shape)
        found = pull_by_overlaps(
            a,
            b,
            call.form[:2],
            call.weights,
            tau,
            call.allowed.limit,
            call.allowed.mask,
            value,
            result.saved,
            out,
            dout,
        )
    *gradients, dweights, dtau = found
    each = devices.to_host(dweights).reshape(a.n, call.heads.weights.size)
    return *gradients, each.sum(axis=0, dtype=np.float64), devices.to_host(dtau).sum(dtype=np.float64)


def pull_linear(call: Call, result: Result, dout):
    """``(dvalue, dentries, dentries_b, dweights)`` by the fast walk."""
    value, out = (frozen(x).reshape(x.shape) for x in (call.value, result.out))
    c = coefficients(call.heads.weights).astype(value.dtype)
    return pull_by_walking(result.walk, c, value, result.saved, out, dout)


def pull_linear_plainly(call: Call, result: Result, dout):
    """As ``pull_by_walking``, by the plain rows; the small arithmetic between them runs on the host."""
    heads, n, dtype = len(call.heads.weights), dout.shape[0], dout.dtype
    delta = devices.empty(n * heads, dtype, like=dout)
    DELTA(n * heads, dout.shape[1] // heads, _flat(dout), _flat(result.out), delta)
    g, inverse, value = (devices.to_host(x) for x in (dout, result.saved, call.value))
    dsums = (g.reshape(n, heads, g.shape[1] // heads) * inverse.reshape(n, heads, 1)).reshape(g.shape)
    x = with_last_column(dsums, heads, -(devices.to_host(delta) * inverse).reshape(n, heads))
    y = with_last_column(value, heads, 1)
    x, y, dsums, c = (call.beside(z.reshape(-1)) for z in (x, y, dsums, coefficients(call.heads.weights).astype(dtype)))
    back = result.walk._replace(limit=call.allowed.limit).reversed()
    back = back._replace(limit=call.beside(back.limit))
    dx, dc = pull_plainly(result.walk, y, x, c, heads)
    dy, _ = pull_plainly(back, x, y, c, heads)
    return read_plainly(back, dsums, c, heads), dx, dy, pull_coefficients(dc)


def _pull_states(call: Call, dx, dy) -> dict[str, Any]:
    """Entries back to amplitudes and orientations, through the rotors if there are any."""
    mass = call.form.mass
    (query, key), (turned, turned_b), (a, b) = call.states, call.turned, call.profiles
    damplitude, dorientation = pull_profile(a, dx, mass)
    damplitude_b, dorientation_b = pull_profile(b, dy, mass)
    kept = call.allowed.kept
    if kept is not None:
        entry_kept = np.repeat(np.isin(np.arange(call.keys), kept), np.diff(devices.to_host(key.indptr)))
        at, nnz = np.flatnonzero(entry_kept), key.primes.size
        damplitude_b = put_rows(damplitude_b.reshape((at.size, 2)), at, nnz).reshape(2 * nnz)
        dorientation_b = put_rows(dorientation_b.reshape((at.size, 4)), at, nnz).reshape(4 * nnz)
    if call.rotor is not None:
        dorientation, dorientation_b = pull_rotors(
            query, key, turned, turned_b, call.rotor, dorientation, dorientation_b
        )
    return {"query": _gradients(damplitude, dorientation), "key": _gradients(damplitude_b, dorientation_b)}


def _gradients(damplitude, dorientation) -> dict[str, Any]:
    nnz = damplitude.size // 2
    if devices.is_device_array(damplitude):
        return {"amplitude": damplitude.reshape((nnz, 2)), "orientation": dorientation.reshape((nnz, 4))}
    wide = np.complex64 if damplitude.dtype == np.float32 else np.complex128
    return {"amplitude": damplitude.view(wide), "orientation": dorientation.reshape(nnz, 4)}
