"""``vjp``: a score and its pullback."""

from collections.abc import Callable
from typing import Any

import numpy as np

from .._runtime import devices
from .._runtime.checks import as_floating
from . import _labels
from ._attention import attention_vjp
from ._gradients import by_index, by_merging
from ._inverted import score_matrix
from ._options import check_fits, check_form, profiles
from ._pairs import pairing, score_pairs, score_table
from ._profiles import frozen, pull_profile


def vjp(
    function,
    a,
    b=None,
    value=None,
    *,
    kind="kernel",
    weights=None,
    normalizer=None,
    overlap="jaccard",
    amplitude=False,
    **options,
) -> tuple[Any, Callable[[Any], dict[str, Any]]]:
    r"""A score, or attention, and its pullback: gradients derived by hand.

    Parameters
    ----------
    function : {"score", "matrix", "attention"}
    a : PrimeStates
        The queries of attention.
    b : PrimeStates, optional
        Needed for "score". For "matrix" the default is ``a`` on both sides. The keys of attention.
    value : array_like of float, optional
        The values of attention.
    kind, weights, normalizer, overlap, amplitude
        As in `score` and `attention`.
    **options
        form, temperature, heads, causal, mask and order of `attention`.

    Returns
    -------
    out : ndarray of float
        What the function returns (plain, also for labelled states).
    pullback : callable
        ``pullback(dout)`` with dout of the shape of out gives a dict:

        - "a": {"amplitude": complex (nnz,), dre + i dim; "orientation": float (nnz, 4), on the tangent of S^3}
        - "b": the same for b; absent if b was
        - "weights": float (3,), of free weights (not held to the sum 1)

        For attention: "query" and "key" in place of "a" and "b" (two entries also where both are one batch: add
        them), "value" (Tk, d), "weights" (3,), or (H, 3) for heads, and "temperature", a float.

        On CUDA the arrays of "a" and "b" are float, (nnz, 2) and (nnz, 4), and stay there; "weights" comes to the host.

    Raises
    ------
    ValueError
        For another function name, a missing b, or a dout of another shape.
    MemoryError, TypeError
        As in `matrix` and `score`; TypeError for a dout that is not real.

    Notes
    -----
    Only the phase of an amplitude matters to the Jaccard kinds; the amplitude and Ruzicka variants also have a
    gradient along its modulus, in "amplitude" through the L2 normalisation. Sub-gradients, by decision: 0 at an
    amplitude of 0; 0 at \|q.q'\| = 0 in the original; one half for each side of min(\|a\|, \|a'\|) at a tie. Each
    state gathers its own gradient, so results do not depend on the number of threads.

    Examples
    --------
    >>> import primeattn as pa
    >>> s = pa.PrimeStates.from_dicts([{2: 1}, {2: 1j}])
    >>> out, pullback = pa.resonance.vjp("matrix", s)
    >>> pullback([[0, 1], [0, 0]])["a"]["amplitude"].round(3).tolist()
    [0.167j, (0.167+0j)]
    """
    if function == "attention":
        given = {"kind": kind, "weights": weights, "normalizer": normalizer, "overlap": overlap, "amplitude": amplitude}
        return attention_vjp(a, b, value, **given, **options)
    if function not in ("score", "matrix"):
        raise ValueError(f"function is {function!r}: pass 'score', 'matrix' or 'attention'")
    if value is not None or options:
        raise TypeError(f"{', '.join(options) or 'value'} belongs to 'attention', not to {function!r}")
    normalizer = "union" if normalizer is None else normalizer
    if function == "score" and b is None:
        raise ValueError("score is of two batches: pass b, or use 'matrix'")
    (a, b), _ = _labels.unwrap(a, b)
    form = check_form(kind, weights, normalizer, overlap, amplitude)
    x, y, w = profiles(a, b, form)
    choice, cuda, both = form[:2], devices.is_device_array(x.entries), b is not None
    if function == "score":
        pairing(x.n, y.n)
        out = score_pairs(x, y, choice, w)
    elif cuda:
        out = score_table(x, y, choice, w)
    else:
        check_fits(x.n * y.n * x.entries.itemsize, f"a dense matrix of {x.n:,} x {y.n:,} scores", "take fewer rows")
        out = score_matrix(x, y, choice, w, half=not both)

    def pullback(dout) -> dict[str, Any]:
        upstream = _upstream(dout, out, x.entries)
        if function == "score":
            parts = _score_gradients(x, y, choice, w, upstream)
        elif cuda:
            parts = _table_gradients(x, y, choice, w, upstream)
        else:
            parts = _matrix_gradients(x, y, choice, w, upstream, both)
        return _collect(x, y, form.mass, both, *parts)

    return out, pullback


def _upstream(dout, out, like):
    if devices.on_cuda(dout=dout, out=out):
        dout = devices.device_view(dout)
    else:
        dout = as_floating("dout", dout, dtype=like.dtype)
    if dout.shape != out.shape or dout.dtype != like.dtype:
        raise ValueError(f"dout is {dout.dtype} {dout.shape}: the output is {like.dtype} {out.shape}; pass its like")
    return dout


def _score_gradients(x, y, choice, w, dout):
    """Row by row: i meets i; a single state meets all states of the other side."""
    dout = dout if devices.is_device_array(dout) else frozen(dout)
    own, dweights = by_merging(x, y, choice, w, dout, x.n == y.n, int(x.n > 1), int(x.n == 1))
    other, _ = by_merging(y, x, choice, w, dout, x.n == y.n, int(y.n > 1), int(y.n == 1))
    return own, other, dweights


def _matrix_gradients(x, y, choice, w, dout, both):
    """All pairs on the CPU. Without b, (i, j) and (j, i) are one number: both upstream gradients go to both states."""
    own, dweights = by_index(x, y, choice, w, frozen(dout if both else dout + dout.T))
    if both:
        return own, by_index(y, x, choice, w, frozen(dout.T))[0], dweights
    return own, None, dweights / 2


def _table_gradients(x, y, choice, w, dout):
    """All pairs on CUDA, by merging."""
    flat = dout.reshape(dout.size)
    own, dweights = by_merging(x, y, choice, w, flat, False, y.n, 1)
    other, _ = by_merging(y, x, choice, w, flat, False, 1, y.n)
    return own, other, dweights


def _collect(x, y, mass, both, own, other, dweights):
    """Entries back to amplitudes and orientations; weights summed over states in order."""
    result = {"weights": devices.to_host(dweights).reshape(-1, 3).sum(axis=0)}
    if both:
        return {"a": _pull(x, own, mass), "b": _pull(y, other, mass), **result}
    return {"a": _pull(x, own, mass), **result}


def _pull(side, dentries, mass):
    damplitude, dorientation = pull_profile(side, dentries, mass)
    nnz = side.primes.size
    if devices.is_device_array(damplitude):
        return {"amplitude": damplitude.reshape((nnz, 2)), "orientation": dorientation.reshape((nnz, 4))}
    wide = np.complex64 if damplitude.dtype == np.float32 else np.complex128
    return {"amplitude": damplitude.view(wide), "orientation": dorientation.reshape(nnz, 4)}
