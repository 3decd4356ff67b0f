"""What a mechanism does with given tokens: weights, how wide it looks, whether it looks at content, claims, time.

Weights, gauges of content and violations come from the mechanism's reference in plain NumPy, which compiles nothing;
the compiled code is what is timed, and its output is compared with the reference.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from .ranking import ordinal
from .timing import milliseconds
from .words import Words

COMMON = 0.1  # share of the sentences
SAME = 1e-9  # weights closer than that, as multiples of an even share, are one


class Cost(NamedTuple):
    """Median milliseconds at so many tokens; ``error``: largest difference of the output from plain NumPy."""

    tokens: int
    forward: float
    both: float
    reference: float
    error: float


class Look(NamedTuple):
    """What a mechanism does with T words.

    Attributes
    ----------
    weights : ndarray of float64, shape (T, T)
    effective : ndarray, shape (T,)
        Words that a row attends to, exp of the entropy of its normalised absolute weights: 1 to T, nan if all are 0.
    blind : bool
        The same weights whatever the words.
    first : ndarray of int, shape (T,)
        The largest absolute weight of each row on another word; on its own one if there is no other.
    """

    weights: np.ndarray
    effective: np.ndarray
    blind: bool
    first: np.ndarray

    @property
    def multiples(self) -> np.ndarray:
        """Weights as multiples of an even share, 1 / T; rounding does not tell equal ones apart."""
        return np.round(len(self.weights) * self.weights, 9)


def title_of(name: str) -> str:
    """A mechanism's name as people write it."""
    return name.replace("_", " ")


def says(mechanism) -> str:
    """The first sentence of its documentation."""
    text = inspect.getdoc(mechanism.forward) or ""
    return " ".join(text.partition("\n\n")[0].split())


def weights_of(mechanism, x: np.ndarray) -> np.ndarray:
    """Weights with which tokens x (T, D) attend themselves, by the reference; the mean of heads, if there are some."""
    sample = mechanism.of_vectors(x)
    weights = np.asarray(mechanism.reference(*sample.inputs, **sample.options, return_weights=True)[1], dtype=float)
    return weights.reshape(-1, *weights.shape[-2:]).mean(axis=0)


def effective(weights: np.ndarray) -> np.ndarray:
    """Effective number of keys of each row, from absolute weights; nan for a row of zeros."""
    share = np.abs(weights)
    total = share.sum(axis=1, keepdims=True)
    share = share / np.where(total == 0, 1, total)
    entropy = -(share * np.log(np.where(share > 0, share, 1))).sum(axis=1)
    return np.where(total[:, 0] > 0, np.exp(entropy), np.nan)


def look(mechanism, words: Words) -> Look:
    """Weights of the words, and what can be said of each row."""
    weights = weights_of(mechanism, words.vectors)
    other = weights_of(mechanism, np.random.default_rng(0).standard_normal(words.vectors.shape))
    blind = bool(np.abs(weights - other).max(initial=0) * len(weights) <= SAME)
    aside = np.round(np.abs(weights) * len(weights), 9)
    forms = np.array(words.forms)
    aside[forms[:, None] == forms] -= 2 * aside.max(initial=0) + 1
    np.fill_diagonal(aside, -np.inf)
    return Look(weights, effective(weights), blind, aside.argmax(axis=1))


class Answer(NamedTuple):
    """What a row attends most apart from itself and its repetitions: the word, its share of the row, and why it."""

    word: str
    share: float
    reason: str


def answer(found: Look, words: Words, i: int) -> Answer:
    """Describe row i in a few words, from weights and vectors alone; no word and no share if all others are alike."""
    j, row = int(found.first[i]), found.multiples[i]
    others = [k for k in range(len(row)) if words.forms[k] != words.forms[i]]
    if not others or np.ptp(row[others]) <= SAME:
        return Answer("", 0.0, "all others alike")
    return Answer(words.surfaces[j], float(row[j] / np.abs(row).sum()), _special(found, words, i, j, others))


def _special(found: Look, words: Words, i: int, j: int, others: list[int]) -> str:
    """What is special about word j for word i."""
    apart = abs(i - j)
    where = f"{apart} {'word' if apart == 1 else 'words'} {'before' if j < i else 'after'}"
    if found.blind:
        return f"{where}; it sees places, not words"
    cosines = words.cosines[i]
    text = f"cosine {cosines[j]:.2f}".replace("-", "−")
    if found.multiples[i, j] < 0:
        text += ", with a minus sign"
    place = 1 + len({words.forms[k] for k in others if cosines[k] > cosines[j] + SAME})
    if place == 1:
        return f"the nearest other word: {text}"
    if cosines[j] < 0 and abs(cosines[j]) >= np.abs(cosines[others]).max() - SAME:
        return f"the most opposite word: {text}"
    drawn = int((found.first == j).sum())
    if drawn >= len(words.forms) / 2:
        return f"it draws {drawn} of {len(words.forms)} words; {text}"
    return f"the {ordinal(place)} nearest: {text}; {where}"


def claims(mechanism) -> dict[str, dict[str, Any]]:
    """Every property: what it says, holds, fails or does not apply, why, and by how much a witness violates it."""
    from ..attention import Fails, Holds, violation

    plain = mechanism._replace(forward=mechanism.reference)
    found = {}
    for which, claim in mechanism.properties.items():
        state = "holds" if isinstance(claim, Holds) else "fails" if isinstance(claim, Fails) else "does not apply"
        fact: dict[str, Any] = {"says": which.value, "state": state, "why": claim.why}
        if isinstance(claim, Fails):
            fact["violation"] = float(violation(which, plain, claim.witness()))
        found[which.name] = fact
    return found


def cost(mechanism, x: np.ndarray) -> Cost:
    """Time of a forward pass, of forward and backward, and of the reference; compilation is not in it."""
    sample = mechanism.of_vectors(x)

    def forward():
        return mechanism.forward(*sample.inputs, **sample.options)

    def both():
        out, pullback = mechanism.vjp(*sample.inputs, **sample.options)
        return pullback(out)

    def reference():
        return mechanism.reference(*sample.inputs, **sample.options)

    error = float(np.abs(forward() - reference()).max(initial=0))
    return Cost(len(x), milliseconds(forward), milliseconds(both), milliseconds(reference), error)


def telling(looks: Mapping[str, Look], words: Words, count: int) -> list[int]:
    """Rows that say most: first where the first choices stand out most, then where they differ most.

    Each word once; words of every tenth sentence or more ("the", "is") come last.
    """
    forms = np.array(words.forms)
    other = forms[:, None] != forms
    stack = np.stack([np.abs(found.weights) * other for found in looks.values()])
    total = stack.sum(axis=2)
    clear = (stack.max(axis=2) / np.where(total == 0, 1, total)).mean(axis=0)
    chosen = np.stack([found.first for found in looks.values()])
    various = np.array([len(set(forms[column])) for column in chosen.T])
    common = words.together.diagonal() > COMMON * words.sentences
    rows = range(len(forms))
    first = min(rows, key=lambda i: (common[i], -clear[i], i))
    found = [first]
    for i in sorted(rows, key=lambda i: (common[i], -various[i], -clear[i], i)):
        if len(found) < count and forms[i] not in forms[found]:
            found.append(i)
    return found
