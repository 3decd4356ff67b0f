"""One call from a model to its trajectory."""

import math
from typing import Any

import numpy as np

from .._runtime.checks import as_generator
from . import _drive
from ._methods import STOCHASTIC, method as scheme
from ._model import Kuramoto
from ._observables import chosen
from ._trajectory import Trajectory

_CHUNK = 1 << 22  # numbers of saved states in memory at a time: 32 MiB


def simulate(
    model: Kuramoto,
    t_span: tuple[float, float],
    theta0: Any = None,
    *,
    velocity0: Any = None,
    runs: int | None = None,
    method: str | None = None,
    dt: float | None = None,
    t_eval: Any = None,
    samples: int = 201,
    rtol: float = 1e-6,
    atol: float = 1e-9,
    observables: Any = ("R",),
    save_theta: bool = False,
    rng: Any = None,
) -> Trajectory:
    r"""Integrate a model.

    Parameters
    ----------
    model : Kuramoto
    t_span : (float, float)
        First and last time; the second may be the smaller one without noise.
    theta0 : array_like of float, shape (N,) or (runs, N), optional
        Initial phases, radians; uniform on the circle by default, drawn from ``rng``.
    velocity0 : array_like of float, shape (N,) or (runs, N), optional
        Initial theta' of a model with inertia; omega by default.
    runs : int, optional
        How many runs, where neither the model nor theta0 says so.
    method : str, optional
        "rk4", "dopri5", "dop853", "heun", "euler"; with noise "euler_maruyama", "heun", "sra1". "rk4" by default, "sra1" with
        noise.
    dt : float, optional
        Largest step of a method of fixed steps. By default a twentieth of the time in which the fastest oscillator could
        turn by a radian, at most 0.05.
    t_eval : array_like of float, shape (samples,), optional
        Times at which observables and phases are taken, in the order of ``t_span``; ``samples`` equally spaced ones by
        default.
    rtol, atol : float
        Tolerances of a method with error control.
    observables : sequence of str or Observable
        What to compute at every sample; see `OBSERVABLES`.
    save_theta : bool
        Keep the phases at every sample.
    rng : int or numpy.random.Generator, optional
        Initial phases and noise.

    Returns
    -------
    Trajectory

    Raises
    ------
    ValueError, TypeError
        For arguments that do not fit.

    Notes
    -----
    Results depend neither on the number of threads nor on how a run is cut into pieces. Ctrl-C returns what there is.

    Examples
    --------
    >>> import numpy as np, primeattn as pa
    >>> model = pa.Kuramoto(np.linspace(-1, 1, 50), coupling=3.0)
    >>> trajectory = pa.simulate(model, (0, 20), rng=0)
    >>> trajectory.R[-1].round(3)
    np.float64(0.98)
    """
    rng = as_generator(rng)
    name = method or ("sra1" if np.any(model.diffusion) else "rk4")
    m = scheme(name)
    if np.any(model.diffusion) and name not in STOCHASTIC:
        raise ValueError(f"method is {name!r} but the model has diffusion: one of {STOCHASTIC} is wanted")
    t0, times = _sample_times(t_span, t_eval, samples)
    y0, many = _initial_state(model, theta0, velocity0, runs, rng)
    wanted = chosen(observables)
    seed = int(rng.integers(1 << 63))
    step = _default_step(model) if dt is None else _positive("dt", dt)
    phases, sizes = model.arrays()
    drive = _drive.Drive(
        phases, sizes, m, dt=step, rtol=_positive("rtol", rtol), atol=_positive("atol", atol), seed=seed
    )
    return _collect(
        model, drive, _drive.start(y0, t0), t0, times, wanted, save_theta, many, {"method": name, "dt": step}
    )


def _collect(model, drive, position, t0, times, wanted, save_theta, many, settings) -> Trajectory:
    runs, n, states = len(position.y), model.size, model.states
    chunk = max(1, _CHUNK // (runs * states))
    taken: dict[str, list] = {o.name: [] for o in wanted}
    kept, status, reached = [], "finished", 0
    good = position.y.copy()
    try:
        for first in range(0, len(times), chunk):
            here = times[first : first + chunk]
            saved = np.empty((runs, len(here), states))
            for done in drive.pieces(position, t0 if first == 0 else times[first - 1], here, saved):
                pass
            finite = np.isfinite(saved[:, :done]).all(axis=(0, 2))
            count = done if finite.all() else int(np.argmin(finite))
            for o in wanted:
                taken[o.name].append(o.compute(saved[:, :count, :n], model))
            if save_theta:
                kept.append(saved[:, :count].copy() if count < chunk else saved)
            reached += count
            if count:
                good = saved[:, count - 1].copy()
            if count < len(here):
                status = f"stopped after t = {times[reached - 1] if reached else t0:g}: the state is no longer finite"
                break
            position.place[:2] = 0
            position.cursor[:, 0] = 0
    except KeyboardInterrupt:
        status = "interrupted"
    one = (lambda x: x) if many else (lambda x: x[0])
    whole = np.concatenate(kept, axis=1) if kept else np.empty((runs, 0, states))
    second = model.inertia is not None
    return Trajectory(
        times[:reached].copy(),
        {k: one(np.concatenate(v, axis=1)) for k, v in taken.items() if v},
        one(whole[..., :n]) if save_theta else None,
        one(whole[..., n:]) if save_theta and second else None,
        one(good[:, :n]),
        one(good[:, n:]) if second else None,
        model,
        settings,
        status,
    )


def _sample_times(t_span, t_eval, samples):
    span = np.asarray(t_span, float)
    if span.shape != (2,) or not np.isfinite(span).all() or span[0] == span[1]:
        raise ValueError(f"t_span is {t_span!r}: two different finite times are wanted")
    if t_eval is None:
        return span[0], np.linspace(*span, max(int(samples), 2))
    times = np.asarray(t_eval, float)
    low, high = sorted(span)
    sign = np.sign(span[1] - span[0])
    if (
        times.ndim != 1
        or not times.size
        or not ((times >= low) & (times <= high)).all()
        or (sign * np.diff(times) <= 0).any()
    ):
        raise ValueError("t_eval must be times within t_span, in its order, without repetition")
    return span[0], times


def _initial_state(model, theta0, velocity0, runs, rng):
    """(runs, states), and whether results keep the axis of runs."""
    n = model.size
    given = None if theta0 is None else np.asarray(theta0, float)
    if given is not None and (given.ndim not in (1, 2) or given.shape[-1] != n):
        raise ValueError(f"theta0 has shape {given.shape}: ({n},) or (runs, {n}) is wanted")
    counts = {model.runs, runs, len(given) if given is not None and given.ndim == 2 else None} - {None}
    if len(counts - {1}) > 1:
        raise ValueError(f"the model, theta0 and runs ask for {sorted(counts)} runs: one number is wanted")
    many, count = bool(counts), max(counts, default=1)
    theta = rng.uniform(-math.pi, math.pi, (count, n)) if given is None else np.broadcast_to(given, (count, n))
    if not np.isfinite(theta).all():
        raise ValueError("theta0 has entries that are NaN or infinite: finite phases are wanted")
    if model.inertia is None:
        if velocity0 is not None:
            raise ValueError("velocity0 is given, but the model has no inertia")
        return theta, many
    velocity = model.omega if velocity0 is None else np.asarray(velocity0, float)
    if velocity.shape[-1:] != (n,):
        raise ValueError(f"velocity0 has shape {velocity.shape}: ({n},) or (runs, {n}) is wanted")
    return np.concatenate([theta, np.broadcast_to(velocity, (count, n))], axis=1), many


def _positive(name, x) -> float:
    if not np.isscalar(x) or not math.isfinite(x) or x <= 0:
        raise ValueError(f"{name} is {x!r}: a positive number is wanted")
    return float(x)


def _default_step(model) -> float:
    strength = float(np.max(np.abs(model.coupling)))
    if model.edges is not None and model.normalize != "degree":
        degree = float(model.edges.in_degree.max(initial=0))
        strength *= degree / model.size if model.normalize == "size" else degree
    strength += sum(m * abs(k) for m, (k, _) in model.harmonics.items())
    fastest = float(np.max(np.abs(model.omega))) + strength
    return min(0.05, 0.05 / fastest) if fastest > 0 else 0.05
