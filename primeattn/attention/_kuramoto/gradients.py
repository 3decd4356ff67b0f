"""The passes of a call, backward: each in the reverse order of ``run``, with the derivatives of its own module."""

import math
from typing import Any

import numpy as np

from ..._runtime import devices
from .. import _inputs
from .._cores import run
from .ablations import PULL_ABLATED
from .angles import PIECE, PULL, SUMS
from .call import Call, Tokens
from .run import Result, gates, kappa, room, shares
from .sums import column_sums
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
    return _pull(call, result, dtheta, (dq, dk, dv, dnext), upstream) | _kernel_gradients(call, terms, dtheta)


def _pull_updated(call: Call, before, upstream, phasors, moments, share, delay: int):
    """dM, dtheta = ``before`` + dphi, and sums over pieces of the gradients of real and imaginary coupling."""
    theta, side = call.queries.theta, call.queries
    z, n = tuple(side.sizes), side.pieces * side.sizes.width * side.sizes.harmonics
    dm, dtheta, dreal = room(moments.size, theta), room(theta.size, theta), room(n, theta)
    dimag = room(n * call.is_complex, theta)
    if theta.size and call.form:
        PULL_ABLATED(side.pieces, z, call.form, upstream, phasors, moments, call.real, dm, dtheta, dreal)
    elif theta.size:
        PULL_UPDATE(
            side.pieces, z, _inputs._read_only(before), upstream, phasors, moments, *shares(share, theta),
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
        query, key = gates(call, side)
        dgates = [room(side.theta.size * gate.token, dtheta) for gate in (query, key)]
        sums = room(side.pieces * SUMS * side.sizes.width, dtheta)
        if side.rows:
            PULL(
                side.pieces, tuple(side.sizes), tuple(side.spins), tuple(query), tuple(key),
                _inputs._read_only(values), dq, dk, dv, dnext, dtheta, *dgates, sums,
            )  # fmt: skip
        return *dgates, side.by_piece(sums, SUMS)

    grads = {"theta": dtheta}
    if call.own:
        dgate_q, dgate_k, sums = pull(call.queries, result.phasors, dq, dk, dv, dnext, dtheta)
        pieces = [(sums, call.first)]
    else:
        grads["memory"] = zeros(call.keys.theta.size, dtheta)
        nothing = zeros(dq.size, dq), zeros(result.phasors.size, dq), room(0, dq)
        dgate_q, _, sums = pull(call.queries, result.phasors, dq, *nothing, dtheta)
        values, none = result.main.problem.v, zeros(dk.size, dk)
        _, dgate_k, of_keys = pull(call.keys, values, none, dk, dv, dnext, grads["memory"])
        pieces = [(sums, call.first), (of_keys, 0)]
    totals = [over_pieces(sums).reshape(call.queries.sizes.heads, SUMS, -1) for sums, _ in pieces]
    small = _score_gradients(call, (totals[0][:, 0], dgate_q), (totals[-1][:, 1], dgate_k), dtheta)
    if call.shapes["drift"]:
        turned = _turned_angles(call, grads, upstream) if _turns_values(call) else _turned_scores(pieces, totals)
        small["drift"] = _drift_gradient(call, turned, dtheta)
    return {name: x.reshape(call.shapes[name]) for name, x in grads.items()} | small


def over_pieces(sums):
    """(heads, numbers of a head), from `Tokens.by_piece`."""
    return np.add.reduce(sums, axis=(0, 2))


def zeros(n: int, like):
    return _inputs._placed(np.zeros(n, like.dtype), like)


def _small(x, shape, like):
    """The gradient of a parameter, from the host."""
    return _inputs._placed(np.asarray(x, like.dtype).reshape(shape), like)


def _score_gradients(call: Call, of_query, of_key, like) -> dict[str, Any]:
    """Of beta and gates, from sums (heads, width) and the gradient of gates of tokens."""
    query, (sums, _) = call.query, of_query
    by_head = sums if query.token else sums * devices.to_host(query.gate).reshape(sums.shape)
    shape = call.shapes["beta"]
    dbeta = np.add.reduce(by_head, axis=1 if math.prod(shape) > 1 else None)
    grads = {"beta": _small(dbeta, shape, like)}
    for name, tokens, side, (sums, dgate) in (
        ("gate_query", call.queries, query, of_query), ("gate_key", call.keys, call.key, of_key)
    ):  # fmt: skip
        if name not in call.shapes:
            continue
        shape = call.shapes[name]
        if side.token:
            full = dgate.reshape((*call.lead, tokens.sizes.tokens, call.width))
            grads[name] = _inputs.sum_to(full, shape)
        else:
            total = devices.to_host(side.factor)[:, None] * sums
            grads[name] = _small(total if math.prod(shape) == call.width else total.sum(), shape, like)
    return grads


def _turns_values(call: Call) -> bool:
    return call.queries.shown.token > 0


def _turned_scores(pieces, totals):
    """sum_t t dalpha, (heads, width), from sums over pieces whose first tokens stand ``first`` and so on."""
    found: Any = 0.0
    for (sums, first), total in zip(pieces, totals, strict=True):
        starts, width = np.arange(first, first + sums.shape[2] * PIECE, PIECE), total.shape[-1]
        found = found + over_pieces(starts[:, None] * sums[..., 2 * width : 3 * width]) + total[:, 3]
    return found


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
        found = [over_pieces(call.queries.by_piece(sums[part], harmonics)) for sums in terms]
        return np.array([x.reshape(x.shape[0], harmonics, -1).swapaxes(0, 1).reshape(harmonics, d) for x in found])

    dkappa: Any = summed(0)
    if call.is_complex:
        dkappa = dkappa + 1j * summed(1)
    dstep = dkappa[0, 0] if coupling is None else (dkappa * coupling.conj()).real.sum(axis=(0, 1))
    grads = {"step": _small(dstep if step.size > 1 else dstep.sum(), call.shapes["step"], like)}
    if coupling is None:
        return grads
    dcoupling = dkappa * step
    dcoupling = dcoupling if coupling.shape[-1] == d else dcoupling.sum(axis=-1)
    dtype = np.result_type(like.dtype, np.complex64) if call.is_complex else like.dtype
    grads["coupling"] = _inputs._placed(dcoupling.astype(dtype).reshape(call.shapes["coupling"]), like)
    return grads
