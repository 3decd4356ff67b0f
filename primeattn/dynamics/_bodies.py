"""Oscillators that are not angles: amplitudes, which are complex numbers, and points on spheres, unit vectors.

Coordinate v of oscillator i stands at v n + i, in the state, in its derivative and, as `_sense.sense` copies it, in
the features. What others do to i is summed as for phases; the rest is here.
"""

from .._runtime.jit import apart, nonnegative


@apart
def add_heard(
    first, last, variables, re, im, diffusive, indptr, indices, weight, scale, features, c, n, out, to
):  # fmt: skip
    """out_i += h scale_i sum_j w_ij (x_j - diffusive x_i), h = re + i im turning the first two coordinates."""
    for i in range(first, last):
        own = re - re
        for e in range(indptr[i], indptr[i + 1]):
            own += weight[nonnegative(e)] if len(weight) else type(re)(1)
        own *= diffusive
        for variable in range(variables):
            x = c + variable * n
            total = -own * features[nonnegative(x + i)]
            if len(weight):
                for e in range(indptr[i], indptr[i + 1]):
                    total += weight[nonnegative(e)] * features[nonnegative(x + indices[nonnegative(e)])]
            else:
                for e in range(indptr[i], indptr[i + 1]):
                    total += features[nonnegative(x + indices[nonnegative(e)])]
            if len(scale):
                total *= scale[i]
            out[nonnegative(to + variable * n + i)] += re * total
            if im != 0:
                other = to + (1 - variable) * n + i
                out[nonnegative(other)] += im * total if variable == 0 else -im * total


@apart
def amplify(first, last, re, im, omega, at, body, features, c, n, out, to):
    """z' += (growth + i omega - own) z - (1 + i shear) |z|^2 z, with own = re + i im, which diffusion takes away.

    ``body`` holds whether the coupling is diffusive, then the growth and the shear of all oscillators.
    """
    for i in range(first, last):
        x, y = features[nonnegative(c + i)], features[nonnegative(c + n + i)]
        square = x * x + y * y
        p = body[nonnegative(1 + i)] - square - re
        q = omega[nonnegative(at + i)] - body[nonnegative(1 + n + i)] * square - im
        out[nonnegative(to + i)] += p * x - q * y
        out[nonnegative(to + n + i)] += p * y + q * x


@apart
def turn(first, last, size, omega, at, features, c, n, out, to):
    """x' = Omega x + |x|^2 f - (x . f) x with the field f that stands in ``out``.

    It never leaves a sphere, of whatever radius: errors of a step do not grow. Entry (a, b) of Omega, a < b, of all
    oscillators stands at ``at`` + n times the number of the pair.
    """
    for i in range(first, last):
        dot = square = features[nonnegative(c + i)] - features[nonnegative(c + i)]
        for a in range(size):
            x = features[nonnegative(c + a * n + i)]
            dot += x * out[nonnegative(to + a * n + i)]
            square += x * x
        for a in range(size):
            e = to + a * n + i
            out[nonnegative(e)] = square * out[nonnegative(e)] - dot * features[nonnegative(c + a * n + i)]
        pair = at + i
        for a in range(size):
            x = features[nonnegative(c + a * n + i)]
            for b in range(a + 1, size):
                w = omega[nonnegative(pair)]
                out[nonnegative(to + a * n + i)] += w * features[nonnegative(c + b * n + i)]
                out[nonnegative(to + b * n + i)] -= w * x
                pair += n
