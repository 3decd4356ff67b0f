r"""The functional layer: derivatives and single steps, on NumPy or CUDA arrays, in float32 or float64."""

import dataclasses
import math
from itertools import pairwise
from typing import Any

import numpy as np

from .._runtime import devices
from .._runtime.checks import as_floating
from . import _rows
from ._methods import STOCHASTIC, Method
from ._methods import method as scheme
from ._model import Kuramoto
from ._phases import Phases, Sizes

#: Parameters of a model whose terms stand in the pieces that `_rows` calls.
_SERVED = {
    "omega", "coupling", "network", "normalize", "phase_lag", "harmonics", "triadic", "forcing", "groups", "diffusion",
    "inertia", "friction",
}  # fmt: skip


class Engine:
    """The pieces of a step on one device and in one precision, with memory for ``runs`` states.

    Parameters
    ----------
    phases, sizes : Phases, Sizes
        In host memory; moved and converted here.
    runs, stages : int
    like : array
        NumPy or CUDA, float32 or float64: which device and precision.

    Attributes
    ----------
    y : array of float, shape (runs * N,)
        The state that `step` moves.
    """

    def __init__(self, phases: Phases, sizes: Sizes, runs: int, stages: int, like: Any):
        g = sizes
        self.sizes, self.runs, self.stages = sizes, runs, stages
        self.real: Any = np.dtype(like.dtype).type
        self.states = g.n * g.variables
        fine = coarse = phases
        if devices.is_device_array(like):
            fine, coarse = _in_blocks(phases, 1), _in_blocks(phases, max(32, math.isqrt(g.n)))
        self._blocks, self._coarse_blocks = len(fine.group), len(coarse.group)
        moved = {name: self._move(x, like) for name, x in fine._asdict().items()}
        self._fine = tuple(moved.values())
        cut = {name: self._move(getattr(coarse, name), like) for name in ("edges", "group")}
        self._coarse = tuple((moved | cut).values())
        self._sizes, self._senseless = tuple(g), tuple(g._replace(mean=0))

        def room(size):
            x = devices.empty(size, self.real, like=like)
            return devices.device_view(x) if devices.is_device_array(x) else x

        each = runs * g.groups * g.harmonics * 2
        self.y, self.stage = room(runs * self.states), room(runs * self.states)
        self._slopes = room(runs * stages * self.states)
        self._features = room(runs * g.harmonics * 2 * g.n)
        self._sums = room(runs * self._coarse_blocks * g.harmonics * 2)
        self._moments, self._field = room(each), room(each)
        self._noise = room(runs * 2 * g.n if g.noisy else 1)

    def _move(self, x: np.ndarray, like: Any) -> Any:
        x = np.ascontiguousarray(x, self.real if x.dtype.kind == "f" else x.dtype)
        if not devices.is_device_array(like):
            return x
        return devices.to_device(x if x.size else np.zeros(0, x.dtype))

    def replace_omega(self, omega: Any) -> None:
        """Frequencies that are on the device already, flat."""
        at = Phases._fields.index("omega")
        self._fine = (*self._fine[:at], omega, *self._fine[at + 1 :])
        self._coarse = (*self._coarse[:at], omega, *self._coarse[at + 1 :])

    def slope(self, state: Any, t: float, number: int, slopes: Any) -> None:
        """The derivative at ``state``, as slope ``number``."""
        rows, g = self.runs * self._blocks, self._sizes
        _rows.SENSE(rows, self._fine, self._senseless, state, self._features)
        if self.sizes.mean:
            _rows.ADD_UP(self.runs * self._coarse_blocks, self._coarse, g, self._features, self._sums)
        _rows.FIELDS(self.runs, self._coarse, g, self.real(t), self._sums, self._moments, self._field)
        stages = len(slopes) // (self.runs * self.states)
        _rows.SLOPE(rows, self._fine, g, self._field, self._features, state, stages, number, slopes)

    def step(self, method: "Tableau", h: float, t: float, seed: int, count: int) -> None:
        """Move ``y`` from t to t + h; ``count`` numbers the noise."""
        rows, fine, g, real = self.runs * self._blocks, self._fine, self._sizes, self.real
        if self.sizes.noisy:
            _rows.DRAW(rows, fine, g, real(h), seed, count, self._noise)
        state = self.y
        for number, (coefficients, w, z) in enumerate(method.passes):
            self.slope(state, t + method.c[number] * h, number, self._slopes)
            state = self.stage
            _rows.COMBINE(rows, fine, g, self.y, self.stages, self._slopes, real(h), coefficients, state)
            if self.sizes.noisy and (w or z):
                _rows.KICK(rows, fine, g, self._noise, real(w), real(z), state)
        self.y, self.stage = self.stage, self.y


class Tableau:
    """A method of fixed steps in the precision and on the device of an array."""

    def __init__(self, method: Method, like: Any):
        self.c = method.c
        rows = [*(method.a[i, :i] for i in range(1, method.stages)), method.b]
        kicks = [*method.noise[1:], (1.0, 0.0)]
        real = np.dtype(like.dtype).type
        move = devices.to_device if devices.is_device_array(like) else np.asarray
        self.passes = [(move(row.astype(real)), float(w), float(z)) for row, (w, z) in zip(rows, kicks, strict=True)]


def _in_blocks(phases: Phases, size: int) -> Phases:
    """The same oscillators, cut anew within each block."""
    parts = [np.arange(a, b, size) for a, b in pairwise(phases.edges)]
    group = np.repeat(phases.group, [len(part) for part in parts])
    return phases._replace(edges=np.concatenate([*parts, phases.edges[-1:]]), group=group)


class Flow:
    """A model as functions of arrays: its derivative, and single steps.

    Parameters
    ----------
    model : Kuramoto
        Without runs of its own, or with as many as the states have.
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
        flat = _flat(out)
        if len(flat):
            engine.slope(_flat(state), float(t), 0, flat)
        return out

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
        copy(_flat(state), engine.y)
        if state.size:
            engine.step(self._tableaus[method], float(dt), float(t), int(seed), int(count))
        out = devices.empty(tuple(state.shape), engine.real, like=theta)
        copy(engine.y, _flat(out))
        return out

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


def _flat(x: Any) -> Any:
    return (devices.device_view(x) if devices.is_device_array(x) else x).reshape(-1)


def copy(source: Any, to: Any) -> None:
    """Flat array to flat array, wherever they are."""
    if devices.is_device_array(to):
        to.copy_to_device(source)
    elif devices.is_device_array(source):
        to[...] = source.copy_to_host()
    else:
        to[...] = source


def serve(model: Kuramoto) -> None:
    """Refuse a model with a term that the rows do not have: nothing is left out in silence."""
    for field in dataclasses.fields(model):
        value = getattr(model, field.name)
        if field.name not in _SERVED and value is not None and value is not field.default:
            raise ValueError(
                f"the model has {field.name}, which the functional layer and CUDA lack: pa.simulate on the CPU has it"
            )


def fixed_scheme(name: str, model: Kuramoto) -> Method:
    """A method of fixed steps that serves the model."""
    serve(model)
    found = scheme(name)
    if found.adaptive:
        raise ValueError(f"method is {name!r}: one of fixed steps is wanted here, such as 'rk4', 'heun', 'sra1'")
    if np.any(model.diffusion) and name not in STOCHASTIC:
        raise ValueError(f"method is {name!r} but the model has diffusion: one of {STOCHASTIC} is wanted")
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
        float32 if both are; a CUDA array if they are.

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
    flow._omega = _flat(omega)
    return flow


def _as_like(theta: Any, flow: Flow) -> Any:
    return theta if devices.is_device_array(theta) else np.asarray(theta, flow._like.dtype)
