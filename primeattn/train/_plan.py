"""What `fit` was asked for, and what that says about a step."""

import operator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import nn
from .._runtime.arguments import below_one, from_zero
from .._runtime.checks import as_generator

SCHEDULES = "cosine", "constant"
OPTIMIZERS = "adamw", "sgd"


@dataclass(frozen=True)
class Plan:
    """The arguments of `fit`, checked."""

    steps: int
    batch: int
    optimizer: Any
    rate: float
    schedule: Any
    warmup: int
    floor: float
    clip: float | None
    accumulate: int
    evaluate_every: int
    log_every: int
    patience: int | None
    until: Any
    seed: int
    options: dict[str, Any]

    def rate_at(self, step: int) -> float:
        if callable(self.schedule):
            return from_zero(f"schedule({step})", self.schedule(step))
        schedule = {"cosine": nn.cosine, "constant": nn.constant}[self.schedule]
        return schedule(step, self.steps, self.warmup, self.rate, self.floor * self.rate)

    def optimizer_of(self, parameters: Any) -> Any:
        if callable(self.optimizer):
            return self.optimizer(parameters, **self.options)
        make = nn.AdamW if self.optimizer == "adamw" else nn.SGD
        return make(parameters, rate=self.rate, **self.options)

    @property
    def identity(self) -> dict[str, Any]:
        """What decides about the parameters of a step."""
        own: dict[str, Any] = {}
        if self.schedule != "constant":  # a level run may become longer
            own |= {"steps": self.steps, "floor": self.floor}  # first, because messages name the first difference
        names = "batch", "rate", "warmup", "clip", "accumulate", "seed", "patience"
        own |= {name: getattr(self, name) for name in names}
        own["optimizer"] = getattr(self.optimizer, "__name__", self.optimizer)
        own["schedule"] = getattr(self.schedule, "__name__", self.schedule)
        own["options"] = {name: _plain(value) for name, value in self.options.items()}
        if self.patience is not None:
            own["evaluate_every"] = self.evaluate_every
        return own


def known(name: str, value: Any, names: tuple[str, ...]) -> Any:
    if callable(value) or value in names:
        return value
    raise ValueError(f"{name} is {value!r}: one of {', '.join(names)}, or a function, is wanted")


def fitting(optimizer: Any, options: dict[str, Any]) -> dict[str, Any]:
    """Options of an optimiser that has a name, checked; those of another are its own matter."""
    if callable(optimizer):
        return options
    own = ("betas", "eps", "decay", "turn") if optimizer == "adamw" else ("momentum", "decay")
    for name, value in options.items():
        if name not in own:
            raise TypeError(f"fit has no option {name!r}, and {optimizer} has none but {', '.join(own)}")
        if name in ("eps", "decay", "turn"):
            from_zero(name, value)
        elif name == "momentum":
            below_one(name, value)
        elif not isinstance(value, tuple | list) or len(value) != 2:
            raise ValueError(f"betas is {value!r}: two numbers from 0 to below 1 are wanted")
        else:
            for k in range(2):
                below_one(f"betas[{k}]", value[k])
    return options


def seed_of(rng: Any) -> int:
    if rng is None or isinstance(rng, np.random.Generator):
        return int(as_generator(rng).integers(2**63))
    try:
        seed = operator.index(rng)
    except TypeError:
        seed = -1
    if seed < 0:
        raise ValueError(f"rng is {rng!r}: a seed from 0 on, or a Generator, is wanted")
    return seed


def _plain(value: Any) -> Any:
    return list(map(_plain, value)) if isinstance(value, tuple | list) else value if _is_json(value) else repr(value)


def _is_json(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float | bool)
