"""What a section of the report hands on: facts for JSON, arrays for netCDF, pictures, and matter for its template."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Picture:
    """A figure that can be drawn on request.

    ``draw(figure)`` fills a Matplotlib figure of ``width`` x ``height`` inches; ``alt`` says in words what
    it shows. ``page``: embedded in the HTML; ``file``: written as PNG.
    """

    draw: Callable[[Any], None]
    alt: str
    width: float = 4.0
    height: float = 2.7
    page: bool = True
    file: bool = True

    def png(self) -> bytes:
        """As a PNG."""
        from ..plot import files

        return files.png(self.draw, self.width, self.height)

    def svg(self, name: str) -> str:
        """As SVG for the page, with ids that begin with ``name``."""
        from ..plot import files

        safe = re.sub(r"\W", "-", name)
        return files.svg(self.draw, self.width, self.height, name=safe, alt=self.alt)


@dataclass
class Finding:
    """The outcome of one section.

    Attributes
    ----------
    facts : dict
        JSON-ready: numbers, strings, lists, dicts.
    arrays : dict of str to (dims, ndarray, attributes)
        Variables of the netCDF file.
    pictures : dict of str to Picture
    shown : dict
        Python objects for the template only.
    """

    facts: dict = field(default_factory=dict)
    arrays: dict[str, tuple[tuple[str, ...], np.ndarray, dict]] = field(default_factory=dict)
    pictures: dict[str, Picture] = field(default_factory=dict)
    shown: dict = field(default_factory=dict)
