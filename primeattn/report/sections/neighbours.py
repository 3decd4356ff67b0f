"""Does a view find what belongs together? The documents that passages come from are the judge."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np

from ..finding import Finding
from ..material import Material
from ..measures import neighbours


def find(material: Material) -> Finding:
    """Precision of nearest neighbours in every view; nothing when no document has two passages."""
    rows = []
    for name, view in material.views.items():
        found = neighbours(material.scores(name), material.documents)
        if found is None:
            return Finding(facts={"views": []})
        rows.append({"name": name, "title": view.heading, "margin": found.margin} | asdict(found))
    return Finding(
        facts={"views": rows},
        arrays={
            "nearest_in_same_document": (
                ("view",),
                np.array([row["first"] for row in rows]),
                {"long_name": "share of passages whose nearest other passage is of the same document"},
            )
        },
    )
