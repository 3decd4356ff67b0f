"""All views as maps, read three ways: scores, ranks, attention weights; each reading on one shared scale."""

from __future__ import annotations

import numpy as np

from ..finding import Finding, Picture
from ..material import Material
from ..measures import attended, attention_to_others
from ..ranking import pair_values, place_ticks, prominence, symmetric

CLIP = 0.995  # share of pairs within the colour scale: a few twins would leave the rest in the dark


def find(material: Material) -> Finding:
    """Compute attention maps and pack each reading with its colour limits."""
    from ... import plot

    n, views = len(material), material.views
    scores = {name: material.scores(name) for name in views}
    places = {name: symmetric(prominence(pair_values(matrix)), n) for name, matrix in scores.items()}
    weights = {name: attention_to_others(matrix, material.temperature) for name, matrix in scores.items()}
    # log2 of weight over an even share: 0 is indifference, 1 is twice as much
    lean = {name: np.log2(np.maximum(w * (n - 1), 2.0**-20)) for name, w in weights.items()}
    effective = {name: attended(w) for name, w in weights.items()}
    off = ~np.eye(n, dtype=bool)
    spread = np.quantile(np.abs(np.concatenate([x[off] for x in lean.values()])), CLIP)
    reach = float(np.clip(spread, 1e-6, 6))  # up to 64 times an even share; more only for scores far beyond 1
    limits = plot.off_diagonal_limits(*scores.values(), quantile=CLIP)

    readings: list[dict] = [
        {
            "name": "scores",
            "title": "Scores as they are",
            "note": "One scale for all views: how large its numbers are is part of what a view is.",
            "maps": scores,
            "limits": limits,
            "ends": (f"{limits[0]:.2g}", f"{limits[1]:.2g} or more"),
            "label": "score",
        },
        {
            "name": "places",
            "title": "The same, by place",
            "note": "Each pair's place among all pairs of its view, so that only the order counts.",
            "maps": places,
            "limits": (0.0, 1.0),
            "ends": ("last", "1st"),
            "label": "place of the pair within its view",
            "ticks": place_ticks(n),
        },
        {
            "name": "attention",
            "title": f"As attention, temperature {material.temperature:g}",
            "note": "Softmax over each row: how much its passage would look at every other one, as a multiple of "
            "an even share.",
            "maps": lean,
            "limits": (-reach, reach),
            "ends": (f"{2**-reach:.2g} times", f"{2**reach:.2g} times"),
            "label": "log2 of attention over an even share",
        },
    ]

    def picture(reading: dict) -> Picture:
        def draw(figure):
            plot.score_maps(
                {views[name].heading: m for name, m in reading["maps"].items()},
                labels=material.documents,
                limits=reading["limits"],
                colorbar_label=reading["label"],
                ticks=reading.get("ticks"),
                figure=figure,
            )

        alt = f"{len(views)} maps of all pairs of passages side by side: {reading['title'].lower()}."
        return Picture(draw, alt, 10, 8.6, page=False)

    pictures = {f"maps_{reading['name']}": picture(reading) for reading in readings}
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
                np.stack(list(weights.values())).astype(np.float32),
                {"long_name": "row softmax of the scores over the other passages", "temperature": material.temperature},
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
