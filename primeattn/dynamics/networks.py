"""Networks that SciPy and NetworkX do not have ready: rings, lattices, lists of edges. Everything is a sparse matrix.

W[i, j] is the weight of the edge j -> i, in `primeattn.Kuramoto` and here: row i lists what i hears.
"""

from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from .._runtime.checks import unmasked

if TYPE_CHECKING:
    from scipy import sparse

__all__ = ["from_edges", "lattice", "ring"]


def ring(n: int, neighbours: int = 1) -> "sparse.csr_array":
    """Every oscillator hears the nearest ``neighbours`` on each side, cyclically.

    Parameters
    ----------
    n : int
    neighbours : int
        On each side, so that the degree is twice that; less than n / 2.

    Returns
    -------
    scipy.sparse.csr_array of float64, shape (n, n)

    Raises
    ------
    ValueError
        If an oscillator would meet itself or another one twice.

    Examples
    --------
    >>> import primeattn as pa
    >>> pa.dynamics.networks.ring(5).toarray().astype(int)[0]
    array([0, 1, 0, 0, 1])
    """
    from scipy import sparse

    n, reach = _whole("n", n, 1), _whole("neighbours", neighbours, 0)
    if 2 * reach >= n and reach:
        raise ValueError(f"neighbours is {reach} on each side, but n is {n}: less than n / 2 is wanted")
    offsets = np.concatenate([np.arange(-reach, 0), np.arange(1, reach + 1)])
    indices = np.sort((np.arange(n)[:, None] + offsets) % n, axis=1).ravel()
    return sparse.csr_array((np.ones(len(indices)), indices, np.arange(n + 1) * len(offsets)), shape=(n, n))


def lattice(shape: tuple[int, ...], *, periodic: bool = True, diagonal: bool = False) -> "sparse.csr_array":
    """Every oscillator of a grid hears its neighbours along the axes.

    Parameters
    ----------
    shape : tuple of int
        Oscillator (x, y, ...) is number ``numpy.ravel_multi_index((x, y, ...), shape)``: reshape phases to ``shape``.
    periodic : bool
        Whether the grid closes upon itself.
    diagonal : bool
        Whether neighbours that differ along several axes are heard, too: 8 in the plane instead of 4.

    Returns
    -------
    scipy.sparse.csr_array of float64, shape (N, N), N the product of ``shape``
        Ones; where an axis is so short that both neighbours are the same, that one is heard once.

    Raises
    ------
    ValueError
        For an empty shape, or an axis without oscillators.

    Examples
    --------
    >>> import primeattn as pa
    >>> pa.dynamics.networks.lattice((1000, 10)).nnz
    40000
    """
    from scipy import sparse

    sides = tuple(_whole("shape", side, 1) for side in np.atleast_1d(shape))
    if not sides:
        raise ValueError("shape is empty: at least one axis is wanted")
    n, here = int(np.prod(sides)), np.indices(sides)
    targets, sources = [], []
    for offset in product((-1, 0, 1), repeat=len(sides)):
        away = sum(map(abs, offset))
        if away == 0 or (away > 1 and not diagonal):
            continue
        there = here + np.reshape(offset, (-1,) + (1,) * len(sides))
        bounds = np.reshape(sides, (-1,) + (1,) * len(sides))
        inside = np.ones(sides, bool) if periodic else ((there >= 0) & (there < bounds)).all(axis=0)
        targets.append(np.flatnonzero(inside))
        sources.append(np.ravel_multi_index(tuple(there % bounds), sides)[inside])
    i, j = np.concatenate(targets), np.concatenate(sources)
    key = np.unique((i * n + j)[i != j])
    return sparse.csr_array((np.ones(len(key)), (key // n, key % n)), shape=(n, n))


def from_edges(n: int, source: Any, target: Any, weight: Any = None) -> "sparse.csr_array":
    """The matrix of a list of edges ``source[k] -> target[k]``: the target hears the source.

    Parameters
    ----------
    n : int
    source, target : array_like of int, shape (edges,)
        Numbers of oscillators, from 0.
    weight : array_like of float, shape (edges,), optional
        1 by default. Weights of an edge that is listed several times add up.

    Returns
    -------
    scipy.sparse.csr_array of float64, shape (n, n)

    Raises
    ------
    ValueError
        For lists of different lengths, numbers that are not those of oscillators, or weights that are not finite.
    TypeError
        For numbers of oscillators that are not integers.

    Examples
    --------
    >>> import primeattn as pa
    >>> pa.dynamics.networks.from_edges(3, [0, 1], [1, 2], [0.5, 2.0]).toarray()
    array([[0. , 0. , 0. ],
           [0.5, 0. , 0. ],
           [0. , 2. , 0. ]])

    Of pairs:

    >>> pa.dynamics.networks.from_edges(3, *zip((0, 1), (1, 2))).nnz
    2
    """
    from scipy import sparse

    n = _whole("n", n, 1)
    ends = []
    for name, x in (("source", source), ("target", target)):
        x = np.asarray(unmasked(name, x))
        if x.dtype.kind not in "iu" and x.size:
            raise TypeError(f"{name} has dtype {x.dtype}: integers are wanted")
        if x.ndim != 1:
            raise ValueError(f"{name} has shape {x.shape}: one list, a number for each edge, is wanted")
        if x.size and not (x.min() >= 0 and x.max() < n):
            raise ValueError(f"{name} must be a list of numbers from 0 to {n - 1}")
        ends.append(x.astype(np.int64))
    weights = np.ones(len(ends[0])) if weight is None else np.asarray(unmasked("weight", weight), float)
    if not len(ends[0]) == len(ends[1]) == weights.size or weights.ndim != 1:
        raise ValueError(f"source, target and weight have lengths {len(ends[0])}, {len(ends[1])} and {weights.size}")
    if not np.isfinite(weights).all():
        at = int(np.flatnonzero(~np.isfinite(weights))[0])
        raise ValueError(f"weight is {weights[at]} at edge {at}: finite numbers are wanted; 0 or no edge means none")
    return sparse.coo_array((weights, (ends[1], ends[0])), shape=(n, n)).tocsr()


def _whole(name: str, x: Any, least: int) -> int:
    if not isinstance(x, int | np.integer) or isinstance(x, bool) or x < least:
        raise ValueError(f"{name} is {x!r}: a whole number, {least} or more, is wanted")
    return int(x)
