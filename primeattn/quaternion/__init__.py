from ._algebra import multiply
from ._transcendental import exp, log, slerp
