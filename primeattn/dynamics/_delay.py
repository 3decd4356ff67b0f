r"""Coupling to the past: theta_j(t - tau) in place of theta_j(t) in the pairwise coupling.

Phases and derivatives of the last steps are kept in a ring; between two grid points, a = t_k and b = t_k + w, with
x = (t - a) / w, the cubic of Hermite,

    theta(a + x w) = (1 - u) theta_a + u theta_b + w x (1 - x) ((1 - x) theta_a' - x theta_b'),    u = x^2 (3 - 2 x),

whose error is (w^4 / 384) theta'''', so that the fourth order of rk4 is kept. No step is longer than the smallest
delay: then all that a stage asks for is there. The derivative of a grid point is the first slope of the step
from it. C. A. H. Paul, "Designing efficient software for solving delay differential equations", J. Comput. Appl. Math.
125 (2000) 287; A. Bellen and M. Zennaro, "Numerical Methods for Delay Differential Equations" (2003).

At the start the derivative jumps from that of the history to that of the model, and so does the (m + 1)st one m delays
later: there steps must end, or the order is lost. So it does where a network switches, and one order later at a knot of
a schedule. A time at which theta' jumps is two grid points, one for each side.

M. K. S. Yeung and S. H. Strogatz, "Time delay in the Kuramoto model of coupled oscillators", Phys. Rev. Lett. 82 (1999)
648, is the model.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from .._runtime import elementary as el
from .._runtime.checks import as_floating
from .._runtime.jit import apart, nonnegative, scalar


class Past(NamedTuple):
    """What runs remember besides their state, and the times that it is about."""

    path: Any  # theta and theta' of grid point k in slot k % slots: (runs, slots, 2, n); with a delay an edge
    # (runs, n, slots, 2), so that what an edge asks for, two points of one oscillator, is one cache line or two
    when: Any  # (runs, slots): their times
    colour: Any  # (runs, n): coloured noise in units of its strength, see `_colour`
    delay: Any  # (1,): of all; or (edges,)
    correlation: Any  # (1,): time of coloured noise


@scalar
def slot_of(k, newest, last, slots):
    """Where grid point k is kept; the newest, at most ``slots`` before it, is in ``last``. Divisions take longer."""
    slot = last - (newest - k)
    return slot if slot >= 0 else slot + slots


@scalar
def step_of(s, newest, last, when, slots):
    """(slot, next slot, x, width) of the step that time s falls into; ``newest`` is the last with a derivative."""
    oldest = max(newest + 2 - slots, 0)
    k = newest - 1
    b, a = when[last], when[slot_of(k, newest, last, slots)]
    if b > a:
        k -= int(min(max((b - s) / (b - a), 0.0), 1e9))  # where it is if all steps are equal
    k = max(k, oldest)
    while k > oldest and when[slot_of(k, newest, last, slots)] > s:
        k -= 1
    while k < newest - 1 and when[slot_of(k + 1, newest, last, slots)] <= s:
        k += 1
    here, there = slot_of(k, newest, last, slots), slot_of(k + 1, newest, last, slots)
    width = when[there] - when[here]
    return here, there, ((s - when[here]) / width if width > 0 else 0.0), width


@scalar
def hermite(x, width):
    """Factors of theta and theta' at the two ends of a step."""
    u = x * x * (3 - 2 * x)
    return 1 - u, u, width * x * (1 - x) * (1 - x), -width * x * x * (1 - x)


@scalar
def copy(first, last, source, of, target, to):
    """target = source from first to last - 1, from ``of`` and ``to`` on."""
    for i in range(first, last):
        target[nonnegative(to + i)] = source[nonnegative(of + i)]


@scalar
def remember(first, last, source, of, slot, part, slots, n, delayed, path):
    """theta (part 0) or theta' (1) of a grid point, from ``of`` on in source."""
    if delayed == 2:
        for i in range(first, last):
            path[nonnegative(2 * (slots * i + slot) + part)] = source[nonnegative(of + i)]
    else:
        copy(first, last, source, of, path, (2 * slot + part) * n)


@apart
def recall(first, last, s, newest, slots, n, path, when, out):
    """theta(s) of oscillators first to last - 1, of one run."""
    here, there, x, width = step_of(s, newest, newest % slots, when, slots)
    p, q, u, v = hermite(x, width)
    a, b = here * 2 * n, there * 2 * n
    for i in range(first, last):
        out[nonnegative(i)] = (
            p * path[nonnegative(a + i)]
            + q * path[nonnegative(b + i)]
            + u * path[nonnegative(a + n + i)]
            + v * path[nonnegative(b + n + i)]
        )


@apart
def add_late_edges(
    first, last, t, newest, slots, n, harmonics, factor, link, h, indptr, indices, weight, scale, delay, inertia,
    path, when, features, now, sums, out, force,
):  # fmt: skip
    """sum_m Im h_m e_i^{-m} sum_j scale_i w_ij e_j(t - tau_ij)^m, divided by the inertia where there is one.

    What `_slope.slope` adds for other edges. ``sums`` has room for (harmonics, 2); cosines of harmonic m stand at
    now + 2 m n in ``features``; ``path`` and ``when`` are of one run.
    """
    last_slot = newest % slots
    for i in range(first, last):
        for m in range(2 * harmonics):
            sums[m] = 0
        for e in range(indptr[i], indptr[i + 1]):
            j = indices[e]
            if delay[e] == 0:
                c, s = features[now + j], features[now + n + j]
            else:
                here, there, x, width = step_of(t - delay[e], newest, last_slot, when, slots)
                p, q, u, v = hermite(x, width)
                a, b = nonnegative(2 * (slots * j + here)), nonnegative(2 * (slots * j + there))
                s, c = el.sincos(p * path[a] + q * path[b] + u * path[a + 1] + v * path[b + 1])
            w = weight[e] if len(weight) else 1.0
            p, q = w * c, w * s
            for m in range(harmonics):
                sums[2 * m] += p
                sums[2 * m + 1] += q
                p, q = p * c - q * s, p * s + q * c
        f = factor * scale[i] if len(scale) else factor
        felt = 0.0
        for m in range(harmonics):
            re, im = link[h + 2 * m], link[h + 2 * m + 1]
            p, q = re * sums[2 * m] - im * sums[2 * m + 1], re * sums[2 * m + 1] + im * sums[2 * m]
            c = now + 2 * m * n
            felt += q * features[c + i] - p * features[c + n + i]
        out[force + i] += f * felt / inertia[i] if len(inertia) else f * felt


# --- in Python -----------------------------------------------------------------------------------------------------


def as_delays(delay: Any, edges: Any, n: int) -> np.ndarray:
    """No delay (0,), that of all (1,), or those of the edges, in their order.

    Raises
    ------
    ValueError
        For delays that are negative or not finite, or do not fit the network.
    """
    from scipy import sparse

    if delay is None:
        return np.zeros(0)
    if not sparse.issparse(delay):
        delay = as_floating("delay", delay, dtype=np.float64)
    if delay.ndim == 2:
        if edges is None:
            raise ValueError(
                "delay has one entry an edge but there is no network: network=1 - numpy.eye(N) couples all to all"
            )
        delay = _of_pattern(sparse.csr_array(delay), edges, n)
    x = as_floating("delay", delay, dtype=np.float64)
    if not (np.isfinite(x).all() and (x >= 0).all()):
        raise ValueError("delay has entries that are negative, NaN or infinite: finite times >= 0 are wanted")
    count = 0 if edges is None else len(edges.indices)
    if x.ndim and x.shape != (count,):
        wanted = f" or ({count},), one an edge," if count else ""
        raise ValueError(f"delay has shape {x.shape}: a number{wanted} is wanted")
    if not x.any():
        return np.zeros(0)
    return np.full(1, x.flat[0]) if (x == x.flat[0]).all() else np.ascontiguousarray(x)


def _of_pattern(matrix, edges, n: int) -> np.ndarray:
    """Entries of a matrix at the edges; 0 where it has none."""
    if matrix.shape != (n, n):
        raise ValueError(f"delay has shape {matrix.shape} but the network ({n}, {n}): the same is wanted")
    rows = np.repeat(np.arange(n), np.diff(edges.indptr))
    found = np.asarray(matrix[rows, edges.indices], float).reshape(-1)
    if np.count_nonzero(found) != np.count_nonzero(matrix.data):
        raise ValueError("delay has entries where the network has no edge: delays of its edges alone are wanted")
    return found


def kinks(starts: np.ndarray, delays: np.ndarray) -> np.ndarray:
    """Times up to three delays after ``starts``, at which a derivative jumps again; for at most 4 different delays."""
    different = np.unique(delays[delays > 0])
    if not 0 < len(different) <= 4:
        return np.zeros(0)
    found = [starts]
    for _ in range(3):
        found.append(np.unique(found[-1][:, None] + different))
    return np.unique(np.concatenate(found[1:]))


def slots_for(delay: float, times: np.ndarray, parts: np.ndarray, before: np.ndarray) -> int:
    """Grid points to remember: those of any stretch of ``delay`` and one step, and two to spare.

    ``times`` (stops + 1,) starts at t0; ``parts`` (stops,) counts the grid points between them; ``before`` are the
    times of the history.
    """
    grid = np.concatenate([before, times[1:]])
    number = np.concatenate([np.arange(len(before)), len(before) - 1 + np.cumsum(parts)]).astype(float)
    late = np.concatenate([grid, grid + delay])
    late = late[(late >= times[0]) & (late <= times[-1])]
    stretch = np.interp(late, grid, number) - np.interp(late - delay, grid, number)
    return math.ceil(stretch.max(initial=0)) + 6


def room(runs: int, slots: int, n: int, each: bool) -> np.ndarray:
    """Memory of the past (runs, slots, 2, n), laid out for a delay of ``each`` edge or one of all."""
    return np.zeros((runs, n, slots, 2)).transpose(0, 2, 3, 1) if each else np.zeros((runs, slots, 2, n))


def history_grid(t0: float, delay: float, step: float) -> np.ndarray:
    """Times from t0 - delay to t0."""
    return t0 - delay + delay * np.linspace(0, 1, max(8, math.ceil(delay / step)) + 1)


def history_values(history: Any, grid: np.ndarray, theta0: np.ndarray, omega: np.ndarray):
    """(theta, theta'), each of shape (runs, times, N), on a grid that ends at the start.

    Raises
    ------
    ValueError
        For a history of another kind, or values that do not fit or are not finite.
    """
    from scipy.interpolate import CubicSpline

    runs, n = theta0.shape
    shape = runs, len(grid), n
    if history is None:
        return np.broadcast_to(theta0[:, None], shape), np.zeros(shape)
    if isinstance(history, str) and history == "rotating":
        omega = np.broadcast_to(omega, (runs, n))[:, None]
        return theta0[:, None] + omega * (grid - grid[-1])[:, None], np.broadcast_to(omega, shape)
    if not callable(history):
        raise ValueError(f"history is {history!r}: None (constant), 'rotating', or a function of time is wanted")
    values = []
    for t in grid:
        value = as_floating("history", history(float(t)), dtype=np.float64)
        if value.shape not in ((n,), (runs, n)) or not np.isfinite(value).all():
            raise ValueError(
                f"history({t:g}) has shape {value.shape}: finite phases of shape ({n},) or ({runs}, {n}) are wanted"
            )
        values.append(np.broadcast_to(value, (runs, n)))
    theta = np.stack(values, axis=1)
    return theta, CubicSpline(grid, theta, axis=1)(grid, 1)
