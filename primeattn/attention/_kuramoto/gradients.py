"""The passes of a call, backward: each in the reverse order of ``run``, with the derivatives of its own module."""

import math
from typing import Any

import numpy as np

from ..._runtime import devices
from .. import _inputs
from .._cores import run
from .ablations import PULL_ABLATED
from .call import Call, Tokens
from .features import PULL, Side
from .run import Result, gates, kappa, room, shares
from .sums import SCALE, column_sums
from .update import PULL_UPDATE, SHARE_PULL


def backward(call: Call, result: Result, upstream) -> dict[str, Any]:
    """Gradients by name, in the shapes of the arguments."""
    main, before = result.main, result.before
    dm, dtheta, *dkappa = _pull_updated(call, upstream, upstream, result.phasors, main.moments, None, 0)
    terms, dnext = [dkappa], room(0, dtheta)
    if before:
        dn, dtheta, *dkappa = _pull_updated(call, dtheta, upstream, result.phasors, before.moments, result.share, 1)
        terms.append(dkappa)
        if dn.size:
            SHARE_PULL(result.share.size, tuple(call.queries.sizes), before.moments, dm, dn)
    dm = _inputs._read_only(dm)
    dq, dk, dv, _ = run.backward(main.problem, main.layout, main.moments, main.lse, dm, False)
    if before:
        dn = _inputs._read_only(dn)
        again = run.backward(before.problem, before.layout, before.moments, before.lse, dn, False)
        dq, dk, dnext = _sum(dq, again[0]), _sum(dk, again[1]), again[2]
    return _pull(call, result, dtheta, (dq, dk, dv, dnext), upstream) | _kernel_gradients(call, terms)


def _pull_updated(call: Call, before, upstream, phasors, moments, share, delay: int):
    """dM, dtheta = ``before`` + dphi, and the shares of the gradients of real and imaginary coupling."""
    theta, z = call.queries.theta, tuple(call.queries.sizes)
    n = theta.size * call.queries.sizes.harmonics
    dm, dtheta, dreal = room(moments.size, theta), room(theta.size, theta), room(n, theta)
    dimag = room(n * (call.given["coupling"] is not None and np.iscomplexobj(call.given["coupling"])), theta)
    if theta.size and call.form:
        PULL_ABLATED(call.queries.rows, z, call.form, upstream, phasors, moments, call.real, dm, dtheta, dreal)
    elif theta.size:
        PULL_UPDATE(
            call.queries.rows, z, _inputs._read_only(before), upstream, phasors, moments, *shares(share, theta),
            *kappa(call, delay), dm, dtheta, dreal, dimag,
        )  # fmt: skip
    return dm, dtheta, dreal, dimag


def _sum(a, b):
    """a + b, for the two passes of the delayed form."""
    if not devices.is_device_array(a):
        return np.add(a, b, out=a)
    return devices.to_device(devices.to_host(a) + devices.to_host(b))


def _pull(call: Call, result: Result, dtheta, flowing, upstream) -> dict[str, Any]:
    """From gradients of q, k, v to those of angles, gates, beta and drift."""
    dq, dk, dv, dnext = flowing

    def pull(side: Tokens, values, dq, dk, dv, dnext, dtheta):
        made = [room(side.theta.size, dtheta) for _ in range(3)]
        if side.rows:
            of_queries, of_keys = (tuple(x) for x in gates(call, side))
            PULL(
                side.rows, tuple(side.sizes), tuple(side.spins), of_queries, of_keys, _inputs._read_only(values),
                dq, dk, dv, dnext, dtheta, *made,
            )  # fmt: skip
        return made

    grads, turned = {"theta": dtheta}, {}
    if call.own:
        turned["theta"], dgate_q, dgate_k = pull(call.queries, result.phasors, dq, dk, dv, dnext, dtheta)
    else:
        grads["memory"] = zeros(call.keys.theta.size, dtheta)
        nothing = zeros(dq.size, dq), zeros(result.phasors.size, dq), room(0, dq)
        turned["theta"], dgate_q, _ = pull(call.queries, result.phasors, dq, *nothing, dtheta)
        values, none = result.main.problem.v, zeros(dk.size, dk)
        turned["memory"], _, dgate_k = pull(call.keys, values, none, dk, dv, dnext, grads["memory"])
    small = _score_gradients(call, dgate_q, dgate_k)
    if call.shapes["drift"]:
        small["drift"] = _drift_gradient(call, grads if _turns_values(call) else turned, upstream)
    return {name: x.reshape(call.shapes[name]) for name, x in grads.items()} | small


def zeros(n: int, like):
    return _inputs._placed(np.zeros(n, like.dtype), like)


def _small(x, shape, like):
    """The gradient of a parameter, from the host."""
    return _inputs._placed(np.asarray(x, like.dtype).reshape(shape), like)


def _score_gradients(call: Call, dgate_q, dgate_k) -> dict[str, Any]:
    """Of beta and gates; dgate_q lacks the factor beta of its head."""
    query, width = call.query, call.width
    totals = column_sums(dgate_q, width, query.gate if query.token else None)
    dbeta = devices.to_host(totals).astype(np.float64)
    if not query.token:
        dbeta *= devices.to_host(query.gate)
    dbeta = dbeta.reshape(call.queries.sizes.heads, -1).sum(axis=1)
    shape = call.shapes["beta"]
    grads = {"beta": _small(dbeta.sum() if math.prod(shape) == 1 else dbeta, shape, dgate_q)}
    if "gate_query" in call.shapes:
        grads["gate_query"] = _gate_gradient(call, "gate_query", call.queries, query, dgate_q, totals)
    if "gate_key" in call.shapes:
        sums = None if call.key.token else column_sums(dgate_k, width)
        grads["gate_key"] = _gate_gradient(call, "gate_key", call.keys, call.key, dgate_k, sums)
    return grads


def _gate_gradient(call: Call, name: str, tokens: Tokens, side: Side, dgate, sums):
    """In the gate's own shape, from that of every token (changed) or from sums over tokens."""
    shape = call.shapes[name]
    if side.token:
        if dgate.size:
            SCALE(tokens.rows, tuple(tokens.sizes), side.factor, dgate)
        return _inputs.sum_to(dgate.reshape((*call.lead, tokens.sizes.tokens, call.width)), shape)
    total = devices.to_host(sums) * np.repeat(devices.to_host(side.factor), tokens.sizes.width)
    return _small(total if math.prod(shape) == call.width else total.sum(), shape, dgate)


def _turns_values(call: Call) -> bool:
    return call.queries.shown.token > 0


def _drift_gradient(call: Call, moved: dict[str, Any], upstream):
    """sum_t t dalpha. If the drift turns values, too, every angle but the residual's is alpha: sum_t t (dtheta - G)."""
    total = np.zeros(call.width)
    for name, side in (("theta", call.queries), ("memory", call.keys)):
        if name not in moved:
            continue
        first = call.keys.sizes.tokens - call.queries.sizes.tokens if side is call.queries else 0
        time = _inputs._placed(np.arange(first, first + side.sizes.tokens).astype(upstream.dtype), upstream)
        total += devices.to_host(column_sums(moved[name], call.width, time))
        if _turns_values(call) and name == "theta":
            total -= devices.to_host(column_sums(upstream, call.width, time))
    if call.shapes["drift"] != (call.width,):
        total = total.reshape(call.queries.sizes.heads, -1).sum(axis=0)
    return _small(total, call.shapes["drift"], upstream)


def _kernel_gradients(call: Call, terms) -> dict[str, Any]:
    """Of step and coupling, whose product is kappa; ``terms``: real and imaginary shares of every delay."""
    d, step, coupling = call.width, call.given["step"], call.given["coupling"]
    harmonics, like = call.queries.sizes.harmonics, terms[0][0]
    if coupling is None:
        dstep = devices.to_host(column_sums(like, d))
        return {"step": _small(dstep if step.size > 1 else dstep.sum(), call.shapes["step"], like)}

    def summed(part):
        sums = [devices.to_host(column_sums(shares[part], harmonics * d)).reshape(harmonics, d) for shares in terms]
        return np.stack(sums).astype(np.float64)

    dkappa: Any = summed(0)
    if np.iscomplexobj(coupling):
        dkappa = dkappa + 1j * summed(1)
    dstep = (dkappa * coupling.conj()).real.sum(axis=(0, 1))
    grads = {"step": _small(dstep if step.size > 1 else dstep.sum(), call.shapes["step"], like)}
    dcoupling = dkappa * step
    dcoupling = dcoupling if coupling.shape[-1] == d else dcoupling.sum(axis=-1)
    dtype = np.result_type(like.dtype, np.complex64) if np.iscomplexobj(coupling) else like.dtype
    grads["coupling"] = _inputs._placed(dcoupling.astype(dtype).reshape(call.shapes["coupling"]), like)
    return grads
