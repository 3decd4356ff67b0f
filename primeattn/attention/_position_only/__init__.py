"""Position-only (factored) attention: weights that do not depend on what the tokens are."""

from .mechanism import MECHANISM, position_only
from .stream import position_only_step
from .symmetry import Symmetry, square_patches

__all__ = ["MECHANISM", "Symmetry", "position_only", "position_only_step", "square_patches"]
