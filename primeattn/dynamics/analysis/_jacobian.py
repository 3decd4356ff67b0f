r"""The derivative of a model and its Jacobian, from the arrays that the kernels read.

With e_i = exp(i theta_i), every term is theta_i' = omega_i + Im sum_m conj(e_i^m) G_mi, where G_mi is all that i feels
in harmonic m. The phase of i itself turns conj(e_i^m), those of others turn G:

    d theta_i' / d theta_j = - delta_ij sum_m m Re(conj(e_i^m) G_mi) + Im sum_m conj(e_i^m) d G_mi / d theta_j.

A network makes the second part sparse; mean fields and triads, which feel theta only through a few sums
S = sum_j m e_j^m v_j, give it a rank of twice their number. So J = local + left right^T, and never is it dense.
"""

import dataclasses
from typing import Any

import numpy as np

from ..._runtime.checks import unmasked
from .._model import Kuramoto
from .._stops import active
from .._triangles import Triangles
from ..networks import ring

#: Terms whose derivative is known here; a schedule leaves no state at rest, and no growth that settles.
_KNOWN = (
    "omega", "coupling", "network", "normalize", "phase_lag", "harmonics", "triadic", "forcing", "groups",
    "diffusion", "inertia", "friction", "triangles", "triangle_weights", "schedule",
)  # fmt: skip
SETTLED = _KNOWN[:-1]


@dataclasses.dataclass(frozen=True, eq=False)
class Jacobian:
    """local + left right^T: sparse and of low rank.

    Attributes
    ----------
    local : scipy.sparse.csr_array, shape (n, n)
    left, right : ndarray of float, shape (n, rank)
    """

    local: Any
    left: np.ndarray
    right: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        """(n, n)."""
        return self.local.shape

    def __matmul__(self, x):
        return self.local @ x + self.left @ (self.right.T @ x)

    def toarray(self) -> np.ndarray:
        """Dense."""
        return self.local.toarray() + self.left @ self.right.T

    def tosparse(self) -> Any:
        """scipy.sparse.csr_array; as dense as the part of low rank makes it."""
        from scipy import sparse

        return self.local if not self.left.shape[1] else self.local + sparse.csr_array(self.left @ self.right.T)

    def operator(self) -> Any:
        """scipy.sparse.linalg.LinearOperator."""
        from scipy.sparse.linalg import LinearOperator

        def transposed(x):
            return self.local.T @ x + self.right @ (self.left.T @ x)

        return LinearOperator(self.shape, matvec=self.__matmul__, rmatvec=transposed, dtype=float)


def jacobian(model: Kuramoto, theta: Any, t: float = 0.0) -> Jacobian:
    r"""The Jacobian of a model at phases theta; noise plays no part in it.

    Parameters
    ----------
    model : Kuramoto
        One run.
    theta : array_like of float, shape (N,)
        Phases, radians.
    t : float
        Time, which matters with forcing, a schedule, and a network that switches.

    Returns
    -------
    Jacobian
        Of shape (N, N): :math:`\partial\theta_i'/\partial\theta_j`. With inertia (2N, 2N), for (theta, theta').

    Raises
    ------
    ValueError
        For a model of several runs, terms without a Jacobian, or theta of another shape.

    Notes
    -----
    With :math:`G_{mi}` all that i feels in harmonic m,

    .. math:: J_{ij} = \sum_m m\, \mathrm{Re}\big[ e^{-i m\theta_i} h_m w_{ij} e^{i m\theta_j} \big]
              - \delta_{ij} \sum_m m\, \mathrm{Re}\big[ e^{-i m\theta_i} G_{mi} \big].

    Examples
    --------
    >>> import primeattn as pa
    >>> model = pa.Kuramoto([0.0, 0.0], coupling=1.0)
    >>> pa.dynamics.analysis.jacobian(model, [0.0, 0.0]).toarray()
    array([[-0.5,  0.5],
           [ 0.5, -0.5]])
    """
    first_order = force_and_jacobian(model, theta, t)[1]
    if model.inertia is None:
        return first_order
    from scipy import sparse

    n = model.size
    lighter = sparse.diags_array(1 / np.full(n, model.inertia))
    rub = -np.full(n, model.friction) / model.inertia
    local = sparse.block_array([[None, sparse.eye_array(n)], [lighter @ first_order.local, sparse.diags_array(rub)]])
    nothing = np.zeros_like(first_order.left)
    return Jacobian(
        local.tocsr(), np.vstack([nothing, lighter @ first_order.left]), np.vstack([first_order.right, nothing])
    )


def force_and_jacobian(model: Kuramoto, theta: Any, t: float = 0.0) -> tuple[np.ndarray, Jacobian]:
    """theta' of the model without inertia, and its Jacobian."""
    from scipy import sparse

    theta, model = checked(model, theta), listed(model)
    x, g = model.arrays()
    changes, networks = model.changes(x)
    x = networks[active(changes, t, t)]
    factor = 1.0 if model.schedule is None else np.interp(t, *model.schedule)
    field = factor * x.field.view(complex).reshape(-1, g.harmonics, g.groups, g.groups)[0]
    group = np.repeat(x.group, np.diff(x.edges))
    count = max(g.harmonics, 1 if model.corners is None else 2)
    e = np.exp(1j * theta * np.arange(1, count + 1)[:, None])
    felt = np.zeros_like(e)
    left: list[np.ndarray] = []
    right: list[np.ndarray] = []

    def through_sum(weight, of, sign=1):
        """Re(weight_i S), or of its conjugate, with S = sum_j of_j v_j."""
        left.extend([weight.real, -sign * weight.imag])
        right.extend([of.real, of.imag])

    if field.any():
        for m in range(g.harmonics):
            for b in range(g.groups):
                member = e[m] * (group == b)
                felt[m] += field[m, group, b] * member.sum()
                through_sum(np.conj(e[m]) * field[m, group, b], (m + 1) * member)
    if len(x.triads):
        p, q = x.triads.view(complex)
        z1, z2 = e[0].mean(), e[1].mean()
        felt[0] += p * z2 * np.conj(z1)
        felt[1] += q * z1**2
        # d Z_1 = i S_1 / n, d Z_2 = 2 i S_2 / n, and Im(i x) = Re x
        through_sum(np.conj(e[0]) * p * np.conj(z1) * 2 / g.n, e[1])
        through_sum(-np.conj(e[0]) * p * z2 / g.n, e[0], sign=-1)
        through_sum(2 * np.conj(e[1]) * q * z1 / g.n, e[0])
    if len(x.forcing):
        f, nu, chi = x.forcing[:3]
        felt[0] += f * np.exp(1j * (nu * t + chi))
    local = sparse.csr_array((g.n, g.n))
    if len(x.indptr):
        weight = x.weight if len(x.weight) else np.ones(len(x.indices))
        rows = np.repeat(np.arange(g.n), np.diff(x.indptr))
        if len(x.scale):
            weight = weight * x.scale[rows]
        values = np.zeros(len(weight))
        for m, h in enumerate(factor * x.link.view(complex)[: g.harmonics]):
            pulled = np.conj(e[m, rows]) * h * weight * e[m, x.indices]
            values += (m + 1) * pulled.real
            felt[m] += e[m] * (np.bincount(rows, pulled.real, g.n) + 1j * np.bincount(rows, pulled.imag, g.n))
        local = sparse.csr_array((values, x.indices, x.indptr), shape=(g.n, g.n))
    if model.corners is not None:
        more, *both = _of_triangles(g.n, model.corners, model.triadic or (0.0, 1.0), e)
        local = local + more
        felt[:2] += both
    pull = np.conj(e) * felt
    own = -(np.arange(1, count + 1)[:, None] * pull.real).sum(axis=0)
    none = np.zeros((0, g.n))
    return x.omega[: g.n] + pull.imag.sum(axis=0), Jacobian(
        (local + sparse.diags_array(own)).tocsr(),
        np.array(left or none).T.copy(),
        np.array(right or none).T.copy(),
    )


def _of_triangles(
    n: int, corners: Triangles, triadic: tuple[float, float], e: np.ndarray
) -> tuple[Any, np.ndarray, np.ndarray]:
    """Derivatives by theta_j and theta_k of listed triangles, and what they add to G_1 and G_2."""
    from scipy import sparse

    at, pairs, weight = corners
    i, (j, k), (p, q) = np.repeat(np.arange(n), np.diff(at)), pairs.T, triadic
    one, two = p * weight * e[1, j] * np.conj(e[0, k]), q * weight * e[0, j] * e[0, k]
    by_one, by_two = (np.conj(e[0, i]) * one).real, (np.conj(e[1, i]) * two).real
    values = np.concatenate([2 * by_one + by_two, by_two - by_one])
    places = np.concatenate([i, i]), np.concatenate([j, k])
    felt = [np.bincount(i, x.real, n) + 1j * np.bincount(i, x.imag, n) for x in (one, two)]
    return sparse.csr_array((values, places), shape=(n, n)), *felt


def listed(model: Kuramoto) -> Kuramoto:
    """The model with a list of the edges of its ring."""
    return model.replace(network=ring(model.size, model.ring)) if model.ring else model


def checked(model: Kuramoto, theta: Any, known: tuple[str, ...] = _KNOWN, what: str = "Jacobian") -> np.ndarray:
    """Phases of the one run of a model all of whose terms are ``known``."""
    if not isinstance(model, Kuramoto):
        raise TypeError(f"{type(model).__name__} has no Jacobian here: a Kuramoto model is wanted")
    if len(model.delays):
        raise ValueError(
            "delay has no Jacobian here: a delayed model remembers a function, not a point. Follow the growth of a "
            "small difference of two runs with pa.simulate, or analyse model.replace(delay=None)"
        )
    theta = np.asarray(unmasked("theta", theta), float)
    if theta.shape != (model.size,):
        raise ValueError(f"theta has shape {theta.shape}: ({model.size},) is wanted")
    if not np.isfinite(theta).all():
        raise ValueError("theta has entries that are NaN or infinite: finite phases are wanted")
    if (model.runs or 1) > 1:
        raise ValueError(f"the model has {model.runs} runs: analyse one at a time, model.replace(coupling=..., ...)")
    for field in dataclasses.fields(model):
        value = getattr(model, field.name)
        if field.name in known or not field.init or value is None or (np.ndim(value) == 0 and value == field.default):
            continue
        raise ValueError(f"{field.name} has no {what} here: models without it are wanted")
    if known is not _KNOWN and len(model.networks) > 1:
        raise ValueError(f"a network that changes in time has no {what} here: one network is wanted")
    return theta
