"""From rows of tokens to heads and back, with rotary positions and biases in the same pass."""

from functools import lru_cache

import numpy as np

from .._runtime import devices
from .._runtime.jit import bare_kernel, nonnegative, scalar
from .._runtime.owners import Owner
from .._runtime.width import full_width
from .layer import flat


@scalar
def split_row(row, x, tokens, heads, step, at, width, half, cosine, sine, bias, out):
    """Head and token ``row`` of (sequences, heads, tokens, width), from the token's row in x, whose heads start at
    column ``at``, plus the bias of its columns, unless empty. Its pairs (c, c + half) are turned by the angles of the
    token; half = 0 turns nothing."""
    t, head = row % tokens, row // tokens % heads
    source = (row // (tokens * heads) * tokens + t) * step + at + head * width
    target, angle = row * width, t * half
    for c in range(half):
        a, b = x[nonnegative(source + c)], x[nonnegative(source + half + c)]
        u, v = cosine[nonnegative(angle + c)], sine[nonnegative(angle + c)]
        out[nonnegative(target + c)] = a * u - b * v
        out[nonnegative(target + half + c)] = b * u + a * v
    for c in range(2 * half, width):
        out[nonnegative(target + c)] = x[nonnegative(source + c)]
    if bias.size:
        for c in range(width):
            out[nonnegative(target + c)] += bias[nonnegative(head * width + c)]


@bare_kernel
def split_cpu(start, stop, x, tokens, heads, step, at, width, half, cosine, sine, bias, out):
    full_width()
    for row in range(start, stop):
        split_row(row, x, tokens, heads, step, at, width, half, cosine, sine, bias, out)


@scalar
def merge_row(row, x, tokens, heads, step, at, width, half, cosine, sine, out):
    """The transpose of `split_row`: head and token ``row`` of x back into the token's row of out, turned back."""
    t, head = row % tokens, row // tokens % heads
    target = (row // (tokens * heads) * tokens + t) * step + at + head * width
    source, angle = row * width, t * half
    for c in range(half):
        a, b = x[nonnegative(source + c)], x[nonnegative(source + half + c)]
        u, v = cosine[nonnegative(angle + c)], sine[nonnegative(angle + c)]
        out[nonnegative(target + c)] = a * u + b * v
        out[nonnegative(target + half + c)] = b * u - a * v
    for c in range(2 * half, width):
        out[nonnegative(target + c)] = x[nonnegative(source + c)]


@bare_kernel
def merge_cpu(start, stop, x, tokens, heads, step, at, width, half, cosine, sine, out):
    full_width()
    for row in range(start, stop):
        merge_row(row, x, tokens, heads, step, at, width, half, cosine, sine, out)


@scalar
def bias_row(i, x, lines, tokens, heads, width, out):
    """Column i = head * width + c, summed over sequences and tokens, added to out."""
    head, c = i // width, i % width
    total = out[i]
    for line in range(lines):
        if line % heads == head:
            for t in range(line * tokens, (line + 1) * tokens):
                total += x[t * width + c]
    out[i] = total


@bare_kernel
def bias_cpu(start, stop, x, lines, tokens, heads, width, out):
    full_width()
    for line in range(lines):
        at = line % heads * width
        low, high = max(start - at, 0), min(stop - at, width)
        for t in range(line * tokens, (line + 1) * tokens):
            for c in range(low, high):
                out[nonnegative(at + c)] += x[nonnegative(t * width + c)]


SPLIT = Owner(split_row, split_cpu, "F1 i i i i i i F1 F1 F1 F1", grain=512)
MERGE = Owner(merge_row, merge_cpu, "F1 i i i i i i F1 F1 F1", grain=512)
#: out += sums over sequences and tokens
BIAS = Owner(bias_row, bias_cpu, "F1 i i i i F1", grain=1024)


class Block:
    """The columns of one projected array in the row of a token: ``heads`` of ``width`` from column ``at`` on."""

    def __init__(self, at: int, heads: int, width: int, rotary: float | None = None):
        self.at, self.heads, self.width, self.rotary = at, heads, width, rotary

    @property
    def half(self) -> int:
        return 0 if self.rotary is None else self.width // 2

    def angles(self, like, tokens: int, first: int = 0):
        """cos and sin of the angles of the positions from ``first`` on, flat."""
        if self.rotary is None:
            return (empty_of(like),) * 2
        room = 1 << (first + tokens - 1).bit_length()
        tables = rotary_tables(room, self.half, self.rotary, np.dtype(like.dtype))
        part = slice(first * self.half, (first + tokens) * self.half)
        tables = tuple(x[part] for x in tables)
        return tuple(map(devices.to_device, tables)) if devices.is_device_array(like) else tables

    def split(self, x, tape, bias=None, first: int = 0):
        """(sequences, heads, tokens, width) from rows (sequences, tokens, columns)."""
        b, tokens, step = x.shape
        out = tape.empty(b, self.heads, tokens, self.width)
        bias = empty_of(x) if bias is None else flat(bias)
        SPLIT(
            b * self.heads * tokens, flat(x), tokens, self.heads, step, self.at, self.width, self.half,
            *self.angles(x, tokens, first), bias, flat(out),
        )  # fmt: skip
        return out

    def merge(self, x, out) -> None:
        """The transpose: writes its columns of out (sequences, tokens, columns)."""
        b, tokens, step = out.shape
        MERGE(
            b * self.heads * tokens, flat(x), tokens, self.heads, step, self.at, self.width, self.half,
            *self.angles(out, tokens), flat(out),
        )  # fmt: skip

    def pull_bias(self, dx, dbias) -> None:
        """Adds the gradient of a bias, of shape (heads, width) or flat."""
        tokens = dx.shape[-2]
        lines = dx.size // max(tokens * self.width, 1)
        BIAS(self.heads * self.width, flat(dx), lines, tokens, self.heads, self.width, flat(dbias))


def empty_of(like):
    return devices.empty(0, like.dtype, like=like)


@lru_cache(16)
def rotary_tables(tokens: int, half: int, base: float, dtype):
    """cos and sin of t base^(-c / half), flat."""
    angle = np.multiply.outer(np.arange(tokens, dtype=np.float64), base ** (-np.arange(half) / half)).reshape(-1)
    return np.cos(angle).astype(dtype), np.sin(angle).astype(dtype)
