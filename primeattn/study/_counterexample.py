"""Counter-examples from nothing: found in float64, made small and clean, verified in sure numbers."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, combinations_with_replacement, islice
from typing import Any, NamedTuple

import numpy as np

from .._runtime.checks import as_generator
from ..attention import Mechanism
from ._counts import check_count
from ._gram import check_kernel
from ._points import Point, States, Vectors
from ._subjects import PREFIX, is_of_states
from ._sure import Sure, Undecided

Space = Vectors | States
STAGES = ("lattice", "random", "gradient")
_CLEAR = 1e-4  # a violation that float64 cannot mistake: tables here have entries of about 1
_TRIALS, _STARTS, _FINDS = 400, 4, 8  # random sets; ascents; finds to choose the simplest from
_MOST_SETS = 40_000  # of points of one lattice


@dataclass(frozen=True)
class Witness:
    """Points at which a kernel lacks a property.

    Attributes
    ----------
    kernel, property : str
    points : ndarray of float (n, d), or PrimeStates
    table : ndarray of float64
        The kernel between the points, and between them and their images (with another sign, scale, or shifted).
    coefficients : tuple of int
        For "psd": c with c^T table c < 0. Else empty.
    value : float
        c^T table c for "psd", else the violation.
    bounds : tuple of two float
        Where the exact value lies.
    verified : str
        "exact": computed in fractions; "interval": in intervals of 50 digits; "float64": the kernel takes neither, and
        the violation is far above rounding.
    says : str
        The points in full.
    """

    kernel: str
    property: str
    points: Any
    table: np.ndarray
    coefficients: tuple[int, ...]
    value: float
    bounds: tuple[float, float]
    verified: str
    says: str

    def short(self) -> str:
        """Points, what they show, and how that was verified."""
        if self.coefficients:
            what = f"c = {self.coefficients} has c^T K c = {self.value:.6g} < 0"
        else:
            what = f"violated by {self.value:.6g}"
        return f"{self.says}: {what} ({self.verified})"

    def __str__(self) -> str:
        return f"{self.kernel}, {self.property}: {self.short()}"


class _Property(NamedTuple):
    """``violation(table)`` of points and their images, written for floats and sure numbers alike."""

    says: str
    sizes: tuple[int, ...]
    image: str
    violation: Callable[[Any], Any]


def _negativity(table) -> float:
    """- lambda_min over the largest entry."""
    scale = abs(table).max()
    return float(-np.linalg.eigvalsh((table + table.T) / 2)[0] / scale) if scale > 0 else 0.0


def _asymmetry(table):
    return abs(table[0, 1] - table[1, 0])


def _largest(values):
    """The largest; among intervals that overlap, the one that is surely the largest of them: a bound from below."""
    return max(values, key=lambda x: float(x.bounds[0]) if isinstance(x, Sure) else x)


def _outside(table):
    return _largest([x - 1 for x in table.reshape(-1)] + [-x for x in table.reshape(-1)])


def _one_moved(table):
    """Points x, y and the image of x."""
    return abs(table[0, 1] - table[2, 1])


def _both_moved(table):
    """Points x, y and both images."""
    return abs(table[0, 1] - table[2, 3])


def _root(x):
    return x.sqrt() if isinstance(x, Sure) else float(np.sqrt(x))


def _shortcut(table):
    """How much longer the way from one point to another is than by way of the third."""
    squared = {(i, j): table[i, i] + table[j, j] - table[i, j] - table[j, i] for i, j in ((0, 1), (1, 2), (0, 2))}
    below = _largest([-x for x in squared.values()])
    if below > 0:
        return below
    sides = [_root(x) for x in squared.values()]
    return _largest([2 * s - sum(sides[1:], sides[0]) for s in sides])


_PROPERTIES: dict[str, _Property] = {
    "psd": _Property("sum c_i c_j k(x_i, x_j) >= 0", (2, 3, 4), "", _negativity),
    "symmetric": _Property("k(x, y) = k(y, x)", (2,), "", _asymmetry),
    "bounded": _Property("0 <= k(x, y) <= 1", (2,), "", _outside),
    "sign_invariant": _Property("k(-x, y) = k(x, y)", (2,), "sign", _one_moved),
    "scale_invariant": _Property("k(2 x, y) = k(x, y)", (2,), "scale", _one_moved),
    "shift_invariant": _Property("k(x + c, y + c) = k(x, y)", (2,), "shift", _both_moved),
    "triangle": _Property("d(x, z) <= d(x, y) + d(y, z), d^2 = k(x, x) + k(y, y) - 2 k(x, y)", (3,), "", _shortcut),
}


def counterexample(
    kernel: Any,
    property: str,
    rng: Any = 0,
    *,
    width: int | None = None,
    primes: int | None = None,
    search: str | Sequence[str] = STAGES,
) -> Witness | None:
    r"""Search for points at which a kernel lacks a property, and make them few and simple.

    Parameters
    ----------
    kernel : str or callable
        "resonance:original", "resonance:kernel"; a mechanism's name, whose kernel has unit diagonal (see `gram`); or a
        function of two batches (n, d), (m, d) that gives the (n, m) table. One that computes with Python numbers
        (``a @ b.T``, ``numpy.exp``) on object arrays is verified in exact or interval arithmetic.
    property : str
        "psd", "symmetric", "bounded" (by 0 and 1), "sign_invariant", "scale_invariant" (of one argument),
        "shift_invariant" (of both; of states: a common phase), "triangle" (of the distance that the kernel defines).
    rng : int or Generator
    width : int, optional
        Of the vectors; 1 to 4 are tried by default.
    primes : int, optional
        How many primes states may use; 3 by default. With 1, states are orientations and phases on one prime.
    search : str or sequence of str
        Stages in order, of "lattice" (all small sets of points of a small lattice, fewest and simplest first), "random"
        (drawn points), "gradient" (uphill from drawn points).

    Returns
    -------
    Witness or None
        None if nothing was found, which proves nothing.

    Raises
    ------
    ValueError
        For other names, mechanisms without a kernel, no stage; for tables of a wrong shape, without a finite number, or
        that change from call to call.

    Notes
    -----
    What is found is minimised: points, primes and coordinates are left out and numbers replaced by smaller integers or
    fractions while the violation stays clear of rounding. Then it is computed again in fractions, or in intervals where
    roots and exponentials enter; a mechanism's by running its reference on them. For "psd" the eigenvector is rounded
    to small integers c: :math:`c^T K c < 0` needs no eigenvalue.

    Examples
    --------
    >>> import primeattn as pa
    >>> print(pa.study.counterexample("resonance:original", "psd"))
    resonance:original, psd: {2}, {3}, {2, 3}: c = (1, 1, -1) has c^T K c = -0.34 < 0 (exact)
    >>> pa.study.counterexample("resonance:original", "psd", primes=1).says
    '{2}, {2 q=(1, 1, 0, 0)}, {2 q=(0, 1, 0, 0)}, {2 q=(-1, 1, 0, 0)}'
    >>> print(pa.study.counterexample("expressive", "psd", width=1))
    expressive, psd: (1), (2): c = (1, -1) has c^T K c = -0.317647 < 0 (exact)
    """
    if property not in _PROPERTIES:
        raise ValueError(f"property is {property!r}: one of {', '.join(map(repr, _PROPERTIES))} is wanted")
    stages = (search,) if isinstance(search, str) else tuple(search)
    for stage in stages or (None,):
        if stage not in STAGES:
            raise ValueError(f"search is {search!r}: stages of {', '.join(map(repr, STAGES))} are wanted")
    for name, value in (("width", width), ("primes", primes)):
        if value is not None:
            check_count(name, value)
    which = check_kernel(kernel)
    space: Space
    if isinstance(which, Mechanism) and is_of_states(which):
        space = States(which.name.removeprefix(PREFIX), primes)
    else:
        space = Vectors(which, width)
    name = which.name if isinstance(which, Mechanism) else getattr(which, "__name__", "kernel")
    rng = as_generator(rng)
    for stage in stages:
        found = {"lattice": _on_lattices, "random": _at_random, "gradient": _uphill}[stage](space, property, rng)
        if stage != "lattice":
            found = [_minimised(space, property, points) for points in found]
        if found:
            return _verified(space, name, property, min(found, key=lambda points: _cost(space, points)))
    return None


def _cost(space: Space, points: Sequence[Point]) -> tuple:
    return (len(points), *np.sum([space.cost(p) for p in points], axis=0))


def _with_images(space: Space, prop: _Property, points: Sequence[Point]) -> list[Point]:
    moved = [space.changed(p, prop.image) for p in points] if prop.image else []
    return [*points, *moved]


def _violation(space: Space, name: str, points: Sequence[Point]) -> float:
    """0 where it is undefined."""
    prop = _PROPERTIES[name]
    table = space.table(_with_images(space, prop, points))
    return float(prop.violation(table)) if np.isfinite(table).all() else 0.0


def _sets(name: str, lattice: list[Point], size: int) -> Iterator[tuple[int, ...]]:
    among = combinations_with_replacement if name == "bounded" else combinations
    return among(range(len(lattice)), size)


def _on_lattices(space: Space, name: str, rng) -> list[list[Point]]:
    """Every set of few points of the small lattices; the simplest of those with the fewest points."""
    for size in _PROPERTIES[name].sizes:
        best: tuple | None = None
        for lattice in space.lattices(size):
            for value, at in _violations(space, name, lattice, size):
                points = [lattice[i] for i in at]
                ranked = (_cost(space, points), -value, points)
                if best is None or ranked[:2] < best[:2]:
                    best = ranked
        if best is not None:
            return [best[2]]
    return []


def _violations(space: Space, name: str, lattice: list[Point], size: int) -> Iterator[tuple[float, tuple[int, ...]]]:
    """``(violation, positions)`` of the sets that violate clearly."""
    sets = list(islice(_sets(name, lattice, size), _MOST_SETS))
    if name == "psd" and space.pointwise:
        table = space.table(lattice)
        at = np.array(sets, int).reshape(-1, size)
        parts = (table + table.T)[at[:, :, None], at[:, None, :]] / 2
        good = np.isfinite(parts).all(axis=(1, 2))
        scale = abs(parts).max(axis=(1, 2), initial=1e-300)
        lowest = np.zeros(len(at))
        lowest[good] = -np.linalg.eigvalsh(parts[good])[:, 0] / scale[good]
        for i in np.flatnonzero(lowest > _CLEAR):
            yield float(lowest[i]), sets[i]
        return
    prop, n = _PROPERTIES[name], len(lattice)
    whole = space.table(_with_images(space, prop, lattice)) if space.pointwise else None
    for chosen in sets:
        if whole is None:
            value = _violation(space, name, [lattice[i] for i in chosen])
        else:
            images = np.array(chosen + tuple(n + i for i in chosen) if prop.image else chosen)
            part = whole[np.ix_(images, images)]
            value = float(prop.violation(part)) if np.isfinite(part).all() else 0.0
        if value > _CLEAR:
            yield value, chosen


def _sizes(name: str) -> Sequence[int]:
    return (3, 4, 6, 8) if name == "psd" else _PROPERTIES[name].sizes


def _at_random(space: Space, name: str, rng) -> list[list[Point]]:
    sizes = _sizes(name)
    drawn = (space.random(rng, sizes[trial % len(sizes)]) for trial in range(_TRIALS))
    return list(islice((points for points in drawn if _violation(space, name, points) > _CLEAR), _FINDS))


def _uphill(space: Space, name: str, rng) -> list[list[Point]]:
    """Quasi-Newton ascent of the violation from drawn points; gradients by differences."""
    from scipy.optimize import minimize

    sizes, finds = _sizes(name)[:2], []
    for start in range(_STARTS):
        points = space.random(rng, sizes[start % len(sizes)])

        def loss(numbers, points=points):
            return -_violation(space, name, space.from_numbers(numbers, points))

        found = minimize(loss, space.to_numbers(points), method="L-BFGS-B", options={"maxiter": 60, "maxfun": 1500})
        if -found.fun > _CLEAR:
            finds.append(space.from_numbers(found.x, points))
    return finds


def _minimised(space: Space, name: str, points: list[Point]) -> list[Point]:
    """Simplify, one step at a time, while the violation stays: fewer points, fewer dimensions, simpler numbers."""
    step: list[Point] | None = points
    while step is not None:
        points = step
        step = next((s for s in _steps(space, name, points) if _violation(space, name, s) > _CLEAR), None)
    return sorted(points, key=space.cost)


def _steps(space: Space, name: str, points: list[Point]) -> Iterator[list[Point]]:
    if len(points) > min(_PROPERTIES[name].sizes):
        for i in range(len(points)):
            yield points[:i] + points[i + 1 :]
    yield from space.narrower(points)
    for i, point in enumerate(points):
        for simpler in space.simpler(point):
            yield [*points[:i], simpler, *points[i + 1 :]]


def _integers(table: np.ndarray) -> np.ndarray | None:
    """Small integers c with c^T table c clearly below 0: the eigenvector, as coarsely as it bears."""
    symmetric = (table + table.T) / 2
    vector = np.linalg.eigh(symmetric)[1][:, 0]
    vector = vector / vector[np.argmax(abs(vector))]
    for fine in range(1, 200):
        c = np.round(fine * vector)
        if c @ symmetric @ c < -1e-9 * abs(symmetric).max() * (c @ c):
            return c.astype(int) * (1 if c[np.flatnonzero(c)[0]] > 0 else -1)
    return None


def _below(x) -> float:
    """A float that is no larger."""
    return float(np.nextafter(float(x), -np.inf)) if x != float(x) else float(x)


def _verified(space: Space, kernel: str, name: str, points: list[Point]) -> Witness | None:
    prop = _PROPERTIES[name]
    images = _with_images(space, prop, points)
    table = space.table(images)
    exact = space.sure_table(images, balanced=name == "psd")
    coefficients: tuple[int, ...] = ()
    value: Any = None
    if name == "psd":
        if exact is not None:
            table = exact.astype(float)
        c = _integers(table)
        if c is None:
            return None
        coefficients = tuple(int(x) for x in c)
        terms = [(a * b, i, j) for i, a in enumerate(coefficients) for j, b in enumerate(coefficients)]
        rounded = float(c @ table @ c)
        if exact is not None:
            value = sum((exact[i, j] * ab for ab, i, j in terms), Sure(0))
    else:
        rounded = float(prop.violation(table))
        if exact is not None:
            try:
                value = prop.violation(exact)
            except Undecided:
                value = None
    sign = -1 if name == "psd" else 1
    shown: dict[str, Any] = {
        "table": table,
        "coefficients": coefficients,
        "kernel": kernel,
        "property": name,
        "points": space.shown(points),
        "says": space.describe(points),
    }
    if value is not None:
        low, high = value.bounds
        if (high < 0) if sign < 0 else (low > 0):
            how = "exact" if value.exact else "interval"
            shown |= {"value": float(value), "bounds": (_below(low), -_below(-high)), "verified": how}
            return Witness(**shown)
    shown |= {"value": rounded, "bounds": (rounded, rounded), "verified": "float64"}
    return Witness(**shown)
