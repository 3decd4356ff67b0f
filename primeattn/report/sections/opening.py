"""The first thing on the page: three sentences and one picture."""

from __future__ import annotations

import numpy as np

from ..finding import Finding, Picture
from ..material import Material
from ..measures import neighbours
from ..ranking import agreement, pair_at, pair_values, place_ticks, prominence, ranks, strongest, symmetric
from ..spectra import NEGATIVE, ROUNDING, Spectrum
from ..wording import scientific

MARKED = 3


def _count(number: int, singular: str, plural: str | None = None) -> str:
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def what(material: Material) -> str:
    """Sentence one: what is on the page."""
    documents = len(set(material.documents))
    where = f" from {_count(documents, 'document')}" if documents > 1 else ""
    active = int(np.median(np.diff(material.states.indptr)))
    return (
        f"You see {_count(len(material), 'passage')}{where}: each became a set of about {_count(active, 'prime')}, "
        f"one for every telling word or part of a word, with an angle and a rotation for where it stands, and each "
        f"pair of passages got a score for how well the two sets resonate."
    )


def outcome(material: Material) -> str:
    """Sentence two: what came out, beside the baseline."""
    lead, baseline = material.lead_view, material.baseline_view
    if lead.name == baseline.name:
        return f"The passages are compared by {lead.title}, the baseline itself."
    a, b = pair_values(material.scores(lead.name)), pair_values(material.scores(baseline.name))
    if len(a) < 10:
        return f"With {_count(len(a), 'pair')} there is little to rank; all scores stand side by side below."
    both = agreement(a, b)
    verb = "is" if both.shared == 1 else "are"
    text = (
        f"Of the {both.top} closest pairs by the {lead.title}, {both.shared} {verb} also among the {both.top} closest "
        f"by {baseline.title} (chance would give {both.expected:.0f})"
    )
    mine, other = (neighbours(material.scores(v.name), material.documents) for v in (lead, baseline))
    if mine and other:
        close = (
            " (too few passages to call that a difference)" if 0 < abs(mine.first - other.first) <= mine.margin else ""
        )
        text += (
            f"; and a passage's nearest other passage comes from its own document in {mine.first:.0%} of all cases, "
            f"against {other.first:.0%} by {baseline.title}{close} and {mine.chance:.0%} by chance"
        )
    return text + "." + (_best(material) if mine and other else "")


def _best(material: Material) -> str:
    """Which view of the table finds most of its own document; nothing where no document can judge."""
    found = {name: neighbours(material.scores(name), material.documents) for name in material.views}
    first = {name: own.first for name, own in found.items() if own}
    if len(first) < 2:
        return ""
    most = max(first.values())
    names = [material.views[name].title for name, value in first.items() if value == most]
    if len(names) == len(first):
        return f" All {len(first)} views find it equally often."
    together = " and ".join((", ".join(names[:-1]), names[-1])) if len(names) > 1 else names[0]
    verb = "find" if len(names) > 1 else "finds"
    own = found[material.lead]
    doubt = ", by less than so few passages can prove" if own and 0 < most - own.first <= own.margin else ""
    return f" Of all {len(first)} views the {together} {verb} it most often: in {most:.0%}{doubt}."


def _smallest(found: Spectrum) -> str:
    if found.verdict == ROUNDING:
        return "smallest eigenvalue zero within rounding"
    return f"smallest eigenvalue {scientific(found.smallest, 2)}"


def verdict(material: Material, spectra: dict[str, Spectrum]) -> str:
    """Sentence three: positive semi-definiteness, of the lead and of the views that do not have it."""
    lead = material.lead_view
    found = spectra[lead.name]
    if lead.claim.holds:
        first = (
            f"The {lead.title} is positive semi-definite, so it is a true inner product: by proof, and on this text "
            f"({_smallest(found)})"
        )
    elif found.verdict == NEGATIVE:
        least = scientific(found.smallest, 2)
        first = f"The {lead.title} is not positive semi-definite: its smallest eigenvalue here is {least}"
    else:
        first = (
            f"The {lead.title} is not positive semi-definite in general, although no eigenvalue is negative here "
            f"(smallest {scientific(found.smallest, 2)})"
        )
    for view in material.views.values():
        if view.claim.holds or view.name == lead.name:
            continue
        found = spectra[view.name]
        if found.verdict == NEGATIVE:
            below = _count(found.negative, "eigenvalue")
            first += f"; the {view.title} is not: {below} of {len(material)} below zero here"
        else:
            first += f"; the {view.title} is not in general, though nothing on this text shows it"
    return first + "."


def _shown(material: Material) -> tuple[list[tuple[int, int]], np.ndarray, np.ndarray]:
    """The closest pairs, and the two halves of the map."""
    n = len(material)
    mine, other = (pair_values(material.scores(v.name)) for v in (material.lead_view, material.baseline_view))
    top = [pair_at(int(flat), n) for flat in strongest(mine, MARKED) if mine[flat] > 0]
    return top, symmetric(prominence(mine), n), symmetric(prominence(other), n)


def _alt(material: Material) -> str:
    return (
        f"A square map of all pairs of {len(material)} passages. Below the diagonal: the {material.lead_view.title}; "
        f"above it: the {material.baseline_view.title}. Bright cells are close pairs; the more the picture is its own "
        f"mirror image, the more the two agree."
    )


def first_picture(material: Material) -> Picture:
    """The map of all pairs, from two views only: on disk before anything else is computed."""
    top, below, above = _shown(material)
    names = material.lead_view.heading, material.baseline_view.heading

    def draw(figure):
        from ... import plot

        ax = figure.subplots()
        plot.mirror_map(
            below,
            above,
            ax=ax,
            labels=material.documents,
            names=names,
            marked=top,
            colorbar_label="place of the pair within its view",
            ticks=place_ticks(len(material)),
        )

    return Picture(draw, _alt(material), 7.2, 6.4, page=False)


def find(material: Material) -> Finding:
    """Rank the pairs of both views, and say what the rest of the page shows in detail."""
    n = len(material)
    top, below, above = _shown(material)
    spectra = {name: material.spectrum(name) for name in material.views}
    rank = np.stack([symmetric(ranks(pair_values(material.scores(name))), n) for name in material.views])
    sentences = [what(material), outcome(material), verdict(material, spectra)]
    if "hint" in material.about:
        sentences.append(material.about["hint"])
    return Finding(
        facts={"sentences": sentences, "strongest_pairs": top},
        arrays={
            "rank": (
                ("view", "passage", "other_passage"),
                rank.astype(np.float32),
                {"long_name": "rank of the pair within its view, 0 weakest to 1 strongest"},
            ),
        },
        shown={"top": top, "below": below, "above": above, "alt": _alt(material)},
    )
