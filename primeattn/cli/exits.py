"""Exit statuses, and which failure gets which."""

OK, UNEXPECTED, USAGE, INPUT, EXTRA, OUTPUT, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130

EXITS = {
    OK: "done",
    UNEXPECTED: "unexpected failure (--debug shows the traceback)",
    USAGE: "wrong usage",
    INPUT: "the input cannot be used: missing, a directory, empty, binary, undecodable, too large, too short",
    EXTRA: "an extra is missing; the message is the line that installs it",
    OUTPUT: "the output cannot be written",
    INTERRUPTED: "interrupted; what was finished is on disk",
}


class Failure(Exception):
    """A failure with an exit status; its text is one line for a person."""

    def __init__(self, code: int, message: str):
        super().__init__(message)
        self.code = code


def failure_of(error: Exception) -> Failure:
    """Turn an exception into a status and one line."""
    from ..corpus import CorpusError

    if isinstance(error, Failure):
        return error
    line = " ".join(str(error).split())
    if isinstance(error, CorpusError):
        return Failure(INPUT, line)
    if isinstance(error, ImportError) and 'pip install "primeattn[' in line:
        return Failure(EXTRA, line)
    return Failure(UNEXPECTED, f"{type(error).__name__}: {line} (--debug shows where)")
