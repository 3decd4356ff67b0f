"""Sizes and switches, refused in words."""

from typing import Any

import numpy as np


def whole_number(name: str, value: Any, least: int = 1) -> int:
    """An integer from ``least`` on, as Python's own.

    Raises
    ------
    ValueError
    """
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} is {value!r}: a whole number of {least} or more is wanted")
    return int(value)


def whole_numbers(name: str, value: Any) -> int | list[int]:
    """An integer from 1 on, or a list of them.

    Raises
    ------
    ValueError
    """
    if isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim == 1):
        return [whole_number(f"{name}[{i}]", x) for i, x in enumerate(value)]
    return whole_number(name, value)


def true_or_false(name: str, value: Any) -> bool:
    """A flag.

    Raises
    ------
    ValueError
    """
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{name} is {value!r}: True or False is wanted")
    return bool(value)
