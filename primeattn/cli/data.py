"""``primeattn data``: the texts to train on."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from . import options
from .exits import INPUT, OUTPUT, Failure
from .streams import put

_EPILOG = """examples:
  primeattn data                           what there is, and where
  primeattn data topics --xz               how a text is cut, its checksum, and what cheap coders reach on it
  primeattn data enwik8 --fetch            100 MB, once, with pooch; its md5 is checked
  primeattn data enwik8 --fetch --from enwik8.gz

Fetched data are kept in the folder PRIMEATTN_DATA, or in the user's cache."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options; imports nothing of the library."""
    parser.description = "Say where texts are, how they are cut into training, validation and test, and fetch enwik8."
    parser.epilog = _EPILOG
    add = parser.add_argument
    add("source", nargs="?", metavar="SOURCE", help="topics, python, enwik8, or a file (also .gz, .xz)")
    add("--fetch", action="store_true", help="fetch it if it is not there")
    add("--from", dest="path", type=Path, metavar="PATH", help="a file to take it from, in place of the network")
    add("--held-out", type=options.count, metavar="N", help="bytes of the validation part, and of the test part")
    add("--xz", action="store_true", help="bits a byte that xz needs for the test part, given the training part")
    add("--json", action="store_true", help="print JSON")
    add("-o", "--output", type=Path, metavar="PATH", help="write JSON to this file, too")
    add("-q", "--quiet", action="store_true", help="print nothing but errors")


def run(arguments: argparse.Namespace) -> int:
    """Look, fetch, print."""
    from .. import train
    from ..train._texts import folder, where

    if arguments.fetch or arguments.path is not None:
        try:
            place = train.fetch(arguments.source or "enwik8", path=arguments.path)
        except ValueError as error:
            raise Failure(INPUT, str(error)) from None
        except OSError as error:
            raise Failure(OUTPUT, f"cannot be fetched: {' '.join(str(error).split())}") from None
        if not arguments.quiet:
            put(os.fspath(place))
        return 0
    if arguments.source is not None:
        try:
            found = _described(train, arguments)
        except ValueError as error:
            raise Failure(INPUT, " ".join(str(error).split())) from None
        lines = [
            f"{name:<16}  {value:,}" if isinstance(value, int) else f"{name:<16}  {value}"
            for name, value in found.items()
        ]
    else:
        found, lines = {"folder": os.fspath(folder())}, [f"fetched data: {folder()}"]
        for name, source in train.SOURCES.items():
            kept = where(name) if source.url else None
            state = "with this Python" if not source.url else str(kept) if kept else f"primeattn data {name} --fetch"
            found[name] = {
                "says": source.says,
                "where": state,
                "bytes": source.size,
                "md5": source.md5,
                "url": source.url,
            }
            lines.append(f"{name:<8}  {source.says}\n          {state}" + (f"; md5 {source.md5}" if source.md5 else ""))
    text = json.dumps(found, indent=1)
    if arguments.output is not None:
        from .._runtime.files import write_whole

        try:
            write_whole(arguments.output, text + "\n")
        except OSError as error:
            raise Failure(OUTPUT, f"{arguments.output}: cannot be written ({error.strerror or error})") from None
    if not arguments.quiet:
        put(text if arguments.json else "\n".join(lines))
    return 0


def _described(train, arguments: argparse.Namespace) -> dict:
    task = train.TextTask(arguments.source, held_out=arguments.held_out)
    found = {
        "name": task.text.name,
        "train": len(task.text.train),
        "validation": len(task.text.validation),
        "test": len(task.text.test),
        "sha256": task.text.sha256,
        "unigram": round(task.unigram_bits(), 4),
    }
    return found | ({"xz": round(task.xz_bits(), 4)} if arguments.xz else {})
