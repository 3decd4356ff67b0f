"""A layer that keeps only its input, and runs again before its backward pass: less memory for a third more time.

T. Chen et al., "Training Deep Nets with Sublinear Memory Cost", arXiv:1604.06174.
"""

from .layer import Layer


class Checkpointed(Layer):
    """The same map, the same parameters, the same bits; what the layer would keep is made again.

    Parameters
    ----------
    inner : Layer
    """

    def __init__(self, inner: Layer):
        self.inner = inner
        self.borrows, self.streams = inner.borrows, inner.streams

    def parameters(self):
        return self.inner.parameters()

    def forward(self, p, x, tape):
        tape.save(x, tape.shared.get("carried"))
        passing = tape.branch(saving=False)
        y = self.inner.forward(p, x, passing)
        tape.adopt(passing, y)
        return y

    def backward(self, p, dy, tape, g):
        x, carried = tape.load()
        tape.shared.pop("carried", None)
        if carried is not None:
            tape.shared["carried"] = carried
        again = tape.branch(saving=True)
        self.inner.forward(p, x, again)
        dx = self.inner.backward(p, dy, again, g)
        tape.adopt(again, dx)
        return dx

    def memory(self):
        return self.inner.memory()

    def step(self, p, x, memory, tape):
        return self.inner.step(p, x, memory, tape)
