"""What a model does near a state: its Jacobian, locked states and their stability, Lyapunov exponents, constants."""

from ._constants import cross_ratios
from ._jacobian import Jacobian, jacobian
from ._locked import LockedState, locked_state
from ._lyapunov import Lyapunov, lyapunov_exponents
from ._stability import eigenvalues

__all__ = [
    "Jacobian",
    "LockedState",
    "Lyapunov",
    "cross_ratios",
    "eigenvalues",
    "jacobian",
    "locked_state",
    "lyapunov_exponents",
]
