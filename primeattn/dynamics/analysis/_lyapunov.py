"""Lyapunov exponents: tangent vectors carried along a trajectory and made orthogonal again and again."""

import dataclasses
import math
from contextlib import nullcontext
from typing import Any

import numpy as np

from ..._runtime.checks import as_generator
from ..._runtime.linalg import single_threaded
from ..._runtime.owners import share
from .._methods import method as scheme
from .._model import Kuramoto
from .._pace import default_step
from .._simulate import simulate
from ._jacobian import SETTLED, checked, listed
from ._tangent import Base, Columns, tangents

_SAMPLES = 100


@dataclasses.dataclass(frozen=True, eq=False)
class Lyapunov:
    """Lyapunov exponents and how they settled.

    Attributes
    ----------
    exponents : ndarray of float, shape (k,)
        Per unit of time, descending up to their error.
    t : ndarray of float, shape (samples,)
        Times since averaging began.
    history : ndarray of float, shape (samples, k)
        The averages up to those times; the last row is ``exponents``.
    theta_end : ndarray of float, shape (N,)
        Phases at the end.
    """

    exponents: np.ndarray
    t: np.ndarray
    history: np.ndarray
    theta_end: np.ndarray

    @property
    def dimension(self) -> float:
        """Kaplan and Yorke's dimension of the attractor; NaN if the k exponents do not reach a negative sum."""
        sums = np.cumsum(self.exponents)
        if sums[-1] >= 0:
            return math.nan
        j = int(np.argmax(sums < 0))
        return j + (sums[j - 1] if j else 0.0) / abs(self.exponents[j])


def lyapunov_exponents(
    model: Kuramoto,
    k: int | None = None,
    theta0: Any = None,
    *,
    duration: float = 1000.0,
    transient: float = 100.0,
    velocity0: Any = None,
    method: str | None = None,
    dt: float | None = None,
    every: int = 10,
    rng: Any = None,
) -> Lyapunov:
    r"""The k largest Lyapunov exponents.

    Parameters
    ----------
    model : Kuramoto
        One run. With diffusion the exponents are those of two copies under the same noise.
    k : int, optional
        How many, from the largest; all N (2N with inertia) by default.
    theta0, velocity0 : array_like of float, shape (N,), optional
        As `simulate`.
    duration : float
        Time over which is averaged. Errors fall as 1/duration, or as its root where the system is chaotic.
    transient : float
        Time before that, in which the phases find their attractor; in its last quarter the vectors turn to their
        directions.
    method : str, optional
        A method, taken in steps of dt, error control or not: "rk4" by default, "sra1" with noise.
    dt : float, optional
        As `simulate`.
    every : int
        Steps between two orthogonalisations.
    rng : int or numpy.random.Generator, optional
        Initial phases, vectors, noise.

    Returns
    -------
    Lyapunov

    Raises
    ------
    ValueError
        For arguments out of range; if the state or the vectors leave the numbers: a smaller dt or ``every`` is wanted.
        As `jacobian`.

    Notes
    -----
    The vectors V obey V' = J V, integrated by the derivative of the same scheme; V = QR every few steps, and the
    exponents are the means of log \|R_ii\| per unit of time. Their sum is the mean trace of J.

    References
    ----------
    G. Benettin, L. Galgani, A. Giorgilli, J.-M. Strelcyn, Meccanica 15 (1980); O. V. Popovych, Y. L. Maistrenko,
    P. A. Tass, "Phase chaos in coupled oscillators", Phys. Rev. E 71 (2005).

    Examples
    --------
    >>> import primeattn as pa
    >>> model = pa.Kuramoto([-0.5, 0.5], coupling=2.0)  # 0 and -sqrt(K^2 - dw^2)
    >>> pa.dynamics.analysis.lyapunov_exponents(model, rng=0).exponents.round(6) + 0
    array([ 0.      , -1.732051])
    """
    checked(model, np.zeros(model.size), SETTLED, "Lyapunov spectrum")
    model = listed(model)
    k = model.states if k is None else k
    if not 1 <= k <= model.states:
        raise ValueError(f"k is {k!r}: 1 to {model.states} exponents are wanted")
    if not (duration > 0 and transient >= 0 and every >= 1):
        raise ValueError(f"duration {duration}, transient {transient}, every {every}: > 0, >= 0 and >= 1 are wanted")
    rng = as_generator(rng)
    name = method or ("sra1" if np.any(model.diffusion) else "rk4")
    dt = default_step(model) if dt is None else dt
    settle = 0.25 * transient
    before = simulate(
        model, (0.0, max(transient - settle, 1e-6)), theta0, velocity0=velocity0, method=name, dt=dt, samples=2, rng=rng
    )
    y = before.theta_end if model.inertia is None else np.concatenate([before.theta_end, before.velocity_end])
    carried = _Carried(model, name, dt, np.array(y).reshape(-1), k, rng)
    carried.walk(settle, every, None)
    logs = np.zeros(k)
    t, history = carried.walk(duration, every, logs)
    return Lyapunov(history[-1], t, history, carried.y[: model.size].copy())


class _Carried:
    """Phases and k tangent vectors on their way."""

    def __init__(self, model, name, dt, y, k, rng):
        m = scheme(name)
        self.phases, self.sizes = model.arrays()
        self.table = np.concatenate([m.a, m.b[None]])
        self.noise = np.concatenate([m.noise, [[1.0, 0.0]]])
        self.times, self.dt, self.y, self.t, self.count = m.c, dt, y, 0.0, 0
        self.seed = int(rng.integers(1 << 63))
        self.q = np.linalg.qr(rng.standard_normal((model.states, k)))[0]

    def walk(self, duration, every, logs):
        """On for ``duration``; adds logarithms of growth to ``logs`` and returns samples of their means."""
        rounds = max(1, math.ceil(duration / (self.dt * every)))
        h = duration / (rounds * every)
        times: list[float] = []
        history: list[np.ndarray] = []
        if duration == 0:
            return np.array(times), np.array(history)
        for done in range(1, rounds + 1):
            self._steps(h, every)
            growth = self._orthonormalise()
            if not (np.isfinite(growth).all() and growth.all()):
                raise ValueError(f"vectors left the numbers near t = {self.t:g}: a smaller dt or `every` is wanted")
            if logs is not None:
                logs += np.log(growth)
                if done == rounds or done * _SAMPLES // rounds > (done - 1) * _SAMPLES // rounds:
                    times.append(done * every * h)
                    history.append(logs / times[-1])
        return np.array(times), np.array(history)

    def _orthonormalise(self) -> np.ndarray:
        """How much longer each vector has become, at right angles to those before it."""
        from scipy.linalg import qr

        small = self.q.shape[0] * self.q.shape[1] ** 2 < 1e7
        with single_threaded() if small else nullcontext():
            self.q, r = qr(self.q, mode="economic", check_finite=False)
        return np.abs(np.diag(r))

    def _steps(self, h, steps):
        g, states = self.sizes, len(self.y)
        stages, ends = len(self.times), []

        def work(first, last):
            width, each = last - first, g.groups * g.harmonics * 2
            now = np.ascontiguousarray(self.q[:, first:last]).reshape(-1)
            columns = Columns(
                now, np.empty(states * width), np.empty(stages * states * width), np.empty(each * width),
                np.empty(each * width),
            )  # fmt: skip
            base = Base(
                np.empty(stages * states), np.empty(states), np.empty(4 * g.harmonics * g.n),
                np.zeros(4 * g.harmonics * len(self.phases.group)), np.empty(2 * g.n if g.noisy else 0), np.empty(each),
                np.empty(each),
            )  # fmt: skip
            y = self.y.copy()
            tangents(
                tuple(self.phases), tuple(g), self.table, self.noise, self.times, tuple(base), tuple(columns), y,
                self.t, h, self.seed, self.count, steps,
            )  # fmt: skip
            self.q[:, first:last] = now.reshape(states, width)
            ends.append(y)

        share(work, self.q.shape[1], max(1, 2_000_000 // (states * steps * stages * 8)))
        self.y, self.t, self.count = ends[0], self.t + steps * h, self.count + steps
