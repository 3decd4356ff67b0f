"""The passes of a call, backward: each in the reverse order of ``run``, with the derivatives of its own module."""

import math
from typing import Any

import numpy as np

from ..._runtime import devices, memory
from .. import _inputs
from .._cores import run
from . import by_head
from .ablations import PULL_ABLATED
from .angles import PULL, SUMS
from .call import Call, Tokens
from .parameters import of_parameters
from .run import ByHead, Result, gates, kappa, room, shares
from .sums import PIECE, column_sums, over_pieces
from .update import PULL_UPDATE, SHARE_PULL


def backward(call: Call, result: Result | ByHead, upstream) -> dict[str, Any]:
    """Gradients by name, in the shapes of the arguments."""
    if isinstance(result, ByHead):
        done = by_head.backward(call, result.saved, upstream)
        if done:
            return _by_head(call, upstream, *done)
        result = result.passes()
    like = call.queries.theta
    sizes = (result.main.moments.size, *(x.size for x in result.main.problem[:3]))
    if devices.is_device_array(like):
        return _backward(call, result, upstream, *(room(n, like) for n in sizes))
    with memory.Scratch() as take:
        rooms = memory.parts(take(memory.total_size(sizes, like.dtype), like.dtype), sizes)
        return _backward(call, result, upstream, *rooms)


def _by_head(call: Call, upstream, dtheta, dkappa, sums, dgate_q, dgate_k) -> dict[str, Any]:
    if call.given["coupling"] is None and not _turns_values(call):
        return {"theta": dtheta.reshape(call.shapes["theta"])} | of_parameters(call, dkappa[0], sums, dgate_q, dgate_k)
    found = [(over_pieces(sums, call.queries, SUMS), call.first)]
    small = _kernel_gradients(call, [dkappa], dtheta)
    return _named(call, {"theta": dtheta}, found, dgate_q, dgate_k, upstream) | small


def _backward(call: Call, result: Result, upstream, dm, *flowing) -> dict[str, Any]:
    """With room for the gradients of moments, and of q, k and v."""
    main, before = result.main, result.before
    dtheta, *dkappa = _pull_updated(call, upstream, upstream, result.phasors, main.moments, None, 0, dm)
    terms, dnext = [dkappa], room(0, dtheta)
    if before:
        dn = room(before.moments.size, dtheta)
        dtheta, *dkappa = _pull_updated(call, dtheta, upstream, result.phasors, before.moments, result.share, 1, dn)
        terms.append(dkappa)
        if dn.size:
            SHARE_PULL(result.share.size, tuple(call.queries.sizes), before.moments, dm, dn)
    dm = _inputs.flat(dm)
    dq, dk, dv, _ = run.backward(main.problem, main.layout, main.moments, main.lse, dm, False, flowing)
    if before:
        dn = _inputs.flat(dn)
        again = run.backward(before.problem, before.layout, before.moments, before.lse, dn, False)
        dq, dk, dnext = _sum(dq, again[0]), _sum(dk, again[1]), again[2]
    return _pull(call, result, dtheta, (dq, dk, dv, dnext), upstream) | _kernel_gradients(call, terms, dtheta)


def _pull_updated(call: Call, before, upstream, phasors, moments, share, delay: int, dm):
    """dtheta = ``before`` + dphi, and sums over pieces of the gradients of real and imaginary coupling; dM to dm."""
    theta, side = call.queries.theta, call.queries
    z, n = tuple(side.sizes), side.pieces * side.sizes.width * side.sizes.harmonics
    dtheta, dreal = room(theta.size, theta), room(n, theta)
    dimag = room(n * call.is_complex, theta)
    if theta.size and call.form:
        PULL_ABLATED(side.pieces, z, call.form, upstream, phasors, moments, call.real, dm, dtheta, dreal)
    elif theta.size:
        PULL_UPDATE(
            side.pieces, z, _inputs.flat(before), upstream, phasors, moments, *shares(share, theta),
            *kappa(call, delay), dm, dtheta, dreal, dimag,
        )  # fmt: skip
    return dtheta, dreal, dimag


def _sum(a, b):
    """a + b, for the two passes of the delayed form."""
    if not devices.is_device_array(a):
        return np.add(a, b, out=a)
    return devices.to_device(devices.to_host(a) + devices.to_host(b))


def _pull(call: Call, result: Result, dtheta, flowing, upstream) -> dict[str, Any]:
    """From gradients of q, k, v to those of angles, gates, beta and drift."""
    dq, dk, dv, dnext = flowing
    grads = {"theta": dtheta}
    if call.own:
        dgate_q, dgate_k, sums = _pull_side(call, call.queries, result.phasors, dq, dk, dv, dnext, dtheta)
        found = [(sums, call.first)]
    else:
        grads["memory"] = zeros(call.keys.theta.size, dtheta)
        nothing = zeros(dq.size, dq), zeros(result.phasors.size, dq), room(0, dq)
        dgate_q, _, sums = _pull_side(call, call.queries, result.phasors, dq, *nothing, dtheta)
        values, none = result.main.problem.v, zeros(dk.size, dk)
        _, dgate_k, of_keys = _pull_side(call, call.keys, values, none, dk, dv, dnext, grads["memory"])
        found = [(sums, call.first), (of_keys, 0)]
    return _named(call, grads, found, dgate_q, dgate_k, upstream)


def _named(call: Call, grads, found, dgate_q, dgate_k, upstream) -> dict[str, Any]:
    """All but step and coupling, from gradients of angles (flat), `over_pieces` with first positions, and gates."""
    dtheta = grads["theta"]
    small = _score_gradients(call, (found[0][0][0, :, 0], dgate_q), (found[-1][0][0, :, 1], dgate_k), dtheta)
    if call.shapes["drift"]:
        turned = _turned_angles(call, grads, upstream) if _turns_values(call) else _turned_scores(found)
        small["drift"] = _drift_gradient(call, turned, dtheta)
    return {name: x.reshape(call.shapes[name]) for name, x in grads.items()} | small


def _pull_side(call: Call, side: Tokens, values, dq, dk, dv, dnext, dtheta):
    """Adds to dtheta; the gradients of gates of tokens, and `over_pieces`."""
    query, key = gates(call, side)
    dgate_q, dgate_k = room(side.theta.size * query.token, dtheta), room(side.theta.size * key.token, dtheta)
    sums = room(side.pieces * SUMS * side.sizes.width, dtheta)
    if side.rows:
        PULL(
            side.pieces, tuple(side.sizes), tuple(side.spins), tuple(query), tuple(key), _inputs.flat(values), dq,
            dk, dv, dnext, dtheta, dgate_q, dgate_k, sums,
        )  # fmt: skip
    return dgate_q, dgate_k, over_pieces(sums, side, SUMS)


def zeros(n: int, like):
    return _inputs._placed(np.zeros(n, like.dtype), like)


def _small(x, shape, like):
    """The gradient of a parameter, from the host; a sum if one number served all."""
    x = x if x.size == math.prod(shape) else np.add.reduce(x, axis=None, keepdims=True)
    return _inputs._placed(x.astype(like.dtype).reshape(shape), like)


def _score_gradients(call: Call, of_query, of_key, like) -> dict[str, Any]:
    """Of beta and gates, from sums (heads, width) and the gradient of gates of tokens."""
    query, (sums, _) = call.query, of_query
    by_head = sums if query.token else sums * devices.to_host(query.gate).reshape(sums.shape)
    grads = {"beta": _small(np.add.reduce(by_head, axis=1), call.shapes["beta"], like)}
    for name, tokens, side, (sums, dgate) in (
        ("gate_query", call.queries, query, of_query), ("gate_key", call.keys, call.key, of_key)
    ):  # fmt: skip
        if name not in call.shapes:
            continue
        if side.token:
            full = dgate.reshape((*call.lead, tokens.sizes.tokens, call.width))
            grads[name] = _inputs.sum_to(full, call.shapes[name])
        else:
            factor = devices.to_host(side.factor)
            grads[name] = _small(factor.reshape(factor.size, 1) * sums, call.shapes[name], like)
    return grads


def _turns_values(call: Call) -> bool:
    return call.queries.shown.token > 0


def _turned_scores(found):
    """sum_t t dalpha, (heads, width), from `over_pieces` of sides whose first tokens stand ``first`` and so on."""
    total: Any = 0.0
    for (plain, late), first in found:
        total = total + (PIECE * late[:, 2] + plain[:, 3])
        total = total + first * plain[:, 2] if first else total
    return total


def _turned_angles(call: Call, grads, upstream):
    """If the drift turns values, too, every angle but the residual's is alpha: sum_t t (dtheta - G)."""
    total = np.zeros(call.width)
    for name, x in grads.items():
        side, first = (call.queries, call.first) if name == "theta" else (call.keys, 0)
        time = _inputs._placed(np.arange(first, first + side.sizes.tokens).astype(upstream.dtype), upstream)
        total += devices.to_host(column_sums(x, call.width, time))
        if name == "theta":
            total -= devices.to_host(column_sums(upstream, call.width, time))
    return total


def _drift_gradient(call: Call, total, like):
    """In its own shape: of all heads, or one for all."""
    if call.shapes["drift"] != (call.width,):
        total = total.reshape(call.queries.sizes.heads, -1).sum(axis=0)
    return _small(total, call.shapes["drift"], like)


def _kernel_gradients(call: Call, terms, like) -> dict[str, Any]:
    """Of step and coupling, whose product is kappa; ``terms``: real and imaginary sums over pieces, of every delay."""
    d, step, coupling = call.width, call.given["step"], call.given["coupling"]
    harmonics = call.queries.sizes.harmonics

    def summed(part):
        found = [over_pieces(sums[part], call.queries, harmonics)[0] for sums in terms]
        return np.array([x.swapaxes(0, 1).reshape(harmonics, d) for x in found])

    if coupling is None:
        return {"step": _small(over_pieces(terms[0][0], call.queries, 1)[0], call.shapes["step"], like)}
    dkappa: Any = summed(0)
    if call.is_complex:
        dkappa = dkappa + 1j * summed(1)
    dstep = (dkappa * coupling.conj()).real.sum(axis=(0, 1))
    grads = {"step": _small(dstep, call.shapes["step"], like)}
    dcoupling = dkappa * step
    dcoupling = dcoupling if coupling.shape[-1] == d else dcoupling.sum(axis=-1)
    dtype = np.result_type(like.dtype, np.complex64) if call.is_complex else like.dtype
    grads["coupling"] = _inputs._placed(dcoupling.astype(dtype).reshape(call.shapes["coupling"]), like)
    return grads
