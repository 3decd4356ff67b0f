"""What states do: alone (normalise, entropy, sparsify) and with one another (composition)."""

from __future__ import annotations

from typing import Self

import numpy as np

from ..encode.arrays import moduli, strongest, taken
from . import _compose, _energy, _scan
from ._batch import Batch


class Algebra(Batch):
    """The operations of `PrimeStates`. None of them compiles anything for a batch without entries."""

    __slots__ = ()

    def normalize(self) -> Self:
        """Scale each state to ``sum |a|^2 = 1``; a state without energy (empty, or all zeros) stays as it is.

        Returns
        -------
        PrimeStates
            Same primes, orientations and labels.

        Examples
        --------
        >>> import primeattn as pa
        >>> pa.PrimeStates.from_dicts([{2: 3, 3: 4j}, {}]).normalize().amplitude
        array([0.6+0.j , 0. +0.8j])
        """
        return self._with_amplitude(_energy.normalized(self.indptr, self.amplitude)) if self.nnz else self

    def entropy(self) -> np.ndarray:
        """Shannon entropy of each state, in bits.

        Returns
        -------
        ndarray of float, shape (n,)
            ``-sum p log2 p`` over the active primes, ``p = |a|^2 / sum |a|^2``: between 0 and log2 of the number of
            active primes. 0 for a state without energy.

        Examples
        --------
        >>> import primeattn as pa
        >>> pa.PrimeStates.from_dicts([{2: 1, 3: 1j, 5: -1, 7: 1}, {2: 5}, {}]).entropy()
        array([2., 0., 0.])
        """
        return _energy.entropy(self.indptr, self.amplitude) if self.nnz else np.zeros(len(self), self.dtype)

    def sparsify(self, *, k: int | None = None, energy: float | None = None) -> Self:
        """Drop the entries that matter least. Amplitudes of the others stay as they are.

        Parameters
        ----------
        k : int, optional
            Keep at most the ``k`` largest ``|a|`` of each state; of equal ones the smaller primes.
        energy : float, optional
            In (0, 1]: keep the fewest entries that hold this fraction of the state's ``sum |a|^2``.
            With both, the stricter decides. Zero amplitudes are never kept.

        Raises
        ------
        TypeError
            If neither is given.
        ValueError
            If ``k`` is below 1 or ``energy`` outside (0, 1].

        Examples
        --------
        >>> import primeattn as pa
        >>> s = pa.PrimeStates.from_dicts([{2: 1, 3: 2, 5: 3}])
        >>> s.sparsify(k=2).primes, s.sparsify(energy=0.6).primes
        (array([3, 5]), array([5]))
        """
        if k is None and energy is None:
            raise TypeError("sparsify needs to know how far: pass k=16, or energy=0.95, or both")
        keep = strongest(self.indptr, moduli(self.indptr, self.amplitude), k=k, energy=energy)
        return self._adopt(
            (taken(self.indptr, keep), self.primes[keep], self.amplitude[keep], self.orientation[keep]), self.labels
        )

    # States with states

    def compose(self, other: Self, *, mode: str = "identity") -> Self:
        """Hamilton composition ``self o other``, row by row; not commutative.

        Parameters
        ----------
        other : PrimeStates
            As many states, or one; so may self be.
        mode : {"identity", "original"}
            What a prime means that only one of the two states has. "identity": the absent factor is the identity,
            so the prime keeps its value; the result is not normalised, because that would break associativity.
            "original": it is multiplied by zero, and the result is normalised, as the source does.

        Returns
        -------
        PrimeStates
            On the union of the primes. On shared primes amplitudes and quaternions are multiplied from left to
            right. Labels are those of self (of other, if self is the one that is repeated).

        Raises
        ------
        TypeError
            If ``other`` is no PrimeStates.
        ValueError
            If the lengths do not match, the mode is unknown, or a product of amplitudes overflows.

        Notes
        -----
        With mode "identity", ``(a o b) o c == a o (b o c)`` up to rounding, and the empty state is the identity on
        both sides, exactly: states are a direct sum over primes of the monoid C x S^3, the empty state its neutral
        element. Proofs: docs/theory/prime_states.md. Products of many states underflow; `cumcompose` does not.

        References
        ----------
        S. Schepis, tinyaleph (JavaScript), the resonant-attention document: Hamilton composition.

        Examples
        --------
        >>> import primeattn as pa
        >>> a = pa.PrimeStates.from_dicts([{2: (2, (0, 1, 0, 0)), 3: 1}])  # i on prime 2
        >>> b = pa.PrimeStates.from_dicts([{2: (3, (0, 0, 1, 0))}])  # j on prime 2
        >>> a.compose(b).to_dicts()  # i j = k
        [{2: ((6+0j), (0.0, 0.0, 0.0, 1.0)), 3: ((1+0j), (1.0, 0.0, 0.0, 0.0))}]
        """
        if mode not in ("identity", "original"):
            raise ValueError(f"mode is {mode!r}: pass 'identity' or 'original'")
        left, right = self._same_precision(other)
        arrays = _compose.compose(left, right, mode == "original")
        if not np.isfinite(arrays[2]).all():
            raise ValueError(
                f"a product of two amplitudes overflows {left.dtype}: compose normalized states, a.normalize()"
                + (", or a.astype('float64')" if left.dtype == np.float32 else "")
            )
        out = self._adopt(arrays, self.labels if len(arrays[0]) == len(self.indptr) else other.labels)
        return out.normalize() if mode == "original" else out

    def noncommutativity(self, other: Self) -> np.ndarray:
        """How much the order of composition matters: the mean of ``|q r - r q|`` over shared primes.

        Parameters
        ----------
        other : PrimeStates
            As many states, or one; so may self be.

        Returns
        -------
        ndarray of float, shape (n,)
            Between 0 and 2; 0 where no prime is shared. 2 if all shared pairs are orthogonal pure quaternions.

        Notes
        -----
        ``q r - r q = (0, 2 q_v x r_v)``: twice the lengths of both axes and the sine of the angle between them. The
        source says that orthogonal quaternions give 2, but 1 and i are orthogonal and commute.

        Examples
        --------
        >>> import primeattn as pa
        >>> s = pa.PrimeStates.from_dicts([{2: (1, (0, 1, 0, 0))}, {2: (1, (0, 0, 1, 0))}, {2: 1}])  # i, j, 1
        >>> s[:1].noncommutativity(s)
        array([0., 2., 0.])
        """
        return _compose.noncommutativity(*self._same_precision(other))

    def cumcompose(self, *, mode: str = "rotor", max_bytes: int = 2**32) -> Self:
        """Prefix compositions of the batch read as a sequence: order without positional encodings.

        Parameters
        ----------
        mode : {"rotor", "own", "full"}
            "rotor": each token's orientations are turned from the left by R_t = r_1 r_2 ... r_t, where r_t is the
            product of token t's quaternions in order of increasing prime (1 for an empty token). Primes and
            amplitudes stay. O(nnz).
            "own": on each prime of token t, the product over the tokens up to t that have it. Primes stay. O(nnz).
            "full": A_1 o A_2 o ... o A_t. Primes grow to the union; for short sequences.
        max_bytes : int
            "full" refuses to build a larger result.

        Returns
        -------
        PrimeStates
            In "own" and "full" each state is normalised, once, at the end.

        Raises
        ------
        ValueError
            If the mode is unknown.
        MemoryError
            If the result of "full" would take more than ``max_bytes``; the message says how much.

        Notes
        -----
        All three are scans of an associative product. "own" is "full" read on the token's own primes. In "rotor",
        R_i^-1 R_j = (r_{j+1} ... r_i)^-1 for j < i: how two tokens align depends on the tokens between them,
        whatever came before. Magnitudes are carried with a binary exponent of their own, so that long products
        neither underflow nor lose digits. Proofs: docs/theory/prime_states.md.

        Examples
        --------
        >>> import primeattn as pa
        >>> i, j = (1, (0, 1, 0, 0)), (1, (0, 0, 1, 0))
        >>> s = pa.PrimeStates.from_dicts([{2: i}, {3: j}, {2: j}])
        >>> s.cumcompose(mode="own")[2].orientation[0]  # i j = k; token 1 does not have prime 2
        array([0., 0., 0., 1.])
        >>> s.cumcompose(mode="rotor")[2].orientation[0]  # (i j j) j = -k
        array([ 0.,  0.,  0., -1.])
        >>> s.cumcompose(mode="full").n_active
        array([1, 2, 2])
        """
        if mode not in ("rotor", "own", "full"):
            raise ValueError(f"mode is {mode!r}: pass 'rotor', 'own' or 'full'")
        if not self.nnz:
            return self
        if mode == "full":
            return self._adopt(_scan.full(self, max_bytes), self.labels)
        return self._adopt({"rotor": _scan.rotor, "own": _scan.own}[mode](self), self.labels)

    def _with_amplitude(self, amplitude: np.ndarray) -> Self:
        return self._adopt((self.indptr, self.primes, amplitude, self.orientation), self.labels)

    def _same_precision(self, other: Self) -> tuple[Self, Self]:
        other = wanted(other, "other", type(self))
        if self.dtype == other.dtype:
            return self, other
        return self.astype("float64"), other.astype("float64")


def wanted(states, name: str, kind: type):
    """``states``, if they are of this kind."""
    if not isinstance(states, kind):
        raise TypeError(
            f"{name} is a {type(states).__name__}: {kind.__name__} are wanted; build them with PrimeStates.from_dicts, "
            f".from_arrays, .from_dense, .from_integers or .from_text"
        )
    return states
