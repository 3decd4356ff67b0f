"""Sweeps as Dask graphs: a task is a smaller sweep, whose numbers are the same as within the large one."""

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np

from ._grid import Axis, Protocol, evaluate, shapes


def lazily(protocol: Protocol, axes: Sequence[Axis], runs: range, chunks: Any, client: Any) -> dict[str, Any]:
    """Dask arrays ([direction,] axes, run, ...) by name."""
    try:
        import dask
        import dask.array
    except ImportError as error:
        raise ImportError('sweep needs Dask for chunks= and client=: pip install "primeattn[dask]"') from error
    if protocol.like is not None:
        raise TypeError("theta0 is a CUDA array: Dask's tasks run in host memory; leave out chunks= and client=")
    parts = [_cut(length, size) for length, size in _sizes(protocol, axes, len(runs), chunks)]
    task = dask.delayed(_task, pure=False)
    held = dask.delayed(protocol, traverse=False)  # once, however many tasks there are
    known = shapes(protocol)
    lead = (len(protocol.directions),) if len(protocol.directions) > 1 else ()
    blocks: dict[str, dict[tuple[int, ...], Any]] = {name: {} for name in known}
    for at in product(*(range(len(part)) for part in parts)):
        cuts = [part[k] for part, k in zip(parts, at, strict=True)]
        smaller = [Axis(axis.name, axis.values[cut]) for axis, cut in zip(axes, cuts, strict=False)]
        found = task(held, smaller, runs[cuts[-1]])
        for name, (shape, dtype) in known.items():
            size = (*lead, *(cut.stop - cut.start for cut in cuts), *shape)
            blocks[name][at] = dask.array.from_delayed(found[name], size, dtype)
    counts = [len(part) for part in parts]
    return {name: _joined(dask.array.concatenate, x, counts, (), len(lead)) for name, x in blocks.items()}


def _task(protocol: Protocol, axes: Sequence[Axis], runs: range) -> dict[str, np.ndarray]:
    return evaluate(protocol, axes, runs)[0]


def _joined(concatenate: Any, blocks: dict, counts: list[int], at: tuple[int, ...], lead: int) -> Any:
    """One array of blocks, by their place along each axis."""
    if len(at) == len(counts):
        return blocks[at]
    parts = [_joined(concatenate, blocks, counts, (*at, k), lead) for k in range(counts[len(at)])]
    return concatenate(parts, axis=len(at) + lead)


def _sizes(protocol: Protocol, axes: Sequence[Axis], runs: int, chunks: Any) -> list[tuple[int, int]]:
    """Length of every axis, the runs last, and of its chunks."""
    lengths = {axis.name: len(axis.values) for axis in axes} | {"run": runs}
    walked = axes[0].name if protocol.directions else None
    first = next(name for name in lengths if name != walked)
    wanted = {first: 1} if chunks is None else chunks if isinstance(chunks, dict) else {first: chunks}
    for name, size in wanted.items():
        if name not in lengths or not isinstance(size, int | np.integer) or size < 1:
            raise ValueError(f"chunks has {name!r}: {size!r}: whole numbers for {', '.join(lengths)} are wanted")
        if name == walked and size < lengths[name]:
            raise ValueError(f"chunks cut {name!r}, which is walked along: a continuation stays in one task")
    return [(length, wanted.get(name, length)) for name, length in lengths.items()]


def _cut(length: int, size: int) -> list[slice]:
    return [slice(a, min(a + size, length)) for a in range(0, length, size)]
