r"""The functional layer: derivatives and single steps, on NumPy or CUDA arrays, in float32 or float64."""

import dataclasses
import math
from typing import Any

import numpy as np

from .._labelled import is_labelled
from .._runtime import devices
from .._runtime.checks import as_floating
from ._engine import Engine, Tableau, copy, flat
from ._methods import Method, refuse_terms
from ._methods import method as scheme
from ._model import Kuramoto

#: Parameters of a model whose terms stand in the pieces that `_rows` calls.
_SERVED = {
    "omega", "coupling", "network", "normalize", "phase_lag", "harmonics", "triadic", "forcing", "groups", "diffusion",
    "inertia", "friction", "schedule", "triangles", "triangle_weights", "adaptation", "growth", "shear", "diffusive",
    "rotation",
}  # fmt: skip


class Flow:
    """A model as functions of arrays: its derivative, and single steps.

    Parameters
    ----------
    model : Kuramoto, StuartLandau or Spheres
        Without runs of its own, or with as many as the states have. States are flat: all real parts and then all
        imaginary ones of amplitudes, all first coordinates of vectors and so on (``model.pack``, ``model.unpack``);
        phases, velocities and then weights that learn.
    like : array, optional
        A NumPy or CUDA array whose device and precision all states share; float64 on the CPU by default. In float32 a
        phase of size x is known to 6e-8 x: wrap it now and then.

    Notes
    -----
    Holds the model's arrays, on the device if that is where it computes, and working memory: not for several threads at
    once. It takes the frequencies, couplings and networks once; `derivative` and `step` do so at each call.

    Examples
    --------
    A model in SciPy's hands:

    >>> import numpy as np, primeattn as pa
    >>> from scipy.integrate import solve_ivp
    >>> flow = pa.dynamics.Flow(pa.Kuramoto(np.linspace(-1, 1, 50), coupling=3.0))
    >>> theta = solve_ivp(flow, (0, 20), np.linspace(-3, 3, 50), rtol=1e-8).y[:, -1]
    >>> round(abs(np.exp(1j * theta).mean()), 4)
    np.float64(0.9795)
    """

    def __init__(self, model: Kuramoto, *, like: Any = None):
        serve(model)
        self.model = model
        self._like = np.zeros(1) if like is None else as_floating("like", like)
        self._arrays = model.arrays()
        self._engines: dict[tuple[int, int], Engine] = {}
        self._tableaus: dict[str, Tableau] = {}
        self._omega: Any = None

    def __call__(self, t: float, theta: Any) -> Any:
        """The derivative, with the arguments in SciPy's order."""
        return self.derivative(theta, t=t)

    def derivative(self, theta: Any, *, t: float = 0.0) -> Any:
        """theta' of a state.

        Parameters
        ----------
        theta : array of float, shape (..., N), or (..., 2 N) with inertia: theta, then theta'
        t : float
            Time, which forcing asks for.

        Returns
        -------
        array of float, shape of ``theta``, of its kind

        Raises
        ------
        ValueError
            For a shape that does not fit the model.
        TypeError
            For a state on another device or of another precision than ``like``.
        """
        state = self._checked(theta)
        engine = self._engine(state, 1)
        out = devices.empty(tuple(theta.shape) if hasattr(theta, "shape") else state.shape, engine.real, like=theta)
        if state.size:
            engine.slope(flat(state), float(t), 0, flat(out))
        return _labelled_as(theta, out)

    def step(self, theta: Any, dt: float, *, method: str = "rk4", t: float = 0.0, seed: int = 0, count: int = 0) -> Any:
        """The state after one step.

        Parameters
        ----------
        theta : array of float, shape (..., N) or (..., 2 N)
        dt : float
        method : str
            One of fixed steps: "rk4", "heun", "euler"; with diffusion "euler_maruyama", "heun", "sra1".
        t : float
            Time at the start.
        seed, count : int
            Of the noise: a seed, and the number of this step, which gets noise of its own.

        Returns
        -------
        array of float, shape of ``theta``, of its kind

        Raises
        ------
        ValueError
            For a shape that does not fit, or a method that has error control or no noise where the model has.
        TypeError
            As for `derivative`.
        """
        found = fixed_scheme(method, self.model)
        state = self._checked(theta)
        engine = self._engine(state, found.stages)
        if method not in self._tableaus:
            self._tableaus[method] = Tableau(found, self._like)
        copy(flat(state), engine.y)
        if state.size:
            engine.step(self._tableaus[method], float(dt), float(t), int(seed), int(count))
        out = devices.empty(tuple(state.shape), engine.real, like=theta)
        copy(engine.y, flat(out))
        return _labelled_as(theta, out)

    def _checked(self, theta: Any) -> Any:
        cuda = devices.on_cuda(theta=theta, like=self._like)
        dtype = np.dtype(self._like.dtype)
        state = as_floating("theta", theta, last=self.model.states, dtype=None if cuda else dtype)
        if state.dtype != dtype:
            raise TypeError(f"theta has dtype {state.dtype} but this flow has {dtype}: one precision is wanted")
        lead = tuple(state.shape)[:-1]
        if self.model.runs not in (None, 1) and self.model.runs != math.prod(lead):
            raise ValueError(f"theta has shape {(*lead, self.model.states)} but the model has {self.model.runs} runs")
        return state if cuda or state.flags.writeable else state.copy()

    def _engine(self, state: Any, stages: int) -> Engine:
        key = math.prod(tuple(state.shape)[:-1]), stages
        if key not in self._engines:
            self._engines = {key: Engine(*self._arrays, *key, self._like)}
            if self._omega is not None:
                self._engines[key].replace_omega(self._omega)
        return self._engines[key]


def serve(model: Kuramoto, *, switching: bool = False) -> None:
    """Refuse a model with a term that the rows do not have: nothing is left out in silence.

    ``switching`` is for those who take the network of the time.
    """
    for field in dataclasses.fields(model):
        value = getattr(model, field.name)
        if field.name not in _SERVED and value is not None and value is not field.default:
            raise ValueError(
                f"the model has {field.name}, which the functional layer and CUDA lack: pa.simulate on the CPU has it"
            )
    if len(model.networks) > 1 and not switching:
        raise ValueError(
            "the network changes in time, which the functional layer and SciPy's methods lack: pa.simulate by other "
            "methods has it"
        )


def fixed_scheme(name: str, model: Kuramoto, *, switching: bool = False) -> Method:
    """A method of fixed steps that serves the model."""
    serve(model, switching=switching)
    found = scheme(name)
    refuse_terms(name, model)
    if found.adaptive:
        raise ValueError(f"method is {name!r}: one of fixed steps is wanted here, such as 'rk4', 'heun', 'sra1'")
    return found


def derivative(
    theta: Any, omega: Any, coupling: Any = 1.0, network: Any = None, *, t: float = 0.0,
    normalize: str | None = "size", phase_lag: Any = 0.0, **terms: Any,
) -> Any:  # fmt: skip
    r"""theta' of coupled phase oscillators.

    Parameters
    ----------
    theta : array_like of float, shape (..., N), or (..., 2 N) with inertia: theta, then theta'
        NumPy or CUDA array.
    omega : array_like of float, shape (N,) or (runs, N)
        A CUDA array of the same precision if ``theta`` is one.
    coupling, network, normalize, phase_lag, **terms
        As for `Kuramoto`; in host memory.
    t : float
        Time, which forcing asks for.

    Returns
    -------
    array of float, shape of ``theta``
        float32 if both are; a CUDA array if they are, a DataArray if ``theta`` is.

    Raises
    ------
    ValueError, TypeError
        As of `Kuramoto`; for shapes that do not fit, and arrays on different devices.

    See Also
    --------
    Flow : takes the model apart once, for many calls.

    Notes
    -----
    .. math:: \theta_i' = \omega_i + g \sum_j W_{ij} \sin(\theta_j - \theta_i - \alpha) + \ldots

    Examples
    --------
    >>> import numpy as np, primeattn as pa
    >>> pa.dynamics.derivative(np.array([0.0, np.pi / 2]), omega=[0.0, 0.0], coupling=2.0)
    array([ 1., -1.])
    """
    flow = _flow(theta, omega, coupling, network, normalize=normalize, phase_lag=phase_lag, **terms)
    return flow.derivative(_as_like(theta, flow), t=t)


def step(
    theta: Any, omega: Any, coupling: Any = 1.0, network: Any = None, *, dt: float, method: str = "rk4",
    t: float = 0.0, seed: int = 0, count: int = 0, normalize: str | None = "size", phase_lag: Any = 0.0, **terms: Any,
) -> Any:  # fmt: skip
    """The phases one step later.

    Parameters
    ----------
    theta, omega, coupling, network, t, normalize, phase_lag, **terms
        As for `derivative`.
    dt : float
    method : str
        "rk4", "heun", "euler"; with diffusion "euler_maruyama", "heun", "sra1".
    seed, count : int
        Of the noise: a seed, and the number of this step, which gets noise of its own.

    Returns
    -------
    array of float, shape of ``theta``

    Raises
    ------
    ValueError, TypeError
        As of `derivative`; for a method with error control.

    Examples
    --------
    >>> import numpy as np, primeattn as pa
    >>> pa.dynamics.step(np.array([0.0, np.pi / 2]), omega=[0.0, 0.0], coupling=2.0, dt=0.1).round(6)
    array([0.09934 , 1.471457])
    """
    flow = _flow(theta, omega, coupling, network, normalize=normalize, phase_lag=phase_lag, **terms)
    return flow.step(_as_like(theta, flow), dt, method=method, t=t, seed=seed, count=count)


def _flow(theta: Any, omega: Any, coupling: Any, network: Any, **terms: Any) -> Flow:
    if not devices.on_cuda(theta=theta, omega=omega):
        like = np.zeros(1, np.result_type(as_floating("theta", theta), as_floating("omega", omega)))
        return Flow(Kuramoto(omega, coupling, network, **terms), like=like)
    theta, omega = as_floating("theta", theta), as_floating("omega", omega)
    if theta.dtype != omega.dtype:
        raise TypeError(f"theta has dtype {theta.dtype} but omega {omega.dtype}: on CUDA one precision is wanted")
    flow = Flow(Kuramoto(np.zeros(tuple(omega.shape)), coupling, network, **terms), like=theta)
    flow._omega = flat(omega)
    return flow


def _as_like(theta: Any, flow: Flow) -> Any:
    if devices.is_device_array(theta):
        return theta
    return theta.astype(flow._like.dtype) if is_labelled(theta) else np.asarray(theta, flow._like.dtype)


def _labelled_as(theta: Any, out: np.ndarray) -> Any:
    return type(theta)(out, theta.coords, theta.dims) if is_labelled(theta) else out
