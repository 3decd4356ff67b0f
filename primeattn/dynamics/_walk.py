r"""Time steps: one kernel for fixed steps and one for controlled ones, whatever the model has in it.

A stage is one pass over the blocks: the derivative of the stage before, the state of this one, its cosines and sines,
their sums. Only then do threads meet, so a stage costs one barrier; features and sums lie twice in memory, one copy
being read while the other is written. A thread always does the same blocks.

Runs of an ensemble are independent: each thread takes whole runs, and is a team of one.
"""

import math
from typing import Any, NamedTuple

from .._runtime.jit import bare_kernel, nonnegative, scalar
from .._runtime.random import normals
from .._runtime.team import meet
from ._phases import Phases, Sizes, fields, sense, slope


class Space(NamedTuple):
    """Memory of a team for one run; N numbers are a state."""

    slopes: Any  # (stages, N)
    stage: Any  # (N,)
    trial: Any  # (N,), controlled steps only
    features: Any  # (2, harmonics, 2, n)
    sums: Any  # (2, blocks, harmonics, 2)
    errors: Any  # (blocks, 2), controlled steps only
    noise: Any  # (2, n), empty without diffusion
    moments: Any  # (team, groups, harmonics, 2)
    field: Any  # (team, groups, harmonics, 2)


class Steps(NamedTuple):
    """A method, as the kernels read it."""

    a: Any
    b: Any
    c: Any
    noise: Any
    errors: Any
    extra_a: Any
    extra_c: Any
    dense: Any


@scalar
def combine(block, x, g, base, y, slopes, stage, h, coefficients):
    """A block of stage = y + h sum_j coefficients_j F_j."""
    states = g.variables * g.n
    for variable in range(g.variables):
        first, last = variable * g.n + x.edges[block], variable * g.n + x.edges[block + 1]
        for i in range(first, last):
            stage[nonnegative(i)] = y[nonnegative(base + i)]
        for j in range(len(coefficients)):
            if coefficients[j] != 0:
                weight, row = h * coefficients[j], j * states
                for i in range(first, last):
                    stage[nonnegative(i)] += weight * slopes[nonnegative(row + i)]


@scalar
def draw(block, run, x, g, h, seed, step, noise):
    """sigma W and sigma Z of a block."""
    root, at, stream = math.sqrt(abs(h)), run * g.sigma_step, g.stream + run % g.streams
    half, rest = type(h)(0.5), type(h)(0.28867513459481287)  # 1 / sqrt(12)
    for i in range(x.edges[block], x.edges[block + 1]):
        sigma = root * x.sigma[at + i * g.sigma_each]
        first, second = normals(seed, stream, step, i, sigma)
        noise[nonnegative(i)] = sigma * first
        noise[nonnegative(g.n + i)] = sigma * (half * first + rest * second)


@scalar
def kick(block, x, g, noise, w, z, stage):
    """stage += w W + z Z, on the last variable."""
    to = (g.variables - 1) * g.n
    for i in range(x.edges[block], x.edges[block + 1]):
        stage[nonnegative(to + i)] += w * noise[nonnegative(i)] + z * noise[nonnegative(g.n + i)]


@scalar
def settle(block, x, g, stage, y, base):
    """y = stage over a block."""
    for variable in range(g.variables):
        for i in range(variable * g.n + x.edges[block], variable * g.n + x.edges[block + 1]):
            y[nonnegative(base + i)] = stage[nonnegative(i)]


@bare_kernel
def fixed(
    me, team, state, first, last, phases, sizes, steps, space, owned, y, t0, times, saved, dt, seed, place, budget
):
    """Runs first to last - 1, from ``place`` for ``budget`` steps or to the last of ``times``.

    ``place`` holds the next sample, the steps taken towards it, and all steps taken, which number the noise; it is
    where to go on. An interval between samples is cut into equal steps of at most dt. ``saved`` is (runs, samples, N).
    """
    x, g, s, w = Phases(*phases), Sizes(*sizes), Steps(*steps), Space(*space)
    states, stages = g.variables * g.n, len(s.b)
    moments = w.moments[me * g.groups * g.harmonics * 2 :]
    field = w.field[me * g.groups * g.harmonics * 2 :]
    low, high = owned[me], owned[me + 1]
    for run in range(first, last):
        base, parity = run * states, 0
        sample, step, count, left = place[0], place[1], place[2], budget
        for block in range(low, high):
            combine(block, x, g, base, y, w.slopes, w.stage, 0.0, s.a[0, :0])
            sense(block, x, g, w.stage, w.features, parity, w.sums)
        if not meet(state, team):
            return
        while sample < len(times) and left > 0:
            start = times[sample - 1] if sample > 0 else t0
            span = times[sample] - start
            parts = math.ceil(abs(span) / dt * (1 - 1e-12))
            h = span / max(parts, 1)
            while step < parts and left > 0:
                for stage in range(stages):
                    fields(run, start + (step + s.c[stage]) * h, x, g, w.sums, parity, moments, field)
                    for block in range(low, high):
                        slope(block, run, x, g, field, w.features, parity, w.stage, w.slopes, stage * states)
                        if g.noisy and stage == 0:
                            draw(block, run, x, g, h, seed, count, w.noise)
                        if stage + 1 < stages:
                            combine(block, x, g, base, y, w.slopes, w.stage, h, s.a[stage + 1, : stage + 1])
                            if g.noisy:
                                kick(block, x, g, w.noise, s.noise[stage + 1, 0], s.noise[stage + 1, 1], w.stage)
                        else:
                            combine(block, x, g, base, y, w.slopes, w.stage, h, s.b)
                            if g.noisy:
                                kick(block, x, g, w.noise, 1.0, 0.0, w.stage)
                            settle(block, x, g, w.stage, y, base)
                        sense(block, x, g, w.stage, w.features, 1 - parity, w.sums)
                    parity = 1 - parity
                    if not meet(state, team):
                        return
                step, count, left = step + 1, count + 1, left - 1
            if step >= parts:
                for block in range(low, high):
                    settle(block, x, g, w.stage, saved, (run * len(times) + sample) * states)
                sample, step = sample + 1, 0
        if run == last - 1 and me == 0:
            reached = (sample, step, count)
    if me == 0 and last > first:
        place[0], place[1], place[2] = reached


@scalar
def measure(block, x, g, s, h, base, y, slopes, trial, rtol, atol, errors):
    """Sums over a block of the squares of the error estimates, in units of the tolerance."""
    states = g.variables * g.n
    for estimate in range(len(s.errors)):
        squares = 0.0
        for variable in range(g.variables):
            for i in range(variable * g.n + x.edges[block], variable * g.n + x.edges[block + 1]):
                error = 0.0
                for j in range(s.errors.shape[1]):
                    error += s.errors[estimate, j] * slopes[j * states + i]
                scale = atol + rtol * max(abs(y[base + i]), abs(trial[i]))
                squares += (h * error / scale) ** 2
        errors[2 * block + estimate] = squares


@scalar
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


@scalar
def interpolate(block, x, g, s, fraction, h, base, y, slopes, saved, to):
    """saved = y(t + fraction h) of a block."""
    states = g.variables * g.n
    for variable in range(g.variables):
        first, last = variable * g.n + x.edges[block], variable * g.n + x.edges[block + 1]
        for i in range(first, last):
            saved[nonnegative(to + i)] = y[nonnegative(base + i)]
        for j in range(s.dense.shape[1]):
            weight = 0.0
            for r in range(s.dense.shape[0] - 1, -1, -1):
                weight = (weight + s.dense[r, j]) * fraction
            if weight != 0:
                for i in range(first, last):
                    saved[nonnegative(to + i)] += h * weight * slopes[nonnegative(j * states + i)]


@scalar
def first_step(block, x, g, base, y, slopes, rtol, atol, errors):
    """Sums of squares of y and of y', in units of the tolerance."""
    errors[2 * block] = errors[2 * block + 1] = 0.0
    for variable in range(g.variables):
        for i in range(variable * g.n + x.edges[block], variable * g.n + x.edges[block + 1]):
            scale = atol + rtol * abs(y[base + i])
            errors[2 * block] += (y[base + i] / scale) ** 2
            errors[2 * block + 1] += (slopes[i] / scale) ** 2


@scalar
def advance(block, x, g, slopes, row):
    """F_0 = the derivative at the end of the step."""
    for variable in range(g.variables):
        for i in range(variable * g.n + x.edges[block], variable * g.n + x.edges[block + 1]):
            slopes[nonnegative(i)] = slopes[nonnegative(row + i)]


#: What a run has come to, in ``cursor``.
GOING, TOO_SMALL = 0, 1


@bare_kernel
def controlled(
    me, team, state, first, last, phases, sizes, steps, space, owned, y, times, saved, rtol, atol, power, longest,
    clock, cursor, budget,
):  # fmt: skip
    """Runs first to last - 1 with error control, for at most ``budget`` attempts or to the last of ``times``.

    ``clock`` (runs, 3) holds time, next step (0: choose one), and 1 after a rejection; ``cursor`` (runs, 4) the next
    sample, accepted and rejected steps, status. Samples between steps are interpolated.
    """
    x, g, s, w = Phases(*phases), Sizes(*sizes), Steps(*steps), Space(*space)
    states, stages, blocks, end = g.variables * g.n, len(s.b), len(x.edges) - 1, times[len(times) - 1]
    moments = w.moments[me * g.groups * g.harmonics * 2 :]
    field = w.field[me * g.groups * g.harmonics * 2 :]
    low, high = owned[me], owned[me + 1]
    for run in range(first, last):
        base, parity, left, status = run * states, 0, budget, GOING
        t, h, rejected = clock[3 * run], clock[3 * run + 1], clock[3 * run + 2] != 0
        sample, taken, refused = cursor[4 * run], cursor[4 * run + 1], cursor[4 * run + 2]
        forward = 1.0 if end >= t else -1.0
        for block in range(low, high):
            combine(block, x, g, base, y, w.slopes, w.stage, 0.0, s.b[:0])
            sense(block, x, g, w.stage, w.features, parity, w.sums)
        if not meet(state, team):
            return
        fields(run, t, x, g, w.sums, parity, moments, field)
        for block in range(low, high):
            slope(block, run, x, g, field, w.features, parity, w.stage, w.slopes, 0)
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
                settle(block, x, g, w.stage, saved, (run * len(times) + sample) * states)
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
                if stage > 0:
                    fields(
                        run, t + (s.c[stage] if stage < stages else 1.0) * step, x, g, w.sums, parity, moments, field
                    )
                for block in range(low, high):
                    if stage > 0:
                        now = w.stage if stage < stages else w.trial
                        slope(block, run, x, g, field, w.features, parity, now, w.slopes, stage * states)
                    if stage + 1 < stages:
                        combine(block, x, g, base, y, w.slopes, w.stage, step, s.a[stage + 1, : stage + 1])
                        sense(block, x, g, w.stage, w.features, 1 - parity, w.sums)
                    elif stage + 1 == stages:
                        combine(block, x, g, base, y, w.slopes, w.trial, step, s.b)
                        sense(block, x, g, w.trial, w.features, 1 - parity, w.sums)
                    else:
                        measure(block, x, g, s, step, base, y, w.slopes, w.trial, rtol, atol, w.errors)
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
                    fields(run, t + s.extra_c[extra] * step, x, g, w.sums, parity, moments, field)
                    for block in range(low, high):
                        slope(block, run, x, g, field, w.features, parity, w.stage, w.slopes, row * states)
            while sample < len(times) and forward * (reach - times[sample]) >= 0:
                to = (run * len(times) + sample) * states
                for block in range(low, high):
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
