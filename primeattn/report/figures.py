"""From pictures to files and to what a page embeds: themed SVG for charts, pixel maps for matrices, PNG on disk."""

from __future__ import annotations

import base64
import io
import re

import numpy as np

from .finding import Picture

# Colours that follow the page's light or dark theme; everything else in a figure keeps its value.
_THEMED = ("INK", "MUTED", "RULE", "ACCENT", "FAINT")
_DPI = 160


def _figure(picture: Picture):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(picture.width, picture.height), layout="constrained")
    FigureCanvasAgg(figure)
    picture.draw(figure)
    return figure


def png(picture: Picture) -> bytes:
    """The picture as a PNG on white."""
    stream = io.BytesIO()
    _figure(picture).savefig(stream, format="png", dpi=_DPI, facecolor="white")
    return stream.getvalue()


def svg(picture: Picture, name: str) -> str:
    """The picture as an inline SVG: text as text, colours from the page's variables, width from its container."""
    import matplotlib

    from .. import plot

    stream = io.StringIO()
    figure = _figure(picture)
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(stream, format="svg", transparent=True, dpi=_DPI, metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    for color in _THEMED:
        text = text.replace(getattr(plot, color).lower(), f"var(--{color.lower()})")
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r"font: ([\d.]+px)[^;\"]*", r"font-size: \1; font-family: var(--sans)", text)
    head = text[: text.index(">") + 1]
    view = re.search(r'viewBox="[^"]*"', head).group()
    from html import escape

    label = escape(picture.alt, quote=True)
    ids = re.sub(r"\W", "-", name)
    text = f'<svg {view} role="img" aria-label="{label}" xmlns="http://www.w3.org/2000/svg" ' + (
        'xmlns:xlink="http://www.w3.org/1999/xlink">' + text[len(head) :]
    )
    # ids are unique within a figure only
    text = re.sub(r'id="([^"]+)"', rf'id="{ids}-\1"', text)
    return re.sub(r"(url\(#|href=\"#)", rf"\1{ids}-", text)


def pixels(matrix: np.ndarray, limits: tuple[float, float], *, largest: int = 400) -> str:
    """A matrix as a data URI: one pixel a cell, transparent diagonal; cells are averaged beyond ``largest``."""
    from matplotlib import colormaps, image

    from ..plot import SCORES

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
    colors = colormaps[SCORES](np.clip((values - low) / (high - low), 0, 1), bytes=True)
    colors[np.isnan(values)] = 0
    stream = io.BytesIO()
    image.imsave(stream, colors, format="png")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()


def gradient() -> str:
    """The score colours as CSS stops."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    from ..plot import SCORES

    return ", ".join(to_hex(colormaps[SCORES](x)) for x in np.linspace(0, 1, 9))
