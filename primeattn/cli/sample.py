"""``primeattn sample``: text from a trained model, token by token."""

from __future__ import annotations

import argparse
import codecs
import os
import sys
from itertools import islice
from pathlib import Path

from . import options, settings
from .exits import INPUT, USAGE, Failure
from .streams import put

_EPILOG = """examples:
  primeattn sample                                       from the model of primeattn-training
  primeattn sample book --prompt "It was " --tokens 500 --temperature 0.8 --top-k 40
  primeattn sample book --temperature 0                  always the most likely token

The text goes to standard output as it comes; what is no character of UTF-8 is shown as \ufffd."""


def _temperature(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 100:
        raise argparse.ArgumentTypeError(f"{options.short(text)}: a number from 0 to 100 is wanted")
    return value


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options; imports nothing of the library."""
    parser.description = "Let a model that `primeattn train` made from text go on with a prompt."
    parser.epilog = _EPILOG
    add = parser.add_argument
    place = "folder of a run, or a model.npz (default: primeattn-training)"
    add("model", nargs="?", type=Path, default=Path("primeattn-training"), metavar="MODEL", help=place)
    add(
        "--prompt",
        default="\n",
        metavar="TEXT",
        help="what to go on with; - reads standard input (default: a new line)",
    )
    add("--tokens", type=options.count, default=400, metavar="N", help="how many (default: 400)")
    add("--temperature", type=_temperature, default=0.8, metavar="T", help="0: the most likely one (default: 0.8)")
    add("--top-k", type=options.count, metavar="K", help="only the K most likely ones")
    add("--seed", type=options.seed, default=0, metavar="N", help="(default: 0)")
    add("-o", "--output", type=Path, metavar="PATH", help="write the text to this file in place of standard output")
    add("-q", "--quiet", action="store_true", help="without the prompt")


def run(arguments: argparse.Namespace) -> int:
    """Load, generate, print."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    place, about = settings.place_of(arguments.model)
    if about and about["task"]["task"] != "text":
        raise Failure(INPUT, f"{place} was trained on the task {about['task']['task']}, which is no text")
    prompt = sys.stdin.read() if arguments.prompt == "-" else arguments.prompt
    if not prompt:
        raise Failure(USAGE, "the prompt is empty: pass some text, or leave --prompt out")
    from ..train._text_task import Alphabet

    model = settings.model_at(place)
    alphabet = Alphabet(about.get("characters", ""))
    if len(alphabet) > model.config["vocabulary"]:
        raise Failure(INPUT, f"{place} has {model.config['vocabulary']} tokens, bytes have 256: where is its run.json?")
    tokens = islice(
        model.stream(
            alphabet.ids(prompt).astype("int64"),
            temperature=arguments.temperature,
            top_k=arguments.top_k,
            rng=arguments.seed,
        ),
        arguments.tokens,
    )
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    pieces = (decoder.decode(alphabet.content([token])) for token in tokens)
    shown = "" if arguments.quiet else prompt.lstrip("\n")
    if arguments.output is not None:
        from .._runtime.files import write_whole
        from .exits import OUTPUT

        try:
            write_whole(arguments.output, shown + "".join(pieces) + decoder.decode(b"", True))
        except OSError as error:
            raise Failure(OUTPUT, f"{arguments.output}: cannot be written ({error.strerror or error})") from None
        return 0
    terminal = sys.stdout.isatty()
    put(shown, end="")
    for piece in pieces:
        put(_harmless(piece) if terminal else piece, end="")
    put(decoder.decode(b"", True))
    return 0


def _harmless(text: str) -> str:
    """Control characters of a model must not reach a terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text)
