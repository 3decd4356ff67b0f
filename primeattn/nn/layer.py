"""The contract of a layer."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from .parameters import Parameter
from .tape import Tape


class Layer:
    """A map of tokens with parameters, and its derivative.

    A model is a list of layers; its backward pass is the same list reversed. A layer knows nothing of the others, of
    the loss or of the optimiser. Arrays are (sequences, tokens, width); a thread owns whole sequences, and calls the
    layer with those it owns.

    Attributes
    ----------
    borrows : dict of str to str
        Arrays of other layers that this one uses, too: local name to full name. They appear in p and g.
    streams : bool
        Whether `step` continues a sequence token by token.
    """

    borrows: Mapping[str, str] = MappingProxyType({})
    streams: bool = True

    def parameters(self) -> dict[str, Parameter]:
        """The arrays to learn, by local name; a layer made of layers nests their dicts."""
        return {}

    def forward(self, p: dict[str, Any], x: Any, tape: Tape) -> Any:
        """The output for x, which is not changed; p has the arrays by name. What backward needs goes to the tape."""
        raise NotImplementedError

    def backward(self, p: dict[str, Any], dy: Any, tape: Tape, g: dict[str, Any]) -> Any:
        """The gradient of x, from that of the output, which is not changed; gradients of p are added to g."""
        raise NotImplementedError

    def memory(self) -> Any:
        """What a layer remembers of the tokens so far, before the first."""
        return None

    def step(self, p: dict[str, Any], x: Any, memory: Any, tape: Tape) -> Any:
        """The output for the next tokens x of sequences, of which ``memory`` remembers the past; it is updated."""
        return self.forward(p, x, tape)


def flat(x: Any) -> Any:
    """A contiguous array as one axis, as kernels take it."""
    return x.reshape(x.size)


def rows(x: Any) -> Any:
    """Tokens of all sequences below each other: (sequences * tokens, width)."""
    width = x.shape[len(x.shape) - 1]  # the simulator's shapes refuse negative indices
    return x.reshape(x.size // width, width)
