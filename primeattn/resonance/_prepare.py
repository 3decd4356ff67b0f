"""One call of attention, checked and brought to the flat arrays that the kernels read."""

from typing import Any, NamedTuple

import numpy as np

from .. import _labelled
from .._runtime import devices
from . import _labels
from ._options import Form, state_arrays
from ._profiles import Profile, StateArrays, frozen, profile
from ._request import Allowed, Heads, check_allowed, check_attention_form, check_heads, check_temperature, check_value
from ._rotor import check_order, rotors, turn_both


class Call(NamedTuple):
    """What attention computes with. ``states`` are (query, key) as given, ``turned`` after the rotors."""

    form: Form
    linear: bool
    heads: Heads
    tau: float
    allowed: Allowed
    states: tuple[StateArrays, StateArrays]
    turned: tuple[StateArrays, StateArrays]
    rotor: Any
    profiles: tuple[Profile, Profile]
    value: Any  # (m, d)
    keys: int  # as given, before padding is left out

    @property
    def weights(self):
        """Mixing weights, flat, beside the values."""
        return self.beside(self.heads.weights.astype(self.value.dtype).reshape(-1))

    @property
    def limit(self):
        """``allowed.limit`` beside the values."""
        return self.beside(self.allowed.limit)

    @property
    def cuda(self) -> bool:
        """True for a call on CUDA."""
        return devices.is_device_array(self.value)

    def beside(self, x: np.ndarray):
        """A host array on the device of the values."""
        return devices.to_device(x) if self.cuda else x


def prepare(
    query, key, value, *, form, kind, normalizer, overlap, amplitude, weights, temperature, heads, causal, mask, order
) -> Call:
    """Check everything, turn the states if asked, leave out padded keys."""
    checked = check_attention_form(form, kind, None, normalizer, overlap, amplitude)
    x = state_arrays("query", query)
    y = x if key is query else state_arrays("key", key)
    n, m = x.indptr.size - 1, y.indptr.size - 1
    devices.on_cuda(query=x.primes, key=y.primes, value=value)
    value = check_value(value, m)
    split = check_heads(heads, weights, kind, value.shape[1])
    tau = check_temperature(temperature)
    if not isinstance(causal, (bool, np.bool_)):
        raise TypeError(f"causal is {causal!r}: pass True or False")
    allowed = check_allowed(n, m, bool(causal), mask, form == "linear")
    x, y, value = _one_precision(x, y, value)
    turned, rotor = (x, y), None
    if check_order(order, n, m):
        rotor = rotors(y)
        turned = turn_both(x, y, rotor)
    own = profile(turned[0], checked.mass)
    met = turned[1]
    if allowed.kept is not None:
        met, value = take_states(met, allowed.kept), take_rows(value, allowed.kept)
    other = own if met is turned[0] else profile(met, checked.mass)
    return Call(checked, form == "linear", split, tau, allowed, (x, y), turned, rotor, (own, other), value, m)


def as_precision(arrays: StateArrays, dtype) -> StateArrays:
    """Amplitudes and orientations in ``dtype``; no copy if they are. Host only."""
    if arrays.amplitude.dtype == dtype:
        return arrays
    return arrays._replace(
        amplitude=frozen(arrays.amplitude.astype(dtype)), orientation=frozen(arrays.orientation.astype(dtype))
    )


def _one_precision(x: StateArrays, y: StateArrays, value):
    """float32 if everything is, else float64."""
    dtypes = [x.amplitude.dtype, y.amplitude.dtype, value.dtype]
    if len(set(dtypes)) == 1:
        return x, y, value
    if devices.is_device_array(value):
        raise TypeError(f"query, key and value are {', '.join(map(str, dtypes))} on CUDA: convert them on the host")
    double = as_precision(x, np.float64)
    other = double if y is x else as_precision(y, np.float64)
    return double, other, value.astype(np.float64)


def take_states(arrays: StateArrays, kept: np.ndarray) -> StateArrays:
    """The states with numbers ``kept``; on CUDA by way of the host."""
    if devices.is_device_array(arrays.primes):
        return take_states(StateArrays(*(devices.to_host(x) for x in arrays)), kept).to_device()
    counts = np.diff(arrays.indptr)[kept]
    indptr = np.concatenate([[0], np.cumsum(counts)])
    entry = np.repeat(arrays.indptr[kept] - indptr[:-1], counts) + np.arange(indptr[-1])
    parts = (arrays.primes[entry], arrays.amplitude.reshape(-1, 2)[entry], arrays.orientation.reshape(-1, 4)[entry])
    return StateArrays(frozen(indptr), *(frozen(x) for x in parts))


def take_rows(value, kept: np.ndarray):
    """The rows ``kept``, contiguous; on CUDA by way of the host."""
    taken = np.ascontiguousarray(devices.to_host(value)[kept])
    return devices.to_device(taken) if devices.is_device_array(value) else taken


def put_rows(x, kept: np.ndarray | None, size: int):
    """Undo ``take_rows``: zeros where a row was left out."""
    if kept is None:
        return x
    rows = devices.to_host(x)
    out = np.zeros((size, *rows.shape[1:]), rows.dtype)
    out[kept] = rows
    return devices.to_device(out) if devices.is_device_array(x) else out


def unwrap(query, key, value):
    """``(query, key, value, wrap)``: plain states and values, and what labels the result."""
    same = key is query
    (query, key), labels = _labels.unwrap(query, None if same else key)
    plain = value.values if _labelled.is_labelled(value) else value
    if not labels.labelled and plain is value:
        return query, query if same else key, value, lambda out: out

    def wrap(out):
        import xarray

        dims = ("state", value.dims[1] if plain is not value and len(value.dims) == 2 else "column")
        coords = {} if labels.a is None else {"state": np.asarray(labels.a)}
        if plain is not value and dims[1] in value.coords:
            coords[dims[1]] = value.coords[dims[1]].values
        return xarray.DataArray(out, dims=dims, coords=coords, name="attention")

    return query, query if same else key, plain, wrap
