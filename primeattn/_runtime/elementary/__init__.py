"""sin, cos, exp, expm1, log, tanh, sigmoid and atan2 that LLVM turns into SIMD code.

Numba has no vector mathematics library: ``math.sin`` in a compiled loop is one scalar call an element. The
scalars here are free of branches and calls, so a plain loop over contiguous arrays that calls them, or a row
that does, is vectorised. The type of the argument, float32 or float64, chooses the polynomials; in CUDA device
code the float32 forms hold no float64 instruction. Errors and speed: docs/theory/elementary.md.

Which one to call in a row:

* ``exp expm1 log tanh sigmoid atan2`` take any argument.
* ``sincos_near`` takes angles below 2**17 (float32) or 2**30 (float64) and returns NaN beyond. Call it where
  the angle is bounded by what it is: an arc cosine, a wrapped phase, a position times a frequency.
* ``sincos``, ``sin`` and ``cos`` take any angle, through a rare branch that costs the loop its SIMD (three
  to five times slower). Where the angles are the user's, look at a block first, and keep ``sincos`` for the
  row, which is what CUDA runs::

    @kernel
    def rotate_cpu(start, stop, theta, out):
        for first in range(start, stop, BLOCK):
            last = min(first + BLOCK, stop)
            if all_near(theta, first, last):
                for i in range(first, last):
                    near_row(nonnegative(i), theta, out)
            else:
                for i in range(first, last):
                    row(nonnegative(i), theta, out)

``all_near`` halves the limit, so the norm of up to four of the numbers it saw is near as well. Without
``nonnegative`` around the index (``_runtime.jit``) the loads of such a loop are gathers, twice as slow.
"""

from .exponential import exp, expm1, log, sigmoid, tanh
from .trigonometric import BLOCK, all_near, atan2, cos, sin, sincos, sincos_near

__all__ = [
    "BLOCK",
    "all_near",
    "atan2",
    "cos",
    "exp",
    "expm1",
    "log",
    "sigmoid",
    "sin",
    "sincos",
    "sincos_near",
    "tanh",
]
