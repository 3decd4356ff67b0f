"""A mechanism as a layer of a network: what it projects from tokens, what it learns, and how it then attends.

A layer knows no mechanism by name. It tells the mechanism its ``Place``, gets a ``Plan``, projects what the plan wants
and calls ``attend``; decoding token by token it calls ``advance``.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from ._cache import Cache


class Projected(NamedTuple):
    """Numbers that a layer projects from every token.

    Attributes
    ----------
    columns : int
        Of one head.
    heads : int
    rotary : bool
        Whether the layer turns them by rotary positions.
    positive : bool
        Whether they go through log(1 + e^x).
    bias : tuple of float, optional
        Start of a learned number that is added to each column, the same for all heads.
    gain : float
        Standard deviation of a column at the start, for tokens of entries about 1.
    """

    columns: int
    heads: int
    rotary: bool = False
    positive: bool = False
    bias: tuple[float, ...] | None = None
    gain: float = 1.0


class Learned(NamedTuple):
    """An array that a layer learns beside its projections; ``start(rng, shape)`` draws it."""

    shape: tuple[int, ...]
    start: Callable[[np.random.Generator, tuple[int, ...]], Any]
    decay: bool = False
    manifold: str | None = None


class Place(NamedTuple):
    """Where a layer stands: the width of its tokens, its heads, the longest sequence, the base of rotary positions."""

    width: int
    heads: int
    context: int
    causal: bool = True
    rotary: float | None = 10000.0

    @property
    def columns(self) -> int:
        """Width of a head."""
        return self.width // self.heads


class Plan(NamedTuple):
    """What a layer is made of.

    Attributes
    ----------
    projected : dict of str to Projected
    learned : dict of str to Learned
    depth : int
        Columns of the output, of one head.
    options : dict
        Keyword arguments of the mechanism that are neither projected nor learned.
    carried : tuple of str
        Projected arrays of the layer before that this one reads.
    own : dict
        What ``attend`` and ``step`` of the mechanism need beside the options.
    recomputes : bool
        Whether ``step`` does not know these options, so that the past is kept and attended again.
    """

    projected: dict[str, Projected]
    learned: dict[str, Learned]
    depth: int
    options: dict[str, Any]
    carried: tuple[str, ...] = ()
    own: Mapping[str, Any] = {}
    recomputes: bool = False


class Trainable(NamedTuple):
    """How a mechanism becomes a layer.

    Arrays by name are (batch, heads, tokens, columns), C-contiguous, in one dtype, on one device; between angles
    (batch, tokens, columns), because angles are not projected but gone along.

    Attributes
    ----------
    plan : callable
        ``plan(place, **options) -> Plan``; the options are those of the layer.
    space : {"vectors", "angles"}
        What tokens are. A layer of angles takes angles and gives the angles after its step, under the name of the
        mechanism's first input.
    order : {"rotary", "own", "none"}
        How it knows the order of tokens: by rotary positions of its projections, by itself, or not at all.
    attend : callable, optional
        ``attend(vjp, plan, arrays, learned, before) -> (out, pullback)``, where ``before`` has the carried arrays of
        the layer before, none in the first; ``pullback(dout)`` gives gradients by name, those of ``before`` as
        "previous_<name>". By default arrays and learned go to the mechanism's vjp by name.
    step : callable, optional
        ``step(plan, arrays, learned, memory, before) -> out`` for the next tokens; ``memory`` is a dict, empty before
        the first. By default all arrays so far are kept and attended again.
    """

    plan: Callable[..., Plan]
    space: str = "vectors"
    order: str = "rotary"
    attend: Callable[..., tuple[Any, Callable[[Any], dict[str, Any]]]] | None = None
    step: Callable[..., Any] | None = None


def plan_of(mechanism: Any, place: Place, options: Mapping[str, Any]) -> Plan:
    """The plan of a layer, or an error that names the options there are."""
    if place.width < 1 or place.heads < 1 or place.width % place.heads or place.context < 1:
        raise ValueError(
            f"width is {place.width}, heads {place.heads}, context {place.context}: numbers of 1 or more are wanted, "
            "heads that divide the width"
        )
    known = [n for n in inspect.signature(mechanism.trainable.plan).parameters if n != "place"]
    for name in options:
        if name not in known:
            raise ValueError(
                f"a layer of {mechanism.name!r} has no option {name!r}: there {'is' if len(known) == 1 else 'are'} "
                f"{', '.join(map(repr, known)) or 'none'}"
            )
    return mechanism.trainable.plan(place, **options)


def attend(mechanism: Any, plan: Plan, arrays: dict[str, Any], learned: dict[str, Any], before: dict[str, Any]):
    """Output and pullback of a layer's attention."""
    if mechanism.trainable.attend is not None:
        return mechanism.trainable.attend(mechanism.vjp, plan, arrays, learned, before)
    return by_name(mechanism, plan, arrays, learned)


def by_name(mechanism: Any, plan: Plan, arrays: dict[str, Any], learned: dict[str, Any]):
    rest = {name: x for name, x in arrays.items() if name not in mechanism.inputs}
    return mechanism.vjp(*(arrays[name] for name in mechanism.inputs), **rest, **learned, **plan.options)


def advance(mechanism: Any, plan: Plan, arrays: dict[str, Any], learned, memory: dict[str, Any], before):
    """The output for the next tokens; ``memory`` remembers those before."""
    if mechanism.trainable.step is not None and not plan.recomputes:
        return mechanism.trainable.step(plan, arrays, learned, memory, before)

    def again(seen):
        return attend(mechanism, plan, {n: seen[n] for n in arrays}, learned, {n: seen["before", n] for n in before})[0]

    everything = arrays | {("before", n): x for n, x in before.items()}
    return recomputed(again, everything, memory, plan.options.get("window"))


def recomputed(attention: Callable, arrays: dict[Any, Any], memory: dict[Any, Any], window: int | None = None) -> Any:
    """The output of the next tokens by attention over all tokens so far, or over the last that a window can see."""
    new = next(iter(arrays.values())).shape[-2]
    first = None if window is None else -(window - 1 + new)
    past = memory.get("past")
    if past:
        arrays = {n: np.concatenate([past[n], x], axis=-2)[..., first:, :] for n, x in arrays.items()}
    memory["past"] = arrays = {n: np.array(x, order="C") for n, x in arrays.items()}
    return np.ascontiguousarray(attention(arrays)[..., -new:, :])


def cached(function: Callable, kind: type[Cache] = Cache) -> Callable:
    """A ``step`` from a mechanism's step function that takes q, k, v and a cache."""

    def step(plan, arrays, learned, memory, before):
        options = {n: x for n, x in plan.options.items() if n not in ("causal", "window")}
        past = memory.setdefault("past", kind(plan.options.get("window")))
        return function(arrays["q"], arrays["k"], arrays["v"], past, **options, **learned)

    return step


def summed(function: Callable, kind: type) -> Callable:
    """A ``step`` from one that takes q, k, v and sums over keys, or a cache if there is a window."""

    def step(plan, arrays, learned, memory, before):
        options = {n: x for n, x in plan.options.items() if n not in ("causal", "form", "window")}
        window = plan.options.get("window")
        past = memory.setdefault("past", kind() if window is None else Cache(window))
        return function(arrays["q"], arrays["k"], arrays["v"], past, **options)

    return step


def given(**options: Any) -> dict[str, Any]:
    """The options that are not None."""
    return {name: x for name, x in options.items() if x is not None}


def queries_keys_values(place: Place, *, rotary: bool = True, key_heads: int | None = None) -> dict[str, Projected]:
    """q, k and v of the width of a head; fewer heads of keys and values are shared by groups of queries."""
    shared = place.heads if key_heads is None else key_heads
    if shared < 1 or place.heads % shared:
        raise ValueError(f"key_heads is {key_heads} but there are {place.heads} heads: a divisor of them is wanted")
    turns = rotary and place.rotary is not None
    if turns and place.columns % 2:
        raise ValueError(
            f"a head has width {place.columns}: rotary positions turn pairs of columns, an even width is wanted; pass "
            "fewer heads, or positions='learned'"
        )
    return {
        "q": Projected(place.columns, place.heads, rotary=turns),
        "k": Projected(place.columns, shared, rotary=turns),
        "v": Projected(place.columns, shared),
    }


def constant(value: float) -> Callable:
    """A start: the same number everywhere."""
    return lambda rng, shape: np.full(shape, value)


def exactly(values: Any) -> Callable:
    """A start: these numbers, broadcast."""
    return lambda rng, shape: np.broadcast_to(values, shape)


def normal(deviation: float) -> Callable:
    """A start: Gaussian numbers."""
    return lambda rng, shape: deviation * rng.standard_normal(shape)
