"""Compute section after section, and leave a usable report on disk after each of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from .._runtime.files import write_whole
from . import export
from .finding import Finding
from .material import Material
from .page import Page
from .sections import SECTIONS, Section
from .sections.opening import first_picture

PAGE, SUMMARY, DATA = "index.html", "summary.json", "report.nc"


def _nothing(*_):
    pass


def _found(section: Section, material: Material, on_section: Callable, number: int, total: int) -> Finding:
    """The section's finding; a long one says what it is doing in place of its title."""
    if section.tells:
        return section.compute(material, lambda what: on_section(what, number, total))
    return section.compute(material)


def write(
    material: Material,
    folder,
    *,
    on_file: Callable[[Path], object] = _nothing,
    on_section: Callable[[str, int, int], object] = _nothing,
) -> Path:
    """Write the report: ``index.html``, PNG figures, ``report.nc`` and ``summary.json``.

    Parameters
    ----------
    material : Material
    folder : path-like
        Made if it does not exist; files of the same names are replaced, others are left alone.
    on_file : callable(Path)
        Called with each finished file; the first is the map of all pairs.
    on_section : callable(title, done, total)
        Called before each section, and before each step of a long one.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    ImportError
        If an extra is missing; the message names the line that installs it.
    OSError
        If the folder cannot be written.

    Notes
    -----
    Every file is written whole or not at all, section by section. An interruption leaves a page that holds the
    finished sections and says which ones are missing.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    begin = time.perf_counter()
    page, findings = Page(material), {}
    sections = [section for section in SECTIONS if section.wanted(material)]
    finished: list[tuple[str, str]] = []

    def file(name: str, content: bytes | str, meaning: str) -> None:
        write_whole(folder / name, content)
        if meaning and (name, meaning) not in finished:
            finished.append((name, meaning))
        on_file(folder / name)

    on_section("First picture", 0, len(sections))
    file("map.png", first_picture(material).png(), "")
    material.seconds["first picture"] = time.perf_counter() - begin
    for number, section in enumerate(sections):
        on_section(section.title or "Summary", number, len(sections))
        start = time.perf_counter()
        finding = _found(section, material, on_section, number, len(sections))
        findings[section.name] = finding
        for name, picture in finding.pictures.items():
            if picture.file:
                file(f"{name}.png", picture.png(), "")
        page.add(section, finding)
        material.seconds[section.name] = time.perf_counter() - start
        write_whole(folder / PAGE, page.html(finished))
    on_section("Files", len(sections), len(sections))
    export.netcdf(material, findings, folder / DATA)
    finished.append((DATA, "every matrix, for xarray.open_dataset"))
    on_file(folder / DATA)
    material.seconds["total"] = time.perf_counter() - begin
    file(SUMMARY, export.summary(material, findings), "every number")
    file(PAGE, page.html(finished), "")
    return folder / PAGE
