"""Kuramoto dynamics: models as data, one call to simulate them, and the theory beside it."""

from . import analysis, frequencies, networks, theory
from ._body_models import Spheres, StuartLandau
from ._flow import Flow, derivative, step
from ._methods import METHODS
from ._model import Kuramoto
from ._neighbours import Ring
from ._observables import OBSERVABLES, observable
from ._seen import Observable, Reduction, Seen
from ._simulate import simulate
from ._sweep import sweep
from ._trajectory import Trajectory

__all__ = [
    "METHODS",
    "OBSERVABLES",
    "Flow",
    "Kuramoto",
    "Observable",
    "Reduction",
    "Ring",
    "Seen",
    "Spheres",
    "StuartLandau",
    "Trajectory",
    "analysis",
    "derivative",
    "frequencies",
    "networks",
    "observable",
    "simulate",
    "step",
    "sweep",
    "theory",
]
