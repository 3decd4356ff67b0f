# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Quaternions and order
#
# A set of tokens does not know their order. Rotary positions write it in with angles, which commute: what counts is how far
# apart two tokens are. Quaternions do not commute, so a product of them also remembers *what* came before *what*.

# %%
import matplotlib.pyplot as plt
import numpy as np

import primeattn as pa

plt.rcParams["figure.dpi"] = 110
quaternion = pa.quaternion

# %% [markdown]
# ## First one, then the other
#
# A quarter turn about $z$ and a quarter turn about $x$, in either order, done slowly. Both ways begin at the dot and end in
# the ring; they do not end in the same place.

# %%
quarter = np.linspace(0, np.pi / 2, 60)
about_z = quaternion.from_axis_angle(np.array([0.0, 0.0, 1.0]), quarter)
about_x = quaternion.from_axis_angle(np.array([1.0, 0.0, 0.0]), quarter)
orbits = {
    "z, then x": np.concatenate([about_z, quaternion.multiply(about_x, about_z[-1])]),
    "x, then z": np.concatenate([about_x, quaternion.multiply(about_z, about_x[-1])]),
}
pa.plot.quaternion_orbits(orbits, vector=(0.0, -0.8, 0.6), view=(-50, 25));

# %% [markdown]
# How far two rotations are from commuting is the length of $ab - ba$; it is 2 for perpendicular pure quaternions, and 0 for
# rotations about one axis, which is why rotary positions only know distance.

# %%
i, j = np.eye(4)[1], np.eye(4)[2]
one, half = about_z[-1], about_z[20]
[
    float(quaternion.norm(quaternion.commutator(a, b)).round(3))
    for a, b in ((i, j), (about_z[-1], about_x[-1]), (one, half))
]

# %% [markdown]
# ## The shortest way
#
# `slerp` goes along a great circle of the three-sphere, at constant speed; a mean of rotations is the one that is nearest to
# all of them, and does not mind that $q$ and $-q$ are the same rotation. Below: how much the steps of the way differ in length,
# and which share of the way lies before the mean of its ends.

# %%
a, b = quaternion.random(2, rng=4)
way = quaternion.slerp(a, b, np.linspace(0, 1, 50))
steps = quaternion.angular_distance(way[:-1], way[1:])
middle = quaternion.mean(np.stack([a, -b]))
spread = float(np.ptp(steps).round(12))
share = float(
    quaternion.angular_distance(middle, way[0]) / quaternion.angular_distance(a, b)
)
spread, round(share, 12)

# %% [markdown]
# ## Rotors: what lies between
#
# In `attention.resonant` every token has a rotor $r_t$, and token $t$ is turned by $R_t = r_0 r_1 \cdots r_t$. A score sees
# only $R_i^{-1} R_j$, the product of what lies between the two. Take eight tokens of which two are exchanged, and look at
# how the relative rotors change:

# %%
rng = np.random.default_rng(0)
rotors = quaternion.random(8, rng=rng)


def relative(rotors):
    """The angle of R_i^-1 R_j for all i and j."""
    R = quaternion.cumprod(rotors)
    between = quaternion.multiply(quaternion.inverse(R)[:, None], R[None])
    return quaternion.angular_distance(between, np.array([1.0, 0.0, 0.0, 0.0]))


exchanged = rotors.copy()
exchanged[[2, 5]] = rotors[[5, 2]]
axes = pa.plot.score_maps(
    {"in order": relative(rotors), "2 and 5 exchanged": relative(exchanged)},
    colorbar_label="relative angle",
    limits=(0, np.pi),
)

# %% [markdown]
# Rows and columns below 2 and from 5 on still agree with one another where both tokens lie on one side. Had the rotors
# commuted, all pairs that enclose both would agree, too; they do not:

# %%
around = relative(rotors)[:2, 5:], relative(exchanged)[:2, 5:]
planar = quaternion.from_axis_angle(np.array([0.0, 0.0, 1.0]), rng.uniform(-1, 1, 8))
swapped = planar.copy()
swapped[[2, 5]] = planar[[5, 2]]
flat = relative(planar)[:2, 5:], relative(swapped)[:2, 5:]
[float(np.abs(x - y).max().round(3)) for x, y in (around, flat)]

# %% [markdown]
# ## The order task
#
# Which of two markers, A and B, came first in a sequence of fillers? The bag of tokens is the same either way, so attention
# without positions is at chance: its output is the *same* for both orders. With rotors (here only the markers turn) one
# read-out token is enough, and a kernel ridge on its output, trained on short sequences, is right on longer ones with fillers
# that it has never seen.

# %%
vocabulary, primes = 43, 64
logits = np.full((vocabulary, primes), -np.inf)
logits[0, 0] = logits[1, 1] = 0  # the markers have a prime each
logits[2, :2] = 0  # the read-out token shares both
logits[np.arange(3, vocabulary), rng.integers(2, primes, vocabulary - 3)] = 0
orientation = np.broadcast_to(np.eye(4)[0], (vocabulary, primes, 4)).copy()
orientation[:2] = rng.normal(size=(2, 1, 4))
value = rng.normal(size=(vocabulary, 8))


def draw(count, lengths, fillers):
    """Sequences with one A, one B and a read-out token at the end; 1 if A comes first, else -1."""
    for _ in range(count):
        tokens = rng.choice(fillers, size=rng.integers(*lengths))
        first, second = sorted(rng.choice(len(tokens), size=2, replace=False))
        label = rng.integers(2)
        tokens[first], tokens[second] = (0, 1) if label else (1, 0)
        yield np.append(tokens, 2), 2.0 * label - 1


def read_out(sequence, rotors):
    last, rest = sequence[-1:], sequence[:-1]
    return pa.attention.resonant(
        logits[last],
        logits[rest],
        value[rest],
        q_orientation=orientation[last],
        k_orientation=orientation[rest],
        active=2,
        weights=[0, 1, 0],
        rotors=rotors,
    )[0]


train, test = (
    list(draw(100, (4, 12), np.arange(3, 23))),
    list(draw(200, (12, 30), np.arange(23, vocabulary))),
)


def accuracy(rotors):
    """Held out, of a Gaussian kernel ridge."""
    x, y = (np.array([read_out(s, rotors) for s, _ in part]) for part in (train, test))
    wanted, truth = (np.array([label for _, label in part]) for part in (train, test))

    def kernel(a, b):
        return np.exp(-((a[:, None] - b) ** 2).sum(axis=-1))

    predicted = kernel(y, x) @ np.linalg.solve(kernel(x, x) + 1e-3 * np.eye(len(x)), wanted)
    return float(((predicted > 0) == (truth > 0)).mean())


{"with rotors": accuracy(True), "without": accuracy(False)}

# %% [markdown]
# That is what the theory promises and no more. If every filler had a random rotor of its own, the product would be scrambled,
# and this read-out would be at chance again: a trained layer has to learn which tokens turn.
