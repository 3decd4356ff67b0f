"""Streaming decode of Kuramoto attention."""

from typing import Any

from .. import _inputs
from .._cache import Cache, check_cache
from .._cores import run
from .._labels import like, plain
from .call import check_call
from .run import features, room, successors_too, updated
from .update import SHARE


def kuramoto_step(
    theta: Any,
    cache: Cache,
    *,
    heads: int = 1,
    gate_query: Any = None,
    gate_key: Any = None,
    beta: Any = 1.0,
    drift: Any = None,
    drift_values: bool = False,
    step: Any = 1.0,
    coupling: Any = None,
    update: str = "tangent",
    strict: bool = False,
    mask: Any = None,
) -> Any:
    """Causal `kuramoto` of new tokens to all tokens so far; their keys and values join the cache.

    Step by step it gives what ``kuramoto(..., causal=True, window=cache.window)`` gives for the whole sequence.

    Parameters
    ----------
    theta : ndarray of float, shape (..., t, d)
        Phases of the next t tokens, usually 1.
    cache : Cache
        Changed in place. It holds keys, turned by the drift, and cosines and sines.
    heads, beta, drift, drift_values, step, coupling, update, strict
        As in `kuramoto`; the same at every step.
    gate_query, gate_key : ndarray of float, shape (d,) or (..., t, d), optional
        Of the new tokens.
    mask : ndarray of bool, broadcastable to (..., heads, t, kept + t), optional

    Returns
    -------
    ndarray of float, shape (..., t, d)

    Raises
    ------
    ValueError
        As `kuramoto`, or if the angles do not continue the cache, which is then as it was.
    TypeError
        If the arrays are not where the cache is, on CUDA or on the host.

    Examples
    --------
    >>> import numpy as np, primeattn as pa
    >>> theta, cache = np.arange(6.0).reshape(3, 2), pa.attention.Cache()
    >>> steps = [pa.attention.kuramoto_step(theta[i : i + 1], cache, drift="rotary") for i in range(3)]
    >>> bool(np.allclose(np.concatenate(steps), pa.attention.kuramoto(theta, drift="rotary", causal=True)))
    True
    """
    check_cache(cache)
    labels, theta = theta, plain(theta)
    call = check_call(
        theta, memory=None, heads=heads, gate_query=gate_query, gate_key=gate_key, beta=beta, drift=drift,
        drift_values=drift_values, step=step, coupling=coupling, update=update, causal=True, strict=strict,
        first=cache.position,
    )  # fmt: skip
    z = call.queries.sizes
    phasors, q, k = features(call, call.queries)
    q, k = (call.shaped(x, call.queries, 2 * z.width) for x in (q, k))
    with cache.unchanged_on_error():
        cache.append(k, call.shaped(phasors, call.queries, z.depth))
        keys, values = cache._buffers
        checked = _inputs.check_call(
            q, keys, values, keys=cache._kept, causal=True, mask=mask, scale=1.0, window=cache.window, alibi=None
        )
        x, g = checked.problem, checked.layout
        g = g._replace(after=-1) if strict else g
        values = x.v[cache._start * g.depth :]
        x = x._replace(k=x.k[cache._start * g.width :], v=values)
        moments, lse = run.forward(x, g, checked.heads)
        out = updated(call, call.queries.theta, phasors, moments, None, 0)
        if call.delayed:  # one row further on stand the successors
            x = x._replace(v=values[g.depth :], **successors_too(mask, call, cache._kept))
            later, lse_before = run.forward(x, g._replace(after=-1), checked.heads)
            share = room(lse.size, phasors)
            if share.size:
                SHARE(share.size, tuple(z), lse, lse_before, moments, later, share)
            out = updated(call, out, phasors, later, share, 1)
        cache.trim()
    return like(labels, out.reshape(call.shapes["theta"]))
