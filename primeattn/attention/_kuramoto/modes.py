"""Mean-field coupling to learned modes: `kuramoto` to a memory that all tokens share."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ... import _labelled
from ..._runtime.checks import as_floating
from .._inputs import check_upstream
from .mechanism import MECHANISM, kuramoto
from .phase_arguments import labelled_out


def collective_modes(
    theta: Any, modes: Any, *, heads: int = 1, gate: Any = None, beta: Any = 1.0, step: Any = 1.0
) -> Any:
    r"""Mean-field coupling to learned modes, in place of a feed-forward layer: `kuramoto` to a memory of all sequences.

    Parameters
    ----------
    theta : ndarray of float, shape (..., T, d)
        Phases in radians.
    modes : ndarray of float, shape (f, d)
        Learned phases.
    heads : int
    gate : ndarray of float, shape (d,) or (f, d), optional
        What counts in the match with a mode; 1 by default.
    beta : float or ndarray of float, shape (heads,)
    step : float or ndarray of float, shape (d,)

    Returns
    -------
    ndarray of float, shape (..., T, d)

    Raises
    ------
    ValueError
        For shapes that do not fit.

    Notes
    -----
    .. math:: \theta' = \theta + \eta \sum_j \operatorname{softmax}_j\Big(\beta \sum_c g_{jc}
              \cos(\theta_c - \psi_{jc})\Big) \sin(\psi_j - \theta)

    Gradients: ``vjp("collective_modes", theta, modes, ...)``, of all arrays that were given, beta and step.

    Examples
    --------
    >>> import numpy as np, primeattn as pa
    >>> pa.attention.collective_modes(np.array([[0.2], [3.0]]), np.array([[0.0], [np.pi]]), beta=1.0).round(2)
    array([[0.05],
           [3.11]])
    """
    rows, shape = _as_one_sequence(theta)
    out = kuramoto(rows, memory=modes, heads=heads, gate_key=gate, beta=beta, step=step)
    return labelled_out(out, theta, shape, same=True)


def _as_one_sequence(theta):
    """All tokens attend the same modes, so they may stand in one sequence."""
    plain = theta.values if _labelled.is_labelled(theta) else theta
    plain = as_floating("theta", plain)
    shape = tuple(plain.shape)
    if len(shape) < 2:
        raise ValueError(f"theta has shape {shape}: (..., tokens, angles) is wanted; pass theta[None] for one token")
    return plain.reshape(int(np.prod(shape[:-1])), shape[-1]), shape


def collective_modes_vjp(theta, modes, *, heads=1, gate=None, beta=1.0, step=1.0) -> tuple[Any, Callable]:
    rows, shape = _as_one_sequence(theta)
    flat, pull = MECHANISM.vjp(rows, memory=modes, heads=heads, gate_key=gate, beta=beta, step=step)
    out = labelled_out(flat, theta, shape, same=True)

    def pullback(dout) -> dict[str, Any]:
        grads = pull(check_upstream(dout, out, flat).reshape(flat.shape))
        names = {"memory": "modes", "gate_key": "gate"}
        grads = {names.get(name, name): g for name, g in grads.items()}
        return {**grads, "theta": labelled_out(grads["theta"], theta, shape, same=True)}

    return out, pullback
