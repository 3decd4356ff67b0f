"""One call from a model to its trajectory."""

import math
import secrets
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import __version__
from .._runtime import devices
from .._runtime.checks import as_floating, as_generator, unmasked
from .._runtime.progress import Bar
from ._body_models import Bodies
from ._checkpoint import Checkpoint, fingerprint
from ._collect import MEANINGFUL, Collector
from ._drive_scipy import ScipyDrive
from ._drives import drive_for, method_for
from ._engine import placed
from ._model import Kuramoto
from ._observables import chosen
from ._pace import check_count, default_step, fastest, is_fine, warn_if_coarse, warn_of_tails
from ._run import FINISHED, INTERRUPTED, Run
from ._seen import Reduction
from ._trajectory import Label, Trajectory

_FINEST = 100 * float(np.finfo(float).eps)  # relative tolerance, as in SciPy


def simulate(
    model: Kuramoto,
    t_span: tuple[float, float],
    theta0: Any = None,
    *,
    velocity0: Any = None,
    history: Any = None,
    runs: int | None = None,
    method: str | None = None,
    dt: float | None = None,
    t_eval: Any = None,
    samples: int = 201,
    rtol: float = 1e-6,
    atol: float = 1e-9,
    observables: Any = ("R",),
    save_theta: bool = False,
    transient: float = 0.0,
    rng: Any = None,
    checkpoint: Any = None,
    checkpoint_every: float = 60.0,
    progress: bool | Callable[[float, float], None] | None = None,
) -> Trajectory:
    r"""Integrate a model.

    Parameters
    ----------
    model : Kuramoto, StuartLandau or Spheres
    t_span : (float, float)
        First and last time; the second may be the smaller one without noise.
    theta0 : array_like of float, shape (N,) or (runs, N), or Trajectory, optional
        Initial phases, radians; uniform on the circle by default, drawn from ``rng``. Of a Trajectory: the phases, and
        with inertia the velocities, where it ended. A CUDA array, float32 or float64, computes on its device and in its
        precision, by a method of fixed steps; ``theta_end`` and ``velocity_end`` are then such arrays, everything else
        is in host memory. Of `StuartLandau`: complex z, or phases; of `Spheres`: vectors, (N, D) or (runs, N, D).
    velocity0 : array_like of float, shape (N,) or (runs, N), optional
        Initial theta' of a model with inertia; omega by default.
    history : callable or "rotating", optional
        Phases before the start of a model with a delay: a function of time with values of shape (N,) or (runs, N),
        asked from a delay before the start to the start, and taken as its cubic spline through the steps; "rotating"
        for theta0 + omega (t - t0), oscillators that did not hear each other. By default constant, theta0.
    runs : int, optional
        How many runs, where neither the model nor theta0 says so.
    method : str, optional
        "rk4", "dopri5", "dop853", "heun", "euler"; with noise "euler_maruyama", "heun", "sra1"; with inertia and no
        friction "verlet" (velocity Verlet), whose energy does not drift. By default "rk4", and "sra1" with noise. A
        delay asks for fixed steps. "scipy:RK45", "scipy:DOP853", "scipy:Radau", "scipy:BDF" and "scipy:LSODA" are
        SciPy's, as an oracle: all runs are one system to them, and there are no checkpoints.
    dt : float, optional
        Largest step of a method of fixed steps. By default a twentieth of the time in which the fastest oscillator
        could turn by a radian, at most 0.05, and at most the smallest delay, which none may exceed.
    t_eval : array_like of float, shape (samples,), optional
        Times at which observables and phases are taken, in the order of ``t_span``; ``samples`` equally spaced ones by
        default. The simulation ends with the last of them. Fixed steps divide the time between two samples evenly.
    rtol, atol : float
        Tolerances of a method with error control; rtol at least 2.2e-14, below which errors are those of rounding.
    observables : sequence of str, Observable or Reduction
        What to compute at every sample, or from all of them; see `OBSERVABLES` and `observable`.
    save_theta : bool
        Keep the phases at every sample.
    transient : float
        Observables that reduce over time ("frequencies", "locking", ...) leave out the samples before this much time
        has passed.
    rng : int or numpy.random.Generator, optional
        Initial phases and noise.
    checkpoint : path_like, optional
        A file that holds the run so far. If it is there when the same call is made again, the run goes on from it, to
        the same bits; a file of another run is refused. A finished run leaves it behind, and the same call then returns
        at once.
    checkpoint_every : float
        Seconds between two writings; writing takes a twentieth of the time at most. With ``save_theta`` the phases so
        far are in the file.
    progress : bool or callable, optional
        Whether to show a bar with the time left; by default at a terminal, after a second. A callable gets the share
        that is done and the time reached.

    Returns
    -------
    Trajectory

    Raises
    ------
    ValueError, TypeError
        For arguments that do not fit.

    Warns
    -----
    RuntimeWarning
        If the run broke down: ``status`` says why, ``t_end`` and ``theta_end`` are the last good time and state. If
        ``rtol`` is so small that it was raised, or ``dt`` so large that steps pass over what the model does.
    UserWarning
        If a few fast oscillators, such as the tails of a Lorentzian, make the default step so small that the run would
        take more than about twenty seconds.

    Notes
    -----
    Results depend neither on the number of threads nor on how a run is cut into pieces. Ctrl-C returns what there is,
    with the status "interrupted"; so does a KeyboardInterrupt from anywhere else.

    Examples
    --------
    >>> import numpy as np, primeattn as pa
    >>> model = pa.Kuramoto(np.linspace(-1, 1, 50), coupling=3.0)
    >>> trajectory = pa.simulate(model, (0, 20), rng=0)
    >>> trajectory.R[-1].round(3)
    np.float64(0.98)
    """
    given = rng is not None
    rng = as_generator(rng) if given or theta0 is None else None
    name, m = method_for(model, method)
    t0, times = _sample_times(t_span, t_eval, samples)
    if np.any(model.diffusion) and times[-1] < t0:
        raise ValueError(f"t_span is {t_span!r}: with diffusion there is no way back in time")
    _check_history(model, t0, times, theta0, history)
    before = theta0 if isinstance(theta0, Trajectory) else None
    if before is not None:
        velocity0 = before.velocity_end if velocity0 is None else velocity0
        own = [before.states_end[name] for name in ("z", "x") if name in before.states_end]
        theta0 = own[0] if own and (isinstance(model, Bodies) or before.theta_end is None) else before.theta_end
    fixed = given or theta0 is not None
    device = as_floating("theta0", theta0) if devices.is_device_array(theta0) else None
    if device is not None and velocity0 is not None:
        devices.on_cuda(theta0=theta0, velocity0=velocity0)
    y0, many = _initial_state(model, theta0, velocity0, runs, rng)
    if before is not None and "weights" in before.states_end and model.adaptation is not None:
        y0[:, -before.states_end["weights"].shape[-1] :] = before.states_end["weights"]
    wanted = chosen(observables, model)
    if not isinstance(transient, int | float | np.number) or not (math.isfinite(transient) and transient >= 0):
        raise ValueError(f"transient is {transient!r}: a time, 0 or more, is wanted")
    seed = secrets.randbits(63) if rng is None else int(rng.integers(1 << 63))
    step = default_step(model) if dt is None else _positive("dt", dt)
    if dt is not None and not m.adaptive and not is_fine(step, model):
        warn_if_coarse(step, fastest(model))
    if not m.adaptive:
        check_count(model, step, abs(float(times[-1]) - t0), dt is not None)
    if dt is None and not m.adaptive:
        warn_of_tails(model, step, abs(times[-1] - t0), len(y0))
    rtol, atol = _tolerances(rtol, atol, m.adaptive)
    drive = drive_for(model, name, dt=step, rtol=rtol, atol=atol, seed=seed, device=device)
    position = drive.start(y0, t0, times, history)
    collector = Collector(model, wanted, times, t0, y0, save_theta=save_theta, transient=transient)
    run = Run(drive, position, t0, collector)
    saver = None
    if checkpoint is not None:
        if isinstance(drive, ScipyDrive):
            raise ValueError(f"method is {name!r}: no checkpoint goes with it; leave it out")
        names = [(o.name, o.dims) for o in wanted]
        numbers = name, step, rtol, atol, save_theta, transient, t0, str(None if device is None else device.dtype)
        parts = (
            tuple(drive.phases),
            tuple(drive.sizes),
            model.networks[1:],
            numbers,
            times,
            names,
            (y0, position.path) if fixed else (),
            seed if given else (),
        )
        saver = _opened(checkpoint, _positive("checkpoint_every", checkpoint_every), run, parts)
    if callable(progress):
        status = run.go(saver, progress)
    else:
        with Bar(progress) as bar:
            status = run.go(saver, lambda share, t: bar(share, f"t = {t:.4g}"))
    if status not in (FINISHED, INTERRUPTED):
        warnings.warn(f"simulate {status}", RuntimeWarning, stacklevel=2)
    settings = {"method": name, "t0": t0, "transient": float(transient), "seed": drive.seed} | run.steps()
    settings |= {"rtol": rtol, "atol": atol} if m.adaptive else {"dt": step}
    return _trajectory(model, collector, many, settings, status, None if device is None else theta0)


def _opened(path: Any, every: float, run: Run, parts: tuple) -> Checkpoint:
    """The file of a run, which goes on from it if it is there."""
    saver = Checkpoint(path, fingerprint(__version__, parts), every)
    stored = saver.read()
    if stored is not None:
        run.restore(stored)
    return saver


def _check_history(model, t0, times, theta0, history) -> None:
    """Refuses directions and histories that do not go with the delay of a model, or with none."""
    if not len(model.delays):
        if history is not None:
            raise ValueError("history is given, but the model has no delay: delay=... is wanted, or no history")
        return
    if times[-1] < t0:
        raise ValueError("the model has a delay: there is no way back in time, t_span must ascend")
    if isinstance(theta0, Trajectory) and history is None:
        raise ValueError(
            "theta0 is a trajectory but the model has a delay: its past is wanted, too, history=a function of time, "
            "such as scipy.interpolate.CubicSpline(trajectory.t, trajectory.theta) of one with save_theta=True"
        )


def _trajectory(model, collector, many, settings, status, like) -> Trajectory:
    end = (lambda x: x) if like is None else (lambda x: placed(x, like))
    one = (lambda x: x) if many else (lambda x: x[0])
    lead = ("run",) if many else ()
    labels = {
        o.name: Label(o.says, o.unit, lead + (() if isinstance(o, Reduction) else ("time",)) + o.dims)
        for o in collector.wanted
    }
    kept = {} if collector.states is None else model.unpack(collector.states[:, : collector.count])
    last = model.unpack(collector.last)
    own = [name for name in last if name not in ("theta", "velocity")]
    return Trajectory(
        t=collector.times[: collector.count].copy(),
        observables={name: one(x) for name, x in collector.observables().items()},
        theta=one(kept["theta"]) if "theta" in kept else None,
        velocity=one(kept["velocity"]) if "velocity" in kept else None,
        t_end=collector.t_end,
        theta_end=end(one(last["theta"])) if "theta" in last else None,
        velocity_end=end(one(last["velocity"])) if "velocity" in last else None,
        model=model,
        settings=settings,
        status=status,
        labels=labels,
        states={name: one(kept[name]) for name in own if name in kept},
        states_end={name: one(last[name]) for name in own},
    )


def _sample_times(t_span, t_eval, samples):
    span = as_floating("t_span", t_span, dtype=np.float64)
    if span.shape != (2,) or not np.isfinite(span).all() or span[0] == span[1]:
        raise ValueError(f"t_span is {t_span!r}: two different finite times are wanted")
    if t_eval is None:
        if not isinstance(samples, int | np.integer) or samples < 2:
            raise ValueError(f"samples is {samples!r}: a whole number, 2 or more, is wanted")
        return float(span[0]), np.linspace(span[0], span[1], int(samples))
    times = as_floating("t_eval", t_eval, dtype=np.float64).copy()
    low, high = sorted(span)
    sign = np.sign(span[1] - span[0])
    if (
        times.ndim != 1
        or not times.size
        or not ((times >= low) & (times <= high)).all()
        or (sign * np.diff(times) <= 0).any()
    ):
        raise ValueError("t_eval must be times within t_span, in its order, without repetition")
    return float(span[0]), times


def _initial_state(model, theta0, velocity0, runs, rng):
    """(runs, states), and whether results keep the axis of runs."""
    n, bodies = model.size, isinstance(model, Bodies)
    if runs is not None and (isinstance(runs, bool) or not isinstance(runs, int | np.integer) or runs < 1):
        raise ValueError(f"runs is {runs!r}: a whole number, 1 or more, is wanted")
    theta0 = unmasked("theta0", theta0)
    if bodies:
        given = None if theta0 is None else model.pack(devices.to_host(theta0))
    else:
        given = None if theta0 is None else _host("theta0", theta0)
        if given is not None and (given.ndim not in (1, 2) or given.shape[-1] != n or not len(given)):
            raise ValueError(f"theta0 has shape {given.shape}: ({n},) or (runs, {n}) is wanted")
    counts = {model.runs, runs, len(given) if given is not None and given.ndim == 2 else None} - {None}
    if len(counts - {1}) > 1:
        raise ValueError(f"the model, theta0 and runs ask for {sorted(counts)} runs: one number is wanted")
    many, count = bool(counts), max(counts, default=1)
    if given is None:
        theta = model.pack(model.draw(rng, count)) if bodies else model.draw(rng, count)
    else:
        theta = np.broadcast_to(given, (count, given.shape[-1]))
    if not np.isfinite(theta).all():
        raise ValueError("theta0 has entries that are NaN or infinite: finite phases are wanted")
    if theta.size and np.abs(theta).max() >= MEANINGFUL:
        raise ValueError("theta0 has phases beyond 1e15 rad, which have no direction: pass circle.wrap(theta0)")
    if model.inertia is None:
        if velocity0 is not None:
            raise ValueError("velocity0 is given, but the model has no inertia")
        return _with_weights(model, theta), many
    velocity = model.omega if velocity0 is None else _host("velocity0", velocity0)
    if velocity.shape not in ((n,), (1, n), (count, n)):
        raise ValueError(f"velocity0 has shape {velocity.shape}: ({n},) or ({count}, {n}), of the runs, is wanted")
    if not np.isfinite(velocity).all():
        raise ValueError("velocity0 has entries that are NaN or infinite: finite velocities are wanted")
    return _with_weights(model, np.concatenate([theta, np.broadcast_to(velocity, (count, n))], axis=1)), many


def _host(name: str, x: Any) -> np.ndarray:
    x = devices.to_host(x) if devices.is_device_array(x) else x
    if isinstance(x, np.ndarray) and x.dtype.kind == "c":
        raise TypeError(f"{name} is complex: real numbers are wanted; the phases of z are numpy.angle(z)")
    return as_floating(name, x, dtype=np.float64)


def _with_weights(model, states):
    """States, and the weights that learn, as the network has them."""
    if model.adaptation is None:
        return states
    edges = model.edges
    weights = edges.weight if len(edges.weight) else np.ones(len(edges.indices))
    return np.concatenate([states, np.broadcast_to(weights, (len(states), len(weights)))], axis=1)


def _positive(name: str, x: Any) -> float:
    if not isinstance(x, int | float | np.number) or not math.isfinite(x) or x <= 0:
        raise ValueError(f"{name} is {x!r}: a positive number is wanted")
    return float(x)


def _tolerances(rtol: Any, atol: Any, adaptive: bool) -> tuple[float, float]:
    """Checked; raised, and said so, where steps would shrink to the size of rounding errors and no run would end."""
    rtol, atol = _positive("rtol", rtol), _positive("atol", atol)
    if adaptive and rtol < _FINEST:
        says = f"rtol is {rtol:g}, below what rounding leaves to know: {_FINEST:.2g} is taken"
        warnings.warn(says, RuntimeWarning, stacklevel=3)
        rtol = _FINEST
    return rtol, atol
