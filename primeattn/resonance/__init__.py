"""How strongly prime states resonate: scores, their matrices, features, explanations and gradients.

Two kinds: "original", the published score, which is not positive semi-definite; and "kernel", the default, which
provably is. ``docs/theory/resonance.md`` has the definitions, the counter-examples and the proofs.
"""

from ._attend_states import AttendedStates, attend_states
from ._attention import attention
from ._features import features
from ._index import Index
from ._profiles import StateArrays
from ._scores import components, explain, matrix, score, sparse_matrix
from ._stream import Stream
from ._vjp import vjp

__all__ = [
    "AttendedStates",
    "Index",
    "StateArrays",
    "Stream",
    "attend_states",
    "attention",
    "components",
    "explain",
    "features",
    "matrix",
    "score",
    "sparse_matrix",
    "vjp",
]
