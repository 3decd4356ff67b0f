"""Checks of a call, and the way from its arrays to tables and columns and back."""

import math
from typing import Any, NamedTuple

import numpy as np

from ..._runtime import devices
from ..._runtime.checks import common_floating
from .._inputs import _placed, check_flag, check_mask, flat, table_offsets
from .symmetry import Symmetry
from .table import Shape


class Call(NamedTuple):
    """A checked call: ``own`` are the leading axes of the tables, as many as ``lead`` has, 1 where heads share one."""

    alpha: Any
    alpha_at: Any
    v: Any
    mask: Any
    mask_at: Any
    shape: Shape
    own: tuple[int, ...]
    lead: tuple[int, ...]
    depth: int
    symmetry: Any
    masked: bool

    @property
    def tables(self) -> int:
        return math.prod(self.own)

    def packed(self, x, tokens: int):
        """(..., tokens, depth) as (tables, tokens, columns): what shares a table side by side."""
        if devices.is_device_array(x) and self.own == self.lead:
            return x.reshape(x.size)
        kept, shared = self._axes()
        n = len(self.lead)
        host = devices.to_host(x).reshape((*self.lead, tokens, self.depth))
        moved = np.ascontiguousarray(host.transpose([*kept, n, *shared, n + 1])).reshape(-1)
        return _placed(flat(moved), x)

    def unpacked(self, x, tokens: int):
        """The way back, to the full shape."""
        full = (*self.lead, tokens, self.depth)
        if devices.is_device_array(x) and self.own == self.lead:
            return x.reshape(full)
        kept, shared = self._axes()
        order = [*kept, len(self.lead), *shared, len(self.lead) + 1]
        host = devices.to_host(x).reshape([full[a] for a in order])
        return _placed(np.ascontiguousarray(host.transpose(np.argsort(order))), x)

    def _axes(self):
        shared = [a for a, n in enumerate(self.own) if n == 1]
        return [a for a in range(len(self.own)) if a not in shared], shared


def check_call(v, alpha, symmetry, softmax, causal, mask) -> Call:
    devices.on_cuda(v=v, alpha=alpha, mask=mask)
    v, alpha = common_floating({}, v=v, alpha=alpha)
    shape, given = tuple(v.shape), tuple(alpha.shape)
    if len(shape) < 2 or shape[-1] == 0:
        raise ValueError(f"v has shape {shape}: (..., tokens, width) with a width of at least 1 is wanted")
    keys = shape[-2]
    softmax, causal = check_flag("softmax", softmax), check_flag("causal", causal)
    symmetry = check_symmetry(symmetry, keys, causal)
    wanted = (keys, keys) if symmetry is None else (keys,)
    if len(given) < len(wanted) or (given[-1] != keys if symmetry != "shift" else given[-1] < keys):
        what = {None: f"(..., queries, {keys})", "shift": f"(..., {keys}), one weight a lag"}
        raise ValueError(
            f"alpha has shape {given} but v has {keys} tokens: {what.get(_name(symmetry), f'(..., {keys})')} is wanted"
        )
    queries = given[-2] if symmetry is None else keys
    lead, tables = shape[:-2], given[: len(given) - len(wanted)]
    _broadcasts("alpha", tables, lead, given)
    own = tables
    if mask is not None:
        axes = tuple(np.shape(mask))[:-2]
        check_mask(mask, lead, queries, keys, v)
        own = np.broadcast_shapes(tables, axes)
    own = (1,) * (len(lead) - len(own)) + tuple(own)
    bytes_, at, mask_row, mask_key = check_mask(mask, own, queries, keys, v)
    parameters = queries * keys if symmetry is None else given[-1]
    full = (1,) * (len(own) - len(tables)) + tables
    columns = math.prod(shape) // (math.prod(own) * keys) if keys and math.prod(own) else 0
    sizes = Shape(queries, keys, columns, parameters, int(softmax), int(causal), mask_row, mask_key)
    return Call(
        flat(alpha), table_offsets(full, own, parameters, v), v, flat(bytes_),
        flat(at), sizes, own, lead, shape[-1], symmetry, mask is not None,
    )  # fmt: skip


def _name(symmetry):
    return symmetry if symmetry in (None, "shift") else "group"


def _broadcasts(name, tables, lead, given):
    try:
        fits = np.broadcast_shapes(tables, lead) == lead
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"{name} has shape {given}: its leading axes must broadcast to those of v, {lead}")


def check_symmetry(symmetry, keys: int, causal):
    """None, "shift", or a `Symmetry` of as many elements as there are tokens."""
    if symmetry is None:
        return None
    if isinstance(symmetry, str) and symmetry == "shift":
        if not causal:
            raise ValueError(
                "symmetry 'shift' has weights for lags 0, 1, ... only: pass causal=True, or symmetry=tokens"
            )
        return "shift"
    if isinstance(symmetry, int | np.integer) and not isinstance(symmetry, bool):
        symmetry = Symmetry.cyclic(int(symmetry)) if symmetry else _nothing(keys)
    elif isinstance(symmetry, tuple | list):
        symmetry = Symmetry.cyclic(*symmetry)
    if not isinstance(symmetry, Symmetry):
        raise TypeError(f"symmetry is {symmetry!r}: lengths of axes, a Symmetry, 'shift' or None is wanted")
    if len(symmetry) != keys:
        raise ValueError(f"the group has {len(symmetry)} elements but v has {keys} tokens: one for each is wanted")
    return symmetry


def _nothing(keys):
    if keys:
        raise ValueError(f"the group has 0 elements but v has {keys} tokens: one for each is wanted")
    return Symmetry(np.zeros((0, 0), np.int64))


def numbers(symmetry, queries: int, keys: int) -> np.ndarray:
    """Which parameter pair (i, j) has, flat: as large as a table, which convolutions do without."""
    if symmetry is None:
        return np.arange(queries * keys)
    if symmetry == "shift":
        return np.maximum(np.arange(keys)[:, None] - np.arange(keys), 0).reshape(-1)
    return symmetry.quotient.reshape(-1) if keys else np.zeros(0, np.int64)


def partners(symmetry, keys: int, parameters: int) -> np.ndarray:
    """With which j parameter n meets i (-1: none), flat, where pairs share parameters; as large."""
    if symmetry == "shift":
        return np.maximum(np.arange(keys) - np.arange(parameters)[:, None], -1).reshape(-1)
    return symmetry.table[symmetry.inverse].reshape(-1) if keys else np.zeros(0, np.int64)  # j = n^-1 i
