"""``primeattn compare``: the report on the passages of a text."""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from . import options
from .exits import EXTRA, INPUT, INTERRUPTED, OUTPUT, USAGE, Failure
from .progress import Progress

_EPILOG = """examples:
  primeattn compare
  primeattn compare alice.txt carroll/*.txt --output alice --passages 200
  primeattn compare old.txt --encoding latin-1 --kind original
  primeattn compare --mechanisms dot_product,resonant

Writes DIR/map.png first (its path is printed), then index.html, more figures, report.nc and summary.json; a file is
written whole or not at all. Paths go to standard output, progress to standard error if that is a terminal."""
_NEEDED = ("matplotlib", "rich", "jinja2", "h5netcdf", "h5py")
_MOST_PASSAGES = 2000
_SEED_DIGITS = 80  # those of NumPy's own seeds, 128 bits, and more


def _passages(text: str) -> int:
    if not text.isdecimal() or len(text) > 4 or not 2 <= int(text) <= _MOST_PASSAGES:
        raise argparse.ArgumentTypeError(f"{options.short(text)}: a number from 2 to {_MOST_PASSAGES} is wanted")
    return int(text)


def _characters(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,6})-(\d{1,6})", text, re.ASCII)
    least, most = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= least <= most:
        raise argparse.ArgumentTypeError(f"{options.short(text)}: two lengths such as 60-300 are wanted, smaller first")
    return least, most


def _temperature(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 1e-3 <= value <= 1e3:
        raise argparse.ArgumentTypeError(f"{options.short(text)}: a number from 0.001 to 1000 is wanted")
    return value


def _minutes(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 10_000:
        raise argparse.ArgumentTypeError(f"{options.short(text)}: a number of minutes from 0 to 10000 is wanted")
    return value


def _seed(text: str) -> int:
    if not text.isdecimal() or len(text) > _SEED_DIGITS:
        raise argparse.ArgumentTypeError(
            f"{options.short(text)}: a whole number from 0 on, of at most {_SEED_DIGITS} digits, is wanted"
        )
    return int(text)


def _name(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("'' is no name")
    return text


def _names(text: str) -> tuple[str, ...]:
    """Names between commas, each once; "none" is none of them."""
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    if not all(names):
        raise argparse.ArgumentTypeError(f"{options.short(text)}: names between commas, or none, are wanted")
    return () if names == ("none",) else names


def _folder(text: str) -> Path:
    return Path(_name(text))


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options; imports nothing of the library."""
    parser.description = (
        "Turn the passages of a text into prime states and into TF-IDF vectors, and write a report: which passages "
        "resonate with which, and why; maps, spectra, sparsity, cost; and every attention mechanism on the same words."
    )
    parser.epilog = _EPILOG
    add = parser.add_argument
    add(
        "files",
        nargs="*",
        type=_name,
        metavar="FILE",
        help="text files; default: the language reference of Python, pydoc_data.topics",
    )
    folder = "folder of the report, made if need be (default: primeattn-report)"
    add("-o", "--output", type=_folder, default=Path("primeattn-report"), metavar="DIR", help=folder)
    most = "most passages to compare, taken in short runs all over the text (default: 120)"
    add("--passages", type=_passages, default=120, metavar="N", help=most)
    lengths = "least and most characters of a passage (default: 200-1200)"
    add("--characters", type=_characters, metavar="MIN-MAX", help=lengths)
    kind = "the view the report is about: kernel, sqrt, amplitude, original, tfidf (default: kernel)"
    add("--kind", default="kernel", metavar="NAME", help=kind)
    which = "attention mechanisms to compare on the words of a passage, or none (default: all; each compiles once)"
    add("--mechanisms", type=_names, metavar="NAME,...", help=which)
    add("--temperature", type=_temperature, default=0.1, metavar="T", help="of the attention maps (default: 0.1)")
    minutes = "minutes of training, all mechanisms on this text; 0 leaves it out (default: 1)"
    add("--train", type=_minutes, default=1.0, metavar="MINUTES", help=minutes)
    add("--seed", type=_seed, default=0, metavar="N", help="says where the runs of passages lie (default: 0)")
    encoding = "of the files (default: UTF-8, or as the byte-order mark says)"
    add("--encoding", type=options.encoding, metavar="NAME", help=encoding)
    largest = "largest file that is read (default: 64MiB)"
    add("--max-bytes", type=options.nbytes, default=64 << 20, metavar="SIZE", help=largest)
    add("--open", action="store_true", help="show the report in a browser at the end")
    add("-q", "--quiet", action="store_true", help="print nothing but errors")


def _check_extras() -> None:
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise Failure(EXTRA, f'{", ".join(missing)} missing: pip install "primeattn[report]"')


def _check_output(folder: Path) -> None:
    """Make the folder and try to write in it, before the work and not after it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except FileExistsError:
        raise Failure(OUTPUT, f"{folder}: a file; name a folder with --output") from None
    except OSError as error:
        raise Failure(
            OUTPUT, f"{folder}: cannot be written ({error.strerror or error}); name another --output"
        ) from None


def _view(name: str, views) -> str:
    """A view by its full name, or by what follows the colon."""
    for full in views:
        if name in (full, full.rpartition(":")[2]):
            return full
    choice = ", ".join(full.rpartition(":")[2] for full in views)
    raise Failure(USAGE, f"there is no view {options.short(name)}: choose one of {choice}")


def _mechanisms(names: tuple[str, ...] | None) -> dict:
    """Entries of the table, in its order; all if nothing was asked."""
    from ..attention import MECHANISMS

    for name in names or ():
        if name not in MECHANISMS:
            known = ", ".join(MECHANISMS)
            raise Failure(USAGE, f"there is no mechanism {options.short(name)}: choose some of {known}, or none")
    return {name: mechanism for name, mechanism in MECHANISMS.items() if names is None or name in names}


def run(arguments: argparse.Namespace) -> int:
    """Read, compute, write; the first picture as early as possible."""
    _check_extras()
    # matrices of a few hundred rows: BLAS threads bring nothing, and spin against everybody else's on a busy machine
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    with Progress(arguments.quiet) as progress:
        progress.say("starting")
        from .. import report
        from ..corpus import HugeFile

        lead = _view(arguments.kind, report.VIEWS)
        mechanisms = _mechanisms(arguments.mechanisms)
        try:
            found, title = report.read(
                arguments.files,
                encoding=arguments.encoding,
                limit=arguments.max_bytes,
                characters=arguments.characters or report.CHARACTERS,
                say=progress.say,
            )
        except HugeFile as error:
            raise Failure(INPUT, f"{str(error).partition(';')[0]}; cut it, or raise --max-bytes") from None
        except UnicodeError as error:  # punycode and its like say no more
            raise Failure(
                INPUT, f"the files are not valid {arguments.encoding} ({error}); name another --encoding"
            ) from None
        progress.say("encoding")
        material = report.prepare(
            found,
            passages=arguments.passages,
            seed=arguments.seed,
            title=title,
            lead=lead,
            mechanisms=mechanisms,
            temperature=arguments.temperature,
            training=arguments.train,
            about={
                "command": shlex.join(arguments.command_line),
                "source": ", ".join(map(os.fspath, arguments.files)) or report.DEFAULT,
            },
        )
        _check_output(arguments.output)
        written: set[Path] = set()

        def on_file(path: Path) -> None:
            if path not in written and not arguments.quiet:
                progress.print(os.fspath(path))
            written.add(path)

        try:
            page = report.write(material, arguments.output, on_file=on_file, on_section=progress.say)
        except OSError as error:
            place = error.filename or arguments.output
            raise Failure(OUTPUT, f"{place}: cannot be written ({error.strerror or error})") from error
        except KeyboardInterrupt:
            if not written:
                raise
            raise Failure(INTERRUPTED, "interrupted; what was finished is on disk") from None
    if sys.stderr.isatty() and not arguments.quiet:
        summary = json.loads((arguments.output / "summary.json").read_text("utf-8"))
        print("", *summary["sections"]["opening"]["sentences"], sep="\n", file=sys.stderr)
    if arguments.open:
        import webbrowser

        webbrowser.open(page.resolve().as_uri())
    return 0
