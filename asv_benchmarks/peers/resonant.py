"""Gradients of resonant attention, derived by hand, beside PyTorch's autograd, in float64.

``resonance.attention`` over prime states (every kernel, both forms, heads, rotors, padding) and the trainable
``attention.resonant`` (selection of primes, rotors, both forms), all causal, with more keys than queries. Each peer
runs in a process of its own; both read the same arrays from a file. PyTorch computes all pairs from dense tables.

    python asv_benchmarks/peers/resonant.py [--torch-python PYTHON] [--json FILE]

Prints a Markdown table: for each array the largest difference of the gradient relative to its largest number, over all
cases, and the case that has it; and one line of JSON. The file has every case. Fails above 1e-12. Amplitudes are
compared as magnitudes and phases, both relative to the larger of the two gradients: a kernel that reads phases only has
none by magnitude.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from attention import TORCH, Peer, install

WANTED = 1e-12
STATES = {"queries": 33, "keys": 40, "active": 5, "primes": 24, "columns": 6}
KERNELS = (
    {"form": "linear", "normalizer": "sqrt"},
    {"form": "linear", "amplitude": True},
    {"form": "softmax", "normalizer": "union"},
    {"form": "softmax", "normalizer": "sqrt"},
    {"form": "softmax", "amplitude": True},
    {"form": "softmax", "normalizer": "union", "overlap": "ruzicka"},
    {"form": "softmax", "kind": "original"},
)
STATE_CASES = [
    {**kernel, **more}
    for kernel in KERNELS
    for more in ({}, {"heads": 3}, {"heads": 2, "order": "rotor"}, {"order": "rotor", "padding": True})
]
TOKENS = {"lead": (2, 2), "queries": 21, "keys": 24, "active": 4, "primes": 12, "columns": 5}
TOKEN_CASES = [{"form": form, "rotors": rotors} for form in ("linear", "softmax") for rotors in (False, True)]


def draw_states(file, heads=1, padding=False, **_):
    """States as flat arrays, values, mixing weights, upstream gradient; ``kept``: which keys are no padding."""
    import numpy as np

    rng = np.random.default_rng(heads + padding)
    n, m, active, primes, columns = STATES.values()
    arrays = {}
    for side, rows in (("query", n), ("key", m)):
        arrays[f"{side} column"] = np.sort(np.argsort(rng.random((rows, primes)), axis=1)[:, :active], axis=1)
        arrays[f"{side} magnitude"] = rng.uniform(0.5, 2, (rows, active))
        arrays[f"{side} phase"] = rng.uniform(-np.pi, np.pi, (rows, active))
        orientation = rng.standard_normal((rows, active, 4))
        arrays[f"{side} orientation"] = orientation / np.linalg.norm(orientation, axis=-1, keepdims=True)
    arrays |= {"value": rng.standard_normal((m, columns)), "weights": rng.dirichlet(np.full(3, 4.0), heads)}
    arrays |= {"temperature": 0.3, "kept": rng.random(m) < (0.7 if padding else 2)}
    np.savez(file, dout=rng.standard_normal((n, columns)), **arrays)


def draw_tokens(file, form, **_):
    """Logits, values, phases (of keys: one table), orientations, weights by head, a temperature by head."""
    import numpy as np

    rng = np.random.default_rng(7)
    lead, n, m, _, primes, columns = TOKENS.values()

    def normal(*shape):
        return rng.standard_normal(shape)

    arrays = {"q": normal(*lead, n, primes), "k": normal(*lead, m, primes), "v": normal(*lead, m, columns)}
    arrays |= {"q_phase": np.pi * normal(*lead, n, primes), "k_phase": np.pi * normal(primes)}
    arrays |= {"q_orientation": normal(*lead, n, primes, 4), "k_orientation": normal(*lead, m, primes, 4)}
    arrays["weights"] = rng.dirichlet(np.full(3, 4.0), lead[1])
    if form == "softmax":
        arrays["temperature"] = rng.uniform(0.1, 0.5, lead[1])
    np.savez(file, dout=normal(*lead, n, columns), **arrays)


def our_states(file, padding=False, **options):
    import numpy as np

    import primeattn as pa

    a = np.load(file)
    table = pa.primes.first(STATES["primes"])

    def states(side):
        column = a[f"{side} column"]
        z = a[f"{side} magnitude"] * np.exp(1j * a[f"{side} phase"])
        indptr = np.arange(len(column) + 1) * column.shape[1]
        orientation = a[f"{side} orientation"].reshape(-1, 4)
        return pa.PrimeStates.from_arrays(indptr, table[column].reshape(-1), z.reshape(-1), orientation)

    if padding:
        options["mask"] = a["kept"]
    sides = {side: states(side) for side in ("query", "key")}
    _, pullback = pa.resonance.vjp(
        "attention", *sides.values(), a["value"], weights=a["weights"], temperature=float(a["temperature"]),
        causal=True, **options,
    )  # fmt: skip
    pulled = pullback(a["dout"])
    found = {name: pulled[name] for name in ("value", "weights", "temperature")}
    for side, s in sides.items():
        shape, gradient = a[f"{side} column"].shape, pulled[side]
        turned = np.conj(s.amplitude / abs(s.amplitude)) * gradient["amplitude"]
        found[f"{side} magnitude"] = turned.real.reshape(shape)
        found[f"{side} phase"] = (abs(s.amplitude) * turned.imag).reshape(shape)
        found[f"{side} orientation"] = gradient["orientation"].reshape(*shape, 4)
    return found


def our_tokens(file, **options):
    import numpy as np

    import primeattn as pa

    arrays = dict(np.load(file))
    dout, inputs = arrays.pop("dout"), [arrays.pop(name) for name in ("q", "k", "v")]
    _, pullback = pa.attention.vjp(
        "resonant", *inputs, **arrays, active=TOKENS["active"], causal=True, **options
    )  # fmt: skip
    return pullback(dout)


def hamilton(a, b):
    """The product of quaternions, tensors (..., 4)."""
    import torch

    aw, ax, ay, az = a.unbind(-1)
    bw, bx, by, bz = b.unbind(-1)
    parts = (
        aw * bw - ax * bx - ay * by - az * bz, aw * bx + ax * bw + ay * bz - az * by,
        aw * by - ax * bz + ay * bw + az * bx, aw * bz + ax * by - ay * bx + az * bw,
    )  # fmt: skip
    return torch.stack(parts, -1)


def turn(u, w, kept):
    """Orientations (..., T, P, 4) of queries and keys, turned by the prefix products of what the keys keep."""
    import torch

    total = torch.zeros(*w.shape[:-3], 4, dtype=w.dtype)
    total[..., 0] = 1
    prefix = [total]
    for t in range(w.shape[-3]):
        for p in range(w.shape[-2]):
            total = torch.where(kept[..., t, p, None], hamilton(total, w[..., t, p, :]), total)
        prefix.append(total)
    prefix = torch.stack(prefix, -2)
    stands = torch.arange(u.shape[-3]) + w.shape[-3] - u.shape[-3]
    return hamilton(prefix[..., stands + 1, None, :], u), hamilton(prefix[..., 1:, None, :], w)


def causal_band(n, m):
    import torch

    return torch.arange(m) <= torch.arange(n)[:, None] + m - n


def mixed(scores, value, allowed, tau, form):
    """The attention from a table of scores."""
    import torch

    if form == "softmax":
        return torch.softmax((scores / tau).masked_fill(~allowed, -torch.inf), -1) @ value
    scores = torch.where(allowed, scores, 0)
    return scores / scores.sum(-1, keepdim=True) @ value


def components(a, b, kind, normalizer, overlap, amplitude):
    """Overlap, alignment and coherence of every pair, from dense tables (present, magnitude, phase, orientation)."""
    import torch

    (had, r, phi, u), (has, s, chi, w) = a, b
    shared = (had[:, None] & has).double()
    agree = (1 + torch.cos(phi[:, None] - chi)) / 2
    dot = torch.einsum("ipc,jpc->ijp", u, w)
    align = dot.abs() if kind == "original" else dot**2
    if amplitude:
        shared = shared * (r / r.norm(dim=-1, keepdim=True))[:, None] * (s / s.norm(dim=-1, keepdim=True))
        return shared.sum(-1), (shared * align).sum(-1), (shared * agree).sum(-1)
    both, any_of_two = shared.sum(-1), (had[:, None] | has).double().sum(-1)
    over = any_of_two if normalizer == "union" else (had.sum(-1)[:, None] * has.sum(-1)).double().sqrt()
    if kind == "original":
        over = both.clamp(min=1)
    first = both / (any_of_two if kind == "original" else over)
    if overlap == "ruzicka":
        first = torch.minimum(r[:, None], s).sum(-1) / torch.maximum(r[:, None], s).sum(-1)
    return first, (shared * align).sum(-1) / over, (shared * agree).sum(-1) / over


def torch_states(
    file, form, kind="kernel", normalizer=None, overlap="jaccard", amplitude=False, heads=1, order=None, padding=False
):
    import numpy as np
    import torch

    a = {name: torch.from_numpy(x) for name, x in np.load(file).items()}
    leaves = {name: x.requires_grad_() for name, x in a.items() if x.is_floating_point() and name != "dout"}
    tables = []
    for side in ("query", "key"):
        column = a[f"{side} column"]
        rows = torch.arange(len(column))[:, None]

        def dense(x, rows=rows, column=column):
            out = torch.zeros(len(column), STATES["primes"], *x.shape[2:], dtype=x.dtype)
            return out.index_put((rows, column), x)

        unit = torch.nn.functional.normalize(a[f"{side} orientation"], dim=-1)
        present = dense(torch.ones_like(column, dtype=torch.bool))
        tables.append([present, *(dense(x) for x in (a[f"{side} magnitude"], a[f"{side} phase"], unit))])
    (x, y), n, m = tables, len(a["query column"]), len(a["key column"])
    if order == "rotor":
        x[3], y[3] = turn(x[3], y[3], y[0])
    parts = torch.stack(components(x, y, kind, normalizer, overlap, amplitude))
    allowed = causal_band(n, m) & a["kept"]
    out = [
        mixed(torch.einsum("c,cij->ij", w, parts), v, allowed, a["temperature"], form)
        for w, v in zip(a["weights"], a["value"].chunk(heads, -1), strict=True)
    ]
    return gradients(torch.cat(out, -1), leaves, a["dout"])


def torch_tokens(file, form, rotors):
    import numpy as np
    import torch

    a = {name: torch.from_numpy(x) for name, x in np.load(file).items()}
    leaves = {name: x.requires_grad_() for name, x in a.items() if name != "dout"}

    def side(logits, orientation):
        kept = torch.zeros_like(logits, dtype=torch.bool)
        kept.scatter_(-1, logits.detach().topk(TOKENS["active"], -1).indices, True)
        root = torch.exp(torch.log_softmax(logits.masked_fill(~kept, -torch.inf), -1) / 2)
        return kept, root, torch.nn.functional.normalize(orientation, dim=-1)

    (_, r, u), (kept, s, w) = side(a["q"], a["q_orientation"]), side(a["k"], a["k_orientation"])
    if rotors:
        u, w = turn(u, w, kept)
    mass = r[..., :, None, :] * s[..., None, :, :]
    align = torch.einsum("...ipc,...jpc->...ijp", u, w) ** 2
    agree = (1 + torch.cos(a["q_phase"][..., :, None, :] - a["k_phase"])) / 2
    alpha, beta, gamma = (x[:, None, None, None] for x in a["weights"].unbind(-1))
    scores = (mass * (alpha + beta * align + gamma * agree)).sum(-1)
    tau = a["temperature"][:, None, None] if form == "softmax" else None
    out = mixed(scores, a["v"], causal_band(r.shape[-2], s.shape[-2]), tau, form)
    return gradients(out, leaves, a["dout"])


def gradients(out, leaves, dout):
    import torch

    found = torch.autograd.grad(out, list(leaves.values()), dout, allow_unused=True)
    return {name: 0 * x if g is None else g for (name, x), g in zip(leaves.items(), found, strict=True)}


CASES = {"resonance.attention": STATE_CASES, "attention.resonant": TOKEN_CASES}
DRAW = {"resonance.attention": draw_states, "attention.resonant": draw_tokens}
CALLS = {
    "primeattn": {"resonance.attention": our_states, "attention.resonant": our_tokens},
    "torch": {"resonance.attention": torch_states, "attention.resonant": torch_tokens},
}


def worker(peer: str) -> None:
    """Answer requests, one JSON object a line, until the pipe closes."""
    import numpy as np

    for line in sys.stdin:
        ask = json.loads(line)
        found = CALLS[peer][ask["function"]](ask["file"], **ask["case"])
        np.savez(ask["save"], **{name: np.asarray(x.detach() if peer == "torch" else x) for name, x in found.items()})
        print("{}", flush=True)


def differences(ours, theirs) -> dict[str, float]:
    """By array: the largest difference, relative to the largest gradient."""
    scales = {name: float(abs(theirs[name]).max()) for name in theirs.files}
    found = {}
    for name in theirs.files:
        scale = scales[name]
        if name.endswith((" magnitude", " phase")):
            scale = max(scales[f"{name.split()[0]} {part}"] for part in ("magnitude", "phase"))
        error = float(abs(ours[name].reshape(theirs[name].shape) - theirs[name]).max())
        found[name] = error / scale if scale else error
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--torch-python", help=f"an interpreter that has {TORCH} and numpy")
    parser.add_argument("--json", type=Path, help="write the JSON here as well")
    parser.add_argument("--worker", choices=tuple(CALLS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(options.worker)
        return 0
    import numpy as np

    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pythons = {"primeattn": sys.executable, "torch": options.torch_python or install(folder / "torch")}
        peers = {peer: Peer(peer, python, 1, __file__) for peer, python in pythons.items()}
        for function, cases in CASES.items():
            for case in cases:
                file, saves = str(folder / "inputs.npz"), {peer: str(folder / f"{peer}.npz") for peer in peers}
                DRAW[function](file, **case)
                for peer, process in peers.items():
                    process.ask(function=function, case=case, file=file, save=saves[peer])
                found = differences(*(np.load(saves[peer]) for peer in ("primeattn", "torch")))
                rows += [{"function": function, "case": case, "array": a, "difference": d} for a, d in found.items()]
        for process in peers.values():
            process.close()
    print(f"against {TORCH}, float64, causal, relative ({WANTED:.0e} wanted)\n")
    print("| function | cases | gradient of | largest difference | in |\n|---|--:|---|--:|---|")
    for function, array in dict.fromkeys((r["function"], r["array"]) for r in rows):
        same = [r for r in rows if (r["function"], r["array"]) == (function, array)]
        worst = max(same, key=lambda r: r["difference"])
        case = ", ".join(f"{option} {value}" for option, value in worst["case"].items())
        print(f"| {function} | {len(same)} | {array} | {worst['difference']:.1e} | {case} |")
    worst = max(rows, key=lambda r: r["difference"])
    print("\n" + json.dumps({"cases": sum(map(len, CASES.values())), "worst": worst}))
    if options.json:
        options.json.write_text(json.dumps(rows) + "\n")
    return int(not all(r["difference"] <= WANTED for r in rows))


if __name__ == "__main__":
    sys.exit(main())
