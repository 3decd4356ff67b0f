"""Elliptical attention: scores in a diagonal metric, taken from how values change between layers."""

from .mechanism import MECHANISM, elliptical
from .relevance import layer_relevance, layer_relevance_vjp, random_relevance
from .stream import elliptical_step

__all__ = [
    "MECHANISM",
    "elliptical",
    "elliptical_step",
    "layer_relevance",
    "layer_relevance_vjp",
    "random_relevance",
]
