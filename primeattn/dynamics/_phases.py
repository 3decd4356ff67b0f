r"""The derivative of coupled phase oscillators, all terms of it, for one time and one run.

With e_i = exp(i theta_i) and complex couplings h, which hold strength and phase lag,

    theta_i' = omega_i + Im sum_m e_i^{-m} ( F_m(group of i) + h_m sum_j scale_i w_ij e_j^m )
    F_m(a)   = sum_b field_{m a b} sum_{j in b} e_j^m  +  triads and forcing (m = 1, 2)
    triads:  F_1 += p Z_2 conj(Z_1),   F_2 += q Z_1^2,   Z_m = (1/n) sum_j e_j^m
    forcing: F_1 += f exp(i (nu t + chi)).

With a schedule, all h and field are multiplied by a function of time. With a delay they take the e_j of then
(`_delay`). Listed triangles are gathered row by row (`_triangles`), rings and full matrices without indices
(`_neighbours`). Weights that learn are part of the state (`_learning`). Amplitudes and points on spheres put their
coordinates in the place of cos and sin (`_bodies`), so that all sums over others stay what they are.

Everything an oscillator feels is a polynomial in its own e_i^{-1}: two numbers (cos, sin) an oscillator and harmonic, n
sine-cosine pairs instead of one sine an edge. With inertia, m_i theta_i'' = the above - friction theta_i'.

Oscillators are cut into blocks, none of which straddles two groups; a block is what one thread does at a time, in the
first-level cache, and sums are sums over blocks in order, so that no bit depends on the number of threads.

What all of a group feel alike, mean fields, schedule, triads and forcing, is made in `_fields`. What comes from
neighbours is added in `_slope`, and what an oscillator has for itself, such as inertia. What a state holds besides
phases, such as weights that learn, has a file of its own.
"""

from typing import Any, NamedTuple

import numpy as np

from .._runtime.jit import scalar

PHASES, AMPLITUDES, SPHERES = 0, 1, 2  # what oscillators are: angles, complex numbers, unit vectors

_NO_INTEGERS = np.zeros(0, np.int64)
BLOCK = 2048  # oscillators: five arrays of them fit the first-level cache


class Phases(NamedTuple):
    """Flat arrays; a leading axis of runs has one row where all runs share it, and then a step of 0 in `Sizes`.

    ``weight``, ``scale``, ``inertia``, ``triads``, ``forcing`` are empty where there is none of it.
    """

    omega: Any  # (runs, n)
    field: Any  # (runs, harmonics, groups, groups, 2)
    triads: Any  # (runs, 4): p and q
    forcing: Any  # (runs, 3): f, nu, chi
    link: Any  # (runs, harmonics, 2): h
    indptr: Any  # (n + 1,) int64; empty without a network
    indices: Any  # (edges,) int32: edge j -> i stands in row i
    weight: Any  # (edges,)
    scale: Any  # (n,)
    inertia: Any  # (n,)
    friction: Any  # (n,)
    sigma: Any  # (runs, n) or (runs, 1): sqrt(2 diffusion)
    edges: Any  # (blocks + 1,) int64: block b holds the oscillators edges[b] to edges[b + 1] - 1
    group: Any  # (blocks,) int64
    begins: Any = _NO_INTEGERS  # the network once more, see `_slices.Slices`; empty: rows are read as above
    part: Any = _NO_INTEGERS
    strands: Any = np.zeros(0, np.int32)
    starts: Any = _NO_INTEGERS
    heard: Any = np.zeros(0, np.int32)
    strength: Any = np.zeros(0)
    first: Any = _NO_INTEGERS
    schedule: Any = np.zeros(0)  # (2 k,): k times, then the factors of the pairwise coupling at them
    corners: Any = _NO_INTEGERS  # (n + 1 + 2 T,): where rows of triangles begin, then j and k of each
    corner_weight: Any = np.zeros(0)  # (T, 2): p and q of each
    matrix: Any = np.zeros(0)  # (n, n): weights of a network that is nearly full; indptr is empty then
    learning: Any = np.zeros(0)  # (3,): rate of learning, and strength times cos and sin of its shift
    body: Any = np.zeros(0)  # (1 + 2 n,): of amplitudes, see `_bodies`


class Sizes(NamedTuple):
    """Integers."""

    n: int
    variables: int  # 1, or 2 with inertia: theta, then theta'
    harmonics: int
    groups: int
    mean: int  # 1 if there are mean fields
    noisy: int  # 1 white, 2 coloured
    omega_step: int
    field_step: int
    triads_step: int
    forcing_step: int
    link_step: int
    sigma_step: int
    sigma_each: int
    stream: int  # of random numbers: run r has stream + r % streams
    streams: int
    delayed: int  # 1: one delay, 2: one an edge
    slots: int  # grid points of the past in memory
    first: int  # number of the grid point at the start of the run
    states: int  # numbers of a run: variables * n, and then the weights that learn
    parts: int  # variables, and 1 more if weights learn
    kicked: int  # the last so many variables get noise
    kind: int  # PHASES, AMPLITUDES or SPHERES
    ring: int  # neighbours on each side of a ring; 0: none
    turns: int = 1  # 0 if nobody but an oscillator itself reads its cos and sin, of which one copy is enough then
    paired: int = 0  # 1 if they are read as pairs only, see `_slices`


@scalar
def pull(re, im, c, s):
    """Im (re + i im)(c - i s): what a field does to a phase."""
    return im * c - re * s


@scalar
def at(parity, harmonic, g):
    """Where the cosines of a harmonic (0 is m = 1) start in ``features``; sines follow."""
    return (parity * g.turns * g.harmonics + harmonic) * 2 * g.n
