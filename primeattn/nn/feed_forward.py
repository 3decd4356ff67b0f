"""What the feed-forward maps of tokens have in common."""

from .layer import Layer


class FeedForward(Layer):
    """y = f(x W) V, where f acts on each hidden number, or pair of them."""

    def __init__(self, width: int, hidden: int, out: int | None = None, *, gain: float = 1.0):
        self.width, self.hidden, self.out, self.gain = width, hidden, width if out is None else out, gain
