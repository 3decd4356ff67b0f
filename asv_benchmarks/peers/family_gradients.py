"""Every variant of every mechanism: outputs and hand-derived gradients beside PyTorch's autograd, in float64.

`family.py --part gradients` runs it. A check is a function, what is special about it, its text in PyTorch, arrays, and
options; the texts are in `family_texts`. PyTorch reads everything from files, so it may live elsewhere.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from family_texts import PRELUDE, TEXTS

WANTED = 1e-12  # relative to the largest number of the output or gradient
BATCH, HEADS, TOKENS, WIDTH, DEPTH = 2, 2, 24, 6, 5


class Check(NamedTuple):
    """``name(*inputs, **parameters, **options)``; ``numbers``: what else the text reads."""

    name: str
    variant: str
    inputs: Mapping[str, Any]
    parameters: Mapping[str, Any] = {}
    options: Mapping[str, Any] = {}
    numbers: Mapping[str, Any] = {}


def band(queries: int, keys: int, causal=False, mask=True, window=None):
    ahead = np.arange(keys) - np.arange(keys - queries, keys)[:, None]
    near = np.ones_like(ahead, bool) if window is None else abs(ahead) < window
    return near & (ahead <= 0 if causal else True) & mask


def vectors(rng, *, queries=TOKENS, keys=TOKENS, key_heads=HEADS, heads=HEADS, depth=DEPTH):
    shapes = (BATCH, heads, queries, WIDTH), (BATCH, key_heads, keys, WIDTH), (BATCH, key_heads, keys, depth)
    return dict(zip("qkv", (rng.standard_normal(s) for s in shapes), strict=True))


def some(rng, queries=TOKENS, keys=TOKENS):
    """Half of the pairs, the last key always among them, so that no row is empty."""
    return (rng.random((queries, keys)) < 0.5) | (np.arange(keys) == keys - 1)


def of_vectors(rng, name: str, variants: dict[str, dict], more: Callable[[dict, dict], tuple[dict, dict]]) -> Iterator:
    """Checks of a mechanism of q, k, v; ``more(arrays, options)`` gives its parameters and further numbers."""
    for variant, given in variants.items():
        options, sizes = dict(given), dict(given.get("sizes", {}))
        options.pop("sizes", None)
        arrays = vectors(rng, **sizes)
        parameters, numbers = more(arrays, options)
        queries, keys = arrays["q"].shape[-2], arrays["k"].shape[-2]
        if options.pop("top_k", False):
            from primeattn.attention import top_k_mask

            options["mask"] = top_k_mask(name, *arrays.values(), **parameters, **options, keep=5)
        limits = {n: options[n] for n in ("causal", "mask", "window") if n in options}
        numbers = {"rope": options.get("rope", 0.0), "allowed": band(queries, keys, **limits), **numbers}
        yield Check(name, variant, arrays, parameters, options, numbers)


def scores(rng) -> Iterator[Check]:
    """What all mechanisms of q, k and v take, each on each."""
    padding = np.arange(TOKENS) < TOKENS - 7
    common: dict[str, dict] = {
        "causal": {"causal": True},
        "key padding": {"mask": padding},
        "mask, window": {"mask": some(rng), "window": 9, "causal": False},
        "causal, window": {"causal": True, "window": 5},
        "top-k": {"top_k": True},
        "Tq < Tk, causal": {"causal": True, "sizes": {"queries": 9}},
        "Tq > Tk": {"sizes": {"queries": 31, "keys": 17}},
        "grouped heads": {"causal": True, "sizes": {"heads": 4}},
    }
    common["mask, window"]["mask"] |= np.eye(TOKENS, dtype=bool)
    turns = {"rope": {"causal": True, "rope": 30.0}}

    def scaled(value=None, **numbers):
        def more(arrays, options):
            scale = WIDTH**-0.5 if value is None else value
            return ({} if value is None else {"scale": value}), {"scale": scale, **numbers}

        return more

    level = np.zeros(HEADS)
    for variant, given in {**common, **turns}.items():
        flat = np.zeros(given.get("sizes", {}).get("heads", HEADS))
        yield from of_vectors(rng, "dot_product", {variant: given}, scaled(alibi=flat))
    yield from of_vectors(rng, "dot_product", {"scale": {"causal": True}}, scaled(0.7, alibi=level))
    slopes = np.array([0.3, 1.1])
    yield from of_vectors(rng, "dot_product", {"alibi": {"causal": True, "alibi": slopes}}, scaled(alibi=slopes))
    yield from of_vectors(rng, "expressive", {**common, **turns}, scaled(eps=1e-6))
    yield from of_vectors(
        rng, "expressive", {"scale, eps": {"causal": True}},
        lambda arrays, options: ({"scale": 1.7, "eps": 0.2}, {"scale": 1.7, "eps": 0.2}),
    )  # fmt: skip
    for form in ("quadratic", "linear"):
        linear = ("causal", "key padding", "Tq < Tk, causal", "Tq > Tk", "grouped heads", "rope")
        variants = {n: x for n, x in {**common, **turns}.items() if form == "quadratic" or n in linear}
        named = {f"{form}: {n}": {**x, "form": form} for n, x in variants.items()}
        yield from of_vectors(rng, "squared", named, lambda arrays, options: ({}, {}))
    yield from of_vectors(rng, "linear", common, lambda arrays, options: ({}, {}))
    for variant in ("causal", "key padding", "mask, window", "causal, window"):
        given = common[variant]
        v = {"v": vectors(rng)["v"]}
        yield Check("uniform", variant, v, {}, given, {"allowed": band(TOKENS, TOKENS, **given)})


def low_rank(rng) -> Iterator[Check]:
    def more(query, value=None):
        def bases(arrays, options):
            heads, rank = arrays["k"].shape[1], 3
            found = {"basis_key": rng.standard_normal((heads, WIDTH, rank)) / 2}
            found["basis_value"] = rng.standard_normal((heads, DEPTH, 2)) / 2
            if query:
                found["basis_query"] = rng.standard_normal((heads, WIDTH, rank)) / 2
            numbers = {} if query else {"basis_query": None}
            if value is not None:
                return {**found, "scale": value}, {**numbers, "scale": value}
            return found, {**numbers, "scale": WIDTH**-0.5}

        return bases

    turns = {"causal": True, "rope": 30.0}
    variants: dict[str, tuple[dict, Any]] = {
        "one basis": ({"causal": True}, more(False)),
        "basis_query": ({"causal": True}, more(True)),
        "rope after lifting": (turns, more(False)),
        "rope, basis_query": (turns, more(True)),
        "scale": ({"causal": True}, more(True, 0.7)),
        "key padding": ({"mask": np.arange(TOKENS) < TOKENS - 7}, more(True)),
        "top-k": ({"top_k": True}, more(True)),
        "Tq < Tk": ({"causal": True, "sizes": {"queries": 9}}, more(True)),
        "grouped heads": ({"causal": True, "sizes": {"heads": 4}}, more(True)),
    }
    for variant, (given, bases) in variants.items():
        yield from of_vectors(rng, "eigen", {variant: given}, bases)


def metrics(rng) -> Iterator[Check]:
    def more(shape, metric, paired=False):
        def relevance(arrays, options):
            m = rng.uniform(0.2, 1, shape(arrays["q"].shape))
            m = np.concatenate([m[..., : WIDTH // 2]] * 2, axis=-1) if paired else m
            options["metric"] = metric
            return {"relevance": m}, {"distance": metric == "distance", "scale": WIDTH**-0.5}

        return relevance

    shapes = {"a head": lambda q: (q[1], q[3]), "a query": lambda q: q, "all": lambda q: (q[3],)}
    sizes: dict[str, dict] = {"": {}, ", grouped": {"sizes": {"heads": 4}}, ", Tq < Tk": {"sizes": {"queries": 9}}}
    for metric in ("dot", "distance"):
        for of, shape in shapes.items():
            for what, size in sizes.items():
                given = {f"{metric}, one m {of}{what}": {"causal": True, **size}}
                yield from of_vectors(rng, "elliptical", given, more(shape, metric))
        for of in ("a head", "a query"):
            given = {f"{metric}, one m {of}, rope": {"causal": True, "rope": 30.0}}
            yield from of_vectors(rng, "elliptical", given, more(shapes[of], metric, paired=True))
        given = {f"{metric}, key padding": {"mask": np.arange(TOKENS) < TOKENS - 7}}
        yield from of_vectors(rng, "elliptical", given, more(shapes["a head"], metric))
    present = rng.random((HEADS, TOKENS)) < 0.6
    present[:, 0] = True
    values = dict(zip(("v_now", "v_previous"), rng.standard_normal((2, BATCH, HEADS, TOKENS, DEPTH)), strict=True))
    for how in ("max", "mean", None):
        for causal in (False, True):
            for mask in (None, present):
                variant = f"{how}{', causal' * causal}{', masked' * (mask is not None)}"
                options = {"normalize": how, "causal": causal, "mask": mask, "delta": 2.5}
                numbers = {"present": mask, "causal": causal, "delta": 2.5, "how": how or ""}
                yield Check("layer_relevance", variant, values, {}, options, numbers)


def positions(rng) -> Iterator[Check]:
    from primeattn.attention import Symmetry

    six = np.array(
        [[0, 1, 2, 3, 4, 5], [1, 2, 0, 4, 5, 3], [2, 0, 1, 5, 3, 4], [3, 5, 4, 0, 2, 1], [4, 3, 5, 1, 0, 2],
         [5, 4, 3, 2, 1, 0]]
    )  # fmt: skip
    inverse = np.argmin(six, axis=1)
    places = np.stack(np.unravel_index(np.arange(TOKENS), (4, 6)), axis=-1)
    apart = (places[:, None] - places) % np.array([4, 6])
    lag = np.arange(TOKENS)[:, None] - np.arange(TOKENS)
    groups: dict[str, tuple[Any, Any, int, dict]] = {
        "free": (None, None, TOKENS, {}),
        "lattice 4 x 6": ((4, 6), np.ravel_multi_index(np.moveaxis(apart, -1, 0), (4, 6)), TOKENS, {}),
        "permutations of 3": (Symmetry.from_table(six), six[:, inverse], 6, {}),
        "shift": ("shift", np.where(lag >= 0, lag, -1), TOKENS, {"causal": True}),
    }
    for what, (symmetry, number, tokens, options) in groups.items():
        for softmax in (False, True):
            for form in ("table",) if what in ("free", "permutations of 3") else ("table", "convolution"):
                v = {"v": rng.standard_normal((BATCH, HEADS, tokens, DEPTH))}
                alpha = rng.standard_normal((HEADS, tokens, tokens) if number is None else (HEADS, tokens))
                given = {"symmetry": symmetry, "softmax": softmax, "form": form, **options}
                numbers = {"number": number, "normalised": softmax, "allowed": band(tokens, tokens, **options)}
                variant = f"{what}{', softmax' * softmax}, {form}"
                yield Check("position_only", variant, v, {"alpha": alpha}, given, numbers)
    mask = some(rng)
    for softmax in (False, True):
        v, alpha = rng.standard_normal((BATCH, HEADS, TOKENS, DEPTH)), rng.standard_normal((HEADS, TOKENS, TOKENS))
        numbers = {"number": None, "normalised": softmax, "allowed": band(TOKENS, TOKENS, mask=mask)}
        options = {"softmax": softmax, "mask": mask}
        yield Check("position_only", f"free, mask{', softmax' * softmax}", {"v": v}, {"alpha": alpha}, options, numbers)


def phases(rng) -> Iterator[Check]:
    tokens, heads, width = 12, 2, 3
    d = heads * width
    theta = rng.uniform(-3, 3, (BATCH, tokens, d))
    usual = {
        "gate_query": rng.normal(1, 0.5, d), "gate_key": rng.normal(1, 0.5, d), "beta": rng.uniform(0.5, 1.5, heads),
        "drift": rng.normal(0, 0.5, d), "step": rng.uniform(0.3, 0.9, d),
    }  # fmt: skip
    real = rng.standard_normal((2, 3, d))
    turning = real + 1j * rng.standard_normal((2, 3, d))
    gates = {n: rng.normal(1, 0.5, (BATCH, tokens, d)) for n in ("gate_query", "gate_key")}
    memory = {"memory": rng.uniform(-3, 3, (BATCH, tokens + 4, d))}
    mask = some(rng, tokens, tokens) | np.eye(tokens, dtype=bool)
    causal = {"causal": True}
    variants: dict[str, tuple[dict, dict]] = {
        "not causal": ({}, {}),
        "causal": ({}, causal),
        "gates of tokens": (gates, causal),
        "one drift for all heads": ({"drift": np.array([0.3, -0.7, 0.1])}, causal),
        "no gates, no drift": ({"gate_query": None, "gate_key": None, "drift": None}, causal),
        "memory": (memory, {}),
        "memory, Tq < Tk, causal, delay": ({**memory, "coupling": turning}, causal),
        "complex coupling": ({"coupling": turning[:1, :1]}, causal),
        "harmonics": ({"coupling": real[:1]}, {}),
        "complex harmonics": ({"coupling": turning[:1]}, causal),
        "delay": ({"coupling": real[:, :1]}, causal),
        "delay, complex harmonics, mask, window": ({"coupling": turning}, {**causal, "mask": mask, "window": 7}),
        "ablation: direction": ({}, {**causal, "update": "direction"}),
        "ablation: geodesic": ({}, {**causal, "update": "geodesic"}),
        "ablation: drift in values": ({"coupling": turning[:1]}, {**causal, "drift_values": True}),
        "ablation: strict": (memory, {**causal, "strict": True}),
        "ablation: step 1": ({"step": np.array(1.0)}, causal),
        "key padding": ({}, {"mask": np.arange(tokens) < 8}),
        "window": ({}, {**causal, "window": 4}),
        "top-k": ({}, {"top_k": True}),
    }
    for variant, (given, options) in variants.items():
        parameters = {n: x for n, x in {**usual, **given}.items() if x is not None}
        keys, options = parameters.get("memory", theta).shape[1], {"heads": heads, **options}
        if options.pop("top_k", False):
            from primeattn.attention import top_k_mask

            options["mask"] = top_k_mask("kuramoto", theta, keep=4, **parameters, **options)
        limits = {n: options[n] for n in ("causal", "mask", "window") if n in options}
        ahead = np.arange(keys) - np.arange(keys - tokens, keys)[:, None]
        allowed, own = band(tokens, keys, **limits), options.get("mask", np.ones((tokens, keys), bool))
        if options.get("strict"):
            allowed = allowed & (ahead < 0)
        absent = {"gate_query": np.ones(d), "gate_key": np.ones(d), "drift": np.zeros(d), "memory": None}
        absent["coupling"] = np.ones((1, 1, 1))
        numbers = {n: x for n, x in absent.items() if n not in parameters}
        numbers |= {"heads": heads, "allowed": allowed, "before": (ahead < 0) & own & np.roll(own, -1, -1)}
        numbers |= {"update": options.get("update", "tangent"), "drift_values": options.get("drift_values", False)}
        yield Check("kuramoto", variant, {"theta": theta}, parameters, options, numbers)


def around(rng) -> Iterator[Check]:
    """The functions beside `kuramoto`."""
    d, f = 6, 5
    theta = {"theta": rng.uniform(-3, 3, (BATCH, 7, d))}

    def normal(*shape):
        return rng.standard_normal(shape)

    yield Check("phase_gate", "", theta, {"weight": normal(4, 2 * d), "bias": normal(4)})
    feed = {"W1": normal(f, 2 * d), "W2": normal(f, 2 * d), "W3": normal(d, f)}
    yield Check("phase_feed_forward", "", theta, feed)
    readout = {"embedding": rng.uniform(-3, 3, (9, d)), "kappa": rng.uniform(0, 1, d), "bias": normal(9)}
    yield Check("von_mises_readout", "", theta, readout)
    modes = {"modes": rng.uniform(-3, 3, (f, d)), "gate": rng.normal(1, 0.5, (f, d)), "beta": rng.uniform(0.5, 2, 2)}
    yield Check("collective_modes", "", theta, {**modes, "step": normal(d)}, {"heads": 2}, {"heads": 2})


def checks() -> list[Check]:
    parts = (scores, low_rank, metrics, positions, phases, around)
    return [check for seed, part in enumerate(parts) for check in part(np.random.default_rng(seed))]


def ours(check: Check, folder: Path, n: int) -> None:
    """Output and gradients, and what PyTorch needs for its own."""
    import primeattn as pa

    call = pa.attention.layer_relevance_vjp
    if check.name != "layer_relevance":
        call = lambda *inputs, **options: pa.attention.vjp(check.name, *inputs, **options)  # noqa: E731
    out, pullback = call(*check.inputs.values(), **check.parameters, **check.options)
    dout = np.random.default_rng(n).standard_normal(out.shape)
    grads = {name: np.asarray(g) for name, g in pullback(dout).items()}
    np.savez(folder / f"ours{n}.npz", out=out, **grads)
    arrays = {**check.inputs, **check.parameters, **check.numbers}
    kept = {name: x for name, x in arrays.items() if x is not None}
    np.savez(folder / f"inputs{n}.npz", dout=dout, **kept)
    more = {"name": check.name, "absent": sorted(set(arrays) - set(kept)), "differentiated": list(grads)}
    (folder / f"check{n}.json").write_text(json.dumps(more))


def theirs(folder: Path) -> None:
    """All checks of a folder, in PyTorch."""
    import torch

    torch.set_default_dtype(torch.float64)
    for path in folder.glob("check*.json"):
        n, check = path.stem.removeprefix("check"), json.loads(path.read_text())
        scope: dict[str, Any] = dict.fromkeys(check["absent"]) | {"torch": torch}
        for name, x in np.load(folder / f"inputs{n}.npz").items():
            scope[name] = x.item() if x.dtype.kind == "U" else torch.from_numpy(x)
        leaves = [scope[name].requires_grad_() for name in check["differentiated"]]
        exec(PRELUDE + TEXTS[check["name"]], scope)
        grads = torch.autograd.grad(scope["out"], leaves, scope["dout"])
        arrays = {name: g.numpy() for name, g in zip(check["differentiated"], grads, strict=True)}
        np.savez(folder / f"theirs{n}.npz", out=scope["out"].detach().numpy(), **arrays)


def compare(folder: Path, torch_python: str, only) -> list[tuple[Check, dict[str, float]]]:
    """Every check of these functions, all by default, and its differences by array."""
    chosen = [check for check in checks() if only is None or check.name in only]
    for n, check in enumerate(chosen):
        ours(check, folder, n)
    subprocess.run([torch_python, __file__, str(folder)], check=True)
    found = []
    for n, check in enumerate(chosen):
        here, there = (dict(np.load(folder / f"{peer}{n}.npz")) for peer in ("ours", "theirs"))
        size = {name: max(float(abs(x).max()), 1e-300) for name, x in there.items()}
        found.append((check, {name: float(abs(here[name] - x).max()) / size[name] for name, x in there.items()}))
    return found


def table(found) -> str:
    """One row a check: differences of the output and of the worst gradient."""
    lines = ["| function | variant | output | gradients | the worst of | of |", "|---|---|--:|--:|---|--:|"]
    for check, differences in found:
        gradients = {name: x for name, x in differences.items() if name != "out"}
        worst = max(gradients, key=lambda name: gradients[name])
        cells = [
            f"`{check.name}`",
            check.variant or "all it takes",
            f"{differences['out']:.1e}",
            f"{gradients[worst]:.1e}",
        ]
        lines.append(f"| {' | '.join([*cells, f'`{worst}`', str(len(gradients))])} |")
    largest = max(max(differences.values()) for _, differences in found)
    arrays = sum(len(differences) for _, differences in found)
    verdict = "met" if largest <= WANTED else "MISSED"
    lines += ["", f"{len(found)} checks, {arrays} arrays; the largest {largest:.1e}, {WANTED:.0e} wanted: {verdict}"]
    return "\n".join(lines)


if __name__ == "__main__":
    theirs(Path(sys.argv[1]))
