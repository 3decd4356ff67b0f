r"""A layer beside its input: y = x + f(norm(x)), hence dL/dx = dL/dy + norm'(f'(dL/dy))."""

from .elementwise import ADD
from .layer import Layer, flat


class Residual(Layer):
    """y = x + inner(norm(x)), followed by dropout of what is added.

    Parameters
    ----------
    norm, inner : Layer
    dropout : Layer, optional
    """

    def __init__(self, norm: Layer, inner: Layer, dropout: Layer | None = None):
        self.norm, self.inner, self.dropout = norm, inner, dropout
        self.streams = inner.streams

    def parameters(self):
        return {"norm": self.norm.parameters(), "inner": self.inner.parameters()}

    def forward(self, p, x, tape):
        y = self.inner.forward(p["inner"], self.norm.forward(p["norm"], x, tape), tape)
        return self._added(x, y, tape)

    def _added(self, x, y, tape):
        if self.dropout is not None:
            y = self.dropout.forward({}, y, tape)
        ADD(y.size, flat(x), flat(y))
        return y

    def backward(self, p, dy, tape, g):
        dinner = dy if self.dropout is None else self.dropout.backward({}, dy, tape, {})
        dnorm = self.inner.backward(p["inner"], dinner, tape, g["inner"])
        dx = self.norm.backward(p["norm"], dnorm, tape, g["norm"])
        if dnorm is not dy:
            tape.drop(dnorm)
        ADD(dx.size, flat(dy), flat(dx))
        return dx

    def memory(self):
        return self.inner.memory()

    def step(self, p, x, memory, tape):
        y = self.inner.step(p["inner"], self.norm.forward(p["norm"], x, tape), memory, tape)
        return self._added(x, y, tape)
