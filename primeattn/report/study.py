"""The study as files: one table of what mechanisms are, as netCDF, Markdown and a page, and the figures beside it."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from .._runtime.files import write_netcdf, write_whole
from .attending import weights_of
from .export import versions
from .finding import Picture
from .page import _environment
from .wording import scientific

PAGE, TABLE, DATA = "index.html", "study.md", "study.nc"
SHOWN = 24  # tokens of the attention maps
WHOLE = (
    "Witnesses that are too long to print lie in "
    "`pa.attention.MECHANISMS[name].properties[pa.attention.Property.NAME].witness()`"
)
DEPTH = {"tokens": 24, "width": 8, "runs": 5, "depth": 120}

#: Columns of the second table: a variable of the Dataset, its head, and how a number is written.
MEASURES: tuple[tuple[str, str, str], ...] = (
    ("gram_smallest", "smallest eigenvalue", "signed"),
    ("entropy", "entropy of a row, of log n", ".2f"),
    ("effective_rank", "effective rank", ".1f"),
    ("dobrushin", "Dobrushin coefficient", ".2f"),
    ("spectral_gap", "spectral gap", ".2f"),
    ("limit_small", "small scores", ""),
    ("limit_large", "large scores", ""),
    ("lipschitz", "Jacobian", ""),
    ("order_sensitivity", "sensitivity to order", "small"),
    ("seconds_forward", "forward, ms", "ms"),
)


@dataclass
class Studied:
    """What was found.

    Attributes
    ----------
    data : xarray.Dataset
        The table of `study.properties`, with eigenvalues, weights and order by layer added.
    pictures : dict of str to Picture
    about : dict of str to str
    """

    data: Any
    pictures: dict[str, Picture] = field(default_factory=dict)
    about: dict[str, str] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """Of the mechanisms."""
        return [str(name) for name in self.data["mechanism"].values]


def title_of(name: str) -> str:
    """A name as people write it."""
    return name.replace("_", " ").replace(":", ", ")


def _nothing(*_):
    pass


def gather(
    names: Sequence[str] | None = None,
    inputs: Any = None,
    *,
    labels: Sequence[str] | None = None,
    seed: int = 0,
    sets: int = 20,
    tokens: int = 64,
    about: Mapping[str, str] | None = None,
    say: Callable[..., object] = _nothing,
) -> Studied:
    """Compute the study of some mechanisms.

    Parameters
    ----------
    names : sequence of str, optional
        As of `study.properties`; all by default.
    inputs : array_like of float, shape (n, d), optional
        Tokens; drawn by default.
    labels : sequence of str, optional
        Names of the tokens, for the maps.
    seed, sets, tokens : int
        As of `study.properties`.
    about : mapping of str to str, optional
        Where the inputs come from, and the command.
    say : callable(str, done, total)

    Returns
    -------
    Studied
    """
    from .. import study

    say("properties", 0, 4)
    data = study.properties(names, inputs, seed, sets=sets, tokens=tokens)
    points = np.random.default_rng(seed).standard_normal((tokens, 16)) if inputs is None else np.asarray(inputs, float)
    found = Studied(data, about=dict(about or {}))
    say("Gram matrices", 1, 4)
    _spectra(found, points)
    say("attention maps and profiles", 2, 4)
    _maps(found, points, labels)
    _profiles(found)
    say("depth", 3, 4)
    _depth(found, seed)
    return found


def _mechanisms(found: Studied) -> dict[str, Any]:
    from ..attention import MECHANISMS

    return {name: MECHANISMS[name] for name in found.names if name in MECHANISMS}


def _spectra(found: Studied, points: np.ndarray) -> None:
    """Certified eigenvalues of the Gram matrices of the points."""
    from .. import study

    spectra, errors = {}, {}
    symmetric = found.data["verdict"].sel(property="SYMMETRIC")
    for name in found.names:
        if symmetric.sel(mechanism=name).item() == "does not apply":  # it has no kernel, and the table says why
            continue
        gram = study.gram(name, points)
        certificate = study.certify((gram + gram.T) / 2)
        spectra[name], errors[name] = certificate.eigenvalues, certificate.error
    if not spectra:
        return
    rows = [spectra.get(name, np.full(len(points), np.nan)) for name in found.names]
    found.data["eigenvalue"] = ("mechanism", "order"), np.stack(rows), {"long_name": "eigenvalues of the Gram matrix"}
    error = [errors.get(name, np.nan) for name in found.names]
    found.data["eigenvalue_error"] = "mechanism", error, {"long_name": "bound on the error of the eigenvalues"}

    def draw(figure):
        from .. import plot

        titles = {name: title_of(name) for name in spectra}
        plot.gram_spectra(
            {titles[name]: values for name, values in spectra.items()},
            bounds={titles[name]: bound for name, bound in errors.items()},
            figure=figure,
        )

    below = [title_of(name) for name in spectra if spectra[name][0] < -errors[name]]
    alt = f"Eigenvalues of {len(spectra)} Gram matrices; negative ones: {', '.join(below) or 'none'}."
    found.pictures["spectra"] = Picture(draw, alt, 2.3 * min(4, len(spectra)), 2.1 * -(-len(spectra) // 4))


def _maps(found: Studied, points: np.ndarray, labels: Sequence[str] | None) -> None:
    """Weights of the first tokens, all mechanisms on one scale."""
    mechanisms = _mechanisms(found)
    if not mechanisms:
        return
    shown = points[:SHOWN]
    tables = {name: weights_of(mechanism, shown) for name, mechanism in mechanisms.items()}
    rows = [tables.get(name, np.full((len(shown), len(shown)), np.nan)) for name in found.names]
    dims = "mechanism", "token", "key"
    found.data["weights"] = dims, np.stack(rows), {"long_name": "attention of the first tokens to one another"}
    if labels is not None:
        found.data = found.data.assign_coords(token=list(labels[:SHOWN]), key=list(labels[:SHOWN]))

    def draw(figure):
        from .. import plot

        tokens = None if labels is None else labels[:SHOWN]
        plot.attention_maps({title_of(name): table for name, table in tables.items()}, tokens=tokens, figure=figure)

    from ..plot.attention import columns_of

    alt = f"Attention of {len(shown)} tokens to one another, one map a mechanism, on one scale."
    columns = min(columns_of(len(tables)), len(tables))
    found.pictures["maps"] = Picture(draw, alt, 2.5 * columns + 1.6, 2.7 * -(-len(tables) // columns) + 0.8)


def _profiles(found: Studied) -> None:
    from ..study import symbolic

    scores = {name: symbolic.score(name) for name, m in _mechanisms(found).items() if m.score is not None}
    if not scores:
        return
    found.data["formula"] = (
        "mechanism",
        [scores[name].latex() if name in scores else "" for name in found.names],
        {"long_name": "weight of a pair before rows are divided by their sums"},
    )

    def draw(figure):
        from .. import plot

        plot.kernel_profiles({title_of(name): score for name, score in scores.items()}, figure=figure)

    alt = "Weight of a pair against its score, one panel a mechanism, each divided by its largest value."
    found.pictures["profiles"] = Picture(draw, alt, 1.9 * min(5, len(scores)), 1.75 * -(-len(scores) // 5))


def _depth(found: Studied, seed: int) -> None:
    """Tokens that attend one another, layer after layer; angles where a mechanism takes them."""
    from ..study import dynamics_of

    runs = {}
    for name, mechanism in _mechanisms(found).items():
        space = "torus" if mechanism.inputs == ("theta",) else "sphere"
        runs[name] = dynamics_of(mechanism, space=space, rng=seed, **DEPTH)
    if not runs:
        return
    shape = next(iter(runs.values())).R.shape
    rows = [runs[name].R if name in runs else np.full(shape, np.nan) for name in found.names]
    dims = "mechanism", "layer", "run"
    found.data["order_by_layer"] = dims, np.stack(rows), {"long_name": "order parameter R of particles that attend"}
    time = [runs[name].clustering_time() if name in runs else np.full(shape[1], np.nan) for name in found.names]
    found.data["clustering_time"] = ("mechanism", "run"), np.stack(time), {"long_name": "time to a single cluster"}

    def draw(figure):
        from .. import plot

        plot.order_by_layer({title_of(name): run for name, run in runs.items()}, ax=figure.subplots())

    alt = "Order parameter through depth: " + ", ".join(
        f"{title_of(name)} {np.median(run.R[-1]):.2f}" for name, run in runs.items()
    )
    found.pictures["depth"] = Picture(draw, alt + " at the end.", 6.2, 3.8)


# --- tables ---------------------------------------------------------------------------------------------------------


def claims_of(data: Any) -> dict[str, dict[str, dict[str, Any]]]:
    """Verdicts as the report has them: mechanism -> property -> says, state, why, violation, witness."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for name in data["mechanism"].values:
        row = data.sel(mechanism=name)
        found[str(name)] = {
            str(which): {
                "says": str(row["means"].sel(property=which).item()),
                "state": str(row["verdict"].sel(property=which).item()),
                "why": str(row["why"].sel(property=which).item()),
                "violation": float(row["violation"].sel(property=which).item()),
                "witness": str(row["witness"].sel(property=which).item()),
            }
            for which in data["property"].values
        }
    return found


def written(value: Any, kind: str) -> str:
    """A measure as people read it; an en dash for none."""
    if kind == "":
        return str(value) or "–"
    number = float(value)
    if not np.isfinite(number):
        return "–"
    if kind == "signed":
        return scientific(number, 2)
    if kind == "small":
        return "0" if number < 1e-9 else f"{number:.2f}"
    if kind == "ms":
        return f"{1e3 * number:.3g}"
    return format(number, kind).replace("-", "−")


def _bounded(cell: str, value: float, error: float) -> str:
    """An eigenvalue with its certified error; what the error hides is 0."""
    if cell == "–" or not np.isfinite(error):
        return cell
    return f"{'0' if abs(value) <= error else cell} ± {scientific(float(error), 1)}"


def measures_of(data: Any) -> tuple[list[str], dict[str, list[str]]]:
    """Heads, and a row for every mechanism; columns without any number are left out."""
    rows: dict[str, list[str]] = {str(name): [] for name in data["mechanism"].values}
    heads = []
    for variable, head, kind in MEASURES:
        cells = [written(value, kind) for value in data[variable].values] if variable in data else []
        if kind == "signed" and cells:
            cells = [
                _bounded(*given) for given in zip(cells, data[variable].values, data["gram_error"].values, strict=True)
            ]
        if all(cell == "–" for cell in cells):
            continue
        heads.append(head)
        for row, cell in zip(rows.values(), cells, strict=True):
            row.append(cell)
    return heads, rows


def markdown(found: Studied, files: Sequence[str] = ()) -> str:
    """The tables as Markdown."""
    data, claimed = found.data, claims_of(found.data)
    titles = {name: title_of(name) for name in found.names}
    marks = {"holds": "holds", "fails": "**fails**", "does not apply": "–"}
    properties = [str(which) for which in data["property"].values]
    lines = ["# What the mechanisms are", "", *(f"- {name}: {value}" for name, value in found.about.items()), ""]
    lines += ["## Properties", "", f"| | {' | '.join(titles.values())} |", f"|---|{'---|' * len(titles)}"]
    for which in properties:
        says = next(iter(claimed.values()))[which]["says"]
        cells = []
        for name in titles:
            claim = claimed[name][which]
            off = f" ({claim['violation']:.2g})" if claim["state"] == "fails" else ""
            cells.append(marks[claim["state"]] + off)
        lines.append(f"| {says} | {' | '.join(cells)} |")
    lines += ["", "In brackets: how far the witness is off.", "", "## Measures", ""]
    heads, rows = measures_of(data)
    lines += [f"| | {' | '.join(heads)} |", f"|---|{'---|' * len(heads)}"]
    lines += [f"| {titles[name]} | {' | '.join(cells)} |" for name, cells in rows.items()]
    lines += ["", "## Why", ""]
    if _unprinted(claimed):
        lines += [f"{WHOLE}.", ""]
    for name, title in titles.items():
        lines += [f"### {title}", ""]
        if "formula" in data and (formula := str(data["formula"].sel(mechanism=name).item())):
            lines += [f"$${formula}$$", ""]
        for which in properties:
            claim = claimed[name][which]
            if claim["state"] != "does not apply":
                witness = f" Witness: {claim['witness']}." if claim["witness"] else ""
                lines.append(f"- {claim['says']}: {marks[claim['state']]}, because {claim['why']}.{witness}")
        lines.append("")
    lines += [f"![{found.pictures[name].alt}]({name}.png)\n" for name in found.pictures if f"{name}.png" in files]
    return "\n".join(lines)


def page(found: Studied) -> str:
    """The tables and figures as one HTML page that holds no address outside itself."""
    from markupsafe import Markup

    from ..plot import files

    css = resources.files(__package__).joinpath("page.css").read_text("utf-8")
    claimed = claims_of(found.data)
    heads, rows = measures_of(found.data)
    first = next(iter(claimed.values()))
    return (
        _environment()
        .get_template("study.html.j2")
        .render(
            css=Markup(css),
            gradient=files.gradient(),
            titles={name: title_of(name) for name in found.names},
            properties={which: claim["says"] for which, claim in first.items()},
            claimed=claimed,
            heads=heads,
            rows=rows,
            failures=_failures(claimed),
            whole=WHOLE.replace("`", "") if _unprinted(claimed) else "",
            finding=finding(found),
            svgs={name: Markup(p.svg(f"study-{name}")) for name, p in found.pictures.items()},
            widths={name: p.width for name, p in found.pictures.items()},
            alts={name: p.alt for name, p in found.pictures.items()},
            about=found.about,
        )
    )


def _unprinted(claimed: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> bool:
    """Whether an array of a witness is named by its shape only."""
    return any("array (" in claim["witness"] for claims in claimed.values() for claim in claims.values())


def _failures(claimed: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> dict[str, list[Mapping[str, Any]]]:
    return {
        title_of(name): [claim for claim in claims.values() if claim["state"] == "fails"]
        for name, claims in claimed.items()
        if any(claim["state"] == "fails" for claim in claims.values())
    }


def finding(found: Studied) -> str:
    """One sentence: who is no kernel, by how much, and who is."""
    verdict = found.data["verdict"].sel(property="PSD")
    below = [title_of(name) for name, state in zip(found.names, verdict.values, strict=True) if state == "fails"]
    proved = [title_of(name) for name, state in zip(found.names, verdict.values, strict=True) if state == "holds"]
    if below:
        noun = "is no positive semidefinite kernel" if len(below) == 1 else "are no positive semidefinite kernels"
        text = f"{' and '.join(below)} {noun}"
        return f"{text}; {len(proved)} of {len(found.names)} are by proof." if proved else f"{text}."
    if proved:
        return f"All {len(proved)} that have a kernel have a positive semidefinite one, by proof."
    return "None of them has a kernel of queries and keys."


def write(found: Studied, folder: Any, *, on_file: Callable[[Path], object] = _nothing) -> Path:
    """Write ``study.md``, ``study.nc``, figures and ``index.html``.

    Parameters
    ----------
    found : Studied
    folder : path-like
        Made if it does not exist; files of the same names are replaced.
    on_file : callable(Path)
        Called with each finished file; the first is the table.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    ImportError
        If an extra is missing; the message names the line that installs it.
    OSError
        If the folder cannot be written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    found.about.setdefault("versions", ", ".join(f"{name} {number}" for name, number in versions().items()))
    found.about.setdefault("machine", f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores")
    on_file(write_whole(folder / TABLE, markdown(found, [f"{name}.png" for name in found.pictures])))
    data = found.data.assign_attrs({**found.data.attrs, **found.about})
    write_netcdf(folder / DATA, data)
    on_file(folder / DATA)
    for name, picture in found.pictures.items():
        on_file(write_whole(folder / f"{name}.png", picture.png()))
    on_file(write_whole(folder / PAGE, page(found)))
    return folder / PAGE
