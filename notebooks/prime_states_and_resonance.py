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
# # Prime states and resonance
#
# A **prime state** is a sparse set of primes. Each of its primes carries a complex amplitude (so a phase) and a unit
# quaternion. Two states *resonate* by three things on the primes they share: how many there are (**overlap**), how well
# the quaternions agree (**alignment**), how well the phases agree (**coherence**).
#
# This notebook builds states by hand and from text, looks at the maps of scores, and then asks the question that decides
# whether a score is a kernel: are all eigenvalues of its matrix non-negative?

# %%
import matplotlib.pyplot as plt
import numpy as np

import primeattn as pa

plt.rcParams["figure.dpi"] = 110

# %% [markdown]
# ## A state, by hand
#
# Amplitude and quaternion on each prime; quaternions have their real part first and are brought to unit length once.

# %%
states = pa.PrimeStates.from_dicts(
    [
        {2: (0.8, (1, 0, 0, 0)), 3: (0.6j, (0, 1, 0, 0))},
        {3: (1.0, (1, 1, 0, 0)), 7: (0.5, (0, 0, 1, 0))},
        {11: (1.0, (1, 0, 0, 0))},
    ]
)
states

# %% [markdown]
# The first two share the prime 3, so one prime of three: overlap 1/3. Their quaternions there are $i$ and
# $(1+i)/\sqrt2$, at an inner product of $1/\sqrt2$, squared 1/2; the phases are a quarter turn apart, which counts 1/2.
# Each is divided by the three primes of the union.

# %%
{
    name: float(value[0])
    for name, value in pa.resonance.components(states[0], states[1]).items()
}

# %% [markdown]
# The third state shares no prime with them. States that share nothing score exactly 0, and this is what makes the sparse
# algorithms possible.

# %%
pa.resonance.matrix(states).round(3)

# %% [markdown]
# ## States from text
#
# Words and character n-grams are hashed to primes, so texts that share words share primes. Twelve sentences on three
# subjects:

# %%
texts = {
    "cats": [
        "the cat sat on the warm mat",
        "a cat lay on a mat in the sun",
        "cats sleep on warm mats all day",
        "my cat chased a mouse over the mat",
    ],
    "prices": [
        "prices fell sharply on the stock market",
        "the stock market rose as prices fell",
        "market prices of stocks fell in May",
        "falling prices frightened the market",
    ],
    "primes": [
        "every even number is a sum of two primes",
        "the sum of two primes may be even",
        "two is the only even prime number",
        "prime numbers have two divisors",
    ],
}
sentences = [s for group in texts.values() for s in group]
labels = [name for name, group in texts.items() for _ in group]
passages = pa.PrimeStates.from_text(sentences)
passages

# %%
pa.plot.phases(passages, 0, title=sentences[0]);

# %% [markdown]
# On the circle stand the primes of the first sentence: the angle of a dot is the phase of its amplitude, its distance from the
# middle the size. Now the score on all pairs, as published and corrected. The diagonal, where every state meets itself, is left
# blank. The three subjects are the three blocks on the diagonal of the right map.

# %%
pa.plot.score_maps(
    {
        "published score": pa.resonance.matrix(passages, kind="original"),
        "corrected kernel": pa.resonance.matrix(passages),
    },
    labels=labels,
);

# %% [markdown]
# The published score divides alignment and coherence by the number of *shared* primes, so one common prime is enough for
# a high score: its map is speckled wherever two sentences share a single word ending. The corrected one divides by the
# primes of *either* state.
#
# Which shared primes make a score, largest first, and the words or word parts behind them:

# %%
pairs = pa.resonance.explain(passages, 0, passages, 1)
features = pa.encode.features_of(sentences)
for row in np.argsort(-pairs["contribution"])[:6]:
    prime = int(pairs["prime"][row])
    surface = {feature.surface for feature in features[0][prime]}
    print(f"{prime:7d}  {', '.join(sorted(surface)):12s} {pairs['contribution'][row]:.4f}")

# %% [markdown]
# ## Is it a kernel?
#
# The source calls its score positive semi-definite. Three states refute it: $\{2\}$, $\{2, 3\}$, $\{3\}$, all
# quaternions 1, all phases 0. The middle one agrees perfectly with both others, which do not meet. By hand, the
# smallest eigenvalue is $1 - 0.835\sqrt2$.

# %%
one = (1 + 0j, (1, 0, 0, 0))
averaging = pa.PrimeStates.from_dicts([{2: one}, {2: one, 3: one}, {3: one}])
original = pa.resonance.matrix(averaging, kind="original")
print(original)
print("smallest eigenvalue", np.linalg.eigvalsh(original)[0])
print("by hand            ", 1 - 0.835 * np.sqrt(2))

# %% [markdown]
# The absolute value in $|q \cdot q'|$ is a second, independent reason: four states on one prime, their quaternions 45
# degrees apart.

# %%
angles = np.radians([0, 45, 90, 135])
absolute = pa.PrimeStates.from_dicts(
    [{2: (1, (np.cos(t), np.sin(t), 0, 0))} for t in angles]
)
np.linalg.eigvalsh(pa.resonance.matrix(absolute, kind="original")).round(3)

# %% [markdown]
# The kernel replaces $|q \cdot q'|$ by its square, which is an inner product of $q q^\mathsf{T}$, and the mean over
# shared primes by a sum over shared primes divided by $|A \cup B|$. Both changes have a proof (on the page *Resonance* of the
# theory). The smallest eigenvalues of the kernel on the two witnesses:

# %%
witnesses = {"three states": averaging, "four quaternions": absolute}
for name, witness in witnesses.items():
    print(name, round(np.linalg.eigvalsh(pa.resonance.matrix(witness))[0], 12) + 0.0)

# %% [markdown]
# The first is well above 0. The second is 0 up to rounding: four quaternions in one plane have squares $q q^\mathsf{T}$ that
# span three dimensions. And the spectra on 256 random states of which many share primes, for both scores:

# %%
crowd = pa.PrimeStates.random(256, k=3, n_primes=12, rng=0)
fig, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
for ax, kind in zip(axes, ("original", "kernel"), strict=True):
    eigenvalues = np.linalg.eigvalsh(pa.resonance.matrix(crowd, kind=kind))
    pa.plot.spectrum(
        eigenvalues, ax=ax, title=f'kind="{kind}": smallest {eigenvalues[0]:.3g}'
    )

# %% [markdown]
# ## A finite feature map
#
# With `normalizer="sqrt"` the kernel is a plain inner product of 13 numbers for each active prime:

# %%
F = pa.resonance.features(crowd)
gram = pa.resonance.matrix(crowd, normalizer="sqrt")
print(F.shape, "largest difference", abs((F @ F.T).toarray() - gram).max())

# %% [markdown]
# ## Order
#
# The score of two states does not know where in a sequence they stand. Prefix composition with rotors writes the order of
# the states into their quaternions: each is turned by the product of all up to it. The same four states in two orders have
# the same matrix without it, up to the reordering, and different ones with it.

# %%
four = pa.PrimeStates.random(4, k=6, n_primes=8, rng=3)
swapped = [1, 0, 2, 3]
for name, prepare in {
    "plain": lambda s: s,
    "rotor": lambda s: s.cumcompose(mode="rotor"),
}.items():
    before = pa.resonance.matrix(prepare(four))[np.ix_(swapped, swapped)]
    after = pa.resonance.matrix(prepare(four[swapped]))
    print(f"{name}: largest change of a score {abs(before - after).max():.3f}")

# %% [markdown]
# ## A gradient, checked
#
# Every score has a hand-derived pullback. With `amplitude=True` it goes through the normalisation of the amplitudes. A
# central difference along a random direction:

# %%
rng = np.random.default_rng(0)
a, b = (
    pa.PrimeStates.random(5, k=4, n_primes=8, rng=1),
    pa.PrimeStates.random(6, k=4, n_primes=8, rng=2),
)
out, pullback = pa.resonance.vjp("matrix", a, b, amplitude=True)
dout = rng.standard_normal(out.shape)
gradient = pullback(dout)["a"]["amplitude"]

direction = rng.standard_normal(a.nnz) + 1j * rng.standard_normal(a.nnz)


def loss(step):
    moved = pa.PrimeStates.from_arrays(
        a.indptr, a.primes, a.amplitude + step * direction, a.orientation
    )
    return (pa.resonance.matrix(moved, b, amplitude=True) * dout).sum()


h = 1e-6
by_difference = (loss(h) - loss(-h)) / (2 * h)
by_hand = (gradient.conj() * direction).real.sum()
print(f"by difference {by_difference:.9f}, by hand {by_hand:.9f}")
