"""Token by token: the sums over the past, in memory and time that do not grow."""

from typing import Any

import numpy as np

from . import scan, scan_blocks, scan_room, scan_run
from .layout import Layout, Problem


def check_state(state, kind: type) -> None:
    """Sums of another kernel would fit, and give wrong numbers."""
    if not isinstance(state, kind):
        name = kind.__name__
        raise TypeError(f"state is {type(state).__name__}: {name} is wanted; start with pa.attention.{name}()")


class State:
    """Sums over the keys so far; see `scan_blocks.State`."""

    degree = 0

    def __init__(self) -> None:
        self.position = 0
        self._shape: tuple[Any, ...] = ()
        self._sums = np.zeros((0, 0))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.position} tokens, {self.nbytes:,} bytes)"

    @property
    def nbytes(self) -> int:
        return self._sums.nbytes

    def step(self, x: Problem, g: Layout, lead: tuple[int, ...], eps: float):
        """out (heads, tokens, depth), flat, of the next tokens, which join the sums."""
        if g.queries != g.keys:
            raise ValueError(f"q has {g.queries} tokens but k has {g.keys}: a step brings a query for every key")
        self._fit((lead, g.group, g.width, g.depth, x.q.dtype))
        out = np.empty(x.v.size * g.group, x.q.dtype)
        if out.size:
            saved = self._sums.copy() if g.queries > 1 else self._sums
            if not self._advance(x, g, eps, out) and g.queries > 1:
                self._sums[:] = saved  # a later token that is not finite, or huge, must not change those before
                self._one_by_one(x, g, eps, out)
        self.position += g.keys
        return out

    def _fit(self, shape) -> None:
        if self._shape and shape != self._shape:
            names = ("leading axes", "heads a key head", "width", "width of values", "dtype")
            what = next(n for n, a, b in zip(names, shape, self._shape, strict=True) if a != b)
            raise ValueError(
                f"{what} changed: the state holds {self._shape}, now {shape} came; only the number of tokens may change"
            )
        if not self._shape:
            lead, group, width, depth, _ = self._shape = shape
            plan = scan_room.plan_of(width, depth, self.degree, 1, shape[-1])
            self._sums = np.zeros((int(np.prod(lead, dtype=np.int64)) // group, plan.scalars + 2))

    def _advance(self, x, g, eps, out) -> bool:
        key_heads, kind = len(self._sums), out.dtype
        unit = np.empty(key_heads * g.keys, kind)
        scan.UNITS(key_heads, tuple(x), tuple(g), unit)
        before = np.where(self._sums[:, -1:] > 0, self._sums[:, -1:], np.inf)
        np.minimum(unit.reshape(key_heads, -1), before, out=unit.reshape(key_heads, -1), casting="same_kind")
        task = scan_blocks.Task(kind.type(eps), unit, 1)
        plan = scan_room.plan_of(g.width, g.depth, self.degree, min(scan_run.BLOCK, g.queries), kind)
        clean, inverse = np.empty(key_heads, np.bool_), np.empty(out.size // g.depth, kind)
        call, sums = (tuple(x), tuple(g), tuple(task), tuple(plan), False), self._sums.reshape(-1)

        def work(start, stop):
            scan_blocks.forward(start, stop, *call, tuple(scan_room.space(plan, kind, sums)), out, inverse, clean)

        scan_run.shared(work, key_heads)
        return bool(clean.all())

    def _one_by_one(self, x, g, eps, out) -> None:
        key_heads, heads = len(self._sums), len(self._sums) * g.group
        rows = {"q": heads, "k": key_heads, "v": key_heads}
        tables = {n: getattr(x, n).reshape(h, g.keys, -1) for n, h in rows.items()}
        for t in range(g.keys):
            one = {n: np.ascontiguousarray(a[:, t]).reshape(-1) for n, a in tables.items()}
            for a in one.values():
                a.flags.writeable = False
            token = np.empty(heads * g.depth, out.dtype)
            self._advance(x._replace(**one), g._replace(queries=1, keys=1, room=1), eps, token)
            out.reshape(heads, g.keys, g.depth)[:, t] = token.reshape(heads, g.depth)
