"""The contract of a mechanism: one file, one record, one line in ``MECHANISMS``."""

import enum
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ._trainable import Trainable


class Property(enum.Enum):
    """What a mechanism may claim of its weights, without mask; `violation` measures how far it is from true."""

    ROW_STOCHASTIC = "weights are at least 0 and every row sums to 1"
    BOUNDED = "outputs lie between the smallest and the largest value"
    SYMMETRIC = "weights are a symmetric kernel, divided by its row sums"
    PSD = "that kernel is positive semidefinite"
    SIGN_INVARIANT = "the sign of q does not matter"
    SCALE_INVARIANT = "the length of q does not matter"
    KEY_SHIFT_INVARIANT = "a vector added to all keys does not matter"
    PHASE_SHIFT_INVARIANT = "an angle added to all phases does not matter"
    PERMUTATION_EQUIVARIANT = "tokens may be reordered: outputs follow"
    EXACT_LINEAR_FORM = "the kernel is a dot product of polynomial features of degree at most 2"


class Holds(NamedTuple):
    """The property is a theorem; a test runs it on samples.

    ``measure(mechanism, sample)`` stands in for the common one where inputs are not q, k, v.
    """

    why: str
    measure: "Callable[..., float] | None" = None


class Fails(NamedTuple):
    """The property is false: ``violation(property, mechanism, witness())`` is at least ``by``."""

    why: str
    witness: "Callable[[], Sample]"
    by: float
    measure: "Callable[..., float] | None" = None


class DoesNotApply(NamedTuple):
    why: str


Claim = Holds | Fails | DoesNotApply


class Sample(NamedTuple):
    """Valid arguments: ``forward(*inputs, **options)``."""

    inputs: tuple
    options: dict[str, Any]


class Formula(NamedTuple):
    """A formula as text, and compiled scalars that compute it and its derivatives: tests hold the two together.

    Attributes
    ----------
    text : str
        What SymPy reads, "z**2 / (1 + z**2)".
    letters : tuple of str
        Arguments of the scalars, in order.
    value : callable
    slopes : mapping of str to (str, callable)
        The derivative by each letter that has one: by hand, and the scalar that computes it.
    """

    text: str
    letters: tuple[str, ...]
    value: Callable[..., float]
    slopes: Mapping[str, tuple[str, Callable[..., float]]]


class Score(NamedTuple):
    """How much a query gives a key before its row is divided by its sum: f(z), z the sum of a term over coordinates.

    Attributes
    ----------
    weight : Formula
        f, of the letter z.
    term : str
        One coordinate's share of z, "scale*q*k"; "0" if weights do not depend on the tokens.
    slopes : mapping of str to str
        The derivative of the term by each letter that has one, by hand.
    sides : tuple of (str, str)
        Letters of the query and of the key that are one number of a token, if a token attends itself.
    kernels : mapping of str to str
        Letters that are a positive semidefinite kernel of the two tokens, and why.
    constants : mapping of str to str
        Letters that all pairs share, and what they are; none is negative.
    parts : mapping of str to Formula
        Functions that the term calls.
    """

    weight: Formula
    term: str
    slopes: Mapping[str, str]
    sides: tuple[tuple[str, str], ...] = ()
    kernels: Mapping[str, str] = {}
    constants: Mapping[str, str] = {}
    parts: Mapping[str, Formula] = {}


class Mechanism(NamedTuple):
    """Everything that tests, benchmarks, models and studies need to know of a mechanism.

    Attributes
    ----------
    name : str
    inputs : tuple of str
        Positional array arguments.
    parameters : tuple of str
        Keyword arguments, arrays or numbers, that have gradients, too, when they are given.
    forward : callable
        The public function.
    vjp : callable
        ``vjp(*inputs, **options) -> (out, pullback)``; ``pullback(dout)`` gives a dict by input and parameter name.
    reference : callable
        The formula in plain NumPy, for real or complex arrays; the size of the weights in memory.
    sample : callable
        ``sample(rng, *, batch=(2,), heads=2, tokens=5, width=4, dtype=float) -> Sample``.
    of_vectors : callable
        ``of_vectors(x) -> Sample``: how tokens x (..., T, D), of entries about 1, attend themselves when nothing has
        been learned yet; what reports and studies of real data call.
    properties : mapping of Property to Claim
        One claim for every property.
    cite : str
    trainable : Trainable, optional
        How it becomes a layer: what is projected from tokens, what is learned, how it attends and decodes; None if it
        cannot.
    score : Score, optional
        What a pair weighs, as a formula; None if weights are parameters.
    """

    name: str
    inputs: tuple[str, ...]
    parameters: tuple[str, ...]
    forward: Callable[..., Any]
    vjp: Callable[..., Any]
    reference: Callable[..., Any]
    sample: Callable[..., Sample]
    of_vectors: Callable[[Any], Sample]
    properties: Mapping[Property, Claim]
    cite: str
    trainable: Trainable | None = None
    score: Score | None = None
