r"""Attention as a layer: heads of projected tokens, mixed by a mechanism, and projected back.

    (q, k, v) = x W,    o = mechanism(q, k, v),    y = o V

    dL/do = dL/dy V',    dL/dV = o' dL/dy,    dL/dx = (dL/dq, dL/dk, dL/dv) W',    dL/dW = x' (dL/dq, dL/dk, dL/dv)

Rotary positions turn q and k, and so turn their gradients back.
"""

import math

import numpy as np

from .._runtime import devices, linalg
from ..attention import MECHANISMS
from .heads import MERGE, SPLIT
from .layer import Layer, flat, rows
from .parameters import Parameter, normal


class Mixing(Layer):
    """Causal attention of the tokens of a sequence."""

    def __init__(self, mechanism: str, width: int, heads: int, *, rotary: float | None = 10000.0, gain: float = 1.0):
        self.mechanism, self.width, self.heads, self.rotary, self.gain = mechanism, width, heads, rotary, gain
        self.head = width // heads
        self._tables: dict = {}

    def parameters(self):
        deviation = 1 / math.sqrt(self.width)
        return {
            "project": Parameter((self.width, 3 * self.width), normal(deviation), decay=True),
            "out": Parameter((self.width, self.width), normal(self.gain * deviation), decay=True),
        }

    def _angles(self, x):
        """cos and sin of (tokens, pairs), flat, on the device of x."""
        tokens, half = x.shape[1], self.head // 2
        key = tokens, x.dtype.str, devices.is_device_array(x)
        if key not in self._tables:
            frequency = (self.rotary or 1.0) ** (-np.arange(half) / half)
            angle = (np.arange(tokens)[:, None] * frequency).reshape(-1)
            tables = np.cos(angle).astype(x.dtype), np.sin(angle).astype(x.dtype)
            self._tables[key] = tuple(map(devices.to_device, tables)) if key[2] else tables
        return self._tables[key]

    def _split(self, x, part, parts, turn, tape):
        b, tokens, step = x.shape
        out = tape.empty(b, self.heads, tokens, self.head)
        half = self.head // 2 if turn else 0
        at = step // parts * part
        SPLIT(
            b * self.heads * tokens, flat(x), tokens, self.heads, step, at, self.head, half, *self._angles(x), flat(out)
        )
        return out

    def _merge(self, x, part, parts, turn, out):
        b, heads, tokens, width = x.shape
        step = out.shape[-1]
        half = self.head // 2 if turn else 0
        at = step // parts * part
        MERGE(b * heads * tokens, flat(x), tokens, heads, step, at, width, half, *self._angles(out), flat(out))

    def forward(self, p, x, tape):
        b, tokens, width = x.shape
        together, turn = tape.empty(b, tokens, 3 * width), self.rotary is not None
        linalg.multiply(rows(x), p["project"], rows(together))
        q, k, v = (self._split(together, i, 3, turn and i < 2, tape) for i in range(3))
        mixed, pullback = MECHANISMS[self.mechanism].vjp(q, k, v, causal=True)
        o, y = tape.empty(b, tokens, width), tape.empty(b, tokens, width)
        self._merge(mixed, 0, 1, False, o)
        linalg.multiply(rows(o), p["out"], rows(y))
        tape.save(x, o, pullback)
        return y

    def backward(self, p, dy, tape, g):
        x, o, pullback = tape.load()
        b, tokens, width = x.shape
        do, dx, together = tape.empty(*x.shape), tape.empty(*x.shape), tape.empty(b, tokens, 3 * width)
        linalg.multiply(rows(dy), p["out"], rows(do), turn_b=True)
        linalg.multiply(rows(o), rows(dy), g["out"], turn_a=True, add=True)
        gradients = pullback(self._split(do, 0, 1, False, tape))
        for i, name in enumerate("qkv"):
            self._merge(gradients[name], i, 3, self.rotary is not None and i < 2, together)
        linalg.multiply(rows(x), rows(together), g["project"], turn_a=True, add=True)
        linalg.multiply(rows(together), p["project"], rows(dx), turn_b=True)
        return dx
