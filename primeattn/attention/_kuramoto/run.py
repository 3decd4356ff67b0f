"""The passes of a call: features, softmax attention, update."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ..._runtime import devices, memory
from .. import _inputs
from .._cores import run
from .._cores.layout import Layout, Problem
from . import by_head
from .ablations import ABLATED
from .call import HASHABLE, Call, Tokens, ones
from .features import FEATURES, Side
from .update import SHARE, SUCCESSOR, UPDATE


class Pass(NamedTuple):
    """A softmax attention, with what it gave."""

    problem: Problem
    layout: Layout
    moments: Any
    lse: Any


class Result(NamedTuple):
    """``phasors``: cosines and sines of the queries. ``before``: the delayed pass, and its share of the weights."""

    out: Any
    phasors: Any
    main: Pass
    before: Pass | None
    share: Any


class ByHead(NamedTuple):
    """What `by_head.forward` gave, and how to take the passes one by one instead."""

    out: Any
    saved: by_head.Saved
    passes: Callable[[], Result]


def room(n: int, like):
    return devices.empty(n, like.dtype, like=like)


def rooms(like, *sizes: int):
    """Arrays side by side: many arrays of their own, freed together, go back to the system and come page by page."""
    if devices.is_device_array(like):
        return [room(n, like) for n in sizes]
    return memory.parts(memory.aligned(memory.total_size(sizes, like.dtype), like.dtype), sizes)


def gates(call: Call, side: Tokens) -> tuple[Side, Side]:
    """Of the queries and keys that one side's angles give. A memory gives no queries: gates 1 for what nobody reads."""
    if call.own:
        return call.query, call.key
    plain = Side(ones(call.width, side.theta), 0, ones(side.sizes.heads, side.theta))
    return (call.query, plain) if side is call.queries else (plain, call.key)


def features(call: Call, side: Tokens):
    """Values, queries and keys of the angles of one side, flat."""
    z, n, like = side.sizes, side.rows, side.theta
    v, q, k = rooms(like, n * z.depth, n * 2 * z.width, n * 2 * z.width)
    if side.rows:
        query, key = gates(call, side)
        FEATURES(
            side.rows, like, tuple(z), tuple(side.shown), tuple(side.spins), tuple(query), tuple(key), v, q, k
        )  # fmt: skip
    return v, q, k


class Band(NamedTuple):
    """What `_inputs.check_call` gives, without q, k and v, which are our own; the plan if heads go one by one."""

    limits: tuple
    layout: Layout
    plan: by_head.Plan | None


def band(call: Call, *, causal, strict, mask, window) -> Band:
    like, options = call.queries.theta, (causal, strict, window)
    sides = call.queries.sizes, call.keys.sizes.tokens, call.lead
    wanted = (call.is_complex, run.get_num_threads(), run.strip_sizes) if by_head.suits(call) else None
    if mask is None and type(like) is np.ndarray and HASHABLE.issuperset(map(type, options)):
        return _unmasked(*sides, like.dtype, *options, wanted)
    return _band(*sides, like, *options, mask, wanted)


@lru_cache(256, typed=True)
def _unmasked(z, keys: int, lead, dtype, causal, strict, window, wanted) -> Band:
    return _band(z, keys, lead, np.empty(0, dtype), causal, strict, window, None, wanted)


def _band(z, keys: int, lead, like, causal, strict, window, mask, wanted) -> Band:
    """``wanted``: what else the plan depends on, if there may be one."""
    if mask is not None:
        devices.on_cuda(theta=like, mask=mask)
    heads = (*lead, z.heads)
    flat, at, *steps = _inputs.check_mask(mask, heads, z.tokens, keys, like)
    before, after = _inputs.check_band(causal, window, z.tokens, keys)
    layout = Layout(1, z.tokens, keys, keys, 2 * z.width, z.depth, before, -1 if strict else after, *steps)
    flat, at = (_inputs.flat(x) for x in (flat, at))
    limits = flat, at, _inputs.check_slopes(None, heads, like), like.dtype.type(1)
    plan = by_head.plan_of(z, layout, lead, like.dtype, *wanted) if wanted else None
    return Band(limits, layout, plan)


def forward(call: Call, *, causal, strict, mask, window, weights=False) -> Result | ByHead:
    """``weights``: they are wanted, too, so the queries and keys of all heads are."""
    limits, g, plan = band(call, causal=causal, strict=strict, mask=mask, window=window)
    done = by_head.forward(call, limits, plan) if plan and not weights else None
    if not done:
        return passes(call, limits, g, mask)
    out, saved = done
    return ByHead(out, saved, lambda: passes(call, limits, g, mask))


def passes(call: Call, limits: tuple, g: Layout, mask) -> Result:
    """One after the other, each over all heads. ``limits``: what follows q, k, v in the problem."""
    z = call.queries.sizes
    phasors, q, k = features(call, call.queries)
    v = phasors
    if not call.own:
        v, _, k = features(call, call.keys)
    x = Problem(_inputs.flat(q), _inputs.flat(k), _inputs.flat(v), *limits)
    heads = g.queries and call.queries.rows // g.queries
    main = Pass(x, g, *run.forward(x, g, heads))
    out = updated(call, call.queries.theta, phasors, main.moments, None, 0)
    if not call.delayed:
        return Result(out, phasors, main, None, None)
    successors, share = room(v.size, v), room(main.lse.size, v)
    if v.size:
        SUCCESSOR(call.keys.rows, tuple(call.keys.sizes), v, successors)
    x = x._replace(v=_inputs.flat(successors), **successors_too(mask, call, call.keys.sizes.tokens))
    g = g._replace(after=-1)
    before = Pass(x, g, *run.forward(x, g, heads))
    if share.size:
        SHARE(share.size, tuple(z), main.lse, before.lse, main.moments, before.moments, share)
    return Result(updated(call, out, phasors, before.moments, share, 1), phasors, main, before, share)


def successors_too(mask, call: Call, keys: int) -> dict[str, Any]:
    """The mask of the delayed pass: a key's successor must be allowed as well as the key."""
    if mask is None:
        return {}
    host = np.atleast_2d(devices.to_host(mask))
    if host.shape[-1] > 1:
        host = host & np.concatenate([host[..., 1:], host[..., -1:]], axis=-1)
    z, like = call.queries.sizes, call.queries.theta
    placed = _inputs._placed(np.ascontiguousarray(host), like)
    flat, at, *_ = _inputs.check_mask(placed, (*call.lead, z.heads), z.tokens, keys, like)
    return {"mask": _inputs.flat(flat), "mask_at": _inputs.flat(at)}


def kappa(call: Call, delay: int):
    n = call.queries.sizes.harmonics * call.width
    return call.real[delay * n : (delay + 1) * n], call.imag[delay * n : (delay + 1) * n]


def shares(share, like):
    """rho and its step: one a row, or 1 for all."""
    return (ones(1, like), 0) if share is None else (_inputs.flat(share), 1)


def updated(call: Call, before, phasors, moments, share, delay: int):
    """``before`` plus the increments of one delay, flat."""
    theta, z = call.queries.theta, tuple(call.queries.sizes)
    out = room(theta.size, theta)
    if out.size and call.form:
        ABLATED(call.queries.rows, z, call.form, theta, phasors, moments, call.real, out)
    elif out.size:
        before = _inputs.flat(before)
        UPDATE(call.queries.rows, z, before, phasors, moments, *shares(share, theta), *kappa(call, delay), out)
    return out


def weights(call: Call, result: Result | ByHead):
    main = (result.passes() if isinstance(result, ByHead) else result).main
    return call.shaped(run.weights(main.problem, main.layout, main.lse), call.queries, call.keys.sizes.tokens)
