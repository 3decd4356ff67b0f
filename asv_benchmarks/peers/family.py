"""Every mechanism with an entry here, forward and backward, beside the same equation in PyTorch eager with autograd.

Two parts: the difference of hand-derived gradients from autograd's in float64, and times in float32, causal, one
sequence. Each peer runs in a process of its own, on the same threads, and they take turns: a round is a short burst of
each, and a ratio is that of one round. Our mechanism and our dot_product take turns within a process, for their ratio.
Inputs are drawn by the mechanism's own ``sample``; PyTorch reads them from a file.

    python asv_benchmarks/peers/family.py [--only NAME ...] [--threads 1] [--rounds 7] [--torch-python PYTHON]
    python asv_benchmarks/peers/family.py --part gradients [--only NAME ...] [--torch-python PYTHON]

Prints a Markdown table (milliseconds: medians of rounds) and one line of JSON. The second compares the gradients of
every variant and takes no times: `family_gradients`.

An entry is the text of the mechanism in PyTorch. It finds the inputs and parameters of the mechanism by their names,
``allowed`` (queries, keys) of booleans for the causal band, and ``torch``, and sets ``out``.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import family_gradients
from attention import TORCH, Peer, install, timed

SIZES = ((256, 4, 32), (256, 4, 64), (1024, 4, 64))  # tokens, heads, width
VARIANTS = {"elliptical, distance": {"metric": "distance"}}  # options beside those of the mechanism's sample
CLAIMED = ("expressive", "squared", "elliptical", *VARIANTS)
LONGER = dict.fromkeys(CLAIMED, ((4096, 4, 64),))  # of mechanisms whose time at it is claimed
CHECKED = (70, 2, 6)  # size of the gradient check

TORCH_TEXTS = {
    "dot_product": """
z = (q @ k.mT * q.shape[-1] ** -0.5).masked_fill(~allowed, -torch.inf)
out = torch.softmax(z, -1) @ v
""",
    "eigen": """
z = ((q @ basis_key) @ (k @ basis_key).mT * q.shape[-1] ** -0.5).masked_fill(~allowed, -torch.inf)
out = torch.softmax(z, -1) @ (v @ basis_value) @ basis_value.mT
""",
    "elliptical": """
z = ((q * relevance[:, None]) @ k.mT * q.shape[-1] ** -0.5).masked_fill(~allowed, -torch.inf)
out = torch.softmax(z, -1) @ v
""",
    "elliptical, distance": """
z = ((q * relevance[:, None]) @ k.mT - (relevance[:, None] * k * k).sum(-1)[..., None, :] / 2) * q.shape[-1] ** -0.5
out = torch.softmax(z.masked_fill(~allowed, -torch.inf), -1) @ v
""",
    "expressive": """
z = q @ k.mT * q.shape[-1] ** -0.5
w = torch.where(allowed, z * z / (1 + z * z), 0)
out = w / (w.sum(-1, keepdim=True) + 1e-6) @ v
""",
    "kuramoto": """
batch, tokens, d = theta.shape
w = d // heads
split = lambda x: x.view(batch, tokens, heads, w).transpose(1, 2)
alpha = theta + torch.arange(tokens)[:, None] * drift.repeat(d // drift.numel())
rotor = torch.cat([split(alpha.cos()), split(alpha.sin())], -1)
a, b = (torch.cat([g.view(heads, 1, w)] * 2, -1) for g in (gate_query, gate_key))
c, s = split(theta.cos()), split(theta.sin())
attend = torch.nn.functional.scaled_dot_product_attention
m = attend(beta[:, None, None] * a * rotor, b * rotor, torch.cat([c, s], -1), is_causal=True, scale=1.0)
turn = c * m[..., w:] - s * m[..., :w]
out = theta + step * turn.transpose(1, 2).reshape(batch, tokens, d)
""",
    "linear": """
a, b = (torch.nn.functional.elu(x) + 1 for x in (q, k))
w = torch.where(allowed, a @ b.mT, 0)
out = w / w.sum(-1, keepdim=True) @ v
""",
    "position_only": """
out = torch.where(allowed, alpha, 0) @ v
""",
    "squared": """
w = torch.where(allowed, (q @ k.mT) ** 2, 0)
norms = (q * q).sum(-1, keepdim=True) * (k * k).sum(-1, keepdim=True).cumsum(-2)
out = w / (w.sum(-1, keepdim=True) + 1e-6 * norms) @ v
""",
    "uniform": """
a = allowed.to(v.dtype)
out = a / a.sum(-1, keepdim=True) @ v
""",
}


def mechanism_of(name):
    """The entry of MECHANISMS: a variant has its name, a comma, and a word."""
    from primeattn.attention import MECHANISMS

    return MECHANISMS[name.split(",")[0]]


def sampled(name, size, dtype):
    """Inputs and options of the mechanism."""
    import numpy as np

    tokens, heads, width = size
    drawn = mechanism_of(name).sample(
        np.random.default_rng(tokens), batch=(1,), heads=heads, tokens=tokens, width=width, dtype=np.dtype(dtype)
    )
    return drawn.inputs, {**drawn.options, **VARIANTS.get(name, {}), "causal": True}


def primeattn_calls(name, size, dtype, threads, file):
    """forward and both; also writes the arrays for the peer."""
    import numba
    import numpy as np

    import primeattn as pa

    numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
    inputs, options = sampled(name, size, dtype)
    mechanism = mechanism_of(name)
    out, pullback = pa.attention.vjp(mechanism.name, *inputs, **options)
    dout = np.random.default_rng(1).standard_normal(out.shape).astype(dtype)
    arrays = {**dict(zip(mechanism.inputs, inputs, strict=True)), **options}
    np.savez(file, dout=dout, differentiated=list(pullback(dout)), **{n: x for n, x in arrays.items() if x is not None})

    def both():
        _, pullback = pa.attention.vjp(mechanism.name, *inputs, **options)
        return pullback(dout)

    return lambda: mechanism.forward(*inputs, **options), both


def torch_calls(name, size, dtype, threads, file):
    import numpy as np
    import torch

    torch.set_num_threads(threads)
    stored = dict(np.load(file))
    differentiated = [str(n) for n in stored.pop("differentiated")]
    values = {n: torch.from_numpy(x) if x.ndim else x.item() for n, x in stored.items()}
    for n in differentiated:
        values[n] = torch.as_tensor(values[n], dtype=values["dout"].dtype).requires_grad_()
    dout, text = values.pop("dout"), compile(TORCH_TEXTS[name], name, "exec")
    values |= {"torch": torch, "allowed": torch.ones(size[0], size[0], dtype=torch.bool).tril()}

    def run():
        scope = dict(values)
        exec(text, scope)
        return scope["out"]

    def forward():
        with torch.no_grad():
            return run()

    def both():
        leaves = [values[n] for n in differentiated]
        gradients = torch.autograd.grad(run(), leaves, dout)
        return {n: g.numpy() for n, g in zip(differentiated, gradients, strict=True)}

    return forward, both


def beside(calls, base, seconds):
    """Medians of both calls in turns, and of their ratio."""
    times, end = [], time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        marks = [time.perf_counter()]
        for call in (calls, base):
            call()
            marks.append(time.perf_counter())
        times.append((marks[1] - marks[0]) / (marks[2] - marks[1]))
    return statistics.median(times)


def worker(peer: str) -> None:
    """Answer requests, one JSON object a line, until the pipe closes."""
    make = {"primeattn": primeattn_calls, "torch": torch_calls}[peer]
    made: dict = {}
    for line in sys.stdin:
        ask = json.loads(line)
        key = json.dumps(ask["case"])
        if key not in made:
            made.clear()
            made[key] = make(**ask["case"])
            if peer == "primeattn" and ask["want"] == "times":
                base = {**ask["case"], "name": "dot_product", "file": ask["case"]["file"] + ".base.npz"}
                made["base"] = make(**base)
        forward, both = made[key]
        answer: dict = {}
        if ask["want"] == "times":
            answer = {"forward": timed(forward, 0.1), "both": timed(both, 0.4)}
            if peer == "primeattn":
                answer["beside"] = beside(both, made["base"][1], 0.4)
        else:
            import numpy as np

            np.savez(ask["save"], **both())
        print(json.dumps(answer), flush=True)


def measure(name, start, folder, threads, rounds) -> dict:
    """Gradients in float64, then times at every size."""
    import numpy as np

    peers = {peer: start(peer) for peer in ("primeattn", "torch")}

    def case(size, dtype):
        return {"name": name, "size": size, "dtype": dtype, "threads": threads, "file": str(folder / "inputs.npz")}

    files = {peer: str(folder / f"{peer}.npz") for peer in peers}
    for peer, process in peers.items():
        process.ask(want="gradients", case=case(CHECKED, "float64"), save=files[peer])
    ours, theirs = (np.load(files[peer]) for peer in peers)
    difference = max(float(abs(ours[n] - theirs[n]).max() / abs(theirs[n]).max()) for n in theirs.files)
    found: dict = {"name": name, "gradients": difference, "times": []}
    for size in SIZES + LONGER.get(name, ()):
        answers = []
        for _ in range(rounds):
            ask = {"want": "times", "case": case(size, "float32")}
            answers.append({peer: process.ask(**ask) for peer, process in peers.items()})
        row: dict = {"size": size, "beside": statistics.median(a["primeattn"]["beside"] for a in answers)}
        for what in ("forward", "both"):
            for peer in peers:
                row[f"{peer} {what}"] = statistics.median(a[peer][what] for a in answers)
            row[f"ratio {what}"] = statistics.median(a["torch"][what] / a["primeattn"][what] for a in answers)
        found["times"].append(row)
    for process in peers.values():
        process.close()
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices={**TORCH_TEXTS, **family_gradients.TEXTS}, metavar="NAME")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--part", choices=("all", "gradients"), default="all", help="every variant, no times")
    parser.add_argument("--torch-python", help=f"an interpreter that has {TORCH} and numpy")
    parser.add_argument("--worker", choices=("primeattn", "torch"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(options.worker)
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pythons = {"primeattn": sys.executable, "torch": options.torch_python or install(folder / "torch")}

        def start(peer):
            return Peer(peer, pythons[peer], options.threads, __file__)

        if options.part == "gradients":
            print(family_gradients.table(family_gradients.compare(folder, pythons["torch"], options.only)))
            return 0
        only = options.only or TORCH_TEXTS
        found = [measure(one, start, folder, options.threads, options.rounds) for one in only]
    print(f"one sequence, causal, float32, {options.threads} thread(s), ms; ratio: times faster than {TORCH} eager;")
    print("beside: our time, forward + backward, over that of our dot_product; gradients: float64, relative\n")
    print("| mechanism | gradients | tokens, heads, width | forward | torch | ratio | f + b | torch | ratio | beside |")
    print("|---" * 10 + "|")
    for one in found:
        for row in one["times"]:
            cells = [one["name"], f"{one['gradients']:.1e}", ", ".join(map(str, row["size"]))]
            for what in ("forward", "both"):
                cells += [
                    f"{row[f'primeattn {what}']:.2f}",
                    f"{row[f'torch {what}']:.2f}",
                    f"{row[f'ratio {what}']:.2f}",
                ]
            print("|", " | ".join([*cells, f"{row['beside']:.2f}"]), "|")
    print("\n" + json.dumps({"threads": options.threads, "found": found}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
