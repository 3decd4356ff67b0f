"""The matrix of scores times a few vectors, without the matrix: pairs are met, finished, multiplied and forgotten.

Columns come in tiles: their sums, vectors and postings stay in the cache while all rows pass. Postings ascend by state,
so each entry of a row remembers where its next tile begins.
"""

import numpy as np

from .._runtime.jit import kernel
from .._runtime.owners import share
from ._inverted import CHUNKS, GRAIN, finish, postings
from ._profiles import Profile
from ._scalars import ENTRY, shared_terms

TILE = 2048  # states of b


@kernel
def product_rows(start, stop, width, a, b, index, choice, weights, x, out):
    """``out[i] = sum_j score(i, j) x[j]``, ``width`` numbers a row; ``out`` comes zeroed."""
    indptr, entries = a[0], a[2]
    begin, until, state, y = index
    form, ruzicka = choice
    m = b[3].size
    sums = np.zeros(4 * m, weights.dtype)
    met = np.empty(min(m, TILE), np.int64)
    offset = indptr[start]
    at = begin[offset : indptr[stop]].copy()
    for first in range(0, m, TILE):
        last = first + TILE
        for i in range(start, stop):
            count = 0
            for s in range(indptr[i], indptr[i + 1]):
                u, end = at[s - offset], until[s]
                while u < end and state[u] < last:
                    j = state[u]
                    if sums[4 * j] == 0:
                        met[count] = j
                        count += 1
                    o, al, co = shared_terms(entries, ENTRY * s, y, ENTRY * u, form, ruzicka)
                    sums[4 * j] += type(o)(1)
                    sums[4 * j + 1] += o
                    sums[4 * j + 2] += al
                    sums[4 * j + 3] += co
                    u += 1
                at[s - offset] = u
            for r in range(count):
                value = finish(i, met[r], a, b, choice, weights, sums)
                for c in range(width):
                    out[i * width + c] += value * x[met[r] * width + c]


class ScoreProduct:
    """All scores between the states of two profiles, as a linear map; time that of the overlaps, memory O(nnz)."""

    def __init__(self, a: Profile, b: Profile, choice: tuple[int, int], weights):
        self.a, self.b, self.choice, self.weights = a, b, choice, weights
        self.index = postings(a, b)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """x (m, width), out (n, width)."""
        width = x.shape[1]
        flat = np.ascontiguousarray(x, self.a.entries.dtype).reshape(-1)
        out = np.zeros(self.a.n * width, flat.dtype)
        share(
            lambda start, stop: product_rows(
                start, stop, width, self.a, self.b, self.index, self.choice, self.weights, flat, out
            ),
            self.a.n,
            GRAIN,
            CHUNKS,
        )
        return out.reshape(-1, width)
