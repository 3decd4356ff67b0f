"""The passes of a call: by the table of weights, or by FFT."""

import math

import numpy as np

from ..._runtime import devices
from .._inputs import _placed
from . import products
from . import table as rows
from .call import Call, numbers, partners


def forward(call: Call, form: str):
    """out (tables, queries, columns), flat; the table or None; the convolution or None."""
    if form not in ("auto", "table", "convolution"):
        raise ValueError(f"form is {form!r}: pass 'auto', 'table' or 'convolution'")
    on_cuda = devices.is_device_array(call.v)
    if form == "convolution" and (on_cuda or not products.transformable(call)):
        raise ValueError(
            "form 'convolution' is for host arrays on a symmetry given by its axes and not causal, or 'shift', without "
            "a mask: pass form='auto'"
        )
    if form == "convolution" or (form == "auto" and not on_cuda and products.faster_by_convolution(call)):
        done = products.Convolution(call)
        if done.fine():
            return done.out.reshape(-1), None, done
    table, s = table_of(call), call.shape
    out = devices.empty(call.tables * s.queries * s.columns, call.v.dtype, like=call.v)
    if out.size:
        v = call.packed(call.v, s.keys)
        if on_cuda or _poisoned(v):
            rows.MIX(call.tables * s.queries, tuple(s), table, v, out)
        else:
            out = products.table_mix(call, table, v)
    elif s.queries and not s.keys:
        out = np.zeros(math.prod(call.lead) * s.queries * call.depth, call.v.dtype)
    return out, table, None


def _poisoned(x) -> bool:
    """In a matrix product 0 * inf is NaN, so values that are not finite go row by row."""
    return not np.isfinite(x).all()


def table_of(call: Call):
    s = call.shape
    table = devices.empty(call.tables * s.queries * s.keys, call.v.dtype, like=call.v)
    if table.size:
        number = _placed(numbers(call.symmetry, s.queries, s.keys), call.v)
        rows.TABLE(call.tables * s.queries, call.alpha, call.alpha_at, number, call.mask, call.mask_at, tuple(s), table)
    return table


def backward(call: Call, table, dout):
    """dL/dv and dL/dalpha of every table, flat."""
    s, like = call.shape, call.v
    dv = devices.empty(call.tables * s.keys * s.columns, like.dtype, like=like)
    dalpha = devices.empty(call.tables * s.parameters, like.dtype, like=like)
    if not (dv.size and s.queries):
        return _placed(np.zeros(dv.size, like.dtype), like), _placed(np.zeros(dalpha.size, like.dtype), like)
    v = call.packed(call.v, s.keys)
    if devices.is_device_array(like) or _poisoned(v) or _poisoned(dout):
        d = devices.empty(table.size, like.dtype, like=like)
        if d.size:
            rows.OUTER(call.tables * s.queries, call.mask, call.mask_at, tuple(s), dout, v, d)
        rows.MIX_BACK(call.tables * s.keys, tuple(s), table, dout, dv)
    else:
        dv, d = products.table_back(call, table, dout, v)
    if d.size:
        rows.SCORES(call.tables * s.queries, call.mask, call.mask_at, tuple(s), table, d)
    if call.symmetry is None:
        return dv, d
    partner = _placed(partners(call.symmetry, s.keys, s.parameters), like)
    rows.GATHER(dalpha.size, tuple(s), partner, d, dalpha)
    return dv, dalpha
