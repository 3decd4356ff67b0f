r"""Stochastic gradient descent with momentum: m = momentum m + g, x = x (1 - rate decay) - rate m.

On a torus angles are wrapped afterwards; on spheres see `riemannian`.
"""

from typing import Any

from .._runtime.disjoint import disjoint
from .._runtime.jit import bare_kernel, nonnegative, piece
from .._runtime.owners import Owner
from .._runtime.width import full_width
from .parameters import Parameters
from .riemannian import SPHERE_SGD, WRAP


@piece
def sgd_row(i, x, g, m, rate, keep, momentum):
    """``keep`` = 1 - rate decay."""
    m[i] = momentum * m[i] + g[i]
    x[i] = keep * x[i] - rate * m[i]


@bare_kernel
def sgd_cpu(start, stop, x, g, m, rate, keep, momentum):
    full_width()
    disjoint()
    for i in range(start, stop):
        sgd_row(nonnegative(i), x, g, m, rate, keep, momentum)


DESCEND = Owner(sgd_row, sgd_cpu, "F1 F1 F1 F F F", grain=65_536)


class SGD:
    """Gradient descent on a flat buffer of parameters.

    Parameters
    ----------
    parameters : Parameters
        Changed in place by `update`.
    rate : float
    momentum : float
    decay : float
        Decoupled, of matrices only, see `Parameter`.

    Examples
    --------
    >>> import numpy as np, primeattn as pa
    >>> x = pa.nn.Parameters({"x": pa.nn.Parameter((2,), lambda rng, shape: 1.0)}, dtype="float64")
    >>> pa.nn.SGD(x, rate=0.1).update(np.array([1.0, -2.0]))
    >>> x.values
    array([0.9, 1.2])
    """

    def __init__(self, parameters: Parameters, rate: float = 1e-2, momentum: float = 0.9, decay: float = 0.0):
        self.parameters, self.rate, self.momentum, self.decay = parameters, rate, momentum, decay
        self.steps = 0
        self.mean = parameters.zeros()

    def update(self, gradient: Any, rate: float | None = None) -> None:
        """One step against the flat gradient, an array of the shape and type of the parameters' values."""
        self.parameters.check("gradient", gradient)
        self.steps += 1
        rate, values = self.rate if rate is None else rate, self.parameters.values
        real = values.dtype.type
        for kind, where in self.parameters.flat_segments():
            keep = 1 - rate * self.decay if kind == "decayed" else 1.0
            arrays = (x[where] for x in (values, gradient, self.mean))
            DESCEND(where.stop - where.start, *arrays, *map(real, (rate, keep, self.momentum)))
            if kind == "torus":
                WRAP(where.stop - where.start, values[where])
        for where, width in self.parameters.spheres():
            arrays = (x[where] for x in (values, gradient, self.mean))
            SPHERE_SGD((where.stop - where.start) // width, *arrays, width, real(rate), real(self.momentum))

    def state(self) -> dict[str, Any]:
        """What a checkpoint needs to go on to the same bits."""
        return {"steps": self.steps, "mean": self.mean}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from a `state`."""
        self.parameters.check("mean", state["mean"])
        self.steps = int(state["steps"])
        self.mean[:] = state["mean"]
