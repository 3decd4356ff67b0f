"""Time of short calls."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

LEAST, MOST, ENOUGH = 3, 9, 0.1  # runs and seconds of one measurement


def milliseconds(run: Callable[[], object]) -> float:
    """Median time of some calls; the first, which may compile, is not among them."""
    run()
    runs: list[float] = []
    begin = time.perf_counter()
    while len(runs) < LEAST or (len(runs) < MOST and time.perf_counter() - begin < ENOUGH):
        start = time.perf_counter()
        run()
        runs.append(1e3 * (time.perf_counter() - start))
    return median(runs)
