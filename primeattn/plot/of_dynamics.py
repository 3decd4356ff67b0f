"""Oscillators: R in time, phases on the circle, a raster, R against coupling with the theory beside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from .style import (
    ACCENT,
    FAINT,
    INK,
    MUTED,
    RULE,
    axes_or_new,
    need_matplotlib,
    plain_axes,
    set_title,
    show_as_it_is,
    tone,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..dynamics import Trajectory

_MANY = 12  # runs that are drawn as single lines
_DOTS = 2000  # oscillators on a circle
_ROWS, _COLUMNS = 1000, 2000  # cells of a raster


def trajectory(trajectory: Trajectory, *, run: int = 0, theory: float | None = None, figure=None) -> np.ndarray:
    """Draw a simulation: R in time, phases on the circle at the end, and, if the phases were kept, all of them in time.

    Parameters
    ----------
    trajectory : Trajectory
        With the observable "R"; of `dynamics.Spheres`, which has no phases, R alone is drawn.
    run : int
        Which run the circle and the raster show.
    theory : float, optional
        A level to draw beside R.
    figure : matplotlib.figure.Figure, optional

    Returns
    -------
    ndarray of Axes, shape (2,) or (3,), or (1,) without phases

    Examples
    --------
    >>> import primeattn as pa
    >>> from matplotlib.figure import Figure
    >>> run = pa.simulate(pa.Kuramoto([0.0, 1.0], coupling=2.0), (0, 5), rng=0, save_theta=True)
    >>> pa.plot.trajectory(run, figure=Figure()).shape
    (3,)
    """
    need_matplotlib()
    kept = trajectory.theta is not None
    if figure is None:
        from matplotlib import pyplot

        figure = pyplot.figure(figsize=(8.4, 5.6 if kept else 2.9), layout="constrained")
    if trajectory.theta_end is None:
        return np.array([order_parameter(trajectory, ax=figure.subplots(), theory=theory, title="Order parameter")])
    grid = figure.add_gridspec(2 if kept else 1, 2, width_ratios=[2.1, 1], height_ratios=[1, 1.1] if kept else [1])
    top, circle = figure.add_subplot(grid[0, 0]), figure.add_subplot(grid[0, 1])
    axes = [order_parameter(trajectory, ax=top, theory=theory, title="Order parameter")]
    axes.append(on_circle(trajectory, ax=circle, run=run, title=f"Phases at t = {trajectory.t_end:.4g}"))
    if kept:
        axes.append(raster(trajectory, ax=figure.add_subplot(grid[1, :]), run=run, title="Phases in time"))
    return np.array(axes)


def order_parameter(
    trajectory: Trajectory, *, ax: Axes | None = None, theory: float | None = None, title: str | None = None
) -> Axes:
    """Draw R(t): a line a run; from a dozen runs on the median and the middle half and nine tenths of them.

    Parameters
    ----------
    trajectory : Trajectory
        With the observable "R".
    ax : Axes, optional
    theory : float, optional
        A level to draw beside it, such as `pa.dynamics.theory.stationary_order_parameter`.
    title : str, optional

    Returns
    -------
    Axes

    Examples
    --------
    >>> import primeattn as pa
    >>> from matplotlib.figure import Figure
    >>> run = pa.simulate(pa.Kuramoto([0.0, 1.0], coupling=2.0), (0, 5), rng=0)
    >>> ax = pa.plot.order_parameter(run, ax=Figure().subplots())
    >>> ax.get_ylabel()
    'R'
    """
    ax = axes_or_new(ax, 5.2, 3.0)
    t, R = trajectory.t, np.atleast_2d(trajectory.R)
    if len(R) > _MANY:
        for low, high, shade in ((5, 95, 0.12), (25, 75, 0.22)):
            ax.fill_between(t, *np.percentile(R, [low, high], axis=0), color=INK, alpha=shade, linewidth=0)
        ax.plot(t, np.median(R, axis=0), color=ACCENT, linewidth=1.6)
    else:
        for number, values in enumerate(R):
            ax.plot(t, values, color=tone(number), linewidth=1.6 if len(R) == 1 else 1.1)
    if theory is not None:
        ax.axhline(theory, color=INK, linewidth=1.0, linestyle=(0, (5, 3)))
        place: dict[str, Any] = {
            "xycoords": ("axes fraction", "data"),
            "textcoords": "offset points",
            "ha": "right",
            "va": "top",
        }
        ax.annotate("theory", (1, theory), (-3, -6), color=INK, size=9, **place)
    plain_axes(ax, grid="y")
    ax.set_ylim(0, 1.03)
    if len(t):
        ax.set_xlim(*sorted((t[0], t[-1])))
    ax.set_xlabel("time")
    ax.set_ylabel("R")
    set_title(ax, title)
    return ax


def on_circle(
    phases: Trajectory | Any, *, ax: Axes | None = None, run: int = 0, color: Any = None, title: str | None = None
) -> Axes:
    """Draw phases as dots on the circle, and their mean as an arrow.

    Parameters
    ----------
    phases : Trajectory or array_like of float, shape (N,) or (runs, N)
        Of a trajectory: the phases at its end.
    ax : Axes, optional
    run : int
        Which run.
    color : array_like of float, shape (N,), optional
        What the dots are coloured by; the natural frequencies of a trajectory by default.
    title : str, optional

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        For a trajectory of vectors.

    Examples
    --------
    >>> import numpy as np, primeattn as pa
    >>> from matplotlib.figure import Figure
    >>> ax = pa.plot.on_circle([0.0, np.pi / 2], ax=Figure().subplots())
    >>> ax.texts[-1].get_text()
    'R = 0.71'
    """
    ax = axes_or_new(ax, 3.2, 3.2)
    if hasattr(phases, "theta_end"):
        if phases.theta_end is None:
            raise ValueError("the trajectory has vectors, no phases: a trajectory of phases is wanted")
        model = phases.model
        if color is None and model is not None:
            color = np.atleast_2d(model.omega)[min(run, np.atleast_2d(model.omega).shape[0] - 1)]
        phases = phases.theta_end
    theta = np.atleast_2d(np.asarray(phases, dtype=float))[run]
    z = np.exp(1j * theta).mean() if theta.size else 0j
    shown = np.linspace(0, theta.size - 1, min(theta.size, _DOTS)).astype(int)
    look: dict[str, Any] = {"color": INK} if color is None else {"c": np.asarray(color)[shown], "cmap": "viridis"}
    around = np.linspace(0, 2 * np.pi, 200)
    ax.plot(np.cos(around), np.sin(around), color=RULE, linewidth=0.9, zorder=1)
    # a little off the line, so that a crowd shows as one
    radius = 1 + 0.05 * np.random.default_rng(0).standard_normal(len(shown)).clip(-2, 2) * (theta.size > 30)
    alpha = 0.85 if len(shown) <= 300 else 0.4
    ax.scatter(
        radius * np.cos(theta[shown]), radius * np.sin(theta[shown]), s=16 if len(shown) <= 300 else 7, alpha=alpha,
        linewidths=0, zorder=2, rasterized=len(shown) > 300, **look,
    )  # fmt: skip
    arrow = {"arrowstyle": "-|>", "color": ACCENT, "linewidth": 1.8, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 12}
    ax.annotate("", (z.real, z.imag), (0, 0), arrowprops=arrow, zorder=3)
    side = -1 if z.imag > 0 else 1  # the half that the arrow leaves free
    ax.text(0, 0.3 * side, f"R = {abs(z):.2f}", ha="center", va="center", size=10, color=ACCENT)
    ax.set_aspect("equal")
    ax.set_xlim(-1.2, 1.2)
    ax.set_ylim(-1.2, 1.2)
    ax.axis("off")
    set_title(ax, title)
    return ax


def raster(
    trajectory: Trajectory,
    *,
    ax: Axes | None = None,
    run: int = 0,
    order: Any = None,
    colorbar: bool = True,
    title: str | None = None,
) -> Axes:
    """Draw the phase of every oscillator at every sample, in colours that close like the circle.

    Parameters
    ----------
    trajectory : Trajectory
        Of a call with ``save_theta=True``.
    ax : Axes, optional
    run : int
        Which run.
    order : array_like of int, shape (N,), optional
        Rows from below; the oscillators' own order by default. ``numpy.argsort(omega)`` shows who is locked.
    colorbar : bool
    title : str, optional

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        If the phases were not kept.

    Examples
    --------
    >>> import primeattn as pa
    >>> from matplotlib.figure import Figure
    >>> run = pa.simulate(pa.Kuramoto([0.0, 1.0], coupling=2.0), (0, 5), rng=0, samples=11, save_theta=True)
    >>> pa.plot.raster(run, ax=Figure().subplots()).images[0].get_array().shape
    (2, 11)
    """
    if trajectory.theta is None:
        raise ValueError("the trajectory has no phases: pass save_theta=True to simulate")
    ax = axes_or_new(ax, 6.4, 3.2)
    theta = (trajectory.theta if trajectory.theta.ndim == 2 else trajectory.theta[run]).T
    theta = theta if order is None else theta[np.asarray(order)]
    cells = theta[:: -(-theta.shape[0] // _ROWS), :: -(-max(theta.shape[1], 1) // _COLUMNS)]
    t = trajectory.t if len(trajectory.t) else np.zeros(1)
    image = ax.imshow(
        np.mod(cells, 2 * np.pi), aspect="auto", origin="lower", cmap="twilight", vmin=0, vmax=2 * np.pi,
        interpolation="nearest", extent=(t[0], t[-1] if t[-1] != t[0] else t[0] + 1, -0.5, theta.shape[0] - 0.5),
    )  # fmt: skip
    plain_axes(ax)
    if colorbar:
        bar = ax.figure.colorbar(image, ax=ax, shrink=0.9, pad=0.02, ticks=[0, np.pi, 2 * np.pi])
        bar.ax.set_yticklabels(["0", "π", "2π"])
        bar.ax.tick_params(colors=MUTED, labelsize=9, length=0)
        bar.outline.set_visible(False)
    ax.set_xlabel("time")
    ax.set_ylabel("oscillator" if order is None else "oscillator, in order")
    set_title(ax, title)
    return ax


def synchronization(
    data: Any,
    *,
    ax: Axes | None = None,
    theory: Callable[[float], float] | Any = None,
    critical: float | None = None,
    title: str | None = None,
) -> Axes:
    """Draw R against coupling, forward and backward if there are both, with the theory beside it.

    Parameters
    ----------
    data : xarray.Dataset or Trajectory
        A sweep: "R_mean" or "R" over "coupling", perhaps over "run" (drawn as median and range), "direction"
        ("forward", "backward") and "time" (of which the last half is averaged). Or a trajectory of an ensemble in which
        the runs differ in their coupling.
    ax : Axes, optional
    theory : callable, or array_like of float, shape (couplings,), optional
        R of a coupling: ``lambda K: pa.dynamics.theory.stationary_order_parameter("lorentzian", K)``.
    critical : float, optional
        The critical coupling.
    title : str, optional

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        If there is no coupling to draw against, or no order parameter.

    Examples
    --------
    >>> import numpy as np, primeattn as pa
    >>> from matplotlib.figure import Figure
    >>> model = pa.Kuramoto(np.linspace(-1, 1, 20), coupling=[0.5, 1.5, 2.5])
    >>> ax = pa.plot.synchronization(pa.simulate(model, (0, 5), rng=0), ax=Figure().subplots())
    >>> ax.get_xlabel()
    'coupling K'
    """
    if hasattr(data, "to_xarray"):
        data = data.to_xarray()
    R = _stationary(data)
    ax = axes_or_new(ax, 5.0, 3.6)
    K = R["coupling"].values
    if theory is not None:
        fine = np.linspace(K.min(), K.max(), 201) if callable(theory) else K
        curve = np.array([theory(k) for k in fine]) if callable(theory) else np.asarray(theory, dtype=float)
        ax.plot(fine, curve, color=INK, linewidth=1.2, label="theory", zorder=1)
    if critical is not None:
        ax.axvline(critical, color=FAINT, linewidth=0.9, linestyle=(0, (4, 3)), zorder=0)
        ax.annotate(" critical", (critical, 1), xycoords=("data", "axes fraction"), va="top", color=MUTED, size=9)
    parts = [("simulated", R)]
    if "direction" in R.dims:
        parts = [(str(name), R.sel(direction=name)) for name in R["direction"].values]
    for number, (name, part) in enumerate(parts):
        look: dict[str, Any] = {"color": (ACCENT, tone(2))[number % 2], "zorder": 3, "label": name}
        middle = part
        if "run" in part.dims:
            middle = part.median("run")
            low, high = part.min("run").values, part.max("run").values
            ax.vlines(K, low, high, color=look["color"], alpha=0.35, linewidth=2.0, zorder=2)
        joined = "-" if "direction" in R.dims else ""
        ax.plot(K, middle.values, marker=(">", "<")[number % 2] if joined else "o", markersize=4, linewidth=0.8,
                linestyle=joined, **look)  # fmt: skip
    plain_axes(ax, grid="y")
    ax.set_ylim(0, 1.03)
    ax.set_xlabel("coupling K")
    ax.set_ylabel("R")
    if theory is not None or len(parts) > 1:
        show_as_it_is(ax.legend(frameon=False, fontsize=9, loc="upper left", labelcolor=INK))
    set_title(ax, title)
    return ax


def _stationary(data: Any) -> Any:
    """R with the dimension "coupling", time averaged away."""
    if "coupling" not in data.coords:
        raise ValueError(f"data has coordinates {', '.join(map(str, data.coords))}: one named coupling is wanted")
    if "R_mean" not in data and "R" not in data:
        raise ValueError(f"data has {', '.join(map(str, data.data_vars))}: R or R_mean is wanted")
    R = data["R_mean"] if "R_mean" in data else data["R"]
    if "time" in R.dims:
        R = R.isel(time=slice(R.sizes["time"] // 2, None)).mean("time")
    if "coupling" not in R.dims and data["coupling"].dims == ("run",):
        R = R.swap_dims(run="coupling")
    if "coupling" not in R.dims:
        raise ValueError(f"R has dimensions {R.dims}: coupling, or one coupling for each run, is wanted")
    return R.sortby("coupling")
