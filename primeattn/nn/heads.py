"""From rows of tokens to heads and back, with rotary positions in the same pass."""

from .._runtime.jit import bare_kernel, nonnegative, scalar
from .._runtime.owners import Owner
from .._runtime.width import full_width


@scalar
def split_row(row, x, tokens, heads, step, at, width, half, cosine, sine, out):
    """Head and token ``row`` of (sequences, heads, tokens, width), from the token's row in x, whose heads start at
    column ``at``. Its pairs (c, c + half) are turned by the angles of the token; half = 0 turns nothing."""
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


@bare_kernel
def split_cpu(start, stop, x, tokens, heads, step, at, width, half, cosine, sine, out):
    full_width()
    for row in range(start, stop):
        split_row(row, x, tokens, heads, step, at, width, half, cosine, sine, out)


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


SPLIT = Owner(split_row, split_cpu, "F1 i i i i i i F1 F1 F1", grain=512)
MERGE = Owner(merge_row, merge_cpu, "F1 i i i i i i F1 F1 F1", grain=512)
