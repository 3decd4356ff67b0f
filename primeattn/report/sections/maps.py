"""All views as maps, read three ways: scores, ranks, attention weights; each reading on one shared scale."""

from __future__ import annotations

import numpy as np

from ..finding import Finding, Picture
from ..material import Material
from ..measures import attended, row_softmax
from ..ranking import rank_matrix


def find(material: Material) -> Finding:
    """Compute attention maps and pack each reading with its colour limits."""
    from ... import plot

    n, views = len(material), material.views
    scores = {name: material.scores(name) for name in views}
    ranks = {name: rank_matrix(matrix) for name, matrix in scores.items()}
    weights = {name: row_softmax(matrix, material.temperature) for name, matrix in scores.items()}
    # log2 of weight over uniform: 0 is indifference, +1 is twice the even share
    lean = {name: np.log2(np.maximum(w * n, 2.0**-20)) for name, w in weights.items()}
    effective = {name: attended(w) for name, w in weights.items()}
    off = ~np.eye(n, dtype=bool)
    reach = max(1e-6, *(float(np.abs(x[off]).max()) for x in lean.values()))

    readings = [
        {
            "name": "scores",
            "title": "Scores as they are",
            "note": "One scale for all views. How large the numbers are is part of what a view is.",
            "maps": scores,
            "limits": plot.off_diagonal_limits(*scores.values()),
            "ends": ("{:.2f}", "{:.2f}"),
        },
        {
            "name": "ranks",
            "title": "The same, by rank",
            "note": "Each pair's place among all pairs of its view, so that only the order counts.",
            "maps": ranks,
            "limits": (0.0, 1.0),
            "ends": ("weakest pair", "strongest pair"),
        },
        {
            "name": "attention",
            "title": f"As attention, temperature {material.temperature:g}",
            "note": "Softmax over each row: how much the passage of that row would look at every other one, "
            "as a multiple of an even share.",
            "maps": lean,
            "limits": (-reach, reach),
            "ends": ("× 2^{:.1f}", "× 2^{:.1f}"),
        },
    ]

    def draw(figure, reading):
        plot.score_maps(
            {views[name].title: m for name, m in reading["maps"].items()},
            labels=material.documents,
            limits=reading["limits"],
            colorbar_label=reading["title"].lower(),
            figure=figure,
        )

    pictures = {
        f"maps_{reading['name']}": Picture(
            lambda figure, reading=reading: draw(figure, reading),
            f"{len(views)} maps of all pairs of passages side by side: {reading['title'].lower()}.",
            10,
            8.6,
            page=False,
        )
        for reading in readings
    }
    dims = ("view", "passage", "other_passage")
    return Finding(
        facts={
            "temperature": material.temperature,
            "attended": {name: float(np.median(x)) for name, x in effective.items()},
            "mean_score": {name: float(matrix[off].mean()) for name, matrix in scores.items()},
        },
        arrays={
            "score": (dims, np.stack(list(scores.values())), {"long_name": "score of a pair of passages"}),
            "attention": (
                dims,
                np.stack(list(weights.values())),
                {"long_name": "row softmax of the scores", "temperature": material.temperature},
            ),
            "attended": (
                ("view", "passage"),
                np.stack(list(effective.values())),
                {"long_name": "effective number of passages attended to (exp of the entropy)"},
            ),
        },
        pictures=pictures,
        shown={"readings": readings},
    )
