r"""Where counter-examples are searched: points with few small integers, their kernel in float64 and in sure numbers.

A vector is a tuple of fractions. A state is a tuple of entries (prime, z, q): z = (re, im) and q = (w, x, y, z) are
integers, an amplitude and a quaternion before normalisation, so 0, 45, 90, 135 degrees are (1, 0), (1, 1), (0, 1),
(-1, 1) in the plane of 1 and i. Scores do not depend on |z|, and on q only through its direction.
"""

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from itertools import combinations, product
from typing import Any

import numpy as np

from .. import resonance
from ..attention import Mechanism
from ..states import PrimeStates
from ._gram import table_of
from ._sure import Sure, is_sure, sure

PRIMES = (2, 3, 5, 7, 11)
Point = Any  # a tuple, see above


class Vectors:
    """Points of a callable kernel or of a mechanism."""

    def __init__(self, kernel: "Callable | Mechanism", width: int | None):
        self.kernel, self.width = kernel, width
        # a mechanism may learn something of all its points: then subsets have tables of their own
        some = list(np.random.default_rng(0).standard_normal((5, width or 2)))
        table = self.table(some)
        if not isinstance(kernel, Mechanism):
            if not np.isfinite(table).any():
                raise ValueError("the kernel gave NaN or infinity for all pairs of 5 drawn points: nothing can be told")
            if not np.allclose(table, self.table(some), rtol=1e-9, atol=1e-12, equal_nan=True):
                raise ValueError(
                    "the kernel gave two tables for the same points: a function of the points alone is wanted; fix its "
                    "seed at every call"
                )
        self.pointwise = bool(np.allclose(table[:3, :3], self.table(some[:3]), equal_nan=True))

    def table(self, points: Sequence[Point]) -> np.ndarray:
        """All pairs, float64; NaN where the kernel is undefined."""
        x = np.array(points, float)
        with np.errstate(all="ignore"):
            if isinstance(self.kernel, Mechanism):
                return table_of(self.kernel, x)
            return table_of(self.kernel, x, x)

    def sure_table(self, points: Sequence[Point], *, balanced: bool) -> np.ndarray | None:
        """The same in sure numbers; None if the kernel cannot compute with them.

        ``balanced``: a mechanism's kernel without the roots that make its diagonal 1, fractions where it is rational.
        """
        x = sure(np.array(points, object))
        try:
            if not isinstance(self.kernel, Mechanism):
                table = np.asarray(self.kernel(x.copy(), x.copy()), object)
                return _promoted(table) if table.shape == (len(x), len(x)) else None
            sample = self.kernel.of_vectors(np.array(points, float))
            own = [sure(v) for v in sample.inputs]
            weights = self.kernel.reference(*own, **sample.options, return_weights=True)[1]
            weights = _promoted(weights.reshape(-1, *weights.shape[-2:])[0])
            return None if weights is None else (_by_first_row if balanced else _by_diagonal)(weights)
        except (TypeError, AttributeError, ArithmeticError, ValueError):
            return None

    def lattices(self, size: int) -> Iterator[list[Point]]:
        """Small lattices, the simplest first; those of many points only for few of them at once."""
        widths = range(1, 4) if self.width is None else (self.width,)
        for width in widths:
            most = {1: 4, 2: 2}.get(width, 1)
            points = [p for p in product(range(-most, most + 1), repeat=width) if any(p)]
            if width > 3 or len(points) > (50 if size < 4 else 25):
                continue
            yield [tuple(map(Fraction, p)) for p in points]

    def random(self, rng, size: int) -> list[Point]:
        width = self.width or int(rng.integers(1, 5))
        return [tuple(p) for p in rng.choice((0.3, 1.0, 3.0)) * rng.standard_normal((size, width))]

    def to_numbers(self, points: Sequence[Point]) -> np.ndarray:
        return np.array(points, float).reshape(-1)

    def from_numbers(self, numbers: np.ndarray, like: Sequence[Point]) -> list[Point]:
        return [tuple(p) for p in numbers.reshape(len(like), -1)]

    def simpler(self, point: Point) -> Iterator[Point]:
        """The point with one number simpler, the largest simplification first."""
        for i, x in enumerate(point):
            for y in _simpler_numbers(x):
                yield (*point[:i], y, *point[i + 1 :])

    def cost(self, point: Point) -> tuple:
        return (len(point), sum(_complexity(x) for x in point))

    def narrower(self, points: Sequence[Point]) -> Iterator[list[Point]]:
        """Without one of the coordinates."""
        if self.width is None and len(points[0]) > 1:
            for i in range(len(points[0])):
                yield [(*p[:i], *p[i + 1 :]) for p in points]

    def changed(self, point: Point, how: str) -> Point:
        return tuple({"sign": -x, "scale": 2 * x, "shift": x + 1}[how] for x in point)

    def describe(self, points: Sequence[Point]) -> str:
        return ", ".join("(" + ", ".join(map(_number, p)) + ")" for p in points)

    def shown(self, points: Sequence[Point]) -> np.ndarray:
        return np.array(points, float)


def _number(x) -> str:
    return str(x) if isinstance(x, Fraction) else f"{x:.6g}"


def _complexity(x) -> float:
    if not isinstance(x, Fraction):
        return 1e3
    return abs(x.numerator) + 3 * (x.denominator - 1) + (0.5 if x < 0 else 0)


def _simpler_numbers(x) -> Iterator[Fraction]:
    candidates = {Fraction(0), Fraction(1), Fraction(-1)}
    for denominator in (1, 2, 3, 4, 8, 16):
        candidates.add(Fraction(round(float(x) * denominator), denominator))
    if isinstance(x, Fraction) and x.denominator == 1:
        candidates |= {x - np.sign(x.numerator).item(), -x}
    for y in sorted(candidates, key=_complexity):
        if _complexity(y) < _complexity(x):
            yield y


def _promoted(table: np.ndarray) -> np.ndarray | None:
    """Plain integers and fractions join the sure numbers; floats mean that somebody rounded."""
    out = np.empty(table.shape, object)
    for at, x in np.ndenumerate(table):
        if isinstance(x, (int, Fraction)) and not isinstance(x, bool):
            x = Sure(x)
        out[at] = x
    return out if is_sure(out) else None


def _by_first_row(weights: np.ndarray) -> np.ndarray:
    """K = D W with K symmetric and k_11 = 1: d_j = w_1j / (w_j1 w_11). Needs points that all see the first one."""
    own = weights[0, 0]
    return np.array([[weights[0, i] / weights[i, 0] / own * x for x in row] for i, row in enumerate(weights)], object)


def _by_diagonal(weights: np.ndarray) -> np.ndarray:
    """u_ij = sqrt(w_ij w_ji / (w_ii w_jj)) for weights >= 0."""
    n = range(len(weights))
    out = np.empty(weights.shape, object)
    for i in n:
        for j in n:
            both = weights[i, i] * weights[j, j]
            if both == 0:
                out[i, j] = Sure(0)
            else:
                out[i, j] = Sure(1) if i == j else (weights[i, j] * weights[j, i] / both).sqrt()
    return out


_ONE = (1, 0)
_IDENTITY = (1, 0, 0, 0)
_PLANE = ((1, 0, 0, 0), (1, 1, 0, 0), (0, 1, 0, 0), (-1, 1, 0, 0))


class States:
    """Points of a kernel between prime states: sets of primes, phases of quarter turns, small integer quaternions."""

    pointwise = True

    def __init__(self, kind: str, primes: int | None):
        self.kind, self.primes = kind, primes
        hundred = {"original": (33, 33, 34), "kernel": (1, 1, 1)}[kind]
        self.weights = [Fraction(w, sum(hundred)) for w in hundred]

    def states(self, points: Sequence[Point]) -> PrimeStates:
        return PrimeStates.from_dicts([{p: (complex(*z), q) for p, z, q in point} for point in points])

    def table(self, points: Sequence[Point]) -> np.ndarray:
        s = self.states(points)
        return resonance.matrix(s, s, kind=self.kind)

    def sure_table(self, points: Sequence[Point], *, balanced: bool) -> np.ndarray | None:
        entries = [{p: (_fractions(z), _fractions(q)) for p, z, q in point} for point in points]
        return np.array([[self._score(a, b) for b in entries] for a in entries], object)

    def _score(self, a: dict, b: dict) -> Sure:
        common = a.keys() & b.keys()
        union = len(a.keys() | b.keys())
        if not common:
            return Sure(0)
        alignment, coherence = Sure(0), Sure(0)
        for p in common:
            (z, q), (y, r) = a[p], b[p]
            squared = Fraction(_dot(q, r) ** 2, _dot(q, q) * _dot(r, r))
            alignment += Sure(squared).sqrt() if self.kind == "original" else squared
            cosine = Sure(Fraction(_dot(z, y) ** 2, _dot(z, z) * _dot(y, y))).sqrt()
            coherence += (1 + (cosine if _dot(z, y) >= 0 else -cosine)) / 2
        count = len(common) if self.kind == "original" else union
        alpha, beta, gamma = self.weights
        return Sure(Fraction(len(common), union)) * alpha + alignment * (beta / count) + coherence * (gamma / count)

    def lattices(self, size: int) -> Iterator[list[Point]]:
        most = min(self.primes or 3, len(PRIMES))
        sets = [s for k in range(1, most + 1) for s in combinations(PRIMES[:most], k)]
        if most > 1 and len(sets) <= (40 if size < 4 else 20):
            yield [tuple((p, _ONE, _IDENTITY) for p in s) for s in sets]
        yield [((2, _ONE, q),) for q in _PLANE]
        yield [((2, z, _IDENTITY),) for z in ((1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0))]
        half = [q for q in product((0, 1, -1), repeat=4) if any(q) and next(x for x in q if x) > 0]
        if size < 4:
            yield [((2, _ONE, q),) for q in half]
            yield [((2, z, q),) for z in ((1, 0), (0, 1), (-1, 0)) for q in _PLANE]

    def random(self, rng, size: int) -> list[Point]:
        most = min(self.primes or 3, len(PRIMES))

        def entry(p):
            phase = rng.uniform(0, 2 * np.pi)
            return (p, (np.cos(phase), np.sin(phase)), tuple(rng.standard_normal(4)))

        sets = [rng.permutation(most)[: rng.integers(1, most + 1)] for _ in range(size)]
        return [tuple(entry(PRIMES[i]) for i in sorted(s)) for s in sets]

    def to_numbers(self, points: Sequence[Point]) -> np.ndarray:
        return np.array([x for point in points for _, z, q in point for x in (*z, *q)], float)

    def from_numbers(self, numbers: np.ndarray, like: Sequence[Point]) -> list[Point]:
        rows = iter(numbers.reshape(-1, 6))
        out = []
        for point in like:
            entries = []
            for p, z, q in point:
                row = next(rows)
                tiny = not (row[:2] ** 2).sum() > 1e-6, not (row[2:] ** 2).sum() > 1e-6
                entries.append((p, z if tiny[0] else tuple(row[:2]), q if tiny[1] else tuple(row[2:])))
            out.append(tuple(entries))
        return out

    def simpler(self, point: Point) -> Iterator[Point]:
        if len(point) > 1:
            for i in range(len(point)):
                yield point[:i] + point[i + 1 :]
        for i, (p, z, q) in enumerate(point):
            for y in [_ONE, *_rounded(z)]:
                if _size(y) < _size(z):
                    yield (*point[:i], (p, y, q), *point[i + 1 :])
            for r in [_IDENTITY, *_PLANE, *_rounded(q)]:
                if _size(r) < _size(q):
                    yield (*point[:i], (p, z, r), *point[i + 1 :])

    def narrower(self, points: Sequence[Point]) -> Iterator[list[Point]]:
        """Without one of the primes; with smaller ones in their places."""
        used = sorted({p for point in points for p, _, _ in point})
        for gone in used:
            rest = [tuple(e for e in point if e[0] != gone) for point in points]
            if all(rest):
                yield rest
        if used != list(PRIMES[: len(used)]):
            name = dict(zip(used, PRIMES, strict=False))
            yield [tuple((name[p], z, q) for p, z, q in point) for point in points]

    def cost(self, point: Point) -> tuple:
        return (len(point), sum(_size(z) + _size(q) for _, z, q in point), sum(p for p, _, _ in point))

    def changed(self, point: Point, how: str) -> Point:
        def entry(p, z, q):
            if how == "sign":
                return (p, z, tuple(-x for x in q))
            return (p, (2 * z[0], 2 * z[1]) if how == "scale" else (-z[1], z[0]), q)

        return tuple(entry(*e) for e in point)

    def describe(self, points: Sequence[Point]) -> str:
        return ", ".join("{" + ", ".join(_entry(*e) for e in point) + "}" for point in points)

    def shown(self, points: Sequence[Point]) -> PrimeStates:
        return self.states(points)


def _fractions(direction) -> tuple[Fraction, ...]:
    return tuple(map(Fraction, direction))


def _dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


def _entry(p, z, q) -> str:
    says = str(p)
    if z != _ONE:
        says += f" z=({', '.join(map(_plain, z))})"
    return says if q == _IDENTITY else f"{says} q=({', '.join(map(_plain, q))})"


def _plain(x) -> str:
    return str(x) if isinstance(x, int) else f"{x:.4g}"


def _rounded(direction) -> list[tuple]:
    """Small integers in about this direction."""
    x = np.array(direction, float)
    x = x / abs(x).max()
    found = [tuple(int(v) for v in np.round(x * n)) for n in (1, 2, 3)]
    return [f for f in found if any(f)]


def _size(direction) -> float:
    """How far a direction is from simple: the identity costs nothing."""
    if not all(isinstance(x, int) for x in direction):
        return 1e3
    if direction in (_ONE, _IDENTITY):
        return 0
    return sum(abs(x) + (0.5 if x < 0 else 0) for x in direction) + sum(i * abs(x) for i, x in enumerate(direction)) / 8
