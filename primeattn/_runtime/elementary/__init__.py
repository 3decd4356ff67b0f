"""sin, cos, exp, log, tanh, sigmoid and atan2 that LLVM turns into SIMD code.

Numba has no vector mathematics library: ``math.sin`` in a compiled loop is a scalar call. These
scalars are branch-free, so a plain loop over contiguous arrays that calls one (or a row that does)
is vectorised; the type of the argument, float32 or float64, chooses the polynomial.
"""

from .exponential import exp, expm1, log, sigmoid, tanh
from .trigonometric import all_near, atan2, cos, sin, sincos, sincos_near

__all__ = ["all_near", "atan2", "cos", "exp", "expm1", "log", "sigmoid", "sin", "sincos", "sincos_near", "tanh"]
