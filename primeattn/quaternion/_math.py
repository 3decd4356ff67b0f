"""Temporary: math.* until _runtime.elementary is there."""
import math

from .._runtime.jit import scalar


@scalar
def sincos(x):
    return math.sin(x), math.cos(x)


@scalar
def exp(x):
    return math.exp(x)


@scalar
def log(x):
    return math.log(x)


@scalar
def atan2(y, x):
    return math.atan2(y, x)
