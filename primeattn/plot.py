"""Figures. Each function takes arrays (or DataArrays), draws on Matplotlib axes, and returns the axes.

Without ``ax`` a new pyplot figure is made, so that a notebook shows it; with ``ax`` nothing global is
touched. Scores use the colour map viridis, which keeps its order in grey and for colour-blind eyes;
everything else is drawn in ink, with one accent for what the figure is about.

Matplotlib is imported when a figure is drawn: ``pip install "primeattn[report]"``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .states import PrimeStates

INK, MUTED, RULE, ACCENT, FAINT = "#22211e", "#6f6b63", "#d8d4ca", "#c8430a", "#a9a499"
SCORES = "viridis"


def _need_matplotlib() -> None:
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise ImportError('figures need Matplotlib: pip install "primeattn[report]"') from None


def _axes(ax, width: float = 4.2, height: float = 3.4):
    _need_matplotlib()
    if ax is not None:
        return ax
    from matplotlib import pyplot

    return pyplot.subplots(figsize=(width, height), layout="constrained")[1]


def _plain(ax, *, grid: str | None = None) -> None:
    """Ink instead of boxes: two thin spines, muted ticks, at most one direction of grid."""
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        ax.spines[side].set_color(RULE)
    ax.tick_params(colors=MUTED, labelsize=9.5, length=3, width=0.8)
    ax.tick_params(which="minor", length=0)
    ax.xaxis.label.set(color=MUTED, size=10)
    ax.yaxis.label.set(color=MUTED, size=10)
    if grid:
        ax.grid(axis=grid, color=RULE, linewidth=0.6)
        ax.set_axisbelow(True)


_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def _decimal(value: float, _place=None) -> str:
    """A tick in plain figures, or as a power of ten; Matplotlib's own would call TeX's grammar for each."""
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:,g}".replace("-", "−")
    exponent = round(np.log10(abs(value)))
    return ("−" if value < 0 else "") + "10" + str(exponent).translate(_SUPERSCRIPT)


def plain_decades(axis) -> None:
    """Label the ticks of a logarithmic axis in plain figures."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    axis.set_major_formatter(FuncFormatter(_decimal))
    axis.set_minor_formatter(NullFormatter())


def _title(ax, title: str | None) -> None:
    if title:
        ax.set_title(title, loc="left", size=11, color=INK, pad=8)


def _matrix(matrix, name: str = "matrix") -> np.ndarray:
    values = np.asarray(matrix, dtype=float)
    if values.ndim != 2:
        raise ValueError(f"{name} has shape {values.shape}: a map is drawn from two axes; select one, e.g. {name}[0]")
    return values


def _labels_of(matrix, labels) -> Sequence[str] | None:
    """Given labels, or the text coordinate of a DataArray's first dimension."""
    if labels is not None:
        if len(labels) != np.shape(matrix)[0]:
            raise ValueError(f"labels has {len(labels)} entries for {np.shape(matrix)[0]} rows: give one per row")
        return labels
    dims, coords = getattr(matrix, "dims", None), getattr(matrix, "coords", None)
    if dims and coords is not None and dims[0] in coords and np.asarray(coords[dims[0]]).dtype.kind in "UO":
        return [str(x) for x in np.asarray(coords[dims[0]])]
    return None


def _blocks(labels: Sequence[str]) -> list[tuple[int, int, str]]:
    """Runs of equal labels as (start, stop, label)."""
    edges = [i for i in range(len(labels)) if i == 0 or labels[i] != labels[i - 1]]
    return [(a, b, str(labels[a])) for a, b in zip(edges, [*edges[1:], len(labels)], strict=True)]


def _name_rows(ax, labels: Sequence[str] | None, columns: bool = False) -> None:
    """Name the runs of equal labels that are tall enough to carry a name; tick-free otherwise."""
    ax.set_xticks([])
    ax.set_yticks([])
    if labels is None:
        return
    n = len(labels)
    named = [(a, b, text) for a, b, text in _blocks(labels) if b - a >= n / 28]
    where = [(a + b - 1) / 2 for a, b, _ in named]
    names = [text if len(text) <= 22 else text[:21] + "…" for _, _, text in named]
    ax.set_yticks(where, names)
    if columns:
        ax.set_xticks(where, names, rotation=90)
    ax.tick_params(length=0, labelsize=8, colors=MUTED)


def _bar(image, ax, label: str) -> None:
    bar = ax.figure.colorbar(image, ax=ax, fraction=0.046, pad=0.03)
    bar.outline.set_visible(False)
    bar.ax.tick_params(colors=MUTED, labelsize=8, length=2)
    bar.set_label(label, color=MUTED, size=9)


def off_diagonal_limits(*matrices, quantile: float = 1.0) -> tuple[float, float]:
    """Common colour limits of several square maps: 0 (or the least value) to the largest off-diagonal value.

    The diagonal (each passage with itself) is 1 in most views and would leave the rest in the dark.

    Parameters
    ----------
    *matrices : array_like, each of shape (n, m)
    quantile : float
        Below 1: the upper limit is that quantile of all values, so that a few outliers do not set the scale.

    Returns
    -------
    (float, float)

    Examples
    --------
    >>> import numpy as np
    >>> from primeattn import plot
    >>> plot.off_diagonal_limits(np.array([[1, .25], [.25, 1]]))
    (0.0, 0.25)
    """
    shown = []
    for matrix in matrices:
        values = _matrix(matrix)
        if values.shape[0] == values.shape[1]:
            values = values[~np.eye(len(values), dtype=bool)]
        shown.append(values[np.isfinite(values)])
    together = np.concatenate(shown) if shown else np.zeros(0)
    if not together.size:
        return 0.0, 1.0
    low, high = min(0.0, float(together.min())), float(np.quantile(together, quantile))
    return low, (high if high > low else low + 1.0)


def score_map(
    matrix,
    *,
    ax: Axes | None = None,
    labels: Sequence[str] | None = None,
    title: str | None = None,
    limits: tuple[float, float] | None = None,
    diagonal: bool = False,
    colorbar: bool = True,
    colorbar_label: str = "score",
) -> Axes:
    """Draw a matrix of scores, one cell a pair.

    Parameters
    ----------
    matrix : array_like or DataArray, shape (n, m)
        Scores; NaN is left blank.
    ax : Axes, optional
    labels : sequence of str, length n, optional
        Names of the rows; runs of the same name (the passages of one document) are named once. A
        DataArray brings its own.
    title : str, optional
    limits : (float, float), optional
        Ends of the colour scale; default :func:`off_diagonal_limits`.
    diagonal : bool
        Colour the diagonal of a square matrix too; blank otherwise.
    colorbar : bool
    colorbar_label : str

    Returns
    -------
    Axes

    Examples
    --------
    >>> import numpy as np
    >>> from matplotlib.figure import Figure
    >>> from primeattn import plot
    >>> ax = plot.score_map(np.eye(3), ax=Figure().subplots(), colorbar=False)
    >>> ax.images[0].get_array().shape
    (3, 3)
    """
    values, labels = _matrix(matrix), _labels_of(matrix, labels)
    ax = _axes(ax, 4.6, 4.0)
    square = values.shape[0] == values.shape[1]
    low, high = limits or off_diagonal_limits(values)
    shown = np.ma.masked_invalid(values)
    if square and not diagonal:
        shown = np.ma.array(shown, mask=np.ma.getmaskarray(shown) | np.eye(len(values), dtype=bool))
    image = ax.imshow(shown, cmap=SCORES, vmin=low, vmax=high, interpolation="nearest", aspect="equal")
    _name_rows(ax, labels)
    for spine in ax.spines.values():
        spine.set_visible(False)
    _title(ax, title)
    if colorbar:
        _bar(image, ax, colorbar_label)
    return ax


def score_maps(
    matrices: Mapping[str, Any],
    *,
    labels: Sequence[str] | None = None,
    limits: tuple[float, float] | None = None,
    columns: int = 2,
    colorbar_label: str = "score",
    figure=None,
) -> np.ndarray:
    """Draw several maps side by side on one colour scale.

    Parameters
    ----------
    matrices : mapping of str to array_like, each of shape (n, n)
        Title -> scores.
    labels : sequence of str, optional
        Names of rows, as in :func:`score_map`.
    limits : (float, float), optional
        Shared limits; default: :func:`off_diagonal_limits` of all maps together.
    columns : int
    colorbar_label : str
    figure : matplotlib.figure.Figure, optional
        Draw into this figure instead of a new pyplot figure.

    Returns
    -------
    ndarray of Axes, shape (len(matrices),)

    Raises
    ------
    ValueError
        If there is no map.
    """
    if not matrices:
        raise ValueError("matrices is empty: give at least one map, e.g. {'kernel': K}")
    _need_matplotlib()
    limits = limits or off_diagonal_limits(*matrices.values())
    columns = min(columns, len(matrices))
    rows = -(-len(matrices) // columns)
    size = (4.4 * columns + 1.0, 4.2 * rows)
    if figure is None:
        from matplotlib import pyplot

        figure = pyplot.figure(figsize=size, layout="constrained")
    else:
        figure.set_size_inches(*size)
    grid = figure.subplots(rows, columns, squeeze=False)
    axes = list(grid.flat)
    for ax, (title, matrix) in zip(axes, matrices.items(), strict=False):
        first = ax in grid[:, 0]
        score_map(matrix, ax=ax, labels=labels if first else None, title=title, limits=limits, colorbar=False)
    for ax in axes[len(matrices) :]:
        ax.set_visible(False)
    bar = figure.colorbar(axes[0].images[0], ax=axes, fraction=0.03, pad=0.02)
    bar.outline.set_visible(False)
    bar.ax.tick_params(colors=MUTED, labelsize=8, length=2)
    bar.set_label(colorbar_label, color=MUTED, size=9)
    return np.array(axes[: len(matrices)])


def mirror_map(
    below,
    above,
    *,
    ax: Axes | None = None,
    labels: Sequence[str] | None = None,
    names: tuple[str, str] = ("below", "above"),
    marked: Sequence[tuple[int, int]] = (),
) -> Axes:
    """Draw two square maps in one: ``below`` the diagonal and ``above`` it.

    Where the two views agree the picture is its own mirror image. Give maps on a common scale, such as
    the rank of each pair among its own view's pairs.

    Parameters
    ----------
    below, above : array_like, shape (n, n)
        Values in [0, 1]; only the triangle in question is read.
    ax : Axes, optional
    labels : sequence of str, length n, optional
    names : (str, str)
        What stands below and above.
    marked : sequence of (int, int)
        Pairs to be ringed and numbered, in both triangles.

    Returns
    -------
    Axes
    """
    lower, upper = _matrix(below, "below"), _matrix(above, "above")
    if lower.shape != upper.shape or lower.shape[0] != lower.shape[1]:
        raise ValueError(f"below has shape {lower.shape} and above {upper.shape}: two equal square maps are wanted")
    labels = _labels_of(below, labels)
    ax = _axes(ax, 5.6, 5.2)
    both = np.tril(lower, -1) + np.triu(upper, 1)
    image = ax.imshow(
        np.ma.array(both, mask=np.eye(len(both), dtype=bool)), cmap=SCORES, vmin=0, vmax=1, interpolation="nearest"
    )
    _name_rows(ax, labels)
    for spine in ax.spines.values():
        spine.set_visible(False)
    size = max(18.0, 900 / max(len(both), 1))
    for number, (i, j) in enumerate(marked, 1):
        for row, column in ((max(i, j), min(i, j)), (min(i, j), max(i, j))):
            ax.scatter([column], [row], s=size, facecolors="none", edgecolors=ACCENT, linewidths=1.4)
        ax.annotate(
            str(number), (min(i, j), max(i, j)), (6, 5), textcoords="offset points", color=ACCENT, size=10, weight="bold"
        )
    ax.set_title(f"{names[1]}  ↗", loc="right", size=11, color=INK, pad=8)
    ax.set_xlabel(f"↙  {names[0]}", loc="left", size=11, color=INK, labelpad=8)
    _bar(image, ax, "rank of the pair within its own view (1 = strongest)")
    return ax


def spectrum(eigenvalues, *, ax: Axes | None = None, bound: float | None = None, title: str | None = None) -> Axes:
    """Draw the eigenvalues of a symmetric matrix in falling order; negative ones in the accent colour.

    Parameters
    ----------
    eigenvalues : array_like, shape (n,)
        In any order.
    ax : Axes, optional
    bound : float, optional
        Rounding bound: only eigenvalues below ``-bound`` count as negative. Default n eps max abs.
    title : str, optional

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
    ax = _axes(ax)
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
    ax.scatter(index[~negative], values[~negative], s=9, color=INK, linewidths=0, zorder=3)
    ax.scatter(index[negative], values[negative], s=16, color=ACCENT, linewidths=0, zorder=4)
    if negative.any():
        ax.axhspan(-top * 10, 0, color=ACCENT, alpha=0.07, linewidth=0)
        ax.set_ylim(bottom=min(-1.2 * threshold, values[-1] * 1.6))
    elif len(values):
        ax.set_ylim(bottom=-0.2 * threshold)
    ax.set_xlim(left=0)
    plain_decades(ax.yaxis)
    _plain(ax, grid="y")
    ax.set_xlabel("eigenvalue, largest first")
    _title(ax, title)
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
    """
    columns = {name: np.atleast_1d(np.asarray(values, dtype=float)) for name, values in parts.items()}
    if not columns:
        raise ValueError("parts is empty: give at least one component")
    m = len(next(iter(columns.values())))
    if any(len(values) != m for values in columns.values()):
        sizes = ", ".join(f"{name}: {len(values)}" for name, values in columns.items())
        raise ValueError(f"components differ in length ({sizes}): give one value per pair in each")
    ax = _axes(ax, 5.0, 0.6 + 0.42 * m)
    where, left = np.arange(m), np.zeros(m)
    shades = [ACCENT, MUTED, RULE, FAINT]
    for number, (name, values) in enumerate(columns.items()):
        ax.barh(where, values, left=left, height=0.62, color=shades[number % 4], label=name)
        left = left + values
    _plain(ax, grid="x")
    ax.invert_yaxis()
    ax.set_yticks(where, labels if labels is not None else [str(i) for i in where])
    ax.legend(frameon=False, fontsize=9, ncols=len(columns), loc="lower left", bbox_to_anchor=(0, 1), labelcolor=INK)
    _title(ax, title)
    return ax


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
    """
    values = np.asarray(values).ravel()
    ax = _axes(ax)
    if values.size:
        span = int(values.max()) - int(values.min()) + 1
        bins = np.arange(span + 1) + values.min() - 0.5 if span <= 30 else 24
        ax.hist(values, bins=bins, color=FAINT, edgecolor="none", rwidth=0.9)
        middle = float(np.median(values))
        ax.axvline(middle, color=ACCENT, linewidth=1.4)
        ax.annotate(
            f" median {middle:g}", (middle, 1), xycoords=("data", "axes fraction"), va="top", size=9.5, color=ACCENT
        )
    _plain(ax)
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    _title(ax, title)
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
    """
    values = np.sort(np.asarray(frequencies, dtype=float).ravel())[::-1]
    values = values[values > 0]
    ax = _axes(ax)
    rank = np.arange(1, len(values) + 1)
    if len(values):
        ax.set_xscale("log")
        ax.set_yscale("log")
        keep = np.unique(np.geomspace(1, len(values), 300).astype(int)) - 1
        ax.plot(rank[keep], values[keep], color=INK, linewidth=1.6)
        if slope is not None and intercept is not None:
            line = 10.0 ** (intercept + slope * np.log10(rank[keep]))
            ax.plot(rank[keep], line, color=ACCENT, linewidth=1.2, linestyle=(0, (4, 3)))
            ax.annotate(f"slope {slope:.2f}".replace("-", "−"), (0.97, 0.95), xycoords="axes fraction", ha="right", va="top", color=ACCENT)
            ax.set_ylim(bottom=0.7)
        plain_decades(ax.xaxis)
        plain_decades(ax.yaxis)
    _plain(ax)
    ax.set_xlabel("prime, most common first")
    ax.set_ylabel("states that have it")
    _title(ax, title)
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
    """
    _need_matplotlib()
    if figure is None:
        from matplotlib import pyplot

        figure = pyplot.figure(figsize=(8.4, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    counts(np.diff(states.indptr), ax=left, ylabel="states", title="Active primes in a state")
    rank_frequency(np.unique(states.primes, return_counts=True)[1], ax=right, title="States on a prime")
    return np.array([left, right])


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
    """
    if not -len(states) <= index < len(states):
        raise IndexError(f"index {index} is outside a batch of {len(states)} states")
    _need_matplotlib()
    if ax is None:
        from matplotlib import pyplot

        ax = pyplot.subplots(figsize=(3.8, 3.8), subplot_kw={"projection": "polar"}, layout="constrained")[1]
    index %= len(states)
    active = slice(int(states.indptr[index]), int(states.indptr[index + 1]))
    amplitude, primes = np.asarray(states.amplitude[active]), np.asarray(states.primes[active])
    angle, radius = np.angle(amplitude), np.abs(amplitude)
    ax.vlines(angle, 0, radius, color=FAINT, linewidth=0.9)
    ax.scatter(angle, radius, s=22, color=INK, linewidths=0, zorder=3)
    for k in np.argsort(-radius, kind="stable")[:12]:  # more numbers than this cover one another
        ax.annotate(str(primes[k]), (angle[k], radius[k]), (4, 4), textcoords="offset points", size=8.5, color=ACCENT)
    ax.set_xticks(np.arange(4) * np.pi / 2, ["0", "π/2", "π", "3π/2"])
    ax.set_yticklabels([])
    ax.tick_params(colors=MUTED, labelsize=9)
    ax.grid(color=RULE, linewidth=0.6)
    ax.spines["polar"].set_color(RULE)
    _title(ax, title)
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
    """
    x, y = np.asarray(x, dtype=float).ravel(), np.asarray(y, dtype=float).ravel()
    if x.shape != y.shape:
        raise ValueError(f"x has {x.size} pairs and y has {y.size}: give both scores of the same pairs")
    ax = _axes(ax, 4.2, 4.0)
    size, alpha = (9, 0.5) if x.size < 3000 else (6, max(0.05, 1500 / x.size))
    ax.scatter(x, y, s=size, color=INK, alpha=alpha, linewidths=0, rasterized=True)
    marked = np.asarray(marked, dtype=int)
    ax.scatter(x[marked], y[marked], s=20, color=ACCENT, linewidths=0, zorder=3)
    _plain(ax)
    ax.set_xlabel(names[0])
    ax.set_ylabel(names[1])
    _title(ax, title)
    return ax


def lines(
    x,
    series: Mapping[str, Any],
    *,
    ax: Axes | None = None,
    accent: str | None = None,
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
    log_x : bool
    xlabel, ylabel, title : str

    Returns
    -------
    Axes
    """
    x = np.asarray(x, dtype=float)
    ax = _axes(ax)
    if log_x:
        ax.set_xscale("log", base=2)
        shown = x[:: -(-len(x) // 8)]
        ax.set_xticks(shown, [_decimal(value) for value in shown])
        ax.set_xticks([], minor=True)
    for number, (name, values) in enumerate(series.items()):
        y = np.asarray(values, dtype=float)
        color = ACCENT if name == accent else (INK, MUTED, FAINT)[number % 3]
        style = "-" if name == accent else ("-", (0, (5, 2)), (0, (1.5, 1.5)))[number % 3]
        ax.plot(x, y, color=color, linewidth=1.6, linestyle=style, marker="o", markersize=3, label=name)
    _plain(ax, grid="y")
    ax.legend(frameon=False, fontsize=8.5, labelcolor="linecolor", handlelength=1.6)
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    _title(ax, title)
    return ax
