"""A bar with the time that is left, for whoever waits at a terminal; nothing when nobody looks."""

import sys
import time
from contextlib import AbstractContextManager
from typing import Any

_PATIENCE = 1.0  # seconds without a bar
_OFTEN = 0.1  # seconds between two drawings


class Bar(AbstractContextManager):
    """A line on standard error, from the second second on.

    Parameters
    ----------
    show : bool or None
        None: if standard error is a terminal and rich is installed.
    """

    def __init__(self, show: bool | None = None):
        self._begun = self._drawn = time.monotonic()
        self._bar: Any = None
        self._task: Any = None
        self._wanted = sys.stderr is not None and sys.stderr.isatty() if show is None else show

    def __call__(self, fraction: float, says: str) -> None:
        """Show how much is done, 0 to 1, and where."""
        now = time.monotonic()
        if not self._wanted or now - self._begun < _PATIENCE or (self._bar is not None and now - self._drawn < _OFTEN):
            return
        if self._bar is None:
            self._start()
        if self._bar is not None:
            self._bar.update(self._task, completed=fraction, description=says)
        self._drawn = now

    def __exit__(self, *_) -> None:
        if self._bar is not None:
            self._bar.stop()

    def _start(self) -> None:
        try:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
        except ImportError:  # an extra: work goes on without a bar
            self._wanted = False
            return
        console = Console(stderr=True)
        if console.is_dumb_terminal:
            self._wanted = False
            return
        columns = TextColumn("{task.description:<16}"), BarColumn(32), TaskProgressColumn(), TimeRemainingColumn()
        self._bar = Progress(*columns, console=console, transient=True)
        self._task = self._bar.add_task("", total=1.0)
        self._bar.start()
