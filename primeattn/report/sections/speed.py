"""What each attention mechanism costs on the words of the text; the one section that compiles every mechanism."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..attending import Cost, cost, title_of
from ..finding import Finding
from ..material import Material


def find(material: Material, say: Callable[[str], object] = lambda what: None) -> Finding:
    """Time every mechanism of the material; ``say`` is told which one is being compiled."""
    words = material.words
    if words is None or not material.mechanisms:
        return Finding(facts={"mechanisms": {}})
    costs: dict[str, Cost] = {}
    for name, mechanism in material.mechanisms.items():
        say(f"compiling {title_of(name)}")
        costs[name] = cost(mechanism, words.running)
    return Finding(
        facts={
            "mechanisms": {name: found._asdict() for name, found in costs.items()},
            "width": words.running.shape[1],
            "tokens": len(words.running),
        },
        arrays={
            "mechanism_milliseconds": (
                ("mechanism", "direction"),
                np.array([[found.forward, found.both, found.reference] for found in costs.values()]),
                {"units": "ms", "tokens": len(words.running)},
            ),
            "direction": (("direction",), np.array(["forward", "forward and backward", "plain NumPy forward"]), {}),
        },
        shown={
            "titles": {name: title_of(name) for name in costs},
            "slowest": max(found.both for found in costs.values()),
            "error": max(found.error for found in costs.values()),
        },
    )
