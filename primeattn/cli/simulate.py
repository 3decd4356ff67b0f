"""``primeattn simulate``: Kuramoto oscillators, from flags or from a file, to netCDF and a figure."""

from __future__ import annotations

import argparse
import os
import re
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from . import settings
from .exits import EXTRA, INPUT, INTERRUPTED, OUTPUT, USAGE, Failure
from .progress import Progress

_EPILOG = """examples:
  primeattn simulate                                       1000 oscillators, Gaussian frequencies, K = 2
  primeattn simulate --coupling 0:4:33 --frequencies lorentzian --limit 50 --time 40 --output sync.nc
  primeattn simulate --oscillators 100000 --coupling 3 --checkpoint run.npz
  primeattn simulate --network edges.txt --normalize degree --inertia 2 --observables R,R_local
  primeattn simulate model.toml --seed 7

A file (TOML or YAML) has three tables: frequencies (distribution, width, center, limit, random), model (arguments of
pa.Kuramoto, or with kind = "stuart_landau" or "spheres" of those; oscillators in place of omega; the path of a file in
place of an array), and simulate (those of pa.simulate; time in place of t_span). A flag counts more than the file.
Writes a netCDF file and a figure of the same name; their paths go to standard output, progress to
standard error if that is a terminal. Ctrl-C writes what there is; with --checkpoint the same command goes on."""
_NEEDED = ("matplotlib", "rich", "h5netcdf", "h5py")
_DISTRIBUTIONS = ("gaussian", "lorentzian", "uniform", "bimodal", "by_degree")
_KINDS = {"kuramoto": "Kuramoto", "stuart_landau": "StuartLandau", "spheres": "Spheres"}
_LAW = ("distribution", "width", "center", "limit", "separation", "scale", "dimension", "random")
_FLAGS = ("model", "t_span", "rng", "checkpoint", "progress")  # of pa.simulate, which no file says
_DEFAULTS: dict[str, dict[str, Any]] = {
    "frequencies": {"distribution": "gaussian"},
    "model": {"oscillators": 1000, "coupling": 2.0},
    "simulate": {"time": 50.0, "samples": 501},
}


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not abs(value) < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r}: a number is wanted")
    return value


def _count(text: str) -> int:
    if not text.isdecimal() or len(text) > 10 or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: a whole number from 1 on is wanted")
    return int(text)


def _seed(text: str) -> int:
    if not text.isdecimal() or len(text) > 80:
        raise argparse.ArgumentTypeError(f"{text!r}: a whole number from 0 on is wanted")
    return int(text)


def _couplings(text: str) -> float | list[float]:
    """One number, several as 1,2,3, or FROM:TO:COUNT."""
    match = re.fullmatch(r"([^:,]+):([^:,]+):(\d{1,6})", text)
    if match and int(match[3]) > 1:
        low, high, count = _number(match[1]), _number(match[2]), int(match[3])
        return [low + (high - low) * i / (count - 1) for i in range(count)]
    if match or ":" in text:
        raise argparse.ArgumentTypeError(f"{text!r}: 2, or 0,1,2, or 0:4:33 (from, to, how many) is wanted")
    values = [_number(part) for part in text.split(",")]
    return values[0] if len(values) == 1 else values


def _normalizer(text: str) -> str:
    if text not in ("size", "degree", "none"):
        raise argparse.ArgumentTypeError(f"{text!r}: size, degree or none is wanted")
    return text


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options; imports nothing of the library."""
    parser.description = (
        "Simulate coupled phase oscillators: theta_i' = omega_i + g sum_j W_ij sin(theta_j - theta_i - alpha) + ..., "
        "angles in radians, time in your unit. Several couplings are simulated together."
    )
    parser.epilog = _EPILOG
    add = parser.add_argument
    add("file", nargs="?", metavar="FILE", help="a TOML or YAML file")
    add("--oscillators", type=_count, metavar="N", help="how many (default: 1000)")
    names = ", ".join(_DISTRIBUTIONS[:-1])
    law = f"quantiles of {names}, or by_degree of the network (default: gaussian)"
    add("--frequencies", choices=_DISTRIBUTIONS, metavar="NAME", help=law)
    add("--width", type=_number, metavar="X", help="of the frequencies: sigma, gamma, half the range (default: 1)")
    add("--limit", type=_number, metavar="X", help="leave out Lorentzian frequencies beyond it")
    add("--coupling", type=_couplings, metavar="K", help="K, or K1,K2,..., or FROM:TO:COUNT (default: 2)")
    network = (
        ".txt or .csv of edges FROM TO [WEIGHT], numbered from 0; .npz of scipy.sparse; .npy (default: all to all)"
    )
    add("--network", metavar="PATH", help=network)
    add("--normalize", type=_normalizer, metavar="RULE", help="g = K / N: size, K / in-degree: degree, K: none")
    add("--phase-lag", type=_number, metavar="X", help="alpha, radians")
    add("--diffusion", type=_number, metavar="X", help="D of white noise")
    add("--inertia", type=_number, metavar="X", help="m of m theta'' + theta' = ...")
    add("--time", type=_number, metavar="T", help="how long (default: 50)")
    add("--method", metavar="NAME", help="rk4, dopri5, dop853, heun, euler; sra1, euler_maruyama with noise")
    add("--dt", type=_number, metavar="X", help="largest step of a method of fixed steps")
    add("--samples", type=_count, metavar="N", help="how many times are kept, evenly spaced (default: 501)")
    add("--observables", metavar="A,B,...", help="R, psi, R2, entropy, frequencies, locking, ... (default: R)")
    add("--save-theta", action="store_true", default=None, help="keep all phases at all samples")
    add("--runs", type=_count, metavar="N", help="initial conditions, where there is one coupling")
    add("--seed", type=_seed, default=0, metavar="N", help="of initial phases and noise (default: 0)")
    add("--checkpoint", metavar="PATH", help="file to go on from after an interruption")
    output = "netCDF file; the figure stands beside it (default: primeattn-simulation.nc)"
    add("-o", "--output", type=Path, default=Path("primeattn-simulation.nc"), metavar="PATH", help=output)
    add("-q", "--quiet", action="store_true", help="print nothing but errors")


def run(arguments: argparse.Namespace) -> int:
    """Read, simulate, write."""
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise Failure(EXTRA, f'{", ".join(missing)} missing: pip install "primeattn[report]"')
    chosen = _chosen(arguments)
    target = arguments.output if arguments.output.suffix else arguments.output.with_suffix(".nc")
    _check_output(target)
    with Progress(arguments.quiet) as progress:
        progress.say("starting")
        trajectory, theory = _simulated(chosen, arguments, progress)
        progress.say("writing")
        try:
            trajectory.save(target)
            if not arguments.quiet:
                progress.print(os.fspath(target))
            picture = _picture(trajectory, theory, target.with_suffix(".png"))
            if picture is not None and not arguments.quiet:
                progress.print(os.fspath(picture))
        except OSError as error:
            place = error.filename or target
            raise Failure(OUTPUT, f"{place}: cannot be written ({error.strerror or error})") from error
    if trajectory.status == "interrupted":
        again = (
            "the same command goes on" if arguments.checkpoint else "with --checkpoint FILE it would go on from there"
        )
        raise Failure(INTERRUPTED, f"interrupted at t = {trajectory.t_end:g}; what there is is on disk; {again}")
    if trajectory.status != "finished":
        raise Failure(INPUT, f"{trajectory.status}; what there is is on disk")
    return 0


def _check_output(target: Path) -> None:
    """Refuse before the work what could not be written after it."""
    if target.suffix == ".png":
        raise Failure(USAGE, f"{target}: name the netCDF file; the figure is the same with .png")
    if target.suffix == ".zarr":
        raise Failure(USAGE, f"{target}: netCDF is written; name a .nc file")
    if not target.parent.is_dir():
        raise Failure(OUTPUT, f"{target}: there is no folder {target.parent}; make it, or name another --output")
    if target.is_dir() or not os.access(target.parent, os.W_OK):
        raise Failure(OUTPUT, f"{target}: cannot be written; name another --output")


# --- settings -------------------------------------------------------------------------------------------------------


def _chosen(arguments: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Defaults, over them the file, over it the flags."""
    found = {table: dict(values) for table, values in _DEFAULTS.items()}
    if arguments.file is not None:
        for table, values in _read(arguments.file).items():
            found[table] |= values
    given = vars(arguments)
    flags = {
        "frequencies": {"distribution": "frequencies", "width": "width", "limit": "limit"},
        "model": {
            name: name
            for name in ("oscillators", "coupling", "network", "normalize", "phase_lag", "diffusion", "inertia")
        },
        "simulate": {name: name for name in ("time", "method", "dt", "samples", "runs", "save_theta", "observables")},
    }
    for table, names in flags.items():
        found[table] |= {name: given[flag] for name, flag in names.items() if given[flag] is not None}
    if isinstance(found["simulate"].get("observables"), str):
        found["simulate"]["observables"] = [part for part in found["simulate"]["observables"].split(",") if part]
    return found


def _read(path: str) -> dict[str, dict[str, Any]]:
    """The tables of a file, whose names are those of the model's fields and of the arguments of pa.simulate."""
    import dataclasses
    import inspect

    from .. import dynamics

    content = settings.read(path, tuple(_DEFAULTS))
    kind = content.get("model", {}).get("kind", "kuramoto")
    if kind not in _KINDS:
        raise Failure(INPUT, f"{path}: model has the kind {kind!r}: one of {', '.join(_KINDS)} is wanted")
    fields = [field.name for field in dataclasses.fields(getattr(dynamics, _KINDS[kind]))]
    options = [name for name in inspect.signature(dynamics.simulate).parameters if name not in _FLAGS]
    names = {"frequencies": _LAW, "model": ("kind", "oscillators", *fields), "simulate": ("time", *options)}
    for table, values in content.items():
        settings.known(names[table], values, f"{path}: {table}")
    return content


# --- the run --------------------------------------------------------------------------------------------------------


def _simulated(chosen, arguments, progress):
    """The trajectory, and what the theory says of each coupling, if it says anything."""
    import warnings

    from .. import dynamics

    try:
        model, theory = _model(chosen)
        options = dict(chosen["simulate"])
        span = (0.0, float(options.pop("time")))
        for name in ("theta0", "velocity0"):
            if isinstance(options.get(name), str):
                options[name] = _array(options[name])
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always", RuntimeWarning)
            trajectory = dynamics.simulate(
                model,
                span,
                **options,
                rng=arguments.seed,
                checkpoint=arguments.checkpoint,
                progress=lambda share, t: progress.say(f"t = {t:.4g}", round(1000 * share), 1000),
            )
    except (ValueError, TypeError) as error:
        if arguments.debug:
            raise
        raise Failure(INPUT, " ".join(str(error).split())) from None
    except FileNotFoundError as error:
        raise Failure(OUTPUT, str(error)) from None
    for warning in warned:
        text = str(warning.message)
        if not (arguments.quiet or text.startswith("simulate stopped")):  # the status says that
            print(f"primeattn: warning: {text}", file=sys.stderr)
    return trajectory, theory


def _model(chosen):
    import numpy as np

    from .. import dynamics

    numbers, law = dict(chosen["model"]), dict(chosen["frequencies"])
    kind, n = numbers.pop("kind", "kuramoto"), numbers.pop("oscillators")
    if not isinstance(n, int) or n < 1:
        raise ValueError(f"oscillators is {n!r}: a whole number from 1 on is wanted")
    if numbers.get("network") is not None:
        numbers["network"], n = _network(numbers["network"], n)
    if numbers.get("normalize") == "none":
        numbers["normalize"] = None
    if "harmonics" in numbers:
        numbers["harmonics"] = {int(m): value for m, value in numbers["harmonics"].items()}
    for name, value in numbers.items():
        if isinstance(value, str) and name != "normalize":
            numbers[name] = _array(value)
            if name in ("groups", "triangles") and (numbers[name] % 1 == 0).all():  # text has no integers
                numbers[name] = numbers[name].astype(int)
    name, drawn = str(law.get("distribution")), "rotation" if kind == "spheres" else "omega"
    if drawn not in numbers:
        numbers[drawn] = _frequencies(kind, law, n, numbers.get("network"))
    model = getattr(dynamics, _KINDS[kind])(**numbers)
    if kind != "kuramoto":
        return model, None
    plain = set(numbers) <= {"omega", "coupling", "phase_lag", "diffusion"}
    plain = plain and np.ndim(model.phase_lag) == np.ndim(model.diffusion) == 0
    known = name in ("gaussian", "lorentzian", "uniform") and "omega" not in chosen["model"]
    if not (plain and known and not law.get("limit")):
        return model, None
    lag, noise, width = float(model.phase_lag), float(model.diffusion), law.get("width", 1.0)

    def theory(coupling):
        return dynamics.theory.stationary_order_parameter(name, coupling, width, phase_lag=lag, diffusion=noise)

    return model, theory


def _frequencies(kind: str, law: dict[str, Any], n: int, network: Any):
    """As the table says; of `Spheres` rotations."""
    from ..dynamics import frequencies

    law = dict(law)
    name, random = law.pop("distribution"), law.pop("random", False)
    if name not in _DISTRIBUTIONS or (kind == "spheres" and name != "gaussian"):
        wanted = "gaussian, of rotations," if kind == "spheres" else f"one of {', '.join(_DISTRIBUTIONS)}"
        raise ValueError(f"distribution is {name!r}: {wanted} is wanted")
    if kind == "spheres":
        return frequencies.rotations(n, rng=0, **law)
    if name == "by_degree":
        if network is None or isinstance(network, list):
            raise ValueError("distribution is 'by_degree': one network is wanted, network=...")
        return frequencies.by_degree(network, **law)
    return getattr(frequencies, name)(n, rng=0 if random else None, **law)


def _network(given: Any, n: int):
    """What the model takes, and how many oscillators that is.

    Given is a path; {ring = R}; a matrix; or pairs [time, path] of networks that switch.
    """
    import numpy as np

    if isinstance(given, str):
        matrix = _matrix(given)
        return matrix, matrix.shape[0]
    if isinstance(given, dict):
        if set(given) != {"ring"}:
            raise ValueError(f"network has {', '.join(given)}: a path, a matrix or {{ring = neighbours}} is wanted")
        from ..dynamics import Ring

        return Ring(given["ring"]), n
    if not all(isinstance(entry, list) and len(entry) == 2 and isinstance(entry[1], str) for entry in given):
        return np.asarray(given), len(given)
    several = [(time, _matrix(path)) for time, path in given]
    n = max(matrix.shape[0] for _, matrix in several)
    for _, matrix in several:  # lists of edges end where their last oscillator does
        if matrix.shape[0] < n:
            matrix.resize((n, n))
    return several, n


def _matrix(path: str):
    """Sparse or dense (N, N), with the edge j -> i in row i; a list of edges says FROM TO [WEIGHT]."""
    import numpy as np

    from ..dynamics import networks

    edges = _array(path, ndmin=2)
    if path.endswith((".npz", ".npy")):
        return edges
    if not edges.size or edges.shape[1] not in (2, 3) or (edges[:, :2] != edges[:, :2].astype(int)).any():
        raise ValueError(f"{path} has lines of {edges.shape[1]} numbers: FROM TO, or FROM TO WEIGHT, is wanted")
    source, target = edges[:, 0].astype(int), edges[:, 1].astype(int)
    if min(source.min(), target.min()) < 0:
        raise ValueError(f"{path} has negative oscillators: they are numbered from 0")
    n = max(int(source.max()), int(target.max())) + 1
    return networks.from_edges(n, source, target, edges[:, 2] if edges.shape[1] == 3 else np.ones(len(edges)))


def _array(path: str, ndmin: Literal[0, 2] = 0):
    """Numbers of a .npy file, a sparse matrix of a .npz file, or numbers in lines of text."""
    import numpy as np

    try:
        if path.endswith(".npz"):
            from scipy import sparse

            return sparse.load_npz(path)
        if path.endswith(".npy"):
            return np.load(path, allow_pickle=False)
        return np.loadtxt(path, delimiter="," if path.endswith(".csv") else None, ndmin=ndmin)
    except OSError as error:
        raise Failure(INPUT, f"{path}: cannot be read ({error.strerror or error})") from None


def _picture(trajectory, theory, path: Path) -> Path | None:
    import numpy as np

    from .. import plot
    from .._runtime.files import write_whole
    from ..plot import files

    coupling = np.asarray(trajectory.model.coupling)
    if "R" not in trajectory.observables:
        return None

    def draw(figure):
        if coupling.ndim == 1 and len(coupling) > 1:
            plot.synchronization(trajectory, ax=figure.subplots(), theory=theory, title="Synchronization")
        else:
            level = theory(float(coupling.reshape(-1)[0])) if theory is not None else None
            plot.trajectory(trajectory, figure=figure, theory=level)

    several = coupling.ndim == 1 and len(coupling) > 1
    width, height = (5.2, 3.8) if several else (8.4, 5.6 if trajectory.theta is not None else 2.9)
    return write_whole(path, files.png(draw, width, height))
