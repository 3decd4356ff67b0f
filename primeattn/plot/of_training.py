"""Curves of learning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .style import MUTED, axes_or_new, decimal, plain_axes, set_title, tone

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_STYLES = "-", (0, (5, 2)), (0, (1.5, 1.5))


def learning(
    curves: Mapping[str, tuple[Any, Any]],
    *,
    ax: Axes | None = None,
    levels: Mapping[str, float] | None = None,
    tones: Mapping[str, int] | None = None,
    xlabel: str = "tokens seen",
    ylabel: str = "bits per character",
    title: str | None = None,
) -> Axes:
    """Draw how a figure falls, one curve a run, each with its name at its end.

    Parameters
    ----------
    curves : mapping of str to (x, y)
        Of lengths that may differ.
    ax : Axes, optional
    levels : mapping of str to float, optional
        Horizontal lines: what cheap coders reach.
    tones : mapping of str to int, optional
        Number of each curve's colour, 0 being the accent; by default in order.
    xlabel, ylabel, title : str

    Returns
    -------
    Axes

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from primeattn import plot
    >>> ax = plot.learning({"ours": ([1, 2, 3], [5, 4, 3.5])}, ax=Figure().subplots(), levels={"xz": 2.1})
    >>> len(ax.lines), [text.get_text() for text in ax.texts]
    (2, ['xz', 'ours'])
    """
    ax = axes_or_new(ax)
    tones = {name: k for k, name in enumerate(curves)} if tones is None else tones
    ends = []
    for name, (x, y) in curves.items():
        x, y = np.asarray(x, float), np.asarray(y, float)
        number = tones.get(name, 0)
        style = _STYLES[max(0, number - 1) // 5 % 3]
        ax.plot(
            x, y, color=tone(number), linewidth=1.6, linestyle=style, marker="o" if len(x) < 30 else "", markersize=2.5
        )
        good = np.flatnonzero(np.isfinite(y))
        if len(good):
            ends.append((float(x[good[-1]]), float(y[good[-1]]), name, tone(number)))
    plain_axes(ax, grid="y")
    right = max((float(np.max(x)) for x, _ in curves.values() if len(x)), default=1.0)
    left = min((float(np.min(x)) for x, _ in curves.values() if len(x)), default=0.0)
    for name, level in (levels or {}).items():
        if np.isfinite(level):
            ax.axhline(level, color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
            place = _clear(curves, (float(left), right), ax.get_ylim(), level)
            _named(ax, name, right if place["ha"] == "right" else float(left), level, MUTED, **place)
    ends.sort(key=lambda end: end[1])
    for (x, _, name, color), at in zip(ends, _apart([end[1] for end in ends], ax.get_ylim()), strict=True):
        _named(ax, name, x, at, color, xytext=(6, -3))
    from matplotlib.ticker import FuncFormatter

    ax.xaxis.set_major_formatter(FuncFormatter(_large))
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    set_title(ax, title)
    return ax


def _clear(curves: Mapping[str, tuple[Any, Any]], xlim: tuple[float, float], ylim: tuple[float, float], level: float):
    """Where the name of a line hides the fewest points of curves: above it or below, at its right end or its left."""
    wide, high = 0.16 * (xlim[1] - xlim[0]), 0.06 * (ylim[1] - ylim[0])
    fewest, found = np.inf, {}
    for ha in ("right", "left"):
        first = xlim[1] - wide if ha == "right" else xlim[0]
        for up in (True, False):
            low = level if up else level - high
            hidden = 0
            for x, y in curves.values():
                if len(x):
                    fine = np.linspace(first, first + wide, 65)
                    at = np.interp(fine, np.asarray(x, float), np.asarray(y, float), left=np.nan, right=np.nan)
                    hidden += int(((at > low - 0.2 * high) & (at < low + 1.2 * high)).sum())
            if hidden < fewest:
                fewest, found = hidden, {"ha": ha, "va": "bottom" if up else "top", "xytext": (0, 3 if up else -3)}
    return found


def _named(ax: Axes, name: str, x: float, y: float, color: str, **place: Any) -> None:
    ax.annotate(
        name,
        (x, y),
        textcoords="offset points",
        fontsize=8.5,
        color=color,
        parse_math=False,
        annotation_clip=False,
        **place,
    )


def _apart(values: list[float], limits: tuple[float, float]) -> np.ndarray:
    """Heights of names: those of rising values, moved until none hides another, on the whole neither up nor down."""
    gap = 0.048 * (limits[1] - limits[0])
    found = np.array(values, float)
    for k in range(1, len(found)):
        found[k] = max(found[k], found[k - 1] + gap)
    return found - max(
        0.0, min(float(np.mean(found - values)) if len(found) else 0.0, float(min(found, default=0.0)) - limits[0])
    )


def _large(value: float, _place=None) -> str:
    """A tick: 250k, 3M."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{unit}"
    return decimal(value)
