"""Standard output and standard error as the shell left them: closed, full, a broken pipe, or in an old encoding."""

from __future__ import annotations

import contextlib
import os
import sys

from .exits import OUTPUT, Failure


def fill() -> None:
    """Put the null device where a standard stream was closed, before a file of ours gets its number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115


def encodable(text: str, encoding: str = "utf-8") -> str:
    r"""Text with what the encoding cannot hold as escapes, such as ``\udcff`` for a byte 0xff in a file's name."""
    return text.encode(encoding, "backslashreplace").decode(encoding)


def put(line: str, end: str = "\n") -> None:
    """Print a line on standard output; a closed pipe has seen enough and is no error.

    Raises
    ------
    Failure
        If it cannot be written.
    """
    try:
        print(encodable(line, getattr(sys.stdout, "encoding", None) or "utf-8"), end=end, flush=True)
    except OSError as error:
        _refused(error)


def complain(message: str) -> None:
    """Print one line on standard error, if anybody can be told."""
    with contextlib.suppress(OSError):
        print(f"primeattn: {encodable(message)}", file=sys.stderr, flush=True)


def flushed(code: int) -> int:
    """The exit status, once standard output has taken all that was printed."""
    try:
        sys.stdout.flush()
    except OSError as error:
        try:
            _refused(error)
        except Failure as failure:
            complain(str(failure))
            return code or failure.code
    return code


def ignore_interrupts() -> None:
    """All is done: an interruption while Python shuts down changes nothing."""
    import signal

    with contextlib.suppress(ValueError):  # not the main thread
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _refused(error: OSError) -> None:
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    if not isinstance(error, BrokenPipeError):
        raise Failure(OUTPUT, f"standard output: cannot be written ({error.strerror or error})") from None
