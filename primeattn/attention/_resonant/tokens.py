r"""From logits to states: which primes a token keeps, and the eight numbers of each that the kernel reads.

Token t keeps its ``active`` largest logits l_p (of equal ones those of smaller primes, -inf never), and

    |a_p|^2 = exp l_p / sum_r exp l_r                       over the kept primes: a state of norm 1
    u_p = o_p / |o_p|,   (cos phi_p, sin phi_p)

fill the entry ``mass | magnitude | cos | sin | w x y z`` of ``resonance._scalars``, mass = magnitude = |a_p|. Kept
primes ascend; slots that stay empty have prime P, which no loop meets. Backwards, g the gradient of an entry,

    dl_p = (|a_p| g_p - |a_p|^2 sum_r |a_r| g_r) / 2,   dphi_p = cos phi_p g_sin - sin phi_p g_cos
    do_p = (g - (g.u_p) u_p) / |o_p|.

Phases and orientations are *fields*: ``(array, at, token, prime)``; that of prime p and token t of head h lies at
``at[h] + t token + p prime``, so that a broadcast axis has step 0 and is never copied.
"""

import math

import numpy as np

from ..._runtime import elementary as el
from ..._runtime.jit import kernel, scalar
from ..._runtime.owners import Owner
from ...quaternion import scalars as quaternion
from ...resonance._scalars import COS, ENTRY, MAGNITUDE, MASS, ORIENTATION, SIN


@scalar
def load(x, at):
    """The quaternion at ``x[at]``."""
    return x[at], x[at + 1], x[at + 2], x[at + 3]


@scalar
def store(x, at, q):
    x[at], x[at + 1], x[at + 2], x[at + 3] = q


@scalar
def rank(x):
    """The logit itself; NaN counts as +inf, so that it is kept and seen."""
    return x if x == x else type(x)(np.inf)


@scalar
def select_row(t, active, primes, logits, present, prime):
    """Indices of the primes that token t keeps, ascending; ``primes`` fills the rest, and tokens that are not there."""
    at, first, n = t * primes, t * active, 0
    lowest = type(logits[at])(-np.inf)
    least = lowest
    for p in range(primes if present[t] else 0):
        x = rank(logits[at + p])
        if x > least:
            s = min(n, active - 1)
            while s > 0 and x > rank(logits[at + prime[first + s - 1]]):
                prime[first + s] = prime[first + s - 1]
                s -= 1
            prime[first + s] = p
            n = min(n + 1, active)
            least = rank(logits[at + prime[first + n - 1]]) if n == active else lowest
    for s in range(1, n):
        p, z = prime[first + s], s
        while z > 0 and prime[first + z - 1] > p:
            prime[first + z] = prime[first + z - 1]
            z -= 1
        prime[first + z] = p
    for s in range(n, active):
        prime[first + s] = primes


@kernel
def select_cpu(start, stop, active, primes, logits, present, prime):
    for t in range(start, stop):
        select_row(t, active, primes, logits, present, prime)


SELECT = Owner(select_row, select_cpu, "i i F1 U1 I1", grain=256)


@scalar
def entry_row(t, tokens, active, primes, logits, phase, orientation, prime, x):
    """The entries of token t of all heads; orientations not yet turned."""
    phases, phase_at, phase_token, phase_prime = phase
    quaternions, turn_at, turn_token, turn_prime = orientation
    head, i, first, at = t // tokens, t % tokens, t * active, t * primes
    one = type(x[0])(1)
    top, total = one - one, one - one
    for s in range(active):
        if prime[first + s] < primes:
            logit = logits[at + prime[first + s]]
            top = logit if s == 0 or logit > top or logit != logit else top
    for s in range(active):
        if prime[first + s] < primes:
            total += el.exp(logits[at + prime[first + s]] - top)
    scale = one / math.sqrt(total) if total != one - one else one - one
    for s in range(active):
        p, e = prime[first + s], ENTRY * (first + s)
        if p < primes:
            a = el.exp(type(one)(0.5) * (logits[at + p] - top)) * scale
            sine, cosine = el.sincos(phases[phase_at[head] + i * phase_token + p * phase_prime])
            x[e + MASS], x[e + MAGNITUDE], x[e + COS], x[e + SIN] = a, a, cosine, sine
            q = load(quaternions, 4 * (turn_at[head] + i * turn_token + p * turn_prime))
            store(x, e + ORIENTATION, quaternion.normalize(q))
        else:
            for c in range(ENTRY):
                x[e + c] = one - one
            x[e + COS] = x[e + ORIENTATION] = one


@kernel
def entry_cpu(start, stop, tokens, active, primes, logits, phase, orientation, prime, x):
    for t in range(start, stop):
        entry_row(t, tokens, active, primes, logits, phase, orientation, prime, x)


ENTRIES = Owner(entry_row, entry_cpu, "i i i F1 (F1,I1,i,i) (F1,I1,i,i) I1 F1", grain=256)


@scalar
def pull_entry_row(t, tokens, active, primes, orientation, prime, x, dx, dlogit, dphase, dorientation):
    """Gradients of the logit, phase and orientation behind each slot of token t; ``dx`` by the unit orientations."""
    quaternions, turn_at, turn_token, turn_prime = orientation
    head, i, first = t // tokens, t % tokens, t * active
    radial = type(x[0])(0)
    for s in range(first, first + active):
        if prime[s] < primes:
            radial += x[ENTRY * s + MASS] * dx[ENTRY * s + MASS]
    for s in range(first, first + active):
        p, e = prime[s], ENTRY * s
        if p < primes:
            a = x[e + MASS]
            dlogit[s] = type(a)(0.5) * (a * dx[e + MASS] - a * a * radial)
            dphase[s] = x[e + COS] * dx[e + SIN] - x[e + SIN] * dx[e + COS]
            q = load(quaternions, 4 * (turn_at[head] + i * turn_token + p * turn_prime))
            u, g = quaternion.normalize(q), load(dx, e + ORIENTATION)
            along = quaternion.dot(g, u)
            inverse = type(a)(1) / quaternion.norm(q)
            for c in range(4):
                dorientation[4 * s + c] = (g[c] - along * u[c]) * inverse


@kernel
def pull_entry_cpu(start, stop, tokens, active, primes, orientation, prime, x, dx, dlogit, dphase, dorientation):
    for t in range(start, stop):
        pull_entry_row(t, tokens, active, primes, orientation, prime, x, dx, dlogit, dphase, dorientation)


PULL_ENTRIES = Owner(pull_entry_row, pull_entry_cpu, "i i i (F1,I1,i,i) I1 F1 F1 F1 F1 F1", grain=256)


@scalar
def spread_row(r, rows, columns, parts, tokens, active, primes, prime, dslot, table):
    """Row r of (heads, rows, columns, parts): the sum of what the slots of its tokens send to their primes.

    ``rows`` is the number of tokens, or 1 for all of them together; ``columns`` that of primes, or 1.
    """
    width = columns * parts
    for c in range(r * width, (r + 1) * width):
        table[c] = 0
    first = r * active if rows == tokens else r * tokens * active
    last = first + active if rows == tokens else first + tokens * active
    step = parts if columns == primes else 0
    for s in range(first, last):
        if prime[s] < primes:
            at = r * width + prime[s] * step
            for c in range(parts):
                table[at + c] += dslot[s * parts + c]


@kernel
def spread_cpu(start, stop, rows, columns, parts, tokens, active, primes, prime, dslot, table):
    for r in range(start, stop):
        spread_row(r, rows, columns, parts, tokens, active, primes, prime, dslot, table)


SPREAD = Owner(spread_row, spread_cpu, "i i i i i i I1 F1 F1", grain=16, chunks_per_thread=4)
