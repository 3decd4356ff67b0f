"""Kuramoto attention. ``mechanism`` has the equations; ``features``, ``angles``, ``update`` and ``ablations`` the rows
and their derivatives; ``run`` and ``gradients`` the passes; ``stream`` decodes; ``phases`` and ``modes`` go around it
in a network.
"""

from . import phases
from .call import rotary_drift
from .mechanism import MECHANISM, kuramoto
from .modes import collective_modes, collective_modes_vjp
from .phases import phase_feed_forward, phase_gate, von_mises_readout
from .stream import kuramoto_step

#: Name -> vjp of the functions that go around attention in a network.
PULLBACKS = {**phases.PULLBACKS, "collective_modes": collective_modes_vjp}

__all__ = [
    "MECHANISM",
    "PULLBACKS",
    "collective_modes",
    "kuramoto",
    "kuramoto_step",
    "phase_feed_forward",
    "phase_gate",
    "rotary_drift",
    "von_mises_readout",
]
