"""Eigen attention: scores and sums in low-rank bases, calibrated on data; a compressed cache."""

from .bases import EigenBases, eigen_bases, grassmann_gradient
from .bound import EigenErrorBound, eigen_error_bound
from .mechanism import MECHANISM, eigen
from .stream import EigenCache, eigen_step

__all__ = [
    "MECHANISM",
    "EigenBases",
    "EigenCache",
    "EigenErrorBound",
    "eigen",
    "eigen_bases",
    "eigen_error_bound",
    "eigen_step",
    "grassmann_gradient",
]
