"""What each view costs on this material: time, bytes, operations, and how the time grows."""

from __future__ import annotations

from functools import partial

import numpy as np

from ..finding import Finding, Picture
from ..material import Material
from ..timing import milliseconds


def find(material: Material) -> Finding:
    """Measure every view on growing parts of the material."""
    n, views = len(material), material.views
    sizes = np.unique([max(2, n // part) for part in (8, 4, 2, 1)])
    times = {name: np.empty(len(sizes)) for name in views}
    for place, size in enumerate(sizes):
        part = material if size == n else material.take(np.linspace(0, n - 1, size).astype(int))
        for name, view in views.items():
            times[name][place] = milliseconds(partial(view.matrix, part))
    rows = [
        {
            "name": name,
            "title": view.heading,
            "milliseconds": float(times[name][-1]),
            "nbytes": view.nbytes(material),
            "operations": view.operations(material),
        }
        for name, view in views.items()
    ]

    def draw(figure):
        from ... import plot
        from ...plot.style import plain_decades

        ax = plot.lines(
            sizes,
            {views[name].short: values for name, values in times.items()},
            ax=figure.subplots(),
            tones={view.short: material.tones[name] for name, view in views.items()},
            log_x=True,
            xlabel="passages",
            ylabel="milliseconds for all pairs",
        )
        ax.set_yscale("log")
        plain_decades(ax.yaxis)

    pictures = {}
    if len(sizes) > 1:
        alt = "Milliseconds for all pairs against the number of passages: " + ", ".join(
            f"{views[name].short} {values[-1]:.2g} ms" for name, values in times.items()
        )
        pictures["cost"] = Picture(draw, alt + f" at {n} passages.", 4.4, 2.9)
    return Finding(
        facts={"views": rows, "dense_matrix_bytes": 8 * n * n, "shared_entries": material.shared_entries},
        arrays={
            "milliseconds": (
                ("view", "measured_size"),
                np.stack(list(times.values())),
                {"long_name": "time for all pairs", "units": "ms"},
            ),
            "measured_size": (("measured_size",), sizes, {"long_name": "passages in the measurement"}),
        },
        pictures=pictures,
    )
