"""From a drawing to PNG, to SVG that takes a page's theme, and from a matrix to pixels."""

from __future__ import annotations

import base64
import contextlib
import io
import re
import warnings
from collections.abc import Callable
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from . import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Draw = Callable[["Figure"], object]

# Colours that follow the page's light or dark theme; everything else in a figure keeps its value.
_THEMED = ("INK", "MUTED", "RULE", "ACCENT", "FAINT", "BLUE", "GREEN", "VIOLET", "BROWN")
_DPI = 160


def _drawn(draw: Draw, width: float, height: float):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    # long labels at the edge need more room than the default
    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.06)
    figure = Figure(figsize=(width, height), layout=layout)
    FigureCanvasAgg(figure)
    draw(figure)
    return figure


@contextlib.contextmanager
def _plain():
    """Names of files and of views as they are: a dollar sign begins no formula, a letter without a glyph is a box."""
    import matplotlib

    with matplotlib.rc_context({"text.parse_math": False}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        yield


def png(draw: Draw, width: float, height: float) -> bytes:
    """What ``draw(figure)`` draws on a figure of so many inches, as a PNG on white."""
    stream = io.BytesIO()
    style.need_matplotlib()
    with _plain():
        _drawn(draw, width, height).savefig(stream, format="png", dpi=_DPI, facecolor="white")
    return stream.getvalue()


def svg(draw: Draw, width: float, height: float, *, name: str, alt: str) -> str:
    """The same as SVG for a page: text as text, colours as CSS variables, as wide as its container.

    Parameters
    ----------
    draw : callable(Figure)
    width, height : float
        Inches; only their ratio, and the size of the text against them, matter.
    name : str
        Prefix of all ids, which must be unique in the page.
    alt : str
        What a reader who sees no picture is told.

    Returns
    -------
    str
    """
    style.need_matplotlib()
    import matplotlib

    stream = io.StringIO()
    with _plain(), matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure = _drawn(draw, width, height)
        figure.savefig(stream, format="svg", transparent=True, dpi=_DPI, metadata={"Date": None, "Creator": None})
    text = re.sub(r"<metadata>.*?</metadata>", "", stream.getvalue(), flags=re.S)
    for color in _THEMED:
        text = text.replace(getattr(style, color).lower(), f"var(--{color.lower()})")
    # Matplotlib 3.11 writes font-size and font-family, earlier ones the shorthand
    text = re.sub(r"font: ([\d.]+px)[^;\"]*", r"font-size: \1; font-family: var(--sans)", text)
    text = re.sub(r"font-family: '[^;\"]*", "font-family: var(--sans)", text)
    text = re.sub(r"<style.*?</style>", "", text, flags=re.S)  # it would hold for the whole page
    text = re.sub(r'id="([^"]+)"', rf'id="{name}-\1"', text)
    text = re.sub(r"(url\(#|href=\"#)", rf"\1{name}-", text)
    start = text.index("<svg")
    stop = text.index(">", start) + 1
    view = f'viewBox="{text[start:stop].partition("viewBox=")[2].split(chr(34))[1]}"'
    spaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    told = escape(alt, quote=True)
    return f'<svg {view} {spaces} style="stroke-linejoin:round" role="img" aria-label="{told}">{text[stop:]}'


def pixels(matrix: np.ndarray, limits: tuple[float, float], *, largest: int = 400) -> str:
    """A matrix as a data URI: one pixel a cell, transparent diagonal; cells are averaged beyond ``largest``."""
    from matplotlib import colormaps, image

    values = np.array(matrix, dtype=float)
    np.fill_diagonal(values, np.nan)
    low, high = limits
    step = -(-len(values) // largest)
    if step > 1:
        edges = np.arange(0, len(values), step)
        known = np.add.reduceat(np.add.reduceat((~np.isnan(values)).astype(float), edges, 0), edges, 1)
        values = np.add.reduceat(np.add.reduceat(np.nan_to_num(values), edges, 0), edges, 1)
        with np.errstate(invalid="ignore"):
            values = values / np.where(known > 0, known, np.nan)
    colors = colormaps[style.SCORES](np.clip((values - low) / (high - low), 0, 1), bytes=True)
    colors[np.isnan(values)] = 0
    stream = io.BytesIO()
    image.imsave(stream, colors, format="png")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()


def tiles(matrix: np.ndarray, limits: tuple[float, float], dotted: np.ndarray) -> str:
    """A small matrix as a data URI: nine by nine pixels a cell, with a white dot in the cells that are ``dotted``."""
    from matplotlib import colormaps, image

    low, high = limits
    colors = colormaps[style.SCORES](np.clip((matrix - low) / (high - low), 0, 1), bytes=True)
    colors = colors.repeat(9, axis=0).repeat(9, axis=1)
    row, column = np.nonzero(dotted)
    for step in np.ndindex(3, 3):
        colors[9 * row + 3 + step[0], 9 * column + 3 + step[1]] = 255
    stream = io.BytesIO()
    image.imsave(stream, colors, format="png")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()


def gradient() -> str:
    """The score colours as CSS stops."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    return ", ".join(to_hex(colormaps[style.SCORES](x)) for x in np.linspace(0, 1, 9))
