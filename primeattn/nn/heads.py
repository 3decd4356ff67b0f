"""From rows of tokens to heads and back, with rotary positions and biases in the same pass."""

from functools import lru_cache

import numpy as np

from .._runtime import devices
from .._runtime.disjoint import disjoint
from .._runtime.jit import bare_kernel, nonnegative, piece
from .._runtime.owners import Owner
from .._runtime.width import full_width
from .layer import flat

#: Numbers that describe a block of columns: first column, heads, width of a head, pairs that turn (0: none).
BLOCK = 4


@piece
def split_token(row, sequence, t, x, tokens, rows, step, blocks, cosine, sine, bias, out):
    """One token's columns, which lie ``step`` from those of the next, into its places in the arrays (sequences, heads,
    tokens, width), which lie one after the other in out, each where its columns would be. Pairs (c, c + half) are
    turned by the angles of the token. The last columns get the bias, as far as there is one."""
    source, biased = row * step, step - bias.size
    for i in range(0, blocks.size, BLOCK):
        at, heads, width, half = blocks[i], blocks[i + 1], blocks[i + 2], blocks[i + 3]
        for head in range(heads):
            first = at + head * width
            target = at * rows + ((sequence * heads + head) * tokens + t) * width
            for c in range(half):
                a, b = x[nonnegative(source + first + c)], x[nonnegative(source + first + half + c)]
                u, v = cosine[nonnegative(t * half + c)], sine[nonnegative(t * half + c)]
                out[nonnegative(target + c)] = a * u - b * v
                out[nonnegative(target + half + c)] = b * u + a * v
            if first >= biased:
                for c in range(2 * half, width):
                    shift = bias[nonnegative(first - biased + c)]
                    out[nonnegative(target + c)] = x[nonnegative(source + first + c)] + shift
            else:
                for c in range(2 * half, width):
                    out[nonnegative(target + c)] = x[nonnegative(source + first + c)]


@piece
def split_row(row, x, tokens, rows, step, blocks, cosine, sine, bias, out):
    split_token(row, row // tokens, row % tokens, x, tokens, rows, step, blocks, cosine, sine, bias, out)


@bare_kernel
def split_cpu(start, stop, x, tokens, rows, step, blocks, cosine, sine, bias, out):
    full_width()
    disjoint()
    sequence, t = start // tokens, start % tokens
    for row in range(start, stop):
        split_token(row, sequence, t, x, tokens, rows, step, blocks, cosine, sine, bias, out)
        t += 1
        if t == tokens:
            sequence, t = sequence + 1, 0


@piece
def merge_token(row, sequence, t, x, tokens, step, at, heads, width, half, cosine, sine, out):
    """The transpose for one array: heads of a token from x back into its columns, turned back."""
    target = row * step + at
    for head in range(heads):
        source = ((sequence * heads + head) * tokens + t) * width
        for c in range(half):
            a, b = x[nonnegative(source + c)], x[nonnegative(source + half + c)]
            u, v = cosine[nonnegative(t * half + c)], sine[nonnegative(t * half + c)]
            out[nonnegative(target + c)] = a * u + b * v
            out[nonnegative(target + half + c)] = b * u - a * v
        for c in range(2 * half, width):
            out[nonnegative(target + c)] = x[nonnegative(source + c)]
        target += width


@piece
def merge_row(row, x, tokens, step, at, heads, width, half, cosine, sine, out):
    merge_token(row, row // tokens, row % tokens, x, tokens, step, at, heads, width, half, cosine, sine, out)


@bare_kernel
def merge_cpu(start, stop, x, tokens, step, at, heads, width, half, cosine, sine, out):
    full_width()
    disjoint()
    sequence, t = start // tokens, start % tokens
    for row in range(start, stop):
        merge_token(row, sequence, t, x, tokens, step, at, heads, width, half, cosine, sine, out)
        t += 1
        if t == tokens:
            sequence, t = sequence + 1, 0


@piece
def bias_row(c, x, rows, step, at, out):
    """Column at + c of the rows of x, which lie ``step`` apart, added to out."""
    total = out[c]
    for r in range(rows):
        total += x[r * step + at + c]
    out[c] = total


@bare_kernel
def bias_cpu(start, stop, x, rows, step, at, out):
    full_width()
    for r in range(rows):
        for c in range(start, stop):
            out[nonnegative(c)] += x[nonnegative(r * step + at + c)]


SPLIT = Owner(split_row, split_cpu, "F1 i i i I1 F1 F1 F1 F1", grain=512)
MERGE = Owner(merge_row, merge_cpu, "F1 i i i i i i F1 F1 F1", grain=512)
BIAS = Owner(bias_row, bias_cpu, "F1 i i i F1", grain=1024)


class Columns:
    """Arrays that lie side by side in the rows of tokens: for each name, (heads, width, whether its pairs turn).

    Parameters
    ----------
    arrays : dict
    rotary : float, optional
        Base of the angles.
    """

    def __init__(self, arrays: dict[str, tuple[int, int, bool]], rotary: float | None = None):
        self.rotary, self.blocks, at = rotary, {}, 0
        for name, (heads, width, turns) in arrays.items():
            self.blocks[name] = at, heads, width, width // 2 if turns and rotary is not None else 0
            at += heads * width
        self.count = at
        self.half = max((b[3] for b in self.blocks.values()), default=0)
        self._blocks = np.array(list(self.blocks.values()), np.int64).reshape(-1)

    def angles(self, like, tokens: int, first: int = 0):
        """cos and sin of the angles of the positions from ``first`` on, flat."""
        if not self.half or self.rotary is None:
            return (nothing(like),) * 2
        room = 1 << (first + tokens - 1).bit_length()
        tables = rotary_tables(room, self.half, self.rotary, like.dtype)
        if first or tokens != room:
            tables = tuple(x[first * self.half : (first + tokens) * self.half] for x in tables)
        return tuple(map(devices.to_device, tables)) if devices.is_device_array(like) else tables

    def split(self, x, tape, bias=None, first: int = 0) -> dict:
        """By name, (sequences, heads, tokens, width), from rows (sequences, tokens, count); ``bias``: of the last."""
        b, tokens, step = x.shape
        out, n = tape.empty(x.size), b * tokens
        blocks = devices.to_device(self._blocks) if devices.is_device_array(x) else self._blocks
        bias = nothing(x) if bias is None else bias
        SPLIT(n, flat(x), tokens, n, step, blocks, *self.angles(x, tokens, first), bias, out)
        return {
            name: out[at * n : (at + heads * width) * n].reshape((b, heads, tokens, width))
            for name, (at, heads, width, _) in self.blocks.items()
        }

    def merge(self, arrays: dict, out) -> None:
        """The transpose, without the bias: writes out (sequences, tokens, count)."""
        b, tokens, step = out.shape
        angles = self.angles(out, tokens)
        for name, block in self.blocks.items():
            MERGE(b * tokens, flat(arrays[name]), tokens, step, *block, *angles, flat(out))

    def pull_bias(self, dx, dbias) -> None:
        """Adds the gradient of a bias of the last columns."""
        BIAS(dbias.size, flat(dx), dx.size // self.count, self.count, self.count - dbias.size, dbias)


def nothing(like):
    return devices.empty(0, like.dtype, like=like)


@lru_cache(16)
def rotary_tables(tokens: int, half: int, base: float, dtype):
    """cos and sin of t base^(-c / half), flat."""
    angle = np.multiply.outer(np.arange(tokens, dtype=np.float64), base ** (-np.arange(half) / half)).reshape(-1)
    return np.cos(angle).astype(dtype), np.sin(angle).astype(dtype)
