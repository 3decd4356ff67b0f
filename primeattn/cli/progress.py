"""What a person at a terminal sees while work is going on; nothing when nobody looks."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from typing import Any

from .streams import put


class Progress(AbstractContextManager):
    """A line on standard error that says what is being done, and a bar.

    Silent when ``quiet``, and when standard error is not a terminal, or one that cannot go back in a line (TERM=dumb).
    """

    def __init__(self, quiet: bool = False):
        self._bar: Any = None
        self._task: Any = None
        if quiet or not sys.stderr.isatty():
            return
        from rich.console import Console
        from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bar

        console = Console(stderr=True)
        if console.is_dumb_terminal:
            return
        columns = SpinnerColumn(), TextColumn("{task.description:<34}"), BarColumn(32), TimeElapsedColumn()
        self._bar = Bar(*columns, console=console, transient=True)

    def __enter__(self):
        if self._bar is not None:
            self._bar.start()
            self._task = self._bar.add_task("", total=None)
        return self

    def __exit__(self, *_):
        if self._bar is not None:
            self._bar.stop()

    def say(self, what: str, done: int | None = None, total: int | None = None) -> None:
        """Show what is being done now."""
        if self._bar is not None:
            self._bar.update(self._task, description=what, completed=done, total=total)

    def print(self, line: str) -> None:
        """Print a line on standard output, above the bar if both are the same terminal; a closed pipe is no error."""
        if self._bar is not None and sys.stdout.isatty():
            self._bar.stop()
            put(line)
            self._bar.start()
        else:
            put(line)
