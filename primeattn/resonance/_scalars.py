r"""All the mathematics of the scores, and of their derivatives, on plain numbers.

What a score reads of one active prime is an *entry*, eight numbers that fill a cache line in float64::

    mass m | magnitude |a| | cos phi, sin phi | q = (w, x, y, z)

Two states A, B with k, k' active primes, I the primes they share, U their union. With the masses

    m = 1 (original, union)      m = 1/sqrt(k) (sqrt)      m = |a_p| / ||a|| (amplitude)

every score is alpha * overlap + beta * alignment + gamma * coherence of three sums over I::

    overlap    O = sum m m'        (Ruzicka: O = sum min(|a|, |a'|))
    alignment  S = sum m m' f(q.q'),   f(d) = |d| (original) or d^2
    coherence  C = sum m m' (1 + cos(phi - phi')) / 2

    original   |I|/|U|,  S/|I|,  C/|I|          union   O/|U|,  S/|U|,  C/|U|
    sqrt, amplitude   O, S, C (the masses are the normaliser)
    Ruzicka    O / (T + T' - O) in place of the first component, T = sum |a| over all of A

The cosine needs no trigonometry: cos(phi - phi') = cos phi cos phi' + sin phi sin phi' = Re(z z'*) / (|z||z'|).
"""

import math

from .._runtime.jit import scalar

ENTRY = 8
MASS, MAGNITUDE, COS, SIN, ORIENTATION = 0, 1, 2, 3, 4
FEATURES = 13

# how the three sums become components
ORIGINAL, UNION, MASSES = 0, 1, 2
# what the mass of an active prime is
UNIT_MASS, ROOT_MASS, AMPLITUDE_MASS = 0, 1, 2


@scalar
def polar(re, im):
    """``(|z|, cos phi, sin phi)``; no overflow, no trigonometry.

    The phase of zero is C99's atan2: 0, or pi when the real part is -0.0 (so does the original).
    """
    zero, one = type(re)(0), type(re)(1)
    top = max(abs(re), abs(im))
    nothing = top == zero  # chosen, not branched on: loops of it are vectorised
    unit = one if nothing else top
    x, y = re / unit, im / unit
    r = one if nothing else math.sqrt(x * x + y * y)
    return top * r, math.copysign(one, re) if nothing else x / r, y / r


@scalar
def dpolar(magnitude, cosine, sine, dmagnitude, dcosine, dsine):
    """Pull back ``polar``: z = |z| u, so d|z| = u.dz and du = (I - u u^T) dz / |z|; 0 at z = 0 by decision."""
    zero = type(magnitude)(0)
    if magnitude == zero:
        return zero, zero
    radial = dcosine * cosine + dsine * sine
    dre = dmagnitude * cosine + (dcosine - radial * cosine) / magnitude
    dim = dmagnitude * sine + (dsine - radial * sine) / magnitude
    return dre, dim


@scalar
def tangent(q, s, dq, t):
    """Project the gradient ``dq[t:t+4]`` on the tangent of S^3 at ``q[s:s+4]``: g - (g.q) q."""
    radial = q[s] * dq[t] + q[s + 1] * dq[t + 1] + q[s + 2] * dq[t + 2] + q[s + 3] * dq[t + 3]
    return (
        dq[t] - radial * q[s],
        dq[t + 1] - radial * q[s + 1],
        dq[t + 2] - radial * q[s + 2],
        dq[t + 3] - radial * q[s + 3],
    )


@scalar
def dot4(x, s, y, t):
    """q.q' of the entries that start at ``x[s]`` and ``y[t]``."""
    return (
        x[s + ORIENTATION] * y[t + ORIENTATION]
        + x[s + ORIENTATION + 1] * y[t + ORIENTATION + 1]
        + x[s + ORIENTATION + 2] * y[t + ORIENTATION + 2]
        + x[s + ORIENTATION + 3] * y[t + ORIENTATION + 3]
    )


@scalar
def align(dot, form):
    """f(d): |d| for the original, d^2 for the kernels."""
    return abs(dot) if form == ORIGINAL else dot * dot


@scalar
def dalign(dot, form):
    """f'(d): sign d, with 0 at d = 0 (a sub-gradient), or 2 d."""
    one = type(dot)(1)
    if form != ORIGINAL:
        return dot + dot
    return one if dot > 0 else (-one if dot < 0 else type(dot)(0))


@scalar
def coherence(x, s, y, t):
    """(1 + cos(phi - phi')) / 2."""
    cosine = x[s + COS] * y[t + COS] + x[s + SIN] * y[t + SIN]
    return type(cosine)(0.5) * (type(cosine)(1) + cosine)


@scalar
def shared_terms(x, s, y, t, form, ruzicka):
    """What one shared prime adds to (overlap, alignment, coherence)."""
    mass = x[s + MASS] * y[t + MASS]
    overlap = min(x[s + MAGNITUDE], y[t + MAGNITUDE]) if ruzicka else mass
    return overlap, mass * align(dot4(x, s, y, t), form), mass * coherence(x, s, y, t)


@scalar
def scale(shared, k, k_other, form):
    """What divides alignment and coherence, as a factor; ``shared`` > 0 is a floating count."""
    one = type(shared)(1)
    if form == ORIGINAL:
        return one / shared
    if form == UNION:
        return one / (type(shared)(k + k_other) - shared)
    return one


@scalar
def components(shared, overlap, alignment, coherence_, k, k_other, total, total_other, form, ruzicka):
    """The three sums over shared primes -> (overlap, alignment, coherence), whose weighted sum is the score."""
    zero = type(shared)(0)
    if shared == zero:
        return zero, zero, zero
    factor = scale(shared, k, k_other, form)
    if ruzicka:
        union = total + total_other - overlap
        first = overlap / union if union > zero else zero
    elif form == ORIGINAL:
        first = shared / (type(shared)(k + k_other) - shared)
    else:
        first = overlap * factor
    return first, alignment * factor, coherence_ * factor


@scalar
def dcomponents(dscore, shared, overlap, k, k_other, total, total_other, form, ruzicka, weights):
    r"""Gradient with respect to the sums: ``(doverlap, dalignment, dcoherence, dtotal)``.

    Ruzicka: R = O/D, D = T + T' - O, so dR/dO = (D + O)/D^2 = (T + T')/D^2 and dR/dT = -O/D^2.
    The count of shared primes and the two k are constants.
    """
    zero = type(shared)(0)
    if shared == zero:
        return zero, zero, zero, zero
    factor = dscore * scale(shared, k, k_other, form)
    doverlap, dtotal = weights[0] * factor, zero
    if ruzicka:
        doverlap = zero
        union = total + total_other - overlap
        if union > zero:
            doverlap = dscore * weights[0] * ((total + total_other) / union) / union
            dtotal = -dscore * weights[0] * (overlap / union) / union
    return doverlap, weights[1] * factor, weights[2] * factor, dtotal


@scalar
def dshared_terms(x, s, y, t, doverlap, dalignment, dcoherence, form, ruzicka):
    """Pull back ``shared_terms`` to the entry ``x[s:s+8]``.

    min(|a|, |a'|) counts half for each at a tie, which makes K(A, A) exact when both are the same state.
    """
    zero, half = type(doverlap)(0), type(doverlap)(0.5)
    other = y[t + MASS]
    mass = x[s + MASS] * other
    dot = dot4(x, s, y, t)
    dmass = dalignment * align(dot, form) + dcoherence * coherence(x, s, y, t)
    dmagnitude = zero
    if ruzicka:
        if x[s + MAGNITUDE] < y[t + MAGNITUDE]:
            dmagnitude = doverlap
        elif x[s + MAGNITUDE] == y[t + MAGNITUDE]:
            dmagnitude = half * doverlap
    else:
        dmass += doverlap
    dphasor = half * mass * dcoherence
    ddot = mass * dalignment * dalign(dot, form)
    return (
        dmass * other,
        dmagnitude,
        dphasor * y[t + COS],
        dphasor * y[t + SIN],
        ddot * y[t + ORIENTATION],
        ddot * y[t + ORIENTATION + 1],
        ddot * y[t + ORIENTATION + 2],
        ddot * y[t + ORIENTATION + 3],
    )


@scalar
def feature(x, s, weights):
    r"""The 13 features psi of an entry, with psi.psi' = m m' kappa.

    (q.q')^2 = <q q^T, q' q'^T>: 4 squares, and 6 products that count twice, hence sqrt 2.
    """
    half, two = type(weights[0])(0.5), type(weights[0])(2)
    m = x[s + MASS]
    w, i, j, k = x[s + ORIENTATION], x[s + ORIENTATION + 1], x[s + ORIENTATION + 2], x[s + ORIENTATION + 3]
    constant = m * math.sqrt(weights[0] + half * weights[2])
    square = m * math.sqrt(weights[1])
    cross = square * math.sqrt(two)
    phase = m * math.sqrt(half * weights[2])
    return (
        constant,
        square * w * w,
        square * i * i,
        square * j * j,
        square * k * k,
        cross * w * i,
        cross * w * j,
        cross * w * k,
        cross * i * j,
        cross * i * k,
        cross * j * k,
        phase * x[s + COS],
        phase * x[s + SIN],
    )
