r"""Time steps: one kernel for fixed steps and one for controlled ones, whatever the model has in it.

A stage is one pass over the blocks: the derivative of the stage before, the state of this one, its cosines and sines,
their sums. Only then do threads meet, so a stage costs one barrier; features and sums lie twice in memory, one copy being
read while the other is written. A thread always does the same blocks.

Runs of an ensemble are independent: each thread takes whole runs, and is a team of one.
"""

import math
from typing import Any, NamedTuple

from numba import njit

from .._runtime.jit import MATH, kernel, nonnegative
from .._runtime.random import normals
from .._runtime.team import meet
from ._phases import Phases, Sizes, fields, sense, slope

part = njit(**MATH)


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


@part
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


@part
def draw(block, run, x, g, h, seed, step, noise):
    """sigma W and sigma Z of a block."""
    root, at = math.sqrt(abs(h)), run * g.sigma_step
    for i in range(x.edges[block], x.edges[block + 1]):
        sigma = root * x.sigma[at + i * g.sigma_each]
        first, second = normals(seed, run, step, i, sigma)
        noise[nonnegative(i)] = sigma * first
        noise[nonnegative(g.n + i)] = sigma * (first / 2 + second / math.sqrt(12.0))


@part
def kick(block, x, g, noise, w, z, stage):
    """stage += w W + z Z, on the last variable."""
    to = (g.variables - 1) * g.n
    for i in range(x.edges[block], x.edges[block + 1]):
        stage[nonnegative(to + i)] += w * noise[nonnegative(i)] + z * noise[nonnegative(g.n + i)]


@part
def settle(block, x, g, stage, y, base):
    """y = stage over a block."""
    for variable in range(g.variables):
        for i in range(variable * g.n + x.edges[block], variable * g.n + x.edges[block + 1]):
            y[nonnegative(base + i)] = stage[nonnegative(i)]


@kernel
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
