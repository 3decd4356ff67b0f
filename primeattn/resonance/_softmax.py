r"""Softmax attention over states, one row at a time: the specification, and the CUDA form. All pairs, n m k steps.

For query i and head h, over the keys that i may attend,

    K_j = score(i, j),  m = max(0, max_j K_j),  e_j = exp((K_j - m) / tau),  Z = sum_j e_j
    out = sum_j (e_j / Z) v_j

and backwards, for the gradient g of out and P_j = e_j / Z,

    dv_j = sum_i P_ij g_i        dK_ij = P_ij (g_i.v_j - g_i.out_i) / tau        dtau = -sum_ij dK_ij K_ij / tau

A key that shares no prime scores 0 and has no derivative, so only overlapping pairs carry gradients to states.
``a``, ``b`` are profiles (queries, keys); ``mask[i * step + j * step_b]`` is 1 where i may attend j.
"""

import math

from .._runtime import devices
from .._runtime.jit import kernel, scalar
from .._runtime.owners import Owner
from ._gradients import add_shared
from ._pairs import merge_sums, pair_components
from ._profiles import Profile
from ._scalars import ENTRY, MAGNITUDE, components, dcomponents


@scalar
def mix(weights, h, found):
    """The score of head h from the three components."""
    return weights[3 * h] * found[0] + weights[3 * h + 1] * found[1] + weights[3 * h + 2] * found[2]


@scalar
def dot_rows(x, s, y, t, width):
    """x[s:s + width] . y[t:t + width]."""
    total = x[s] - x[s]
    for c in range(width):
        total += x[s + c] * y[t + c]
    return total


@scalar
def attend_row(r, heads, width, tau, limit, mask, step, step_b, a, b, choice, weights, value, out, stats):
    """Head r % heads of query r // heads; ``stats[2 r:2 r + 2]`` become (m, Z)."""
    i, h = r // heads, r % heads
    zero = type(tau)(0)
    top, total = zero, zero
    for j in range(limit[i]):
        if mask[i * step + j * step_b] != 0:
            top = max(top, mix(weights, h, pair_components(i, j, a, b, choice)))
    start = r * width
    for c in range(width):
        out[start + c] = zero
    for j in range(limit[i]):
        if mask[i * step + j * step_b] != 0:
            e = math.exp((mix(weights, h, pair_components(i, j, a, b, choice)) - top) / tau)
            total += e
            for c in range(width):
                out[start + c] += e * value[(j * heads + h) * width + c]
    for c in range(width):
        out[start + c] = out[start + c] / total if total > zero else zero
    stats[2 * r] = top
    stats[2 * r + 1] = total


@kernel
def attend_cpu(start, stop, heads, width, tau, limit, mask, step, step_b, a, b, choice, weights, value, out, stats):
    for r in range(start, stop):
        attend_row(r, heads, width, tau, limit, mask, step, step_b, a, b, choice, weights, value, out, stats)


ATTEND = Owner(
    attend_row,
    attend_cpu,
    "i i F I1 U1 i i (I1,I1,F1,F1) (I1,I1,F1,F1) (i,i) F1 F1 F1 F1",
    grain=16,
    chunks_per_thread=8,
)


def attend(a: Profile, b: Profile, choice, weights, tau, limit, mask, steps, value):
    """``(out, stats)`` by the plain rows, on the device of the profiles; arrays are flat, ``weights`` too."""
    heads = weights.size // 3
    width = value.size // max(b.n, 1) // heads
    out = devices.empty(a.n * heads * width, value.dtype, like=value)
    stats = devices.empty(2 * a.n * heads, value.dtype, like=value)
    ATTEND(a.n * heads, heads, width, tau, limit, mask, *steps, a, b, choice, weights, value, out, stats)
    return out, stats


@scalar
def pull_score(r, h, score, found, tau, weights, stats, product, delta, upstream, dweights, w):
    """One pair and head: ``(upstream, dtau)`` with dscore w_h added to the three upstream numbers.

    ``product`` is g_i.v_j, ``delta`` is g_i.out_i; ``dweights[3 w:3 w + 3]`` gets dscore times the components.
    """
    probability = math.exp((score - stats[2 * r]) / tau) / stats[2 * r + 1]
    dscore = probability * (product - delta) / tau
    for c in range(3):
        dweights[3 * w + c] += dscore * found[c]
    mixed = (
        upstream[0] + dscore * weights[3 * h],
        upstream[1] + dscore * weights[3 * h + 1],
        upstream[2] + dscore * weights[3 * h + 2],
    )
    return mixed, probability, -dscore * score / tau


@scalar
def merge_back(i, j, a, b, choice, gradient, dx):
    """Add the gradients of the three sums of pair (i, j) to the entries of state i of a."""
    indptr, primes, x = a[0], a[1], a[2]
    indptr_b, primes_b, y = b[0], b[1], b[2]
    s, s_stop, t, t_stop = indptr[i], indptr[i + 1], indptr_b[j], indptr_b[j + 1]
    while s < s_stop and t < t_stop:
        p, p_b = primes[s], primes_b[t]
        if p == p_b:
            add_shared(x, s, y, t, gradient[0], gradient[1], gradient[2], choice, dx)
        s += p <= p_b
        t += p_b <= p


@scalar
def pull_query_row(
    i, heads, width, tau, limit, mask, step, step_b, a, b, choice, weights, value, stats, delta, dout, dx,
    dweights, dtau,
):  # fmt: skip
    """What query i owns: the gradient of its entries, and its share of those of weights and temperature."""
    indptr, totals = a[0], a[3]
    indptr_b, totals_b = b[0], b[3]
    form, ruzicka = choice
    zero, one = type(tau)(0), type(tau)(1)
    k, by_total = indptr[i + 1] - indptr[i], type(tau)(0)
    dtau[i] = zero
    for c in range(3 * heads):
        dweights[3 * heads * i + c] = zero
    for c in range(ENTRY * indptr[i], ENTRY * indptr[i + 1]):
        dx[c] = zero
    for j in range(limit[i]):
        if mask[i * step + j * step_b] != 0:
            shared, o, al, co = merge_sums(i, j, a, b, choice)
            if shared > zero:
                k_b = indptr_b[j + 1] - indptr_b[j]
                found = components(shared, o, al, co, k, k_b, totals[i], totals_b[j], form, ruzicka)
                upstream = (zero, zero, zero)
                for h in range(heads):
                    r = i * heads + h
                    product = dot_rows(dout, r * width, value, (j * heads + h) * width, width)
                    score = mix(weights, h, found)
                    upstream, _, dt = pull_score(
                        r, h, score, found, tau, weights, stats, product, delta[r], upstream, dweights, r
                    )
                    dtau[i] += dt
                do, dal, dco, dtotal = dcomponents(
                    one, shared, o, k, k_b, totals[i], totals_b[j], form, ruzicka, upstream
                )
                by_total += dtotal
                merge_back(i, j, a, b, choice, (do, dal, dco), dx)
    for s in range(indptr[i], indptr[i + 1]):
        dx[ENTRY * s + MAGNITUDE] += by_total


@kernel
def pull_query_cpu(
    start, stop, heads, width, tau, limit, mask, step, step_b, a, b, choice, weights, value, stats, delta, dout, dx,
    dweights, dtau,
):  # fmt: skip
    for i in range(start, stop):
        pull_query_row(
            i, heads, width, tau, limit, mask, step, step_b, a, b, choice, weights, value, stats, delta, dout, dx,
            dweights, dtau,
        )  # fmt: skip


PULL_QUERY = Owner(
    pull_query_row,
    pull_query_cpu,
    "i i F I1 U1 i i (I1,I1,F1,F1) (I1,I1,F1,F1) (i,i) F1 F1 F1 F1 F1 F1 F1 F1",
    grain=16,
    chunks_per_thread=8,
)


@scalar
def pull_key_row(
    j, heads, width, tau, limit, mask, step, step_b, a, b, choice, weights, value, stats, delta, dout, dvalue,
    dy, unused,
):  # fmt: skip
    """What key j owns: the gradients of its value and of its entries. Query i meets it if limit[i] > j."""
    indptr, totals = a[0], a[3]
    indptr_b, totals_b = b[0], b[3]
    form, ruzicka = choice
    zero, one = type(tau)(0), type(tau)(1)
    k_b, by_total = indptr_b[j + 1] - indptr_b[j], type(tau)(0)
    for c in range(j * heads * width, (j + 1) * heads * width):
        dvalue[c] = zero
    for c in range(ENTRY * indptr_b[j], ENTRY * indptr_b[j + 1]):
        dy[c] = zero
    for i in range(limit.size):
        if j < limit[i] and mask[i * step + j * step_b] != 0:
            shared, o, al, co = merge_sums(j, i, b, a, choice)
            k = indptr[i + 1] - indptr[i]
            found = components(shared, o, al, co, k_b, k, totals_b[j], totals[i], form, ruzicka)
            upstream = (zero, zero, zero)
            for h in range(heads):
                r, v = i * heads + h, (j * heads + h) * width
                product = dot_rows(dout, r * width, value, v, width)
                upstream, probability, _ = pull_score(
                    r, h, mix(weights, h, found), found, tau, weights, stats, product, delta[r], upstream, unused, j
                )
                for c in range(width):
                    dvalue[v + c] += probability * dout[r * width + c]
            if shared > zero:
                do, dal, dco, dtotal = dcomponents(
                    one, shared, o, k_b, k, totals_b[j], totals[i], form, ruzicka, upstream
                )
                by_total += dtotal
                merge_back(j, i, b, a, choice, (do, dal, dco), dy)
    for t in range(indptr_b[j], indptr_b[j + 1]):
        dy[ENTRY * t + MAGNITUDE] += by_total


@kernel
def pull_key_cpu(
    start, stop, heads, width, tau, limit, mask, step, step_b, a, b, choice, weights, value, stats, delta, dout, dvalue,
    dy, unused,
):  # fmt: skip
    for j in range(start, stop):
        pull_key_row(
            j, heads, width, tau, limit, mask, step, step_b, a, b, choice, weights, value, stats, delta, dout, dvalue,
            dy, unused,
        )  # fmt: skip


PULL_KEY = Owner(
    pull_key_row,
    pull_key_cpu,
    "i i F I1 U1 i i (I1,I1,F1,F1) (I1,I1,F1,F1) (i,i) F1 F1 F1 F1 F1 F1 F1 F1",
    grain=16,
    chunks_per_thread=8,
)


@scalar
def delta_row(r, width, dout, out, delta):
    """g.out of one query and head."""
    delta[r] = dot_rows(dout, r * width, out, r * width, width)


@kernel
def delta_cpu(start, stop, width, dout, out, delta):
    for r in range(start, stop):
        delta_row(r, width, dout, out, delta)


DELTA = Owner(delta_row, delta_cpu, "i F1 F1 F1", grain=1024)


def pull(a: Profile, b: Profile, choice, weights, tau, limit, mask, steps, value, stats, out, dout):
    """``(dvalue, dentries, dentries_b, dweights, dtau)`` by the plain rows; the last two for each query."""
    heads = weights.size // 3
    width = value.size // max(b.n, 1) // heads

    def empty(size):
        return devices.empty(size, value.dtype, like=value)

    delta, dweights, dtau = empty(a.n * heads), empty(3 * a.n * heads), empty(a.n)
    dx, dy, dvalue, unused = empty(a.entries.size), empty(b.entries.size), empty(value.size), empty(3 * b.n)
    DELTA(a.n * heads, width, dout, out, delta)
    common = (heads, width, tau, limit, mask, *steps, a, b, choice, weights, value, stats, delta, dout)
    PULL_QUERY(a.n, *common, dx, dweights, dtau)
    PULL_KEY(b.n, *common, dvalue, dy, unused)
    return dvalue, dx, dy, dweights, dtau
