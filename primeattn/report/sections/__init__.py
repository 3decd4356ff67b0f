"""The sections of the report, in the order of the page. A new section is one more entry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..finding import Finding
from ..material import Material
from . import cost, learning, maps, mechanisms, neighbours, opening, pairs, positivity, sparsity, speed, synchrony


@dataclass(frozen=True)
class Section:
    """One section.

    Attributes
    ----------
    name : str
        Anchor on the page, key in the JSON summary.
    title : str
        Heading.
    question : str
        What the section answers, in one sentence, under the heading.
    compute : callable(Material) -> Finding
        Everything that costs time; knows nothing of HTML.
    tells : bool
        ``compute`` takes a second argument, ``say``, a callable that is told what is being done: it takes long.
    wanted : callable(Material) -> bool
        Whether the material asks for the section.
    template : str
        File in ``report/`` that renders the finding; it sees ``finding``, ``section``, ``material``, ``views``.
    """

    name: str
    title: str
    question: str
    compute: Callable[..., Finding]
    template: str
    tells: bool = False
    wanted: Callable[[Material], bool] = lambda material: True


SECTIONS: tuple[Section, ...] = (
    Section("opening", "", "", opening.find, "opening.html.j2"),
    Section(
        "closest",
        "Which passages resonate, and why",
        "The closest pairs, what their score is made of, and the words they share.",
        pairs.closest,
        "pairs.html.j2",
    ),
    Section(
        "differing",
        "Where the views disagree",
        "The same pairs, ordered by two measures: where do they part, and what did each of them see?",
        pairs.differing,
        "differing.html.j2",
    ),
    Section(
        "maps",
        "All views, side by side",
        "Each square holds all pairs; rows and columns are the passages in the order of the text.",
        maps.find,
        "maps.html.j2",
    ),
    Section(
        "neighbours",
        "Does it find what belongs together?",
        "Passages of one document should be close to one another; no view is told which is which.",
        neighbours.find,
        "neighbours.html.j2",
    ),
    Section(
        "synchrony",
        "Do they fall into step?",
        "Let every passage be an oscillator that is pulled by the others as strongly as they score.",
        synchrony.find,
        "synchrony.html.j2",
    ),
    Section(
        "positivity",
        "Is it a true inner product?",
        "A score that has no negative eigenvalue on any input is a kernel: distances and projections follow. Attention "
        "in linear time asks for more, a finite feature map, which is named where a view has one. One negative "
        "eigenvalue refutes a kernel.",
        positivity.find,
        "positivity.html.j2",
    ),
    Section(
        "sparsity",
        "How sparse the states are",
        "Few primes in a passage make the sum behind each score short. How many scores are 0 is another question.",
        sparsity.find,
        "sparsity.html.j2",
    ),
    Section(
        "cost",
        "What it costs",
        "Measured on this machine, on this text, for all pairs; compilation is not included.",
        cost.find,
        "cost.html.j2",
    ),
    Section(
        "mechanisms",
        "Attention, mechanism by mechanism",
        "The same words, once for every mechanism: where does each of them look?",
        mechanisms.find,
        "mechanisms.html.j2",
        wanted=lambda material: bool(material.mechanisms),
    ),
    Section(
        "speed",
        "What the mechanisms cost",
        "Measured on this machine, on the words of this text.",
        speed.find,
        "speed.html.j2",
        tells=True,
        wanted=lambda material: bool(material.mechanisms),
    ),
    Section(
        "learning",
        "What they learn",
        "Small models learn this text byte by byte, one with each mechanism: how many bits does the next byte cost?",
        learning.find,
        "learning.html.j2",
        tells=True,
        wanted=lambda material: material.training > 0 and bool(material.mechanisms),
    ),
)
