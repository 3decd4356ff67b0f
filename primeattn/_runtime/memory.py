"""How much memory this machine has, for refusals that come before the work; and room for the work itself."""

import ctypes
import math
import os
import threading
from typing import ClassVar

import numpy as np

LINE = 128  # bytes: a cache line, and the one beside it that is fetched along


def physical_memory() -> int:
    """Bytes of memory of this machine; 8 GiB where the system does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return 8 << 30


def aligned(size: int, dtype) -> np.ndarray:
    """``size`` numbers, uninitialised, from the start of a cache line on.

    NumPy's arrays start at a multiple of 16 bytes: every vector of 64 would lie across two lines.
    """
    dtype = np.dtype(dtype)
    return _on_a_line(np.empty(size * dtype.itemsize + LINE, np.uint8), size, dtype)


def aligned_zeros(size: int, dtype) -> np.ndarray:
    """As `aligned`, zeros."""
    dtype = np.dtype(dtype)
    return _on_a_line(np.zeros(size * dtype.itemsize + LINE, np.uint8), size, dtype)


def _on_a_line(room: np.ndarray, size: int, dtype: np.dtype) -> np.ndarray:
    start = -ctypes.addressof(ctypes.c_char.from_buffer(room.data)) % LINE  # room.ctypes takes three times as long
    return room[start : start + size * dtype.itemsize].view(dtype)


def parts(room: np.ndarray, sizes) -> list[np.ndarray]:
    """Pieces of a room, each from the start of a cache line on; `total_size` says how large it must be."""
    found, start = [], 0
    for size in sizes:
        found.append(room[start : start + size])
        start += _on_lines(size, room.itemsize)
    return found


def total_size(sizes, dtype) -> int:
    """Numbers of a room for `parts`."""
    return sum(_on_lines(size, dtype.itemsize) for size in sizes)


def _on_lines(size: int, itemsize: int) -> int:
    numbers = LINE // itemsize
    return -(-size // numbers) * numbers


_own = threading.local()


def workspace(size: int, dtype, slot: int = 0) -> np.ndarray:
    """As `aligned`, but what this thread got from its last call for this slot: for one kernel, until it returns.

    To find a cache line in fresh memory takes 3 us, and fresh pages take more. What is large is not kept.
    """
    kept = _own.__dict__.setdefault("rooms", {})
    room = kept.get((slot, dtype))
    if room is None or room.size < size:
        room = aligned(size, dtype)
        if room.nbytes <= Scratch.MOST:
            kept[slot, dtype] = room
    return room if room.size == size else room[:size]


class Scratch:
    """Room for one call, kept for the next one: ``with Scratch() as take: x = take(size, dtype)``.

    What is taken starts on a cache line and holds anything. Fresh memory comes page by page from the system, which at
    a thousand tokens takes as long as the attention; so up to ``MOST`` bytes stay with the process.
    """

    MOST = 32 << 20
    _kept: ClassVar[list[np.ndarray]] = []
    _lock = threading.Lock()

    def __enter__(self):
        self._taken: list[np.ndarray] = []
        return self._take

    def _take(self, size: int, dtype) -> np.ndarray:
        dtype = np.dtype(dtype)
        wanted = size * dtype.itemsize
        with self._lock:
            fitting = [i for i, x in enumerate(self._kept) if wanted <= x.size <= 4 * wanted + LINE]
            room = self._kept.pop(min(fitting, key=lambda i: self._kept[i].size)) if fitting else None
        if room is None:
            room = aligned(wanted, np.uint8)
        self._taken.append(room)
        return room[:wanted].view(dtype)

    def __exit__(self, *error) -> None:
        with self._lock:
            self._kept.extend(self._taken)  # the newest are kept
            while sum(x.size for x in self._kept) > self.MOST:
                self._kept.pop(0)


_PAGE = 1 << 21  # a huge page; NumPy asks for them from 4 MiB on


def zeros(*counts: int) -> list[np.ndarray]:
    """Arrays of float64 zeros, side by side in huge pages where they are large and the system grants them.

    Memory read at random from small pages lies at random places of the second-level cache, and some of it evicts some:
    10^6 edges among 10^5 oscillators took 1.4 ns each, 1.05 from huge pages.
    """
    rounded = [math.ceil(count / 8) * 8 for count in counts]  # whole cache lines
    total = 8 * sum(rounded)
    spare = _PAGE if total > _PAGE // 4 else 64
    memory = np.zeros(max(total + spare, 2 * _PAGE if spare == _PAGE else 0), np.uint8)
    start = -memory.ctypes.data % spare
    arrays = []
    for count, room in zip(counts, rounded, strict=True):
        arrays.append(memory[start : start + 8 * count].view(np.float64))
        start += 8 * room
    return arrays
