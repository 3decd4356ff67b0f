"""One call from a model and ranges of its parameters to labelled averages."""

import dataclasses
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import numpy as np

from .._runtime import devices
from .._runtime.checks import as_floating, as_generator, unmasked
from .._runtime.progress import Bar
from . import _labelled
from ._averages import averaged
from ._drives import method_for
from ._flow import fixed_scheme
from ._grid import Axis, Protocol, as_runs, evaluate
from ._model import Kuramoto
from ._observables import chosen
from ._pace import default_step, fastest, warn_if_coarse
from ._seen import Observable
from ._simulate import _initial_state, _positive, _tolerances

_DIRECTIONS = {None: (), "forward": ("forward",), "backward": ("backward",), "both": ("forward", "backward")}


def sweep(
    model: Kuramoto,
    *,
    runs: int = 1,
    transient: float = 50.0,
    duration: float = 50.0,
    samples: int = 101,
    observables: Any = ("R",),
    continuation: str | None = None,
    omega: Callable[[np.random.Generator], Any] | None = None,
    theta0: Any = None,
    method: str | None = None,
    dt: float | None = None,
    rtol: float = 1e-6,
    atol: float = 1e-9,
    rng: Any = None,
    chunks: Any = None,
    client: Any = None,
    progress: bool | Callable[[float], None] | None = None,
    **axes: Any,
):
    """Averages over time for every combination of parameters, and several runs of each.

    Parameters
    ----------
    model : Kuramoto, StuartLandau or Spheres
        Whatever is not swept. It must not have runs of its own.
    **axes : array_like of float, shape (points,), or list
        Values of a parameter of the model, by name: ``coupling=np.linspace(0, 4, 64)``, ``phase_lag``, ``diffusion``,
        ``inertia``, ...; or a list of anything that the model takes there (networks, triads). Couplings, lags and
        diffusions run in one kernel, other parameters one after the other.
    runs : int
        Runs of every point.
    transient, duration : float
        Averages are over ``samples`` equally spaced times from ``transient`` to ``transient + duration``. Near a
        transition the time to settle grows as the inverse distance to it.
    observables : sequence of str, Observable or Reduction
        As of `simulate`.
    continuation : {None, "forward", "backward", "both"}
        Walk along the first axis, up, down, or up and then down, each point from where the one before it ended:
        hysteresis. By default each point starts anew.
    omega : callable, optional
        ``omega(rng)`` draws the frequencies of a run, shape (N,); those of the model by default.
    theta0 : array_like of float, shape (N,) or (runs, N), optional
        Initial phases; uniform on the circle by default. A CUDA array computes there.
    method, dt, rtol, atol
        As of `simulate`; the default step is that of the fastest point.
    rng : int or numpy.random.Generator, optional
        Frequencies, initial phases and noise. Run r has streams of its own, the same at every point, so that curves are
        smooth, and, with a ``dt`` of yours, neither more points, more runs nor other batches change a number.
    chunks : int or dict, optional
        Return at once, with Dask arrays: a task for so many points of the first axis, or of several axes:
        ``{"coupling": 8, "run": 4}``.
    client : dask.distributed.Client, optional
        Start computing there; one point of the first axis a task by default.
    progress : bool or callable, optional
        As of `simulate`; a callable gets the share that is done.

    Returns
    -------
    xarray.Dataset
        Dimensions direction (of "both"), the axes in the order of the call, run, and those of the observables. For each
        observable its mean over time, ``..._time_std``, the standard deviation over time, and ``..._run_std``, that of
        the means over runs (NaN of a single run). Ctrl-C returns what there is: ``status`` in ``attrs`` is
        "interrupted", and what is missing NaN.

    Raises
    ------
    ValueError, TypeError
        For arguments that do not fit.
    ImportError
        Without Dask, where it is asked for: ``pip install "primeattn[dask]"``.

    Warns
    -----
    RuntimeWarning
        If runs break down, which are NaN then; the others are not touched. For tolerances and steps as of `simulate`.

    Examples
    --------
    >>> import numpy as np, primeattn as pa
    >>> model = pa.Kuramoto(pa.dynamics.frequencies.lorentzian(200, 0.5, limit=20))
    >>> data = pa.dynamics.sweep(model, coupling=[0.5, 2.0], runs=3, transient=20, duration=10, rng=0)
    >>> data.R.mean("run").round(1).values
    array([0.1, 0.7])
    """
    grid = [_axis(model, name, values) for name, values in axes.items()]
    directions = _checked_directions(continuation, grid)
    if not isinstance(runs, int | np.integer) or runs < 1:
        raise ValueError(f"runs is {runs!r}: a whole number, 1 or more, is wanted")
    if not isinstance(samples, int | np.integer) or samples < 2:
        raise ValueError(f"samples is {samples!r}: a whole number, 2 or more, is wanted")
    if model.runs not in (None, 1):
        raise ValueError(f"the model has {model.runs} runs of its own: sweep over them, or pass omega=callable")
    model = model.replace(**{axis.name: axis.values[0] for axis in grid})
    seed = int(as_generator(rng).integers(1 << 63))
    drawn = None if omega is None else np.stack([_drawn(omega, model, _stream(seed, r, 1)) for r in range(runs)])
    sample = model if drawn is None else model.replace(omega=drawn)
    name, m = method_for(_loudest(model, grid), method)
    device = as_floating("theta0", theta0) if devices.is_device_array(theta0) else None
    if device is not None:
        fixed_scheme(name, model, switching=True)  # refused before the work
    step = min(map(default_step, _points(sample, grid))) if dt is None else _positive("dt", dt)
    if dt is not None and not m.adaptive:
        warn_if_coarse(step, max(map(fastest, _points(sample, grid))))
    wanted = tuple(averaged(o) if isinstance(o, Observable) else o for o in chosen(observables, model))
    protocol = Protocol(
        model, name, getattr(m, "stages", 1), step, *_tolerances(rtol, atol, m.adaptive),
        _nonnegative("transient", transient), _positive("duration", duration), int(samples), wanted, seed,
        _states(sample, theta0, runs, seed), drawn, device, directions,
    )  # fmt: skip
    if chunks is not None or client is not None:
        from ._sweep_dask import lazily

        values, status = lazily(protocol, grid, range(runs), chunks, client), "lazy"
    elif callable(progress):
        values, status = evaluate(protocol, grid, range(runs), progress)
    else:
        with Bar(progress) as bar:
            values, status = evaluate(protocol, grid, range(runs), lambda share: bar(share, "sweep"))
    data = _dataset(protocol, grid, runs, values, status, sample)
    return data if client is None else client.persist(data)


def _nonnegative(name: str, x: Any) -> float:
    return 0.0 if isinstance(x, int | float) and x == 0 else _positive(name, x)


def _axis(model: Kuramoto, name: str, values: Any) -> Axis:
    fields = [field.name for field in dataclasses.fields(model)]
    if name not in fields:
        raise ValueError(
            f"sweep knows no {name!r}: options, or parameters of the model ({', '.join(fields)}), are wanted"
        )
    try:
        numbers = np.asarray(unmasked(name, values))
    except ValueError:  # ragged
        numbers = np.zeros((), object)
    if name != "omega" and numbers.ndim == 1 and numbers.dtype.kind in "biuf":
        values = numbers.astype(float)
        if not np.isfinite(values).all():
            raise ValueError(f"{name} has entries that are NaN or infinite: finite numbers are wanted")
    elif not isinstance(values, list):
        raise ValueError(f"{name} is {type(values).__name__}: numbers, or a list with an entry a point, are wanted")
    if not len(values):
        raise ValueError(f"{name} has no values: one or more are wanted")
    if len({model.replace(**{name: value}).states for value in values}) > 1:  # refused before the work
        raise ValueError(f"{name} makes models of different numbers of states: one number is wanted")
    return Axis(name, values)


def _checked_directions(continuation: str | None, grid: list[Axis]) -> tuple[str, ...]:
    if continuation not in _DIRECTIONS:
        raise ValueError(f"continuation is {continuation!r}: one of {tuple(_DIRECTIONS)} is wanted")
    if continuation is not None and not grid:
        raise ValueError("continuation has no axis to walk along: pass coupling=... or another one first")
    return _DIRECTIONS[continuation]


def _loudest(model: Kuramoto, grid: list[Axis]) -> Kuramoto:
    """With the largest diffusion of all points."""
    found = [np.max(axis.values) for axis in grid if axis.name == "diffusion" and axis.by_run]
    return model.replace(diffusion=found[0]) if found else model


def _stream(seed: int, run: int, what: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(run, what)))


def _drawn(omega: Callable[[np.random.Generator], Any], model: Kuramoto, rng: np.random.Generator) -> np.ndarray:
    if not callable(omega):
        raise TypeError(f"omega is {type(omega).__name__}: a callable of a random generator is wanted")
    x = np.asarray(unmasked("omega(rng)", omega(rng)), float)
    if x.shape != (model.size,) or not np.isfinite(x).all():
        raise ValueError(f"omega(rng) has shape {x.shape}: {model.size} finite numbers are wanted")
    return x


def _states(model: Kuramoto, theta0: Any, runs: int, seed: int) -> np.ndarray:
    """(runs, states)."""
    if theta0 is None:
        theta0 = np.stack([model.draw(_stream(seed, r, 0), 1)[0] for r in range(runs)])
    return np.ascontiguousarray(_initial_state(model, theta0, None, runs, None)[0])


def _points(model: Kuramoto, grid: list[Axis]) -> Iterator[Kuramoto]:
    """One after the other; those of one kernel as runs of one model."""
    by_run = {axis.name: as_runs(model, axis.name, np.asarray(axis.values)) for axis in grid if axis.by_run}
    rest = [axis for axis in grid if not axis.by_run]
    points = product(*(axis.values for axis in rest))
    names = [axis.name for axis in rest]
    return (model.replace(**dict(zip(names, point, strict=True)), **by_run) for point in points)


def _dataset(protocol: Protocol, grid: list[Axis], runs: int, values: dict, status: str, sample: Kuramoto):
    import xarray

    lead = (("direction",) if len(protocol.directions) > 1 else ()) + tuple(axis.name for axis in grid) + ("run",)
    swept = {axis.name for axis in grid}
    coordinates, attributes = _labelled._parameters(sample, {"oscillator": sample.size, "run": runs})
    coordinates = {k: v for k, v in coordinates.items() if k not in swept} | {"run": (("run",), np.arange(runs))}
    attributes = {k: v for k, v in attributes.items() if k not in swept}
    for axis in grid:
        look = {"units": _labelled._UNITS[axis.name]} if axis.name in _labelled._UNITS else {}
        labels = axis.values if isinstance(axis.values, np.ndarray) else np.arange(len(axis.values))
        coordinates[axis.name] = ((axis.name,), labels, look)
    if len(protocol.directions) > 1:
        coordinates["direction"] = (("direction",), list(protocol.directions))
    settings = {n: getattr(protocol, n) for n in ("method", "dt", "transient", "duration", "samples", "seed")}
    attributes |= settings | {"continuation": "+".join(protocol.directions) or "none", "status": status}
    data = xarray.Dataset({}, coordinates, _labelled._versions() | attributes)
    for o in protocol.wanted:
        x, look = values[o.name], {"long_name": o.says, "units": o.unit}
        if x.ndim > len(lead) + len(o.dims):  # mean and standard deviation
            data[f"{o.name}_time_std"] = lead + o.dims, x[..., 1].real, look | {"long_name": f"{o.says}, std over time"}
            x = x[..., 0]
        data[o.name] = lead + o.dims, x, look
        spread = data[o.name].std("run", ddof=1) if runs > 1 else abs(data[o.name].isel(run=0, drop=True)) * np.nan
        data[f"{o.name}_run_std"] = spread.assign_attrs(look | {"long_name": f"{o.says}, std over runs"})
    return data
