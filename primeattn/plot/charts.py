"""Spectra, components, agreement of two views, and curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .style import (
    ACCENT,
    FAINT,
    INK,
    MUTED,
    RULE,
    axes_or_new,
    decimal,
    plain_axes,
    plain_decades,
    set_title,
    show_as_it_is,
    tone,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def spectrum(
    eigenvalues,
    *,
    ax: Axes | None = None,
    bound: float | None = None,
    title: str | None = None,
    color: str | None = None,
) -> Axes:
    """Draw the eigenvalues of a symmetric matrix in falling order; negative ones large, on a shaded ground.

    Parameters
    ----------
    eigenvalues : array_like, shape (n,)
        In any order.
    ax : Axes, optional
    bound : float, optional
        Rounding bound: only eigenvalues below ``-bound`` count as negative. Default n eps max abs.
    title : str, optional
    color : str, optional
        Of all dots; default ink, and the accent colour for the negative ones.

    Returns
    -------
    Axes

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from primeattn import plot
    >>> ax = plot.spectrum([2.0, 1.0, -0.5], ax=Figure().subplots())
    >>> ax.get_yscale()
    'symlog'
    """
    values = np.sort(np.asarray(eigenvalues, dtype=float).ravel())[::-1]
    ax = axes_or_new(ax)
    top = float(np.abs(values).max(initial=0.0))
    if bound is None:
        bound = len(values) * np.finfo(float).eps * top
    negative = values < -bound
    index = np.arange(1, len(values) + 1)
    # Linear between the smallest and the next decade that matter, logarithmic beyond: the sign must stay visible.
    threshold = max(10.0 ** np.floor(np.log10(top)) / 100, 1e-12) if top > 0 else 1e-12
    ax.set_yscale("symlog", linthresh=threshold, linscale=1.0)
    decades = [threshold * 10.0**k for k in range(4) if threshold * 10.0**k <= 1.2 * top]
    ax.set_yticks([-x for x in decades if x <= -1.2 * values[-1]] + [0.0, *decades] if len(values) else [0.0])
    ax.set_yticks([], minor=True)
    ax.axhline(0, color=INK, linewidth=0.8)
    ax.plot(index, values, color=FAINT, linewidth=1.0)
    ax.scatter(index[~negative], values[~negative], s=9, color=color or INK, linewidths=0, zorder=3)
    ax.scatter(index[negative], values[negative], s=16, color=color or ACCENT, linewidths=0, zorder=4)
    if negative.any():
        ax.axhspan(-top * 10, 0, color=color or ACCENT, alpha=0.07, linewidth=0)
        ax.set_ylim(bottom=min(-1.2 * threshold, values[-1] * 1.6))
    elif len(values):
        ax.set_ylim(bottom=-0.2 * threshold)
    ax.set_xlim(left=0)
    plain_decades(ax.yaxis)
    plain_axes(ax, grid="y")
    ax.set_xlabel("number, largest first")
    ax.set_ylabel("eigenvalue")
    set_title(ax, title)
    return ax


def components(
    parts: Mapping[str, Any], *, ax: Axes | None = None, labels: Sequence[str] | None = None, title: str | None = None
) -> Axes:
    """Draw what each component contributes to the scores of some pairs, as stacked bars.

    Parameters
    ----------
    parts : mapping of str to array_like, each of shape (m,)
        Component -> contributions, already multiplied by their weights.
    ax : Axes, optional
    labels : sequence of str, length m, optional
        Names of pairs.
    title : str, optional

    Returns
    -------
    Axes

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from primeattn import plot
    >>> parts = {"overlap": [0.2, 0.1], "coherence": [0.1, 0.3]}
    >>> ax = plot.components(parts, ax=Figure().subplots(), labels=["a, b", "a, c"])
    >>> len(ax.patches)
    4
    """
    columns = {name: np.atleast_1d(np.asarray(values, dtype=float)) for name, values in parts.items()}
    if not columns:
        raise ValueError("parts is empty: give at least one component")
    m = len(next(iter(columns.values())))
    if any(len(values) != m for values in columns.values()):
        sizes = ", ".join(f"{name}: {len(values)}" for name, values in columns.items())
        raise ValueError(f"components differ in length ({sizes}): give one value per pair in each")
    ax = axes_or_new(ax, 5.0, 0.6 + 0.42 * m)
    where, left = np.arange(m), np.zeros(m)
    shades = [ACCENT, MUTED, RULE, FAINT]
    for number, (name, values) in enumerate(columns.items()):
        ax.barh(where, values, left=left, height=0.62, color=shades[number % 4], label=name)
        left = left + values
    plain_axes(ax, grid="x")
    ax.invert_yaxis()
    ax.set_yticks(where, labels if labels is not None else [str(i) for i in where], parse_math=False)
    legend = ax.legend(
        frameon=False, fontsize=9, ncols=len(columns), loc="lower left", bbox_to_anchor=(0, 1), labelcolor=INK
    )
    show_as_it_is(legend)
    set_title(ax, title)
    return ax


def agreement(
    x,
    y,
    *,
    ax: Axes | None = None,
    names: tuple[str, str] = ("x", "y"),
    marked: Sequence[int] = (),
    title: str | None = None,
) -> Axes:
    """Draw the scores that two views give the same pairs, one dot a pair.

    Parameters
    ----------
    x, y : array_like, shape (m,)
    ax : Axes, optional
    names : (str, str)
        Names of the two views.
    marked : sequence of int
        Pairs to be drawn in the accent colour.
    title : str, optional

    Returns
    -------
    Axes

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from primeattn import plot
    >>> ax = plot.agreement([0.1, 0.5], [0.2, 0.4], ax=Figure().subplots(), names=("kernel", "cosine"))
    >>> ax.get_xlabel(), ax.get_ylabel()
    ('kernel', 'cosine')
    """
    x, y = np.asarray(x, dtype=float).ravel(), np.asarray(y, dtype=float).ravel()
    if x.shape != y.shape:
        raise ValueError(f"x has {x.size} pairs and y has {y.size}: give both scores of the same pairs")
    ax = axes_or_new(ax, 4.2, 4.0)
    size, alpha = (9, 0.5) if x.size < 3000 else (6, max(0.05, 1500 / x.size))
    ax.scatter(x, y, s=size, color=INK, alpha=alpha, linewidths=0, rasterized=True)
    chosen = np.asarray(marked, dtype=int)
    ax.scatter(x[chosen], y[chosen], s=20, color=ACCENT, linewidths=0, zorder=3)
    plain_axes(ax)
    ax.ticklabel_format(useOffset=False)
    ax.set_xlabel(names[0], parse_math=False)
    ax.set_ylabel(names[1], parse_math=False)
    set_title(ax, title)
    return ax


def lines(
    x,
    series: Mapping[str, Any],
    *,
    ax: Axes | None = None,
    accent: str | None = None,
    tones: Mapping[str, int] | None = None,
    log_x: bool = False,
    xlabel: str = "",
    ylabel: str = "",
    title: str | None = None,
) -> Axes:
    """Draw a few curves, one of them in the accent colour.

    Parameters
    ----------
    x : array_like, shape (m,)
    series : mapping of str to array_like, each of shape (m,)
    ax : Axes, optional
    accent : str, optional
        Which curve is the subject.
    tones : mapping of str to int, optional
        Number of each curve's colour, so that a name keeps it from figure to figure: 0 is the accent. By default the
        subject has 0 and the others 1, 2, ... in order.
    log_x : bool
    xlabel, ylabel, title : str

    Returns
    -------
    Axes

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from primeattn import plot
    >>> ax = plot.lines([1, 2, 4], {"ours": [1, 2, 4], "theirs": [1, 4, 16]}, ax=Figure().subplots(), accent="ours")
    >>> len(ax.lines)
    2
    """
    x = np.asarray(x, dtype=float)
    ax = axes_or_new(ax)
    if log_x:
        ax.set_xscale("log", base=2)
        shown = x[:: -(-len(x) // 8)]
        ax.set_xticks(shown, [decimal(value) for value in shown])
        ax.set_xticks([], minor=True)
    if tones is None:
        tones = {name: k for k, name in enumerate((name for name in series if name != accent), 1)} | {accent or "": 0}
    for name, values in series.items():
        y = np.asarray(values, dtype=float)
        style = ("-", "-", (0, (5, 2)), (0, (1.5, 1.5)))[min(tones[name], 1 + (tones[name] - 1) % 3)]
        ax.plot(x, y, color=tone(tones[name]), linewidth=1.6, linestyle=style, marker="o", markersize=3, label=name)
    plain_axes(ax, grid="y")
    show_as_it_is(ax.legend(frameon=False, fontsize=8.5, labelcolor="linecolor", handlelength=1.6))
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    set_title(ax, title)
    return ax
