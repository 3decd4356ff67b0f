"""What all oscillators of a group feel alike: mean fields, now or then, their schedule, triads over all, forcing."""

from .._runtime import elementary as el
from .._runtime.jit import piece, scalar


@scalar
def ramp(t, schedule):
    """The factor of the pairwise coupling at time t: linear between the times of the schedule, constant beyond."""
    count = len(schedule) // 2
    low, high = 0, count - 1
    while high - low > 1:
        middle = (low + high) // 2
        if schedule[middle] <= t:
            low = middle
        else:
            high = middle
    a, b = schedule[low], schedule[high]
    if t <= a or b <= a:
        return schedule[count + low]
    if t >= b:
        return schedule[count + high]
    part = (t - a) / (b - a)
    return schedule[count + low] + part * (schedule[count + high] - schedule[count + low])


@scalar
def gather(blocks, group, groups, m2, sums, start, moments):
    """Sums over groups from the sums over blocks."""
    for e in range(groups * m2):
        moments[e] = 0
    for block in range(blocks):
        for e in range(m2):
            moments[group[block] * m2 + e] += sums[start + block * m2 + e]


@piece
def fields(run, t, x, g, sums, parity, moments, out):
    """F_m of all groups, (groups, harmonics, 2), from the sums of the blocks."""
    blocks, m2 = len(x.edges) - 1, 2 * g.harmonics
    for e in range(g.groups * m2):
        out[e] = 0
    if g.mean:
        past = parity + (2 if g.delayed == 1 else 0)
        gather(blocks, x.group, g.groups, m2, sums, past * blocks * m2, moments)
        for a in range(g.groups):
            for b in range(g.groups):
                for m in range(g.harmonics):
                    h = run * g.field_step + ((m * g.groups + a) * g.groups + b) * 2
                    p, q = moments[b * m2 + 2 * m], moments[b * m2 + 2 * m + 1]
                    out[a * m2 + 2 * m] += x.field[h] * p - x.field[h + 1] * q
                    out[a * m2 + 2 * m + 1] += x.field[h] * q + x.field[h + 1] * p
    if len(x.schedule):
        factor = ramp(t, x.schedule)
        for e in range(g.groups * m2):
            out[e] *= factor
    if len(x.triads):
        if g.delayed == 1:
            gather(blocks, x.group, g.groups, m2, sums, parity * blocks * m2, moments)
        add_triads(run, x, g, moments, out)
    if len(x.forcing):
        f = run * g.forcing_step
        sine, cosine = el.sincos(x.forcing[f + 1] * t + x.forcing[f + 2])
        for a in range(g.groups):
            out[a * m2] += x.forcing[f] * cosine
            out[a * m2 + 1] += x.forcing[f] * sine


@piece
def add_triads(run, x, g, moments, out):
    """F_1 += p Z_2 conj(Z_1), F_2 += q Z_1^2."""
    m2, h = 2 * g.harmonics, run * g.triads_step
    a = b = c = d = moments[0] - moments[0]
    n = type(a)(g.n)
    for e in range(g.groups):
        a += moments[e * m2] / n
        b += moments[e * m2 + 1] / n
        c += moments[e * m2 + 2] / n
        d += moments[e * m2 + 3] / n
    u, v = c * a + d * b, d * a - c * b  # Z_2 conj(Z_1)
    r, w = a * a - b * b, a * b + a * b  # Z_1^2
    for e in range(g.groups):
        out[e * m2] += x.triads[h] * u - x.triads[h + 1] * v
        out[e * m2 + 1] += x.triads[h] * v + x.triads[h + 1] * u
        out[e * m2 + 2] += x.triads[h + 2] * r - x.triads[h + 3] * w
        out[e * m2 + 3] += x.triads[h + 2] * w + x.triads[h + 3] * r
