"""Angles one at a time."""

import cmath
import math


def wrap(theta):
    """Through the complex exponential: no formula in common with a reduction by floor."""
    if not math.isfinite(theta):
        return math.nan
    angle = cmath.phase(complex(math.cos(theta), math.sin(theta)))
    return -math.pi if angle >= math.pi else angle


def resultant(theta, weights, m=1):
    total = complex(0, 0)
    for angle, weight in zip(theta, weights, strict=True):
        total += weight * complex(math.cos(m * angle), math.sin(m * angle))
    return total


def mean(theta, weights):
    angle = cmath.phase(resultant(theta, weights))
    return -math.pi if angle >= math.pi else angle


def order_parameter(theta, m=1):
    return resultant(theta, [1.0] * len(theta), m) / len(theta)
