"""Training a byte model: primeattn beside PyTorch, eager and compiled.

The same transformer (RMSNorm, RoPE, SwiGLU, tied read-out, AdamW with decay of matrices only) from the same parameters
on the same random bytes. Each peer runs in a process of its own (two OpenMP pools in one process falsify both), on the
same threads, and they take turns: a round is a short burst of each, and a ratio is that of one round. PyTorch goes into
a fresh virtual environment unless its interpreter is named; ``torch.compile`` needs a C++ compiler.

Parts: gradients against autograd in float64, losses of 20 steps of AdamW in float32, times of a step, peak memory of
training, seconds to the end of the first step, of our process with an empty and with a filled cache of kernels.

    python asv_benchmarks/peers/training.py [--threads 1] [--rounds 7] [--only PART ...] [--torch-python PYTHON]

Prints Markdown tables (milliseconds: medians of rounds) and one line of JSON.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from attention import TORCH, Peer, install

MODELS = {
    "1.1M": {"layers": 6, "width": 128, "heads": 4, "context": 256, "hidden": 320, "batch": 16},
    "0.1M": {"layers": 2, "width": 64, "heads": 2, "context": 64, "hidden": 160, "batch": 8},
}
VOCABULARY = 256
# (model, threads): times faster than eager and compiled that are to be shown
WANTED = {("1.1M", 1): (1.4, 1.15), ("1.1M", 2): (1.5, 1.4), ("0.1M", 1): (2.0, 1.4)}
OPTIMISER = {"rate": 1e-3, "betas": (0.9, 0.95), "eps": 1e-8, "decay": 0.1}
PARTS = ("gradients", "times", "memory", "first")


def draw(model: str, steps: int):
    """Inputs and targets of every step, the same for all peers."""
    import numpy as np

    m = MODELS[model]
    ids = np.random.default_rng(7).integers(0, VOCABULARY, (steps, m["batch"], m["context"] + 1))
    return ids[..., :-1], ids[..., 1:]


def start_values(model: str) -> dict:
    """Parameters by our names; scales are not all one, or their gradients would be checked at a special place."""
    import numpy as np

    m, rng = MODELS[model], np.random.default_rng(3)
    width, hidden = m["width"], m["hidden"]
    shapes = {"embedding.table": (VOCABULARY, width)}
    for i in range(m["layers"]):
        shapes |= {
            f"{i}.mixing.norm.scale": (width,),
            f"{i}.mixing.inner.project": (width, 3 * width),
            f"{i}.mixing.inner.out": (width, width),
            f"{i}.feed_forward.norm.scale": (width,),
            f"{i}.feed_forward.inner.up": (width, 2 * hidden),
            f"{i}.feed_forward.inner.down": (hidden, width),
        }
    shapes["norm.scale"] = (width,)
    return {n: (1 if n.endswith("scale") else 0) + 0.08 * rng.standard_normal(s) for n, s in shapes.items()}


class Ours:
    def __init__(self, model: str, dtype: str, threads: int):
        import numba

        import primeattn as pa

        numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
        m = {k: v for k, v in MODELS[model].items() if k != "batch"}
        self.model = pa.nn.LanguageModel(vocabulary=VOCABULARY, dtype=dtype, **m)
        for name, value in start_values(model).items():
            self.model.parameters.view(name)[...] = value
        self.optimiser = pa.nn.AdamW(self.model.parameters, **OPTIMISER)
        self.gradient = self.model.parameters.zeros()

    def batch(self, inputs, targets):
        return inputs, targets

    def gradients(self, inputs, targets):
        loss, gradient = self.model.loss_and_gradient(inputs, targets, out=self.gradient)
        return loss, {n: self.model.parameters.view(n, gradient).copy() for n in self.model.parameters.names}

    def step(self, inputs, targets) -> float:
        loss, gradient = self.model.loss_and_gradient(inputs, targets, out=self.gradient)
        self.optimiser.update(gradient)
        return loss


def torch_held(x, real):
    """A parameter of ours as torch keeps it: weights as (out, in)."""
    import torch

    return torch.as_tensor(x.T.copy() if x.ndim == 2 else x, dtype=real).requires_grad_()


def torch_losses(layers: int, width: int, heads: int, context: int, real):
    """``losses(p, ids, targets, reduction)`` of the transformer, from parameters by our names; the table as ours."""
    import torch
    from torch.nn import functional

    half = width // heads // 2
    frequency = 10000.0 ** (-torch.arange(half, dtype=torch.float64) / half)
    angle = torch.arange(context, dtype=torch.float64)[:, None] * frequency
    cosine, sine = angle.cos().to(real), angle.sin().to(real)

    def turn(x):
        a, b = x.chunk(2, -1)
        c, s = cosine[: x.shape[-2]], sine[: x.shape[-2]]
        return torch.cat([a * c - b * s, b * c + a * s], -1)

    def losses(p, ids, targets, reduction="mean"):
        x = functional.embedding(ids, p["embedding.table"])
        b, t, d = x.shape
        for i in range(layers):
            h = functional.rms_norm(x, (d,), p[f"{i}.mixing.norm.scale"], 1e-5)
            qkv = functional.linear(h, p[f"{i}.mixing.inner.project"])
            q, k, v = qkv.view(b, t, 3, heads, d // heads).permute(2, 0, 3, 1, 4).unbind(0)
            o = functional.scaled_dot_product_attention(turn(q), turn(k), v, is_causal=True)
            x = x + functional.linear(o.transpose(1, 2).reshape(b, t, d), p[f"{i}.mixing.inner.out"])
            h = functional.rms_norm(x, (d,), p[f"{i}.feed_forward.norm.scale"], 1e-5)
            gate, up = functional.linear(h, p[f"{i}.feed_forward.inner.up"]).chunk(2, -1)
            x = x + functional.linear(functional.silu(gate) * up, p[f"{i}.feed_forward.inner.down"])
        x = functional.rms_norm(x, (d,), p["norm.scale"], 1e-5)
        logits = functional.linear(x, p["embedding.table"])
        return functional.cross_entropy(logits.reshape(b * t, -1), targets.reshape(-1), reduction=reduction)

    return losses


class Torch:
    compiled = False

    def __init__(self, model: str, dtype: str, threads: int):
        import torch

        torch.set_num_threads(threads)
        self.torch, real = torch, getattr(torch, dtype)
        values = start_values(model)
        self.p = {n: torch_held(x.T if n == "embedding.table" else x, real) for n, x in values.items()}
        loss = torch_losses(*(MODELS[model][n] for n in ("layers", "width", "heads", "context")), real)
        self.loss = torch.compile(loss) if self.compiled else loss
        matrices = [x for x in self.p.values() if x.ndim == 2]
        others = [x for x in self.p.values() if x.ndim != 2]
        groups = [{"params": matrices, "weight_decay": OPTIMISER["decay"]}, {"params": others, "weight_decay": 0.0}]
        self.optimiser = torch.optim.AdamW(
            groups, lr=OPTIMISER["rate"], betas=OPTIMISER["betas"], eps=OPTIMISER["eps"], fused=True
        )

    def batch(self, inputs, targets):
        return self.torch.from_numpy(inputs), self.torch.from_numpy(targets)

    def gradients(self, inputs, targets):
        loss = self.loss(self.p, inputs, targets)
        loss.backward()
        found = {n: x.grad.numpy() for n, x in self.p.items()}
        return float(loss), {n: g.T if g.ndim == 2 and n != "embedding.table" else g for n, g in found.items()}

    def step(self, inputs, targets) -> float:
        self.optimiser.zero_grad(set_to_none=True)
        loss = self.loss(self.p, inputs, targets)
        loss.backward()
        self.optimiser.step()
        return float(loss.detach())


class Compiled(Torch):
    compiled = True


MAKERS = {"primeattn": Ours, "torch": Torch, "torch.compile": Compiled}


def timed(call, seconds: float) -> float:
    """Median milliseconds of a burst of about that many seconds."""
    times, end = [], time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)


def resident(name: str) -> int:
    status = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in status if line.startswith(name)).split()[1]) * 1024


def answer_one(ask: dict, peer, batches) -> dict:
    if ask["want"] == "times":
        peer.step(*batches[0])
        return {"ms": timed(lambda: peer.step(*batches[0]), ask["seconds"])}
    if ask["want"] == "losses":
        return {"losses": [peer.step(*batch) for batch in batches]}
    if ask["want"] == "memory":
        for batch in batches:
            peer.step(*batch)
        return {"peak": resident("VmHWM")}
    import numpy as np

    loss, gradients = peer.gradients(*batches[0])
    np.savez(ask["file"], loss=loss, **gradients)
    return {}


def worker(name: str) -> None:
    """Answer requests, one JSON object a line, until the pipe closes."""
    made: dict = {}
    for line in sys.stdin:
        ask = json.loads(line)
        key = json.dumps(ask["case"])
        if key not in made:
            made.clear()
            before, start = resident("VmRSS"), time.perf_counter()
            peer = MAKERS[name](**ask["case"])
            inputs, targets = draw(ask["case"]["model"], 20)
            batches = [peer.batch(x, y) for x, y in zip(inputs, targets, strict=True)]
            made[key] = peer, batches
            first = peer.step(*batches[0]) if ask["want"] == "first" else 0.0
            seconds = time.perf_counter() - start
        if ask["want"] == "first":
            answer = {"seconds": seconds, "loss": first, "before": before}
        else:
            answer = answer_one(ask, *made[key])
        print(json.dumps(answer), flush=True)


def case(model: str, threads: int, dtype: str = "float32") -> dict:
    return {"model": model, "dtype": dtype, "threads": threads}


def ask_alone(start, name: str, **request) -> dict:
    """One request to a fresh process."""
    peer = start(name)
    found = peer.ask(**request)
    peer.close()
    return found


def measure_gradients(start, folder: str, threads: int) -> dict:
    """Gradients in float64, and losses of 20 steps in float32."""
    import numpy as np

    found = {}
    for model in MODELS:
        files = {name: str(Path(folder) / f"{name}.npz") for name in ("primeattn", "torch")}
        for name, file in files.items():
            ask_alone(start, name, want="gradients", case=case(model, threads, "float64"), file=file)
        ours, theirs = (np.load(file) for file in files.values())
        error = max(float(abs(ours[n] - theirs[n]).max() / abs(theirs[n]).max()) for n in theirs.files)
        losses = [ask_alone(start, n, want="losses", case=case(model, threads))["losses"] for n in files]
        apart = max(abs(a - b) / b for a, b in zip(*losses, strict=True))
        found[model] = {"gradient error": error, "losses apart": apart, "last loss": losses[0][-1]}
    return found


def measure_times(start, names, threads: int, rounds: int) -> list[dict]:
    rows = []
    for model in MODELS:
        peers, found = {n: start(n) for n in names}, []
        for _ in range(rounds):
            request = {"want": "times", "case": case(model, threads), "seconds": 1.0}
            found.append({n: peer.ask(**request)["ms"] for n, peer in peers.items()})
        for peer in peers.values():
            peer.close()
        row: dict = {"model": model, "wanted": WANTED.get((model, threads))}
        for name in names:
            row[name] = statistics.median(r[name] for r in found)
            row[f"ratio {name}"] = statistics.median(r[name] / r["primeattn"] for r in found)
        row["tokens/s"] = 1e3 * MODELS[model]["batch"] * MODELS[model]["context"] / row["primeattn"]
        rows.append(row)
    return rows


def measure_memory(start, names, threads: int) -> dict:
    """Peak resident set of the whole process after 20 steps, MB."""
    return {
        model: {n: ask_alone(start, n, want="memory", case=case(model, threads))["peak"] / 1e6 for n in names}
        for model in MODELS
    }


def measure_first(threads: int) -> dict:
    """Seconds from the start of the process to the end of the first step of the 1.1M model; the warm one twice."""
    found = {}
    with tempfile.TemporaryDirectory() as cache:
        for state in ("cold", "warm", "warm again"):
            begin = time.perf_counter()
            environment = {"NUMBA_CACHE_DIR": cache, "PYTHONDONTWRITEBYTECODE": ""}  # as what is installed
            peer = Peer("primeattn", sys.executable, threads, __file__, environment)
            peer.ask(want="first", case=case("1.1M", threads))
            found[state] = time.perf_counter() - begin
            peer.close()
    return found


def print_times(rows, names, threads) -> None:
    print(f"\none step, float32, {threads} thread(s), ms; ratio: times faster than {TORCH}\n")
    others = [n for n in names if n != "primeattn"]
    print("| parameters | primeattn | tokens/s |", *(f" {n} | ratio |" for n in others), " wanted |")
    print("|---" * (4 + 2 * len(others)) + "|")
    for r in rows:
        cells = [r["model"], f"{r['primeattn']:.2f}", f"{r['tokens/s']:,.0f}"]
        for n in others:
            cells += [f"{r[n]:.2f}", f"{r[f'ratio {n}']:.2f}"]
        print("|", " | ".join([*cells, " ".join(map(str, r["wanted"] or ()))]), "|")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    parser.add_argument("--torch-python", help=f"an interpreter that has {TORCH} and numpy")
    parser.add_argument("--json", type=Path, help="write the JSON here as well")
    parser.add_argument("--worker", choices=tuple(MAKERS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(options.worker)
        return 0
    names = [n for n in MAKERS if not (options.no_compile and n == "torch.compile")]
    document: dict = {"threads": options.threads}
    with tempfile.TemporaryDirectory() as folder:
        wants_torch = set(options.only) != {"first"}
        python = options.torch_python or (install(Path(folder) / "torch") if wants_torch else "")

        def start(name):
            return Peer(name, sys.executable if name == "primeattn" else python, options.threads, __file__)

        if "gradients" in options.only:
            document["gradients"] = measure_gradients(start, folder, options.threads)
        if "times" in options.only:
            document["times"] = measure_times(start, names, options.threads, options.rounds)
        if "memory" in options.only:
            document["memory"] = measure_memory(start, names, options.threads)
    if "first" in options.only:
        document["first"] = measure_first(options.threads)
    if "times" in document:
        print_times(document["times"], names, options.threads)
    for part, note in (
        ("gradients", "gradients against autograd in float64, relative (1e-12 wanted), and 20 losses in float32"),
        ("memory", "peak resident memory of the process, MB"),
        ("first", "seconds from start to the end of the first step (15 and 1.5 wanted)"),
    ):
        if part in document:
            print(f"\n{note}: {json.dumps(document[part])}")
    print("\n" + json.dumps(document))
    if options.json:
        options.json.write_text(json.dumps(document) + "\n")
    return 0


if __name__ == "__main__":
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", tempfile.gettempdir() + "/inductor")
    sys.exit(main())
