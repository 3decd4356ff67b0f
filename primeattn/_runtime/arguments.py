"""Sizes, numbers and switches, refused in words."""

import math
from typing import Any

import numpy as np


def whole_number(name: str, value: Any, least: int = 1) -> int:
    """An integer from ``least`` on, as Python's own.

    Raises
    ------
    ValueError
    """
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} is {value!r}: a whole number from {least} on is wanted")
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


def _is_real(value: Any) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def from_zero(name: str, value: Any) -> float:
    """A finite number of 0 or more.

    Raises
    ------
    ValueError
    """
    if not _is_real(value) or not 0 <= value < math.inf:
        raise ValueError(f"{name} is {value!r}: a finite number from 0 on is wanted")
    return float(value)


def above_zero(name: str, value: Any) -> float:
    """A finite number above 0.

    Raises
    ------
    ValueError
    """
    if not _is_real(value) or not 0 < value < math.inf:
        raise ValueError(f"{name} is {value!r}: a finite number above 0 is wanted")
    return float(value)


def below_one(name: str, value: Any) -> float:
    """A number from 0 to below 1.

    Raises
    ------
    ValueError
    """
    if not _is_real(value) or not 0 <= value < 1:
        raise ValueError(f"{name} is {value!r}: a number from 0 to below 1 is wanted")
    return float(value)
