"""Models whose oscillators are not angles: amplitudes and points on spheres."""

import dataclasses
from itertools import combinations
from typing import Any, ClassVar

import numpy as np

from ._model import NORMALIZERS
from ._model_checks import checked_schedule, finite, flat, pairs, short
from ._network import Edges, as_edges
from ._phases import AMPLITUDES, BLOCK, SPHERES, Phases, Sizes
from ._seen import Observable

_UNIT = 1e-5  # a vector whose length is so near to 1 is taken as it is


class Bodies:
    """What the models here share, and how they answer for terms of `Kuramoto` that they lack."""

    inertia = groups = forcing = triadic = adaptation = correlation_time = None
    friction: Any = 1.0
    diffusion: Any = 0.0
    schedule: Any = None
    phase_lag: Any = 0.0
    ring = 0
    delays = np.zeros(0)
    edges: ClassVar[Edges | None]
    networks: ClassVar[tuple[tuple[float, Edges], ...]]
    #: Observables of `OBSERVABLES` that need what these oscillators do not have.
    lacks: ClassVar[tuple[str, ...]] = ("velocity", "frequencies")

    def __repr__(self: Any) -> str:
        parts = [f"N={self.size}", f"coupling={short(self.coupling)}"]
        parts.append("all to all" if self.edges is None else f"{len(self.edges.indices)} edges")
        for field in dataclasses.fields(self)[4:]:
            value = getattr(self, field.name)
            if value is not None and not (np.ndim(value) == 0 and value == field.default):
                parts.append(f"{field.name}={short(value)}")
        return f"{type(self).__name__}({', '.join(parts)})"

    def replace(self: Any, **changes: Any) -> Any:
        """The same model with other numbers."""
        return dataclasses.replace(self, **changes)

    def fastest(self) -> float:
        """A bound on the rate at which a state changes."""
        raise NotImplementedError

    def changes(self, phases: Phases) -> tuple[np.ndarray, list[Phases]]:
        """As of `Kuramoto`."""
        return np.zeros(1), [phases]

    def _put(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def _put_coupling(self: Any) -> None:
        """Checks what both models have."""
        if self.normalize not in NORMALIZERS:
            raise ValueError(f"normalize is {self.normalize!r}: one of {NORMALIZERS} is wanted")
        self._put("edges", None if self.network is None else as_edges(self.network, self.size))
        self._put("networks", () if self.edges is None else ((-np.inf, self.edges),))
        for name in ("coupling", "phase_lag"):
            x = finite(name, getattr(self, name))
            if x.ndim > 1:
                raise ValueError(f"{name} has shape {x.shape}: a number or (runs,) is wanted")
            if name == "coupling" or x.any():
                self._put(name, x)
        if self.schedule is not None:
            self._put("schedule", checked_schedule(self.schedule))

    def _runs(self, *shapes: int) -> int | None:
        found = {size for size in shapes if size}
        if len(found - {1}) > 1:
            raise ValueError(f"the parameters differ in their number of runs: {sorted(found)}")
        return max(found, default=None)

    def _strongest(self: Any) -> float:
        """The largest sum of couplings that an oscillator feels."""
        strength = float(np.abs(self.coupling).max())
        if self.edges is not None and self.normalize != "degree":
            degree = float(self.edges.in_degree.max(initial=0))
            strength *= degree / self.size if self.normalize == "size" else degree
        elif self.edges is None and self.normalize is None:
            strength *= self.size
        return strength * (1.0 if self.schedule is None else float(np.abs(self.schedule[1]).max()))

    def _arrays(
        self: Any, omega, sigma, body, variables: int, kicked: int, kind: int, each: int
    ) -> tuple[Phases, Sizes]:
        n, e, runs = self.size, np.zeros(0), self.runs or 1
        harmonics = (variables + 1) // 2
        strength = np.broadcast_to(np.exp(-1j * np.asarray(self.phase_lag)) * self.coupling, (runs,)).reshape(-1, 1)
        linked, scale = self.edges is not None, e
        if self.normalize == "size" or (self.normalize == "degree" and not linked):
            strength = strength / n
        elif linked and self.normalize == "degree":
            degree = self.edges.in_degree
            scale = np.divide(1.0, degree, out=np.zeros(n), where=degree > 0)
        strength = np.repeat(strength, harmonics, axis=1)  # (runs, harmonics), as if of one group
        blocks = np.append(np.arange(0, n, BLOCK), n).astype(np.int64)
        indptr, indices, weight = self.edges if linked else (np.zeros(0, np.int64), np.zeros(0, np.int32), e)
        phases = Phases(
            omega, pairs(strength * (not linked)), e, e, pairs(strength if linked else e), indptr, indices, weight,
            scale, e, e, flat(sigma), blocks, np.zeros(len(blocks) - 1, np.int64),
            schedule=e if self.schedule is None else self.schedule.reshape(-1), body=body,
        )  # fmt: skip
        step = 2 * harmonics if runs > 1 else 0
        sizes = Sizes(
            n, variables, harmonics, 1, int(not linked), int(bool(np.any(sigma))), each, step, 0, 0, step,
            sigma.shape[-1] if sigma.ndim == 2 and len(sigma) > 1 else 0,
            int(sigma.ndim > 0 and sigma.shape[-1] > 1), 0, 1 << 32, 0, 0, 0, n * variables, variables, kicked, kind, 0,
        )  # fmt: skip
        return phases, sizes


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class StuartLandau(Bodies):
    r"""Oscillators with amplitudes: complex numbers z near a Hopf bifurcation.

    Parameters
    ----------
    omega : array_like of float, shape (N,) or (runs, N)
        Frequencies of small oscillations, radians per unit of time.
    coupling : float or array_like, shape (runs,)
    network : sparse or dense matrix (N, N), NetworkX graph or Ring, optional
        As of `Kuramoto`; all to all by default.
    normalize : {"size", "degree", None}
        As of `Kuramoto`.
    phase_lag : float or array_like, shape (runs,)
        alpha: the coupling is turned by exp(-i alpha).
    growth : float or array_like, shape (N,)
        a: uncoupled oscillators have the amplitude sqrt(a), or none where a <= 0.
    shear : float or array_like, shape (N,)
        b: the uncoupled frequency is omega - b a.
    diffusive : bool
        Whether z_j - z_i acts on i, or z_j alone.
    diffusion : float or array_like, shape (N,), (runs, 1) or (runs, N)
        D of the white noise in each of the two coordinates.
    schedule : (array_like, array_like), optional
        As of `Kuramoto`.

    Raises
    ------
    ValueError, TypeError
        For shapes that do not fit, numbers that are not finite, negative diffusion.

    Notes
    -----
    .. math:: z_i' = (a_i + i \omega_i) z_i - (1 + i b_i) |z_i|^2 z_i
              + g \sum_j W_{ij} e^{-i\alpha} (z_j - z_i) + \sqrt{2 D}\, (\xi_i + i \eta_i)

    A state is complex: ``theta0`` of `simulate` takes z, or real phases of amplitude 1, and the result has
    ``states_end["z"]``. ``theta`` is arg z, within [-pi, pi]: "frequencies" and "velocity", which ask for turns, are
    refused. R is that of the phases; "amplitude" is the mean of \|z\|, "Z" the mean of z. With weak coupling and b = 0
    the phases are those of `Kuramoto`. Diffusive coupling of different frequencies can stop all motion (amplitude
    death): two oscillators with a = 1, K/2 = k, if k > 1 and their frequencies differ by more than 2 sqrt(2 k - 1).

    References
    ----------
    P. C. Matthews, R. E. Mirollo, S. H. Strogatz, "Dynamics of a large system of coupled nonlinear oscillators",
    Physica D 52 (1991) 293; D. G. Aronson, G. B. Ermentrout, N. Kopell, "Amplitude response of coupled oscillators",
    Physica D 41 (1990) 403.

    Examples
    --------
    >>> import numpy as np, primeattn as pa
    >>> model = pa.dynamics.StuartLandau([-2.0, 2.0], coupling=4.0)
    >>> run = pa.simulate(model, (0, 40), [1.0, 1j], observables=("amplitude",))
    >>> run["amplitude"][-1] < 1e-9  # amplitude death
    np.True_
    """

    omega: Any
    coupling: Any = 1.0
    network: Any = None
    normalize: str | None = "size"
    phase_lag: Any = 0.0
    _: dataclasses.KW_ONLY
    growth: Any = 1.0
    shear: Any = 0.0
    diffusive: bool = True
    diffusion: Any = 0.0
    schedule: Any = None

    def __post_init__(self):
        self._put("omega", finite("omega", self.omega))
        if self.omega.ndim not in (1, 2) or self.omega.size == 0:
            raise ValueError(f"omega has shape {self.omega.shape}: (N,) or (runs, N) is wanted, N at least 1")
        self._put_coupling()
        for name in ("growth", "shear", "diffusion"):
            x = finite(name, getattr(self, name))
            if x.shape[-1:] not in ((), (1,), (self.size,)) or x.ndim > (2 if name == "diffusion" else 1):
                raise ValueError(f"{name} has shape {x.shape}: a number or ({self.size},) is wanted")
            self._put(name, x)
        if (self.diffusion < 0).any():
            raise ValueError("diffusion has entries below their range: diffusion >= 0 is wanted")

    @property
    def size(self) -> int:
        """N, how many oscillators there are."""
        return self.omega.shape[-1]

    @property
    def states(self) -> int:
        """Numbers that describe one run, 2 N: real parts, then imaginary parts."""
        return 2 * self.size

    @property
    def runs(self) -> int | None:
        """How many runs the parameters describe; None if nothing varies by run."""
        arrays = (self.omega, self.diffusion)
        strengths = (np.asarray(self.coupling), np.asarray(self.phase_lag))
        return self._runs(*(len(x) for x in arrays if x.ndim == 2), *(len(x) for x in strengths if x.ndim))

    @property
    def observables(self) -> dict[str, Observable]:
        """What these oscillators have besides `OBSERVABLES`."""
        return {
            "amplitude": Observable("amplitude", "mean of |z|", "1", (), lambda seen: np.abs(seen.parts["z"]).mean(-1)),
            "Z": Observable("Z", "mean of z", "1", (), lambda seen: seen.parts["z"].mean(-1)),
        }

    def arrays(self) -> tuple[Phases, Sizes]:
        """What the kernels read."""
        n = self.size
        body = np.concatenate([[float(self.diffusive)], np.full(n, self.growth), np.full(n, self.shear)])
        each = n if self.omega.ndim == 2 and len(self.omega) > 1 else 0
        return self._arrays(flat(self.omega), np.sqrt(2 * self.diffusion), body, 2, 2, AMPLITUDES, each)

    def fastest(self) -> float:
        """A bound on the rate at which a state changes."""
        reach = float(np.abs(self.growth).max())
        turn = float(np.abs(self.omega).max()) + reach * (1 + float(np.abs(self.shear).max()))
        return turn + 2 * self._strongest()

    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Initial phases, uniform on the circle, shape (count, N)."""
        return rng.uniform(-np.pi, np.pi, (count, self.size))

    def pack(self, given: Any) -> np.ndarray:
        """States (..., 2 N) of complex numbers, or of phases of amplitude 1, (..., N)."""
        z = np.asarray(given)
        if z.dtype.kind not in "biufc" or z.ndim not in (1, 2) or z.shape[-1] != self.size:
            raise ValueError(
                f"theta0 has shape {z.shape} and dtype {z.dtype}: complex numbers, or phases, of shape ({self.size},) "
                f"or (runs, {self.size}) are wanted"
            )
        z = z.astype(complex) if z.dtype.kind == "c" else np.exp(1j * z.astype(float))
        return np.concatenate([z.real, z.imag], axis=-1)

    def unpack(self, states: np.ndarray) -> dict[str, np.ndarray]:
        """What the numbers of states, (..., 2 N), are."""
        x, y = states[..., : self.size], states[..., self.size :]
        return {"theta": np.arctan2(y, x), "z": x + 1j * y}


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Spheres(Bodies):
    r"""The Kuramoto model in D dimensions: oscillators are unit vectors, frequencies are rotations.

    Parameters
    ----------
    rotation : array_like of float, shape (N, D, D) or (runs, N, D, D)
        Antisymmetric matrices Omega; `frequencies.rotations` draws them. D is 2 or more.
    coupling : float or array_like, shape (runs,)
    network : sparse or dense matrix (N, N), NetworkX graph or Ring, optional
        As of `Kuramoto`; all to all by default.
    normalize : {"size", "degree", None}
        As of `Kuramoto`.
    schedule : (array_like, array_like), optional
        As of `Kuramoto`.

    Raises
    ------
    ValueError, TypeError
        For shapes that do not fit, numbers that are not finite, matrices that are not antisymmetric.

    Notes
    -----
    .. math:: x_i' = \Omega_i x_i + f_i - (x_i \cdot f_i)\, x_i, \qquad f_i = g \sum_j W_{ij} x_j

    A state is an array (N, D): ``theta0`` of `simulate` takes vectors, whose lengths become 1, and the result has
    ``states_end["x"]``. The flow keeps lengths; steps do to their own error, 1e-8 for default ones. R is the length of
    the mean vector. D = 2 is `Kuramoto`, Omega = omega [[0, -1], [1, 0]]. In odd dimensions every Omega leaves an axis
    alone, and the transition is discontinuous: with isotropic Omega, D = 3, R jumps to 1/2 as the coupling becomes
    positive.

    References
    ----------
    S. Chandra, M. Girvan, E. Ott, "Continuous versus discontinuous transitions in the D-dimensional generalized
    Kuramoto model: odd D is different", Phys. Rev. X 9 (2019) 011002.

    Examples
    --------
    >>> import primeattn as pa
    >>> model = pa.dynamics.Spheres(pa.dynamics.frequencies.rotations(500, 3, rng=0), coupling=2.0)
    >>> run = pa.simulate(model, (0, 20), rng=0)
    >>> run.R[-1].round(1), run.states_end["x"].shape  # theory: 0.67
    (np.float64(0.7), (500, 3))
    """

    rotation: Any
    coupling: Any = 1.0
    network: Any = None
    normalize: str | None = "size"
    _: dataclasses.KW_ONLY
    schedule: Any = None
    lacks: ClassVar[tuple[str, ...]] = (
        "psi", "R2", "Z1", "R_local", "R_group", "entropy", "velocity", "frequencies", "locking", "R_mean", "chimera",
        "metastability",
    )  # fmt: skip

    def __post_init__(self):
        x = finite("rotation", self.rotation)
        if x.ndim not in (3, 4) or x.shape[-1] != x.shape[-2] or x.shape[-1] < 2 or x.size == 0:
            raise ValueError(f"rotation has shape {x.shape}: (N, D, D) or (runs, N, D, D) is wanted, D at least 2")
        worst = float(np.abs(x + np.swapaxes(x, -1, -2)).max())
        if worst > 1e-12 * max(1.0, float(np.abs(x).max())):
            raise ValueError(f"rotation differs from minus its transpose by {worst:.3g}: antisymmetric ones are wanted")
        self._put("rotation", x)
        self._put_coupling()

    @property
    def size(self) -> int:
        """N, how many oscillators there are."""
        return self.rotation.shape[-3]

    @property
    def dimension(self) -> int:
        """D, the coordinates of a vector."""
        return self.rotation.shape[-1]

    @property
    def states(self) -> int:
        """Numbers that describe one run, N D: all first coordinates, all second ones, ..."""
        return self.size * self.dimension

    @property
    def runs(self) -> int | None:
        """How many runs the parameters describe; None if nothing varies by run."""
        strengths = np.asarray(self.coupling)
        return self._runs(len(self.rotation) if self.rotation.ndim == 4 else 0, len(strengths) if strengths.ndim else 0)

    @property
    def observables(self) -> dict[str, Observable]:
        """In place of entries of `OBSERVABLES`."""
        return {"R": Observable("R", "length of the mean vector", "1", (), _length_of_mean)}

    def arrays(self) -> tuple[Phases, Sizes]:
        """What the kernels read."""
        planes = list(combinations(range(self.dimension), 2))
        entries = np.stack([self.rotation[..., a, b] for a, b in planes], axis=-2)  # (..., planes, N)
        each = len(planes) * self.size if self.rotation.ndim == 4 and len(self.rotation) > 1 else 0
        return self._arrays(flat(entries), np.zeros(1), np.zeros(1), self.dimension, 1, SPHERES, each)

    def fastest(self) -> float:
        """A bound on the rate at which a state changes."""
        return float(np.linalg.norm(self.rotation, axis=(-2, -1)).max()) / np.sqrt(2) + self._strongest()

    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Initial vectors, uniform on the sphere, shape (count, N, D)."""
        return rng.standard_normal((count, self.size, self.dimension))

    def pack(self, given: Any) -> np.ndarray:
        """States (..., N D) of vectors (..., N, D)."""
        x = np.asarray(given)
        if x.dtype.kind not in "biuf" or x.ndim not in (2, 3) or x.shape[-2:] != (self.size, self.dimension):
            raise ValueError(
                f"theta0 has shape {x.shape} and dtype {x.dtype}: real vectors of shape ({self.size}, "
                f"{self.dimension}) or (runs, {self.size}, {self.dimension}) are wanted"
            )
        x = x.astype(float)
        length = np.linalg.norm(x, axis=-1, keepdims=True)
        if not (length > 0).all() and np.isfinite(x).all():
            raise ValueError("theta0 has vectors of length 0, which have no direction")
        length[abs(length - 1) < _UNIT] = 1.0  # where a run ended, so that it goes on from there
        return np.swapaxes(x / length, -1, -2).reshape(*x.shape[:-2], self.states)

    def unpack(self, states: np.ndarray) -> dict[str, np.ndarray]:
        """What the numbers of states, (..., N D), are."""
        return {"x": np.swapaxes(states.reshape(*states.shape[:-1], self.dimension, self.size), -1, -2)}


def _length_of_mean(seen: Any) -> np.ndarray:
    return np.linalg.norm(seen.parts["x"].mean(axis=-2), axis=-1)
