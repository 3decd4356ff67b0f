r"""What theory says of the infinite system: thresholds, stationary states, and the Ott-Antonsen equations.

Throughout theta_i' = omega_i + (K/N) sum_j sin(theta_j - theta_i - alpha) + sqrt(2 D) xi_i with omega_i from a density
g:

    "lorentzian"  g = (gamma / pi) / (omega^2 + gamma^2), width gamma
    "gaussian"    standard deviation sigma = width
    "uniform"     on [-width, width]
    "identical"   all frequencies equal
"""

from ._ott_antonsen import Chimera, chimera_states, ott_antonsen, poisson_phases, relaxation
from ._ring import twisted_state_rate
from ._spheres import sphere_order_parameter
from ._stationary import critical_coupling, stationary_frequency, stationary_order_parameter

__all__ = [
    "Chimera",
    "chimera_states",
    "critical_coupling",
    "ott_antonsen",
    "poisson_phases",
    "relaxation",
    "sphere_order_parameter",
    "stationary_frequency",
    "stationary_order_parameter",
    "twisted_state_rate",
]
