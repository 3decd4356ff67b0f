"""Oracles for prime states: a state is a dict {prime: (amplitude, (w, x, y, z))}, everything is a loop.

Written from the specification in float64; imports nothing of primeattn.
"""

import cmath
import math


def multiply(a, b):
    """Hamilton product from the table i i = j j = k k = i j k = -1."""
    table = [[(1, 0), (1, 1), (1, 2), (1, 3)], [(1, 1), (-1, 0), (1, 3), (-1, 2)]]
    table += [[(1, 2), (-1, 3), (-1, 0), (1, 1)], [(1, 3), (1, 2), (-1, 1), (-1, 0)]]
    out = [0.0, 0.0, 0.0, 0.0]
    for i in range(4):
        for j in range(4):
            sign, basis = table[i][j]
            out[basis] += sign * a[i] * b[j]
    return tuple(out)


def unit(q):
    norm = math.hypot(*q)
    return tuple(x / norm for x in q)


def normalize(state):
    energy = sum(abs(a) ** 2 for a, _ in state.values())
    if energy == 0:
        return dict(state)
    return {p: (a / math.sqrt(energy), q) for p, (a, q) in state.items()}


def entropy(state):
    energy = sum(abs(a) ** 2 for a, _ in state.values())
    bits = 0.0
    for a, _ in state.values():
        if abs(a) > 0:
            share = abs(a) ** 2 / energy
            bits -= share * math.log2(share)
    return bits


def sparsify(state, k=None, energy=None):
    """Heaviest first; of equal ones the smaller prime."""
    total = sum(abs(a) ** 2 for a, _ in state.values())
    kept, held = {}, 0.0
    for p in sorted(state, key=lambda p: (-abs(state[p][0]), p)):
        enough = (k is not None and len(kept) == k) or (energy is not None and kept and held >= energy * total)
        if enough or state[p][0] == 0:
            break
        kept[p] = state[p]
        held += abs(state[p][0]) ** 2
    return kept


def compose(a, b):
    """Absent factors are the identity; not normalised."""
    out = {}
    for p in sorted(set(a) | set(b)):
        if p in a and p in b:
            out[p] = (a[p][0] * b[p][0], unit(multiply(a[p][1], b[p][1])))
        else:
            out[p] = a[p] if p in a else b[p]
    return out


def compose_original(a, b):
    """Absent factors are zero; normalised."""
    out = {}
    for p in sorted(set(a) | set(b)):
        if p in a and p in b:
            out[p] = (a[p][0] * b[p][0], unit(multiply(a[p][1], b[p][1])))
        else:
            out[p] = (0j, (1.0, 0.0, 0.0, 0.0))
    return normalize(out)


def noncommutativity(a, b):
    shared = sorted(set(a) & set(b))
    if not shared:
        return 0.0
    total = 0.0
    for p in shared:
        forward, backward = multiply(a[p][1], b[p][1]), multiply(b[p][1], a[p][1])
        total += math.hypot(*(x - y for x, y in zip(forward, backward, strict=True)))
    return total / len(shared)


def _from_logarithms(state):
    """{prime: (log |a|, phase, q)} to a normalised state: the largest magnitude is taken out first."""
    top = max((m for m, _, _ in state.values() if m > -math.inf), default=0.0)
    return normalize({p: (cmath.rect(math.exp(m - top), phase), q) for p, (m, phase, q) in state.items()})


def _logarithms(state):
    return {
        p: (math.log(abs(a)) if abs(a) > 0 else -math.inf, cmath.phase(a) if abs(a) > 0 else 0.0, q)
        for p, (a, q) in state.items()
    }


def cumcompose(sequence, mode):
    """Token after token, in the order of the definition."""
    if mode == "rotor":
        out, turn = [], (1.0, 0.0, 0.0, 0.0)
        for state in sequence:
            for p in sorted(state):
                turn = unit(multiply(turn, state[p][1]))
            out.append({p: (a, unit(multiply(turn, q))) for p, (a, q) in state.items()})
        return out
    out, product = [], {}
    for state in sequence:
        for p, (m, phase, q) in _logarithms(state).items():
            if p in product:
                before = product[p]
                product[p] = (before[0] + m, before[1] + phase, unit(multiply(before[2], q)))
            else:
                product[p] = (m, phase, q)
        shown = product if mode == "full" else {p: product[p] for p in state}
        out.append(_from_logarithms(dict(sorted(shown.items()))))
    return out
