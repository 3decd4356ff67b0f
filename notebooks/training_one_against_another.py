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
# # Training, one against another
#
# Mechanisms of attention are easy to compare on paper and hard to compare in use. This notebook trains small language models,
# each with another mechanism and the same number of parameters, on the same batches of the same text, and then asks two
# questions whose answers are known: does a model know order, and can it learn a rule?

# %%
import textwrap

import matplotlib.pyplot as plt
from IPython.display import Markdown

import primeattn as pa

plt.rcParams["figure.dpi"] = 110

# %% [markdown]
# ## A text and two yardsticks
#
# The language reference that every CPython carries, byte by byte. Two figures need no model: the bits a byte costs by the
# frequencies of single bytes, and by xz, which packs the held-out part after it has seen the training part. A model that has
# learned anything about order is below the first; these small ones stay above the second.

# %%
task = pa.train.TextTask(most=4096)
yardsticks = {"single bytes": task.unigram_bits(), "xz": task.xz_bits()}
{part: len(task.ids(part)) for part in ("train", "validation", "test")} | yardsticks

# %% [markdown]
# ## One model
#
# Batch n is a function of the seed and n, so the same call gives the same bits; with `checkpoint="folder"` it would also go on
# after `kill -9`.

# %%
model = pa.nn.LanguageModel("dot_product", layers=2, width=64, heads=2, context=64, rng=0)
result = pa.train.fit(model, task, steps=200, batch=8, rate=4e-3, rng=0)
result

# %%
metrics = result.metrics
curves = {
    "training": (metrics.tokens, metrics.bits_per_character),
    "held out": (metrics.validation_tokens, metrics.validation_bits_per_character),
}
pa.plot.learning(curves, levels=yardsticks);

# %% [markdown]
# A sample says more than a figure. After 100,000 bytes the model has letters, the lengths of words and a few of the shortest;
# it knows no grammar.

# %%
prompt = "The "
ids = model.generate(list(prompt.encode()), 200, temperature=0.7, rng=0)
print(textwrap.fill(prompt + bytes(int(i) for i in ids).decode("utf-8", "replace"), 88))

# %% [markdown]
# ## One against another
#
# The feed-forward layers are as wide as makes the parameters equal. Two seeds show how far seeds alone drive runs apart: a
# difference between mechanisms that is not larger means nothing.

# %%
names = ["dot_product", "squared", "expressive", "kuramoto"]
small = {"layers": 2, "width": 32, "heads": 2, "context": 32}
options = {"steps": 120, "batch": 8, "rate": 6e-3, "progress": False}
found = pa.train.compare(
    names, task, seeds=2, model=small, parameters=40_000, workers=1, **options
)
table = (
    found.table[["parameters", "mean", "least", "most"]].to_dataframe().droplevel("task")
)
table.astype({"parameters": int}).round(3)

# %%
mean = found.data.curve.sel(task="text").mean("seed")
seen = found.data.evaluated * 8 * 32
pa.plot.learning(
    {name: (seen, mean.sel(mechanism=name)) for name in names}, levels=yardsticks
);

# %% [markdown]
# ## Does it know order?
#
# Four of six symbols in a row, then two of the four: which came first? One layer without positions sees a bag of tokens and has
# to guess. With positions the answer can be learned.

# %%
order = pa.train.OrderDiscrimination(symbols=6, length=4)
one = {"layers": 1, "width": 32, "heads": 2}
variants = {
    "dot product, no positions": {"mechanism": "dot_product", "positions": "none"},
    "dot product, rotary": {"mechanism": "dot_product"},
    "dot product, learned": {"mechanism": "dot_product", "positions": "learned"},
}
asked = pa.train.compare(
    variants,
    order,
    seeds=1,
    model=one,
    steps=300,
    batch=64,
    rate=5e-3,
    workers=1,
    progress=False,
)
asked.data.accuracy.sel(task="order", seed=0).to_series()

# %% [markdown]
# ## Can it learn a rule?
#
# NT(2, 5): each symbol is the exclusive or of the last one and that of five ago. How many steps does it take until all of 9,216
# predictions are right?

# %%
rule = pa.train.NT(2, 5)
one = {"layers": 1, "width": 32, "heads": 1, "hidden": 128, "positions": "learned"}
options = {
    "steps": 600,
    "batch": 64,
    "rate": 2e-3,
    "schedule": "constant",
    "decay": 0.0,
    "evaluate_every": 100,
}
solved = pa.train.compare(
    names[:3], rule, seeds=2, model=one, workers=1, progress=False, **options
)
Markdown(solved.markdown())

# %% [markdown]
# Two seeds prove nothing: the interval after "solved" says how little. `primeattn train docs/examples/nt.toml` runs twenty.
