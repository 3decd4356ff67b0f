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
# # Kuramoto dynamics
#
# Oscillators that hear one another,
#
# $$\theta_i' = \omega_i + \frac{K}{N} \sum_j \sin(\theta_j - \theta_i),$$
#
# fall into step once the coupling $K$ is strong enough for the spread of their frequencies. This notebook watches that
# happen, compares it with the theory, and then gives the oscillators inertia, with which the way up is not the way down.

# %%
import matplotlib.pyplot as plt
import numpy as np

import primeattn as pa

plt.rcParams["figure.dpi"] = 110

# %% [markdown]
# ## One run
#
# A thousand oscillators with Gaussian frequencies. The frequencies are quantiles, not draws: the distribution without its
# sampling noise. The order parameter $R = |\frac1N \sum_j e^{i\theta_j}|$ is computed while the simulation runs.

# %%
theory = pa.dynamics.theory
model = pa.Kuramoto(pa.dynamics.frequencies.gaussian(1000), coupling=2.0)
run = pa.simulate(
    model,
    (0, 40),
    rng=0,
    save_theta=True,
    observables=("R", "psi", "frequencies"),
    transient=20,
)
run

# %% [markdown]
# Above, $R$ with the level that the self-consistent equation predicts, and the phases at the end: colour is the natural
# frequency, the arrow is the mean. Below, every phase in time. Slow oscillators lag, fast ones lead, the fastest and slowest
# at the edges of the raster drift.

# %%
pa.plot.trajectory(run, theory=theory.stationary_order_parameter("gaussian", 2.0));

# %% [markdown]
# The mean velocities after the transient say who is locked: a plateau at the common frequency, and drifting tails. Theory
# puts the border at $|\omega| = K R$.

# %%
edge = 2.0 * theory.stationary_order_parameter("gaussian", 2.0)
ax = pa.plot.lines(
    model.omega,
    {"natural": model.omega, "effective": run["frequencies"]},
    accent="effective",
)
for border in (-edge, edge):
    ax.axvline(border, color="#a9a499", linewidth=0.9, linestyle="--")
ax.set_xlabel("natural frequency");

# %% [markdown]
# ## R against K
#
# `sweep` simulates all couplings together, here two runs of each, and averages over time. The curve is the theory; below
# the critical coupling $K_c = \sqrt{8/\pi}$ what is left of $R$ is of the size $1/\sqrt N$, and just at $K_c$ it is slow.

# %%
data = pa.dynamics.sweep(
    model, coupling=np.linspace(0, 4, 33), runs=2, transient=40, duration=40, rng=1
)
pa.plot.synchronization(
    data,
    theory=lambda K: theory.stationary_order_parameter("gaussian", K),
    critical=theory.critical_coupling("gaussian"),
);

# %% [markdown]
# The largest difference from the theory for $K \ge 1.8$, against $1/\sqrt{N}$:

# %%
above = data.sel(coupling=slice(1.8, None))
difference = above.R.mean("run") - theory.stationary_order_parameter(
    "gaussian", above["coupling"].values
)
float(abs(difference).max().round(4)), round(1000**-0.5, 4)

# %% [markdown]
# ## Inertia, and hysteresis
#
# With inertia, $m \theta_i'' + \theta_i' = \omega_i + \dots$, an oscillator that drifts goes on drifting, and one that is
# locked stays so. Raise the coupling in steps, each run going on where the last one ended, then lower it again: between two
# couplings both states are stable, and which of them one sees depends on where one comes from.

# %%
heavy = pa.Kuramoto(pa.dynamics.frequencies.lorentzian(500, 1.0, limit=20.0), inertia=4.0)
loop = pa.dynamics.sweep(
    heavy,
    coupling=np.linspace(0, 12, 25),
    continuation="both",
    transient=25,
    duration=15,
    dt=0.02,
    rng=0,
)
pa.plot.synchronization(loop, title="Inertia 4: up and down");

# %% [markdown]
# The area between the two, in units of $K$:

# %%
R = loop.R.squeeze("run")
float(
    (R.sel(direction="backward") - R.sel(direction="forward"))
    .integrate("coupling")
    .round(2)
)

# %% [markdown]
# ## Two populations
#
# A *chimera*: two groups of identical oscillators, coupled more strongly within than between, with a lag close to a quarter
# turn. One group is in step, the other is not, although nothing tells them apart (Abrams, Mirollo, Strogatz and Wiley 2008).

# %%
n, A, beta = 128, 0.2, 0.1
mu, nu = (1 + A) / 2, (1 - A) / 2
groups = np.repeat([0, 1], n)
pair = pa.Kuramoto(
    np.zeros(2 * n), [[mu, nu], [nu, mu]], groups=groups, phase_lag=np.pi / 2 - beta
)
scattered = theory.poisson_phases(n, 0.73, psi=0.2, rng=0)
start = np.concatenate([np.zeros(n), scattered])
chimera = pa.simulate(
    pair, (0, 200), start, observables=("R_group", "chimera"), transient=100
)
pa.plot.lines(
    chimera.t[::4],
    {"in step": chimera["R_group"][::4, 0], "out of step": chimera["R_group"][::4, 1]},
    accent="out of step",
    xlabel="time",
    ylabel="R of a group",
);

# %% [markdown]
# The theory of infinitely many oscillators puts the second group at $R = 0.729$. Simulated, after the first half:

# %%
round(float(chimera["R_group"][100:, 1].mean()), 3)

# %% [markdown]
# All of it is in one plane: by Ott and Antonsen's reduction the group out of step has but two numbers, its order $r$ and
# its angle $\psi$ before the other group's. Where a line on which $r$ rests meets one on which $\psi$ rests, there is a
# chimera: filled if it is stable, open if not. Starts near $r = 1$ fall into step altogether.

# %%
lag = np.pi / 2 - beta


def two_numbers(psi, r):
    """The rates of psi and r while the other group is in step."""
    rise = mu * r * np.cos(lag) + nu * np.cos(psi - lag)
    turn = mu * r * np.sin(lag) - nu * np.sin(psi - lag)
    return (
        (1 + r**2) / (2 * r) * turn - mu * np.sin(lag) - nu * r * np.sin(psi + lag),
        (1 - r**2) / 2 * rise,
    )


states = theory.chimera_states(A, beta)
pa.plot.phase_portrait(
    two_numbers,
    (-0.8, 0.4),
    (0.5, 1.0),
    rest=[(state.psi, state.r) for state in states[:2]],
    names=("ψ", "r"),
    title="The group out of step",
)
[(round(state.r, 3), round(state.psi, 3), state.stable) for state in states]

# %% [markdown]
# ## On spheres
#
# The same call for unit vectors in three dimensions, each with a rotation of its own. Any positive coupling orders half of what
# there is, given time (of the order of $1/K$): in odd dimensions every rotation leaves an axis alone, and the axes align
# (Chandra, Girvan and Ott 2019). On the circle, where nothing is left alone, order has to wait for a threshold.

# %%
couplings = np.array([0.3, 0.6, 0.9, 1.2, 1.5, 1.8, 2.1, 2.4, 3.0])
expected = {
    2: lambda K: theory.stationary_order_parameter("gaussian", K),
    3: lambda K: float(theory.sphere_order_parameter(np.array([K]))[0]) if K > 0 else 0.0,
}
critical = {2: theory.critical_coupling("gaussian"), 3: None}
figure = plt.figure(figsize=(9, 3.6), layout="constrained")
for ax, dimension in zip(figure.subplots(1, 2, sharey=True), expected, strict=True):
    spheres = pa.dynamics.Spheres(pa.dynamics.frequencies.rotations(1000, dimension, rng=0))
    data = pa.dynamics.sweep(
        spheres, coupling=couplings, transient=80, duration=20, samples=21, dt=0.05, rng=1
    )
    pa.plot.synchronization(
        data,
        ax=ax,
        theory=expected[dimension],
        critical=critical[dimension],
        title=f"{'circle' if dimension == 2 else 'sphere'}, D = {dimension}",
    )

# %% [markdown]
# ## Weights that learn
#
# Sixty oscillators of three natural frequencies, all coupled alike at first. With Hebb's rule a weight tends to the cosine of
# the two phases' difference: those in step end at 1, those half a turn apart at $-1$, and weights between groups that drift
# past each other average out. The matrix of weights, at the end, has found the three groups, and within a group it shows who
# settled half a turn from the others: both states are stable.

# %%
speeds = np.repeat([-2.0, 0.0, 2.0], 20) + 0.05 * np.random.default_rng(0).standard_normal(
    60
)
network = 1 - np.eye(60)
learner = pa.Kuramoto(speeds, 2.0, network, adaptation=0.1)
run = pa.simulate(learner, (0, 100), rng=0)
learned = np.zeros((60, 60))
learned[network > 0] = run.states_end["weights"]
group = [f"ω near {center:g}" for center in (-2, 0, 2) for _ in range(20)]
pa.plot.score_map(learned, labels=group, limits=(-1, 1), colorbar_label="weight");
