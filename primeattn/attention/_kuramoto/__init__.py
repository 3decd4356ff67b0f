"""Kuramoto attention. ``mechanism`` has the equations; ``features`` and ``update`` the rows; ``run`` the passes."""

from .call import rotary_drift
from .mechanism import MECHANISM, kuramoto

__all__ = ["MECHANISM", "kuramoto", "rotary_drift"]
