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
# # A quick tour
#
# Attention mechanisms as things to question: where they look, what they are, how their gradients come about, and what they
# do to tokens layer after layer. Everything here is NumPy arrays in, NumPy arrays out.

# %%
import matplotlib.pyplot as plt
import numpy as np

import primeattn as pa

plt.rcParams["figure.dpi"] = 110

# %% [markdown]
# ## Ten mechanisms, one shape
#
# Every mechanism is a function of arrays whose last two axes are tokens and width. `MECHANISMS` knows them all, so that a
# loop can ask each of them the same. Here twelve tokens on a circle attend one another. The scale of colours is the same in
# every map: its middle is an even share, one step is twice or half as much. (`reference` is the formula in plain NumPy: nothing
# needs compiling for a first look. `forward` is the fast code, and tests hold the two equal.)

# %%
angle = 2 * np.pi * np.arange(12) / 12
x = 1.5 * np.stack(
    [np.cos(angle), np.sin(angle), np.cos(3 * angle), np.sin(3 * angle)], axis=-1
)
maps = {}
for name, mechanism in pa.attention.MECHANISMS.items():
    sample = mechanism.of_vectors(x)
    weights = mechanism.reference(*sample.inputs, **sample.options, return_weights=True)[1]
    maps[name.replace("_", " ")] = weights.reshape(-1, 12, 12).mean(axis=0)
pa.plot.attention_maps(maps);

# %% [markdown]
# Most look at tokens that point the same way. *Expressive* and *squared* also look at those that point the opposite way,
# *linear* hardly tells them apart, *position only* does not look at tokens at all, and *uniform* is the control.

# %% [markdown]
# ## A gradient, three times
#
# `vjp` gives the output and a pullback: gradients derived by hand. SymPy derives them again, step by step, from the text of
# the score that stands in the mechanism's file.

# %%
pa.study.symbolic.derivation("expressive")

# %% [markdown]
# And a complex step through the formula in plain NumPy says the same to the last digits:

# %%
rng = np.random.default_rng(0)
q, k, v, direction = rng.normal(size=(4, 6, 3))
out, pullback = pa.attention.vjp("expressive", q, k, v)
by_hand = (pullback(np.ones_like(out))["q"] * direction).sum()
reference = pa.attention.MECHANISMS["expressive"].reference
by_step = reference(q + 1e-30j * direction, k, v).sum().imag / 1e-30
f"{by_hand:.15f} {by_step:.15f}"

# %% [markdown]
# ## What they are
#
# A mechanism makes a claim on every property: a theorem, which is run on drawn samples, or a failure with a witness, which is
# verified. The study turns the claims into a table.

# %%
table = pa.study.properties(
    ["dot_product", "expressive", "squared", "resonance:original"], sets=3, timing=False
)
table.verdict.to_pandas().T

# %% [markdown]
# Expressive attention and the published resonance score are no kernels. How far the smallest
# eigenvalue of their witness is below zero:

# %%
fails = table.verdict.sel(property="PSD") == "fails"
table.violation.sel(property="PSD")[fails].to_series().round(3)

# %% [markdown]
# ## Prime states
#
# A text becomes a sparse set of primes, each with an amplitude and a quaternion; texts that share words share primes.

# %%
texts = [
    "the cat sat on the mat",
    "a cat on a mat",
    "prices fell sharply",
    "sharp falls in the prices of corn",
]
states = pa.PrimeStates.from_text(texts)
pa.plot.score_map(
    pa.resonance.matrix(states), labels=texts, diagonal=True, title="Resonance"
);

# %% [markdown]
# ## Layer after layer
#
# Tokens that attend one another again and again are particles that attract one another. On the sphere, with nothing in
# between the layers, softmax and linear attention gather all tokens in one point. The order parameter is the length of the
# tokens' mean: 1 is a single point. (Medians of five runs; 150 layers with a step of 0.1.) On the right the ways of the tokens
# of one run, from the dark dots to the bright ones.

# %%
names = ["dot_product", "expressive", "linear", "position_only"]
runs = {
    name.replace("_", " "): pa.study.dynamics_of(name, tokens=24, runs=5, depth=150, rng=0)
    for name in names
}
figure = plt.figure(figsize=(9, 3.6), layout="constrained")
left, right = figure.subplots(1, 2, width_ratios=[1.4, 1])
pa.plot.order_by_layer(runs, ax=left)
pa.plot.token_paths(runs["dot product"], ax=right, title="dot product");

# %% [markdown]
# From here: [prime states and resonance](prime_states_and_resonance.ipynb), [quaternions and
# order](quaternions_and_order.ipynb), [what is and is not a kernel](kernels.ipynb), [Kuramoto
# dynamics](kuramoto_dynamics.ipynb), [training one mechanism against another](training_one_against_another.ipynb).
