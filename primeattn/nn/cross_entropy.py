r"""Cross-entropy of logits and targets.

    l_t = log sum_v exp z_tv - z_t,target,    dl_t/dz_tv = softmax(z_t)_v - [v = target]

The loss of a batch is the mean of l_t over the positions that count, by their weights; it is summed in float64.
"""

import math

import numpy as np

from .._runtime import elementary as el
from .._runtime.disjoint import disjoint
from .._runtime.jit import bare_kernel, nonnegative, piece, summing
from .._runtime.owners import Owner
from .._runtime.width import full_width
from ..attention._cores.tiles import largest


@piece
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


@piece
def loss_below(top, row, z, targets, weights, vocabulary, losses):
    """Loss of token ``row``, given its largest logit; the logits become their gradients, times the token's weight."""
    at = row * vocabulary
    place = at + targets[row]
    chosen, weight = z[place], weights[row]
    total = exponentials(z, at, vocabulary, top)
    losses[row] = top - chosen + math.log(total)
    factor = weight / total
    for c in range(vocabulary):
        z[nonnegative(at + c)] *= factor
    z[place] -= weight


@piece
def cross_entropy_row(row, z, targets, weights, vocabulary, losses):
    top = top_of(z, row * vocabulary, vocabulary)
    loss_below(top, row, z, targets, weights, vocabulary, losses)


@bare_kernel
def cross_entropy_cpu(start, stop, z, targets, weights, vocabulary, losses):
    """`largest` compares integers, which vectorises; where it passes over NaN, the sum does not."""
    full_width()
    disjoint()
    for row in range(start, stop):
        at = row * vocabulary
        top = largest(z, at, vocabulary, z[nonnegative(at)])
        loss_below(top, row, z, targets, weights, vocabulary, losses)


CROSS_ENTROPY = Owner(cross_entropy_row, cross_entropy_cpu, "F1 I1 F1 i F1", grain=64)


def total_loss(losses, weights) -> float:
    """sum of weights times losses, in float64."""
    return float(np.dot(losses.astype(np.float64), weights.astype(np.float64)))
