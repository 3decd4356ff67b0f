"""From arguments to a subcommand, and from what it raises to one line and an exit status."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Sequence
from importlib import import_module

from .. import __version__
from . import COMMANDS
from .exits import EXITS, OK, USAGE, Failure, failure_of
from .streams import complain, put


class Parser(argparse.ArgumentParser):
    """A parser whose complaints are one line."""

    def error(self, message: str):
        complain(f"{message} ({self.prog} --help)")
        self.exit(USAGE)

    def _print_message(self, message, file=None):
        """Help and version; argparse's own would keep silent about a full disk."""
        if file is sys.stdout:
            put(message.rstrip("\n"))
        else:
            super()._print_message(message, file)


def _overview() -> str:
    width = max(map(len, COMMANDS))
    commands = "\n".join(f"  {name:<{width}}  {summary}" for name, summary in COMMANDS.items())
    exits = "\n".join(f"  {code:<3}  {meaning}" for code, meaning in EXITS.items())
    return (
        f"commands:\n{commands}\n\n"
        f"examples:\n"
        f"  primeattn compare                      the default corpus; no network, no data\n"
        f"  primeattn compare book.txt --output out\n"
        f"  primeattn compare --help\n\n"
        f"exit status:\n{exits}"
    )


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="primeattn",
        description="A laboratory for attention: kernels, geometry, fast compiled code.",
        epilog=_overview(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="primeattn [--help] [--version] COMMAND ...",
        add_help=False,
    )
    parser.add_argument("-h", "--help", action="store_true", help="show this text, or that of a command")
    parser.add_argument("--version", action="version", version=f"primeattn {__version__}")
    parser.add_argument("--debug", action="store_true", help="show the traceback of a failure")
    parser.add_argument("command", nargs="?", metavar="COMMAND", help=argparse.SUPPRESS)
    parser.add_argument("rest", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser


def _subcommand(name: str, options: Sequence[str]) -> int:
    module = import_module(f".{name.replace('-', '_')}", __package__)
    parser = Parser(prog=f"primeattn {name}", formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    module.configure(parser)
    parser.add_argument("--debug", action="store_true", help="show the traceback of a failure")
    arguments = parser.parse_intermixed_args(options)
    arguments.command_line = ["primeattn", name, *options]
    try:
        return module.run(arguments)
    except Exception as error:
        if arguments.debug:
            raise
        failure = failure_of(error)
        complain(str(failure))
        return failure.code


def run(arguments: Sequence[str] | None) -> int:
    """Run a command line, by default that of the process, and return the exit status."""
    parser = _parser()
    try:
        top, options = _split(sys.argv[1:] if arguments is None else list(arguments))
        chosen = parser.parse_args(top)
        if chosen.command is None:
            parser.print_help(sys.stdout if chosen.help else sys.stderr)
            return OK if chosen.help else USAGE
        if chosen.command not in COMMANDS:
            near = difflib.get_close_matches(chosen.command, COMMANDS, 1, 0.4)
            hint = f"did you mean {near[0]!r}?" if near else f"choose one of {', '.join(COMMANDS)}"
            complain(f"there is no command {chosen.command!r}: {hint} (primeattn --help)")
            return USAGE
        extra = (["--help"] if chosen.help else []) + (["--debug"] if chosen.debug else [])
        return _subcommand(chosen.command, [*extra, *options])
    except SystemExit as leave:  # argparse: --help, --version, wrong options
        return leave.code if isinstance(leave.code, int) else USAGE
    except Failure as failure:
        complain(str(failure))
        return failure.code


def _split(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Before and after the command's name."""
    for place, argument in enumerate(arguments):
        if argument == "--":
            raise Failure(USAGE, "-- stands before a command: write primeattn COMMAND -- FILE ... (primeattn --help)")
        if not argument.startswith("-"):
            return arguments[: place + 1], arguments[place + 1 :]
    return arguments, []
