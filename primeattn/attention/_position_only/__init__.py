"""Position-only (factored) attention: weights that do not depend on what the tokens are."""

from .mechanism import MECHANISM, position_only
from .symmetry import Symmetry, square_patches

__all__ = ["MECHANISM", "Symmetry", "position_only", "square_patches"]
