"""``primeattn search``: ask the passages of a text."""

from __future__ import annotations

import argparse
import json
import os
import sys
from importlib.util import find_spec
from pathlib import Path

from . import options
from .exits import INPUT, OUTPUT, USAGE, Failure
from .progress import Progress

SCHEMA = "primeattn.search/1"
KINDS: dict[str, dict] = {
    "amplitude": {"amplitude": True},
    "union": {},
    "sqrt": {"normalizer": "sqrt"},
    "ruzicka": {"overlap": "ruzicka"},
    "original": {"kind": "original"},
}
REASONS = 6
_EPILOG = """examples:
  primeattn search --query "how are attributes looked up"
  primeattn search *.txt --query "the king" --query "the queen" --top 3
  primeattn search book.txt --index book.npz --query "white whale"
  primeattn search --index book.npz --query "ahab" --json      (the files are remembered)
  primeattn search book.txt --query -                          (one query a line from standard input)

An index file is built if there is none, and built again if one of its files changed. Shared words are in bold at a
terminal, in [brackets] elsewhere. Hits go to standard output, progress to standard error if that is a terminal."""


def _top(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 10_000:
        raise argparse.ArgumentTypeError(f"{text!r}: a number from 1 to 10000 is wanted")
    return int(text)


def _weights(text: str) -> tuple[float, ...]:
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        found = ()
    if len(found) != 3 or min(found) < 0 or not 0 < sum(found) < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r}: three numbers from 0 on are wanted, such as 0.8,0.2,0")
    return tuple(x / sum(found) for x in found)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options; imports nothing of the library."""
    parser.description = (
        "Find the passages of a text that resonate most with a query, and say why: which words and fragments they "
        "share, and what each adds to the score. The search is exact."
    )
    parser.epilog = _EPILOG
    add = parser.add_argument
    add("files", nargs="*", metavar="FILE", help="text files; default: those of the index, or Python's documentation")
    query = "what to look for; more than once for several, - for lines of standard input"
    add("--query", action="append", metavar="TEXT", help=query)
    add("--top", type=_top, default=10, metavar="N", help="most hits of a query (default: 10)")
    add("--index", type=Path, metavar="PATH", help="file to keep the index in")
    kind = f"score: {', '.join(KINDS)} (default: that of the index, or amplitude)"
    add("--kind", choices=tuple(KINDS), metavar="NAME", help=kind)
    add("--weights", type=_weights, metavar="A,B,C", help="of overlap, alignment and coherence (default: equal)")
    add("--as-is", action="store_true", help="use the index without a look at its files")
    encoding = "of the files (default: UTF-8, or as the byte-order mark says)"
    add("--encoding", type=options.encoding, metavar="NAME", help=encoding)
    largest = "largest file that is read (default: 64MiB)"
    add("--max-bytes", type=options.nbytes, default=64 << 20, metavar="SIZE", help=largest)
    add("--json", action="store_true", help="hits, reasons and versions as one JSON document")
    add("-q", "--quiet", action="store_true", help="no progress and no remarks")


def run(arguments: argparse.Namespace) -> int:
    """Have an index, ask it, print."""
    queries = _queries(arguments)
    with Progress(arguments.quiet or find_spec("rich") is None) as progress:
        progress.say("starting")
        found = _index(arguments, progress)
        progress.say("searching", 0, len(queries))
        answers = []
        for i, query in enumerate(queries):
            answers.append(found.search(query, top=arguments.top))
            progress.say("searching", i + 1, len(queries))
        lines = [_document(found, queries, answers)] if arguments.json else _lines(queries, answers, sys.stdout)
        for line in lines:
            progress.print(_encodable(line, sys.stdout))
    for query, hits in zip(queries, answers, strict=True):
        if not hits and not arguments.quiet:
            _remark(f"nothing shares a word or fragment with {query!r}")
    return 0


def _remark(text: str) -> None:
    print(f"primeattn: {text}", file=sys.stderr)


def _queries(arguments: argparse.Namespace) -> list[str]:
    if not arguments.query:
        if arguments.index is None:
            raise Failure(USAGE, 'what to look for? pass --query "..." (primeattn search --help)')
        return []  # only build the index
    found: list[str] = []
    for query in arguments.query:
        found += [line.strip() for line in sys.stdin if line.strip()] if query == "-" else [query]
    if not all(query.strip() for query in found):
        raise Failure(USAGE, "a query is empty: pass some words")
    return found


def _score(arguments: argparse.Namespace) -> dict | None:
    """Options of the score that the user asked for; None leaves the choice to the index."""
    if arguments.kind is None and arguments.weights is None:
        return None
    score = dict(KINDS[arguments.kind or "amplitude"])
    return score if arguments.weights is None else score | {"weights": arguments.weights}


def _index(arguments: argparse.Namespace, progress: Progress):
    """The index that the user means: loaded, built, or built again; saved if it has a place."""
    from ..search import TextIndex

    place, score = arguments.index, _score(arguments)
    paths: list[str] = arguments.files
    encoding = arguments.encoding
    if place is not None and place.exists():
        progress.say("loading the index")
        try:
            found = TextIndex.load(place)
        except OSError as error:
            raise Failure(INPUT, f"{place}: cannot be read ({error.strerror or error})") from None
        except ValueError as error:
            raise Failure(INPUT, f"{error}; delete it, or name another file with --index") from None
        why = _outdated(found, arguments)
        if why is None:
            return found if score is None else found.scored(**score)
        if not arguments.quiet:
            _remark(f"{place} is out of date ({why}): building it again")
        paths = paths or [s.path for s in found.sources if s.path]
        encoding = encoding or found.encoding
        if score is None:
            score = found.index.options
    elif place is not None:
        _check_place(place)
    from ..corpus import HugeFile

    try:
        built = TextIndex.of_files(
            paths, encoding=encoding, limit=arguments.max_bytes, say=progress.say, **(score or KINDS["amplitude"])
        )
    except HugeFile as error:
        raise Failure(INPUT, f"{str(error).partition(';')[0]}; cut it, or raise --max-bytes") from None
    if place is not None:
        progress.say("writing the index")
        try:
            built.save(place)
        except OSError as error:
            raise Failure(OUTPUT, f"{place}: cannot be written ({error.strerror or error})") from None
    return built


def _check_place(place: Path) -> None:
    """Refuse before the work what could not be written after it."""
    folder = place.parent
    if not folder.is_dir():
        raise Failure(OUTPUT, f"{place}: there is no folder {folder}; make it, or name another --index")
    if not os.access(folder, os.W_OK):
        raise Failure(OUTPUT, f"{place}: {folder} cannot be written to; name another --index")


def _outdated(found, arguments: argparse.Namespace) -> str | None:
    """Why the index does not serve, in a few words; None if it does."""
    if arguments.files:
        wanted = sorted({os.path.abspath(path) for path in arguments.files})
        if wanted != sorted(s.path for s in found.sources):
            return "it is of other files"
    if arguments.encoding is not None and arguments.encoding != found.encoding:
        return f"it was read as {found.encoding or 'UTF-8'}"
    if arguments.as_is:
        return None
    changes = found.changes()
    gone = [change for change in changes if change.endswith("is gone")]
    if gone:
        raise Failure(INPUT, f"{gone[0]} since it was indexed; name the files to index, or pass --as-is")
    return ", ".join(changes[:3]) + (", ..." if len(changes) > 3 else "") if changes else None


def _lines(queries: list[str], answers: list, stream) -> list[str]:
    from ..search._hits import pieces

    bold = stream.isatty() and "NO_COLOR" not in os.environ
    on, off = ("\x1b[1m", "\x1b[0m") if bold else ("[", "]")
    lines: list[str] = []
    for query, hits in zip(queries, answers, strict=True):
        if len(queries) > 1:
            lines += [*([""] if lines else []), f"# {query}"]
        for rank, hit in enumerate(hits, 1):
            place = f"{hit.source}:{hit.line}" if hit.line else hit.source
            parts = ", ".join(f"{name} {value:.2f}" for name, value in hit.components.items())
            lines.append(f"{rank:>3}  {hit.score:.3f}  {place}  ({parts})")
            text = "".join(f"{on}{_visible(x)}{off}" if marked else _visible(x) for x, marked in pieces(hit))
            lines.append(f"     {text}")
            share = [f"{_visible(r.label)} {r.contribution / hit.score:.0%}" for r in hit.reasons[:REASONS]]
            rest = len(hit.reasons) - len(share)
            lines.append(f"     because: {', '.join(share)}" + (f", and {rest} more" if rest > 0 else ""))
    return lines


def _visible(text: str) -> str:
    """Control characters of a file must not reach a terminal."""
    return "".join(c if c.isprintable() else " " for c in text)


def _encodable(line: str, stream) -> str:
    """What the stream's encoding lacks becomes a question mark."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return line.encode(encoding, "replace").decode(encoding)


def _document(found, queries: list[str], answers: list) -> str:
    from .. import __version__

    content = {
        "schema": SCHEMA,
        "primeattn": __version__,
        "index": {
            "passages": len(found),
            "files": [s.path or s.name for s in found.sources],
            "options": found.index.options,
            "bytes": found.index.nbytes,
        },
        "queries": [
            {"query": query, "hits": [_record(rank, hit) for rank, hit in enumerate(hits, 1)]}
            for query, hits in zip(queries, answers, strict=True)
        ],
    }
    return json.dumps(content, ensure_ascii=False, allow_nan=False, indent=1)


def _record(rank: int, hit) -> dict:
    start, stop = hit.snippet
    return {
        "rank": rank,
        "id": hit.id,
        "score": hit.score,
        "components": hit.components,
        "source": hit.source,
        "line": hit.line or None,
        "text": hit.text,
        "snippet": hit.text[start:stop],
        "marks": [list(span) for span in hit.marks],
        "reasons": [reason._asdict() | {"label": reason.label} for reason in hit.reasons],
    }
