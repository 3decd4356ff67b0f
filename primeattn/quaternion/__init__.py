"""Quaternions and rotations on plain arrays ``(..., 4)``, ``w`` first.

Functions broadcast over leading axes, keep float32 and float64 (integers become float64), and take NumPy arrays,
CUDA arrays or xarray DataArrays. Elementwise ones write into ``out=``, which may be one of the operands.
Functions of rotations (``slerp``, ``rotate``, ``angular_distance``, ``to_*``, ``mean``) use ``a / |a|``; the zero
quaternion has no direction and gives NaN there. NaN in one quaternion gives NaN in its own result only.

``primeattn.quaternion.scalars`` holds the same mathematics for use inside your own compiled loops.
"""

from . import scalars
from ._algebra import commutator, conjugate, dot, inverse, multiply, norm, normalize
from ._euler import from_euler, to_euler
from ._gradient import vjp
from ._mean import mean
from ._random import random
from ._rotation import (
    angular_distance,
    from_axis_angle,
    from_matrix,
    rotate,
    to_axis_angle,
    to_matrix,
)
from ._scan import cumprod
from ._transcendental import exp, log, power, slerp

__all__ = [
    "angular_distance",
    "commutator",
    "conjugate",
    "cumprod",
    "dot",
    "exp",
    "from_axis_angle",
    "from_euler",
    "from_matrix",
    "inverse",
    "log",
    "mean",
    "multiply",
    "norm",
    "normalize",
    "power",
    "random",
    "rotate",
    "scalars",
    "slerp",
    "to_axis_angle",
    "to_euler",
    "to_matrix",
    "vjp",
]
