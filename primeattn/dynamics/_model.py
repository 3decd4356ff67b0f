"""The model: what couples to what, as data. Changing a number compiles nothing."""

import dataclasses
from typing import Any, ClassVar

import numpy as np

from .._runtime.checks import unmasked
from ._delay import as_delays
from ._learning import as_rule, rule
from ._model_checks import blocks, checked_harmonics, checked_schedule, finite, flat, numbers, pairs, short
from ._neighbours import Ring, reach_of
from ._network import Edges, as_switched
from ._phases import PHASES, Phases, Sizes
from ._triangles import Triangles, as_rows, as_triangles

NORMALIZERS = ("size", "degree", None)


@dataclasses.dataclass(frozen=True, eq=False)
class Kuramoto:
    r"""Coupled phase oscillators.

    Parameters
    ----------
    omega : array_like of float, shape (N,) or (runs, N)
        Natural frequencies, radians per unit of time.
    coupling : float or array_like, shape (runs,), (groups, groups) or (runs, groups, groups)
        K. With ``groups``, ``coupling[a, b]`` is what group a feels of group b.
    network : sparse or dense matrix (N, N), NetworkX graph, Ring, or a list of matrices with times, optional
        W[i, j] is the weight of the edge j -> i; None couples all to all. A NetworkX edge u -> v makes v hear u.
        A matrix more than half of whose entries are not 0 is read without indices; `Ring` has no list of edges. What is
        a list of edges becomes a matrix by `networks.from_edges`: of two oscillators [(0, 1), (1, 0)] is a matrix.
        A list [(t_0, W_0), (t_1, W_1), ...] switches: each network holds from its time on, the first before it, too.
    normalize : {"size", "degree", None}
        g = K / N, K / in-degree of i (sum of \|weights\|), or K. With ``groups``: K / size of the group that is heard.
    phase_lag : float or array_like, shape of ``coupling``
        alpha, radians (Sakaguchi).
    harmonics : dict of int to float or (float, float), optional
        Further harmonics: {m: K_m} or {m: (K_m, alpha_m)}, normalised like the coupling (Daido).
    triadic : (float, float), optional
        Strengths p and q of the two triadic terms; over all j and k, or with ``triangles`` over those, (0, 1) then.
    triangles : array_like of int, shape (T, 3), optional
        Rows (i, j, k): i feels the pair j, k. A triangle that all three feel has three rows; where p is not 0, six.
    triangle_weights : array_like of float, shape (T,), optional
        1 by default. Not normalised.
    forcing : (float, float) or (float, float, float), optional
        Strength, frequency and phase of an external drive.
    groups : array_like of int, shape (N,), optional
        Population of every oscillator, 0, 1, ...; all-to-all coupling only.
    diffusion : float or array_like, shape (N,), (runs, 1) or (runs, N)
        D of the white noise, rad^2 per unit of time.
    inertia : float or array_like, shape (N,), optional
        m of the second-order model (swing equation).
    friction : float or array_like, shape (N,)
        Factor of theta' beside the inertia.
    schedule : (array_like, array_like), optional
        Times, ascending, and factors s: all pairwise coupling is multiplied by s(t), linear between the times and
        constant beyond them. With ``coupling=1`` the factors are K(t) itself.
    delay : float, array_like of shape (edges,), or matrix (N, N), optional
        tau of the pairwise coupling: of all, or of each edge, W[i, j] taking delay[i, j] to come from j to i; an array
        in the order of the rows of the network, columns ascending. See `simulate` for the history.
    correlation_time : float, optional
        Of coloured (Ornstein-Uhlenbeck) noise in place of white noise.
    adaptation : float or (float, float) or (float, float, float), optional
        Rate, shift (0: Hebb's rule) and strength (1) at which the weights of the network learn. They start as they are
        given and end in ``Trajectory.states_end["weights"]``.

    Raises
    ------
    ValueError
        For shapes that do not fit, numbers that are not finite, negative diffusion, inertia that is not positive.
    TypeError
        For a network of another kind, or complex numbers.

    Notes
    -----
    .. math:: \theta_i' = \omega_i + g \sum_j W_{ij} \sin(\theta_j - \theta_i - \alpha)
              + \sum_m g_m \sum_j W_{ij} \sin(m(\theta_j - \theta_i) - \alpha_m)
              + f \sin(\nu t + \chi - \theta_i)
              + \frac{1}{N^2}\sum_{jk} \big[ p \sin(2\theta_j - \theta_k - \theta_i)
              + q \sin(\theta_j + \theta_k - 2\theta_i) \big] + \sqrt{2 D}\,\xi_i

    and with inertia :math:`m_i \theta_i'' + \text{friction}_i\,\theta_i' =` the same. All to all, the sum runs over
    j = i, too, which adds the constant :math:`-g \sin\alpha` to all frequencies.

    *Listed triangles*: :math:`\sum_{(i; j, k)} w_{ijk} [ p \sin(2\theta_j - \theta_k - \theta_i)
    + q \sin(\theta_j + \theta_k - 2\theta_i) ]` takes the place of the triadic sum.

    *Delay*: :math:`\theta_j(t - \tau_{ij})` takes the place of :math:`\theta_j` in the sums over W, harmonics among
    them, not in triads. All to all, j = i is left out then, as it is not zero; g keeps its N. A network's diagonal
    counts.

    *Schedule*: g(t) = s(t) g, and g_m(t) = s(t) g_m.

    *Coloured noise*: :math:`\eta_i` takes the place of :math:`\sqrt{2 D}\,\xi_i`, with
    :math:`\tau_c \eta_i' = -\eta_i + \sqrt{2 D}\,\xi_i`, stationary from the start.

    *Adaptation* with rate :math:`\varepsilon`, shift :math:`\beta` and strength s: :math:`W_{ij}' = \varepsilon
    [s \cos(\theta_j - \theta_i - \beta) - W_{ij}]` on the edges of the network. ``normalize="degree"`` keeps the degree
    of the start.

    References
    ----------
    Y. Kuramoto (1975); H. Sakaguchi and Y. Kuramoto (1986); H. Daido (1992); P. S. Skardal and A. Arenas (2019),
    "Abrupt desynchronization ... in simplicial complexes" (triads); H. Tanaka, A. Lichtenberg, S. Oishi (1997)
    (inertia); M. K. S. Yeung and S. H. Strogatz (1999) (delay); D. T. Gillespie (1996) (coloured noise); P. Seliger,
    S. C. Young, L. S. Tsimring (2002) and R. Berner, E. Schöll, S. Yanchuk (2019) (adaptation).

    Examples
    --------
    >>> import primeattn as pa
    >>> pa.Kuramoto([0.0, 1.0], coupling=2.0)
    Kuramoto(N=2, coupling=2.0, all to all)
    """

    omega: Any
    coupling: Any = 1.0
    network: Any = None
    normalize: str | None = "size"
    phase_lag: Any = 0.0
    _: dataclasses.KW_ONLY
    harmonics: Any = None
    triadic: Any = None
    forcing: Any = None
    groups: Any = None
    diffusion: Any = 0.0
    inertia: Any = None
    friction: Any = 1.0
    schedule: Any = None
    triangles: Any = None
    triangle_weights: Any = None
    delay: Any = None
    correlation_time: Any = None
    adaptation: Any = None
    edges: ClassVar[Edges | None]  # made of network, the first of them; ClassVar keeps it from the fields
    ring: ClassVar[int]  # neighbours on each side, of a network that is a Ring and has no edges then; 0 otherwise
    networks: ClassVar[tuple[tuple[float, Edges], ...]]  # from when on, and what
    corners: ClassVar[Triangles | None]
    delays: ClassVar[np.ndarray]

    def __post_init__(self):
        def put(name, value):  # frozen for users, checked once here
            object.__setattr__(self, name, value)

        put("omega", finite("omega", self.omega))
        if self.omega.ndim not in (1, 2) or self.omega.size == 0:
            raise ValueError(f"omega has shape {self.omega.shape}: (N,) or (runs, N) is wanted, N at least 1")
        if self.normalize not in NORMALIZERS:
            raise ValueError(f"normalize is {self.normalize!r}: one of {NORMALIZERS} is wanted")
        put("ring", self._checked_ring())
        put("networks", () if self.ring else as_switched(self.network, self.size))
        put("edges", self.networks[0][1] if self.networks else None)
        put("groups", None if self.groups is None else self._checked_groups())
        for name in ("coupling", "phase_lag"):
            put(name, self._checked_strength(name))
        for name, wanted in (("diffusion", ">= 0"), ("inertia", "> 0"), ("friction", ">= 0")):
            if getattr(self, name) is not None:
                put(name, self._checked_rate(name, wanted))
        put("harmonics", checked_harmonics(self.harmonics))
        put("triadic", numbers("triadic", self.triadic, (2,)))
        put("schedule", None if self.schedule is None else checked_schedule(self.schedule))
        put("triangles", None if self.triangles is None else as_rows(self.triangles, self.size))
        if self.triangle_weights is not None:
            put("triangle_weights", finite("triangle_weights", self.triangle_weights))
        given = self.triangles is not None and len(self.triangles) > 0
        put("corners", as_triangles(self.triangles, self.triangle_weights, self.size) if given else None)
        if self.corners is None and self.triangle_weights is not None and self.triangle_weights.size:
            raise ValueError("triangle_weights are given without triangles: triangles=(T, 3) integers are wanted")
        put("delays", self._checked_delay())
        if self.correlation_time is not None:
            found = finite("correlation_time", self.correlation_time)
            if found.ndim:
                raise ValueError(f"correlation_time has shape {found.shape}: a number, of all, is wanted")
            put("correlation_time", float(found))
            if not self.correlation_time > 0:
                raise ValueError(f"correlation_time is {self.correlation_time}: > 0 is wanted, or None for white noise")
        put("forcing", numbers("forcing", self.forcing, (2, 3)))
        if self.adaptation is not None:
            put("adaptation", self._checked_adaptation())

    def __repr__(self):
        parts = [f"N={self.size}", f"coupling={short(self.coupling)}"]
        whole = f"ring of {2 * self.ring} neighbours" if self.ring else "all to all"
        parts.append(whole if self.edges is None else f"{len(self.edges.indices)} edges")
        for field in dataclasses.fields(self)[4:]:
            value = getattr(self, field.name)
            default = field.default
            usual = value is None or (isinstance(value, dict) and not value)
            if not usual and not (np.ndim(value) == 0 and value == default):
                parts.append(f"{field.name}={short(value)}")
        return f"Kuramoto({', '.join(parts)})"

    def replace(self, **changes) -> "Kuramoto":
        """The same model with other numbers.

        Examples
        --------
        >>> import primeattn as pa
        >>> pa.Kuramoto([0.0, 1.0]).replace(coupling=3.0)
        Kuramoto(N=2, coupling=3.0, all to all)
        """
        return dataclasses.replace(self, **changes)

    @property
    def size(self) -> int:
        """N, how many oscillators there are."""
        return self.omega.shape[-1]

    @property
    def runs(self) -> int | None:
        """How many runs the parameters describe; None if nothing varies by run."""
        found = {len(x) for x in (self.omega, self.diffusion) if x.ndim == 2}
        found |= {len(x) for x in (self.coupling, self.phase_lag) if x.ndim % 2}  # (runs,) or (runs, groups, groups)
        if len(found - {1}) > 1:
            raise ValueError(
                f"omega, coupling, phase_lag and diffusion differ in their number of runs: {sorted(found)}"
            )
        return max(found, default=None)

    @property
    def states(self) -> int:
        """Numbers that describe one run: N, or 2 N with inertia, and the weights that learn."""
        weights = 0 if self.adaptation is None or self.edges is None else len(self.edges.indices)
        return self.size * (1 if self.inertia is None else 2) + weights

    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Initial phases, uniform on the circle, shape (count, N)."""
        return rng.uniform(-np.pi, np.pi, (count, self.size))

    def unpack(self, states: np.ndarray) -> dict[str, np.ndarray]:
        """What the numbers of states, (..., states), are."""
        n = self.size
        found = {"theta": states[..., :n]}
        if self.inertia is not None:
            found["velocity"] = states[..., n : 2 * n]
        if self.adaptation is not None:
            found["weights"] = states[..., n * (1 if self.inertia is None else 2) :]
        return found

    def _checked_ring(self) -> int:
        """0 if the network is none, or terms need a list of its edges, which takes its place."""
        if not isinstance(self.network, Ring):
            return 0
        reach = reach_of(self.network, self.size)
        if self.adaptation is not None or np.ndim(self.delay):
            from .networks import ring

            object.__setattr__(self, "network", ring(self.size, reach))
            return 0
        return reach

    def _checked_adaptation(self) -> tuple[float, ...]:
        found = as_rule(finite("adaptation", self.adaptation))
        if self.edges is None:
            raise ValueError("adaptation is given without a network: network=1 - numpy.eye(N) couples all to all")
        if len(self.delays) or len(self.networks) > 1:
            raise ValueError("adaptation is given with a delay or a network that switches: neither is served")
        return found

    def _checked_groups(self):
        if self.network is not None:
            raise ValueError(
                "groups are given with a network: groups couple all to all; put their weights into the network"
            )
        groups = np.asarray(unmasked("groups", self.groups))
        if groups.shape != (self.size,) or groups.dtype.kind not in "iu":
            raise ValueError(
                f"groups has shape {groups.shape} and dtype {groups.dtype}: ({self.size},) integers are wanted"
            )
        if groups.min() < 0 or len(np.unique(groups)) != groups.max() + 1:
            raise ValueError("groups must be numbered 0, 1, ... without a gap")
        if (np.diff(groups) < 0).any():
            raise ValueError("groups must ascend: sort the oscillators, order = numpy.argsort(groups, kind='stable')")
        return groups.astype(np.int64)

    def _checked_delay(self):
        delays = as_delays(self.delay, self.edges, self.size)
        if self.delay is not None and np.ndim(self.delay) == 0 and not hasattr(self.delay, "tocsr"):
            object.__setattr__(self, "delay", float(self.delay))
        elif self.delay is not None:  # as an array in the order of the edges, which files can hold
            each = delays if len(delays) > 1 else np.full(len(self.networks[0][1].indices), delays.sum())
            object.__setattr__(self, "delay", each)
        if len(delays) > 1 and len(self.networks) > 1:
            raise ValueError("delay has one entry an edge but the network changes: one delay of all is wanted")
        return delays

    def _checked_strength(self, name):
        x = finite(name, getattr(self, name))
        if not x.size:
            raise ValueError(f"{name} has shape {x.shape}, of no runs: a number, or one for each run, is wanted")
        count = 0 if self.groups is None else int(self.groups[-1]) + 1
        shapes = {(): "a number"} | ({(count, count): f"({count}, {count})"} if count else {})
        if not any(x.shape[x.ndim - len(tail) :] == tail and x.ndim - len(tail) <= 1 for tail in shapes):
            raise ValueError(
                f"{name} has shape {x.shape}: {' or '.join(shapes.values())}, perhaps with a leading axis of runs, "
                "is wanted"
            )
        return x

    def _checked_rate(self, name, wanted):
        x = finite(name, getattr(self, name))
        if not (x > 0 if wanted == "> 0" else x >= 0).all():
            raise ValueError(f"{name} has entries below their range: {name} {wanted} is wanted")
        if x.shape[-1:] not in ((), (1,), (self.size,)) or x.ndim > (2 if name == "diffusion" else 1) or not x.size:
            raise ValueError(f"{name} has shape {x.shape}: a number or ({self.size},) is wanted")
        return x

    def arrays(self) -> tuple[Phases, Sizes]:
        """What the kernels read."""
        n, e = self.size, np.zeros(0)
        groups = np.zeros(n, np.int64) if self.groups is None else self.groups
        harmonics = {1: (self.coupling, self.phase_lag)} | self.harmonics
        all_triads = self.triadic is not None and self.triangles is None
        count = max([*harmonics, 2 if all_triads else 1])
        runs = self.runs or 1
        number = int(groups[-1]) + 1
        strength = np.zeros((runs, count, number, number), complex)
        for m, (k, lag) in harmonics.items():
            strength[:, m - 1] = _by_groups(k) * np.exp(-1j * _by_groups(lag))
        linked = self.edges is not None or self.ring > 0
        link = strength[:, :, 0, 0] if linked else np.zeros((0, 0), complex)
        if linked:
            if self.normalize == "size":
                link = link / n
            elif self.ring and self.normalize == "degree":
                link = link / (2 * self.ring)
            strength = strength * 0
        elif self.normalize is not None:
            strength = strength / np.bincount(groups)
        edges, group = blocks(groups)
        mean = bool(strength.any()) or all_triads
        triads = e if not all_triads else np.array([[self.triadic[0], 0, self.triadic[1], 0]], float)
        forcing = e if self.forcing is None else np.array([(*self.forcing, 0.0)[:3]])
        second = self.inertia is not None
        phases = Phases(
            flat(self.omega), pairs(strength), triads.reshape(-1), forcing.reshape(-1), pairs(link),
            np.zeros(0, np.int64) if self.edges is None else self.edges.indptr,
            np.zeros(0, np.int32) if self.edges is None else self.edges.indices,
            e if self.edges is None else self.edges.weight,
            e if self.edges is None else self._scale(self.edges),
            np.full(n, self.inertia) if second else e,
            np.full(n, self.friction) if second else e,
            flat(np.sqrt(2 * self.diffusion) / (1.0 if not second else self.inertia)),
            edges, group,
        )  # fmt: skip
        if self.schedule is not None:
            phases = phases._replace(schedule=self.schedule.reshape(-1))
        if self.corners is not None:
            corners, weight = self.corners.arrays(*(self.triadic or (0.0, 1.0)))
            phases = phases._replace(corners=corners, corner_weight=weight)
        learns = self.adaptation is not None
        if learns:
            phases = phases._replace(learning=rule(*self.adaptation))
        sigma = np.sqrt(2 * self.diffusion) / (1.0 if not second else self.inertia)
        sizes = Sizes(
            n, 2 if second else 1, count, number, int(mean),
            int(bool(sigma.any())) * (1 if self.correlation_time is None else 2),
            n if self.omega.ndim == 2 and len(self.omega) > 1 else 0,
            2 * strength[0].size if runs > 1 else 0,
            0, 0,
            2 * count if runs > 1 and linked else 0,
            sigma.shape[-1] if sigma.ndim == 2 and len(sigma) > 1 else 0,
            int(sigma.ndim > 0 and sigma.shape[-1] > 1),
            0, 1 << 32,
            min(len(self.delays), 2), 0, 0,
            self.states, (2 if second else 1) + learns, 1, PHASES, self.ring,
        )  # fmt: skip
        return phases, sizes

    def changes(self, phases: Phases) -> tuple[np.ndarray, list[Phases]]:
        """The arrays again, once for each network, and the times from which on they hold."""
        if len(self.networks) < 2:
            return np.zeros(1), [phases]
        found = [
            phases._replace(indptr=e.indptr, indices=e.indices, weight=e.weight, scale=self._scale(e))
            for _, e in self.networks
        ]
        return np.array([t for t, _ in self.networks]), found

    def _scale(self, edges: Edges) -> np.ndarray:
        if self.normalize != "degree":
            return np.zeros(0)
        degree = edges.in_degree
        return np.divide(1.0, degree, out=np.zeros(self.size), where=degree > 0)


def _by_groups(x) -> np.ndarray:
    """A number, (runs,), (groups, groups) or (runs, groups, groups), broadcastable to the last of these."""
    x = np.asarray(x)
    return x[:, None, None] if x.ndim == 1 else x
