"""What is computed from phases while a simulation runs, so that the phases need not be kept.

An observable is a function of theta (runs, samples, N) that returns (runs, samples, ...). ``OBSERVABLES`` is the table; one
more is one more entry.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .. import circle
from ._model import Kuramoto


class Observable(NamedTuple):
    """A name, what it is, its unit and axes beyond (run, time), and the function ``compute(theta, model)``."""

    name: str
    says: str
    unit: str
    dims: tuple[str, ...]
    compute: Callable[[np.ndarray, Kuramoto], np.ndarray]


def _moment(m: int) -> Callable[[np.ndarray, Kuramoto], np.ndarray]:
    return lambda theta, model: np.abs(circle.order_parameter(theta, m))


_TABLE = (
    Observable("R", "order parameter |Z_1|", "1", (), _moment(1)),
    Observable("R2", "second Daido order parameter |Z_2|", "1", (), _moment(2)),
    Observable("psi", "mean phase arg Z_1", "rad", (), lambda theta, model: np.angle(circle.order_parameter(theta))),
)
OBSERVABLES: dict[str, Observable] = {o.name: o for o in _TABLE}


def chosen(names: Any) -> tuple[Observable, ...]:
    """Entries of the table by name; an `Observable` of the user's own is taken as it is.

    Raises
    ------
    ValueError
        For a name that is not in the table.
    """
    names = (names,) if isinstance(names, str | Observable) else tuple(names)
    unknown = [n for n in names if not isinstance(n, Observable) and n not in OBSERVABLES]
    if unknown:
        raise ValueError(f"observables has {unknown[0]!r}: names among {', '.join(map(repr, OBSERVABLES))} are wanted")
    return tuple(n if isinstance(n, Observable) else OBSERVABLES[n] for n in names)
