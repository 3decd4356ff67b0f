r"""Integrators as data: one kernel runs every explicit Runge-Kutta scheme, with additive noise or without.

With the noise increments of a step of length h, W = B(t + h) - B(t) and Z = (1/h) int_t^{t+h} (B(s) - B(t)) ds,

    Y_i = y + h sum_{j<i} a_ij F_j + sigma (w_i W + z_i Z),    F_i = f(t + c_i h, Y_i),    i = 0 .. s - 1
    y'  = y + h sum_i b_i F_i + sigma W.

F_i is all that a model computes. For additive noise this form reaches strong order 3/2. Schemes for second-order models
add h^2 sum_j nystrom_ij F_j to theta, with the part of F_j that is theta''.
"""

from functools import cache
from typing import Any, NamedTuple

import numpy as np


class Method(NamedTuple):
    """A scheme of s stages; arrays are float64.

    Attributes
    ----------
    name : str
    order : float
        Of the error after a fixed time; with noise, its strong order.
    a, b, c : ndarray, shapes (s, s), (s,), (s,)
    noise : ndarray, shape (s, 2)
        w_i and z_i.
    nystrom : ndarray, shape (s + 1, s)
        Of the stages and, in the last row, of y'.
    errors : ndarray, shape (e, s + 1)
        e = 0 (fixed steps), 1 or 2 embedded error estimates h sum_i errors_i F_i, with F_s = f(t + h, y').
    error_order : int
        The estimate shrinks as h^(error_order + 1).
    extra_a, extra_c : ndarray, shapes (m, s + 1 + m), (m,)
        Stages s + 1, s + 2, ... that only dense output needs.
    dense : ndarray, shape (p, s + 1 + m)
        y(t + x h) = y + h sum_i F_i sum_r dense_ri x^(r + 1).
    """

    name: str
    order: float
    a: np.ndarray
    b: np.ndarray
    c: np.ndarray
    noise: np.ndarray
    nystrom: np.ndarray
    errors: np.ndarray
    error_order: int
    extra_a: np.ndarray
    extra_c: np.ndarray
    dense: np.ndarray

    @property
    def stages(self) -> int:
        return len(self.b)

    @property
    def adaptive(self) -> bool:
        return len(self.errors) > 0


def _scheme(
    name, order, a, b, *, noise=None, nystrom=None, errors=(), error_order=0, extra_a=(), extra_c=(), dense=()
) -> Method:
    s, more = len(b), len(extra_c)
    table = np.zeros((s, s))
    for i, row in enumerate(a, start=1):
        table[i, : len(row)] = row
    return Method(
        name,
        order,
        table,
        np.array(b, float),
        table.sum(axis=1),
        np.zeros((s, 2)) if noise is None else np.array(noise, float),
        np.zeros((s + 1, s)) if nystrom is None else np.array(nystrom, float),
        np.array(errors, float).reshape(-1, s + 1),
        error_order,
        np.array(extra_a, float).reshape(more, s + 1 + more),
        np.array(extra_c, float),
        np.array(dense, float, order="C").reshape(-1, s + 1 + more),  # of one layout: kernels are compiled once
    )


def _euler(name: str, order: float) -> Method:
    return _scheme(name, order, [], [1])


def _heun() -> Method:
    """The trapezoidal predictor-corrector; with noise of strong order 1."""
    return _scheme("heun", 2, [[1]], [1 / 2, 1 / 2], noise=[[0, 0], [1, 0]])


def _sra1() -> Method:
    """Rößler's SRA1: strong order 3/2 for additive noise, order 2 without."""
    return _scheme("sra1", 1.5, [[3 / 4]], [1 / 3, 2 / 3], noise=[[0, 0], [0, 3 / 2]])


def _rk4() -> Method:
    return _scheme("rk4", 4, [[1 / 2], [0, 1 / 2], [0, 0, 1]], [1 / 6, 1 / 3, 1 / 3, 1 / 6])


def _verlet() -> Method:
    """Velocity Verlet: theta moves by h v + (h^2 / 2) F_0, v by the mean of F_0 and F_1. Symplectic without friction.

    W. C. Swope et al., J. Chem. Phys. 76 (1982) 637. Two forces a step: the second is not kept for the next step.
    """
    return _scheme("verlet", 2, [[1]], [1 / 2, 1 / 2], nystrom=[[0, 0], [1 / 2, 0], [0, 0]])


def _dopri5() -> Method:
    """Dormand and Prince 5(4); Shampine's interpolant of order 4."""
    from scipy.integrate import RK45

    return _scheme(
        "dopri5", 5, [row[: i + 1] for i, row in enumerate(RK45.A[1:])], RK45.B, errors=RK45.E, error_order=4,
        dense=RK45.P.T,
    )  # fmt: skip


def _dop853() -> Method:
    """Dormand and Prince 8(5, 3); Hairer's interpolant of order 7, here in powers of x."""
    from numpy.polynomial import Polynomial
    from scipy.integrate import DOP853

    stages, width = len(DOP853.B), DOP853.A_EXTRA.shape[1]
    first, last, step = np.eye(width)[0], np.eye(width)[stages], np.zeros(width)
    step[:stages] = DOP853.B
    rows = [step, first - step, 2 * step - first - last, *DOP853.D]
    x = Polynomial([0, 1])
    basis: list[Polynomial] = []
    for r in range(len(rows)):  # x, x(1-x), x^2(1-x), x^2(1-x)^2, ...
        basis.append((basis[-1] if basis else 1) * (x if r % 2 == 0 else 1 - x))
    powers = [np.pad(p.coef, (0, len(rows) + 1 - len(p.coef)))[1:] for p in basis]
    dense = sum(np.outer(power, row) for power, row in zip(powers, rows, strict=True))
    return _scheme(
        "dop853", 8, [row[: i + 1] for i, row in enumerate(DOP853.A[1:])], DOP853.B, errors=[DOP853.E5, DOP853.E3],
        error_order=7, extra_a=DOP853.A_EXTRA, extra_c=DOP853.C_EXTRA, dense=dense,
    )  # fmt: skip


_MAKERS = {
    "euler": lambda: _euler("euler", 1),
    "euler_maruyama": lambda: _euler("euler_maruyama", 1),
    "heun": _heun,
    "sra1": _sra1,
    "rk4": _rk4,
    "verlet": _verlet,
    "dopri5": _dopri5,
    "dop853": _dop853,
}

METHODS = tuple(_MAKERS)
STOCHASTIC = ("euler_maruyama", "heun", "sra1")


@cache
def method(name: str) -> Method:
    """The scheme of a name.

    Raises
    ------
    ValueError
        For another name.
    """
    if name not in _MAKERS:
        raise ValueError(f"method is {name!r}: one of {', '.join(map(repr, METHODS))} is wanted")
    return _MAKERS[name]()


def refuse_terms(name: str, model: Any) -> None:
    """Noise and friction that a method does not know; velocity Verlet is symplectic, and of order 2, without friction.

    Raises
    ------
    ValueError
        For noise with a method that is not stochastic; for "verlet" without inertia, or with friction; for friction
        without inertia, which nothing would feel.
    """
    if np.any(model.diffusion) and name not in STOCHASTIC:
        raise ValueError(f"method is {name!r} but the model has diffusion: one of {STOCHASTIC} is wanted")
    if model.inertia is None and np.any(np.asarray(getattr(model, "friction", 1.0)) != 1):
        raise ValueError("the model has friction, but no inertia: inertia=... is wanted, or no friction")
    if name == "verlet" and (model.inertia is None or np.any(model.friction)):
        raise ValueError("method is 'verlet' but the model is not undamped: inertia=... and friction=0 are wanted")
