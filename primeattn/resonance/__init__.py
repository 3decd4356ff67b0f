"""How strongly prime states resonate: scores, their matrices, features, explanations and gradients.

Two kinds: "original", the published score, which is not positive semi-definite; and "kernel", the default, which
provably is. ``docs/theory/resonance.md`` has the definitions, the counter-examples and the proofs.
"""

from ._features import features
from ._index import Index
from ._profiles import StateArrays
from ._scores import components, explain, matrix, score, sparse_matrix
from ._vjp import vjp

__all__ = ["Index", "StateArrays", "components", "explain", "features", "matrix", "score", "sparse_matrix", "vjp"]
