"""Who does which row: one ``row`` function, threads on the CPU, one thread a row on CUDA.

A row function ``row(i, *arguments)`` writes only what row ``i`` owns, so the result depends neither on
the number of threads nor on their order, and needs no atomics. On the CPU it is called from a kernel
``cpu(start, stop, *arguments)`` that is written out beside it, because a loop made by a factory would
capture ``row`` in a closure and never hit Numba's on-disk cache. The CUDA loop is always the same
three lines, so it is made here.

Threads are Python threads over GIL-free kernels, not ``prange``: one compilation serves one thread and
many (``prange`` costs 0.7 s more per kernel), fork is safe, and a long run can be interrupted between
chunks. ``numba.set_num_threads`` is obeyed.
"""

import inspect
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
from numba import get_num_threads

from . import devices

OWNERS: list["Owner"] = []
_HOST = frozenset({np.ndarray, tuple, int, float, np.float32, np.float64})  # a look at others' attributes takes longer


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="primeattn")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # threads do not survive a fork


_this_thread = threading.local()


@contextmanager
def alone():
    """Inside, this thread shares nothing: its calls are a share of something larger already."""
    before = getattr(_this_thread, "alone", False)
    _this_thread.alone = True
    try:
        yield
    finally:
        _this_thread.alone = before


def _is_alone() -> bool:
    return getattr(_this_thread, "alone", False)


def share(work, n: int, grain: int, chunks_per_thread: int = 1) -> None:
    """Call ``work(start, stop)`` over contiguous ranges that cover ``[0, n)``, on all threads.

    Ranges hold at least ``grain`` rows: below that, waking a thread (about 60 us) costs more than it brings.
    """
    threads = get_num_threads() if n >= 2 * grain and not _is_alone() else 1
    if threads == 1:
        work(0, n)
        return
    parts = min(threads * chunks_per_thread, n // grain)
    edges = [n * p // parts for p in range(parts + 1)]
    ranges = iter(list(pairwise(edges)))

    def drain():
        for start, stop in ranges:  # next() on a list iterator is atomic under the GIL
            work(start, stop)

    helpers = [_pool(threads - 1).submit(drain) for _ in range(threads - 1)]
    try:
        drain()
    finally:
        for _ in ranges:  # after an error or Ctrl-C: start nothing more
            pass
        for helper in helpers:
            if not helper.cancel():  # one that never started (a busy pool, a nested call) has nothing left to do
                helper.result()


def _on_device(arguments) -> bool:
    """Where the first array lies; a call that mixes host and CUDA arrays was refused long before."""
    for x in arguments:
        if type(x) is np.ndarray:
            return False
        if type(x) not in _HOST and devices.is_device_array(x):
            return True
    return False


class Owner:
    """A loop over rows on either device.

    Parameters
    ----------
    row : scalar-compiled function ``row(i, *arguments)``
    cpu : kernel-compiled function ``cpu(start, stop, *arguments)``
    signature : str
        Types of ``arguments`` for the compile check of the CUDA twin: ``F`` floating scalar, ``i``
        integer scalar, ``F1``/``F2`` contiguous floating arrays of 1 or 2 axes, ``I1`` int64 array,
        ``J1`` int32 array, ``U1`` bytes, ``(I1,F1)`` a tuple of those, ``K`` a record of each of ``kinds``.
    kinds : collection of NamedTuple classes
        Records of floating scalars, whose type decides what the row computes.
    grain : int
        Fewest rows worth a thread of their own.
    chunks_per_thread : int
        More than 1 balances rows of unequal cost.
    """

    def __init__(self, row, cpu, signature: str, *, kinds=(), grain: int = 16_384, chunks_per_thread: int = 1):
        self.row, self.cpu, self.signature, self.kinds = row, cpu, signature.split(), kinds
        self.grain, self.chunks_per_thread = grain, chunks_per_thread
        self.name = getattr(cpu, "__name__", str(cpu))
        self._cuda: Any = None
        OWNERS.append(self)

    def cuda_function(self):
        """The undecorated CUDA kernel ``kernel(n, *arguments)``."""
        row = getattr(self.row, "py_func", self.row)
        names = ", ".join(list(inspect.signature(row).parameters)[1:])
        source = (  # underscores: a row may call its own arguments n or row
            f"def {row.__name__}_cuda(_n, {names}):\n"
            f"    _i = _cuda.grid(1)\n"
            f"    if _i < _n:\n"
            f"        _row(_i, {names})\n"
        )
        scope = {"_cuda": devices.cuda(), "_row": self.row}
        exec(source, scope)
        return scope[f"{row.__name__}_cuda"]

    def __call__(self, n: int, *arguments) -> None:
        if _on_device(arguments):
            if self._cuda is None:
                self._cuda = devices.cuda().jit(self.cuda_function())
            block = 128
            if n:
                self._cuda[(n + block - 1) // block, block](n, *arguments)
        elif n < 2 * self.grain or _is_alone():
            self.cpu(0, n, *arguments)
        else:
            share(lambda start, stop: self.cpu(start, stop, *arguments), n, self.grain, self.chunks_per_thread)
