"""The public scores: row by row, all pairs dense, overlapping pairs sparse, and one pair explained."""

from typing import Any

import numpy as np

from .._runtime import devices
from . import _labels
from ._inverted import score_csr, score_matrix
from ._options import check_fits, check_form, needed, one_state, profiles, state_arrays
from ._pairs import component_pairs, score_pairs, score_table, shared_primes
from ._scalars import ORIGINAL, UNIT_MASS

_INSTEAD = "use resonance.sparse_matrix, which holds only overlapping pairs, or score blocks of rows a[i:j]"


def score(a, b, *, kind="kernel", weights=None, normalizer="union", overlap="jaccard", amplitude=False) -> Any:
    r"""Resonance of states, row by row.

    Parameters
    ----------
    a, b : PrimeStates of n states each, or one of them of 1
        Also a labelled Dataset of ``PrimeStates.to_xarray``, or ``StateArrays`` on CUDA.
    kind : {"kernel", "original"}
        "original" is the published score; "kernel" its positive semi-definite correction.
    weights : three floats >= 0 that sum to 1, optional
        Of overlap, alignment and coherence: alpha, beta, gamma. Default 1/3 each; "original" .33, .33, .34.
    normalizer : {"union", "sqrt"}
        Denominator Z of the kernel: the number of primes in either state, or sqrt(k k').
    overlap : {"jaccard", "ruzicka"}
        "ruzicka" puts sum min(\|a\|, \|a'\|) / sum max(\|a\|, \|a'\|) in place of the first component (kernel only). It
        takes magnitudes as they are: call ``normalize`` first if their scale means nothing. Sums that
        overflow are refused.
    amplitude : bool
        Weigh every shared prime by \|a\| \|a'\| of the L2-normalised states, with no denominator (kernel only).

    Returns
    -------
    ndarray of float, shape (n,)
        In [0, 1] up to rounding. float32 if both batches are float32, else float64; sums are accumulated in that
        precision. DataArray for labelled input, CUDA array for CUDA input.

    Raises
    ------
    TypeError
        If ``a`` or ``b`` is not a batch of states, or only one of them is on CUDA.
    ValueError
        For unequal lengths, weights that are negative or do not sum to 1, options that do not go together, and
        a missing b.

    Notes
    -----
    With I the shared primes, U the union, :math:`\varphi` the phases and q the unit quaternions,

    .. math:: K = \frac1Z \sum_{p \in I} \Big[\alpha + \beta\,(q_p \cdot q'_p)^2
              + \gamma\,\tfrac{1 + \cos(\varphi_p - \varphi'_p)}{2}\Big]

    for "kernel", and :math:`\alpha |I|/|U| + \beta \langle |q \cdot q'| \rangle_I
    + \gamma (1 + \langle \cos(\varphi - \varphi') \rangle_I)/2` for "original". States that share no prime, empty
    ones included, score 0 in every kind. A stored prime is active even where its amplitude is 0, except in the
    amplitude and Ruzicka variants, where it adds nothing; the phase of 0 is 0 (of -0.0: pi, as in the original).

    References
    ----------
    S. Schepis, *tinyaleph* (the original score). Proofs and counter-examples: the theory page on resonance.

    Examples
    --------
    >>> import primeattn as pa
    >>> a = pa.PrimeStates.from_dicts([{2: 1, 3: 1}])
    >>> b = pa.PrimeStates.from_dicts([{2: 1, 3: 1}, {3: -1, 5: 1}, {7: 1}])
    >>> pa.resonance.score(a, b).round(3).tolist()
    [1.0, 0.222, 0.0]
    """
    needed(b)
    (a, b), wrap = _labels.unwrap(a, b)
    form = check_form(kind, weights, normalizer, overlap, amplitude)
    x, y, w = profiles(a, b, form)
    return wrap.rows(score_pairs(x, y, form[:2], w), "score")


def components(
    a, b, *, kind="kernel", weights=None, normalizer="union", overlap="jaccard", amplitude=False
) -> dict[str, Any]:
    """Overlap, alignment and coherence of states, row by row: their weighted sum is the score.

    Parameters
    ----------
    a, b, kind, normalizer, overlap, amplitude
        As in `score`.
    weights
        Checked, otherwise unused: components do not depend on them.

    Returns
    -------
    dict of str to ndarray of float, shape (n,)
        "overlap", "alignment", "coherence"; each in [0, 1] up to rounding, 0 where no prime is shared.

    Raises
    ------
    TypeError, ValueError
        As in `score`.

    Examples
    --------
    >>> import primeattn as pa
    >>> a = pa.PrimeStates.from_dicts([{2: 1, 3: 1}])
    >>> b = pa.PrimeStates.from_dicts([{3: -1, 5: 1}])
    >>> {name: float(x[0].round(3)) for name, x in pa.resonance.components(a, b).items()}
    {'overlap': 0.333, 'alignment': 0.333, 'coherence': 0.0}
    """
    needed(b)
    (a, b), wrap = _labels.unwrap(a, b)
    form = check_form(kind, weights, normalizer, overlap, amplitude)
    x, y, _ = profiles(a, b, form)
    found = component_pairs(x, y, form[:2])
    return {name: wrap.rows(found[:, c], name) for c, name in enumerate(("overlap", "alignment", "coherence"))}


def matrix(a, b=None, *, kind="kernel", weights=None, normalizer="union", overlap="jaccard", amplitude=False) -> Any:
    """Resonance of all pairs, dense.

    Parameters
    ----------
    a : PrimeStates of n states
    b : PrimeStates of m states, optional
        Default ``a``: each pair is computed once, and the result is exactly symmetric.
    kind, weights, normalizer, overlap, amplitude
        As in `score`.

    Returns
    -------
    ndarray of float, shape (n, m)
        DataArray for labelled input, CUDA array for CUDA input.

    Raises
    ------
    MemoryError
        If the result needs more than half of this machine's memory; see `sparse_matrix`.
    TypeError, ValueError
        As in `score`.

    Notes
    -----
    On the CPU an inverted index over primes makes the cost that of the overlaps, n m k^2 / P for k active primes
    drawn uniformly out of P, besides writing n m zeros. On CUDA one thread merges one pair.

    Examples
    --------
    >>> import primeattn as pa
    >>> s = pa.PrimeStates.from_dicts([{2: 1}, {2: 1, 3: 1}, {3: 1}])
    >>> pa.resonance.matrix(s)
    array([[1. , 0.5, 0. ],
           [0.5, 1. , 0.5],
           [0. , 0.5, 1. ]])
    """
    (a, b), wrap = _labels.unwrap(a, b)
    form = check_form(kind, weights, normalizer, overlap, amplitude)
    x, y, w = profiles(a, b, form)
    if devices.is_device_array(x.entries):
        return score_table(x, y, form[:2], w)
    size = x.n * y.n * x.entries.itemsize
    check_fits(size, f"a dense matrix of {x.n:,} x {y.n:,} scores", _INSTEAD)
    return wrap.table(score_matrix(x, y, form[:2], w, half=b is None), "score")


def sparse_matrix(
    a, b=None, *, kind="kernel", weights=None, normalizer="union", overlap="jaccard", amplitude=False
) -> Any:
    """Resonance of all pairs that share a prime, as a SciPy sparse array; all other scores are 0.

    Parameters
    ----------
    a, b, kind, weights, normalizer, overlap, amplitude
        As in `matrix`; CUDA input is refused.

    Returns
    -------
    scipy.sparse.csr_array of float, shape (n, m)
        Columns ascending; also holds the pairs that share a prime and still score 0. Time and memory are those of
        the overlapping pairs.

    Raises
    ------
    MemoryError
        If the overlapping pairs need more than half of this machine's memory.
    TypeError, ValueError
        As in `score`; TypeError for CUDA arrays.

    Examples
    --------
    >>> import primeattn as pa
    >>> s = pa.PrimeStates.from_dicts([{2: 1}, {2: 1, 3: 1}, {5: 1}])
    >>> pa.resonance.sparse_matrix(s).nnz
    5
    """
    from scipy.sparse import csr_array

    (a, b), _ = _labels.unwrap(a, b)
    form = check_form(kind, weights, normalizer, overlap, amplitude)
    x, y, w = profiles(a, b, form)
    if devices.is_device_array(x.entries):
        raise TypeError("sparse_matrix runs on the CPU: pass host states, or use resonance.matrix on CUDA")
    return csr_array(score_csr(x, y, form[:2], w), shape=(x.n, y.n))


def explain(
    a, i, b=None, j=None, *, kind="kernel", weights=None, normalizer="union", overlap="jaccard", amplitude=False
) -> dict[str, np.ndarray]:
    """Which shared primes make the score of one pair, and how much each of them adds.

    Parameters
    ----------
    a : PrimeStates
    i : int
        The state of ``a``.
    b : PrimeStates, optional
        Default ``a``.
    j : int, optional
        The state of ``b``. Default ``i``.
    kind, weights, normalizer, overlap, amplitude
        As in `score`.

    Returns
    -------
    dict of str to ndarray, one number a shared prime, in ascending order of primes
        "prime" int64; "alignment", (q.q')^2 or, for "original", \\|q.q'\\|; "coherence",
        (1 + cos(phi - phi')) / 2; "contribution", whose sum is the score.

    Raises
    ------
    IndexError
        If there is no state i or j.
    TypeError, ValueError
        As in `score`; TypeError for CUDA arrays.

    Examples
    --------
    >>> import primeattn as pa
    >>> s = pa.PrimeStates.from_dicts([{2: 1, 3: 1}, {2: 1, 3: -1}])
    >>> why = pa.resonance.explain(s, 0, s, 1)
    >>> why["prime"].tolist(), why["contribution"].round(3).tolist()
    ([2, 3], [0.5, 0.333])
    """
    (a, b), _ = _labels.unwrap(a, b)
    form = check_form(kind, weights, normalizer, overlap, amplitude)
    x = state_arrays("a", a)
    y = x if b is None else state_arrays("b", b)
    if devices.is_device_array(x.primes):
        raise TypeError("explain runs on the CPU: pass host states")
    x, y = one_state("i", x, i), one_state("j", y, i if j is None else j)
    own, other, w = profiles(x, y, form)
    primes, terms = shared_primes(own, other, form[:2])
    found = component_pairs(own, other, form[:2])[0]
    _, plain = shared_primes(*profiles(x, y, form._replace(mass=UNIT_MASS))[:2], (form.form, 0))
    if form.form == ORIGINAL:
        terms[:, 0] = 1
    # each component is its sum over the shared primes times one factor
    sums = terms.sum(axis=0)
    factor = np.divide(found, sums, out=np.zeros_like(found), where=sums > 0)
    return {"prime": primes, "alignment": plain[:, 1], "coherence": plain[:, 2], "contribution": terms @ (w * factor)}
