"""The views that a report compares: each turns the material into a matrix of scores, and says what it claims.

A new mechanism is one more entry of ``VIEWS``; every section of the report iterates over the table and
names no entry of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .material import Material


Spans = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Shared:
    """Something two passages have in common, and what it adds to their score.

    Attributes
    ----------
    label : str
        The word, or the fragment of words, as people read it: "cat", "…ing".
    contribution : float
    spans : (Spans, Spans)
        Where it stands in either passage: (start, stop) in characters.
    words : tuple of str
        Words of the passages that hold a fragment; empty for a whole word.
    prime : int, optional
        None for views without primes.
    """

    label: str
    contribution: float
    spans: tuple[Spans, Spans] = ((), ())
    words: tuple[str, ...] = ()
    prime: int | None = None


@dataclass(frozen=True)
class Claim:
    """Whether a view is positive semi-definite on every input, by which theorem, and why in one sentence."""

    holds: bool
    theorem: str
    because: str


@dataclass(frozen=True)
class View:
    """One way to score pairs of passages.

    Attributes
    ----------
    name : str
        Key of the table, as on the command line.
    title, short : str
        Within a sentence, and for axes and table heads.
    says : str
        One sentence for a newcomer: what a high score means.
    matrix : callable(material) -> ndarray, shape (n, n)
        Symmetric scores, 0 for nothing in common.
    claim : Claim
        On positive semi-definiteness.
    nbytes, operations : callable(material) -> int
        Size of the representation; multiplications and additions for all pairs.
    components : callable(material) -> dict of ndarray, shape (n, n), optional
        Weighted parts that add up to the score.
    shared : callable(material, i, j) -> list of Shared, optional
        What stands behind one score, largest contribution first.
    of_states : bool
        The view reads prime states, so that thinning them changes it.
    baseline : bool
        The familiar view that others are held against.
    cite : str
    """

    name: str
    title: str
    short: str
    says: str
    matrix: Callable[[Material], np.ndarray]
    claim: Claim
    nbytes: Callable[[Material], int]
    operations: Callable[[Material], int]
    components: Callable[[Material], dict[str, np.ndarray]] | None = None
    shared: Callable[[Material, int, int], list[Shared]] | None = None
    of_states: bool = False
    baseline: bool = False
    cite: str = ""

    @property
    def heading(self) -> str:
        """The title with a capital."""
        return self.title[:1].upper() + self.title[1:]


PARTS = ("overlap", "alignment", "coherence")


def _resonance(*, options: dict, **described) -> View:
    """A view of the resonance family; ``options`` go to every function of ``primeattn.resonance``."""
    weights = options["weights"]

    def matrix(material: Material) -> np.ndarray:
        from .. import resonance

        return resonance.matrix(material.states, **options)

    def components(material: Material) -> dict[str, np.ndarray]:
        from .. import resonance

        # The score is linear in its weights: all weight on one component gives that component.
        return {
            part: weight * resonance.matrix(material.states, **options | {"weights": only})
            for part, weight, only in zip(PARTS, weights, np.eye(3), strict=True)
        }

    def shared(material: Material, i: int, j: int) -> list[Shared]:
        from .. import resonance

        found = resonance.explain(material.states, i, j=j, **options)
        primes, contributions = found["prime"], found["contribution"]
        order = np.argsort(-contributions, kind="stable")
        return [material.shared_prime(i, j, int(primes[k]), float(contributions[k])) for k in order]

    def operations(material: Material) -> int:
        # 4 + 2 multiply-adds for q.q' and the cosine, 4 more for weights and sum: 20 a shared prime
        return 20 * material.shared_entries

    return View(
        matrix=matrix,
        components=components,
        shared=shared,
        operations=operations,
        nbytes=lambda material: int(material.states.nbytes),
        of_states=True,
        **described,
    )


def _tfidf_matrix(material: Material) -> np.ndarray:
    return np.asarray((material.tfidf @ material.tfidf.T).todense(), dtype=float)


def _tfidf_shared(material: Material, i: int, j: int) -> list[Shared]:
    product = material.tfidf[[i]].multiply(material.tfidf[[j]]).tocoo()
    column, value = product.coords[-1], product.data
    order = np.argsort(-value, kind="stable")
    where = material.word_spans(i), material.word_spans(j)
    found = []
    for k in order:
        term = material.terms[column[k]]
        found.append(Shared(term, float(value[k]), (where[0].get(term, ()), where[1].get(term, ()))))
    return found


def _tfidf_operations(material: Material) -> int:
    count = np.bincount(material.tfidf.indices, minlength=1).astype(np.int64)
    return int((count * (count + 1)).sum())  # one multiply-add = 2, over half of all ordered pairs


def _tfidf_nbytes(material: Material) -> int:
    m = material.tfidf
    return int(m.data.nbytes + m.indices.nbytes + m.indptr.nbytes)


_THIRD = (1 / 3, 1 / 3, 1 / 3)
_TABLE = (
    _resonance(
        name="resonance:kernel",
        title="resonance kernel",
        short="kernel",
        says="A pair scores high when its passages share many primes and each shared word stands at a like place.",
        options={"kind": "kernel", "normalizer": "union", "weights": _THIRD},
        claim=Claim(
            True,
            "Jaccard kernel, Schur product",
            "1/|A ∪ B| is a power series in |Aᶜ ∩ Bᶜ| with non-negative coefficients, alignment squared and "
            "1 + cos(φ − φ′) are Gram matrices, and the entrywise product and sum of such matrices stay positive.",
        ),
        cite="Resonance with squared alignment and one denominator, |A ∪ B|; the overlap term is Jaccard's index.",
    ),
    _resonance(
        name="resonance:sqrt",
        title="resonance kernel, √ normaliser",
        short="kernel √",
        says="The same sum divided by the geometric mean of the two sizes; it has a finite feature map.",
        options={"kind": "kernel", "normalizer": "sqrt", "weights": _THIRD},
        claim=Claim(
            True,
            "explicit feature map",
            "the matrix is F Fᵀ with 13 numbers per active prime, so cᵀ K c = ‖Fᵀc‖² is never negative.",
        ),
        cite="Resonance with squared alignment and denominator √(k k′).",
    ),
    _resonance(
        name="resonance:original",
        title="original resonance score",
        short="original",
        says="The published score: averages over the shared primes, so one shared prime already counts in full.",
        options={"kind": "original", "weights": (0.33, 0.33, 0.34)},
        claim=Claim(
            False,
            "counter-example on three states",
            "{2}, {2, 3} and {3}, all in phase, give the eigenvalue 1 − 0.835·√2 = −0.181: an average over the "
            "intersection rewards the middle state twice.",
        ),
        cite="S. Schepis, tinyaleph: resonant attention (its Theorem 6.1 claims positive semi-definiteness).",
    ),
    View(
        name="tfidf",
        title="TF-IDF cosine",
        short="TF-IDF",
        says="The familiar measure: words in common, the rarer the heavier, whatever their place.",
        matrix=_tfidf_matrix,
        claim=Claim(True, "Gram matrix", "a cosine of vectors is the matrix X Xᵀ, and cᵀ X Xᵀ c = ‖Xᵀc‖²."),
        nbytes=_tfidf_nbytes,
        operations=_tfidf_operations,
        shared=_tfidf_shared,
        baseline=True,
        cite="G. Salton, C. Buckley: Term-weighting approaches in automatic text retrieval (1988).",
    ),
)
VIEWS: dict[str, View] = {view.name: view for view in _TABLE}
