"""Which integrator serves a model, and where it runs: the same choice for one simulation and for a sweep."""

from typing import Any

import numpy as np

from ._body_models import Bodies
from ._drive import Drive
from ._drive_cuda import DeviceDrive
from ._drive_scipy import PREFIX, ScipyDrive, ScipyMethod, scipy_method
from ._flow import fixed_scheme
from ._methods import Method, refuse_terms
from ._methods import method as scheme
from ._model import Kuramoto

AnyDrive = Drive | DeviceDrive | ScipyDrive


def method_for(model: Kuramoto, name: str | None) -> tuple[str, Method | ScipyMethod]:
    """A method by its name; by default "rk4", and "sra1" with noise.

    Raises
    ------
    ValueError
        For another name, or a method that does not know a term of the model: noise, a delay, friction.
    TypeError
        For what is no model, or no name.
    """
    if not isinstance(model, Kuramoto | Bodies):
        raise TypeError(f"model is {model!r}: a Kuramoto, StuartLandau or Spheres is wanted")
    if not isinstance(name, str | None):
        raise TypeError(f"method is {name!r}: a name such as 'rk4' is wanted")
    name = name or ("sra1" if np.any(model.diffusion) else "rk4")
    found = scipy_method(name) if name.startswith(PREFIX) else scheme(name)
    refuse_terms(name, model)
    if len(model.delays) and found.adaptive:
        raise ValueError(f"method is {name!r} but the model has a delay: fixed steps are wanted, method='rk4'")
    return name, found


def drive_for(
    model: Kuramoto,
    name: str,
    *,
    dt: float,
    rtol: float,
    atol: float,
    seed: int,
    device: Any = None,
    streams: Any = None,
) -> AnyDrive:
    """What integrates the model: on the device of a CUDA array, in SciPy, or here.

    ``streams`` are the numbers of the runs' random streams, which repeat; by default 0, 1, ...
    """
    if name.startswith(PREFIX):
        if device is not None:
            raise ValueError(f"method is {name!r}, which knows no CUDA arrays: pass pa.to_host(theta0)")
        return ScipyDrive(model, scipy_method(name), dt=dt, rtol=rtol, atol=atol, seed=seed)
    if device is None:
        return Drive(model, scheme(name), dt=dt, rtol=rtol, atol=atol, seed=seed, streams=streams)
    phases, sizes = model.arrays()
    if streams is not None:
        sizes = sizes._replace(stream=streams.start, streams=len(streams))
    changes, networks = model.changes(phases)
    found = fixed_scheme(name, model, switching=True)
    return DeviceDrive(networks, changes, sizes, found, dt=dt, seed=seed, like=device)
