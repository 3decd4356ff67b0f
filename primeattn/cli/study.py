"""``primeattn study``: what mechanisms are, as a table and figures."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from . import options
from .compare import _check_output, _folder, _name, _names, _seed
from .exits import EXTRA, INPUT, INTERRUPTED, OUTPUT, USAGE, Failure
from .progress import Progress

_EPILOG = """examples:
  primeattn study
  primeattn study --mechanism dot_product,expressive,resonance:original --output kernels
  primeattn study --input tokens.npy --tokens 128
  primeattn study --input sample.nc:embedding
  primeattn study --input alice.txt --seed 7

Writes DIR/study.md first (its path is printed), then study.nc, figures and index.html; a file is written whole or not
at all. Paths go to standard output, progress to standard error if that is a terminal."""
_NEEDED = ("matplotlib", "rich", "jinja2", "h5netcdf", "h5py")
_MOST_TOKENS, _MOST_SETS = 1000, 1000


def _within(least: int, most: int):
    def number(text: str) -> int:
        if not text.isdecimal() or len(text) > 6 or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{options.short(text)}: a number from {least} to {most} is wanted")
        return int(text)

    return number


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options; imports nothing of the library."""
    parser.description = (
        "Ask of every attention mechanism what it is: which properties are theorems and which have a counter-example, "
        "spectra, entropies, Jacobians, limits, cost; and what it does to tokens layer after layer."
    )
    parser.epilog = _EPILOG
    add = parser.add_argument
    which = "mechanisms, also resonance:original and resonance:kernel (default: all; each compiles once)"
    add("--mechanism", type=_names, metavar="NAME,...", help=which)
    source = "tokens: .npy of (tokens, width), netCDF (PATH.nc or PATH.nc:VARIABLE), or a text (default: drawn)"
    add("--input", type=_name, metavar="FILE", help=source)
    most = "most tokens that are taken, from the first, or as many are drawn (default: 64)"
    add("--tokens", type=_within(2, _MOST_TOKENS), default=64, metavar="N", help=most)
    sets = "samples on which each theorem is tested (default: 20)"
    add("--sets", type=_within(1, _MOST_SETS), default=20, metavar="N", help=sets)
    folder = "folder of the study, made if need be (default: primeattn-study)"
    add("-o", "--output", type=_folder, default=Path("primeattn-study"), metavar="DIR", help=folder)
    add("--seed", type=_seed, default=0, metavar="N", help="of what is drawn (default: 0)")
    encoding = "of a text (default: UTF-8, or as the byte-order mark says)"
    add("--encoding", type=options.encoding, metavar="NAME", help=encoding)
    largest = "largest text that is read (default: 64MiB)"
    add("--max-bytes", type=options.nbytes, default=64 << 20, metavar="SIZE", help=largest)
    add("-q", "--quiet", action="store_true", help="print nothing but errors")


def run(arguments: argparse.Namespace) -> int:
    """Read, compute, write; the table as early as possible."""
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise Failure(EXTRA, f'{", ".join(missing)} missing: pip install "primeattn[report]"')
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as in compare: matrices are small
    with Progress(arguments.quiet) as progress:
        progress.say("starting")
        from ..report import study as report

        names = _mechanisms(arguments.mechanism)
        inputs, labels, source = _inputs(arguments)
        _check_output(arguments.output)
        about = {"command": shlex.join(arguments.command_line), "tokens": source}
        written: list[Path] = []

        def on_file(path: Path) -> None:
            written.append(path)
            if not arguments.quiet:
                progress.print(os.fspath(path))

        try:
            found = report.gather(
                names,
                inputs,
                labels=labels,
                seed=arguments.seed,
                sets=arguments.sets,
                tokens=arguments.tokens,
                about=about,
                say=progress.say,
            )
            progress.say("writing")
            report.write(found, arguments.output, on_file=on_file)
        except OSError as error:
            place = error.filename or arguments.output
            raise Failure(OUTPUT, f"{place}: cannot be written ({error.strerror or error})") from error
        except KeyboardInterrupt:
            if not written:
                raise
            raise Failure(INTERRUPTED, "interrupted; what was finished is on disk") from None
    if sys.stderr.isatty() and not arguments.quiet:
        print("", report.finding(found), sep="\n", file=sys.stderr)
    return 0


def _mechanisms(names: tuple[str, ...] | None) -> list[str] | None:
    if names is None:
        return None
    from ..attention import MECHANISMS

    known = (*MECHANISMS, "resonance:original", "resonance:kernel")
    for name in names:
        if name not in known:
            raise Failure(USAGE, f"there is no mechanism {options.short(name)}: choose some of {', '.join(known)}")
    if not names:
        raise Failure(USAGE, "no mechanism is named: leave --mechanism out for all")
    return list(names)


# --- tokens ---------------------------------------------------------------------------------------------------------


def _inputs(arguments: argparse.Namespace) -> tuple[Any, list[str] | None, str]:
    """Vectors, their names if they have some, and where they come from."""
    path = arguments.input
    if path is None:
        return None, None, f"{arguments.tokens} drawn, of width 16, seed {arguments.seed}"
    import numpy as np

    file, _, variable = path.rpartition(":") if ".nc:" in path else (path, "", "")
    suffix, labels = Path(file).suffix.lower(), None
    if suffix == ".npy":
        vectors = _of_numpy(file)
    elif suffix == ".nc":
        vectors = _of_netcdf(file, variable)
    elif suffix in (".npz", ".pkl", ".pt", ".csv"):
        raise Failure(INPUT, f"{file}: {suffix} is not read; save the vectors with numpy.save, as .npy")
    else:
        vectors, labels = _of_text(file, arguments)
    if vectors.ndim != 2 or vectors.shape[1] == 0:
        raise Failure(INPUT, f"{path} has shape {vectors.shape}: (tokens, width) is wanted, one sequence of vectors")
    if vectors.dtype.kind not in "biuf":
        raise Failure(INPUT, f"{path} has dtype {vectors.dtype}: real numbers are wanted")
    vectors = np.asarray(vectors[: arguments.tokens], dtype=float)
    if len(vectors) < 2:
        raise Failure(INPUT, f"{path} has {len(vectors)} tokens: two or more are wanted")
    if not np.isfinite(vectors).all():
        row = int(np.flatnonzero(~np.isfinite(vectors).all(axis=1))[0])
        raise Failure(INPUT, f"{path} holds NaN or infinity, first in token {row}: no property of it is defined")
    return vectors, labels, f"the first {len(vectors)} of {file}"


def _of_numpy(file: str):
    import numpy as np

    try:
        return np.load(file, allow_pickle=False)
    except OSError as error:
        raise Failure(INPUT, f"{file}: cannot be read ({error.strerror or error})") from None
    except (ValueError, EOFError) as error:
        raise Failure(INPUT, f"{file} is no array of numbers ({' '.join(str(error).split())})") from None


def _of_netcdf(file: str, variable: str):
    import xarray

    try:
        with open(file, "rb"):
            pass
        with xarray.open_dataset(file, engine="h5netcdf") as data:
            tables = [str(name) for name, x in data.data_vars.items() if x.ndim == 2 and x.dtype.kind in "iuf"]
            if variable and variable not in data.data_vars:
                known = ", ".join(map(str, data.data_vars)) or "none"
                raise Failure(INPUT, f"{file} has no variable {variable!r}; it has {known}")
            if not variable and len(tables) != 1:
                known = ", ".join(tables) or "none"
                raise Failure(INPUT, f"{file} has {len(tables)} tables ({known}): name one, {file}:VARIABLE")
            return data[variable or tables[0]].values
    except OSError as error:
        raise Failure(INPUT, f"{file}: cannot be read ({error.strerror or error})") from None
    except ValueError as error:
        raise Failure(INPUT, f"{file} is no netCDF file ({' '.join(str(error).split())})") from None


def _of_text(file: str, arguments: argparse.Namespace):
    from .. import corpus
    from ..report.words import running, sentences

    try:
        text = corpus.read(file, encoding=arguments.encoding, limit=arguments.max_bytes)
    except corpus.HugeFile as error:
        raise Failure(INPUT, f"{str(error).partition(';')[0]}; cut it, or raise --max-bytes") from None
    pieces = sentences(text)
    labels, vectors = running(pieces, arguments.tokens) if pieces else ([], None)
    if len(labels) < 2:
        raise Failure(INPUT, f"{file} has {len(labels)} words: two or more are wanted")
    return vectors, labels
