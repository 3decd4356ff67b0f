r"""Tokens as vectors, and the read-out that may use the same table.

x_t = E[id_t],    dL/dE[v] = sum over t with id_t = v of dL/dx_t

logits = h W  or, tied, logits = h E':    dL/dh = dL/dlogits E,    dL/dE += sum over tokens of (dL/dlogits)' h
"""

import math

from .._runtime import linalg
from .._runtime.jit import bare_kernel, nonnegative, piece
from .._runtime.owners import Owner
from .layer import Layer, flat, rows
from .parameters import Parameter, normal


@piece
def look_up_row(r, ids, table, width, x):
    for c in range(width):
        x[r * width + c] = table[ids[r] * width + c]


@bare_kernel
def look_up_cpu(start, stop, ids, table, width, x):
    for r in range(start, stop):
        for c in range(width):
            x[nonnegative(r * width + c)] = table[nonnegative(ids[r] * width + c)]


@piece
def gather_row(v, ids, dx, width, dtable):
    """Row v of the table gets the gradients of its tokens, in their order."""
    for r in range(ids.size):
        if ids[r] == v:
            for c in range(width):
                dtable[v * width + c] += dx[r * width + c]


@bare_kernel
def gather_cpu(start, stop, ids, dx, width, dtable):
    for r in range(ids.size):
        v = ids[r]
        if start <= v < stop:
            for c in range(width):
                dtable[nonnegative(v * width + c)] += dx[nonnegative(r * width + c)]


LOOK_UP = Owner(look_up_row, look_up_cpu, "I1 F1 i F1", grain=1024)
GATHER = Owner(gather_row, gather_cpu, "I1 F1 i F1", grain=64)


class Embedding(Layer):
    """Rows of a table, one for each token of the vocabulary: the first layer of a model. Its input is integers."""

    def __init__(self, vocabulary: int, width: int):
        self.vocabulary, self.width = vocabulary, width

    def parameters(self):
        return {"table": Parameter((self.vocabulary, self.width), normal(1 / math.sqrt(self.width)), decay=True)}

    def forward(self, p, ids, tape):
        x = tape.empty(*ids.shape, self.width)
        LOOK_UP(ids.size, flat(ids), flat(p["table"]), self.width, flat(x))
        tape.save(ids)
        return x

    def backward(self, p, dx, tape, g):
        (ids,) = tape.load()
        GATHER(self.vocabulary, flat(ids), flat(dx), self.width, flat(g["table"]))
        return None


class TiedHead(Layer):
    """Logits from the transposed table of the embedding."""

    def __init__(self, vocabulary: int, table: str):
        self.vocabulary, self.borrows = vocabulary, {"table": table}

    def forward(self, p, x, tape):
        logits = tape.empty(*x.shape[:-1], self.vocabulary)
        linalg.multiply(rows(x), p["table"], rows(logits), turn_b=True)
        tape.save(x)
        return logits

    def backward(self, p, dlogits, tape, g):
        (x,) = tape.load()
        dx = tape.empty(*x.shape)
        linalg.multiply(rows(dlogits), rows(x), g["table"], turn_a=True, add=True)
        linalg.multiply(rows(dlogits), p["table"], rows(dx))
        return dx
