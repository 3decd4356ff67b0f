"""How many: the one check of whole numbers that the study is given."""

from typing import Any

import numpy as np


def check_count(name: str, value: Any, least: int = 1) -> int:
    """An integer from ``least`` on, as Python's own; a ValueError for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ValueError(f"{name} is {value!r}: an integer, {least} or more, is wanted")
    return int(value)
