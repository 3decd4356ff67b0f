"""Kernels and attention in depth: profiles f(z), Gram spectra, order by layer, phase portraits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .charts import spectrum
from .style import (
    ACCENT,
    BLUE,
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

    from ..study import Depth

_BANDS = 3  # more would cover one another
_DASHES = "-", "--", ":", "-."  # curves differ in more than colour


def _panels(count: int, columns: int, figure, width: float, height: float, **shared):
    """So many axes in rows, unused ones hidden."""
    need_matplotlib()
    columns = min(columns, count)
    rows = -(-count // columns)
    if figure is None:
        from matplotlib import pyplot

        figure = pyplot.figure(figsize=(width * columns, height * rows), layout="constrained")
    else:
        figure.set_size_inches(width * columns, height * rows)
    grid = figure.subplots(rows, columns, squeeze=False, **shared)
    for ax in grid.flat[count:]:
        ax.set_visible(False)
    return grid.flat[:count], columns


def kernel_profiles(profiles: Mapping[str, Any], *, limit: float = 3.0, columns: int = 5, figure=None) -> np.ndarray:
    """Draw how the weight of a pair depends on its score, one panel a kernel, on one scale.

    Each curve is divided by its largest value in the window, because rows of attention are divided by their sums; the
    other kernels stand behind it in grey.

    Parameters
    ----------
    profiles : mapping of str to callable or ScalarScore
        Title -> f of an array of scores, or what `study.symbolic.score` returns.
    limit : float
        Scores from -limit to limit.
    columns : int
    figure : matplotlib.figure.Figure, optional
        Draw into this figure instead of a new pyplot figure.

    Returns
    -------
    ndarray of Axes, shape (len(profiles),)

    Raises
    ------
    ValueError
        If there is no profile, or one is 0 everywhere.

    Examples
    --------
    >>> import numpy as np
    >>> from matplotlib.figure import Figure
    >>> from primeattn import plot
    >>> axes = plot.kernel_profiles({"softmax": np.exp, "squared": np.square}, figure=Figure())
    >>> [ax.get_title(loc="left") for ax in axes]
    ['softmax', 'squared']
    """
    if not profiles:
        raise ValueError("profiles is empty: give at least one, e.g. {'softmax': numpy.exp}")
    z = np.linspace(-limit, limit, 241)
    curves = {}
    for title, given in profiles.items():
        f = given.numeric() if hasattr(given, "numeric") else given
        values = np.broadcast_to(np.asarray(f(z), dtype=float), z.shape)
        top = np.abs(values).max()
        if not top > 0:
            raise ValueError(f"{title} is 0 or NaN for all scores from {-limit:g} to {limit:g}: nothing to draw")
        curves[title] = values / top
    axes, columns = _panels(len(curves), columns, figure, 1.9, 1.75, sharex=True, sharey=True)
    for place, (ax, (title, curve)) in enumerate(zip(axes, curves.items(), strict=True)):
        for other in curves.values():
            ax.plot(z, other, color=RULE, linewidth=0.8, zorder=1)
        ax.plot(z, curve, color=ACCENT, linewidth=1.8, zorder=3)
        ax.axhline(0, color=FAINT, linewidth=0.6, zorder=0)
        plain_axes(ax)
        ax.set_xlim(-limit, limit)
        ax.set_xticks([-limit, 0, limit])
        ax.set_yticks([-1, 0, 1] if any(other.min() < -0.5 for other in curves.values()) else [0, 1])
        if place >= len(curves) - columns:
            ax.set_xlabel("score z")
            ax.tick_params(labelbottom=True)
        set_title(ax, title, parse_math=False)
    axes[0].set_ylabel("weight, of largest")
    return np.array(list(axes))


def gram_spectra(
    spectra: Mapping[str, Any], *, bounds: Mapping[str, float] | None = None, columns: int = 4, figure=None
) -> np.ndarray:
    """Draw the eigenvalues of several Gram matrices, each divided by its largest, on one scale.

    Parameters
    ----------
    spectra : mapping of str to array_like, shape (n,)
        Title -> eigenvalues in any order.
    bounds : mapping of str to float, optional
        Rounding bounds: only eigenvalues below -bound count as negative. Default n eps max abs.
    columns : int
    figure : matplotlib.figure.Figure, optional

    Returns
    -------
    ndarray of Axes, shape (len(spectra),)

    Raises
    ------
    ValueError
        If there is no spectrum.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from primeattn import plot
    >>> axes = plot.gram_spectra({"holds": [4.0, 1.0], "fails": [2.0, -1.0]}, figure=Figure())
    >>> axes[0].get_ylim() == axes[1].get_ylim()
    True
    """
    if not spectra:
        raise ValueError("spectra is empty: give at least one, e.g. {'kernel': numpy.linalg.eigvalsh(K)}")
    shares, limits = {}, {}
    for title, values in spectra.items():
        values = np.asarray(values, dtype=float).ravel()
        top = float(np.abs(values).max(initial=0.0)) or 1.0
        shares[title] = values / top
        limits[title] = None if bounds is None or title not in bounds else bounds[title] / top
    axes, columns = _panels(len(shares), columns, figure, 2.3, 2.1, sharey=True)
    for place, (ax, (title, values)) in enumerate(zip(axes, shares.items(), strict=True)):
        spectrum(values, ax=ax, bound=limits[title], title=None)
        negative = int((values < -(limits[title] or len(values) * np.finfo(float).eps)).sum())
        ax.set_xlabel("number, largest first" if place >= len(shares) - columns else "")
        ax.set_ylabel("eigenvalue, of largest" if place % columns == 0 else "")
        text = f"{negative} below 0" if negative else "none below 0"
        place_of = {"xycoords": "axes fraction", "ha": "left", "va": "bottom"}
        ax.annotate(text, (0.03, 0.04), color=ACCENT if negative else MUTED, size=8.5, **place_of)
        set_title(ax, title, parse_math=False)
    low = min(float(values.min(initial=0.0)) for values in shares.values())
    axes[0].set_ylim(min(1.6 * low, -0.004), 2.0)
    axes[0].set_yticks([-0.1, -0.01, 0, 0.01, 0.1, 1] if low < -0.01 else [0, 0.01, 0.1, 1])
    return np.array(list(axes))


def order_by_layer(
    depths: Depth | Mapping[str, Depth], *, ax: Axes | None = None, of: str = "R", title: str | None = None
) -> Axes:
    """Draw an order parameter through depth: a curve a mechanism; of runs the median, and of few curves the range.

    Parameters
    ----------
    depths : Depth or mapping of str to Depth
        What `study.dynamics_of` returns.
    ax : Axes, optional
    of : {"R", "energy", "diameter", "attended", "clusters"}
    title : str, optional

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        If there is nothing to draw.

    Examples
    --------
    >>> import primeattn as pa
    >>> from matplotlib.figure import Figure
    >>> run = pa.study.dynamics_of("uniform", tokens=4, depth=5, rng=0)
    >>> pa.plot.order_by_layer(run, ax=Figure().subplots()).get_ylabel()
    'order parameter R'
    """
    several = depths if isinstance(depths, Mapping) else {depths.mechanism: depths}
    if not several:
        raise ValueError("depths is empty: give at least one, e.g. {'softmax': pa.study.dynamics_of('dot_product')}")
    says = {
        "R": "order parameter R",
        "energy": "energy",
        "diameter": "diameter",
        "attended": "tokens attended",
        "clusters": "clusters",
    }
    if of not in says:
        raise ValueError(f"of is {of!r}: one of {', '.join(map(repr, says))} is wanted")
    ax = axes_or_new(ax, 5.2, 3.2)
    for number, (name, depth) in enumerate(several.items()):
        values = np.asarray(getattr(depth, of), dtype=float)
        look: dict[str, Any] = {"color": tone(number), "linestyle": _DASHES[number % len(_DASHES)]}
        if values.ndim == 2:
            if len(several) <= _BANDS:
                band = values.min(axis=1), values.max(axis=1)
                ax.fill_between(depth.t, *band, color=look["color"], alpha=0.12, linewidth=0)
            values = np.median(values, axis=1)
        ax.plot(depth.t, values, linewidth=1.6, label=name, **look)
    plain_axes(ax, grid="y")
    if of == "R":
        ax.set_ylim(0, 1.03)
    ax.set_xlim(left=0)
    ax.set_xlabel("depth: layers times step")
    ax.set_ylabel(says[of])
    if len(several) > 1:
        beside: dict[str, Any] = {"loc": "center left", "bbox_to_anchor": (1, 0.5)} if len(several) > 6 else {}
        show_as_it_is(ax.legend(frameon=False, fontsize=8.5, labelcolor="linecolor", handlelength=2.2, **beside))
    set_title(ax, title)
    return ax


def phase_portrait(
    field: Callable[[Any, Any], Any],
    x: tuple[float, float],
    y: tuple[float, float],
    *,
    ax: Axes | None = None,
    rest: Sequence[tuple[float, float]] = (),
    paths: Sequence[Any] = (),
    names: tuple[str, str] = ("x", "y"),
    title: str | None = None,
) -> Axes:
    """Draw the flow of two equations: streamlines, where either rate is 0, and states of rest.

    A state of rest is filled if small differences decay there, and open if some grow.

    Parameters
    ----------
    field : callable
        (x, y), two arrays -> the two rates, arrays of their shape.
    x, y : (float, float)
        Ends of the axes.
    ax : Axes, optional
    rest : sequence of (float, float)
        States of rest.
    paths : sequence of array_like, shape (samples, 2)
        Orbits to be drawn over it.
    names : (str, str)
    title : str, optional

    Returns
    -------
    Axes

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from primeattn import plot
    >>> ax = plot.phase_portrait(lambda x, y: (y, -x - y), (-1, 1), (-1, 1), ax=Figure().subplots(), rest=[(0, 0)])
    >>> ax.get_xlabel(), ax.get_ylabel()
    ('x', 'y')
    """
    ax = axes_or_new(ax, 4.4, 3.8)
    across, up = np.linspace(*x, 61), np.linspace(*y, 61)
    grid = np.meshgrid(across, up)
    with np.errstate(all="ignore"):
        dx, dy = (np.broadcast_to(np.asarray(rate, dtype=float), grid[0].shape) for rate in field(*grid))
    # streams follow the picture, not the units of its axes
    speed = np.hypot(dx / (x[1] - x[0]), dy / (y[1] - y[0]))
    width = 0.5 + 1.1 * np.sqrt(speed / (np.nanmax(speed) or 1.0))
    ax.streamplot(across, up, dx, dy, color=FAINT, density=1.1, linewidth=width, arrowsize=0.7, zorder=1)
    for rate, color, name in ((dx, BLUE, names[0]), (dy, INK, names[1])):
        if np.nanmin(rate) < 0 < np.nanmax(rate):
            ax.contour(across, up, rate, [0.0], colors=[color], linewidths=0.9, linestyles=[(0, (4, 2))], zorder=2)
            ax.plot([], [], color=color, linewidth=0.9, linestyle=(0, (4, 2)), label=f"{name}′ = 0")
    for path in paths:
        path = np.asarray(path, dtype=float)
        ax.plot(path[:, 0], path[:, 1], color=ACCENT, linewidth=1.5, zorder=3)
    for at in rest:
        face = ACCENT if _attracts(field, at, x, y) else "white"
        ax.scatter(*at, s=46, facecolor=face, edgecolor=ACCENT, linewidths=1.6, zorder=5, clip_on=False)
    plain_axes(ax)
    if ax.get_legend_handles_labels()[0]:
        place: dict[str, Any] = {"loc": "lower right", "bbox_to_anchor": (1, 1), "ncols": 2, "borderaxespad": 0.1}
        show_as_it_is(ax.legend(frameon=False, fontsize=8.5, labelcolor="linecolor", handlelength=1.8, **place))
    ax.set_xlim(*x)
    ax.set_ylim(*y)
    ax.set_xlabel(names[0])
    ax.set_ylabel(names[1])
    set_title(ax, title)
    return ax


def _attracts(field: Callable[[Any, Any], Any], at: tuple[float, float], x, y) -> bool:
    """Whether the Jacobian, by central differences, has its eigenvalues to the left of 0."""
    steps = 1e-5 * (x[1] - x[0]), 1e-5 * (y[1] - y[0])
    columns = []
    for axis, h in enumerate(steps):
        push = np.array([0.0, 0.0])
        push[axis] = h
        ahead, back = (np.array([float(v) for v in field(*(np.asarray(at) + sign * push))]) for sign in (1, -1))
        columns.append((ahead - back) / (2 * h))
    return bool(np.linalg.eigvals(np.array(columns).T).real.max() < 0)
