"""Matrices of scores as maps, one cell a pair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .style import ACCENT, INK, MUTED, SCORES, axes_or_new, need_matplotlib, set_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes


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
    ax.set_yticks(where, names, parse_math=False)  # a dollar sign in a file's name begins no formula
    if columns:
        ax.set_xticks(where, names, rotation=90, parse_math=False)
    ax.tick_params(length=0, labelsize=9, colors=MUTED)


Ticks = Sequence[tuple[float, str]]


def _bar(image, axes, label: str, ticks: Ticks | None = None, fraction: float = 0.046) -> None:
    values, (low, high) = np.ma.masked_invalid(image.get_array()), image.get_clim()
    # an arrowhead where values lie beyond the scale
    outside = (bool(values.count() and values.min() < low), bool(values.count() and values.max() > high))
    beyond = {(True, True): "both", (True, False): "min", (False, True): "max"}.get(outside, "neither")
    bar = image.figure.colorbar(image, ax=axes, fraction=fraction, pad=0.03, extend=beyond)
    bar.outline.set_visible(False)
    if ticks is not None:
        bar.set_ticks([at for at, _ in ticks], labels=[text for _, text in ticks])
    bar.ax.tick_params(colors=MUTED, labelsize=9, length=2)
    bar.set_label(label, color=MUTED, size=10)


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
    ax = axes_or_new(ax, 4.6, 4.0)
    square = values.shape[0] == values.shape[1]
    low, high = limits or off_diagonal_limits(values)
    shown = np.ma.masked_invalid(values)
    if square and not diagonal:
        shown = np.ma.array(shown, mask=np.ma.getmaskarray(shown) | np.eye(len(values), dtype=bool))
    image = ax.imshow(shown, cmap=SCORES, vmin=low, vmax=high, interpolation="nearest", aspect="equal")
    _name_rows(ax, labels)
    for spine in ax.spines.values():
        spine.set_visible(False)
    set_title(ax, title)
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
    ticks: Ticks | None = None,
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
    ticks : sequence of (float, str), optional
        Values to be named beside the colour bar.
    figure : matplotlib.figure.Figure, optional
        Draw into this figure instead of a new pyplot figure.

    Returns
    -------
    ndarray of Axes, shape (len(matrices),)

    Raises
    ------
    ValueError
        If there is no map.

    Examples
    --------
    >>> import numpy as np
    >>> from matplotlib.figure import Figure
    >>> from primeattn import plot
    >>> axes = plot.score_maps({"one": np.eye(3), "two": np.full((3, 3), 0.5)}, figure=Figure())
    >>> [ax.images[0].get_clim() for ax in axes]  # shared
    [(0.0, 0.5), (0.0, 0.5)]
    """
    if not matrices:
        raise ValueError("matrices is empty: give at least one map, e.g. {'kernel': K}")
    need_matplotlib()
    limits = limits or off_diagonal_limits(*matrices.values())
    columns = min(columns, len(matrices))
    rows = -(-len(matrices) // columns)
    size = (3.7 * columns + 0.9, 3.6 * rows)
    if figure is None:
        from matplotlib import pyplot

        figure = pyplot.figure(figsize=size, layout="constrained")
    else:
        figure.set_size_inches(*size)
    grid = figure.subplots(rows, columns, squeeze=False)
    axes = list(grid.flat)
    for ax, (title, matrix) in zip(axes, matrices.items(), strict=False):
        first = ax in grid[:, 0]
        score_map(matrix, ax=ax, labels=labels if first else None, limits=limits, colorbar=False)
        set_title(ax, title, parse_math=False)
    for ax in axes[len(matrices) :]:
        ax.set_visible(False)
    _bar(axes[0].images[0], axes, colorbar_label, ticks, 0.03)
    return np.array(axes[: len(matrices)])


def mirror_map(
    below,
    above,
    *,
    ax: Axes | None = None,
    labels: Sequence[str] | None = None,
    names: tuple[str, str] = ("below", "above"),
    marked: Sequence[tuple[int, int]] = (),
    colorbar_label: str = "rank",
    ticks: Ticks | None = None,
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
    colorbar_label : str
    ticks : sequence of (float, str), optional
        Values to be named beside the colour bar.

    Returns
    -------
    Axes

    Examples
    --------
    >>> import numpy as np
    >>> from matplotlib.figure import Figure
    >>> from primeattn import plot
    >>> ax = plot.mirror_map(np.zeros((2, 2)), np.ones((2, 2)), ax=Figure().subplots())
    >>> ax.images[0].get_array().data.tolist()
    [[0.0, 1.0], [0.0, 0.0]]
    """
    lower, upper = _matrix(below, "below"), _matrix(above, "above")
    if lower.shape != upper.shape or lower.shape[0] != lower.shape[1]:
        raise ValueError(f"below has shape {lower.shape} and above {upper.shape}: two equal square maps are wanted")
    labels = _labels_of(below, labels)
    ax = axes_or_new(ax, 5.6, 5.2)
    both = np.tril(lower, -1) + np.triu(upper, 1)
    image = ax.imshow(
        np.ma.array(both, mask=np.eye(len(both), dtype=bool)), cmap=SCORES, vmin=0, vmax=1, interpolation="nearest"
    )
    _name_rows(ax, labels)
    for spine in ax.spines.values():
        spine.set_visible(False)
    for number, (i, j) in enumerate(marked, 1):
        for row, column in ((max(i, j), min(i, j)), (min(i, j), max(i, j))):
            ax.scatter([column], [row], s=110, facecolors="none", edgecolors="white", linewidths=2.6)
            ax.scatter([column], [row], s=110, facecolors="none", edgecolors=ACCENT, linewidths=1.6)
        box = {"boxstyle": "round,pad=0.15", "facecolor": ACCENT, "edgecolor": "none"}
        look: dict[str, Any] = {"color": "white", "size": 9, "weight": "bold", "bbox": box}
        ax.annotate(str(number), (min(i, j), max(i, j)), (7, 7), textcoords="offset points", **look)
    ax.set_title(f"above: {names[1]}", loc="right", size=11, color=INK, pad=8, parse_math=False)
    ax.set_xlabel(f"below: {names[0]}", loc="left", size=11, color=INK, labelpad=8, parse_math=False)
    _bar(image, ax, colorbar_label, ticks)
    return ax
