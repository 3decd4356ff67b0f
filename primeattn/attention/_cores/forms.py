"""The two forms of attention with the kernel <q, k>^degree: pairs (`ratio_run`), and sums over keys (`scan_run`).

Either has ``out``, flat, ``weights()`` and ``backward(dout)``, flat, of the same mathematics: y does not depend on the
length of a query, nor on that of all keys together.
"""

from typing import Any, NamedTuple

import numpy as np

from ..._runtime import devices
from ..._runtime.jit import scalar
from . import ratio_run, scan_run
from .layout import Layout, Problem
from .ratio import register


class Squared(NamedTuple):
    """The kernel z^2; it has no numbers."""


class Product(NamedTuple):
    """The kernel z, of vectors without negative entries."""


@scalar
def squared_weight(params, z):
    return z * z


@scalar
def squared_dweight(params, z):
    return z + z


@scalar
def product_weight(params, z):
    return z


@scalar
def product_dweight(params, z):
    return type(z)(1)


register(Squared, squared_weight, squared_dweight)
register(Product, product_weight, product_dweight)
_PARAMS = {1: Product(), 2: Squared()}
#: Sums from 2^-middle to 2^middle are far from both ends of the range of numbers.
_MIDDLE = {np.dtype(t): np.finfo(t).maxexp / 2.5 for t in (np.float32, np.float64)}


class Sums:
    """Time linear in tokens."""

    def __init__(self, x: Problem, g: Layout, heads: int, degree: int, eps: float):
        self.call, self.eps = (x, g, heads, degree), x.q.dtype.type(eps)
        self.done = scan_run.forward(*self.call, self.eps)
        self.out = self.done.out

    def weights(self):
        x, g, _, degree = self.call
        return scan_run.weights(x, g, degree, self.done)

    def backward(self, dout):
        return scan_run.backward(*self.call, self.eps, self.done, dout)


class _Part(NamedTuple):
    """Queries that are taken in one unit: the problem, r (0 for other queries), and the units, None for 1."""

    problem: Problem
    total: Any
    query: Any = None
    key: Any = None


class Pairs:
    """Pair by pair, for every mask and window.

    If r of some query is out of the middle of the range of numbers, and its vectors are the reason, it is taken again
    from vectors in units of powers of two: its own, and one near that of the largest key it may attend. Keys that it
    may not attend, of its future for one, have no say in that.
    """

    def __init__(self, x: Problem, g: Layout, heads: int, degree: int, eps: float):
        self.layout, self.heads, self.eps, self.params = g, heads, eps, _PARAMS[degree]
        self.out, total = self._forward(x)
        self.parts = [_Part(x, total)]
        if degree == 2 and self.out.size and not devices.is_device_array(x.q):
            self._again(x, total)

    def _forward(self, x):
        g = self.layout
        if self.eps:
            eps = ratio_run.relative_eps(self.eps, x, g, self.heads)
        else:
            eps = ratio_run.constant_eps(0.0, x)
        return ratio_run.forward(self.params, x, g, self.heads, eps)

    def _again(self, x, total):
        g, middle = self.layout, _MIDDLE[x.q.dtype]
        if 2.0**-middle < np.minimum.reduce(total) and np.maximum.reduce(total) < 2.0**middle:
            return
        with np.errstate(invalid="ignore"):
            fine = (total > 2.0**-middle) & (total < 2.0**middle)
        if x.scale == 0 or not g.keys:
            return
        of_queries = _exponents(x.q.reshape(-1, g.width))
        of_keys = _exponents(x.k.reshape(-1, g.width)).reshape(-1, g.room)[:, : g.keys]
        shift, bound = np.frexp(x.scale)[1], middle / 4
        rows = np.abs(of_queries + shift) + np.abs(of_keys).max(axis=-1).repeat(g.group * g.queries)
        maybe = np.flatnonzero(~fine & (rows > bound))
        if not len(maybe):
            return
        largest = _reached(x, g, of_keys, maybe)
        far = abs(of_queries[maybe] + largest + shift) > bound
        step = np.finfo(x.q.dtype).maxexp // 8
        levels, again = -(-largest // step) * step, np.zeros(len(total), bool)
        again[maybe[far]] = True
        for level in np.unique(levels[far]):
            mine = np.zeros(len(total), bool)
            mine[maybe[far & (levels == level)]] = True
            self._in_units(x, total, mine, of_queries, level)
        total[again] = 0
        within = np.where(again[:, None], 0, x.q.reshape(-1, g.width)).reshape(-1)
        self.parts[0] = _Part(x._replace(q=_frozen(within)), total)

    def _in_units(self, x, total, mine, of_queries, level) -> None:
        """These rows, from keys in units of 2^level."""
        one, g = x.q.dtype.type(1), self.layout
        query, key = np.ldexp(one, -of_queries)[:, None], np.ldexp(one, -level)
        with np.errstate(over="ignore"):  # of keys that these rows may not attend
            scaled = x._replace(
                q=_frozen((x.q.reshape(-1, g.width) * query).reshape(-1)), k=_frozen(x.k * key), scale=one
            )
        out, other = self._forward(scaled)
        rows = self.out.reshape(-1, g.depth)
        rows[mine] = out.reshape(-1, g.depth)[mine]
        other[~mine] = 0
        self.parts.append(_Part(scaled, other, query, key))

    def weights(self):
        table = None
        for part in self.parts:
            own = ratio_run.weights(self.params, part.problem, self.layout, part.total)
            table = own if table is None else np.where(np.repeat(part.total != 0, self.layout.keys), own, table)
        return table

    def backward(self, dout):
        sums = None
        for part in self.parts:
            grads = self._backward(part, dout)
            sums = grads if sums is None else tuple(a + b for a, b in zip(sums, grads, strict=True))
        return sums

    def _backward(self, part, dout):
        x, g = part.problem, self.layout
        dq, dk, dv, deps = ratio_run.backward(self.params, x, g, self.out, part.total, dout)
        if self.eps:
            ratio_run.relative_eps_backward(self.eps, x, g, self.heads, deps, dq, dk)
        if len(self.parts) > 1:
            dq = np.where(part.total[:, None] != 0, dq.reshape(-1, g.width), 0).reshape(-1)
        if part.query is not None:
            dq = (dq.reshape(-1, g.width) * part.query).reshape(-1)
            dk = dk * part.key
        return dq, dk, dv


def _exponents(rows):
    """Of the largest finite entry of every row; within what a power of two of the type can undo."""
    with np.errstate(invalid="ignore"):
        largest = np.where(np.isfinite(rows), abs(rows), 0).max(axis=-1, initial=0)
    bound = np.finfo(rows.dtype).maxexp - 3
    return np.clip(np.frexp(largest)[1], -bound, bound)


def _reached(x: Problem, g: Layout, of_keys, rows):
    """The largest exponent of the keys that each of these rows may attend, held within what a unit can undo."""
    found, lowest = np.zeros(len(rows), np.int64), np.iinfo(np.int32).min
    for start in range(0, len(rows), 256):
        head, i = np.divmod(rows[start : start + 256], g.queries)
        j = np.arange(g.keys)
        ahead = j - (i + g.keys - g.queries)[:, None]
        seen = (-g.before <= ahead) & (ahead <= g.after)
        seen &= x.mask[(x.mask_at[head] + i * g.mask_row)[:, None] + j * g.mask_key] != 0
        largest = np.where(seen, of_keys[head // g.group], lowest).max(axis=1)
        found[start : start + 256] = np.where(seen.any(axis=1), largest, 0)
    bound = np.finfo(x.q.dtype).maxexp * 7 // 8
    return np.clip(found, -bound, bound)


def _frozen(x):
    x.flags.writeable = False
    return x


def check_form(form: str, x: Problem, g: Layout) -> bool:
    """Whether sums over keys are wanted and possible."""
    if form not in ("auto", "quadratic", "linear"):
        raise ValueError(f"form is {form!r}: pass 'auto', 'quadratic' or 'linear'")
    possible = scan_run.possible(g, x.mask_at)
    if form == "linear" and not possible:
        raise ValueError(
            "form 'linear' sums over keys for all queries at once, which neither a window nor a mask that differs "
            "between queries allows: pass form='auto' or 'quadratic', or a mask of shape (..., 1, Tk)"
        )
    return possible and form != "quadratic"
