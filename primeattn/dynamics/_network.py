"""Networks as the kernels read them: incoming edges, row by row."""

from typing import Any, NamedTuple

import numpy as np

from .._runtime.checks import unmasked
from ._neighbours import Ring


class Edges(NamedTuple):
    """Row i lists the oscillators that i hears, in compressed sparse rows; indices ascend within a row.

    Attributes
    ----------
    indptr : ndarray of int64, shape (N + 1,)
    indices : ndarray of int32, shape (edges,)
    weight : ndarray of float64, shape (edges,) or (0,)
        Empty where every weight is 1.
    """

    indptr: np.ndarray
    indices: np.ndarray
    weight: np.ndarray

    @property
    def in_degree(self) -> np.ndarray:
        """Sums of |weight| by row, shape (N,)."""
        if not len(self.weight):
            return np.diff(self.indptr).astype(float)
        rows = np.repeat(np.arange(len(self.indptr) - 1), np.diff(self.indptr))
        return np.bincount(rows, np.abs(self.weight), len(self.indptr) - 1)


def as_switched(network: Any, n: int) -> tuple[tuple[float, Edges], ...]:
    """The networks in order, each with the time from which on it holds; none for None.

    Raises
    ------
    ValueError, TypeError
        As of `as_edges`; for times that are not finite or do not ascend.
    """
    if network is None:
        return ()
    if not (isinstance(network, list | tuple) and len(network) and all(_is_timed(entry) for entry in network)):
        return ((-np.inf, as_edges(network, n)),)
    times = [float(t) for t, _ in network]
    if not np.isfinite(times).all() or (np.diff(times) <= 0).any():
        raise ValueError(f"network has the times {times}: finite ones that ascend are wanted")
    return tuple((t, as_edges(w, n)) for t, (_, w) in zip(times, network, strict=True))


def _is_timed(entry: Any) -> bool:
    """Whether it is (t, network) and not a row of a matrix."""
    number = (int, float, np.number)
    pair = isinstance(entry, list | tuple) and len(entry) == 2
    return pair and isinstance(entry[0], number) and not isinstance(entry[1], number)


def as_edges(network: Any, n: int) -> Edges:
    """Incoming edges of a SciPy sparse or dense matrix W with W[i, j] from j to i, or of a NetworkX graph.

    A NetworkX edge (u, v) goes from u to v, so v hears u; an undirected edge is heard both ways. Nodes keep their order
    in the graph; weights are the edge attribute "weight", 1 where there is none.

    Raises
    ------
    TypeError
        For anything else, or complex weights.
    ValueError
        For a shape other than (n, n), or weights that are not finite.
    """
    from scipy import sparse

    if isinstance(network, Ring):
        from .networks import ring

        network = ring(n, network.neighbours)
    if hasattr(network, "adjacency") and hasattr(network, "is_directed"):
        import networkx

        if network.number_of_nodes() != n:
            raise ValueError(
                f"network has {network.number_of_nodes()} nodes but omega has {n} entries: one each is wanted"
            )
        try:
            matrix = networkx.to_scipy_sparse_array(network, weight="weight", dtype=float, format="csr").T.tocsr()
        except (TypeError, ValueError) as error:
            raise TypeError(f"network has an edge whose attribute 'weight' is no real number ({error})") from None
    elif sparse.issparse(network):
        matrix = network.tocsr()
        try:
            matrix.check_format()
        except ValueError as error:
            raise ValueError(f"network is a sparse matrix that is damaged: {error}") from None
    else:
        if callable(network):
            raise TypeError("network is a function: networks and the times they hold from, [(t, W), ...], are wanted")
        try:
            dense = np.asarray(unmasked("network", network))
        except ValueError:
            raise ValueError("network is ragged: an (N, N) matrix, or pairs (t, W) alone, are wanted") from None
        if dense.dtype.kind not in "biuf" or dense.ndim != 2:
            raise TypeError(
                f"network is {type(network).__name__} of dtype {dense.dtype}: a SciPy sparse or dense (N, N) matrix, "
                "W[i, j] from j to i, or a NetworkX graph is wanted"
            )
        matrix = sparse.csr_array(dense.astype(dense.dtype.newbyteorder("="), copy=False))  # SciPy has one byte order
    if matrix.shape != (n, n):
        pairs, weighted = matrix.shape[1] == 2, matrix.shape[1] == 3
        call = "source, target, weight" if weighted else "*numpy.transpose(edges)"
        hint = f"; for a list of edges networks.from_edges({n}, {call})" if pairs or weighted else ""
        raise ValueError(f"network has shape {matrix.shape} but omega has {n} entries: ({n}, {n}) is wanted{hint}")
    if matrix.dtype.kind not in "biuf":
        raise TypeError(f"network has dtype {matrix.dtype}: real weights are wanted; a phase lag is phase_lag=")
    matrix = matrix.astype(np.float64)  # a copy: sum_duplicates works in place
    matrix.sum_duplicates()
    if not np.isfinite(matrix.data).all():
        raise ValueError("network has weights that are NaN or infinite: finite ones are wanted")
    matrix.eliminate_zeros()
    weight = matrix.data if (matrix.data != 1).any() else np.zeros(0)
    return Edges(matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32), np.ascontiguousarray(weight))
