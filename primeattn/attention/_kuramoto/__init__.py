"""Kuramoto attention. ``mechanism`` has the equations; ``features``, ``update`` and ``ablations`` the rows and their
derivatives; ``run`` and ``gradients`` the passes; ``stream`` decodes; ``phases`` is what goes around it in a network.
"""

from .call import rotary_drift
from .mechanism import MECHANISM, kuramoto
from .phases import PULLBACKS, collective_modes, phase_feed_forward, phase_gate, von_mises_readout
from .stream import kuramoto_step

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
