"""Observables of phases theta[sample][oscillator] of one run, in loops, from their definitions."""

import cmath
import math


def moment(theta, m):
    return [sum(cmath.exp(1j * m * x) for x in row) / len(row) for row in theta]


def entropy(theta, bins):
    found = []
    for row in theta:
        counts = [0] * bins
        for x in row:
            turned = math.atan2(math.sin(x), math.cos(x))  # (-pi, pi]
            counts[min(int((turned + math.pi) / (2 * math.pi) * bins), bins - 1)] += 1
        found.append(-sum(c / len(row) * math.log(c / len(row)) for c in counts if c))
    return found


def local(theta, W):
    found = []
    for row in theta:
        here = []
        for weights in W:
            degree = sum(abs(w) for w in weights)
            heard = abs(sum(w * cmath.exp(1j * x) for w, x in zip(weights, row, strict=True)))
            here.append(heard / degree if degree else 0.0)
        found.append(here)
    return found


def of_communities(theta, labels):
    names = sorted(set(labels))
    return [
        [abs(moment([[x for x, label in zip(row, labels, strict=True) if label == name]], 1)[0]) for name in names]
        for row in theta
    ]


def variance(x):
    mean = sum(x) / len(x)
    return sum((v - mean) ** 2 for v in x) / (len(x) - 1)


def chimera(theta, labels):
    rows = of_communities(theta, labels)
    return sum(variance(row) for row in rows) / len(rows)


def metastability(theta, labels):
    columns = list(zip(*of_communities(theta, labels), strict=True))
    return sum(variance(column) for column in columns) / len(columns)


def frequencies(theta, t):
    return [(last - first) / (t[-1] - t[0]) for first, last in zip(theta[0], theta[-1], strict=True)]


def locking(theta):
    n = len(theta[0])
    return [
        [abs(sum(cmath.exp(1j * (row[j] - row[i])) for row in theta)) / len(theta) for j in range(n)] for i in range(n)
    ]


def velocity(theta, t):
    mean = [sum(row) / len(row) for row in theta]
    return [math.nan] + [(mean[k] - mean[k - 1]) / (t[k] - t[k - 1]) for k in range(1, len(t))]
