"""Prime states: how many primes they have, how the primes are used, and one state on the circle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .style import ACCENT, FAINT, INK, MUTED, RULE, axes_or_new, need_matplotlib, plain_axes, plain_decades, set_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..states import PrimeStates


def counts(
    values, *, ax: Axes | None = None, xlabel: str = "active primes", ylabel: str = "passages", title: str | None = None
) -> Axes:
    """Draw a histogram of whole numbers, with the median marked.

    Parameters
    ----------
    values : array_like of int, shape (n,)
    ax : Axes, optional
    xlabel, ylabel, title : str

    Returns
    -------
    Axes

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from primeattn import plot
    >>> ax = plot.counts([3, 3, 4], ax=Figure().subplots())
    >>> ax.get_xlabel()
    'active primes'
    """
    values = np.asarray(values).ravel()
    ax = axes_or_new(ax)
    if values.size:
        span = int(values.max()) - int(values.min()) + 1
        bins = np.arange(span + 1) + values.min() - 0.5 if span <= 30 else 24
        ax.hist(values, bins=bins, color=FAINT, edgecolor="none", rwidth=0.9)
        middle = float(np.median(values))
        ax.axvline(middle, color=ACCENT, linewidth=1.4)
        ax.annotate(
            f" median {middle:g}", (middle, 1), xycoords=("data", "axes fraction"), va="top", size=9.5, color=ACCENT
        )
    plain_axes(ax)
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    set_title(ax, title)
    return ax


def rank_frequency(
    frequencies,
    *,
    ax: Axes | None = None,
    slope: float | None = None,
    intercept: float | None = None,
    title: str | None = None,
) -> Axes:
    """Draw how many states share each prime, most common first, on logarithmic axes (Zipf's plot).

    Parameters
    ----------
    frequencies : array_like of int, shape (m,)
        Number of states that contain each prime; zeros are left out.
    ax : Axes, optional
    slope, intercept : float, optional
        A fitted line log10(frequency) = intercept + slope log10(rank).
    title : str, optional

    Returns
    -------
    Axes

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from primeattn import plot
    >>> ax = plot.rank_frequency([5, 2, 1, 1], ax=Figure().subplots())
    >>> ax.get_xscale(), ax.get_yscale()
    ('log', 'log')
    """
    values = np.sort(np.asarray(frequencies, dtype=float).ravel())[::-1]
    values = values[values > 0]
    ax = axes_or_new(ax)
    rank = np.arange(1, len(values) + 1)
    if len(values):
        ax.set_xscale("log")
        ax.set_yscale("log")
        keep = np.unique(np.geomspace(1, len(values), 300).astype(int)) - 1
        ax.plot(rank[keep], values[keep], color=INK, linewidth=1.6)
        if slope is not None and intercept is not None:
            line = 10.0 ** (intercept + slope * np.log10(rank[keep]))
            ax.plot(rank[keep], line, color=ACCENT, linewidth=1.2, linestyle=(0, (4, 3)))
            text = f"slope {slope:.2f}".replace("-", "−")
            ax.annotate(text, (0.97, 0.95), xycoords="axes fraction", ha="right", va="top", color=ACCENT)
            ax.set_ylim(bottom=0.7)
        plain_decades(ax.xaxis)
        plain_decades(ax.yaxis)
    plain_axes(ax)
    ax.set_xlabel("prime, most common first")
    ax.set_ylabel("states that have it")
    set_title(ax, title)
    return ax


def sparsity(states: PrimeStates, *, figure=None) -> np.ndarray:
    """Draw how sparse a batch of states is: primes in each state, and states on each prime.

    Parameters
    ----------
    states : PrimeStates
    figure : matplotlib.figure.Figure, optional

    Returns
    -------
    ndarray of Axes, shape (2,)

    Examples
    --------
    >>> import primeattn as pa
    >>> from matplotlib.figure import Figure
    >>> axes = pa.plot.sparsity(pa.PrimeStates.random(5, 3, rng=0), figure=Figure())
    >>> axes.shape
    (2,)
    """
    need_matplotlib()
    if figure is None:
        from matplotlib import pyplot

        figure = pyplot.figure(figsize=(8.4, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    counts(np.diff(states.indptr), ax=left, ylabel="states", title="Active primes in a state")
    rank_frequency(np.unique(states.primes, return_counts=True)[1], ax=right, title="States on a prime")
    return np.array([left, right])


_TRIED, _LABELLED = 48, 12  # primes that a state on the circle may name, and names


def phases(states: PrimeStates, index: int = 0, *, ax: Axes | None = None, title: str | None = None) -> Axes:
    """Draw one state on the circle: each active prime at its phase, at the radius of its amplitude.

    Parameters
    ----------
    states : PrimeStates
    index : int
        Which state.
    ax : PolarAxes, optional
    title : str, optional

    Returns
    -------
    PolarAxes

    Examples
    --------
    >>> import primeattn as pa
    >>> from matplotlib.figure import Figure
    >>> state = pa.PrimeStates.from_dicts([{2: 1, 3: 1j}])
    >>> ax = pa.plot.phases(state, ax=Figure().subplots(subplot_kw={"projection": "polar"}))
    >>> [text.get_text() for text in ax.texts]
    ['2', '3']
    """
    if not -len(states) <= index < len(states):
        raise IndexError(f"index {index} is outside a batch of {len(states)} states")
    need_matplotlib()
    if ax is None:
        from matplotlib import pyplot

        ax = pyplot.subplots(figsize=(3.8, 3.8), subplot_kw={"projection": "polar"}, layout="constrained")[1]
    index %= len(states)
    active = slice(int(states.indptr[index]), int(states.indptr[index + 1]))
    amplitude, primes = np.asarray(states.amplitude[active]), np.asarray(states.primes[active])
    angle, radius = np.angle(amplitude), np.abs(amplitude)
    ax.vlines(angle, 0, radius, color=FAINT, linewidth=0.9)
    ax.scatter(angle, radius, s=22, color=INK, linewidths=0, zorder=3)
    ax.set_xticks(np.arange(4) * np.pi / 2, ["0", "π/2", "π", "3π/2"])
    _rings(ax, angle, float(radius.max(initial=0.0)))
    ax.tick_params(colors=MUTED, labelsize=9)
    ax.grid(color=RULE, linewidth=0.6)
    ax.spines["polar"].set_color(RULE)
    set_title(ax, title)
    strongest = np.argsort(-radius, kind="stable")[:_TRIED]
    look: dict[str, Any] = {"textcoords": "offset points", "size": 8.5, "color": ACCENT}
    _keep_apart(ax, [ax.annotate(str(primes[k]), (angle[k], radius[k]), (4, 4), **look) for k in strongest])
    return ax


def _rings(ax, angle: np.ndarray, top: float) -> None:
    """A few circles of amplitude, named where no prime is."""
    from matplotlib.ticker import MaxNLocator

    rings = [float(ring) for ring in MaxNLocator(3).tick_values(0.0, top or 1.0) if 0 < ring <= 1.05 * (top or 1.0)]
    ax.set_yticks(rings, [f"{ring:g}" for ring in rings])
    if len(angle):
        around = np.sort(np.mod(angle, 2 * np.pi))
        gaps = np.diff(np.append(around, around[0] + 2 * np.pi))
        widest = int(gaps.argmax())
        ax.set_rlabel_position(float(np.degrees(around[widest] + gaps[widest] / 2)))


def _keep_apart(ax, labels: list) -> None:
    """Remove the labels that would cover an earlier one or a tick's, and those beyond a dozen."""
    ax.figure.figure.draw_without_rendering()  # places are known only after the layout
    taken = [text.get_window_extent() for text in (*ax.get_xticklabels(), *ax.get_yticklabels())]
    room = len(taken) + _LABELLED
    for label in labels:
        box = label.get_window_extent()
        if len(taken) >= room or any(box.overlaps(other) for other in taken):
            label.remove()
        else:
            taken.append(box)
