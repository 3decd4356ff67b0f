r"""Cross-entropy of logits and targets.

    l_t = log sum_v exp z_tv - z_t,target,    dl_t/dz_tv = softmax(z_t)_v - [v = target]

The loss of a batch is the mean of l_t over the positions that count, by their weights; it is summed in float64.
"""

import math

import numpy as np

from .._runtime import elementary as el
from .._runtime.jit import bare_kernel, nonnegative, scalar, summing
from .._runtime.owners import Owner
from .._runtime.width import full_width


@scalar
def top_of(z, at, n):
    top = z[at]
    for c in range(1, n):
        top = z[nonnegative(at + c)] if z[nonnegative(at + c)] > top else top
    return top


@summing
def exponentials(z, at, n, top):
    """z = exp(z - top) in place; the sum."""
    total = type(top)(0)
    for c in range(n):
        e = el.exp(z[nonnegative(at + c)] - top)
        z[nonnegative(at + c)] = e
        total += e
    return total


@scalar
def cross_entropy_row(row, z, targets, weights, vocabulary, losses):
    """Loss of token ``row``; its logits become their gradients, times the token's weight."""
    at = row * vocabulary
    place = at + targets[row]
    top, chosen, weight = top_of(z, at, vocabulary), z[place], weights[row]
    total = exponentials(z, at, vocabulary, top)
    losses[row] = top - chosen + math.log(total)
    factor = weight / total
    for c in range(vocabulary):
        z[nonnegative(at + c)] *= factor
    z[place] -= weight


@bare_kernel
def cross_entropy_cpu(start, stop, z, targets, weights, vocabulary, losses):
    full_width()
    for row in range(start, stop):
        cross_entropy_row(row, z, targets, weights, vocabulary, losses)


CROSS_ENTROPY = Owner(cross_entropy_row, cross_entropy_cpu, "F1 I1 F1 i F1", grain=64)


def total_loss(losses, weights) -> float:
    """sum of weights times losses, in float64."""
    return float(np.dot(losses.astype(np.float64), weights.astype(np.float64)))
