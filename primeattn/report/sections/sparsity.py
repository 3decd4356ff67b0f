"""How sparse the states are, and how unevenly the primes are used."""

from __future__ import annotations

import math

import numpy as np

from ..finding import Finding, Picture
from ..material import Material
from ..measures import sparsity


def find(material: Material) -> Finding:
    """Active primes, overlapping pairs, a Zipf fit, and the most common primes with their words."""
    found = sparsity(material.states)
    primes, count = np.unique(material.states.primes, return_counts=True)
    order = np.argsort(-count, kind="stable")[:10]
    common = [
        {"prime": int(primes[k]), "states": int(count[k]), "words": material.labels_of(int(primes[k]))} for k in order
    ]

    def active(figure):
        from ... import plot

        plot.counts(found.active, ax=figure.subplots())

    def shared(figure):
        from ... import plot

        plot.counts(found.shared, ax=figure.subplots(), xlabel="primes in common", ylabel="pairs")

    def zipf(figure):
        from ... import plot

        fitted = not math.isnan(found.slope)
        slope, intercept = (found.slope, found.intercept) if fitted else (None, None)
        plot.rank_frequency(found.frequency, ax=figure.subplots(), slope=slope, intercept=intercept)

    middle = float(np.median(found.active))
    single = float((found.frequency == 1).mean()) if len(found.frequency) else 0.0
    pictures = {
        "shared_primes": Picture(
            shared,
            f"Histogram of the number of primes that two passages have in common; median {np.median(found.shared):g}.",
        ),
        "zipf": Picture(
            zipf,
            f"How many passages have each prime, most common first, on logarithmic axes; "
            f"{single:.0%} of the primes stand in one passage only.",
        ),
    }
    if found.active.min() < found.active.max():  # most texts fill every state up to the encoder's limit
        alt = f"Histogram of the number of active primes in a passage; the median is {middle:g}."
        pictures["active_primes"] = Picture(active, alt)
    return Finding(
        facts={
            "active_median": middle,
            "active_least": int(found.active.min()),
            "active_most": int(found.active.max()),
            "shared_median": float(np.median(found.shared)),
            "primes": len(found.frequency),
            "in_one_passage_only": single,
            "overlapping_pairs": found.overlapping,
            "zipf_slope": found.slope,
            "zipf_r2": found.r2,
            "most_common": common,
        },
        arrays={
            "active_primes": (("passage",), found.active, {"long_name": "active primes of each passage"}),
            "shared_primes": (("pair",), found.shared, {"long_name": "common primes of the pairs i < j, row by row"}),
            "prime_frequency": (("prime_rank",), found.frequency, {"long_name": "passages on each prime, falling"}),
        },
        pictures=pictures,
    )
