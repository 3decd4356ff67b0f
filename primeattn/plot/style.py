"""Ink, axes without boxes, ticks in plain figures: what all figures look like."""

from __future__ import annotations

import numpy as np

INK, MUTED, RULE, ACCENT, FAINT = "#22211e", "#6f6b63", "#d8d4ca", "#c8430a", "#a9a499"
# Apart for every kind of colour-blindness, by lightness where hues meet (tests/test_plot.py simulates them).
BLUE, GREEN, VIOLET, BROWN = "#03476c", "#0e998a", "#cf3dc5", "#665130"
TONES = ACCENT, INK, BLUE, GREEN, VIOLET, BROWN  # of curves that stand for one thing each; the first is the subject
SCORES = "viridis"


def tone(number: int) -> str:
    """Colour of number 0 (the subject), 1, 2, ...; all but the first come round again."""
    return TONES[number] if number < 1 else TONES[1 + (number - 1) % (len(TONES) - 1)]


def need_matplotlib() -> None:
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise ImportError('figures need Matplotlib: pip install "primeattn[report]"') from None


def axes_or_new(ax, width: float = 4.2, height: float = 3.4):
    need_matplotlib()
    if ax is not None:
        return ax
    from matplotlib import pyplot

    return pyplot.subplots(figsize=(width, height), layout="constrained")[1]


def plain_axes(ax, *, grid: str | None = None) -> None:
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


def decimal(value: float, _place=None) -> str:
    """A tick in plain figures, or as a power of ten; Matplotlib's own would call TeX's grammar for each."""
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:,g}".replace("-", "−")
    exponent = round(np.log10(abs(value)))
    return ("−" if value < 0 else "") + "10" + str(exponent).translate(_SUPERSCRIPT)


def plain_decades(axis) -> None:
    """Label the ticks of a logarithmic axis in plain figures."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    axis.set_major_formatter(FuncFormatter(decimal))
    axis.set_minor_formatter(NullFormatter())


def show_as_it_is(legend) -> None:
    """Names come from data: a dollar sign in one begins no formula."""
    for text in legend.get_texts():
        text.set_parse_math(False)


def set_title(ax, title: str | None, **look) -> None:
    if title:
        ax.set_title(title, loc="left", size=11, color=INK, pad=8, **look)
