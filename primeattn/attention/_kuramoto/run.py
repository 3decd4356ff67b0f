"""The passes of a call, forward and backward: features, softmax attention, update."""

import math
from typing import Any, NamedTuple

import numpy as np

from ..._runtime import devices
from .. import _inputs
from .._cores import run
from .._cores.layout import Layout, Problem
from .call import Call, Tokens, gate_gradient
from .features import FEATURES, PULL
from .sums import column_sums
from .update import PULL_UPDATE, SUCCESSOR, UPDATE


class Pass(NamedTuple):
    """A softmax attention, with what it gave."""

    problem: Problem
    layout: Layout
    moments: Any
    lse: Any


class Result(NamedTuple):
    """``phasors`` of the queries; ``before``: the delayed pass, or an empty one."""

    out: Any
    phasors: Any
    main: Pass
    before: Pass | None


def features(side: Tokens, key: Tokens, depth: int, *, query: bool, keys: bool):
    """v, q, k of one side's angles, flat; empty where not wanted. The gates of keys come from ``key``."""
    z, like = side.sizes, side.theta
    per_row = 2 * z.width
    v, q, k = (devices.empty(side.rows * n, like.dtype, like=like) for n in (depth, per_row * query, per_row * keys))
    if side.rows:
        FEATURES(side.rows, like, tuple(z), side.cosine, side.sine, tuple(side.side), tuple(key.side), v, q, k)
    return v, q, k


def forward(call: Call, *, causal, strict, mask, window) -> Result:
    z = call.queries.sizes
    if call.own:
        phasors, q, k = features(call.queries, call.keys, z.depth, query=True, keys=True)
        v = phasors
    else:
        phasors, q, _ = features(call.queries, call.keys, z.depth, query=True, keys=False)
        v, _, k = features(call.keys, call.keys, z.depth, query=False, keys=True)
    q, k = call.shaped(q, call.queries, 2 * z.width), call.shaped(k, call.keys, 2 * z.width)
    checked = _inputs.check_call(
        q, k, call.shaped(v, call.keys, z.depth), causal=causal, mask=mask, scale=1.0, window=window, alibi=None
    )
    x, g = checked.problem, checked.layout
    g = g._replace(after=-1) if strict else g
    main = Pass(x, g, *run.forward(x, g, checked.heads))
    before = None
    if call.delayed:
        successors = devices.empty(v.size, v.dtype, like=v)
        if v.size:
            SUCCESSOR(call.keys.rows, tuple(call.keys.sizes), v, successors)
        x = x._replace(v=_inputs._read_only(successors), **_successors_too(mask, call))
        g = g._replace(after=-1)
        before = Pass(x, g, *run.forward(x, g, checked.heads))
    return Result(updated(call, phasors, main, before), phasors, main, before)


def _successors_too(mask, call: Call) -> dict[str, Any]:
    """The mask of the delayed pass: a key's successor must be allowed as well as the key."""
    if mask is None:
        return {}
    host = np.atleast_2d(devices.to_host(mask))
    if host.shape[-1] > 1:
        host = host & np.concatenate([host[..., 1:], host[..., -1:]], axis=-1)
    z, like = call.queries.sizes, call.queries.theta
    flat, at, *_ = _inputs.check_mask(
        _inputs._placed(np.ascontiguousarray(host), like), (*call.lead, z.heads), z.tokens, call.keys.sizes.tokens, like
    )
    return {"mask": _inputs._read_only(flat), "mask_at": _inputs._read_only(at)}


def updated(call: Call, phasors, main: Pass, before: Pass | None):
    """theta + delta, flat."""
    theta = call.queries.theta
    out = devices.empty(theta.size, theta.dtype, like=theta)
    if out.size:
        n, lse = (before.moments, before.lse) if before else (devices.empty(0, theta.dtype, like=theta), main.lse)
        UPDATE(
            call.queries.rows, tuple(call.queries.sizes), call.form, theta, phasors, main.moments, n, main.lse, lse,
            call.real, call.imag, out,
        )  # fmt: skip
    return out


def weights(call: Call, result: Result):
    main = result.main
    return call.shaped(run.weights(main.problem, main.layout, main.lse), call.queries, call.keys.sizes.tokens)


def backward(call: Call, result: Result, upstream) -> dict[str, Any]:
    """Gradients by name, in the shapes of the arguments."""
    theta, main, before = call.queries.theta, result.main, result.before

    def room(n):
        return devices.empty(n, theta.dtype, like=theta)

    terms = call.real.size // call.width
    complex_coupling = np.iscomplexobj(call.given.get("coupling", 0.0))
    dtheta, dm, dn = room(theta.size), room(main.moments.size), room(before.moments.size if before else 0)
    dreal, dimag = room(theta.size * terms), room(theta.size * terms * complex_coupling)
    if theta.size:
        n, lse = (before.moments, before.lse) if before else (room(0), main.lse)
        PULL_UPDATE(
            call.queries.rows, tuple(call.queries.sizes), call.form, upstream, result.phasors, main.moments, n,
            main.lse, lse, call.real, call.imag, dm, dn, dtheta, dreal, dimag,
        )  # fmt: skip
    dq, dk, dv, _ = run.backward(main.problem, main.layout, main.moments, main.lse, dm, False)
    dsuccessors = room(0)
    if before:
        dq_, dk_, dsuccessors, _ = run.backward(before.problem, before.layout, before.moments, before.lse, dn, False)
        dq, dk = _sum(dq, dq_), _sum(dk, dk_)
    grads = _pull(call, result, (dtheta, dq, dk, dv, dsuccessors), upstream)
    grads |= _kernel_gradients(call, dreal, dimag, terms)
    return grads


def _sum(a, b):
    """a + b, for the two passes of the delayed form."""
    if not devices.is_device_array(a):
        return np.add(a, b, out=a)
    return devices.to_device(devices.to_host(a) + devices.to_host(b))


def _pull(call: Call, result: Result, flowing, upstream) -> dict[str, Any]:
    """From gradients of q, k, v to those of angles, gates, beta and drift."""
    dtheta, dq, dk, dv, dsuccessors = flowing
    theta, empty = call.queries.theta, devices.empty(0, dtheta.dtype, like=dtheta)

    def pull(side, query, values, dq, dk, dv, dsuccessors, dtheta):
        like = [devices.empty(side.theta.size, theta.dtype, like=theta) for _ in range(3)]
        if side.rows:
            PULL(
                side.rows, tuple(side.sizes), side.cosine, side.sine, tuple(query.side), tuple(call.keys.side), values,
                dq, dk, dv, dsuccessors, dtheta, *like,
            )  # fmt: skip
        return like

    if call.own:
        dalpha, dgate_q, dgate_k = pull(
            call.queries, call.queries, result.phasors, dq, dk, dv, dsuccessors, dtheta
        )  # fmt: skip
        moved = [(call.queries, dtheta, dalpha)]
        grads = {"theta": dtheta.reshape(call.shapes["theta"])}
    else:
        dmemory = _zeros(call.keys.theta.size, theta)
        dalpha, dgate_q, _ = pull(call.queries, call.queries, result.phasors, dq, empty, empty, empty, dtheta)
        dalpha_k, _, dgate_k = pull(
            call.keys, call.queries, result.main.problem.v, empty, dk, dv, dsuccessors, dmemory
        )  # fmt: skip
        moved = [(call.queries, dtheta, dalpha), (call.keys, dmemory, dalpha_k)]
        grads = {"theta": dtheta.reshape(call.shapes["theta"]), "memory": dmemory.reshape(call.shapes["memory"])}
    grads |= _score_gradients(call, dgate_q, dgate_k)
    if "drift" in call.given and call.shapes["drift"]:
        grads["drift"] = _drift_gradient(call, moved, upstream)
    return grads


def _zeros(n: int, like):
    return _inputs._placed(np.zeros(n, like.dtype), like)


def _small(x, shape, like):
    """A gradient of a parameter, from float64 on the host."""
    return _inputs._placed(np.asarray(x, like.dtype).reshape(shape), like)


def _score_gradients(call: Call, dgate_q, dgate_k) -> dict[str, Any]:
    query, key, width = call.queries, call.keys, call.width
    grads, gate = {}, query.side.gate
    totals = column_sums(dgate_q, width, gate if query.side.token else None)
    dbeta = devices.to_host(totals).astype(np.float64)
    if not query.side.token:
        dbeta = dbeta * devices.to_host(gate)
    dbeta = dbeta.reshape(query.sizes.heads, -1).sum(axis=1)
    if math.prod(call.shapes["beta"]) == 1:
        dbeta = dbeta.sum()
    grads["beta"] = _small(dbeta, call.shapes["beta"], dgate_q)
    for name, side, dgate in (("gate_query", query, dgate_q), ("gate_key", key, dgate_k)):
        if name in call.shapes:
            sums = None
            if not side.side.token:
                sums = totals if name == "gate_query" else column_sums(dgate, width)
            grads[name] = gate_gradient(call, name, side, dgate, sums)
    return grads


def _drift_gradient(call: Call, moved, upstream):
    """sum_t t dalpha; if the drift turns values, too, every angle but the residual's is alpha."""
    total = np.zeros(call.width)
    for side, dtheta, dalpha in moved:
        first = call.keys.sizes.tokens - call.queries.sizes.tokens if side is call.queries else 0
        time = _inputs._placed(np.arange(first, first + side.sizes.tokens).astype(dalpha.dtype), dalpha)
        if call.queries.sizes.turn_values == 0:
            total += devices.to_host(column_sums(dalpha, call.width, time))
            continue
        total += devices.to_host(column_sums(dtheta, call.width, time))
        if side is call.queries:
            total -= devices.to_host(column_sums(upstream, call.width, time))
    if call.shapes["drift"] != (call.width,):
        total = total.reshape(call.queries.sizes.heads, -1).sum(axis=0)
    return _small(total, call.shapes["drift"], call.queries.theta)


def _kernel_gradients(call: Call, dreal, dimag, terms: int) -> dict[str, Any]:
    """Of step and coupling, whose product is kappa."""
    columns, like, width = terms * call.width, call.queries.theta, call.width
    dkappa = devices.to_host(column_sums(dreal, columns)).astype(complex).reshape(terms, width)
    if dimag.size:
        dkappa.imag = devices.to_host(column_sums(dimag, columns)).reshape(terms, width)
    step, coupling = call.given["step"], call.given.get("coupling")
    ones = np.ones((1, 1, 1)) if coupling is None else coupling
    kernel = np.broadcast_to(ones, (*ones.shape[:2], width)).reshape(terms, width)
    dstep = (dkappa * kernel.conj()).real.sum(axis=0)
    grads = {"step": _small(dstep if step.size > 1 else dstep.sum(), call.shapes["step"], like)}
    if coupling is not None:
        dcoupling = dkappa * step
        if coupling.shape[-1] == 1 and width > 1:
            dcoupling = dcoupling.sum(axis=-1)
        complex_type = np.result_type(like.dtype, np.complex64)
        dcoupling = dcoupling if np.iscomplexobj(coupling) else dcoupling.real
        dtype = complex_type if np.iscomplexobj(coupling) else like.dtype
        grads["coupling"] = _inputs._placed(dcoupling.astype(dtype).reshape(call.shapes["coupling"]), like)
    return grads
