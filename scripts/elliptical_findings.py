"""Two small experiments with elliptical attention, as printed on its theory page.

    python scripts/elliptical_findings.py [--trials 50] [--seeds 8] [--json FILE]

Regression: a function of the first coordinate only, 256 noisy samples, kernel regression (distance metric) with the
best of 25 bandwidths; mean squared error of an isotropic metric, a random one, and one that is told which axis matters.

Collapse: 24 layers of random attention with residuals and normalisation, 64 tokens of width 64, 4 heads; the mean
cosine between tokens, the entropy of the weights, and how much the output changes if the input does by a tenth. Dot
product at the entropy of elliptical attention and a random relevance stand beside it: without them a change of
temperature passes for an effect of the metric. Ten seconds on one core.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from primeattn import attention

LAYERS, TOKENS, WIDTH, HEADS = 24, 64, 64, 4
SHOWN = (1, 6, 12, 24)


def regression(width: int, trials: int, irrelevant: float = 0.05) -> dict[str, np.ndarray]:
    """Mean squared errors, one a trial; targets are sin 2 x_1 with noise 0.3, x standard normal."""
    errors: dict[str, list[float]] = {"isotropic": [], "random": [], "oracle": []}
    for seed in range(trials):
        rng = np.random.default_rng(seed)
        x, unseen = rng.standard_normal((2, 256, width))
        y = np.sin(2 * x[:, :1]) + 0.3 * rng.standard_normal((256, 1))
        metrics = {
            "isotropic": np.ones(width),
            "random": attention.random_relevance((width,), rng),
            "oracle": np.where(np.arange(width) == 0, 1.0, irrelevant),
        }
        for name, m in metrics.items():
            fits = (
                attention.elliptical(unseen, x, y, relevance=m, metric="distance", scale=h**-2)
                for h in np.geomspace(0.05, 3, 25)
            )
            errors[name].append(min(float(np.mean((fit[:, 0] - np.sin(2 * unseen[:, 0])) ** 2)) for fit in fits))
    return {name: np.array(e) for name, e in errors.items()}


def normalized(x):
    x = x - x.mean(axis=-1, keepdims=True)
    return x / x.std(axis=-1, keepdims=True)


def by_head(x):
    return np.ascontiguousarray(x.reshape(TOKENS, HEADS, -1).swapaxes(0, 1))


def network(x, weights, relevance, temperature=1.0):
    """Outputs after every layer and the mean entropy. ``relevance(layer, v, v_previous)``: None is the dot product."""
    states, entropies, previous = [], [], None
    scale = temperature * (WIDTH // HEADS) ** -0.5
    for layer, (query, key, value, out) in enumerate(weights):
        h = normalized(x)
        q, k, v = (by_head(h @ w) for w in (query, key, value))
        m = None if previous is None else relevance(layer, v, previous)
        m = np.ones(v.shape[-1]) if m is None else m
        y, p = attention.elliptical(q, k, v, relevance=m, scale=scale, return_weights=True)
        x = x + y.swapaxes(0, 1).reshape(TOKENS, WIDTH) @ out
        entropies.append(float(-(p * np.log(np.maximum(p, 1e-300))).sum(axis=-1).mean()))
        states.append(x)
        previous = v
    return states, float(np.mean(entropies))


def cosine(x) -> float:
    """Mean cosine between different tokens."""
    unit = x / np.linalg.norm(x, axis=-1, keepdims=True)
    table = unit @ unit.T
    return float((table.sum() - len(x)) / (len(x) * (len(x) - 1)))


def matched(x, weights, entropy: float) -> float:
    """The temperature factor at which the dot product has this entropy, by bisection; entropy falls with it."""
    low, high = 0.2, 2.0
    for _ in range(30):
        middle = (low + high) / 2
        _, found = network(x, weights, lambda layer, v, before: None, middle)
        low, high = (middle, high) if found > entropy else (low, middle)
    return (low + high) / 2


def collapse(seeds: int) -> dict[str, np.ndarray]:
    """For every case, (seeds, cosines at SHOWN + change of the output + entropy)."""
    rows: dict[str, list[list[float]]] = {}
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        weights = rng.standard_normal((LAYERS, 4, WIDTH, WIDTH)) / WIDTH**0.5
        x, noise = rng.standard_normal((2, TOKENS, WIDTH))
        chance = attention.random_relevance((LAYERS, HEADS, WIDTH // HEADS), rng)
        cases = {
            "dot product": lambda layer, v, before: None,
            "elliptical, max": lambda layer, v, before: attention.layer_relevance(v, before),
            "elliptical, mean": lambda layer, v, before: attention.layer_relevance(v, before, normalize="mean"),
            "random relevance": lambda layer, v, before, chance=chance: chance[layer],
        }
        _, entropy = network(x, weights, cases["elliptical, max"])
        factors = dict.fromkeys(cases, 1.0) | {"dot product, that entropy": matched(x, weights, entropy)}
        for name, factor in factors.items():
            relevance = cases.get(name, cases["dot product"])
            states, entropy = network(x, weights, relevance, factor)
            moved, _ = network(x + 0.1 * noise, weights, relevance, factor)
            change = np.linalg.norm(moved[-1] - states[-1]) / np.linalg.norm(states[-1])
            rows.setdefault(name, []).append([*(cosine(states[i - 1]) for i in SHOWN), float(change), entropy])
    return {name: np.array(r) for name, r in rows.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--json", type=Path, help="write the numbers here as well")
    options = parser.parse_args()
    found: dict = {"regression": {}, "collapse": {}}
    print(f"mean squared error, mean and standard deviation of {options.trials} trials\n")
    print("| width | isotropic | random | oracle |\n|---|---|---|---|")
    for width in (2, 8):
        errors = regression(width, options.trials)
        found["regression"][width] = {name: e.tolist() for name, e in errors.items()}
        print("|", " | ".join([str(width), *(f"{e.mean():.4f} ± {e.std():.4f}" for e in errors.values())]), "|")
    print(f"\ncosine between tokens, change of the output, entropy; mean ± standard deviation, {options.seeds} seeds\n")
    print("| |", " | ".join([*(f"layer {i}" for i in SHOWN), "change", "entropy"]), "|\n" + "|---" * 7 + "|")
    for name, rows in collapse(options.seeds).items():
        found["collapse"][name] = rows.tolist()
        cells = [f"{m:.3f} ± {s:.3f}" for m, s in zip(rows.mean(axis=0), rows.std(axis=0), strict=True)]
        print("|", " | ".join([name, *cells]), "|")
    if options.json:
        options.json.write_text(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
