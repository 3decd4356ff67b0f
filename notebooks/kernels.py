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
# # Kernels: what is and is not positive semidefinite
#
# A symmetric score is a *kernel* if its matrix over any points has no negative eigenvalue (*positive semidefinite*). Then it
# is an inner product of features, distances make sense, attention has a linear form wherever the features are finitely many,
# and support vector machines and kernel ridge regression are what their theory says. This notebook asks which scores of this
# library are kernels, proves the answer, and shows what happens to those who use one that is not.

# %%
import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import make_moons
from sklearn.kernel_ridge import KernelRidge
from sklearn.svm import SVC

import primeattn as pa

plt.rcParams["figure.dpi"] = 110
symbolic = pa.study.symbolic

# %% [markdown]
# ## Profiles
#
# Most mechanisms weigh a pair by a function $f$ of one number, $z = \alpha\, q \cdot k$. Each curve is divided by its largest
# value in the window, as rows of attention are divided by their sums. (Scores of linear attention are never negative: the left half of its panel is not
# reached.)

# %%
names = ["dot_product", "expressive", "squared", "linear", "uniform"]
pa.plot.kernel_profiles({name.replace("_", " "): symbolic.score(name) for name in names});

# %% [markdown]
# ## A proof, and a refutation
#
# If $f$ has a power series without negative coefficients, $f(x \cdot y)$ is a sum of Schur powers of a Gram matrix, and so
# positive semidefinite. Schoenberg showed that on the spheres of all dimensions nothing else is. SymPy finds the
# coefficients:

# %%
symbolic.prove_psd("dot_product")

# %%
symbolic.prove_psd("expressive")

# %% [markdown]
# Two points on a line, 1 and 3, are enough: their determinant is negative in exact numbers. The published resonance score
# fails for two reasons, each with a witness of a few states, and the corrected one is a kernel:

# %%
symbolic.prove_psd("resonance:original")

# %%
[
    symbolic.prove_psd(name).verdict
    for name in ("resonance:kernel", "resonant", "kuramoto", "elliptical")
]

# %% [markdown]
# ## Spectra
#
# Eigenvalues of the Gram matrices of 80 points, or of 80 random states, largest first, on one scale. `certify` bounds what
# rounding may have done to them, so that a negative one is no accident.

# %%
points = np.random.default_rng(0).normal(size=(80, 4))
states = pa.PrimeStates.random(80, 4, n_primes=12, rng=0)
names = ["dot_product", "expressive", "squared", "resonance:original", "resonance:kernel"]
grams = {
    name: pa.study.gram(name, states if "resonance" in name else points) for name in names
}
certificates = {name: pa.study.certify((gram + gram.T) / 2) for name, gram in grams.items()}
titles = {name: name.replace("_", " ").replace(":", ", ") for name in names}
pa.plot.gram_spectra(
    {titles[name]: found.eigenvalues for name, found in certificates.items()},
    bounds={titles[name]: found.error for name, found in certificates.items()},
    columns=3,
);

# %%
{
    titles[name]: (found.verdict, f"{found.smallest:.3g} ± {found.error:.1g}")
    for name, found in certificates.items()
}

# %% [markdown]
# ## scikit-learn takes them as they are
#
# `study.gram` gives the matrix that scikit-learn calls *precomputed*. Two half moons, 200 to train on, 200 to test; a support
# vector machine by the kernel of softmax attention (with unit diagonal it is the Gaussian) and by that of expressive attention.

# %%
x, y = make_moons(400, noise=0.15, random_state=0)
x = 2 * (x - x.mean(axis=0))
train, test = np.arange(200), np.arange(200, 400)


def parts(name):
    """Gram matrices of the training set, and of the test set against it."""
    gram = pa.study.gram(name, x)
    return gram[np.ix_(train, train)], gram[np.ix_(test, train)]


scores = {}
for name in ("dot_product", "expressive"):
    inner, cross = parts(name)
    machine = SVC(kernel="precomputed", C=10.0).fit(inner, y[train])
    scores[titles[name]] = float(machine.score(cross, y[test]))
scores

# %% [markdown]
# Expressive attention cannot do it, and not only because it is no kernel: it does not tell $x$ from $-x$, and sees hardly more
# than directions. On a task that suits it, the sign of $x_1 x_2$, it does better, though not as well as its limit of small
# scores, squared attention, which is a kernel:

# %%
x = np.random.default_rng(1).normal(size=(400, 2))
y = (x[:, 0] * x[:, 1] > 0).astype(int)
scores = {}
for name in ("dot_product", "expressive", "squared"):
    inner, cross = parts(name)
    scores[name.replace("_", " ")] = float(
        SVC(kernel="precomputed", C=10.0).fit(inner, y[train]).score(cross, y[test])
    )
scores

# %% [markdown]
# ## Where it hurts
#
# Ridge regression solves $(K + \lambda)\,c = y$, by a Cholesky decomposition, which needs a positive matrix. scikit-learn
# says so, and falls back on least squares:

# %%
target = x[:, 0] * x[:, 1] / (x**2).sum(axis=1)
for name in ("squared", "expressive"):
    inner, cross = parts(name)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        fit = (
            KernelRidge(alpha=0.1, kernel="precomputed")
            .fit(inner, target[train])
            .predict(cross)
        )
    error = float(np.sqrt(np.mean((fit - target[test]) ** 2)))
    print(
        f"{name}: error {error:.3f}",
        *(f"  {warning.message}" for warning in said),
        sep="\n",
    )

# %% [markdown]
# Every eigenvalue gets $\lambda$ added, and is divided by. With a kernel nothing can be divided by zero. Without one some
# eigenvalue is $-\lambda$ for the wrong $\lambda$, and near it the predictions explode. The test error against $\lambda$, of
# the plain solution:

# %%
ridges = np.geomspace(1e-2, 10, 241)
errors = {}
for name in ("squared", "expressive"):
    inner, cross = parts(name)
    values, vectors = np.linalg.eigh((inner + inner.T) / 2)
    inside, across = vectors.T @ target[train], cross @ vectors
    fits = (across @ (inside / (values + ridge)) for ridge in ridges)
    errors[name] = [float(np.sqrt(np.mean((fit - target[test]) ** 2))) for fit in fits]
ax = pa.plot.lines(
    ridges, errors, accent="expressive", xlabel="ridge λ", ylabel="root mean square error"
)
ax.set_xscale("log")
ax.set_yscale("log")
for line in (*ax.lines, *ax.get_legend().get_lines()):
    line.set_marker("")

# %% [markdown]
# The "squared length" $c^\mathsf{T} K c$ of the function with coefficients $c$ shows why. Along the eigenvector of the smallest
# eigenvalue it is negative: a function shorter than nothing, which a penalty on length rewards.

# %%
inner, _ = parts("expressive")
found = pa.study.certify((inner + inner.T) / 2)
float((found.vector @ inner @ found.vector).round(3))

# %% [markdown]
# ## What to do
#
# Use a kernel that is one and means the same: squared attention is the limit of expressive attention for small scores, and
# the corrected resonance score measures what the published one measures. Or repair the matrix: cut the negative eigenvalues
# off. That is the nearest positive semidefinite matrix (in the Frobenius norm), but it needs all points at once and has no
# feature map for new ones.

# %%
values, vectors = np.linalg.eigh((inner + inner.T) / 2)
cut = (vectors * np.maximum(values, 0)) @ vectors.T
(
    pa.study.certify((cut + cut.T) / 2).verdict,
    float(np.linalg.norm(cut - inner) / np.linalg.norm(inner)),
)
