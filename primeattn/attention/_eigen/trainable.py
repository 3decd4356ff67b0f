"""Eigen attention as a layer: q, k, v of the width of a head, and learned bases of fewer columns."""

import numpy as np

from .._trainable import Learned, Place, Plan, Trainable, cached, given, queries_keys_values
from .stream import EigenCache, eigen_step


def orthonormal(rng, shape):
    """A start: orthonormal columns."""
    return np.linalg.qr(rng.standard_normal(shape))[0]


def plan(
    place: Place,
    *,
    rank: int | None = None,
    basis_query: bool = False,
    key_heads: int | None = None,
    window: int | None = None,
    scale: float | None = None,
) -> Plan:
    """A basis of ``rank`` columns, half the width of a head by default, for keys and for values of each key head.

    With ``basis_query`` queries have their own. Rotary positions turn keys after they are lifted back, so the
    mechanism turns them itself.
    """
    rank = max(place.columns // 2, 1) if rank is None else rank
    if not 1 <= rank <= place.columns:
        raise ValueError(f"rank is {rank} but a head has width {place.columns}: 1 to {place.columns} is wanted")
    projected = queries_keys_values(place, key_heads=key_heads)
    shape = (projected["k"].heads, place.columns, rank)
    names = ["basis_key", "basis_value", *["basis_query"] * basis_query]
    rope = place.rotary if projected["q"].rotary else None
    options = given(causal=place.causal, window=window, scale=scale, rope=rope)
    projected = {name: x._replace(rotary=False) for name, x in projected.items()}
    return Plan(projected, {name: Learned(shape, orthonormal) for name in names}, place.columns, options)


TRAINABLE = Trainable(plan, step=cached(eigen_step, EigenCache))
