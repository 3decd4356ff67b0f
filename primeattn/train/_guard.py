"""What stops a run: numbers that are not finite, and Ctrl-C between two steps."""

import contextlib
import signal
import threading
from typing import Any

import numpy as np

from .._runtime.devices import to_host


class NotFinite(FloatingPointError):
    """Loss or gradient of a step is not a finite number, and nothing was updated with it; or a parameter, at the end.

    Attributes
    ----------
    step : int
        The step that could not be taken, from 0 on.
    where : str
        The parameter or layer in which the first of them was found.
    checkpoint : str
        Where this run kept, or found, its last good state; empty if it did neither.
    """

    def __init__(self, step: int, where: str, checkpoint: str):
        self.step, self.where, self.checkpoint = step, where, checkpoint
        last = f"the last good state is in {checkpoint}" if checkpoint else "there is no checkpoint of this run"
        super().__init__(
            f"step {step}: not finite, first in {where}; {last}; a smaller rate, clipping or a longer warm-up may help"
        )

    def __reduce__(self):  # from a process of a pool
        return type(self), (self.step, self.where, self.checkpoint)


def first_not_finite(model: Any, inputs: np.ndarray, loss: float, gradient: Any) -> str:
    """Where it began: a parameter, else the first layer whose output is not finite, else a gradient, else the loss."""
    parameters = model.parameters
    values = to_host(parameters.values)
    named = first_not_finite_parameter(parameters, values)
    if named:
        return f"parameter {named}"
    look = getattr(model, "first_not_finite", None)
    layer = look(inputs) if look is not None else None
    if layer:
        return f"the output of layer {layer}"
    if not np.isfinite(loss):
        return "the loss"
    named = first_not_finite_parameter(parameters, to_host(gradient)) or "no parameter"
    return f"the gradient of {named}"


def first_not_finite_parameter(parameters: Any, flat: np.ndarray) -> str:
    """The first parameter with a number that is not finite in a buffer of the parameters' layout; empty: none has."""
    if np.isfinite(flat).all():
        return ""
    for name in parameters.names:
        if not np.isfinite(parameters.view(name, flat)).all():
            return name
    return "no parameter"  # but the room between two


class Interruption(contextlib.AbstractContextManager):
    """Ctrl-C as a question asked between steps; the second one is an exception at once.

    Outside the main thread, where Python allows no handler, it never says yes.
    """

    def __init__(self):
        self.wanted = False
        self._before: Any = None

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():
            self._before = signal.getsignal(signal.SIGINT)
            if self._before in (signal.SIG_IGN, None):
                self._before = None
            else:
                signal.signal(signal.SIGINT, self._heard)
        return self

    def __exit__(self, *_):
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _heard(self, number, frame):
        if self.wanted:
            raise KeyboardInterrupt
        self.wanted = True

    def check(self, *_) -> None:
        """Raise KeyboardInterrupt if it was asked for: between two parts of an evaluation."""
        if self.wanted:
            raise KeyboardInterrupt
