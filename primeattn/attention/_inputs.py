"""Checks of what attention functions have in common: q, k, v, heads, masks, windows."""

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from .. import _labelled
from .._runtime import devices
from .._runtime.checks import as_floating, common_floating
from ._cores.layout import PLAIN, Layout, Problem


class Call(NamedTuple):
    """A checked call: flat arrays, sizes, and the shapes to give results."""

    problem: Problem
    layout: Layout
    lead: tuple[int, ...]
    shapes: dict[str, tuple[int, ...]]

    @property
    def heads(self) -> int:
        return math.prod(self.lead)

    def shaped(self, flat, *tail: int):
        return flat.reshape((*self.lead, *tail))


def check_arrays(q, k, v) -> tuple[Any, Any, Any, int]:
    """q, k, v in one dtype, and the number of query heads that share a key head."""
    q, k, v = common_floating({}, q=q, k=k, v=v)
    shapes = {name: tuple(x.shape) for name, x in (("q", q), ("k", k), ("v", v))}
    for name, shape in shapes.items():
        if len(shape) < 2:
            raise ValueError(
                f"{name} has shape {shape}: (..., tokens, width) is wanted; pass {name}[None] for one token"
            )
        if shape[-1] == 0:
            raise ValueError(f"{name} has shape {shape}: its width must be at least 1")
    if devices.is_device_array(q):
        for name, x in (("q", q), ("k", k), ("v", v)):
            if not x.is_c_contiguous():
                raise ValueError(f"{name} is not C-contiguous on CUDA: copy it first")
    if shapes["q"][-1] != shapes["k"][-1]:
        raise ValueError(
            f"q has shape {shapes['q']} but k has shape {shapes['k']}: head widths must match; project k, or pass "
            f"k[..., :{shapes['q'][-1]}]"
        )
    if shapes["k"][:-1] != shapes["v"][:-1]:
        raise ValueError(
            f"k has shape {shapes['k']} but v has shape {shapes['v']}: every key needs its value; all axes but the "
            "last must be equal"
        )
    return q, k, v, _group(shapes["q"], shapes["k"])


def _group(q: tuple[int, ...], k: tuple[int, ...]) -> int:
    if q[:-2] == k[:-2]:
        return 1
    same = len(q) == len(k) > 2 and q[:-3] == k[:-3]
    if same and k[-3] and q[-3] % k[-3] == 0:
        return q[-3] // k[-3]
    raise ValueError(
        f"q has shape {q} but k has shape {k}: leading axes must be equal, except that the heads (axis -3) of q may be "
        "a multiple of those of k; use numpy.broadcast_to for shared batches"
    )


def check_flag(name: str, x) -> bool:
    """A word or a list is true, too: most likely something else was meant."""
    if not isinstance(x, bool | np.bool_):
        raise TypeError(f"{name} is {x!r}: pass True or False")
    return bool(x)


def check_band(causal, window, queries: int, keys: int) -> tuple[int, int]:
    """How many positions back and ahead a query may look."""
    unlimited = queries + keys
    if window is not None and (not isinstance(window, int | np.integer) or isinstance(window, bool) or window < 1):
        raise ValueError(f"window is {window!r}: a number of positions, 1 or more, is wanted; None means no limit")
    reach = unlimited if window is None else min(int(window) - 1, unlimited)
    return reach, 0 if check_flag("causal", causal) else reach


def check_scale(scale, width: int, dtype):
    """A number of the data's own type; 1 / sqrt(width) by default."""
    if scale is None:
        return dtype.type(1 / math.sqrt(width))
    if not is_number(scale, dtype):
        raise ValueError(f"scale is {scale!r}: a finite {dtype} number is wanted; None means 1 / sqrt(width)")
    return dtype.type(scale)


_SMALL = 1e38  # below the largest float32


def is_number(x, dtype=np.dtype(np.float64)) -> bool:  # noqa: B008
    """Whether x is one real number, not a boolean, that is finite in the dtype."""
    if type(x) is float and abs(x) < _SMALL:  # the usual case, without numpy
        return True
    if isinstance(x, bool) or not isinstance(x, int | float | np.integer | np.floating):
        return False
    try:
        with np.errstate(over="ignore"):
            return bool(np.isfinite(dtype.type(x)))
    except OverflowError:  # an int beyond all floats
        return False


EPS = 1e-6  #: What mechanisms that divide by a sum add to it, unless told otherwise.


def check_eps(eps) -> float:
    if not is_number(eps) or eps < 0:
        raise ValueError(f"eps is {eps!r}: a finite number >= 0 is wanted")
    return float(eps)


_ALL = np.ones(1, np.uint8)  # a mask that forbids nothing
_ALL.flags.writeable = False


@lru_cache(64)
def _zeros(n: int, dtype) -> np.ndarray:
    x = np.zeros(n, dtype)
    x.flags.writeable = False
    return x


def check_mask(mask, lead: tuple[int, ...], queries: int, keys: int, like):
    """Flat bytes, the offset of every head, and the steps by query and by key: nothing is copied per head."""
    if mask is None:
        return _placed(_ALL, like), _placed(_zeros(math.prod(lead), np.dtype(np.int64)), like), 0, 0
    if isinstance(mask, np.ma.MaskedArray):
        raise TypeError("mask is a masked array, whose own mask would be lost: pass mask.filled(False)")
    if not devices.is_device_array(mask):
        mask = np.asarray(mask)
    if mask.dtype != np.bool_:
        raise TypeError(f"mask has dtype {mask.dtype}: booleans are wanted, True where a query may attend a key")
    full = (*lead, queries, keys)
    shape = (1,) * (2 - len(mask.shape)) + tuple(mask.shape)
    try:
        fits = np.broadcast_shapes(shape, full) == full
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"mask has shape {tuple(mask.shape)}: it must broadcast to {full}, (..., queries, keys)")
    rows, columns = shape[-2:]
    offsets = table_offsets(shape[:-2], lead, rows * columns, like)
    if devices.is_device_array(mask):
        bytes_ = devices.device_view(mask).reshape(mask.size).view(np.uint8)
    else:
        bytes_ = np.ascontiguousarray(mask).reshape(-1).view(np.uint8)
    return bytes_, offsets, columns if rows > 1 else 0, 1 if columns > 1 else 0


def table_offsets(own: tuple[int, ...], lead: tuple[int, ...], size: int, like):
    """Where the table of every head starts, in flat tables of ``size`` numbers that are broadcast from own to lead."""
    tables = np.arange(math.prod(own), dtype=np.int64).reshape(own)
    return _placed(np.ascontiguousarray(np.broadcast_to(tables, lead)).reshape(-1) * size, like)


def sum_to(full, shape: tuple[int, ...]):
    """The sum over the axes along which an array of this shape was broadcast: the gradient of broadcasting."""
    if math.prod(shape) == full.size:
        return full.reshape(shape)
    host = devices.to_host(full)
    padded = (1,) * (host.ndim - len(shape)) + tuple(shape)
    axes = tuple(i for i, n in enumerate(padded) if n == 1 and host.shape[i] != 1)
    total = host.sum(axis=axes, keepdims=True, dtype=np.float64).astype(host.dtype).reshape(shape)
    return _placed(total, full)


def scale_gradient(x: Problem, dq, dk):
    """dL/dscale: a call depends on sqrt(scale) q and sqrt(scale) k alone, so 2 scale dL/dscale = <q, dq> + <k, dk>.

    NaN at a scale of 0, where that says nothing.
    """
    if x.scale == 0:
        return np.asarray(np.nan, x.q.dtype)
    total = 0.0
    for a, da in ((x.q, dq), (x.k, dk)):
        a, da = devices.to_host(a).reshape(-1), devices.to_host(da).reshape(-1)
        total += np.multiply(a, da, where=da != 0, out=np.zeros(a.size)).sum()  # a key without a query may hold NaN
    return np.asarray(total / (2 * float(x.scale)), x.q.dtype)


def check_slopes(alibi, lead: tuple[int, ...], like):
    """One slope a head, zeros by default."""
    heads = math.prod(lead)
    if alibi is None:
        return _placed(_zeros(heads, like.dtype), like)
    if devices.is_device_array(alibi):
        raise TypeError("alibi is a CUDA array: slopes are few, pass them as a host array")
    slopes = np.asarray(alibi)
    if slopes.dtype.kind not in "iuf" or not np.isfinite(slopes).all():
        raise ValueError("alibi has entries that are not finite real numbers: one slope a head is wanted")
    try:
        slopes = np.broadcast_to(slopes, lead)
    except ValueError:
        raise ValueError(
            f"alibi has shape {slopes.shape}: one slope a head is wanted, broadcastable to {lead}; see alibi_slopes"
        ) from None
    return _placed(np.ascontiguousarray(slopes.reshape(-1), dtype=like.dtype), like)


def flat(x):
    """All of x as one axis, of the one type that kernels are compiled for: Numba counts read-only arrays as another."""
    if type(x) is not np.ndarray:
        return x.reshape(x.size)
    x = x.ravel()  # a view, as all arrays here are contiguous; it and a flag by position take a third of the time
    x.setflags(False)
    return x


def _placed(x, like):
    return devices.to_device(x) if devices.is_device_array(like) else x


def check_call(q, k, v, *, causal, mask, scale, window, alibi, keys=None, metric=(PLAIN, None)) -> Call:
    """All of it. ``keys``: how many rows of k and v are in use, if not all (a cache). ``metric``: its kind, and a row
    of every head, flat, in place of ALiBi."""
    kind, rows = metric
    others = mask is None and alibi is None and keys is None
    if others and HASHABLE.issuperset(map(type, (causal, scale, window))) and _is_plain(q, k, v):
        lead, shapes, layout, limits = _check_shapes(q.shape, k.shape, v.shape, q.dtype, causal, scale, window, kind)
        allowed, at, slopes, scale = limits
        slopes = slopes if rows is None else rows
        return Call(Problem(flat(q), flat(k), flat(v), allowed, at, slopes, scale), layout, lead, shapes)
    call = _check_call(q, k, v, causal=causal, mask=mask, scale=scale, window=window, alibi=alibi, keys=keys, kind=kind)
    return call if rows is None else call._replace(problem=call.problem._replace(slopes=rows))


HASHABLE = frozenset({type(None), bool, int, float, np.float32, np.float64})
_FLOATING = (np.dtype(np.float32), np.dtype(np.float64))


def _is_plain(*arrays) -> bool:
    """Whether all are host arrays as kernels take them, in one dtype: what training calls with, again and again."""
    dtype = getattr(arrays[0], "dtype", None)
    for x in arrays:  # all() of a generator takes twice as long
        if type(x) is not np.ndarray or not x.flags.c_contiguous:
            return False
        if x.dtype is not dtype and x.dtype != dtype:  # equal ones of pickled arrays are other objects
            return False
    return dtype in _FLOATING


@lru_cache(256, typed=True)
def _check_shapes(q, k, v, dtype, causal, scale, window, kind):
    """Leading axes, shapes, layout, and what follows q, k, v in a `Problem`: nothing of it depends on the numbers."""
    call = _check_call(
        *(np.empty(shape, dtype) for shape in (q, k, v)), causal=causal, mask=None, scale=scale, window=window,
        alibi=None, keys=None, kind=kind,
    )  # fmt: skip
    return call.lead, call.shapes, call.layout, call.problem[3:]


def _check_call(q, k, v, *, causal, mask, scale, window, alibi, keys, kind) -> Call:
    devices.on_cuda(q=q, k=k, v=v, mask=mask)
    q, k, v, group = check_arrays(q, k, v)
    shapes = {"q": tuple(q.shape), "k": tuple(k.shape), "v": tuple(v.shape)}
    lead, (queries, width), (room, depth) = shapes["q"][:-2], shapes["q"][-2:], shapes["v"][-2:]
    keys = room if keys is None else keys
    bytes_, at, mask_row, mask_key = check_mask(mask, lead, queries, keys, q)
    slopes = check_slopes(alibi, lead, q)
    scale = check_scale(scale, width, q.dtype)
    before, after = check_band(causal, window, queries, keys)
    layout = Layout(group, queries, keys, room, width, depth, before, after, mask_row, mask_key, kind)
    problem = Problem(flat(q), flat(k), flat(v), flat(bytes_), flat(at), flat(slopes), scale)
    return Call(problem, layout, lead, shapes)


def check_upstream(dout, out, like):
    """dout, flat, in the dtype and on the device of the call."""
    if _is_plain(dout, out, like) and dout.shape == out.shape:
        return flat(dout)
    if _labelled.is_labelled(dout):
        if _labelled.is_labelled(out):
            if set(dout.dims) != set(out.dims):
                raise ValueError(f"dout has dimensions {dout.dims}: those of the output are wanted, {out.dims}")
            dout = dout.transpose(*out.dims)
        dout = dout.values
    out = out.values if _labelled.is_labelled(out) else out
    devices.on_cuda(dout=dout, out=out)
    dout = as_floating("dout", dout, dtype=like.dtype)
    if tuple(dout.shape) != tuple(out.shape) or dout.dtype != like.dtype:
        raise ValueError(f"dout is {dout.dtype} {dout.shape}: the output is {out.dtype} {out.shape}; pass its like")
    return flat(dout)
