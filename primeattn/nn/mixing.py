r"""Attention as a layer: heads of projected tokens, mixed by a mechanism, and projected back.

    u = x W + b,    o = mechanism(heads of u, what it learns),    y = o V

    dL/do = dL/dy V',    dL/dV = o' dL/dy,    dL/du by the mechanism's pullback,    dL/dW = x' dL/du,
    dL/db = sum over tokens of dL/du,    dL/dx = dL/du W'

What is projected and learned the mechanism says itself (``trainable`` of its record). Rotary positions turn columns of
u, and so turn their gradients back.
"""

import math
from typing import Any

import numpy as np

from .._runtime import devices, linalg
from .._runtime.elementary.maps import SOFTPLUS, SOFTPLUS_PULL
from ..attention import MECHANISMS, Mechanism
from ..attention._trainable import Place, Plan, Trainable, advance, attend, plan_of
from .elementwise import ADD
from .heads import Columns
from .layer import Layer, flat, rows
from .parameters import Parameter, exactly, normal


def mechanism_of(name: str, space: str | None = None) -> tuple[Mechanism, Trainable]:
    """The mechanism of that name, and how it becomes a layer; of vectors or angles, if ``space`` says."""
    if name not in MECHANISMS:
        raise ValueError(f"mechanism is {name!r}: one of {', '.join(map(repr, MECHANISMS))} is wanted")
    trainable = MECHANISMS[name].trainable
    if trainable is None:
        raise ValueError(f"mechanism is {name!r}, which is no layer: its record has no trainable")
    if space is not None and trainable.space != space:
        raise ValueError(f"mechanism is {name!r}, whose tokens are {trainable.space}: one of {space} is wanted")
    return MECHANISMS[name], trainable


def positions_of(mechanism: str, positions: str | None = None) -> str:
    """How a model tells a mechanism where tokens stand: "rotary", "learned" or "none"; by default as it needs."""
    order = mechanism_of(mechanism)[1].order
    if positions is None:
        return {"rotary": "rotary", "own": "none", "none": "learned"}[order]
    if positions not in ("rotary", "learned", "none") or (positions == "rotary" and order != "rotary"):
        known = ("'rotary', " if order == "rotary" else "") + "'learned' or 'none'"
        raise ValueError(f"positions is {positions!r}: {mechanism} takes {known}")
    return positions


class Fields:
    """The arrays that a plan projects from tokens, side by side in one product; those with a bias are the last.

    Parameters
    ----------
    plan : Plan
    width : int
        Numbers of a token.
    rotary : float, optional
        Base of rotary positions.
    fan : int, optional
        Squared length of a token at the start, ``width`` by default.
    """

    def __init__(self, plan: Plan, width: int, rotary: float | None, fan: int | None = None):
        self.projected = dict(sorted(plan.projected.items(), key=lambda item: item[1].bias is not None))
        self.width, self.fan = width, width if fan is None else fan
        self.columns = Columns({n: (f.heads, f.columns, f.rotary) for n, f in self.projected.items()}, rotary)
        self.positive = [name for name, field in self.projected.items() if field.positive]

    def parameters(self) -> dict[str, Parameter]:
        if not self.columns.count:
            return {}
        declared = {"project": Parameter((self.width, self.columns.count), self._start, decay=True)}
        bias = [np.tile(f.bias, f.heads) for f in self.projected.values() if f.bias is not None]
        if bias:
            start = np.concatenate(bias)
            declared["bias"] = Parameter(start.shape, exactly(start))
        return declared

    def _start(self, rng, shape):
        gains = np.concatenate([np.full(f.heads * f.columns, f.gain) for f in self.projected.values()])
        return rng.standard_normal(shape) * (gains / math.sqrt(self.fan))

    def forward(self, p, x, tape, first: int = 0) -> dict[str, Any]:
        """The arrays by name, of tokens that stand at ``first`` and after."""
        if not self.columns.count:
            return {}
        u = tape.empty(*x.shape[:-1], self.columns.count)
        linalg.multiply(rows(x), p["project"], rows(u))
        arrays = self.columns.split(u, tape, p.get("bias"), first)
        tape.drop(u)
        before = {name: arrays[name] for name in self.positive}
        for name, y in before.items():
            arrays[name] = tape.empty(*y.shape)
            SOFTPLUS(y.size, flat(y), flat(arrays[name]))
        tape.save(x, before)
        return arrays

    def backward(self, p, gradients, tape, g):
        """dx, from the gradients of the arrays by name."""
        x, before = tape.load()
        for name, u in before.items():
            upstream, gradients[name] = gradients[name], tape.empty(*u.shape)
            SOFTPLUS_PULL(u.size, flat(u), flat(upstream), flat(gradients[name]))
        du = tape.empty(*x.shape[:-1], self.columns.count)
        self.columns.merge(gradients, du)
        if "bias" in g:
            self.columns.pull_bias(du, g["bias"])
        dx = tape.empty(*x.shape)
        linalg.multiply(rows(x), rows(du), g["project"], turn_a=True, add=True)
        linalg.multiply(rows(du), p["project"], rows(dx), turn_b=True)
        tape.drop(du)
        return dx


def add_learned(plan: Plan, gradients, g) -> None:
    """Adds the gradients of what a mechanism learns."""
    for name in plan.learned:
        d = gradients[name]
        if d.dtype != g[name].dtype:
            d = d.astype(g[name].dtype)
        ADD(d.size, flat(d), flat(g[name]))


def own_copy(x):
    """A copy that does not lie in the memory of a tape."""
    return devices.to_device(devices.to_host(x)) if devices.is_device_array(x) else x.copy()


class Mixing(Layer):
    """Attention of the tokens of a sequence, by any mechanism of vectors.

    Parameters
    ----------
    mechanism : str
        A key of ``MECHANISMS``.
    width : int
        Numbers of a token.
    heads : int
    context : int
        The longest sequence.
    causal : bool
    rotary : float, optional
        Base of rotary positions; None for none.
    gain : float
        Factor of the first deviation of V, 1 / sqrt(columns of o).
    **options
        Of the mechanism's layer; see ``trainable`` of its record.
    """

    def __init__(
        self,
        mechanism: str,
        width: int,
        heads: int,
        *,
        context: int = 256,
        causal: bool = True,
        rotary: float | None = 10000.0,
        gain: float = 1.0,
        **options: Any,
    ):
        if rotary is not None and not (isinstance(rotary, int | float | np.number) and 0 < rotary < math.inf):
            raise ValueError(f"rotary is {rotary!r}: a base above 0 is wanted, or None for no rotary positions")
        self.mechanism, self.width, self.heads, self.gain = mechanism_of(mechanism, "vectors")[0], width, heads, gain
        self.plan = plan_of(self.mechanism, Place(width, heads, context, causal, rotary), options)
        self.fields = Fields(self.plan, width, rotary)
        self.joined = Columns({"o": (heads, self.plan.depth, False)})

    def parameters(self):
        columns = self.heads * self.plan.depth
        return {
            **self.fields.parameters(),
            **{name: Parameter(*x) for name, x in self.plan.learned.items()},
            "out": Parameter((columns, self.width), normal(self.gain / math.sqrt(columns)), decay=True),
        }

    def _learned(self, p):
        return {name: p[name] for name in self.plan.learned}

    def _before(self, tape, arrays) -> dict[str, Any]:
        """What the layer before left for this one, which leaves its own."""
        if not self.plan.carried:
            return {}
        before = tape.shared.get("carried", {})
        tape.shared["carried"] = {name: own_copy(arrays[name]) for name in self.plan.carried}
        return before

    def _projected_back(self, p, mixed, tape):
        b, _, tokens, _ = mixed.shape
        o, y = tape.empty(b, tokens, self.heads * self.plan.depth), tape.empty(b, tokens, self.width)
        self.joined.merge({"o": mixed}, o)
        linalg.multiply(rows(o), p["out"], rows(y))
        return o, y

    def forward(self, p, x, tape):
        arrays = self.fields.forward(p, x, tape)
        before = self._before(tape, arrays)
        mixed, pullback = attend(self.mechanism, self.plan, arrays, self._learned(p), before)
        o, y = self._projected_back(p, mixed, tape)
        tape.save(o, pullback)
        return y

    def backward(self, p, dy, tape, g):
        o, pullback = tape.load()
        do = tape.empty(*o.shape)
        linalg.multiply(rows(dy), p["out"], rows(do), turn_b=True)
        linalg.multiply(rows(o), rows(dy), g["out"], turn_a=True, add=True)
        by_head = self.joined.split(do, tape)["o"]
        tape.drop(do)
        gradients = pullback(by_head)
        tape.drop(by_head)
        add_learned(self.plan, gradients, g)
        self._pass_back(gradients, tape)
        return self.fields.backward(p, gradients, tape, g)

    def _pass_back(self, gradients, tape) -> None:
        """Gradients from the layer after this one, by what was carried to it; and those for the layer before."""
        if not self.plan.carried:
            return
        for name, d in tape.shared.pop("carried gradient", {}).items():
            ADD(d.size, flat(d), flat(gradients[name]))
        passed = {n: gradients.pop(f"previous_{n}") for n in self.plan.carried if f"previous_{n}" in gradients}
        if passed:
            tape.shared["carried gradient"] = passed

    def memory(self):
        return {"position": 0, "past": {}}

    def step(self, p, x, memory, tape):
        arrays = self.fields.forward(p, x, tape, memory["position"])
        before = self._before(tape, arrays)
        mixed = advance(self.mechanism, self.plan, arrays, self._learned(p), memory["past"], before)
        memory["position"] += x.shape[1]
        return self._projected_back(p, mixed, tape)[1]
