"""Labelled states in, labelled scores out: a Dataset of ``PrimeStates.to_xarray`` and its state labels."""

import sys
from typing import Any, NamedTuple

import numpy as np


class Wrap(NamedTuple):
    """How to hand back results: plain, or as DataArrays over the states of a and of b."""

    labelled: bool
    a: Any = None  # coordinates of the states of a, or None
    b: Any = None

    def rows(self, x, name: str):
        """A result per row, shape (n,)."""
        if not self.labelled:
            return x
        labels = self.b if self.a is None or len(self.a) != x.shape[0] else self.a
        return _data_array(x, ("state",), (labels,), name)

    def table(self, x, name: str):
        """A result per pair, shape (n, m)."""
        if not self.labelled:
            return x
        return _data_array(x, ("state", "other_state"), (self.a, self.b), name)


def unwrap(a, b):
    """``((a, b), wrap)`` with Datasets turned into states."""
    xarray = sys.modules.get("xarray")  # nobody holds a Dataset without having imported xarray
    if xarray is None or not any(isinstance(x, xarray.Dataset) for x in (a, b)):
        return (a, b), Wrap(False)
    from ..states import PrimeStates

    a, b = (PrimeStates.from_xarray(x) if isinstance(x, xarray.Dataset) else x for x in (a, b))
    return (a, b), Wrap(True, _labels_of(a), _labels_of(a if b is None else b))


def _labels_of(states):
    return getattr(states, "labels", None)


def _data_array(x: np.ndarray, dims, labels, name: str):
    import xarray

    coords = {d: np.asarray(c) for d, c, n in zip(dims, labels, x.shape, strict=True) if c is not None and len(c) == n}
    return xarray.DataArray(x, dims=dims, coords=coords, name=name)
