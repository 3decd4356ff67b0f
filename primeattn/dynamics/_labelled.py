"""Trajectories as xarray Datasets and netCDF files, and back: every parameter of the model is in them.

Numbers and text become attributes under the parameter's own name; an array becomes a coordinate along "oscillator",
"run" or "group"; a dict an attribute in JSON; a network three variables, compressed sparse rows, and networks that
switch the rows of each of them one below the other, "network_from" the times. What none of this holds (a function) is
named in the attribute "not_stored", and a file that has it brings no model back.
"""

import dataclasses
import json
import os
from typing import Any

import numpy as np

from .._runtime import devices
from .._runtime.files import write_netcdf
from ._body_models import Spheres, StuartLandau
from ._model import Kuramoto
from ._neighbours import Ring
from ._trajectory import Label, Trajectory

_NEEDS = 'netCDF needs h5netcdf: pip install "primeattn[report]"'
_STATE = {
    "theta": ("phases, not wrapped", "rad"),
    "velocity": ("velocities", "rad / time"),
    "theta_end": ("phases at t_end", "rad"),
    "velocity_end": ("velocities at t_end", "rad / time"),
}
_OWN = {
    "weights": (("edge",), "weights that learn, in the order of the rows of the network", "1"),
    "z": (("oscillator",), "complex amplitudes", "1"),
    "x": (("oscillator", "component"), "unit vectors", "1"),
}
_MODELS: dict[str, Any] = {model.__name__: model for model in (Kuramoto, StuartLandau, Spheres)}
_OTHER = {  # neither of oscillators nor of runs, whatever their lengths are
    "triangles": ("triangle", "corner"), "triangle_weights": ("triangle",), "schedule": ("schedule_row", "knot"),
}  # fmt: skip
_UNITS = {
    "omega": "rad / time", "coupling": "rad / time", "phase_lag": "rad", "diffusion": "rad^2 / time",
}  # fmt: skip


def to_dataset(trajectory: Trajectory):
    import xarray

    x, velocity = trajectory, trajectory.velocity_end
    if devices.is_device_array(x.theta_end):
        velocity = None if velocity is None else devices.to_host(velocity)
        x = dataclasses.replace(x, theta_end=devices.to_host(x.theta_end), velocity_end=velocity)
    last = x.states_end["x"][..., 0] if x.theta_end is None else x.theta_end
    lead = ("run",) if last.ndim == 2 else ()
    variables: dict[str, Any] = {
        name: (x.labels[name].dims, values, {"long_name": x.labels[name].says, "units": x.labels[name].unit})
        for name, values in x.observables.items()
    }
    for name, (says, unit) in _STATE.items():
        values = getattr(x, name)
        if values is not None:
            dims = (*lead, *(() if name.endswith("end") else ("time",)), "oscillator")
            variables[name] = (dims, values, {"long_name": says, "units": unit})
    for name, (own, says, unit) in _OWN.items():
        for key, values, time in ((name, x.states, ("time",)), (f"{name}_end", x.states_end, ())):
            if name in values:
                variables[key] = ((*lead, *time, *own), values[name], {"long_name": says, "units": unit})
    coordinates, attributes = _parameters(x.model, {"oscillator": last.shape[-1], "run": len(last)})
    variables |= _networks(x.model)
    coordinates["time"] = (("time",), x.t, {"long_name": "time, in the user's unit"})
    for dim, size in (("oscillator", last.shape[-1]), *((d, len(last)) for d in lead)):
        coordinates[dim] = ((dim,), np.arange(size))
    settings = {}
    for name, value in x.settings.items():
        if lead and np.ndim(value) == 1:
            coordinates[name] = (("run",), value)
        else:
            settings[name] = value.item() if isinstance(value, np.ndarray) else value
    attributes |= settings | {"settings": list(x.settings), "status": x.status, "t_end": x.t_end}
    attributes["observables"] = list(x.observables)
    return xarray.Dataset(variables, coordinates, _versions() | attributes)


def _versions() -> dict[str, str]:
    from .. import __version__

    return {"title": "Kuramoto dynamics", "conventions": "radians; time in the user's unit", "primeattn": __version__}


def _networks(model: Any) -> dict[str, Any]:
    """Variables: all rows of all networks, and from when on each network holds, if there are several."""
    networks = getattr(model, "networks", ())
    if not networks:
        return {}
    times, edges = zip(*networks, strict=True)
    lengths = np.concatenate([np.diff(e.indptr) for e in edges])
    variables: dict[str, Any] = {
        "network_indptr": (("row",), np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)),
        "network_indices": (("edge",), np.concatenate([e.indices for e in edges])),
    }
    if any(len(e.weight) for e in edges):
        each = [e.weight if len(e.weight) else np.ones(len(e.indices)) for e in edges]
        variables["network_weight"] = (("edge",), np.concatenate(each))
    if len(networks) > 1:
        variables["network_from"] = (("network",), np.array(times))
    return variables


def _parameters(model: Any, sizes: dict[str, int]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Coordinates and attributes."""
    coordinates: dict[str, Any] = {}
    attributes: dict[str, Any] = {"model": type(model).__name__}
    if model is None:  # of a file that could not hold it
        return coordinates, attributes | {"not_stored": ["model"]}
    lost = []
    if getattr(model, "ring", 0):
        attributes["network_ring"] = model.ring
    for field in dataclasses.fields(model):
        name, value = field.name, getattr(model, field.name)
        if name == "network" or (value is None and field.default is None):
            continue
        if value is None:
            attributes[name] = "none"
        elif isinstance(value, dict):
            if value:
                attributes[name] = json.dumps(value)
        elif isinstance(value, bool):  # which netCDF lacks
            attributes[name] = int(value)
        elif isinstance(value, str | int | float) or (isinstance(value, np.ndarray) and value.ndim == 0):
            attributes[name] = value.item() if isinstance(value, np.ndarray) else value
        elif isinstance(value, tuple) and all(isinstance(number, float) for number in value):
            attributes[name] = list(value)
        elif isinstance(value, np.ndarray):
            look = {"units": _UNITS[name]} if name in _UNITS else {}
            coordinates[name] = (_dims(name, value, model, sizes), value, look)
        else:
            lost.append(name)
    return coordinates, attributes | ({"not_stored": lost} if lost else {})


def _dims(name: str, value: np.ndarray, model: Any, sizes: dict[str, int]) -> tuple[str, ...]:
    if name in _OTHER:
        return _OTHER[name]
    if name == "delay":
        return ("edge",) if len(model.networks) == 1 else ("delayed_edge",)
    meant: tuple[str, ...] = ("run", "oscillator")
    if name == "rotation":
        meant = ("run", "oscillator", "component", "component_heard")
    if name in ("coupling", "phase_lag"):
        meant = ("run", "group", "heard") if model.groups is not None and value.ndim >= 2 else ("run",)
    meant = ("",) * (value.ndim - len(meant)) + meant[max(len(meant) - value.ndim, 0) :]
    return tuple(
        dim if dim and sizes.get(dim, size) == size else f"{name}_{axis}"
        for axis, (dim, size) in enumerate(zip(meant, value.shape, strict=True))
    )


def from_dataset(data) -> Trajectory:
    """The opposite of `to_dataset`."""
    names = [str(name) for name in np.atleast_1d(data.attrs["observables"])]
    values = {name: data[name].values for name in names}
    labels = {
        name: Label(data[name].attrs.get("long_name", ""), data[name].attrs.get("units", ""), tuple(data[name].dims))
        for name in names
    }
    state: dict[str, Any] = {name: data[name].values if name in data else None for name in _STATE}
    settings = {
        str(name): data[name].values if name in data.coords else data.attrs[name]
        for name in np.atleast_1d(data.attrs["settings"])
    }
    return Trajectory(
        t=data["time"].values, observables=values, t_end=float(data.attrs["t_end"]), model=_model(data),
        settings=settings, status=str(data.attrs["status"]), labels=labels, **state,
        states={name: data[name].values for name in _OWN if name in data},
        states_end={name: data[f"{name}_end"].values for name in _OWN if f"{name}_end" in data},
    )  # fmt: skip


def _model(data) -> Any:
    if "not_stored" in data.attrs:
        return None
    found: dict[str, Any] = {}
    kind = _MODELS[str(data.attrs["model"])]
    for field in dataclasses.fields(kind):
        name = field.name
        if name in data.coords:
            found[name] = data[name].values
        elif name in data.attrs:
            value = data.attrs[name]
            if isinstance(value, str) and value.startswith("{"):
                value = {int(m): pair for m, pair in json.loads(value).items()}
            found[name] = None if isinstance(value, str) and value == "none" else value
    if "network_indptr" in data:
        from scipy import sparse

        indices, n = data["network_indices"].values, data.sizes["oscillator"]
        weight = data["network_weight"].values if "network_weight" in data else np.ones(len(indices))
        indptr = data["network_indptr"].values
        rows = sparse.csr_array((weight, indices, indptr), shape=(len(indptr) - 1, n))
        found["network"] = rows
        if "network_from" in data:
            times = data["network_from"].values.tolist()
            found["network"] = [(t, rows[n * k : n * (k + 1)]) for k, t in enumerate(times)]
    if "network_ring" in data.attrs:
        found["network"] = Ring(int(data.attrs["network_ring"]))
    return kind(**found)


def write(data, path) -> None:
    """A Dataset as netCDF."""
    if os.fsdecode(path).lower().rstrip("/").endswith(".zarr"):
        raise ValueError(
            f"{os.fspath(path)} would hold netCDF: name it .nc, or write zarr by trajectory.to_xarray().to_zarr(path)"
        )
    try:
        import h5netcdf  # noqa: F401
    except ImportError:
        raise ImportError(_NEEDS) from None
    for name in [name for name, x in data.variables.items() if x.dtype.kind == "c"]:
        parts = {f"{name}_real": data[name].real, f"{name}_imag": data[name].imag}
        data = data.drop_vars(name).assign({key: x.assign_attrs(data[name].attrs) for key, x in parts.items()})
    write_netcdf(path, data)


def read(path):
    """The opposite of `write`."""
    try:
        import h5netcdf  # noqa: F401
    except ImportError:
        raise ImportError(_NEEDS) from None
    import xarray

    with open(path, "rb"):  # FileNotFoundError and its like stay what they are
        pass
    try:
        with xarray.open_dataset(path, engine="h5netcdf", decode_times=False, decode_timedelta=False) as file:
            data = file.load()
        missing = [name for name in ("settings", "status", "t_end") if name not in data.attrs]
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{os.fspath(path)} is damaged, or no netCDF file ({error})") from error
    if missing:
        raise ValueError(f"{os.fspath(path)} is netCDF, but no trajectory: pass a file that Trajectory.save wrote")
    for name in [str(name).removesuffix("_real") for name in data.variables if str(name).endswith("_real")]:
        if f"{name}_imag" in data:
            both = data[f"{name}_real"] + 1j * data[f"{name}_imag"]
            data = data.drop_vars([f"{name}_real", f"{name}_imag"]).assign(
                {name: both.assign_attrs(data[f"{name}_real"].attrs)}
            )
    return data
