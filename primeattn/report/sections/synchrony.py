"""Passages as oscillators: each is pulled by every other as strongly as the two score. Do documents fall into step?"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from ..finding import Finding, Picture
from ..material import Material

MOST = 300  # passages; beyond, evenly spaced ones
COUPLINGS = np.concatenate([[0.0, 0.5, 1.0], np.arange(1.25, 3.01, 0.25), [3.5, 4.0]])
RUNS = 4  # ways to deal the frequencies out to the passages
UNTIL, SETTLED, STEP = 60.0, 30.0, 0.1
ENOUGH = 30  # passages, for a half order that is more than chance makes of few
LEAST = 3  # passages of a document that has an order of its own


class Synchrony(NamedTuple):
    """Of one view.

    Attributes
    ----------
    order : ndarray, shape (couplings, RUNS)
        R of all passages, averaged over time.
    within, shuffled : ndarray, shape (couplings,)
        R of a document, averaged over time, runs and documents; and of as many passages taken at random.
    critical : float
        Coupling at which linear theory lets order begin; NaN where no eigenvalue is positive.
    model : Kuramoto
        Without runs and with coupling 1: for more.
    """

    order: np.ndarray
    within: np.ndarray
    shuffled: np.ndarray
    critical: float
    model: Any

    @property
    def mean(self) -> np.ndarray:
        return self.order.mean(axis=1)

    def halfway(self) -> int:
        """Number of the first coupling at which R passes 1/2; of the last if none does."""
        above = np.flatnonzero(self.mean >= 0.5)
        return int(above[0]) if len(above) else len(self.order) - 1

    @property
    def half(self) -> float:
        """The coupling at which R passes 1/2, between those simulated; NaN if it stays below, or starts above."""
        k = self.halfway()
        if k == 0 or self.mean[k] < 0.5:
            return math.nan
        return float(np.interp(0.5, self.mean[k - 1 : k + 1], COUPLINGS[k - 1 : k + 1]))


def network(scores: np.ndarray) -> np.ndarray | None:
    """Scores of others, divided so that a passage hears 1 in the mean; None if they add up to nothing."""
    weights = np.array(scores, float)
    np.fill_diagonal(weights, 0.0)
    heard = weights.sum() / len(weights)
    return weights / heard if heard > 1e-9 else None


def synchrony(scores: np.ndarray, documents: np.ndarray, seed: int = 0) -> Synchrony | None:
    """Simulate one view; ``documents`` are numbers, ascending from 0. None without scores."""
    from ... import dynamics

    weights = network(scores)
    if weights is None:
        return None
    n, rng = len(weights), np.random.default_rng(seed)
    omega = np.stack([rng.permutation(dynamics.frequencies.gaussian(n)) for _ in range(RUNS)])
    theta = rng.uniform(-math.pi, math.pi, (RUNS, n))
    shuffled = rng.permutation(documents)
    model = dynamics.Kuramoto(omega[0], 1.0, weights, None)
    many = model.replace(omega=np.tile(omega, (len(COUPLINGS), 1)), coupling=np.repeat(COUPLINGS, RUNS))
    groups = [
        dynamics.observable("R_group", labels=labels)._replace(name=name)
        for name, labels in (("own", documents), ("any", shuffled))
    ]
    run = dynamics.simulate(
        many, (0.0, UNTIL), np.tile(theta, (len(COUPLINGS), 1)), dt=STEP, observables=("R", *groups), progress=False,
        t_eval=np.linspace(SETTLED, UNTIL, 61), rng=seed,
    )  # fmt: skip
    large = np.bincount(documents) >= LEAST

    def by_document(name):
        each = run[name][..., large].reshape(len(COUPLINGS), -1)
        return each.mean(axis=1) if each.size else np.full(len(COUPLINGS), math.nan)

    top = float(np.linalg.eigvalsh((weights + weights.T) / 2)[-1])
    critical = dynamics.theory.critical_coupling("gaussian") / top if top > 0 else math.nan
    order = run.R.mean(axis=1).reshape(len(COUPLINGS), RUNS)
    return Synchrony(order, by_document("own"), by_document("any"), critical, model)


def find(material: Material) -> Finding:
    """Order against coupling in every view, theory beside it, and whether documents are in step before the whole is."""
    from ... import dynamics

    n = len(material)
    taken = np.arange(n) if n <= MOST else np.unique(np.linspace(0, n - 1, MOST).astype(int))
    names, codes = np.unique(np.asarray(material.documents)[taken], return_inverse=True)
    order = np.argsort(codes, kind="stable")
    taken, codes = taken[order], codes[order]
    found = {name: synchrony(material.scores(name)[np.ix_(taken, taken)], codes) for name in material.views}
    seen = {name: one for name, one in found.items() if one is not None}
    if not seen:
        return Finding(facts={"views": []})
    theory = dynamics.theory.stationary_order_parameter("gaussian", COUPLINGS)
    lead = material.lead if material.lead in seen else next(iter(seen))
    shown = seen[lead]
    at = shown.halfway()
    judged = len(names) > 1 and math.isfinite(float(shown.within[at]))

    def curves(figure):
        from ... import plot
        from ...plot.style import FAINT, INK, tone

        ax = figure.subplots()
        fine = np.linspace(COUPLINGS[0], COUPLINGS[-1], 161)
        even = dynamics.theory.stationary_order_parameter("gaussian", fine)
        ax.plot(fine, even, color=FAINT, linewidth=4, zorder=0, label="even coupling, theory", solid_capstyle="butt")
        plot.lines(
            COUPLINGS, {material.views[name].short: one.mean for name, one in seen.items()}, ax=ax,
            tones={material.views[name].short: material.tones[name] for name in seen}, xlabel="coupling",
            ylabel="order R",
        )  # fmt: skip
        for name, one in seen.items():
            if COUPLINGS[0] <= one.critical <= COUPLINGS[-1]:
                ax.plot([one.critical] * 2, [0, 0.05], color=tone(material.tones[name]), linewidth=2)
        ax.set_ylim(0, 1.02)
        for text in ax.get_legend().get_texts():
            if text.get_text().startswith("even"):
                text.set_color(INK)

    def raster(figure):
        from ... import plot

        one = shown.model.replace(coupling=float(COUPLINGS[at]))
        run = dynamics.simulate(one, (0.0, UNTIL), rng=0, dt=STEP, save_theta=True, progress=False)
        ax = figure.subplots()
        plot.raster(run, ax=ax)
        ax.set_ylabel("passage")
        edges = np.flatnonzero(np.diff(codes)) + 0.5
        if len(edges) <= 40:
            ax.hlines(edges, *ax.get_xlim(), color="white", linewidth=0.6)

    rows = [
        {
            "name": name,
            "title": material.views[name].heading,
            "critical": one.critical,
            "half": one.half if len(taken) >= ENOUGH else math.nan,
            "order_at_half": float(one.mean[one.halfway()]),
            "within": float(one.within[one.halfway()]),
            "shuffled": float(one.shuffled[one.halfway()]),
        }
        for name, one in seen.items()
    ]
    low, high = float(shown.mean[0]), float(shown.mean[-1])
    return Finding(
        facts={
            "views": rows,
            "passages": len(taken),
            "few": len(taken) < ENOUGH,
            "chance": 1 / math.sqrt(len(taken)),
            "coupling_shown": float(COUPLINGS[at]),
            "critical_even": dynamics.theory.critical_coupling("gaussian"),
            "documents": int((np.bincount(codes) >= LEAST).sum()) if judged else 0,
            "without_views": [material.views[name].heading for name, one in found.items() if one is None],
        },
        arrays={
            "synchrony": (
                ("view", "coupling", "run"),
                np.stack(
                    [np.full((len(COUPLINGS), RUNS), math.nan) if one is None else one.order for one in found.values()]
                ),
                {"long_name": "order parameter of passages that pull one another as strongly as they score"},
            ),
            "coupling": (("coupling",), COUPLINGS, {"units": "standard deviations of the frequencies"}),
            "synchrony_even": (("coupling",), theory, {"long_name": "order parameter of even coupling, theory"}),
        },
        pictures={
            "synchrony": Picture(
                curves,
                f"Order against coupling, a curve for each view; for {material.views[lead].title} it rises from "
                f"{low:.2f} to {high:.2f}. Behind the curves, the theory of even coupling.",
                5.4,
                3.2,
            ),
            "phases": Picture(
                raster,
                f"Phases of {len(taken)} passages over time, in the order of their documents, at coupling "
                f"{COUPLINGS[at]:g}.",
                5.4,
                3.2,
            ),
        },
        shown={"lead": lead, "judged": judged},
    )
