r"""AdamW: Adam with decoupled decay of matrices.

    m = b1 m + (1 - b1) g,    v = b2 v + (1 - b2) g^2,
    x = x (1 - rate decay) - rate (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)

On a torus angles move ``turn`` times as far and are wrapped afterwards; on spheres see `riemannian`. A step of Adam is
about the rate, whatever the scale of what moves: weights are about 1 / sqrt(width) at the start, angles about 2.

I. Loshchilov and F. Hutter, "Decoupled Weight Decay Regularization", arXiv:1711.05101.
"""

import math
from typing import Any

from .._runtime.disjoint import disjoint
from .._runtime.jit import bare_kernel, nonnegative, piece
from .._runtime.owners import Owner
from .._runtime.width import full_width
from .parameters import Parameters
from .riemannian import SPHERE_ADAM, WRAP


@piece
def adamw_row(i, x, g, m, v, rate, keep, b1, a1, b2, a2, eps, root):
    """``rate`` over 1 - b1^t, ``keep`` = 1 - rate decay, ``a`` = 1 - b, ``root`` = 1 / sqrt(1 - b2^t)."""
    m[i] = b1 * m[i] + a1 * g[i]
    v[i] = b2 * v[i] + a2 * g[i] * g[i]
    x[i] = keep * x[i] - rate * m[i] / (math.sqrt(v[i]) * root + eps)


@bare_kernel
def adamw_cpu(start, stop, x, g, m, v, rate, keep, b1, a1, b2, a2, eps, root):
    full_width()
    disjoint()
    for i in range(start, stop):
        adamw_row(nonnegative(i), x, g, m, v, rate, keep, b1, a1, b2, a2, eps, root)


ADAMW = Owner(adamw_row, adamw_cpu, "F1 F1 F1 F1 F F F F F F F F", grain=65_536)


class AdamW:
    """AdamW on a flat buffer of parameters.

    Parameters
    ----------
    parameters : Parameters
        Changed in place by `update`.
    rate : float
    betas : tuple of float
    eps : float
    decay : float
        Of matrices only, see `Parameter`.
    turn : float
        Factor of the rate of angles, which are larger than weights by about that.

    Examples
    --------
    >>> import numpy as np, primeattn as pa
    >>> x = pa.nn.Parameters({"x": pa.nn.Parameter((2,), lambda rng, shape: 1.0)}, dtype="float64")
    >>> pa.nn.AdamW(x, rate=0.1).update(np.array([1.0, -2.0]))
    >>> x.values.round(6)
    array([0.9, 1.1])
    """

    def __init__(
        self,
        parameters: Parameters,
        rate: float = 3e-4,
        betas: tuple[float, float] = (0.9, 0.95),
        eps: float = 1e-8,
        decay: float = 0.1,
        turn: float = 10.0,
    ):
        self.parameters, self.rate, self.betas, self.eps, self.decay = parameters, rate, betas, eps, decay
        self.turn = turn
        self.steps = 0
        self.mean, self.square = parameters.zeros(), parameters.zeros()

    def update(self, gradient: Any, rate: float | None = None) -> None:
        """One step against the flat gradient, an array of the shape and type of the parameters' values."""
        self.parameters.check("gradient", gradient)
        self.steps += 1
        rate = self.rate if rate is None else rate
        real, (b1, b2) = self.parameters.values.dtype.type, self.betas
        root, step = 1 / math.sqrt(1 - b2**self.steps), rate / (1 - b1**self.steps)
        buffers, rest = (
            (self.parameters.values, gradient, self.mean, self.square),
            (b1, 1 - b1, b2, 1 - b2, self.eps, root),
        )
        for kind, where in self.parameters.flat_segments():
            keep = 1 - rate * self.decay if kind == "decayed" else 1.0
            length = step * self.turn if kind == "torus" else step
            ADAMW(where.stop - where.start, *(x[where] for x in buffers), *map(real, (length, keep, *rest)))
            if kind == "torus":
                WRAP(where.stop - where.start, self.parameters.values[where])
        for where, width in self.parameters.spheres():
            arrays = (x[where] for x in buffers)
            SPHERE_ADAM((where.stop - where.start) // width, *arrays, width, *map(real, (step, *rest)))

    def state(self) -> dict[str, Any]:
        """What a checkpoint needs to go on to the same bits."""
        return {"steps": self.steps, "mean": self.mean, "square": self.square}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from a `state`."""
        for name in ("mean", "square"):
            self.parameters.check(name, state[name])
        self.steps = int(state["steps"])
        self.mean[:], self.square[:] = state["mean"], state["square"]
