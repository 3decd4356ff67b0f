"""States in which all oscillators turn together: Newton's method in the rotating frame, followed from agreement."""

import dataclasses
from typing import Any

import numpy as np

from .._model import Kuramoto
from ._jacobian import SETTLED, Jacobian, checked, force_and_jacobian


@dataclasses.dataclass(frozen=True, eq=False)
class LockedState:
    """theta(t) = theta + frequency t.

    Attributes
    ----------
    theta : ndarray of float, shape (N,)
        Phases, radians, as near to the start as rotation allows.
    frequency : float
        Radians per unit of time.
    residual : float
        Largest \\|theta' - frequency\\| that is left.
    """

    theta: np.ndarray
    frequency: float
    residual: float


def locked_state(model: Kuramoto, theta0: Any = None, *, tol: float = 1e-12) -> LockedState:
    r"""A state in which all oscillators turn at one frequency, stable or not; noise is left out.

    Parameters
    ----------
    model : Kuramoto
        One run.
    theta0 : array_like of float, shape (N,), optional
        Where Newton's method starts. Without it the branch is followed that begins with equal phases and equal
        frequencies, while the frequencies grow apart to what they are.
    tol : float
        Largest residual, relative to the largest \|omega\| or diagonal entry of the Jacobian.

    Returns
    -------
    LockedState

    Raises
    ------
    ValueError
        If none is found; the message says how far the branch went. As `jacobian`.

    Notes
    -----
    Solves :math:`f(\theta) = \Omega\,c` for theta and Omega, c the friction beside an inertia and 1 without. Rotation
    is fixed by a mean step of 0; with forcing, which nails the phase down, Omega is its frequency. One factorisation of
    the sparse part a step serves mean fields, too (Woodbury).

    Examples
    --------
    >>> import numpy as np, primeattn as pa
    >>> state = pa.dynamics.analysis.locked_state(pa.Kuramoto([-0.5, 0.5], coupling=2.0))
    >>> np.diff(state.theta).round(6)  # arcsin(1 / 2)
    array([0.523599])
    """
    theta = checked(model, np.zeros(model.size) if theta0 is None else theta0, SETTLED, "locked state")
    friction = np.full(model.size, model.friction if model.inertia is not None else 1.0)
    frame = model.forcing[1] if model.forcing is not None else float(model.omega.sum() / friction.sum())
    problem = _Problem(model, friction, model.omega.reshape(-1) - frame * friction, model.forcing is None, tol)
    if theta0 is not None:
        found = problem.newton(theta, 0.0, 1.0)
        if found is None:
            raise ValueError("Newton's method finds no locked state near theta0: start nearer, or leave theta0 out")
    else:
        found = problem.follow(theta)
    theta, shift, residual = found
    return LockedState(theta, frame + shift, residual)


class _Problem:
    """f(theta) - (frame + shift) friction = 0 with the deviations of omega times s."""

    def __init__(self, model: Kuramoto, friction, deviation, free: bool, tol: float):
        self.model, self.friction, self.deviation, self.free, self.tol = model, friction, deviation, free, tol
        self.largest = float(np.abs(model.omega).max())

    def newton(self, theta, shift, s):
        """theta, shift and residual at s, or None."""
        for _ in range(20):
            force, jacobian = force_and_jacobian(self.model, theta)
            rest = s * self.deviation + force - self.model.omega.reshape(-1) - shift * self.friction
            residual = float(np.abs(rest).max())
            if residual <= self.tol * max(self.largest, float(np.abs(jacobian.local.diagonal()).max())):
                return theta, shift, residual
            step, more = self.solve(jacobian, -rest)
            if not np.abs(step).max() < 1:  # another branch, or NaN
                return None
            theta, shift = theta + step, shift + more
        return None

    def follow(self, theta):
        """Along s from 0 to 1, with tangents as predictors and steps that shrink where the branch bends."""
        here, s, stride = self.newton(theta, 0.0, 0.0), 0.0, 1.0
        if here is None:
            raise ValueError("no locked state near equal phases even for equal frequencies: give theta0")
        while s < 1:
            theta, shift, _ = here
            to = min(1.0, s + stride)
            step, more = self.solve(force_and_jacobian(self.model, theta)[1], -(to - s) * self.deviation)
            found = self.newton(theta + step, shift + more, to) if np.abs(step).max() < 1 else None
            if found is None or np.abs(found[0] - theta).max() > 1:
                stride /= 2
                if stride < 1e-6:
                    raise ValueError(
                        f"no locked state: the branch of equal phases ends at {s:.6g} times the differences of the "
                        f"frequencies; about {1 / s if s else np.inf:.4g} times the coupling would hold them"
                    )
                continue
            here, s, stride = found, to, 2 * stride
        return here

    def solve(self, jacobian: Jacobian, b):
        """J x - shift friction = b with mean x = 0 (or shift = 0): step and shift."""
        from scipy import sparse
        from scipy.sparse.linalg import splu

        n, rank = jacobian.left.shape
        local, left, right = jacobian.local, jacobian.left, jacobian.right
        if self.free:
            local = sparse.block_array(
                [[local, sparse.csr_array(-self.friction[:, None])], [sparse.csr_array(np.full((1, n), 1 / n)), None]]
            )
            left, right, b = (np.concatenate([part, np.zeros((1, *part.shape[1:]))]) for part in (left, right, b))
        try:
            inverse = splu(local.tocsc())
            x = inverse.solve(b)
            if rank:
                spread = inverse.solve(left)
                x = x - spread @ np.linalg.solve(np.eye(rank) + right.T @ spread, right.T @ x)
        except (RuntimeError, np.linalg.LinAlgError):  # singular
            return np.full(n, np.nan), np.nan
        return x[:n], float(x[n]) if self.free else 0.0
