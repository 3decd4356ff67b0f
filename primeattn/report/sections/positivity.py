"""Kernel spectra, and the verdict on positive semi-definiteness."""

from __future__ import annotations

import numpy as np

from ..finding import Finding, Picture
from ..material import Material
from ..spectra import NEGATIVE, Spectrum
from ..wording import scientific

THINNED = 300  # passages; the eigenvalues of every thinned view would take minutes for thousands
VERDICTS = {True: "holds by proof", False: "fails here", None: "fails elsewhere"}


def _settled(holds: bool, found: Spectrum) -> bool | None:
    """True: proved and seen. False: refuted by this text. None: refuted in general, not by this text."""
    return True if holds else (False if found.verdict == NEGATIVE else None)


def _thinning(material: Material) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Smallest eigenvalue of the views of states when only the k strongest primes of each state stay."""
    n = len(material)
    if n > THINNED:
        material = material.take(np.linspace(0, n - 1, THINNED).astype(int))
    most = int(np.diff(material.states.indptr).max(initial=0))
    sizes = np.unique([k for k in (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256) if k < most] + [most])
    views = [view for view in material.views.values() if view.of_states]
    if most < 2 or not views:
        return sizes, {}
    smallest = {view.name: np.empty(len(sizes)) for view in views}
    for place, k in enumerate(sizes):
        thin = material if k == most else material.thinned(int(k))
        for view in views:
            smallest[view.name][place] = np.linalg.eigvalsh(np.asarray(view.matrix(thin), dtype=float))[0]
    return sizes, smallest


def find(material: Material) -> Finding:
    """Eigenvalues of every view, a verdict, a witness where there is one, and what thinning does."""
    views = material.views
    found = {name: material.spectrum(name) for name in views}
    sizes, smallest = _thinning(material)
    pictures: dict[str, Picture] = {}

    def panel(name):
        def draw(figure):
            from ... import plot
            from ...plot.style import tone

            color = tone(material.tones[name])
            plot.spectrum(found[name].eigenvalues, ax=figure.subplots(), bound=found[name].bound, color=color)

        s = found[name]
        alt = (
            f"Eigenvalues of {views[name].title} in falling order, from {scientific(s.largest)} down to "
            f"{scientific(s.smallest)}; "
            f"{s.negative} of {len(s.eigenvalues)} are negative."
        )
        return Picture(draw, alt, 4.2, 2.5, file=False)

    for name in views:
        pictures[f"spectrum:{name}"] = panel(name)

    def draw_all(figure):
        from ... import plot
        from ...plot.style import tone

        columns = min(2, len(views))
        axes = figure.subplots(-(-len(views) // columns), columns, squeeze=False).flat
        for ax in list(axes)[len(views) :]:
            ax.set_visible(False)
        for ax, name in zip(figure.axes, views, strict=False):
            color = tone(material.tones[name])
            s = found[name]
            plot.spectrum(s.eigenvalues, ax=ax, bound=s.bound, title=views[name].heading, color=color)

    pictures["spectra"] = Picture(draw_all, "Eigenvalues of every view.", 8.4, 3.2 * -(-len(views) // 2), page=False)
    if smallest:

        def draw_thinning(figure):
            from ... import plot
            from ...plot.style import INK

            ax = plot.lines(
                sizes,
                {views[name].short: values for name, values in smallest.items()},
                ax=figure.subplots(),
                tones={view.short: material.tones[name] for name, view in views.items()},
                log_x=True,
                xlabel="primes kept in each passage",
                ylabel="smallest eigenvalue",
            )
            ax.axhline(0, color=INK, linewidth=0.8)

        worst = {views[name].short: float(values.min()) for name, values in smallest.items()}
        alt = "Smallest eigenvalue against the number of primes kept in each passage; lowest values: " + ", ".join(
            f"{name} {scientific(value, 2)}" for name, value in worst.items()
        )
        pictures["thinning"] = Picture(draw_thinning, alt + ".", 4.4, 3.0)

    arrays = {
        "eigenvalue": (
            ("view", "order"),
            np.stack([s.eigenvalues for s in found.values()]),
            {"long_name": "eigenvalues of the score matrix, rising"},
        ),
        "eigenvalue_bound": (
            ("view",),
            np.array([s.bound for s in found.values()]),
            {"long_name": "certified bound on the error of the eigenvalues"},
        ),
    }
    if smallest:
        rows = [smallest.get(name, np.full(len(sizes), np.nan)) for name in views]
        arrays["smallest_eigenvalue_thinned"] = (
            ("view", "kept"),
            np.stack(rows),
            {"long_name": "smallest eigenvalue with only the strongest primes of each state"},
        )
        arrays["kept"] = (("kept",), sizes, {"long_name": "primes kept in each state"})
    settled = {name: _settled(views[name].claim.holds, s) for name, s in found.items()}
    facts = {name: _facts(views[name].claim, s, VERDICTS[settled[name]]) for name, s in found.items()}
    return Finding(
        facts={"views": facts, "thinning": {"kept": sizes, "smallest": smallest}},
        arrays=arrays,
        pictures=pictures,
        shown={"found": found, "settled": settled, "verdicts": VERDICTS},
    )


def _facts(claim, s: Spectrum, verdict: str) -> dict:
    facts = {
        "verdict": verdict,
        "theorem": claim.theorem,
        "on_this_text": s.verdict,
        "smallest": s.smallest,
        "largest": s.largest,
        "bound": s.bound,
        "negative": s.negative,
    }
    if s.witness is not None:
        facts["witness"] = {
            "passages": s.witness.members,
            "coefficients": s.witness.coefficients,
            "value": s.witness.value,
        }
    return facts
