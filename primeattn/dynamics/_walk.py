r"""Time steps: one kernel for fixed steps and one for controlled ones, whatever the model has in it.

A stage is one pass over the blocks: the derivative of the stage before, the state of this one, its cosines and sines,
their sums; the pass before the first stage has no derivative. Only then do threads meet, so a stage costs one barrier;
features and sums lie twice in memory, one copy being read while the other is written; but cos and sin that only the
oscillator itself reads lie there once (``turns``). A thread always does the same blocks.

What networks in slices say is summed before the blocks (`_slices.hear`), for all of a thread's blocks at once.

Runs of an ensemble are independent: each thread takes whole runs, and is a team of one.
"""

import math
from typing import Any, NamedTuple

from .._runtime.disjoint import disjoint
from .._runtime.jit import bare_kernel, nonnegative, piece, scalar, summing
from .._runtime.random import normals
from .._runtime.team import meet
from ._colour import tint
from ._delay import Past, add_late_edges, copy, recall, remember
from ._fields import fields, ramp
from ._phases import Phases, Sizes
from ._sense import sense
from ._slices import hear
from ._slope import slope


class Space(NamedTuple):
    """Memory of a team for one run; N numbers are a state."""

    slopes: Any  # (stages, N)
    stage: Any  # (N,)
    trial: Any  # (N,), controlled steps only
    recalled: Any  # (n,), empty without one delay of all
    features: Any  # (2, harmonics, 2, n); with one delay of all as much again, of then
    sums: Any  # (2, blocks, harmonics, 2); as much again, too
    errors: Any  # (blocks, 2), controlled steps only
    noise: Any  # (kicked, 2, n), empty without diffusion
    moments: Any  # (team, groups, harmonics, 2)
    field: Any  # (team, groups, harmonics, 2)


class Steps(NamedTuple):
    """A method, as the kernels read it."""

    a: Any  # (stages + 1, stages): the last row is b
    b: Any
    c: Any
    noise: Any  # (stages + 1, 2): the last row is W
    nystrom: Any
    errors: Any
    extra_a: Any
    extra_c: Any
    dense: Any


@scalar
def extent(part, block, x, g):
    """From where to where the numbers of a block lie in a state: of a variable, or its weights that learn."""
    first, last, at = x.edges[block], x.edges[block + 1], part * g.n
    if part < g.variables:
        return at + first, at + last
    return at + x.indptr[first], at + x.indptr[last]


@scalar
def following(j, coefficients):
    """The first after j that is not 0."""
    j += 1
    while j < len(coefficients) and coefficients[j] == 0:
        j += 1
    return j


@piece
def lean(first, last, y, base, p, slopes, a, stage):
    """stage = y + p F."""
    disjoint()
    for i in range(first, last):
        stage[nonnegative(i)] = y[nonnegative(base + i)] + p * slopes[nonnegative(a + i)]


@piece
def lean_on(first, last, p, a, slopes, stage):
    """stage += p F."""
    disjoint()
    for i in range(first, last):
        stage[nonnegative(i)] += p * slopes[nonnegative(a + i)]


@piece
def lean_twice(first, last, p, a, q, b, slopes, stage):
    """stage += p F_a + q F_b, one after the other."""
    disjoint()
    for i in range(first, last):
        one = stage[nonnegative(i)] + p * slopes[nonnegative(a + i)]
        stage[nonnegative(i)] = one + q * slopes[nonnegative(b + i)]


@piece
def gather(first, last, p, a, q, b, slopes, stage):
    """stage = p F_a + q F_b."""
    disjoint()
    for i in range(first, last):
        stage[nonnegative(i)] = p * slopes[nonnegative(a + i)] + q * slopes[nonnegative(b + i)]


@piece
def lean_last(first, last, y, base, p, a, slopes, stage):
    """stage = y + (stage + p F)."""
    disjoint()
    for i in range(first, last):
        moved = stage[nonnegative(i)] + p * slopes[nonnegative(a + i)]
        stage[nonnegative(i)] = y[nonnegative(base + i)] + moved


@piece
def combine(block, x, g, base, y, slopes, stage, h, coefficients):
    """A block of stage = y + h sum_j coefficients_j F_j: the sum first, so that a step rounds a phase once."""
    states = g.states
    for part in range(g.parts):
        first, last = extent(part, block, x, g)
        count = 0
        for j in range(len(coefficients)):
            count += 1 if coefficients[j] != 0 else 0
        j = following(-1, coefficients)
        if count == 0:
            copy(first, last, y, base, stage, 0)
        elif count == 1:
            lean(first, last, y, base, h * coefficients[j], slopes, j * states, stage)
        else:  # two slopes a pass; a single one comes first, with itself
            k = following(j, coefficients) if count % 2 else j
            other = h * coefficients[k]
            if k == j:
                other -= other
            gather(first, last, h * coefficients[j], j * states, other, k * states, slopes, stage)
            j = following(k, coefficients)
            k = following(j, coefficients)
            while k < len(coefficients):
                lean_twice(first, last, h * coefficients[j], j * states, h * coefficients[k], k * states, slopes, stage)
                j = following(k, coefficients)
                k = following(j, coefficients)
            lean_last(first, last, y, base, h * coefficients[j], j * states, slopes, stage)


@piece
def draw(block, run, x, g, h, seed, step, noise):
    """sigma W and sigma Z of a block."""
    root, at, stream = math.sqrt(abs(h)), run * g.sigma_step, g.stream + run % g.streams
    half, rest = type(h)(0.5), type(h)(0.28867513459481287)  # 1 / sqrt(12)
    for variable in range(g.kicked):
        for i in range(x.edges[block], x.edges[block + 1]):
            sigma = root * x.sigma[at + i * g.sigma_each]
            first, second = normals(seed, stream, step, variable * g.n + i, sigma)
            noise[nonnegative(2 * variable * g.n + i)] = sigma * first
            noise[nonnegative(2 * variable * g.n + g.n + i)] = sigma * (half * first + rest * second)


@piece
def kick(block, x, g, noise, w, z, stage):
    """stage += w W + z Z, on the last variables."""
    for variable in range(g.kicked):
        to, of = (g.variables - g.kicked + variable) * g.n, 2 * variable * g.n
        for i in range(x.edges[block], x.edges[block + 1]):
            stage[nonnegative(to + i)] += w * noise[nonnegative(of + i)] + z * noise[nonnegative(of + g.n + i)]


@piece
def settle(block, x, g, stage, y, base):
    """y = stage over a block."""
    for part in range(g.parts):
        first, last = extent(part, block, x, g)
        for i in range(first, last):
            y[nonnegative(base + i)] = stage[nonnegative(i)]


@piece
def swing(block, x, g, h, slopes, stage, coefficients):
    """theta of a block += h^2 sum_j coefficients_j theta''_j."""
    for j in range(len(coefficients)):
        if coefficients[j] != 0:
            first, last, weight = x.edges[block], x.edges[block + 1], h * h * coefficients[j]
            lean_on(first, last, weight, (2 * j + 1) * g.n, slopes, stage)


@bare_kernel
def fixed(
    me, team, state, first, last, phases, sizes, steps, space, owned, y, memory, t0, times, keep, samples, saved, dt,
    seed, place, budget,
):  # fmt: skip
    """Runs first to last - 1, from ``place`` for ``budget`` steps or to the last of ``times``.

    ``place`` holds the next of the times, the steps taken towards it, and all steps taken, which number the noise; it
    is where to go on. An interval between times is cut into equal steps of at most dt. ``saved`` is (runs, samples, N);
    time k is sample ``keep[k]``, or none if that is negative.
    """
    x, g, s, w, past = Phases(*phases), Sizes(*sizes), Steps(*steps), Space(*space), Past(*memory)
    states, stages = g.states, len(s.b)
    moments = w.moments[me * g.groups * g.harmonics * 2 :]
    field = w.field[me * g.groups * g.harmonics * 2 :]
    low, high = owned[me], owned[me + 1]
    for run in range(first, last):
        base, parity, cold = run * states, 0 * run, True  # a literal 0 would have pieces compiled twice
        sample, step, count, left = place[0], place[1], place[2], budget
        late, when = past.path[run * g.slots * 2 * g.n :], past.when[run * g.slots :]
        while sample < len(times) and left > 0:
            start = times[sample - 1] if sample > 0 else t0
            span = times[sample] - start
            parts = math.ceil(abs(span) / dt * (1 - 1e-12))
            h = span / max(parts, 1)
            while step < parts and left > 0:
                after = start + (step + 1) * h if step + 1 < parts else times[sample]
                for stage in range(-1 if cold else 0, stages):
                    t = start + (step + (s.c[stage] if stage > 0 else 0.0)) * h
                    ahead = after if stage + 1 == stages else start + (step + s.c[stage + 1]) * h
                    if stage + 1 == 0:
                        ahead = start + step * h
                    known = g.first + count - (1 if stage <= 0 else 0)  # grid points with a derivative
                    if stage >= 0:
                        fields(run, t, x, g, w.sums, parity, moments, field)
                        if len(x.starts):
                            hear(run, low, high, x, g, w.features, parity)
                    for block in range(low, high):
                        one, end = x.edges[block], x.edges[block + 1]
                        if stage >= 0:
                            slope(block, run, t, x, g, field, w.features, parity, w.stage, w.slopes, stage * states)
                            if g.delayed == 2:
                                add_late_edges(
                                    one, end, t, known, g.slots, g.n, g.harmonics,
                                    ramp(t, x.schedule) if len(x.schedule) else 1.0, x.link, run * g.link_step,
                                    x.indptr, x.indices, x.weight, x.scale, past.delay, x.inertia, late, when,
                                    w.features, parity * g.harmonics * 2 * g.n, moments, w.slopes,
                                    stage * states + (g.variables - 1) * g.n,
                                )  # fmt: skip
                            if g.delayed and stage == 0:  # theta' of this grid point
                                slot = (g.first + count) % g.slots
                                remember(one, end, w.slopes, 0, slot, 1, g.slots, g.n, g.delayed, late)
                            if g.noisy and stage == 0:
                                draw(block, run, x, g, h, seed, count, w.noise)
                                if g.noisy == 2:
                                    tint(one, end, h, past.correlation[0], w.noise, g.n, past.colour, run * g.n)
                        combine(block, x, g, base, y, w.slopes, w.stage, h, s.a[stage + 1, : stage + 1])
                        if g.variables == 2:
                            swing(block, x, g, h, w.slopes, w.stage, s.nystrom[stage + 1, : stage + 1])
                        if g.noisy and stage >= 0:
                            kick(block, x, g, w.noise, s.noise[stage + 1, 0], s.noise[stage + 1, 1], w.stage)
                        if stage + 1 == stages:
                            settle(block, x, g, w.stage, y, base)
                            if g.delayed:  # theta of the next, and theta' from the left, for networks that switch there
                                slot = (g.first + count + 1) % g.slots
                                remember(one, end, w.stage, 0, slot, 0, g.slots, g.n, g.delayed, late)
                                remember(one, end, w.slopes, stage * states, slot, 1, g.slots, g.n, g.delayed, late)
                        for then in range(2 if g.delayed == 1 else 1):
                            if then:
                                newest = known + (1 if stage == 0 else 0)
                                recall(one, end, ahead - past.delay[0], newest, g.slots, g.n, late, when, w.recalled)
                            source = w.recalled if then else w.stage
                            sense(block, x, g, source, w.features, 1 - parity + 2 * then, w.sums)
                    if stage + 1 == stages and g.delayed and me == 0:
                        when[(g.first + count + 1) % g.slots] = after
                    parity = 1 - parity
                    if not meet(state, team):
                        return
                step, count, left, cold = step + 1, count + 1, left - 1, False
            if step >= parts:
                if keep[sample] >= 0:
                    to = (run * samples + keep[sample]) * states
                    for block in range(low, high):
                        for part in range(g.parts):
                            one, end = extent(part, block, x, g)
                            copy(one, end, y, base, saved, to)
                sample, step = sample + 1, 0
        if run == last - 1 and me == 0:
            reached = (sample, step, count)
    if me == 0 and last > first:
        place[0], place[1], place[2] = reached


@piece
def measure(block, x, g, s, h, base, y, slopes, trial, scratch, rtol, atol, errors):
    """Sums over a block of the squares of the error estimates, in units of the tolerance."""
    states = g.states
    for estimate in range(len(s.errors)):
        squares = 0.0
        for part in range(g.parts):
            first, last = extent(part, block, x, g)
            blank(first, last, scratch)
            for j in range(s.errors.shape[1]):
                if s.errors[estimate, j] != 0:
                    lean_on(first, last, s.errors[estimate, j], j * states, slopes, scratch)
            squares += in_units(first, last, h, base, y, trial, scratch, rtol, atol)
        errors[2 * block + estimate] = squares


@piece
def blank(first, last, scratch):
    for i in range(first, last):
        scratch[nonnegative(i)] = 0.0


@summing
def in_units(first, last, h, base, y, trial, error, rtol, atol):
    """The sum of squares of errors, each over its tolerance."""
    squares = 0.0
    for i in range(first, last):
        scale = atol + rtol * max(abs(y[nonnegative(base + i)]), abs(trial[nonnegative(i)]))
        part = h * error[nonnegative(i)] / scale
        squares += part * part
    return squares


@piece
def error_norm(blocks, estimates, states, errors):
    """Root mean square over all blocks; of two estimates Hairer's mixture."""
    first = second = 0.0
    for block in range(blocks):
        first += errors[2 * block]
        if estimates == 2:
            second += errors[2 * block + 1]
    if estimates == 1:
        return math.sqrt(first / states)
    if first == 0 and second == 0:
        return 0.0
    return first / math.sqrt((first + 0.01 * second) * states)


@piece
def interpolate(block, x, g, s, fraction, h, base, y, slopes, saved, to):
    """saved = y(t + fraction h) of a block."""
    states = g.states
    for part in range(g.parts):
        first, last = extent(part, block, x, g)
        for i in range(first, last):
            saved[nonnegative(to + i)] = y[nonnegative(base + i)]
        for j in range(s.dense.shape[1]):
            weight = 0.0
            for r in range(s.dense.shape[0] - 1, -1, -1):
                weight = (weight + s.dense[r, j]) * fraction
            if weight != 0:
                for i in range(first, last):
                    saved[nonnegative(to + i)] += h * weight * slopes[nonnegative(j * states + i)]


@piece
def first_step(block, x, g, base, y, slopes, rtol, atol, errors):
    """Sums of squares of y and of y', in units of the tolerance."""
    errors[2 * block] = errors[2 * block + 1] = 0.0
    for part in range(g.parts):
        first, last = extent(part, block, x, g)
        for i in range(first, last):
            scale = atol + rtol * abs(y[base + i])
            errors[2 * block] += (y[base + i] / scale) ** 2
            errors[2 * block + 1] += (slopes[i] / scale) ** 2


@piece
def advance(block, x, g, slopes, row):
    """F_0 = the derivative at the end of the step."""
    for part in range(g.parts):
        first, last = extent(part, block, x, g)
        for i in range(first, last):
            slopes[nonnegative(i)] = slopes[nonnegative(row + i)]


#: What a run has come to, in ``cursor``.
GOING, TOO_SMALL = 0, 1


@bare_kernel
def controlled(
    me, team, state, first, last, phases, sizes, steps, space, owned, y, times, keep, samples, saved, rtol, atol, power,
    longest, clock, cursor, budget,
):  # fmt: skip
    """Runs first to last - 1 with error control, for at most ``budget`` attempts or to the last of ``times``.

    ``clock`` (runs, 3) holds time, next step (0: choose one), and 1 after a rejection; ``cursor`` (runs, 4) the next of
    the times, accepted and rejected steps, status. Times between steps are interpolated; time k is sample ``keep[k]``.
    """
    x, g, s, w = Phases(*phases), Sizes(*sizes), Steps(*steps), Space(*space)
    states, stages, blocks, end = g.states, len(s.b), len(x.edges) - 1, times[len(times) - 1]
    moments = w.moments[me * g.groups * g.harmonics * 2 :]
    field = w.field[me * g.groups * g.harmonics * 2 :]
    low, high = owned[me], owned[me + 1]
    for run in range(first, last):
        base, parity, left, status = run * states, 0 * run, budget, GOING
        t, h, rejected = clock[3 * run], clock[3 * run + 1], clock[3 * run + 2] != 0
        sample, taken, refused = cursor[4 * run], cursor[4 * run + 1], cursor[4 * run + 2]
        forward = 1.0 if end >= t else -1.0
        for block in range(low, high):
            combine(block, x, g, base, y, w.slopes, w.stage, 0.0, s.b[:0])
            sense(block, x, g, w.stage, w.features, parity, w.sums)
        if not meet(state, team):
            return
        fields(run, t, x, g, w.sums, parity, moments, field)
        if len(x.starts):
            hear(run, low, high, x, g, w.features, parity)
        for block in range(low, high):
            slope(block, run, t, x, g, field, w.features, parity, w.stage, w.slopes, 0)
            first_step(block, x, g, base, y, w.slopes, rtol, atol, w.errors)
        if not meet(state, team):
            return
        if h == 0:
            size = error_norm(blocks, 1, states, w.errors)
            speed = error_norm(blocks, 1, states, w.errors[1:])
            h = 0.01 * max(size, 1e-3) / speed if speed > 0 else abs(end - t)
            h = min(max(h, 1e-6), longest)
        while sample < len(times) and forward * (times[sample] - t) <= 0:  # samples at the very start
            for block in range(low, high):
                if keep[sample] >= 0:
                    settle(block, x, g, w.stage, saved, (run * samples + keep[sample]) * states)
            sample += 1
        if not meet(state, team):  # all have read the norms
            return
        while sample < len(times) and left > 0:
            left -= 1
            if not h > 16 * 2.3e-16 * max(abs(t), abs(end - t)):
                status = TOO_SMALL
                break
            final = h >= forward * (end - t)
            reach = end if final else t + forward * h
            step = reach - t
            for stage in range(stages + 1):
                now = t + (s.c[stage] if stage < stages else 1.0) * step
                if stage > 0:
                    fields(run, now, x, g, w.sums, parity, moments, field)
                    if len(x.starts):
                        hear(run, low, high, x, g, w.features, parity)
                for block in range(low, high):
                    if stage > 0:
                        of = w.stage if stage < stages else w.trial
                        slope(block, run, now, x, g, field, w.features, parity, of, w.slopes, stage * states)
                    if stage + 1 < stages:
                        combine(block, x, g, base, y, w.slopes, w.stage, step, s.a[stage + 1, : stage + 1])
                        sense(block, x, g, w.stage, w.features, 1 - parity, w.sums)
                    elif stage + 1 == stages:
                        combine(block, x, g, base, y, w.slopes, w.trial, step, s.b)
                        sense(block, x, g, w.trial, w.features, 1 - parity, w.sums)
                    else:
                        measure(block, x, g, s, step, base, y, w.slopes, w.trial, w.stage, rtol, atol, w.errors)
                parity = 1 - parity
                if not meet(state, team):
                    return
            parity = 1 - parity  # the last pass wrote no features
            norm = error_norm(blocks, len(s.errors), states, w.errors)
            factor = 10.0 if norm == 0 else 0.9 * norm**-power
            if not norm < 1:  # NaN, too
                h, rejected, refused = h * max(0.2, min(factor, 1.0) if norm == norm else 0.2), True, refused + 1
                if not meet(state, team):
                    return
                continue
            if len(s.extra_c) > 0 and forward * (reach - times[sample]) > 0:
                for extra in range(len(s.extra_c)):
                    row = stages + 1 + extra
                    for block in range(low, high):
                        combine(block, x, g, base, y, w.slopes, w.stage, step, s.extra_a[extra, :row])
                        sense(block, x, g, w.stage, w.features, 1 - parity, w.sums)
                    parity = 1 - parity
                    if not meet(state, team):
                        return
                    now = t + s.extra_c[extra] * step
                    fields(run, now, x, g, w.sums, parity, moments, field)
                    if len(x.starts):
                        hear(run, low, high, x, g, w.features, parity)
                    for block in range(low, high):
                        slope(block, run, now, x, g, field, w.features, parity, w.stage, w.slopes, row * states)
            while sample < len(times) and forward * (reach - times[sample]) >= 0:
                to = (run * samples + keep[sample]) * states
                for block in range(low, high if keep[sample] >= 0 else low):
                    if times[sample] == reach:
                        settle(block, x, g, w.trial, saved, to)
                    else:
                        interpolate(block, x, g, s, (times[sample] - t) / step, step, base, y, w.slopes, saved, to)
                sample += 1
            for block in range(low, high):
                settle(block, x, g, w.trial, y, base)
                advance(block, x, g, w.slopes, stages * states)
            t, taken = reach, taken + 1
            if not final:
                h *= min(10.0, max(0.2, factor) if not rejected else min(1.0, max(0.2, factor)))
            h, rejected = min(h, longest), False
            if not meet(state, team):
                return
        if me == 0:
            clock[3 * run], clock[3 * run + 1], clock[3 * run + 2] = t, h, 1.0 if rejected else 0.0
            cursor[4 * run], cursor[4 * run + 1], cursor[4 * run + 2], cursor[4 * run + 3] = (
                sample,
                taken,
                refused,
                status,
            )
        if not meet(state, team):
            return
