"""States as dense arrays, as SciPy matrices, and as an xarray Dataset."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .. import primes as _primes
from ..encode.arrays import StateArrays, row_numbers
from ..primes.integers import COUNT, one_count
from . import _validate

if TYPE_CHECKING:  # xarray and SciPy are imported by those who ask for them
    from scipy import sparse
    from xarray import Dataset

COMPONENTS = ("w", "x", "y", "z")


def width(states, n_primes: int | None) -> int:
    """Columns wanted: up to the largest prime that occurs, or ``n_primes``, which must reach it."""
    if n_primes is not None:
        n_primes = one_count("n_primes", n_primes, most=COUNT)
    least = int(_primes.index(np.array([states.primes.max()]))[0]) + 1 if states.nnz else 0
    if n_primes is None:
        return least
    if n_primes < least:
        raise ValueError(
            f"n_primes is {n_primes} but prime {states.primes.max()} is number {least} of the table: "
            f"pass n_primes >= {least}"
        )
    return n_primes


def columns(states) -> np.ndarray:
    """Position of each entry's prime in the table of all primes (0 for 2), int64[nnz]."""
    table = _validate.distinct(states.primes)
    return np.asarray(_primes.index(table), dtype=np.int64)[np.searchsorted(table, states.primes)]


def to_dense(states, n_primes: int | None, component: str, max_bytes: int) -> np.ndarray:
    values = {"amplitude": states.amplitude, "orientation": states.orientation}
    if component not in values:
        raise ValueError(f"component is {component!r}: pass 'amplitude' or 'orientation'")
    chosen = values[component]
    shape = (len(states), width(states, n_primes), *chosen.shape[1:])
    n_bytes = chosen.itemsize * int(np.prod(shape, dtype=object))
    if n_bytes > max_bytes:
        raise MemoryError(
            f"to_dense would take {n_bytes / 2**30:.2f} GiB for shape {shape}, but max_bytes is "
            f"{max_bytes / 2**30:.2f} GiB: use to_scipy(), fewer states, or pass max_bytes={n_bytes}"
        )
    out = np.zeros(shape, chosen.dtype)
    out[row_numbers(states.indptr), columns(states)] = chosen
    return out


def to_scipy(states, n_primes: int | None) -> dict[str, sparse.csr_array]:
    from scipy import sparse

    shape = (len(states), width(states, n_primes))
    indices = columns(states)
    parts = {"amplitude": states.amplitude.copy()}
    parts |= {name: states.orientation[:, c].copy() for c, name in enumerate(COMPONENTS)}
    out = {}
    for name, data in parts.items():
        out[name] = sparse.csr_array((data, indices.copy(), states.indptr.copy()), shape=shape)
        out[name].has_sorted_indices = True
    return out


def to_xarray(states) -> Dataset:
    import xarray

    coordinates = {"component": list(COMPONENTS)}
    if states.labels is not None:
        coordinates["state"] = states.labels.copy()
    return xarray.Dataset(
        {
            "count": (
                "state",
                states.n_active,
                {"sample_dimension": "active", "long_name": "active primes of a state"},
            ),
            "prime": ("active", states.primes.copy()),
            "amplitude": ("active", states.amplitude.copy()),
            "orientation": (("active", "component"), states.orientation.copy(), {"long_name": "unit quaternion"}),
        },
        coords=coordinates,
        attrs={"featureType": "contiguous ragged array", "source": "primeattn.PrimeStates"},
    )


def from_xarray(dataset: Dataset) -> tuple[StateArrays, np.ndarray | None]:
    if not hasattr(dataset, "data_vars"):
        raise TypeError(f"a {type(dataset).__name__} came where an xarray.Dataset of PrimeStates.to_xarray() is wanted")
    missing = [name for name in ("count", "prime", "amplitude", "orientation") if name not in dataset]
    if missing:
        raise ValueError(
            f"the dataset lacks {', '.join(missing)}: the variables count, prime, amplitude and orientation are "
            f"wanted, as PrimeStates.to_xarray() makes them"
        )
    count = _validate.as_int64("count", dataset["count"].values)
    if count.size and count.min() < 0:
        raise ValueError(f"count holds {count.min()}: numbers of active primes are >= 0")
    if count.sum() != dataset["prime"].size:
        raise ValueError(
            f"count adds up to {count.sum()} but there are {dataset['prime'].size} active primes: a selection along "
            f"'state' leaves the entries of other states behind; select from PrimeStates.from_xarray(whole)[...]"
        )
    orientation = dataset["orientation"]
    if "component" in orientation.dims and "component" in orientation.coords:
        if sorted(orientation["component"].values.tolist()) != list(COMPONENTS):
            raise ValueError(
                f"orientation has the components {orientation['component'].values.tolist()}: "
                f"{', '.join(COMPONENTS)} are wanted, once each"
            )
        orientation = orientation.sel(component=list(COMPONENTS))
    arrays = _validate.validate(
        np.concatenate([[0], np.cumsum(count)]),
        dataset["prime"].values,
        dataset["amplitude"].values,
        orientation.transpose(..., "component").values if "component" in orientation.dims else orientation.values,
    )
    labels = dataset["state"].values if "state" in dataset.coords else None
    return arrays, labels
