"""The closest pairs and why; and the pairs on which the lead view and the baseline differ most."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

import numpy as np

from ..finding import Finding, Picture
from ..highlight import marked
from ..material import Material
from ..ranking import agreements, disagreements, pair_at, pair_values, place_of, places, strongest
from ..views import Shared

CLOSEST, ACROSS, DIFFERING = 6, 4, 4
CHIPS = 18


@dataclass(frozen=True)
class Chip:
    """A word that two passages share, with all primes that lead to it, and what they add to the score."""

    label: str
    contribution: float
    primes: tuple[int, ...]
    words: tuple[str, ...] = ()


def chips(shared: Iterable[Shared]) -> list[Chip]:
    """Put the fragments of a shared word under that word; largest contribution first.

    A fragment of different words ("key…" in "keys" and "keyerror") stands by itself, with those words.
    """
    shared = list(shared)
    whole = {item.label for item in shared if not item.words}
    groups: dict[str, list[Shared]] = {}
    for item in shared:
        homes = sorted((word for word in item.words if word in whole), key=len)
        groups.setdefault(homes[-1] if homes else item.label, []).append(item)
    found = [
        Chip(
            label,
            sum(item.contribution for item in items),
            tuple(item.prime for item in items if item.prime is not None),
            () if label in whole else tuple(dict.fromkeys(word for item in items for word in item.words)),
        )
        for label, items in groups.items()
    ]
    return sorted(found, key=lambda chip: -chip.contribution)


class Explainer:
    """Builds what a card about one pair shows: scores and places in all views, parts, shared words, texts."""

    def __init__(self, material: Material):
        self.material = material
        self.values = {name: pair_values(material.scores(name)) for name in material.views}
        self.places = {name: places(values) for name, values in self.values.items()}
        lead = material.lead_view
        self.parts = lead.components(material) if lead.components else {}

    def card(self, i: int, j: int, *, shared_by: str | None = None) -> dict:
        material = self.material
        place = place_of(i, j, len(material))
        view = material.views[shared_by or material.lead]
        shared = view.shared(material, i, j) if view.shared else []
        return {
            "i": i,
            "j": j,
            "titles": [material.passages[k].title for k in (i, j)],
            "places": [material.passages[k].place for k in (i, j)],
            "scores": {name: float(values[place]) for name, values in self.values.items()},
            "from_top": {name: int(all_[place]) for name, all_ in self.places.items()},
            "parts": {part: float(matrix[i, j]) for part, matrix in self.parts.items()},
            "shared_count": len(shared),
            "shared_by": view.name,
            "explained": view.shared is not None,
            "shared": shared,
            "chips": chips(shared),
            "texts": [marked(material.passages[k].text, shared, side) for side, k in enumerate((i, j))],
            "active": [int(np.diff(material.states.indptr)[k]) for k in (i, j)],
        }

    def cards(self, places: Iterable[int], **options) -> list[dict]:
        return [self.card(*pair_at(int(place), len(self.material)), **options) for place in places]


def _fact(card: dict) -> dict:
    """A card without its texts, for JSON."""
    kept = {key: card[key] for key in ("i", "j", "titles", "places", "scores", "from_top", "parts", "shared_count")}
    return kept | {
        "shared": [{"label": x.label, "prime": x.prime, "contribution": x.contribution} for x in card["shared"][:CHIPS]]
    }


def closest(material: Material) -> Finding:
    """The strongest pairs of the lead view, all, and across documents."""
    explain = Explainer(material)
    values = explain.values[material.lead]
    order = strongest(values, len(values))
    order = order[values[order] > 0]
    first = explain.cards(order[:CLOSEST])
    documents = np.asarray(material.documents)
    i, j = np.triu_indices(len(material), 1)
    apart = order[documents[i[order]] != documents[j[order]]]
    listed = set(order[:CLOSEST].tolist())
    across = explain.cards([place for place in apart[: CLOSEST + ACROSS] if int(place) not in listed][:ACROSS])
    return Finding(
        facts={"strongest": [_fact(card) for card in first], "across_documents": [_fact(card) for card in across]},
        shown={"groups": [("", first), ("The closest pairs from two different documents", across)]},
    )


def differing(material: Material) -> Finding:
    """Agreement of every two views; and the pairs that one of lead and baseline puts far above the other."""
    views = material.views
    explain = Explainer(material)
    table = agreements(explain.values)
    lead, baseline = material.lead_view, material.baseline_view
    x, y = explain.values[lead.name], explain.values[baseline.name]
    more, less = disagreements(x, y, DIFFERING)
    higher = explain.cards(more)
    lower = explain.cards(less, shared_by=baseline.name if baseline.shared else None)

    def draw(figure):
        from ... import plot

        plot.agreement(x, y, ax=figure.subplots(), names=(lead.heading, baseline.heading), marked=[*more, *less])

    alt = (
        f"Scatter of {len(x):,} pairs: {lead.title} across, {baseline.title} upwards; rank correlation "
        f"{table[lead.name][baseline.name].spearman:.2f}. The pairs listed below are in the accent colour."
    )
    return Finding(
        facts={
            "agreement": {a: {b: asdict(table[a][b]) for b in views} for a in views},
            "higher_by_lead": [_fact(card) for card in higher],
            "higher_by_baseline": [_fact(card) for card in lower],
        },
        arrays={
            "spearman": (
                ("view", "other_view"),
                np.array([[table[a][b].spearman for b in views] for a in views]),
                {"long_name": "rank correlation of the scores of all pairs"},
            )
        },
        pictures={"agreement": Picture(draw, alt, 4.4, 3.7)},
        shown={
            "table": table,
            "groups": [
                (f"The {lead.title} puts these far above the {baseline.title}", higher),
                (f"The {baseline.title} puts these far above the {lead.title}", lower),
            ],
        },
    )
