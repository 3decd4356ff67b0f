"""The HTML page: findings in, one self-contained string out. Knows no mathematics."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Sequence
from importlib import resources
from typing import Any

import numpy as np

from ..plot import files as figures
from .export import plain, versions
from .finding import Finding
from .material import Material
from .ranking import ordinal, pair_values, place_ticks
from .sections import SECTIONS
from .wording import scientific, sentence

EXPLORED = 300  # passages; beyond, the page would grow past a few megabytes
_SHORT = {
    "closest": "Pairs",
    "differing": "Disagreement",
    "maps": "Maps",
    "neighbours": "Neighbours",
    "synchrony": "Synchrony",
    "positivity": "Spectra",
    "sparsity": "Sparsity",
    "cost": "Cost",
    "mechanisms": "Mechanisms",
    "speed": "Speed",
    "learning": "Learning",
}


def size(nbytes: float) -> str:
    """Bytes for people, in powers of 1000."""
    for unit in ("B", "kB", "MB"):
        if nbytes < 1000:
            return f"{nbytes:.3g} {unit}" if unit != "B" else f"{nbytes:.0f} B"
        nbytes /= 1000
    return f"{nbytes:.3g} GB"


def amount(number: float) -> str:
    """A count for people: 12,345 or 3.4 million."""
    if number >= 1e9:
        return f"{number / 1e9:.3g} billion"
    return f"{number / 1e6:.3g} million" if number >= 1e6 else f"{number:,.0f}"


def duration(ms: float) -> str:
    return f"{ms:.3g} ms" if ms < 1000 else f"{ms / 1000:.3g} s"


def share(value: float) -> str:
    return f"+{value:.3f}" if value >= 0.0005 else "+0.000"


def listed(words: Sequence[str]) -> str:
    """A few words of many."""
    return ", ".join(words[:3]) + (", …" if len(words) > 3 else "") if words else "–"


FILTERS = {
    "place": ordinal,
    "exponent": scientific,
    "bytes": size,
    "count": amount,
    "milliseconds": duration,
    "share": share,
    "words": listed,
    "sentence": sentence,
    "score": lambda x: f"{x:.3f}",
    "plainly": lambda x: "–" if math.isnan(x) else f"{x:.2f}".replace("-", "−"),
    "percent": lambda x: f"{x:.0%}",
}


def _environment():
    try:
        import jinja2
        from markupsafe import Markup
    except ImportError:
        raise ImportError('the report needs Jinja2: pip install "primeattn[report]"') from None
    folder = resources.files(__package__)
    loader = jinja2.FunctionLoader(lambda name: folder.joinpath(name).read_text("utf-8"))
    environment = jinja2.Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters.update(FILTERS, script_data=lambda content: Markup(script_data(content)))
    environment.globals.update(
        asset=lambda name: Markup(folder.joinpath(name).read_text("utf-8")),
        witness_rows=lambda w: sorted(zip(w.members, w.coefficients, strict=True), key=lambda row: -abs(row[1]))[:8],
    )
    return environment


def _packed(values: np.ndarray) -> dict:
    """Scores of pairs as 16-bit steps of the largest, for the script."""
    top = float(values.max(initial=0.0))
    steps = np.round(np.clip(values, 0, None) / top * 65535) if top > 0 else np.zeros(len(values))
    return {"top": top, "values": base64.b64encode(steps.astype("<u2").tobytes()).decode()}


def script_data(content) -> str:
    """JSON that is safe inside a script element."""
    text = json.dumps(plain(content), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", " ")


def explorer(material: Material) -> str:
    """What the script needs to explain any pair, as JSON."""
    lead = material.lead_view
    parts = lead.components(material) if lead.components else {}
    # one row a passage: prime, number of places, start, stop, start, stop, ...
    marks = [
        [
            number
            for prime in features
            for where in [material.prime_spans(i, prime)]
            for number in (prime, len(where), *(edge for span in where for edge in span))
        ]
        for i, features in enumerate(material.features)
    ]
    content = {
        "titles": [p.title for p in material.passages],
        "places": [p.place for p in material.passages],
        "texts": [p.text for p in material.passages],
        "views": [
            {
                "short": v.short,
                "lead": v.name == lead.name,
                "tone": material.tones[v.name],
                "scores": _packed(pair_values(material.scores(v.name))),
            }
            for v in material.views.values()
        ],
        "parts": [{"name": name, "scores": _packed(pair_values(matrix))} for name, matrix in parts.items()],
        "marks": marks,
    }
    return script_data(content)


def _labels(documents: Sequence[str]) -> list[tuple[int, int, str]]:
    """Runs of passages of one document that are long enough to be named beside the map."""
    edges = [i for i in range(len(documents)) if i == 0 or documents[i] != documents[i - 1]]
    runs = [(a, b, documents[a]) for a, b in zip(edges, [*edges[1:], len(documents)], strict=True)]
    return [run for run in runs if run[1] - run[0] >= 0.026 * len(documents)] if len(runs) > 1 else []


def _images(name: str, finding: Finding) -> dict[str, Any]:
    """Pixel maps of a section, as data URIs."""
    if name == "opening":
        both = np.tril(finding.shown["below"], -1) + np.triu(finding.shown["above"], 1)
        return {"mirror": figures.pixels(both, (0.0, 1.0))}
    if "levels" in finding.shown:
        shown = finding.shown
        limits = -shown["reach"], shown["reach"]
        return {
            mechanism: figures.tiles(level, limits, shown["negative"][mechanism])
            for mechanism, level in shown["levels"].items()
        }
    return {
        reading["name"]: {view: figures.pixels(matrix, reading["limits"]) for view, matrix in reading["maps"].items()}
        for reading in finding.shown.get("readings", ())
    }


class Page:
    """Renders sections as they come, and remembers what it has rendered."""

    def __init__(self, material: Material):
        self.material = material
        self.environment = _environment()
        self.rendered: list[tuple[Any, Any]] = []

    def add(self, section, finding: Finding) -> None:
        """Render one section."""
        from markupsafe import Markup

        svgs = {
            name: Markup(picture.svg(f"{section.name}-{name}"))
            for name, picture in finding.pictures.items()
            if picture.page
        }
        body = self.environment.get_template(section.template).render(
            section=section,
            finding=finding,
            material=self.material,
            views=self.material.views,
            svgs=svgs,
            images=_images(section.name, finding),
            labels=_labels(self.material.documents),
            ticks=place_ticks(len(self.material))[1:-1],
        )
        self.rendered.append((section, Markup(body)))

    def html(self, files: Sequence[tuple[str, str]] = ()) -> str:
        """The whole page, with what has been added so far."""
        from markupsafe import Markup

        material = self.material
        done = {section.name for section, _ in self.rendered}
        folder = resources.files(__package__)
        about = {name: value for name, value in material.about.items() if name not in ("title", "command", "hint")}
        about["versions"] = ", ".join(f"{name} {number}" for name, number in versions().items())
        return self.environment.get_template("page.html.j2").render(
            material=material,
            views=material.views,
            rendered=self.rendered,
            pending=[s.title for s in SECTIONS if s.wanted(material) and s.name not in done],
            short_titles=_SHORT,
            css=Markup(folder.joinpath("page.css").read_text("utf-8")),
            js=Markup(folder.joinpath("page.js").read_text("utf-8")),
            gradient=figures.gradient(),
            explorer=Markup(explorer(material)) if len(material) <= EXPLORED else "",
            about=[(name.replace("_", " "), value) for name, value in about.items()],
            files=files,
        )
