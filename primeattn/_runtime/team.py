"""Threads that walk in step: one compiled kernel, the same on every thread, that meets at barriers.

``share`` hands out rows that know nothing of each other. A time step does not split so: every stage needs what all
threads made of the stage before, and waking threads by Python costs more (60 us) than a stage of 10,000 oscillators.
Here each thread runs the whole loop over its own blocks and waits at ``meet``, which costs less than a microsecond
while every thread has a processor, and yields it where that is not so.

``march(work, team)`` calls ``work(me)`` on ``team`` fresh threads; the state of their barrier is an int64 array from
``barrier()``. If a thread raises, the others are released: ``meet`` returns False, and the kernel must return.
"""

import os
import threading

import numpy as np
from numba import config, njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from .jit import MATH

ARRIVED, ROUND, BROKEN = 0, 8, 16  # a cache line each
_SPINS = 4000  # about 50 us; a thread that waits longer lets others run


def barrier() -> np.ndarray:
    return np.zeros(24, np.int64)


if config.DISABLE_JIT:

    def atomic_add(x, i, amount):
        """Without the JIT a team has one member."""
        x[i] += amount
        return x[i] - amount

    def give_way() -> None:
        pass

else:

    @intrinsic
    def atomic_add(typing, x, i, amount):
        """x[i] += amount, seen by all threads in one order; the value before. An amount of 0 reads."""

        def codegen(context, builder, signature, arguments):
            array = context.make_array(signature.args[0])(context, builder, arguments[0])
            at = cgutils.get_item_pointer(context, builder, signature.args[0], array, [arguments[1]], wraparound=False)
            return builder.atomic_rmw("add", at, arguments[2], "seq_cst")

        return types.int64(x, types.int64, types.int64), codegen

    if os.name == "posix":
        give_way = types.ExternalFunction("sched_yield", types.int32())
    else:

        @njit
        def give_way() -> None:
            pass


@njit(**MATH)
def meet(state, team):
    """Wait for all; False if the march was broken off."""
    if team == 1:
        return state[BROKEN] == 0
    now = atomic_add(state, ROUND, 0)
    if atomic_add(state, ARRIVED, 1) == team - 1:
        atomic_add(state, ARRIVED, -team)
        atomic_add(state, ROUND, 1)
    else:
        spins = 0
        while atomic_add(state, ROUND, 0) == now and atomic_add(state, BROKEN, 0) == 0:
            spins += 1
            if spins > _SPINS:
                give_way()
    return atomic_add(state, BROKEN, 0) == 0


def march(work, team: int, state: np.ndarray) -> None:
    """Call ``work(0)`` here and ``work(1)`` to ``work(team - 1)`` on threads of their own; all ``meet`` alike."""
    if team == 1:
        work(0)
        return
    errors: list[BaseException] = []

    def guarded(me: int) -> None:
        try:
            work(me)
        except BaseException as error:
            state[BROKEN] = 1
            errors.append(error)

    helpers = [threading.Thread(target=guarded, args=(me,), name=f"primeattn-{me}") for me in range(1, team)]
    started = []
    try:
        for helper in helpers:
            helper.start()
            started.append(helper)
        guarded(0)
    except BaseException:
        state[BROKEN] = 1
        raise
    finally:
        for helper in started:
            helper.join()
    if errors:
        raise errors[0]
