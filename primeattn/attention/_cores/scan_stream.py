"""Token by token: the sums over the past, in memory and time that do not grow."""

import math
from typing import Any

import numpy as np

from ..._runtime import devices
from . import scan, scan_blocks, scan_room, scan_run
from .layout import Layout, Problem


def check_state(state, kind: type, mask) -> None:
    """Sums of another kernel would fit, and give wrong numbers; and they have no key that a mask could leave out."""
    if not isinstance(state, kind):
        name = kind.__name__
        raise TypeError(
            f"state is {type(state).__name__}: {name} is wanted; start with pa.attention.{name}(), or with "
            "pa.attention.Cache(window) for a window"
        )
    if mask is not None:
        raise ValueError("mask does not go with sums over all keys: start with pa.attention.Cache()")


class State:
    """Sums over the keys so far: of `scan_blocks` on the host, of `scan` on CUDA.

    A step goes from one array to another, which takes its place when all is done: whatever ends it early, an interrupt
    included, leaves the state as it was.
    """

    degree = 0

    def __init__(self) -> None:
        self.position = 0
        self._shape: tuple[Any, ...] = ()
        self._sums: Any = np.zeros((0, 0))
        self._next: Any = None  # room for the sums of the next step
        self._known: tuple[Any, Any] = (None, None)  # on CUDA: N and unit of every row, and room for the next ones

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.position} tokens, {self.nbytes:,} bytes)"

    @property
    def nbytes(self) -> int:
        return self._sums.nbytes

    def step(self, x: Problem, g: Layout, lead: tuple[int, ...], eps: float):
        """out (heads, tokens, depth), flat, of the next tokens, which join the sums."""
        if g.queries != g.keys:
            raise ValueError(f"q has {g.queries} tokens but k has {g.keys}: a step brings a query for every key")
        on_cuda = devices.is_device_array(x.q)
        self._fit((lead, g.group, g.width, g.depth, x.q.dtype, "CUDA" if on_cuda else "host"))
        size = math.prod(lead) * g.queries * g.depth
        out = devices.empty(size, x.q.dtype, like=x.q)
        if not size:
            vars(self).update(position=self.position + g.keys)
        elif on_cuda:
            self._by_rows(x, g, math.prod(lead), eps, out)
        else:
            self._by_blocks(x, g, eps, out)
        return out

    def _swap(self, g: Layout, **more) -> None:
        """All at once: an interrupt comes before it or after it."""
        vars(self).update(_sums=self._next, _next=self._sums, position=self.position + g.keys, **more)

    def _by_blocks(self, x, g, eps, out) -> None:
        np.copyto(self._next, self._sums)
        if not self._advance(x, g, eps, out) and g.queries > 1:
            np.copyto(self._next, self._sums)  # a later token that is not finite, or huge, must not change earlier ones
            self._one_by_one(x, g, eps, out)
        self._swap(g)

    def _by_rows(self, x, g, heads, eps, out) -> None:
        (known, kept), dtype = self._known, x.q.dtype
        inverse = devices.empty(heads * g.queries, dtype, like=out)
        unit = devices.empty(heads // g.group * g.keys, dtype, like=out)
        scan.UNITS(heads // g.group, tuple(x), tuple(g), unit)
        scan.STREAM(
            heads * (g.depth + 1), tuple(x), tuple(g), self.degree, dtype.type(eps), unit, self._sums, known,
            self._next, kept, out, inverse,
        )  # fmt: skip
        scan.FINISH(heads * g.queries, g.depth, out, inverse)
        self._swap(g, _known=(kept, known))

    def _fit(self, shape) -> None:
        if self._shape and shape != self._shape:
            names = ("leading axes", "heads a key head", "width", "width of values", "dtype", "device")
            what = next(n for n, a, b in zip(names, shape, self._shape, strict=True) if a != b)
            raise ValueError(
                f"{what} changed: the state holds {self._shape}, now {shape} came; only the number of tokens may change"
            )
        if not self._shape:
            lead, group, width, depth, dtype, device = shape
            heads = math.prod(lead)
            if device == "CUDA":
                rows = heads * (depth + 1)
                features = scan_room.feature_count(width, self.degree)
                sums, known = np.zeros(rows * features, dtype), np.zeros(2 * rows, dtype)
                sums, room, known, kept = (devices.to_device(a) for a in (sums, sums, known, known))
                vars(self).update(_shape=shape, _sums=sums, _next=room, _known=(known, kept))
            else:
                plan = scan_room.plan_of(width, depth, self.degree, 1, dtype)
                sums = np.zeros((heads // group, plan.scalars + 2))
                vars(self).update(_shape=shape, _sums=sums, _next=sums.copy())

    def _advance(self, x, g, eps, out) -> bool:
        """The tokens join ``_next``; whether blocks were enough."""
        key_heads, kind = len(self._next), out.dtype
        unit = np.empty(key_heads * g.keys, kind)
        scan.UNITS(key_heads, tuple(x), tuple(g), unit)
        before = np.where(self._next[:, -1:] > 0, self._next[:, -1:], np.inf)
        np.minimum(unit.reshape(key_heads, -1), before, out=unit.reshape(key_heads, -1), casting="same_kind")
        task = scan_blocks.Task(kind.type(eps), unit, 1)
        plan = scan_room.plan_of(g.width, g.depth, self.degree, min(scan_run.BLOCK, g.queries), kind)
        clean, inverse = np.empty(key_heads, np.bool_), np.empty(out.size // g.depth, kind)
        call, sums = (tuple(x), tuple(g), tuple(task), tuple(plan), False), self._next.reshape(-1)

        def work(start, stop):
            scan_blocks.forward(start, stop, *call, tuple(scan_room.space(plan, kind, sums)), out, inverse, clean)

        scan_run.shared(work, key_heads)
        return bool(clean.all())

    def _one_by_one(self, x, g, eps, out) -> None:
        key_heads, heads = len(self._next), len(self._next) * g.group
        rows = {"q": heads, "k": key_heads, "v": key_heads}
        tables = {n: getattr(x, n).reshape(h, g.keys, -1) for n, h in rows.items()}
        for t in range(g.keys):
            one = {n: np.ascontiguousarray(a[:, t]).reshape(-1) for n, a in tables.items()}
            for a in one.values():
                a.flags.writeable = False
            token = np.empty(heads * g.depth, out.dtype)
            self._advance(x._replace(**one), g._replace(queries=1, keys=1, room=1), eps, token)
            out.reshape(heads, g.keys, g.depth)[:, t] = token.reshape(heads, g.depth)
