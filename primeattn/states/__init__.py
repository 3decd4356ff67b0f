"""Batches of sparse prime states, and their composition.

A state is a finite set of primes; each active prime carries a complex amplitude and a unit quaternion. See
`PrimeStates` for the layout, and `docs/theory/prime_states.md` for the algebra.
"""

from ._prime_states import PrimeStates

__all__ = ["PrimeStates"]
