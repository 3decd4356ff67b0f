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

    def zipf(figure):
        from ... import plot

        fit = {} if math.isnan(found.slope) else {"slope": found.slope, "intercept": found.intercept}
        plot.rank_frequency(found.frequency, ax=figure.subplots(), **fit)

    middle = float(np.median(found.active)) if len(found.active) else 0.0
    single = float((found.frequency == 1).mean()) if len(found.frequency) else 0.0
    return Finding(
        facts={
            "active_median": middle,
            "active_least": int(found.active.min(initial=0)) if len(found.active) else 0,
            "active_most": int(found.active.max(initial=0)),
            "primes": len(found.frequency),
            "in_one_passage_only": single,
            "overlapping_pairs": found.overlapping,
            "zipf_slope": found.slope,
            "zipf_r2": found.r2,
            "most_common": common,
        },
        arrays={
            "active_primes": (("passage",), found.active, {"long_name": "active primes of each passage"}),
            "prime_frequency": (("prime_rank",), found.frequency, {"long_name": "passages on each prime, falling"}),
        },
        pictures={
            "active_primes": Picture(
                active, f"Histogram of the number of active primes in a passage; the median is {middle:g}."
            ),
            "zipf": Picture(
                zipf,
                f"How many passages have each prime, most common first, on logarithmic axes; "
                f"{single:.0%} of the primes stand in one passage only.",
            ),
        },
    )
