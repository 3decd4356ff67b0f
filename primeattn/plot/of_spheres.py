"""Paths on the sphere: what quaternions do to a vector, and tokens that gather."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .style import ACCENT, INK, MUTED, RULE, axes_or_new, set_title, tone

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..study import Depth

View = tuple[float, float]
_VIEW: View = (-60.0, 22.0)


def quaternion_orbits(
    orbits: Any,
    *,
    vector: Any = (1.0, 0.0, 0.0),
    ax: Axes | None = None,
    view: View = _VIEW,
    title: str | None = None,
) -> Axes:
    """Draw where sequences of quaternions turn a vector, on the sphere; what lies behind it is pale.

    Parameters
    ----------
    orbits : array_like of float, shape (n, 4), or mapping of str to them
        Unit quaternions in order; each orbit begins at a dot and ends at an arrowhead's place, a ring.
    vector : array_like of float, shape (3,)
        What is turned.
    ax : Axes, optional
    view : (float, float)
        Azimuth and elevation of the eye, degrees.
    title : str, optional

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        For quaternions of another shape, or a vector of length 0.

    Examples
    --------
    >>> import numpy as np, primeattn as pa
    >>> from matplotlib.figure import Figure
    >>> turn = pa.quaternion.from_axis_angle(np.array([0.0, 0.0, 1.0]), np.linspace(0, 1, 5))
    >>> ax = pa.plot.quaternion_orbits({"about z": turn}, ax=Figure().subplots())
    >>> [text.get_text() for text in ax.texts]
    ['about z']
    """
    from .. import quaternion

    vector = np.asarray(vector, dtype=float)
    if vector.shape != (3,) or not np.linalg.norm(vector) > 0:
        raise ValueError(f"vector is {vector.tolist()}: three numbers that are not all 0 are wanted")
    several = orbits if isinstance(orbits, Mapping) else {"": orbits}
    paths = {}
    for name, given in several.items():
        q = np.asarray(given, dtype=float)
        if q.ndim != 2 or q.shape[1] != 4 or not len(q):
            raise ValueError(f"an orbit has shape {q.shape}: (n, 4), quaternions with w first, is wanted")
        paths[name] = quaternion.rotate(q, vector / np.linalg.norm(vector))
    ax = _globe(ax, view)
    for number, (name, path) in enumerate(paths.items()):
        _path(ax, path, view, tone(number), name)
    set_title(ax, title)
    return ax


def token_paths(
    depth: Depth, *, run: int = 0, ax: Axes | None = None, view: View | None = None, title: str | None = None
) -> Axes:
    """Draw tokens that attend one another on the sphere of three dimensions: their ways, and where they are.

    Parameters
    ----------
    depth : Depth
        Of `study.dynamics_of` with ``space="sphere"`` and tokens of width 3.
    run : int
        Which run, where there are several.
    ax : Axes, optional
    view : (float, float), optional
        Azimuth and elevation of the eye, degrees; default: above the mean of the last layer.
    title : str, optional

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        For tokens of another space or width.

    Examples
    --------
    >>> import primeattn as pa
    >>> from matplotlib.figure import Figure
    >>> run = pa.study.dynamics_of("dot_product", tokens=5, depth=10, rng=0)
    >>> ax = pa.plot.token_paths(run, ax=Figure().subplots())
    >>> len(ax.collections)
    2
    """
    x = depth.x if depth.x.ndim == 3 else depth.x[:, run]
    if depth.space != "sphere" or x.shape[-1] != 3:
        raise ValueError(
            f"tokens are in {depth.space} with {x.shape[-1]} coordinates: pass space='sphere' and width=3 to "
            "dynamics_of"
        )
    if view is None:
        mean = x[-1].mean(axis=0)
        length = np.linalg.norm(mean)
        towards = mean / length if length > 1e-9 else np.array([1.0, 0.0, 0.0])
        view = (
            float(np.degrees(np.arctan2(towards[1], towards[0]))) - 25,
            float(np.clip(np.degrees(np.arcsin(towards[2])) + 15, -80, 80)),
        )
    ax = _globe(ax, view)
    for token in range(x.shape[1]):
        _line(ax, x[:, token], view, MUTED, 0.8)
    for layer, size, color in ((0, 12, INK), (-1, 34, ACCENT)):
        flat, front = _flat(x[layer], view)
        shade: Any = np.where(front, 1.0, 0.3)
        ax.scatter(flat[:, 0], flat[:, 1], s=size, color=color, alpha=shade, linewidths=0, zorder=4)
    set_title(ax, title)
    return ax


def _flat(x: np.ndarray, view: View) -> tuple[np.ndarray, np.ndarray]:
    """Seen from far away: places in the picture, and whether they are on the near side."""
    azimuth, elevation = np.radians(view)
    eye = np.array([np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)])
    right = np.array([-np.sin(azimuth), np.cos(azimuth), 0.0])
    return np.stack([x @ right, x @ np.cross(eye, right)], axis=-1), x @ eye >= 0


def _line(ax, x: np.ndarray, view: View, color: str, width: float) -> None:
    flat, front = _flat(x, view)
    for near, alpha in ((True, 1.0), (False, 0.28)):
        shown = np.where((front == near)[:, None], flat, np.nan)
        # a side begins where the other one ends
        edge = np.flatnonzero(np.diff(front.astype(int)))
        shown[edge] = flat[edge]
        shown[edge + 1] = flat[edge + 1]
        ax.plot(shown[:, 0], shown[:, 1], color=color, alpha=alpha, linewidth=width, zorder=3 if near else 2)


def _path(ax, x: np.ndarray, view: View, color: str, name: str) -> None:
    _line(ax, x, view, color, 1.6)
    flat, front = _flat(x, view)
    ax.scatter(*flat[0], s=20, color=color, alpha=1.0 if front[0] else 0.4, linewidths=0, zorder=4)
    ring = {"facecolors": "white", "edgecolors": color, "linewidths": 1.5}
    ax.scatter(*flat[-1], s=34, alpha=1.0 if front[-1] else 0.5, zorder=5, **ring)
    if name:
        look: dict[str, Any] = {"textcoords": "offset points", "size": 9, "color": color, "parse_math": False}
        ax.annotate(name, flat[-1], (7, 5), zorder=6, **look)


def _globe(ax, view: View):
    """The outline, the equator and three meridians."""
    ax = axes_or_new(ax, 3.6, 3.6)
    around = np.linspace(0, 2 * np.pi, 181)
    circle = np.cos(around), np.sin(around)
    ax.plot(*circle, color=MUTED, linewidth=0.8, zorder=1)
    still = np.zeros_like(around)
    for turn in (0.0, np.pi / 3, 2 * np.pi / 3):
        meridian = np.stack([circle[0] * np.cos(turn), circle[0] * np.sin(turn), circle[1]], axis=-1)
        _line(ax, meridian, view, RULE, 0.7)
    _line(ax, np.stack([*circle, still], axis=-1), view, RULE, 0.7)
    ax.set_aspect("equal")
    ax.set_xlim(-1.12, 1.12)
    ax.set_ylim(-1.12, 1.12)
    ax.axis("off")
    return ax
