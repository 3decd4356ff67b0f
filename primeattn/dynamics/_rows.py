"""Who does what in a time step: one row is one block of one run.

Rows call the pieces of `_sense`, `_fields`, `_slope` and `_walk`. A block is data. On the CPU it holds up to 2048
oscillators, so that its loops are vectorised; on CUDA it holds one, so that a row is one thread. The mathematics is
that of the blocks, written once. Arrays have the runs as their first axis: y and stage (runs, N), slopes (runs, stages,
N), features (runs, harmonics, 2, n), sums (runs, blocks, harmonics, 2), moments and field (runs, groups, harmonics, 2),
noise (runs, kicked, 2, n). Sums and fields read coarse blocks on CUDA, too.
"""

from .._runtime.jit import kernel, scalar
from .._runtime.owners import Owner
from ._fields import fields
from ._phases import Phases, Sizes
from ._sense import add_up, sense
from ._slope import plain_slope
from ._walk import combine, draw, kick, swing

_KINDS = {"indptr": "I1", "edges": "I1", "group": "I1", "indices": "J1"} | {
    name: {"i8": "I1", "i4": "J1", "f8": "F1"}[x.dtype.str[1:]] for name, x in Phases._field_defaults.items()
}
_PHASES = "(" + ",".join(_KINDS.get(name, "F1") for name in Phases._fields) + ")"
_SIZES = "(" + ",".join("i" for _ in Sizes._fields) + ")"
_GRAIN = 8  # blocks


@scalar
def place(i, x):
    """Run and block of row i."""
    blocks = len(x.edges) - 1
    run = i // blocks
    return run, i - run * blocks


@scalar
def sense_row(i, phases, sizes, y, features):
    """cos and sin of all harmonics; ``sizes.mean`` is 0, so that sums wait for `add_up_row`."""
    x, g = Phases(*phases), Sizes(*sizes)
    run, block = place(i, x)
    sense(block, x, g, y[run * g.states :], features, run, features)


@kernel
def sense_cpu(start, stop, phases, sizes, y, features):
    for i in range(start, stop):
        sense_row(i, phases, sizes, y, features)


SENSE = Owner(sense_row, sense_cpu, f"{_PHASES} {_SIZES} F1 F1", grain=_GRAIN)


@scalar
def add_up_row(i, phases, sizes, features, sums):
    """Sums over a coarse block."""
    x, g = Phases(*phases), Sizes(*sizes)
    run, block = place(i, x)
    add_up(block, 0, x, g, features, run, sums)


@kernel
def add_up_cpu(start, stop, phases, sizes, features, sums):
    for i in range(start, stop):
        add_up_row(i, phases, sizes, features, sums)


ADD_UP = Owner(add_up_row, add_up_cpu, f"{_PHASES} {_SIZES} F1 F1", grain=_GRAIN)


@scalar
def fields_row(run, phases, sizes, t, sums, moments, field):
    """Mean fields of a run."""
    x, g = Phases(*phases), Sizes(*sizes)
    to = run * g.groups * g.harmonics * 2
    fields(run, t, x, g, sums, run, moments[to:], field[to:])


@kernel
def fields_cpu(start, stop, phases, sizes, t, sums, moments, field):
    for run in range(start, stop):
        fields_row(run, phases, sizes, t, sums, moments, field)


FIELDS = Owner(fields_row, fields_cpu, f"{_PHASES} {_SIZES} F F1 F1 F1", grain=1024)


@scalar
def slope_row(i, phases, sizes, t, field, features, stage, stages, number, slopes):
    """The derivative, as slope ``number`` of ``stages``."""
    x, g = Phases(*phases), Sizes(*sizes)
    run, block = place(i, x)
    states = g.states
    mine = field[run * g.groups * g.harmonics * 2 :]
    to = (run * stages + number) * states
    plain_slope(block, run, t, x, g, mine, features, run, stage[run * states :], slopes, to)


@kernel
def slope_cpu(start, stop, phases, sizes, t, field, features, stage, stages, number, slopes):
    for i in range(start, stop):
        slope_row(i, phases, sizes, t, field, features, stage, stages, number, slopes)


SLOPE = Owner(slope_row, slope_cpu, f"{_PHASES} {_SIZES} F F1 F1 F1 i i F1", grain=_GRAIN)


@scalar
def combine_row(i, phases, sizes, y, stages, slopes, h, coefficients, stage):
    """stage = y + h sum_j coefficients_j F_j."""
    x, g = Phases(*phases), Sizes(*sizes)
    run, block = place(i, x)
    base = run * g.states
    combine(block, x, g, base, y, slopes[base * stages :], stage[base:], h, coefficients)


@kernel
def combine_cpu(start, stop, phases, sizes, y, stages, slopes, h, coefficients, stage):
    for i in range(start, stop):
        combine_row(i, phases, sizes, y, stages, slopes, h, coefficients, stage)


COMBINE = Owner(combine_row, combine_cpu, f"{_PHASES} {_SIZES} F1 i F1 F F1 F1", grain=_GRAIN)


@scalar
def draw_row(i, phases, sizes, h, seed, step, noise):
    """sigma W and sigma Z of a step."""
    x, g = Phases(*phases), Sizes(*sizes)
    run, block = place(i, x)
    draw(block, run, x, g, h, seed, step, noise[run * 2 * g.kicked * g.n :])


@kernel
def draw_cpu(start, stop, phases, sizes, h, seed, step, noise):
    for i in range(start, stop):
        draw_row(i, phases, sizes, h, seed, step, noise)


DRAW = Owner(draw_row, draw_cpu, f"{_PHASES} {_SIZES} F i i F1", grain=_GRAIN)


@scalar
def kick_row(i, phases, sizes, noise, w, z, stage):
    """stage += w sigma W + z sigma Z."""
    x, g = Phases(*phases), Sizes(*sizes)
    run, block = place(i, x)
    kick(block, x, g, noise[run * 2 * g.kicked * g.n :], w, z, stage[run * g.states :])


@kernel
def kick_cpu(start, stop, phases, sizes, noise, w, z, stage):
    for i in range(start, stop):
        kick_row(i, phases, sizes, noise, w, z, stage)


KICK = Owner(kick_row, kick_cpu, f"{_PHASES} {_SIZES} F1 F F F1", grain=_GRAIN)


@scalar
def swing_row(i, phases, sizes, stages, slopes, h, coefficients, stage):
    """theta += h^2 sum_j coefficients_j theta''_j."""
    x, g = Phases(*phases), Sizes(*sizes)
    run, block = place(i, x)
    base = run * g.states
    swing(block, x, g, h, slopes[base * stages :], stage[base:], coefficients)


@kernel
def swing_cpu(start, stop, phases, sizes, stages, slopes, h, coefficients, stage):
    for i in range(start, stop):
        swing_row(i, phases, sizes, stages, slopes, h, coefficients, stage)


SWING = Owner(swing_row, swing_cpu, f"{_PHASES} {_SIZES} i F1 F F1 F1", grain=_GRAIN)
