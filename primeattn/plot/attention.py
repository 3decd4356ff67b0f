"""Attention maps of several mechanisms over the same tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .maps import _bar, _matrix
from .style import MUTED, SCORES, need_matplotlib, set_title


def columns_of(count: int) -> int:
    """Maps in a row, so that rows are full or nearly so."""
    return count if count <= 5 else 4 if count in (7, 8, 11, 12) else 3 if count in (6,) else 5


def attention_maps(
    weights: Mapping[str, Any],
    *,
    tokens: Sequence[str] | None = None,
    reach: float | None = None,
    figure=None,
) -> np.ndarray:
    """Draw the attention weights of several mechanisms, each a map of queries (down) and keys (across), on one scale.

    Colours are multiples of an even share 1 / T, in doublings: the middle of the scale is indifference, and one step
    up or down is twice or half as much, in every map. Signed weights show their magnitude, with a dot where negative.

    Parameters
    ----------
    weights : mapping of str to array_like, each of shape (Tq, Tk)
        Title -> weights.
    tokens : sequence of str, length Tk, optional
        Names, along the first map of every row and column.
    reach : float, optional
        Doublings from the middle to either end; default: up to the largest weight, at least 1, at most 5.
    figure : matplotlib.figure.Figure, optional
        Draw into this figure instead of a new pyplot figure.

    Returns
    -------
    ndarray of Axes, shape (len(weights),)

    Raises
    ------
    ValueError
        If there is no map, or maps differ in shape.

    Examples
    --------
    >>> import numpy as np
    >>> from matplotlib.figure import Figure
    >>> from primeattn import plot
    >>> axes = plot.attention_maps({"itself": np.eye(4), "all": np.full((4, 4), 0.25)}, figure=Figure())
    >>> [ax.images[0].get_clim() for ax in axes]  # a quarter of four is an even share, 1 is four times that
    [(-2.0, 2.0), (-2.0, 2.0)]
    """
    if not weights:
        raise ValueError("weights is empty: give at least one map, e.g. {'softmax': weights}")
    need_matplotlib()
    tables = {title: _matrix(table, title) for title, table in weights.items()}
    shapes = {table.shape for table in tables.values()}
    if len(shapes) > 1:
        raise ValueError(f"maps have shapes {sorted(shapes)}: give weights over the same tokens")
    queries, keys = shapes.pop()
    if reach is None:
        top = max(float(np.abs(table).max(initial=0)) for table in tables.values()) * keys
        reach = float(np.clip(np.log2(max(top, 1)), 1, 5))
    columns = min(columns_of(len(tables)), len(tables))
    rows = -(-len(tables) // columns)
    side = 1.6 if tokens is None else 2.2  # inches: names need room
    size = (side * columns + 1.1, (side + 0.25) * rows + 0.3)
    if figure is None:
        from matplotlib import pyplot

        figure = pyplot.figure(figsize=size, layout="constrained")
    else:
        figure.set_size_inches(*size)
    grid = figure.subplots(rows, columns, squeeze=False)
    axes = list(grid.flat)
    for place, (ax, (title, table)) in enumerate(zip(axes, tables.items(), strict=False)):
        level = np.log2(np.clip(np.abs(table) * keys, 2.0**-reach, 2.0**reach))
        ax.imshow(level, cmap=SCORES, vmin=-reach, vmax=reach, interpolation="nearest", aspect="equal")
        down, across = np.nonzero(table < 0)
        ax.scatter(across, down, s=40 / max(queries, keys), color="white", linewidths=0)
        ax.set_xticks([])
        ax.set_yticks([])
        if tokens is not None:
            if place % columns == 0 and queries == keys:
                ax.set_yticks(np.arange(queries), tokens, parse_math=False)
            if place < columns:
                ax.xaxis.tick_top()
                ax.set_xticks(np.arange(keys), tokens, rotation=90, parse_math=False)
        ax.tick_params(length=0, labelsize=8, colors=MUTED)
        for spine in ax.spines.values():
            spine.set_visible(False)
        set_title(ax, title, parse_math=False)
    for ax in axes[len(tables) :]:
        ax.set_visible(False)
    marks = [step for step in range(-int(reach), int(reach) + 1) if step % (2 if reach > 3 else 1) == 0]
    ticks = [(float(step), f"{2.0**step:g}") for step in marks]
    _bar(axes[0].images[0], axes[: len(tables)], "times an even share", ticks, 0.03)
    return np.array(axes[: len(tables)])
