"""Labelled q, k, v in, labelled results out. Leading dimensions are matched by name."""

from typing import Any, NamedTuple

import numpy as np

from .. import _labelled


class Wrap(NamedTuple):
    """How to hand back results: plain, or with the dimensions and coordinates of q, k and v."""

    q: Any = None
    k: Any = None
    v: Any = None

    def out(self, x):
        """(..., query, value width)."""
        if self.q is None:
            return x
        dims = (*self.q.dims[:-1], self.v.dims[-1])
        return _data_array(x, dims, (self.q, self.q.dims[:-1]), (self.v, self.v.dims[-1:]))

    def weights(self, x):
        """(..., query, key); the key dimension is renamed if it is that of the queries."""
        if self.q is None:
            return x
        token = self.k.dims[-2]
        key = unused(token, self.q.dims[:-1], "key")
        keys = self.k.rename({token: key}) if key != token else self.k
        return _data_array(x, (*self.q.dims[:-1], key), (self.q, self.q.dims[:-1]), (keys, (key,)))

    def gradients(self, grads):
        """A dict by name; q, k and v get the labels of the inputs."""
        if self.q is None:
            return grads
        return {name: getattr(self, name).copy(data=x) if name in self._fields else x for name, x in grads.items()}


_PLAIN = Wrap()


def plain(x):
    """The array of a DataArray; anything else as it is."""
    return x.values if _labelled.is_labelled(x) else x


def like(labels, x):
    """x with the labels of a DataArray of its shape; as it is if there are none."""
    return labels.copy(data=x) if _labelled.is_labelled(labels) else x


def unused(name: str, dims, prefix: str) -> str:
    """A name for a further dimension."""
    while name in dims:
        name = f"{prefix}_{name}"
    return name


def unwrap(q, k, v):
    """Plain q, k, v and the `Wrap` for the results. Either all are labelled or none."""
    if type(q) is type(k) is type(v) is np.ndarray:
        return (q, k, v), _PLAIN
    labelled = [_labelled.is_labelled(x) for x in (q, k, v)]
    if not any(labelled):
        return (q, k, v), _PLAIN
    if not all(labelled):
        names = [n for n, yes in zip("qkv", labelled, strict=True) if not yes]
        raise TypeError(f"{', '.join(names)} carry no labels but others do: pass all as DataArray, or .values of all")
    lead = q.dims[:-2]
    k, v = (_like(x, name, lead) for x, name in ((k, "k"), (v, "v")))
    return (q.values, k.values, v.values), Wrap(q, k, v)


def _like(x, name, lead):
    if set(x.dims[:-2]) != set(lead):
        raise ValueError(f"{name} has dimensions {x.dims}: its leading ones must be those of q, {lead}")
    return x.transpose(*lead, *x.dims[-2:])


def _data_array(x, dims, *sources):
    """Coordinates of each source array that lie within the named dimensions of it."""
    import xarray

    coords: dict = {}
    for source, within in sources:
        coords |= {name: c for name, c in source.coords.items() if c.dims and set(c.dims) <= set(within)}
    return xarray.DataArray(x, dims=dims, coords=coords)
