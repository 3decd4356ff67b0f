"""A comparison's transformer, trained once more by PyTorch: the same tokens, the same numbers to start from.

Reads the file of a comparison (``docs/examples/enwik8_prefix.toml``). Our process writes the first parameters, the
batches of all steps, the learning rates and the windows of the test part of each seed; PyTorch trains on them with the
same clipping, decay and schedule, and reads the test part by the same windows. What differs is rounding alone, so the
losses agree to it at first and then drift apart, as two runs of one program with different sums would. Ours are the
cells of dot_product in the folder of the comparison; those that are missing are trained.

    python asv_benchmarks/peers/twin.py TEXT [--comparison FOLDER] [--folder twin] [--seeds 0 1 2] [--threads 1]
        [--steps N] [--torch-python PYTHON]

A run goes on where it was broken off; several with different seeds may run side by side. Prints a Markdown table.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import time
import tomllib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from attention import ROOT, TORCH, install
from training import torch_held, torch_losses

MECHANISM = "dot_product"
OPTIMISER = {"betas": (0.9, 0.95), "eps": 1e-8, "decay": 0.1}
FLOOR, CLIP = 0.1, 1.0  # as `fit` has them if nobody says otherwise
CHECKED = 50  # first losses of ours beside theirs
KEPT_EVERY = 100


def task_of(settings: dict, text: str):
    import primeattn as pa

    return pa.train.TextTask(text, **{n: x for n, x in settings["task"].items() if n != "task"})


def prepare(settings: dict, text: str, seed: int, folder: Path) -> None:
    """What PyTorch needs of one seed, in files, and our first losses from the same."""
    import numpy as np

    import primeattn as pa
    from primeattn.train._text_task import windows_of

    given, task = settings["train"], task_of(settings, text)
    steps, batch, rate, context = given["steps"], given["batch"], given["rate"], settings["model"]["context"]
    size = pa.nn.sized(MECHANISM, settings["compare"]["parameters"], vocabulary=task.vocabulary, **settings["model"])
    model = pa.nn.LanguageModel(**size, rng=seed)
    start = model.parameters.copy()
    batches = [task.batch(n, batch, seed=seed, context=context) for n in range(steps)]
    rates = [pa.nn.cosine(n, steps, min(200, steps // 20), rate, FLOOR * rate) for n in range(steps)]
    stream, first = task._stream("test", context)
    windows = np.array(list(windows_of(len(stream), first, context, (context + 1) // 2)))
    optimiser, losses = pa.nn.AdamW(model.parameters, rate=rate, **OPTIMISER), []
    for n in range(min(CHECKED, steps)):
        loss, gradient = model.loss_and_gradient(*batches[n], seed=seed, step=n)
        pa.nn.clip(gradient, CLIP)
        optimiser.update(gradient, rate=rates[n])
        losses.append(loss)
    about = {
        "model": model.config, "parameters": len(model.parameters), "rates": rates, "losses": losses,
        "decayed": [n for n, p in model.parameters.declared.items() if p.decay],
    }  # fmt: skip
    tokens = np.stack([np.concatenate([x, y[:, -1:]], axis=1) for x, y, _ in batches]).astype(np.uint8)
    np.savez(folder / f"{seed}.npz", tokens=tokens, stream=stream, windows=windows, **start)
    (folder / f"{seed}.json").write_text(json.dumps(about))


def worker(folder: Path, seed: int, threads: int) -> None:
    """Train the twin of a seed, and read the test part."""
    import numpy as np
    import torch

    torch.set_num_threads(threads)
    about, arrays = json.loads((folder / f"{seed}.json").read_text()), np.load(folder / f"{seed}.npz")
    tokens = torch.from_numpy(arrays["tokens"].astype(np.int64))
    m = about["model"]
    losses_of = torch_losses(m["layers"], m["width"], m["heads"], m["context"], torch.float32)
    names = [n for n in arrays.files if n not in ("tokens", "stream", "windows")]
    p = {n: torch_held(arrays[n].T if n == "embedding.table" else arrays[n], torch.float32) for n in names}
    decayed = set(about["decayed"])
    groups = [
        {"params": [p[n] for n in names if n in decayed], "weight_decay": OPTIMISER["decay"]},
        {"params": [p[n] for n in names if n not in decayed], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, betas=OPTIMISER["betas"], eps=OPTIMISER["eps"], fused=True)
    kept, first, losses, seconds = folder / f"{seed}.pt", 0, [], 0.0
    if kept.exists():
        state = torch.load(kept)
        first, losses, seconds = state["step"], state["losses"], state["seconds"]
        optimiser.load_state_dict(state["optimiser"])
        with torch.no_grad():
            for n in names:
                p[n].copy_(state["p"][n])
    for n in range(first, len(tokens)):
        begun = time.perf_counter()
        for group in optimiser.param_groups:
            group["lr"] = about["rates"][n]
        optimiser.zero_grad(set_to_none=True)
        loss = losses_of(p, tokens[n, :, :-1], tokens[n, :, 1:])
        loss.backward()
        with torch.no_grad():
            norm = math.sqrt(sum(float(x.grad.double().square().sum()) for x in p.values()))
            if norm > CLIP:
                for x in p.values():
                    x.grad.mul_(CLIP / norm)
        optimiser.step()
        losses.append(float(loss.detach()))
        seconds += time.perf_counter() - begun
        if (n + 1) % KEPT_EVERY == 0 or n + 1 == len(tokens):
            values = {name: x.detach() for name, x in p.items()}
            state = {"step": n + 1, "losses": losses, "seconds": seconds, "p": values}
            torch.save(state | {"optimiser": optimiser.state_dict()}, kept.with_suffix(".part"))
            os.replace(kept.with_suffix(".part"), kept)
    nats, count = read_windows(lambda x, y: losses_of(p, x, y, "none"), arrays["stream"], arrays["windows"])
    found = {"bits": nats / count / math.log(2), "predictions": count, "losses": losses, "seconds": seconds}
    (folder / f"{seed}.torch.json").write_text(json.dumps(found))


def read_windows(losses, stream, windows) -> tuple[float, int]:
    """Nats of the tokens scored .. stop - 1 of each window (start, stop, scored), and how many they are."""
    import torch

    nats, count = 0.0, 0
    stream = torch.from_numpy(stream.astype("int64"))
    with torch.no_grad():
        for start, stop, scored in windows.tolist():
            row = stream[start:stop]
            found = losses(row[None, :-1], row[None, 1:])[scored - start - 1 :]
            nats += float(found.double().sum())
            count += len(found)
    return nats, count


def ours(settings: dict, text: str, seeds: list[int], folder: Path, threads: int) -> dict[int, float]:
    """Bits a character of the comparison's own cells."""
    import primeattn as pa

    found = pa.train.compare(
        [MECHANISM], task_of(settings, text), seeds=seeds, folder=folder, model=settings["model"], workers=1,
        threads=threads, parameters=settings["compare"]["parameters"], **settings["train"],
    )  # fmt: skip
    return {cell["seed"]: cell["score"] for cell in found.cells}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("text", nargs="?", help="the text of the comparison")
    parser.add_argument("--settings", type=Path, default=ROOT / "docs/examples/enwik8_prefix.toml")
    parser.add_argument("--folder", type=Path, default=Path("twin"), help="of files and states")
    parser.add_argument("--comparison", type=Path, help="folder of the comparison (default: one in --folder)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, help="fewer, for a look; ours is then not trained")
    parser.add_argument("--torch-only", action="store_true", help="train the twins, compare later")
    parser.add_argument("--torch-python", help=f"an interpreter that has {TORCH} and numpy")
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker is not None:
        worker(options.folder, options.worker, options.threads)
        return 0
    if options.text is None:
        parser.error("name the text of the comparison")
    settings = tomllib.loads(options.settings.read_text())
    if options.steps is not None:
        settings["train"]["steps"] = options.steps
    options.folder.mkdir(parents=True, exist_ok=True)
    missing = [seed for seed in options.seeds if not (options.folder / f"{seed}.torch.json").exists()]
    python = (options.torch_python or install(options.folder / "torch")) if missing else ""
    for seed in missing:
        if not (options.folder / f"{seed}.json").exists():
            prepare(settings, options.text, seed, options.folder)
        command = [python, __file__, "--worker", str(seed), "--folder", str(options.folder)]
        subprocess.run([*command, "--threads", str(options.threads)], check=True)
    results = {seed: json.loads((options.folder / f"{seed}.torch.json").read_text()) for seed in options.seeds}
    print("| seed | largest relative difference of losses 1, 10, 50 |\n|--:|---|")
    for seed, theirs in results.items():
        mine = json.loads((options.folder / f"{seed}.json").read_text())["losses"]
        apart = [abs(a - b) / a for a, b in zip(mine, theirs["losses"], strict=False)]
        print(f"| {seed} |", ", ".join(f"{max(apart[:n]):.1e}" for n in (1, 10, 50)), "|")
    if options.torch_only or options.steps is not None:
        return 0
    place = options.comparison or options.folder / "comparison"
    bits = ours(settings, options.text, options.seeds, place, options.threads)
    print("\n| seed | primeattn, bits a character | torch | difference (0.02 wanted) |\n|--:|--:|--:|--:|")
    for seed, theirs in results.items():
        print(f"| {seed} | {bits[seed]:.4f} | {theirs['bits']:.4f} | {bits[seed] - theirs['bits']:+.4f} |")
    both = [statistics.mean(bits[s] for s in results), statistics.mean(r["bits"] for r in results.values())]
    print(f"| mean | {both[0]:.4f} | {both[1]:.4f} | {both[0] - both[1]:+.4f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
