"""``attend_states``: attention whose values are prime states themselves, as in the original."""

from typing import Any, NamedTuple

import numpy as np

from .._runtime import devices
from ..states import PrimeStates
from . import _labels
from ._inverted import score_matrix
from ._merge_states import merge as merge_states
from ._options import Form, check_fits, profiles, state_arrays
from ._pairs import score_table
from ._profiles import StateArrays, frozen
from ._request import Allowed, check_allowed, check_attention_form, check_heads, check_temperature
from ._rotor import check_order, rotors, turn_both

_LESS = "take fewer queries at a time"


class AttendedStates(NamedTuple):
    """What `attend_states` returns."""

    states: Any
    weights: Any
    scores: Any


def attend_states(
    query,
    key,
    value_states,
    *,
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
    merge="markley",
) -> AttendedStates:
    r"""Softmax attention over values that are states: one merged state for each query.

    Parameters
    ----------
    query, key : PrimeStates of Tq and Tk states
    value_states : PrimeStates of Tk states
    kind, normalizer, overlap, amplitude, weights, temperature, heads, causal, mask, order
        As in `attention`; all heads see whole value states. One head without weights is plain attention; the
        original's multi-head attention with one head has ``weights=[(.5, .3, .2)]``.
    merge : {"markley", "original"}
        How orientations merge, see Notes.

    Returns
    -------
    AttendedStates
        ``states``: Tq states on the primes that any attended value holds, amplitudes of norm 1 (0 if they cancel);
        ``weights`` and ``scores``: float, shape (heads, Tq, Tk). A query without an allowed key gets the empty state
        and weights 0. Scores of pairs that may not attend are given all the same.

    Raises
    ------
    MemoryError
        If the dense tables of weights and of merged states need more than half of this machine's memory.
    TypeError, ValueError
        As in `attention`, for an unknown merge, and for value_states that are not as many as the keys.

    Notes
    -----
    Amplitudes add, :math:`a_p = \sum_j w_j a_{jp}`, and are then brought to norm 1. Orientations: "markley" is the
    unit q that maximises :math:`\sum_j w_j (q \cdot q_{jp})^2`, free of the order and the signs of the values; a tie
    goes to the tied vector nearest to the heaviest value, with w >= 0. "original" is the published merge, which
    depends on the order of the keys and weighs the first value too much. With H heads each head merges on its own,
    and the H states merge likewise, with the same weight for each.

    Examples
    --------
    >>> import primeattn as pa
    >>> s = pa.PrimeStates.from_dicts([{2: 1}, {2: 1, 3: 1}])
    >>> found = pa.resonance.attend_states(s[:1], s, s)
    >>> found.weights.round(3).tolist(), found.states.primes.tolist()
    ([[[0.622, 0.378]]], [2, 3])
    """
    if merge not in ("markley", "original"):
        raise ValueError(f"merge is {merge!r}: pass 'markley' or 'original'")
    same, twice = key is query, value_states is key
    (query, key), _ = _labels.unwrap(query, None if same else key)
    (value_states, _), _ = _labels.unwrap(value_states, None)
    x = state_arrays("query", query)
    y = x if same else state_arrays("key", key)
    values = y if twice else state_arrays("value_states", value_states)
    n, m = x.indptr.size - 1, y.indptr.size - 1
    if values.indptr.size - 1 != m:
        raise ValueError(f"value_states has {values.indptr.size - 1} states, key {m}: one value for each key is wanted")
    devices.on_cuda(query=x.primes, key=y.primes, value_states=values.primes)
    form = check_attention_form("softmax", kind, None, normalizer, overlap, amplitude)
    split, tau = check_heads(heads, weights, kind, 0), check_temperature(temperature)
    allowed = as_table(check_allowed(n, m, causal, mask, False), m)
    check_fits(
        2 * split.weights.shape[0] * n * m * values.amplitude.itemsize, "the tables of scores and weights", _LESS
    )
    if check_order(order, n, m):
        x, y = turn_both(x, y, rotors(y))
    scores = _scores(x, y, form, split.weights)
    spread = softmax(scores, tau, allowed).astype(values.amplitude.dtype)
    states = _merged(values, spread, allowed, merge == "original", getattr(query, "labels", None))
    cuda = devices.is_device_array(values.primes)
    return AttendedStates(states, *(devices.to_device(t) if cuda else t for t in (spread, scores)))


def as_table(allowed: Allowed, m: int) -> np.ndarray:
    """Who may attend whom, bool (n, m)."""
    kept = np.arange(m) if allowed.kept is None else allowed.kept
    found = np.zeros((allowed.limit.size, m), bool)
    found[:, kept] = np.arange(kept.size) < allowed.limit[:, None]
    return found if allowed.mask is None else found & allowed.mask


def _scores(x: StateArrays, y: StateArrays, form: Form, weights: np.ndarray) -> np.ndarray:
    """Scores of all pairs and heads, on the host."""
    a, b, w = profiles(x, None if y is x else y, form)
    found = np.empty((len(weights), a.n, b.n), a.entries.dtype)
    for h, row in enumerate(weights):
        if devices.is_device_array(w):
            found[h] = devices.to_host(score_table(a, b, form[:2], devices.to_device(row.astype(w.dtype))))
        else:
            found[h] = score_matrix(a, b, form[:2], row.astype(w.dtype), half=b is a)
    return found


def softmax(scores: np.ndarray, tau: float, allowed: np.ndarray) -> np.ndarray:
    """exp(scores / tau) over the allowed keys, rows of sum 1; 0 where none is allowed."""
    top = np.max(scores, axis=-1, keepdims=True, initial=-np.inf, where=allowed)
    e = np.where(allowed, np.exp((scores - np.where(np.isfinite(top), top, 0)) / tau), 0)
    total = e.sum(axis=-1, keepdims=True)
    return np.divide(e, total, out=np.zeros_like(e), where=total > 0)


def _merged(values: StateArrays, weights: np.ndarray, allowed: np.ndarray, original: bool, labels) -> Any:
    """The merged states: dense over the primes of the values, then compacted."""
    heads, n, m = weights.shape
    indptr, primes = (devices.to_host(t) for t in values[:2])
    table, column = np.unique(primes, return_inverse=True)
    size = n * table.size * (6 * (heads + 1) * weights.itemsize + 8)
    check_fits(size, f"a table of {heads} x {n:,} merged states on {table.size:,} primes", _LESS)
    order = np.argsort(column, kind="stable")
    group = np.searchsorted(column[order], np.arange(table.size + 1)).astype(np.int64)
    state = np.repeat(np.arange(m), np.diff(indptr))[order]
    a = devices.to_host(values.amplitude).reshape(-1, 2)[order].reshape(-1)
    q = devices.to_host(values.orientation).reshape(-1, 4)[order].reshape(-1)
    arrays = (group, state, a, q, allowed.astype(np.uint8).reshape(-1), weights.reshape(-1))
    cuda = devices.is_device_array(values.primes)
    if cuda:
        arrays = tuple(devices.to_device(t) for t in arrays)
    found = (devices.to_host(t) for t in merge_states(n, m, heads, table.size, int(original), *arrays))
    amplitude, orientation, present = found
    active = present.reshape(n, table.size) > 0
    counts = np.concatenate([[0], np.cumsum(active.sum(axis=1))]).astype(np.int64)
    at = np.flatnonzero(active.reshape(-1))
    amplitude, orientation = amplitude.reshape(-1, 2)[at], orientation.reshape(-1, 4)[at]
    flat = StateArrays(*(frozen(t) for t in (counts, table[at % max(table.size, 1)], amplitude, orientation)))
    if cuda:
        return flat.to_device()
    wide = np.complex64 if amplitude.dtype == np.float32 else np.complex128
    return PrimeStates(
        flat.indptr, flat.primes, flat.amplitude.view(wide), flat.orientation.reshape(-1, 4), labels=labels
    )
